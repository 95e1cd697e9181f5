/* Starts: what must be so before a process of an epoch is begun, and which process it is. What is to be reached over the
 * network gets its carrier in the same step. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/state.h"
#include "common/core/text.h"

static bool may_start(struct step *st, const struct command_key *key)
{
    const struct epoch *e = epoch_book_find(&st->s->epochs, &key->instance);

    if (e &&
        (key->epoch < e->epoch || (key->epoch == e->epoch && (e->state == EPOCH_OVER || e->state == EPOCH_ENDING)))) {
        command_refuse_stale(st, key, e->epoch);
        return false;
    }
    if (!e || key->epoch != e->epoch || e->state != EPOCH_LIVE) {
        command_refuse(st, key, "no_lease", "This node has promised nothing to epoch %" PRIu64 " of the instance.",
                       key->epoch);
        return false;
    }
    return true;
}

static bool can_run(struct step *st, const struct command_key *key)
{
    if (!st->config->can_run)
        command_refuse(st, key, "no_llama", "%s",
                       st->config->build_problem[0] ? st->config->build_problem
                                                    : "llama.cpp was not found on this node.");
    return st->config->can_run;
}

/* Without it a worker that is meant for this node alone would be given to another one as "127.0.0.1", and find whoever
 * listens there. */
static bool fits_transport(struct step *st, const struct command_key *key, bool with_carrier)
{
    bool have_carriers = st->config->carrier_addr[0];

    if (with_carrier == have_carriers)
        return true;
    command_refuse(st, key, "other_transport",
                   "rank_transport is %s on this node and %s on the controller: set it to the same in agent.conf and "
                   "controller.conf.",
                   have_carriers ? "tunnel" : "direct", with_carrier ? "tunnel" : "direct");
    return false;
}

static bool has_room(struct step *st, const struct command_key *key, size_t n_units)
{
    if (st->s->n_units + n_units <= PROTO_UNITS_MAX)
        return true;
    command_refuse(st, key, "busy", "This node runs %zu processes already, and may run %d.", st->s->n_units,
                   PROTO_UNITS_MAX);
    return false;
}

static bool has_ended(const struct unit *u)
{
    return unit_is_gone(u) || u->facts.state == UNIT_STOPPING;
}

/* Several may wait for one unit: the second start of the same is the first's. carrier: NULL: it has none. */
static void join(struct step *st, const struct command_key *key, const struct unit *u, const struct unit *carrier)
{
    const struct unit *ended = carrier && has_ended(carrier) ? carrier : u;

    if (has_ended(ended))
        command_refuse(st, key, ended->reason[0] ? ended->reason : "stopped", "Process %s of this epoch has ended: %s",
                       ended->facts.id, ended->why[0] ? ended->why : "it was stopped.");
    else
        command_hold_start(st, key, u, carrier);
}

/* ---- carriers --------------------------------------------------------------------------------------------------- */

/* There is room for it. */
static void start_carrier(struct step *st, const struct command_key *key, const struct carrier_spec *spec)
{
    struct unit *u = unit_new(st, UNIT_CARRIER);
    struct agent_fx *fx;

    u->facts.instance = key->instance;
    u->facts.epoch = key->epoch;
    fx = unit_start(st, u);
    if (fx)
        fx->carrier = effects_copy(&st->fx, spec, sizeof(*spec));
}

static void carry_worker(struct step *st, const struct command_key *key, const struct worker_spec *w,
                         const struct unit *worker)
{
    struct carrier_spec spec = {.rank = w->rank, .header_hash = w->header_hash};

    memcpy(spec.worker, worker->facts.id, sizeof(spec.worker));
    memcpy(spec.peer, w->peer, sizeof(spec.peer));
    memcpy(spec.model, w->model, sizeof(spec.model));
    start_carrier(st, key, &spec);
}

static void carry_coordinator(struct step *st, const struct command_key *key, const struct coordinator_spec *c,
                              const struct unit *coordinator)
{
    struct carrier_spec spec = {.rank = -1, .n_routes = c->n_routes, .n_gateways = c->n_gateways};

    memcpy(spec.coordinator, coordinator->facts.id, sizeof(spec.coordinator));
    for (size_t i = 0; i < c->n_routes; i++) {
        spec.route[i].rank = c->route[i].rank;
        memcpy(spec.route[i].endpoint, c->endpoint[i], sizeof(spec.route[i].endpoint));
        memcpy(spec.route[i].peer, c->route[i].peer, sizeof(spec.route[i].peer));
    }
    memcpy(spec.gateway, c->gateway, sizeof(spec.gateway));
    start_carrier(st, key, &spec);
}

static void refuse_second(struct step *st, const struct command_key *key, const struct unit *carrier)
{
    command_refuse(st, key, "bad_command",
                   "Carrier %s stands here for another part of this epoch: a node has one worker or the coordinator.",
                   carrier->facts.id);
}

/* ---- workers ---------------------------------------------------------------------------------------------------- */

static bool same_devices(const struct unit_facts *f, size_t n, const char device[][PROTO_DEVICE_MAX])
{
    if (f->n_devices != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(f->device[i], device[i]) != 0)
            return false;
    }
    return true;
}

static bool has_devices(struct step *st, const struct command_key *key, const struct message *m)
{
    for (size_t i = 0; i < m->command.worker.n_devices; i++) {
        const char *wanted = m->command.worker.device[i];
        bool found = false;

        for (size_t k = 0; k < st->config->n_devices; k++)
            found = found || strcmp(st->config->device[k], wanted) == 0;
        if (!found) {
            command_refuse(st, key, "no_device", "This node has no device \"%s\" that a worker could use.", wanted);
            return false;
        }
    }
    return true;
}

/* The idle standing worker, if it is the one wanted. */
static struct unit *find_standing(struct state *s, const struct worker_spec *spec)
{
    struct unit *u = unit_standing(s);

    if (!u || u->facts.state != UNIT_RUNNING || !unit_is_free(u) || u->probing || u->facts.dying ||
        u->facts.proc_state == 'T' /* somebody stopped it; it would take its rank and hang */ ||
        !same_devices(&u->facts, spec->n_devices, spec->device))
        return NULL;
    return u;
}

static void start_own(struct step *st, const struct command_key *key, const struct worker_spec *spec, struct unit *u)
{
    u->facts.instance = key->instance;
    u->facts.epoch = key->epoch;
    u->facts.rank = spec->rank;
    u->facts.n_devices = spec->n_devices;
    memcpy(u->facts.device, spec->device, sizeof(u->facts.device));
    unit_start(st, u);
}

/* u: this rank's worker, there already. Its carrier is not where an earlier life of this agent ended between the two. */
static void join_worker(struct step *st, const struct command_key *key, const struct worker_spec *spec, struct unit *u)
{
    struct unit *carrier = spec->peer[0] ? unit_carrier(st->s, &key->instance, key->epoch) : NULL;

    if (!same_devices(&u->facts, spec->n_devices, spec->device)) {
        command_refuse(st, key, "rank_taken", "Rank %d of this epoch runs here already, with other devices.",
                       spec->rank);
        return;
    }
    if (!spec->peer[0] || carrier || has_ended(u))
        join(st, key, u, carrier);
    else if (has_room(st, key, 1) && command_hold_start(st, key, u, true))
        carry_worker(st, key, spec, u);
}

/* What could refuse it comes first, then what is to run; a carrier last, which needs to know its worker's port. */
static void begin_worker(struct step *st, const struct command_key *key, const struct worker_spec *spec)
{
    const struct unit *carrier = unit_carrier(st->s, &key->instance, key->epoch);
    struct unit *standing = find_standing(st->s, spec), *u;

    if (spec->peer[0] && carrier) {
        refuse_second(st, key, carrier);
        return;
    }
    if (!has_room(st, key, (standing ? 0U : 1U) + (spec->peer[0] ? 1U : 0U)))
        return;
    u = standing ? standing : unit_new(st, UNIT_WORKER);
    if (!command_hold_start(st, key, u, spec->peer[0])) {
        if (!standing)
            unit_drop(st, u);
        return;
    }
    if (standing)
        unit_assign(st, u, &key->instance, key->epoch, spec->rank);
    else
        start_own(st, key, spec, u);
    if (spec->peer[0])
        carry_worker(st, key, spec, u);
}

void command_start_worker(struct step *st, const struct command_key *key, const struct message *m)
{
    const struct worker_spec *spec = &m->command.worker;
    struct unit *u;

    if (!may_start(st, key))
        return;
    if (spec->rank < 0 || spec->rank >= PROTO_RANKS_MAX || !spec->n_devices) {
        command_refuse(st, key, "bad_command", "A worker needs a rank from 0 to %d and a device.", PROTO_RANKS_MAX - 1);
        return;
    }
    if (!spec->rank && spec->peer[0]) {
        command_refuse(st, key, "bad_command", "Rank 0 stands beside its coordinator: no other node is to reach it.");
        return;
    }
    if (spec->rank && !fits_transport(st, key, spec->peer[0]))
        return;
    u = unit_rank(st->s, &key->instance, key->epoch, spec->rank);
    if (u)
        join_worker(st, key, spec, u);
    else if (can_run(st, key) && has_devices(st, key, m))
        begin_worker(st, key, spec);
}

/* ---- coordinators ----------------------------------------------------------------------------------------------- */

static const struct model_facts *find_model(struct step *st, const struct command_key *key,
                                            const struct coordinator_spec *spec)
{
    const struct model_facts *named = NULL;

    for (size_t i = 0; i < st->s->n_models; i++) {
        const struct model_facts *m = &st->s->model[i];

        if (strcmp(m->name, spec->model) != 0)
            continue;
        named = m;
        if (!m->problem[0] && m->header_hash == spec->header_hash)
            return m;
    }
    if (!named)
        command_refuse(st, key, "no_file", "This node has no model \"%s\" in its model directories.", spec->model);
    else if (named->problem[0])
        command_refuse(st, key, "no_file", "%s", named->problem);
    else
        command_refuse(st, key, "no_file", "The file of \"%s\" on this node is not the one that was planned with.",
                       spec->model);
    return NULL;
}

/* RPC0, RPC1, ... stand for the ranks; what else is named is a device of this node. */
static void note_local_devices(struct unit_facts *f, const struct coordinator_spec *spec)
{
    for (size_t i = 0; i < spec->n_devices && f->n_devices < PROTO_DEVICES_MAX; i++) {
        if (strncmp(spec->device[i], "RPC", 3) != 0)
            text_copy(f->device[f->n_devices++], PROTO_DEVICE_MAX, spec->device[i]);
    }
}

static struct coordinator_spec *copy_spec(const struct coordinator_spec *spec)
{
    struct coordinator_spec *copy = malloc(sizeof(*copy));

    if (!copy)
        return NULL;
    *copy = *spec;
    copy->arg = NULL;
    if (!spec->n_args)
        return copy;
    copy->arg = malloc(spec->n_args * sizeof(*copy->arg));
    if (!copy->arg) {
        free(copy);
        return NULL;
    }
    memcpy(copy->arg, spec->arg, spec->n_args * sizeof(*copy->arg));
    return copy;
}

/* There is room. Its carrier's effect comes before its own, and a standing worker's device context goes before ours comes. */
static void begin_coordinator(struct step *st, const struct command_key *key, const struct coordinator_spec *spec)
{
    struct unit *u = unit_new(st, UNIT_COORDINATOR);
    struct agent_fx *fx;

    if (!command_hold_start(st, key, u, spec->n_gateways)) {
        unit_drop(st, u);
        return;
    }
    u->facts.instance = key->instance;
    u->facts.epoch = key->epoch;
    note_local_devices(&u->facts, spec);
    if (spec->n_gateways)
        carry_coordinator(st, key, spec, u);
    settle_standing(st);
    fx = unit_start(st, unit_coordinator(st->s, &key->instance, key->epoch)); /* it may have moved up */
    if (!fx)
        return;
    fx->coordinator = copy_spec(spec);
    if (!fx->coordinator)
        effects_fail(&st->fx);
}

/* u: this epoch's coordinator, there already. It cannot be given another carrier: it knows the ports of its own. */
static void join_coordinator(struct step *st, const struct command_key *key, const struct coordinator_spec *spec,
                             const struct unit *u)
{
    struct unit *carrier = spec->n_gateways ? unit_carrier(st->s, &key->instance, key->epoch) : NULL;

    if (spec->n_gateways && !carrier)
        command_refuse(st, key, "carrier_exited", "The carrier of this epoch's coordinator is gone.");
    else
        join(st, key, u, carrier);
}

void command_start_coordinator(struct step *st, const struct command_key *key, const struct message *m)
{
    const struct coordinator_spec *spec = &m->command.coordinator;
    const struct unit *u, *carrier;

    if (!may_start(st, key) || !fits_transport(st, key, spec->n_gateways))
        return;
    if (spec->n_gateways && spec->n_routes != spec->n_ranks) {
        command_refuse(st, key, "bad_command", "A coordinator with a carrier needs a route for each rank.");
        return;
    }
    u = unit_coordinator(st->s, &key->instance, key->epoch);
    carrier = unit_carrier(st->s, &key->instance, key->epoch);
    if (u)
        join_coordinator(st, key, spec, u);
    else if (carrier)
        refuse_second(st, key, carrier);
    else if (can_run(st, key) && find_model(st, key, spec) && has_room(st, key, spec->n_gateways ? 2 : 1))
        begin_coordinator(st, key, spec);
}
