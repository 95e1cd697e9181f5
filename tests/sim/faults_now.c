/* What goes wrong just when it hurts most: in odd stories, now and then, when something is asked for. */
#include "tests/sim/faults.h"
#include "tests/sim/hits.h"
#include "tests/sim/host.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"

static void on_nap(struct world *w, const struct happening *h)
{
    hit_suspend(w, h->host, h->a);
    hit_network_changed(w);
}

void faults_sleep_now(struct world *w)
{
    int machine = net_leader_machine(w);
    uint64_t at_ms = w->now_ms + world_chance(w, 1, 20), for_ms = world_chance(w, 2100, 20000);

    if (!w->scenario->odd || w->healed || at_ms + for_ms >= w->scenario->heal_ms || !world_maybe(w, 30))
        return;
    world_at(w, at_ms, (struct happening){.happen = on_nap, .host = machine, .a = true});
    world_at(w, at_ms + for_ms, (struct happening){.happen = on_nap, .host = machine, .a = false});
}

static void on_unplugged(struct world *w, const struct happening *h)
{
    if (w->healed)
        return;
    hit_cable(w, h->host, h->a);
    hit_network_changed(w);
}

static void on_agent_away(struct world *w, const struct happening *h)
{
    if (w->healed)
        return;
    if (h->a)
        host_agent_crash(w, &w->host[h->host]);
    else
        host_agent_start(w, &w->host[h->host]);
}

void faults_away_now(struct world *w, int host)
{
    static void (*const ways[])(struct world * w, const struct happening *h) = {on_nap, on_unplugged, on_agent_away};
    struct happening h = {.host = host, .a = true};
    uint64_t at_ms, for_ms;

    if (!w->scenario->odd || w->healed || host == net_leader_machine(w) || !world_maybe(w, 90))
        return;
    h.happen = ways[world_chance(w, 0, 2)];
    at_ms = w->now_ms + world_chance(w, 0, h.happen == on_agent_away ? 200 : 20);
    for_ms = world_chance(w, h.happen == on_agent_away ? 50 : 1500, 8000);
    if (at_ms + for_ms >= w->scenario->heal_ms)
        return;
    world_at(w, at_ms, h);
    h.a = false;
    world_at(w, at_ms + for_ms, h);
}
