/* What tells of the rank connections: a datagram of sock_diag, and a coordinator's command line. First byte: which of the
 * two is cut where. */
#include <string.h>

#include "agent/rank_sockets.h"
#include "common/sock_diag.h"
#include "tests/fuzz/support.h"

static void take(void *ctx, const struct procfs_socket *s)
{
    FUZZ_CHECK(s->any == procfs_end_is_any(&s->local));
    rank_sockets_take(ctx, s);
}

/* The same table, sample after sample. Aligned, as from malloc. */
static void sample(struct rank_sockets *r, const uint8_t *data, size_t n, bool listening)
{
    char *copy = malloc(n ? n : 1);
    struct rank_figures figures;

    if (!copy)
        return;
    memcpy(copy, data, n);
    for (int i = 0; i < 5; i++) {
        rank_sockets_begin(r);
        if (i < 3) /* then all of them are gone */
            sock_diag_read(copy, n, take, r);
        rank_sockets_end(r, listening, &figures);
        FUZZ_CHECK(figures.closed_streams <= PROTO_RANKS_MAX * RANK_STREAMS_MAX);
        rank_sockets_need_left(r);
    }
    free(copy);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct rank_sockets r;
    size_t n_cmdline;

    if (!size)
        return;
    n_cmdline = data[0] < size - 1 ? data[0] : size - 1;
    rank_sockets_of_coordinator(&r, (const char *)data + 1, n_cmdline);
    FUZZ_CHECK(r.n_endpoints <= PROTO_RANKS_MAX);
    rank_sockets_need_v6(&r);
    sample(&r, data + 1 + n_cmdline, size - 1 - n_cmdline, true);
    sample(&r, data + 1 + n_cmdline, size - 1 - n_cmdline, false);
    if (rank_sockets_of_worker(&r, data[0] & 1 ? "10.0.0.1" : "fd00::1", 20052))
        sample(&r, data + 1 + n_cmdline, size - 1 - n_cmdline, true);
    FUZZ_CHECK(!rank_sockets_of_worker(&r, "x", 1));
}
