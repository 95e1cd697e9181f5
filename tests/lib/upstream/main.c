/* upstream: a llama-server without a model, so that a gateway can be measured and nothing else. It replays what a real one
 * has said (completion.http, stream.http: the bytes of its connection), and keeps connections as that does: 5 s, 100 answers,
 * and never behind a stream.
 *
 *   upstream --host ADDR --port PORT [--rpc ADDR:PORT] [anything else that llama-server takes]
 *   upstream --version|--help|--list-devices
 *
 * All that it says lies in ../share beside the program: version, help, list-devices, log (of a load over the rank "@RANK@"),
 * completion.http, stream.http. In a folder with an rpc-server it is an installation for an agent.
 *
 * A body with "stream":true gets the stream, at full speed; with "pace_ms":N a chunk each N ms. All other bodies get the
 * completion, and GET /health and the like a line. One thread, one write for each chunk, as it would come. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IDLE_S = 5, ANSWERS_MAX = 100, REQUEST_MAX = 1024 * 1024, PIECES_MAX = 1024 };

/* Pieces lie one behind the other. */
struct answer {
    char *bytes;
    size_t end[PIECES_MAX];
    size_t n_pieces;
};

struct conn {
    int fd;
    struct event *on_read, *on_turn; /* on_turn: it can be written to, or the next piece is due */
    char *in;
    size_t n_in, room;
    unsigned n_answers;
    const struct answer *answer; /* NULL: it awaits a request */
    size_t n_sent, piece;
    bool closes;
    unsigned pace_ms;
};

static struct event_base *base;
static char share[4096];
/* The last answer of a connection says so. */
static struct answer completion, completion_last, stream_answer, health, health_last;

/* ---- what is said ---- */

static char *read_file(const char *name, size_t *ret_n)
{
    char path[4400], *text = NULL;
    size_t n = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", share, name);
    f = fopen(path, "re");
    if (!f) {
        fprintf(stderr, "upstream: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    for (size_t got = 1; got; n += got) {
        text = realloc(text, n + 65536);
        if (!text)
            abort();
        got = fread(text + n, 1, 65535, f);
    }
    fclose(f);
    text[n] = '\0';
    *ret_n = n;
    return text;
}

static void add_piece(struct answer *a, size_t end)
{
    if (a->n_pieces == PIECES_MAX)
        abort();
    a->end[a->n_pieces++] = end;
}

static void make_whole(struct answer *a, const char *text)
{
    a->bytes = strdup(text);
    add_piece(a, strlen(text));
}

/* The same with the word that nothing follows. */
static void make_last(struct answer *a, const struct answer *of)
{
    static const char keeps[] = "Keep-Alive: timeout=5, max=100\r\n";
    char *at = strstr(of->bytes, keeps), *text = NULL;

    if (!at ||
        asprintf(&text, "%.*sConnection: close\r\n%s", (int)(at - of->bytes), of->bytes, at + sizeof(keeps) - 1) < 0)
        abort();
    make_whole(a, text);
    free(text);
}

/* A piece for the head and for each chunk; the last one is empty. */
static void make_stream(struct answer *a)
{
    size_t n, at;

    a->bytes = read_file("stream.http", &n);
    at = (size_t)(strstr(a->bytes, "\r\n\r\n") + 4 - a->bytes);
    add_piece(a, at);
    while (at < n) {
        char *end;
        size_t n_chunk = strtoul(a->bytes + at, &end, 16);

        at = (size_t)(end + 2 - a->bytes) + n_chunk + 2;
        add_piece(a, at);
    }
}

static void make_answers(void)
{
    size_t n;
    char *text = read_file("completion.http", &n);

    make_whole(&completion, text);
    free(text);
    make_last(&completion_last, &completion);
    make_whole(&health, "HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Type: application/json; charset=utf-8\r\n"
                        "Content-Length: 15\r\nKeep-Alive: timeout=5, max=100\r\n\r\n{\"status\":\"ok\"}");
    make_last(&health_last, &health);
    make_stream(&stream_answer);
}

/* ---- a connection ---- */

static void conn_close(struct conn *c)
{
    event_free(c->on_read);
    event_free(c->on_turn);
    close(c->fd);
    free(c->in);
    free(c);
}

static void read_requests(struct conn *c);

static void come_back(struct conn *c, unsigned ms)
{
    struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    event_add(c->on_turn, &tv);
}

/* The socket is full, which a paced one hardly is: there is no hurry. */
static void await_room(struct conn *c)
{
    come_back(c, 1);
}

static void go_on(struct conn *c)
{
    const struct answer *a = c->answer;

    while (c->piece < a->n_pieces) {
        ssize_t n = send(c->fd, a->bytes + c->n_sent, a->end[c->piece] - c->n_sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            await_room(c);
            return;
        }
        if (n < 0) {
            conn_close(c);
            return;
        }
        c->n_sent += (size_t)n;
        if (c->n_sent < a->end[c->piece])
            continue;
        if (++c->piece > 1 && c->piece < a->n_pieces && c->pace_ms) {
            come_back(c, c->pace_ms);
            return;
        }
    }
    c->answer = NULL;
    if (c->closes)
        conn_close(c);
    else
        read_requests(c);
}

static void on_turn(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    go_on(ctx);
}

static unsigned number_after(const char *body, const char *key)
{
    const char *at = strstr(body, key);

    return at ? (unsigned)strtoul(at + strlen(key), NULL, 10) : 0;
}

/* body: ends with NUL */
static void choose(struct conn *c, bool is_post, const char *body)
{
    bool last = ++c->n_answers >= ANSWERS_MAX, streams = is_post && strstr(body, "\"stream\":true");

    c->answer = streams   ? &stream_answer
                : is_post ? last ? &completion_last : &completion
                : last    ? &health_last
                          : &health;
    c->closes = streams || last;
    c->pace_ms = streams ? number_after(body, "\"pace_ms\":") : 0;
    c->n_sent = c->piece = 0;
}

static void read_requests(struct conn *c)
{
    char *end, after;
    size_t n;

    c->in[c->n_in] = '\0';
    end = strstr(c->in, "\r\n\r\n");
    if (!end)
        return;
    *end = '\0';
    n = (size_t)(end + 4 - c->in) + (strcasestr(c->in, "\r\nContent-Length:")
                                         ? strtoul(strcasestr(c->in, "\r\nContent-Length:") + 17, NULL, 10)
                                         : 0);
    *end = '\r';
    if (n > c->n_in)
        return;
    after = c->in[n];
    c->in[n] = '\0';
    choose(c, strncmp(c->in, "POST ", 5) == 0, end + 4);
    c->in[n] = after;
    memmove(c->in, c->in + n, c->n_in - n);
    c->n_in -= n;
    go_on(c);
}

/* Fails where more has come than any request has. */
static bool make_room(struct conn *c)
{
    if (c->n_in + 1 < c->room)
        return true;
    if (c->room >= REQUEST_MAX)
        return false;
    c->room = c->room ? c->room * 2 : 4096;
    c->in = realloc(c->in, c->room);
    return c->in;
}

static void on_read(evutil_socket_t fd, short what, void *ctx)
{
    struct conn *c = ctx;
    ssize_t n;

    if (what & EV_TIMEOUT) {
        if (!c->answer)
            conn_close(c);
        return;
    }
    if (!make_room(c)) {
        conn_close(c);
        return;
    }
    n = recv(fd, c->in + c->n_in, c->room - 1 - c->n_in, 0);
    if (n <= 0 && !(n < 0 && errno == EAGAIN)) {
        conn_close(c);
        return;
    }
    c->n_in += n > 0 ? (size_t)n : 0;
    if (!c->answer)
        read_requests(c);
}

static void on_accept(evutil_socket_t listener, short what, void *ctx)
{
    static const struct timeval idle = {.tv_sec = IDLE_S};
    const int on = 1;
    struct conn *c;
    int fd;

    (void)what, (void)ctx;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        c = calloc(1, sizeof(*c));
        if (!c)
            abort();
        c->fd = fd;
        c->on_read = event_new(base, fd, EV_READ | EV_PERSIST, on_read, c);
        c->on_turn = evtimer_new(base, on_turn, c);
        event_add(c->on_read, &idle);
    }
}

/* ---- its start ---- */

static void find_share(void)
{
    ssize_t n = readlink("/proc/self/exe", share, sizeof(share) - 16);

    for (int i = 0; i < 2; i++)
        while (n > 0 && share[--n] != '/')
            ;
    strcpy(share + (n > 0 ? n : 0), "/share");
}

static int print_file(const char *name)
{
    size_t n;
    char *text = read_file(name, &n);

    fwrite(text, 1, n, stdout);
    free(text);
    return 0;
}

/* What an agent reads of a load: the recorded log of one over one rank, with the address of ours. */
static void tell_of_load(const char *rank)
{
    size_t n;
    char *text = read_file("log", &n), *at;

    while ((at = strstr(text, "@RANK@"))) {
        printf("%.*s%s", (int)(at - text), text, rank);
        memmove(text, at + 6, strlen(at + 6) + 1);
    }
    fputs(text, stdout);
    free(text);
}

static int listen_at(const char *host, const char *port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (inet_pton(AF_INET, host, &sa.sin_addr) != 1 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        listen(fd, 4096) < 0) {
        fprintf(stderr, "upstream: %s:%s: %s\n", host, port, strerror(errno));
        exit(1);
    }
    return fd;
}

static const char *option(int argc, char **argv, const char *name, const char *otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return otherwise;
}

int main(int argc, char **argv)
{
    const char *host = option(argc, argv, "--host", "127.0.0.1"), *port = option(argc, argv, "--port", "8080");
    struct event *accepting;

    find_share();
    if (argc == 2)
        return print_file(argv[1] + strspn(argv[1], "-"));
    signal(SIGPIPE, SIG_IGN);
    make_answers();
    base = event_base_new();
    accepting = base ? event_new(base, listen_at(host, port), EV_READ | EV_PERSIST, on_accept, NULL) : NULL;
    if (!accepting)
        abort();
    event_add(accepting, NULL);
    tell_of_load(option(argc, argv, "--rpc", ""));
    printf("0.00.000.003 I srv  llama_server: listening on http://%s:%s\n", host, port);
    fflush(stdout);
    return event_base_dispatch(base) < 0;
}
