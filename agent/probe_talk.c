#include "agent/probe_talk.h"

#include <stdio.h>

size_t probe_talk_request(struct probe_talk *t, uint8_t buf[RPC_REQUEST_MAX])
{
    t->reply = (struct rpc_reply){0};
    switch (t->step) {
    case PROBE_HELLO:
        return rpc_hello(buf);
    case PROBE_HELLO_OLD:
        return rpc_hello_without_data(buf);
    case PROBE_COUNT:
        return rpc_device_count(buf);
    case PROBE_MEMORY:
        break;
    }
    return rpc_device_memory(buf, t->device);
}

static int fail(struct probe_talk *t, const char *text)
{
    t->result = (struct probe_result){.ok = false};
    snprintf(t->result.text, sizeof(t->result.text), "%s", text);
    return PROBE_TALK_DONE;
}

static int take_hello(struct probe_talk *t)
{
    if (!rpc_hello_answer(&t->reply, &t->result.rpc))
        return fail(t, "its answer to HELLO is not one of an rpc-server");
    t->result.ok = true;
    t->step = PROBE_COUNT;
    return rpc_dialect_known(&t->result.rpc) ? PROBE_TALK_NEXT : PROBE_TALK_DONE;
}

static int take_count(struct probe_talk *t)
{
    uint32_t n;

    if (!rpc_device_count_answer(&t->reply, &n))
        return fail(t, "its device count makes no sense");
    t->result.n_devices = n < PROTO_DEVICES_MAX ? n : PROTO_DEVICES_MAX;
    t->step = PROBE_MEMORY;
    return PROBE_TALK_NEXT;
}

static int take_memory(struct probe_talk *t)
{
    struct probe_result *r = &t->result;

    if (!rpc_device_memory_answer(&t->reply, &r->free_bytes[t->device], &r->total_bytes[t->device]))
        return fail(t, "its device memory makes no sense");
    t->device++;
    return t->device == r->n_devices ? PROBE_TALK_DONE : PROBE_TALK_NEXT;
}

int probe_talk_feed(struct probe_talk *t, const void *buf, size_t n_bytes)
{
    int r = rpc_reply_feed(&t->reply, buf, n_bytes);

    if (r == RPC_E_MALFORMED)
        return fail(t, "its answer is not one of an rpc-server");
    if (r == RPC_E_MORE)
        return PROBE_TALK_MORE;
    switch (t->step) {
    case PROBE_HELLO:
    case PROBE_HELLO_OLD:
        return take_hello(t);
    case PROBE_COUNT:
        return take_count(t);
    case PROBE_MEMORY:
        break;
    }
    return take_memory(t);
}

bool probe_talk_closed(struct probe_talk *t)
{
    if (t->step == PROBE_HELLO && !t->reply.n_seen) {
        t->step = PROBE_HELLO_OLD;
        return true;
    }
    fail(t, "it closed the connection: no rpc-server of a known protocol");
    return false;
}
