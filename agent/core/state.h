/* The agent's whole state and the rooms of one step. Private to agent/core.
 *
 * A step works on a draft. State is one flat value (no pointers but those to the inventory, which a step never changes
 * in place), so a draft is a memcpy of what is in use, and every function below may write to it freely: it becomes the
 * state only if each allocation of the step succeeded. That is what "NULL, and the agent is as it was" costs here: one
 * copy of what is in use, some 15 KiB with two units, a fraction of a microsecond. Allocating first in each of these
 * functions would need to know beforehand how many effects a cascade (exit -> empty -> released -> granted -> started)
 * has. */
#ifndef CARAVAN_AGENT_CORE_STATE_H
#define CARAVAN_AGENT_CORE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/agent.h"
#include "agent/core/effects.h"
#include "agent/core/epoch_book.h"
#include "agent/core/hang_watch.h"
#include "agent/core/lease_book.h"
#include "agent/core/process_machine.h"
#include "agent/core/result_book.h"

enum { UNIT_BUFFERS_MAX = PROTO_RANKS_MAX * 2 + 1 };

struct unit {
    struct unit_facts facts;
    uint64_t started_ms;         /* when its start was decided */
    uint64_t running_ms;         /* when it was first known to serve */
    uint64_t due_ms;             /* when waiting in this state ends; UINT64_MAX: never */
    uint64_t wait_ms;            /* how long it was to be */
    uint64_t backoff_ms;         /* the last one */
    uint64_t token;              /* ASSIGN under way; 0: none */
    uint32_t grace_ms;           /* of a stop */
    uint32_t quick_exits;        /* in a row */
    uint16_t port_hint;          /* of the next start */
    bool ending;                 /* its epoch is over here */
    bool exposed;                /* worker: whose coordinator it was may live, and knows its port */
    bool asked;                  /* its end was our wish: no event, no backoff */
    bool killed;                 /* SIGKILL was sent */
    bool probing;                /* asked whether it answers; what for, says its state */
    bool unwritten;              /* it serves nobody; its record, which could not be written, may say otherwise */
    bool untold;                 /* its exit is still to be told to a controller */
    bool loading, listening;     /* coordinator: what its log said */
    struct hang_watch hang;      /* worker or carrier of an epoch */
    char reason[PROTO_NAME_MAX]; /* of its end: stable word */
    char why[PROTO_TEXT_MAX];    /* sentence */
    size_t n_buffers;            /* coordinator: told again to each new link */
    struct rank_buffers buffers[UNIT_BUFFERS_MAX];
};

/* A command that was begun and has no result yet. */
struct pending {
    struct command_key key;
    enum command_kind kind;
    char unit_id[PROTO_NAME_MAX]; /* START_*: whose fate decides */
    bool carried;                 /* ... and that of its epoch's carrier */
};

/* One that was asked for and has not come back. */
struct knock {
    struct command_key key;
    uint64_t token, due_ms;
};

enum { PEERS_MAX = 2 * PROTO_PEERS_MAX, PEER_CREDIT_MS = 2000 };

/* A neighbour whose link is up. */
struct peer {
    char key[PROTO_KEY_MAX];
    bool linked;                     /* it said so, and not too long ago */
    uint64_t heard_ms;               /* when it spoke of its health */
    uint64_t credit_ms, credited_ms; /* what it may still have us carry */
};

enum route_state {
    ROUTE_NONE,  /* alone: results and the like are lost, and count as untold */
    ROUTE_ASKED, /* a neighbour was given our hello */
    ROUTE_VIA,   /* the controller has welcomed us through it */
    ROUTE_OWN    /* our own link */
};

struct route {
    enum route_state state;
    char via[PROTO_KEY_MAX]; /* the neighbour that is, or was last, asked */
    uint64_t due_ms;         /* NONE: when one is asked; ASKED: when it has not answered */
    struct id128 cluster;    /* as the last controller said */
    uint64_t term;
    uint32_t minor; /* PROTOCOL_MINOR of who welcomed us last */
    uint64_t seq;   /* of what was sent through `via` */
};

struct state {
    bool begun, have_sample;
    bool resumed_untold;
    bool devices_changed, units_changed, models_untold; /* since the last report */
    bool models_told_once;                              /* the next full report tells them again */
    uint64_t next_report_ms, next_full_ms;
    uint64_t rewrite_due_ms; /* UINT64_MAX: all that was to be on disk is there, or on its way */
    uint64_t last_token, last_unit_number;
    uint64_t freed_bytes; /* by exits since the last sample */
    uint16_t worker_port; /* a new worker's port is looked for from here on; 0: from the first */
    const char *advertised;
    uint32_t load_permille;
    uint64_t uptime_ms, host_total_bytes, host_free_bytes;
    struct route route;
    struct neighbours neighbours; /* as last told */
    uint64_t told_due_ms;         /* a new controller has told us none by then: there are none */
    uint64_t health_due_ms;
    size_t n_peers;
    struct peer peer[PEERS_MAX];
    uint64_t relays_dropped;
    size_t n_knocks;
    struct knock knock[AGENT_KNOCKS_MAX];
    size_t n_devices;
    struct device_facts device[PROTO_DEVICES_MAX];
    struct model_facts *model; /* owned by the agent */
    size_t n_models;
    uint16_t index_permille[PROTO_MODELS_MAX];
    /* Lists that may be long come last: a draft copies of each only what is in use (make_draft). */
    struct lease_book leases;
    struct epoch_book epochs;
    size_t n_flows; /* of the last sample */
    struct rank_flow flow[PROTO_FLOWS_MAX];
    size_t n_pending;
    struct pending pending[AGENT_COMMANDS_MAX];
    size_t n_units;
    struct unit unit[PROTO_UNITS_MAX];
};

struct step {
    const struct agent_config *config;
    const struct result_book *results; /* of earlier steps */
    struct state *s;                   /* the draft */
    struct effects fx;
    uint64_t now_ms;
};

/* ---- adopt.c: who was there before this agent -------------------------------------------------------------------- */

void adopt_unit(struct step *st, const struct unit_facts *facts);
void adopt_end(struct step *st);

/* ---- units.c: the list of processes ------------------------------------------------------------------------------ */

struct unit *unit_find(struct state *s, const char *id); /* NULL id: NULL */
struct unit *unit_standing(struct state *s);             /* NULL: there is none */
struct unit *unit_coordinator(struct state *s, const struct id128 *instance, uint64_t epoch);
struct unit *unit_rank(struct state *s, const struct id128 *instance, uint64_t epoch, int32_t rank);
struct unit *unit_carrier(struct state *s, const struct id128 *instance, uint64_t epoch); /* one that is to stay */
bool unit_is_carried(const struct state *s, const struct unit *u); /* a carrier of its epoch has not gone yet */
bool unit_serves(const struct unit *u, const struct id128 *instance, uint64_t up_to_epoch);
bool unit_any(const struct state *s, const struct id128 *instance, uint64_t up_to_epoch); /* of those that serve it */
bool unit_is_free(const struct unit *u);                                                  /* serves nobody */
bool unit_is_gone(const struct unit *u); /* no process, and none on its way */

/* Where one that is started now listens. One that was adopted may listen elsewhere: `rank_transport` or `address` was changed
 * since. */
const char *unit_home(const struct step *st, enum unit_role role);
bool unit_is_elsewhere(const struct step *st, const struct unit *u);

/* A new one in UNIT_IDLE with an id of its own, at the end of the list; NULL: there are PROTO_UNITS_MAX. */
struct unit *unit_new(struct step *st, enum unit_role role);
void unit_drop(struct step *st, struct unit *u); /* its record too; later units move up */
/* As effects_add, about this unit. */
struct agent_fx *unit_effect(struct step *st, const struct unit *u, enum agent_fx_kind kind);

/* ---- unit.c: one process ---------------------------------------------------------------------------------------- */

/* Borrowed until the next effect, for the spec of a coordinator or a carrier; NULL: it could not be begun, or memory is
 * short. */
struct agent_fx *unit_start(struct step *st, struct unit *u);
void unit_stop(struct step *st, struct unit *u);
void unit_back_off(struct step *st, struct unit *u);
/* A worker whose coordinator is not known to have ended: nobody else is served by it or on its port. With carriers that
 * is no matter: it can be dialled from here alone, and its carrier ends first. */
void unit_expose(struct step *st, struct unit *u);
void unit_ask_empty(struct step *st, struct unit *u);
void unit_assign(struct step *st, struct unit *u, const struct id128 *instance, uint64_t epoch, int32_t rank);

/* A process that is in no list of ours: it is ended, or its record deleted where that has happened. */
void unit_disown(struct step *st, const char *id, bool gone);
void unit_on_unknown(struct step *st, const struct agent_ev *ev);

/* What happened to it. */
void unit_on_spawned(struct step *st, struct unit *u, const struct agent_ev *ev);
void unit_on_spawn_failed(struct step *st, struct unit *u, const char *reason, const char *text);
void unit_on_probed(struct step *st, struct unit *u, const struct agent_ev *ev);
void unit_on_dying(struct step *st, struct unit *u);
void unit_on_exited(struct step *st, struct unit *u, const struct exit_facts *exit, const char *text);
void unit_on_log(struct step *st, struct unit *u, const struct agent_event_facts *facts);
void unit_on_due(struct step *st, struct unit *u);
void unit_on_resumed(struct step *st, struct unit *u);
void unit_tell(struct step *st, struct unit *u, enum agent_event_kind kind, const char *text);
void unit_tell_again(struct step *st, struct unit *u); /* what a new link has missed */

/* ---- command.c: what controllers ask ---------------------------------------------------------------------------- */

void command_on_message(struct step *st, const struct message *m);
void command_on_persisted(struct step *st, uint64_t token, bool ok);
void command_finish(struct step *st, const struct command_key *key, const struct result *r);
__attribute__((format(printf, 5, 6))) void command_answer(struct step *st, const struct command_key *key,
                                                          enum result_code code, const char *reason, const char *format,
                                                          ...);
#define command_refuse(st, key, reason, ...) command_answer((st), (key), RESULT_REFUSED, (reason), __VA_ARGS__)
void command_refuse_stale(struct step *st, const struct command_key *key, uint64_t newest);
/* true: its result will come. false: it was refused. */
bool command_hold(struct step *st, const struct command_key *key, enum command_kind kind);
/* u: whose start was asked for. carried: its result awaits their epoch's carrier, too, and says where that listens. */
bool command_hold_start(struct step *st, const struct command_key *key, const struct unit *u, bool carried);
/* A process that SIGKILL does not end: nobody waits for it any longer. */
void command_give_up(struct step *st, const struct unit *u);
/* Ends what the instance has here up to this epoch: marks its units, answers what waits for them. at_large: its
 * coordinator is not known to have ended. */
void command_end_epochs(struct step *st, const struct id128 *instance, uint64_t up_to_epoch, uint32_t grace_ms,
                        bool at_large);

/* ---- disk.c: what is to be on disk ------------------------------------------------------------------------------- */

void disk_write_lease(struct step *st, struct epoch *e); /* EPOCH_WRITING */
void disk_write_over(struct step *st, struct epoch *e);  /* EPOCH_OVER */
void disk_unit_failed(struct step *st, struct unit *u);  /* its record: it is to say that u serves nobody */
void disk_over_failed(struct step *st, struct epoch *e);
void disk_on_due(struct step *st);

/* ---- start.c ---------------------------------------------------------------------------------------------------- */

void command_start_worker(struct step *st, const struct command_key *key, const struct message *m);
void command_start_coordinator(struct step *st, const struct command_key *key, const struct message *m);

/* ---- knock.c: what a witness is asked --------------------------------------------------------------------------- */

void knock_begin(struct step *st, const struct command_key *key, const struct peer_facts *at);
void knock_on_found(struct step *st, uint64_t token, enum knock_outcome outcome);
void knock_on_due(struct step *st);
void knock_on_resumed(struct step *st);
uint64_t knock_due_ms(const struct state *s);

/* ---- peers.c: neighbours ---------------------------------------------------------------------------------------- */

struct peer *peer_find(struct state *s, const char *key);
/* One that can carry, the first one after that key; NULL: there is none. */
struct peer *peer_with_link(struct state *s, const char *after);
struct message *peer_send(struct step *st, const struct peer *to, enum message_kind kind); /* HEALTH, RELAY */
void peers_on_list(struct step *st, const struct neighbours *list);
void peers_on_up(struct step *st, const char *key);
void peers_on_down(struct step *st, const char *key);
void peers_on_health(struct step *st, struct peer *p, const struct health *health);
void peers_on_link(struct step *st, bool up); /* our own */
void peers_on_resumed(struct step *st);
void peers_settle(struct step *st);
uint64_t peers_due_ms(const struct state *s);

/* ---- route.c: the way to the controller ------------------------------------------------------------------------- */

bool route_is_own(const struct state *s);  /* not over a neighbour */
bool route_is_open(const struct state *s); /* else what is sent is lost */
/* Every REPORT, RESULT and EVENT goes through here. As effects_send: zeroed, borrowed; NULL: memory is short. */
struct message *route_send(struct step *st, enum message_kind kind);
void route_stamp(const struct state *s, struct message *m); /* version, cluster, term, where no link does it */
void route_note_leader(struct step *st, const struct message *m);
void route_on_begin(struct step *st);
void route_on_link_up(struct step *st, uint32_t minor);
void route_on_link_down(struct step *st);
void route_on_resumed(struct step *st);
void route_on_relayed(struct step *st, const struct peer *from, const struct message *m);
void route_settle(struct step *st);
uint64_t route_due_ms(const struct state *s);

/* ---- relay.c: being a neighbour's way --------------------------------------------------------------------------- */

void relay_from_peer(struct step *st, struct peer *from, const struct relayed *relay);
void relay_from_controller(struct step *st, const struct relayed *relay);

/* ---- settle.c: what follows ------------------------------------------------------------------------------------- */

/* Whatever happened, afterwards this decides what is to be done next: ends units of ended epochs in order, completes
 * commands, keeps the standing worker. */
void settle(struct step *st);
/* The standing worker alone: stops it where its devices are wanted, starts it where it should run. */
void settle_standing(struct step *st);

/* ---- report.c --------------------------------------------------------------------------------------------------- */

void report_on_sample(struct step *st, const struct agent_sample *sample);
void report_on_link_up(struct step *st);
void report_on_resumed(struct step *st);
void report_if_due(struct step *st);
uint64_t report_due_ms(const struct state *s);

#endif
