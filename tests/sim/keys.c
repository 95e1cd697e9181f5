#include "tests/sim/keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/host.h"
#include "tests/sim/leader.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"
#include "tests/sim/stats.h"

enum { LOOK_MS = 1000, TOKENS_MAX = 1024 };

struct keys {
    bool in[HOSTS_MAX + 1], out[HOSTS_MAX + 1]; /* allowed, forbidden */
    bool knocked[HOSTS_MAX + 1];                /* it was denied, and dials again */
    bool token[TOKENS_MAX];                     /* allowed */
    int n_tokens;
};

/* ---- keys as text ------------------------------------------------------------------------------------------------ */

static void token_key(int token, char ret[PROTO_KEY_MAX])
{
    snprintf(ret, PROTO_KEY_MAX, "f%063x", token);
}

/* -1: it is no token's. */
static int token_of(const char *key)
{
    return key[0] == 'f' ? (int)strtol(key + 32, NULL, 16) : -1;
}

static int host_of(struct world *w, const char *key)
{
    const struct host *h = host_by_key(w, key);

    return h ? h->n : 0;
}

/* ---- the link ---------------------------------------------------------------------------------------------------- */

static void dial_again(struct world *w, int n)
{
    struct host *h = &w->host[n];

    if (!w->keys->knocked[n] || !w->keys->in[n] || !host_agent_listens(h) || !leader_listens(w))
        return;
    w->keys->knocked[n] = false;
    if (!h->welcomed)
        host_link_open(w, h);
}

void keys_allow(struct world *w, const char *key, enum key_scope scope)
{
    int n = host_of(w, key), token = token_of(key);

    if (scope == KEY_JOIN && token >= 0)
        w->keys->token[token] = true;
    if (scope == KEY_NODE) {
        w->keys->in[n] = true;
        w->keys->out[n] = false;
    }
}

void keys_forbid(struct world *w, const char *key)
{
    int n = host_of(w, key), token = token_of(key);

    if (token >= 0)
        w->keys->token[token] = false;
    w->keys->in[n] = false;
    w->keys->out[n] = true;
}

static bool lets_in(const struct world *w, int n)
{
    return w->scenario->keys ? w->keys->in[n] : !w->keys->out[n];
}

bool keys_hear(struct world *w, const struct cluster_ev *ev)
{
    int n = host_of(w, ev->key);

    if (ev->kind == CLUSTER_EV_JOIN)
        return w->keys->token[token_of(ev->key)];
    if ((ev->kind != CLUSTER_EV_HELLO && ev->kind != CLUSTER_EV_MESSAGE) || (n && lets_in(w, n)))
        return true;
    if (!n)
        return !w->scenario->keys; /* a stranger */
    w->keys->knocked[n] |= ev->kind == CLUSTER_EV_HELLO;
    return false;
}

void keys_leader_gone(struct world *w)
{
    memset(w->keys->in, 0, sizeof(w->keys->in));
    memset(w->keys->out, 0, sizeof(w->keys->out));
    memset(w->keys->token, 0, sizeof(w->keys->token));
}

bool keys_is_out(const struct world *w, int host)
{
    return w->keys->out[host];
}

/* ---- who joins --------------------------------------------------------------------------------------------------- */

static int some_token(const struct world *w)
{
    for (int i = w->keys->n_tokens; i--;) {
        if (w->keys->token[i])
            return i;
    }
    return -1;
}

static void make_token(struct world *w)
{
    struct view_key key = {.uses_left = (uint32_t)world_chance(w, 1, w->n_hosts)};
    struct cluster_ev ev = {.kind = CLUSTER_EV_TOKEN, .request_id = KEYS_REQUEST, .access = &key};

    if (w->keys->n_tokens == TOKENS_MAX)
        return;
    token_key(w->keys->n_tokens++, key.key);
    key.expires_wall_ms =
        (uint64_t)((int64_t)w->now_ms + w->leader->wall_ms) + world_chance(w, 1, world_maybe(w, 300) ? 2000 : 100000);
    leader_feed(w, &ev);
}

static void ask_to_join(struct world *w, int n, int token)
{
    const struct host *h = &w->host[n];
    struct message *m = calloc(1, sizeof(*m));
    struct cluster_ev ev = {.kind = CLUSTER_EV_JOIN, .node = h->id, .message = m};

    assert(m);
    m->kind = MESSAGE_JOIN;
    memcpy(m->join.key, h->key, sizeof(h->key));
    memcpy(m->join.name, h->name, sizeof(h->name));
    token_key(token, ev.key);
    memcpy(ev.peer_addr, h->addr, sizeof(h->addr));
    leader_feed(w, &ev);
}

static void look_at(struct world *w, int n)
{
    int token = some_token(w);

    if (!host_agent_listens(&w->host[n]) || w->host[n].welcomed || !net_passes_both(w, n, net_leader_machine(w)))
        return;
    if (token >= 0 && world_maybe(w, 800))
        ask_to_join(w, n, token);
    if (leader_listens(w))
        dial_again(w, n);
}

static void on_look(struct world *w, const struct happening *h)
{
    world_at(w, w->now_ms + LOOK_MS, *h);
    if (leader_listens(w) && some_token(w) < 0)
        make_token(w);
    for (size_t n = 1; n <= w->n_hosts && leader_listens(w); n++)
        look_at(w, (int)n);
}

/* ---- what must be true ------------------------------------------------------------------------------------------- */

void keys_check_send(struct world *w, const char *key)
{
    int n = host_of(w, key), token = token_of(key);

    w->stats->checked[CHECK_KEYS]++;
    if (token >= 0 ? !w->keys->token[token] : n && !lets_in(w, n))
        world_fail(w, "something is said to %s, whose key is not let in", n ? w->host[n].name : "a token");
}

void keys_check_kept(struct world *w)
{
    const struct sim_store *s = &w->leader->store;

    for (size_t i = 0; i < s->n && w->leader->c; i++) {
        const struct record *r = &s->record[i];
        int n = r->kind == RECORD_KEY ? host_of(w, r->key.key) : 0;

        w->stats->checked[CHECK_KEYS] += n > 0;
        if (n && r->key.scope == KEY_NODE && !w->keys->in[n])
            world_fail(w, "%s was let in, and is not any more", w->host[n].name);
        if (n && r->key.scope == KEY_REVOKED && !w->keys->out[n])
            world_fail(w, "%s's key was revoked, and is let in", w->host[n].name);
    }
}

void keys_begin(struct world *w)
{
    w->keys = calloc(1, sizeof(*w->keys));
    assert(w->keys);
    if (w->scenario->keys)
        world_at(w, 0, (struct happening){.happen = on_look});
}

void keys_end(struct world *w)
{
    free(w->keys);
}
