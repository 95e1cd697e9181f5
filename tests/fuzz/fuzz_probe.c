/* An rpc-server that says anything, in pieces of any size: the talk ends, and what it believes is within bounds. */
#include <string.h>

#include "agent/probe_talk.h"
#include "tests/fuzz/support.h"

static bool goes_on(struct probe_talk *t)
{
    uint8_t request[RPC_REQUEST_MAX];
    size_t n = probe_talk_request(t, request);

    FUZZ_CHECK(n >= 9 && n <= sizeof(request));
    return true;
}

/* The reply's pieces; false: the talk is over. */
static bool feed(struct probe_talk *t, const uint8_t *data, size_t n)
{
    switch (probe_talk_feed(t, data, n)) {
    case PROBE_TALK_MORE:
        return true;
    case PROBE_TALK_NEXT:
        return goes_on(t);
    }
    return false;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    static const struct rpc_version mine = {8, 0, 0};
    struct probe_talk t = {.step = PROBE_HELLO};
    bool open = goes_on(&t);

    /* first byte: how long the next piece is; 0: it hangs up */
    for (size_t at = 0; open && at < size;) {
        size_t n = data[at] < size - at - 1 ? data[at] : size - at - 1;

        at++;
        open = n ? feed(&t, data + at, n) : probe_talk_closed(&t) && goes_on(&t);
        at += n;
    }
    FUZZ_CHECK(t.result.n_devices <= PROTO_DEVICES_MAX);
    FUZZ_CHECK(t.result.ok || !t.result.rpc.major || open);
    FUZZ_CHECK(!rpc_compatible(&mine, &t.result.rpc) || rpc_dialect_known(&t.result.rpc));
}
