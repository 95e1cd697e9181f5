/* What a probe and an rpc-server say to each other, without the socket between them. Pure: bytes in, the next request or the
 * result out; nothing that the server says is believed before it was checked. */
#ifndef CARAVAN_AGENT_PROBE_TALK_H
#define CARAVAN_AGENT_PROBE_TALK_H

#include "agent/probe.h"
#include "common/core/rpc_wire.h"

enum probe_step { PROBE_HELLO, PROBE_HELLO_OLD, PROBE_COUNT, PROBE_MEMORY };

/* Zeroed before the first request. */
struct probe_talk {
    enum probe_step step;
    uint32_t device;
    struct rpc_reply reply;
    struct probe_result result;
};

enum {
    PROBE_TALK_MORE = 1, /* the reply is not whole yet */
    PROBE_TALK_NEXT,     /* it is: probe_talk_request has the next question */
    PROBE_TALK_DONE      /* result holds all there is to know, or its text why the talk is over */
};

/* Writes what is to be said now and awaits its reply. Returns the length. */
size_t probe_talk_request(struct probe_talk *t, uint8_t buf[RPC_REQUEST_MAX]);
/* The next bytes of the reply, in whatever pieces they come. PROBE_TALK_*. */
int probe_talk_feed(struct probe_talk *t, const void *buf, size_t n_bytes);
/* The server closed the connection in good order. true: it may speak another dialect, the talk begins anew on a new
 * connection. false: it is over, result says why. */
bool probe_talk_closed(struct probe_talk *t);

#endif
