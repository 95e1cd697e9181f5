#include "common/core/message_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"

/* NULL stays NULL. */
static int copy_bytes(void *ret, const void *from, size_t n_bytes)
{
    void *copy;

    if (!from)
        return 0;
    copy = malloc(n_bytes ? n_bytes : 1);
    if (!copy)
        return err_raise(-ENOMEM);
    memcpy(copy, from, n_bytes);
    memcpy(ret, &copy, sizeof(copy));
    return 0;
}

static int copy_inventory(const struct report *r, struct report *to)
{
    if (!r->n_models)
        return 0;
    to->model = calloc(r->n_models, sizeof(*to->model));
    if (!to->model)
        return err_raise(-ENOMEM);
    for (; to->n_models < r->n_models; to->n_models++) {
        struct model_facts *own = &to->model[to->n_models];

        *own = r->model[to->n_models];
        if (!own->shape)
            continue;
        own->shape = model_shape_copy(own->shape);
        if (!own->shape)
            return err_raise(-ENOMEM);
    }
    return 0;
}

static int copy_report(const struct report *r, struct report **ret)
{
    struct report *to = *ret = malloc(sizeof(*to));

    if (!to)
        return err_raise(-ENOMEM);
    *to = *r;
    to->n_models = 0;
    to->model = NULL;
    return copy_inventory(r, to);
}

static int copy_command(const struct command *c, struct command *to)
{
    *to = *c;
    if (c->kind != COMMAND_START_COORDINATOR)
        return 0;
    to->coordinator.arg = NULL;
    return copy_bytes(&to->coordinator.arg, c->coordinator.arg, c->coordinator.n_args * sizeof(*c->coordinator.arg));
}

static int copy_snapshot(const struct snapshot *s, struct snapshot *to)
{
    int r;

    *to = *s;
    to->nodes = to->instances = NULL;
    r = copy_bytes(&to->nodes, s->nodes, s->n_nodes_bytes + 1);
    return r < 0 ? r : copy_bytes(&to->instances, s->instances, s->n_instances_bytes + 1);
}

/* to: a copy of the envelope, of the same kind, its contents zeroed. */
static int copy_contents(const struct message *m, struct message *to)
{
    switch (m->kind) {
    case MESSAGE_HELLO:
        to->hello = m->hello;
        return 0;
    case MESSAGE_WELCOME:
        to->welcome = m->welcome;
        return 0;
    case MESSAGE_REPORT:
        return m->report ? copy_report(m->report, &to->report) : 0;
    case MESSAGE_COMMAND:
        return copy_command(&m->command, &to->command);
    case MESSAGE_RESULT:
        to->result = m->result;
        return 0;
    case MESSAGE_EVENT:
        return copy_bytes(&to->event, m->event, sizeof(*m->event));
    case MESSAGE_NEIGHBOURS:
        return copy_bytes(&to->neighbours, m->neighbours, sizeof(*m->neighbours));
    case MESSAGE_SNAPSHOT:
        return copy_snapshot(&m->snapshot, &to->snapshot);
    case MESSAGE_HEALTH:
        to->health = m->health;
        return 0;
    case MESSAGE_RELAY:
        memcpy(to->relay.key, m->relay.key, sizeof(to->relay.key));
        return m->relay.inner ? message_copy(m->relay.inner, &to->relay.inner) : 0;
    case MESSAGE_PING:
    case MESSAGE_PONG:
        to->nonce = m->nonce;
        return 0;
    case MESSAGE_JOIN:
        to->join = m->join;
        return 0;
    case MESSAGE_JOINED:
        to->joined = m->joined;
        return 0;
    }
    return 0;
}

int message_copy(const struct message *m, struct message **ret)
{
    CLEANUP(message_destroy) struct message *to = calloc(1, sizeof(*to));
    int r;

    if (!to)
        return err_raise(-ENOMEM);
    memcpy(to, m, offsetof(struct message, hello));
    r = copy_contents(m, to);
    if (r < 0)
        return err_pass(r);
    *ret = to;
    to = NULL;
    return 0;
}
