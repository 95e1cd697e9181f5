/* What a carrier knows of its streams, in a file that it maps and its agent reads: STATE_DIR/units/ID/figures. One writes, any
 * number read, nobody waits for the other; it outlives both, and is of one boot.
 *
 * Whoever reads finds out by a sum over all of it whether that is whole, half written, or damaged. A lock in the mapping
 * would do for the first two; but a mapping of a file that somebody cuts short ends its reader by a signal. */
#ifndef CARAVAN_AGENT_CARRIER_FIGURES_H
#define CARAVAN_AGENT_CARRIER_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "common/core/tunnel_claim.h"

enum { FIGURES_EVERY_MS = 250 /* the carrier writes, while it has streams; ages are as of then */ };

struct figures {
    uint64_t written_ms; /* CLOCK_MONOTONIC of this boot */
    uint64_t n_accepted, n_dialled, n_half_open_dropped;
    uint64_t n_refused[TUNNEL_VERDICT_N]; /* handshakes, by what they were told */
    uint64_t n_bad_handshakes;            /* no peer of ours, changed bytes, or too slow */
    uint64_t n_forged, n_cut;             /* streams that ended so */
    size_t n_flows;
    struct rank_flow flow[PROTO_RANKS_MAX + 1];
};

struct figures_writer;
/* Makes the file anew; one of that name is replaced, and goes on for who has it open. ret: owned. 0 or negative errno. */
int figures_create(const char *path, struct figures_writer **ret);
void figures_write(struct figures_writer *w, const struct figures *f);
void figures_writer_destroy(struct figures_writer **w);

struct figures_reader;
/* 0; negative errno, also where the file is not one of ours. */
int figures_open(const char *path, struct figures_reader **ret);
/* false: nothing whole was written yet, or what is there is out of its bounds; *ret is as it was. */
bool figures_read(struct figures_reader *r, struct figures *ret);
void figures_reader_destroy(struct figures_reader **r);

#endif
