#include "controller/core/release.h"

#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/commands.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/lifecycle.h"
#include "controller/core/moving.h"
#include "controller/core/nodes.h"
#include "controller/core/offers.h"
#include "controller/core/recovery.h"
#include "controller/core/replicas.h"
#include "controller/core/sentence.h"
#include "controller/core/tasks.h"

enum { SWEEP_MS = 1000 };

/* ---- actions of the table --------------------------------------------------------------------------------------- */

int instance_on_trouble(struct step *s, struct instance *i, const struct cause *cause)
{
    if (i->run.over)
        return 0; /* the first reason is the one */
    recovery_blame(s, i, cause);
    text_format(i->code, sizeof(i->code), "%s", cause->code);
    text_format(i->reason, sizeof(i->reason), "%s", cause->text);
    return err_fold(release_begin(s, i));
}

int instance_on_failed(struct step *s, struct instance *i, const struct cause *cause)
{
    int r;

    i->failed_ms = s->now_ms;
    r = replicas_task_end(s, i, TASK_EV_FAIL, cause);
    if (r)
        return err_fold(r);
    r = record_instance(s, i, 0, false);
    if (r)
        return err_fold(r);
    return err_fold(instances_prune(s));
}

int release_cancel_deploy(struct step *s, struct instance *i)
{
    return err_fold(
        replicas_task_end(s, i, TASK_EV_CANCEL, &(struct cause){.code = "stopped", .text = "somebody stopped it"}));
}

int instance_on_stop(struct step *s, struct instance *i, const struct cause *cause)
{
    int r = release_cancel_deploy(s, i);

    if (r)
        return err_fold(r);
    i->settle_ms = UINT64_MAX;
    recovery_rest(i);
    if (i->run.release != RELEASE_NONE)
        return 0; /* its nodes are being told already */
    text_format(i->reason, sizeof(i->reason), "%s", cause ? cause->text : "stopped");
    return err_fold(release_begin(s, i));
}

/* A place, or that it is ready: written after the wish to stop it, and so what the store says of it. */
static bool overwritten(const struct cluster *c, const struct instance *i)
{
    for (size_t k = 0; k < c->pending.n; k++) {
        if (id128_equal(&((const struct pending *)c->pending.item[k])->instance, &i->id))
            return true;
    }
    return false;
}

int release_wanted(struct step *s, struct instance *i, bool ok)
{
    char text[PROTO_TEXT_MAX];
    const struct cause moved = {.code = RECOVERY_DRAINED, .text = "another one took its place"},
                       unloaded = {.code = "unloaded", .text = text};
    int r = step_instance(s, i);
    bool kept = i->drain.kept && !i->stop_task;

    if (r)
        return err_fold(r);
    i->drain.stop_asked = i->drain.kept = false;
    i->drain.again_ms = s->now_ms + MOVING_AGAIN_MS;
    if (!ok)
        return 0;
    if (kept) /* unless what has been written since says so already */
        return overwritten(s->c, i) ? 0 : err_fold(record_instance(s, i, 0, false));
    if (overwritten(s->c, i)) {
        r = record_instance(s, i, 0, false);
        if (r)
            return err_fold(r);
    }
    memcpy(text, i->reason, sizeof(text));
    return err_fold(instance_event(s, i, INSTANCE_EV_STOP, i->stop_task ? NULL : i->drain.unload ? &unloaded : &moved));
}

int release_ended(struct step *s, uint64_t task, const struct cause *cause)
{
    for (size_t k = 0; task && k < s->c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(s->c, k);

        if (i->stop_task == task && !instance_state_ended(i->state))
            return 0;
    }
    return err_fold(tasks_end(s, task, TASK_EV_DONE, cause));
}

/* The nodes that were told and have not confirmed. */
static void name_owed(const struct instance *i, char *buf, size_t size)
{
    buf[0] = '\0';
    for (size_t m = 0; m < i->run.n_members; m++) {
        if (i->run.member[m].told)
            sentence_add(buf, size, "%s%s", buf[0] ? ", " : "", i->run.member[m].name);
    }
    if (buf[0])
        sentence_add(buf, size, " could not be reached: what still runs there is ended once the node is back");
}

int instance_on_stopped(struct step *s, struct instance *i, const struct cause *cause)
{
    char text[PROTO_TEXT_MAX];
    const struct cause owed = {.code = "not_reached", .text = text};
    int r;

    (void)cause;
    i->remove_ms = s->now_ms + CLUSTER_STOPPED_SHOWN_MS;
    name_owed(i, text, sizeof(text));
    r = release_ended(s, i->stop_task, text[0] ? &owed : NULL);
    if (r)
        return err_fold(r);
    r = record_instance(s, i, 0, false);
    if (r)
        return err_fold(r);
    return err_fold(instances_prune(s));
}

/* It does not come back; what runs there is for whoever switches it off. */
static bool is_retired(const struct cluster *c, const struct id128 *node)
{
    const struct node *n = node_find(c, node);

    return n && n->state == NODE_RETIRED;
}

/* ---- telling the nodes ------------------------------------------------------------------------------------------ */

/* Whether its answer can come; else release_sweep asks it when it is back. */
static bool awaited(const struct step *s, const struct member *m)
{
    return m->told && !node_gone(s->c, &m->node, s->now_ms);
}

/* Told as it was retired: what it runs ends within the grace of a stop. */
static bool just_retired(const struct step *s, const struct member *m)
{
    const struct node *n = node_find(s->c, &m->node);

    return m->told && is_retired(s->c, &m->node) && s->now_ms < n->heard_ms + s->c->config.silent_ms;
}

/* The coordinator's node, before anybody else. */
static int tell_first(struct step *s, struct instance *i)
{
    size_t m = i->run.rank[0].member;
    struct member *first = &i->run.member[m];

    if (awaited(s, first))
        return err_fold(command_send(s, i, COMMAND_STOP, m, RELEASE_FIRST_MS));
    if (just_retired(s, first))
        first->stop =
            (struct call){.open = true, .resend_ms = UINT64_MAX, .deadline_ms = s->now_ms + RELEASE_RETIRED_MS};
    return err_fold(release_advance(s, i));
}

int release_begin(struct step *s, struct instance *i)
{
    struct run *run = &i->run;
    enum command_kind kind;
    struct call *call;
    size_t index;

    for (size_t at = 0; run_call_at(run, at, &kind, &index, &call); at++)
        call->open = false;
    run->stall_ms = run->proof_ms = run->warm_ms = UINT64_MAX;
    run->over = true;
    run->release = RELEASE_FIRST;
    run->release_ms = s->now_ms + RELEASE_MS;
    for (size_t m = 0; m < run->n_members; m++)
        run->member[m].leased &= run->member[m].told;
    return err_fold(run->n_members ? tell_first(s, i) : release_advance(s, i));
}

/* The workers empty themselves when their client leaves; told before it has, they would look like a crash to it. */
static bool first_awaited(const struct step *s, const struct run *run)
{
    const struct member *first;

    if (!run->n_members)
        return false;
    first = &run->member[run->rank[0].member];
    return first->stop.open && s->now_ms < first->stop.deadline_ms &&
           (awaited(s, first) || is_retired(s->c, &first->node));
}

int release_advance(struct step *s, struct instance *i)
{
    struct run *run = &i->run;
    bool waiting = false;
    int r;

    if (run->release == RELEASE_NONE || (run->release == RELEASE_FIRST && first_awaited(s, run)))
        return 0;
    run->release = RELEASE_REST;
    for (size_t m = 0; m < run->n_members; m++) {
        struct member *member = &run->member[m];

        if (!awaited(s, member)) {
            member->stop.open = false;
            continue;
        }
        waiting = true;
        if (member->stop.open)
            continue;
        r = command_send(s, i, COMMAND_STOP, m, RELEASE_MS);
        if (r)
            return err_fold(r);
    }
    if (waiting && s->now_ms < run->release_ms)
        return 0;
    run->release = RELEASE_NONE;
    run->release_ms = UINT64_MAX;
    return err_fold(instance_event(s, i, INSTANCE_EV_RELEASED, &(struct cause){.code = i->code, .text = i->reason}));
}

int release_member(struct step *s, struct instance *i, size_t m)
{
    struct member *member = &i->run.member[m];
    struct node *n = node_find(s->c, &member->node);
    int r;

    if (n && member->leased) {
        r = step_node(s, n);
        if (r)
            return err_fold(r);
        offers_lease_ended(n, i);
        n->freed_ms = s->now_ms;
    }
    member->stop.open = false;
    member->leased = false;
    member->told = false;
    return err_fold(release_advance(s, i));
}

void release_carry_over(struct instance *i)
{
    for (size_t m = 0; m < i->run.n_members; m++) {
        const struct member *member = &i->run.member[m];
        bool tunnel = plan_is_tunnel(i->plan);
        size_t d = 0;

        if (!member->told)
            continue;
        while (d < i->n_debts && !id128_equal(&i->debt[d].node, &member->node))
            d++;
        if (d == DEBTS_MAX)
            continue; /* release_sweep still knows it by its epoch, while the instance is there */
        tunnel &= d == i->n_debts || i->debt[d].tunnel;
        i->n_debts += d == i->n_debts;
        i->debt[d] = (struct debt){.node = member->node, .epoch = i->epoch, .tunnel = tunnel};
    }
}

bool release_owed(const struct cluster *c, const struct instance *i)
{
    for (size_t m = 0; m < i->run.n_members; m++) {
        if (i->run.member[m].told && !is_retired(c, &i->run.member[m].node))
            return true;
    }
    for (size_t d = 0; d < i->n_debts; d++) {
        if (!is_retired(c, &i->debt[d].node))
            return true;
    }
    return false;
}

/* ---- nodes that come back --------------------------------------------------------------------------------------- */

/* This node is a member of an epoch that is over, and was not told or has not answered. */
static int sweep_member(struct step *s, const struct node *n, struct instance *i)
{
    size_t m;
    int r;

    if (instance_state_runs(i->state) || i->settle_ms != UINT64_MAX || i->run.release == RELEASE_FIRST ||
        !run_member(&i->run, &n->id, &m) || !i->run.member[m].told || i->run.member[m].stop.open)
        return 0;
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    return err_fold(command_send(s, i, COMMAND_STOP, m, RELEASE_MS));
}

/* An epoch of which a node has something, by its own word. */
struct remnant {
    struct id128 instance;
    uint64_t epoch;
    bool lives; /* a process of it does */
};

static void note_remnant(struct remnant *r, size_t *n, const struct remnant *found)
{
    for (size_t k = 0; k < *n; k++) {
        if (r[k].epoch == found->epoch && id128_equal(&r[k].instance, &found->instance)) {
            r[k].lives |= found->lives;
            return;
        }
    }
    r[(*n)++] = *found;
}

static bool unit_lives(const struct unit_facts *u)
{
    return u->state == UNIT_STARTING || u->state == UNIT_RUNNING;
}

static size_t list_remnants(const struct node *n, struct remnant *ret)
{
    size_t count = 0;

    for (size_t u = 0; u < (n->units ? n->units->n : 0); u++) {
        const struct unit_facts *unit = &n->units->unit[u];

        if (!id128_is_zero(&unit->instance) && unit_lives(unit))
            note_remnant(ret, &count, &(struct remnant){unit->instance, unit->epoch, true});
    }
    for (size_t l = 0; l < n->n_leases; l++)
        note_remnant(ret, &count, &(struct remnant){n->lease[l].instance, n->lease[l].epoch, false});
    return count;
}

/* Nobody wants it any more. A process of an instance that is not known here is left alone: it may be another leader's, or
 * be adopted; a promise without a process is nobody's. */
static bool is_over(const struct cluster *c, const struct node *n, const struct remnant *r)
{
    const struct instance *i = instance_find(c, &r->instance);
    size_t m;

    if (!i)
        return !r->lives;
    if (r->epoch < i->epoch)
        return true;
    if (r->epoch == i->epoch && run_member(&i->run, &n->id, &m) && i->run.member[m].told)
        return false; /* sweep_member's */
    if (i->settle_ms != UINT64_MAX || i->run.release != RELEASE_NONE)
        return false; /* it is being found out, or told already */
    return instance_state_ended(i->state) || (r->epoch == i->epoch && i->run.over);
}

static int sweep_remnants(struct step *s, struct node *n, const struct remnant *remnant, size_t count)
{
    int r;

    for (size_t k = 0; k < count; k++) {
        if (!is_over(s->c, n, &remnant[k]))
            continue;
        r = command_stop_stale(s, n, &remnant[k].instance, remnant[k].epoch);
        if (r)
            return err_fold(r);
        r = step_node(s, n);
        if (r)
            return err_fold(r);
        n->sweep_ms = s->now_ms + SWEEP_MS;
    }
    return 0;
}

/* Where a node has nothing more of what was owed there, by its own word, nothing is owed. Its whole word: a list that
 * was told before the epoch began says nothing of it. */
static int settle_debt(struct step *s, struct instance *i, size_t d, const struct remnant *remnant, size_t count)
{
    int r;

    for (size_t k = 0; k < count; k++) {
        if (remnant[k].epoch <= i->debt[d].epoch && id128_equal(&remnant[k].instance, &i->id))
            return 0;
    }
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    i->debt[d] = i->debt[--i->n_debts];
    return 0;
}

static int settle_debts(struct step *s, const struct node *n, const struct remnant *remnant, size_t count)
{
    int r;

    for (size_t k = 0; k < s->c->instances.n; k++) {
        struct instance *i = CLUSTER_INSTANCE(s->c, k);

        for (size_t d = i->n_debts; d--;) {
            if (!id128_equal(&i->debt[d].node, &n->id))
                continue;
            r = settle_debt(s, i, d, remnant, count);
            if (r)
                return err_fold(r);
        }
    }
    return 0;
}

int release_sweep(struct step *s, struct node *n, bool whole)
{
    struct remnant remnant[2 * PROTO_UNITS_MAX];
    size_t count;
    int r = 0;

    for (size_t k = 0; k < s->c->instances.n; k++) {
        r = sweep_member(s, n, CLUSTER_INSTANCE(s->c, k));
        if (r)
            return err_fold(r);
    }
    if (s->now_ms < n->sweep_ms || !n->complete) /* nothing is decided about a node before its first full report */
        return 0;
    count = list_remnants(n, remnant);
    if (whole)
        r = settle_debts(s, n, remnant, count);
    return r ? err_fold(r) : err_fold(sweep_remnants(s, n, remnant, count));
}
