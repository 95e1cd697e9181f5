#include "controller/core/deadlines.h"

#include "common/core/err.h"
#include "common/core/sat.h"
#include "controller/core/commands.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/lifecycle.h"
#include "controller/core/loading.h"
#include "controller/core/recovery.h"
#include "controller/core/release.h"
#include "controller/core/restore.h"

static bool call_expires(const struct instance *i, enum command_kind kind)
{
    return kind != COMMAND_STOP || i->run.release == RELEASE_FIRST;
}

static uint64_t due_ms(const struct cluster *c, struct instance *i)
{
    struct run *run = &i->run;
    uint64_t due = sat_min(sat_min(restore_due_ms(c, i), i->remove_ms), sat_min(run->release_ms, run->stall_ms));
    enum command_kind kind;
    struct call *call;
    size_t index;

    due = sat_min(due, sat_min(run->proof_ms, run->warm_ms));
    due = sat_min(due, recovery_due_ms(i));
    for (size_t at = 0; run_call_at(run, at, &kind, &index, &call); at++) {
        if (!call->open)
            continue;
        due = sat_min(due, call->resend_ms);
        if (call_expires(i, kind))
            due = sat_min(due, call->deadline_ms);
    }
    return due;
}

static int remove_when_shown(struct step *s, struct instance *i)
{
    int r;

    if (release_owed(s->c, i)) { /* its node has to be told when it is back */
        i->remove_ms = s->now_ms + CLUSTER_STOPPED_SHOWN_MS;
        return 0;
    }
    r = record_instance(s, i, 0, true);
    if (r)
        return err_fold(r);
    return err_fold(instance_remove(s, i));
}

/* A step that has run out, if any: the instance is then elsewhere, and so are its calls. */
static int tick_expired(struct step *s, struct instance *i)
{
    enum command_kind kind;
    struct call *call;
    size_t index;

    for (size_t at = 0; run_call_at(&i->run, at, &kind, &index, &call); at++) {
        if (call->open && call_expires(i, kind) && call->deadline_ms <= s->now_ms)
            return err_fold(kind == COMMAND_STOP ? release_advance(s, i) : lifecycle_timed_out(s, i, kind, index));
    }
    return 0;
}

static int tick_resend(struct step *s, struct instance *i)
{
    enum command_kind kind;
    struct call *call;
    size_t index;
    int r;

    for (size_t at = 0; run_call_at(&i->run, at, &kind, &index, &call); at++) {
        if (!call->open || call->resend_ms > s->now_ms)
            continue;
        r = command_send(s, i, kind, index, 0);
        if (r)
            return err_fold(r);
    }
    return 0;
}

static int tick_one(struct step *s, struct instance *i, struct node *unused)
{
    struct run *run = &i->run;
    int r;

    (void)unused;
    if (due_ms(s->c, i) > s->now_ms)
        return 0;
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    if (restore_due_ms(s->c, i) <= s->now_ms)
        return err_fold(restore_decide(s, i));
    if (i->remove_ms <= s->now_ms)
        return err_fold(remove_when_shown(s, i));
    r = recovery_due_ms(i) <= s->now_ms ? recovery_tick(s, i) : 0;
    if (!r)
        r = tick_expired(s, i);
    if (!r)
        r = tick_resend(s, i);
    if (r)
        return err_fold(r);
    if (sat_min(run->stall_ms, sat_min(run->proof_ms, run->warm_ms)) <= s->now_ms)
        return err_fold(loading_timed_out(s, i));
    return err_fold(release_advance(s, i)); /* a node that was to answer may be away by now */
}

uint64_t deadlines_due_ms(const struct cluster *c)
{
    uint64_t due = UINT64_MAX;

    for (size_t k = 0; k < c->instances.n; k++)
        due = sat_min(due, due_ms(c, CLUSTER_INSTANCE(c, k)));
    return due;
}

int deadlines_tick(struct step *s)
{
    return err_fold(instances_each(s, NULL, tick_one));
}
