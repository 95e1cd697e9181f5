/* Shared by the shell's files alone. */
#ifndef CARAVAN_AGENT_SHELL_INTERNAL_H
#define CARAVAN_AGENT_SHELL_INTERNAL_H

#include "agent/carrier/conf.h"
#include "agent/carrier_probe.h"
#include "agent/carrier_told.h"
#include "agent/coordinator_watch.h"
#include "agent/core/agent.h"
#include "agent/gpu.h"
#include "agent/inventory.h"
#include "agent/join.h"
#include "agent/link.h"
#include "agent/llama.h"
#include "agent/local_api.h"
#include "agent/options.h"
#include "agent/peers.h"
#include "agent/probe.h"
#include "agent/process.h"
#include "agent/rank_sockets.h"
#include "agent/state.h"
#include "agent/tensor_room.h"
#include "common/knock.h"
#include "common/mdns.h"
#include "common/seldom.h"
#include "common/wake.h"

struct event;
struct event_base;

/* What the shell knows of a carrier. */
struct carried {
    char unit_id[PROTO_NAME_MAX]; /* of the worker or the coordinator that it is for; empty: that is not known */
    struct carrier_probe *probe;  /* NULL: nothing is asked */
    struct control_answer answer; /* without routes until it has answered */
    struct carrier_told told;
    struct coordinator_spec *held; /* of a coordinator that is started when it answers; NULL: of none */
    struct unit_facts held_unit;
};

/* What the shell keeps of each unit that it has started or adopted. */
struct child {
    struct shell *shell;
    char id[PROTO_NAME_MAX]; /* empty: free */
    uint16_t port;           /* promised to it, bound or not */
    bool ended;
    struct coordinator_watch *watch;
    struct probe *probe;
    struct carried *carried;       /* a carrier; NULL: it is none */
    struct control_answer *routes; /* of a coordinator's carrier; NULL: it has none, or it is not known yet */
    bool knows_sockets;            /* sockets has been made for it */
    struct rank_sockets sockets;
};

/* An outcome of an effect, waiting until all effects of its step are carried out. */
struct outcome {
    struct agent_ev ev; /* its strings point into this struct */
    char unit_id[PROTO_NAME_MAX], addr[PROTO_ADDR_MAX], reason[PROTO_NAME_MAX], text[PROTO_TEXT_MAX];
    struct outcome *next;
};

/* A knock that is under way for the core. */
struct shell_knock {
    struct shell *shell;
    struct knock *knock; /* NULL: free */
    uint64_t token;
};

enum { SHELL_KNOCKS_MAX = 8 /* at once: each takes descriptors */ };

/* Where a model is: what a coordinator is started with. */
struct model_place {
    char name[PROTO_MODEL_MAX], path[PROTO_PATH_MAX];
    uint64_t header_hash;
    bool usable;
};

struct shell {
    const struct agent_options *options;
    struct state_dir *state;
    const struct identity *identity;
    struct join_ticket *ticket;
    struct event_base *base;
    struct llama llama;
    const char *carrier_path;               /* caravan-carrier; NULL: there is none */
    char tensor_dir[PROTO_PATH_MAX];        /* what carriers read of models' files */
    char cache_dir[PROTO_PATH_MAX];         /* of GPU drivers, in children */
    char cache_env[2][PROTO_PATH_MAX + 24]; /* and the variables that say so */
    struct agent *core;
    struct process_table *processes;
    struct link *link;
    struct joining *join; /* NULL: none, or it is over */
    struct peers *peers;
    struct local_api *local; /* NULL: none */
    struct shell_knock knock[SHELL_KNOCKS_MAX];
    struct mdns *mdns;
    struct inventory_room *inventory;
    struct tensor_room *tensors; /* NULL: transport is direct */
    struct gpu *gpu;             /* NULL: none */
    struct hello hello;
    size_t n_devices; /* what this node reports, names and kinds; figures by each sample */
    struct device_facts device[PROTO_DEVICES_MAX];
    size_t n_models;
    struct model_place *model;
    struct child child[PROTO_UNITS_MAX];
    struct outcome *first_outcome, **last_outcome;
    struct wake wake;
    struct seldom flows_left_out;
    bool short_of_memory; /* the loop is to end */
    struct event *on_tick, *on_sample, *on_term, *on_int;
};

/* shell.c: gives the event to the core and carries out what follows, to the end. What ev points to: borrowed, but for
 * ev->model, which is consumed on true. false: memory was short, the event is lost (logged). */
bool shell_feed(struct shell *s, const struct agent_ev *ev);
/* A blank outcome that will be fed after the effects of this step; NULL: memory is short (logged). unit_id: may be NULL. */
struct outcome *shell_outcome(struct shell *s, enum agent_ev_kind kind, const char *unit_id);
struct child *shell_child(struct shell *s, const char *id); /* NULL: none */
struct child *shell_child_new(struct shell *s, const char *id, uint16_t port);
void shell_child_clear(struct child *c);

/* shell_effects.c */
void shell_carry_out(struct shell *s, struct agent_fx *fx);
void shell_watch_coordinator(struct shell *s, struct child *c, const char *addr);

/* shell_spawn.c */
#define SHELL_API_KEY_FILE "api-key" /* of a coordinator, beside its record */
void shell_spawn(struct shell *s, struct agent_fx *fx);
__attribute__((format(printf, 4, 5))) void shell_spawn_failed(struct shell *s, const char *unit_id, const char *reason,
                                                              const char *format, ...);
/* A port for unit; blamed: the unit whose start fails without it. false: told. */
bool shell_choose_port(struct shell *s, const struct unit_facts *unit, uint16_t hint, const char *blamed,
                       uint16_t *ret);
/* r: of what was prepared for it, 0 or negative errno. NULL: told. */
struct child *shell_start(struct shell *s, const struct unit_facts *unit, const struct process_command *what, int r);
struct child *shell_start_coordinator(struct shell *s, const struct unit_facts *unit,
                                      const struct coordinator_spec *spec);
const struct model_place *shell_model(const struct shell *s, const char *name); /* NULL: none */

/* shell_carrier_start.c */
void shell_start_carrier(struct shell *s, const struct unit_facts *unit, const struct carrier_spec *spec);

/* shell_carrier.c */
struct carried *carried_new(const char *unit_id); /* NULL: memory is short */
void carried_destroy(struct carried **c);
struct child *shell_carrier_of(struct shell *s, const char *unit_id); /* NULL: none */
/* Starts the coordinator when its carrier answers. spec: consumed. */
void shell_hold_coordinator(struct shell *s, const struct unit_facts *unit, struct coordinator_spec **spec);
/* It is not to be started any more. false: it does not wait. */
bool shell_drop_held(struct shell *s, const char *unit_id);
void shell_carrier_ended(struct shell *s, struct child *c);
int shell_ask_carrier(struct shell *s, struct child *c, uint64_t deadline_ms); /* -> PROBED. 0 or negative errno */
/* Follows the coordinators that were adopted, each as soon as it is known what its carrier's ports stand for. */
void shell_adopt_carriers(struct shell *s);

/* shell_flows.c: after its units. */
void shell_sample_flows(struct shell *s, struct agent_sample *sample);

/* shell_peers.c: neighbours and knocks. */
int shell_open_peers(struct shell *s); /* before hello is said: it fills in the port. 0 or negative errno */
void shell_close_peers(struct shell *s);
void shell_set_peers(struct shell *s, const struct agent_fx *fx);
void shell_send_peer(struct shell *s, struct agent_fx *fx);
void shell_knock(struct shell *s, const struct agent_fx *fx);

/* shell_join.c */
int shell_open_join(struct shell *s);       /* after the link. 0 or negative errno */
bool shell_own_key_denied(struct shell *s); /* true: a join sees to it */
void shell_welcomed(struct shell *s);

/* shell_sample.c */
void shell_sample(struct shell *s);

/* shell_start.c: what is found out once, before the loop. */
int shell_find_out(struct shell *s, struct agent_config *ret);
int shell_advertise_agent(struct shell *s);
size_t shell_txt(const struct shell *s, const struct unit_facts *worker, const char *state, struct mdns_txt *ret);

#endif
