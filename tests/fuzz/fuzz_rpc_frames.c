/* Both directions of a rank's stream, saying anything: the figures stay within what was fed, and are the same in whatever
 * pieces it came. First byte of each piece: bit 0: an answer; bit 1: the worker takes what is held; the rest: its length. */
#include <string.h>

#include "common/core/rpc_frames.h"
#include "tests/fuzz/support.h"

/* Each piece to one of them as it is, to the other byte by byte. */
static void take_piece(struct rpc_frames *whole, struct rpc_frames *bytes, uint8_t how, const uint8_t *p, size_t n,
                       uint64_t now_ms)
{
    void (*take)(struct rpc_frames *, const void *, size_t, uint64_t) =
        how & 1 ? rpc_frames_answer : rpc_frames_request;

    take(whole, p, n, now_ms);
    for (size_t i = 0; i < n; i++)
        take(bytes, p + i, 1, now_ms);
    if (!(how & 2))
        return;
    rpc_frames_written(whole, UINT64_MAX, now_ms);
    rpc_frames_written(bytes, UINT64_MAX, now_ms);
}

static void check(const struct rpc_figures *v)
{
    FUZZ_CHECK(v->n_waiting <= RPC_FRAMES_WAITING_MAX);
    FUZZ_CHECK(!v->oldest == !v->n_waiting);
    FUZZ_CHECK(v->n_held_bytes <= v->request.n_bytes);
    FUZZ_CHECK(v->n_tensor_bytes <= v->request.n_bytes);
    FUZZ_CHECK(v->n_graphs_open <= v->n_graphs);
    FUZZ_CHECK(v->n_hash_known <= v->n_hash_asked);
    FUZZ_CHECK(v->n_round_trips <= v->answer.n_frames && v->answer.n_frames <= v->request.n_frames);
    FUZZ_CHECK(!v->why == !*rpc_blind_text(v->why));
    FUZZ_CHECK(!v->why || (!v->n_waiting && !v->n_graphs_open));
    FUZZ_CHECK(*rpc_command_name(v->odd_command));
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct rpc_frames whole, bytes;
    struct rpc_figures a, b;
    uint64_t now_ms = 1;

    rpc_frames_init(&whole);
    rpc_frames_init(&bytes);
    for (size_t at = 0; at < size; now_ms += 10) {
        uint8_t how = data[at++];
        size_t n = how >> 2 < size - at ? how >> 2 : size - at;

        take_piece(&whole, &bytes, how, data + at, n, now_ms);
        at += n;
        memset(&a, 0, sizeof(a)); /* with what lies between the fields */
        memset(&b, 0, sizeof(b));
        rpc_frames_figures(&whole, now_ms, &a);
        rpc_frames_figures(&bytes, now_ms, &b);
        check(&a);
        FUZZ_CHECK(memcmp(&a, &b, sizeof(a)) == 0);
    }
}
