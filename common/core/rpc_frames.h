/* What passes between a llama-server and one rpc-server, read as it passes: the sensor of the rank tunnel. Pure; no
 * allocation; it never holds a byte back.
 *
 * Only the heads of frames are read (u8 command and u64 length; u64 length of an answer), the data behind them is passed
 * over. Answers carry no command: they belong to the answered commands in order. So one command that is not known, or
 * whose length is absurd, ends the judging of that stream, for good: from there only bytes are counted, and `why` says
 * why. A stream that is not understood is carried all the same.
 *
 * A graph has no answer. It is outstanding until the next GET_TENSOR is answered; between the two nothing can be known. */
#ifndef CARAVAN_COMMON_CORE_RPC_FRAMES_H
#define CARAVAN_COMMON_CORE_RPC_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum {
    RPC_FRAMES_WAITING_MAX = 64, /* commands without their answer; llama.cpp waits for each, so one is usual */
    RPC_TENSOR_BYTES = 296,      /* a tensor's description */
    RPC_TENSOR_HEAD_BYTES = 305, /* of SET_TENSOR: that, a byte that was 0 in all streams, u64 offset; then the data */
    RPC_SMALL_REQUEST_MAX = 65536, /* of a command that carries no tensor and no graph */
    RPC_SMALL_ANSWER_MAX = 64
};

/* Why a stream is not judged. */
enum rpc_blind {
    RPC_BLIND_NOT, /* it is */
    RPC_BLIND_NO_HELLO,
    RPC_BLIND_VERSION, /* no table for what HELLO was answered with */
    RPC_BLIND_COMMAND, /* not in the table */
    RPC_BLIND_LENGTH,  /* longer than this command or its answer can be */
    RPC_BLIND_UNASKED, /* an answer that nothing was waiting for */
    RPC_BLIND_TOO_MANY /* commands without an answer */
};

struct rpc_way {
    uint64_t n_bytes;
    uint64_t n_frames; /* begun; stands still from where the stream is not judged */
};

struct rpc_figures {
    enum rpc_blind why;
    uint8_t odd_command;        /* with RPC_BLIND_COMMAND, RPC_BLIND_LENGTH */
    struct rpc_version version; /* zero: HELLO is not answered yet */
    struct rpc_way request, answer;
    uint64_t n_tensor_bytes; /* of SET_TENSOR, without heads: what a load is made of */
    uint64_t n_fed_bytes;    /* of tensors that were not sent but fed; 0 here: agent/carrier/feeding.h knows */
    uint64_t n_hash_asked, n_hash_known; /* SET_TENSOR_HASH, and answers of 1: no need to send it */
    uint64_t n_round_trips;
    uint64_t n_graphs; /* about one per token, and one per batch of a prompt */
    uint64_t n_graphs_open, graph_age_ms;
    uint64_t graph_ms; /* all that graphs took, up to the answer: this rank's share of the time */
    /* Commands that wait for an answer to begin. The age counts from where the last byte of the oldest was written to the
     * worker; 0 and `oldest` set: it is not all written yet. */
    size_t n_waiting;
    const char *oldest; /* static; NULL: none */
    uint64_t oldest_age_ms;
    /* Request bytes that the worker's socket has not taken, and for how long it has taken none of them. */
    uint64_t n_held_bytes, held_ms;
};

/* ---- private ---- */

struct rpc_cursor {
    uint8_t head[9];
    size_t n_head;
    uint64_t n_data, at; /* of this frame */
};

struct rpc_waiting {
    uint8_t command;
    bool long_answer, is_written;
    uint64_t end; /* in request bytes of the stream */
    uint64_t written_ms;
    uint64_t n_graphs; /* asked for before it */
};

struct rpc_frames {
    struct rpc_figures fig; /* the counters of it; the rest is made by rpc_frames_figures */
    const struct rpc_dialect *dialect;
    struct rpc_cursor request, answer;
    uint8_t answered; /* the command that the answer in progress belongs to */
    uint8_t start[3]; /* of its data */
    struct rpc_waiting waiting[RPC_FRAMES_WAITING_MAX];
    size_t first;
    uint64_t n_written, moved_ms;
    uint64_t n_graphs_done, graph_end, graph_ms;
    bool graph_written;
};

/* ---- public ---- */

void rpc_frames_init(struct rpc_frames *f);

/* The next bytes of a direction, in pieces of any size. buf: borrowed. now_ms: any clock that does not go back. */
void rpc_frames_request(struct rpc_frames *f, const void *buf, size_t n_bytes, uint64_t now_ms);
void rpc_frames_answer(struct rpc_frames *f, const void *buf, size_t n_bytes, uint64_t now_ms);
/* The worker's socket took that many more of the request bytes; said before any answer to them is fed. */
void rpc_frames_written(struct rpc_frames *f, uint64_t n_bytes, uint64_t now_ms);

void rpc_frames_figures(const struct rpc_frames *f, uint64_t now_ms, struct rpc_figures *ret);

/* Whether somebody between the two may answer the next SET_TENSOR_HASH in the worker's place: the stream is understood, of a
 * version in which that is a question as it was seen and SET_TENSOR has no answer, no command waits for its own, and the last
 * one is whole. */
bool rpc_frames_may_answer(const struct rpc_frames *f);

/* "GET_TENSOR"; "unknown". Of the version that has a table. */
const char *rpc_command_name(uint8_t command);
/* A word for metrics, "no_hello", shorter than PROTO_WORD_MAX, and a few for a person; both "" for RPC_BLIND_NOT. */
const char *rpc_blind_name(enum rpc_blind why);
const char *rpc_blind_text(enum rpc_blind why);

#endif
