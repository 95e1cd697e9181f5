/* Starts: what must be so before a process of an epoch is begun, and which process it is. */
#include <inttypes.h>
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

/* Several may wait for one unit: the second start of the same is the first's. */
static void join(struct step *st, const struct command_key *key, enum command_kind kind, const struct unit *u)
{
    if (unit_is_gone(u) || u->facts.state == UNIT_STOPPING)
        command_refuse(st, key, u->reason[0] ? u->reason : "stopped", "Process %s of this epoch has ended: %s",
                       u->facts.id, u->why[0] ? u->why : "it was stopped.");
    else
        command_hold(st, key, kind, u->facts.id);
}

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
static struct unit *take_standing(struct step *st, const struct command_key *key, const struct message *m)
{
    struct unit *u = unit_standing(st->s);

    if (!u || u->facts.state != UNIT_RUNNING || !unit_is_free(u) || u->probing || u->facts.dying ||
        u->facts.proc_state == 'T' /* somebody stopped it; it would take its rank and hang */ ||
        !same_devices(&u->facts, m->command.worker.n_devices, m->command.worker.device))
        return NULL;
    unit_assign(st, u, &key->instance, key->epoch, m->command.worker.rank);
    return u;
}

static struct unit *start_own(struct step *st, const struct command_key *key, const struct message *m)
{
    struct unit *u = unit_new(st, UNIT_WORKER);

    if (!u) {
        command_refuse(st, key, "busy", "This node runs %d processes already.", PROTO_UNITS_MAX);
        return NULL;
    }
    u->facts.instance = key->instance;
    u->facts.epoch = key->epoch;
    u->facts.rank = m->command.worker.rank;
    u->facts.n_devices = m->command.worker.n_devices;
    memcpy(u->facts.device, m->command.worker.device, sizeof(u->facts.device));
    unit_start(st, u, NULL);
    return u;
}

void command_start_worker(struct step *st, const struct command_key *key, const struct message *m)
{
    int32_t rank = m->command.worker.rank;
    struct unit *u;

    if (!may_start(st, key))
        return;
    if (rank < 0 || rank >= PROTO_RANKS_MAX || !m->command.worker.n_devices) {
        command_refuse(st, key, "bad_command", "A worker needs a rank from 0 to %d and a device.", PROTO_RANKS_MAX - 1);
        return;
    }
    u = unit_rank(st->s, &key->instance, key->epoch, rank);
    if (u) {
        if (same_devices(&u->facts, m->command.worker.n_devices, m->command.worker.device))
            join(st, key, COMMAND_START_WORKER, u);
        else
            command_refuse(st, key, "rank_taken", "Rank %d of this epoch runs here already, with other devices.", rank);
        return;
    }
    if (!can_run(st, key) || !has_devices(st, key, m))
        return;
    u = take_standing(st, key, m);
    if (!u)
        u = start_own(st, key, m);
    if (u)
        command_hold(st, key, COMMAND_START_WORKER, u->facts.id);
}

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

void command_start_coordinator(struct step *st, const struct command_key *key, const struct message *m)
{
    const struct coordinator_spec *spec = &m->command.coordinator;
    struct unit *u;

    if (!may_start(st, key))
        return;
    u = unit_coordinator(st->s, &key->instance, key->epoch);
    if (u) {
        join(st, key, COMMAND_START_COORDINATOR, u);
        return;
    }
    if (!can_run(st, key) || !find_model(st, key, spec))
        return;
    u = unit_new(st, UNIT_COORDINATOR);
    if (!u) {
        command_refuse(st, key, "busy", "This node runs %d processes already.", PROTO_UNITS_MAX);
        return;
    }
    if (!command_hold(st, key, COMMAND_START_COORDINATOR, u->facts.id)) {
        unit_drop(st, u);
        return;
    }
    u->facts.instance = key->instance;
    u->facts.epoch = key->epoch;
    note_local_devices(&u->facts, spec);
    settle_standing(st); /* its device context goes before ours comes */
    unit_start(st, unit_coordinator(st->s, &key->instance, key->epoch), spec);
}
