#include "controller/core/loading.h"

#include <inttypes.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/sat.h"
#include "common/core/text.h"
#include "common/core/units.h"
#include "controller/core/effects.h"
#include "controller/core/flows.h"
#include "controller/core/lifecycle.h"
#include "controller/core/nodes.h"
#include "controller/core/sentence.h"

/* ---- proof ------------------------------------------------------------------------------------------------------ */

static bool same_bytes(uint64_t a, uint64_t b)
{
    return (a > b ? a - b : b - a) <= PROOF_TOLERANCE_BYTES;
}

static bool device_proven(const struct instance *i, size_t r, size_t d)
{
    return same_bytes(i->run.rank[r].model_bytes[d], i->plan->rank[r].device[d].weight_bytes);
}

uint64_t loading_planned_bytes(const struct instance *i, size_t r)
{
    uint64_t sum = 0;

    for (size_t d = 0; d < i->plan->rank[r].n_devices; d++)
        sum += i->plan->rank[r].device[d].weight_bytes;
    return sum;
}

bool loading_proven(const struct instance *i, size_t r)
{
    /* The log does not number the buffers of the coordinator's own process; its host's are among them. So: at least. */
    if (i->plan->rank[r].local)
        return i->run.local_model_bytes + PROOF_TOLERANCE_BYTES >= loading_planned_bytes(i, r);
    for (size_t d = 0; d < i->plan->rank[r].n_devices; d++) {
        if (!device_proven(i, r, d))
            return false;
    }
    return true;
}

static int trouble_mismatch(struct step *s, struct instance *i, size_t r, uint64_t seen, uint64_t planned)
{
    char has[32], wants[32];

    sentence_mib(has, sizeof(has), seen);
    sentence_mib(wants, sizeof(wants), planned);
    return err_fold(lifecycle_trouble(s, i, &i->plan->rank[r].node, "rank_mismatch",
                                      "rank %zu on %s holds %s, the plan says %s", r, i->plan->rank[r].node_name, has,
                                      wants));
}

/* Names the first rank that is not as planned. all: what was not seen by now counts as nothing. */
static int find_mismatch(struct step *s, struct instance *i, bool all, bool *ret_found)
{
    for (size_t r = 0; r < i->run.n_ranks; r++) {
        const struct plan_rank *rank = &i->plan->rank[r];

        if (rank->local) {
            if (!all || loading_proven(i, r))
                continue;
            *ret_found = true;
            return err_fold(trouble_mismatch(s, i, r, i->run.local_model_bytes, loading_planned_bytes(i, r)));
        }
        for (size_t d = 0; d < rank->n_devices; d++) {
            uint64_t seen = i->run.rank[r].model_bytes[d];

            if (device_proven(i, r, d) || (!seen && !all))
                continue;
            *ret_found = true;
            return err_fold(trouble_mismatch(s, i, r, seen, rank->device[d].weight_bytes));
        }
    }
    return 0;
}

static bool all_proven(const struct instance *i)
{
    for (size_t r = 0; r < i->run.n_ranks; r++) {
        if (!loading_proven(i, r))
            return false;
    }
    return true;
}

/* Where a logged endpoint belongs; false: nowhere in the plan. */
static bool find_endpoint(const struct instance *i, const struct rank_buffers *b, size_t *ret)
{
    for (size_t r = 0; r < i->run.n_ranks; r++) {
        if (!i->plan->rank[r].local && !strcmp(i->run.rank[r].endpoint, b->endpoint)) {
            *ret = r;
            return b->device < i->plan->rank[r].n_devices;
        }
    }
    return false;
}

static int take_buffers(struct step *s, struct instance *i, const struct agent_event_facts *ev)
{
    bool found = false;
    uint64_t local = 0;

    for (size_t k = 0; k < ev->n_buffers; k++) {
        const struct rank_buffers *b = &ev->buffers[k];
        size_t r;

        if (!b->endpoint[0]) {
            local += b->model_bytes;
            continue;
        }
        if (!find_endpoint(i, b, &r))
            return err_fold(lifecycle_trouble(s, i, &i->plan->rank[0].node, "rank_mismatch",
                                              "the coordinator uses device %" PRIu32 " of %s, which is not in the plan",
                                              b->device, b->endpoint));
        if (b->model_bytes)
            i->run.rank[r].model_bytes[b->device] = b->model_bytes;
        if (b->model_bytes + b->kv_bytes + b->compute_bytes > i->run.rank[r].held_bytes[b->device])
            i->run.rank[r].held_bytes[b->device] = b->model_bytes + b->kv_bytes + b->compute_bytes;
    }
    if (local > i->run.local_model_bytes)
        i->run.local_model_bytes = local;
    return err_fold(find_mismatch(s, i, false, &found));
}

/* ---- the way to ready ------------------------------------------------------------------------------------------- */

static uint64_t resident_bytes(const struct instance *i, size_t r)
{
    return i->plan->rank[r].local ? i->run.coordinator_rss_bytes : i->run.rank[r].rss_bytes;
}

static void begin_load(struct step *s, struct instance *i, const char *addr, uint16_t port)
{
    struct run *run = &i->run;

    if (port && !run->coordinator_port) {
        run->coordinator_port = port;
        text_format(run->coordinator_addr, sizeof(run->coordinator_addr), "%s", addr[0] ? addr : i->plan->rank[0].addr);
    }
    if (run->load_began)
        return;
    run->load_began = true;
    run->load_began_ms = run->growth_ms = s->now_ms;
    run->stall_ms = s->now_ms + s->c->config.load_stall_ms;
    for (size_t r = 0; r < run->n_ranks; r++) {
        run->rank[r].began_bytes = resident_bytes(i, r);
        flows_loaded(i, r, &run->rank[r].began_got_bytes);
    }
}

static int ask_token(struct step *s, struct instance *i)
{
    i->run.warm_again = false;
    i->run.warm_ms = s->now_ms + s->c->config.warm_up_ms;
    return err_fold(fx_warm_up(s, i));
}

/* Ranks proven and listening: only then may a token be asked of it. */
static int maybe_warm_up(struct step *s, struct instance *i)
{
    struct run *run = &i->run;

    if (i->state != INSTANCE_LOADING || run->warming || !run->listening || !run->coordinator_port || !all_proven(i))
        return 0;
    run->warming = true;
    run->proof_ms = UINT64_MAX;
    return err_fold(ask_token(s, i));
}

int loading_started(struct step *s, struct instance *i, const char *addr, uint16_t port)
{
    begin_load(s, i, addr, port);
    return err_fold(maybe_warm_up(s, i));
}

int loading_event(struct step *s, struct instance *i, const struct agent_event_facts *ev)
{
    struct run *run = &i->run;
    int r = 0;

    if (i->state != INSTANCE_LOADING || run->warming)
        return 0;
    run->coordinator.deadline_ms = UINT64_MAX; /* it lives, though its answer may not have come yet */
    /* behind a carrier only the answer says where that listens */
    if (plan_is_tunnel(i->plan))
        begin_load(s, i, "", 0);
    else
        begin_load(s, i, ev->unit.addr, ev->unit.port);
    if (ev->kind == AGENT_EVENT_RANK_BUFFERS)
        r = take_buffers(s, i, ev);
    if (!r && ev->kind == AGENT_EVENT_LISTENING && !run->listening) {
        run->listening = true;
        run->stall_ms = UINT64_MAX;
        run->proof_ms = s->now_ms + PROOF_MS;
    }
    if (r)
        return err_fold(r);
    return err_fold(maybe_warm_up(s, i));
}

int loading_warmed(struct step *s, struct instance *i, bool ok, const char *text)
{
    int r;

    if (i->state != INSTANCE_LOADING || i->run.warm_ms == UINT64_MAX || i->run.warm_again)
        return 0;
    i->run.warm_again = !ok && nodes_quiet(s);
    i->run.warm_ms = i->run.warm_again ? s->c->numbers.quiet_ms : UINT64_MAX;
    if (i->run.warm_again)
        return 0;
    if (!ok)
        return err_fold(
            lifecycle_trouble(s, i, NULL, "warm_up_failed", "the first token did not come: %s", text ? text : ""));
    i->served = true; /* as it will be once that is durable */
    if (i->run.placed_ms)
        i->load_ms = s->now_ms - i->run.placed_ms;
    r = record_instance(s, i, INSTANCE_READY, false);
    if (r)
        return err_fold(r);
    return err_fold(step_then(s, INTENT_READY, i, i->deploy_task));
}

int loading_timed_out(struct step *s, struct instance *i)
{
    const struct run *run = &i->run;
    bool found = false;
    int r;

    if (run->proof_ms <= s->now_ms) {
        r = find_mismatch(s, i, true, &found);
        if (r || found)
            return err_fold(r);
        return err_fold(lifecycle_trouble(s, i, &i->plan->rank[0].node, "bad_answer",
                                          "the agent on %s did not say where its coordinator listens",
                                          i->plan->rank[0].node_name));
    }
    if (run->warm_ms <= s->now_ms && run->warm_again)
        return err_fold(ask_token(s, i));
    if (run->warm_ms <= s->now_ms)
        return err_fold(lifecycle_trouble(s, i, NULL, "warm_up_timeout",
                                          "the first token did not come within %" PRIu64 " s",
                                          s->c->config.warm_up_ms / 1000));
    return err_fold(lifecycle_trouble(s, i, NULL, "load_stalled",
                                      "the load has not moved for %" PRIu64
                                      " s: no rank %s and the coordinator on %s did nothing",
                                      s->c->config.load_stall_ms / 1000,
                                      plan_is_tunnel(i->plan) ? "got anything" : "grew", i->plan->rank[0].node_name));
}

/* ---- movement --------------------------------------------------------------------------------------------------- */

/* The coordinator answers /health while it hangs, so a little CPU time is no movement (detection, section 1). */
static bool worked(const struct run *run, uint64_t cpu_ms, uint64_t now_ms)
{
    return cpu_ms >= run->growth_cpu_ms + 50 + (now_ms - run->growth_ms) / 50;
}

static void grew(struct step *s, struct instance *i, uint64_t cpu_ms)
{
    i->run.growth_ms = s->now_ms;
    i->run.growth_cpu_ms = cpu_ms;
    if (i->run.stall_ms != UINT64_MAX)
        i->run.stall_ms = s->now_ms + s->c->config.load_stall_ms;
}

void loading_flow(struct step *s, struct instance *i, size_t rank)
{
    struct rank *r = &i->run.rank[rank];
    uint64_t got;

    if (!flows_loaded(i, rank, &got) || sat_sub(got, r->got_growth_bytes) <= LOAD_GROWTH_BYTES)
        return; /* let small steps add up */
    grew(s, i, i->run.growth_cpu_ms);
    r->got_growth_bytes = got;
}

void loading_sample(struct step *s, struct instance *i, const struct unit_facts *u)
{
    struct run *run = &i->run;
    bool coordinator = u->role == UNIT_COORDINATOR;
    uint64_t *rss = NULL, *growth = NULL, got;

    if (coordinator) {
        rss = &run->coordinator_rss_bytes;
        growth = &run->coordinator_growth_bytes;
    } else if (u->role == UNIT_WORKER && u->rank >= 0 && (size_t)u->rank < run->n_ranks) {
        rss = &run->rank[u->rank].rss_bytes;
        growth = &run->rank[u->rank].growth_bytes;
    }
    if (!rss)
        return;
    *rss = u->rss_bytes;
    if (!coordinator && flows_loaded(i, (size_t)u->rank, &got))
        return; /* what it holds moves by what it gets, or by nothing of ours */
    if (coordinator && worked(run, u->cpu_ms, s->now_ms))
        grew(s, i, u->cpu_ms);
    else if (u->rss_bytes > *growth + LOAD_GROWTH_BYTES)
        grew(s, i, coordinator ? u->cpu_ms : run->growth_cpu_ms);
    else if (u->rss_bytes >= *growth)
        return; /* let small steps add up */
    *growth = u->rss_bytes;
}

uint64_t loading_loaded_bytes(const struct instance *i, size_t r)
{
    uint64_t bytes;

    if (i->plan->rank[r].local || !flows_loaded(i, r, &bytes))
        bytes = resident_bytes(i, r);
    return sat_min(bytes, loading_planned_bytes(i, r));
}

/* By the measure that counts for it now. */
static uint64_t began_bytes(const struct instance *i, size_t r)
{
    uint64_t got;

    return i->plan->rank[r].local || !flows_loaded(i, r, &got) ? i->run.rank[r].began_bytes
                                                               : i->run.rank[r].began_got_bytes;
}

void loading_text(const struct instance *i, char *buf, size_t size)
{
    uint64_t loaded = 0, planned = 0, fed = 0;
    bool told = false;

    buf[0] = '\0';
    for (size_t r = 0; r < i->run.n_ranks; r++) {
        const struct rank_flow *f = flows_at_worker(i, r);

        loaded += loading_loaded_bytes(i, r);
        planned += loading_planned_bytes(i, r);
        fed = sat_add(fed, f ? f->fed_bytes : 0);
        told |= f != NULL;
    }
    if (!told)
        return;
    text_format(buf, size, "loading: %s of %s", UNITS_MEMORY(loaded), UNITS_MEMORY(planned));
    if (fed)
        sentence_add(buf, size, ", %s of it from the nodes' own files", UNITS_MEMORY(sat_min(fed, loaded)));
}

uint32_t loading_progress(const struct instance *i, uint64_t now_ms, uint64_t *eta_ms)
{
    uint64_t loaded = 0, planned = 0, done = 0, took_ms;

    *eta_ms = UINT64_MAX;
    if (i->state == INSTANCE_READY || i->state == INSTANCE_DRAINING) {
        *eta_ms = 0;
        return 1000;
    }
    if (i->state != INSTANCE_LOADING || !i->run.load_began)
        return 0;
    for (size_t r = 0; r < i->run.n_ranks; r++) {
        loaded += loading_loaded_bytes(i, r);
        planned += loading_planned_bytes(i, r);
        done += sat_sub(loading_loaded_bytes(i, r), began_bytes(i, r));
    }
    took_ms = now_ms - i->run.load_began_ms;
    if (done)
        *eta_ms = (uint64_t)((double)(planned - loaded) / (double)done * (double)took_ms);
    return planned ? (uint32_t)((double)loaded / (double)planned * 999.0) : 0; /* 1000 is `ready` */
}
