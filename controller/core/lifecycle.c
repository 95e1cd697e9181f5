#include "controller/core/lifecycle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/commands.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/loading.h"
#include "controller/core/nodes.h"
#include "controller/core/planning.h"
#include "controller/core/recovery.h"
#include "controller/core/release.h"
#include "controller/core/replicas.h"
#include "controller/core/sentence.h"
#include "controller/core/unloading.h"

/* A node may say any number, and the next one must still be one that every node takes for newer, and JSON keeps whole. */
#define EPOCH_TRUSTED_MAX (UINT64_C(1) << 52)

void lifecycle_unit_name(const struct instance *i, enum unit_role role, size_t rank, char *buf, size_t size)
{
    const struct run *run = &i->run;

    switch (role) {
    case UNIT_COORDINATOR:
        text_format(buf, size, "coordinator on %s", run->member[run->rank[0].member].name);
        return;
    case UNIT_CARRIER:
        text_format(buf, size, "the carrier of rank %zu on %s", rank, run->member[run->rank[rank].member].name);
        return;
    case UNIT_WORKER:
        break;
    }
    text_format(buf, size, "rank %zu on %s", rank, run->member[run->rank[rank].member].name);
}

int lifecycle_trouble(struct step *s, struct instance *i, const struct id128 *node, const char *code,
                      const char *format, ...)
{
    char text[PROTO_TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    text_clean(text);
    return err_fold(
        instance_event(s, i, INSTANCE_EV_TROUBLE, &(struct cause){.code = code, .text = text, .node = node}));
}

/* ---- placing ---------------------------------------------------------------------------------------------------- */

static void take_newer(uint64_t *newest, uint64_t epoch)
{
    if (epoch > *newest && epoch <= EPOCH_TRUSTED_MAX)
        *newest = epoch;
}

/* No node may know a newer one: design, "The failure unit". */
static uint64_t next_epoch(const struct cluster *c, const struct instance *i)
{
    uint64_t newest = i->epoch;

    take_newer(&newest, i->newest_epoch);
    for (size_t k = 0; k < c->nodes.n; k++) {
        const struct node *n = CLUSTER_NODE(c, k);

        for (size_t u = 0; u < (n->units ? n->units->n : 0); u++) {
            if (id128_equal(&n->units->unit[u].instance, &i->id))
                take_newer(&newest, n->units->unit[u].epoch);
        }
        for (size_t l = 0; l < n->n_leases; l++) {
            if (id128_equal(&n->lease[l].instance, &i->id))
                take_newer(&newest, n->lease[l].epoch);
        }
    }
    return newest + 1;
}

/* A person hears at once that there is no place for what he has just asked for; what had one before waits, and what can
 * have one when others leave. */
static int unplaced(struct step *s, struct instance *i, const char *code, const char *why, uint64_t missing_bytes)
{
    const struct cause cause = {.code = code, .text = why};
    bool waits = i->placed;
    int r = waits ? 0 : unloading_may_help(s, &i->request, i, &waits);

    if (r)
        return err_fold(r);
    r = instance_event(s, i, waits ? INSTANCE_EV_NO_ROOM : INSTANCE_EV_UNPLACEABLE, &cause);

    if (!r && i->state == INSTANCE_WAITING)
        i->recovery.missing_bytes = missing_bytes;
    return err_fold(r);
}

int instance_on_place(struct step *s, struct instance *i, const struct cause *cause)
{
    CLEANUP(cleanup_free) struct plan *plan = NULL;
    char why[PROTO_TEXT_MAX] = "";
    int r;

    (void)cause;
    recovery_rest(i);
    r = planning_instance(s->c, i, &plan, why, sizeof(why));
    if (r < 0)
        return err_pass(r);
    if (r > 0)
        return err_fold(unplaced(s, i, planning_code(r), why, plan ? plan->missing_bytes : 0));
    release_carry_over(i);
    r = journal_replace(&s->journal, &i->plan, plan, free);
    plan = NULL;
    if (r)
        return err_fold(r);
    i->epoch = next_epoch(s->c, i);
    run_begin(&i->run, i->plan);
    i->run.placed_ms = s->now_ms;
    for (size_t m = 0; m < i->run.n_members; m++)
        i->run.member[m].leased = true; /* from now on nobody else is offered that memory */
    r = record_instance(s, i, INSTANCE_LEASING, false);
    if (r)
        return err_fold(r);
    return err_fold(step_then(s, INTENT_PLAN, i, i->deploy_task));
}

int lifecycle_not_planned(struct step *s, struct instance *i, const struct cause *cause)
{
    if (i->state != INSTANCE_PLACING)
        return 0;
    return err_fold(instance_event(s, i, i->placed ? INSTANCE_EV_NO_ROOM : INSTANCE_EV_UNPLACEABLE, cause));
}

int instance_on_unplaced(struct step *s, struct instance *i, const struct cause *cause)
{
    int r = replicas_task_end(s, i, TASK_EV_FAIL, cause);

    if (r)
        return err_fold(r);
    return err_fold(instance_remove(s, i)); /* nothing of it ever was; the task says why */
}

/* ---- leasing ---------------------------------------------------------------------------------------------------- */

/* One after the other, in id order: two instances that want the same two nodes cannot wait for each other. */
int instance_on_lease(struct step *s, struct instance *i, const struct cause *cause)
{
    struct run *run = &i->run;
    size_t next = 0;

    (void)cause;
    i->placed = true;
    while (next < run->n_members && run->member[next].lease.id)
        next++;
    if (next == run->n_members)
        return err_fold(instance_event(s, i, INSTANCE_EV_LEASED, NULL));
    if (!node_find(s->c, &run->member[next].node) || node_gone(s->c, &run->member[next].node, s->now_ms))
        return err_fold(lifecycle_trouble(s, i, &run->member[next].node, "node_lost",
                                          "node %s was lost before it could be leased", run->member[next].name));
    return err_fold(command_send(s, i, COMMAND_LEASE, next, LEASE_MS));
}

/* ---- workers ---------------------------------------------------------------------------------------------------- */

static bool workers_up(const struct instance *i)
{
    for (size_t r = 0; r < i->run.n_ranks; r++) {
        if (!i->plan->rank[r].local && !i->run.rank[r].endpoint[0])
            return false;
    }
    return true;
}

int instance_on_start(struct step *s, struct instance *i, const struct cause *cause)
{
    int r;

    (void)cause;
    for (size_t k = 0; k < i->run.n_ranks; k++) {
        if (i->plan->rank[k].local)
            continue;
        r = command_send(s, i, COMMAND_START_WORKER, k, WORKER_START_MS);
        if (r)
            return err_fold(r);
    }
    if (workers_up(i)) /* every rank is the coordinator's own device */
        return err_fold(instance_event(s, i, INSTANCE_EV_WORKERS_UP, NULL));
    return 0;
}

static int worker_up(struct step *s, struct instance *i, size_t k, const struct result *res)
{
    const char *addr = res->addr[0] ? res->addr : i->plan->rank[k].addr;

    if (!res->port)
        return err_fold(lifecycle_trouble(s, i, &i->plan->rank[k].node, "bad_answer",
                                          "rank %zu on %s: the agent named no port of its worker", k,
                                          i->plan->rank[k].node_name));
    text_format(i->run.rank[k].endpoint, sizeof(i->run.rank[k].endpoint), "%s:%" PRIu16, addr, res->port);
    if (workers_up(i))
        return err_fold(instance_event(s, i, INSTANCE_EV_WORKERS_UP, NULL));
    return 0;
}

/* ---- coordinator ------------------------------------------------------------------------------------------------ */

static unsigned coordinator_start_ms(const struct instance *i)
{
    return plan_is_tunnel(i->plan) ? CARRIED_START_MS : COORDINATOR_START_MS;
}

int instance_on_load(struct step *s, struct instance *i, const struct cause *cause)
{
    (void)cause;
    s->c->numbers.coordinator_starts++;
    return err_fold(command_send(s, i, COMMAND_START_COORDINATOR, 0, coordinator_start_ms(i)));
}

int instance_on_ready(struct step *s, struct instance *i, const struct cause *cause)
{
    (void)cause;
    i->ready_wall_ms = s->wall_ms;
    i->settle_ms = UINT64_MAX;
    recovery_ready(s, i);
    i->reason[0] = '\0';
    i->code[0] = '\0';
    i->asked_ms = s->now_ms;
    return err_fold(replicas_task_end(s, i, TASK_EV_DONE, NULL));
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* What was asked of whom, for a sentence. */
static void call_name(const struct instance *i, enum command_kind kind, size_t index, char *buf, size_t size)
{
    switch (kind) {
    case COMMAND_LEASE:
        text_format(buf, size, "the lease on %s", i->run.member[index].name);
        return;
    case COMMAND_START_WORKER:
        lifecycle_unit_name(i, UNIT_WORKER, index, buf, size);
        sentence_add(buf, size, ": the start of its worker");
        return;
    case COMMAND_START_COORDINATOR:
        text_format(buf, size, "the start of the ");
        lifecycle_unit_name(i, UNIT_COORDINATOR, 0, buf + strlen(buf), size - strlen(buf));
        return;
    case COMMAND_STOP:
    case COMMAND_KNOCK: /* no instance's */
        break;
    }
    text_format(buf, size, "the stop on %s", i->run.member[index].name);
}

static const struct id128 *call_node(const struct instance *i, enum command_kind kind, size_t index)
{
    const struct run *run = &i->run;

    if (kind == COMMAND_START_WORKER)
        index = run->rank[index].member;
    else if (kind == COMMAND_START_COORDINATOR)
        index = run->rank[0].member;
    return &run->member[index].node;
}

static int answered_badly(struct step *s, struct instance *i, enum command_kind kind, size_t index,
                          const struct result *res)
{
    const char *how = res->code == RESULT_REFUSED ? "was refused" : "failed";
    char what[PROTO_NAME_MAX + 64];

    take_newer(&i->newest_epoch, res->newest_epoch);
    call_name(i, kind, index, what, sizeof(what));
    return err_fold(lifecycle_trouble(s, i, call_node(i, kind, index), res->reason[0] ? res->reason : "agent_refused",
                                      "%s %s%s%s", what, how, res->text[0] ? ": " : "", res->text));
}

int lifecycle_answered(struct step *s, struct instance *i, enum command_kind kind, size_t index,
                       const struct result *res)
{
    if (res->code != RESULT_DONE)
        return err_fold(answered_badly(s, i, kind, index, res));
    switch (kind) {
    case COMMAND_LEASE:
        return err_fold(instance_on_lease(s, i, NULL));
    case COMMAND_START_WORKER:
        return err_fold(worker_up(s, i, index, res));
    case COMMAND_START_COORDINATOR:
        return err_fold(loading_started(s, i, res->addr, res->port));
    case COMMAND_STOP:
    case COMMAND_KNOCK:
        break;
    }
    return 0;
}

int lifecycle_timed_out(struct step *s, struct instance *i, enum command_kind kind, size_t index)
{
    char what[PROTO_NAME_MAX + 64];
    const char *code = "timeout";
    int after_s = 0;

    switch (kind) {
    case COMMAND_LEASE:
        code = "lease_timeout";
        after_s = LEASE_MS / 1000;
        break;
    case COMMAND_START_WORKER:
        code = "worker_timeout";
        after_s = WORKER_START_MS / 1000;
        break;
    case COMMAND_START_COORDINATOR:
        code = "coordinator_timeout";
        after_s = (int)coordinator_start_ms(i) / 1000;
        break;
    case COMMAND_STOP:
    case COMMAND_KNOCK:
        return 0;
    }
    call_name(i, kind, index, what, sizeof(what));
    return err_fold(
        lifecycle_trouble(s, i, call_node(i, kind, index), code, "%s was not answered within %d s", what, after_s));
}
