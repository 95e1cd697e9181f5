/* The wire format of llama.cpp's rpc-server, as far as asking one who it is takes. Pure.
 *
 * Request: u8 command, u64 little-endian length, data. Reply: u64 length, data. Measured on 8.0.0 (ggml 0.27). Others:
 * up to 7.x and in forks HELLO has no data and its reply is the three bytes of the version; the oldest have no HELLO
 * and close the connection. */
#ifndef CARAVAN_COMMON_CORE_RPC_WIRE_H
#define CARAVAN_COMMON_CORE_RPC_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

/* llama.cpp's HASH_THRESHOLD: a tensor of more is asked for by its hash before it is sent. */
enum { RPC_HASHED_OVER_BYTES = 10 * 1024 * 1024 };

enum { RPC_REQUEST_MAX = 64, RPC_REPLY_MAX = 64, RPC_DEVICES_MAX = 64 };

/* Each writes one request and returns its length. */
size_t rpc_hello(uint8_t buf[RPC_REQUEST_MAX]);
size_t rpc_hello_without_data(uint8_t buf[RPC_REQUEST_MAX]); /* for other dialects; 8.0.0 closes the connection */
size_t rpc_device_count(uint8_t buf[RPC_REQUEST_MAX]);
size_t rpc_device_memory(uint8_t buf[RPC_REQUEST_MAX], uint32_t device);

/* A reply as it comes in. Zeroed before the first byte of each. */
struct rpc_reply {
    size_t n_seen; /* of length and data together */
    uint64_t n_bytes;
    uint8_t data[RPC_REPLY_MAX];
};

enum { RPC_E_MORE = 1, RPC_E_MALFORMED /* too long for any answer to these requests, or bytes after it */ };

/* Takes the next bytes, in whatever pieces they come. 0: complete. */
int rpc_reply_feed(struct rpc_reply *reply, const void *buf, size_t n_bytes);

/* Of complete replies. false: not what this request is answered with. */
bool rpc_hello_answer(const struct rpc_reply *reply, struct rpc_version *ret);
bool rpc_device_count_answer(const struct rpc_reply *reply, uint32_t *ret); /* 1..RPC_DEVICES_MAX */
bool rpc_device_memory_answer(const struct rpc_reply *reply, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes);

/* The same major, and a server that is not newer within it. */
bool rpc_compatible(const struct rpc_version *client, const struct rpc_version *server);
/* Whether rpc_device_count and rpc_device_memory mean there what they mean here. */
bool rpc_dialect_known(const struct rpc_version *server);

#endif
