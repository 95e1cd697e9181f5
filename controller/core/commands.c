#include "controller/core/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/nodes.h"
#include "controller/core/recovery.h"

/* A node ends its coordinator and then its workers, each with this grace, and a dead epoch's lease is to be over in 5 s. */
enum { STOP_GRACE_MS = 2000, KILL_GRACE_MS = 1 /* 0: the node's own */ };

/* What is stopped by a wish may end its streams first. Of an epoch that has failed nobody can use what is left of them, and
 * a coordinator whose rank hangs does not obey SIGTERM at all. */
static uint32_t grace_ms(const struct instance *i)
{
    bool failed = i->state == INSTANCE_RECOVERING && strcmp(i->code, RECOVERY_DRAINED) != 0;

    return failed ? KILL_GRACE_MS : STOP_GRACE_MS;
}

static void share_add(struct share *share, const char *device, uint64_t bytes)
{
    for (size_t i = 0; i < share->n_devices; i++) {
        if (!strcmp(share->device[i], device)) {
            share->bytes[i] += bytes;
            return;
        }
    }
    if (share->n_devices == PROTO_DEVICES_MAX)
        return;
    text_format(share->device[share->n_devices], PROTO_DEVICE_MAX, "%s", device);
    share->bytes[share->n_devices++] = bytes;
}

void plan_share(const struct plan *p, const struct id128 *node, struct share *ret)
{
    *ret = (struct share){0};
    for (size_t r = 0; r < p->n_ranks; r++) {
        const struct plan_rank *rank = &p->rank[r];

        if (!id128_equal(&rank->node, node))
            continue;
        if (r == 0)
            ret->host_bytes = p->host_bytes;
        for (size_t d = 0; d < rank->n_devices; d++)
            share_add(ret, rank->device[d].name, rank->device[d].peak_bytes);
    }
}

/* index: of the member (LEASE, STOP) or the rank (START_WORKER); 0 for the coordinator. */
static struct call *call_of(struct run *r, enum command_kind kind, size_t index)
{
    switch (kind) {
    case COMMAND_LEASE:
        return &r->member[index].lease;
    case COMMAND_STOP:
        return &r->member[index].stop;
    case COMMAND_START_WORKER:
        return &r->rank[index].start;
    case COMMAND_START_COORDINATOR:
    case COMMAND_KNOCK: /* no instance's */
        break;
    }
    return &r->coordinator;
}

bool run_call_at(struct run *r, size_t at, enum command_kind *kind, size_t *index, struct call **ret)
{
    if (at < 2 * r->n_members) {
        *kind = at % 2 ? COMMAND_STOP : COMMAND_LEASE;
        *index = at / 2;
    } else if (at < 2 * r->n_members + r->n_ranks) {
        *kind = COMMAND_START_WORKER;
        *index = at - 2 * r->n_members;
    } else if (at == 2 * r->n_members + r->n_ranks) {
        *kind = COMMAND_START_COORDINATOR;
        *index = 0;
    } else {
        return false;
    }
    *ret = call_of(r, *kind, *index);
    return true;
}

static void fill_lease(const struct instance *i, size_t index, struct command *cmd)
{
    struct share share;

    plan_share(i->plan, &i->run.member[index].node, &share);
    cmd->lease.n_devices = share.n_devices;
    memcpy(cmd->lease.device, share.device, sizeof(share.device));
    memcpy(cmd->lease.bytes, share.bytes, sizeof(share.bytes));
    cmd->lease.host_bytes = share.host_bytes;
}

/* By which carriers know the node of that rank. */
static const char *rank_key(const struct cluster *c, const struct instance *i, size_t rank)
{
    const struct node *n = node_find(c, &i->plan->rank[rank].node);

    return n ? n->key : "";
}

static void fill_worker(const struct cluster *c, const struct instance *i, size_t index, struct command *cmd)
{
    const struct plan_rank *rank = &i->plan->rank[index];

    cmd->worker.rank = (int32_t)index;
    cmd->worker.n_devices = rank->n_devices;
    for (size_t d = 0; d < rank->n_devices; d++)
        memcpy(cmd->worker.device[d], rank->device[d].name, PROTO_DEVICE_MAX);
    if (!plan_is_tunnel(i->plan) || !run_is_remote(&i->run, index))
        return;
    text_format(cmd->worker.peer, sizeof(cmd->worker.peer), "%s", rank_key(c, i, 0));
    memcpy(cmd->worker.model, i->plan->model, sizeof(cmd->worker.model));
    cmd->worker.header_hash = i->plan->header_hash;
}

/* One for each endpoint, in their order. */
static void fill_routes(const struct cluster *c, const struct instance *i, struct coordinator_spec *spec)
{
    if (!plan_is_tunnel(i->plan))
        return;
    text_format(spec->gateway[spec->n_gateways++], sizeof(spec->gateway[0]), "%s", c->config.key);
    for (size_t r = 0; r < i->run.n_ranks; r++) {
        struct rank_route *route = &spec->route[spec->n_routes];

        if (i->plan->rank[r].local)
            continue;
        route->rank = (int32_t)r;
        if (run_is_remote(&i->run, r))
            text_format(route->peer, sizeof(route->peer), "%s", rank_key(c, i, r));
        spec->n_routes++;
    }
}

static int fill_coordinator(const struct cluster *c, const struct instance *i, struct command *cmd)
{
    struct coordinator_spec *spec = &cmd->coordinator;
    const struct plan *p = i->plan;

    memcpy(spec->model, p->model, sizeof(spec->model));
    spec->header_hash = p->header_hash;
    memcpy(spec->alias, i->name, sizeof(spec->alias));
    for (size_t r = 0; r < p->n_ranks; r++) {
        const struct plan_rank *rank = &p->rank[r];

        if (!rank->local)
            memcpy(spec->endpoint[spec->n_ranks++], i->run.rank[r].endpoint, sizeof(spec->endpoint[0]));
        for (size_t d = 0; d < rank->n_devices && spec->n_devices < PROTO_RANKS_MAX * 2; d++) {
            memcpy(spec->device[spec->n_devices], rank->device[d].flag, PROTO_DEVICE_MAX);
            spec->layers[spec->n_devices++] = rank->device[d].n_layers;
        }
    }
    spec->ctx = p->ctx;
    spec->slots = p->slots;
    spec->batch = p->batch;
    spec->ubatch = p->ubatch;
    memcpy(spec->kv_type, p->kv_type, sizeof(spec->kv_type));
    fill_routes(c, i, spec);
    if (!i->request.n_args)
        return 0;
    spec->arg = malloc(i->request.n_args * sizeof(*spec->arg));
    if (!spec->arg)
        return err_raise(-ENOMEM);
    memcpy(spec->arg, i->request.arg, i->request.n_args * sizeof(*spec->arg));
    spec->n_args = i->request.n_args;
    return 0;
}

/* It was asked for, on another node, and that has not said that it ended. As long as it may come into being, or come back
 * from behind a cut, it dials the ports that it was given, and llama.cpp lets in whoever dials. A carrier does not: it knows
 * one epoch, and ends with it. */
static bool is_at_large(const struct instance *i, size_t member)
{
    size_t first = i->run.rank[0].member;

    return !plan_is_tunnel(i->plan) && member != first && i->run.member[first].told &&
           (i->run.coordinator.id || i->stored);
}

static int fill_command(const struct cluster *c, const struct instance *i, enum command_kind kind, size_t index,
                        struct command *cmd)
{
    cmd->kind = kind;
    switch (kind) {
    case COMMAND_LEASE:
        fill_lease(i, index, cmd);
        break;
    case COMMAND_START_WORKER:
        fill_worker(c, i, index, cmd);
        break;
    case COMMAND_START_COORDINATOR:
        return err_fold(fill_coordinator(c, i, cmd));
    case COMMAND_STOP:
        cmd->stop.grace_ms = grace_ms(i);
        cmd->stop.at_large = is_at_large(i, index);
        break;
    case COMMAND_KNOCK:
        break;
    }
    return 0;
}

static struct message *message_new(const struct step *s, const struct id128 *instance, uint64_t epoch, uint64_t id)
{
    struct message *m = message_to(s, MESSAGE_COMMAND);

    if (!m)
        return NULL;
    m->instance = *instance;
    m->epoch = epoch;
    m->command_id = id;
    return m;
}

uint64_t command_new_id(struct step *s)
{
    return s->c->config.term << 32 | ++s->c->numbers.last_command;
}

static size_t call_member(const struct instance *i, enum command_kind kind, size_t index)
{
    switch (kind) {
    case COMMAND_LEASE:
    case COMMAND_STOP:
        return index;
    case COMMAND_START_WORKER:
        return i->run.rank[index].member;
    case COMMAND_START_COORDINATOR:
    case COMMAND_KNOCK:
        break;
    }
    return i->run.rank[0].member;
}

int command_send(struct step *s, struct instance *i, enum command_kind kind, size_t index, uint64_t wait_ms)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct call *call = call_of(&i->run, kind, index);
    struct member *member = &i->run.member[call_member(i, kind, index)];
    const struct node *n = node_find(s->c, &member->node);
    int r;

    if (!call->id) {
        call->id = command_new_id(s);
        call->deadline_ms = s->now_ms + wait_ms;
    }
    call->open = true;
    call->resend_ms = s->now_ms + COMMAND_RESEND_MS;
    if (!n)
        return 0;
    m = message_new(s, &i->id, i->epoch, call->id);
    if (!m)
        return err_raise(-ENOMEM);
    r = fill_command(s->c, i, kind, index, &m->command);
    if (r)
        return err_fold(r);
    member->told = true;
    return err_fold(fx_send(s, n->key, "", &m));
}

/* Some other node has not said that what it had of this epoch is over: it may be the coordinator's, which dials ports that
 * let in whoever does. */
static bool is_owed_elsewhere(const struct cluster *c, const struct node *n, const struct id128 *instance,
                              uint64_t epoch)
{
    const struct instance *i = instance_find(c, instance);

    for (size_t d = 0; d < (i ? i->n_debts : 0); d++) {
        if (i->debt[d].epoch >= epoch && !i->debt[d].tunnel && !id128_equal(&i->debt[d].node, &n->id))
            return true;
    }
    return false;
}

int command_stop_stale(struct step *s, const struct node *n, const struct id128 *instance, uint64_t epoch)
{
    CLEANUP(message_destroy) struct message *m = message_new(s, instance, epoch, command_new_id(s));

    if (!m)
        return err_raise(-ENOMEM);
    m->command.kind = COMMAND_STOP;
    m->command.stop.grace_ms = STOP_GRACE_MS;
    m->command.stop.at_large = is_owed_elsewhere(s->c, n, instance, epoch);
    return err_fold(fx_send(s, n->key, "", &m));
}

int command_knock(struct step *s, const struct node *witness, const struct peer_facts *at, uint64_t id)
{
    CLEANUP(message_destroy) struct message *m = message_new(s, &(struct id128){{0}}, 0, id);

    if (!m)
        return err_raise(-ENOMEM);
    m->command.kind = COMMAND_KNOCK;
    m->command.knock = *at;
    return err_fold(fx_send(s, witness->key, "", &m));
}
