/* Who can reach whom, and links between them with what ZeroMQ over TCP makes of it: in order and without loss while a
 * connection is up; a cut lets nothing through, and what was on its way comes after it has healed, unless an end has
 * noticed: by the heartbeat, 0.9 to 1.2 s after the last answer, each end for itself. Whoever dials does so again after
 * 100 ms to 1 s. Doubled and overtaking messages are faults of their own, since commands may come twice and late. */
#ifndef CARAVAN_TESTS_SIM_NET_H
#define CARAVAN_TESTS_SIM_NET_H

#include "common/core/protocol.h"
#include "tests/sim/world.h"

enum { LEADER = 0, NET_DIALLED = 4 * PROTO_PEERS_MAX };

/* What is on its way to one end. */
struct pipe {
    struct letter *first, **last;
    uint64_t last_ms; /* when the newest one arrives */
    bool stuck;       /* something waits there for a cut to heal or a process to wake */
};

struct conn {
    int dialler, listener; /* hosts; LEADER: the controller */
    bool wanted;           /* by the dialler */
    bool open[2];          /* as seen by the dialler, by the listener */
    uint32_t life, dials;  /* count connections, and tries */
    uint64_t blocked_ms;   /* since when no heartbeat is answered; UINT64_MAX: they are */
    struct pipe pipe[2];   /* what is for the dialler, for the listener */
};

struct net {
    uint16_t cut[HOSTS_MAX + 1][HOSTS_MAX + 1];                           /* from, to: how many faults lie between */
    uint16_t cable[HOSTS_MAX + 1];                                        /* faults on a machine's own cable */
    uint32_t delay_ms, loss_permille, double_permille, overtake_permille; /* beyond a good day */
    struct conn link[HOSTS_MAX + 1];                                      /* each agent's to the controller */
    struct conn dialled[HOSTS_MAX + 1][NET_DIALLED]; /* each agent's to its neighbours, those of the past too */
};

void net_begin(struct world *w);
void net_end(struct world *w);

/* The machine that the controller runs on. */
int net_leader_machine(const struct world *w);
bool net_carrier(const struct world *w, int machine);
/* A packet from one machine to another arrives now. */
bool net_passes(const struct world *w, int from, int to);
bool net_passes_both(const struct world *w, int a, int b);
/* To be said after whatever changes that: cuts, power, frozen and ended processes. */
void net_changed(struct world *w);

/* The agent dials from now on. listener: a host, or LEADER. */
void net_dial(struct world *w, int dialler, int listener);
/* The dialler's end; with its kernel the other one is told. */
void net_hang_up(struct world *w, struct conn *c, bool kernel_lives);
/* The agent or the controller has ended: its kernel closes what it had open, where a machine is still there. */
void net_process_ended(struct world *w, int host, bool kernel_lives);
struct conn *net_find(const struct world *w, int dialler, int listener); /* NULL: not dialled */
/* f for each connection that there is or was. */
void net_each(struct world *w, void (*f)(struct world *w, struct conn *c, int arg), int arg);

/* m: consumed. `from` is one of its two ends; dropped where that end is not open. */
void net_send(struct world *w, struct conn *c, int from, struct message *m);
uint64_t net_delay(struct world *w);

/* What a knock from one machine on the agent of a host would find, and after how long. */
enum knock_outcome net_knock(struct world *w, int from_machine, int host, uint64_t *ret_ms);

#endif
