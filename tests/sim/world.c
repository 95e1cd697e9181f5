#include "tests/sim/world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/check.h"
#include "tests/sim/faults.h"
#include "tests/sim/host.h"
#include "tests/sim/keys.h"
#include "tests/sim/leader.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"
#include "tests/sim/stats.h"
#include "tests/sim/user.h"

/* ---- chance and story -------------------------------------------------------------------------------------------- */

uint64_t world_chance(struct world *w, uint64_t low, uint64_t high)
{
    return random_in(&w->random, low, high);
}

bool world_maybe(struct world *w, uint32_t permille)
{
    return permille && random_in(&w->random, 0, 999) < permille;
}

void world_say(struct world *w, const char *format, ...)
{
    va_list ap;

    if (!w->story)
        return;
    fprintf(w->story, "[%" PRIu64 "] ", w->now_ms);
    va_start(ap, format);
    vfprintf(w->story, format, ap);
    va_end(ap);
    fputc('\n', w->story);
}

void world_fail(struct world *w, const char *format, ...)
{
    va_list ap;

    if (w->failed)
        return;
    w->failed = true;
    va_start(ap, format);
    vsnprintf(w->failure, sizeof(w->failure), format, ap);
    va_end(ap);
    world_say(w, "BROKEN: %s", w->failure);
}

/* ---- what happens next ------------------------------------------------------------------------------------------- */

static bool before(const struct happening *a, const struct happening *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void sift_up(struct queue *q, size_t i)
{
    struct happening h = q->item[i];

    while (i && before(&h, &q->item[(i - 1) / 2])) {
        q->item[i] = q->item[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    q->item[i] = h;
}

static void sift_down(struct queue *q, size_t i)
{
    struct happening h = q->item[i];
    size_t child;

    while ((child = 2 * i + 1) < q->n) {
        if (child + 1 < q->n && before(&q->item[child + 1], &q->item[child]))
            child++;
        if (!before(&q->item[child], &h))
            break;
        q->item[i] = q->item[child];
        i = child;
    }
    q->item[i] = h;
}

void world_at(struct world *w, uint64_t at_ms, struct happening h)
{
    struct queue *q = &w->queue;

    assert(at_ms >= w->now_ms);
    if (q->n == q->cap) {
        q->cap = q->cap ? q->cap * 2 : 256;
        q->item = realloc(q->item, q->cap * sizeof(*q->item));
        assert(q->item);
    }
    h.at_ms = at_ms;
    h.order = ++w->order;
    q->item[q->n++] = h;
    sift_up(q, q->n - 1);
}

static struct happening take(struct queue *q)
{
    struct happening h = q->item[0];

    q->item[0] = q->item[--q->n];
    if (q->n)
        sift_down(q, 0);
    return h;
}

static void mix(struct world *w, uint64_t v)
{
    w->hash = (w->hash ^ v) * UINT64_C(0x100000001b3);
    w->hash ^= w->hash >> 29;
}

static void play_until(struct world *w, uint64_t end_ms)
{
    while (!w->failed && w->queue.n && w->queue.item[0].at_ms <= end_ms) {
        struct happening h = take(&w->queue);

        w->now_ms = h.at_ms;
        mix(w, h.at_ms ^ h.order << 24);
        h.happen(w, &h);
    }
    if (!w->failed)
        w->now_ms = end_ms;
}

/* A minute without a fault, and without the brake that the last ones have put on. */
static void play_until_quiet(struct world *w)
{
    uint64_t since_ms = w->now_ms, last_ms = w->now_ms + SCENARIO_BRAKE_MS;

    while (!w->failed && w->now_ms < since_ms + SCENARIO_QUIET_MS) {
        play_until(w, w->now_ms + 1000);
        if (check_brake_ms(w) > since_ms && w->now_ms < last_ms)
            since_ms = check_brake_ms(w);
    }
}

/* ---- the whole of it --------------------------------------------------------------------------------------------- */

static void end(struct world *w)
{
    user_end(w);
    leader_end(w);
    host_end(w);
    net_end(w);
    check_end(w);
    keys_end(w);
    for (size_t i = 0; i < w->queue.n; i++) {
        if (w->queue.item[i].drop)
            w->queue.item[i].drop(w->queue.item[i].p);
    }
    free(w->queue.item);
}

void world_play(struct world *w, const struct scenario *scenario, struct stats *stats, FILE *story)
{
    memset(w, 0, sizeof(*w));
    w->scenario = scenario;
    w->stats = stats;
    w->story = story;
    w->random = scenario->seed;
    w->tunnel = scenario->tunnel;
    check_begin(w);
    keys_begin(w);
    net_begin(w);
    host_begin(w);
    leader_begin(w);
    user_begin(w);
    faults_begin(w);
    play_until(w, scenario->heal_ms);
    if (!w->failed)
        faults_heal(w);
    play_until_quiet(w);
    if (!w->failed)
        check_all_is_well(w);
    keys_check_kept(w);
    if (!w->failed)
        user_stop_everything(w);
    play_until(w, w->now_ms + SCENARIO_STOP_MS);
    if (!w->failed)
        check_nothing_is_left(w);
    stats->simulated_ms += w->now_ms;
    stats->hash = w->hash;
    stats->n_tunnels += scenario->tunnel;
    end(w);
}
