/* Placement: nodes and a model before, the plan and its reasons after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/placement.h"
#include "tests/lib/place_world.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

enum { NODES_MAX = 200 };

/* One case. What is not said in a test is: 4 equal CPU nodes of 64 GiB, each with the file. */
struct world {
    struct place_node node[NODES_MAX];
    size_t n_nodes;
    struct model_shape *shape;
    struct model_facts model;
    struct place_request req;
    struct plan *plan;
};

static void begin(struct world *w, size_t n_nodes, uint64_t model_bytes)
{
    *w = (struct world){.n_nodes = n_nodes};
    for (size_t i = 0; i < n_nodes; i++)
        w->node[i] = world_node((uint8_t)(i + 1), 64 * GIB);
    w->shape = world_sparse(model_bytes);
    w->model = world_model("model", w->shape, model_bytes);
}

static int place(struct world *w)
{
    free(w->plan);
    w->plan = NULL;
    return place_compute(&w->req, &w->model, w->node, w->n_nodes, &w->plan);
}

/* Places it and expects so many ranks, on a plan that keeps every promise. */
static void expect_ranks(struct world *w, size_t n_ranks)
{
    int r = place(w);

    if (r || w->plan->n_ranks != n_ranks || world_broken(w->plan, &w->model, w->node, w->n_nodes)[0]) {
        print_error("outcome %d, %s\n", r, r ? "" : world_broken(w->plan, &w->model, w->node, w->n_nodes));
        world_print(w->plan);
    }
    assert_int_equal(r, 0);
    assert_int_equal(w->plan->n_ranks, n_ranks);
    assert_string_equal(world_broken(w->plan, &w->model, w->node, w->n_nodes), "");
}

static void expect_note(struct world *w, const char *words)
{
    if (!world_has_note(w->plan, words)) {
        print_error("wanted a note with \"%s\"\n", words);
        world_print(w->plan);
    }
    assert_true(world_has_note(w->plan, words));
}

static void expect_outcome(struct world *w, int outcome, const char *last_note)
{
    int r = place(w);

    if (r != outcome || !strstr(w->plan->note[w->plan->n_notes - 1], last_note)) {
        print_error("wanted %d with \"%s\", got %d\n", outcome, last_note, r);
        world_print(w->plan);
    }
    assert_int_equal(r, outcome);
    assert_int_equal(w->plan->n_ranks, 0);
    assert_non_null(strstr(w->plan->note[w->plan->n_notes - 1], last_note));
}

static void expect_layers(struct world *w, const char *layers)
{
    char buf[512];

    assert_string_equal(world_layers(w->plan, buf, sizeof(buf)), layers);
}

static void end(struct world *w)
{
    free(w->plan);
    free(w->shape);
}

/* ---- how many nodes ---- */

/* Case 17 of the field: the least number of nodes was a constant 1, so nothing was ever distributed. */
static void test_case_17_bands(void **state)
{
    static const struct {
        uint64_t bytes;
        uint32_t band;
        const char *note;
    } rows[] = {
        {900000000, 1, "900 MB is under 2 GB: 1 node"},
        {1900000000, 1, "1.90 GB is under 2 GB: 1 node"},
        {1994999999, 1, "1.99 GB is under 2 GB: 1 node"},
        {1997050592, 2, "2.00 GB is 2 to 10 GB: up to 2 nodes"}, /* what is made when 2.0 GB is asked for */
        {2000000000, 2, "2.00 GB is 2 to 10 GB: up to 2 nodes"},
        {9900000000, 2, "9.90 GB is 2 to 10 GB: up to 2 nodes"},
        {10000000000, 2, "10.00 GB is 2 to 10 GB: up to 2 nodes"},
        {10100000000, 4, "10.10 GB is over 10 GB: up to 4 nodes"},
        {12000000000, 4, "12.00 GB is over 10 GB: up to 4 nodes"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;

        begin(&w, 4, rows[i].bytes);
        w.req.policy = POLICY_SPREAD;
        expect_ranks(&w, rows[i].band);
        assert_int_equal(w.plan->band, rows[i].band);
        expect_note(&w, rows[i].note);
        w.req.policy = POLICY_FIT; /* one of these nodes holds each of them */
        expect_ranks(&w, 1);
        expect_note(&w, "policy fit: 1 node, the fewest that hold it");
        end(&w);
    }
}

static void limit_all(struct world *w, uint64_t bytes)
{
    for (size_t i = 0; i < w->n_nodes; i++)
        w->node[i].memory_limit_bytes = bytes;
}

static void test_memory_asks_for_more_nodes(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 4, 12000000000); /* 12 GB on 4 nodes of 4G */
    limit_all(&w, 4 * GIB);
    expect_ranks(&w, 4);
    expect_note(&w, "policy fit: 4 nodes hold it, 2 do not (4.3 GiB missing on n1 n2)");

    limit_all(&w, 6 * GIB); /* needs three, has three */
    w.n_nodes = 3;
    expect_ranks(&w, 3);
    expect_note(&w, "3 nodes hold it, 2 do not");
    w.req.policy = POLICY_SPREAD;
    expect_ranks(&w, 3);
    w.n_nodes = 4; /* of 1, 2, 4 comes first */
    expect_ranks(&w, 4);
    end(&w);

    begin(&w, 4, 1000000000); /* 1 GB on agents at 400M */
    limit_all(&w, 400 * MIB);
    expect_ranks(&w, 4);
    expect_note(&w, "its size asks for up to 1 node, its memory for 4");
    expect_note(&w, "context 2048: 4096, the default, does not fit; --ctx sets it");
    assert_int_equal(w.plan->ctx, 2048);
    w.req.ctx = 4096; /* asked for: not halved */
    assert_int_equal(place(&w), PLACE_E_NO_FIT);
    end(&w);
}

static void test_nodes_asked_for(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 4, 900000000);
    w.req.nodes = 2;
    expect_ranks(&w, 2);
    assert_string_equal(w.plan->rank[0].node_name, "n1");
    assert_string_equal(w.plan->rank[1].node_name, "n2");
    expect_note(&w, "--nodes 2 was asked for");
    w.req.nodes = 3; /* not of 1, 2, 4, and yet */
    expect_ranks(&w, 3);
    w.req.nodes = 5;
    expect_outcome(&w, PLACE_E_TOO_FEW, "4 nodes can be used, 5 needed");
    w.req.nodes = 17;
    expect_outcome(&w, PLACE_E_MODEL, "--nodes 17: at most 16, and one per layer (32)");
    end(&w);
}

static void test_no_fit_says_what_is_missing(void **state)
{
    struct world w;
    uint64_t missing;

    (void)state;
    begin(&w, 4, 12000000000);
    limit_all(&w, 2 * GIB);
    w.req.ctx = 4096;
    expect_outcome(&w, PLACE_E_NO_FIT, "no set of nodes holds model: over 4 nodes, 4.7 GiB missing on n1 n2 n3 n4");
    missing = w.plan->missing_bytes;
    assert_in_range(missing, 4 * GIB, 5 * GIB);
    limit_all(&w, 2 * GIB + missing / 4 - 100 * MIB);
    assert_int_equal(place(&w), PLACE_E_NO_FIT);
    limit_all(&w, 2 * GIB + missing); /* that much on each is enough for sure */
    assert_int_equal(place(&w), 0);
    end(&w);

    begin(&w, 1, 12000000000); /* too small for a single layer: still a matter of GiB */
    w.node[0].memory_limit_bytes = 100 * MIB;
    expect_outcome(&w, PLACE_E_NO_FIT, "over 1 node, 11.");
    expect_note(&w, "n1 left out: it offers 100 MiB, one layer needs");
    end(&w);
}

/* ---- which nodes ---- */

static void make_lost(struct place_node *n)
{
    n->state = "lost";
}

static void make_excluded(struct place_node *n)
{
    n->excluded = true;
}

static void make_draining(struct place_node *n)
{
    n->draining = true;
}

static void make_other_build(struct place_node *n)
{
    strcpy(n->build, "b2");
}

static void make_without_llama(struct place_node *n)
{
    n->build[0] = '\0';
}

static void make_bad_build(struct place_node *n)
{
    strcpy(n->build_problem, "llama-server lacks --rpc");
}

static void make_older_rpc(struct place_node *n)
{
    n->rpc = (struct rpc_version){7, 0, 0};
}

static void make_newer_rpc(struct place_node *n)
{
    n->rpc = (struct rpc_version){8, 1, 0};
}

static void make_without_device(struct place_node *n)
{
    n->n_devices = 0;
}

static void make_small(struct place_node *n)
{
    n->memory_limit_bytes = 50 * MIB;
}

static void test_each_filter_names_whom_and_why(void **state)
{
    static const struct {
        void (*make)(struct place_node *n);
        const char *note;
    } rows[] = {
        {make_lost, "n2 left out: lost"},
        {make_excluded, "n2 left out: the same step failed there twice"},
        {make_draining, "n2 left out: draining"},
        {make_other_build, "n2 left out: build b2 is not b1"},
        {make_without_llama, "n2 left out: llama.cpp was not found there"},
        {make_bad_build, "n2 left out: llama-server lacks --rpc"},
        {make_older_rpc, "n2 left out: RPC protocol 7.0.0 is not 8.0.0"},
        {make_newer_rpc, "n2 left out: RPC protocol 8.1.0 is not 8.0.0"},
        {make_without_device, "n2 left out: no device for a worker"},
        {make_small, "n2 left out: it offers 50 MiB, one layer needs"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;

        begin(&w, 3, 5000000000);
        w.req.nodes = 2;
        rows[i].make(&w.node[1]);
        expect_ranks(&w, 2);
        expect_note(&w, rows[i].note);
        expect_layers(&w, "n1:16 n3:17");
        end(&w);
    }
}

static void test_the_first_reason_counts(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 2, 900000000);
    make_lost(&w.node[1]);
    make_draining(&w.node[1]);
    make_other_build(&w.node[1]);
    expect_ranks(&w, 1);
    expect_note(&w, "n2 left out: lost");
    assert_false(world_has_note(w.plan, "draining"));
    end(&w);
}

static void test_one_build_for_all_ranks(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 5, 900000000);
    for (int i = 2; i < 5; i++)
        make_other_build(&w.node[i]); /* most nodes */
    expect_ranks(&w, 1);
    assert_string_equal(w.plan->build, "b2");
    expect_note(&w, "n1 left out: build b1 is not b2");
    for (int i = 2; i < 5; i++)
        w.node[i].has_model = false; /* but nobody to lead */
    expect_ranks(&w, 1);
    assert_string_equal(w.plan->build, "b1");
    w.node[2].has_model = true;
    w.req.ctx = 4096;
    for (int i = 2; i < 5; i++)
        w.node[i].memory_limit_bytes = 50 * MIB; /* or no room */
    expect_ranks(&w, 1);
    assert_string_equal(w.plan->build, "b1");
    end(&w);
}

static void test_nobody_to_place_on(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 2, 900000000);
    w.n_nodes = 0;
    expect_outcome(&w, PLACE_E_TOO_FEW, "0 nodes can be used, 1 needed");
    w.n_nodes = 2;
    make_lost(&w.node[0]);
    make_draining(&w.node[1]);
    expect_outcome(&w, PLACE_E_TOO_FEW, "0 nodes can be used, 1 needed");
    expect_note(&w, "n1 left out: lost");
    expect_note(&w, "n2 left out: draining");
    end(&w);
}

static void test_rank_0_holds_the_file(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 3, 900000000);
    w.node[0].has_model = false;
    w.node[1].can_coordinate = false;
    w.req.nodes = 3;
    expect_ranks(&w, 3);
    assert_string_equal(w.plan->rank[0].node_name, "n3");
    assert_string_equal(w.plan->rank[1].node_name, "n2"); /* has the file */
    w.node[2].has_model = false;
    expect_outcome(&w, PLACE_E_NO_FILE,
                   "no usable node holds model and can run llama-server: copy the file to one, n1");
    end(&w);
}

static void test_fastest_slowest_link(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 4, 5000000000);
    w.req.nodes = 2;
    w.node[0].link_mbit = 100;
    w.node[1].link_mbit = 1000;
    w.node[2].link_mbit = 10000;
    w.node[3].link_mbit = 9000; /* the same class */
    expect_ranks(&w, 2);
    assert_string_equal(w.plan->rank[0].node_name, "n3");
    assert_string_equal(w.plan->rank[1].node_name, "n4");
    w.node[3].link_rtt_us = 5000; /* slow to answer, but not measured on the others */
    w.node[2].link_rtt_us = 100;
    w.node[1].link_mbit = 10000;
    w.node[1].link_rtt_us = 120;
    expect_ranks(&w, 2);
    assert_string_equal(w.plan->rank[0].node_name, "n2");
    assert_string_equal(w.plan->rank[1].node_name, "n3");
    w.node[1].has_model = w.node[2].has_model = w.node[3].has_model = false; /* only the slow one can lead */
    expect_ranks(&w, 2);
    assert_string_equal(w.plan->rank[0].node_name, "n1");
    end(&w);
}

static void test_least_fragmentation(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 3, 5000000000);
    w.node[0] = world_node(1, 64 * GIB);
    w.node[1] = world_node(2, 16 * GIB + 512 * MIB);
    w.node[2] = world_node(3, 16 * GIB + 500 * MIB); /* less, but by nothing that counts */
    expect_ranks(&w, 1);
    assert_string_equal(w.plan->rank[0].node_name, "n2");
    end(&w);
}

static void test_many_left_out_are_counted(void **state)
{
    struct world w;

    (void)state;
    begin(&w, NODES_MAX, 900000000);
    for (size_t i = 1; i < NODES_MAX; i++)
        make_lost(&w.node[i]);
    expect_ranks(&w, 1);
    expect_note(&w, "more nodes left out");
    expect_note(&w, "rank 0 on n1");
    end(&w);
}

static void test_two_hundred_nodes(void **state)
{
    struct world w;

    (void)state;
    begin(&w, NODES_MAX, 60000000000);
    for (size_t i = 0; i < NODES_MAX; i++)
        w.node[i] = world_node((uint8_t)(i + 1), (3 + i % 7) * GIB);
    expect_ranks(&w, 8);
    end(&w);
}

/* ---- offers ---- */

/* One node, one model of 900 MB: what it offers is seen in the plan. */
static void test_offers(void **state)
{
    static const struct {
        const char *name;
        uint64_t total, free_bytes, held, leased, limit;
        uint64_t offer;
    } rows[] = {
        {"headroom 1 GiB", 10 * GIB, 10 * GIB, 0, 0, 0, 9 * GIB},
        {"headroom 5 %", 100 * GIB, 100 * GIB, 0, 0, 0, 95 * GIB},
        {"in use by others", 10 * GIB, 6 * GIB, 0, 0, 0, 5 * GIB},
        {"promised, not yet taken", 10 * GIB, 10 * GIB, 0, 4 * GIB, 0, 5 * GIB},
        {"promised and taken", 10 * GIB, 6 * GIB, 4 * GIB, 4 * GIB, 0, 5 * GIB},
        {"held more than promised", 10 * GIB, 5 * GIB, 5 * GIB, 4 * GIB, 0, 5 * GIB},
        {"held twice over", 10 * GIB, 9 * GIB, 5 * GIB, 4 * GIB, 0, 5 * GIB},
        {"memory = 4G", 10 * GIB, 10 * GIB, 0, 0, 4 * GIB, 4 * GIB},
        {"memory = 4G, less is free", 10 * GIB, 3 * GIB, 0, 0, 4 * GIB, 3 * GIB},
        {"memory = 4G, leased", 10 * GIB, 10 * GIB, 0, 1 * GIB, 4 * GIB, 3 * GIB},
        {"memory = more than there is", 10 * GIB, 10 * GIB, 0, 0, 40 * GIB, 10 * GIB},
        {"total not known", 0, 10 * GIB, 0, 0, 0, 9 * GIB},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;
        struct place_node *n;

        begin(&w, 1, 900000000);
        n = &w.node[0];
        n->host_total_bytes = rows[i].total;
        n->host_free_bytes = rows[i].free_bytes;
        n->host_held_bytes = rows[i].held;
        n->host_leased_bytes = rows[i].leased;
        n->memory_limit_bytes = rows[i].limit;
        assert_int_equal(place(&w), 0);
        if (w.plan->rank[0].device[0].offer_bytes != rows[i].offer)
            print_error("%s\n", rows[i].name);
        assert_int_equal(w.plan->rank[0].device[0].offer_bytes, rows[i].offer);
        end(&w);
    }
}

/* The coordinator's own memory comes out of the same pool as its rank's on a CPU node. */
static void test_host_memory_is_not_counted_twice(void **state)
{
    struct world w;
    uint64_t peak, host;

    (void)state;
    begin(&w, 1, 900000000);
    w.req.ctx = 4096;
    expect_ranks(&w, 1);
    peak = w.plan->rank[0].device[0].peak_bytes;
    host = w.plan->host_bytes;
    w.node[0].memory_limit_bytes = peak + host;
    expect_ranks(&w, 1);
    w.node[0].memory_limit_bytes = peak + host - 1;
    assert_int_equal(place(&w), PLACE_E_NO_FIT);
    assert_int_equal(w.plan->missing_bytes, 1);
    w.node[0].memory_limit_bytes = 0;
    w.node[0].host_total_bytes = w.node[0].host_free_bytes = peak + host + GIB;
    expect_ranks(&w, 1);
    w.node[0].host_free_bytes--;
    assert_int_equal(place(&w), PLACE_E_NO_FIT);
    end(&w);
}

/* ---- layers ---- */

static void test_layers_follow_capacity(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 2, 12000000000);
    w.req.ctx = 4096;
    w.req.nodes = 2;
    limit_all(&w, 12 * GIB);
    expect_ranks(&w, 2);
    expect_layers(&w, "n1:16 n2:17");
    w.node[1].memory_limit_bytes = 6 * GIB;
    expect_ranks(&w, 2);
    expect_layers(&w, "n2:11 n1:22"); /* the smaller node comes first: least fragmentation */
    end(&w);
}

/* Buffers that do not depend on the number of layers are larger than this model: they must not decide who gets them. */
static void test_a_small_model_is_split_evenly(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 3, 200000000);
    w.req.nodes = 3;
    limit_all(&w, 3 * GIB);
    expect_ranks(&w, 3);
    expect_layers(&w, "n1:11 n2:11 n3:11");
    end(&w);
}

static void test_a_gpu_takes_rank_0_in_llama_server(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 2, 5000000000);
    world_gpu(&w.node[0], "CUDA0", 24 * GIB);
    world_gpu(&w.node[0], "CUDA1", 12 * GIB);
    world_gpu(&w.node[1], "Vulkan0", 16 * GIB);
    w.req.nodes = 2;
    expect_ranks(&w, 2);
    assert_true(w.plan->rank[0].local);
    assert_false(w.plan->rank[1].local);
    expect_note(&w, "rank 0 on n2: it holds the file, llama-server itself takes the layers on Vulkan0");
    assert_string_equal(w.plan->rank[0].device[0].flag, "Vulkan0");
    assert_string_equal(w.plan->rank[1].device[0].flag, "RPC0");
    assert_string_equal(w.plan->rank[1].device[1].flag, "RPC1");
    w.req.rank0 = RANK0_RPC;
    expect_ranks(&w, 2);
    assert_false(w.plan->rank[0].local);
    assert_string_equal(w.plan->rank[0].device[0].flag, "RPC0");
    assert_string_equal(w.plan->rank[1].device[1].flag, "RPC2");
    end(&w);
}

static void test_rank_0_local_needs_a_gpu(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 2, 900000000);
    w.req.rank0 = RANK0_LOCAL;
    expect_outcome(&w, PLACE_E_NO_FILE, "no usable node with a GPU holds model");
    world_gpu(&w.node[1], "CUDA0", 24 * GIB);
    expect_ranks(&w, 1);
    assert_string_equal(w.plan->rank[0].node_name, "n2");
    assert_true(w.plan->rank[0].local);
    assert_string_equal(w.plan->rank[0].device[0].flag, "CUDA0"); /* one rank, local: no RPC at all */
    end(&w);
}

/* One node takes as few of its GPUs as hold the model, unless it is to be spread. */
static void test_as_few_gpus_as_hold_it(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 1, 5000000000);
    for (int i = 0; i < 4; i++) {
        char name[16];

        snprintf(name, sizeof(name), "CUDA%d", i);
        world_gpu(&w.node[0], name, (i == 2 ? 8 : 4) * GIB);
    }
    expect_ranks(&w, 1);
    assert_int_equal(w.plan->rank[0].n_devices, 1);
    assert_string_equal(w.plan->rank[0].device[0].name, "CUDA2");
    w.node[0].device[2].free_bytes = w.node[0].device[2].total_bytes = 4 * GIB;
    expect_ranks(&w, 1);
    assert_int_equal(w.plan->rank[0].n_devices, 2);
    w.req.policy = POLICY_SPREAD;
    expect_ranks(&w, 1);
    assert_int_equal(w.plan->rank[0].n_devices, 4);
    end(&w);
}

/* A worker with two devices, one twice the other: the layers go by what each has. */
static void test_two_devices_on_one_worker(void **state)
{
    struct world w;
    const struct plan_device *d;

    (void)state;
    begin(&w, 2, 12000000000);
    world_gpu(&w.node[1], "CUDA0", 9 * GIB);
    world_gpu(&w.node[1], "CUDA1", 5 * GIB);
    w.node[0].memory_limit_bytes = 8 * GIB;
    w.node[1].has_model = false;
    w.req.nodes = 2;
    w.req.ctx = 4096;
    expect_ranks(&w, 2);
    assert_int_equal(w.plan->rank[1].n_devices, 2);
    d = w.plan->rank[1].device;
    assert_true(d[0].n_layers > d[1].n_layers);
    assert_true(d[1].has_output);
    assert_int_equal(d[1].first_layer, d[0].first_layer + d[0].n_layers);
    end(&w);
}

/* `memory =` is over all devices and host memory together. */
static void test_memory_limit_of_a_gpu_node(void **state)
{
    struct world w;
    uint64_t all;

    (void)state;
    begin(&w, 1, 5000000000);
    world_gpu(&w.node[0], "CUDA0", 24 * GIB);
    w.req.ctx = 4096;
    expect_ranks(&w, 1);
    all = w.plan->rank[0].device[0].peak_bytes + w.plan->host_bytes;
    w.node[0].memory_limit_bytes = all;
    expect_ranks(&w, 1);
    w.node[0].memory_limit_bytes = all - 1;
    assert_int_equal(place(&w), PLACE_E_NO_FIT);
    end(&w);
}

static void test_unified_memory_is_the_hosts(void **state)
{
    struct world w;
    uint64_t all;

    (void)state;
    begin(&w, 1, 5000000000);
    w.node[0].device[0].kind = DEVICE_UNIFIED;
    strcpy(w.node[0].device[0].name, "MTL0");
    w.req.ctx = 4096;
    assert_int_equal(place(&w), 0);
    assert_true(w.plan->rank[0].local);
    assert_int_equal(w.plan->rank[0].device[0].offer_bytes, 64 * GIB - 64 * GIB / 10); /* headroom 10 % */
    all = w.plan->rank[0].device[0].peak_bytes + w.plan->host_bytes;
    w.node[0].memory_limit_bytes = all;
    assert_int_equal(place(&w), 0);
    w.node[0].memory_limit_bytes = all - 1;
    assert_int_equal(place(&w), PLACE_E_NO_FIT);
    end(&w);
}

/* ---- requests ---- */

static void test_models_that_cannot_be_served(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 2, 900000000);
    strcpy(w.req.kv_type, "q9");
    expect_outcome(&w, PLACE_E_MODEL, "cache type q9: use f16");
    strcpy(w.req.kv_type, "q6_K");
    expect_outcome(&w, PLACE_E_MODEL, "cache type q6_K: use f16");
    strcpy(w.req.kv_type, "q8_0");
    expect_ranks(&w, 1);
    assert_string_equal(w.plan->kv_type, "q8_0");
    w.shape->head_dim_k = 80;
    expect_outcome(&w, PLACE_E_MODEL, "cache type q8_0 needs heads of a multiple of 32, the model's are 80");
    w.req.kv_type[0] = '\0';
    w.req.slots = 257;
    expect_outcome(&w, PLACE_E_MODEL, "257 slots: at most 256");
    w.shape->has_projector = true;
    expect_outcome(&w, PLACE_E_MODEL, "model is a projector (mmproj)");
    w.shape->has_projector = false;
    w.shape->n_layer = 0;
    expect_outcome(&w, PLACE_E_MODEL, "model has no layers");
    end(&w);
}

static void set_args(struct world *w, char (*arg)[PROTO_ARG_MAX], size_t n)
{
    w->req.arg = arg;
    w->req.n_args = n;
}

/* Arguments that change what it takes are counted. */
static void test_arguments_count(void **state)
{
    char no_fa[][PROTO_ARG_MAX] = {"-fa", "off"};
    char batch[][PROTO_ARG_MAX] = {"-b", "31", "--ubatch_size=31"};
    char unified[][PROTO_ARG_MAX] = {"--kv-unified"};
    char projector[][PROTO_ARG_MAX] = {"--mmproj", "x.gguf"};
    struct world w;
    uint64_t compute, kv;

    (void)state;
    begin(&w, 1, 900000000);
    w.req.ctx = 1024;
    w.req.slots = 8;
    expect_ranks(&w, 1);
    compute = w.plan->rank[0].device[0].compute_bytes;
    kv = w.plan->rank[0].device[0].kv_bytes;
    set_args(&w, no_fa, 2);
    strcpy(w.req.kv_type, "q8_0");
    expect_outcome(&w, PLACE_E_MODEL, "cache type q8_0 needs flash attention");
    w.req.kv_type[0] = '\0';
    set_args(&w, batch, 3);
    expect_ranks(&w, 1);
    assert_true(w.plan->rank[0].device[0].compute_bytes < compute / 4);
    assert_int_equal(w.plan->batch, 31);
    assert_int_equal(w.plan->ubatch, 31);
    set_args(&w, unified, 1);
    expect_ranks(&w, 1);
    assert_int_equal(w.plan->rank[0].device[0].kv_bytes, kv / 2);
    set_args(&w, projector, 2);
    expect_ranks(&w, 1);
    expect_note(&w, "what --mmproj takes is not counted");
    end(&w);
}

static void test_owned_flags(void **state)
{
    static const struct {
        const char *arg, *flag;
    } rows[] = {
        {"--rpc", "--rpc"},
        {"--rpc=a:1", "--rpc"},
        {"-ts", "-ts"},
        {"--tensor-split", "-ts"},
        {"--tensor_split=1,2", "-ts"}, /* llama.cpp reads '_' as '-' */
        {"--device", "-dev"},
        {"--host", "--host"},
        {"--port=1", "--port"},
        {"-m", "-m"},
        {"--model", "-m"},
        {"-fit", "-fit"},
        {"-lv", "-lv"},
        {"--log-verbosity", "-lv"},
        {"-v", "-v"},
        {"--verbose", "-v"},
        {"-c", "-c"},
        {"--ctx-size", "-c"},
        {"--parallel", "-np"},
        {"--cache-type-v", "-ctv"},
        {"--n-gpu-layers", "-ngl"},
        {"--split-mode", "-sm"},
        {"-mg", "-mg"},
        {"--alias", "-a"},
        {"--api-key-file", "--api-key-file"},
        {"--metrics", "--metrics"},
        {"--no-slots", "--slots"},
        {"-hf", "-hf"},
        {"--log_file", "--log-file"},
        {"-b", NULL},
        {"-ub", NULL},
        {"--temp", NULL},
        {"--model-draft", NULL},
        {"--hostile", NULL},
        {"--ctx", NULL},
        {"-vx", NULL},
        {"8080", NULL},
        {"", NULL},
        {"-", NULL},
        {"--", NULL},
        {"=", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *flag = place_owned_flag(rows[i].arg);

        if (rows[i].flag)
            assert_string_equal(flag ? flag : rows[i].arg, rows[i].flag);
        else
            assert_null(flag);
    }
}

static void test_policy_names(void **state)
{
    (void)state;
    assert_string_equal(place_policy_name(POLICY_FIT), "fit");
    assert_string_equal(place_policy_name(POLICY_SPREAD), "spread");
    assert_string_equal(place_policy_name((enum place_policy)0), "unknown");
}

/* ---- pinned plans ---- */

static void pin_ok(struct world *w)
{
    (void)w;
}

static void pin_hash(struct world *w)
{
    w->plan->header_hash++;
}

static void pin_ctx(struct world *w)
{
    w->plan->ctx = 0;
}

static void pin_kv(struct world *w)
{
    strcpy(w->plan->kv_type, "what");
}

static void pin_no_ranks(struct world *w)
{
    w->plan->n_ranks = 0;
}

static void pin_many_ranks(struct world *w)
{
    w->plan->n_ranks = SIZE_MAX;
}

static void pin_many_devices(struct world *w)
{
    w->plan->rank[1].n_devices = SIZE_MAX;
}

static void pin_node_gone(struct world *w)
{
    w->plan->rank[1].node.b[15] = 9;
}

static void pin_node_twice(struct world *w)
{
    w->plan->rank[1].node = w->plan->rank[0].node;
}

static void pin_moved(struct world *w)
{
    strcpy(w->node[1].addr, "10.9.9.9");
}

static void pin_flag(struct world *w)
{
    strcpy(w->plan->rank[1].device[0].flag, "RPC0");
}

static void pin_draining(struct world *w)
{
    w->node[1].draining = true;
}

static void pin_build(struct world *w)
{
    strcpy(w->node[1].build, "b2");
}

static void pin_no_file(struct world *w)
{
    w->node[0].has_model = false;
}

static void pin_device_gone(struct world *w)
{
    strcpy(w->node[1].device[0].name, "CUDA0");
}

static void pin_layers(struct world *w)
{
    w->plan->rank[0].device[0].n_layers--;
}

static void pin_too_many_layers(struct world *w)
{
    w->plan->rank[1].device[0].n_layers = UINT32_MAX;
}

static void pin_output(struct world *w)
{
    w->plan->rank[1].device[0].has_output = false;
}

static void pin_local(struct world *w)
{
    w->plan->rank[0].local = true;
}

static void pin_local_behind(struct world *w)
{
    w->plan->rank[1].local = true;
}

static void pin_weights(struct world *w)
{
    w->plan->rank[1].device[0].weight_bytes--;
}

static void pin_low_peak(struct world *w)
{
    w->plan->rank[1].device[0].peak_bytes--;
}

static void pin_low_host(struct world *w)
{
    w->plan->host_bytes--;
}

static void pin_high_peak(struct world *w)
{
    w->plan->rank[1].device[0].peak_bytes = UINT64_MAX;
}

static void pin_no_memory(struct world *w)
{
    w->node[1].host_leased_bytes = 61 * GIB;
}

static void test_pinned_plans(void **state)
{
    static const struct {
        void (*change)(struct world *w);
        int outcome;
        const char *words;
    } rows[] = {
        {pin_ok, 0, ""},
        {pin_hash, PLACE_E_MODEL, "made for another file"},
        {pin_ctx, PLACE_E_MODEL, "lacks ctx"},
        {pin_kv, PLACE_E_MODEL, "cache type what"},
        {pin_no_ranks, PLACE_E_MODEL, "0 ranks"},
        {pin_many_ranks, PLACE_E_MODEL, "ranks: 1 to 16"},
        {pin_many_devices, PLACE_E_MODEL, "rank 1 of the plan has no layers"},
        {pin_node_gone, PLACE_E_TOO_FEW, "n2 of the plan is not there"},
        {pin_node_twice, PLACE_E_MODEL, "two ranks on n1"},
        {pin_moved, PLACE_E_TOO_FEW, "n2 is at 10.9.9.9 now"},
        {pin_flag, PLACE_E_MODEL, "calls CPU of n2 RPC0, not RPC1"},
        {pin_draining, PLACE_E_TOO_FEW, "n2 of the plan cannot be used: draining"},
        {pin_build, PLACE_E_TOO_FEW, "n2 of the plan cannot be used: build b2 is not b1"},
        {pin_no_file, PLACE_E_NO_FILE, "n1 cannot be rank 0"},
        {pin_device_gone, PLACE_E_TOO_FEW, "n2 has no device CPU"},
        {pin_layers, PLACE_E_MODEL, "do not follow one another at rank 1"},
        {pin_too_many_layers, PLACE_E_MODEL, "do not follow one another at rank 1"},
        {pin_output, PLACE_E_MODEL, "do not follow one another at rank 1"},
        {pin_local, PLACE_E_MODEL, "rank 0 in llama-server itself, without a GPU"},
        {pin_local_behind, PLACE_E_MODEL, "rank 1 in llama-server itself"},
        {pin_weights, PLACE_E_MODEL, "not the model's at rank 1"},
        {pin_low_peak, PLACE_E_MODEL, "not the model's at rank 1"},
        {pin_low_host, PLACE_E_MODEL, "too low"},
        {pin_high_peak, PLACE_E_NO_FIT, "missing on n2"},
        {pin_no_memory, PLACE_E_NO_FIT, "missing on n2 for its part of the plan"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;
        char why[PROTO_TEXT_MAX] = "";
        int r;

        begin(&w, 3, 5000000000);
        w.req.nodes = 2;
        expect_ranks(&w, 2);
        rows[i].change(&w);
        r = place_check(w.plan, &w.model, w.node, w.n_nodes, why, sizeof(why));
        if (r != rows[i].outcome || !strstr(why, rows[i].words))
            print_error("row %zu: %d \"%s\"\n", i, r, why);
        assert_int_equal(r, rows[i].outcome);
        assert_non_null(strstr(why, rows[i].words));
        end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_case_17_bands),
        cmocka_unit_test(test_memory_asks_for_more_nodes),
        cmocka_unit_test(test_nodes_asked_for),
        cmocka_unit_test(test_no_fit_says_what_is_missing),
        cmocka_unit_test(test_each_filter_names_whom_and_why),
        cmocka_unit_test(test_the_first_reason_counts),
        cmocka_unit_test(test_one_build_for_all_ranks),
        cmocka_unit_test(test_nobody_to_place_on),
        cmocka_unit_test(test_rank_0_holds_the_file),
        cmocka_unit_test(test_fastest_slowest_link),
        cmocka_unit_test(test_least_fragmentation),
        cmocka_unit_test(test_many_left_out_are_counted),
        cmocka_unit_test(test_two_hundred_nodes),
        cmocka_unit_test(test_offers),
        cmocka_unit_test(test_host_memory_is_not_counted_twice),
        cmocka_unit_test(test_layers_follow_capacity),
        cmocka_unit_test(test_a_small_model_is_split_evenly),
        cmocka_unit_test(test_a_gpu_takes_rank_0_in_llama_server),
        cmocka_unit_test(test_rank_0_local_needs_a_gpu),
        cmocka_unit_test(test_as_few_gpus_as_hold_it),
        cmocka_unit_test(test_two_devices_on_one_worker),
        cmocka_unit_test(test_memory_limit_of_a_gpu_node),
        cmocka_unit_test(test_unified_memory_is_the_hosts),
        cmocka_unit_test(test_models_that_cannot_be_served),
        cmocka_unit_test(test_arguments_count),
        cmocka_unit_test(test_owned_flags),
        cmocka_unit_test(test_policy_names),
        cmocka_unit_test(test_pinned_plans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
