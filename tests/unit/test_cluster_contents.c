/* What the lines of the other stories leave out: the fields of commands and records, and the memory that nodes offer. */
#include "common/core/text.h"
#include "controller/core/offers.h"
#include "tests/unit/cluster_harness.h"

static const struct message *asked_for(int node, enum command_kind kind)
{
    for (size_t i = 0; i < w.n_asked; i++) {
        if (w.asked[i].node == node && w.asked[i].m.command.kind == kind)
            return &w.asked[i].m;
    }
    fail_msg("node %d was not asked for %s", node, command_kind_name(kind));
    return NULL;
}

static void test_a_lease_names_every_device_and_its_peak(void **state)
{
    const struct message *m;

    (void)state;
    join(1);
    join(2);
    deploy(7, "m", 2);
    commit();
    m = asked_for(1, COMMAND_LEASE);
    assert_true(id128_equal(&m->cluster, &(struct id128){{200, [15] = 200}}));
    assert_int_equal(m->term, 3);
    assert_true(m->command_id >> 32 == 3); /* the term is in the number: no two leaders give out the same */
    assert_int_equal(m->version_major, PROTOCOL_MAJOR);
    assert_int_equal(m->command.lease.n_devices, 1);
    assert_string_equal(m->command.lease.device[0], "CPU");
    assert_int_equal(m->command.lease.bytes[0], w.plan.rank[0].device[0].peak_bytes);
    assert_int_equal(m->command.lease.host_bytes, w.plan.host_bytes);
    done(1, COMMAND_LEASE);
    m = asked_for(2, COMMAND_LEASE);
    assert_int_equal(m->command.lease.bytes[0], w.plan.rank[1].device[0].peak_bytes);
    assert_int_equal(m->command.lease.host_bytes, 0);
}

/* Looks at the arguments while the effect still has them. */
static char seen_args[2][PROTO_ARG_MAX];

static struct cluster_effects *watching_step(struct cluster *c, struct cluster_ev *ev, uint64_t now_ms)
{
    struct cluster_effects *fx = cluster_step(c, ev, now_ms);

    for (size_t i = 0; fx && i < fx->n; i++) {
        const struct message *m = fx->item[i].message;

        if (fx->item[i].kind == CLUSTER_FX_SEND && m->kind == MESSAGE_COMMAND &&
            m->command.kind == COMMAND_START_COORDINATOR && m->command.coordinator.n_args == 2)
            memcpy(seen_args, m->command.coordinator.arg, sizeof(seen_args));
        for (size_t k = 0; fx->item[i].kind == CLUSTER_FX_COMMIT && k < fx->item[i].n_records; k++) {
            const struct record *rec = &fx->item[i].record[k];

            assert_int_equal(rec->wall_ms, 1000000 + w.now);
            assert_int_equal(rec->instance.b[0], 107);
            if (rec->kind == RECORD_INSTANCE)
                assert_int_equal(rec->i.request.n_args, 2);
        }
    }
    return fx;
}

static void test_a_coordinator_gets_everything_of_the_plan(void **state)
{
    struct place_request r = request_of("m", 2);
    char args[2][PROTO_ARG_MAX] = {"--temp", "0"};
    const struct coordinator_spec *spec;

    (void)state;
    w.step = watching_step;
    join(1);
    join(2);
    strcpy(r.alias, "chat");
    r.n_args = 2;
    r.arg = args;
    r.ctx = 1024;
    r.slots = 2;
    deploy_request(7, &r, NULL);
    commit();
    for (int node = 1; node <= 2; node++)
        done(node, COMMAND_LEASE);
    assert_int_equal(asked_for(2, COMMAND_START_WORKER)->command.worker.n_devices, 1);
    for (int node = 1; node <= 2; node++)
        done(node, COMMAND_START_WORKER);
    spec = &asked_for(1, COMMAND_START_COORDINATOR)->command.coordinator;
    assert_string_equal(spec->model, "m");
    assert_string_equal(spec->alias, "chat");
    assert_true(spec->header_hash == 0xfeed);
    assert_int_equal(spec->n_ranks, 2);
    assert_int_equal(spec->n_devices, 2);
    assert_int_equal(spec->layers[0] + spec->layers[1], 17);
    assert_int_equal(spec->ctx, 1024);
    assert_int_equal(spec->slots, 2);
    assert_int_equal(spec->batch, w.plan.batch);
    assert_int_equal(spec->ubatch, w.plan.ubatch);
    assert_string_equal(spec->kv_type, w.plan.kv_type);
    assert_string_equal(seen_args[0], "--temp");
    assert_string_equal(seen_args[1], "0");
}

/* ---- a GPU in the coordinator's own process ---------------------------------------------------------------------- */

static struct message *gpu_report(int node)
{
    struct message *m = report_of(node);

    strcpy(m->report->device[0].name, "CUDA0");
    m->report->device[0].kind = DEVICE_GPU;
    return m;
}

static void show_local_buffers(uint64_t bytes)
{
    struct message *m = event_of(1, AGENT_EVENT_RANK_BUFFERS, UNIT_COORDINATOR);

    m->event->n_buffers = 1;
    m->event->buffers[0].model_bytes = bytes;
    hear(1, m);
}

static void begin_local_load(void)
{
    hello(1);
    hear(1, gpu_report(1));
    deploy(7, "m", 1);
    commit();
    quiet();
    done(1, COMMAND_LEASE);
}

/* A node ends its coordinator first and then its workers, each with that grace, and may hold what it leased for 5 s. */
static void test_a_stop_leaves_time_for_two_that_do_not_obey(void **state)
{
    (void)state;
    make_ready(7, 1);
    stop(8, "m");
    commit();
    for (size_t k = 0; k < w.n_asked; k++) {
        if (w.asked[k].m.command.kind == COMMAND_STOP)
            assert_in_range(w.asked[k].m.command.stop.grace_ms, 1000, 2000);
    }
    done(1, COMMAND_STOP); /* it was asked for */
}

/* Nobody can use what is left of its streams, and a coordinator whose rank hangs does not obey SIGTERM. */
static void test_what_has_failed_is_killed(void **state)
{
    (void)state;
    make_ready(7, 2);
    exits(2, UNIT_WORKER, 0, 9, "");
    assert_int_equal(asked_for(1, COMMAND_STOP)->command.stop.grace_ms, 1);
    done(1, COMMAND_STOP);
}

static void test_one_node_with_a_gpu_uses_no_rpc_at_all(void **state)
{
    (void)state;
    begin_local_load();
    assert_true(w.plan.rank[0].local);
    EXPECT("instance m leasing -> starting (leased)\n"
           "instance m starting -> loading (workers_up)\n"
           "n1 < start_coordinator e1\n");
    assert_int_equal(asked_for(1, COMMAND_START_COORDINATOR)->command.coordinator.n_ranks, 0);
    done(1, COMMAND_START_COORDINATOR);
    listens(1);
    EXPECT("");
    show_local_buffers(w.plan.rank[0].device[0].weight_bytes + 1024 * 1024); /* with the host's own */
    EXPECT("warm_up m 10.0.0.1:18080\n");
}

static void test_a_local_rank_that_stayed_on_the_host_is_named(void **state)
{
    (void)state;
    begin_local_load();
    done(1, COMMAND_START_COORDINATOR);
    show_local_buffers(1024 * 1024);
    listens(1);
    quiet();
    pass_reporting(5000, 1);
    assert_non_null(strstr(w.log, "rank 0 on n1 holds 1.00 MiB, the plan says"));
}

/* ---- offers ------------------------------------------------------------------------------------------------------- */

static struct place_node offer_of(size_t at)
{
    struct model_facts m = {.name = "m", .header_hash = 0xfeed};
    struct place_node *nodes = NULL, offer;
    size_t n = 0;

    assert_int_equal(offers_make(w.c, &m, NULL, &nodes, &n), 0);
    assert_true(at < n);
    offer = nodes[at];
    free(nodes);
    return offer;
}

static void test_a_node_as_placement_sees_it(void **state)
{
    struct place_node p;

    (void)state;
    join(2);
    join(1);
    p = offer_of(0);
    assert_string_equal(p.name, "n1"); /* by id, not by arrival */
    assert_string_equal(p.addr, "10.0.0.1");
    assert_string_equal(p.state, "ready");
    assert_string_equal(p.build, "b11669-0.7.0");
    assert_int_equal(p.rpc.major, 8);
    assert_true(p.has_model && p.can_coordinate);
    assert_false(p.draining || p.standing_idle);
    assert_int_equal(p.host_total_bytes, 16 * GIB);
    assert_int_equal(p.host_free_bytes, 8 * GIB);
    assert_int_equal(p.host_leased_bytes + p.host_held_bytes, 0);
    w.unit[1][0] = (struct unit_facts){.role = UNIT_WORKER, .state = UNIT_RUNNING, .standing = true, .rank = -1};
    w.n_units[1] = 1;
    report(1);
    assert_true(offer_of(0).standing_idle);
    w.unit[1][0].instance = id_of(9); /* of somebody else */
    report(1);
    assert_false(offer_of(0).standing_idle);
    pass(1000);
    assert_string_equal(offer_of(0).state, "suspect");
}

/* Two leases on one node; processes of one of them hold memory, and so does one that is nobody's of ours. */
static void test_what_is_promised_and_what_of_it_is_held(void **state)
{
    struct place_request r = request_of("m", 1);
    struct place_node p;
    uint64_t each;

    (void)state;
    make_ready(7, 1);
    each = w.plan.rank[0].device[0].peak_bytes;
    w.unit[1][0].rss_bytes = 100 * 1024 * 1024;
    w.unit[1][1].rss_bytes = 5 * 1024 * 1024;
    w.unit[1][2] = w.unit[1][0];
    w.unit[1][2].epoch = 9;
    w.unit[1][3] = w.unit[1][0];
    w.unit[1][3].instance = id_of(9);
    w.n_units[1] = 4;
    report(1);
    p = offer_of(0);
    assert_int_equal(p.device[0].leased_bytes, each);
    assert_int_equal(p.device[0].held_bytes, 105 * 1024 * 1024);
    assert_int_equal(p.host_leased_bytes, each + w.plan.host_bytes);
    assert_int_equal(p.host_held_bytes, 105 * 1024 * 1024);

    w.unit[1][0].rss_bytes = 40 * GIB; /* more than promised is not ours to give away */
    report(1);
    p = offer_of(0);
    assert_int_equal(p.device[0].held_bytes, each);
    assert_int_equal(p.host_held_bytes, each + w.plan.host_bytes);

    strcpy(r.alias, "second"); /* promised from the plan on, before anything is durable */
    deploy_request(8, &r, NULL);
    p = offer_of(0);
    assert_int_equal(p.device[0].leased_bytes, each + w.plan.rank[0].device[0].peak_bytes);
    assert_int_equal(p.device[0].held_bytes, each);
}

/* Nobody measures what a process holds on a GPU: the log of its coordinator said how large its buffers are. */
static void test_what_a_gpu_holds_is_what_the_log_said(void **state)
{
    struct place_node p;
    struct message *m;
    uint64_t weights;

    (void)state;
    for (int node = 1; node <= 2; node++) {
        hello(node);
        hear(node, gpu_report(node));
    }
    deploy(7, "m", 2);
    commit();
    done(1, COMMAND_LEASE);
    done(2, COMMAND_LEASE);
    if (!w.plan.rank[0].local)
        done(1, COMMAND_START_WORKER);
    done(2, COMMAND_START_WORKER);
    done(1, COMMAND_START_COORDINATOR);
    m = event_of(1, AGENT_EVENT_RANK_BUFFERS, UNIT_COORDINATOR);
    weights = w.plan.rank[1].device[0].weight_bytes;
    m->event->n_buffers = 1;
    text_format(m->event->buffers[0].endpoint, sizeof(m->event->buffers[0].endpoint), "10.0.0.2:20052");
    m->event->buffers[0].model_bytes = weights;
    m->event->buffers[0].kv_bytes = 3000;
    m->event->buffers[0].compute_bytes = 500;
    hear(1, m);
    p = offer_of(1);
    assert_string_equal(p.device[0].name, "CUDA0");
    assert_int_equal(p.device[0].leased_bytes, w.plan.rank[1].device[0].peak_bytes);
    assert_int_equal(p.device[0].held_bytes, weights + 3500);
    assert_int_equal(p.host_leased_bytes, 0);
    p = offer_of(0);
    assert_int_equal(p.device[0].held_bytes, 0);
    assert_int_equal(p.host_leased_bytes, w.plan.host_bytes);
}

/* ---- what carriers turned away -------------------------------------------------------------------------------------- */

static void told_refused(const char *unit, uint64_t n_refused, uint64_t n_unreached)
{
    struct message *m = report_of(1);
    struct unit_facts *u = &m->report->unit[m->report->n_units++];

    *u = (struct unit_facts){.role = UNIT_CARRIER, .rank = -1, .n_refused = n_refused, .n_unreached = n_unreached};
    snprintf(u->id, sizeof(u->id), "%s", unit);
    hear(1, m);
}

static void expect_refused(uint64_t n_refused, uint64_t n_unreached)
{
    struct view *v = view_now();

    assert_int_equal(v->node[0].n_refused, n_refused);
    assert_int_equal(v->node[0].n_unreached, n_unreached);
    view_unref(&v);
}

/* A node's counts grow with those of its carriers, and stay when one of them ends. */
static void test_refusals_of_carriers_are_summed_up(void **state)
{
    static const struct {
        const char *unit;
        uint64_t told[2], sum[2];
    } rows[] = {
        {"x-1", {0, 0}, {0, 0}}, {"x-1", {5, 1}, {5, 1}},
        {"x-1", {5, 1}, {5, 1}}, {"x-1", {0, 0}, {5, 1}}, /* its agent was started anew and has not read it yet */
        {"x-1", {6, 1}, {6, 1}}, {"x-2", {2, 1}, {8, 2}}, /* of the next epoch */
        {"x-2", {3, 3}, {9, 4}},
    };

    (void)state;
    join(1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        told_refused(rows[i].unit, rows[i].told[0], rows[i].told[1]);
        expect_refused(rows[i].sum[0], rows[i].sum[1]);
    }
}

/* ---- the rest ------------------------------------------------------------------------------------------------------ */

static void test_the_view_shows_what_was_reported(void **state)
{
    struct message *m;
    struct view *v;

    (void)state;
    join(1);
    m = report_of(1);
    m->report->full = m->report->has_units = m->report->has_devices = false;
    m->report->load_permille = 321;
    m->report->memory_limit_bytes = 4 * GIB;
    m->n_unknown = 2;
    m->report->model[0].header_hash = 0xabc; /* a list that came by itself */
    hear(1, m);
    v = view_now();
    assert_int_equal(v->node[0].load_permille, 321);
    assert_int_equal(v->node[0].memory_limit_bytes, 4 * GIB);
    assert_int_equal(v->node[0].host_total_bytes, 16 * GIB);
    assert_int_equal(v->node[0].n_unknown_fields, 2);
    assert_int_equal(v->node[0].joined_wall_ms, 1001000);
    assert_true(v->node[0].joined);
    assert_true(v->model[0].header_hash == 0xabc);
    view_unref(&v);
}

static void test_a_refused_deploy_names_its_task_and_instance(void **state)
{
    (void)state;
    make_ready(7, 1);
    stop(8, "m");
    commit();
    deploy(9, "m", 0);
    commit();
    pass(500);
    assert_false(w.answer.accepted);
    assert_int_equal(w.answer.task_id, 3);
    assert_true(id128_equal(&w.answer.instance, &w.instance));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_lease_names_every_device_and_its_peak),
        TEST(test_a_coordinator_gets_everything_of_the_plan),
        TEST(test_a_stop_leaves_time_for_two_that_do_not_obey),
        TEST(test_what_has_failed_is_killed),
        TEST(test_one_node_with_a_gpu_uses_no_rpc_at_all),
        TEST(test_a_local_rank_that_stayed_on_the_host_is_named),
        TEST(test_a_node_as_placement_sees_it),
        TEST(test_what_is_promised_and_what_of_it_is_held),
        TEST(test_what_a_gpu_holds_is_what_the_log_said),
        TEST(test_the_view_shows_what_was_reported),
        TEST(test_refusals_of_carriers_are_summed_up),
        TEST(test_a_refused_deploy_names_its_task_and_instance),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
