/* Ends that do not come as they should: processes that outlive SIGKILL, starts that nobody answers, a disk that is full,
 * an agent that died in the middle of it. Whatever happens, each command gets its one result and nothing is left behind. */
#include "tests/unit/agent_harness.h"

/* ---- processes that do not die ---------------------------------------------------------------------------------- */

/* w1000 serves a/1 and was killed at 3000; it hangs in the kernel. */
static void begin_undead(void)
{
    begin_serving();
    simple(AGENT_EV_LINK_DOWN);
    stop(4, "a", 1);
    exited("c1001", 15, "");
    probed("w1000", false);
    EXPECT("c1001 running -> stopping\n"
           "signal c1001 15\n"
           "c1001 stopping -> exited\n"
           "forget c1001\n"
           "probe w1000 1000\n"
           "w1000 running -> stopping\n"
           "signal w1000 9\n"
           "withdraw\n");
}

static void test_a_stop_ends_though_the_process_does_not(void **state)
{
    (void)state;
    begin_undead();
    tick(60999);
    EXPECT("");
    tick(61000);
    EXPECT("w1000 stopping -> stopping\n"
           "result 4 failed process_stuck\n"
           "signal w1000 9\n");
    tick(121000);
    EXPECT("w1000 stopping -> stopping\n"
           "signal w1000 9\n");
    exited("w1000", 9, "");
    EXPECT("w1000 stopping -> exited\n"
           "persist a/1 #3\n"
           "w1000 exited -> backoff\n"
           "forget w1000\n"
           "w1000 backoff -> starting\n"
           "spawn w1000 standing worker nobody from port 20052\n");
    stop(5, "a", 1);
    EXPECT("result 5 done\n");
}

/* Its memory is not free: what was promised stays so until it is. */
static void test_its_lease_lasts_as_long_as_the_process(void **state)
{
    (void)state;
    begin_undead();
    tick(61000);
    simple(AGENT_EV_LINK_UP);
    skip_output();
    sample(500);
    EXPECT("report full devices 1 units 1 models 1 lease a/1 100\n");
    exited("w1000", 9, "");
    skip_output();
    tick(62000);
    EXPECT("report units 1\n");
}

static void test_a_lease_ends_though_the_process_does_not(void **state)
{
    (void)state;
    begin_serving();
    lease(4, "a", 2, 100);
    persisted(3, true);
    exited("c1001", 15, "");
    probed("w1000", false);
    skip_output();
    tick(61000);
    EXPECT("w1000 stopping -> stopping\n"
           "result 4 failed process_stuck\n"
           "signal w1000 9\n");
    exited("w1000", 9, ""); /* too late: nobody was promised anything */
    skip_output();
    start_worker(5, "a", 2, 0);
    EXPECT("result 5 refused stale_epoch newest 2\n");
}

static void test_what_waits_for_others_is_not_given_up(void **state)
{
    (void)state;
    begin_undead();
    tick(60000);
    lease(5, "a", 2, 100); /* waits for the same */
    EXPECT("persist a/2 leased 100 #3\n");
    persisted(3, true);
    lease(6, "b", 1, 100); /* does not */
    persisted(4, true);
    EXPECT("persist b/1 leased 100 #4\n"
           "result 6 done\n");
    start_worker(7, "b", 1, 0);
    stop(8, "b", 1);
    lease(9, "c", 1, 100); /* is being written */
    skip_output();
    tick(61000);
    EXPECT("w1000 stopping -> stopping\n"
           "result 5 failed process_stuck\n"
           "result 4 failed process_stuck\n"
           "signal w1000 9\n");
}

/* ---- starts that nobody answers --------------------------------------------------------------------------------- */

static void test_a_spawn_that_never_answers(void **state)
{
    (void)state;
    simple(AGENT_EV_BEGIN);
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_worker(2, "a", 1, 0);
    skip_output();
    tick(15999);
    EXPECT("");
    tick(16000);
    EXPECT("w1000 starting -> stopping\n"
           "signal w1000 9\n"
           "w1001 starting -> stopping\n"
           "signal w1001 9\n"
           "result 2 failed worker_silent\n");
    stop(3, "a", 1);
    tick(76000);
    EXPECT("w1000 stopping -> stopping\n"
           "signal w1000 9\n"
           "w1001 stopping -> stopping\n"
           "result 3 failed process_stuck\n"
           "signal w1001 9\n");
    spawned("w1001", 20053); /* after all */
    EXPECT("w1001 stopping -> stopping\n"
           "signal w1001 9\n");
    exited("w1001", 9, "");
    EXPECT("w1001 stopping -> exited\n"
           "forget w1001\n"
           "persist a/1 #2\n");
    spawn_failed("w1000", NULL, "No such file.");
    EXPECT("w1000 stopping -> exited\n"
           "w1000 exited -> backoff\n"
           "forget w1000\n");
}

static void test_the_next_life_is_asked_to_end_first(void **state)
{
    static const char *const names[] = {"qwen"};

    (void)state;
    begin_idle();
    models(names, 1);
    exited("w1000", 11, "");
    tick(2000);
    tick(17000); /* silent, killed */
    exited("w1000", 9, "");
    tick(60000);
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_coordinator_on(2, "a", 1, "qwen", "CUDA0"); /* wants its device */
    skip_output();
    spawned("w1000", 20052);
    EXPECT("w1000 stopping -> stopping\n"
           "signal w1000 15\n");
}

static void test_a_coordinator_that_never_came_to_be(void **state)
{
    static const char *const names[] = {"qwen"};

    (void)state;
    begin_idle();
    models(names, 1);
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_coordinator(2, "a", 1);
    skip_output();
    tick(16000);
    EXPECT("c1001 starting -> stopping\n"
           "signal c1001 9\n"
           "result 2 failed coordinator_silent\n");
}

/* ---- a stopped worker ------------------------------------------------------------------------------------------- */

static void test_a_stopped_standing_worker_is_not_taken(void **state)
{
    struct agent_unit_sample s = {.id = "w1000", .proc_state = 'T'};

    (void)state;
    begin_idle();
    sample_units(&s, 1);
    lease(1, "a", 1, 100);
    persisted(1, true);
    skip_output();
    start_worker(2, "a", 1, 0);
    EXPECT("w1001 idle -> starting\n"
           "spawn w1001 worker a/1 rank 0\n");
}

/* Nor is a grace given to what would not hear of it. */
static void test_a_stopped_process_is_killed_at_once(void **state)
{
    struct agent_unit_sample s = {.id = "c1001", .proc_state = 'T'};

    (void)state;
    begin_serving();
    sample_units(&s, 1);
    skip_output();
    stop(4, "a", 1);
    EXPECT("c1001 running -> stopping\n"
           "signal c1001 9\n");
    exited("c1001", 9, "");
    EXPECT("c1001 stopping -> exited\n"
           "forget c1001\n"
           "probe w1000 1000\n");
}

/* ---- a full disk ------------------------------------------------------------------------------------------------ */

static void test_an_end_that_the_disk_did_not_take_is_written_again(void **state)
{
    (void)state;
    begin_idle();
    lease(1, "a", 1, 100);
    persisted(1, true);
    skip_output();
    stop(2, "a", 1);
    EXPECT("persist a/1 #2\n"
           "result 2 done\n"); /* it has ended; not knowing that it has is the safe side */
    persisted(2, false);
    lease(3, "a", 1, 100);
    EXPECT("result 3 refused stale_epoch newest 1\n");
    assert_int_equal(agent_deadline_ms(h.agent), h.now_ms + AGENT_REWRITE_MS);
    tick(h.now_ms + AGENT_REWRITE_MS - 1);
    EXPECT("");
    tick(h.now_ms + 1);
    EXPECT("persist a/1 #3\n");
    persisted(3, false);
    tick(h.now_ms + AGENT_REWRITE_MS);
    EXPECT("persist a/1 #4\n");
    persisted(4, true);
    assert_int_equal(agent_deadline_ms(h.agent), UINT64_MAX);
}

/* It would say that the newer one is over, or leave it to the disk which of the two is. */
static void test_an_end_is_not_written_over_a_newer_epoch(void **state)
{
    (void)state;
    begin_idle();
    stop(1, "a", 1);
    persisted(1, false);
    skip_output();
    lease(2, "a", 2, 100);
    EXPECT("persist a/2 leased 100 #2\n");
    persisted(2, true);
    EXPECT("result 2 done\n");
    tick(h.now_ms + AGENT_REWRITE_MS);
    EXPECT("");
}

/* A restarted agent would take it for leased, and nobody would ever lead it. */
static void test_a_free_worker_whose_record_names_an_epoch_is_written_again(void **state)
{
    (void)state;
    begin_serving();
    stop(4, "a", 1);
    exited("c1001", 15, "");
    skip_output();
    probed("w1000", true);
    EXPECT("w1000 running -> running\n"
           "assign w1000 standing worker nobody #3\n"
           "persist a/1 #4\n"
           "result 4 done\n"
           "advertise w1000 port 20052 idle\n");
    persisted(3, false);
    persisted(4, true);
    tick(h.now_ms + AGENT_REWRITE_MS);
    EXPECT("assign w1000 standing worker nobody #5\n");
    persisted(5, false);
    lease(5, "b", 1, 100);
    persisted(6, true);
    skip_output();
    start_worker(6, "b", 1, 0);
    EXPECT("assign w1000 standing worker b/1 rank 0 #7\n"
           "advertise w1000 port 20052 leased\n");
    persisted(7, false); /* then it serves nobody again, and what its record says is not known */
    EXPECT("result 6 failed disk\n"
           "advertise w1000 port 20052 idle\n");
    tick(h.now_ms + AGENT_REWRITE_MS);
    EXPECT("assign w1000 standing worker nobody #8\n");
    persisted(8, false);
    exited("w1000", 9, ""); /* a new process gets a new record */
    skip_output();
    tick(h.now_ms + AGENT_BACKOFF_MIN_MS);
    EXPECT("w1000 backoff -> starting\n"
           "spawn w1000 standing worker nobody from port 20052\n");
    tick(h.now_ms + AGENT_REWRITE_MS);
    EXPECT("");
}

/* ---- coordinators at large --------------------------------------------------------------------------------------- */

static void stop_at_large(uint64_t id, const char *instance, uint64_t epoch)
{
    struct message m = command(id, instance, epoch, COMMAND_STOP);

    m.command.stop.at_large = true;
    send_command(&m);
}

/* w1000 is rank 1 of a/1, whose coordinator is elsewhere. */
static void begin_rank(void)
{
    begin_idle();
    simple(AGENT_EV_LINK_UP);
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_worker(2, "a", 1, 1);
    persisted(2, true);
    skip_output();
}

/* It sleeps, or is cut off; when it comes back it dials the port that it knows. Whoever it finds there would serve it. */
static void test_no_other_is_served_where_a_coordinator_may_still_come(void **state)
{
    (void)state;
    begin_rank();
    stop_at_large(3, "a", 1);
    EXPECT("w1000 running -> stopping\n"
           "signal w1000 15\n"
           "withdraw\n");
    lease(4, "b", 1, 100);
    persisted(3, true);
    start_worker(5, "b", 1, 1);
    EXPECT("persist b/1 leased 100 #3\n"
           "result 4 done\n"
           "w1001 idle -> starting\n"
           "spawn w1001 worker b/1 rank 1 from port 20053\n");
    spawned("w1001", 20053);
    skip_output();
    exited("w1000", 15, "");
    EXPECT("w1000 stopping -> exited\n"
           "persist a/1 #4\n"
           "result 3 done\n"
           "w1000 exited -> backoff\n"
           "forget w1000\n"
           "w1000 backoff -> starting\n"
           "spawn w1000 standing worker nobody from port 20053\n");
}

/* The search begins anew where the range ends. */
static void test_ports_that_such_a_one_knows_come_again_last(void **state)
{
    (void)state;
    begin_rank();
    stop_at_large(3, "a", 1);
    exited("w1000", 15, "");
    skip_output();
    spawned("w1000", 20053);
    probed("w1000", true);
    lease(4, "b", 1, 100);
    persisted(4, true);
    start_worker(5, "b", 1, 1);
    persisted(5, true);
    stop_at_large(6, "b", 1);
    exited("w1000", 15, "");
    skip_output();
    spawned("w1000", 20052); /* 20053 was the last one */
    probed("w1000", true);
    lease(7, "c", 1, 100);
    persisted(7, true);
    start_worker(8, "c", 1, 1);
    persisted(8, true);
    stop_at_large(9, "c", 1);
    skip_output();
    exited("w1000", 15, "");
    EXPECT("w1000 stopping -> exited\n"
           "persist c/1 #9\n"
           "result 9 done\n"
           "w1000 exited -> backoff\n"
           "forget w1000\n"
           "w1000 backoff -> starting\n"
           "spawn w1000 standing worker nobody from port 20053\n");
}

static void test_a_coordinator_of_our_own_has_ended_before_its_workers(void **state)
{
    (void)state;
    begin_serving();
    lease(5, "a", 2, 100);
    persisted(3, true);
    exited("c1001", 15, "");
    skip_output();
    probed("w1000", true);
    EXPECT("w1000 running -> running\n" /* and keeps its port */
           "assign w1000 standing worker nobody #4\n"
           "result 5 done\n"
           "advertise w1000 port 20052 idle\n");
}

/* ---- an agent that died in the middle --------------------------------------------------------------------------- */

static void test_case_03_of_two_epochs_the_newer_is_kept(void **state)
{
    (void)state;
    found("w4", UNIT_WORKER, UNIT_RUNNING, false, "a", 4, 0);
    found("w5", UNIT_WORKER, UNIT_RUNNING, false, "a", 5, 0);
    EXPECT("");
    simple(AGENT_EV_BEGIN);
    EXPECT("w4 running -> stopping\n"
           "signal w4 15\n"
           "w1000 idle -> starting\n"
           "spawn w1000 standing worker nobody from port 20053\n"); /* epoch 4's coordinator may live */
}

static void test_case_03_the_older_epoch_ends_first(void **state)
{
    const struct agent_epoch leased = {.instance = instance_of("a"), .epoch = 5, .leased = true, .lease_bytes = 100};

    (void)state;
    boot_with(&leased, 1);
    found("w4", UNIT_WORKER, UNIT_RUNNING, false, "a", 4, 0);
    simple(AGENT_EV_BEGIN);
    skip_output();
    lease(1, "a", 5, 100);
    EXPECT("");
    start_worker(2, "a", 5, 0);
    EXPECT("result 2 refused no_lease\n");
    exited("w4", 15, "");
    EXPECT("w4 stopping -> exited\n"
           "forget w4\n"
           "result 1 done\n");
}

static void test_case_03_a_record_that_outlived_its_epoch(void **state)
{
    const struct agent_epoch over = {.instance = instance_of("a"), .epoch = 4};

    (void)state;
    boot_with(&over, 1);
    found("w4", UNIT_WORKER, UNIT_EXITED, false, "a", 4, 0);
    simple(AGENT_EV_BEGIN);
    EXPECT("forget w4\n"
           "w1000 idle -> starting\n"
           "spawn w1000 standing worker nobody\n");
    sample(500);
    simple(AGENT_EV_LINK_UP);
    EXPECT("report full devices 1 units 1 models 0\n");
}

/* It was emptied, but the disk was full when that was to be written. */
static void test_case_03_a_worker_of_an_epoch_that_is_over(void **state)
{
    const struct agent_epoch over = {.instance = instance_of("a"), .epoch = 4};

    (void)state;
    boot_with(&over, 1);
    found("w4", UNIT_WORKER, UNIT_RUNNING, true, "a", 4, 0);
    simple(AGENT_EV_BEGIN);
    EXPECT("probe w4 1000\n"
           "advertise w4 port 20052 leased\n");
    start_worker(1, "a", 4, 0);
    EXPECT("result 1 refused stale_epoch newest 4\n");
    probed("w4", true);
    EXPECT("w4 running -> running\n"
           "assign w4 standing worker nobody #1\n"
           "advertise w4 port 20052 idle\n");
}

/* A STOP may be for an epoch that has not come here yet; after a restart too it must not. */
static void test_a_stop_that_came_before_its_lease(void **state)
{
    const struct agent_epoch over = {.instance = instance_of("a"), .epoch = 9};

    (void)state;
    begin_serving();
    stop(4, "a", 9);
    exited("c1001", 15, "");
    skip_output();
    probed("w1000", true);
    EXPECT("w1000 running -> running\n"
           "assign w1000 standing worker nobody #3\n"
           "persist a/9 #4\n"
           "result 4 done\n"
           "advertise w1000 port 20052 idle\n");
    lease(5, "a", 9, 100);
    lease(6, "a", 2, 100);
    EXPECT("result 5 refused stale_epoch newest 9\n"
           "result 6 refused stale_epoch newest 9\n");
    boot_with(&over, 1);
    simple(AGENT_EV_BEGIN);
    skip_output();
    lease(5, "a", 9, 100);
    EXPECT("result 5 refused stale_epoch newest 9\n");
}

/* Written, and the agent died before it could refuse it. */
static void test_a_lease_that_was_never_granted(void **state)
{
    const struct agent_epoch epochs[] = {
        {.instance = instance_of("a"), .epoch = 4, .leased = true, .lease_bytes = 600},
        {.instance = instance_of("b"), .epoch = 2, .leased = true, .lease_bytes = 600},
        {.instance = instance_of("c"), .epoch = 1, .leased = true, .lease_bytes = 400}};

    (void)state;
    h.config.memory_limit_bytes = 1000;
    boot_with(epochs, 3);
    found("w4", UNIT_WORKER, UNIT_RUNNING, true, "a", 4, 0);
    simple(AGENT_EV_BEGIN);
    EXPECT("persist b/2 #1\n"
           "advertise w4 port 20052 leased\n");
    sample(5000);
    simple(AGENT_EV_LINK_UP);
    EXPECT("report full devices 1 units 1 models 0 lease a/4 600 lease c/1 400\n");
}

static void adopt_many(size_t n, enum unit_state state)
{
    for (size_t i = 0; i < n; i++) {
        char id[PROTO_NAME_MAX];

        snprintf(id, sizeof(id), "w%zu", 100 + i);
        found(id, UNIT_WORKER, state, false, "a", 1, (int32_t)(i % PROTO_RANKS_MAX));
    }
}

/* It was started by nobody who keeps count; what is not in the list cannot be ended later. */
static void test_case_03_more_children_than_can_be_held(void **state)
{
    (void)state;
    adopt_many(PROTO_UNITS_MAX, UNIT_RUNNING);
    EXPECT("");
    found("w9", UNIT_WORKER, UNIT_RUNNING, false, "b", 1, 0);
    EXPECT("signal w9 9\n");
    exited("w9", 9, "");
    EXPECT("forget w9\n");
    found("w10", UNIT_WORKER, UNIT_EXITED, false, "b", 1, 0);
    EXPECT("forget w10\n");
}

static void test_case_03_records_of_the_dead_make_room_for_the_living(void **state)
{
    (void)state;
    adopt_many(PROTO_UNITS_MAX, UNIT_EXITED);
    found("w9", UNIT_WORKER, UNIT_RUNNING, false, "b", 1, 0);
    EXPECT("forget w100\n");
    assert_non_null(agent_unit(h.agent, "w9"));
    assert_null(agent_unit(h.agent, "w100"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_stop_ends_though_the_process_does_not),
        TEST(test_its_lease_lasts_as_long_as_the_process),
        TEST(test_a_lease_ends_though_the_process_does_not),
        TEST(test_what_waits_for_others_is_not_given_up),
        TEST(test_a_spawn_that_never_answers),
        TEST(test_the_next_life_is_asked_to_end_first),
        TEST(test_a_coordinator_that_never_came_to_be),
        TEST(test_a_stopped_standing_worker_is_not_taken),
        TEST(test_a_stopped_process_is_killed_at_once),
        TEST(test_an_end_that_the_disk_did_not_take_is_written_again),
        TEST(test_an_end_is_not_written_over_a_newer_epoch),
        TEST(test_a_free_worker_whose_record_names_an_epoch_is_written_again),
        TEST(test_no_other_is_served_where_a_coordinator_may_still_come),
        TEST(test_ports_that_such_a_one_knows_come_again_last),
        TEST(test_a_coordinator_of_our_own_has_ended_before_its_workers),
        TEST(test_case_03_of_two_epochs_the_newer_is_kept),
        TEST(test_case_03_the_older_epoch_ends_first),
        TEST(test_case_03_a_record_that_outlived_its_epoch),
        TEST(test_case_03_a_worker_of_an_epoch_that_is_over),
        TEST(test_a_stop_that_came_before_its_lease),
        TEST(test_a_lease_that_was_never_granted),
        TEST(test_case_03_more_children_than_can_be_held),
        TEST(test_case_03_records_of_the_dead_make_room_for_the_living),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
