/* Workers and coordinators as they were measured (carriers stand in carrier.h): a worker takes one client and leaves the
 * second waiting; holds memory while it is loaded; is not empty before its client's FIN has come, and never without one. A
 * coordinator takes as long to load as there are bytes; aborts when a worker dies while it computes, or on the next request
 * when it was idle (or, newer, lives on and answers 500 for ever); hangs when one is frozen or cut off; aborts on a
 * poisoned request. A frozen process does nothing and keeps everything. A big one dies slowly: memory first, then sockets
 * and its pidfd. */
#ifndef CARAVAN_TESTS_SIM_LLAMA_H
#define CARAVAN_TESTS_SIM_LLAMA_H

#include "agent/core/agent.h"
#include "tests/sim/world.h"

struct host;
struct carrier;

enum { SIM_KILL = 9, SIM_TERM = 15, SIM_ABORT = 6, WORKER_BYTES = 6 << 20 };

/* From a coordinator to one of its workers. */
struct stream {
    int host;      /* of the worker */
    int32_t pid;   /* of the worker */
    uint32_t boot; /* of its machine */
    int32_t far;   /* the carrier before it; 0: none */
    bool closed;   /* the worker's end is gone and the coordinator's kernel knows */
    /* Since when a command waits that the worker has; and that it has or that is on its way. 0: none does. */
    uint64_t worker_ms, near_ms;
};

enum phase { PHASE_CONNECTING, PHASE_LOADING, PHASE_LISTENING };

enum { LLAMA_REQUESTS = 8 };

struct process {
    bool used, up, deaf, dying, frozen, term_pending, record_lost, port_stolen;
    char unit[PROTO_NAME_MAX];
    enum unit_role role;
    int32_t pid;
    uint16_t port;
    bool loopback;         /* it listens there, else on its machine's address */
    struct id128 instance; /* by its spec */
    uint64_t epoch;
    int32_t rank;
    uint64_t settled_ms, cpu_ms, rss_bytes;
    struct exit_facts exit; /* while it is dying */
    uint32_t probe;         /* the newest one under way; 0: none */
    uint64_t unread_bytes;  /* worker */
    int client_host;        /* worker; 0: it has none */
    int32_t client_pid;
    uint32_t client_boot;
    int32_t client_far, client_near; /* the carriers through which it comes, here and there; 0: none */
    struct carrier *carrier;         /* a carrier's; owned */
    int32_t near;                    /* coordinator: its carrier; 0: none */
    uint64_t dialled_ms;             /* since when it has been dialling a rank in vain; 0: it is not */
    enum phase phase;                /* coordinator, as all that follows */
    struct coordinator_spec *spec;   /* owned */
    size_t n_connected;
    struct stream stream[PROTO_RANKS_MAX];
    uint64_t local_bytes;
    uint64_t load_ms, work_ms; /* how long it loads; how long it has, and has computed since */
    uint32_t slow;             /* by its slowest member */
    bool stalled, broken;      /* a rank does not move; answers 500 from now on */
    size_t n_requests;
    struct request *request[LLAMA_REQUESTS];
    bool dying_told;
    uint64_t outlived_ms; /* carrier: since when its epoch is over; for the checks */
    uint32_t told;        /* to this life of the agent: phases of its log */
};

/* A process of the unit exists from now on; its first word comes later. unit: its spec. coordinator: borrowed. */
struct process *llama_start(struct world *w, struct host *h, const struct unit_facts *unit,
                            const struct coordinator_spec *coordinator);
void llama_signal(struct world *w, struct host *h, struct process *p, int signal);
/* Its end begins now, for whatever reason. signal 0: exits with code. */
void llama_end(struct world *w, struct host *h, struct process *p, int code, int signal);
/* One that had started and said nothing does so now. */
void llama_wake(struct world *w, struct host *h, struct process *p);
void llama_freeze(struct world *w, struct host *h, struct process *p, bool frozen);
/* Of a machine that lost its power: no FIN, no record, nothing. */
void llama_vanish(struct process *p);

struct process *llama_find(struct host *h, int32_t pid);
struct process *llama_at(struct host *h, bool loopback, uint16_t port); /* who listens there; NULL: nobody */

/* After whatever may let streams move or stop: cuts, power, frozen processes. */
void llama_changed(struct world *w);
void llama_sample(struct world *w, struct host *h, struct process *p, struct agent_unit_sample *ret);
/* A worker answers a HELLO now. */
bool llama_answers(const struct process *p);
/* What a coordinator has said in its log since the agent last read it. */
void llama_read_log(struct world *w, struct host *h, struct process *p);
bool llama_computes(const struct process *p); /* a coordinator that loads or has a request */

/* Of a loaded part of the model, on one rank. */
uint64_t llama_loaded_bytes(struct world *w, const struct process *coordinator, const struct stream *s);
/* addr:port; loopback is h itself. NULL: nobody's. */
struct host *llama_endpoint_host(struct world *w, struct host *h, const char *endpoint, uint16_t *ret_port);

/* Brings its figures up to now. */
void llama_settle(struct world *w, struct host *h, struct process *p);
/* RPC0, RPC1, ...: every worker here exposes one device. SIZE_MAX: a device of the coordinator's own. */
size_t llama_rpc_index(const char *device);
/* Weights on that device of a coordinator's list. */
uint64_t llama_device_bytes(const struct process *p, size_t device);

/* ---- requests, as a gateway or a warm-up makes them ---- */

enum asked {
    ASKED_TAKEN,     /* `done` is called some time, or never */
    ASKED_REFUSED,   /* nobody listens there */
    ASKED_UNREACHED, /* nobody answers at all */
    ASKED_500
};

/* Where a coordinator is asked, and which. */
struct upstream {
    const char *addr;
    uint16_t port;
    const char *key; /* of the node whose carrier that is; empty: its own port */
    struct id128 instance;
    uint64_t epoch;
};

struct request {
    uint64_t takes_ms; /* of undisturbed computing */
    bool poison;
    int host; /* where it went, with what follows; 0: nowhere (any more) */
    uint32_t boot;
    int32_t pid;
    int32_t carrier; /* it goes through; 0: none */
    uint64_t serial;
    uint64_t due_work_ms;
    void (*done)(struct world *w, struct request *r, bool ok);
    uint64_t a, b; /* the asker's own */
};

/* r: borrowed, and not to be freed before the world ends. done: never called from within llama_ask but through it; it may
 * not step a core by itself. */
enum asked llama_ask(struct world *w, int from_machine, const struct upstream *to, struct request *r);
void llama_forget(struct world *w, struct request *r);
/* What has come back from there so far, in tokens. */
uint64_t llama_progress(struct world *w, const struct upstream *to);

#endif
