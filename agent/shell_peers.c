/* Neighbours and knocks between the core and the wire. */
#include <errno.h>
#include <string.h>

#include "agent/shell_internal.h"
#include "common/core/err.h"
#include "common/log.h"

static void on_up(void *ctx, const char *key)
{
    shell_feed(ctx, &(struct agent_ev){.kind = AGENT_EV_PEER_UP, .key = key});
}

static void on_down(void *ctx, const char *key)
{
    shell_feed(ctx, &(struct agent_ev){.kind = AGENT_EV_PEER_DOWN, .key = key});
}

static void on_message(void *ctx, const char *key, const struct message *m)
{
    shell_feed(ctx, &(struct agent_ev){.kind = AGENT_EV_PEER_MESSAGE, .key = key, .message = m});
}

/* A search that took one of theirs would take it for good, and they would find it held at each start. */
static bool is_for_children(void *ctx, uint16_t port)
{
    const struct agent_options *o = ((struct shell *)ctx)->options;

    return port_range_has(&o->worker_ports, port) || port_range_has(&o->coordinator_ports, port) ||
           port_range_has(&o->carrier_ports, port);
}

/* On all addresses, since all are told; but where one is named, another agent may be on the next. */
int shell_open_peers(struct shell *s)
{
    const struct peers_callbacks cb = {on_up, on_down, on_message, s, is_for_children};
    const char *addr = s->options->address ? s->options->address : "*";
    int r = peers_new(s->base, s->identity, addr, s->options->neighbour_port, &cb, &s->peers);

    if (r < 0)
        return err_pass(r);
    s->hello.port = peers_port(s->peers);
    return 0;
}

void shell_close_peers(struct shell *s)
{
    for (size_t i = 0; i < SHELL_KNOCKS_MAX; i++)
        knock_cancel(&s->knock[i].knock);
    if (s->peers)
        peers_destroy(&s->peers);
}

void shell_set_peers(struct shell *s, const struct agent_fx *fx)
{
    peers_set(s->peers, fx->neighbours);
}

void shell_send_peer(struct shell *s, struct agent_fx *fx)
{
    link_stamp(s->link, fx->message);
    peers_send(s->peers, fx->key, fx->message);
}

static void on_knocked(void *ctx, enum knock_outcome outcome)
{
    struct shell_knock *k = ctx;

    k->knock = NULL;
    shell_feed(k->shell, &(struct agent_ev){.kind = AGENT_EV_KNOCKED, .token = k->token, .knock = outcome});
}

static struct shell_knock *free_knock(struct shell *s)
{
    for (size_t i = 0; i < SHELL_KNOCKS_MAX; i++)
        if (!s->knock[i].knock)
            return &s->knock[i];
    return NULL;
}

/* What could not be begun says nothing about the other one, just as a knock without carrier. */
void shell_knock(struct shell *s, const struct agent_fx *fx)
{
    struct shell_knock *k = free_knock(s);
    struct outcome *o;
    int r = -EBUSY;

    if (k) {
        *k = (struct shell_knock){.shell = s, .token = fx->token};
        r = knock_start(s->base, s->identity, fx->peer, on_knocked, k, &k->knock);
    }
    if (r == 0)
        return;
    log_failure(LOG_LEVEL_WARN, "knock.failed", r, "node=%s", LOG_STR(fx->peer->name));
    o = shell_outcome(s, AGENT_EV_KNOCKED, NULL);
    if (!o)
        return;
    o->ev.token = fx->token;
    o->ev.knock = KNOCK_NO_CARRIER;
}
