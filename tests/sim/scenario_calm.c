/* Calm stories: hardly anything goes wrong, one thing at a time, so that it can be said what must come of it. */
#include "tests/lib/random.h"
#include "tests/sim/scenario_internal.h"

enum { CALM_ORDERS_MS = 20000, CALM_GAP_MS = 25000, AWAY_MS = 12000 };

/* Something away for ten seconds where nobody evicts before, or frozen or killed, which has to be noticed. */
static uint64_t add_blow(struct scenario *s, uint64_t *r, uint64_t at_ms)
{
    static const enum action_kind others[] = {ACTION_WORKER_FROZEN, ACTION_CARRIER_FROZEN, ACTION_CARRIER_KILLED,
                                              ACTION_AGENT_CRASH,   ACTION_AGENTS_CRASH,   ACTION_LEADER_CRASH,
                                              ACTION_SUSPEND};
    struct action a = {.at_ms = at_ms, .kind = ACTION_LINK_OUT, .host = scenario_some_host(s, r), .n = random_next(r)};

    if (random_one_in(r, 2))
        a.kind = others[random_in(r, 0, sizeof(others) / sizeof(others[0]) - 1)];
    a.lasts_ms = random_one_in(r, 4) ? random_in(r, 500, AWAY_MS) : AWAY_MS;
    if (a.kind == ACTION_WORKER_FROZEN || a.kind == ACTION_CARRIER_FROZEN)
        a.lasts_ms = random_in(r, 10000, 25000);
    if (a.kind == ACTION_LINK_OUT && random_one_in(r, 4))
        a.host = s->shared_machine ? 1 : 0;
    a.other = scenario_some_host(s, r);
    if (a.kind == ACTION_LINK_OUT ? a.other != a.host : a.kind != ACTION_SUSPEND || a.host != 1 || !s->shared_machine)
        scenario_add(s, a);
    return at_ms + a.lasts_ms + CALM_GAP_MS;
}

/* Everybody is served, and then asked without a pause while that happens. */
void scenario_make_calm(struct scenario *s, uint64_t *r)
{
    int n_names = 2 + (int)random_in(r, 0, 1);

    s->calm = true;
    s->odd = s->skips = s->deaf = false;
    s->n = 0;
    s->evict_after_ms = random_in(r, 18000, 30000);
    s->heal_ms = random_in(r, 70000, 150000);
    for (int name = 0; name < n_names; name++) {
        uint64_t at_ms = random_in(r, 2500, 6000), model = random_in(r, 0, 2);

        scenario_add(s, (struct action){.at_ms = at_ms,
                                        .kind = ACTION_DEPLOY,
                                        .other = name,
                                        .n = model | (random_one_in(r, 2) ? random_in(r, 2, 4) << 8 : 0)});
        scenario_add(s, (struct action){.at_ms = at_ms + 1000,
                                        .kind = ACTION_REQUESTS,
                                        .other = name,
                                        .n = model,
                                        .lasts_ms = s->heal_ms - at_ms});
    }
    for (uint64_t at_ms = random_in(r, CALM_ORDERS_MS, 2 * CALM_ORDERS_MS); at_ms + CALM_GAP_MS < s->heal_ms;)
        at_ms = add_blow(s, r, at_ms);
}
