#include "controller/core/hang.h"

#include <inttypes.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/flows.h"
#include "controller/core/hang_facts.h"
#include "controller/core/lifecycle.h"
#include "controller/core/nodes.h"
#include "controller/core/sentence.h"

bool hang_watches(const struct instance *i)
{
    return i->state == INSTANCE_LOADING || i->state == INSTANCE_READY || i->state == INSTANCE_DRAINING;
}

int hang_restart(struct step *s, struct instance *i)
{
    int r = journal_change(&s->journal, &i->run.hang, sizeof(i->run.hang));

    if (r)
        return err_fold(r);
    hang_clocks_restart(&i->run.hang, s->now_ms);
    return 0;
}

int hang_cut_off(struct step *s, struct instance *i)
{
    int r = hang_restart(s, i);

    if (r)
        return err_fold(r);
    i->run.hang.n_cut = i->run.traffic.in_flight;
    return 0;
}

/* A request is in progress of which something can be expected. */
static bool is_asked(const struct instance *i)
{
    return i->run.traffic.in_flight > i->run.hang.n_cut;
}

void hang_traffic(struct step *s, struct instance *i, const struct cluster_traffic *traffic)
{
    struct hang *h = &i->run.hang;
    bool was = is_asked(i);

    i->run.traffic = *traffic;
    if (h->n_cut > traffic->in_flight)
        h->n_cut = traffic->in_flight;
    if (!was && is_asked(i))
        h->still_ms = h->late_ms = s->now_ms;
}

/* ---- who works --------------------------------------------------------------------------------------------------- */

/* Of an agent that does not answer nothing is known, which counts as none. */
static bool rank_works(const struct cluster *c, struct instance *i, size_t k)
{
    const struct node *n = hang_node(c, i, k);
    const struct unit_facts *u = hang_worker(c, i, k);
    uint64_t before = i->run.hang.worker_cpu_ms[k];

    if (!n || n->state == NODE_STUCK)
        return false;
    if (u)
        i->run.hang.worker_cpu_ms[k] = u->cpu_ms;
    return (u && (u->cpu_ms != before || u->proc_state == 'D')) || hang_devices_work(n, &i->plan->rank[k]);
}

/* Where no agent answers nothing can be seen to stand still. */
static bool anybody_answers(const struct cluster *c, const struct instance *i)
{
    for (size_t k = 0; k < i->run.n_ranks; k++) {
        const struct node *n = hang_node(c, i, k);

        if (n && n->state != NODE_STUCK)
            return true;
    }
    return false;
}

/* Over 2 % of a core, as answering /health while a rank hangs takes less; or it waits for a page of its model. */
static bool coordinator_works(const struct cluster *c, struct instance *i, uint64_t elapsed_ms)
{
    const struct unit_facts *u = hang_coordinator(c, i);
    struct hang *h = &i->run.hang;
    uint64_t before = h->coordinator_cpu_ms;

    if (!u)
        return false;
    h->coordinator_cpu_ms = u->cpu_ms;
    return u->proc_state == 'D' || u->cpu_ms < before || (u->cpu_ms - before) * 50 > elapsed_ms;
}

/* A token came, a batch ended, or there is nothing to do. */
static bool stepped(const struct cluster *c, struct instance *i)
{
    const struct unit_facts *u = hang_coordinator(c, i);
    struct hang *h = &i->run.hang;
    bool moved = i->run.traffic.progress != h->progress || (u && u->n_decode != h->n_decode);

    h->progress = i->run.traffic.progress;
    h->n_decode = u ? u->n_decode : h->n_decode;
    return moved || !is_asked(i) || i->state == INSTANCE_LOADING;
}

/* ---- P2 --------------------------------------------------------------------------------------------------------- */

static int blame_coordinator(struct step *s, struct instance *i, const struct unit_facts *u)
{
    const struct plan_rank *first = &i->plan->rank[0];

    if (u->proc_state == 'T')
        return err_fold(lifecycle_trouble(s, i, &first->node, "coordinator_hung",
                                          "coordinator on %s hangs: its process is stopped (state T)",
                                          first->node_name));
    return err_fold(lifecycle_trouble(s, i, &first->node, "coordinator_hung",
                                      "coordinator on %s hangs: it has not answered HTTP for %" PRIu64 " s",
                                      first->node_name, u->http_silent_ms / 1000));
}

enum suspicion { SUSPECT_NOBODY, SUSPECT_STUCK_NODE, SUSPECT_OWING, SUSPECT_FROZEN, SUSPECT_CARRIER, SUSPECT_STOPPED };

/* By the signs of P1 and P3, which need not have stood for their whole time here: that nothing moves is known already. */
static enum suspicion suspicion_of(const struct cluster *c, const struct instance *i, size_t k)
{
    const struct node *n = hang_node(c, i, k);
    const struct unit_facts *u = hang_worker(c, i, k), *between = hang_carrier(c, i, k);
    const struct rank_flow *f = flows_at_worker(i, k);

    if (u && u->proc_state == 'T')
        return SUSPECT_STOPPED;
    if (between && between->proc_state == 'T')
        return SUSPECT_CARRIER;
    if (u && u->frozen_ms >= HANG_MS / 2)
        return SUSPECT_FROZEN;
    if (f && f->oldest[0] && f->oldest_ms >= HANG_MS / 2)
        return SUSPECT_OWING;
    return n && n->state == NODE_STUCK ? SUSPECT_STUCK_NODE : SUSPECT_NOBODY;
}

static const char *suspicion_text(enum suspicion suspicion)
{
    switch (suspicion) {
    case SUSPECT_STOPPED:
        return "its process is stopped (state T)";
    case SUSPECT_CARRIER:
        return "its carrier is stopped (state T)";
    case SUSPECT_FROZEN:
        return "it does not read what waits for it";
    case SUSPECT_OWING:
        return "it does not answer";
    case SUSPECT_STUCK_NODE:
        return "its node's agent does not answer";
    case SUSPECT_NOBODY:
        break;
    }
    return "";
}

static int trouble_hung(struct step *s, struct instance *i)
{
    const struct unit_facts *u = hang_coordinator(s->c, i);
    enum suspicion worst = SUSPECT_NOBODY;
    char waits[PROTO_TEXT_MAX / 2] = "";
    size_t who = 0;

    if (u && (u->proc_state == 'T' || u->http_silent_ms >= HANG_HTTP_MS))
        return err_fold(blame_coordinator(s, i, u));
    for (size_t k = 0; k < i->run.n_ranks; k++) {
        enum suspicion found = suspicion_of(s->c, i, k);

        if (found > worst) {
            worst = found;
            who = k;
        }
    }
    if (worst == SUSPECT_NOBODY)
        return err_fold(lifecycle_trouble(s, i, NULL, "instance_hung",
                                          "a request stood still for %d s and no process of it did anything; which of "
                                          "them hangs is unknown",
                                          HANG_MS / 1000));
    hang_say_waits(i, who, "; ", waits, sizeof(waits));
    return err_fold(lifecycle_trouble(s, i, &i->plan->rank[who].node, "instance_hung",
                                      "a request stood still for %d s: rank %zu on %s hangs, %s%s", HANG_MS / 1000, who,
                                      i->plan->rank[who].node_name, suspicion_text(worst), waits));
}

/* ---- late, but working ------------------------------------------------------------------------------------------- */

bool hang_is_slow(const struct instance *i, size_t rank, uint64_t now_ms)
{
    const struct hang *h = &i->run.hang;

    return i->state != INSTANCE_LOADING && hang_watches(i) && is_asked(i) && h->works[rank] && h->sampled_ms &&
           now_ms - h->late_ms >= HANG_MS;
}

static int trouble_slow(struct step *s, struct instance *i)
{
    const struct id128 *blamed = NULL;
    char who[PROTO_TEXT_MAX / 2] = "";
    size_t n = 0;

    if (!anybody_answers(s->c, i))
        return err_fold(lifecycle_trouble(s, i, NULL, "instance_hung",
                                          "no token came for %" PRIu64 " s, and no agent of its nodes answers",
                                          s->c->config.graph_max_ms / 1000));
    for (size_t k = 0; k < i->run.n_ranks; k++) {
        if (!i->run.hang.works[k])
            continue;
        blamed = n++ ? NULL : &i->plan->rank[k].node;
        sentence_add(who, sizeof(who), "%srank %zu on %s", who[0] ? ", " : "", k, i->plan->rank[k].node_name);
    }
    return err_fold(lifecycle_trouble(s, i, blamed, "rank_slow", "no token came for %" PRIu64 " s, though %s computes",
                                      s->c->config.graph_max_ms / 1000, n ? who : "its coordinator"));
}

/* ---- once a second ---------------------------------------------------------------------------------------------- */

static void take_sample(const struct cluster *c, struct instance *i, uint64_t now_ms)
{
    struct hang *h = &i->run.hang;
    uint64_t elapsed_ms = now_ms - h->sampled_ms;
    bool first = !h->sampled_ms;
    bool moved = stepped(c, i);
    bool works = coordinator_works(c, i, elapsed_ms) || !anybody_answers(c, i);

    for (size_t k = 0; k < i->run.n_ranks; k++) {
        h->works[k] = rank_works(c, i, k);
        works |= h->works[k];
    }
    h->sampled_ms = now_ms;
    if (first || moved)
        h->late_ms = now_ms;
    if (first || moved || works)
        h->still_ms = now_ms;
}

int hang_sample(struct step *s, struct instance *i)
{
    struct hang *h = &i->run.hang;
    int r = journal_change(&s->journal, h, sizeof(*h));

    if (r)
        return err_fold(r);
    take_sample(s->c, i, s->now_ms);
    r = hang_check_ranks(s, i);
    if (r || !hang_watches(i))
        return err_fold(r);
    if (s->now_ms - h->still_ms >= HANG_MS)
        return err_fold(trouble_hung(s, i));
    if (s->now_ms - h->late_ms >= s->c->config.graph_max_ms)
        return err_fold(trouble_slow(s, i));
    return 0;
}
