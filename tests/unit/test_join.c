/* Joining by a token, against a real CURVE server on the loopback: what is asked, when the own key's turn comes, what is said. */
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/join.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"

enum answer { LETS_IN, REFUSES, ANSWERS_ANOTHER, CLOSES, IS_SILENT };

struct world {
    char dir[64], file[96];
    struct event_base *base;
    struct identity controller, own, token_key;
    struct wire_server *server;
    struct state_dir *state;
    struct join_token token;
    char text[JOIN_TOKEN_TEXT_MAX];
    struct join_ticket ticket;
    struct joining *join;
    enum answer answer;
    size_t n_asked, n_turns;
    struct join asked;
    int real_stderr, caught;
};

/* ---- the controller ---------------------------------------------------------------------------------------------- */

static void answer(struct world *w, const uint8_t *key, struct message *m)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    size_t n;

    assert_int_equal(message_pack(m, &buf, &n), 0);
    assert_int_equal(wire_server_send(w->server, key, buf, n), 0);
}

static void on_message(void *ctx, const uint8_t *key, const char *peer_addr, const void *buf, size_t n_bytes)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct message joined = {.kind = MESSAGE_JOINED};
    struct world *w = ctx;

    (void)peer_addr;
    assert_int_equal(message_unpack(buf, n_bytes, &m), 0);
    assert_int_equal(m->kind, MESSAGE_JOIN);
    assert_memory_equal(key, w->token_key.public_key, CRYPTO_KEY_BYTES);
    w->n_asked++;
    w->asked = m->join;
    strcpy(joined.joined.key, m->join.key);
    switch (w->answer) {
    case REFUSES:
        strcpy(joined.joined.refused, "this key was revoked");
        break;
    case ANSWERS_ANOTHER:
        joined.joined.key[0] = joined.joined.key[0] == 'f' ? '0' : 'f';
        break;
    case CLOSES:
        wire_server_disallow(w->server, key);
        return;
    case IS_SILENT:
        return;
    case LETS_IN:
        break;
    }
    answer(w, key, &joined);
}

static void on_refused(void *ctx, const uint8_t *key, const char *addr)
{
    (void)ctx, (void)key, (void)addr;
}

static void on_closed(void *ctx, const uint8_t *key, const char *addr)
{
    (void)ctx, (void)key, (void)addr;
}

static void serve(struct world *w, const char *addr)
{
    const struct wire_server_callbacks cb = {on_message, on_refused, w};

    assert_int_equal(wire_server_new(w->base, &w->controller, addr, 0, false, &cb, &w->server), 0);
    assert_int_equal(wire_server_watch_closed(w->server, w->base, on_closed), 0);
    assert_int_equal(wire_server_allow(w->server, w->token_key.public_key), 0);
}

/* ---- the node ---------------------------------------------------------------------------------------------------- */

static void on_turn(void *ctx)
{
    ((struct world *)ctx)->n_turns++;
}

static void add_controller(struct world *w, const char *addr)
{
    struct join_controller *c = &w->token.controller[w->token.n_controllers++];

    memcpy(c->key, w->controller.public_key, sizeof(c->key));
    c->port = wire_server_port(w->server);
    snprintf(c->addr, sizeof(c->addr), "%s", addr);
    join_token_format(&w->token, w->text);
}

static void open_join(struct world *w)
{
    const struct join_callbacks cb = {on_turn, w};
    static const struct identity none;

    assert_int_equal(join_ticket_read(w->text, w->state, &w->ticket), 0);
    assert_true(w->ticket.asks);
    assert_int_equal(join_new(w->base, &w->ticket, &w->own, "n1", &cb, &w->join), 0);
    assert_memory_equal(&w->ticket.key, &none, sizeof(none));
}

/* ctest's time limit is the only clock. */
#define AWAIT(condition)                           \
    do {                                           \
        while (!(condition))                       \
            event_base_loop(w->base, EVLOOP_ONCE); \
    } while (0)

static void catch_log(struct world *w)
{
    w->real_stderr = dup(STDERR_FILENO);
    w->caught = memfd_create("log", MFD_CLOEXEC);
    assert_true(w->real_stderr >= 0 && w->caught >= 0);
    dup2(w->caught, STDERR_FILENO);
    log_set_level(LOG_LEVEL_INFO);
}

/* Nothing of a token is ever in it. */
static void release_log(struct world *w, char said[4096])
{
    ssize_t n = pread(w->caught, said, 4095, 0);

    dup2(w->real_stderr, STDERR_FILENO);
    close(w->real_stderr);
    close(w->caught);
    log_set_level(LOG_LEVEL_ERROR);
    said[n > 0 ? n : 0] = '\0';
    for (size_t i = 9; i + 12 < strlen(w->text); i++)
        assert_null(memmem(said, strlen(said), w->text + i, 12));
}

static size_t count(const char *said, const char *what)
{
    size_t n = 0;

    for (const char *p = said; (p = strstr(p, what)); p++)
        n++;
    return n;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[96];

    assert_non_null(w);
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(crypto_init(), 0);
    strcpy(w->dir, "/tmp/test_join.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->file, sizeof(w->file), "@%s/token", w->dir);
    snprintf(path, sizeof(path), "%s/node", w->dir);
    assert_int_equal(state_dir_open(path, "", &w->state), 0);
    assert_int_equal(crypto_identity_load(path, &w->own), 0);
    assert_int_equal(crypto_identity_load(w->dir, &w->controller), 0);
    w->token.cluster = (struct id128){{7}};
    memset(w->token.seed, 0x5a, sizeof(w->token.seed));
    crypto_identity_from_seed(w->token.seed, &w->token_key);
    w->base = event_base_new();
    serve(w, "*");
    add_controller(w, "127.0.0.1");
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    char command[128];

    join_destroy(&w->join);
    wire_server_destroy(&w->server);
    state_dir_close(&w->state);
    event_base_free(w->base);
    snprintf(command, sizeof(command), "rm -rf %s", w->dir);
    if (system(command))
        return -1;
    free(w);
    return 0;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void test_let_in(void **state)
{
    struct world *w = *state;
    char hex[CRYPTO_KEY_HEX], said[4096];

    catch_log(w);
    open_join(w);
    assert_int_equal(w->n_asked, 0);
    join_begin(w->join);
    join_begin(w->join); /* once */
    assert_int_equal(w->n_turns, 0);
    AWAIT(w->n_turns == 1);
    release_log(w, said);
    assert_int_equal(w->n_asked, 1);
    assert_string_equal(w->asked.key, crypto_key_format(w->own.public_key, hex));
    assert_string_equal(w->asked.name, "n1");
    assert_int_equal(count(said, "msg=join.let_in"), 1);
    assert_int_equal(count(said, "level=warn"), 0);
}

/* Two ways to one controller, and one request: it would cost two uses. */
static void test_several_addresses(void **state)
{
    struct world *w = *state;

    w->answer = IS_SILENT;
    add_controller(w, "127.0.0.2");
    add_controller(w, "127.0.0.3");
    open_join(w);
    join_begin(w->join);
    AWAIT(w->n_turns == 1); /* after its patience: all lines are up by then */
    assert_int_equal(w->n_asked, 1);
}

static void test_an_answer_for_another_node(void **state)
{
    struct world *w = *state;
    char said[4096];

    w->answer = ANSWERS_ANOTHER;
    catch_log(w);
    open_join(w);
    join_begin(w->join);
    AWAIT(w->n_turns == 1);
    release_log(w, said);
    assert_string_equal(said, "");
}

static void test_refused(void **state)
{
    struct world *w = *state;
    char said[4096];

    w->answer = REFUSES;
    catch_log(w);
    open_join(w);
    join_begin(w->join);
    AWAIT(w->n_turns == 1);
    assert_false(join_own_key_denied(w->join));
    release_log(w, said);
    assert_int_equal(count(said, "msg=join.refused"), 1);
    assert_int_equal(count(said, "this key was revoked"), 1);
    assert_int_equal(count(said, "join.denied"), 0);
}

/* The token is said to be of no use when the own key is not in either: it may be in by this very token. */
static void test_used_up(void **state)
{
    struct world *w = *state;
    char said[4096];

    wire_server_disallow(w->server, w->token_key.public_key);
    catch_log(w);
    open_join(w);
    join_begin(w->join);
    AWAIT(w->n_turns == 1);
    assert_int_equal(lseek(w->caught, 0, SEEK_END), 0);
    assert_false(join_own_key_denied(w->join));
    assert_false(join_own_key_denied(w->join));
    release_log(w, said);
    assert_int_equal(count(said, "\n"), 1);
    assert_int_equal(count(said, "used up, expired or withdrawn: on the controller, `caravan token create`"), 1);
    assert_int_equal(w->n_asked, 0);
}

/* Its last use was ours: the controller ends the line, perhaps before its answer is out. */
static void test_closed_instead_of_answered(void **state)
{
    struct world *w = *state;
    char said[4096];

    w->answer = CLOSES;
    catch_log(w);
    open_join(w);
    join_begin(w->join);
    AWAIT(w->n_turns == 1);
    release_log(w, said);
    assert_string_equal(said, "");
}

/* Nobody is there at first. */
static void test_a_controller_that_comes_later(void **state)
{
    struct world *w = *state;
    uint16_t port = wire_server_port(w->server);
    const struct wire_server_callbacks cb = {on_message, on_refused, w};
    char said[4096];

    wire_server_destroy(&w->server);
    catch_log(w);
    open_join(w);
    join_begin(w->join);
    AWAIT(w->n_turns == 1);
    assert_int_equal(wire_server_new(w->base, &w->controller, "*", port, false, &cb, &w->server), 0);
    assert_int_equal(wire_server_allow(w->server, w->token_key.public_key), 0);
    AWAIT(w->n_asked == 1);
    release_log(w, said);
    assert_int_equal(count(said, "msg=join.unreachable"), 1);
    assert_int_equal(w->n_turns, 1);
}

/* A node that has joined before asks only where its own key is not known any more. */
static void test_asks_when_the_own_key_is_denied(void **state)
{
    struct world *w = *state;

    open_join(w);
    event_base_loopexit(w->base, &(struct timeval){.tv_usec = 100000});
    event_base_dispatch(w->base);
    assert_int_equal(w->n_asked, 0);
    assert_true(join_own_key_denied(w->join));
    AWAIT(w->n_turns == 1);
    assert_int_equal(w->n_asked, 1);
}

/* ---- tickets ----------------------------------------------------------------------------------------------------- */

static void write_token(struct world *w, const char *text, mode_t mode)
{
    FILE *f = fopen(w->file + 1, "we");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(w->file + 1, mode), 0);
}

static int read_ticket(struct world *w, const char *text, char said[4096])
{
    int r;

    catch_log(w);
    r = join_ticket_read(text, w->state, &w->ticket);
    release_log(w, said);
    return r;
}

static void test_where_a_token_stands(void **state)
{
    struct world *w = *state;
    char said[4096], spaced[JOIN_TOKEN_TEXT_MAX + 8];
    int pipes[2], real_stdin = dup(STDIN_FILENO);

    assert_int_equal(read_ticket(w, NULL, said), 0);
    assert_false(w->ticket.asks);
    assert_int_equal(w->ticket.cluster.n_controllers, 0);

    assert_int_equal(read_ticket(w, w->text, said), 0);
    assert_true(w->ticket.asks);
    assert_memory_equal(w->ticket.key.public_key, w->token_key.public_key, CRYPTO_KEY_BYTES);
    assert_int_equal(w->ticket.n_asked, 1);
    assert_int_equal(w->ticket.cluster.id.b[0], 7);
    assert_string_equal(w->ticket.cluster.controller[0].addr, "127.0.0.1");

    snprintf(spaced, sizeof(spaced), "\n %s\n\n", w->text);
    write_token(w, spaced, 0600);
    assert_int_equal(read_ticket(w, w->file, said), 0);
    assert_true(w->ticket.asks);
    assert_string_equal(said, "");
    write_token(w, w->text, 0644);
    assert_int_equal(read_ticket(w, w->file, said), 0);
    assert_non_null(strstr(said, "everybody on this machine may read it"));

    assert_int_equal(pipe(pipes), 0); /* a terminal: it stays open behind the line */
    assert_int_equal(write(pipes[1], spaced, strlen(spaced)), strlen(spaced));
    dup2(pipes[0], STDIN_FILENO);
    assert_int_equal(read_ticket(w, "-", said), 0);
    assert_true(w->ticket.asks);
    dup2(real_stdin, STDIN_FILENO);
    close(real_stdin);
    close(pipes[0]);
    close(pipes[1]);
}

static void test_tokens_that_are_refused(void **state)
{
    struct world *w = *state;
    char said[4096], cut[JOIN_TOKEN_TEXT_MAX];

    snprintf(cut, sizeof(cut), "%.60s", w->text);
    assert_int_equal(read_ticket(w, cut, said), JOIN_TICKET_E_REFUSED);
    assert_non_null(strstr(said, "level=error msg=join.token from=--join text=\"this node cannot join: it is cut"));
    assert_false(w->ticket.asks);
    assert_int_equal(read_ticket(w, "", said), JOIN_TICKET_E_REFUSED);
    assert_non_null(strstr(said, "it is empty"));
    assert_int_equal(read_ticket(w, w->file, said), JOIN_TICKET_E_REFUSED);
    assert_non_null(strstr(said, "this node cannot join: No such file or directory"));
    assert_int_equal(read_ticket(w, "@/", said), JOIN_TICKET_E_REFUSED);
    assert_non_null(strstr(said, "Is a directory"));
}

static void join_once(struct world *w)
{
    struct state_cluster c = {.id = {{7}}, .n_controllers = 1, .controller = {{.port = 1, .addr = "10.0.0.9"}}};

    assert_int_equal(state_dir_write_cluster(w->state, &c), 0);
}

/* A file that was removed, a token that is cut: a node that has joined comes up after a reboot all the same. */
static void test_a_node_that_has_joined(void **state)
{
    struct world *w = *state;
    char said[4096];

    join_once(w);
    assert_int_equal(read_ticket(w, w->file, said), 0);
    assert_non_null(strstr(said, "level=info msg=join.token"));
    assert_false(w->ticket.asks);
    assert_string_equal(w->ticket.cluster.controller[0].addr, "10.0.0.9");
    assert_int_equal(read_ticket(w, "caravan1_cut", said), 0);
    assert_non_null(strstr(said, "level=warn msg=join.token"));
    assert_int_equal(read_ticket(w, w->text, said), 0); /* a newer token: its controllers come first */
    assert_true(w->ticket.asks);
    assert_int_equal(w->ticket.n_asked, 1);
    assert_int_equal(w->ticket.cluster.n_controllers, 2);
    assert_string_equal(w->ticket.cluster.controller[0].addr, "127.0.0.1");
    assert_string_equal(w->ticket.cluster.controller[1].addr, "10.0.0.9");
}

static void test_a_token_of_another_cluster(void **state)
{
    struct world *w = *state;
    char said[4096];

    join_once(w);
    w->token.cluster.b[0] = 8;
    join_token_format(&w->token, w->text);
    assert_int_equal(read_ticket(w, w->text, said), JOIN_TICKET_E_REFUSED);
    assert_false(w->ticket.asks);
    assert_non_null(strstr(said, "cluster=07000000 token=08000000"));
    assert_non_null(strstr(said, "--purge) and remove /"));
    assert_non_null(strstr(said, "/node/cluster\""));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_let_in),
        TEST(test_several_addresses),
        TEST(test_an_answer_for_another_node),
        TEST(test_refused),
        TEST(test_used_up),
        TEST(test_closed_instead_of_answered),
        TEST(test_a_controller_that_comes_later),
        TEST(test_asks_when_the_own_key_is_denied),
        TEST(test_where_a_token_stands),
        TEST(test_tokens_that_are_refused),
        TEST(test_a_node_that_has_joined),
        TEST(test_a_token_of_another_cluster),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
