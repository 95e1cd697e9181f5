#include "tests/sim/llama.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/carrier.h"
#include "tests/sim/check.h"
#include "tests/sim/host.h"
#include "tests/sim/models.h"
#include "tests/sim/net.h"
#include "tests/sim/scenario.h"

#define MIB (UINT64_C(1) << 20)

struct process *llama_find(struct host *h, int32_t pid)
{
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        if (h->process[i].used && h->process[i].pid == pid)
            return &h->process[i];
    }
    return NULL;
}

struct process *llama_at(struct host *h, bool loopback, uint16_t port)
{
    for (size_t i = 0; i < HOST_PROCESSES; i++) {
        struct process *p = &h->process[i];

        if (p->used && p->up && !p->dying && p->port == port && p->loopback == loopback &&
            (p->role == UNIT_WORKER || p->phase == PHASE_LISTENING))
            return p;
    }
    return NULL;
}

bool llama_answers(const struct process *p)
{
    return p->up && !p->dying && !p->frozen && !p->client_host;
}

bool llama_computes(const struct process *p)
{
    return p->phase == PHASE_LOADING || p->n_requests;
}

static void plan_next(struct world *w, struct host *h, struct process *p, uint64_t in_ms);

/* ---- a coordinator's way ----------------------------------------------------------------------------------------- */

struct host *llama_endpoint_host(struct world *w, struct host *h, const char *endpoint, uint16_t *ret_port)
{
    const char *colon = strrchr(endpoint, ':');
    char addr[PROTO_ADDR_MAX] = "";

    if (!colon || (size_t)(colon - endpoint) >= sizeof(addr))
        return NULL;
    memcpy(addr, endpoint, (size_t)(colon - endpoint));
    *ret_port = (uint16_t)atoi(colon + 1);
    return strcmp(addr, HOST_LOOPBACK) == 0 ? h : host_by_addr(w, addr);
}

static bool is_loopback(const char *endpoint)
{
    return strncmp(endpoint, HOST_LOOPBACK ":", sizeof(HOST_LOOPBACK)) == 0;
}

static enum dialled dial_directly(struct world *w, struct host *h, const struct process *p, struct rank_end *ret)
{
    uint16_t port = 0;

    ret->at = llama_endpoint_host(w, h, p->spec->endpoint[p->n_connected], &port);
    if (!ret->at || !net_passes_both(w, h->n, ret->at->n))
        return DIALLED_LATER;
    ret->worker = llama_at(ret->at, is_loopback(p->spec->endpoint[p->n_connected]), port);
    return ret->worker ? DIALLED : DIALLED_NOBODY;
}

static void connect_rank(struct host *h, struct process *p, const struct rank_end *end)
{
    struct process *worker = end->worker;

    worker->client_host = h->n;
    worker->client_pid = p->pid;
    worker->client_boot = h->boot;
    worker->client_far = end->far;
    worker->client_near = p->near;
    p->stream[p->n_connected++] =
        (struct stream){.host = end->at->n, .pid = worker->pid, .boot = end->at->boot, .far = end->far};
}

static enum dialled dial_rank(struct world *w, struct host *h, struct process *p)
{
    struct rank_end end = {0};
    enum dialled r;

    if (w->scenario->skips && !w->healed && world_maybe(w, 100)) {
        world_say(w, "%s: coordinator %s passes over rank %zu", h->name, p->unit, p->n_connected);
        p->stream[p->n_connected++] = (struct stream){.host = 0};
        return DIALLED;
    }
    r = p->near ? carrier_dial(w, h, p, p->n_connected, &end) : dial_directly(w, h, p, &end);
    if (r != DIALLED)
        return r;
    if (!llama_answers(end.worker))
        return DIALLED_LATER;
    check_worker_taken(w, end.at, end.worker, p);
    connect_rank(h, p, &end);
    return DIALLED;
}

static void begin_load(struct world *w, struct host *h, struct process *p)
{
    p->phase = PHASE_LOADING;
    for (size_t d = 0; d < p->spec->n_devices; d++) {
        if (llama_rpc_index(p->spec->device[d]) == SIZE_MAX && !h->has_gpu)
            p->local_bytes += llama_device_bytes(p, d);
    }
    p->load_ms = model_bytes(p->spec->model) / MIB * 1000 / w->scenario->load_mib_s + world_chance(w, 50, 300);
    llama_read_log(w, h, p);
    llama_changed(w);
    plan_next(w, h, p, p->load_ms / 2 + 1);
}

static void connect_ranks(struct world *w, struct host *h, struct process *p)
{
    while (p->n_connected < p->spec->n_ranks) {
        switch (dial_rank(w, h, p)) {
        case DIALLED:
            continue;
        case DIALLED_LATER:
            plan_next(w, h, p, 150);
            return;
        case DIALLED_NOBODY:
            llama_end(w, h, p, 0, SIM_ABORT);
            return;
        }
    }
    begin_load(w, h, p);
}

static void go_on_loading(struct world *w, struct host *h, struct process *p)
{
    llama_settle(w, h, p);
    if (p->work_ms < p->load_ms) {
        plan_next(w, h, p, p->stalled ? 500 : p->load_ms - p->work_ms + 1);
        return;
    }
    p->phase = PHASE_LISTENING;
    p->work_ms = 0;
    llama_read_log(w, h, p);
}

static void on_next(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];
    struct process *p = h->boot == happening->life ? llama_find(h, (int32_t)happening->a) : NULL;

    if (!p || p->dying)
        return;
    if (p->frozen || !host_awake(h)) {
        plan_next(w, h, p, 100);
        return;
    }
    if (p->port_stolen) {
        llama_end(w, h, p, 0, 0);
        return;
    }
    p->up = true;
    if (p->role != UNIT_COORDINATOR)
        return;
    if (p->phase == PHASE_CONNECTING)
        connect_ranks(w, h, p);
    else if (p->phase == PHASE_LOADING)
        go_on_loading(w, h, p);
}

static void plan_next(struct world *w, struct host *h, struct process *p, uint64_t in_ms)
{
    world_at(w, w->now_ms + in_ms,
             (struct happening){.happen = on_next, .host = h->n, .life = h->boot, .a = (uint64_t)p->pid});
}

struct process *llama_start(struct world *w, struct host *h, const struct unit_facts *unit,
                            const struct coordinator_spec *coordinator)
{
    struct process *p = NULL;

    for (size_t i = 0; i < HOST_PROCESSES && !p; i++)
        p = h->process[i].used ? NULL : &h->process[i];
    assert(p);
    *p = (struct process){.used = true,
                          .role = unit->role,
                          .pid = ++h->last_pid,
                          .port = unit->port,
                          .loopback = strcmp(unit->addr, HOST_LOOPBACK) == 0,
                          .instance = unit->instance,
                          .epoch = unit->epoch,
                          .rank = unit->rank,
                          .settled_ms = w->now_ms,
                          .rss_bytes = WORKER_BYTES};
    memcpy(p->unit, unit->id, sizeof(p->unit));
    if (coordinator) {
        p->spec = malloc(sizeof(*p->spec));
        assert(p->spec);
        *p->spec = *coordinator;
        p->spec->arg = NULL;
    }
    if (h->foreign_ports && world_maybe(w, 500))
        p->port_stolen = true; /* between the proof that it was free and the bind */
    if (h->stillborn) {
        h->stillborn--;
        p->port_stolen = true;
    }
    p->deaf = w->scenario->deaf && !w->healed && world_maybe(w, 50);
    if (!p->deaf)
        plan_next(w, h, p, world_chance(w, 20, 150));
    return p;
}

void llama_wake(struct world *w, struct host *h, struct process *p)
{
    if (p->deaf)
        plan_next(w, h, p, 1);
    p->deaf = false;
}

/* ---- its end ----------------------------------------------------------------------------------------------------- */

static void clear(struct process *p)
{
    free(p->spec);
    free(p->carrier);
    *p = (struct process){0};
}

static void on_gone(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];
    struct process *p = h->boot == happening->life ? llama_find(h, (int32_t)happening->a) : NULL;
    struct process was;

    if (!p)
        return;
    was = *p;
    clear(p);
    llama_changed(w);
    for (size_t i = 0; i < was.n_requests && net_passes_both(w, h->n, net_leader_machine(w)); i++)
        was.request[i]->done(w, was.request[i], false);
    host_process_gone(w, h, &was, &was.exit);
}

void llama_end(struct world *w, struct host *h, struct process *p, int code, int signal)
{
    uint64_t ms = p->rss_bytes / (8 * MIB); /* a page at a time */

    if (p->dying)
        return;
    llama_settle(w, h, p);
    p->dying = true;
    p->rss_bytes = 0;
    p->exit = (struct exit_facts){.known = !p->record_lost, .code = code, .signal = signal};
    world_at(w, w->now_ms + ms + world_chance(w, 0, 8),
             (struct happening){.happen = on_gone, .host = h->n, .life = h->boot, .a = (uint64_t)p->pid});
}

void llama_vanish(struct process *p)
{
    clear(p);
}

static void on_term(struct world *w, const struct happening *happening)
{
    struct host *h = &w->host[happening->host];
    struct process *p = h->boot == happening->life ? llama_find(h, (int32_t)happening->a) : NULL;

    if (p && !p->dying && !p->frozen)
        llama_end(w, h, p, 0, p->role == UNIT_WORKER ? SIM_TERM : 0);
}

void llama_signal(struct world *w, struct host *h, struct process *p, int signal)
{
    if (signal == SIM_KILL) {
        llama_end(w, h, p, 0, SIM_KILL);
        return;
    }
    p->term_pending = true;
    if (p->frozen || p->n_requests) /* it waits for the stream; the second half of a stop is SIGKILL */
        return;
    world_at(w, w->now_ms + world_chance(w, 1, p->role == UNIT_COORDINATOR ? 100 : 5),
             (struct happening){.happen = on_term, .host = h->n, .life = h->boot, .a = (uint64_t)p->pid});
}

void llama_freeze(struct world *w, struct host *h, struct process *p, bool frozen)
{
    llama_settle(w, h, p);
    p->frozen = frozen;
    for (size_t i = 0; p->role == UNIT_CARRIER && !frozen && i < HOST_PROCESSES; i++) {
        if (h->process[i].used && h->process[i].near == p->pid)
            llama_read_log(w, h, &h->process[i]);
    }
    if (!frozen && p->term_pending)
        llama_signal(w, h, p, SIM_TERM);
    llama_changed(w);
}
