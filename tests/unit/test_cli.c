/* The caravan command against a stand-in that answers with recorded JSON: it stands for the shape of the API only. The command
 * runs in a child process; its standard output is a pipe or a pseudo terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <locale.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "common/core/sse.h"
#include "controller/cli/cli.h"
#include "controller/cli/key.h"
#include "controller/cli/screen.h"

static struct event_base *base;

/* ---- the stand-in ------------------------------------------------------------------------------------------------- */

struct route {
    const char *method, *path; /* path with query */
    int status;
    const char *body;
    const char *type; /* NULL: application/json */
    _Bool cut;        /* the connection goes before the end of a chunked body */
    _Bool once;       /* the next time a later one of the same path answers */
};

struct stand_in {
    struct evhttp *http;
    uint16_t port;
    const struct route *route;
    unsigned used;    /* bit per route */
    char asked[2048]; /* "METHOD path|Authorization|Last-Event-ID|body" per request, a line each */
    int n_asked;
};

static const char *method_name(enum evhttp_cmd_type type)
{
    return type == EVHTTP_REQ_GET ? "GET" : type == EVHTTP_REQ_POST ? "POST" : "DELETE";
}

static void note_request(struct stand_in *s, struct evhttp_request *req)
{
    struct evkeyvalq *in = evhttp_request_get_input_headers(req);
    struct evbuffer *body = evhttp_request_get_input_buffer(req);
    const char *key = evhttp_find_header(in, "Authorization"), *last = evhttp_find_header(in, "Last-Event-ID");
    size_t used = strlen(s->asked);

    s->n_asked++;
    snprintf(s->asked + used, sizeof(s->asked) - used, "%s %s|%s|%s|%.*s\n",
             method_name(evhttp_request_get_command(req)), evhttp_request_get_uri(req), key ? key : "",
             last ? last : "", (int)evbuffer_get_length(body), (const char *)evbuffer_pullup(body, -1));
}

static void cut_off(struct evhttp_connection *connection, void *arg)
{
    (void)arg;
    evhttp_connection_free(connection);
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct stand_in *s = arg;
    struct evbuffer *out = evbuffer_new();
    const struct route *r = s->route;

    note_request(s, req);
    while (r->path && (strcmp(r->path, evhttp_request_get_uri(req)) != 0 ||
                       strcmp(r->method, method_name(evhttp_request_get_command(req))) != 0 ||
                       (r->once && (s->used & 1u << (r - s->route)))))
        r++;
    s->used |= 1u << (r - s->route);
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", r->type ? r->type : "application/json");
    if (r->path)
        evbuffer_add(out, r->body, strlen(r->body));
    if (r->path && r->cut) {
        evhttp_send_reply_start(req, r->status, NULL);
        evhttp_send_reply_chunk_with_cb(req, out, cut_off, NULL);
    } else {
        evhttp_send_reply(req, r->path ? r->status : 404, NULL, out);
    }
    evbuffer_free(out);
}

static void stand_in_start(struct stand_in *s, const struct route *routes)
{
    struct evhttp_bound_socket *bound;
    struct sockaddr_in sa;
    socklen_t n = sizeof(sa);

    *s = (struct stand_in){.route = routes};
    s->http = evhttp_new(base);
    evhttp_set_allowed_methods(s->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_DELETE);
    evhttp_set_gencb(s->http, on_request, s);
    bound = evhttp_bind_socket_with_handle(s->http, "127.0.0.1", 0);
    assert_non_null(bound);
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&sa, &n);
    s->port = ntohs(sa.sin_port);
}

static char agent_socket[64] = "/nonexistent/agent.sock";

/* In place of an agent: on a socket in the file system. */
static void agent_start(struct stand_in *s, const struct route *routes)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    snprintf(agent_socket, sizeof(agent_socket), "/tmp/caravan-test-%d.sock", (int)getpid());
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", agent_socket);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 8), 0);
    *s = (struct stand_in){.route = routes};
    s->http = evhttp_new(base);
    evhttp_set_gencb(s->http, on_request, s);
    assert_int_equal(evhttp_accept_socket(s->http, fd), 0);
}

static void agent_end(struct stand_in *s)
{
    evhttp_free(s->http);
    unlink(agent_socket);
    strcpy(agent_socket, "/nonexistent/agent.sock");
}

/* ---- running the command ------------------------------------------------------------------------------------------ */

enum { WORDS_MAX = 16, TEXT_MAX = 32768 };

struct run {
    const char *word[WORDS_MAX];
    const char *input;
    int columns; /* 0: a pipe, else a terminal of that width */
    char out[TEXT_MAX], err[TEXT_MAX];
    int code;
};

struct reader {
    char *text;
    struct event *ev;
    int *n_open;
};

static void on_output(evutil_socket_t fd, short what, void *arg)
{
    struct reader *r = arg;
    size_t used = strlen(r->text);
    ssize_t n = read(fd, r->text + used, TEXT_MAX - 1 - used);

    (void)what;
    if (n > 0) {
        r->text[used + (size_t)n] = '\0';
        return;
    }
    event_del(r->ev); /* a pseudo terminal ends with an error */
    --*r->n_open;
}

static void run_child(const struct run *run, uint16_t port, int in, int out, int err)
{
    char url[64];
    char *argv[WORDS_MAX + 1] = {(char *)"caravan"};
    int argc = 1;

    snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
    setenv("CARAVAN_CONTROLLER", url, 1);
    setenv("CARAVAN_SOCKET", agent_socket, 1);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    for (; argc < WORDS_MAX && run->word[argc - 1]; argc++)
        argv[argc] = (char *)run->word[argc - 1];
    argc = (int)cli_main(argc, argv);
    fflush(stdout);
    _exit(argc);
}

static void run_cli(struct run *run, const struct stand_in *s)
{
    struct winsize size = {.ws_row = 25, .ws_col = (unsigned short)run->columns};
    int in[2], out[2], err[2], status, n_open = 2;
    struct reader readers[2] = {{run->out, NULL, &n_open}, {run->err, NULL, &n_open}};
    pid_t pid;

    run->out[0] = run->err[0] = '\0';
    assert_int_equal(pipe(in) | pipe(err), 0);
    if (run->columns)
        assert_int_equal(openpty(&out[0], &out[1], NULL, NULL, &size), 0);
    else
        assert_int_equal(pipe(out), 0);
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        run_child(run, s ? s->port : 1, in[0], out[1], err[1]);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    if (run->input)
        assert_int_equal(write(in[1], run->input, strlen(run->input)), strlen(run->input));
    close(in[1]);
    readers[0].ev = event_new(base, out[0], EV_READ | EV_PERSIST, on_output, &readers[0]);
    readers[1].ev = event_new(base, err[0], EV_READ | EV_PERSIST, on_output, &readers[1]);
    event_add(readers[0].ev, NULL);
    event_add(readers[1].ev, NULL);
    while (n_open)
        event_base_loop(base, EVLOOP_ONCE);
    event_free(readers[0].ev);
    event_free(readers[1].ev);
    close(out[0]);
    close(err[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    run->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- recorded answers --------------------------------------------------------------------------------------------- */

#define NODES                                                                                                   \
    "{\"made_wall_ms\":1,\"trust\":\"open\",\"nodes\":["                                                        \
    "{\"id\":\"00\",\"name\":\"node1\",\"state\":\"ready\",\"addr\":\"10.77.0.11\",\"build\":\"b11669-0.7.0\"," \
    "\"build_problem\":\"\",\"rpc\":\"8.0.0\",\"age_ms\":412,\"load_permille\":250,"                            \
    "\"memory\":{\"limit_bytes\":4294967296,\"total_bytes\":0,\"free_bytes\":0,\"leased_bytes\":1073741824},"   \
    "\"devices\":[{\"name\":\"CPU\"},{\"name\":\"CUDA0\"}],\"instances\":[\"qwen\"],"                           \
    "\"refused\":12,\"unreached\":1,\"units\":[{\"refused\":11},{\"refused\":0}]},"                             \
    "{\"name\":\"n\xc3\xb6"                                                                                     \
    "de2\",\"state\":\"lost\",\"addr\":\"10.77.0.12\",\"build\":\"\",\"build_problem\":"                        \
    "\"llama.cpp was not found\",\"rpc\":null,\"age_ms\":99000,\"devices\":[],\"instances\":[]}]}"

#define PLAN                                                                                                          \
    "{\"format\":1,\"model\":\"qwen\",\"alias\":\"qwen\",\"model_bytes\":216006656,\"n_layer\":16,\"ctx\":4096,"      \
    "\"slots\":4,\"kv_type\":\"f16\",\"policy\":\"fit\",\"band\":1,\"wanted_nodes\":0,\"build\":\"b11669\","          \
    "\"host_bytes\":12582912,\"missing_bytes\":0,\"ranks\":[{\"rank\":0,\"node_name\":\"node1\",\"addr\":"            \
    "\"10.77.0.11\",\"local\":false,\"devices\":[{\"name\":\"CPU\",\"first_layer\":0,\"n_layers\":9,\"has_output\":"  \
    "false,\"weight_bytes\":104857600,\"kv_bytes\":1048576,\"compute_bytes\":2097152,\"peak_bytes\":115343360,"       \
    "\"offer_bytes\":3221225472}]},{\"rank\":1,\"node_name\":\"node2\",\"addr\":\"10.77.0.12\",\"local\":false,"      \
    "\"devices\":[{\"name\":\"CPU\",\"first_layer\":9,\"n_layers\":7,\"has_output\":true,\"weight_bytes\":104857600," \
    "\"kv_bytes\":1048576,\"compute_bytes\":2097152,\"peak_bytes\":115343360,\"offer_bytes\":3221225472}]}],"         \
    "\"transport\":\"tunnel\",\"notes\":[\"node3 left out: draining\"]}"

#define TASK(state, extra) \
    "{\"id\":7,\"kind\":\"deploy\",\"state\":\"" state "\",\"name\":\"qwen\",\"step\":\"loading\"" extra "}"
#define LOADING                                                                                                   \
    "{\"name\":\"qwen\",\"state\":\"loading\",\"progress_permille\":450,\"eta_ms\":12000,\"epoch\":1,\"ranks\":[" \
    "{\"loaded_bytes\":52428800,\"planned_bytes\":104857600,\"proven\":true,\"flow\":{\"fed_bytes\":20971520}},"  \
    "{\"loaded_bytes\":10485760,\"planned_bytes\":104857600,\"proven\":false}]}"
#define READY                 "{\"name\":\"qwen\",\"state\":\"ready\",\"epoch\":1,\"ranks\":[{},{}]}"
#define EVENT(task, instance) "event: task\ndata: {\"task\":" task ",\"instance\":" instance "}\n\n"
#define ACCEPTED              "{\"task\":7,\"instance\":\"00\",\"attached\":false}"
#define REFUSAL \
    "{\"error\":{\"code\":\"unknown_model\",\"message\":\"no node has a model named \\\"qwem\\\"; there is: qwen\"}}"
#define SSE "text/event-stream"

/* ---- tests -------------------------------------------------------------------------------------------------------- */

static void test_nodes(void **state)
{
    static const struct route routes[] = {{"GET", "/api/nodes", 200, NODES, NULL, 0, 0}, {0}};
    struct stand_in s;
    struct run run = {.word = {"nodes"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(run.err, "");
    assert_string_equal(
        run.out,
        "NODE   STATE  ADDRESS                   FREE  DEVICES     LLAMA.CPP     RPC    LOAD  INSTANCES    SEEN\n"
        "node1  ready  10.77.0.11  3.0 GiB of 4.0 GiB  CPU, CUDA0  b11669-0.7.0  8.0.0  0.25  qwen       412 ms\n"
        "n\xc3\xb6"
        "de2  lost   10.77.0.12          0 B of 0 B  -           not usable    -      0.00  -            99 s\n"
        "node1: its carriers have turned away 12 connections; the units' logs say whose\n"
        "node1: its carriers could not reach the other side of 1 stream\n"
        "n\xc3\xb6"
        "de2: llama.cpp was not found\n"
        "trust = open: any machine that reaches the controller may join.\n");
    evhttp_free(s.http);
}

/* On a terminal: no line is wider, colours where they are wanted. */
static void test_nodes_on_a_terminal(void **state)
{
    static const struct route routes[] = {{"GET", "/api/nodes", 200, NODES, NULL, 0, 0}, {0}};
    struct stand_in s;
    struct run run = {.word = {"nodes"}, .columns = 84};

    (void)state;
    stand_in_start(&s, routes);
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
    run_cli(&run, &s);
    assert_null(strstr(run.out, "\033"));
    assert_non_null(strstr(run.out, "…"));
    setlocale(LC_CTYPE, "C.UTF-8");
    for (char *line = strtok(run.out, "\r\n"); line; line = strtok(NULL, "\r\n"))
        assert_true(screen_width(line) <= 84);
    unsetenv("NO_COLOR");
    run_cli(&run, &s);
    assert_non_null(strstr(run.out, "\033[32mready\033[0m"));
    assert_non_null(strstr(run.out, "\033[31mlost\033[0m"));
    evhttp_free(s.http);
}

static void test_json_is_handed_on(void **state)
{
    static const struct route routes[] = {{"GET", "/api/nodes", 200, NODES, NULL, 0, 0}, {0}};
    struct stand_in s;
    struct run run = {.word = {"--json", "nodes"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_non_null(strstr(run.out, "\"leased_bytes\": 1073741824"));
    evhttp_free(s.http);
}

static void test_models_that_are_being_indexed(void **state)
{
    static const struct route routes[] = {
        {"GET", "/api/models", 200,
         "{\"models\":[{\"name\":\"qwen\",\"nodes\":[\"n1\",\"n2\",\"n3\"],\"index_permille\":[1000,437,0]}]}", NULL, 0,
         0},
        {0}};
    struct stand_in s;
    struct run run = {.word = {"models"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_non_null(strstr(run.out, "qwen: 43 % of it is indexed on n2\n"));
    assert_null(strstr(run.out, "indexed on n1"));
    assert_null(strstr(run.out, "indexed on n3"));
    evhttp_free(s.http);
}

/* Under trust = open a node's name is anybody's. */
static void test_escapes_do_not_reach_the_terminal(void **state)
{
    static const struct route routes[] = {
        {"GET", "/api/models", 200,
         "{\"models\":[{\"name\":\"a\\u001b[2Jb\\n\\u009b2J\",\"problem\":\"x\\u001b]0;t\\u0007\"}]}", NULL, 0, 0},
        {0}};
    struct stand_in s;
    struct run run = {.word = {"models"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_null(strchr(run.out, '\033'));
    assert_null(strchr(run.out, '\007'));
    assert_null(strstr(run.out, "\xc2\x9b"));
    assert_non_null(strstr(run.out, "a?[2Jb"));
    evhttp_free(s.http);
}

static void test_plan(void **state)
{
    static const struct route routes[] = {
        {"GET", "/api/plan?model=qwen%20%C3%B6&nodes=2&policy=spread&kv_type=q8_0", 200,
         "{\"ok\":true,\"code\":null,\"message\":\"\",\"plan\":" PLAN ",\"other\":null}", NULL, 0, 0},
        {0}};
    char path[] = "/tmp/caravan-test-XXXXXX";
    struct stand_in s;
    struct run run = {
        .word = {"plan", "qwen \xc3\xb6", "--nodes", "2", "--policy=spread", "--kv-type", "q8_0", "--save", path}};
    char kept[4096] = "";
    FILE *f;

    (void)state;
    close(mkstemp(path));
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(run.out,
                        "qwen  206 MiB, 16 layers, context 4096 over 4 slots, KV f16\n"
                        "ranks: 2, by policy fit and size band of 1; transport tunnel; llama.cpp b11669\n"
                        "RANK  NODE   ADDRESS     DEVICE  LAYERS         WEIGHTS       KV  COMPUTE     PEAK       OF\n"
                        "   0  node1  10.77.0.11  CPU     0-8            100 MiB  1.0 MiB  2.0 MiB  110 MiB  3.0 GiB\n"
                        "   1  node2  10.77.0.12  CPU     9-15 + output  100 MiB  1.0 MiB  2.0 MiB  110 MiB  3.0 GiB\n"
                        "and 12 MiB of host memory on rank 0's node for the coordinator\n"
                        "- node3 left out: draining\n");
    f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(kept, 1, sizeof(kept) - 1, f) > 0);
    fclose(f);
    unlink(path);
    assert_non_null(strstr(kept, "\"format\": 1"));
    evhttp_free(s.http);
}

static void test_plan_that_does_not_fit(void **state)
{
    static const struct route routes[] = {{"GET", "/api/plan?model=big", 200,
                                           "{\"ok\":false,\"code\":\"no_fit\",\"message\":\"12.1 GiB are missing\","
                                           "\"plan\":null,\"other\":null}",
                                           NULL, 0, 0},
                                          {0}};
    struct stand_in s;
    struct run run = {.word = {"plan", "big"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_REFUSED);
    assert_string_equal(run.err, "caravan: 12.1 GiB are missing\n");
    evhttp_free(s.http);
}

static void test_deploy(void **state)
{
    static const struct route routes[] = {
        {"POST", "/api/instances", 202, ACCEPTED, NULL, 0, 0},
        {"GET", "/api/tasks/7", 200,
         EVENT(TASK("running", ""), LOADING) ": ping\n\n" EVENT(TASK("running", ""), LOADING)
             EVENT(TASK("complete", ",\"created_wall_ms\":1000,\"ended_wall_ms\":2300"), READY),
         SSE, 0, 0},
        {0}};
    struct stand_in s;
    struct run run = {.word = {"deploy", "qwen", "--alias", "q", "--ctx", "2048", "--", "--top-k", "1"}};

    (void)state;
    stand_in_start(&s, routes);
    setenv("CARAVAN_API_KEY", "sesame", 1);
    run_cli(&run, &s);
    unsetenv("CARAVAN_API_KEY");
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(s.asked,
                        "POST /api/instances|Bearer sesame||{\"model\":\"qwen\",\"ctx\":2048,\"alias\":\"q\",\"args\":"
                        "[\"--top-k\",\"1\"]}\nGET /api/tasks/7|Bearer sesame||\n");
    assert_string_equal(
        run.out, "qwen: loading, 60 MiB of 200 MiB, 20 MiB from the nodes' own files, 1 of 2 ranks proven, 12 s left\n"
                 "qwen is ready: 2 ranks, epoch 1, after 1.3 s\n");
    run.columns = 60;
    run_cli(&run, &s);
    assert_non_null(strstr(run.out, "\r\033[Kqwen: loading  [#########...........]  45 %, 60 MiB of 200"));
    assert_non_null(strstr(run.out, "\r\033[Kqwen is ready: 2 ranks, epoch 1, after 1.3 s"));
    evhttp_free(s.http);
}

static void test_deploy_says_how_long_it_stays(void **state)
{
    static const struct route routes[] = {{"POST", "/api/instances", 202, ACCEPTED, NULL, 0, 0}, {0}};
    static const struct {
        const char *word[8], *asked;
    } cases[] = {
        {{"--replicas", "3"}, "{\"model\":\"qwen\",\"replicas\":3}"},
        {{"--ttl", "10m", "--pinned"}, "{\"model\":\"qwen\",\"ttl_ms\":600000,\"pinned\":true}"},
        {{"--ttl", "0"}, "{\"model\":\"qwen\",\"ttl_ms\":0}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run run = {.word = {"deploy", "qwen", "--no-wait"}};
        struct stand_in s;

        for (size_t k = 0; cases[i].word[k]; k++)
            run.word[3 + k] = cases[i].word[k];
        stand_in_start(&s, routes);
        run_cli(&run, &s);
        if (run.code != CLI_DONE || !strstr(s.asked, cases[i].asked))
            fail_msg("case %zu: %d \"%s\" asked \"%s\"", i, run.code, run.err, s.asked);
        evhttp_free(s.http);
    }
}

/* Somebody was first: true of one that is ready as of one that loads, and no option of ours has changed it. */
static void test_deploy_of_what_is_there(void **state)
{
    static const struct route routes[] = {
        {"POST", "/api/instances", 202, "{\"task\":7,\"instance\":\"00\",\"attached\":true}", NULL, 0, 0},
        {"GET", "/api/tasks/7", 200, EVENT(TASK("complete", ",\"created_wall_ms\":1000,\"ended_wall_ms\":2300"), READY),
         SSE, 0, 0},
        {0}};
    struct stand_in s;
    struct run run = {.word = {"deploy", "qwen", "--nodes", "4"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(run.out, "qwen was deployed before and stays as it is; stop it first to change it\n"
                                 "qwen is ready: 2 ranks, epoch 1, after 1.3 s\n");
    evhttp_free(s.http);
}

static void test_how_a_task_ends(void **state)
{
    static const struct {
        const char *events;
        int code;
        const char *err;
    } cases[] = {
        {EVENT(TASK("failed", ",\"code\":\"worker_exited\",\"text\":\"rank 1 on node2: killed by SIGKILL\""), "null"),
         CLI_FAILED, "caravan: deploy of qwen failed: rank 1 on node2: killed by SIGKILL (worker_exited)\n"},
        {EVENT(TASK("refused", ",\"code\":\"no_fit\",\"text\":\"2 GiB are missing\""), "null"), CLI_REFUSED,
         "caravan: deploy of qwen refused: 2 GiB are missing (no_fit)\n"},
        {EVENT(TASK("cancelled", ",\"text\":\"stopped\""), "null"), CLI_FAILED,
         "caravan: deploy of qwen cancelled: stopped\n"},
        {EVENT(TASK("complete", ""), READY), CLI_DONE, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct route routes[] = {{"POST", "/api/instances", 202, ACCEPTED, NULL, 0, 0},
                                       {"GET", "/api/tasks/7", 200, cases[i].events, SSE, 0, 0},
                                       {0}};
        struct stand_in s;
        struct run run = {.word = {"deploy", "qwen"}};

        stand_in_start(&s, routes);
        run_cli(&run, &s);
        assert_int_equal(run.code, cases[i].code);
        assert_string_equal(run.err, cases[i].err);
        evhttp_free(s.http);
    }
}

/* Done, with something that people have to know. */
static void test_stop_with_a_remark(void **state)
{
    static const struct route routes[] = {
        {"DELETE", "/api/instances/qwen", 202, ACCEPTED, NULL, 0, 0},
        {"GET", "/api/tasks/7", 200,
         EVENT(TASK("complete", ",\"code\":\"not_reached\",\"text\":\"node2 could not be reached\""),
               "{\"state\":\"stopped\"}"),
         SSE, 0, 0},
        {0}};
    struct stand_in s;
    struct run run = {.word = {"stop", "qwen"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(run.out, "qwen is stopped; node2 could not be reached\n");
    evhttp_free(s.http);
}

/* The stream is cut at the first dial: it dials again and hears the end. */
static void test_a_controller_that_goes_and_comes(void **state)
{
    static const struct route routes[] = {
        {"DELETE", "/api/instances/qwen", 202, ACCEPTED, NULL, 0, 0},
        {"GET", "/api/tasks/7", 200, EVENT(TASK("running", ""), LOADING), SSE, 1, 1},
        {"GET", "/api/tasks/7", 200, EVENT(TASK("complete", ""), "{\"state\":\"stopped\"}"), SSE, 0, 0},
        {0}};
    struct stand_in s;
    struct run run = {.word = {"stop", "qwen"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(run.err, "");
    assert_non_null(strstr(run.out, "qwen is stopped\n"));
    assert_int_equal(s.n_asked, 3);
    run.word[2] = "--no-wait";
    run_cli(&run, &s);
    assert_string_equal(run.out, "task 7\n");
    assert_int_equal(s.n_asked, 4);
    evhttp_free(s.http);
}

/* After a cut the next dial asks for what came since. */
static void test_events(void **state)
{
#define TRANSITION(id, to)                                                                                           \
    "id: " id                                                                                                        \
    "\nevent: transition\ndata: {\"wall_ms\":0,\"machine\":\"node\",\"id\":\"n1\",\"from\":\"joining\",\"to\":\"" to \
    "\",\"event\":\"report\",\"verdict\":\"go\",\"text\":\"\"}\n\n"
    static const struct route routes[] = {{"GET", "/api/events", 200, TRANSITION("41", "ready"), SSE, 1, 1},
                                          {"GET", "/api/events", 200, TRANSITION("42", "lost"), SSE, 0, 1},
                                          {"GET", "/api/events", 401, "{}", NULL, 0, 0},
                                          {0}};
    struct stand_in s;
    struct run run = {.word = {"events"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_REFUSED);
    assert_non_null(strstr(run.out, "  node n1  joining -> ready  report\n"));
    assert_non_null(strstr(run.out, "  node n1  joining -> lost  report\n"));
    assert_string_equal(s.asked, "GET /api/events|||\nGET /api/events||41|\nGET /api/events||42|\n");
    evhttp_free(s.http);
}

static void test_refusals_and_troubles(void **state)
{
    static const struct {
        struct route route;
        int code;
        const char *err;
    } cases[] = {
        {{"GET", "/api/plan?model=qwem", 404, REFUSAL, NULL, 0, 0},
         CLI_REFUSED,
         "caravan: no node has a model named \"qwem\"; there is: qwen\n"},
        {{"GET", "/api/plan?model=qwem", 409, "{\"error\":{\"message\":\"a\\nb\"}}", NULL, 0, 0},
         CLI_REFUSED,
         "caravan: a b\n"},
        {{"GET", "/api/plan?model=qwem", 401, "{\"error\":{\"message\":\"no key\"}}", NULL, 0, 0},
         CLI_REFUSED,
         "caravan: no key; put it into CARAVAN_API_KEY, or name its file with --api-key-file: the controller's own is "
         "admin.key in its state directory\n"},
        {{"GET", "/api/plan?model=qwem", 403, "{\"error\":{\"message\":\"lesser\"}}", NULL, 0, 0},
         CLI_REFUSED,
         "caravan: lesser; another one goes into CARAVAN_API_KEY or --api-key-file\n"},
        {{"GET", "/api/plan?model=qwem", 503, "{\"error\":{\"message\":\"starting\"}}", NULL, 0, 0},
         CLI_FAILED,
         "caravan: starting\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct route routes[] = {cases[i].route, {0}};
        struct stand_in s;
        struct run run = {.word = {"plan", "qwem"}};

        stand_in_start(&s, routes);
        run_cli(&run, &s);
        assert_int_equal(run.code, cases[i].code);
        assert_string_equal(run.err, cases[i].err);
        evhttp_free(s.http);
    }
}

/* ---- the key ---- */

static char *key_file(const char *text)
{
    static char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "/tmp/caravan-test-%d.key", (int)getpid());
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

static void test_where_the_key_comes_from(void **state)
{
    static const struct route routes[] = {{"GET", "/api/tasks", 200, "{\"tasks\":[]}", NULL, 0, 0}, {0}};
    static const struct {
        const char *text, *env; /* env: CARAVAN_API_KEY */
        int by_env;             /* the file is named in the environment, not in argv */
        int code;
        const char *asked;
    } cases[] = {
        {"caravan_file\n", NULL, 0, CLI_DONE, "GET /api/tasks|Bearer caravan_file||\n"},
        {"caravan_file\r\nsecond line", NULL, 1, CLI_DONE, "GET /api/tasks|Bearer caravan_file||\n"},
        {"caravan_file\n", "caravan_env", 0, CLI_DONE, "GET /api/tasks|Bearer caravan_env||\n"},
        {"caravan_file\n", "", 1, CLI_DONE, "GET /api/tasks|Bearer caravan_file||\n"},
        {"\n", NULL, 0, CLI_USAGE, ""},
        {"", NULL, 1, CLI_USAGE, ""},
    };
    struct stand_in s;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *path = key_file(cases[i].text);
        struct run run = {.word = {"tasks", cases[i].by_env ? NULL : "--api-key-file", path}};

        if (cases[i].env)
            setenv("CARAVAN_API_KEY", cases[i].env, 1);
        if (cases[i].by_env)
            setenv("CARAVAN_API_KEY_FILE", path, 1);
        stand_in_start(&s, routes);
        run_cli(&run, &s);
        if (run.code != cases[i].code || strcmp(s.asked, cases[i].asked) != 0)
            fail_msg("case %zu: %d %s%s", i, run.code, s.asked, run.err);
        evhttp_free(s.http);
        unsetenv("CARAVAN_API_KEY");
        unsetenv("CARAVAN_API_KEY_FILE");
        unlink(path);
    }
}

/* The key file that nobody named is this host's controller's: it goes to no other. */
static void test_the_default_key_stays_here(void **state)
{
    static const struct {
        const char *host;
        int named, has_key;
    } cases[] = {
        {"127.0.0.1", 0, 1}, {"127.3.2.1", 0, 1}, {"localhost", 0, 1},   {"::1", 0, 1},
        {"192.0.2.1", 0, 0}, {"example", 0, 0},   {"fe80::1", 0, 0},     {"127.0.0.1.example", 0, 0},
        {"192.0.2.1", 1, 1}, {"example", 1, 1},   {"localhost.x", 0, 0},
    };
    struct api_access access = {.key_file = key_file("caravan_file\n")};
    char key[KEY_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        access.key_file_named = cases[i].named;
        assert_int_equal(key_find(&access, cases[i].host, key), CLI_DONE);
        if (strcmp(key, cases[i].has_key ? "caravan_file" : "") != 0)
            fail_msg("case %zu: %s: \"%s\"", i, cases[i].host, key);
    }
    unlink(access.key_file);
    access.key_file_named = 0;
    assert_int_equal(key_find(&access, "127.0.0.1", key), CLI_DONE); /* there is none: so be it */
    assert_string_equal(key, "");
}

static void test_files_that_cannot_be_read(void **state)
{
    struct run run = {.word = {"tasks", "--api-key-file", "/nonexistent/key"}};

    (void)state;
    run_cli(&run, NULL);
    assert_int_equal(run.code, CLI_USAGE);
    assert_non_null(strstr(run.err, "the API key in /nonexistent/key cannot be read: No such file"));
    run = (struct run){.word = {"tasks", "--controller", "https://127.0.0.1:1", "--ca-file", "/nonexistent/ca"}};
    run_cli(&run, NULL);
    assert_int_equal(run.code, CLI_USAGE);
    assert_non_null(strstr(run.err, "/nonexistent/ca cannot be used"));
}

static void test_what_is_no_controller(void **state)
{
    static const char *const bodies[] = {"", "<html>", "[]", "{\"a\":1,\"a\":2}", "{\"nodes\":"};
    struct run run = {.word = {"nodes"}};

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        const struct route routes[] = {{"GET", "/api/nodes", 200, bodies[i], NULL, 0, 0}, {0}};
        struct stand_in s;

        stand_in_start(&s, routes);
        run_cli(&run, &s);
        assert_int_equal(run.code, CLI_UNREACHABLE);
        assert_non_null(strstr(run.err, "is no Caravan controller"));
        evhttp_free(s.http);
    }
    run_cli(&run, NULL); /* port 1: nobody */
    assert_int_equal(run.code, CLI_UNREACHABLE);
    assert_non_null(strstr(run.err, "cannot reach the controller at http://127.0.0.1:1 (Connection refused)"));
    assert_non_null(strstr(run.err, "nor can the agent at /nonexistent/agent.sock tell (No such file or directory)"));
}

/* ---- nodes in trouble ---- */

#define TROUBLED                                                                                                           \
    "{\"made_wall_ms\":1,\"age_ms\":42000,\"brake\":{\"on\":true,\"since_wall_ms\":0,\"text\":\"2 of 3 nodes went silent " \
    "at once\"},\"nodes\":[{\"name\":\"n1\",\"state\":\"ready\",\"via\":\"n2\",\"age_ms\":1000,\"build\":\"b1\"},"         \
    "{\"name\":\"n3\",\"state\":\"lost\",\"via\":null,\"reason\":\"nobody answers at 10.0.0.3\",\"age_ms\":8000}]}"

static void test_troubles_of_nodes(void **state)
{
    static const struct route routes[] = {{"GET", "/api/nodes", 200, TROUBLED, NULL, 0, 0}, {0}};
    struct stand_in s;
    struct run run = {.word = {"nodes"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_ptr_equal(strstr(run.out, "brake: on for -: 2 of 3 nodes went silent at once\n"), run.out);
    assert_non_null(strstr(run.out, "n1    ready (via n2)  "));
    assert_non_null(strstr(run.out, "\nn3: nobody answers at 10.0.0.3\n"));
    assert_null(strstr(run.out, "n1: "));
    evhttp_free(s.http);
}

/* Without a controller this machine's agent tells, and how old that is. */
static void test_without_a_controller(void **state)
{
    static const struct route routes[] = {
        {"GET", "/api/nodes", 200, TROUBLED, NULL, 0, 0},
        {"GET", "/api/instances", 200, "{\"instances\":[],\"age_ms\":90000}", NULL, 0, 0},
        {0}};
    struct stand_in agent;
    struct run run = {.word = {"nodes"}};

    (void)state;
    setenv("CARAVAN_API_KEY", "secret", 1);
    agent_start(&agent, routes);
    run_cli(&run, NULL);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(run.err, "");
    assert_ptr_equal(strstr(run.out,
                            "No controller is reached at http://127.0.0.1:1: this is how it was 42 s ago, by this "
                            "machine's agent.\nbrake: on"),
                     run.out);
    assert_non_null(strstr(run.out, "  43 s\n")); /* seen 1 s before that */
    run = (struct run){.word = {"instances", "--json"}};
    run_cli(&run, NULL);
    assert_int_equal(run.code, CLI_DONE);
    assert_non_null(strstr(run.out, "\"age_ms\": 90000"));
    assert_non_null(strstr(run.err, "this is how it was 90 s ago"));
    assert_string_equal(agent.asked, "GET /api/nodes|||\nGET /api/instances|||\n"); /* the key is the controller's */
    run = (struct run){.word = {"tasks"}};
    run_cli(&run, NULL);
    assert_int_equal(run.code, CLI_UNREACHABLE);
    run = (struct run){.word = {"nodes", "--socket", "/nonexistent/other.sock"}};
    run_cli(&run, NULL);
    assert_int_equal(run.code, CLI_UNREACHABLE);
    assert_non_null(strstr(run.err, "/nonexistent/other.sock"));
    agent_end(&agent);
    unsetenv("CARAVAN_API_KEY");
}

static void test_an_agent_that_knows_nothing(void **state)
{
    static const struct route routes[] = {
        {"GET", "/api/nodes", 503, "{\"error\":{\"code\":\"no_snapshot\"}}", NULL, 0, 0}, {0}};
    struct stand_in agent;
    struct run run = {.word = {"nodes"}};

    (void)state;
    agent_start(&agent, routes);
    run_cli(&run, NULL);
    assert_int_equal(run.code, CLI_UNREACHABLE);
    assert_string_equal(run.out, "");
    assert_non_null(strstr(run.err, "no controller has told it anything yet"));
    agent_end(&agent);
}

static void test_what_is_asked_of_nodes(void **state)
{
    static const struct route routes[] = {
        {"POST", "/api/nodes/n%201/drain", 202, ACCEPTED, NULL, 0, 0},
        {"GET", "/api/tasks/7", 200,
         EVENT("{\"id\":7,\"kind\":\"drain\",\"state\":\"complete\",\"name\":\"n 1\",\"text\":\"it is empty\"}",
               "null"),
         SSE, 0, 0},
        {"POST", "/api/nodes/n1/undrain", 200, "{\"task\":null,\"text\":\"node n1 takes part again\"}", NULL, 0, 0},
        {"POST", "/api/nodes/n1/retire", 409,
         "{\"error\":{\"code\":\"invalid_transition\",\"message\":\"the node is retired\",\"machine\":\"node\"}}", NULL,
         0, 0},
        {"POST", "/api/brake/lift", 200, "{\"task\":null,\"text\":null}", NULL, 0, 0},
        {0}};
    static const struct {
        const char *word[4];
        int code;
        const char *out, *err;
    } cases[] = {
        {{"drain", "n 1"}, CLI_DONE, "n 1: it is empty\n", ""},
        {{"drain", "n 1", "--no-wait"}, CLI_DONE, "task 7\n", ""},
        {{"undrain", "n1"}, CLI_DONE, "node n1 takes part again\n", ""},
        {{"nodes", "retire", "n1"}, CLI_REFUSED, "", "caravan: the node is retired\n"},
        {{"nodes", "lift-brake"}, CLI_DONE, "the brake is lifted\n", ""},
        {{"nodes", "retire"},
         CLI_USAGE,
         "",
         "caravan: nodes has no use for \"retire\": caravan nodes [approve KEY --name NODE | revoke NODE | retire "
         "NODE | lift-brake]\n"},
        {{"nodes", "n1"},
         CLI_USAGE,
         "",
         "caravan: nodes has no use for \"n1\": caravan nodes [approve KEY --name NODE | revoke NODE | retire NODE | "
         "lift-brake]\n"},
    };
    struct stand_in s;

    (void)state;
    stand_in_start(&s, routes);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run run = {.word = {NULL}};

        memcpy(run.word, cases[i].word, sizeof(cases[i].word));
        run_cli(&run, &s);
        if (run.code != cases[i].code || strcmp(run.out, cases[i].out) != 0 || strcmp(run.err, cases[i].err) != 0)
            fail_msg("case %zu: %d \"%s\" \"%s\"", i, run.code, run.out, run.err);
    }
    evhttp_free(s.http);
}

/* What is secret stands alone on standard output: `caravan token create >FILE` is all that is needed. */
static void test_who_may_join_and_ask(void **state)
{
    static const struct route routes[] = {
        {"POST", "/api/tokens", 200, "{\"token\":\"caravan1_x\",\"key\":\"ab\",\"uses\":3,\"expires_wall_ms\":9}", NULL,
         0, 0},
        {"GET", "/api/tokens", 200,
         "{\"tokens\":[{\"key\":\"0123456789abcdef0123\",\"uses_left\":2,\"made_wall_ms\":0,\"expires_wall_ms\":0}]}",
         NULL, 0, 0},
        {"DELETE", "/api/tokens/0123456789abcdef", 200, "{\"task\":null,\"text\":null}", NULL, 0, 0},
        {"GET", "/api/keys", 200, "{\"keys\":[{\"name\":\"admin\",\"scope\":\"admin\",\"made_wall_ms\":0}]}", NULL, 0,
         0},
        {"POST", "/api/keys", 200, "{\"key\":\"caravan_y\",\"name\":\"web\",\"scope\":\"infer\"}", NULL, 0, 0},
        {"DELETE", "/api/keys/web", 200, "{\"task\":null,\"text\":\"key web is removed\"}", NULL, 0, 0},
        {"POST", "/api/nodes/approve", 200, "{\"task\":null,\"text\":\"key 01234567 is let in\"}", NULL, 0, 0},
        {"POST", "/api/nodes/n1/revoke", 200, "{\"task\":null,\"text\":null}", NULL, 0, 0},
        {0}};
    static const struct {
        const char *word[7];
        int code;
        const char *out, *err, *asked; /* asked, err: parts */
    } cases[] = {
        {{"token", "create", "--uses", "3", "--ttl", "2h"},
         CLI_DONE,
         "caravan1_x\n",
         "3 machines within 2 h",
         "POST /api/tokens|||{\"ttl_ms\":7200000,\"uses\":3}\n"},
        {{"token", "create"}, CLI_DONE, "caravan1_x\n", "one machine", "{\"ttl_ms\":3600000,\"uses\":1}"},
        {{"token", "list"},
         CLI_DONE,
         "TOKEN             USES LEFT  EXPIRES IN  AGE\n0123456789abcdef          2           -    -\n",
         "",
         ""},
        {{"token", "remove", "0123456789abcdef"}, CLI_DONE, "removed: it lets nobody in any more\n", "", ""},
        {{"token", "list", "--uses", "2"}, CLI_USAGE, "", "--ttl and --uses are for caravan token create", ""},
        {{"token", "create", "--ttl", "59s"}, CLI_USAGE, "", "ttl", ""},
        {{"token", "create", "--uses", "1025"}, CLI_USAGE, "", "uses", ""},
        {{"token", "creat"},
         CLI_USAGE,
         "",
         "token has no use for \"creat\": caravan token create | list | remove TOKEN",
         ""},
        {{"token"}, CLI_USAGE, "", "token needs a word", ""},
        {{"keys"}, CLI_DONE, "KEY    SCOPE  AGE\nadmin  admin    -\n", "", ""},
        {{"keys", "create", "web", "--scope", "infer"},
         CLI_DONE,
         "caravan_y\n",
         "not shown again",
         "POST /api/keys|||{\"name\":\"web\",\"scope\":\"infer\"}\n"},
        {{"keys", "create", "web"}, CLI_USAGE, "", "--scope infer, read or admin", ""},
        {{"keys", "--scope", "read"}, CLI_USAGE, "", "--scope is for caravan keys create NAME", ""},
        {{"keys", "remove", "web"}, CLI_DONE, "key web is removed\n", "", ""},
        {{"nodes", "approve", "01234567", "--name", "n 1"},
         CLI_DONE,
         "key 01234567 is let in\n",
         "",
         "POST /api/nodes/approve|||{\"key\":\"01234567\",\"name\":\"n 1\"}\n"},
        {{"nodes", "approve", "01234567"}, CLI_USAGE, "", "nodes approve needs the node's name", ""},
        {{"nodes", "retire", "n1", "--name", "x"}, CLI_USAGE, "", "--name is for caravan nodes approve", ""},
        {{"nodes", "revoke", "n1"},
         CLI_DONE,
         "revoked: its links are closed, and its key is not let in again\n",
         "",
         ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run run = {.word = {NULL}};
        struct stand_in s;

        stand_in_start(&s, routes);
        memcpy(run.word, cases[i].word, sizeof(cases[i].word));
        run_cli(&run, &s);
        if (run.code != cases[i].code || strcmp(run.out, cases[i].out) != 0 || !strstr(run.err, cases[i].err) ||
            !strstr(s.asked, cases[i].asked) || (!*cases[i].err && *run.err))
            fail_msg("case %zu: %d \"%s\" \"%s\" asked \"%s\"", i, run.code, run.out, run.err, s.asked);
        evhttp_free(s.http);
    }
}

static void test_instances_in_trouble(void **state)
{
    static const struct route routes[] = {
        {"GET", "/api/instances", 200,
         "{\"instances\":["
         "{\"name\":\"a\",\"state\":\"recovering\",\"attempts\":3,\"again_in_ms\":4000,\"reason\":\"rank 1 on n2 was killed\","
         "\"ranks\":[{\"rank\":0,\"node_name\":\"n1\",\"endpoint\":\"10.0.0.1:20052\",\"loaded_bytes\":1048576,"
         "\"planned_bytes\":2097152,\"proven\":true,\"slow\":true,\"frozen_ms\":0},{\"rank\":1,\"node_name\":\"n2\","
         "\"endpoint\":\"\",\"frozen_ms\":7000,\"proven\":true},{\"rank\":2,\"node_name\":\"n3\",\"stopped\":true}]},"
         "{\"name\":\"b\",\"state\":\"waiting\",\"missing_bytes\":1288490189,\"reason\":\"n2 is lost\"},"
         "{\"name\":\"c\",\"state\":\"failed\",\"reason\":\"6 times in a row\",\"tried\":[{\"epoch\":4,\"wall_ms\":0,\"code\":"
         "\"rank_lost\",\"node_name\":\"n2\",\"text\":\"rank 1 on n2 was killed\"}]},"
         "{\"name\":\"d\",\"state\":\"loading\",\"follows\":\"0123456789abcdef0123456789abcdef\"},"
         "{\"name\":\"e\",\"state\":\"ready\",\"attempts\":1,\"again_in_ms\":null},"
         "{\"name\":\"f\",\"state\":\"stopped\",\"ranks\":[{\"rank\":0,\"node_name\":\"n1\",\"loaded_bytes\":5}]}]}",
         NULL, 0, 0},
        {0}};
    struct stand_in s;
    struct run run = {.word = {"instances"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_non_null(strstr(run.out, "\na: recovering, attempt 3, again in 4.0 s: rank 1 on n2 was killed\n"
                                    "b: waiting, 1.2 GiB missing: n2 is lost\n"
                                    "c: failed: 6 times in a row\n"
                                    "  epoch 4, - ago: rank 1 on n2 was killed (rank_lost)\n"
                                    "d: loading, takes the place of 01234567\n"));
    assert_null(strstr(run.out, "e: "));
    run.word[1] = "--ranks";
    run_cli(&run, &s);
    assert_string_equal(run.out, "NAME  RANK  NODE  ENDPOINT         LOADED       OF  STATE\n"
                                 "a        0  n1    10.0.0.1:20052  1.0 MiB  2.0 MiB  slow\n"
                                 "a        1  n2    -                   0 B      0 B  frozen for 7.0 s\n"
                                 "a        2  n3    -                   0 B      0 B  stopped by a signal\n");
    evhttp_free(s.http);
}

/* Columns that tell something are there: which of several it is, and how long it stays. */
static void test_instances_that_may_leave(void **state)
{
    static const struct route routes[] = {
        {"GET", "/api/instances", 200,
         "{\"instances\":["
         "{\"name\":\"a\",\"model\":\"a\",\"state\":\"ready\",\"replica\":0,\"ttl_ms\":600000,\"idle_ms\":4000},"
         "{\"name\":\"a\",\"model\":\"a\",\"state\":\"draining\",\"leaving\":true,\"replica\":1,\"ttl_ms\":600000,"
         "\"idle_ms\":0,\"reason\":\"idle for 10 min\"},"
         "{\"name\":\"b\",\"model\":\"b\",\"state\":\"ready\",\"pinned\":true,\"idle_ms\":9000},"
         "{\"name\":\"c\",\"model\":\"c\",\"state\":\"ready\",\"demand\":true,\"idle_ms\":9000}]}",
         NULL, 0, 0},
        {0}};
    struct stand_in s;
    struct run run = {.word = {"instances"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(run.out,
                        "NAME  REPLICA  MODEL  STATE    SINCE             IDLE  EPOCH  RANKS 0, 1, ...  COORDINATOR\n"
                        "a           0  a      ready        -  4.0 s of 10 min      0  -                -\n"
                        "a           1  a      leaving      -                -      0  -                -\n"
                        "b           0  b      ready        -           pinned      0  -                -\n"
                        "c           0  c      ready        -            9.0 s      0  -                -\n"
                        "a: leaving: idle for 10 min\n");
    evhttp_free(s.http);
}

/* What passes to and from them, where carriers see it. */
static void test_ranks_that_are_seen(void **state)
{
    static const struct route routes[] = {
        {"GET", "/api/instances", 200,
         "{\"instances\":[{\"name\":\"a\",\"state\":\"ready\",\"plan\":{\"ranks\":[{\"devices\":[{\"n_layers\":5},"
         "{\"n_layers\":3}]},{\"devices\":[{\"n_layers\":9}]}]},\"ranks\":["
         "{\"rank\":0,\"node_name\":\"n1\",\"endpoint\":\"127.0.0.1:20052\",\"loaded_bytes\":1048576,"
         "\"planned_bytes\":2097152,\"proven\":true,\"flow\":{\"fed_bytes\":0,\"to_bytes\":3145728,\"from_bytes\":1024,"
         "\"round_trips\":42,\"share_permille\":254,\"oldest\":null,\"away_ms\":0}},"
         "{\"rank\":1,\"node_name\":\"n2\",\"endpoint\":\"10.0.0.2:7440\",\"proven\":true,\"flow\":{"
         "\"fed_bytes\":5242880,\"to_bytes\":1048576,\"from_bytes\":10,\"round_trips\":41,\"share_permille\":746,"
         "\"oldest\":\"GET_TENSOR\",\"oldest_ms\":1500,\"away_ms\":9500}},"
         "{\"rank\":2,\"node_name\":\"n3\",\"flow\":{\"blind\":\"version\",\"oldest\":null}},"
         "{\"rank\":3,\"node_name\":\"n4\",\"flow\":{\"away_ms\":2500}},"
         "{\"rank\":4,\"node_name\":\"n5\",\"flow\":null}]},"
         "{\"name\":\"old\",\"state\":\"failed\",\"ranks\":[{\"flow\":{}}]}]}",
         NULL, 0, 0},
        {0}};
    struct stand_in s;
    struct run run = {.word = {"instances", "--ranks"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(
        run.out,
        "NAME  RANK  NODE  LAYERS  ENDPOINT          LOADED       OF  OWN FILE       TO   FROM  TRIPS  SHARE  OLDEST          "
        "                 STATE\n"
        "a        0  n1         8  127.0.0.1:20052  1.0 MiB  2.0 MiB       0 B  3.0 MiB  1 KiB     42   25 %  -               "
        "                 proven\n"
        "a        1  n2         9  10.0.0.2:7440        0 B      0 B   5.0 MiB  1.0 MiB   10 B     41   75 %  GET_TENSOR 1.5 s"
        ", network 9.5 s  proven\n"
        "a        2  n3         -  -                    0 B      0 B       0 B      0 B    0 B      0    0 %  not read: version"
        "                -\n"
        "a        3  n4         -  -                    0 B      0 B       0 B      0 B    0 B      0    0 %  network 2.5 s    "
        "                -\n"
        "a        4  n5         -  -                    0 B      0 B         -        -      -      -      -  -                "
        "                -\n");
    evhttp_free(s.http);
}

/* An answer of another shape than ours is shown as far as it goes. */
static void test_answers_of_another_shape(void **state)
{
    static const char *const verbs[] = {"nodes", "backends", "models", "instances", "tasks"};
    static const struct route routes[] = {
        {"GET", "/api/nodes", 200, "{\"nodes\":[{},5,{\"memory\":[],\"devices\":{},\"name\":7}]}", NULL, 0, 0},
        {"GET", "/api/rpc_backends", 200, "{\"backends\":[{\"port\":-1},null],\"dropped\":{\"x\":\"y\"}}", NULL, 0, 0},
        {"GET", "/api/models", 200, "{\"models\":{}}", NULL, 0, 0},
        {"GET", "/api/instances", 200, "{\"instances\":[{\"ranks\":[1,{}]}]}", NULL, 0, 0},
        {"GET", "/api/tasks", 200, "{\"tasks\":[{\"ended_wall_ms\":\"x\"}]}", NULL, 0, 0},
        {0}};
    struct stand_in s;

    (void)state;
    stand_in_start(&s, routes);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        struct run run = {.word = {verbs[i]}};

        run_cli(&run, &s);
        assert_int_equal(run.code, CLI_DONE);
        assert_string_equal(run.err, "");
    }
    evhttp_free(s.http);
}

static void test_why(void **state)
{
    static const struct route routes[] = {
        {"GET", "/api/rpc_backends", 200,
         "{\"backends\":[{\"host\":\"10.77.0.12\",\"port\":20052,\"node_name\":\"node2\",\"state\":\"healthy\","
         "\"sources\":[{\"source\":\"agent\",\"says\":\"its standing worker\",\"last_seen_wall_ms\":0}]},"
         "{\"host\":\"10.77.0.13\",\"port\":1,\"sources\":[]}]}",
         NULL, 0, 0},
        {0}};
    struct stand_in s;
    struct run run = {.word = {"backends", "--why", "node2"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_string_equal(run.out, "10.77.0.12:20052 is healthy\n  agent  its standing worker (- ago)\n");
    run.word[2] = "node9";
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_FAILED);
    assert_non_null(strstr(run.err, "no source has named a backend on \"node9\""));
    evhttp_free(s.http);
}

#define CHUNK(text) "data: {\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}\n\n"

static void test_chat(void **state)
{
    static const struct route routes[] = {
        {"POST", "/v1/chat/completions", 200,
         "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n: ping\n\n" CHUNK("Hel")
             CHUNK("lo\\n") CHUNK("there") "data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n",
         SSE, 0, 0},
        {0}};
    struct stand_in s;
    struct run run = {
        .word = {"chat", "qwen", "say", "hello", "--max-tokens", "5", "--temperature", "0", "--system", "be brief"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(run.out, "Hello\nthere\n");
    assert_string_equal(s.asked, "POST /v1/chat/completions|||{\"model\":\"qwen\",\"messages\":[{\"role\":\"system\","
                                 "\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"say hello\"}],\"stream\":"
                                 "true,\"max_tokens\":5,\"temperature\":0.0}\n");
    run = (struct run){.word = {"chat", "qwen"}, .input = "from a pipe\n\n"};
    s.asked[0] = '\0';
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_non_null(strstr(s.asked, "\"content\":\"from a pipe\""));
    evhttp_free(s.http);
}

static void test_chats_that_go_wrong(void **state)
{
    static const struct {
        struct route route;
        const char *out;
        int code;
        const char *err;
    } cases[] = {
        {{"POST", "/v1/chat/completions", 200, CHUNK("Hel"), SSE, 1, 0}, "Hel\n", CLI_UNREACHABLE, "Connection reset"},
        {{"POST", "/v1/chat/completions", 200, CHUNK("Hel"), SSE, 0, 0}, "Hel\n", CLI_FAILED, "the answer was cut off"},
        {{"POST", "/v1/chat/completions", 200,
          CHUNK("Hel") "data: {\"error\":{\"code\":502,\"message\":\"rank 1 on node2 is gone\"}}\n\n", SSE, 0, 0},
         "Hel\n",
         CLI_FAILED,
         "rank 1 on node2 is gone"},
        {{"POST", "/v1/chat/completions", 404,
          "{\"error\":{\"code\":404,\"message\":\"no model qwen\",\"type\":\"not_found_error\"}}", NULL, 0, 0},
         "",
         CLI_REFUSED,
         "no model qwen"},
        {{"POST", "/v1/chat/completions", 503, "{\"error\":{\"message\":\"qwen is loading\"}}", NULL, 0, 0},
         "",
         CLI_FAILED,
         "qwen is loading"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct route routes[] = {cases[i].route, {0}};
        struct stand_in s;
        struct run run = {.word = {"chat", "qwen", "hello"}};

        stand_in_start(&s, routes);
        run_cli(&run, &s);
        if (run.code != cases[i].code || strcmp(run.out, cases[i].out) != 0 || !strstr(run.err, cases[i].err))
            fail_msg("case %zu: %d, \"%s\", \"%s\"", i, run.code, run.out, run.err);
        evhttp_free(s.http);
    }
}

/* ---- ask ---------------------------------------------------------------------------------------------------------- */

static void write_council(char *path, const char *text)
{
    int fd;

    strcpy(path, "/tmp/caravan-test-council.XXXXXX");
    fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void test_ask(void **state)
{
    static const struct route routes[] = {
        {"POST", "/v1/chat/completions", 200, CHUNK("Be") CHUNK("cause.") "data: [DONE]\n\n", SSE, 0, 0}, {0}};
    struct stand_in s;
    struct run run = {.word = {"ask", "why", "so?"}};

    (void)state;
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(run.out, "Because.\n");
    run = (struct run){.word = {"ask", "--model", "qwen"}, .input = "why?\n"};
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(
        s.asked,
        "POST /v1/chat/completions|||{\"messages\":[{\"role\":\"user\",\"content\":\"why so?\"}],\"stream\":true}\n"
        "POST /v1/chat/completions|||{\"messages\":[{\"role\":\"user\",\"content\":\"why?\"}],\"model\":\"qwen\",\"stream\":"
        "true}\n");
    evhttp_free(s.http);
}

#define FANOUT_EVENT(name, members) "event: " name "\ndata: {\"type\":\"" name "\"" members "}\n\n"
#define ANSWER(text)                                                                                 \
    "\"success\":true,\"model\":\"qwen\",\"content\":\"" text "\",\"error\":null,\"total_ms\":3100," \
    "\"tokens\":{\"prompt\":9,\"completion\":7}"
#define FAILURE(text)                                                                                                  \
    "\"success\":false,\"model\":\"gone\",\"content\":null,\"total_ms\":2,\"error\":{\"code\":404,\"message\":\"" text \
    "\"}"

static const char council_file[] = "[one]\nsystem = first line\n    and the second\ntemperature = 0.5\ntimeout = 90s\n"
                                   "[two]\nmodel = gone\nmax_tokens = 20\n[synthesis]\nmodel = big\n";
static const char council_stream[] = ": ping\n\n" FANOUT_EVENT("member.delta", ",\"index\":0,\"content\":\"ye\"")
    FANOUT_EVENT("member.done", ",\"index\":1,\"name\":\"two\"," FAILURE("model \\\"gone\\\" not \\u001bfound"))
        FANOUT_EVENT("member.delta", ",\"index\":0,\"content\":\"s\"")
            FANOUT_EVENT("member.done", ",\"index\":0,\"name\":\"one\"," ANSWER("yes"))
                FANOUT_EVENT("synthesis.delta", ",\"content\":\"It is \"")
                    FANOUT_EVENT("synthesis.delta", ",\"content\":\"so.\"")
                        FANOUT_EVENT("synthesis.done", "," ANSWER("It is so."))
                            FANOUT_EVENT("done", ",\"success_count\":1,\"synthesis\":{\"success\":true}");

static void test_case_27_council(void **state)
{
    static const struct route routes[] = {
        {"POST", "/v1/fanout", 200, council_stream, SSE, 0, 1},
        {"POST", "/v1/fanout", 200, "{\"members\":[{" ANSWER("yes") "}],\"success_count\":1}", NULL, 0, 0},
        {0}};
    char path[64];
    struct stand_in s;
    struct run run = {.word = {"ask", "--council", path, "--model", "qwen", "--timeout", "5m", "is it so?"}};

    (void)state;
    write_council(path, council_file);
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_string_equal(run.err, "");
    assert_int_equal(run.code, CLI_DONE);
    assert_string_equal(run.out, "== one (qwen)\nyes\n\n== two (gone)\nfailed: model \"gone\" not ?found\n\n"
                                 "== synthesis\nIt is so.\n");
    assert_string_equal(
        s.asked, "POST /v1/fanout|||{\"members\":[{\"name\":\"one\",\"system\":\"first line and the second\","
                 "\"temperature\":0.5,\"timeout\":90.0},{\"name\":\"two\",\"model\":\"gone\",\"max_tokens\":20}],"
                 "\"synthesis\":{\"model\":\"big\"},\"messages\":[{\"role\":\"user\",\"content\":\"is it so?\"}],"
                 "\"model\":\"qwen\",\"timeout\":300.0,\"stream\":true}\n");
    run = (struct run){.word = {"ask", "--council", path, "--json", "is it so?"}};
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_non_null(strstr(s.asked, "\"is it so?\"}],\"stream\":false}\n"));
    assert_non_null(strstr(run.out, "\"success_count\": 1"));
    assert_non_null(strstr(run.out, "\"content\": \"yes\"")); /* which the last event of a stream does not have */
    assert_null(strstr(run.out, "=="));
    evhttp_free(s.http);
    unlink(path);
}

static void test_council_on_a_terminal(void **state)
{
    static const struct route routes[] = {{"POST", "/v1/fanout", 200, council_stream, SSE, 0, 0}, {0}};
    char path[64];
    struct stand_in s;
    struct run run = {.word = {"ask", "--council", path, "is it so?"}, .columns = 60};

    (void)state;
    setenv("TERM", "dumb", 1);
    write_council(path, council_file);
    stand_in_start(&s, routes);
    run_cli(&run, &s);
    assert_int_equal(run.code, CLI_DONE);
    assert_non_null(strstr(run.out, "0 of 2 have ended; one waits; two waits"));
    assert_non_null(strstr(run.out, "0 of 2 have ended; one: 1 tokens; two waits"));
    assert_non_null(strstr(run.out, "\r\033[Kfailed   two  2 ms\r\n"));
    assert_non_null(strstr(run.out, "\r\033[Kanswered one  3.1 s  7 tokens\r\n"));
    assert_non_null(strstr(run.out, "\r\n== two (gone)\r\nfailed: model \"gone\" not ?found\r\n"));
    evhttp_free(s.http);
    unlink(path);
}

static void test_councils_that_go_wrong(void **state)
{
    static const struct {
        const char *file;
        struct route route;
        int code;
        const char *err;
    } cases[] = {
        {"", {0}, CLI_USAGE, "a council has members: [NAME] begins one"},
        {"[a]\ntemprature = 1\n", {0}, CLI_USAGE, "temprature"},
        {"[a]\ntemperature = warm\n", {0}, CLI_USAGE, "temperature 'warm' must be a number from 0 on"},
        {"[a]\ntemperature = inf\n", {0}, CLI_USAGE, "temperature 'inf' must be a number from 0 on"},
        {"[a]\n[a]\n", {0}, CLI_USAGE, "a"},
        {"[a]\n[synthesis]\n",
         {"POST", "/v1/fanout", 200,
          FANOUT_EVENT("member.done", ",\"index\":0," ANSWER("x"))
              FANOUT_EVENT("done", ",\"success_count\":1,\"synthesis\":{" FAILURE("too long") "}"),
          SSE, 0, 0},
         CLI_FAILED,
         "caravan: synthesis: too long\n"},
        {"[a]\n",
         {"POST", "/v1/fanout", 200,
          FANOUT_EVENT("member.done", ",\"index\":0," FAILURE("no")) FANOUT_EVENT("done", ",\"success_count\":0"), SSE,
          0, 0},
         CLI_FAILED,
         "caravan: no member has answered\n"},
        {"[a]\n",
         {"POST", "/v1/fanout", 200, FANOUT_EVENT("member.delta", ",\"index\":0"), SSE, 0, 0},
         CLI_FAILED,
         "caravan: the answers were cut off\n"},
        {"[a]\n",
         {"POST", "/v1/fanout", 400, "{\"error\":{\"message\":\"members[0].name: no\"}}", NULL, 0, 0},
         CLI_REFUSED,
         "caravan: members[0].name: no\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct route routes[] = {cases[i].route, {0}};
        char path[64];
        struct stand_in s;
        struct run run = {.word = {"ask", "--council", path, "why?"}};

        write_council(path, cases[i].file);
        stand_in_start(&s, routes);
        run_cli(&run, &s);
        if (run.code != cases[i].code || !strstr(run.err, cases[i].err))
            fail_msg("case %zu: %d, \"%s\", \"%s\"", i, run.code, run.out, run.err);
        evhttp_free(s.http);
        unlink(path);
    }
}

static void test_usage(void **state)
{
    static const struct {
        const char *word[6];
        const char *err;
    } cases[] = {
        {{NULL}, "Usage: caravan VERB"},
        {{"nonsense"}, "there is no verb \"nonsense\""},
        {{"plan"}, "caravan plan MODEL"},
        {{"plan", "a", "b"}, "plan has no use for \"b\""},
        {{"nodes", "--", "x"}, "takes nothing after"},
        {{"plan", "a", "--nodes", "17"}, "from 1 to 16"},
        {{"plan", "a", "--polcy", "fit"}, "did you mean '--policy'"},
        {{"nodes", "--controller", "ftp://x"}, "it begins with http://"},
        {{"nodes", "--controller", "http://"}, "http://HOST:PORT"},
        {{"nodes", "--controller", "http://a:0"}, "http://HOST:PORT"},
        {{"nodes", "--controller", "http://a/b"}, "http://HOST:PORT"},
        {{"nodes", "--controller", "http://[::1"}, "http://HOST:PORT"},
        {{"nodes", "--controller", "http://a b"}, "cannot be sent"},
        {{"nodes", "--controller", "https://u:s3cret@a:1"}, "holds no user and no password"},
        {{"nodes", "--controller", "u:s3cret@a"}, "holds no user and no password"},
        {{"chat", "m", "p", "--temperature", "hot"}, "must be a number from 0 to 2"},
        {{"chat", "m", "p", "--temperature", "2.5"}, "must be a number from 0 to 2"},
        {{"chat", "m"}, "there is no prompt"},
        {{"deploy", "m", "--plan", "/nonexistent/plan"}, "cannot read the plan"},
        {{"deploy", "m", "--plan", "/dev/null"}, "/dev/null:1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct run run = {.word = {NULL}};

        memcpy(run.word, cases[i].word, sizeof(cases[i].word));
        run_cli(&run, NULL);
        if (run.code != CLI_USAGE || !strstr(run.err, cases[i].err) || strstr(run.err, "s3cret"))
            fail_msg("case %zu: %d \"%s\"", i, run.code, run.err);
    }
}

static void on_sse(void *ctx, const struct sse_event *e)
{
    char *text = ctx;

    snprintf(text + strlen(text), 256 - strlen(text), "[%s|%s|%s]", e->event, e->id, e->data);
}

static void test_sse_cut_anywhere(void **state)
{
    static const char stream[] =
        ": hello\n\nid: 1\nevent: a\ndata: x\n\ndata:y\r\ndata:  z\r\n\r\nretry: 5\nevent: b\n\ndata\n"
        "data:\n\ndata: not whole";

    (void)state;
    for (size_t n = 1; n < sizeof(stream); n++) {
        struct sse *sse = NULL;
        char text[256] = "";

        assert_int_equal(sse_new(&sse), 0);
        for (size_t at = 0; at < sizeof(stream) - 1; at += n)
            assert_int_equal(
                sse_feed(sse, stream + at, at + n < sizeof(stream) ? n : sizeof(stream) - 1 - at, on_sse, text), 0);
        assert_string_equal(text, "[a|1|x][|1|y\n z][|1|]");
        sse_destroy(&sse);
    }
}

static void test_sse_bounds(void **state)
{
    static char block[65536];
    struct sse *sse = NULL;
    char text[256] = "";
    int r = 0;

    (void)state;
    memset(block, 'x', sizeof(block));
    assert_int_equal(sse_new(&sse), 0);
    for (int i = 0; i < 100 && !r; i++)
        r = sse_feed(sse, block, sizeof(block), on_sse, text);
    assert_int_equal(r, SSE_E_TOO_LARGE);
    sse_destroy(&sse);
}

static void test_numbers_for_people(void **state)
{
    (void)state;
    assert_string_equal(SCREEN_BYTES(0), "0 B");
    assert_string_equal(SCREEN_BYTES(1023), "1023 B");
    assert_string_equal(SCREEN_BYTES(216006656), "206 MiB");
    assert_string_equal(SCREEN_BYTES(12884901888), "12.0 GiB");
    assert_string_equal(SCREEN_BYTES(UINT64_MAX), "16777216.0 TiB");
    assert_string_equal(SCREEN_DURATION(999), "999 ms");
    assert_string_equal(SCREEN_DURATION(1250), "1.2 s");
    assert_string_equal(SCREEN_DURATION(119999), "119 s");
    assert_string_equal(SCREEN_DURATION(7199999), "119 min");
}

static void test_help(void **state)
{
    static const char *const verbs[] = {"nodes",     "backends", "models", "plan",   "deploy",  "stop",
                                        "instances", "tasks",    "chat",   "events", "version", "drain",
                                        "undrain",   "token",    "keys",   "ask"};

    (void)state;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        struct run run = {.word = {verbs[i], "--help"}};
        char usage[64];

        run_cli(&run, NULL);
        snprintf(usage, sizeof(usage), "Usage: caravan %s", verbs[i]);
        assert_int_equal(run.code, CLI_DONE);
        assert_non_null(strstr(run.out, usage));
        assert_non_null(strstr(run.out, "--controller URL"));
    }
}

static int make_base(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    unsetenv("CARAVAN_API_KEY");
    base = event_base_new();
    return base ? 0 : -1;
}

static int free_base(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_base, free_base)
    const struct CMUnitTest tests[] = {
        TEST(test_nodes),
        TEST(test_nodes_on_a_terminal),
        TEST(test_json_is_handed_on),
        TEST(test_models_that_are_being_indexed),
        TEST(test_escapes_do_not_reach_the_terminal),
        TEST(test_plan),
        TEST(test_plan_that_does_not_fit),
        TEST(test_deploy),
        TEST(test_deploy_says_how_long_it_stays),
        TEST(test_deploy_of_what_is_there),
        TEST(test_how_a_task_ends),
        TEST(test_stop_with_a_remark),
        TEST(test_a_controller_that_goes_and_comes),
        TEST(test_events),
        TEST(test_refusals_and_troubles),
        TEST(test_where_the_key_comes_from),
        TEST(test_files_that_cannot_be_read),
        TEST(test_the_default_key_stays_here),
        TEST(test_what_is_no_controller),
        TEST(test_ranks_that_are_seen),
        TEST(test_answers_of_another_shape),
        TEST(test_troubles_of_nodes),
        TEST(test_without_a_controller),
        TEST(test_an_agent_that_knows_nothing),
        TEST(test_what_is_asked_of_nodes),
        TEST(test_who_may_join_and_ask),
        TEST(test_instances_in_trouble),
        TEST(test_instances_that_may_leave),
        TEST(test_why),
        TEST(test_chat),
        TEST(test_chats_that_go_wrong),
        TEST(test_ask),
        TEST(test_case_27_council),
        TEST(test_council_on_a_terminal),
        TEST(test_councils_that_go_wrong),
        TEST(test_usage),
        TEST(test_help),
        TEST(test_sse_cut_anywhere),
        TEST(test_sse_bounds),
        TEST(test_numbers_for_people),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
