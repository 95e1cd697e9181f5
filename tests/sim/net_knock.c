/* What a knock finds, and what is sent twice. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/host.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"

enum { KNOCK_MS = 500 };

/* Each of the two connects needs a packet there and one back; one sent again after a second comes too late. */
static bool both_lost(struct world *w)
{
    for (int i = 0; i < 4; i++) {
        if (!world_maybe(w, w->net->loss_permille))
            return false;
    }
    return true;
}

enum knock_outcome net_knock(struct world *w, int from_machine, int host, uint64_t *ret_ms)
{
    const struct host *h = &w->host[host];

    *ret_ms = KNOCK_MS;
    if (from_machine != host && !net_carrier(w, from_machine))
        return KNOCK_NO_CARRIER;
    if (!net_passes_both(w, from_machine, host) || both_lost(w))
        return KNOCK_UNANSWERED;
    if (!host_agent_runs(h)) {
        *ret_ms = 1 + net_delay(w);
        return KNOCK_REFUSED;
    }
    if (!host_agent_listens(h))
        return KNOCK_REFUSED;
    *ret_ms = 1 + 2 * net_delay(w);
    if (*ret_ms < KNOCK_MS)
        return KNOCK_ANSWERED;
    *ret_ms = KNOCK_MS;
    return KNOCK_REFUSED;
}

static void *copied(const void *from, size_t n_bytes)
{
    void *to = from ? malloc(n_bytes) : NULL;

    if (!from)
        return NULL;
    assert(to);
    return memcpy(to, from, n_bytes);
}

static void copy_report(struct report *r)
{
    r->model = copied(r->model, r->n_models * sizeof(*r->model));
    for (size_t i = 0; i < r->n_models; i++) {
        if (r->model[i].shape)
            r->model[i].shape = model_shape_copy(r->model[i].shape);
    }
}

static char *copied_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

struct message *net_copy(const struct message *m)
{
    struct message *to = copied(m, sizeof(*m));

    switch (m->kind) {
    case MESSAGE_REPORT:
        to->report = copied(m->report, sizeof(*m->report));
        copy_report(to->report);
        break;
    case MESSAGE_EVENT:
        to->event = copied(m->event, sizeof(*m->event));
        break;
    case MESSAGE_COMMAND:
        if (m->command.kind == COMMAND_START_COORDINATOR)
            to->command.coordinator.arg =
                copied(m->command.coordinator.arg, m->command.coordinator.n_args * PROTO_ARG_MAX);
        break;
    case MESSAGE_NEIGHBOURS:
        to->neighbours = copied(m->neighbours, sizeof(*m->neighbours));
        break;
    case MESSAGE_SNAPSHOT:
        to->snapshot.nodes = copied_text(m->snapshot.nodes);
        to->snapshot.instances = copied_text(m->snapshot.instances);
        break;
    case MESSAGE_RELAY:
        to->relay.inner = m->relay.inner ? net_copy(m->relay.inner) : NULL;
        break;
    case MESSAGE_HELLO:
    case MESSAGE_WELCOME:
    case MESSAGE_RESULT:
    case MESSAGE_HEALTH:
    case MESSAGE_PING:
    case MESSAGE_PONG:
        break;
    }
    return to;
}
