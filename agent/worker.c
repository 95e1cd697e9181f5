#include "agent/worker.h"

#include <stdio.h>
#include <string.h>

void worker_command_make(const char *program, const struct unit_facts *unit, uint32_t threads,
                         struct worker_command *ret)
{
    size_t n = 0, used = 0;

    memset(ret, 0, sizeof(*ret));
    snprintf(ret->port, sizeof(ret->port), "%u", (unsigned)unit->port);
    snprintf(ret->threads, sizeof(ret->threads), "%u", threads);
    ret->argv[n++] = program;
    ret->argv[n++] = "-H";
    ret->argv[n++] = unit->addr;
    ret->argv[n++] = "-p";
    ret->argv[n++] = ret->port;
    ret->argv[n++] = "-t"; /* its own default is one thread */
    ret->argv[n++] = ret->threads;
    for (size_t i = 0; i < unit->n_devices; i++)
        used +=
            (size_t)snprintf(ret->devices + used, sizeof(ret->devices) - used, "%s%s", i ? "," : "", unit->device[i]);
    if (used) {
        ret->argv[n++] = "-d";
        ret->argv[n++] = ret->devices;
    }
}
