/* Shared by the shell's files alone. */
#ifndef CARAVAN_AGENT_SHELL_INTERNAL_H
#define CARAVAN_AGENT_SHELL_INTERNAL_H

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
#include "common/knock.h"
#include "common/mdns.h"
#include "common/wake.h"

struct event;
struct event_base;

/* What the shell keeps of each unit that it has started or adopted. */
struct child {
    struct shell *shell;
    char id[PROTO_NAME_MAX]; /* empty: free */
    uint16_t port;           /* promised to it, bound or not */
    bool ended;
    struct coordinator_watch *watch;
    struct probe *probe;
    bool knows_sockets; /* sockets has been made for it */
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
    struct gpu *gpu; /* NULL: none */
    struct hello hello;
    size_t n_devices; /* what this node reports, names and kinds; figures by each sample */
    struct device_facts device[PROTO_DEVICES_MAX];
    size_t n_models;
    struct model_place *model;
    struct child child[PROTO_UNITS_MAX];
    struct outcome *first_outcome, **last_outcome;
    struct wake wake;
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
