#include "agent/carrier_told.h"

#include <errno.h>
#include <string.h>

#include "common/core/text.h"
#include "common/log.h"

static const char STALE[] = "stale", UNREAD[] = "figures";

void carrier_told_clear(struct carrier_told *f)
{
    figures_reader_destroy(&f->reader);
    *f = (struct carrier_told){0};
}

/* why: one of the above, or NULL: all is well. What is not said for now is said later, if it is still so. */
static void say(struct carrier_told *f, const char *unit, const char *why, uint64_t now_ms)
{
    if (why == f->why)
        return;
    if (!why) {
        log_info("figures.read", "unit=%s text=\"they are read again\"", unit);
    } else {
        if (!seldom_count(&f->said, now_ms))
            return;
        log_warn("figures.unread", "unit=%s why=%s text=\"%s: hangs and loads of its ranks are judged without it\"",
                 unit, why,
                 why == STALE ? "the carrier has stopped telling" : "of another build, damaged, or not to be opened");
    }
    f->why = why;
}

/* What waited may have been answered long ago, and ages stand still. */
static void make_stale(struct figures *f)
{
    for (size_t i = 0; i < f->n_flows; i++) {
        struct rank_flow *flow = &f->flow[i];

        flow->oldest[0] = '\0';
        flow->oldest_ms = flow->held_bytes = flow->held_ms = 0;
        text_copy(flow->blind, sizeof(flow->blind), STALE);
    }
}

int carrier_told_read(struct carrier_told *f, const char *path, const char *unit, uint64_t now_ms, struct figures *ret)
{
    int r = f->reader ? 0 : figures_open(path, &f->reader);

    if (r == -ENOENT && !f->reader)
        return CARRIER_TOLD_E_NONE; /* it is being made; of a carrier that cannot make it nothing comes */
    if (r == 0)
        r = figures_read(f->reader, now_ms, ret);
    if (r == FIGURES_E_NONE)
        return CARRIER_TOLD_E_NONE; /* the writer was met */
    if (r == FIGURES_E_LATE)
        make_stale(ret);
    say(f, unit, r == 0 ? NULL : r == FIGURES_E_LATE ? STALE : UNREAD, now_ms);
    return r == 0 || r == FIGURES_E_LATE ? 0 : CARRIER_TOLD_E_UNREAD;
}

/* A worker beside its coordinator is dialled as it is: there the coordinator's carrier speaks for both ends. */
static bool is_here(const char *endpoint)
{
    return !strncmp(endpoint, "127.", 4) || !strncmp(endpoint, "[::1]", 5);
}

static void add(struct figures *f, int32_t rank, bool at_worker)
{
    struct rank_flow *flow = &f->flow[f->n_flows++];

    *flow = (struct rank_flow){.rank = (uint32_t)rank, .at_worker = at_worker};
    text_copy(flow->blind, sizeof(flow->blind), UNREAD);
}

void carrier_told_unread(const struct unit_facts *of, const struct control_answer *routes, struct figures *ret)
{
    *ret = (struct figures){.n_flows = 0};
    if (of->role == UNIT_WORKER && of->rank >= 0)
        add(ret, of->rank, true);
    for (size_t i = 0; of->role == UNIT_COORDINATOR && i < routes->n_routes; i++)
        add(ret, routes->route[i].rank, is_here(routes->route[i].endpoint));
}
