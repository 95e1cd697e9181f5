/* Units that are reached through a carrier: it starts, serves, fails and ends with them, and a direct node knows none. */
#include "tests/unit/agent_harness.h"

/* The standing worker w1000 is idle, a/1 is leased, and a model is there. Commands from 2 on are free. */
static void begin_leased(void)
{
    static const char *const names[] = {"qwen"};

    boot_with_carriers();
    begin_idle();
    models(names, 1);
    simple(AGENT_EV_LINK_UP);
    lease(1, "a", 1, 100);
    persisted(1, true);
    skip_output();
}

/* ... and is rank 1 of a/1, behind the carrier t1001. */
static void begin_carried_worker(void)
{
    begin_leased();
    start_carried_worker(2, "a", 1, 1);
    persisted(2, true);
    spawned("t1001", 7440);
    probed("t1001", true);
    skip_output();
}

/* ... and is rank 0 of a/1; c1001 is its coordinator, behind t1002. Commands from 4 on are free. */
static void begin_carried_coordinator(void)
{
    begin_leased();
    start_worker(2, "a", 1, 0);
    persisted(2, true);
    start_carried_coordinator(3, "a", 1);
    spawned("t1002", 7440);
    probed("t1002", true);
    spawned("c1001", 18080);
    log_says("c1001", AGENT_EVENT_LISTENING, 0);
    skip_output();
}

static void boot_again(void)
{
    const struct agent_epoch e = {.instance = instance_of("a"), .epoch = 1, .leased = true, .lease_bytes = 100};

    strcpy(h.config.addr, "127.0.0.1");
    strcpy(h.config.carrier_addr, "10.0.0.1");
    boot_with(&e, 1);
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

static void test_a_worker_gets_its_carrier_in_the_same_step(void **state)
{
    (void)state;
    begin_leased();
    start_carried_worker(2, "a", 1, 1);
    EXPECT("assign w1000 standing worker a/1 rank 1 #2\n"
           "t1001 idle -> starting\n"
           "spawn t1001 carrier a/1 for w1000 rank 1 of qwen, peer P\n"
           "advertise w1000 port 20052 leased\n");
    assert_string_equal(agent_unit(h.agent, "t1001")->addr, "10.0.0.1");
    assert_string_equal(agent_unit(h.agent, "w1000")->addr, "127.0.0.1");
    persisted(2, true);
    EXPECT(""); /* not before the carrier runs */
    spawned("t1001", 7440);
    EXPECT("t1001 starting -> starting\n"
           "probe t1001 15000\n");
    probed("t1001", true);
    EXPECT("t1001 starting -> running\n"
           "result 2 done w1000 10.0.0.1:7440\n");
    start_carried_worker(3, "a", 1, 1); /* asked again */
    EXPECT("result 3 done w1000 10.0.0.1:7440\n");
}

/* The shell gives the carrier its worker's port, so that one is spawned first; whichever is up first waits for the other. */
static void test_a_worker_of_its_own_and_its_carrier(void **state)
{
    (void)state;
    begin_leased();
    lease(2, "b", 1, 100);
    persisted(2, true);
    start_carried_worker(3, "a", 1, 1);
    persisted(3, true);
    skip_output();
    start_carried_worker(4, "b", 1, 2);
    EXPECT("w1002 idle -> starting\n"
           "spawn w1002 worker b/1 rank 2\n"
           "t1003 idle -> starting\n"
           "spawn t1003 carrier b/1 for w1002 rank 2 of qwen, peer P\n");
    spawned("w1002", 20053);
    spawned("t1003", 7441);
    probed("t1003", true);
    skip_output();
    probed("w1002", true);
    EXPECT("w1002 starting -> running\n"
           "result 4 done w1002 10.0.0.1:7441\n");
}

/* Nobody reaches it but the coordinator beside it. */
static void test_rank_0_has_no_carrier_of_its_own(void **state)
{
    (void)state;
    begin_leased();
    start_worker(2, "a", 1, 0);
    EXPECT("assign w1000 standing worker a/1 rank 0 #2\n"
           "advertise w1000 port 20052 leased\n");
    persisted(2, true);
    EXPECT("result 2 done w1000 127.0.0.1:20052\n");
    start_carried_worker(3, "a", 1, 0);
    EXPECT("result 3 refused bad_command\n");
}

static void test_a_coordinator_comes_after_its_carrier(void **state)
{
    (void)state;
    begin_leased();
    start_carried_coordinator(2, "a", 1);
    EXPECT("t1002 idle -> starting\n"
           "spawn t1002 carrier a/1 for c1001: rank 0 at 127.0.0.1:20052, rank 1 at 10.0.0.2:7440 of Q; gateways G\n"
           "c1001 idle -> starting\n"
           "spawn c1001 coordinator a/1 qwen with 0 args\n");
    spawned("t1002", 7440);
    skip_output();
    probed("t1002", true);
    EXPECT("t1002 starting -> running\n");
    spawned("c1001", 18080);
    EXPECT("c1001 starting -> starting\n"
           "result 2 done c1001 10.0.0.1:7440\n");
    start_carried_coordinator(3, "a", 1);
    EXPECT("result 3 done c1001 10.0.0.1:7440\n");
}

/* A model that needs no other node still has its gateways. */
static void test_a_coordinator_without_ranks_has_a_carrier(void **state)
{
    struct message m = carried_coordinator(2, "a", 1);

    (void)state;
    begin_leased();
    m.command.coordinator.n_ranks = m.command.coordinator.n_routes = 0;
    send_command(&m);
    EXPECT("t1002 idle -> starting\n"
           "spawn t1002 carrier a/1 for c1001; gateways G\n"
           "c1001 idle -> starting\n"
           "spawn c1001 coordinator a/1 qwen with 0 args\n");
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void test_the_transports_must_be_the_same(void **state)
{
    static const char *const names[] = {"qwen"};

    (void)state;
    begin_leased();
    start_worker(2, "a", 1, 1); /* a controller that would have rank 1 dialled over the network */
    start_coordinator(3, "a", 1);
    EXPECT("result 2 refused other_transport\n"
           "result 3 refused other_transport\n");

    h.config.carrier_addr[0] = '\0';
    strcpy(h.config.addr, "10.0.0.1");
    boot_with(NULL, 0);
    begin_idle();
    models(names, 1);
    lease(1, "a", 1, 100);
    persisted(1, true);
    skip_output();
    start_carried_worker(2, "a", 1, 1);
    start_carried_coordinator(3, "a", 1);
    EXPECT("result 2 refused other_transport\n"
           "result 3 refused other_transport\n");
}

static void test_a_route_for_each_rank(void **state)
{
    struct message m = carried_coordinator(2, "a", 1);

    (void)state;
    begin_leased();
    m.command.coordinator.n_routes = 1;
    send_command(&m);
    EXPECT("result 2 refused bad_command\n");
}

static void test_one_carrier_of_an_epoch(void **state)
{
    (void)state;
    begin_carried_worker();
    start_carried_worker(3, "a", 1, 2);
    start_carried_coordinator(4, "a", 1);
    EXPECT("result 3 refused bad_command\n"
           "result 4 refused bad_command\n");
}

static size_t n_units(void)
{
    const struct unit_facts *unit;

    return agent_units(h.agent, &unit);
}

/* Nothing is begun of what cannot be whole. */
static void test_room_for_both_or_none(void **state)
{
    char name[] = "b";

    (void)state;
    begin_leased();
    for (uint64_t id = 100; n_units() < PROTO_UNITS_MAX - 1; name[0]++) {
        lease(id++, name, 1, 1);
        persisted(h.token, true);
        start_worker(id++, name, 1, 0);
        persisted(h.token, true);
    }
    skip_output();
    start_carried_coordinator(3, "a", 1);
    EXPECT("result 3 refused busy\n");
    start_carried_worker(4, "a", 1, 1);
    EXPECT("result 4 refused busy\n");
    assert_int_equal(n_units(), PROTO_UNITS_MAX - 1);
}

/* A start that is refused has started nothing, neither at first nor where its worker is there already. */
static void test_a_start_too_many_begins_nothing(void **state)
{
    (void)state;
    boot_again();
    found("w900", UNIT_WORKER, UNIT_RUNNING, false, "a", 1, 1);
    simple(AGENT_EV_BEGIN);
    simple(AGENT_EV_LINK_UP);
    lease(1, "b", 1, 1);
    persisted(h.token, true);
    for (uint64_t i = 1; i <= AGENT_COMMANDS_MAX; i++)
        lease(100 + i, (char[2]){(char)(128 + i)}, 1, 1);
    skip_output();
    start_carried_worker(2, "a", 1, 1);
    EXPECT("result 2 refused busy\n");
    start_carried_worker(3, "b", 1, 2);
    EXPECT("result 3 refused busy\n");
    start_worker_on(4, "b", 1, 0, "CPU");
    EXPECT("result 4 refused busy\n");
    assert_null(agent_unit(h.agent, "t1002"));
    assert_int_equal(n_units(), 2); /* w900, and the standing one */
}

/* ---- failing ----------------------------------------------------------------------------------------------------- */

static void test_a_carrier_that_does_not_answer(void **state)
{
    (void)state;
    begin_leased();
    start_carried_worker(2, "a", 1, 1);
    persisted(2, true);
    spawned("t1001", 7440);
    skip_output();
    tick(16000);
    EXPECT("t1001 starting -> stopping\n"
           "signal t1001 9\n"
           "result 2 failed carrier_silent\n");
    exited("t1001", 9, "");
    EXPECT("t1001 stopping -> exited\n"
           "event unit_exited t1001 a/1 signal 9: It was started but did not answer within 15 s.\n");
    start_carried_worker(3, "a", 1, 1);
    EXPECT("result 3 refused carrier_silent\n");
    stop(4, "a", 1);
    EXPECT("forget t1001\n"
           "probe w1000 1000\n");
}

/* The coordinator waits for its carrier longer than that for its own answer, so that the cause comes first. */
/* It would let its peer in to a worker that is nobody's. */
static void test_a_worker_whose_record_cannot_be_written_takes_its_carrier_along(void **state)
{
    (void)state;
    begin_leased();
    start_carried_worker(2, "a", 1, 1);
    spawned("t1001", 7440);
    skip_output();
    persisted(2, false);
    EXPECT("result 2 failed disk\n"
           "t1001 starting -> stopping\n"
           "signal t1001 9\n"
           "advertise w1000 port 20052 idle\n");
    exited("t1001", 9, "");
    EXPECT("t1001 stopping -> exited\n"
           "forget t1001\n");
    assert_int_equal(n_units(), 1);
}

static void test_a_carrier_that_fails_takes_the_start_with_it(void **state)
{
    (void)state;
    begin_leased();
    start_carried_coordinator(2, "a", 1);
    spawned("t1002", 7440);
    skip_output();
    tick(16000);
    EXPECT("t1002 starting -> stopping\n"
           "signal t1002 9\n"
           "result 2 failed carrier_silent\n");
    spawn_failed("c1001", NULL, "Its carrier did not answer.");
    EXPECT("c1001 starting -> failed\n"
           "event unit_exited c1001 a/1 signal 0: Its carrier did not answer.\n");
    tick(31000);
    EXPECT("");
}

static void test_a_coordinator_whose_carrier_cannot_be_started(void **state)
{
    (void)state;
    begin_leased();
    start_carried_coordinator(2, "a", 1);
    skip_output();
    spawn_failed("t1002", "port_clash", "Every port is taken.");
    EXPECT("t1002 starting -> failed\n"
           "event unit_exited t1002 a/1 signal 0: Every port is taken.\n"
           "result 2 failed port_clash\n");
}

/* As of any other unit of an epoch: it is told, and what there is waits for the leader's word. */
static void test_the_end_of_a_carrier_is_told(void **state)
{
    (void)state;
    begin_carried_worker();
    exited("t1001", 11, "");
    EXPECT("t1001 running -> exited\n"
           "event unit_exited t1001 a/1 signal 11: \n");
    start_carried_worker(3, "a", 1, 1);
    EXPECT("result 3 refused carrier_exited\n");
    simple(AGENT_EV_LINK_DOWN);
    simple(AGENT_EV_LINK_UP); /* once */
    EXPECT("");
}

static void test_an_end_without_a_link_is_told_to_the_next(void **state)
{
    (void)state;
    begin_carried_coordinator();
    simple(AGENT_EV_LINK_DOWN);
    exited("t1002", 11, "");
    skip_output();
    simple(AGENT_EV_LINK_UP);
    EXPECT("event listening c1001 a/1\n"
           "event unit_exited t1002 a/1 signal 11: \n");
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

/* The coordinator may have memory of its ranks to give back over the streams; a worker is busy as long as they stand. */
static void test_the_order_of_an_ending(void **state)
{
    (void)state;
    begin_carried_coordinator();
    stop(4, "a", 1);
    EXPECT("c1001 running -> stopping\n"
           "signal c1001 15\n");
    exited("c1001", 15, "");
    EXPECT("c1001 stopping -> exited\n"
           "forget c1001\n"
           "t1002 running -> stopping\n"
           "signal t1002 9\n"); /* nothing of it needs time */
    exited("t1002", 9, "");
    EXPECT("t1002 stopping -> exited\n"
           "forget t1002\n"
           "probe w1000 1000\n");
    probed("w1000", true);
    EXPECT("w1000 running -> running\n"
           "assign w1000 standing worker nobody #3\n"
           "persist a/1 #4\n"
           "result 4 done\n"
           "advertise w1000 port 20052 idle\n");
}

static void test_a_worker_ends_after_its_carrier(void **state)
{
    (void)state;
    begin_carried_worker();
    stop(4, "a", 1);
    EXPECT("t1001 running -> stopping\n"
           "signal t1001 9\n");
    exited("t1001", 9, "");
    EXPECT("t1001 stopping -> exited\n"
           "forget t1001\n"
           "probe w1000 1000\n");
}

/* Its coordinator may live on behind a cut; but whoever dials this worker is let in by our carrier, and that is gone. */
static void test_a_worker_at_large_is_kept(void **state)
{
    struct message m = command(4, "a", 1, COMMAND_STOP);

    (void)state;
    begin_carried_worker();
    m.command.stop.at_large = true;
    send_command(&m);
    exited("t1001", 9, "");
    EXPECT("t1001 running -> stopping\n"
           "signal t1001 9\n"
           "t1001 stopping -> exited\n"
           "forget t1001\n"
           "probe w1000 1000\n");
    probed("w1000", true);
    skip_output();
    lease(5, "b", 1, 1);
    persisted(5, true);
    skip_output();
    start_carried_worker(6, "b", 1, 1);
    EXPECT("assign w1000 standing worker b/1 rank 1 #6\n"
           "t1002 idle -> starting\n"
           "spawn t1002 carrier b/1 for w1000 rank 1 of qwen, peer P\n"
           "advertise w1000 port 20052 leased\n");
}

static void test_a_stop_meets_a_start(void **state)
{
    (void)state;
    begin_leased();
    start_carried_coordinator(2, "a", 1);
    skip_output();
    stop(3, "a", 1);
    EXPECT("result 2 failed stopped\n"
           "c1001 starting -> stopping\n"
           "signal c1001 15\n");
    spawn_failed("c1001", NULL, "It was ended before it began."); /* the shell held it back */
    EXPECT("c1001 stopping -> exited\n"
           "forget c1001\n"
           "t1002 starting -> stopping\n"
           "signal t1002 9\n");
    spawned("t1002", 7440);
    EXPECT("t1002 stopping -> stopping\n"
           "signal t1002 9\n");
    exited("t1002", 9, "");
    EXPECT("t1002 stopping -> exited\n"
           "forget t1002\n"
           "persist a/1 #2\n"
           "result 3 done\n");
}

static void test_a_newer_epoch_ends_the_carriers_of_the_older(void **state)
{
    (void)state;
    begin_carried_worker();
    lease(3, "a", 2, 100);
    EXPECT("persist a/2 leased 100 #3\n");
    persisted(3, true);
    EXPECT("t1001 running -> stopping\n"
           "signal t1001 9\n");
    exited("t1001", 9, "");
    probed("w1000", true);
    EXPECT("t1001 stopping -> exited\n"
           "forget t1001\n"
           "probe w1000 1000\n"
           "w1000 running -> running\n"
           "assign w1000 standing worker nobody #4\n"
           "result 3 done\n"
           "advertise w1000 port 20052 idle\n");
}

/* ---- adopting ---------------------------------------------------------------------------------------------------- */

static void test_a_carrier_is_adopted_with_its_worker(void **state)
{
    (void)state;
    boot_again();
    found("t901", UNIT_CARRIER, UNIT_RUNNING, false, "a", 1, -1);
    found("w900", UNIT_WORKER, UNIT_RUNNING, true, "a", 1, 1);
    simple(AGENT_EV_BEGIN);
    simple(AGENT_EV_LINK_UP);
    EXPECT("advertise w900 port 20052 leased\n");
    start_carried_worker(2, "a", 1, 1); /* its result was lost */
    EXPECT("result 2 done w900 10.0.0.1:20052\n");
    exited("t901", 9, "");
    EXPECT("t901 running -> exited\n"
           "event unit_exited t901 a/1 signal 9: \n");
}

static void test_a_carrier_that_ended_meanwhile_is_told(void **state)
{
    (void)state;
    boot_again();
    found("t901", UNIT_CARRIER, UNIT_EXITED, false, "a", 1, -1);
    found("w900", UNIT_WORKER, UNIT_RUNNING, true, "a", 1, 1);
    simple(AGENT_EV_BEGIN);
    skip_output();
    simple(AGENT_EV_LINK_UP);
    EXPECT("event unit_exited t901 a/1 signal 9: \n");
}

/* The last agent ended between the two: the start comes again. */
static void test_a_worker_without_its_carrier_is_given_one(void **state)
{
    (void)state;
    boot_again();
    found("w900", UNIT_WORKER, UNIT_RUNNING, true, "a", 1, 1);
    simple(AGENT_EV_BEGIN);
    simple(AGENT_EV_LINK_UP);
    skip_output();
    start_carried_worker(2, "a", 1, 1);
    EXPECT("t1000 idle -> starting\n"
           "spawn t1000 carrier a/1 for w900 rank 1 of qwen, peer P\n");
    spawned("t1000", 7440);
    skip_output();
    probed("t1000", true);
    EXPECT("t1000 starting -> running\n"
           "result 2 done w900 10.0.0.1:7440\n");
}

/* ... or while the coordinator waited for its carrier. Rank 0, beside it, is no reason to keep that. */
static void test_a_carrier_without_its_coordinator_ends(void **state)
{
    static const char *const names[] = {"qwen"};

    (void)state;
    boot_again();
    found("w900", UNIT_WORKER, UNIT_RUNNING, true, "a", 1, 0);
    found("t902", UNIT_CARRIER, UNIT_RUNNING, false, "a", 1, -1);
    models(names, 1);
    simple(AGENT_EV_BEGIN);
    simple(AGENT_EV_LINK_UP);
    EXPECT("t902 running -> stopping\n"
           "signal t902 9\n"
           "advertise w900 port 20052 leased\n");
    start_carried_coordinator(2, "a", 1); /* it need not be gone */
    EXPECT("t1001 idle -> starting\n"
           "spawn t1001 carrier a/1 for c1000: rank 0 at 127.0.0.1:20052, rank 1 at 10.0.0.2:7440 of Q; gateways G\n"
           "c1000 idle -> starting\n"
           "spawn c1000 coordinator a/1 qwen with 0 args\n"
           "advertise w900 port 20052 loading\n");
    exited("t902", 9, "");
    EXPECT("t902 stopping -> exited\n"
           "forget t902\n");
    spawned("t1001", 7440);
    probed("t1001", true);
    skip_output();
    spawned("c1000", 18080);
    EXPECT("c1000 starting -> starting\n"
           "result 2 done c1000 10.0.0.1:7440\n");
}

static void test_a_coordinator_without_its_carrier_cannot_be_reached(void **state)
{
    (void)state;
    boot_again();
    found("c902", UNIT_COORDINATOR, UNIT_RUNNING, false, "a", 1, -1);
    simple(AGENT_EV_BEGIN);
    simple(AGENT_EV_LINK_UP);
    skip_output();
    start_carried_coordinator(2, "a", 1);
    EXPECT("result 2 refused carrier_exited\n");
}

static void test_carriers_of_nobody_end(void **state)
{
    (void)state;
    boot_again();
    found("t901", UNIT_CARRIER, UNIT_RUNNING, false, NULL, 0, -1);
    found("t902", UNIT_CARRIER, UNIT_EXITED, false, NULL, 0, -1);
    found("t903", UNIT_CARRIER, UNIT_RUNNING, false, "b", 3, -1); /* of an instance that is not known here */
    simple(AGENT_EV_BEGIN);
    EXPECT("t903 running -> stopping\n"
           "signal t903 9\n"
           "forget t902\n"
           "t901 running -> stopping\n"
           "signal t901 9\n"
           "w1000 idle -> starting\n"
           "spawn w1000 standing worker nobody\n");
}

/* `rank_transport` or `address` was changed: it listens where nobody would look for it. */
static void test_a_standing_worker_elsewhere_is_replaced(void **state)
{
    struct unit_facts u = {
        .id = "w900", .role = UNIT_WORKER, .state = UNIT_RUNNING, .standing = true, .rank = -1, .addr = "10.0.0.1"};

    (void)state;
    boot_again();
    step(&(struct agent_ev){.kind = AGENT_EV_ADOPT, .unit = &u});
    simple(AGENT_EV_BEGIN);
    EXPECT("w900 running -> stopping\n"
           "signal w900 15\n"
           "w1000 idle -> starting\n"
           "spawn w1000 standing worker nobody\n");
    exited("w900", 15, "");
    EXPECT("w900 stopping -> exited\n"
           "forget w900\n");
}

/* ... and while it serves it is left alone, but not kept, nor started there again. */
static void test_a_leased_standing_worker_elsewhere_moves(void **state)
{
    struct unit_facts u = {.id = "w900",
                           .role = UNIT_WORKER,
                           .state = UNIT_RUNNING,
                           .standing = true,
                           .instance = instance_of("a"),
                           .epoch = 1,
                           .rank = 1,
                           .addr = "10.0.0.1",
                           .port = 20052};

    (void)state;
    boot_again();
    step(&(struct agent_ev){.kind = AGENT_EV_ADOPT, .unit = &u});
    simple(AGENT_EV_BEGIN);
    simple(AGENT_EV_LINK_UP);
    EXPECT("advertise w900 port 20052 leased\n");
    stop(2, "a", 1);
    EXPECT("w900 running -> stopping\n"
           "signal w900 15\n"
           "withdraw\n");
    exited("w900", 15, "");
    assert_string_equal(agent_unit(h.agent, "w900")->addr, "127.0.0.1");
    skip_output();
}

/* ---- what passes ------------------------------------------------------------------------------------------------- */

static void sample_flow(uint64_t request_bytes)
{
    static struct agent_sample s = {.host_total_bytes = 10000, .host_free_bytes = 500};

    s.n_flows = request_bytes ? 1 : 0;
    s.flow[0].instance = instance_of("a");
    s.flow[0].epoch = 1;
    s.flow[0].rank = 1;
    s.flow[0].request_bytes = request_bytes;
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
}

static void test_flows_are_told_with_the_units_when_they_change(void **state)
{
    (void)state;
    begin_carried_worker();
    sample_flow(7);
    EXPECT("report full devices 0 units 2 flows 1 models 1 lease a/1 100\n");
    at(1500);
    sample_flow(7);
    EXPECT("report lease a/1 100\n");
    at(2000);
    sample_flow(8);
    EXPECT("report units 2 flows 1 lease a/1 100\n");
    at(2500);
    sample_flow(0);
    EXPECT("report units 2 lease a/1 100\n");
}

/* The most there can be: every second unit is a carrier, and each has as many ranks as llama.cpp takes. */
static void test_all_flows_that_there_can_be_are_told(void **state)
{
    static struct agent_sample s = {.host_total_bytes = 10000, .host_free_bytes = 500};

    (void)state;
    for (uint32_t carrier = 0; carrier < PROTO_UNITS_MAX / 2; carrier++) {
        for (uint32_t rank = 0; rank < PROTO_RANKS_MAX; rank++)
            s.flow[s.n_flows++] = (struct rank_flow){.instance = instance_of("a"), .epoch = carrier + 1, .rank = rank};
    }
    begin_carried_worker();
    step(&(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &s});
    EXPECT("report full devices 0 units 2 flows 256 models 1 lease a/1 100\n");
    step(&(struct agent_ev){.kind = AGENT_EV_LINK_UP, .minor = 4}); /* a leader that would refuse so many */
    EXPECT("report full devices 0 units 2 flows 64 models 1 lease a/1 100\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_worker_gets_its_carrier_in_the_same_step),
        TEST(test_a_worker_of_its_own_and_its_carrier),
        TEST(test_rank_0_has_no_carrier_of_its_own),
        TEST(test_a_coordinator_comes_after_its_carrier),
        TEST(test_a_coordinator_without_ranks_has_a_carrier),
        TEST(test_the_transports_must_be_the_same),
        TEST(test_a_route_for_each_rank),
        TEST(test_one_carrier_of_an_epoch),
        TEST(test_room_for_both_or_none),
        TEST(test_a_start_too_many_begins_nothing),
        TEST(test_a_carrier_that_does_not_answer),
        TEST(test_a_worker_whose_record_cannot_be_written_takes_its_carrier_along),
        TEST(test_a_carrier_that_fails_takes_the_start_with_it),
        TEST(test_a_coordinator_whose_carrier_cannot_be_started),
        TEST(test_the_end_of_a_carrier_is_told),
        TEST(test_an_end_without_a_link_is_told_to_the_next),
        TEST(test_the_order_of_an_ending),
        TEST(test_a_worker_ends_after_its_carrier),
        TEST(test_a_worker_at_large_is_kept),
        TEST(test_a_stop_meets_a_start),
        TEST(test_a_newer_epoch_ends_the_carriers_of_the_older),
        TEST(test_a_carrier_is_adopted_with_its_worker),
        TEST(test_a_carrier_that_ended_meanwhile_is_told),
        TEST(test_a_worker_without_its_carrier_is_given_one),
        TEST(test_a_carrier_without_its_coordinator_ends),
        TEST(test_a_coordinator_without_its_carrier_cannot_be_reached),
        TEST(test_carriers_of_nobody_end),
        TEST(test_a_standing_worker_elsewhere_is_replaced),
        TEST(test_a_leased_standing_worker_elsewhere_moves),
        TEST(test_flows_are_told_with_the_units_when_they_change),
        TEST(test_all_flows_that_there_can_be_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
