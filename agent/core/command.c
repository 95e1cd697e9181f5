/* What controllers ask of this node. Each command ends in exactly one result: at once, or when what it began has come to
 * its end (settle.c). A command is obeyed once: one that is under way is not begun again, one that is over gets the
 * result it got; and beyond what is remembered, leases and starts find what is already there by (instance, epoch,
 * rank). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/core/state.h"
#include "common/core/text.h"

enum { GRACE_MAX_MS = 60000 };

/* ---- answers ---------------------------------------------------------------------------------------------------- */

void command_finish(struct step *st, const struct command_key *key, const struct result *r)
{
    struct message *m = route_send(st, MESSAGE_RESULT);

    for (size_t i = 0; i < st->s->n_pending; i++) {
        if (command_key_equal(&st->s->pending[i].key, key)) {
            st->s->pending[i] = st->s->pending[--st->s->n_pending];
            break;
        }
    }
    if (!m)
        return;
    m->instance = key->instance;
    m->epoch = key->epoch;
    m->command_id = key->command_id;
    m->result = *r;
}

void command_answer(struct step *st, const struct command_key *key, enum result_code code, const char *reason,
                    const char *format, ...)
{
    struct result r = {.code = code};
    va_list args;

    text_copy(r.reason, sizeof(r.reason), reason);
    va_start(args, format);
    if (vsnprintf(r.text, sizeof(r.text), format, args) < 0)
        r.text[0] = '\0';
    va_end(args);
    text_clean(r.text);
    command_finish(st, key, &r);
}

static struct pending *hold(struct step *st, const struct command_key *key, enum command_kind kind)
{
    struct pending *p;

    if (st->s->n_pending == AGENT_COMMANDS_MAX) {
        command_refuse(st, key, "busy", "This node has %d commands under way already.", AGENT_COMMANDS_MAX);
        return NULL;
    }
    p = &st->s->pending[st->s->n_pending++];
    *p = (struct pending){.key = *key, .kind = kind};
    return p;
}

bool command_hold(struct step *st, const struct command_key *key, enum command_kind kind)
{
    return hold(st, key, kind);
}

bool command_hold_start(struct step *st, const struct command_key *key, const struct unit *u, bool carried)
{
    struct pending *p =
        hold(st, key, u->facts.role == UNIT_COORDINATOR ? COMMAND_START_COORDINATOR : COMMAND_START_WORKER);

    if (!p)
        return false;
    memcpy(p->unit_id, u->facts.id, sizeof(p->unit_id));
    p->carried = carried;
    return true;
}

void command_refuse_stale(struct step *st, const struct command_key *key, uint64_t newest)
{
    struct result r = {.code = RESULT_REFUSED, .reason = "stale_epoch", .newest_epoch = newest};

    if (key->epoch < newest)
        text_format(r.text, sizeof(r.text),
                    "This node has seen epoch %" PRIu64 " of the instance; epoch %" PRIu64 " is over.", newest,
                    key->epoch);
    else
        text_format(r.text, sizeof(r.text), "Epoch %" PRIu64 " of the instance was ended on this node.", key->epoch);
    command_finish(st, key, &r);
}

/* ---- lease ------------------------------------------------------------------------------------------------------ */

static bool is_host_memory(const struct state *s, const char *device)
{
    for (size_t i = 0; i < s->n_devices; i++) {
        if (strcmp(s->device[i].name, device) == 0)
            return s->device[i].kind != DEVICE_GPU;
    }
    return strcmp(device, "CPU") == 0;
}

static uint64_t add_bytes(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static void write_epoch(struct step *st, struct epoch *e, const struct message *m)
{
    const struct command *c = &m->command;

    e->epoch = m->epoch;
    e->bytes = e->host_bytes = c->lease.host_bytes;
    for (size_t i = 0; i < c->lease.n_devices; i++) {
        e->bytes = add_bytes(e->bytes, c->lease.bytes[i]);
        if (is_host_memory(st->s, c->lease.device[i]))
            e->host_bytes = add_bytes(e->host_bytes, c->lease.bytes[i]);
    }
    disk_write_lease(st, e);
}

/* Leases asked for that a stop, or a full disk, has overtaken. */
static void refuse_overtaken(struct step *st, const struct id128 *instance, uint64_t below, const char *reason,
                             const char *text)
{
    for (size_t i = st->s->n_pending; i-- > 0;) {
        const struct command_key key = st->s->pending[i].key;

        if (st->s->pending[i].kind == COMMAND_LEASE && key.epoch < below && id128_equal(&key.instance, instance))
            command_refuse(st, &key, reason, "%s", text);
    }
}

/* Leases asked for whose epoch is older than this one. */
static void refuse_older(struct step *st, const struct command_key *newest)
{
    for (size_t i = st->s->n_pending; i-- > 0;) {
        const struct command_key key = st->s->pending[i].key;

        if (st->s->pending[i].kind == COMMAND_LEASE && key.epoch < newest->epoch &&
            id128_equal(&key.instance, &newest->instance))
            command_refuse_stale(st, &key, newest->epoch);
    }
}

static void on_lease(struct step *st, const struct command_key *key, const struct message *m)
{
    struct epoch *e = epoch_book_find(&st->s->epochs, &key->instance);

    if (e &&
        (key->epoch < e->epoch || (key->epoch == e->epoch && (e->state == EPOCH_OVER || e->state == EPOCH_ENDING)))) {
        command_refuse_stale(st, key, e->epoch);
        return;
    }
    if (e && key->epoch == e->epoch) { /* promised, or on its way: settle answers */
        command_hold(st, key, COMMAND_LEASE);
        return;
    }
    e = epoch_book_enter(&st->s->epochs, &key->instance);
    if (!e) {
        command_refuse(st, key, "busy", "This node has %d instances under way already.", AGENT_EPOCHS_MAX);
        return;
    }
    if (!command_hold(st, key, COMMAND_LEASE))
        return;
    refuse_older(st, key);
    write_epoch(st, e, m);
}

static void end_older(struct step *st, struct epoch *e, bool written)
{
    if (written) {
        e->state = EPOCH_CLEARING;
        command_end_epochs(st, &e->instance, e->epoch - 1, AGENT_STOP_GRACE_MS, true);
        return;
    }
    /* Not on disk, so not to be relied on: the leader's next try has a higher number. What is older is over all the same:
     * a newer one has been seen. */
    refuse_overtaken(st, &e->instance, e->epoch + 1, "disk",
                     "The epoch could not be written to this node's disk; nothing was started.");
    e->state = EPOCH_ENDING;
    command_end_epochs(st, &e->instance, e->epoch - 1, AGENT_STOP_GRACE_MS, true);
}

/* Of a worker that will not serve its epoch: nobody is to be let in to it. */
static void end_its_carrier(struct step *st, const struct unit *worker)
{
    struct unit *carrier = unit_carrier(st->s, &worker->facts.instance, worker->facts.epoch);

    if (carrier && worker->facts.rank) /* rank 0's is the coordinator's */
        carrier->ending = true;
}

static void on_assigned(struct step *st, struct unit *u, bool written)
{
    static const struct id128 nobody;
    const struct id128 instance = u->facts.instance;

    u->token = 0;
    if (written)
        return;
    disk_unit_failed(st, u);
    if (id128_is_zero(&instance))
        return;
    for (size_t i = st->s->n_pending; i-- > 0;) {
        const struct command_key key = st->s->pending[i].key;

        if (strcmp(st->s->pending[i].unit_id, u->facts.id) == 0)
            command_answer(st, &key, RESULT_FAILED, "disk", "The worker's record could not be written to disk.");
    }
    end_its_carrier(st, u);
    u->facts.instance = nobody;
    u->facts.epoch = 0;
    u->facts.rank = -1;
    st->s->units_changed = true;
}

void command_on_persisted(struct step *st, uint64_t token, bool ok)
{
    struct state *s = st->s;

    for (size_t i = 0; token && i < s->epochs.n; i++) {
        struct epoch *e = &s->epochs.epoch[i];

        if (e->state == EPOCH_WRITING && e->token == token)
            end_older(st, e, ok);
        else if (e->state == EPOCH_OVER && e->token == token && !ok)
            disk_over_failed(st, e);
    }
    for (size_t i = 0; token && i < s->n_units; i++) {
        if (s->unit[i].token == token)
            on_assigned(st, &s->unit[i], ok);
    }
}

/* ---- stop ------------------------------------------------------------------------------------------------------- */

void command_end_epochs(struct step *st, const struct id128 *instance, uint64_t up_to_epoch, uint32_t grace_ms,
                        bool at_large)
{
    for (size_t i = 0; i < st->s->n_units; i++) {
        struct unit *u = &st->s->unit[i];

        if (!unit_serves(u, instance, up_to_epoch))
            continue;
        u->ending = true;
        u->grace_ms = grace_ms;
        if (at_large)
            unit_expose(st, u);
        st->s->units_changed = true;
    }
    for (size_t i = st->s->n_pending; i-- > 0;) {
        const struct command_key key = st->s->pending[i].key;
        enum command_kind kind = st->s->pending[i].kind;

        if ((kind == COMMAND_START_WORKER || kind == COMMAND_START_COORDINATOR) && key.epoch <= up_to_epoch &&
            id128_equal(&key.instance, instance))
            command_answer(st, &key, RESULT_FAILED, "stopped", "The epoch was ended while this start was under way.");
    }
}

static bool waits_for(const struct pending *p, const struct unit *u)
{
    switch (p->kind) {
    case COMMAND_LEASE:
        return unit_serves(u, &p->key.instance, p->key.epoch - 1);
    case COMMAND_STOP:
        return unit_serves(u, &p->key.instance, p->key.epoch);
    case COMMAND_START_WORKER: /* were answered when it was being ended */
    case COMMAND_START_COORDINATOR:
    case COMMAND_KNOCK:
        break;
    }
    return false;
}

/* The epoch stays in its ending, and what it was promised stays promised, until the process is gone. */
void command_give_up(struct step *st, const struct unit *u)
{
    struct epoch *e = epoch_book_find(&st->s->epochs, &u->facts.instance);

    if (e && e->state == EPOCH_CLEARING)
        e->state = EPOCH_ENDING;
    for (size_t i = st->s->n_pending; i-- > 0;) {
        const struct command_key key = st->s->pending[i].key;

        if (waits_for(&st->s->pending[i], u))
            command_answer(st, &key, RESULT_FAILED, "process_stuck",
                           "Process %s (pid %d) has not ended within %d s of SIGKILL.", u->facts.id, (int)u->facts.pid,
                           AGENT_STUCK_MS / 1000);
    }
}

/* Ending needs no number on disk first: whatever this node forgets, not running is the safe side. The number is written
 * all the same when the stop is done, so that a late start of it stays refused. */
static void on_stop(struct step *st, const struct command_key *key, const struct message *m)
{
    struct epoch *e = epoch_book_find(&st->s->epochs, &key->instance);
    uint32_t grace_ms = m->command.stop.grace_ms ? m->command.stop.grace_ms : AGENT_STOP_GRACE_MS;

    if (!command_hold(st, key, COMMAND_STOP))
        return;
    if (!e || e->epoch < key->epoch || (e->epoch == key->epoch && e->state != EPOCH_OVER)) {
        e = epoch_book_enter(&st->s->epochs, &key->instance);
        if (e) { /* else the book is full of others; what runs is ended all the same */
            e->epoch = key->epoch;
            e->state = EPOCH_ENDING;
            e->unwritten = false; /* it is written when it has ended */
        }
    }
    refuse_overtaken(st, &key->instance, key->epoch + 1, "stopped", "The epoch was ended before it began.");
    command_end_epochs(st, &key->instance, key->epoch, grace_ms < GRACE_MAX_MS ? grace_ms : GRACE_MAX_MS,
                       m->command.stop.at_large);
}

/* ---- the door --------------------------------------------------------------------------------------------------- */

void command_on_message(struct step *st, const struct message *m)
{
    const struct command_key key = command_key_of(m);
    const struct result *known = result_book_find(st->results, &key);

    if (known) {
        command_finish(st, &key, known);
        return;
    }
    for (size_t i = 0; i < st->s->n_pending; i++) {
        if (command_key_equal(&st->s->pending[i].key, &key))
            return;
    }
    if (m->command.kind == COMMAND_KNOCK) {
        knock_begin(st, &key, &m->command.knock);
        return;
    }
    if (id128_is_zero(&key.instance) || !key.epoch || key.epoch == UINT64_MAX) {
        command_refuse(st, &key, "bad_command", "A command needs an instance and an epoch from 1 up.");
        return;
    }
    switch (m->command.kind) {
    case COMMAND_LEASE:
        on_lease(st, &key, m);
        return;
    case COMMAND_START_WORKER:
        command_start_worker(st, &key, m);
        return;
    case COMMAND_START_COORDINATOR:
        command_start_coordinator(st, &key, m);
        return;
    case COMMAND_STOP:
        on_stop(st, &key, m);
        return;
    case COMMAND_KNOCK: /* was before: it is of no instance */
        break;
    }
    command_refuse(st, &key, "unknown_command", "This agent (Caravan %s) does not know that command.", CARAVAN_VERSION);
}
