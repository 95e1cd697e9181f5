/* Private to shell*.c: the shell's state, and what the starting half hands to the running half. */
#ifndef CARAVAN_CONTROLLER_SHELL_STATE_H
#define CARAVAN_CONTROLLER_SHELL_STATE_H

#include <event2/util.h>
#include <sys/queue.h>
#include <time.h>

#include "common/mdns.h"
#include "controller/core/cluster.h"
#include "controller/discovery.h"
#include "controller/front.h"
#include "controller/link.h"
#include "controller/shell.h"
#include "controller/store.h"
#include "controller/upstream.h"

struct event;

enum { COMMITS_MAX = 256 };

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

enum boot_state { BOOT_WAITS = 1, BOOT_ASKED, BOOT_DONE };

struct boot {
    enum boot_state state;
    uint64_t next_ms;
};

struct shell {
    struct event_base *base;
    struct cluster *cluster;
    struct store *store;
    struct link *link;
    struct mdns *mdns;
    struct discovery *discovery;
    struct front *front;
    const struct models_conf *models;
    struct boot *boot; /* one per section */
    uint8_t secret[CRYPTO_KEY_BYTES];
    uint64_t warm_up_ms;
    struct event *tick, *show, *turn;
    bool stale; /* the view is out of date */
    int failure;
    uint32_t audit_seq;
    struct metrics_control counters;
    struct timespec commit_at[COMMITS_MAX]; /* when each append left, in order; the oldest at commit_head */
    size_t commit_head, n_commits;
    STAILQ_HEAD(, late) late;
    LIST_HEAD(, warming) warming;
    /* while the store is read */
    size_t n_restored;
    struct record *restored;
    int restore_failure;
    char restore_why[2 * PROTO_TEXT_MAX];
};

/* Tells the core, carries out what it says. Never called from inside itself. */
void shell_step(struct shell *s, struct cluster_ev *ev);
/* Makes the picture anew and hands it to the HTTP thread. */
void shell_show(struct shell *s);

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
