#include "tests/sim/user.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/asker.h"
#include "tests/sim/check.h"
#include "tests/sim/host.h"
#include "tests/sim/leader.h"
#include "tests/sim/models.h"
#include "tests/sim/net.h"
#include "tests/sim/stats.h"

const char *const user_names[USER_NAMES] = {"", "red", "green", "blue"};

enum { ASK_EVERY_MS = 700, GIVE_UP_MS = 60000, TRAFFIC_MS = 1000, TRAFFIC_SOON_MS = 100 };
/* Of one coordinator, as admission has it: what is beyond waits in the gateway. */
enum { GATEWAY_LIMIT = LLAMA_REQUESTS - 2 };

/* ---- orders ------------------------------------------------------------------------------------------------------ */

/* 128 bits that nobody else has. */
static struct id128 new_id(struct world *w)
{
    struct id128 id = {{0xee}};

    id.b[2] = (uint8_t)(w->users->n_wishes >> 8); /* its short form tells which order made it */
    id.b[3] = (uint8_t)w->users->n_wishes;
    return id;
}

static struct wish *new_wish(struct world *w, enum action_kind kind, int name)
{
    struct wish *wish;

    if (w->users->n_wishes + 1 >= USER_WISHES_MAX)
        return NULL;
    wish = &w->users->wish[++w->users->n_wishes];
    *wish = (struct wish){.kind = kind, .name = name, .leader_life = leader_life(w)};
    return wish;
}

/* By alias; under no alias a model goes by its own name. */
static const char *target_of(uint64_t n, int name)
{
    return name ? user_names[name] : model_names[n % MODELS_N];
}

static void deploy(struct world *w, const struct action *a)
{
    int name = a->other % USER_NAMES;
    struct place_request request = {.nodes = (uint32_t)(a->n >> 8) % 5};
    struct cluster_ev ev = {.kind = CLUSTER_EV_DEPLOY, .request = &request};

    if (!leader_listens(w) || !new_wish(w, a->kind, name))
        return;
    if (request.nodes > w->n_hosts)
        request.nodes = 0;
    strcpy(request.model, model_names[a->n % MODELS_N]);
    strcpy(request.alias, user_names[name]);
    ev.request_id = w->users->n_wishes;
    ev.new_instance = new_id(w);
    world_say(w, "somebody deploys %s%s%s on %u nodes (0: as many as it takes)", request.model, name ? " as " : "",
              request.alias, request.nodes);
    leader_feed(w, &ev);
}

static void order(struct world *w, enum cluster_ev_kind kind, enum action_kind action, int name, const char *target)
{
    struct cluster_ev ev = {.kind = kind, .target = target};

    if (!leader_listens(w) || !new_wish(w, action, name))
        return;
    ev.request_id = w->users->n_wishes;
    world_say(w, "somebody orders: %s %s", action_name(action), target ? target : "");
    leader_feed(w, &ev);
}

/* ---- the gateway ------------------------------------------------------------------------------------------------- */

static void on_traffic(struct world *w, const struct happening *h);

/* That there is a first request, or no longer any. */
static void tell_soon(struct world *w)
{
    world_at(w, w->now_ms + TRAFFIC_SOON_MS, (struct happening){.happen = on_traffic, .a = 1});
}

static const struct picture *route(const struct world *w, const char *name)
{
    for (size_t i = 0; i < w->leader->n_pictures; i++) {
        const struct picture *p = &w->leader->picture[i];

        if (p->state == INSTANCE_READY && p->port && strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

static void tell_upstream(struct world *w, const struct passage *p, enum cluster_upstream what)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_UPSTREAM,
                            .instance = p->instance,
                            .epoch = p->epoch,
                            .upstream = what,
                            .text = what == UPSTREAM_REFUSED ? "connection refused" : "answered 500"};

    leader_feed(w, &ev);
}

static void end_passage(struct world *w, struct passage *p)
{
    llama_forget(w, &p->request);
    p->used = false;
}

static void on_broken(struct world *w, const struct happening *h)
{
    struct passage *p = h->p;

    if (!p->used || p->request.serial != h->b || leader_not_now(w, h))
        return;
    end_passage(w, p);
    tell_upstream(w, p, (enum cluster_upstream)h->a);
}

static void break_later(struct world *w, struct passage *p, enum cluster_upstream what)
{
    world_at(w, w->now_ms + 1,
             (struct happening){
                 .happen = on_broken, .life = leader_life(w), .a = (uint64_t)what, .b = p->request.serial, .p = p});
}

static void on_answered(struct world *w, struct request *r, bool ok)
{
    struct passage *p = (struct passage *)r;

    if (ok) {
        w->stats->n_answered++;
        p->used = false;
        tell_soon(w);
    } else if (p->used) { /* cut in the middle, or 500 */
        check_cut_off(w, &p->instance, p->epoch);
        break_later(w, p, r->host ? UPSTREAM_REFUSED : UPSTREAM_BROKEN);
    }
}

/* The client's patience. */
static void on_give_up(struct world *w, const struct happening *h)
{
    struct passage *p = h->p;

    if (p->used && p->request.serial == h->b)
        end_passage(w, p);
}

static struct upstream upstream_of(const struct picture *p)
{
    return (struct upstream){.addr = p->addr, .port = p->port, .key = p->key, .instance = p->id, .epoch = p->epoch};
}

static uint32_t in_flight(const struct world *w, const struct picture *p)
{
    uint32_t n = 0;

    for (size_t i = 0; i < USER_REQUESTS_MAX; i++) {
        const struct passage *a = &w->users->passage[i];

        n += a->used && a->epoch == p->epoch && id128_equal(&a->instance, &p->id);
    }
    return n;
}

/* poison: taken. False: nobody serves that name. */
static bool ask(struct world *w, const char *name, bool *poison)
{
    const struct picture *to = route(w, name);
    struct upstream upstream;
    struct passage *p = NULL;

    for (size_t i = 0; i < USER_REQUESTS_MAX && !p; i++)
        p = w->users->passage[i].used ? NULL : &w->users->passage[i];
    if (!to || !p || in_flight(w, to) >= GATEWAY_LIMIT)
        return to;
    check_routed(w, to);
    upstream = upstream_of(to);
    w->stats->n_requests++;
    *p = (struct passage){.used = true, .instance = to->id, .epoch = to->epoch};
    p->request.takes_ms = world_chance(w, 50, 4000);
    p->request.done = on_answered;
    p->request.poison = poison && *poison;
    p->request.serial = ++w->order;
    if (poison)
        *poison = false;
    tell_soon(w);
    switch (llama_ask(w, net_leader_machine(w), &upstream, &p->request)) {
    case ASKED_TAKEN:
        world_at(w, w->now_ms + GIVE_UP_MS, (struct happening){.happen = on_give_up, .b = p->request.serial, .p = p});
        return true;
    case ASKED_REFUSED:
        break_later(w, p, UPSTREAM_REFUSED);
        return true;
    case ASKED_500:
        break_later(w, p, UPSTREAM_BROKEN);
        return true;
    case ASKED_UNREACHED:
        p->used = false;
        return true;
    }
    return true;
}

bool user_asks(struct world *w, const char *name)
{
    return ask(w, name, NULL);
}

static void on_ask(struct world *w, const struct happening *h)
{
    int name = (int)h->a;

    if (w->now_ms >= w->users->asking_until_ms[name])
        return;
    world_at(w, w->now_ms + world_chance(w, 1, 2 * ASK_EVERY_MS), *h);
    if (leader_listens(w))
        ask(w, target_of(h->b, name), &w->users->poisoned[name]);
}

static void tell_traffic(struct world *w, const struct picture *p, struct told *told)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_TRAFFIC, .instance = p->id, .epoch = p->epoch};
    const struct upstream upstream = upstream_of(p);

    ev.traffic.in_flight = in_flight(w, p);
    ev.traffic.progress = llama_progress(w, &upstream);
    if (told->epoch == p->epoch && id128_equal(&told->instance, &p->id) &&
        told->traffic.in_flight == ev.traffic.in_flight && told->traffic.progress == ev.traffic.progress)
        return;
    *told = (struct told){p->id, p->epoch, ev.traffic};
    leader_feed(w, &ev);
}

static void on_traffic(struct world *w, const struct happening *h)
{
    struct picture p[USER_TOLD];
    size_t n = 0;

    if (!h->a)
        world_at(w, w->now_ms + TRAFFIC_MS, *h);
    else if (!leader_listens(w))
        tell_soon(w);
    if (!leader_listens(w))
        return;
    for (size_t i = 0; i < w->leader->n_pictures && n < USER_TOLD; i++) {
        if (w->leader->picture[i].state == INSTANCE_READY || w->leader->picture[i].state == INSTANCE_DRAINING)
            p[n++] = w->leader->picture[i]; /* what follows may paint a new one */
    }
    for (size_t i = 0; i < n && w->leader->c; i++)
        tell_traffic(w, &p[i], &w->users->told[i]);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

void user_do(struct world *w, const struct action *a)
{
    int name = a->other % USER_NAMES;
    const char *node = w->host[a->host ? a->host : 1].name;

    switch ((int)a->kind) {
    case ACTION_DEPLOY:
        deploy(w, a);
        break;
    case ACTION_STOP:
        order(w, CLUSTER_EV_STOP, a->kind, name, target_of(a->n, name));
        break;
    case ACTION_DRAIN:
        order(w, CLUSTER_EV_DRAIN, a->kind, 0, node);
        break;
    case ACTION_UNDRAIN:
        order(w, CLUSTER_EV_UNDRAIN, a->kind, 0, node);
        break;
    case ACTION_RETIRE:
        order(w, a->n % 2 ? CLUSTER_EV_REVOKE : CLUSTER_EV_RETIRE, a->kind, 0, node);
        break;
    case ACTION_LIFT_BRAKE:
        order(w, CLUSTER_EV_LIFT_BRAKE, a->kind, 0, NULL);
        break;
    case ACTION_POISON:
        w->users->poisoned[name] = true;
        break;
    case ACTION_DEMAND:
        asker_do(w, a);
        break;
    case ACTION_REQUESTS:
        w->users->asking_until_ms[name] = w->now_ms + a->lasts_ms;
        world_at(w, w->now_ms, (struct happening){.happen = on_ask, .a = (uint64_t)name, .b = a->n});
        break;
    default:
        break;
    }
}

static void on_order(struct world *w, const struct happening *h)
{
    const struct action a = {.kind = (enum action_kind)h->a, .host = h->host, .other = (int)h->b, .n = h->b % 3};

    if (!w->healed)
        user_do(w, &a);
}

/* A node that is not just ready, if there is one: that is where orders are odd. */
static int unready_host(struct world *w)
{
    size_t from = world_chance(w, 1, w->n_hosts);

    for (size_t i = 0; i < w->n_hosts; i++) {
        size_t n = (from + i - 1) % w->n_hosts + 1;

        if (check_node_state(w, (int)n) != NODE_READY)
            return (int)n;
    }
    return (int)from;
}

void user_hurries(struct world *w)
{
    static const enum action_kind kinds[2][3] = {{ACTION_STOP, ACTION_DEPLOY, ACTION_DEPLOY},
                                                 {ACTION_DRAIN, ACTION_UNDRAIN, ACTION_UNDRAIN}};
    uint64_t what = world_chance(w, 0, 3);
    struct happening h = {.happen = on_order, .b = world_chance(w, 0, USER_NAMES - 1)};

    if (w->healed || what > 1)
        return;
    h.host = unready_host(w);
    for (int i = 0; i < 3; i++) {
        h.a = (uint64_t)kinds[what][i];
        world_at(w, w->now_ms + world_chance(w, 0, 100) + (uint64_t)i * 100, h);
    }
}

/* What the machine went to, and what somebody orders then. */
static const struct answer {
    const char *machine, *to;
    enum action_kind order;
    uint32_t permille;
} answers[] = {
    {"node", "joining", ACTION_UNDRAIN, 100},     {"node", "joining", ACTION_RETIRE, 3},
    {"node", "suspect", ACTION_UNDRAIN, 60},      {"node", "lost", ACTION_UNDRAIN, 150},
    {"node", "evicted", ACTION_UNDRAIN, 700},     {"instance", "placing", ACTION_STOP, 100},
    {"instance", "draining", ACTION_DEPLOY, 300}, {"instance", "stopping", ACTION_STOP, 300},
};

/* By the words of an order: its alias, or its model under none. */
static void name_target(const char *instance, struct happening *h)
{
    for (uint64_t name = 1; name < USER_NAMES; name++)
        h->a = strcmp(instance, user_names[name]) == 0 ? name : h->a;
    for (uint64_t model = 0; model < MODELS_N; model++)
        h->b = strcmp(instance, model_names[model]) == 0 ? model : h->b;
}

static void on_seen(struct world *w, const struct happening *h)
{
    const struct action a = {.kind = (enum action_kind)h->life, .host = h->host, .other = (int)h->a, .n = h->b};

    if (!w->healed)
        user_do(w, &a);
}

static void answer_with(struct world *w, const struct answer *a, const char *id)
{
    struct happening h = {.happen = on_seen, .life = (uint32_t)a->order};

    if (strcmp(a->machine, "node") == 0)
        h.host = atoi(id + 1);
    else
        name_target(id, &h);
    world_at(w, w->now_ms + world_chance(w, 0, world_maybe(w, 500) ? 10 : 200), h);
}

void user_sees(struct world *w, const struct cluster_transition *t)
{
    if (!w->scenario->odd || w->healed || !t->to || strcmp(t->to, t->from) == 0)
        return;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        const struct answer *a = &answers[i];

        if (strcmp(a->machine, t->machine) == 0 && strcmp(a->to, t->to) == 0 && world_maybe(w, a->permille))
            answer_with(w, a, t->id);
    }
}

uint32_t user_in_flight(const struct world *w, const struct id128 *instance, uint64_t epoch)
{
    return in_flight(w, &(struct picture){.id = *instance, .epoch = epoch});
}

bool user_orders(struct world *w, struct cluster_ev *ev, enum action_kind kind)
{
    if (!leader_listens(w) || !new_wish(w, kind, 0))
        return false;
    ev->request_id = w->users->n_wishes;
    ev->new_instance = new_id(w);
    leader_feed(w, ev);
    return true;
}

void user_stop_everything(struct world *w)
{
    for (int name = 0; name < USER_NAMES; name++) {
        w->users->asking_until_ms[name] = 0;
        for (uint64_t model = 0; model < (name ? 1 : MODELS_N - 1); model++)
            order(w, CLUSTER_EV_STOP, ACTION_STOP, name, target_of(model, name));
    }
    asker_stop_everything(w);
}

void user_leader_gone(struct world *w)
{
    for (size_t i = 0; i < USER_REQUESTS_MAX; i++) {
        if (w->users->passage[i].used)
            end_passage(w, &w->users->passage[i]);
    }
    memset(w->users->told, 0, sizeof(w->users->told));
}

void user_begin(struct world *w)
{
    w->users = calloc(1, sizeof(*w->users));
    assert(w->users);
    asker_begin(w);
    world_at(w, TRAFFIC_MS, (struct happening){.happen = on_traffic});
}

void user_end(struct world *w)
{
    free(w->users);
    asker_end(w);
}
