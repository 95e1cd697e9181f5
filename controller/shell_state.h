/* Private to shell*.c: the shell's state, and what the starting half hands to the running half. */
#ifndef CARAVAN_CONTROLLER_SHELL_STATE_H
#define CARAVAN_CONTROLLER_SHELL_STATE_H

#include <event2/util.h>
#include <sys/queue.h>
#include <time.h>

#include "common/mdns.h"
#include "common/wake.h"
#include "controller/core/cluster.h"
#include "controller/discovery.h"
#include "controller/door.h"
#include "controller/front.h"
#include "controller/host_watch.h"
#include "controller/knocking.h"
#include "controller/link.h"
#include "controller/shell.h"
#include "controller/snapshots.h"
#include "controller/store.h"
#include "controller/tunnels.h"
#include "controller/upstream.h"

struct event;

enum { SHELL_AUDIT_MAX = 512, SHELL_LOOK_MS = 500 };

/* An event that came up inside a step: told in the next turn of the loop, so that steps never nest. */
struct late {
    STAILQ_ENTRY(late) link;
    struct cluster_ev ev;
    char text[PROTO_TEXT_MAX];
};

struct warming {
    LIST_ENTRY(warming) link;
    struct shell *shell;
    struct warm_up *warm_up;
};

/* An append on its way to the disk. */
struct shell_append {
    struct timespec at; /* when it left */
    size_t n_audit;     /* rows of it that the audit collected */
};

/* A refusal that is answered once it is durable. */
struct held_answer {
    STAILQ_ENTRY(held_answer) link;
    struct front_note *note;
    uint64_t after; /* by then so many appends are committed; 0: not known yet */
};

struct shell {
    struct event_base *base;
    struct cluster *cluster;
    struct store *store;
    struct link *link;
    struct mdns *mdns;
    struct discovery *discovery;
    struct front *front;
    struct knocking *knocking;
    struct host_watch *host;
    struct snapshots *snapshots;
    struct identity identity;
    struct wake wake;
    uint8_t secret[CRYPTO_KEY_BYTES];
    struct tunnels *tunnels; /* of this thread: warm-ups' */
    uint64_t warm_up_ms;
    char listen[PROTO_ADDR_MAX];
    struct door door;
    struct view_api_key admin; /* what admin.key says; hash empty: there is none */
    bool needs_api_key;        /* no picture without an API key in it is shown: HTTP would be open */
    struct event *tick, *show, *turn, *audit_due, *look;
    bool stale; /* the view is out of date */
    int failure;
    uint32_t audit_seq;
    struct metrics_control counters;
    uint64_t n_appended, n_committed;
    struct shell_append append[STORE_PENDING_MAX]; /* the n-th at n % STORE_PENDING_MAX */
    bool store_failing;
    size_t n_audit;
    struct store_record audit[SHELL_AUDIT_MAX]; /* not appended yet */
    uint64_t audit_lost;                        /* rows since the last commit that went well */
    STAILQ_HEAD(, held_answer) held;
    bool unsettled;                           /* some of them came in this step */
    const struct cluster_transition *refusal; /* the last one of this step */
    STAILQ_HEAD(, late) late;
    LIST_HEAD(, warming) warming;
    /* while the store is read */
    size_t n_restored;
    struct record *restored;
    int restore_failure;
    char restore_why[2 * PROTO_TEXT_MAX];
};

/* The loop ends: the core could not go on. */
void shell_give_up(struct shell *s, const char *what, int r);
/* Tells the core, carries out what it says. Never called from inside itself. */
void shell_step(struct shell *s, struct cluster_ev *ev);
/* The same in the next turn of the loop, for what comes up inside a step. ev: copied, its text too. */
void shell_tell_later(struct shell *s, const struct cluster_ev *ev);

/* ---- shell_show.c: the HTTP thread ---- */

/* NULL: the loop has been given up. */
struct front_note *shell_note_new(struct shell *s, enum front_note_kind kind);
/* note: consumed. */
void shell_note_send(struct shell *s, struct front_note *note);
/* The picture is out of date. */
void shell_mark_stale(struct shell *s);
/* Makes the picture anew and hands it to the HTTP thread. */
void shell_show(struct shell *s);

/* ---- shell_commit.c: the store ---- */

void shell_commit(struct shell *s, const struct cluster_fx *fx);
void shell_audit(struct shell *s, const struct cluster_transition *t);
void shell_audit_flush(struct shell *s);
void shell_on_audit_due(evutil_socket_t fd, short what, void *ctx);
/* An answer that waits until what this step says is durable. note: consumed. */
void shell_hold_answer(struct shell *s, struct front_note *note);
/* At the end of a step. */
void shell_settle_answers(struct shell *s);
void shell_drop_answers(struct shell *s);
/* Commits have piled up: whoever asks for something must wait. */
bool shell_store_is_behind(const struct shell *s);

/* ---- shell_access.c: who may join ---- */

/* Carries out what the core says of a key. */
void shell_allow(struct shell *s, const struct cluster_fx *fx);
void shell_forbid(struct shell *s, const struct cluster_fx *fx);
/* Whether there is an API key, or need be none. Before the core is told of the records. 0, SHELL_E_START. */
int shell_check_api_keys(struct shell *s, const struct shell_config *c, char *why, size_t why_size);
/* Tells the core of admin.key. After BEGIN. */
void shell_tell_admin(struct shell *s);
/* The id that follows from a key's text; zero where it is none. */
struct id128 shell_id_of_key(const char *key_hex);

/* ---- shell_world.c ---- */

void shell_knock(struct shell *s, const struct cluster_fx *fx);
void shell_on_knocked(void *ctx, const struct id128 *node, uint64_t token, enum knock_outcome outcome);
void shell_on_closed(void *ctx, const struct link_peer *peer, const char *peer_addr);
void shell_on_host(void *ctx, const struct cluster_host *host);
void shell_look_at_clocks(struct shell *s);
void shell_on_look(evutil_socket_t fd, short what, void *ctx);
void shell_send_snapshot(void *ctx, const char *key, struct message *m);

/* ---- shell.c ---- */

/* Callbacks of the loop, the store, the link, mDNS and the HTTP thread; ctx is the shell. */
void shell_on_turn(evutil_socket_t fd, short what, void *ctx);
void shell_on_tick(evutil_socket_t fd, short what, void *ctx);
void shell_on_show(evutil_socket_t fd, short what, void *ctx);
void shell_on_committed(void *ctx, uint64_t token, int r);
void shell_on_message(void *ctx, const struct link_peer *peer, const char *peer_addr, struct message **m);
void shell_on_service(void *ctx, const struct mdns_service *service);
void shell_on_mdns_state(void *ctx, bool running);
void shell_on_order(void *ctx, struct front_order *order);

#endif
