/* What llama-server says in its log (-lv 4) that Caravan acts on: buffer sizes per rank and device, "model loaded",
 * "listening on", and errors - those that another try may cure apart from those that it cannot. Pure: fed with bytes in
 * any pieces, bounded in memory, allocates nothing. Lines that it does not know are skipped, so that a new release
 * of llama.cpp costs at worst a missing figure. Nothing in it trusts a number or a length that the log gives.
 *
 * llama.cpp names every remote buffer RPCn[ip:port] where n is the index of the device within that endpoint, not the
 * rank: with one device per worker all ranks print RPC0. Who it is says ip:port alone. */
#ifndef CARAVAN_COMMON_CORE_COORDINATOR_LOG_H
#define CARAVAN_COMMON_CORE_COORDINATOR_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum {
    COORDINATOR_LOG_LINE_MAX = 1024, /* of a longer line the rest is skipped */
    COORDINATOR_LOG_ERRORS_MAX = 4,  /* the last ones are kept */
    COORDINATOR_LOG_BUFFERS_MAX = PROTO_RANKS_MAX * 2 + 1
};

/* What one piece brought; a set of bits. */
enum {
    COORDINATOR_LOG_LOADING = 1,   /* the first model buffer: it found its devices and begins to load */
    COORDINATOR_LOG_BUFFERS = 2,   /* a figure in buffers changed */
    COORDINATOR_LOG_LOADED = 4,    /* all buffers are known */
    COORDINATOR_LOG_LISTENING = 8, /* it says so; that it answers is for /health to prove */
    COORDINATOR_LOG_ERROR = 16
};

enum coordinator_error {
    COORDINATOR_ERROR_NONE,
    COORDINATOR_ERROR_MAY_PASS, /* a port taken, a worker gone, memory short: the next epoch may do better */
    COORDINATOR_ERROR_FILE,     /* the rest cannot change by trying again: the file is damaged, */
    COORDINATOR_ERROR_MODEL,    /* this build does not know the model's kind, */
    COORDINATOR_ERROR_FLAG      /* or does not take an argument */
};

struct coordinator_log {
    size_t n_buffers;
    /* endpoint "ip:port" and device index; a local device under its own name ("CUDA0"); empty: host memory (CPU,
     * CPU_Mapped, CUDA_Host, ...). Output buffers are not counted: they are the host's, below 1 MiB. */
    struct rank_buffers buffers[COORDINATOR_LOG_BUFFERS_MAX];
    uint32_t n_dropped;    /* buffer lines beyond that bound */
    uint32_t sched_copies; /* 0: not seen */
    bool loading, loaded, listening;
    enum coordinator_error error; /* the gravest kind so far */
    size_t n_errors;
    char errors[COORDINATOR_LOG_ERRORS_MAX][PROTO_TEXT_MAX]; /* the last ones, oldest first */
    char final[PROTO_TEXT_MAX];                              /* the first one that cannot change; empty: none */
    size_t line_used;
    char line[COORDINATOR_LOG_LINE_MAX];
};

void coordinator_log_init(struct coordinator_log *l);

/* Returns what came out of these bytes. Buffers are final once the model is loaded: what a prompt or template makes it
 * print later is not taken for one. */
unsigned coordinator_log_feed(struct coordinator_log *l, const void *bytes, size_t n_bytes);

/* There is no more: the unfinished last line counts too. */
unsigned coordinator_log_end(struct coordinator_log *l);

/* The one line that says best why it ended, without time and level; "" where it named no error. Borrowed. */
const char *coordinator_log_cause(const struct coordinator_log *l);

/* Judges one line, or a sentence that quotes it (an exit event's text): what the leader asks. */
enum coordinator_error coordinator_error_of(const char *line);
bool coordinator_error_is_final(enum coordinator_error e);
const char *coordinator_error_name(enum coordinator_error e); /* "none", "coordinator_failed", "bad_file", ... */

#endif
