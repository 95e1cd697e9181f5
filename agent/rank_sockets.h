/* What the kernel's socket table says of the rank connections of one unit: of a worker's from its coordinator, of a
 * coordinator's to its workers. With carriers both are of this machine alone, and whether the network takes what is sent
 * shows in the carrier's sockets: the far ones. Pure: fed one socket after the other by whoever reads the table. */
#ifndef CARAVAN_AGENT_RANK_SOCKETS_H
#define CARAVAN_AGENT_RANK_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/procfs.h"
#include "common/core/protocol.h"

enum { RANK_STREAMS_MAX = 4 /* to one endpoint: llama.cpp has one, and more for moments while it loads */ };

/* One connection of a coordinator, known by its local port. */
struct rank_stream {
    uint16_t port;               /* 0: free */
    uint8_t n_served, n_missing; /* samples in a row, up to 2: it was there and the coordinator served; it was not */
    bool open, closed, left;     /* in this sample; closed by the other side, which it has not noticed; by itself */
};

struct rank_endpoint {
    struct procfs_end end;
    struct rank_stream stream[RANK_STREAMS_MAX];
};

struct rank_sockets {
    enum unit_role role;
    struct procfs_end own; /* worker: where it listens */
    size_t n_endpoints;    /* coordinator */
    struct rank_endpoint endpoint[PROTO_RANKS_MAX];
    /* of this sample */
    size_t n_far;
    struct procfs_end far[PROTO_RANKS_MAX]; /* the carrier's: worker: where it listens; coordinator: what it dials */
    uint32_t n_accepted;
    uint64_t unread_bytes, waiting_bytes; /* of accepted connections, and of those that wait to be */
    bool retransmits;
};

struct rank_figures {
    uint64_t unread_bytes;
    bool retransmits;
    uint32_t closed_streams;
};

/* A worker that listens at addr and port. false: addr is no IP literal. */
bool rank_sockets_of_worker(struct rank_sockets *r, const char *addr, uint16_t port);
/* A coordinator of this command line, as /proc/PID/cmdline has it: arguments with NULs between. Its `--rpc` names the
 * endpoints; what is no IP literal with a port is passed over. */
void rank_sockets_of_coordinator(struct rank_sockets *r, const char *cmdline, size_t n_bytes);

/* Which sockets the next sample needs: of v6 too; those that were left, which may be many. */
bool rank_sockets_need_v6(const struct rank_sockets *r);
bool rank_sockets_need_left(const struct rank_sockets *r);

/* One sample: begin, the far ends if there are any, each socket of the table, end. listening: a coordinator that serves. */
void rank_sockets_begin(struct rank_sockets *r);
/* Where a worker's carrier listens, or what a coordinator's dials; one that is no IP literal is passed over. */
void rank_sockets_add_far(struct rank_sockets *r, const char *addr, uint16_t port);
void rank_sockets_take(struct rank_sockets *r, const struct procfs_socket *s);
void rank_sockets_end(struct rank_sockets *r, bool listening, struct rank_figures *ret);

#endif
