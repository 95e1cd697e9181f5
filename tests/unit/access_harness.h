/* What people and strangers say of keys, to the leader of cluster_harness.h. Node 1 has the key a1000000..., the first token
 * f1000000..., so that a line names either by its first digits. */
#ifndef CARAVAN_TESTS_UNIT_ACCESS_HARNESS_H
#define CARAVAN_TESTS_UNIT_ACCESS_HARNESS_H

#include "tests/unit/cluster_harness.h"

static inline void hex_key(char first, int n, char ret[PROTO_KEY_MAX])
{
    memset(ret, '0', PROTO_KEY_MAX);
    ret[0] = first;
    ret[1] = (char)('0' + n);
    ret[PROTO_KEY_MAX - 1] = '\0';
}

static inline void node_key(int n, char ret[PROTO_KEY_MAX])
{
    hex_key('a', n, ret);
}

static inline void token_key(int n, char ret[PROTO_KEY_MAX])
{
    hex_key('f', n, ret);
}

/* ---- what an operator wants -------------------------------------------------------------------------------------- */

static inline void new_token(uint64_t request_id, int token, uint32_t uses, uint64_t ttl_ms)
{
    struct view_key key = {.expires_wall_ms = 1000000 + w.now + ttl_ms, .uses_left = uses};
    struct cluster_ev ev = {.kind = CLUSTER_EV_TOKEN, .request_id = request_id, .access = &key};

    token_key(token, key.key);
    step(&ev);
}

static inline void order(enum cluster_ev_kind kind, uint64_t request_id, const char *target)
{
    step(&(struct cluster_ev){.kind = kind, .request_id = request_id, .target = target});
}

static inline void withdraw(uint64_t request_id, const char *target)
{
    order(CLUSTER_EV_UNTOKEN, request_id, target);
}

static inline void approve_key(uint64_t request_id, const char *hex, int node, const char *name)
{
    struct view_key key = {.scope = KEY_NODE};
    struct cluster_ev ev = {.kind = CLUSTER_EV_APPROVE, .request_id = request_id, .access = &key, .node = id_of(node)};

    snprintf(key.key, sizeof(key.key), "%s", hex);
    snprintf(key.name, sizeof(key.name), "%s", name);
    step(&ev);
}

static inline void approve(uint64_t request_id, int node, const char *name)
{
    char key[PROTO_KEY_MAX];

    node_key(node, key);
    approve_key(request_id, key, node, name);
}

static inline void revoke(uint64_t request_id, const char *target)
{
    order(CLUSTER_EV_REVOKE, request_id, target);
}

static inline void api_key(uint64_t request_id, const char *name, char hash, enum api_scope scope)
{
    struct view_api_key key = {.scope = scope};
    struct cluster_ev ev = {.kind = CLUSTER_EV_API_KEY, .request_id = request_id, .api_key = &key};

    hex_key(hash, 0, key.hash);
    snprintf(key.name, sizeof(key.name), "%s", name);
    step(&ev);
}

static inline void api_unkey(uint64_t request_id, const char *name)
{
    order(CLUSTER_EV_API_UNKEY, request_id, name);
}

/* ---- what nodes say ---------------------------------------------------------------------------------------------- */

static inline void ask_to_join_with(int token, const char *key, int node)
{
    struct message *m = message_from(node, MESSAGE_JOIN);
    struct cluster_ev ev = event_from(node, CLUSTER_EV_JOIN, m);

    token_key(token, ev.key);
    snprintf(m->join.key, sizeof(m->join.key), "%s", key);
    snprintf(m->join.name, sizeof(m->join.name), "n%d", node);
    step(&ev);
}

static inline void ask_to_join(int token, int node)
{
    char key[PROTO_KEY_MAX];

    node_key(node, key);
    ask_to_join_with(token, key, node);
}

/* With a key that could be one. */
static inline void say_by_key(int node, enum cluster_ev_kind kind, struct message *m)
{
    struct cluster_ev ev = event_from(node, kind, m);

    node_key(node, ev.key);
    step(&ev);
}

static inline void hello_by_key(int node)
{
    say_by_key(node, CLUSTER_EV_HELLO, hello_of(node));
}

static inline void report_by_key(int node)
{
    say_by_key(node, CLUSTER_EV_MESSAGE, report_of(node));
}

/* ---- whole stories, without their lines --------------------------------------------------------------------------- */

static inline void make_token(int token, uint32_t uses, uint64_t ttl_ms)
{
    new_token(1, token, uses, ttl_ms);
    commit();
    quiet();
}

static inline void give_up_keys(void)
{
    make_token(1, 9, 500000);
    approve(2, 2, "n2");
    commit();
    revoke(3, "n2");
    commit();
    quiet();
}

static inline size_t keys_shown(void)
{
    struct view *v = view_now();
    size_t n = v->n_keys;

    view_unref(&v);
    return n;
}

/* ---- fixtures ---------------------------------------------------------------------------------------------------- */

static int64_t wall_is_ahead_ms; /* the time of day has jumped */

static inline struct cluster_effects *step_at_another_time(struct cluster *c, struct cluster_ev *ev, uint64_t now_ms)
{
    ev->wall_ms = (uint64_t)((int64_t)ev->wall_ms + wall_is_ahead_ms);
    return cluster_step(c, ev, now_ms);
}

static inline void open_with_keys(void)
{
    struct cluster_config config = world_config();

    config.trust_open = false;
    world_open_with(&config);
    wall_is_ahead_ms = 0;
    w.step = step_at_another_time;
}

static inline int fresh(void **state)
{
    (void)state;
    open_with_keys();
    return 0;
}

static inline int with_keys(void **state)
{
    fresh(state);
    begin();
    return 0;
}

static inline int with_open_doors(void **state)
{
    (void)state;
    world_open();
    begin();
    return 0;
}

#define WITH(setup, test) cmocka_unit_test_setup_teardown(test, setup, world_teardown)

#endif
