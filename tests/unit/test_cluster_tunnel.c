/* Ranks that are reached through carriers: who is told of whom, what a carrier's end means, who may be placed with whom,
 * and what a controller that begins finds. */
#include "common/core/patience.h"
#include "tests/unit/cluster_harness.h"

static struct view_instance seen(void)
{
    struct view *v = view_now();
    struct view_instance i;

    assert_int_equal(v->n_instances, 1);
    i = v->instance[0];
    i.plan = NULL;
    view_unref(&v);
    return i;
}

/* ---- the way to ready --------------------------------------------------------------------------------------------- */

static void test_each_end_is_told_who_the_other_is(void **state)
{
    (void)state;
    join(1);
    join(2);
    deploy(7, "m", 2);
    commit();
    done(1, COMMAND_LEASE);
    quiet();
    done(2, COMMAND_LEASE);
    EXPECT("instance m leasing -> starting (leased)\n"
           "n1 < start_worker e1 rank 0 CPU\n" /* beside its coordinator: nobody comes to it over the network */
           "n2 < start_worker e1 rank 1 CPU from k1 feeding m\n");
    done(1, COMMAND_START_WORKER);
    done(2, COMMAND_START_WORKER);
    EXPECT("instance m starting -> loading (workers_up)\n"
           "n1 < start_coordinator e1 127.0.0.1:20052 RPC0=8 10.0.0.2:7440 RPC1=9 | ctl | 0 1=k2\n");
    assert_int_equal(w.asked[0].m.command.coordinator.route[1].rank, 1);
    done(1, COMMAND_START_COORDINATOR);
    shows_buffers(1, -1, 0);
    listens(1);
    EXPECT("warm_up m 10.0.0.1:7440 by k1\n");
    warmed(true, "");
    commit();
    quiet();
    assert_string_equal(seen().coordinator_addr, "10.0.0.1");
    assert_int_equal(seen().coordinator_port, 7440);
    assert_string_equal(seen().coordinator_key, "k1");
    pass_reporting(60000, 2);
    EXPECT("");
}

/* Its log is heard before the answer to its start, which alone says where its carrier listens. */
static void test_a_coordinators_own_port_is_not_taken_for_its_carriers(void **state)
{
    (void)state;
    begin_load(7, 2);
    carry_out(&w.asked[0]);
    shows_buffers(1, -1, 0);
    listens(1);
    report(1);
    EXPECT("");
    assert_int_equal(seen().coordinator_port, 0);
    done(1, COMMAND_START_COORDINATOR);
    EXPECT("warm_up m 10.0.0.1:7440 by k1\n");
}

/* A carrier that was started and never answers: what its agent says of that is heard, also where it took its whole time. */
static void test_the_agent_says_itself_that_a_carrier_was_silent(void **state)
{
    (void)state;
    begin_load(7, 2);
    quiet();
    pass_reporting(PATIENCE_CARRIED_MS + 500, 2);
    assert_null(strstr(w.log, "instance"));
    quiet();
    answer_with(1, COMMAND_START_COORDINATOR, RESULT_FAILED, "carrier_silent",
                "It was started but did not answer within 15 s.");
    EXPECT(
        "instance m loading -> recovering (trouble): the start of the coordinator on n1 failed: It was started but did "
        "not answer within 15 s.\n"
        "n1 < stop e1\n");
}

static void test_one_node_needs_a_carrier_for_the_gateway_alone(void **state)
{
    (void)state;
    join(1);
    deploy(7, "m", 1);
    commit();
    done(1, COMMAND_LEASE);
    quiet();
    done(1, COMMAND_START_WORKER);
    EXPECT("instance m starting -> loading (workers_up)\n"
           "n1 < start_coordinator e1 127.0.0.1:20052 RPC0=17 | ctl | 0\n");
}

static void test_a_local_rank_has_no_route(void **state)
{
    struct message *m;

    (void)state;
    hello(1);
    m = report_of(1);
    strcpy(m->report->device[0].name, "CUDA0");
    m->report->device[0].kind = DEVICE_GPU;
    hear(1, m);
    join(2);
    deploy(7, "m", 2);
    commit();
    done(1, COMMAND_LEASE);
    done(2, COMMAND_LEASE);
    quiet();
    done(2, COMMAND_START_WORKER);
    assert_non_null(strstr(w.log, " | ctl | 1=k2\n"));
}

/* With carriers no worker can be reached by a coordinator whose end was not heard of: it needs not be exposed for that. */
static void test_no_coordinator_is_at_large(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(2, UNIT_WORKER, 0, 9, "");
    vanish(1, 2);
    pass_reporting(500, 1);
    assert_non_null(strstr(w.log, "n2 < stop e1\n"));
    assert_null(strstr(w.log, "at large"));
}

/* ---- the end of a carrier ------------------------------------------------------------------------------------------ */

static void test_the_exit_of_a_carrier_ends_its_epoch(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(2, UNIT_CARRIER, 0, 9, "");
    EXPECT("instance m ready -> recovering (trouble): the carrier of rank 1 on n2: killed by signal 9 (SIGKILL)\n"
           "n1 < stop e1\n");
    assert_string_equal(seen().tried[0].code, "carrier_exited");
    assert_string_equal(seen().tried[0].node, "n2");
}

static void test_the_exit_of_the_coordinators_carrier_names_rank_0(void **state)
{
    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    exits(1, UNIT_CARRIER, 1, 0, "no memory for a stream");
    EXPECT(
        "instance m loading -> recovering (trouble): the carrier of rank 0 on n1: exited with code 1; it said: no memory "
        "for a stream\n"
        "n1 < stop e1\n");
    assert_string_equal(seen().tried[0].node, "n1");
}

static void drop_unit(int node, enum unit_role role)
{
    struct unit_facts *u = unit_at(node, role);

    *u = w.unit[node][--w.n_units[node]];
}

static void test_a_carrier_that_reports_do_not_show_is_missed(void **state)
{
    (void)state;
    make_ready(7, 2);
    drop_unit(2, UNIT_CARRIER);
    report(2);
    EXPECT("instance m ready -> recovering (trouble): the carrier of rank 1 on n2: not there any more\n"
           "n1 < stop e1\n");
    world_teardown(state);

    tunnel_setup(state);
    make_ready(7, 2);
    unit_at(1, UNIT_CARRIER)->state = UNIT_EXITED;
    report(1);
    EXPECT("instance m ready -> recovering (trouble): the carrier of rank 0 on n1: gone, nobody saw how\n"
           "n1 < stop e1\n");
}

/* Rank 0's node has none before its coordinator is asked for, and none is missed there. */
static void test_a_carrier_is_not_missed_before_it_is_due(void **state)
{
    (void)state;
    begin_load(7, 2);
    assert_null(unit_at(1, UNIT_CARRIER));
    pass_reporting(5000, 2);
    EXPECT("n1 < start_coordinator e1 127.0.0.1:20052 RPC0=8 10.0.0.2:7440 RPC1=9 | ctl | 0 1=k2 again\n"
           "n1 < start_coordinator e1 127.0.0.1:20052 RPC0=8 10.0.0.2:7440 RPC1=9 | ctl | 0 1=k2 again\n"
           "n1 < start_coordinator e1 127.0.0.1:20052 RPC0=8 10.0.0.2:7440 RPC1=9 | ctl | 0 1=k2 again\n"
           "n1 < start_coordinator e1 127.0.0.1:20052 RPC0=8 10.0.0.2:7440 RPC1=9 | ctl | 0 1=k2 again\n"
           "n1 < start_coordinator e1 127.0.0.1:20052 RPC0=8 10.0.0.2:7440 RPC1=9 | ctl | 0 1=k2 again\n");
}

/* The coordinator aborts for its sake, and is heard of first. */
static void test_a_carriers_exit_is_the_better_reason(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(1, UNIT_COORDINATOR, 0, 6, "");
    assert_string_equal(seen().tried[0].code, "coordinator_lost");
    exits(2, UNIT_CARRIER, 0, 9, "");
    assert_string_equal(seen().tried[0].code, "carrier_exited");
    assert_string_equal(seen().tried[0].node, "n2");
    assert_string_equal(seen().reason, "the carrier on n2: killed by signal 9 (SIGKILL)");
}

static void test_a_carrier_of_an_epoch_that_is_over_is_stopped(void **state)
{
    struct unit_facts *u;

    (void)state;
    make_ready(7, 2);
    u = &w.unit[2][w.n_units[2]++];
    *u = *unit_at(2, UNIT_CARRIER);
    strcpy(u->id, "carrier-old");
    u->epoch = 0;
    pass_reporting(500, 2);
    EXPECT("n2 < stop e0\n");
}

/* The gateway came no further than to the carrier. */
static void test_a_port_that_refuses_is_the_carriers(void **state)
{
    (void)state;
    make_ready(7, 1);
    step(&(struct cluster_ev){.kind = CLUSTER_EV_UPSTREAM,
                              .instance = w.instance,
                              .epoch = w.epoch,
                              .upstream = UPSTREAM_REFUSED,
                              .text = "connection refused"});
    EXPECT("instance m ready -> recovering (trouble): coordinator on n1: its carrier refused or reset a connection: "
           "connection refused\n"
           "n1 < stop e1\n");
}

/* It may be another leader's, and be adopted by that one. */
static void test_a_carrier_of_nobody_is_left_alone(void **state)
{
    struct unit_facts *u;

    (void)state;
    make_ready(7, 2);
    u = &w.unit[2][w.n_units[2]++];
    *u = *unit_at(2, UNIT_CARRIER);
    u->instance = id_of(50);
    pass_reporting(5000, 2);
    EXPECT("");
}

/* ---- who goes with whom -------------------------------------------------------------------------------------------- */

static void hello_with(int node, const char *transport)
{
    struct message *m = hello_of(node);
    struct cluster_ev ev = event_from(node, CLUSTER_EV_HELLO, m);

    strcpy(m->hello.transport, transport);
    step(&ev);
    report(node);
    quiet();
}

static struct plan *planned(uint32_t nodes, int want, char *why, size_t size)
{
    struct place_request req = request_of("m", nodes);
    struct plan *plan = NULL;

    assert_int_equal(cluster_plan(w.c, &req, w.now, &plan, why, size), want);
    return plan;
}

static bool has_note(const struct plan *p, const char *text)
{
    for (size_t k = 0; k < p->n_notes; k++) {
        if (strcmp(p->note[k], text) == 0)
            return true;
    }
    return false;
}

static void test_a_node_that_is_reached_otherwise_is_left_out(void **state)
{
    char why[512] = "";
    struct plan *p;

    (void)state;
    hello_with(1, "tunnel");
    hello_with(2, "direct");
    p = planned(0, 0, why, sizeof(why));
    assert_int_equal(p->transport, TRANSPORT_TUNNEL);
    assert_true(has_note(p, "n2 left out: rank_transport is direct there and tunnel here: set it alike"));
    free(p);
    p = planned(2, PLACE_E_TOO_FEW, why, sizeof(why));
    assert_string_equal(why,
                        "1 node can be used, 2 needed; n2 left out: rank_transport is direct there and tunnel here: "
                        "set it alike");
    free(p);
    world_teardown(state);

    world_setup(state);
    hello_with(1, "tunnel");
    p = planned(0, PLACE_E_TOO_FEW, why, sizeof(why));
    assert_true(has_note(p, "n1 left out: rank_transport is tunnel there and direct here: set it alike"));
    free(p);
}

static const char gives_up[] =
    "rank_transport = direct: what passes between ranks is not encrypted, whoever reaches their ports may use them, and "
    "hangs and loads are judged without seeing it";

static void test_a_plan_says_how_ranks_are_reached_and_what_that_gives_up(void **state)
{
    char why[512] = "";
    struct plan *p;

    (void)state;
    join(1);
    p = planned(0, 0, why, sizeof(why));
    assert_int_equal(p->transport, TRANSPORT_TUNNEL);
    assert_false(has_note(p, gives_up));
    free(p);
    world_teardown(state);

    world_setup(state);
    join(1);
    p = planned(0, 0, why, sizeof(why));
    assert_int_equal(p->transport, TRANSPORT_DIRECT);
    assert_true(has_note(p, gives_up));
    free(p);
}

/* Of each file the tensors have mib each. */
static void tells_file(int node, uint64_t mib, uint64_t header_hash, uint32_t index_permille)
{
    struct message *m = report_of(node);
    struct model_facts *f = &m->report->model[0];

    for (uint32_t l = 0; l < f->shape->n_layer; l++)
        f->shape->layer[l].max_tensor_bytes = mib << 20;
    f->header_hash = header_hash;
    f->mtime_wall_ms = header_hash; /* the newest is what is served */
    f->index_permille = index_permille;
    hear(node, m);
}

static size_t count_feeding(uint32_t nodes, const char *note)
{
    char why[512] = "";
    struct plan *p = planned(nodes, 0, why, sizeof(why));
    size_t n = 0;

    assert_true(!note || has_note(p, note));
    for (size_t k = 0; k < p->n_notes; k++)
        n += strstr(p->note[k], "own file") != NULL;
    free(p);
    return n;
}

static void test_a_plan_says_which_ranks_load_from_their_own_file(void **state)
{
    static const char ready[] = "loads from its own file: rank 1 on n2";
    static const char later[] = "loads from its own file: rank 1 on n2, when its index is ready";

    (void)state;
    join(1);
    join(2);
    tells_file(1, 11, 9, 0);
    tells_file(2, 11, 9, 0); /* it is not hashed, and will not be */
    assert_int_equal(count_feeding(2, NULL), 0);
    tells_file(2, 11, 9, 1);
    assert_int_equal(count_feeding(2, later), 1);
    tells_file(2, 11, 9, 999);
    assert_int_equal(count_feeding(2, later), 1);
    tells_file(2, 11, 9, 1000);
    assert_int_equal(count_feeding(2, ready), 1);
    assert_int_equal(count_feeding(1, NULL), 0); /* the coordinator has it anyway */
    tells_file(2, 11, 8, 1000);                  /* another file */
    assert_int_equal(count_feeding(2, NULL), 0);
    tells_file(1, 10, 9, 0); /* nothing is asked for by its hash */
    tells_file(2, 10, 9, 1000);
    assert_int_equal(count_feeding(2, NULL), 0);
    world_teardown(state);

    world_setup(state); /* direct: nobody feeds */
    join(1);
    join(2);
    tells_file(1, 11, 9, 0);
    tells_file(2, 11, 9, 1000);
    assert_int_equal(count_feeding(2, NULL), 0);
}

/* A saved plan keeps its ranks, and not what was true of their files then. */
static void test_a_saved_plan_says_it_anew(void **state)
{
    char why[512] = "";
    struct place_request r = request_of("m", 2);
    struct plan *p;
    size_t n = 0;

    (void)state;
    join(1);
    join(2);
    tells_file(1, 11, 9, 0);
    tells_file(2, 11, 9, 1);
    p = planned(2, 0, why, sizeof(why));
    tells_file(2, 11, 9, 1000);
    step(&(struct cluster_ev){
        .kind = CLUSTER_EV_DEPLOY, .request_id = 7, .new_instance = id_of(200), .request = &r, .plan = p});
    for (size_t k = 0; k < w.plan.n_notes; k++) {
        n += strstr(w.plan.note[k], "own file") != NULL;
        assert_null(strstr(w.plan.note[k], "when its index"));
    }
    assert_int_equal(n, 1);
    free(p);
}

/* It pins nodes and layers; how they are reached is the cluster's setting. */
static void test_a_saved_plan_follows_the_cluster(void **state)
{
    struct place_request r = request_of("m", 0);
    char why[512] = "";
    struct plan *p;

    world_teardown(state);
    world_setup(state);
    join(1);
    p = planned(0, 0, why, sizeof(why));
    assert_true(has_note(p, gives_up));
    world_teardown(state);

    tunnel_setup(state);
    join(1);
    deploy_request(7, &r, p);
    free(p);
    commit();
    assert_int_equal(w.plan.transport, TRANSPORT_TUNNEL);
    assert_false(has_note(&w.plan, gives_up));
    done(1, COMMAND_LEASE);
    quiet();
    done(1, COMMAND_START_WORKER);
    assert_non_null(strstr(w.log, " | ctl | 0\n"));
}

/* ---- a controller that begins -------------------------------------------------------------------------------------- */

/* The controller is gone; the processes are not. It begins with that setting. */
static void restart(bool tunnel)
{
    static struct world before;
    struct record rec = {.kind = RECORD_INSTANCE, .instance = w.instance, .i = w.kept};
    struct cluster_config config = tunnel ? tunnel_config() : world_config();

    before = w;
    rec.i.plan = &before.plan;
    rec.i.tried = NULL;
    rec.i.n_tried = 0;
    cluster_destroy(&w.c);
    world_open_with(&config);
    memcpy(w.unit, before.unit, sizeof(w.unit));
    memcpy(w.n_units, before.n_units, sizeof(w.n_units));
    w.plan = before.plan;
    w.instance = before.instance;
    w.epoch = before.epoch;
    step(&(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &rec});
    begin();
    quiet();
}

static void test_what_runs_is_adopted_with_its_carriers(void **state)
{
    (void)state;
    make_ready(7, 2);
    restart(true);
    join(1);
    hello(2);
    quiet();
    report(2);
    EXPECT("node n2 joining -> ready (report)\n"
           "instance m recovering -> ready (adopted)\n");
    assert_string_equal(seen().rank[0].endpoint, "127.0.0.1:20052");
    assert_string_equal(seen().rank[1].endpoint, "10.0.0.2:7440");
    assert_string_equal(seen().coordinator_addr, "10.0.0.1");
    assert_int_equal(seen().coordinator_port, 7440);
    assert_string_equal(seen().coordinator_key, "k1");
    exits(2, UNIT_CARRIER, 0, 9, "");
    assert_non_null(strstr(w.log, "the carrier of rank 1 on n2"));
}

/* What was begun under another setting serves on as it is; what is placed from now on follows the new one. */
static void test_a_setting_that_changed_ends_nothing(void **state)
{
    (void)state;
    make_ready(7, 2);
    restart(false);
    join(1);
    join(2);
    assert_int_equal(seen().state, INSTANCE_READY);
    assert_string_equal(seen().coordinator_key, "k1");
    assert_int_equal(seen().coordinator_port, 7440);
}

static void test_without_a_carrier_nothing_is_adopted(void **state)
{
    (void)state;
    make_ready(7, 2);
    drop_unit(2, UNIT_CARRIER);
    restart(true);
    join(1);
    hello(2);
    quiet();
    report(2);
    EXPECT("node n2 joining -> ready (report)\n"
           "n1 < stop e1\n");
    assert_string_equal(seen().reason,
                        "after the controller's restart the carrier of rank 1 on n2 did not run any more");
}

/* A node that was away while its epoch ended, and when the controller that knew of it did. */
static void test_a_debt_remembers_how_its_ranks_were_reached(void **state)
{
    (void)state;
    make_ready(7, 2);
    join(3);
    vanish(2, 3);
    pass(100);
    done(1, COMMAND_STOP);
    assert_int_equal(w.kept.n_debts, 1);
    assert_true(w.kept.debt[0].tunnel);
}

/* One of an epoch before may have a coordinator that dials. */
static void test_a_debt_stands_for_the_epochs_before_it(void **state)
{
    struct instance *i;

    (void)state;
    make_ready(7, 2);
    i = CLUSTER_INSTANCE(w.c, 0);
    i->debt[i->n_debts++] = (struct debt){.node = id_of(2), .epoch = 0};
    join(3);
    vanish(2, 3);
    pass(100);
    done(1, COMMAND_STOP);
    assert_int_equal(w.kept.n_debts, 1);
    assert_int_equal(w.kept.debt[0].epoch, 1);
    assert_false(w.kept.debt[0].tunnel);
}

/* ---- nodes that are away -------------------------------------------------------------------------------------------- */

/* Node `gone` is not heard of any more and no knock finds it; the other tells what its streams to it still do. */
static void away(int gone, int other, uint64_t ms, struct rank_flow *moving)
{
    for (uint64_t t = 0; t < ms; t += 500) {
        pass(500);
        if (moving)
            moving->answer_bytes += 312;
        report(other);
        knocked(gone, KNOCK_UNANSWERED);
        witnessed(other, KNOCK_UNANSWERED);
    }
}

static void test_bytes_that_move_hold_an_eviction_back(void **state)
{
    (void)state;
    make_ready(7, 2);
    pass_reporting(5000, 2);
    away(2, 1, 40000, flow_of(1, 1, false));
    assert_non_null(strstr(w.log, "node n2 suspect -> lost"));
    assert_null(strstr(w.log, "instance m"));
    assert_null(strstr(w.log, "evict"));
    quiet();
    away(2, 1, 1500, NULL);
    assert_null(strstr(w.log, "instance m"));
    away(2, 1, 1000, NULL);
    assert_non_null(strstr(w.log, "instance m ready -> recovering (trouble): node n2 is lost"));
}

/* Of the coordinator's node the ranks tell. */
static void test_of_rank_0s_node_the_others_tell(void **state)
{
    (void)state;
    make_ready(7, 2);
    pass_reporting(5000, 2);
    away(1, 2, 20000, flow_of(2, 1, true));
    assert_non_null(strstr(w.log, "node n1 suspect -> lost"));
    assert_null(strstr(w.log, "instance m"));
    away(1, 2, 2500, NULL);
    assert_non_null(strstr(w.log, "instance m ready -> recovering (trouble): node n1 is lost"));
}

/* Nobody vouches for himself, nor for what he has not seen. */
static void test_a_stream_that_stands_still_holds_nothing_back(void **state)
{
    (void)state;
    make_ready(7, 2);
    flow_of(1, 1, false)->answer_bytes = 5;
    pass_reporting(5000, 2);
    away(2, 1, 2500, flow_of(1, 0, false)); /* rank 0 is its own node's */
    assert_non_null(strstr(w.log, "instance m ready -> recovering (trouble): node n2 is lost"));
}

/* A load whose stream waits for the network goes on when that is back. */
static void test_a_load_outlives_a_cut(void **state)
{
    struct rank_flow *f;

    (void)state;
    begin_load(7, 2);
    done(1, COMMAND_START_COORDINATOR);
    f = flow_of(1, 1, false);
    away(2, 1, 6000, f);
    assert_non_null(strstr(w.log, "node n2 suspect -> lost"));
    assert_null(strstr(w.log, "instance m"));
    report(2);
    quiet();
    shows_buffers(1, -1, 0);
    listens(1);
    EXPECT("warm_up m 10.0.0.1:7440 by k1\n");
}

int main(void)
{
#define TUNNEL(test) cmocka_unit_test_setup_teardown(test, tunnel_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TUNNEL(test_each_end_is_told_who_the_other_is),
        TUNNEL(test_a_coordinators_own_port_is_not_taken_for_its_carriers),
        TUNNEL(test_the_agent_says_itself_that_a_carrier_was_silent),
        TUNNEL(test_one_node_needs_a_carrier_for_the_gateway_alone),
        TUNNEL(test_a_local_rank_has_no_route),
        TUNNEL(test_no_coordinator_is_at_large),
        TUNNEL(test_the_exit_of_a_carrier_ends_its_epoch),
        TUNNEL(test_the_exit_of_the_coordinators_carrier_names_rank_0),
        TUNNEL(test_a_carrier_that_reports_do_not_show_is_missed),
        TUNNEL(test_a_carrier_is_not_missed_before_it_is_due),
        TUNNEL(test_a_carriers_exit_is_the_better_reason),
        TUNNEL(test_a_carrier_of_an_epoch_that_is_over_is_stopped),
        TUNNEL(test_a_port_that_refuses_is_the_carriers),
        TUNNEL(test_a_carrier_of_nobody_is_left_alone),
        TUNNEL(test_a_node_that_is_reached_otherwise_is_left_out),
        TUNNEL(test_a_plan_says_how_ranks_are_reached_and_what_that_gives_up),
        TUNNEL(test_a_plan_says_which_ranks_load_from_their_own_file),
        TUNNEL(test_a_saved_plan_says_it_anew),
        TUNNEL(test_a_saved_plan_follows_the_cluster),
        TUNNEL(test_what_runs_is_adopted_with_its_carriers),
        TUNNEL(test_a_setting_that_changed_ends_nothing),
        TUNNEL(test_without_a_carrier_nothing_is_adopted),
        TUNNEL(test_a_debt_remembers_how_its_ranks_were_reached),
        TUNNEL(test_a_debt_stands_for_the_epochs_before_it),
        TUNNEL(test_bytes_that_move_hold_an_eviction_back),
        TUNNEL(test_of_rank_0s_node_the_others_tell),
        TUNNEL(test_a_stream_that_stands_still_holds_nothing_back),
        TUNNEL(test_a_load_outlives_a_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
