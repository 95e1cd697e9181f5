#include "tests/sim/scenario.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/random.h"
#include "tests/sim/scenario_internal.h"
#include "tests/sim/world.h"

const char *action_name(enum action_kind k)
{
    static const char *const names[ACTION_N] = {
        [ACTION_DEPLOY] = "deploy",
        [ACTION_STOP] = "stop",
        [ACTION_DRAIN] = "drain",
        [ACTION_UNDRAIN] = "undrain",
        [ACTION_RETIRE] = "retire",
        [ACTION_LIFT_BRAKE] = "lift the brake",
        [ACTION_REQUESTS] = "requests",
        [ACTION_DEMAND] = "requests for what nobody has deployed",
        [ACTION_KILL] = "process killed",
        [ACTION_FREEZE] = "process stopped",
        [ACTION_SLOW] = "machine slow",
        [ACTION_POISON] = "poisoned request",
        [ACTION_ANSWERS_500] = "coordinator answers 500",
        [ACTION_PORT_TAKEN] = "ports taken",
        [ACTION_SPAWN_FAILS] = "starts fail",
        [ACTION_STILLBORN] = "processes end as they start",
        [ACTION_CARRIER_KILLED] = "carrier killed",
        [ACTION_CARRIER_FROZEN] = "carrier stopped",
        [ACTION_WORKER_FROZEN] = "busy worker stopped",
        [ACTION_AGENT_CRASH] = "agent ends",
        [ACTION_AGENT_CRASH_MIDWAY] = "agent ends in mid-step",
        [ACTION_AGENT_FREEZE] = "agent stopped",
        [ACTION_AGENTS_CRASH] = "all agents end",
        [ACTION_LEADER_CRASH] = "controller ends",
        [ACTION_LEADER_CRASH_MIDWAY] = "controller ends in mid-step",
        [ACTION_LEADER_FREEZE] = "controller stopped",
        [ACTION_TRANSPORT] = "rank_transport is changed",
        [ACTION_POWER_CUT] = "power cut",
        [ACTION_SUSPEND] = "suspend",
        [ACTION_MEMORY_SHRINKS] = "memory taken",
        [ACTION_DISK_FULL] = "disk full",
        [ACTION_STORE_FAILS] = "store fails",
        [ACTION_STORE_SLOW] = "store slow",
        [ACTION_CLOCK_JUMP] = "wall clock jumps",
        [ACTION_CUT] = "cut",
        [ACTION_CUT_ONE_WAY] = "one-way cut",
        [ACTION_CABLE] = "cable out",
        [ACTION_SPLIT] = "network split",
        [ACTION_LINK_OUT] = "link out for ten seconds",
        [ACTION_DELAY] = "delay",
        [ACTION_LOSS] = "loss",
        [ACTION_DUPLICATE] = "messages doubled",
        [ACTION_REORDER] = "messages overtake",
        [ACTION_COPY_OF_NODE] = "copy of a node",
        [ACTION_HELLO_AGAIN] = "hello again",
        [ACTION_LATE_WORDS] = "late words",
        [ACTION_STRANGER_REPORTS] = "stranger",
        [ACTION_BAD_COMMANDS] = "bad commands",
        [ACTION_ODD_EVENTS] = "odd events",
    };

    return k < ACTION_N ? names[k] : "nothing";
}

/* ---- how a seed makes one ---------------------------------------------------------------------------------------- */

/* How often each happens among faults; and how long it lasts. */
static const struct taste {
    enum action_kind kind;
    uint32_t weight;
    uint64_t least_ms, most_ms;
} tastes[] = {
    {ACTION_KILL, 14, 0, 0},
    {ACTION_FREEZE, 8, 100, 40000},
    {ACTION_SLOW, 3, 2000, 30000},
    {ACTION_POISON, 2, 0, 0},
    {ACTION_ANSWERS_500, 2, 0, 0},
    {ACTION_PORT_TAKEN, 3, 1000, 20000},
    {ACTION_SPAWN_FAILS, 3, 1000, 20000},
    {ACTION_STILLBORN, 2, 500, 10000},
    {ACTION_CARRIER_KILLED, 5, 0, 0},
    {ACTION_CARRIER_FROZEN, 2, 100, 40000},
    {ACTION_WORKER_FROZEN, 2, 100, 40000},
    {ACTION_AGENT_CRASH, 8, 50, 20000},
    {ACTION_AGENT_CRASH_MIDWAY, 6, 200, 5000},
    {ACTION_AGENT_FREEZE, 6, 200, 20000},
    {ACTION_AGENTS_CRASH, 1, 50, 10000},
    {ACTION_LEADER_CRASH, 5, 50, 15000},
    {ACTION_LEADER_CRASH_MIDWAY, 4, 500, 5000},
    {ACTION_LEADER_FREEZE, 2, 200, 8000},
    {ACTION_POWER_CUT, 5, 500, 40000},
    {ACTION_SUSPEND, 4, 500, 30000},
    {ACTION_MEMORY_SHRINKS, 3, 2000, 30000},
    {ACTION_DISK_FULL, 4, 500, 20000},
    {ACTION_STORE_FAILS, 2, 200, 5000},
    {ACTION_STORE_SLOW, 2, 500, 20000},
    {ACTION_CLOCK_JUMP, 1, 0, 0},
    {ACTION_CUT, 8, 200, 40000},
    {ACTION_CUT_ONE_WAY, 6, 200, 40000},
    {ACTION_CABLE, 7, 200, 40000},
    {ACTION_SPLIT, 3, 500, 40000},
    {ACTION_DELAY, 2, 500, 20000},
    {ACTION_LOSS, 3, 500, 20000},
    {ACTION_DUPLICATE, 3, 500, 20000},
    {ACTION_REORDER, 3, 500, 20000},
    {ACTION_COPY_OF_NODE, 2, 0, 0},
    {ACTION_HELLO_AGAIN, 2, 0, 0},
    {ACTION_LATE_WORDS, 1, 0, 0},
    {ACTION_STRANGER_REPORTS, 1, 0, 0},
    {ACTION_BAD_COMMANDS, 2, 0, 0},
    {ACTION_ODD_EVENTS, 2, 0, 0},
};

static const struct taste *choose(uint64_t *r)
{
    uint64_t sum = 0, at;

    for (size_t i = 0; i < sizeof(tastes) / sizeof(tastes[0]); i++)
        sum += tastes[i].weight;
    at = random_in(r, 0, sum - 1);
    for (size_t i = 0;; i++) {
        if (at < tastes[i].weight)
            return &tastes[i];
        at -= tastes[i].weight;
    }
}

void scenario_add(struct scenario *s, struct action a)
{
    if (s->n < SCENARIO_ACTIONS_MAX)
        s->action[s->n++] = a;
}

int scenario_some_host(const struct scenario *s, uint64_t *r)
{
    return (int)random_in(r, 1, s->n_hosts);
}

static void add_fault(struct scenario *s, uint64_t *r)
{
    const struct taste *t = choose(r);
    struct action a = {.at_ms = random_in(r, 3000, s->heal_ms - 1), .kind = t->kind, .n = random_next(r)};

    a.host = scenario_some_host(s, r);
    a.other = random_one_in(r, 2) ? 0 : scenario_some_host(s, r);
    a.lasts_ms = t->most_ms ? random_in(r, t->least_ms, t->most_ms) : 0;
    if (random_one_in(r, 2)) /* short ones are where the races are */
        a.lasts_ms = t->most_ms ? random_in(r, t->least_ms, t->least_ms * 4) : 0;
    if ((t->kind == ACTION_CABLE || t->kind == ACTION_POWER_CUT || t->kind == ACTION_SUSPEND) && random_one_in(r, 6))
        a.host = s->shared_machine ? 1 : 0;
    if (a.other == a.host)
        a.other = 0;
    if (t->kind == ACTION_CUT_ONE_WAY && random_one_in(r, 2) && a.other != a.host) {
        int host = a.host;

        a.host = a.other;
        a.other = host;
    }
    scenario_add(s, a);
}

static void add_order(struct scenario *s, uint64_t *r)
{
    struct action a = {
        .at_ms = random_in(r, 1000, s->heal_ms - 1), .n = random_next(r), .other = (int)random_in(r, 0, 3)};
    uint64_t what = random_in(r, 0, 99);

    a.host = scenario_some_host(s, r);
    a.lasts_ms = random_in(r, 1000, 30000);
    a.kind = what < 40   ? ACTION_DEPLOY
             : what < 52 ? ACTION_STOP
             : what < 62 ? ACTION_DRAIN
             : what < 70 ? ACTION_UNDRAIN
             : what < 72 ? ACTION_RETIRE
             : what < 76 ? ACTION_LIFT_BRAKE
                         : ACTION_REQUESTS;
    if (a.kind == ACTION_DEPLOY && !random_one_in(r, 8))
        a.n = a.n / 4 * 4 + random_in(r, 0, 2); /* a model that there is */
    scenario_add(s, a);
}

/* ---- what chance alone does not bring about ---------------------------------------------------------------------- */

/* One of a row, at a time after its beginning. n: 0: any. */
struct part {
    enum action_kind kind;
    uint64_t from_ms, to_ms, least_ms, most_ms, n;
    uint32_t one_in; /* 0: always */
};

static void add_parts(struct scenario *s, uint64_t *r, int host, uint64_t begins_ms, const struct part *parts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct part *p = &parts[i];
        struct action a = {.kind = p->kind, .host = host, .at_ms = begins_ms + random_in(r, p->from_ms, p->to_ms)};

        a.n = p->n ? p->n : random_next(r);
        a.lasts_ms = random_in(r, p->least_ms, p->most_ms);
        if (a.at_ms < s->heal_ms && (!p->one_in || random_one_in(r, p->one_in)))
            scenario_add(s, a);
    }
}

#define ADD_PARTS(s, r, host, begins_ms, parts) \
    add_parts(s, r, host, begins_ms, parts, sizeof(parts) / sizeof((parts)[0]))

/* Somebody drains a node, and it goes before it is empty; the controller is started anew, hears a word of the node that was
 * long on its way, and is told that the node is wanted after all, or not at all. */
static void add_parting(struct scenario *s, uint64_t *r, int host)
{
    static const struct part parts[] = {
        {ACTION_DRAIN, 0, 0, 0, 0, 0, 0},
        {ACTION_LEADER_CRASH, 50, 1000, 50, 500, 0, 2},
        {ACTION_LATE_WORDS, 1500, 7000, 0, 0, LATE_HELLO, 0},
        {ACTION_LATE_WORDS, 1500, 14000, 0, 0, LATE_HALF, 0},
        {ACTION_LATE_WORDS, 1500, 14000, 0, 0, LATE_WHOLE, 2},
        {ACTION_UNDRAIN, 1000, 20000, 0, 0, 0, 0},
        {ACTION_RETIRE, 1000, 12000, 0, 0, 0, 2},
    };
    static const struct part gone[] = {{ACTION_POWER_CUT, 40, 1000, 15000, 40000, 0, 0}},
                             stuck[] = {{ACTION_AGENT_CRASH, 40, 1000, 15000, 40000, 0, 0}};
    uint64_t begins_ms = random_in(r, 7000, s->heal_ms / 2 + 1);

    if (!s->evict_after_ms)
        s->evict_after_ms = random_in(r, 1000, 5000);
    ADD_PARTS(s, r, host, begins_ms, parts);
    if (random_one_in(r, 3))
        ADD_PARTS(s, r, host, begins_ms, stuck);
    else
        ADD_PARTS(s, r, host, begins_ms, gone);
}

/* Somebody drains a node and changes his mind, just while its agent is stopped and begins anew. */
static void add_doubt(struct scenario *s, uint64_t *r, int host)
{
    static const struct part parts[] = {
        {ACTION_DRAIN, 0, 0, 0, 0, 0, 0},
        {ACTION_AGENT_FREEZE, 50, 300, 600, 3000, 0, 0},
        {ACTION_LATE_WORDS, 300, 500, 0, 0, LATE_HELLO, 0},
        {ACTION_LATE_WORDS, 500, 700, 0, 0, LATE_HALF, 0},
        {ACTION_UNDRAIN, 600, 900, 0, 0, 0, 2},
        {ACTION_LATE_WORDS, 800, 1200, 0, 0, LATE_HALF, 0},
        {ACTION_RETIRE, 600, 1200, 0, 0, 0, 6},
    };

    ADD_PARTS(s, r, host, random_in(r, 7000, s->heal_ms), parts);
}

/* Nothing can be started anywhere, for longer than anybody tries. */
static void add_defeat(struct scenario *s, uint64_t *r)
{
    static const struct part parts[] = {{ACTION_SPAWN_FAILS, 0, 100, 40000, 60000, SPAWN_ALL_FAIL, 0}},
                             deploy[] = {{ACTION_DEPLOY, 1000, 2000, 0, 0, 0, 0}};
    uint64_t begins_ms = random_in(r, 2000, s->heal_ms / 3 + 1);

    for (size_t n = 1; n <= s->n_hosts && n <= 6; n++)
        ADD_PARTS(s, r, (int)n, begins_ms, parts);
    ADD_PARTS(s, r, 1, begins_ms, deploy);
}

/* What was deployed first is stopped and deployed again in one breath, and the store fails just then. */
static void add_haste(struct scenario *s, uint64_t *r)
{
    const uint64_t first = s->action[0].n;
    const struct part parts[] = {{ACTION_STOP, 0, 0, 0, 0, first, 0},
                                 {ACTION_STORE_FAILS, 20, 60, 50, 400, 0, 0},
                                 {ACTION_DEPLOY, 30, 150, 0, 0, first, 0}};

    ADD_PARTS(s, r, 1, random_in(r, 7000, s->heal_ms), parts);
}

/* A node is not heard for a moment, too short a one for its link, and a copy of it is. */
static void add_twin(struct scenario *s, uint64_t *r, int host)
{
    static const struct part parts[] = {{ACTION_CUT_ONE_WAY, 0, 0, 700, 890, 0, 0},
                                        {ACTION_COPY_OF_NODE, 600, 890, 0, 0, 0, 0},
                                        {ACTION_COPY_OF_NODE, 700, 40000, 0, 0, 0, 2}};

    ADD_PARTS(s, r, host, random_in(r, 7000, s->heal_ms), parts);
}

/* The controller is started anew on a machine whose cable is out, or goes out before it knows what is left. */
static void add_deaf_start(struct scenario *s, uint64_t *r)
{
    static const struct part parts[] = {{ACTION_LEADER_CRASH, 0, 0, 50, 2000, 0, 0},
                                        {ACTION_CABLE, 0, 2500, 2000, 30000, 0, 0}};

    ADD_PARTS(s, r, s->shared_machine ? 1 : 0, random_in(r, 7000, s->heal_ms), parts);
}

static void add_odd(struct scenario *s, uint64_t *r)
{
    switch (random_in(r, 0, 8)) {
    case 0:
        add_defeat(s, r);
        return;
    case 1:
        add_haste(s, r);
        return;
    case 2:
    case 3:
        add_twin(s, r, scenario_some_host(s, r));
        return;
    case 4:
    case 5:
        add_doubt(s, r, scenario_some_host(s, r));
        return;
    default:
        add_parting(s, r, scenario_some_host(s, r));
        return;
    }
}

/* Somebody asks for what nobody has deployed, now and then, so that it comes and goes. */
static void add_demand(struct scenario *s, uint64_t *r)
{
    uint64_t n = random_in(r, 3, 12);

    s->asks = true;
    for (uint64_t i = 0; i < n; i++)
        scenario_add(s, (struct action){.at_ms = random_in(r, 2000, s->heal_ms),
                                        .kind = ACTION_DEMAND,
                                        .n = random_next(r),
                                        .lasts_ms = random_one_in(r, 2) ? 1 : random_in(r, 1000, 20000)});
}

static int by_time(const void *a, const void *b)
{
    const struct action *x = a, *y = b;

    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return x->n < y->n ? -1 : x->n > y->n;
}

static size_t choose_hosts(uint64_t *r)
{
    uint64_t what = random_in(r, 0, 99);

    if (what < 3)
        return 1;
    if (what < 80)
        return random_in(r, 2, 6);
    if (what < 97)
        return random_in(r, 7, 16);
    return what < 99 ? random_in(r, 17, 50) : random_in(r, 51, HOSTS_MAX);
}

static void choose_transport(struct scenario *s, uint64_t *r)
{
    s->tunnel = random_one_in(r, 2);
    s->differs = s->n_hosts > 1 && random_one_in(r, 8) ? scenario_some_host(s, r) : 0;
    s->blind = random_one_in(r, 3);
    if (random_one_in(r, 6))
        scenario_add(s, (struct action){.at_ms = random_in(r, 8000, s->heal_ms - 1), .kind = ACTION_TRANSPORT});
}

void scenario_make(struct scenario *s, uint64_t seed, size_t n_hosts, enum scenario_transport transport)
{
    uint64_t r = seed, n_faults, n_orders;

    r = random_next(&r); /* neighbouring seeds must not be neighbours in one row of numbers */
    *s = (struct scenario){.seed = r};
    s->n_hosts = n_hosts ? n_hosts : choose_hosts(&r);
    s->shared_machine = random_one_in(&r, 3);
    s->lives_on = random_one_in(&r, 3);
    s->odd = random_one_in(&r, 8);
    s->skips = random_one_in(&r, 8);
    s->deaf = random_one_in(&r, 16);
    s->gpu_permille = random_one_in(&r, 3) ? 400 : 0;
    s->load_mib_s = (uint32_t)random_in(&r, 300, 2000);
    s->evict_after_ms = random_one_in(&r, 4) ? random_in(&r, 1000, 15000) : 0;
    s->delay_ms = (uint32_t)random_in(&r, 0, 5);
    s->heal_ms = random_in(&r, 15000, 90000);
    n_faults = random_in(&r, 0, s->heal_ms / 3000);
    n_orders = random_in(&r, 2, 12);
    scenario_add(s, (struct action){.at_ms = random_in(&r, 2500, 6000),
                                    .kind = ACTION_DEPLOY,
                                    .n = random_in(&r, 0, 2) | (random_one_in(&r, 2) ? random_in(&r, 0, 4) << 8 : 0)});
    for (uint64_t i = 0; i < n_orders; i++)
        add_order(s, &r);
    for (uint64_t i = 0; i < n_faults; i++)
        add_fault(s, &r);
    if (random_one_in(&r, 16))
        add_deaf_start(s, &r);
    for (int i = 0; i < 5 && s->odd; i++)
        add_odd(s, &r);
    s->keys = random_one_in(&r, 4);
    choose_transport(s, &r);
    if (transport != SCENARIO_ANY)
        s->tunnel = transport == SCENARIO_TUNNEL;
    if (random_one_in(&r, 8))
        scenario_make_calm(s, &r);
    else if (random_one_in(&r, 3))
        add_demand(s, &r);
    qsort(s->action, s->n, sizeof(s->action[0]), by_time);
}
