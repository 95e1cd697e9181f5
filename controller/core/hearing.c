/* What nodes say of instances: results of commands, events of processes, reports, and silence. */
#include "controller/core/hearing.h"

#include <inttypes.h>
#include <string.h>

#include "common/core/coordinator_log.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/commands.h"
#include "controller/core/hang.h"
#include "controller/core/instances.h"
#include "controller/core/knocks.h"
#include "controller/core/lifecycle.h"
#include "controller/core/loading.h"
#include "controller/core/nodes.h"
#include "controller/core/recovery.h"
#include "controller/core/release.h"
#include "controller/core/restore.h"
#include "controller/core/sentence.h"

enum { EXIT_SIGABRT = 6 }; /* Linux's, as exit_facts has it */

/* The same whether it served or not: no request makes one exit, and no other step does without it. */
#define CARRIER_EXITED "carrier_exited"

/* ---- results ---------------------------------------------------------------------------------------------------- */

/* The open call that this result answers; NULL: none. */
static struct call *find_call(struct instance *i, uint64_t id, enum command_kind *kind, size_t *index)
{
    struct call *call;

    for (size_t at = 0; run_call_at(&i->run, at, kind, index, &call); at++) {
        if (call->open && call->id == id)
            return call;
    }
    return NULL;
}

static size_t member_of(const struct instance *i, enum command_kind kind, size_t index)
{
    if (kind == COMMAND_LEASE || kind == COMMAND_STOP)
        return index;
    return i->run.rank[kind == COMMAND_START_WORKER ? index : 0].member;
}

static int hear_result(struct step *s, struct node *n, const struct message *m)
{
    struct instance *i = instance_find(s->c, &m->instance);
    enum command_kind kind;
    struct call *call;
    size_t index;
    int r;

    if (id128_is_zero(&m->instance))
        return err_fold(knocks_witness(s, n, m));
    call = i && m->epoch == i->epoch ? find_call(i, m->command_id, &kind, &index) : NULL;
    if (!call || !id128_equal(&i->run.member[member_of(i, kind, index)].node, &n->id))
        return step_late(s);
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    call->open = false;
    if (kind == COMMAND_STOP)
        return err_fold(release_member(s, i, index));
    return err_fold(lifecycle_answered(s, i, kind, index, &m->result));
}

/* ---- events ----------------------------------------------------------------------------------------------------- */

/* buf: holds whom it is about. last_lines: of its output; of one that never ran, why. */
static void describe_exit(const struct unit_facts *u, const char *how, const char *last_lines, char *buf, size_t size)
{
    bool ran = u->state != UNIT_FAILED || u->exit.known;

    sentence_add(buf, size, ": %s%s%s%s", u->role == UNIT_WORKER ? "worker " : "", ran ? how : "could not be started",
                 !last_lines[0] ? ""
                 : ran          ? "; it said: "
                                : ": ",
                 last_lines);
}

/* The rank that it is of: of a coordinator 0, of a carrier that of its node. false: it is none of this run's. */
static bool unit_rank(const struct instance *i, const struct node *n, const struct unit_facts *u, size_t *ret)
{
    switch (u->role) {
    case UNIT_COORDINATOR:
        *ret = 0;
        return true;
    case UNIT_WORKER:
        *ret = (size_t)u->rank;
        return u->rank >= 0 && *ret < i->run.n_ranks;
    case UNIT_CARRIER:
        return run_rank_on(&i->run, &n->id, ret);
    }
    return false;
}

static bool serves(const struct instance *i)
{
    return i->state == INSTANCE_READY || i->state == INSTANCE_DRAINING;
}

/* The coordinator named a reason that another try cannot cure: a damaged file, an unknown model, a bad flag. */
static bool is_final(const struct unit_facts *u, const char *last_lines)
{
    return u->role == UNIT_COORDINATOR && coordinator_error_is_final(coordinator_error_of(last_lines));
}

static const char *exit_code(const struct instance *i, const struct unit_facts *u, const char *last_lines)
{
    if (is_final(u, last_lines))
        return RECOVERY_FINAL;
    switch (u->role) {
    case UNIT_WORKER:
        return serves(i) ? "rank_lost" : "worker_exited";
    case UNIT_CARRIER:
        return CARRIER_EXITED;
    case UNIT_COORDINATOR:
        break;
    }
    return serves(i) ? "coordinator_lost" : "coordinator_exited";
}

/* Whose fault it is. A coordinator aborts for the sake of any rank, and while it serves for the sake of a request. */
static const struct id128 *blamed(const struct instance *i, const struct unit_facts *u, size_t rank)
{
    bool aborted = u->exit.known && u->exit.signal == EXIT_SIGABRT;

    return u->role == UNIT_COORDINATOR && (serves(i) || aborted) ? NULL : &i->plan->rank[rank].node;
}

static int unit_down(struct step *s, struct instance *i, const struct unit_facts *u, size_t rank, const char *how,
                     const char *last_lines)
{
    char text[PROTO_TEXT_MAX];

    lifecycle_unit_name(i, u->role, rank, text, sizeof(text));
    describe_exit(u, how, last_lines, text, sizeof(text));
    return err_fold(lifecycle_trouble(s, i, blamed(i, u, rank), exit_code(i, u, last_lines), "%s", text));
}

/* Of an epoch that is over: perhaps the better reason for that. Its plan may be gone by now, its node is not. */
static int amend_reason(struct step *s, struct instance *i, const struct node *n, const struct agent_event_facts *ev)
{
    const struct unit_facts *u = &ev->unit;
    const char *code = "coordinator_lost";
    char text[PROTO_TEXT_MAX], how[64];

    switch (u->role) {
    case UNIT_WORKER:
        code = "rank_lost";
        text_format(text, sizeof(text), "rank %" PRId32 " on %s", u->rank, n->hello.name);
        break;
    case UNIT_CARRIER:
        code = CARRIER_EXITED;
        text_format(text, sizeof(text), "the carrier on %s", n->hello.name);
        break;
    case UNIT_COORDINATOR:
        text_format(text, sizeof(text), "coordinator on %s", n->hello.name);
        break;
    }
    sentence_exit(how, sizeof(how), &u->exit);
    describe_exit(u, how, ev->text, text, sizeof(text));
    if (is_final(u, ev->text))
        code = RECOVERY_FINAL;
    return err_fold(recovery_amend(s, i, u, &(struct cause){.code = code, .text = text, .node = &n->id}));
}

static int unit_dying(struct step *s, struct instance *i, const struct unit_facts *u, size_t rank)
{
    int r = step_instance(s, i);

    if (r)
        return err_fold(r);
    memcpy(i->run.dying_unit, u->id, sizeof(i->run.dying_unit));
    return err_fold(unit_down(s, i, u, rank, "going down", ""));
}

static int unit_event(struct step *s, struct instance *i, const struct agent_event_facts *ev, size_t rank)
{
    char how[64];
    int r;

    switch (ev->kind) {
    case AGENT_EVENT_UNIT_EXITED:
        sentence_exit(how, sizeof(how), &ev->unit.exit);
        return err_fold(unit_down(s, i, &ev->unit, rank, how, ev->text));
    case AGENT_EVENT_UNIT_DYING:
        return err_fold(unit_dying(s, i, &ev->unit, rank));
    case AGENT_EVENT_LOADING:
    case AGENT_EVENT_RANK_BUFFERS:
    case AGENT_EVENT_LISTENING:
        r = step_instance(s, i);
        if (r)
            return err_fold(r);
        return err_fold(loading_event(s, i, ev));
    case AGENT_EVENT_RESUMED: /* is its machine's, not a unit's */
    case AGENT_EVENT_PORT_CLASH:
        break; /* the agent's log names it; no decision here depends on it */
    }
    return 0;
}

static int hear_event(struct step *s, struct node *n, const struct message *m)
{
    const struct agent_event_facts *ev = m->event;
    const struct id128 *id = id128_is_zero(&ev->unit.instance) ? &m->instance : &ev->unit.instance;
    struct instance *i;
    size_t member, rank;

    if (ev->kind == AGENT_EVENT_RESUMED)
        return err_fold(hear_node_disturbed(s, n));
    if (id128_is_zero(id))
        return 0; /* the standing worker, or the machine itself: reports show it */
    i = instance_find(s->c, id);
    if (i && ev->kind == AGENT_EVENT_UNIT_EXITED && recovery_tells_more(i, &ev->unit))
        return err_fold(amend_reason(s, i, n, ev));
    if (!i || ev->unit.epoch != i->epoch || !run_member(&i->run, &n->id, &member) || !unit_rank(i, n, &ev->unit, &rank))
        return step_late(s);
    if (i->settle_ms != UINT64_MAX)
        return err_fold(restore_heard(s, i, ev));
    if (!instance_state_runs(i->state))
        return 0; /* it ends because we told it to */
    return err_fold(unit_event(s, i, ev, rank));
}

/* ---- reports ---------------------------------------------------------------------------------------------------- */

/* The event of its end may have been lost with the link; the report shows it too. */
static int check_unit(struct step *s, struct instance *i, const struct node *n, enum unit_role role, size_t rank)
{
    const struct unit_facts *u = node_unit(n, i, role, (int32_t)rank);
    const struct unit_facts gone = {.role = role};
    char how[64];

    if (!u)
        return err_fold(unit_down(s, i, &gone, rank, "not there any more", ""));
    switch (u->state) {
    case UNIT_EXITED:
    case UNIT_BACKOFF:
    case UNIT_FAILED:
        sentence_exit(how, sizeof(how), &u->exit);
        return err_fold(unit_down(s, i, u, rank, how, ""));
    case UNIT_IDLE:
    case UNIT_STARTING:
    case UNIT_RUNNING:
    case UNIT_STOPPING:
        break;
    }
    loading_sample(s, i, u);
    if (role == UNIT_COORDINATOR && u->closed_streams && serves(i))
        return err_fold(lifecycle_trouble(s, i, NULL, "rank_reset",
                                          "coordinator on %s: %" PRIu32 " of its rank connections were closed by the "
                                          "other side",
                                          i->plan->rank[0].node_name, u->closed_streams));
    return 0;
}

/* What the rank on n consists of: a worker, on rank 0's node the coordinator, and a carrier with that of them which is
 * reached through it. */
static int observe_rank(struct step *s, struct instance *i, const struct node *n, size_t k)
{
    bool worker = i->run.rank[k].endpoint[0], coordinator = k == 0 && i->run.load_began;
    bool carrier = plan_is_tunnel(i->plan) && (k == 0 ? coordinator : worker);
    int r = worker ? check_unit(s, i, n, UNIT_WORKER, k) : 0;

    if (!r && coordinator && instance_state_runs(i->state))
        r = check_unit(s, i, n, UNIT_COORDINATOR, k);
    if (!r && carrier && instance_state_runs(i->state))
        r = check_unit(s, i, n, UNIT_CARRIER, k);
    return err_fold(r);
}

static int observe_run(struct step *s, struct instance *i, const struct node *n)
{
    int r = step_instance(s, i);

    for (size_t k = 0; !r && k < i->run.n_ranks && instance_state_runs(i->state); k++) {
        if (id128_equal(&i->plan->rank[k].node, &n->id))
            r = observe_rank(s, i, n, k);
    }
    if (!r)
        r = hang_check_ranks(s, i);
    return err_fold(r);
}

static int observe_one(struct step *s, struct instance *i, struct node *n)
{
    size_t member;

    if (!run_member(&i->run, &n->id, &member))
        return 0;
    if (i->settle_ms != UINT64_MAX)
        return err_fold(restore_observe(s, i));
    if (instance_state_runs(i->state))
        return err_fold(observe_run(s, i, n));
    return 0;
}

/* An epoch that is being ended does not wait for it any more. */
static int silence_one(struct step *s, struct instance *i, struct node *n)
{
    size_t member;
    int r;

    if (instance_state_runs(i->state) || !run_member(&i->run, &n->id, &member))
        return 0;
    r = step_instance(s, i);
    if (r)
        return err_fold(r);
    i->run.member[member].stop.open = false;
    return err_fold(release_advance(s, i));
}

static int lose_one(struct step *s, struct instance *i, struct node *n)
{
    size_t member;

    if (!run_member(&i->run, &n->id, &member))
        return 0;
    if (i->state == INSTANCE_LOADING && plan_is_tunnel(i->plan))
        return 0; /* its streams wait for the network, and its eviction for its streams */
    if (i->state == INSTANCE_LEASING || i->state == INSTANCE_STARTING || i->state == INSTANCE_LOADING)
        return err_fold(lifecycle_trouble(s, i, &n->id, "node_lost", "node %s was lost while the instance was %s",
                                          i->run.member[member].name, instance_state_name(i->state)));
    return err_fold(silence_one(s, i, n)); /* lost is not dead: what is ready may serve on */
}

static int retire_one(struct step *s, struct instance *i, struct node *n)
{
    size_t member;
    int r;

    if (!run_member(&i->run, &n->id, &member))
        return 0;
    if (i->run.member[member].told) { /* the last word that it hears from us */
        r = command_stop_stale(s, n, &i->id, i->epoch);
        if (r)
            return err_fold(r);
    }
    if (instance_state_runs(i->state))
        return err_fold(lifecycle_trouble(s, i, &n->id, "node_retired", "node %s was retired while the instance was %s",
                                          i->run.member[member].name, instance_state_name(i->state)));
    return err_fold(silence_one(s, i, n));
}

int hear_units(struct step *s, struct node *n)
{
    return err_fold(instances_each(s, n, observe_one));
}

int hear_node_lost(struct step *s, struct node *n)
{
    return err_fold(instances_each(s, n, lose_one));
}

static int disturb_one(struct step *s, struct instance *i, struct node *n)
{
    size_t member;

    return run_member(&i->run, &n->id, &member) ? err_fold(hang_restart(s, i)) : 0;
}

int hear_node_disturbed(struct step *s, struct node *n)
{
    return err_fold(instances_each(s, n, disturb_one));
}

int hear_node_silent(struct step *s, struct node *n)
{
    return err_fold(instances_each(s, n, silence_one));
}

int hear_node_retired(struct step *s, struct node *n)
{
    return err_fold(instances_each(s, n, retire_one));
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

int hear_message(struct step *s, struct node *n, struct message *m)
{
    switch (m->kind) {
    case MESSAGE_REPORT:
        return err_fold(nodes_report(s, n, m));
    case MESSAGE_RESULT:
        return err_fold(hear_result(s, n, m));
    case MESSAGE_EVENT:
        return err_fold(hear_event(s, n, m));
    case MESSAGE_HELLO: /* is an event of its own */
    case MESSAGE_RELAY: /* is never in another one */
    case MESSAGE_WELCOME:
    case MESSAGE_COMMAND:
    case MESSAGE_NEIGHBOURS:
    case MESSAGE_SNAPSHOT:
    case MESSAGE_HEALTH:
    case MESSAGE_PING:
    case MESSAGE_PONG:
    case MESSAGE_JOIN: /* is an event of its own */
    case MESSAGE_JOINED:
        break;
    }
    return step_late(s); /* not said to a controller */
}
