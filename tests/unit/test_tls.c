/* TLS from end to end: our server, our client, certificates made by the openssl command. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/tls.h"
#include "controller/http.h"
#include "controller/http_json.h"
#include "tests/lib/http_lab.h"

static char dir[] = "/tmp/caravan-tls-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[8][128];
    static int at;

    at = (at + 1) % 8;
    snprintf(path[at], sizeof(path[at]), "%s/%s", dir, name);
    return path[at];
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (system(line) != 0)
        fail_msg("%s", line);
}

/* NAME.pem and NAME.key: signed by itself, for alt ("IP:127.0.0.1"). */
static void make_certificate(const char *name, const char *alt)
{
    run("umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=%s "
        "-addext subjectAltName=%s -keyout %s/%s.key -out %s/%s.pem 2>/dev/null",
        name, alt, dir, name, dir, name);
}

static int make_certificates(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    make_certificate("ours", "IP:127.0.0.1,DNS:localhost");
    make_certificate("other", "IP:127.0.0.1");
    make_certificate("named", "DNS:example.org");
    run("openssl ec -in %s -aes128 -passout pass:x -out %s 2>/dev/null", in_dir("ours.key"), in_dir("locked.key"));
    run("cp %s %s && chmod 604 %s", in_dir("ours.key"), in_dir("open.key"), in_dir("open.key"));
    run("cp %s %s && chmod 640 %s", in_dir("ours.key"), in_dir("group.key"), in_dir("group.key"));
    run("echo nonsense > %s && chmod 600 %s", in_dir("nonsense"), in_dir("nonsense"));
    return 0;
}

static int remove_certificates(void **state)
{
    (void)state;
    run("rm -r %s", dir);
    return 0;
}

/* ---- files -------------------------------------------------------------------------------------------------------- */

static void test_files(void **state)
{
    static const struct {
        const char *cert, *key;
        int r;
        const char *why[2];
    } cases[] = {
        {"ours.pem", "ours.key", 0, {"", ""}},
        {"ours.pem", "group.key", 0, {"", ""}},
        {"ours.pem", "open.key", TLS_E_FILE, {"/open.key", "open to others"}},
        {"ours.pem", "locked.key", TLS_E_FILE, {"/locked.key", "passphrase"}},
        {"ours.pem", "nonsense", TLS_E_FILE, {"the key ", "/nonsense"}},
        {"ours.pem", "ours.pem", TLS_E_FILE, {"the key ", "/ours.pem"}},
        {"ours.pem", "missing", TLS_E_FILE, {"the key ", "No such file"}},
        {"ours.pem", ".", TLS_E_FILE, {"the key ", ""}},
        {"nonsense", "ours.key", TLS_E_FILE, {"the certificate ", "/nonsense"}},
        {"missing", "ours.key", TLS_E_FILE, {"the certificate ", "/missing"}},
        {"ours.pem", "other.key", TLS_E_FILE, {"/other.key is not that of", "/ours.pem"}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls *t = NULL;
        char why[512] = "";
        int r = tls_server_new(in_dir(cases[i].cert), in_dir(cases[i].key), &t, why, sizeof(why));

        if (r != cases[i].r || !strstr(why, cases[i].why[0]) || !strstr(why, cases[i].why[1]))
            fail_msg("case %zu: %d %s", i, r, why);
        tls_destroy(&t);
    }
}

/* ---- connections -------------------------------------------------------------------------------------------------- */

struct lab {
    struct event_base *base;
    struct tls *tls;
    struct http_server *server;
    uint16_t port;
    struct http_exchange *stream;
};

static void handle_hello(void *ctx, struct http_exchange *x)
{
    (void)ctx;
    http_reply(x, 200, "text/plain", "hello", 5);
}

static void handle_echo(void *ctx, struct http_exchange *x)
{
    size_t n;
    const char *body = http_body(x, &n);

    (void)ctx;
    http_reply(x, 200, "text/plain", body, n);
}

static void handle_stream(void *ctx, struct http_exchange *x)
{
    struct lab *lab = ctx;

    lab->stream = x;
    http_begin(x, 200, "text/event-stream", -1);
    http_write(x, "first\n", 6);
}

static void refuse(void *ctx, struct http_exchange *x, int status, const char *text)
{
    (void)ctx;
    http_reply_error(x, status, "refused", "%s", text);
}

static void lab_open(struct lab *lab, const struct http_limits *limits)
{
    static const struct http_route routes[] = {{"GET", "/hello", handle_hello, HTTP_FOR_ADMIN},
                                               {"POST", "/echo", handle_echo, HTTP_FOR_ADMIN},
                                               {"GET", "/stream", handle_stream, HTTP_FOR_ADMIN},
                                               {.method = NULL}};
    const struct http_errors errors = {.refuse = refuse};
    char why[512];

    memset(lab, 0, sizeof(*lab));
    run("cp -p %s %s && cp -p %s %s", in_dir("ours.pem"), in_dir("cert"), in_dir("ours.key"), in_dir("key"));
    lab->base = event_base_new();
    assert_int_equal(tls_server_new(in_dir("cert"), in_dir("key"), &lab->tls, why, sizeof(why)), 0);
    assert_int_equal(http_server_new(lab->base, limits, &errors, &lab->server), 0);
    assert_int_equal(http_server_route(lab->server, routes, lab), 0);
    http_server_tls(lab->server, lab->tls);
    assert_int_equal(http_server_listen_fd(lab->server, lab_listen(&lab->port)), 0);
}

static void lab_shut(struct lab *lab)
{
    http_server_destroy(&lab->server);
    tls_destroy(&lab->tls);
    event_base_free(lab->base);
}

/* One request of our client. */
struct call {
    struct event_base *base;
    struct tls *tls;
    struct httpc_secure secure;
    struct httpc_request *request;
    char *got;
    size_t n_got;
    int status, result;
    bool over;
};

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n)
{
    (void)header;
    (void)n;
    ((struct call *)ctx)->status = status;
}

static void on_data(void *ctx, const void *buf, size_t n)
{
    struct call *c = ctx;

    c->got = realloc(c->got, c->n_got + n + 1);
    memcpy(c->got + c->n_got, buf, n);
    c->n_got += n;
    c->got[c->n_got] = '\0';
}

static void on_done(void *ctx, int r)
{
    struct call *c = ctx;

    c->result = r;
    c->over = true;
}

/* ca: whom to believe. host: under which name. */
static void call_begin(struct call *c, struct event_base *base, uint16_t port, const char *ca, const char *host,
                       const char *method, const char *target, const void *body, size_t n)
{
    struct httpc_spec spec = {.host = host,
                              .port = port,
                              .method = method,
                              .target = target,
                              .body = body,
                              .n_body_bytes = n,
                              .secure = &c->secure};
    struct httpc_callbacks cb = {.head = on_head, .data = on_data, .done = on_done, .ctx = c};
    char why[256];

    *c = (struct call){.base = base, .got = calloc(1, 1)};
    assert_int_equal(tls_client_new(in_dir(ca), &c->tls, why, sizeof(why)), 0);
    c->secure = tls_secure(c->tls);
    assert_int_equal(httpc_start(base, &spec, &cb, &c->request), 0);
}

static void call_end(struct call *c)
{
    if (!c->over)
        httpc_cancel(&c->request);
    tls_destroy(&c->tls);
    free(c->got);
}

static void call_await(struct call *c)
{
    lab_until_true(c->base, &c->over);
}

static void test_there_and_back(void **state)
{
    static const struct http_limits limits = {.connections = 0};
    const size_t n = 3 * 1024 * 1024 + 7;
    char *body = malloc(n);
    struct lab lab;
    struct call c;

    (void)state;
    for (size_t i = 0; i < n; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    lab_open(&lab, &limits);
    call_begin(&c, lab.base, lab.port, "ours.pem", "127.0.0.1", "GET", "/hello", NULL, 0);
    call_await(&c);
    assert_int_equal(c.result, 0);
    assert_string_equal(c.got, "hello");
    call_end(&c);
    call_begin(&c, lab.base, lab.port, "ours.pem", "localhost", "POST", "/echo", body, n);
    call_await(&c);
    assert_int_equal(c.result, 0);
    assert_int_equal(c.n_got, n);
    assert_memory_equal(c.got, body, n);
    call_end(&c);
    free(body);
    lab_shut(&lab);
}

static void test_whom_to_believe(void **state)
{
    static const struct {
        const char *served, *ca, *host;
        int result;
    } cases[] = {
        {"ours", "ours.pem", "127.0.0.1", 0},
        {"ours", "ours.pem", "localhost", 0},
        {"ours", "other.pem", "127.0.0.1", -EKEYREJECTED},
        {"other", "ours.pem", "127.0.0.1", -EKEYREJECTED},
        {"other", "other.pem", "localhost", -EKEYREJECTED}, /* for the address alone */
        {"named", "named.pem", "127.0.0.1", -EKEYREJECTED},
        {"named", "named.pem", "localhost", -EKEYREJECTED},
    };
    static const struct http_limits limits = {.connections = 0};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char cert[32], key[32], why[256];
        struct lab lab;
        struct call c;

        lab_open(&lab, &limits);
        tls_destroy(&lab.tls);
        snprintf(cert, sizeof(cert), "%s.pem", cases[i].served);
        snprintf(key, sizeof(key), "%s.key", cases[i].served);
        assert_int_equal(tls_server_new(in_dir(cert), in_dir(key), &lab.tls, why, sizeof(why)), 0);
        http_server_tls(lab.server, lab.tls);
        call_begin(&c, lab.base, lab.port, cases[i].ca, cases[i].host, "GET", "/hello", NULL, 0);
        call_await(&c);
        if (c.result != cases[i].result)
            fail_msg("case %zu: %d %s", i, c.result, tls_why(c.tls));
        if (c.result)
            assert_non_null(strstr(tls_why(c.tls), "its certificate is not believed: "));
        call_end(&c);
        lab_shut(&lab);
    }
}

/* The key of the API goes to nobody whose certificate is not believed: nothing is sent before. */
static void test_what_speaks_no_tls(void **state)
{
    static const struct http_limits limits = {.connections = 0};
    struct lab lab;
    struct call c;
    char *text;

    (void)state;
    lab_open(&lab, &limits);
    text = lab_ask(lab.base, lab.port, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_null(strstr(text, "hello"));
    free(text);
    http_server_tls(lab.server, NULL);
    call_begin(&c, lab.base, lab.port, "ours.pem", "127.0.0.1", "GET", "/hello", NULL, 0);
    call_await(&c);
    assert_int_equal(c.result, -EPROTO);
    assert_non_null(strstr(tls_why(c.tls), "no TLS"));
    call_end(&c);
    lab_shut(&lab);
}

/* A renewed certificate counts from the next connection on; streams go on, and a pair that does not fit changes nothing. */
static void test_renewal(void **state)
{
    static const struct http_limits limits = {.connections = 0};
    struct call stream, c;
    struct lab lab;

    (void)state;
    lab_open(&lab, &limits);
    call_begin(&stream, lab.base, lab.port, "ours.pem", "127.0.0.1", "GET", "/stream", NULL, 0);
    while (!stream.n_got)
        event_base_loop(lab.base, EVLOOP_ONCE);
    run("cp -p %s %s", in_dir("other.pem"), in_dir("cert")); /* its key is not there yet */
    call_begin(&c, lab.base, lab.port, "ours.pem", "127.0.0.1", "GET", "/hello", NULL, 0);
    call_await(&c);
    assert_int_equal(c.result, 0);
    call_end(&c);
    run("cp -p %s %s", in_dir("other.key"), in_dir("key"));
    call_begin(&c, lab.base, lab.port, "ours.pem", "127.0.0.1", "GET", "/hello", NULL, 0);
    call_await(&c);
    assert_int_equal(c.result, -EKEYREJECTED);
    call_end(&c);
    call_begin(&c, lab.base, lab.port, "other.pem", "127.0.0.1", "GET", "/hello", NULL, 0);
    call_await(&c);
    assert_int_equal(c.result, 0);
    call_end(&c);
    http_write(lab.stream, "second\n", 7);
    http_end(lab.stream);
    call_await(&stream);
    assert_int_equal(stream.result, 0);
    assert_string_equal(stream.got, "first\nsecond\n");
    call_end(&stream);
    lab_shut(&lab);
}

/* Neither silence nor a trickle in place of a handshake holds a connection longer than it does a head. */
static void test_a_handshake_has_its_time(void **state)
{
    static const struct http_limits limits = {.head_ms = 100};
    struct lab_client c;
    struct lab lab;

    (void)state;
    lab_open(&lab, &limits);
    lab_connect(&c, lab.base, lab.port);
    lab_send_bytes(&c, "\x16\x03\x01\x02\x00", 5); /* a ClientHello begins */
    lab_until_closed(&c);
    assert_int_equal(http_server_connections(lab.server), 0);
    lab_close(&c);
    lab_shut(&lab);
}

/* A cut is no end: an answer without a length that somebody cut off is not whole. */
static void test_a_cut_is_seen(void **state)
{
    static const struct http_limits limits = {.connections = 0};
    struct lab lab;
    struct call c;

    (void)state;
    lab_open(&lab, &limits);
    call_begin(&c, lab.base, lab.port, "ours.pem", "127.0.0.1", "GET", "/stream", NULL, 0);
    while (!c.n_got)
        event_base_loop(lab.base, EVLOOP_ONCE);
    http_server_destroy(&lab.server);
    call_await(&c);
    assert_true(c.result < 0);
    call_end(&c);
    lab_shut(&lab);
}

/* ---- by others ---------------------------------------------------------------------------------------------------- */

/* Runs our server until the command has ended; returns its exit status. */
static int while_serving(struct lab *lab, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int while_serving(struct lab *lab, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    int status;
    pid_t pid;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    while (waitpid(pid, &status, WNOHANG) == 0) {
        struct timeval tv = {.tv_usec = 20000}; /* nothing tells the loop of a child's end */

        event_base_loopexit(lab->base, &tv);
        event_base_dispatch(lab->base);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define S_CLIENT "openssl s_client -connect 127.0.0.1:%u -CAfile %s </dev/null 2>&1 "

static void test_with_openssls_own_client(void **state)
{
    static const struct http_limits limits = {.connections = 0};
    struct lab lab;

    (void)state;
    lab_open(&lab, &limits);
    assert_int_equal(
        while_serving(&lab, S_CLIENT "-tls1_2 | grep -q 'Verify return code: 0'", lab.port, in_dir("ours.pem")), 0);
    assert_int_equal(while_serving(&lab, S_CLIENT "-tls1_3 -alpn h2,http/1.1 | grep -q 'ALPN protocol: http/1.1'",
                                   lab.port, in_dir("ours.pem")),
                     0);
    assert_int_equal(
        while_serving(&lab, S_CLIENT "-alpn h2 | grep -q 'no application protocol'", lab.port, in_dir("ours.pem")), 0);
    assert_int_equal(while_serving(&lab, S_CLIENT "-tls1_1 -cipher ALL:@SECLEVEL=0 | grep -q 'Cipher is (NONE)'",
                                   lab.port, in_dir("ours.pem")),
                     0);
    lab_shut(&lab);
}

static bool memory_is_short;

static void *malloc_or_not(size_t n)
{
    return memory_is_short ? NULL : malloc(n);
}

/* Where libevent has no memory for a connection there is none, and fd is still ours. */
static void test_no_memory_for_a_connection(void **state)
{
    struct event_base *base = event_base_new();
    struct tls *server = NULL, *client = NULL;
    struct httpc_secure secure;
    char why[512];
    int fd[2];

    (void)state;
    assert_int_equal(tls_server_new(in_dir("ours.pem"), in_dir("ours.key"), &server, why, sizeof(why)), 0);
    assert_int_equal(tls_client_new(in_dir("ours.pem"), &client, why, sizeof(why)), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    secure = tls_secure(client);
    memory_is_short = true;
    assert_null(tls_accept(server, base, fd[0]));
    assert_null(secure.connect(secure.ctx, base, fd[1], "127.0.0.1"));
    memory_is_short = false;
    assert_int_equal(close(fd[0]), 0);
    assert_int_equal(close(fd[1]), 0);
    tls_destroy(&server);
    tls_destroy(&client);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_whom_to_believe),
        cmocka_unit_test(test_what_speaks_no_tls),
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_a_handshake_has_its_time),
        cmocka_unit_test(test_a_cut_is_seen),
        cmocka_unit_test(test_with_openssls_own_client),
        cmocka_unit_test(test_no_memory_for_a_connection),
    };

    event_set_mem_functions(malloc_or_not, realloc, free);
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
