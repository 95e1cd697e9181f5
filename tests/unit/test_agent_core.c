/* What an agent decides, as transcripts. */
#include "tests/unit/agent_harness.h"

/* ---- the standing worker ---------------------------------------------------------------------------------------- */

static void test_standing_worker_starts_and_is_advertised(void **state)
{
    (void)state;
    simple(AGENT_EV_BEGIN);
    EXPECT("w1000 idle -> starting\n"
           "spawn w1000 standing worker nobody\n");
    spawned("w1000", 20052);
    EXPECT("w1000 starting -> starting\n"
           "probe w1000 15000\n");
    probed("w1000", true);
    EXPECT("w1000 starting -> running\n"
           "advertise w1000 port 20052 idle\n");
    assert_int_equal(agent_unit(h.agent, "w1000")->rpc.major, 8);
    assert_int_equal(agent_unit(h.agent, "w1000")->device_total_bytes[0], 5000);
    assert_null(agent_unit(h.agent, "w9"));
    assert_true(agent_deadline_ms(h.agent) == UINT64_MAX);
}

static void test_no_standing_worker(void **state)
{
    (void)state;
    h.config.standing = false;
    boot_with(NULL, 0);
    simple(AGENT_EV_BEGIN);
    EXPECT("");
    h.config.standing = true;
    h.config.can_run = false;
    boot_with(NULL, 0);
    simple(AGENT_EV_BEGIN);
    EXPECT("");
}

static void test_standing_worker_comes_back_with_backoff(void **state)
{
    static const uint64_t delays[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};

    (void)state;
    begin_idle();
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        at(h.now_ms + 5000); /* it runs for a while each time, so the port is not to blame */
        exited("w1000", 11, "segfault");
        EXPECT("w1000 running -> exited\n"
               "w1000 exited -> backoff\n"
               "forget w1000\n"
               "withdraw\n");
        assert_int_equal(agent_deadline_ms(h.agent), h.now_ms + delays[i]);
        tick(h.now_ms + delays[i] - 1);
        EXPECT("");
        tick(h.now_ms + 1);
        EXPECT("w1000 backoff -> starting\n"
               "spawn w1000 standing worker nobody from port 20052\n");
        spawned("w1000", 20052);
        probed("w1000", true);
        skip_output();
    }
    at(h.now_ms + AGENT_BACKOFF_RESET_MS);
    exited("w1000", 11, "segfault");
    assert_int_equal(agent_deadline_ms(h.agent), h.now_ms + AGENT_BACKOFF_MIN_MS);
    assert_int_equal(agent_unit(h.agent, "w1000")->restarts, 8);
}

static void test_case_06_next_port_after_quick_exits(void **state)
{
    (void)state;
    simple(AGENT_EV_BEGIN);
    spawned("w1000", 20052);
    exited("w1000", 0, "Failed to create server socket");
    tick(2000);
    spawned("w1000", 20052);
    skip_output();
    exited("w1000", 0, "Failed to create server socket");
    tick(4000);
    EXPECT("w1000 starting -> exited\n"
           "w1000 exited -> backoff\n"
           "forget w1000\n"
           "w1000 backoff -> starting\n"
           "spawn w1000 standing worker nobody from port 20053\n");
}

static void test_case_06_port_clash_is_told(void **state)
{
    (void)state;
    begin_serving();
    step(&(struct agent_ev){.kind = AGENT_EV_PORT_CLASH, .unit_id = "w1000", .text = "Port 20052 is held by uid 0."});
    EXPECT("event port_clash w1000 a/1\n");
}

static void test_silent_start_is_killed(void **state)
{
    (void)state;
    simple(AGENT_EV_BEGIN);
    spawned("w1000", 20052);
    skip_output();
    probed("w1000", false);
    EXPECT("w1000 starting -> stopping\n"
           "signal w1000 9\n");
    exited("w1000", 9, "");
    EXPECT("w1000 stopping -> exited\n"
           "w1000 exited -> backoff\n"
           "forget w1000\n");
    tick(2000);
    skip_output();
    tick(2000 + AGENT_WORKER_START_MS); /* nor does it hang where the shell never speaks again */
    EXPECT("w1000 starting -> stopping\n"
           "signal w1000 9\n");
    spawned("w1000", 20052);
    EXPECT("w1000 stopping -> stopping\n"
           "signal w1000 9\n");
}

static void test_spawn_failure_is_tried_again(void **state)
{
    (void)state;
    simple(AGENT_EV_LINK_UP);
    simple(AGENT_EV_BEGIN);
    skip_output();
    spawn_failed("w1000", "exec", "rpc-server could not be executed.");
    EXPECT("w1000 starting -> failed\n"
           "event unit_exited w1000 nobody signal 0: rpc-server could not be executed.\n"
           "w1000 failed -> backoff\n"
           "forget w1000\n");
    tick(2000);
    EXPECT("w1000 backoff -> starting\n"
           "spawn w1000 standing worker nobody\n");
}

static void test_standing_worker_makes_room_for_a_local_device(void **state)
{
    static const char *const names[] = {"qwen"};

    (void)state;
    begin_idle();
    simple(AGENT_EV_LINK_UP); /* an end that we wished is no news */
    models(names, 1);
    lease(1, "a", 1, 100);
    persisted(1, true);
    skip_output();
    start_coordinator_on(2, "a", 1, "qwen", "CUDA0");
    EXPECT("w1000 running -> stopping\n"
           "signal w1000 15\n"
           "c1001 idle -> starting\n"
           "spawn c1001 coordinator a/1 qwen with 2 args\n"
           "withdraw\n");
    exited("w1000", 15, "");
    EXPECT("w1000 stopping -> exited\n"
           "forget w1000\n");
    tick(5000);
    EXPECT("");
    spawned("c1001", 18080);
    skip_output();
    exited("c1001", 9, "killed");
    EXPECT("c1001 starting -> exited\n"
           "event unit_exited c1001 a/1 signal 9: killed\n"
           "w5000 idle -> starting\n"
           "spawn w5000 standing worker nobody\n");
}

/* ---- leases ----------------------------------------------------------------------------------------------------- */

static void test_epoch_is_on_disk_before_it_is_promised(void **state)
{
    (void)state;
    begin_idle();
    lease(1, "a", 4, 100);
    EXPECT("persist a/4 leased 100 #1\n");
    start_worker(2, "a", 4, 0);
    EXPECT("result 2 refused no_lease\n");
    persisted(99, true);
    EXPECT("");
    persisted(1, true);
    EXPECT("result 1 done\n");
}

static void test_epoch_that_cannot_be_written(void **state)
{
    (void)state;
    begin_idle();
    lease(1, "a", 4, 100);
    skip_output();
    persisted(1, false);
    EXPECT("result 1 refused disk\n"
           "persist a/4 #2\n");
    lease(2, "a", 4, 100);
    EXPECT("result 2 refused stale_epoch newest 4\n");
    lease(3, "a", 5, 100);
    EXPECT("persist a/5 leased 100 #3\n");
}

static void test_stale_epoch(void **state)
{
    const struct agent_epoch known[] = {
        {instance_of("a"), 7, false, 0}, {instance_of("b"), 3, true, 50}, {instance_of("a"), 6, true, 10}};

    (void)state;
    boot_with(known, 3);
    begin_idle();
    lease(1, "a", 6, 100);
    lease(2, "a", 7, 100);
    start_worker(3, "a", 6, 0);
    EXPECT("result 1 refused stale_epoch newest 7\n"
           "result 2 refused stale_epoch newest 7\n"
           "result 3 refused stale_epoch newest 7\n");
    lease(4, "b", 3, 50);
    EXPECT("result 4 done\n");
    lease(5, "a", 8, 100);
    EXPECT("persist a/8 leased 100 #1\n");
}

static void test_newer_epoch_overtakes_one_being_written(void **state)
{
    (void)state;
    begin_idle();
    lease(1, "a", 4, 100);
    lease(2, "a", 5, 100);
    EXPECT("persist a/4 leased 100 #1\n"
           "result 1 refused stale_epoch newest 5\n"
           "persist a/5 leased 100 #2\n");
    persisted(1, true);
    EXPECT("");
    persisted(2, true);
    EXPECT("result 2 done\n");
}

static void test_memory_limit(void **state)
{
    (void)state;
    h.config.memory_limit_bytes = 1000;
    boot_with(NULL, 0);
    begin_idle();
    lease(1, "a", 1, 600);
    persisted(1, true);
    skip_output();
    lease(2, "b", 1, 401);
    persisted(2, true);
    EXPECT("persist b/1 leased 401 #2\n"
           "result 2 refused no_memory\n"
           "persist b/1 #3\n");
    lease(3, "b", 2, 400);
    persisted(4, true);
    EXPECT("persist b/2 leased 400 #4\n"
           "result 3 done\n");
    lease(4, "c", 1, UINT64_MAX);
    persisted(5, true);
    EXPECT("persist c/1 leased 18446744073709551615 #5\n"
           "result 4 refused no_memory\n"
           "persist c/1 #6\n");
}

/* The free memory of the last sample does not know of a worker that ended since. */
static void test_host_memory(void **state)
{
    struct agent_sample s = {.host_free_bytes = 100, .n_units = 1};

    (void)state;
    begin_serving();
    strcpy(s.unit[0].id, "w1000");
    s.unit[0].rss_bytes = 500;
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
    skip_output();
    lease(10, "b", 1, 101);
    persisted(3, true);
    EXPECT("persist b/1 leased 101 #3\n"
           "result 10 refused no_memory\n"
           "persist b/1 #4\n");
    exited("w1000", 9, "killed");
    skip_output();
    lease(11, "b", 2, 600);
    persisted(5, true);
    EXPECT("persist b/2 leased 600 #5\n"
           "result 11 done\n");
    s.n_units = 0;
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s}); /* it says free what is free */
    lease(12, "c", 1, 101);
    skip_output();
    persisted(6, true);
    EXPECT("result 12 refused no_memory\n"
           "persist c/1 #7\n");
}

/* What goes to a GPU is not the host's; what goes to unified memory is. */
static void test_host_memory_counts_host_devices_only(void **state)
{
    struct agent_sample s = {.host_free_bytes = 100, .n_devices = 2};

    (void)state;
    begin_idle();
    strcpy(s.device[0].name, "CPU");
    s.device[0].kind = DEVICE_CPU;
    strcpy(s.device[1].name, "CUDA0");
    s.device[1].kind = DEVICE_GPU;
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
    lease_on(1, "a", 1, "CUDA0", 5000);
    persisted(1, true);
    EXPECT("persist a/1 leased 5000 #1\n"
           "result 1 done\n");
    s.device[1].kind = DEVICE_UNIFIED;
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
    lease_on(2, "b", 1, "CUDA0", 5000);
    persisted(2, true);
    EXPECT("persist b/1 leased 5000 #2\n"
           "result 2 refused no_memory\n"
           "persist b/1 #3\n");
}

static void test_newer_epoch_ends_the_older_first(void **state)
{
    (void)state;
    begin_serving();
    lease(10, "a", 2, 300);
    EXPECT("persist a/2 leased 300 #3\n");
    persisted(3, true);
    EXPECT("c1001 running -> stopping\n"
           "signal c1001 15\n");
    exited("c1001", 15, "");
    EXPECT("c1001 stopping -> exited\n"
           "forget c1001\n"
           "probe w1000 1000\n");
    probed("w1000", true);
    EXPECT("w1000 running -> running\n"
           "assign w1000 standing worker nobody #4\n"
           "result 10 done\n"
           "advertise w1000 port 20052 idle\n");
    sample(5000);
    EXPECT("report full devices 1 units 1 models 1 lease a/2 300\n");
}

/* ---- starts ----------------------------------------------------------------------------------------------------- */

static void test_one_instance_from_lease_to_stop(void **state)
{
    static const char *const names[] = {"qwen"};

    (void)state;
    begin_idle();
    models(names, 1);
    simple(AGENT_EV_LINK_UP);
    EXPECT("");
    sample(5000);
    EXPECT("report full devices 1 units 1 models 1\n");
    lease(1, "a", 1, 100);
    persisted(1, true);
    EXPECT("persist a/1 leased 100 #1\n"
           "result 1 done\n");
    start_worker(2, "a", 1, 0);
    EXPECT("assign w1000 standing worker a/1 rank 0 #2\n"
           "advertise w1000 port 20052 leased\n");
    persisted(2, true);
    EXPECT("result 2 done w1000 10.0.0.1:20052\n");
    start_coordinator(3, "a", 1);
    EXPECT("c1001 idle -> starting\n"
           "spawn c1001 coordinator a/1 qwen with 2 args\n"
           "advertise w1000 port 20052 loading\n");
    spawned("c1001", 18080);
    EXPECT("c1001 starting -> starting\n"
           "result 3 done c1001 10.0.0.1:18080\n");
    log_says("c1001", AGENT_EVENT_LOADING, 0);
    log_says("c1001", AGENT_EVENT_RANK_BUFFERS, 2);
    log_says("c1001", AGENT_EVENT_LISTENING, 0);
    EXPECT("event loading c1001 a/1\n"
           "event rank_buffers c1001 a/1 buffers 2\n"
           "c1001 starting -> running\n"
           "event listening c1001 a/1\n"
           "advertise w1000 port 20052 leased\n");
    stop(4, "a", 1);
    EXPECT("c1001 running -> stopping\n"
           "signal c1001 15\n");
    exited("c1001", 0, "");
    EXPECT("c1001 stopping -> exited\n"
           "forget c1001\n"
           "probe w1000 1000\n");
    probed("w1000", true);
    EXPECT("w1000 running -> running\n"
           "assign w1000 standing worker nobody #3\n"
           "persist a/1 #4\n"
           "result 4 done\n"
           "advertise w1000 port 20052 idle\n");
    start_worker(5, "a", 1, 0);
    EXPECT("result 5 refused stale_epoch newest 1\n");
    tick(2000);
    EXPECT("report units 1\n");
}

static void test_second_worker_is_its_own(void **state)
{
    (void)state;
    begin_idle();
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_worker(2, "a", 1, 0);
    persisted(2, true);
    skip_output();
    start_worker(3, "a", 1, 1);
    EXPECT("w1001 idle -> starting\n"
           "spawn w1001 worker a/1 rank 1\n");
    spawned("w1001", 20053);
    probed("w1001", true);
    EXPECT("w1001 starting -> starting\n"
           "probe w1001 15000\n"
           "w1001 starting -> running\n"
           "result 3 done w1001 10.0.0.1:20053\n");
    stop(4, "a", 1);
    EXPECT("w1001 running -> stopping\n"
           "signal w1001 15\n"
           "probe w1000 1000\n");
    probed("w1000", true);
    exited("w1001", 15, "");
    EXPECT("w1000 running -> running\n"
           "assign w1000 standing worker nobody #3\n"
           "advertise w1000 port 20052 idle\n"
           "w1001 stopping -> exited\n"
           "forget w1001\n"
           "persist a/1 #4\n"
           "result 4 done\n");
}

static void test_worker_with_other_devices_is_its_own(void **state)
{
    (void)state;
    h.config.n_devices = 2;
    strcpy(h.config.device[0], "CUDA0");
    strcpy(h.config.device[1], "CUDA1");
    boot_with(NULL, 0);
    begin_idle();
    lease(1, "a", 1, 100);
    persisted(1, true);
    skip_output();
    start_worker_on(2, "a", 1, 0, "CUDA1");
    EXPECT("w1001 idle -> starting\n"
           "spawn w1001 worker a/1 rank 0\n");
    start_worker_on(3, "a", 1, 1, "CUDA2");
    EXPECT("result 3 refused no_device\n");
    start_worker_on(4, "a", 1, 0, "CUDA0");
    EXPECT("result 4 refused rank_taken\n");
    start_worker_on(5, "a", 1, 16, "CUDA0");
    EXPECT("result 5 refused bad_command\n");
    start_worker_on(6, "a", 1, -1, "CUDA0");
    EXPECT("result 6 refused bad_command\n");
}

static void test_case_12_a_leased_worker_is_leased_once(void **state)
{
    (void)state;
    begin_serving();
    lease(10, "b", 1, 100);
    persisted(3, true);
    skip_output();
    start_worker(11, "b", 1, 0);
    EXPECT("w1002 idle -> starting\n"
           "spawn w1002 worker b/1 rank 0\n");
}

/* Nor is one that is being asked, or going down. */
static void test_case_12_only_a_free_worker_is_taken(void **state)
{
    (void)state;
    found("w900", UNIT_WORKER, UNIT_RUNNING, true, NULL, 0, -1);
    simple(AGENT_EV_BEGIN);
    lease(1, "a", 1, 100);
    persisted(1, true);
    skip_output();
    start_worker(2, "a", 1, 0);
    EXPECT("w1000 idle -> starting\n"
           "spawn w1000 worker a/1 rank 0\n");
    probed("w900", true);
    step(&(struct agent_ev){.kind = AGENT_EV_DYING, .unit_id = "w900"});
    skip_output();
    start_worker(3, "a", 1, 1);
    EXPECT("w1001 idle -> starting\n"
           "spawn w1001 worker a/1 rank 1\n");
}

static void test_case_12_a_worker_that_stays_busy_is_restarted(void **state)
{
    (void)state;
    simple(AGENT_EV_BEGIN);
    exited("w1000", 9, "crashed before"); /* the backoff of an older crash does not delay it */
    tick(2000);
    spawned("w1000", 20052);
    probed("w1000", true);
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_worker(2, "a", 1, 0);
    persisted(2, true);
    stop(10, "a", 1);
    skip_output();
    probed("w1000", false);
    EXPECT("w1000 running -> stopping\n"
           "signal w1000 9\n"
           "withdraw\n");
    exited("w1000", 9, "");
    EXPECT("w1000 stopping -> exited\n"
           "persist a/1 #3\n"
           "result 10 done\n"
           "w1000 exited -> backoff\n"
           "forget w1000\n"
           "w1000 backoff -> starting\n"
           "spawn w1000 standing worker nobody from port 20052\n");
}

static void test_case_02_the_second_start_joins_the_first(void **state)
{
    (void)state;
    begin_serving();
    lease(10, "b", 1, 100);
    persisted(3, true);
    start_worker(11, "b", 1, 0);
    skip_output();
    start_worker(12, "b", 1, 0);
    EXPECT("");
    spawned("w1002", 20053);
    skip_output();
    probed("w1002", true);
    EXPECT("w1002 starting -> running\n"
           "result 12 done w1002 10.0.0.1:20053\n"
           "result 11 done w1002 10.0.0.1:20053\n");
    start_coordinator(13, "a", 1);
    EXPECT("result 13 done c1001 10.0.0.1:18080\n");
}

static void test_start_refusals(void **state)
{
    static const char *const names[] = {"qwen", "bad-file"};

    (void)state;
    begin_idle();
    models(names, 2);
    lease(1, "a", 1, 100);
    persisted(1, true);
    skip_output();
    start_coordinator_on(2, "a", 1, "llama", "RPC0");
    start_coordinator_on(3, "a", 1, "bad-file", "RPC0");
    EXPECT("result 2 refused no_file\n"
           "result 3 refused no_file\n");
    {
        struct message m = command(4, "a", 1, COMMAND_START_COORDINATOR);

        strcpy(m.command.coordinator.model, "qwen");
        m.command.coordinator.header_hash = 8;
        send_command(&m);
        EXPECT("result 4 refused no_file\n");
        m = command(5, "a", 1, (enum command_kind)99);
        send_command(&m);
        EXPECT("result 5 refused unknown_command\n");
    }
    start_worker(6, "a", 2, 0);
    EXPECT("result 6 refused no_lease\n");
    lease(7, "a", 0, 1);
    lease(8, "a", UINT64_MAX, 1);
    EXPECT("result 7 refused bad_command\n"
           "result 8 refused bad_command\n");
    models(NULL, 0);
    start_coordinator(9, "a", 1);
    EXPECT("result 9 refused no_file\n");
}

static void test_start_without_llama(void **state)
{
    (void)state;
    h.config.can_run = false;
    strcpy(h.config.build_problem, "rpc-server was not found.");
    boot_with(NULL, 0);
    simple(AGENT_EV_BEGIN);
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_worker(2, "a", 1, 0);
    start_coordinator(3, "a", 1);
    EXPECT("persist a/1 leased 100 #1\n"
           "result 1 done\n"
           "result 2 refused no_llama\n"
           "result 3 refused no_llama\n");
}

static void test_failed_starts_say_why(void **state)
{
    (void)state;
    begin_serving();
    lease(10, "b", 1, 100);
    persisted(3, true);
    start_worker(11, "b", 1, 0);
    start_worker(12, "b", 1, 1);
    start_worker(13, "b", 1, 2);
    start_coordinator(14, "b", 1);
    skip_output();
    spawn_failed("w1002", "port_clash", "All ports are held by others.");
    EXPECT("w1002 starting -> failed\n"
           "event unit_exited w1002 b/1 signal 0: All ports are held by others.\n"
           "result 11 failed port_clash\n");
    exited("w1003", 9, "killed");
    EXPECT("w1003 starting -> exited\n"
           "event unit_exited w1003 b/1 signal 9: killed\n"
           "result 12 failed worker_exited\n");
    spawned("w1004", 20055);
    skip_output();
    probed("w1004", false);
    exited("w1004", 9, "");
    EXPECT("w1004 starting -> stopping\n"
           "signal w1004 9\n"
           "result 13 failed worker_silent\n"
           "w1004 stopping -> exited\n"
           "event unit_exited w1004 b/1 signal 9: It was started but did not answer within 15 s.\n");
    spawn_failed("c1005", NULL, "No such file.");
    EXPECT("c1005 starting -> failed\n"
           "event unit_exited c1005 b/1 signal 0: No such file.\n"
           "result 14 failed spawn_failed\n");
    start_worker(15, "b", 1, 0);
    EXPECT("result 15 refused port_clash\n");
}

static void test_case_05_a_failed_start_leaves_nothing(void **state)
{
    (void)state;
    test_failed_starts_say_why(state);
    stop(20, "b", 1);
    EXPECT("forget c1005\n"
           "forget w1004\n"
           "forget w1003\n"
           "forget w1002\n"
           "persist b/1 #4\n"
           "result 20 done\n");
    sample(5000);
    EXPECT("report full devices 1 units 2 models 1 lease a/1 100\n");
}

static void test_worker_whose_record_cannot_be_written(void **state)
{
    (void)state;
    begin_idle();
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_worker(2, "a", 1, 0);
    skip_output();
    persisted(2, false);
    EXPECT("result 2 failed disk\n"
           "advertise w1000 port 20052 idle\n");
}

/* Its restart waits for the stop, though the write that fails comes after its end. */
static void test_worker_that_dies_while_its_record_is_written(void **state)
{
    (void)state;
    begin_idle();
    lease(1, "a", 1, 100);
    persisted(1, true);
    start_worker(2, "a", 1, 0);
    skip_output();
    exited("w1000", 9, "killed");
    EXPECT("w1000 running -> exited\n"
           "result 2 failed worker_exited\n"
           "withdraw\n");
    persisted(2, false);
    EXPECT("");
    stop(3, "a", 1);
    EXPECT("persist a/1 #3\n"
           "result 3 done\n"
           "w1000 exited -> backoff\n"
           "forget w1000\n");
}

static void test_too_many(void **state)
{
    static const char *const names[] = {"qwen"};

    (void)state;
    begin_idle();
    models(names, 1);
    lease(99, "a", 1, 1);
    persisted(1, true);
    for (uint64_t i = 1; i <= AGENT_COMMANDS_MAX; i++)
        lease(i, (char[2]){(char)(32 + i)}, 1, 1);
    skip_output();
    lease(100, "z", 1, 1);
    start_coordinator(101, "a", 1);
    EXPECT("result 100 refused busy\n"
           "result 101 refused busy\n");
    assert_int_equal(agent_units(h.agent, &(const struct unit_facts *){NULL}), 1);
    for (uint64_t i = 1; i <= AGENT_COMMANDS_MAX; i++)
        persisted(i + 1, true);
    skip_output();
    for (int32_t rank = 0; rank < 16; rank++)
        start_worker(200 + (uint64_t)rank, "!", 1, rank);
    for (int32_t rank = 0; rank < 15; rank++)
        start_worker(300 + (uint64_t)rank, "\"", 1, rank);
    start_worker(400, "\"", 1, 15);
    skip_output();
    start_worker(401, "#", 1, 0);
    EXPECT("result 401 refused busy\n");
}

/* ---- stop ------------------------------------------------------------------------------------------------------- */

static void test_stop_of_an_unknown_epoch(void **state)
{
    (void)state;
    begin_idle();
    stop(1, "a", 3);
    EXPECT("persist a/3 #1\n"
           "result 1 done\n");
    stop(2, "a", 3);
    stop(3, "a", 2);
    EXPECT("result 2 done\n"
           "result 3 done\n");
    lease(4, "a", 3, 100);
    EXPECT("result 4 refused stale_epoch newest 3\n");
    lease(5, "a", 4, 100);
    EXPECT("persist a/4 leased 100 #2\n");
}

static void test_stop_overtakes_what_is_under_way(void **state)
{
    (void)state;
    begin_serving();
    lease(10, "b", 1, 100);
    stop(11, "b", 1);
    EXPECT("persist b/1 leased 100 #3\n"
           "result 10 refused stopped\n"
           "persist b/1 #4\n"
           "result 11 done\n");
    persisted(3, true);
    EXPECT("");
    lease(12, "b", 2, 100);
    persisted(5, true);
    start_worker(13, "b", 2, 0);
    skip_output();
    stop(14, "b", 2);
    EXPECT("result 13 failed stopped\n"
           "w1002 starting -> stopping\n"
           "signal w1002 15\n");
    spawned("w1002", 20053); /* it came into being after the signal */
    EXPECT("w1002 stopping -> stopping\n"
           "signal w1002 15\n");
    tick(3000);
    skip_output(); /* a report */
    exited("w1002", 15, "");
    EXPECT("w1002 stopping -> exited\n"
           "forget w1002\n"
           "persist b/2 #6\n"
           "result 14 done\n");
}

static void test_stop_kills_after_grace(void **state)
{
    (void)state;
    begin_serving();
    stop(10, "a", 1);
    skip_output();
    assert_int_equal(agent_deadline_ms(h.agent), 3000);
    tick(2999);
    EXPECT("");
    tick(3000);
    EXPECT("c1001 stopping -> stopping\n"
           "signal c1001 9\n");
    tick(60000);
    EXPECT("");
    stop(11, "a", 1);
    EXPECT("");
    exited("c1001", 9, "");
    probed("w1000", true);
    EXPECT("c1001 stopping -> exited\n"
           "forget c1001\n"
           "probe w1000 1000\n"
           "w1000 running -> running\n"
           "assign w1000 standing worker nobody #3\n"
           "persist a/1 #4\n"
           "result 11 done\n"
           "result 10 done\n"
           "advertise w1000 port 20052 idle\n");
}

static void test_grace_is_bounded(void **state)
{
    (void)state;
    begin_serving();
    stop_within(10, "a", 1, UINT32_MAX);
    assert_int_equal(agent_deadline_ms(h.agent), 61000);
    lease(11, "b", 1, 100);
    persisted(3, true);
    start_worker(12, "b", 1, 0);
    stop_within(13, "b", 1, 0);
    assert_int_equal(agent_deadline_ms(h.agent), 1000 + AGENT_STOP_GRACE_MS);
}

/* Of the epoch that is being ended; the newer one's start goes on. */
static void test_stop_spares_what_is_newer(void **state)
{
    (void)state;
    begin_idle();
    lease(1, "a", 2, 100);
    persisted(1, true);
    start_worker(2, "a", 2, 0);
    skip_output();
    stop(3, "a", 1);
    EXPECT("result 3 done\n");
    persisted(2, true);
    EXPECT("result 2 done w1000 10.0.0.1:20052\n");
}

static void test_ends_of_an_ended_epoch_are_no_news(void **state)
{
    (void)state;
    begin_serving();
    stop(10, "a", 1);
    skip_output();
    exited("w1000", 9, "killed");
    step(&(struct agent_ev){.kind = AGENT_EV_DYING, .unit_id = "c1001"});
    EXPECT("w1000 running -> exited\n"
           "withdraw\n"
           "c1001 stopping -> stopping\n");
}

static void test_case_09_stop_leaves_nothing(void **state)
{
    const struct unit_facts *units;

    (void)state;
    test_stop_kills_after_grace(state);
    sample(5000);
    EXPECT("report full devices 1 units 1 models 1\n");
    assert_int_equal(agent_units(h.agent, &units), 1);
    assert_true(units[0].standing && id128_is_zero(&units[0].instance) && units[0].rank == -1);
}

static void test_stop_of_an_older_epoch(void **state)
{
    (void)state;
    begin_serving();
    lease(10, "a", 2, 100);
    stop(11, "a", 1);
    EXPECT("persist a/2 leased 100 #3\n"
           "c1001 running -> stopping\n"
           "signal c1001 15\n");
    persisted(3, true);
    EXPECT("");
    exited("c1001", 0, "");
    skip_output();
    probed("w1000", true);
    EXPECT("w1000 running -> running\n"
           "assign w1000 standing worker nobody #4\n"
           "result 11 done\n"
           "result 10 done\n"
           "advertise w1000 port 20052 idle\n");
}

/* The newer epoch came to nothing, for the disk is full; the older one is over all the same. */
static void test_an_epoch_that_cannot_be_written_ends_the_older(void **state)
{
    (void)state;
    begin_serving();
    lease(10, "a", 2, 100);
    skip_output();
    persisted(3, false);
    EXPECT("result 10 refused disk\n"
           "c1001 running -> stopping\n"
           "signal c1001 15\n");
    sample(5000);
    EXPECT("report full devices 1 units 2 models 1 lease a/1 100\n");
    exited("c1001", 0, "");
    skip_output();
    tick(1100); /* it is asked once */
    EXPECT("");
    probed("w1000", true);
    EXPECT("w1000 running -> running\n"
           "assign w1000 standing worker nobody #4\n"
           "persist a/2 #5\n"
           "advertise w1000 port 20052 idle\n");
    tick(2000);
    EXPECT("report units 1\n");
    start_worker(11, "a", 1, 0);
    lease(12, "a", 2, 100);
    EXPECT("result 11 refused stale_epoch newest 2\n"
           "result 12 refused stale_epoch newest 2\n");
}

/* ---- commands that come again ----------------------------------------------------------------------------------- */

static void test_a_repeated_command_is_done_once(void **state)
{
    (void)state;
    begin_idle();
    lease(1, "a", 1, 100);
    lease(1, "a", 1, 100);
    EXPECT("persist a/1 leased 100 #1\n");
    persisted(1, true);
    lease(1, "a", 1, 100);
    EXPECT("result 1 done\n"
           "result 1 done\n");
    start_worker(2, "a", 1, 0);
    persisted(2, true);
    skip_output();
    start_worker(2, "a", 1, 0);
    EXPECT("result 2 done w1000 10.0.0.1:20052\n");
    stop(3, "a", 1);
    probed("w1000", true);
    skip_output();
    start_worker(2, "a", 1, 0); /* the same answer, though it is no longer true: nothing is started */
    stop(3, "a", 1);
    EXPECT("result 2 done w1000 10.0.0.1:20052\n"
           "result 3 done\n");
}

/* Ids are the leader's; of two instances, or of a refusal, each has its own. */
static void test_results_are_kept_by_instance_and_bounded(void **state)
{
    (void)state;
    begin_idle();
    stop(1, "a", 1);
    start_worker(1, "b", 1, 0);
    skip_output();
    stop(1, "a", 1);
    start_worker(1, "b", 1, 0);
    EXPECT("result 1 done\n"
           "result 1 refused no_lease\n");
    for (uint64_t i = 2; i < AGENT_RESULTS_MAX + 2; i++)
        start_worker(i, "b", 1, 0);
    skip_output();
    lease(1, "a", 1, 100); /* the first one of that id is forgotten, so this one is looked at */
    EXPECT("result 1 refused stale_epoch newest 1\n");
}

/* ---- exits ------------------------------------------------------------------------------------------------------ */

static void test_exit_in_a_live_epoch_is_told_and_kept(void **state)
{
    (void)state;
    begin_serving();
    exited("w1000", 9, "killed");
    EXPECT("w1000 running -> exited\n"
           "event unit_exited w1000 a/1 signal 9: killed\n"
           "withdraw\n");
    tick(60000);
    EXPECT("");
    assert_int_equal(agent_unit(h.agent, "w1000")->state, UNIT_EXITED);
    stop(10, "a", 1);
    exited("c1001", 6, "Remote RPC server crashed");
    EXPECT("c1001 running -> stopping\n"
           "signal c1001 15\n"
           "c1001 stopping -> exited\n"
           "forget c1001\n"
           "persist a/1 #3\n"
           "result 10 done\n"
           "w1000 exited -> backoff\n"
           "forget w1000\n");
}

static void test_coordinator_exit_is_told(void **state)
{
    (void)state;
    begin_serving();
    exited("c1001", 6, "Remote RPC server crashed");
    EXPECT("c1001 running -> exited\n"
           "event unit_exited c1001 a/1 signal 6: Remote RPC server crashed\n");
    exited("c1001", 6, "Remote RPC server crashed");
    EXPECT("c1001 exited: ignore exited\n");
    log_says("c1001", AGENT_EVENT_LISTENING, 0);
    EXPECT("");
}

static void test_dying_is_told_once(void **state)
{
    (void)state;
    begin_serving();
    step(&(struct agent_ev){.kind = AGENT_EV_DYING, .unit_id = "w1000"});
    step(&(struct agent_ev){.kind = AGENT_EV_DYING, .unit_id = "w1000"});
    EXPECT("w1000 running -> running\n"
           "event unit_dying w1000 a/1\n"
           "w1000 running -> running\n");
    assert_true(agent_unit(h.agent, "w1000")->dying);
}

/* ---- links ------------------------------------------------------------------------------------------------------ */

static void test_exit_without_a_link_is_told_later(void **state)
{
    (void)state;
    begin_serving();
    simple(AGENT_EV_LINK_DOWN);
    exited("w1000", 9, "killed");
    EXPECT("w1000 running -> exited\n"
           "withdraw\n");
    sample(5000);
    EXPECT("");
    simple(AGENT_EV_LINK_UP);
    EXPECT("report full devices 1 units 2 models 1 lease a/1 100\n"
           "event unit_exited w1000 a/1 signal 9: killed\n"
           "event loading c1001 a/1\n"
           "event rank_buffers c1001 a/1 buffers 2\n"
           "event listening c1001 a/1\n");
    simple(AGENT_EV_LINK_UP);
    EXPECT("report full devices 1 units 2 models 1 lease a/1 100\n"
           "event loading c1001 a/1\n"
           "event rank_buffers c1001 a/1 buffers 2\n"
           "event listening c1001 a/1\n");
}

static void tick_on(uint64_t from_ms, uint64_t to_ms)
{
    for (uint64_t ms = from_ms; ms < to_ms; ms += 500)
        tick(ms);
    skip_output();
}

static void test_reports(void **state)
{
    static const char *const names[] = {"qwen"};

    (void)state;
    begin_idle();
    models(names, 1);
    sample(5000);
    EXPECT("");
    simple(AGENT_EV_LINK_UP);
    EXPECT("report full devices 1 units 1 models 1\n");
    assert_int_equal(agent_deadline_ms(h.agent), 1500);
    tick(1499);
    EXPECT("");
    tick(1500);
    EXPECT("report\n");
    sample(5000);
    tick(2000);
    EXPECT("report\n");
    sample(4000);
    sample(4000);
    tick(2500);
    EXPECT("report devices 1\n");
    models(names, 1);
    tick(3000);
    EXPECT("report models 1\n");
    exited("w1000", 9, "killed");
    skip_output();
    tick(3500);
    EXPECT("report units 1\n");
    tick_on(4000, 11000);
    tick(11000);
    EXPECT("report full devices 1 units 1 models 1\n"); /* whoever missed the first telling has this one */
    tick_on(11500, 21000);
    tick(21000);
    EXPECT("report full devices 1 units 1\n");
}

/* ---- a new life of the agent ------------------------------------------------------------------------------------ */

static void test_case_03_children_are_adopted(void **state)
{
    const struct agent_epoch known[] = {{instance_of("a"), 1, true, 100}};

    (void)state;
    boot_with(known, 1);
    found("w900", UNIT_WORKER, UNIT_RUNNING, true, "a", 1, 0);
    found("c901", UNIT_COORDINATOR, UNIT_RUNNING, false, "a", 1, -1);
    found("w902", UNIT_WORKER, UNIT_EXITED, false, "a", 1, 1);
    simple(AGENT_EV_BEGIN);
    EXPECT("advertise w900 port 20052 leased\n"); /* and no probe: it is leased */
    assert_true(agent_unit(h.agent, "w900")->adopted);
    sample(5000);
    simple(AGENT_EV_LINK_UP);
    EXPECT("report full devices 1 units 3 models 0 lease a/1 100\n"
           "event unit_exited w902 a/1 signal 9: \n");
    start_worker(7, "a", 1, 0);
    start_coordinator(8, "a", 1);
    lease(9, "a", 1, 100);
    EXPECT("result 7 done w900 10.0.0.1:20052\n"
           "result 8 done c901 10.0.0.1:20052\n"
           "result 9 done\n");
    stop(10, "a", 1);
    exited("c901", 15, "");
    probed("w900", true);
    EXPECT("c901 running -> stopping\n"
           "signal c901 15\n"
           "c901 stopping -> exited\n"
           "forget c901\n"
           "forget w902\n"
           "probe w900 1000\n"
           "w900 running -> running\n"
           "assign w900 standing worker nobody #1\n"
           "persist a/1 #2\n"
           "result 10 done\n"
           "advertise w900 port 20052 idle\n");
}

static void test_case_03_the_idle_standing_worker_is_adopted(void **state)
{
    (void)state;
    found("w900", UNIT_WORKER, UNIT_RUNNING, true, NULL, 0, -1);
    found("w901", UNIT_WORKER, UNIT_RUNNING, false, NULL, 0, -1);
    found("w902", UNIT_WORKER, UNIT_EXITED, false, NULL, 0, -1);
    simple(AGENT_EV_BEGIN);
    EXPECT("forget w902\n"
           "probe w900 1000\n"
           "w901 running -> stopping\n"
           "signal w901 15\n");
    probed("w900", true);
    exited("w901", 15, "");
    EXPECT("w900 running -> running\n"
           "advertise w900 port 20052 idle\n"
           "w901 stopping -> exited\n"
           "forget w901\n");
}

/* Of an instance with a newer epoch: the coordinator goes before its worker, though it was told after it. */
static void test_case_03_a_stale_epoch_is_ended(void **state)
{
    const struct agent_epoch known[] = {{instance_of("a"), 2, true, 100}};

    (void)state;
    boot_with(known, 1);
    found("w900", UNIT_WORKER, UNIT_RUNNING, false, "a", 1, 0);
    found("c901", UNIT_COORDINATOR, UNIT_RUNNING, false, "a", 1, -1);
    EXPECT("");
    simple(AGENT_EV_BEGIN);
    EXPECT("c901 running -> stopping\n"
           "signal c901 15\n"
           "w1000 idle -> starting\n"
           "spawn w1000 standing worker nobody\n");
    exited("c901", 15, "");
    EXPECT("c901 stopping -> exited\n"
           "forget c901\n"
           "w900 running -> stopping\n"
           "signal w900 15\n");
}

/* A unit whose epoch is not on disk is kept: the leader says whose it is. */
static void test_case_03_unknown_processes_are_kept(void **state)
{
    (void)state;
    h.config.standing = false;
    boot_with(NULL, 0);
    found("w900", UNIT_WORKER, UNIT_RUNNING, false, "a", 5, 0);
    simple(AGENT_EV_BEGIN);
    sample(5000);
    simple(AGENT_EV_LINK_UP);
    EXPECT("report full devices 1 units 1 models 0 lease a/5 0\n");
    lease(1, "a", 4, 1);
    EXPECT("result 1 refused stale_epoch newest 5\n");
    stop(2, "a", 5);
    EXPECT("w900 running -> stopping\n"
           "signal w900 15\n");
}

/* The unit's record is newer than the one of its epoch: it was being written when the agent died. */
static void test_case_03_the_newer_record_holds(void **state)
{
    const struct agent_epoch known[] = {{instance_of("a"), 1, true, 100}};

    (void)state;
    h.config.standing = false;
    boot_with(known, 1);
    found("w1500", UNIT_WORKER, UNIT_RUNNING, false, "a", 2, 0);
    simple(AGENT_EV_BEGIN);
    sample(5000);
    simple(AGENT_EV_LINK_UP);
    EXPECT("report full devices 1 units 1 models 0 lease a/2 0\n");
    start_worker(1, "a", 2, 1);
    EXPECT("w1501 idle -> starting\n" /* a name that is not in use, though the clock says 1000 */
           "spawn w1501 worker a/2 rank 1\n");
}

static void test_of_too_many_epochs_the_last_count(void **state)
{
    static struct agent_epoch known[AGENT_EPOCHS_MAX + 1];

    (void)state;
    for (size_t i = 0; i < AGENT_EPOCHS_MAX + 1; i++)
        known[i] = (struct agent_epoch){.instance = {{(uint8_t)(1 + i % 200), (uint8_t)(i / 200)}}, .epoch = 5};
    boot_with(known, AGENT_EPOCHS_MAX + 1);
    simple(AGENT_EV_BEGIN);
    skip_output();
    lease(1, "\x02", 4, 1);
    EXPECT("result 1 refused stale_epoch newest 5\n");
    lease(2, "\x01", 4, 1);
    EXPECT("persist \x01/4 leased 1 #1\n");
}

static void test_unknown_units_are_ended_and_forgotten(void **state)
{
    (void)state;
    begin_idle();
    spawned("w1", 1);
    EXPECT("signal w1 9\n");
    exited("w1", 9, "");
    EXPECT("forget w1\n");
    probed("w1", true);
    log_says("w1", AGENT_EVENT_LOADING, 0);
    step(&(struct agent_ev){.kind = AGENT_EV_DYING});
    EXPECT("");
    spawned("w1000", 20052);
    EXPECT("w1000 running: ignore spawned\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    /* clang-format off */
    const struct CMUnitTest tests[] = {
        TEST(test_standing_worker_starts_and_is_advertised),
        TEST(test_no_standing_worker),
        TEST(test_standing_worker_comes_back_with_backoff),
        TEST(test_case_06_next_port_after_quick_exits),
        TEST(test_case_06_port_clash_is_told),
        TEST(test_silent_start_is_killed),
        TEST(test_spawn_failure_is_tried_again),
        TEST(test_standing_worker_makes_room_for_a_local_device),
        TEST(test_epoch_is_on_disk_before_it_is_promised),
        TEST(test_epoch_that_cannot_be_written),
        TEST(test_stale_epoch),
        TEST(test_newer_epoch_overtakes_one_being_written),
        TEST(test_memory_limit),
        TEST(test_host_memory),
        TEST(test_host_memory_counts_host_devices_only),
        TEST(test_newer_epoch_ends_the_older_first),
        TEST(test_one_instance_from_lease_to_stop),
        TEST(test_second_worker_is_its_own),
        TEST(test_worker_with_other_devices_is_its_own),
        TEST(test_case_12_a_leased_worker_is_leased_once),
        TEST(test_case_12_only_a_free_worker_is_taken),
        TEST(test_case_12_a_worker_that_stays_busy_is_restarted),
        TEST(test_case_02_the_second_start_joins_the_first),
        TEST(test_start_refusals),
        TEST(test_start_without_llama),
        TEST(test_failed_starts_say_why),
        TEST(test_case_05_a_failed_start_leaves_nothing),
        TEST(test_worker_whose_record_cannot_be_written),
        TEST(test_worker_that_dies_while_its_record_is_written),
        TEST(test_too_many),
        TEST(test_stop_of_an_unknown_epoch),
        TEST(test_stop_overtakes_what_is_under_way),
        TEST(test_stop_kills_after_grace),
        TEST(test_grace_is_bounded),
        TEST(test_stop_spares_what_is_newer),
        TEST(test_ends_of_an_ended_epoch_are_no_news),
        TEST(test_case_09_stop_leaves_nothing),
        TEST(test_stop_of_an_older_epoch),
        TEST(test_an_epoch_that_cannot_be_written_ends_the_older),
        TEST(test_a_repeated_command_is_done_once),
        TEST(test_results_are_kept_by_instance_and_bounded),
        TEST(test_exit_in_a_live_epoch_is_told_and_kept),
        TEST(test_coordinator_exit_is_told),
        TEST(test_dying_is_told_once),
        TEST(test_exit_without_a_link_is_told_later),
        TEST(test_reports),
        TEST(test_case_03_children_are_adopted),
        TEST(test_case_03_the_idle_standing_worker_is_adopted),
        TEST(test_case_03_a_stale_epoch_is_ended),
        TEST(test_case_03_unknown_processes_are_kept),
        TEST(test_case_03_the_newer_record_holds),
        TEST(test_of_too_many_epochs_the_last_count),
        TEST(test_unknown_units_are_ended_and_forgotten),
    };
    /* clang-format on */

    return cmocka_run_group_tests(tests, NULL, NULL);
}
