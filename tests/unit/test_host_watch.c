/* Addresses and carrier of a machine of our own: a network namespace with a cable that is put in and pulled out. */
#include <event2/event.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/log.h"
#include "controller/host_watch.h"

static struct event_base *base;
static struct cluster_host seen;

static void on_changed(void *ctx, const struct cluster_host *host)
{
    (void)ctx;
    seen = *host;
}

static bool has(const struct cluster_host *host, const char *addr)
{
    for (size_t i = 0; i < host->n_addrs; i++)
        if (strcmp(host->addr[i], addr) == 0)
            return true;
    return false;
}

/* ctest's time limit is the only clock. */
#define AWAIT(condition)                        \
    do {                                        \
        while (!(condition))                    \
            event_base_loop(base, EVLOOP_ONCE); \
    } while (0)

static void run(const char *command)
{
    assert_int_equal(system(command), 0);
}

static void test_a_cable(void **state)
{
    struct host_watch *h = NULL;

    (void)state;
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        skip(); /* no network of our own to be had */
    assert_int_equal(host_watch_new(base, on_changed, NULL, &h), 0);
    assert_false(host_watch_now(h)->carrier); /* nothing but a loopback that is down */
    assert_int_equal(host_watch_now(h)->n_addrs, 0);
    run("ip link set lo up");
    AWAIT(has(&seen, "127.0.0.1"));
    assert_false(seen.carrier);
    run("ip link add docker7 type veth peer name lan7 && ip link set docker7 up && ip link set lan7 up");
    run("ip addr add 192.0.2.7/24 dev lan7 && ip addr add 192.0.2.9/24 dev docker7");
    AWAIT(has(&seen, "192.0.2.7"));
    assert_true(seen.carrier);
    assert_string_equal(seen.addr[0], "192.0.2.7"); /* loopback last */
    assert_false(has(&seen, "192.0.2.9"));          /* a bridge for guests */
    run("ip link set docker7 down");
    AWAIT(!seen.carrier);
    assert_true(has(&seen, "192.0.2.7"));
    assert_memory_equal(&seen, host_watch_now(h), sizeof(seen));
    run("ip link set docker7 up");
    AWAIT(seen.carrier);
    host_watch_destroy(&h);
}

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    memset(&seen, 0, sizeof(seen));
    base = event_base_new();
    return base ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    event_base_free(base);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_a_cable, set_up, tear_down)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
