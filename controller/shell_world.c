/* What the core learns of the world beside messages: knocks, closed links, our own network, and that we were asleep. */
#include <event2/event.h>
#include <stdio.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "controller/shell_state.h"

/* ---- knocks ---- */

void shell_on_knocked(void *ctx, const struct id128 *node, uint64_t token, enum knock_outcome outcome)
{
    shell_step(ctx, &(struct cluster_ev){.kind = CLUSTER_EV_KNOCKED, .node = *node, .token = token, .knock = outcome});
}

/* A knock that could not be made says nothing about the node. */
void shell_knock(struct shell *s, const struct cluster_fx *fx)
{
    int r = knocking_begin(s->knocking, &fx->node, fx->token, fx->peer);

    if (!r)
        return;
    log_debug("node.not_knocked", "node=%s result=%d", ID128_SHORT(&fx->node), r);
    shell_tell_later(s,
                     &(struct cluster_ev){
                         .kind = CLUSTER_EV_KNOCKED, .node = fx->node, .token = fx->token, .knock = KNOCK_NO_CARRIER});
}

/* ---- links ---- */

void shell_on_closed(void *ctx, const struct link_peer *peer, const char *peer_addr)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_CLOSED, .node = peer->node};

    log_debug("link.closed", "node=%s addr=%s", ID128_SHORT(&peer->node), LOG_STR(peer_addr));
    snprintf(ev.key, sizeof(ev.key), "%s", peer->key_hex);
    snprintf(ev.peer_addr, sizeof(ev.peer_addr), "%s", peer_addr);
    shell_step(ctx, &ev);
}

/* ---- our own machine ---- */

void shell_on_host(void *ctx, const struct cluster_host *host)
{
    struct shell *s = ctx;

    log_info("host.changed", "carrier=%s addrs=%zu first=%s", host->carrier ? "yes" : "no", host->n_addrs,
             LOG_STR(host->n_addrs ? host->addr[0] : "-"));
    door_fill(&s->door, s->listen, host);
    shell_mark_stale(s); /* a token made from now on has to say so */
    shell_step(s, &(struct cluster_ev){.kind = CLUSTER_EV_HOST, .host = host});
}

/* Before every tick too: what was due while we slept is not decided before the core knows that we did. */
void shell_look_at_clocks(struct shell *s)
{
    uint64_t mono_ms = clock_now_ms();

    if (!wake_seen(&s->wake, clock_ms(CLOCK_BOOTTIME), mono_ms))
        return;
    log_warn("host.resumed", "effect=%s", LOG_STR("nothing is decided about nodes until they have reported again"));
    shell_step(s, &(struct cluster_ev){.kind = CLUSTER_EV_RESUMED});
}

void shell_on_look(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    shell_look_at_clocks(ctx);
}

/* ---- pictures for the agents ---- */

void shell_send_snapshot(void *ctx, const char *key, struct message *m)
{
    struct shell *s = ctx;
    int r = link_send(s->link, key, m);

    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "snapshot.send", r, "key=%.16s", key);
}
