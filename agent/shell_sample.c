/* What the node and its units are doing now: every half second, for the core and through it for the leader. */
#include <string.h>

#include "agent/shell_internal.h"
#include "agent/system.h"
#include "common/core/err.h"
#include "common/log.h"

static void sample_devices(struct shell *s, const struct system_memory *memory, struct agent_sample *ret)
{
    for (size_t i = 0; i < s->n_devices; i++)
        if (s->device[i].kind == DEVICE_CPU) {
            s->device[i].total_bytes = memory->total_bytes;
            s->device[i].free_bytes = memory->free_bytes;
        }
    if (s->gpu)
        gpu_read(s->gpu, memory->free_bytes, s->device, s->n_devices);
    ret->n_devices = s->n_devices;
    memcpy(ret->device, s->device, sizeof(ret->device[0]) * s->n_devices);
}

/* Ids are copied first: a unit that is seen dying is told at once, and that may change the core's list. */
static void sample_units(struct shell *s, struct agent_sample *ret)
{
    const struct unit_facts *unit;
    size_t n = agent_units(s->core, &unit);

    for (size_t i = 0; i < n && i < PROTO_UNITS_MAX; i++)
        memcpy(ret->unit[i].id, unit[i].id, sizeof(ret->unit[i].id));
    for (size_t i = 0; i < n && i < PROTO_UNITS_MAX; i++) {
        struct agent_unit_sample *u = &ret->unit[ret->n_units];
        struct process_sample p;

        if (!process_sample(s->processes, ret->unit[i].id, &p))
            continue;
        memmove(u->id, ret->unit[i].id, sizeof(u->id));
        u->rss_bytes = p.rss_bytes;
        u->cpu_ms = p.cpu_ms;
        u->proc_state = p.state;
        ret->n_units++;
    }
}

void shell_sample(struct shell *s)
{
    struct agent_sample sample = {.uptime_ms = system_uptime_ms()};
    struct system_memory memory;
    int r = system_memory_read("", &memory);

    if (r == 0)
        r = system_load_read("", &sample.load_permille);
    if (r < 0) { /* nothing is reported rather than something made up */
        log_failure(LOG_LEVEL_WARN, "sample", r, "node=%s", s->hello.name);
        return;
    }
    sample.host_total_bytes = memory.total_bytes;
    sample.host_free_bytes = memory.free_bytes;
    sample_devices(s, &memory, &sample);
    sample_units(s, &sample);
    shell_feed(s, &(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &sample});
}
