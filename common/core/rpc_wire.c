#include "common/core/rpc_wire.h"

#include <string.h>

#include "common/core/le.h"

enum { CMD_GET_DEVICE_MEMORY = 11, CMD_HELLO = 14, CMD_DEVICE_COUNT = 15 };
enum { LENGTH_BYTES = 8, HELLO_BYTES = 24, HELLO_REPLY_BYTES = 28, HELLO_OLD_REPLY_BYTES = 3 };
enum { KNOWN_MAJOR = 8 };

static size_t request(uint8_t *buf, uint8_t command, const void *data, size_t n_bytes)
{
    buf[0] = command;
    le_put(buf + 1, LENGTH_BYTES, n_bytes);
    if (n_bytes)
        memcpy(buf + 1 + LENGTH_BYTES, data, n_bytes);
    return 1 + LENGTH_BYTES + n_bytes;
}

size_t rpc_hello(uint8_t buf[RPC_REQUEST_MAX])
{
    static const uint8_t capabilities[HELLO_BYTES]; /* none: plain TCP */

    return request(buf, CMD_HELLO, capabilities, sizeof(capabilities));
}

size_t rpc_hello_without_data(uint8_t buf[RPC_REQUEST_MAX])
{
    return request(buf, CMD_HELLO, NULL, 0);
}

size_t rpc_device_count(uint8_t buf[RPC_REQUEST_MAX])
{
    return request(buf, CMD_DEVICE_COUNT, NULL, 0);
}

size_t rpc_device_memory(uint8_t buf[RPC_REQUEST_MAX], uint32_t device)
{
    uint8_t data[4];

    le_put(data, sizeof(data), device);
    return request(buf, CMD_GET_DEVICE_MEMORY, data, sizeof(data));
}

int rpc_reply_feed(struct rpc_reply *reply, const void *buf, size_t n_bytes)
{
    const uint8_t *p = buf;

    for (size_t i = 0; i < n_bytes; i++) {
        size_t at = reply->n_seen;

        if (at < LENGTH_BYTES)
            reply->n_bytes |= (uint64_t)p[i] << (8 * at);
        else if (at - LENGTH_BYTES < reply->n_bytes)
            reply->data[at - LENGTH_BYTES] = p[i];
        else
            return RPC_E_MALFORMED;
        reply->n_seen++;
        if (reply->n_seen == LENGTH_BYTES && reply->n_bytes > RPC_REPLY_MAX)
            return RPC_E_MALFORMED;
    }
    return reply->n_seen < LENGTH_BYTES || reply->n_seen - LENGTH_BYTES < reply->n_bytes ? RPC_E_MORE : 0;
}

bool rpc_hello_answer(const struct rpc_reply *reply, struct rpc_version *ret)
{
    if (reply->n_bytes != HELLO_REPLY_BYTES && reply->n_bytes != HELLO_OLD_REPLY_BYTES)
        return false;
    *ret = (struct rpc_version){reply->data[0], reply->data[1], reply->data[2]};
    return ret->major || ret->minor || ret->patch;
}

bool rpc_device_count_answer(const struct rpc_reply *reply, uint32_t *ret)
{
    if (reply->n_bytes != 4)
        return false;
    *ret = (uint32_t)le_get(reply->data, 4);
    return *ret > 0 && *ret <= RPC_DEVICES_MAX;
}

bool rpc_device_memory_answer(const struct rpc_reply *reply, uint64_t *ret_free_bytes, uint64_t *ret_total_bytes)
{
    if (reply->n_bytes != 16)
        return false;
    *ret_free_bytes = le_get(reply->data, 8);
    *ret_total_bytes = le_get(reply->data + 8, 8);
    return true;
}

bool rpc_compatible(const struct rpc_version *client, const struct rpc_version *server)
{
    return client->major == server->major && server->minor <= client->minor;
}

bool rpc_dialect_known(const struct rpc_version *server)
{
    return server->major == KNOWN_MAJOR;
}
