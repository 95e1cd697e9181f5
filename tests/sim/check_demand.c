/* What requests start, and what leaves when nobody asks for it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/instances.h"
#include "controller/core/state.h"
#include "controller/core/unloading.h"
#include "tests/sim/asker.h"
#include "tests/sim/check_state.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"
#include "tests/sim/user.h"

/* One that takes another one's place, or that ends, is beside the one that counts. */
static bool counts(const struct instance *i)
{
    return !instance_state_ended(i->state) && i->state != INSTANCE_STOPPING && i->state != INSTANCE_DRAINING &&
           id128_is_zero(&i->follows);
}

void check_single_flight(struct world *w, const struct cluster *c)
{
    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        for (size_t m = 0; counts(i) && m < k; m++) {
            const struct instance *other = CLUSTER_INSTANCE(c, m);

            w->stats->checked[CHECK_FLIGHT]++;
            if (counts(other) && other->replica == i->replica && !strcmp(other->name, i->name))
                world_fail(w, "there are two of %s, number %" PRIu32, i->name, i->replica);
        }
    }
}

static void check_begins_to_leave(struct world *w, const struct instance *i)
{
    w->stats->checked[CHECK_UNLOAD]++;
    if (i->request.pinned)
        world_fail(w, "%s is pinned, and is unloaded", i->name);
    if (!i->demand && !i->request.ttl_ms)
        world_fail(w, "%s was deployed to stay, and is unloaded", i->name);
    if (i->run.traffic.in_flight)
        world_fail(w, "%s is unloaded, though it is known that somebody asks it", i->name);
}

/* By the gateway's own count, not by what the leader was told. A leader that could not be told is not to blame. */
static void check_is_not_asked(struct world *w, const struct instance *i)
{
    uint32_t n = user_in_flight(w, &i->id, i->epoch);

    w->stats->checked[CHECK_UNLOAD]++;
    if (n && !i->stop_task && leader_listens(w) && w->now_ms >= w->leader->woke_ms + 1000)
        world_fail(w, "%s is stopped because nobody asks for it, and %" PRIu32 " do", i->name, n);
}

void check_unloads(struct world *w, const struct cluster_transition *t)
{
    const struct instance *i =
        strcmp(t->machine, "instance") || strcmp(t->verdict, "go") ? NULL : instance_find(w->leader->c, &t->instance);

    if (!i)
        return;
    if (!strcmp(t->event, "unload"))
        check_begins_to_leave(w, i);
    if (!strcmp(t->event, "stop") && !strcmp(t->from, "draining") && i->drain.unload)
        check_is_not_asked(w, i);
}

void check_deployed(struct world *w, const struct id128 *id)
{
    const struct instance *i = instance_find(w->leader->c, id);

    w->stats->checked[CHECK_UNLOAD]++;
    if (i && i->demand && !instance_state_ended(i->state) && i->state != INSTANCE_STOPPING)
        world_fail(w, "somebody has deployed %s, and it may leave as if requests alone had begun it", i->name);
}

void check_leaving(struct world *w, const struct instance *i)
{
    struct instance_seen *seen = check_instance(w, &i->id);
    bool leaves = unloading_leaves(i) && leader_listens(w) && !w->leader->store.fails && !w->leader->store.slow_ms;

    w->stats->checked[CHECK_UNLOAD]++;
    if (check_too_long(w, leaves, &seen->leaving_ms, CHECK_LEAVING_MS))
        world_fail(w, "%s has been leaving for %d ms, and is still there", i->name, CHECK_LEAVING_MS);
}

/* It was asked for all the time since all was healed. */
void check_demand(struct world *w)
{
    const struct cluster *c = w->leader->c;
    const char *name = asker_last(w);
    char why[PROTO_TEXT_MAX];
    struct place_request request = {.nodes = 0};
    struct plan *plan = NULL;
    struct instance *i;
    int r;

    if (!name)
        return;
    w->stats->checked[CHECK_DEMAND]++;
    i = instance_named(c, name);
    if (i && i->state == INSTANCE_READY)
        return;
    strcpy(request.model, name);
    r = cluster_plan(c, &request, leader_clock(w), &plan, why, sizeof(why));
    free(plan);
    if (r == 0 && !(i && (i->state == INSTANCE_FAILED || !instance_state_ended(i->state))))
        world_fail(w, "%s is asked for and there is room for it, but it is not there", name);
}
