/* The llama.cpp of this node: where its programs are, which build it is, which flags it has, which devices it sees. */
#ifndef CARAVAN_AGENT_LLAMA_H
#define CARAVAN_AGENT_LLAMA_H

#include <stdbool.h>
#include <stddef.h>

#include "common/core/protocol.h"

/* Flags of llama-server that Caravan would pass; in the order of the table in llama.c. */
enum llama_flag {
    LLAMA_MODEL,
    LLAMA_RPC,
    LLAMA_DEVICE,
    LLAMA_TENSOR_SPLIT,
    LLAMA_GPU_LAYERS,
    LLAMA_SPLIT_MODE,
    LLAMA_CTX,
    LLAMA_PARALLEL,
    LLAMA_BATCH,
    LLAMA_UBATCH,
    LLAMA_CACHE_K,
    LLAMA_CACHE_V,
    LLAMA_FLASH_ATTN,
    LLAMA_HOST,
    LLAMA_PORT,
    LLAMA_ALIAS,
    LLAMA_API_KEY_FILE,
    LLAMA_VERBOSITY,
    /* those above are needed, those below are passed where they are there */
    LLAMA_FIT,
    LLAMA_CACHE_RAM,
    LLAMA_CTX_CHECKPOINTS,
    LLAMA_THREADS_HTTP,
    LLAMA_METRICS,
    LLAMA_SLOTS,
    LLAMA_SSE_PING,
    LLAMA_NO_WEBUI,
    LLAMA_NO_WARMUP,
    LLAMA_LOG_COLORS,
    LLAMA_FLAG_N
};

const char *llama_flag_name(enum llama_flag f); /* as it is passed: "-ts" */

struct llama {
    char server[PROTO_PATH_MAX], rpc_server[PROTO_PATH_MAX]; /* empty: not found */
    char build[PROTO_NAME_MAX];                              /* "b11669-0.7.0"; empty: not known */
    char problem[PROTO_TEXT_MAX];                            /* why nothing can be run; empty: all is well */
    bool has[LLAMA_FLAG_N];
    size_t n_devices; /* of `llama-server --list-devices`; 0: the CPU alone */
    struct device_facts device[PROTO_DEVICES_MAX];
};

/* Looks in dir (`llama_dir =`, NULL: none), else along PATH and where Debian puts rpc-server; asks what it finds, which
 * takes some ten milliseconds, at most 30 s. What is missing is said in problem. 0 or negative errno. */
int llama_find(const char *dir, struct llama *ret);

/* Pure: the build out of what --version said, and the flags out of --help. */
void llama_parse_version(const char *text, char *ret, size_t size);
void llama_parse_help(const char *text, bool has[LLAMA_FLAG_N]);

#endif
