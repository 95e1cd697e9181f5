/* Who told of which backend, and what is dropped at the door. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/discovery.h"
#include "tests/lib/view_lab.h"

static struct mdns_service service(const char *name, const char *host, const char *addr, uint16_t port)
{
    struct mdns_service s = {.port = port};

    snprintf(s.type, sizeof(s.type), "%s", DISCOVERY_TYPE);
    snprintf(s.name, sizeof(s.name), "%s", name);
    snprintf(s.host, sizeof(s.host), "%s", host);
    snprintf(s.addr, sizeof(s.addr), "%s", addr);
    return s;
}

static struct backends *snapshot(struct discovery *d)
{
    struct backends *b = NULL;

    assert_int_equal(discovery_snapshot(d, &b), 0);
    assert_false(discovery_changed(d));
    return b;
}

static void case_19_dummies_are_dropped_and_counted(void **state)
{
    static const struct {
        const char *host, *addr;
        uint16_t port;
        enum backend_drop why;
    } cases[] = {
        {"coordinator", "10.0.0.1", 0, BACKEND_DROP_PLACEHOLDER},
        {"Coordinator", "10.0.0.1", 50052, BACKEND_DROP_PLACEHOLDER},
        {"a.local", "10.0.0.1", 0, BACKEND_DROP_PORT_ZERO},
        {"a.local", "", 50052, BACKEND_DROP_UNRESOLVABLE},
        {"a.local", "a.local", 50052, BACKEND_DROP_UNRESOLVABLE},
        {"a.local", "0.0.0.0", 50052, BACKEND_DROP_UNRESOLVABLE},
        {"a.local", "::", 50052, BACKEND_DROP_UNRESOLVABLE},
        {"a.local", "224.0.0.1", 50052, BACKEND_DROP_UNRESOLVABLE},
    };
    struct discovery *d = NULL;
    struct backends *b;

    (void)state;
    assert_int_equal(discovery_new(&d), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mdns_service s = service("x", cases[i].host, cases[i].addr, cases[i].port);
        uint64_t before;

        b = snapshot(d);
        before = b->dropped[cases[i].why];
        backends_unref(&b);
        discovery_service(d, &s, 1);
        assert_true(discovery_changed(d));
        b = snapshot(d);
        assert_int_equal(b->n, 0);
        assert_int_equal(b->dropped[cases[i].why], before + 1);
        backends_unref(&b);
    }
    discovery_destroy(&d);
}

static void case_19_agents_are_no_better(void **state)
{
    struct view *v = lab_view(INSTANCE_READY, 1);
    struct discovery *d = NULL;
    struct backends *b;

    (void)state;
    assert_int_equal(discovery_new(&d), 0);
    v->node[0].unit[0].port = 0;
    snprintf(v->node[1].unit[0].addr, sizeof(v->node[1].unit[0].addr), "coordinator");
    discovery_view(d, v);
    discovery_view(d, v); /* told twice is still one dummy */
    b = snapshot(d);
    assert_int_equal(b->n, 0);
    assert_int_equal(b->dropped[BACKEND_DROP_PORT_ZERO], 1);
    assert_int_equal(b->dropped[BACKEND_DROP_PLACEHOLDER], 1);
    backends_unref(&b);
    discovery_destroy(&d);
    view_unref(&v);
}

static void test_states_and_sources(void **state)
{
    struct mdns_service ours = service("caravan-n1", "n1.local", "10.0.0.1", 20052),
                        foreign = service("old rpc", "box.local", "10.0.0.9", 50052);
    struct view *v = lab_view(INSTANCE_READY, 1);
    struct discovery *d = NULL;
    struct backends *b;

    (void)state;
    assert_int_equal(discovery_new(&d), 0);
    v->node[1].unit[0].instance = lab_id(0xaa);
    discovery_service(d, &ours, 5);
    discovery_service(d, &foreign, 6);
    discovery_view(d, v);
    b = snapshot(d);
    assert_int_equal(b->n, 3);
    assert_string_equal(b->item[0].host, "10.0.0.1");
    assert_int_equal(b->item[0].state, BACKEND_HEALTHY);
    assert_string_equal(b->item[0].node_name, "n1");
    assert_true(b->item[0].said[BACKEND_BY_AGENT].now && b->item[0].said[BACKEND_BY_MDNS].now);
    assert_int_equal(b->item[0].said[BACKEND_BY_MDNS].last_wall_ms, 5);
    assert_int_equal(b->item[1].state, BACKEND_BUSY);
    assert_int_equal(b->item[2].state, BACKEND_UNMANAGED);
    assert_string_equal(b->item[2].node_name, "");
    backends_unref(&b);

    discovery_view(d, v);
    assert_false(discovery_changed(d)); /* nothing new was said */
    v->node[0].state = NODE_LOST;
    foreign.gone = true;
    discovery_service(d, &foreign, 7);
    v->node[1].n_units = 0;
    discovery_view(d, v);
    b = snapshot(d);
    for (size_t i = 0; i < b->n; i++)
        assert_int_equal(b->item[i].state, BACKEND_OFFLINE);
    backends_unref(&b);

    v->made_wall_ms += 3600 * 1000; /* forgotten, but for the lost node's, which is still in its last report */
    discovery_view(d, v);
    b = snapshot(d);
    assert_int_equal(b->n, 1);
    backends_unref(&b);
    discovery_destroy(&d);
    view_unref(&v);
}

/* Its worker listens on its own loopback, as every other node's does: what is knocked at is its agent. */
static void test_a_worker_behind_carriers(void **state)
{
    struct mdns_service ours = service("caravan-n1", "n1.local", "10.0.0.1", 7431);
    struct view *v = lab_view(INSTANCE_READY, 1);
    struct discovery *d = NULL;
    struct backends *b;

    (void)state;
    assert_int_equal(discovery_new(&d), 0);
    for (size_t n = 0; n < 2; n++) {
        snprintf(v->node[n].hello.transport, sizeof(v->node[n].hello.transport), "tunnel");
        v->node[n].hello.port = 7431;
        snprintf(v->node[n].unit[0].addr, sizeof(v->node[n].unit[0].addr), "127.0.0.1");
        v->node[n].unit[1] = v->node[n].unit[0]; /* another one, for a second instance */
        v->node[n].unit[1].standing = false;
        v->node[n].unit[1].port = 20053;
        v->node[n].n_units = 2;
    }
    discovery_service(d, &ours, 5);
    discovery_view(d, v);
    b = snapshot(d);
    assert_int_equal(b->n, 2);
    for (size_t n = 0; n < 2; n++) {
        assert_true(b->item[n].tunnel);
        assert_int_equal(b->item[n].port, 7431);
        assert_int_equal(b->item[n].state, BACKEND_HEALTHY);
        assert_string_equal(b->item[n].host, v->node[n].hello.addr[0]);
    }
    assert_true(b->item[0].said[BACKEND_BY_AGENT].now && b->item[0].said[BACKEND_BY_MDNS].now);
    backends_unref(&b);
    discovery_destroy(&d);
    view_unref(&v);
}

static void test_table_is_bounded(void **state)
{
    struct discovery *d = NULL;
    struct backends *b;

    (void)state;
    assert_int_equal(discovery_new(&d), 0);
    for (int i = 0; i < BACKENDS_MAX + 10; i++) {
        struct mdns_service s = service("x", "a.local", "10.0.0.1", (uint16_t)(i + 1));

        discovery_service(d, &s, 1);
    }
    b = snapshot(d);
    assert_int_equal(b->n, BACKENDS_MAX);
    backends_unref(&b);
    discovery_destroy(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(case_19_dummies_are_dropped_and_counted),
        cmocka_unit_test(case_19_agents_are_no_better),
        cmocka_unit_test(test_states_and_sources),
        cmocka_unit_test(test_a_worker_behind_carriers),
        cmocka_unit_test(test_table_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
