/* What is measured of units, and how it reaches the leader: with the next report, and only when it changed. */
#include "tests/unit/agent_harness.h"

/* w1000 as rank 0 of a/1 and c1001, each sampled and reported once, at 2000. */
static struct agent_unit_sample worker, coordinator;

static void sampled(uint64_t now_ms)
{
    const struct agent_unit_sample both[] = {worker, coordinator};

    at(now_ms);
    sample_units(both, 2);
}

static void begin_sampled(void)
{
    begin_serving();
    worker = (struct agent_unit_sample){.id = "w1000", .cpu_ms = 50, .proc_state = 'S', .has_sockets = true};
    coordinator = (struct agent_unit_sample){.id = "c1001", .cpu_ms = 70, .proc_state = 'S', .has_sockets = true};
    sampled(2000);
    skip_output();
}

static uint64_t frozen_ms(void)
{
    return agent_unit(h.agent, "w1000")->frozen_ms;
}

static void test_nothing_new_carries_no_units(void **state)
{
    (void)state;
    begin_sampled();
    sampled(2500);
    EXPECT("report lease a/1 100\n");
}

static void test_what_is_told_when_it_changes(void **state)
{
    const struct unit_facts *w, *c;

    (void)state;
    begin_sampled();
    worker.retransmits = true;
    sampled(2500);
    EXPECT("report units 2 lease a/1 100\n");
    coordinator.closed_streams = 2;
    sampled(3000);
    EXPECT("report units 2 lease a/1 100\n");
    coordinator.n_decode = 7;
    sampled(3500);
    EXPECT("report units 2 lease a/1 100\n");
    coordinator.http_silent_ms = 1200;
    sampled(4000);
    EXPECT("report units 2 lease a/1 100\n");
    worker.n_refused = 7;
    worker.n_unreached = 2;
    sampled(4500);
    EXPECT("report units 2 lease a/1 100\n");
    worker.n_refused = worker.n_unreached = 0; /* could not be read this time: no news */
    sampled(5000);
    EXPECT("report lease a/1 100\n");
    w = agent_unit(h.agent, "w1000");
    c = agent_unit(h.agent, "c1001");
    assert_true(w->retransmits && !c->retransmits);
    assert_int_equal(c->closed_streams, 2);
    assert_int_equal(c->n_decode, 7);
    assert_int_equal(c->http_silent_ms, 1200);
    assert_int_equal(w->n_refused, 7);
    assert_int_equal(w->n_unreached, 2);
}

static void test_a_stopped_worker_is_told_idle_too(void **state)
{
    struct agent_unit_sample s = {.id = "w1000", .proc_state = 'S'};

    (void)state;
    begin_idle();
    simple(AGENT_EV_LINK_UP);
    sample_units(&s, 1);
    skip_output();
    at(1500);
    s.proc_state = 'T';
    sample_units(&s, 1);
    EXPECT("report units 1\n");
    assert_int_equal(agent_unit(h.agent, "w1000")->proc_state, 'T');
}

static void test_case_11_a_frozen_rank_is_told_from_a_second_up(void **state)
{
    (void)state;
    begin_sampled();
    worker.unread_bytes = coordinator.unread_bytes = 321;
    sampled(2500);
    sampled(3499);
    EXPECT("report lease a/1 100\n"
           "report lease a/1 100\n");
    assert_int_equal(frozen_ms(), 0);
    sampled(4000);
    EXPECT("report units 2 lease a/1 100\n");
    assert_int_equal(frozen_ms(), 1500);
    for (uint64_t t = 5000; t <= 12500; t += 500)
        sampled(t);
    assert_int_equal(frozen_ms(), 10000);
    assert_int_equal(agent_unit(h.agent, "c1001")->frozen_ms, 0); /* a coordinator's clock is another one */
    skip_output();
    worker.cpu_ms += 10;
    sampled(13000);
    EXPECT("report units 2 lease a/1 100\n");
    assert_int_equal(frozen_ms(), 0);
}

static void test_what_was_measured_ends_with_the_process(void **state)
{
    (void)state;
    begin_sampled();
    worker.unread_bytes = 321;
    worker.retransmits = false;
    sampled(2500);
    sampled(3500);
    assert_int_equal(frozen_ms(), 1000);
    exited("w1000", 9, "");
    assert_int_equal(frozen_ms(), 0);
}

/* The next epoch's worker is not accused of what it did for the last one. */
static void test_an_idle_worker_is_not_frozen(void **state)
{
    (void)state;
    begin_sampled();
    worker.unread_bytes = 321;
    sampled(2500);
    sampled(3500);
    stop(4, "a", 1);
    exited("c1001", 15, "");
    probed("w1000", true);
    assert_int_equal(frozen_ms(), 0);
    sampled(4000);
    sampled(5500);
    assert_int_equal(frozen_ms(), 0);
    lease(5, "b", 1, 100);
    persisted(5, true);
    start_worker(6, "b", 1, 0);
    sampled(6000);
    assert_int_equal(frozen_ms(), 0);
    sampled(7000);
    assert_int_equal(frozen_ms(), 1000);
}

static void test_a_new_epoch_begins_a_new_clock(void **state)
{
    (void)state;
    begin_sampled();
    worker.unread_bytes = 321;
    sampled(2500);
    stop(4, "a", 1);
    exited("c1001", 15, "");
    probed("w1000", true);
    lease(5, "b", 1, 100);
    persisted(5, true);
    start_worker(6, "b", 1, 0); /* before the next sample */
    sampled(3500);
    assert_int_equal(frozen_ms(), 0);
}

/* It moves nothing of its own by which it could be judged, so its state is all there is. */
static void test_a_stopped_carrier_is_told_for_how_long(void **state)
{
    struct agent_unit_sample s = {.id = "t1001", .proc_state = 'T'};

    (void)state;
    boot_with_carriers();
    begin_idle();
    simple(AGENT_EV_LINK_UP);
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_carried_worker(2, "a", 1, 1);
    persisted(2, true);
    spawned("t1001", 7440);
    sample_units(&s, 1);
    at(2000);
    sample_units(&s, 1);
    assert_int_equal(agent_unit(h.agent, "t1001")->frozen_ms, 0); /* it does not serve yet */
    probed("t1001", true);
    for (uint64_t t = 2500; t <= 12500; t += 500) {
        at(t);
        sample_units(&s, 1);
    }
    assert_int_equal(agent_unit(h.agent, "t1001")->frozen_ms, 10000);
    simple(AGENT_EV_RESUMED);
    assert_int_equal(agent_unit(h.agent, "t1001")->frozen_ms, 0);
    at(13000);
    sample_units(&s, 1);
    assert_int_equal(agent_unit(h.agent, "t1001")->frozen_ms, 0);
}

static void sample_indexes(uint64_t now_ms, uint16_t first, uint16_t second)
{
    struct agent_sample s = {.host_total_bytes = 10000, .host_free_bytes = 500, .n_models = 2};

    s.index_permille[0] = first;
    s.index_permille[1] = second;
    at(now_ms);
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
}

/* That one is ready, at once; how far the others are, with the next full report: models may be megabytes. */
static void test_how_far_indexes_are(void **state)
{
    static const char *const names[] = {"a", "b"};

    (void)state;
    begin_idle();
    models(names, 2);
    simple(AGENT_EV_LINK_UP);
    sample_indexes(2000, 0, 0);
    sample_indexes(12000, 0, 0);
    skip_output();
    sample_indexes(12500, 300, 0);
    sample_indexes(13000, 600, 0);
    EXPECT("report\n"
           "report\n");
    sample_indexes(13500, 1000, 0);
    EXPECT("report models 2\n");
    assert_int_equal(h.last_permille[0], 1000);
    sample_indexes(14000, 1000, 7);
    EXPECT("report\n");
    sample_indexes(22000, 1000, 7);
    EXPECT("report full devices 0 units 1 models 2\n");
    assert_int_equal(h.last_permille[1], 7);
    sample_indexes(32000, 1000, 7);
    EXPECT("report full devices 0 units 1\n");
    models(names, 2); /* one of them has changed, or another came: nothing is known of the new list yet */
    sample_indexes(32500, 0, 1000);
    EXPECT("report models 2\n");
    assert_int_equal(h.last_permille[0], 0);
    assert_int_equal(h.last_permille[1], 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_new_carries_no_units, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_told_when_it_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_stopped_worker_is_told_idle_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_case_11_a_frozen_rank_is_told_from_a_second_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_was_measured_ends_with_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_idle_worker_is_not_frozen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_new_epoch_begins_a_new_clock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_stopped_carrier_is_told_for_how_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_how_far_indexes_are, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
