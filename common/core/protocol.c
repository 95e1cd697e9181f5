#include "common/core/protocol.h"

#include <stdlib.h>
#include <string.h>

static void report_clear(struct report *r)
{
    if (r->model) {
        for (size_t i = 0; i < r->n_models; i++)
            free(r->model[i].shape);
    }
    free(r->model);
    r->model = NULL;
    r->n_models = 0;
}

static void command_clear(struct command *c)
{
    if (c->kind != COMMAND_START_COORDINATOR)
        return;
    free(c->coordinator.arg);
    explicit_bzero(c->coordinator.api_key, sizeof(c->coordinator.api_key));
}

void message_clear(struct message *m)
{
    if (!m)
        return;
    switch (m->kind) {
    case MESSAGE_REPORT:
        if (m->report)
            report_clear(m->report);
        free(m->report);
        break;
    case MESSAGE_COMMAND:
        command_clear(&m->command);
        break;
    case MESSAGE_EVENT:
        free(m->event);
        break;
    case MESSAGE_NEIGHBOURS:
        free(m->neighbours);
        break;
    case MESSAGE_SNAPSHOT:
        free(m->snapshot.nodes);
        free(m->snapshot.instances);
        break;
    case MESSAGE_RELAY:
        message_destroy(&m->relay.inner);
        break;
    case MESSAGE_HELLO:
    case MESSAGE_WELCOME:
    case MESSAGE_RESULT:
    case MESSAGE_HEALTH:
    case MESSAGE_PING:
    case MESSAGE_PONG:
    case MESSAGE_JOIN:
    case MESSAGE_JOINED:
        break;
    }
    memset(m, 0, sizeof(*m));
}

void message_destroy(struct message **m)
{
    if (!*m)
        return;
    message_clear(*m);
    free(*m);
    *m = NULL;
}

bool peer_same_place(const struct peer_facts *a, const struct peer_facts *b)
{
    bool same = a->port == b->port && a->n_addrs == b->n_addrs;

    for (size_t i = 0; same && i < a->n_addrs; i++)
        same = !strcmp(a->addr[i], b->addr[i]);
    return same;
}

const char *unit_state_name(enum unit_state s)
{
    switch (s) {
    case UNIT_IDLE:
        return "idle";
    case UNIT_STARTING:
        return "starting";
    case UNIT_RUNNING:
        return "running";
    case UNIT_STOPPING:
        return "stopping";
    case UNIT_EXITED:
        return "exited";
    case UNIT_BACKOFF:
        return "backoff";
    case UNIT_FAILED:
        return "failed";
    }
    return "unknown";
}

const char *unit_role_name(enum unit_role r)
{
    switch (r) {
    case UNIT_WORKER:
        return "worker";
    case UNIT_COORDINATOR:
        return "coordinator";
    case UNIT_CARRIER:
        return "carrier";
    }
    return "unknown";
}

const char *device_kind_name(enum device_kind k)
{
    switch (k) {
    case DEVICE_CPU:
        return "cpu";
    case DEVICE_GPU:
        return "gpu";
    case DEVICE_UNIFIED:
        return "unified";
    }
    return "unknown";
}

const char *command_kind_name(enum command_kind k)
{
    switch (k) {
    case COMMAND_LEASE:
        return "lease";
    case COMMAND_START_WORKER:
        return "start_worker";
    case COMMAND_START_COORDINATOR:
        return "start_coordinator";
    case COMMAND_STOP:
        return "stop";
    case COMMAND_KNOCK:
        return "knock";
    }
    return "unknown";
}

const char *knock_outcome_name(enum knock_outcome o)
{
    switch (o) {
    case KNOCK_ANSWERED:
        return "answered";
    case KNOCK_REFUSED:
        return "refused";
    case KNOCK_UNANSWERED:
        return "unanswered";
    case KNOCK_NO_CARRIER:
        return "no_carrier";
    }
    return "unknown";
}

const char *agent_event_kind_name(enum agent_event_kind k)
{
    switch (k) {
    case AGENT_EVENT_UNIT_EXITED:
        return "unit_exited";
    case AGENT_EVENT_UNIT_DYING:
        return "unit_dying";
    case AGENT_EVENT_LOADING:
        return "loading";
    case AGENT_EVENT_RANK_BUFFERS:
        return "rank_buffers";
    case AGENT_EVENT_LISTENING:
        return "listening";
    case AGENT_EVENT_RESUMED:
        return "resumed";
    case AGENT_EVENT_PORT_CLASH:
        return "port_clash";
    }
    return "unknown";
}
