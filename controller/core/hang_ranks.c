/* P1 and P3: one rank, or its carrier, is accused by what its own node says of it. */
#include <inttypes.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/flows.h"
#include "controller/core/hang.h"
#include "controller/core/hang_facts.h"
#include "controller/core/lifecycle.h"

uint64_t hang_frozen_ms(const struct cluster *c, const struct instance *i, size_t rank)
{
    const struct unit_facts *u = hang_worker(c, i, rank);

    return u ? u->frozen_ms : 0;
}

static int accuse(struct step *s, struct instance *i, size_t k, const struct unit_facts *u, const char *what)
{
    return err_fold(lifecycle_trouble(s, i, &i->plan->rank[k].node, "rank_hung", "rank %zu on %s hangs: %s%s", k,
                                      i->plan->rank[k].node_name, what,
                                      u->proc_state == 'T' ? "; its process is stopped (state T)" : ""));
}

static int accuse_frozen(struct step *s, struct instance *i, size_t k, const struct unit_facts *u)
{
    char what[PROTO_TEXT_MAX / 2];

    text_format(what, sizeof(what), "for %" PRIu64 " s it has read nothing of what waits for it and used no CPU time",
                (u->frozen_ms + HANG_EARLY_MS) / 1000);
    hang_say_waits(i, k, "; ", what, sizeof(what));
    return err_fold(accuse(s, i, k, u, what));
}

static int accuse_owing(struct step *s, struct instance *i, size_t k, const struct unit_facts *u)
{
    char what[PROTO_TEXT_MAX / 2] = "";

    hang_say_waits(i, k, "", what, sizeof(what));
    return err_fold(accuse(s, i, k, u, what));
}

/* Nothing passes through it, and nobody else would ever say so: while no request is in flight no rank owes anything, and one
 * that the gateway cannot bring in counts as none. */
static int accuse_carrier(struct step *s, struct instance *i, size_t k, const struct unit_facts *u)
{
    char who[PROTO_NAME_MAX + 64];

    lifecycle_unit_name(i, UNIT_CARRIER, k, who, sizeof(who));
    return err_fold(lifecycle_trouble(s, i, &i->plan->rank[k].node, "carrier_hung",
                                      "%s hangs: it has been stopped (state T) for %" PRIu64 " s", who,
                                      (u->frozen_ms + HANG_EARLY_MS) / 1000));
}

/* Has the worker done nothing since it was last looked at? Asked with each word of its carrier: by samples of our own, a
 * second apart, the clock would begin late. */
static bool rests(const struct cluster *c, struct instance *i, size_t k, const struct unit_facts *u)
{
    uint64_t before = i->run.hang.rests_cpu_ms[k];

    i->run.hang.rests_cpu_ms[k] = u->cpu_ms;
    return u->cpu_ms == before && u->proc_state != 'D' && !hang_devices_work(hang_node(c, i, k), &i->plan->rank[k]);
}

/* Only what is new says that it still waits: of a node whose agent is stuck the last word may be that of a healthy rank. */
static bool owes_an_answer(struct step *s, struct instance *i, size_t k, const struct unit_facts *u)
{
    const struct rank_flow *f = flows_at_worker(i, k);
    struct hang *h = &i->run.hang;

    if (!u || !f || flows_told_ms(i, k) != s->now_ms)
        return false;
    if (!rests(s->c, i, k, u))
        h->rests_ms[k] = s->now_ms;
    return f->oldest[0] && f->oldest_ms + HANG_EARLY_MS >= HANG_MS &&
           s->now_ms - h->rests_ms[k] + HANG_EARLY_MS >= HANG_MS;
}

static bool is_frozen(const struct unit_facts *u)
{
    return u && u->frozen_ms + HANG_EARLY_MS >= HANG_MS;
}

int hang_check_ranks(struct step *s, struct instance *i)
{
    struct hang *h = &i->run.hang;

    if (!hang_watches(i))
        return 0;
    if (hang_is_disturbed(s->c, i))
        hang_clocks_restart(h, s->now_ms);
    for (size_t k = 0; k < i->run.n_ranks; k++) {
        const struct unit_facts *u = hang_worker(s->c, i, k), *between = hang_carrier(s->c, i, k);
        bool owes = owes_an_answer(s, i, k, u);

        if (s->now_ms - h->calm_ms < HANG_MS)
            continue;
        if (is_frozen(between))
            return err_fold(accuse_carrier(s, i, k, between));
        if (is_frozen(u))
            return err_fold(accuse_frozen(s, i, k, u));
        if (owes)
            return err_fold(accuse_owing(s, i, k, u));
    }
    return 0;
}
