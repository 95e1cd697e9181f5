#include "tests/sim/stats.h"

#include <inttypes.h>
#include <stdio.h>

#include "tests/sim/cells.h"
#include "tests/sim/pages.h"

const char *check_kind_name(enum check_kind k)
{
    static const char *const names[CHECK_N] = {
        [CHECK_ROUTE] = "one epoch is routed to, and none that is over",
        [CHECK_WORKER] = "a worker serves one epoch",
        [CHECK_LEASE_MEMORY] = "leases never exceed memory",
        [CHECK_LEASE_LIVE] = "no lease without a live epoch",
        [CHECK_TASK] = "every accepted task ends",
        [CHECK_TABLE] = "states change by their tables alone",
        [CHECK_DURABLE] = "nothing is begun before it is durable",
        [CHECK_ANSWER] = "every order is answered once",
        [CHECK_SIGNAL] = "nobody ends or disturbs what serves the newest epoch",
        [CHECK_READY] = "ready means that all ranks are there",
        [CHECK_HEARD] = "who is welcomed and speaks is heard",
        [CHECK_DEAF] = "without a carrier nothing is given up for whom nobody can hear",
        [CHECK_TIME] = "time moves on",
        [CHECK_END] = "in the end all is ready and nothing is left over",
        [CHECK_KEYS] = "nobody is spoken to whose key is not let in",
        [CHECK_BINDS] = "with the tunnel nothing of llama.cpp listens on the network",
        [CHECK_TRANSPORT] = "nothing is placed where the transport is another one",
        [CHECK_CARRIER] = "no carrier outlives its epoch",
        [CHECK_FREED] = "a worker is free when its carrier has ended",
        [CHECK_STILL_SERVING] = "a link, an agent or a machine away for ten seconds costs no epoch and no answer",
        [CHECK_NAMED] = "a frozen worker is named by rank and command",
        [CHECK_FLIGHT] = "of one name and number there is one, but for a move",
        [CHECK_UNLOAD] = "nothing that is pinned or asked for is unloaded, and who leaves has left soon",
        [CHECK_DEMAND] = "what is asked for and has room is served",
    };

    return k < CHECK_N ? names[k] : "nothing";
}

void stats_add(struct stats *to, const struct stats *from)
{
    const uint64_t *source = (const uint64_t *)from;
    uint64_t *target = (uint64_t *)to;
    uint64_t hash = to->hash ^ from->hash;

    for (size_t i = 0; i < sizeof(*to) / sizeof(uint64_t); i++)
        target[i] += source[i];
    to->hash = hash;
}

enum { CELL_RARE = 10 }; /* a change elsewhere may well lose it */

/* Where a run has come, held against where it can. */
enum reach { REACHED, EXPLAINED, MISSED, BELIED /* reached, and there was a reason why it cannot be */, REACH_N };

static enum reach reach_of(const struct stats *s, enum cells_machine m, unsigned state, unsigned event)
{
    bool why = cells_table(m)->unreachable(state, event);

    if (s->cell[m][state][event])
        return why ? BELIED : REACHED;
    return why ? EXPLAINED : MISSED;
}

static void print_cell(const struct stats *s, enum cells_machine m, unsigned state, unsigned event)
{
    static const char *const words[REACH_N] = {"hardly ever reached", "cannot be reached", "NOT REACHED", "REACHED"};
    const struct cells_table *t = cells_table(m);
    enum reach r = reach_of(s, m, state, event);
    const char *why = t->unreachable(state, event);

    printf("  %s: [%s][%s] (%s, %" PRIu64 " times)%s%s%s\n", words[r], t->state(state), t->event(event),
           pages_cell(m, state, event)->verdict == CELLS_GO ? "go" : "no", s->cell[m][state][event],
           r == BELIED ? ", though it was said" : "", why ? ": " : "", why ? why : "");
}

static bool is_told(const struct stats *s, enum cells_machine m, unsigned state, unsigned event, bool told, bool all)
{
    switch (reach_of(s, m, state, event)) {
    case REACHED:
        return all && s->cell[m][state][event] < CELL_RARE;
    case EXPLAINED:
        return all;
    case MISSED:
    case BELIED:
    case REACH_N:
        break;
    }
    return told || all;
}

/* Returns how many are neither reached nor explained, or both. */
static unsigned print_machine(const struct stats *s, enum cells_machine m, bool told, bool all)
{
    const struct cells_table *t = cells_table(m);
    unsigned n[REACH_N] = {0};

    for (unsigned state = t->first_state; state < t->n_states; state++) {
        for (unsigned event = 0; event < t->n_events; event++)
            n[reach_of(s, m, state, event)]++;
    }
    printf("cells %s: %u of %u reached; %u more cannot be\n", t->machine, n[REACHED] + n[BELIED],
           n[REACHED] + n[BELIED] + n[MISSED], n[EXPLAINED]);
    for (unsigned state = t->first_state; state < t->n_states; state++) {
        for (unsigned event = 0; event < t->n_events; event++) {
            if (is_told(s, m, state, event, told, all))
                print_cell(s, m, state, event);
        }
    }
    return n[MISSED] + n[BELIED];
}

unsigned stats_print_cells(const struct stats *s, bool told, bool all)
{
    unsigned wrong = 0;

    for (unsigned m = 0; m < CELLS_MACHINES; m++)
        wrong += print_machine(s, (enum cells_machine)m, told, all);
    return wrong;
}

void stats_print(const struct stats *s, double real_s)
{
    uint64_t checks = 0, faults = 0;

    for (unsigned k = 0; k < ACTION_N; k++) {
        if (s->injected[k])
            printf("%10" PRIu64 " x %s\n", s->injected[k], action_name((enum action_kind)k));
        faults += k > ACTION_REQUESTS ? s->injected[k] : 0;
    }
    for (unsigned k = 0; k < CHECK_N; k++) {
        printf("%10" PRIu64 " checks: %s\n", s->checked[k], check_kind_name((enum check_kind)k));
        checks += s->checked[k];
    }
    printf("seeds %" PRIu64 " (%" PRIu64 " with the tunnel), failed %" PRIu64 ", faults injected %" PRIu64
           ", checks %" PRIu64 "\n",
           s->seeds, s->n_tunnels, s->failed, faults, checks);
    printf("times ready %" PRIu64 ", recovered %" PRIu64 ", requests %" PRIu64 ", answered %" PRIu64
           ", streams not let in %" PRIu64 "; coordinators held %" PRIu64 ", in vain %" PRIu64
           "; steps: agents %" PRIu64 ", leader %" PRIu64 ", messages %" PRIu64 "\n",
           s->n_ready, s->n_recovered, s->n_requests, s->n_answered, s->n_not_let_in, s->n_held, s->n_held_lost,
           s->agent_steps, s->leader_steps, s->messages);
    printf("simulated %.0f s in %.1f s of computing: %.0f times real time; hash %016" PRIx64 "\n",
           (double)s->simulated_ms / 1000, real_s, (double)s->simulated_ms / 1000 / real_s, s->hash);
}
