/* The agent's own answers over a real Unix socket. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/local_api.h"
#include "common/log.h"

enum { ANSWER_MAX = 256 * 1024 };

static struct event_base *base;
static struct local_api *api;
static char dir[64], path[96], text[ANSWER_MAX];

static int dial(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* All that comes until the other end closes. */
static const char *hear(int fd)
{
    size_t used = 0;
    ssize_t n;

    while ((n = recv(fd, text + used, sizeof(text) - 1 - used, 0)) != 0) {
        if (n > 0)
            used += (size_t)n;
        else if (errno == ECONNRESET)
            break;
        else
            event_base_loop(base, EVLOOP_ONCE);
    }
    text[used] = '\0';
    close(fd);
    return text;
}

static const char *ask(const char *request)
{
    int fd = dial();

    assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
    return hear(fd);
}

static void take(const char *nodes, const char *instances)
{
    struct message m = {.kind = MESSAGE_SNAPSHOT, .snapshot = {.nodes = strdup(nodes), .instances = strdup(instances)}};

    m.snapshot.n_nodes_bytes = strlen(nodes);
    m.snapshot.n_instances_bytes = strlen(instances);
    local_api_take(api, &m.snapshot);
    message_clear(&m);
}

static bool begins(const char *answer, const char *with)
{
    return strncmp(answer, with, strlen(with)) == 0;
}

static const char *body(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");

    assert_non_null(end);
    return end + 4;
}

static void test_what_was_told(void **state)
{
    unsigned long age_ms;
    int n = 0;

    (void)state;
    assert_true(begins(ask("GET /api/nodes HTTP/1.1\r\n\r\n"), "HTTP/1.1 503 "));
    assert_non_null(strstr(text, "no controller has told this agent anything"));
    take("{\"made_wall_ms\":7,\"nodes\":[]}", "{ }");
    assert_true(begins(ask("GET /api/nodes HTTP/1.1\r\nHost: x\r\n\r\n"), "HTTP/1.1 200 OK\r\n"));
    assert_int_equal(sscanf(body(text), "{\"age_ms\":%lu,\"made_wall_ms\":7,\"nodes\":[]}%n", &age_ms, &n), 1);
    assert_int_equal(n, strlen(body(text)));
    assert_true(begins(ask("GET /api/instances?a=b HTTP/1.0\r\n\r\n"), "HTTP/1.1 200 OK\r\n"));
    n = 0;
    assert_int_equal(sscanf(body(text), "{\"age_ms\":%lu}%n", &age_ms, &n), 1);
    assert_int_equal(n, strlen(body(text)));
    take("[]", "{}"); /* no object: what was told before stays */
    take("{}", "");
    assert_non_null(strstr(ask("GET /api/nodes HTTP/1.1\r\n\r\n"), "made_wall_ms"));
    take("{\"nodes\":[1]}", "{\"instances\":[2]}");
    assert_non_null(strstr(ask("GET /api/nodes HTTP/1.1\r\n\r\n"), ",\"nodes\":[1]}"));
    assert_non_null(strstr(ask("GET /api/instances HTTP/1.1\r\n\r\n"), ",\"instances\":[2]}"));
}

/* More than a socket takes at once. */
static void test_a_long_answer(void **state)
{
    char *nodes = malloc(200 * 1024);

    (void)state;
    assert_non_null(nodes);
    memset(nodes, ' ', 200 * 1024);
    memcpy(nodes, "{\"a\":\"", 6);
    memcpy(nodes + 200 * 1024 - 3, "\"}", 3);
    take(nodes, "{}");
    ask("GET /api/nodes HTTP/1.1\r\n\r\n");
    assert_true(strlen(body(text)) > 200 * 1024);
    assert_string_equal(text + strlen(text) - 2, "\"}");
    free(nodes);
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *request, *status;
    } rows[] = {
        {"POST /api/nodes HTTP/1.1\r\n\r\n", "HTTP/1.1 405 "},
        {"DELETE /api/instances/x HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "},
        {"GET /api/tasks HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "},
        {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "},
        {"GET /api/nodes HTTP/2\r\n\r\n", "HTTP/1.1 400 "},
        {"GET /api/nodes\r\n\r\n", "HTTP/1.1 400 "},
        {"GET api/nodes HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
        {"GET /api/nodes  HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
        {"\r\n\r\n", "HTTP/1.1 400 "},
        {" \x01\xff \r\n\r\n", "HTTP/1.1 400 "},
    };
    char longest[2 * LOCAL_API_HEAD_MAX];

    (void)state;
    take("{}", "{}");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!begins(ask(rows[i].request), rows[i].status))
            fail_msg("%s answered %s", rows[i].request, text);
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_true(begins(ask(longest), "HTTP/1.1 431 "));
    longest[LOCAL_API_HEAD_MAX] = '\0';
    assert_true(begins(ask(longest), "HTTP/1.1 431 "));
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what, (void)ctx;
}

/* Who sends more than is read, and does not take the answer, is no work for the loop. */
static void test_much_is_sent_ahead(void **state)
{
    static const char request[] = "GET /api/nodes HTTP/1.1\r\n\r\n";
    enum { LONG = 4 * 1024 * 1024 }; /* more than a socket takes */
    char *nodes = malloc(LONG), much[2 * LOCAL_API_HEAD_MAX];
    struct event *timer;
    int fd = dial();
    size_t n_heard = 0;
    ssize_t n;

    (void)state;
    assert_non_null(nodes);
    memset(nodes, ' ', LONG);
    memcpy(nodes, "{\"a\":\"", 6);
    memcpy(nodes + LONG - 3, "\"}", 3);
    take(nodes, "{}");
    free(nodes);
    memset(much, 'a', sizeof(much));
    memcpy(much, request, sizeof(request) - 1);
    assert_int_equal(send(fd, much, sizeof(much), 0), sizeof(much));
    timer = evtimer_new(base, on_timer, NULL);
    for (int i = 0; i < 20; i++) {
        evtimer_add(timer, &(struct timeval){.tv_usec = 1000});
        event_base_loop(base,
                        EVLOOP_ONCE); /* with something to call back for ever it goes on until the connection's limit */
    }
    event_free(timer);
    while ((n = recv(fd, text, sizeof(text), 0)) > 0 || (n < 0 && errno == EAGAIN)) {
        n_heard += n > 0 ? (size_t)n : 0;
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    close(fd);
    assert_true(n_heard > LONG);
}

/* A request in single bytes, one that is never ended, and more of these than there is room for. */
static void test_slow_ones(void **state)
{
    static const char request[] = "GET /api/nodes HTTP/1.1\r\n\r\n";
    int held[LOCAL_API_CONNECTIONS + 1], fd = dial();

    (void)state;
    take("{}", "{}");
    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        assert_int_equal(send(fd, request + i, 1, 0), 1);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    assert_true(begins(hear(fd), "HTTP/1.1 200 "));
    for (size_t i = 0; i <= LOCAL_API_CONNECTIONS; i++) {
        held[i] = dial();
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    assert_string_equal(hear(held[LOCAL_API_CONNECTIONS]), ""); /* closed at once */
    assert_string_equal(hear(held[0]), "");                     /* after its time */
    for (size_t i = 1; i < LOCAL_API_CONNECTIONS; i++)
        assert_string_equal(hear(held[i]), "");
    assert_true(begins(ask(request), "HTTP/1.1 200 "));
}

static size_t lines_in(int fd)
{
    char buf[64 * 1024];
    ssize_t n = pread(fd, buf, sizeof(buf), 0);
    size_t lines = 0;

    for (ssize_t i = 0; i < n; i++)
        lines += buf[i] == '\n';
    return lines;
}

/* Somebody waits to be let in, and there is no descriptor for it: the loop must not run in circles until there is. */
static void test_no_descriptors(void **state)
{
    int fd = dial(), real_stderr = dup(STDERR_FILENO), caught = memfd_create("stderr", MFD_CLOEXEC);
    struct rlimit before, none;

    (void)state;
    take("{}", "{}");
    assert_int_equal(send(fd, "GET /api/nodes HTTP/1.1\r\n\r\n", 27, 0), 27);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    dup2(caught, STDERR_FILENO);
    log_set_level(LOG_LEVEL_WARN);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    for (int i = 0; i < 500; i++)
        event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    print_message("LINES %zu\n", lines_in(caught));
    assert_in_range(lines_in(caught), 1, 100); /* one in 100 ms */
    close(caught);
    assert_true(begins(hear(fd), "HTTP/1.1 200 "));
}

/* The directory and the socket are made, for us and the group; both ends of a life leave nothing in the way. */
static void test_the_place(void **state)
{
    struct local_api *other = NULL;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct stat st;
    int fd;

    (void)state;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    assert_int_equal(local_api_new(base, path, &other), LOCAL_API_E_UNUSABLE); /* it is answered at */
    assert_int_equal(access(path, F_OK), 0);
    local_api_destroy(&api);
    assert_int_equal(access(path, F_OK), -1);
    /* what a killed agent leaves */
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    close(fd);
    assert_int_equal(local_api_new(base, path, &api), 0);
    assert_true(begins(ask("GET /api/nodes HTTP/1.1\r\n\r\n"), "HTTP/1.1 503 "));
    local_api_destroy(&api);
    /* what is no socket is somebody's */
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(local_api_new(base, path, &api), LOCAL_API_E_UNUSABLE);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    assert_int_equal(local_api_new(base, "/nonexistent/deeper/agent.sock", &api), LOCAL_API_E_UNUSABLE);
    assert_null(api);
}

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    strcpy(dir, "/tmp/test_local_api.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/made/agent.sock", dir);
    base = event_base_new();
    return local_api_new(base, path, &api);
}

static int tear_down(void **state)
{
    char command[160];

    (void)state;
    local_api_destroy(&api);
    event_base_free(base);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command) ? -1 : 0;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_what_was_told), TEST(test_a_long_answer),  TEST(test_what_is_refused), TEST(test_much_is_sent_ahead),
        TEST(test_slow_ones),     TEST(test_no_descriptors), TEST(test_the_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
