/* A cluster in one process: one leader (the real cluster_step) and up to 200 nodes (the real agent_step), and everything
 * that lies between and around them simulated. One thread, one seed, no clock but its own.
 *
 *   world     time, what happens next, chance, the story
 *   net       who can reach whom; links with what TCP and ZeroMQ make of a cut
 *   host      a machine, its disk, and the agent's shell
 *   leader    the controller's shell; store: what it keeps
 *   llama     workers and coordinators as they were measured; carrier: what lies between them with the tunnel
 *   user      who deploys, stops and asks; the gateway between
 *   scenario  all that will be done, written down before it begins; faults, hits: how it is done; odd: what nobody
 *             should send
 *   check     what must be true after each step; pages: the state tables as people read them
 *   cells     which of their cells were reached; stats: what was counted; shrink: a story made short
 *
 * Things happen in order of time; those of one millisecond in the order in which they were arranged. */
#ifndef CARAVAN_TESTS_SIM_WORLD_H
#define CARAVAN_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/core/ids.h"
#include "tests/lib/random.h"

struct world;
struct scenario;
struct stats;

enum { HOSTS_MAX = 200, NOBODY = -1 };

/* Something that will happen. What it carries is its own to know. */
struct happening {
    uint64_t at_ms;
    uint64_t order;
    void (*happen)(struct world *w, const struct happening *h);
    int host;
    uint32_t life; /* of whoever it is for: it is for nobody once that one was started anew */
    uint64_t a, b;
    void *p; /* ended by drop where it never happens */
    void (*drop)(void *p);
};

struct queue {
    size_t n, cap;
    struct happening *item; /* a heap: the next one first */
};

struct world {
    const struct scenario *scenario;
    struct stats *stats;
    uint64_t now_ms;
    uint64_t random;
    uint64_t order, hash;
    struct queue queue;
    FILE *story; /* NULL: nobody listens */
    bool failed;
    char failure[512];
    bool tunnel; /* rank_transport, as people want it now */
    bool healed; /* nothing goes wrong any more */
    struct net *net;
    size_t n_hosts;
    struct host *host; /* [0] is the leader's own machine where it shares none; nodes from 1 */
    struct leader *leader;
    struct users *users;
    struct asker *asker;
    struct check *check;
    struct keys *keys;
};

/* Plays the scenario to its end or to the first failure (w->failed). */
void world_play(struct world *w, const struct scenario *scenario, struct stats *stats, FILE *story);

/* h.at_ms may be now; never before. */
void world_at(struct world *w, uint64_t at_ms, struct happening h);

uint64_t world_chance(struct world *w, uint64_t low, uint64_t high); /* both included */
bool world_maybe(struct world *w, uint32_t permille);

/* A line of the story; cheap while nobody listens. */
__attribute__((format(printf, 2, 3))) void world_say(struct world *w, const char *format, ...);
/* The first one counts. */
__attribute__((format(printf, 2, 3))) void world_fail(struct world *w, const char *format, ...);

#endif
