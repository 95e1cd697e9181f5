#include "controller/core/placement.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/units.h"
#include "controller/core/placement_choose.h"
#include "controller/core/placement_filter.h"
#include "controller/core/placement_fit.h"
#include "controller/core/placement_plan.h"
#include "controller/core/placement_request.h"

/* One computation. The scratch arrays hold one entry per node. */
struct work {
    const struct place_request *req;
    const struct model_facts *model;
    const struct place_node **node; /* all, sorted by id */
    size_t n_nodes;
    struct fit_node *fit;
    struct choose_pool pool;
    struct fit_problem problem;
    uint32_t most_devices; /* of any node in the pool */
    struct plan *plan;     /* being made */
    size_t n_first_notes;  /* those that do not depend on the build */
};

/* ---- filters ---- */

/* Nodes beyond that are counted, not named: the outcome, which comes last, must be found. */
enum { NOTES_LEFT_OUT_MAX = 24 };

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

/* The RPC version that the others are held against: the coordinator's. */
static struct rpc_version reference_rpc(const struct work *w, const char *build)
{
    for (size_t i = 0; i < w->n_nodes; i++) {
        const struct place_node *n = w->node[i];

        if (!filter_node(n) && strcmp(n->build, build) == 0 && w->fit[i].can_lead && n->rpc.major)
            return n->rpc;
    }
    return (struct rpc_version){0};
}

/* A node that is too small for any part stays in the pool, where it is never chosen: what it lacks belongs to what a
 * model that fits nowhere is missing. */
static bool is_too_small(const struct work *w, const struct fit_node *f, char *why, size_t size)
{
    uint64_t least;

    if (fit_holds_a_layer(&w->problem, f, &least))
        return false;
    snprintf(why, size, "it offers %s, one layer needs %s", UNITS_MEMORY(f->total_offer_bytes), UNITS_MEMORY(least));
    return true;
}

/* Fills the pool with what may serve under this build, and notes whom it drops and why. */
static void filter(struct work *w, const char *build)
{
    struct rpc_version rpc = reference_rpc(w, build);
    size_t n_unnamed = 0;

    w->pool.n = 0;
    w->most_devices = 1;
    w->problem.max_devices = PROTO_DEVICES_MAX;
    for (size_t i = 0; i < w->n_nodes; i++) {
        char why[PROTO_TEXT_MAX];

        filter_beside(w->node[i], build, &rpc, why, sizeof(why));
        if (!why[0]) {
            w->pool.by_size[w->pool.n] = w->pool.by_taste[w->pool.n] = &w->fit[i];
            w->pool.n++;
            if (w->fit[i].n_devices > w->most_devices)
                w->most_devices = (uint32_t)w->fit[i].n_devices;
            if (!is_too_small(w, &w->fit[i], why, sizeof(why)))
                continue;
        }
        if (w->plan->n_notes < NOTES_LEFT_OUT_MAX)
            plan_note(w->plan, "%s left out: %s", w->node[i]->name, why);
        else
            n_unnamed++;
    }
    if (n_unnamed)
        plan_note(w->plan, "%zu more node%s left out", n_unnamed, plural(n_unnamed));
    choose_pool_sort(&w->pool);
}

/* ---- world sizes ---- */

struct worlds {
    size_t n;
    uint32_t size[PROTO_RANKS_MAX + 3];
};

static void worlds_add(struct worlds *v, uint32_t size, const struct work *w)
{
    if (size > w->pool.n || size > w->model->shape->n_layer)
        return;
    for (size_t i = 0; i < v->n; i++) {
        if (v->size[i] == size)
            return;
    }
    v->size[v->n++] = size;
}

/* The counts to try, in order. Design, "Sizing and ranks", 1 and 2. */
static struct worlds worlds_of(const struct work *w)
{
    const struct plan *plan = w->plan;
    struct worlds v = {0};

    if (plan->wanted_nodes) {
        worlds_add(&v, plan->wanted_nodes, w);
        return v;
    }
    for (uint32_t size = 4; plan->policy == POLICY_SPREAD && size; size /= 2) {
        if (size <= plan->band)
            worlds_add(&v, size, w);
    }
    for (uint32_t size = 1; size <= 4; size *= 2)
        worlds_add(&v, size, w);
    for (uint32_t size = 1; size <= PROTO_RANKS_MAX; size++)
        worlds_add(&v, size, w);
    return v;
}

/* One node under `fit` uses as few of its devices as hold it: each costs a hop per token. */
static bool choose_world(struct work *w, uint32_t size, const struct fit_node **ret)
{
    bool few = size == 1 && w->plan->policy == POLICY_FIT;
    struct fit_problem *p = &w->problem;

    for (p->max_devices = few ? 1 : w->most_devices; p->max_devices <= w->most_devices; p->max_devices++) {
        if (choose_nodes(p, &w->pool, size, ret))
            return true;
    }
    return false;
}

/* ---- outcomes ---- */

/* What a size that was tried lacks, and where: "4.1 GiB missing on n1". "" where that cannot be said. */
static const char *shortage(const struct work *w, uint32_t size, uint64_t *ret_missing, char *buf, size_t buf_size)
{
    const struct fit_node *set[PROTO_RANKS_MAX];
    struct fit_problem p = w->problem;
    uint64_t missing[PROTO_RANKS_MAX];
    size_t used;

    buf[0] = '\0';
    *ret_missing = UINT64_MAX;
    if (!choose_largest(&w->pool, size, set))
        return buf;
    p.max_devices = w->most_devices;
    *ret_missing = fit_missing(&p, set, size, missing);
    used = (size_t)snprintf(buf, buf_size, "%s missing on", UNITS_MEMORY(*ret_missing));
    for (uint32_t i = 0; i < size && used < buf_size; i++) {
        if (missing[i])
            used += (size_t)snprintf(buf + used, buf_size - used, " %s", set[i]->node->name);
    }
    if (used >= buf_size)
        plan_trim(buf);
    return buf;
}

static void note_choice(struct work *w, uint32_t size, const struct worlds *v, size_t tried)
{
    struct plan *plan = w->plan;
    uint64_t missing;
    char text[128];

    if (plan->wanted_nodes)
        return;
    if (plan->policy == POLICY_SPREAD && size <= plan->band)
        plan_note(plan, "policy spread: %" PRIu32 " node%s, the most of 1, 2, 4 that size and cluster allow", size,
                  plural(size));
    else if (tried == 0)
        plan_note(plan, "policy %s: %" PRIu32 " node%s, the fewest that hold it", place_policy_name(plan->policy), size,
                  plural(size));
    else
        plan_note(plan, "policy %s: %" PRIu32 " node%s hold%s it, %" PRIu32 " %s not (%s)",
                  place_policy_name(plan->policy), size, plural(size), size == 1 ? "s" : "", v->size[tried - 1],
                  v->size[tried - 1] == 1 ? "does" : "do",
                  shortage(w, v->size[tried - 1], &missing, text, sizeof(text)));
    if (size > plan->band)
        plan_note(plan, "its size asks for up to %" PRIu32 " node%s, its memory for %" PRIu32, plan->band,
                  plural(plan->band), size);
}

/* Nothing holds it: what would the set that lacks least need? */
static int no_fit(struct work *w, const struct worlds *v)
{
    uint64_t missing;
    uint32_t best = 0;
    char text[128];

    w->plan->missing_bytes = UINT64_MAX;
    for (size_t i = 0; i < v->n; i++) {
        shortage(w, v->size[i], &missing, text, sizeof(text));
        if (missing < w->plan->missing_bytes) {
            w->plan->missing_bytes = missing;
            best = v->size[i];
        }
    }
    plan_note(w->plan, "no set of nodes holds %s: over %" PRIu32 " node%s, %s", w->plan->model, best, plural(best),
              shortage(w, best, &missing, text, sizeof(text)));
    return PLACE_E_NO_FIT;
}

/* Before anything is tried: is there somebody to try it with? */
static int check_pool(struct work *w)
{
    struct plan *plan = w->plan;
    bool can_lead = false;

    for (size_t i = 0; i < w->pool.n; i++)
        can_lead |= w->pool.by_size[i]->can_lead;
    if (w->pool.n < (plan->wanted_nodes ? plan->wanted_nodes : 1)) {
        plan_note(plan, "%zu node%s can be used, %" PRIu32 " needed", w->pool.n, plural(w->pool.n),
                  plan->wanted_nodes ? plan->wanted_nodes : 1);
        return PLACE_E_TOO_FEW;
    }
    if (can_lead)
        return 0;
    if (w->problem.rank0 == RANK0_LOCAL)
        plan_note(plan, "no usable node with a GPU holds %s and can run llama-server (rank0 = local)", plan->model);
    else
        plan_note(plan, "no usable node holds %s and can run llama-server: copy the file to one, %s for instance",
                  plan->model, w->pool.by_size[0]->node->name);
    return PLACE_E_NO_FILE;
}

/* The whole computation among the nodes of one build. */
static int place_with_build(struct work *w, const char *build)
{
    const struct fit_node *set[PROTO_RANKS_MAX];
    struct worlds v;
    int r;

    w->plan->n_notes = w->n_first_notes;
    snprintf(w->plan->build, sizeof(w->plan->build), "%s", build);
    filter(w, build);
    r = check_pool(w);
    if (r)
        return r;
    v = worlds_of(w);
    for (size_t i = 0; i < v.n; i++) {
        if (choose_world(w, v.size[i], set)) {
            note_choice(w, v.size[i], &v, i);
            plan_fill(w->plan, &w->problem, set, v.size[i]);
            return 0;
        }
    }
    return no_fit(w, &v);
}

/* ---- builds ---- */

/* The build to try next: of those after *rank in the order (can lead, most nodes, name). NULL: no more. */
struct build_rank {
    const char *build;
    bool can_lead;
    size_t n;
};

static int compare_builds(const struct build_rank *a, const struct build_rank *b)
{
    if (a->can_lead != b->can_lead)
        return a->can_lead ? -1 : 1;
    if (a->n != b->n)
        return a->n > b->n ? -1 : 1;
    return strcmp(a->build, b->build);
}

static struct build_rank rank_build(const struct work *w, const char *build)
{
    struct build_rank rank = {.build = build};

    for (size_t i = 0; i < w->n_nodes; i++) {
        if (filter_node(w->node[i]) || strcmp(w->node[i]->build, build) != 0)
            continue;
        rank.n++;
        rank.can_lead |= w->fit[i].can_lead;
    }
    return rank;
}

static bool next_build(const struct work *w, struct build_rank *rank)
{
    struct build_rank best = {0};

    for (size_t i = 0; i < w->n_nodes; i++) {
        struct build_rank r = rank_build(w, w->node[i]->build);

        if (r.n && (!rank->build || compare_builds(&r, rank) > 0) && (!best.build || compare_builds(&r, &best) < 0))
            best = r;
    }
    *rank = best;
    return best.build != NULL;
}

/* All ranks run one build. The build of most nodes is tried first; another one only where that one cannot do it. */
static int place_with_builds(struct work *w)
{
    struct build_rank rank = {0};
    char first[PROTO_NAME_MAX] = "";
    int r, outcome = 0;

    while (next_build(w, &rank)) {
        r = place_with_build(w, rank.build);
        if (r == 0)
            return 0;
        if (outcome) /* said by the first one, which has the most nodes */
            continue;
        outcome = r;
        snprintf(first, sizeof(first), "%s", rank.build);
    }
    return place_with_build(w, first);
}

/* ---- the whole ---- */

static int compare_nodes(const void *a, const void *b)
{
    const struct place_node *const *x = a, *const *y = b;

    return id128_compare(&(*x)->id, &(*y)->id);
}

static void work_clear(struct work *w)
{
    free(w->node);
    free(w->fit);
    free(w->pool.by_size);
    free(w->pool.by_taste);
    free(w->plan);
}

static int work_init(struct work *w, const struct place_request *req, const struct model_facts *model,
                     const struct place_node *nodes, size_t n)
{
    size_t room = n ? n : 1;

    *w = (struct work){.req = req, .model = model, .n_nodes = n};
    w->node = calloc(room, sizeof(*w->node));
    w->fit = calloc(room, sizeof(*w->fit));
    w->pool.by_size = calloc(room, sizeof(*w->pool.by_size));
    w->pool.by_taste = calloc(room, sizeof(*w->pool.by_taste));
    w->plan = calloc(1, sizeof(*w->plan));
    if (!w->node || !w->fit || !w->pool.by_size || !w->pool.by_taste || !w->plan)
        return err_raise(-ENOMEM);
    w->problem.shape = model->shape;
    w->problem.rank0 = req->rank0 ? req->rank0 : RANK0_AUTO;
    for (size_t i = 0; i < n; i++)
        w->node[i] = &nodes[i];
    qsort(w->node, n, sizeof(w->node[0]), compare_nodes);
    for (size_t i = 0; i < n; i++)
        fit_node_init(&w->fit[i], w->node[i], w->problem.rank0);
    return 0;
}

static void plan_begin(struct work *w)
{
    const struct place_request *req = w->req;
    const struct model_facts *model = w->model;
    struct plan *plan = w->plan;

    snprintf(plan->model, sizeof(plan->model), "%s", model->name);
    snprintf(plan->alias, sizeof(plan->alias), "%s", req->alias);
    plan->model_bytes = model->size_bytes;
    plan->header_hash = model->header_hash;
    plan->n_layer = model->shape->n_layer;
    plan->policy = req->policy ? req->policy : POLICY_FIT;
    plan->band = plan_band(model->size_bytes);
    plan->wanted_nodes = req->nodes;
}

static int check_nodes(const struct plan *plan, char *why, size_t size)
{
    if (plan->wanted_nodes <= PROTO_RANKS_MAX && plan->wanted_nodes <= plan->n_layer)
        return 0;
    snprintf(why, size, "--nodes %" PRIu32 ": at most %d, and one per layer (%" PRIu32 ")", plan->wanted_nodes,
             PROTO_RANKS_MAX, plan->n_layer);
    return PLACE_E_MODEL;
}

static void note_request(struct work *w, uint32_t default_ctx)
{
    struct plan *plan = w->plan;
    const char *uncounted = place_uncounted_arg(w->req);

    if (!w->req->ctx && plan->ctx == default_ctx)
        plan_note(plan, "context %" PRIu32 " by default: --ctx sets it", plan->ctx);
    else if (!w->req->ctx)
        plan_note(plan, "context %" PRIu32 ": %" PRIu32 ", the default, does not fit; --ctx sets it", plan->ctx,
                  default_ctx);
    if (uncounted)
        plan_note(plan, "what %s takes is not counted", uncounted);
    plan_note_band(plan);
    w->n_first_notes = plan->n_notes;
}

/* Places it with a context of at most most_ctx, where none was asked for. */
static int place_with_context(struct work *w, uint32_t most_ctx)
{
    struct memory_run *run = &w->problem.run;
    struct plan *plan = w->plan;
    char why[sizeof(plan->note[0])];
    uint32_t default_ctx;
    int r = place_resolve(w->req, w->model, run, plan->kv_type, why, sizeof(why));

    plan->n_notes = 0;
    if (!r)
        r = check_nodes(plan, why, sizeof(why));
    if (r) {
        plan_note(plan, "%s", why);
        return r;
    }
    default_ctx = run->ctx;
    if (!w->req->ctx && run->ctx > most_ctx)
        run->ctx = most_ctx;
    plan->ctx = run->ctx;
    plan->slots = run->slots;
    plan->batch = run->batch;
    plan->ubatch = run->ubatch;
    plan->missing_bytes = 0;
    note_request(w, default_ctx);
    return place_with_builds(w);
}

/* A context that nobody asked for must not be what a model fails for: half of it is tried, and half of that. */
static int place_with_contexts(struct work *w)
{
    int r = PLACE_E_NO_FIT;

    for (uint32_t ctx = PLACE_CTX_DEFAULT; r == PLACE_E_NO_FIT && ctx >= PLACE_CTX_LEAST; ctx /= 2) {
        r = place_with_context(w, ctx);
        if (w->req->ctx)
            break;
    }
    return r;
}

int place_compute(const struct place_request *req, const struct model_facts *model, const struct place_node *nodes,
                  size_t n_nodes, struct plan **ret)
{
    CLEANUP(work_clear) struct work w;
    int r = work_init(&w, req, model, nodes, n_nodes);

    if (r < 0)
        return err_pass(r);
    plan_begin(&w);
    r = place_with_contexts(&w);
    *ret = w.plan;
    w.plan = NULL;
    return r;
}

const char *place_transport_name(enum place_transport t)
{
    switch (t) {
    case TRANSPORT_DIRECT:
        return "direct";
    case TRANSPORT_TUNNEL:
        return "tunnel";
    }
    return "unknown";
}

const char *place_policy_name(enum place_policy p)
{
    switch (p) {
    case POLICY_FIT:
        return "fit";
    case POLICY_SPREAD:
        return "spread";
    }
    return "unknown";
}
