/* Pictures of the cluster for the agents: each gets the newest in its turn, none is sent twice, none is too large. */
#include <event2/event.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/log.h"
#include "controller/snapshots.h"
#include "tests/lib/view_lab.h"

enum { ROUND_MS = 20 };

struct lab {
    struct event_base *base;
    struct snapshots *snapshots;
    int n_sent;
    char key[8][PROTO_KEY_MAX];
    uint64_t made[8];
    uint64_t made_wall_ms; /* the last one's */
    bool has_plan;
};

static void on_send(void *ctx, const char *key, struct message *m)
{
    json_t *nodes = json_loads(m->snapshot.nodes, 0, NULL), *instances = json_loads(m->snapshot.instances, 0, NULL);
    struct lab *lab = ctx;

    assert_int_equal(m->kind, MESSAGE_SNAPSHOT);
    assert_int_equal(m->snapshot.n_nodes_bytes, strlen(m->snapshot.nodes));
    assert_int_equal(m->snapshot.n_instances_bytes, strlen(m->snapshot.instances));
    assert_true(m->snapshot.n_instances_bytes <= PROTO_SNAPSHOT_MAX);
    assert_non_null(json_object_get(nodes, "nodes"));
    lab->has_plan = json_is_object(json_object_get(json_array_get(json_object_get(instances, "instances"), 0), "plan"));
    json_decref(nodes);
    json_decref(instances);
    lab->made[lab->n_sent % 8] = m->snapshot.made_wall_ms;
    snprintf(lab->key[lab->n_sent++ % 8], PROTO_KEY_MAX, "%s", key);
    lab->made_wall_ms = m->snapshot.made_wall_ms;
}

static void until_quiet(struct lab *lab)
{
    event_base_dispatch(lab->base); /* ends when no timer is armed */
}

static void show(struct lab *lab, uint64_t made_wall_ms, void (*change)(struct view *v))
{
    struct view *v = lab_view(INSTANCE_READY, 18080);

    v->made_wall_ms = made_wall_ms;
    snprintf(v->node[0].key, PROTO_KEY_MAX, "k1");
    snprintf(v->node[1].key, PROTO_KEY_MAX, "k2");
    if (change)
        change(v);
    snapshots_show(lab->snapshots, v);
    view_unref(&v);
}

static int set_up(void **state)
{
    struct lab *lab = calloc(1, sizeof(*lab));

    log_set_level(LOG_LEVEL_ERROR);
    lab->base = event_base_new();
    assert_int_equal(snapshots_new(lab->base, ROUND_MS, on_send, lab, &lab->snapshots), 0);
    *state = lab;
    return 0;
}

static int tear_down(void **state)
{
    struct lab *lab = *state;

    snapshots_destroy(&lab->snapshots);
    event_base_free(lab->base);
    free(lab);
    return 0;
}

static void test_each_gets_the_newest_once(void **state)
{
    struct lab *lab = *state;

    show(lab, 1000, NULL);
    assert_int_equal(lab->n_sent, 0); /* never at once: a hundred changes a second cost no more than one */
    until_quiet(lab);
    assert_int_equal(lab->n_sent, 2);
    assert_string_equal(lab->key[0], "k1");
    assert_string_equal(lab->key[1], "k2");
    assert_true(lab->has_plan);
    until_quiet(lab);
    assert_int_equal(lab->n_sent, 2);
    show(lab, 1000 + ROUND_MS, NULL);
    until_quiet(lab);
    assert_int_equal(lab->n_sent, 4);
    assert_int_equal(lab->made_wall_ms, 1000 + ROUND_MS);
}

/* A change while a picture is on its round: the round goes on with it, and then all get the newest. */
static void test_a_change_within_a_round(void **state)
{
    struct lab *lab = *state;

    show(lab, 1000, NULL);
    event_base_loop(lab->base, EVLOOP_ONCE);
    assert_int_equal(lab->n_sent, 1);
    show(lab, 1001, NULL);
    until_quiet(lab);
    assert_true(lab->n_sent >= 3);
    assert_int_equal(lab->made[lab->n_sent - 1], 1001);
    assert_int_equal(lab->made[lab->n_sent - 2], 1001);
    assert_string_not_equal(lab->key[lab->n_sent - 1], lab->key[lab->n_sent - 2]);
}

static void lose(struct view *v)
{
    v->node[0].state = NODE_LOST;
    snprintf(v->node[1].via, sizeof(v->node[1].via), "n1");
}

static void test_those_who_cannot_hear_get_none(void **state)
{
    struct lab *lab = *state;

    show(lab, 1000, lose);
    until_quiet(lab);
    assert_int_equal(lab->n_sent, 0);
}

static void grow(struct view *v, size_t n)
{
    v->instance = realloc(v->instance, n * sizeof(*v->instance));
    for (size_t i = v->n_instances; i < n; i++) {
        v->instance[i] = v->instance[0];
        v->instance[i].plan = lab_plan();
    }
    v->n_instances = n;
}

static void grow_much(struct view *v)
{
    grow(v, 800);
}

static void grow_beyond(struct view *v)
{
    grow(v, 2500);
}

static void test_what_is_too_large_goes_without_plans_or_not_at_all(void **state)
{
    struct lab *lab = *state;

    show(lab, 1000, grow_much);
    until_quiet(lab);
    assert_int_equal(lab->n_sent, 2);
    assert_false(lab->has_plan);
    show(lab, 1000 + ROUND_MS, grow_beyond);
    until_quiet(lab);
    assert_int_equal(lab->n_sent, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_gets_the_newest_once),
        TEST(test_a_change_within_a_round),
        TEST(test_those_who_cannot_hear_get_none),
        TEST(test_what_is_too_large_goes_without_plans_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
