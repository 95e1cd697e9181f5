#include "tests/sim/leader.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/nodes.h"
#include "controller/core/state.h"
#include "controller/core/unloading.h"
#include "tests/sim/cells.h"
#include "tests/sim/check.h"
#include "tests/sim/faults.h"
#include "tests/sim/host.h"
#include "tests/sim/keys.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"
#include "tests/sim/stats.h"
#include "tests/sim/user.h"

enum { VIEW_MS = 50 };

bool leader_runs(const struct world *w)
{
    return w->leader->c;
}

bool leader_listens(const struct world *w)
{
    return w->leader->c && !w->leader->frozen && host_awake(&w->host[net_leader_machine(w)]);
}

uint32_t leader_life(const struct world *w)
{
    return w->leader->life;
}

uint64_t leader_clock(const struct world *w)
{
    return (uint64_t)((int64_t)w->now_ms + w->leader->clock_ms);
}

bool leader_not_now(struct world *w, const struct happening *h)
{
    if (!w->leader->c || w->leader->life != h->life)
        return true;
    if (leader_listens(w))
        return false;
    world_at(w, w->now_ms + 50, *h);
    return true;
}

/* ---- what the gateway is shown ----------------------------------------------------------------------------------- */

static void show(struct world *w)
{
    struct leader *l = w->leader;

    l->stale = false;
    l->n_pictures = 0;
    for (size_t k = l->c->instances.n; k-- && l->n_pictures < PICTURE_MAX;) {
        const struct instance *i = CLUSTER_INSTANCE(l->c, k);
        struct picture *p = &l->picture[l->n_pictures++];

        p->id = i->id;
        memcpy(p->name, i->name, sizeof(p->name));
        p->state = i->state;
        p->leaving = unloading_shows(i);
        p->epoch = i->epoch;
        memcpy(p->addr, i->run.coordinator_addr, sizeof(p->addr));
        p->port = i->run.coordinator_port;
        snprintf(p->key, sizeof(p->key), "%s", node_carrier_key(l->c, i));
    }
    check_picture(w);
}

static void on_show(struct world *w, const struct happening *h)
{
    if (!leader_not_now(w, h) && w->leader->stale)
        show(w);
}

static void mark_stale(struct world *w)
{
    if (w->leader->stale)
        return;
    w->leader->stale = true;
    world_at(w, w->now_ms + VIEW_MS, (struct happening){.happen = on_show, .life = w->leader->life});
}

static bool is_urgent(const struct cluster_effects *fx)
{
    for (size_t i = 0; i < fx->n; i++) {
        if (fx->item[i].kind == CLUSTER_FX_ANSWER ||
            (fx->item[i].kind == CLUSTER_FX_TRANSITION && strcmp(fx->item[i].transition.machine, "node") != 0))
            return true;
    }
    return false;
}

/* ---- effects ----------------------------------------------------------------------------------------------------- */

static void send(struct world *w, struct cluster_fx *fx)
{
    struct host *h = host_by_key(w, fx->key);
    struct message *m = fx->message;

    fx->message = NULL;
    m->version_major = PROTOCOL_MAJOR;
    m->version_minor = PROTOCOL_MINOR;
    m->term = w->leader->store.term;
    keys_check_send(w, fx->key);
    check_leader_sends(w, h, m);
    if (h && m->kind == MESSAGE_COMMAND && m->command.kind == COMMAND_START_COORDINATOR)
        faults_away_now(w, h->n);
    if (!h || (fx->addr[0] && strcmp(fx->addr, h->addr) != 0))
        message_destroy(&m); /* to a copy of the node, or to nobody */
    else
        net_send(w, &w->net->link[h->n], LEADER, m);
}

static void on_knocked(struct world *w, const struct happening *h)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_KNOCKED, .token = h->a, .knock = (enum knock_outcome)h->b};

    if (leader_not_now(w, h))
        return;
    ev.node = w->host[h->host].id;
    if (w->leader->knock[h->host] != ev.knock)
        world_say(w, "ctl: a knock on %s: %s", w->host[h->host].name, knock_outcome_name(ev.knock));
    w->leader->knock[h->host] = ev.knock;
    leader_feed(w, &ev);
}

static void knock(struct world *w, const struct cluster_fx *fx)
{
    struct host *h = host_by_id(w, &fx->node);
    uint64_t ms = 500;
    enum knock_outcome found;

    if (!h)
        return;
    found = net_knock(w, net_leader_machine(w), h->n, &ms);
    world_at(w, w->now_ms + ms,
             (struct happening){
                 .happen = on_knocked, .host = h->n, .life = w->leader->life, .a = fx->token, .b = (uint64_t)found});
}

static void on_warmed(struct world *w, const struct happening *h)
{
    struct warm_up *u = h->p;
    struct cluster_ev ev = {.kind = CLUSTER_EV_WARMED, .ok = h->a, .text = h->a ? "" : "it did not answer"};

    if (!u->used || h->b != u->request.serial || leader_not_now(w, h))
        return;
    ev.instance = u->instance;
    ev.epoch = u->epoch;
    llama_forget(w, &u->request);
    u->used = false;
    leader_feed(w, &ev);
}

static void warmed(struct world *w, struct warm_up *u, bool ok, uint64_t in_ms)
{
    world_at(w, w->now_ms + in_ms,
             (struct happening){.happen = on_warmed, .life = w->leader->life, .a = ok, .b = u->request.serial, .p = u});
}

void leader_lose_warm_ups(struct world *w)
{
    for (size_t i = 0; i < WARM_UPS; i++) {
        if (w->leader->warm_up[i].used)
            warmed(w, &w->leader->warm_up[i], false, world_chance(w, 0, 3000));
    }
}

static void on_token(struct world *w, struct request *r, bool ok)
{
    struct warm_up *u = (struct warm_up *)r;

    assert(u->used && r->a == leader_life(w)); /* a controller that ends forgets what it has asked */
    warmed(w, u, ok, 1);
}

static void warm_up(struct world *w, const struct cluster_fx *fx)
{
    struct warm_up *u = NULL;
    enum asked asked;

    for (size_t i = 0; i < WARM_UPS && !u; i++)
        u = w->leader->warm_up[i].used ? NULL : &w->leader->warm_up[i];
    assert(u);
    *u = (struct warm_up){.used = true, .instance = fx->instance, .epoch = fx->epoch};
    u->request.takes_ms = world_chance(w, 20, 300);
    u->request.done = on_token;
    u->request.a = leader_life(w);
    u->request.serial = ++w->order;
    asked =
        llama_ask(w, net_leader_machine(w),
                  &(struct upstream){
                      .addr = fx->addr, .port = fx->port, .key = fx->key, .instance = fx->instance, .epoch = fx->epoch},
                  &u->request);
    if (asked != ASKED_TAKEN)
        warmed(w, u, false, asked == ASKED_UNREACHED ? 5000 : 2);
    else
        warmed(w, u, false, leader_config(w).warm_up_ms);
    faults_sleep_now(w);
}

static void carry_out(struct world *w, struct cluster_fx *fx)
{
    switch (fx->kind) {
    case CLUSTER_FX_SEND:
        send(w, fx);
        return;
    case CLUSTER_FX_COMMIT:
        sim_store_append(w, &w->leader->store, fx);
        return;
    case CLUSTER_FX_WARM_UP:
        warm_up(w, fx);
        return;
    case CLUSTER_FX_ANSWER:
        if (fx->request_id < KEYS_REQUEST)
            check_answer(w, fx->request_id, &fx->answer);
        return;
    case CLUSTER_FX_TRANSITION:
        return;
    case CLUSTER_FX_CHANGED:
        mark_stale(w);
        return;
    case CLUSTER_FX_KNOCK:
        knock(w, fx);
        return;
    case CLUSTER_FX_ALLOW:
        keys_allow(w, fx->key, fx->scope);
        return;
    case CLUSTER_FX_FORBID:
        keys_forbid(w, fx->key);
        return;
    }
}

/* ---- the step ---------------------------------------------------------------------------------------------------- */

static void on_tick(struct world *w, const struct happening *h)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_TICK};

    if (h->a != w->leader->tick_ms || leader_not_now(w, h))
        return;
    w->leader->tick_ms = 0;
    leader_feed(w, &ev);
    if (w->leader->c)
        check_time(w, "ctl", cluster_deadline_ms(w->leader->c), leader_clock(w));
}

static void arrange_tick(struct world *w)
{
    struct leader *l = w->leader;
    uint64_t due_ms = cluster_deadline_ms(l->c), clock_ms = leader_clock(w);
    uint64_t at_ms = w->now_ms + (due_ms > clock_ms ? due_ms - clock_ms : 0);

    if (due_ms == UINT64_MAX) {
        l->tick_ms = 0;
    } else if (l->tick_ms != at_ms) {
        l->tick_ms = at_ms;
        world_at(w, at_ms, (struct happening){.happen = on_tick, .life = l->life, .a = at_ms});
    }
}

void leader_take(struct world *w, struct cluster_effects *fx)
{
    struct leader *l = w->leader;
    bool lives = true;

    w->stats->leader_steps++;
    for (size_t i = 0; i < fx->n; i++) {
        if (fx->item[i].kind != CLUSTER_FX_TRANSITION)
            continue;
        check_transition(w, &fx->item[i].transition);
        user_sees(w, &fx->item[i].transition);
    }
    check_leader(w);
    if (is_urgent(fx))
        show(w);
    for (size_t i = 0; i < fx->n && lives; i++) {
        lives = !l->crash_in || --l->crash_in;
        if (lives)
            carry_out(w, &fx->item[i]);
    }
    cluster_effects_destroy(&fx);
    if (lives)
        arrange_tick(w);
    else
        leader_crash(w);
}

void leader_feed(struct world *w, struct cluster_ev *ev)
{
    struct leader *l = w->leader;

    if (l->c && keys_hear(w, ev)) {
        struct cluster_effects *fx;

        ev->wall_ms = (uint64_t)((int64_t)w->now_ms + l->wall_ms);
        cells_in_step(true);
        fx = cluster_step(l->c, ev, leader_clock(w));
        cells_in_step(false);
        assert(fx);
        leader_take(w, fx);
    }
    message_destroy(&ev->message);
}
