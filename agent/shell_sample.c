/* What the node and its units are doing now: every half second, for the core and through it for the leader. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/endpoint.h"
#include "agent/shell_internal.h"
#include "agent/sockets.h"
#include "agent/system.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/log.h"

enum { COMMAND_LINE_MAX = 128 * 1024 };

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

/* ---- what its rank connections and devices do -------------------------------------------------------------------- */

/* A coordinator's endpoints stand in its command line, also where an earlier life of the agent started it. */
static void read_endpoints(struct child *c, int32_t pid)
{
    CLEANUP(cleanup_close) int fd = -1;
    CLEANUP(cleanup_free) char *text = malloc(COMMAND_LINE_MAX);
    char path[64];
    size_t used = 0;
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!text || fd < 0)
        return; /* at the next sample */
    while (used < COMMAND_LINE_MAX && (n = read(fd, text + used, COMMAND_LINE_MAX - used)) > 0)
        used += (size_t)n;
    rank_sockets_of_coordinator(&c->sockets, text, used);
    c->knows_sockets = used > 0;
}

/* false: it has no rank connections that could be looked at. */
static bool begin_sockets(struct child *c, const struct unit_facts *unit)
{
    if (!c || c->ended || !unit->pid)
        return false;
    if (unit->role == UNIT_COORDINATOR && !c->knows_sockets)
        read_endpoints(c, unit->pid);
    if (unit->role == UNIT_WORKER)
        c->knows_sockets = unit->rank >= 0 && rank_sockets_of_worker(&c->sockets, unit->addr, unit->port);
    return c->knows_sockets;
}

/* What its carrier has on the network for it. */
static void add_far(struct shell *s, struct child *c)
{
    const struct child *carrier = shell_carrier_of(s, c->id);
    const struct unit_facts *unit = carrier ? agent_unit(s->core, carrier->id) : NULL;
    char addr[PROTO_ADDR_MAX];
    uint16_t port;

    if (unit && !c->routes)
        rank_sockets_add_far(&c->sockets, unit->addr, carrier->port);
    for (size_t i = 0; c->routes && i < c->routes->n_routes; i++) {
        const char *endpoint = c->routes->route[i].endpoint;

        if (endpoint_parse(endpoint, strlen(endpoint), addr, &port))
            rank_sockets_add_far(&c->sockets, addr, port);
    }
}

/* The units that share a network, so that its table is read once. */
struct network {
    ino_t id;
    int32_t pid; /* of one of its units; 0: it is our own, as that of every unit that this life of ours has started */
    bool also_v6, left;
    size_t n;
    struct child *child[PROTO_UNITS_MAX];
    struct agent_unit_sample *unit[PROTO_UNITS_MAX];
};

/* One that may not be seen is taken for ours. */
static ino_t network_of(int32_t pid, ino_t ours)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    return stat(path, &st) < 0 ? ours : st.st_ino;
}

static void take_socket(void *ctx, const struct procfs_socket *socket)
{
    struct network *n = ctx;

    for (size_t i = 0; i < n->n; i++)
        rank_sockets_take(&n->child[i]->sockets, socket);
}

static void end_sockets(struct child *c, struct agent_unit_sample *u)
{
    struct rank_figures figures;
    struct metrics_figures metrics = {0};
    bool listening = c->watch && coordinator_watch_figures(c->watch, &metrics);

    rank_sockets_end(&c->sockets, listening, &figures);
    u->has_sockets = true;
    u->unread_bytes = figures.unread_bytes;
    u->retransmits = figures.retransmits;
    u->closed_streams = figures.closed_streams;
}

static void sample_network(struct network *n)
{
    int r = sockets_each(n->pid, SOCKETS_CONNECTED | (n->left ? SOCKETS_LEFT : 0), n->also_v6, take_socket, n);

    if (r < 0) { /* a process that has just gone, or too few descriptors: nothing is known this time */
        log_debug("sample.sockets", "pid=%d error=%s", (int)n->pid, strerrordesc_np(-r));
        return;
    }
    for (size_t i = 0; i < n->n; i++)
        end_sockets(n->child[i], n->unit[i]);
}

static struct network *network_with(struct network *network, size_t *n_networks, int32_t pid)
{
    ino_t ours = network_of(getpid(), 0), id = network_of(pid, ours);
    size_t i = 0;

    while (i < *n_networks && network[i].id != id)
        i++;
    if (i == *n_networks) {
        network[i] = (struct network){.id = id, .pid = id == ours ? 0 : pid};
        ++*n_networks;
    }
    return &network[i];
}

static void sample_sockets(struct shell *s, struct agent_sample *sample)
{
    CLEANUP(cleanup_free) struct network *network = malloc(PROTO_UNITS_MAX * sizeof(*network));
    size_t n_networks = 0;

    for (size_t i = 0; network && i < sample->n_units; i++) {
        const struct unit_facts *unit = agent_unit(s->core, sample->unit[i].id);
        struct child *c = shell_child(s, sample->unit[i].id);
        struct network *n;

        if (!unit || !begin_sockets(c, unit))
            continue;
        rank_sockets_begin(&c->sockets);
        add_far(s, c);
        n = network_with(network, &n_networks, unit->pid);
        n->also_v6 = n->also_v6 || rank_sockets_need_v6(&c->sockets);
        n->left = n->left || rank_sockets_need_left(&c->sockets);
        n->child[n->n] = c;
        n->unit[n->n++] = &sample->unit[i];
    }
    for (size_t i = 0; i < n_networks; i++)
        sample_network(&network[i]);
}

/* What cannot be read counts as busy: who is busy is not hung. */
static bool device_is_busy(const struct shell *s, const char *name)
{
    for (size_t i = 0; i < s->n_devices; i++)
        if (!strcmp(s->device[i].name, name))
            return s->device[i].kind != DEVICE_CPU && s->device[i].utilization_permille != 0;
    return strncmp(name, "CPU", 3) != 0;
}

static void sample_work(struct shell *s, struct agent_sample *sample)
{
    for (size_t i = 0; i < sample->n_units; i++) {
        struct agent_unit_sample *u = &sample->unit[i];
        const struct unit_facts *unit = agent_unit(s->core, u->id);
        struct child *c = shell_child(s, u->id);
        struct metrics_figures metrics;

        for (size_t k = 0; unit && k < unit->n_devices; k++)
            u->devices_busy = u->devices_busy || device_is_busy(s, unit->device[k]);
        if (c && c->watch && coordinator_watch_figures(c->watch, &metrics)) {
            u->n_decode = metrics.n_decode;
            u->http_silent_ms = metrics.silent_ms;
        }
    }
}

/* What is hashed is told by the usable ones alone, in their order. */
static void sample_indexes(struct shell *s, struct agent_sample *sample)
{
    struct tensor_progress progress;
    size_t usable = 0;

    if (!s->tensors)
        return;
    tensor_room_progress(s->tensors, &progress);
    for (size_t i = 0; i < s->n_models && i < PROTO_MODELS_MAX; i++) {
        if (s->model[i].usable && usable < progress.n_models)
            sample->index_permille[i] = progress.index_permille[usable++];
    }
    sample->n_models = s->n_models;
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
    sample_sockets(s, &sample);
    sample_work(s, &sample);
    shell_sample_flows(s, &sample);
    sample_indexes(s, &sample);
    shell_feed(s, &(struct agent_ev){.kind = AGENT_EV_SAMPLE, .sample = &sample});
}
