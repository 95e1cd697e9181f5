/* The leader's knocks, on knocks that the test answers: each result finds its node and token, and there are never more than
 * KNOCKING_MAX. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/knock.h"
#include "controller/knocking.h"

/* ---- in place of common/knock.c ---- */

struct knock {
    knock_done *done;
    void *ctx;
};

static struct knock *begun[KNOCKING_MAX];
static size_t n_begun, n_cancelled;
static int begin_result;

int knock_start(struct event_base *base, const struct identity *id, const struct peer_facts *peer, knock_done *done,
                void *ctx, struct knock **ret)
{
    (void)base, (void)id, (void)peer;
    if (begin_result)
        return begin_result;
    assert_true(n_begun < KNOCKING_MAX);
    *ret = begun[n_begun++] = malloc(sizeof(**ret));
    **ret = (struct knock){done, ctx};
    return 0;
}

void knock_cancel(struct knock **k)
{
    n_cancelled++;
    free(*k);
    *k = NULL;
}

static void end(size_t i, enum knock_outcome outcome)
{
    struct knock k = *begun[i];

    free(begun[i]);
    begun[i] = begun[--n_begun];
    k.done(k.ctx, outcome);
}

/* ---- */

static struct found {
    int n;
    struct id128 node;
    uint64_t token;
    enum knock_outcome outcome;
} found;

static void on_found(void *ctx, const struct id128 *node, uint64_t token, enum knock_outcome outcome)
{
    (void)ctx;
    found = (struct found){found.n + 1, *node, token, outcome};
}

static void test_knocks_find_their_node(void **state)
{
    const struct id128 a = {{1}}, b = {{2}};
    struct peer_facts peer = {.port = 7431};
    struct knocking *k = NULL;

    (void)state;
    assert_int_equal(knocking_new(NULL, NULL, on_found, NULL, &k), 0);
    assert_int_equal(knocking_begin(k, &a, 7, &peer), 0);
    assert_int_equal(knocking_begin(k, &b, 8, &peer), 0);
    end(0, KNOCK_REFUSED);
    assert_int_equal(found.n, 1);
    assert_true(id128_equal(&found.node, &a));
    assert_int_equal(found.token, 7);
    assert_int_equal(found.outcome, KNOCK_REFUSED);
    end(0, KNOCK_UNANSWERED);
    assert_int_equal(found.n, 2);
    assert_true(id128_equal(&found.node, &b));
    assert_int_equal(found.token, 8);
    assert_int_equal(found.outcome, KNOCK_UNANSWERED);
    begin_result = -EDESTADDRREQ;
    assert_int_equal(knocking_begin(k, &a, 9, &peer), -EDESTADDRREQ);
    begin_result = 0;
    knocking_destroy(&k);
    assert_int_equal(n_cancelled, 0);
}

static void test_knocks_are_bounded(void **state)
{
    const struct id128 a = {{1}};
    struct peer_facts peer = {.port = 7431};
    struct knocking *k = NULL;

    (void)state;
    found.n = 0;
    assert_int_equal(knocking_new(NULL, NULL, on_found, NULL, &k), 0);
    for (uint64_t i = 0; i < KNOCKING_MAX; i++)
        assert_int_equal(knocking_begin(k, &a, i, &peer), 0);
    assert_int_equal(knocking_begin(k, &a, 99, &peer), KNOCKING_E_FULL);
    end(0, KNOCK_ANSWERED);
    assert_int_equal(knocking_begin(k, &a, 100, &peer), 0);
    knocking_destroy(&k);
    assert_int_equal(n_cancelled, KNOCKING_MAX);
    assert_int_equal(found.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_knocks_find_their_node),
        cmocka_unit_test(test_knocks_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
