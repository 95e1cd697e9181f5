/* What a carrier is started with: a file of key=value lines (0600) in its unit's directory, written by the agent. Pure.
 *
 * It says all that this carrier will ever do, so that it needs nobody while it runs. The node's secret is not in it, only
 * the path of the file that has it. */
#ifndef CARAVAN_AGENT_CARRIER_CONF_H
#define CARAVAN_AGENT_CARRIER_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum { CARRIER_CONF_TEXT_MAX = 256 * 1024, CARRIER_FILES_MAX = 128 /* of a split model */ };

struct carrier_conf {
    struct id128 instance;
    uint64_t epoch;
    char identity[PROTO_PATH_MAX]; /* file of the node's key */
    char addr[PROTO_ADDR_MAX];     /* listens here for other carriers and gateways */
    uint16_t port;
    /* The rank whose worker listens on 127.0.0.1 here, and whose node may open streams to it; -1: none. */
    int32_t rank;
    uint16_t worker_port;
    uint8_t peer[32];
    /* What the worker is fed from: the model's files in their order, and where indexes of them are kept; 0: nothing. */
    size_t n_files;
    char (*file)[PROTO_PATH_MAX]; /* owned */
    char index_dir[PROTO_PATH_MAX];
    /* The coordinator that listens on 127.0.0.1 here, or will: 0: it is elsewhere. */
    uint16_t coordinator_port;
    size_t n_gateways;
    uint8_t gateway[PROTO_GATEWAYS_MAX][32];
    size_t n_routes;
    struct conf_route {
        int32_t rank;
        char addr[PROTO_ADDR_MAX];
        uint16_t port;
        bool tunnel; /* false: a worker of this node, dialled as it is */
        uint8_t peer[32];
    } route[PROTO_RANKS_MAX];
};

void carrier_conf_clear(struct carrier_conf *c);

/* ret: owned text, NUL-terminated. 0; -ENOMEM; -EINVAL: a path has a line feed in it. */
int carrier_conf_format(const struct carrier_conf *c, char **ret, size_t *ret_n_bytes);

/* Unknown keys are refused: agent and carrier come from one build, but for an upgrade, in which `version` differs.
 * *ret_line: the first that was not understood, from 1. ret: owned, cleared in every failure. 0; CARRIER_CONF_E_MALFORMED;
 * -ENOMEM. */
enum { CARRIER_CONF_E_MALFORMED = 1 };
int carrier_conf_parse(const char *text, size_t n_bytes, struct carrier_conf *ret, size_t *ret_line);

#endif
