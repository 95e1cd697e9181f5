#include "tests/sim/faults.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/asker.h"
#include "tests/sim/check.h"
#include "tests/sim/hits.h"
#include "tests/sim/host.h"
#include "tests/sim/leader.h"
#include "tests/sim/net.h"
#include "tests/sim/odd.h"
#include "tests/sim/scenario.h"
#include "tests/sim/stats.h"
#include "tests/sim/user.h"

enum { SETTLED_MS = 4000, RESTORED_MS = 15000 };

/* ---- one action, begun or over ----------------------------------------------------------------------------------- */

static void link_out(struct world *w, const struct action *a, bool on)
{
    if (a->n % 3 == 0)
        hit_cable(w, a->host, on);
    if (a->n % 3 != 0)
        hit_cut(w, a->host, a->other, on);
    if (a->n % 3 == 1)
        hit_cut(w, a->other, a->host, on);
}

static void network(struct world *w, const struct action *a, bool on)
{
    switch ((int)a->kind) {
    case ACTION_CUT:
        hit_cut(w, a->other, a->host, on);
        hit_cut(w, a->host, a->other, on);
        break;
    case ACTION_CUT_ONE_WAY:
        hit_cut(w, a->host, a->other, on);
        break;
    case ACTION_CABLE:
        hit_cable(w, a->host, on);
        break;
    case ACTION_SPLIT:
        hit_split(w, a->n, on);
        break;
    case ACTION_LINK_OUT:
        link_out(w, a, on);
        break;
    case ACTION_DELAY:
        w->net->delay_ms = on ? (uint32_t)(a->n % 400) : 0;
        break;
    case ACTION_LOSS:
        w->net->loss_permille = on ? (uint32_t)(a->n % 200) : 0;
        break;
    case ACTION_DUPLICATE:
        w->net->double_permille = on ? (uint32_t)(a->n % 200) : 0;
        break;
    case ACTION_REORDER:
        w->net->overtake_permille = on ? (uint32_t)(a->n % 200) : 0;
        break;
    default:
        return;
    }
    hit_network_changed(w);
}

static void machine(struct world *w, const struct action *a, bool on)
{
    struct host *h = &w->host[a->host];

    switch ((int)a->kind) {
    case ACTION_POWER_CUT:
        hit_power(w, a->host, !on);
        break;
    case ACTION_SUSPEND:
        hit_suspend(w, a->host, on);
        break;
    case ACTION_MEMORY_SHRINKS:
        if (on)
            h->taken_bytes = h->total_bytes / 8 * (a->n % 8);
        else
            h->taken_bytes = 0;
        break;
    case ACTION_DISK_FULL:
        h->disk.full = on;
        break;
    case ACTION_SLOW:
        h->slow = on ? 10 : 0;
        llama_changed(w);
        break;
    case ACTION_PORT_TAKEN:
        h->foreign_ports = on ? (uint32_t)(1 + a->n % 70) : 0;
        break;
    case ACTION_SPAWN_FAILS:
        h->spawn_fails = !on ? 0 : a->n == SPAWN_ALL_FAIL ? UINT32_MAX : (uint32_t)(1 + a->n % 3);
        break;
    case ACTION_STILLBORN:
        h->stillborn = on ? (uint32_t)(1 + a->n % 3) : 0;
        break;
    default:
        break;
    }
}

static void agent(struct world *w, const struct action *a, bool on)
{
    struct host *h = &w->host[a->host];

    switch ((int)a->kind) {
    case ACTION_AGENT_CRASH:
        if (on)
            host_agent_crash(w, h);
        break;
    case ACTION_AGENT_CRASH_MIDWAY:
        h->crash_in = on && h->agent ? (uint32_t)(1 + a->n % 40) : 0;
        break;
    case ACTION_AGENT_FREEZE:
        host_agent_freeze(w, h, on);
        return;
    case ACTION_AGENTS_CRASH:
        for (size_t n = 1; n <= w->n_hosts; n++)
            on ? host_agent_crash(w, &w->host[n]) : host_agent_start(w, &w->host[n]);
        return;
    default:
        return;
    }
    if (!on && !h->agent)
        host_agent_start(w, h);
}

static void on_start_anew(struct world *w, const struct happening *h)
{
    if (h->host)
        host_agent_start(w, &w->host[h->host]);
    else
        leader_start(w);
}

static void on_end_for_it(struct world *w, const struct happening *h)
{
    if (w->healed)
        return;
    if (h->host)
        host_agent_crash(w, &w->host[h->host]);
    else
        leader_crash(w);
    world_at(w, w->now_ms + world_chance(w, 50, 1500), (struct happening){.happen = on_start_anew, .host = h->host});
}

static void change_transport(struct world *w)
{
    w->tunnel = !w->tunnel;
    for (size_t n = 0; n <= w->n_hosts; n++)
        world_at(w, w->now_ms + world_chance(w, 0, 10000), (struct happening){.happen = on_end_for_it, .host = (int)n});
}

static void leader(struct world *w, const struct action *a, bool on)
{
    struct leader *l = w->leader;

    switch ((int)a->kind) {
    case ACTION_LEADER_CRASH:
        if (on)
            leader_crash(w);
        break;
    case ACTION_LEADER_CRASH_MIDWAY:
        l->crash_in = on && l->c ? (uint32_t)(1 + a->n % 40) : 0;
        break;
    case ACTION_LEADER_FREEZE:
        leader_freeze(w, on);
        return;
    case ACTION_TRANSPORT:
        if (on)
            change_transport(w);
        return;
    case ACTION_STORE_FAILS:
        l->store.fails = on;
        return;
    case ACTION_STORE_SLOW:
        l->store.slow_ms = on ? a->n % 2000 : 0;
        return;
    case ACTION_CLOCK_JUMP:
        l->wall_ms += on ? (int64_t)(a->n % 20000000) - 10000000 : 0;
        return;
    default:
        return;
    }
    if (!on && !l->c)
        leader_start(w);
}

/* In a calm story: what must not matter if it lasts ten seconds. */
static bool is_harmless(enum action_kind k)
{
    return k == ACTION_LINK_OUT || k == ACTION_AGENT_CRASH || k == ACTION_AGENTS_CRASH || k == ACTION_LEADER_CRASH ||
           k == ACTION_SUSPEND;
}

static void on_settled(struct world *w, const struct happening *h)
{
    (void)h;
    if (!w->healed)
        check_still_serving(w);
}

static void perform(struct world *w, const struct action *a, bool on)
{
    switch (a->kind) {
    case ACTION_DEPLOY:
    case ACTION_STOP:
    case ACTION_DRAIN:
    case ACTION_UNDRAIN:
    case ACTION_RETIRE:
    case ACTION_LIFT_BRAKE:
    case ACTION_REQUESTS:
    case ACTION_DEMAND:
    case ACTION_POISON:
        if (on)
            user_do(w, a);
        return;
    case ACTION_KILL:
    case ACTION_FREEZE:
    case ACTION_ANSWERS_500:
    case ACTION_CARRIER_KILLED:
    case ACTION_CARRIER_FROZEN:
    case ACTION_WORKER_FROZEN:
        if (on)
            hit_process(w, a);
        return;
    case ACTION_SLOW:
    case ACTION_PORT_TAKEN:
    case ACTION_SPAWN_FAILS:
    case ACTION_STILLBORN:
    case ACTION_POWER_CUT:
    case ACTION_SUSPEND:
    case ACTION_MEMORY_SHRINKS:
    case ACTION_DISK_FULL:
        machine(w, a, on);
        return;
    case ACTION_AGENT_CRASH:
    case ACTION_AGENT_CRASH_MIDWAY:
    case ACTION_AGENT_FREEZE:
    case ACTION_AGENTS_CRASH:
        agent(w, a, on);
        return;
    case ACTION_LEADER_CRASH:
    case ACTION_LEADER_CRASH_MIDWAY:
    case ACTION_LEADER_FREEZE:
    case ACTION_TRANSPORT:
    case ACTION_STORE_FAILS:
    case ACTION_STORE_SLOW:
    case ACTION_CLOCK_JUMP:
        leader(w, a, on);
        return;
    case ACTION_CUT:
    case ACTION_CUT_ONE_WAY:
    case ACTION_CABLE:
    case ACTION_SPLIT:
    case ACTION_LINK_OUT:
    case ACTION_DELAY:
    case ACTION_LOSS:
    case ACTION_DUPLICATE:
    case ACTION_REORDER:
        network(w, a, on);
        return;
    case ACTION_COPY_OF_NODE:
    case ACTION_HELLO_AGAIN:
    case ACTION_LATE_WORDS:
    case ACTION_STRANGER_REPORTS:
    case ACTION_BAD_COMMANDS:
    case ACTION_ODD_EVENTS:
        if (on)
            odd_do(w, a);
        return;
    case ACTION_N:
        return;
    }
}

/* Nothing begins or ends by itself in a machine that is off or asleep. */
static bool must_wait(const struct world *w, const struct action *a)
{
    switch ((int)a->kind) {
    case ACTION_KILL:
    case ACTION_FREEZE:
    case ACTION_ANSWERS_500:
    case ACTION_CARRIER_KILLED:
    case ACTION_CARRIER_FROZEN:
    case ACTION_WORKER_FROZEN:
    case ACTION_AGENT_CRASH:
    case ACTION_AGENT_CRASH_MIDWAY:
    case ACTION_AGENT_FREEZE:
        return !host_awake(&w->host[a->host]);
    case ACTION_LEADER_CRASH:
    case ACTION_LEADER_CRASH_MIDWAY:
    case ACTION_LEADER_FREEZE:
        return !host_awake(&w->host[net_leader_machine(w)]);
    default:
        return false;
    }
}

static void on_over(struct world *w, const struct happening *h)
{
    const struct action *a = &w->scenario->action[h->a];

    if (w->healed)
        return;
    if (must_wait(w, a)) {
        world_at(w, w->now_ms + 100, *h);
        return;
    }
    world_say(w, "over: %s %s", action_name(a->kind), w->host[a->host].name);
    perform(w, a, false);
    if (w->scenario->calm && is_harmless(a->kind))
        world_at(w, w->now_ms + (a->kind == ACTION_LEADER_CRASH ? RESTORED_MS : SETTLED_MS),
                 (struct happening){.happen = on_settled});
}

static bool is_order(enum action_kind k)
{
    return k <= ACTION_REQUESTS;
}

static bool has_two(const struct action *a)
{
    return a->kind == ACTION_CUT || a->kind == ACTION_CUT_ONE_WAY || (a->kind == ACTION_LINK_OUT && a->n % 3);
}

static void on_action(struct world *w, const struct happening *h)
{
    const struct action *a = &w->scenario->action[h->a];

    if (must_wait(w, a))
        return;
    if (!is_order(a->kind))
        world_say(w, "fault: %s %s%s%s for %llu ms", action_name(a->kind), w->host[a->host].name,
                  has_two(a) ? " - " : "", has_two(a) ? w->host[a->other].name : "", (unsigned long long)a->lasts_ms);
    w->stats->injected[a->kind]++;
    if (w->scenario->calm && is_harmless(a->kind))
        check_serving(w);
    perform(w, a, true);
    if (!is_order(a->kind) && a->lasts_ms)
        world_at(w, w->now_ms + a->lasts_ms, (struct happening){.happen = on_over, .a = h->a});
}

/* Rare states do not wait for the fault of that name. */
static void on_odd(struct world *w, const struct happening *h)
{
    world_at(w, w->now_ms + world_chance(w, 200, 3000), *h);
    user_hurries(w);
    odd_late_words(w);
    odd_raise_at_agents(w);
    if (leader_listens(w))
        odd_raise_all(w);
}

void faults_begin(struct world *w)
{
    if (w->scenario->odd)
        world_at(w, 3000, (struct happening){.happen = on_odd});
    w->leader->carrier_told = true;
    for (size_t i = 0; i < w->scenario->n; i++) {
        const struct action *a = &w->scenario->action[i];

        if (!a->dropped)
            world_at(w, a->at_ms, (struct happening){.happen = on_action, .a = i});
    }
}

/* ---- the end of it ----------------------------------------------------------------------------------------------- */

static void heal_host(struct world *w, struct host *h)
{
    hit_power(w, h->n, true);
    hit_suspend(w, h->n, false);
    h->disk.full = false;
    h->foreign_ports = h->spawn_fails = h->stillborn = h->slow = h->crash_in = 0;
    h->taken_bytes = 0;
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        struct process *p = &h->process[i];

        if (p->used)
            llama_wake(w, h, p);
        if (p->used && p->frozen)
            llama_freeze(w, h, p, false);
    }
    if (h->n)
        host_agent_freeze(w, h, false);
    if (h->n && !h->agent)
        host_agent_start(w, h);
}

void faults_heal(struct world *w)
{
    struct net *n = w->net;

    w->healed = true;
    world_say(w, "all is healed");
    memset(n->cut, 0, sizeof(n->cut));
    memset(n->cable, 0, sizeof(n->cable));
    n->delay_ms = n->loss_permille = n->double_permille = n->overtake_permille = 0;
    w->leader->store.fails = false;
    w->leader->store.slow_ms = 0;
    w->leader->crash_in = 0;
    for (size_t i = 0; i <= w->n_hosts; i++)
        heal_host(w, &w->host[i]);
    leader_freeze(w, false);
    leader_start(w);
    hit_network_changed(w);
    asker_healed(w);
}
