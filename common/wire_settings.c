#include "common/wire_settings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "common/core/err.h"
#include "common/core/protocol.h"
#include "common/wire.h"

int wire_set_ints(void *socket, const struct wire_int_option *option, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (zmq_setsockopt(socket, option[i].name, &option[i].value, sizeof(option[i].value)) < 0)
            return err_raise(-errno);
    return 0;
}

int wire_set_common(void *socket)
{
    static const struct wire_int_option common[] = {
        {ZMQ_LINGER, 0}, /* what cannot be sent at once has no reader: closing never waits */
        {ZMQ_SNDHWM, WIRE_QUEUE_MAX},
        {ZMQ_RCVHWM, WIRE_QUEUE_MAX},
        {ZMQ_HANDSHAKE_IVL, WIRE_HANDSHAKE_MS},
        {ZMQ_HEARTBEAT_IVL, WIRE_HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, WIRE_HEARTBEAT_TIMEOUT_MS},
        {ZMQ_HEARTBEAT_TTL, WIRE_HEARTBEAT_TTL_MS},
    };
    /* libzmq closes the connection of a peer that announces more. It counts the sealed form: 33 bytes longer. */
    const int64_t max_bytes = PROTO_MESSAGE_MAX + 33;
    int r;

    r = wire_set_ints(socket, common, sizeof(common) / sizeof(common[0]));
    if (r < 0)
        return err_pass(r);
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof(max_bytes)) < 0)
        return err_raise(-errno);
    return 0;
}

int wire_endpoint(const char *addr, uint16_t port, char buf[WIRE_ENDPOINT_MAX])
{
    struct in6_addr v6;
    struct in_addr v4;
    char port_text[8] = "*";

    if (port)
        snprintf(port_text, sizeof(port_text), "%u", port);
    if (strcmp(addr, "*") == 0 || inet_pton(AF_INET, addr, &v4) == 1)
        snprintf(buf, WIRE_ENDPOINT_MAX, "tcp://%s:%s", addr, port_text);
    else if (inet_pton(AF_INET6, addr, &v6) == 1)
        snprintf(buf, WIRE_ENDPOINT_MAX, "tcp://[%s]:%s", addr, port_text);
    else
        return WIRE_E_BAD_ADDR;
    return 0;
}

bool wire_endpoint_needs_ipv6(const char *addr)
{
    return strchr(addr, ':') || strcmp(addr, "*") == 0;
}

int wire_receive_single(void *socket, void *ret_msg)
{
    int n_frames = 0;
    int more;

    do {
        zmq_msg_init(ret_msg);
        if (zmq_msg_recv(ret_msg, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(ret_msg);
            return n_frames ? -1 : 0;
        }
        n_frames++;
        more = zmq_msg_more(ret_msg);
        if (more || n_frames > 1)
            zmq_msg_close(ret_msg);
    } while (more);
    return n_frames == 1 ? 1 : -1;
}
