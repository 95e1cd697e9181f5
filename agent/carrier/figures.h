/* What a carrier knows of its streams, in a file that it writes and its agent reads: STATE_DIR/units/ID/figures. One writes,
 * any number read, neither locks the other out; it outlives both, and is of one boot.
 *
 * Whoever reads finds out by a sum over all of it whether that is whole, half written, or damaged. Neither of them maps it:
 * a store to a mapping for which the disk has no room (one that copies on write needs room for every write), and a read of
 * one that somebody has cut short, end the process by a signal; a call says what failed.
 *
 * It is written into the page cache, by the thread that carries: where the page is on its way to a disk that wants it to stand
 * still meanwhile, that thread waits for the disk. It is not written while nothing changes, which also lets a disk sleep beside
 * an instance that waits for work. Each time says by when the next one comes: one that does not keep that has been stopped,
 * or cannot go on. */
#ifndef CARAVAN_AGENT_CARRIER_FIGURES_H
#define CARAVAN_AGENT_CARRIER_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "common/core/tunnel_claim.h"

enum {
    FIGURES_EVERY_MS = 250, /* the carrier looks, while it has streams; ages are as of then */
    FIGURES_LATE_MS = 2000  /* what has changed is followed by another one within */
};

struct figures {
    uint64_t due_ms; /* CLOCK_MONOTONIC of this boot: the next one comes before; 0: when something changes */
    uint64_t n_accepted, n_dialled;
    uint64_t n_unreached; /* streams that were begun, and their other side could not be had */
    /* Who was turned away: */
    uint64_t n_refused[TUNNEL_VERDICT_N]; /* handshakes, by what they were told */
    uint64_t n_bad_handshakes;            /* no peer of ours, changed bytes, another version, or too slow */
    uint64_t n_half_open_dropped;
    uint64_t n_strangers;     /* other users of this machine, at a rank's port or the control socket */
    uint64_t n_without_room;  /* for a stream more */
    uint64_t n_forged, n_cut; /* streams that ended so */
    size_t n_flows;
    struct rank_flow flow[PROTO_RANKS_MAX + 1];
};

/* What "refused" is wherever it is told: connections that this carrier has turned away, at its door, at its ranks' ports and at
 * its control socket. Not who left by himself (tunnel_end.h), nor a stream that stood, however it ended. */
uint64_t figures_refused(const struct figures *f);

struct figures_writer;
/* Makes the file anew; one of that name is replaced, and goes on for who has it open. ret: owned. 0 or negative errno. */
int figures_create(const char *path, struct figures_writer **ret);
/* 0; negative errno, such as -ENOSPC: what was written before is there, whole or not, until a later one succeeds. */
int figures_write(struct figures_writer *w, const struct figures *f);
void figures_writer_destroy(struct figures_writer **w);

enum {
    FIGURES_E_NONE = 1, /* nothing whole was written yet */
    FIGURES_E_LATE,     /* *ret is what was written last; more should have come by now */
    FIGURES_E_FOREIGN   /* of another build of the carrier, which has other fields; damaged */
};
struct figures_reader;
/* 0; FIGURES_E_FOREIGN; negative errno. */
int figures_open(const char *path, struct figures_reader **ret);
/* now_ms: CLOCK_MONOTONIC. 0; FIGURES_E_...; negative errno. *ret is as it was where there is nothing to be had. */
int figures_read(struct figures_reader *r, uint64_t now_ms, struct figures *ret);
void figures_reader_destroy(struct figures_reader **r);

#endif
