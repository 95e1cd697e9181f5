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
        [CHECK_TIME] = "time moves on",
        [CHECK_END] = "in the end all is ready and nothing is left over",
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

static void print_machine(const struct stats *s, enum cells_machine m, int all)
{
    const struct cells_table *t = cells_table(m);
    unsigned reached = 0, reachable = 0, cells = (t->n_states - t->first_state) * t->n_events;

    for (unsigned state = t->first_state; state < t->n_states; state++) {
        for (unsigned event = 0; event < t->n_events; event++) {
            reached += s->cell[m][state][event] > 0;
            reachable += s->cell[m][state][event] || !t->unreachable || !t->unreachable(state, event);
        }
    }
    printf("cells %s: %u of %u reached; %u more cannot be\n", t->machine, reached, reachable, cells - reachable);
    for (unsigned state = t->first_state; all && state < t->n_states; state++) {
        for (unsigned event = 0; event < t->n_events; event++) {
            const char *why = t->unreachable ? t->unreachable(state, event) : NULL;

            if (!s->cell[m][state][event])
                printf("  not reached: [%s][%s] (%s)%s%s\n", t->state(state), t->event(event),
                       pages_cell(m, state, event)->verdict == CELLS_GO ? "go" : "no", why ? ": " : "", why ? why : "");
        }
    }
}

void stats_print_cells(const struct stats *s, int all)
{
    for (unsigned m = 0; m < CELLS_MACHINES; m++)
        print_machine(s, (enum cells_machine)m, all);
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
    printf("seeds %" PRIu64 ", failed %" PRIu64 ", faults injected %" PRIu64 ", checks %" PRIu64 "\n", s->seeds,
           s->failed, faults, checks);
    printf("times ready %" PRIu64 ", recovered %" PRIu64 ", requests %" PRIu64 ", answered %" PRIu64
           "; steps: agents %" PRIu64 ", leader %" PRIu64 ", messages %" PRIu64 "\n",
           s->n_ready, s->n_recovered, s->n_requests, s->n_answered, s->agent_steps, s->leader_steps, s->messages);
    printf("simulated %.0f s in %.1f s of computing: %.0f times real time; hash %016" PRIx64 "\n",
           (double)s->simulated_ms / 1000, real_s, (double)s->simulated_ms / 1000 / real_s, s->hash);
}
