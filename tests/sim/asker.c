#include "tests/sim/asker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/state.h"
#include "tests/sim/check.h"
#include "tests/sim/leader.h"
#include "tests/sim/user.h"

enum { ASK_EVERY_MS = 900, ENSURE_AGAIN_MS = 1000 };

struct asker {
    unsigned n_ensures;
    uint64_t until_ms[ASKER_NAMES], ensured_ms[ASKER_NAMES];
    int last; /* who is asked for until the end; -1: nobody */
};

/* Sections, and models that none of these is. */
static const char *const names[ASKER_NAMES] = {"kept", "brief", "pair", "never", "middle", "large", "nowhere"};

const struct served *asker_sections(void)
{
    static const struct served sections[ASKER_SECTIONS] = {
        {.section = "kept",
         .name = "kept",
         .start = SERVED_BOOT,
         .request = {.model = "small", .alias = "kept", .pinned = true}},
        {.section = "brief",
         .name = "brief",
         .start = SERVED_DEMAND,
         .request = {.model = "small", .alias = "brief", .ttl_ms = 3000}},
        {.section = "pair",
         .name = "pair",
         .start = SERVED_DEMAND,
         .request = {.model = "small", .alias = "pair", .replicas = 2, .ttl_ms = 15000}},
        {.section = "never", .name = "never", .start = SERVED_MANUAL, .request = {.model = "small", .alias = "never"}},
    };

    return sections;
}

static bool is_shown(const struct world *w, const char *name)
{
    for (size_t i = 0; i < w->leader->n_pictures; i++) {
        const struct picture *p = &w->leader->picture[i];

        if (!p->leaving && p->state != INSTANCE_STOPPING && !instance_state_ended(p->state) && !strcmp(p->name, name))
            return true;
    }
    return false;
}

/* As the gateway does: not again for a second, nor while there is one in the picture. */
static void ensure(struct world *w, int name)
{
    struct cluster_ev ev = {.kind = CLUSTER_EV_ENSURE, .target = names[name]};

    if (w->asker->n_ensures >= ASKER_ENSURES_MAX || w->now_ms < w->asker->ensured_ms[name] + ENSURE_AGAIN_MS ||
        is_shown(w, names[name]))
        return;
    if (!user_orders(w, &ev, ACTION_DEMAND))
        return;
    w->asker->n_ensures++;
    w->asker->ensured_ms[name] = w->now_ms;
}

static void on_ask(struct world *w, const struct happening *h)
{
    int name = (int)h->a;

    if (w->now_ms >= w->asker->until_ms[name])
        return;
    world_at(w, w->now_ms + world_chance(w, 1, 2 * ASK_EVERY_MS), *h);
    if (leader_listens(w) && !user_asks(w, names[name]))
        ensure(w, name);
}

static void begin(struct world *w, int name, uint64_t lasts_ms)
{
    world_say(w, "somebody asks for %s, for %llu ms", names[name], (unsigned long long)lasts_ms);
    w->asker->until_ms[name] = w->now_ms + lasts_ms;
    world_at(w, w->now_ms, (struct happening){.happen = on_ask, .a = (uint64_t)name});
}

void asker_do(struct world *w, const struct action *a)
{
    begin(w, (int)(a->n % ASKER_NAMES), a->lasts_ms);
}

void asker_healed(struct world *w)
{
    if (!w->scenario->asks)
        return;
    w->asker->last = (int)world_chance(w, 0, 2);
    begin(w, w->asker->last, 10 * SCENARIO_QUIET_MS);
}

const char *asker_last(const struct world *w)
{
    return w->asker->last < 0 ? NULL : names[w->asker->last];
}

void asker_begin(struct world *w)
{
    w->asker = calloc(1, sizeof(*w->asker));
    assert(w->asker);
    w->asker->last = -1;
}

void asker_end(struct world *w)
{
    free(w->asker);
}

void asker_stop_everything(struct world *w)
{
    for (int name = 0; w->scenario->asks && name < ASKER_NAMES; name++) {
        struct cluster_ev ev = {.kind = CLUSTER_EV_STOP, .target = names[name]};

        w->asker->until_ms[name] = 0;
        user_orders(w, &ev, ACTION_STOP);
    }
}
