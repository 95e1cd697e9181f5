/* Being the way of a neighbour whose own link is cut. A carrier looks at who speaks and what kind of thing it says, never
 * at what; it carries for its own neighbours only, and not while it needs to be carried itself. */
#include <string.h>

#include "agent/core/state.h"
#include "common/core/message_copy.h"

enum { CARRY_COST_MS = 50 /* 20 a second; a burst of PEER_CREDIT_MS / CARRY_COST_MS */ };

static bool goes_up(enum message_kind kind)
{
    return kind == MESSAGE_HELLO || kind == MESSAGE_REPORT || kind == MESSAGE_RESULT || kind == MESSAGE_EVENT;
}

static bool goes_down(enum message_kind kind)
{
    return kind == MESSAGE_WELCOME || kind == MESSAGE_COMMAND || kind == MESSAGE_NEIGHBOURS;
}

static bool pay(struct peer *p, uint64_t now_ms)
{
    p->credit_ms += now_ms - p->credited_ms;
    p->credited_ms = now_ms;
    if (p->credit_ms > PEER_CREDIT_MS)
        p->credit_ms = PEER_CREDIT_MS;
    if (p->credit_ms < CARRY_COST_MS)
        return false;
    p->credit_ms -= CARRY_COST_MS;
    return true;
}

/* The key is the one that the sender has proven, or that it was sent to; not what somebody wrote into it. */
static void pass_on(struct step *st, struct message *to, const char *key, const struct message *inner)
{
    if (!to)
        return;
    memcpy(to->relay.key, key, strlen(key) + 1);
    if (message_copy(inner, &to->relay.inner) < 0)
        effects_fail(&st->fx);
}

void relay_from_peer(struct step *st, struct peer *from, const struct relayed *relay)
{
    struct state *s = st->s;

    if (!relay->inner)
        return;
    if (strcmp(relay->key, st->config->key) == 0) {
        route_on_relayed(st, from, relay->inner);
    } else if (strcmp(relay->key, from->key) == 0 && goes_up(relay->inner->kind) && route_is_own(s)) {
        if (pay(from, st->now_ms))
            pass_on(st, effects_send(&st->fx, MESSAGE_RELAY), from->key, relay->inner);
        else
            s->relays_dropped++;
    } else {
        s->relays_dropped++;
    }
}

void relay_from_controller(struct step *st, const struct relayed *relay)
{
    const struct peer *to = peer_find(st->s, relay->key);

    if (to && relay->inner && goes_down(relay->inner->kind))
        pass_on(st, peer_send(st, to, MESSAGE_RELAY), to->key, relay->inner);
    else
        st->s->relays_dropped++;
}
