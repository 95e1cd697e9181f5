/* What follows from the state as it is now. Events and commands only note what happened and what is wished; the order of
 * an ending - coordinator, then the carrier, then the workers, then the lease, then the next epoch - stands here, once. */
#include <inttypes.h>
#include <string.h>

#include "agent/core/state.h"
#include "common/core/text.h"

/* ---- units of ended epochs -------------------------------------------------------------------------------------- */

static void end_coordinators(struct step *st)
{
    for (size_t i = st->s->n_units; i-- > 0;) {
        struct unit *u = &st->s->unit[i];

        if (!u->ending || u->facts.role != UNIT_COORDINATOR)
            continue;
        if (unit_is_gone(u))
            unit_drop(st, u);
        else if (u->facts.state != UNIT_STOPPING)
            unit_stop(st, u);
    }
}

/* A coordinator that ends may have memory of its ranks to give back, over the streams. (One that does not end has another
 * carrier: adopt.c.) */
static void end_carriers(struct step *st)
{
    for (size_t i = st->s->n_units; i-- > 0;) {
        struct unit *u = &st->s->unit[i];
        const struct unit *coordinator = unit_coordinator(st->s, &u->facts.instance, u->facts.epoch);

        if (!u->ending || u->facts.role != UNIT_CARRIER || (coordinator && coordinator->ending))
            continue;
        if (unit_is_gone(u))
            unit_drop(st, u);
        else if (u->facts.state != UNIT_STOPPING)
            unit_stop(st, u);
    }
}

static void release_standing(struct step *st, struct unit *u)
{
    static const struct id128 nobody;

    u->facts.instance = nobody;
    u->facts.epoch = 0;
    u->facts.rank = -1;
    u->ending = u->untold = false;
    st->s->units_changed = true;
}

/* A standing worker is kept if it proves to be empty, if whoever it served cannot come back, and if it listens where the next
 * one is to be found; one that was started for the epoch just ends: that is as empty as a worker gets, and quicker to know. */
static void end_worker(struct step *st, struct unit *u)
{
    if (u->facts.state == UNIT_STOPPING)
        return;
    if (!u->facts.standing && unit_is_gone(u)) {
        unit_drop(st, u);
    } else if (unit_is_gone(u)) {
        release_standing(st, u);
    } else if (!u->facts.standing || u->exposed || unit_is_elsewhere(st, u)) {
        unit_stop(st, u);
    } else if (u->facts.state == UNIT_RUNNING && !u->probing) {
        unit_ask_empty(st, u);
    }
}

static void end_workers(struct step *st)
{
    for (size_t i = st->s->n_units; i-- > 0;) {
        struct unit *u = &st->s->unit[i];

        /* While its coordinator lives, or a carrier brings it one, a worker is busy by right. */
        if (u->ending && u->facts.role == UNIT_WORKER && !unit_is_carried(st->s, u) &&
            !unit_coordinator(st->s, &u->facts.instance, u->facts.epoch))
            end_worker(st, u);
    }
}

/* ---- epochs ----------------------------------------------------------------------------------------------------- */

static void end_epochs(struct step *st)
{
    struct state *s = st->s;

    for (size_t i = 0; i < s->epochs.n; i++) {
        struct epoch *e = &s->epochs.epoch[i];

        if (e->state != EPOCH_ENDING || unit_any(s, &e->instance, e->epoch))
            continue;
        lease_book_release(&s->leases, &e->instance, e->epoch);
        disk_write_over(st, e);
    }
    for (size_t i = s->n_pending; i-- > 0;) {
        const struct command_key key = s->pending[i].key;

        if (s->pending[i].kind != COMMAND_STOP || unit_any(s, &key.instance, key.epoch))
            continue;
        lease_book_release(&s->leases, &key.instance, key.epoch);
        command_answer(st, &key, RESULT_DONE, "", "Nothing of this epoch is left here.");
    }
}

static void answer_leases(struct step *st, const struct epoch *e, enum result_code code, const char *reason,
                          const char *text)
{
    for (size_t i = st->s->n_pending; i-- > 0;) {
        const struct command_key key = st->s->pending[i].key;

        if (st->s->pending[i].kind == COMMAND_LEASE && key.epoch == e->epoch &&
            id128_equal(&key.instance, &e->instance))
            command_answer(st, &key, code, reason, "%s", text);
    }
}

/* What plainly cannot be. The last sample may be older than the end of a process: what that gave back counts as free. */
static bool host_has_room(const struct state *s, const struct epoch *e)
{
    uint64_t room;

    if (!s->have_sample || __builtin_add_overflow(s->host_free_bytes, s->freed_bytes, &room))
        return true;
    return e->host_bytes <= room;
}

static void grant(struct step *st, struct epoch *e)
{
    struct state *s = st->s;
    char text[PROTO_TEXT_MAX];
    int r = 0;

    lease_book_release(&s->leases, &e->instance, e->epoch - 1);
    if (host_has_room(s, e)) {
        r = lease_book_grant(&s->leases, &e->instance, e->epoch, e->bytes, st->config->memory_limit_bytes);
        if (r == 0) {
            e->state = EPOCH_LIVE;
            return;
        }
        text_format(text, sizeof(text),
                    r == LEASE_E_FULL ? "This node has too many leases already."
                                      : "%" PRIu64 " bytes are wanted, %" PRIu64
                                        " are promised to others, and this node "
                                        "offers %" PRIu64 " in all.",
                    e->bytes, lease_book_sum(&s->leases), st->config->memory_limit_bytes);
    } else {
        text_format(text, sizeof(text), "%" PRIu64 " bytes of host memory are wanted, %" PRIu64 " are free.",
                    e->host_bytes, s->host_free_bytes);
    }
    answer_leases(st, e, RESULT_REFUSED, r == LEASE_E_FULL ? "busy" : "no_memory", text);
    disk_write_over(st, e);
}

static void grant_leases(struct step *st)
{
    for (size_t i = 0; i < st->s->epochs.n; i++) {
        struct epoch *e = &st->s->epochs.epoch[i];

        if (e->state == EPOCH_CLEARING && !unit_any(st->s, &e->instance, e->epoch - 1))
            grant(st, e);
        if (e->state == EPOCH_LIVE)
            answer_leases(st, e, RESULT_DONE, "", "The memory is promised.");
    }
}

/* ---- starts ----------------------------------------------------------------------------------------------------- */

/* at: the unit itself or its carrier. */
static void answer_started(struct step *st, const struct command_key *key, const struct unit_facts *f,
                           const struct unit_facts *at)
{
    struct result r = {.code = RESULT_DONE, .port = at->port, .rpc = f->rpc};

    memcpy(r.addr, at->addr, sizeof(r.addr));
    memcpy(r.unit, f->id, sizeof(r.unit));
    text_format(r.text, sizeof(r.text), "%s %s %s %s port %u.", f->role == UNIT_WORKER ? "Worker" : "Coordinator",
                f->id, at == f ? "runs on" : "is reached by", at->addr, (unsigned)at->port);
    command_finish(st, key, &r);
}

/* A worker has started when it serves and its record says for whom; a coordinator when it exists: its load is watched
 * by the leader. */
static bool has_started(const struct unit *u)
{
    switch (u->facts.state) {
    case UNIT_STARTING:
        return u->facts.role == UNIT_COORDINATOR && u->facts.pid;
    case UNIT_RUNNING:
        return !u->token;
    case UNIT_IDLE:
    case UNIT_STOPPING:
    case UNIT_EXITED:
    case UNIT_BACKOFF:
    case UNIT_FAILED:
        break;
    }
    return false;
}

static bool has_failed(const struct unit *u)
{
    return !u || unit_is_gone(u) || u->facts.state == UNIT_STOPPING;
}

static void answer_start(struct step *st, const struct pending *p)
{
    const struct command_key key = p->key;
    struct unit *u = unit_find(st->s, p->unit_id);
    struct unit *carrier = p->carried ? unit_carrier(st->s, &key.instance, key.epoch) : u;
    const struct unit *failed = has_failed(carrier) ? carrier : u;

    if (has_failed(failed))
        command_answer(st, &key, RESULT_FAILED, failed ? failed->reason : "stopped", "%s",
                       failed && failed->why[0] ? failed->why
                                                : "The process ended before it served; its output says nothing.");
    else if (has_started(u) && has_started(carrier))
        answer_started(st, &key, &u->facts, &carrier->facts);
}

static void answer_starts(struct step *st)
{
    for (size_t i = st->s->n_pending; i-- > 0;) {
        const struct pending *p = &st->s->pending[i];

        if (p->kind == COMMAND_START_WORKER || p->kind == COMMAND_START_COORDINATOR)
            answer_start(st, p);
    }
}

/* ---- the standing worker ---------------------------------------------------------------------------------------- */

/* A coordinator that computes on this node's own device needs its memory; on a CPU there is no context to give back. */
static bool devices_are_wanted(const struct state *s)
{
    for (size_t i = 0; i < s->n_units; i++) {
        const struct unit *u = &s->unit[i];

        if (u->facts.role != UNIT_COORDINATOR || unit_is_gone(u))
            continue;
        for (size_t k = 0; k < u->facts.n_devices; k++) {
            if (strcmp(u->facts.device[k], "CPU") != 0)
                return true;
        }
    }
    return false;
}

static void new_standing(struct step *st)
{
    struct unit *u = unit_new(st, UNIT_WORKER);

    if (!u)
        return;
    u->facts.standing = true;
    u->facts.n_devices = st->config->n_devices;
    memcpy(u->facts.device, st->config->device, sizeof(u->facts.device));
    unit_start(st, u);
}

static void keep_standing(struct step *st, struct unit *u)
{
    if (u->facts.state == UNIT_EXITED || u->facts.state == UNIT_FAILED)
        unit_back_off(st, u);
    if (u->facts.state == UNIT_BACKOFF && st->now_ms >= u->due_ms)
        unit_start(st, u);
}

void settle_standing(struct step *st)
{
    bool wanted = st->config->standing && st->config->can_run && !devices_are_wanted(st->s);
    struct unit *u = unit_standing(st->s);

    if (!st->s->begun || (u && !unit_is_free(u)))
        return;
    if (wanted && u)
        keep_standing(st, u);
    else if (wanted)
        new_standing(st);
    else if (u && unit_is_gone(u))
        unit_drop(st, u);
    else if (u && u->facts.state != UNIT_STOPPING)
        unit_stop(st, u);
}

static const char *advertised_state(const struct step *st, const struct unit *u)
{
    const struct unit *c;

    if (!u || u->facts.state != UNIT_RUNNING)
        return NULL;
    if (unit_is_free(u))
        return u->probing ? st->s->advertised : "idle";
    c = unit_coordinator(st->s, &u->facts.instance, u->facts.epoch);
    return c && c->facts.state == UNIT_STARTING ? "loading" : "leased";
}

static void advertise(struct step *st)
{
    const struct unit *u = unit_standing(st->s);
    const char *word = advertised_state(st, u);
    struct agent_fx *fx;

    if (word == st->s->advertised) /* one literal each */
        return;
    st->s->advertised = word;
    fx = effects_add(&st->fx, AGENT_FX_ADVERTISE);
    if (!fx)
        return;
    fx->advertise = word;
    if (!u)
        return;
    fx->unit = u->facts;
    memcpy(fx->unit_id, u->facts.id, sizeof(fx->unit_id));
}

void settle(struct step *st)
{
    if (!st->s->begun) /* a worker may be told before its coordinator is */
        return;
    end_coordinators(st);
    end_carriers(st);
    end_workers(st);
    end_epochs(st);
    grant_leases(st);
    answer_starts(st);
    settle_standing(st);
    advertise(st);
}
