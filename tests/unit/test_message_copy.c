/* A copy says the same, owns all of it, and fails without a trace. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/failing_alloc.h"
/* clang-format off */
#include "common/core/model_shape.c"
#include "common/core/message_copy.c"
/* clang-format on */
#undef malloc
#undef calloc

#include "tests/lib/messages.h"

enum { SEEDS = 300 };

/* Every allocation of the copy fails once. */
static struct message *copy_of(const struct message *m)
{
    struct message *copy = NULL;
    int r = -ENOMEM;

    for (long n = 0; r == -ENOMEM; n++) {
        allocs_until_failure = n;
        r = message_copy(m, &copy);
        allocs_until_failure = -1;
        assert_true(r == 0 || !copy);
    }
    assert_int_equal(r, 0);
    return copy;
}

/* made twice alike: what the copy says is compared after the original is gone. */
static void check(struct message *original, struct message *twin)
{
    CLEANUP(message_destroy) struct message *m = original, *other = twin, *copy = copy_of(m);

    message_destroy(&m);
    assert_true(message_same(copy, other));
}

static void test_every_kind(void **state)
{
    (void)state;
    for (const struct message_sample *s = message_samples; s->name; s++)
        check(message_sample_new(s), message_sample_new(s));
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        check(message_random_new(seed), message_random_new(seed));
}

static struct message *new_message(enum message_kind kind)
{
    struct message *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->kind = kind;
    m->seq = 5;
    return m;
}

static void test_neighbours(void **state)
{
    CLEANUP(message_destroy) struct message *m = new_message(MESSAGE_NEIGHBOURS), *copy = NULL;

    (void)state;
    m->neighbours = calloc(1, sizeof(*m->neighbours));
    assert_non_null(m->neighbours);
    m->neighbours->n_peers = 1;
    strcpy(m->neighbours->peer[0].name, "node-b");
    copy = copy_of(m);
    message_destroy(&m);
    assert_int_equal(copy->seq, 5);
    assert_int_equal(copy->neighbours->n_peers, 1);
    assert_string_equal(copy->neighbours->peer[0].name, "node-b");
}

static void test_snapshot(void **state)
{
    CLEANUP(message_destroy) struct message *m = new_message(MESSAGE_SNAPSHOT), *copy = NULL;

    (void)state;
    m->snapshot.nodes = strdup("[1]");
    m->snapshot.n_nodes_bytes = 3;
    copy = copy_of(m);
    message_destroy(&m);
    assert_string_equal(copy->snapshot.nodes, "[1]");
    assert_null(copy->snapshot.instances);
}

static void test_relay(void **state)
{
    CLEANUP(message_destroy) struct message *m = new_message(MESSAGE_RELAY), *copy = NULL;

    (void)state;
    strcpy(m->relay.key, "abc");
    m->relay.inner = new_message(MESSAGE_EVENT);
    m->relay.inner->event = calloc(1, sizeof(*m->relay.inner->event));
    assert_non_null(m->relay.inner->event);
    m->relay.inner->event->kind = AGENT_EVENT_RESUMED;
    copy = copy_of(m);
    message_destroy(&m);
    assert_string_equal(copy->relay.key, "abc");
    assert_int_equal(copy->relay.inner->event->kind, AGENT_EVENT_RESUMED);
}

static void test_the_small_ones(void **state)
{
    CLEANUP(message_destroy) struct message *health = new_message(MESSAGE_HEALTH), *ping = new_message(MESSAGE_PING);
    CLEANUP(message_destroy) struct message *health_copy = NULL, *ping_copy = NULL;

    (void)state;
    health->health = (struct health){.linked = true, .uptime_ms = 9};
    ping->nonce = 77;
    health_copy = copy_of(health);
    ping_copy = copy_of(ping);
    assert_true(health_copy->health.linked);
    assert_int_equal(health_copy->health.uptime_ms, 9);
    assert_int_equal(ping_copy->nonce, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind), cmocka_unit_test(test_neighbours),     cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_relay),      cmocka_unit_test(test_the_small_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
