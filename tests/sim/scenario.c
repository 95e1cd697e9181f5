#include "tests/sim/scenario.h"

#include <stdlib.h>
#include <string.h>

#include "tests/lib/random.h"
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
        [ACTION_KILL] = "process killed",
        [ACTION_FREEZE] = "process stopped",
        [ACTION_SLOW] = "machine slow",
        [ACTION_POISON] = "poisoned request",
        [ACTION_ANSWERS_500] = "coordinator answers 500",
        [ACTION_PORT_TAKEN] = "ports taken",
        [ACTION_SPAWN_FAILS] = "starts fail",
        [ACTION_AGENT_CRASH] = "agent ends",
        [ACTION_AGENT_CRASH_MIDWAY] = "agent ends in mid-step",
        [ACTION_AGENT_FREEZE] = "agent stopped",
        [ACTION_LEADER_CRASH] = "controller ends",
        [ACTION_LEADER_CRASH_MIDWAY] = "controller ends in mid-step",
        [ACTION_LEADER_FREEZE] = "controller stopped",
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
        [ACTION_DELAY] = "delay",
        [ACTION_LOSS] = "loss",
        [ACTION_DUPLICATE] = "messages doubled",
        [ACTION_REORDER] = "messages overtake",
        [ACTION_COPY_OF_NODE] = "copy of a node",
        [ACTION_HELLO_AGAIN] = "hello again",
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
    {ACTION_AGENT_CRASH, 8, 50, 20000},
    {ACTION_AGENT_CRASH_MIDWAY, 6, 200, 5000},
    {ACTION_AGENT_FREEZE, 6, 200, 20000},
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

static void add(struct scenario *s, struct action a)
{
    if (s->n < SCENARIO_ACTIONS_MAX)
        s->action[s->n++] = a;
}

static int some_host(const struct scenario *s, uint64_t *r)
{
    return (int)random_in(r, 1, s->n_hosts);
}

static void add_fault(struct scenario *s, uint64_t *r)
{
    const struct taste *t = choose(r);
    struct action a = {.at_ms = random_in(r, 3000, s->heal_ms - 1), .kind = t->kind, .n = random_next(r)};

    a.host = some_host(s, r);
    a.other = random_one_in(r, 2) ? 0 : some_host(s, r);
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
    add(s, a);
}

static void add_order(struct scenario *s, uint64_t *r)
{
    struct action a = {
        .at_ms = random_in(r, 1000, s->heal_ms - 1), .n = random_next(r), .other = (int)random_in(r, 0, 3)};
    uint64_t what = random_in(r, 0, 99);

    a.host = some_host(s, r);
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
    add(s, a);
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

void scenario_make(struct scenario *s, uint64_t seed, size_t n_hosts)
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
    add(s, (struct action){.at_ms = random_in(&r, 2500, 6000),
                           .kind = ACTION_DEPLOY,
                           .n = random_in(&r, 0, 2) | (random_one_in(&r, 2) ? random_in(&r, 0, 4) << 8 : 0)});
    for (uint64_t i = 0; i < n_orders; i++)
        add_order(s, &r);
    for (uint64_t i = 0; i < n_faults; i++)
        add_fault(s, &r);
    qsort(s->action, s->n, sizeof(s->action[0]), by_time);
}
