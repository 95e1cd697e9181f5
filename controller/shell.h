/* The control loop: what happened becomes events of the cluster core, and its effects are carried out, in one switch. Store,
 * link, mDNS and the HTTP thread report here; nothing here decides anything about the cluster. */
#ifndef CARAVAN_CONTROLLER_SHELL_H
#define CARAVAN_CONTROLLER_SHELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "common/crypto.h"
#include "controller/models_conf.h"

struct event_base;
struct http_settings;
struct shell;

enum { SHELL_E_START = 1 /* why says what and what to do */ };
enum { SHELL_VIEW_MS = 50 /* how old the shown picture may be, but for state changes, which are shown at once */ };

struct shell_config {
    const struct identity *identity;
    char name[PROTO_NAME_MAX];
    const char *state_dir; /* exists */
    const char *listen;
    uint16_t port;
    const char *http_text;          /* where HTTP is, for the mDNS record and for people */
    bool http_is_local;             /* only this machine reaches it: it may do without API keys */
    char admin_hash[PROTO_KEY_MAX]; /* api_key_hash of admin.key; empty: there is none */
    const int *http_fds;            /* bound; consumed on success */
    size_t n_http_fds;
    const struct http_settings *http; /* borrowed for the shell's life */
    bool trust_open;
    bool tunnel; /* rank_transport: ranks and coordinators are behind carriers */
    uint64_t settle_ms, silent_ms, evict_after_ms, brake_hold_ms, graph_max_ms, load_stall_ms, warm_up_ms,
        transition_grace_ms, gateway_wait_ms;
    size_t gateway_waiting, gateway_waiting_bytes; /* 0: the gateway's own bounds */
    const struct models_conf *models;
    enum served_start others; /* of models that none of these is */
};

/* config: borrowed for the call. 0, SHELL_E_START, negative errno. */
int shell_new(struct event_base *base, const struct shell_config *config, struct shell **ret, char *why,
              size_t why_size);
/* Waits until everything that was appended is durable. */
void shell_destroy(struct shell **s);
/* 0, or why the loop was ended (negative errno): the store and the agents know enough for the next start. */
int shell_failure(const struct shell *s);

#endif
