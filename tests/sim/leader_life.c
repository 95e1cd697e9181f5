/* The controller's start, end and links. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/state.h"
#include "controller/record.h"
#include "tests/sim/asker.h"
#include "tests/sim/check.h"
#include "tests/sim/host.h"
#include "tests/sim/keys.h"
#include "tests/sim/leader.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"
#include "tests/sim/user.h"

struct cluster_config leader_config(const struct world *w)
{
    struct cluster_config config = {.name = "ctl",
                                    .cluster = {{0xc1}},
                                    .controller = {{0xc0}},
                                    .term = w->leader->store.term,
                                    .trust_open = !w->scenario->keys,
                                    .tunnel = w->leader->tunnel,
                                    .key = LEADER_KEY,
                                    .silent_ms = 1000,
                                    .evict_after_ms = w->scenario->evict_after_ms,
                                    .brake_hold_ms = 60000,
                                    .graph_max_ms = 300000,
                                    .settle_ms = 10000,
                                    .load_stall_ms = 60000,
                                    .warm_up_ms = 120000,
                                    .transition_grace_ms = 500};

    if (!w->scenario->asks)
        return config;
    config.served = asker_sections();
    config.n_served = ASKER_SECTIONS;
    config.others = SERVED_DEMAND;
    return config;
}

/* ---- links ------------------------------------------------------------------------------------------------------- */

void leader_message(struct world *w, int from, struct message *m)
{
    struct cluster_ev ev = {.kind = m->kind == MESSAGE_HELLO ? CLUSTER_EV_HELLO : CLUSTER_EV_MESSAGE, .message = m};
    const struct host *h = &w->host[from];

    switch (m->kind) {
    case MESSAGE_HELLO:
    case MESSAGE_REPORT:
    case MESSAGE_RESULT:
    case MESSAGE_EVENT:
    case MESSAGE_RELAY:
        break;
    case MESSAGE_WELCOME:
    case MESSAGE_COMMAND:
    case MESSAGE_NEIGHBOURS:
    case MESSAGE_SNAPSHOT:
    case MESSAGE_HEALTH:
    case MESSAGE_PING:
    case MESSAGE_PONG:
    case MESSAGE_JOIN:
    case MESSAGE_JOINED:
        message_destroy(&m);
        return;
    }
    ev.node = h->id;
    memcpy(ev.key, h->key, sizeof(h->key));
    memcpy(ev.peer_addr, h->addr, sizeof(h->addr));
    check_report(w, from, m);
    leader_feed(w, &ev);
}

void leader_link_closed(struct world *w, int from)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_CLOSED};

    memcpy(ev.peer_addr, w->host[from].addr, sizeof(w->host[from].addr));
    if (leader_listens(w))
        leader_feed(w, &ev);
}

void leader_committed(struct world *w, uint64_t token, bool ok)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_COMMITTED, .token = token, .ok = ok};

    if (!token)
        return;
    leader_feed(w, &ev);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

void leader_crash(struct world *w)
{
    struct leader *l = w->leader;

    if (!l->c)
        return;
    world_say(w, "the controller ends");
    cluster_destroy(&l->c);
    l->life++;
    l->frozen = l->stale = false;
    l->crash_in = 0;
    l->tick_ms = l->woke_ms = 0;
    l->n_pictures = 0;
    sim_store_crash(w, &l->store);
    for (size_t i = 0; i < WARM_UPS; i++) {
        if (l->warm_up[i].used)
            llama_forget(w, &l->warm_up[i].request);
        l->warm_up[i].used = false;
    }
    user_leader_gone(w);
    check_leader_gone(w);
    keys_leader_gone(w);
    net_process_ended(w, LEADER, host_awake(&w->host[net_leader_machine(w)]));
}

/* The kernel keeps it for a process that does not run just now. */
static void on_host_changed(struct world *w, const struct happening *happening)
{
    struct cluster_host host = {.n_addrs = 1};
    struct cluster_ev ev = {.kind = CLUSTER_EV_HOST, .host = &host};
    const struct host *h = &w->host[net_leader_machine(w)];

    if (leader_not_now(w, happening))
        return;
    host.carrier = net_carrier(w, h->n);
    memcpy(host.addr[0], h->addr, sizeof(h->addr));
    leader_feed(w, &ev);
}

void leader_host_changed(struct world *w)
{
    on_host_changed(w, &(struct happening){.happen = on_host_changed, .life = w->leader->life});
}

/* As its JSON would give it back. */
static void restore(struct world *w, const struct record *r)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_RESTORE};
    struct store_record row = {0};
    struct record read = {0};
    char why[PROTO_TEXT_MAX] = "";

    if (record_to_store(r, 0, &row) || record_from_store(&row, &read, why, sizeof(why))) {
        world_fail(w, "a record cannot be read back: %s", why);
        free(row.value);
        return;
    }
    free(row.value);
    ev.record = &read;
    leader_feed(w, &ev);
    record_clear(&read);
}

void leader_start(struct world *w)
{
    struct leader *l = w->leader;
    struct cluster_ev begin = {.kind = CLUSTER_EV_BEGIN};
    struct cluster_config config;

    if (l->c || !host_awake(&w->host[net_leader_machine(w)]))
        return;
    world_say(w, "the controller starts");
    l->life++;
    l->store.term++;
    l->tunnel = w->tunnel;
    config = leader_config(w);
    if (cluster_new(&config, &l->c) < 0)
        abort();
    check_restored(w, true);
    for (size_t i = 0; i < l->store.n && l->c; i++)
        restore(w, &l->store.record[i]);
    check_restored(w, false);
    leader_feed(w, &begin);
    keys_check_kept(w);
    leader_host_changed(w);
}

void leader_freeze(struct world *w, bool frozen)
{
    if (!w->leader->c || w->leader->frozen == frozen)
        return;
    w->leader->frozen = frozen;
    net_changed(w);
}

void leader_woke(struct world *w, uint64_t slept_ms)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_RESUMED};

    w->leader->clock_ms -= (int64_t)slept_ms;
    w->leader->tick_ms = 0;
    if (slept_ms <= 2000 || !leader_listens(w))
        return;
    w->leader->woke_ms = w->now_ms;
    leader_feed(w, &ev);
    leader_lose_warm_ups(w);
}

void leader_begin(struct world *w)
{
    w->leader = calloc(1, sizeof(*w->leader));
    assert(w->leader);
    sim_store_begin(&w->leader->store);
    w->leader->clock_ms = (int64_t)world_chance(w, 1000, 5000000);
    w->leader->wall_ms = INT64_C(1800000000000);
    leader_start(w);
}

void leader_end(struct world *w)
{
    cluster_destroy(&w->leader->c);
    sim_store_end(&w->leader->store);
    free(w->leader);
}
