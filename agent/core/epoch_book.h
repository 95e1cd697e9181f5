/* The newest epoch of each instance that this node has seen, and how far it got here. Bounded; the one that was not
 * spoken of for the longest time is forgotten first, but only if it is over. A plain value. */
#ifndef CARAVAN_AGENT_CORE_EPOCH_BOOK_H
#define CARAVAN_AGENT_CORE_EPOCH_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/agent.h"

enum epoch_state {
    EPOCH_OVER,     /* stopped, refused, or only heard of: never obeyed again */
    EPOCH_WRITING,  /* on its way to disk; nothing is done for it yet */
    EPOCH_CLEARING, /* on disk; older epochs of the instance are being ended here */
    EPOCH_LIVE,     /* leased */
    EPOCH_ENDING    /* a stop is under way */
};

struct epoch {
    struct id128 instance;
    uint64_t epoch;
    enum epoch_state state;
    uint64_t token;             /* WRITING, OVER: the write awaited */
    bool unwritten;             /* OVER: the disk, which did not take it, may still say otherwise */
    uint64_t bytes, host_bytes; /* WRITING, CLEARING: the lease wanted, and how much of it is host memory */
    uint64_t used;              /* when it was last entered, by the book's own count */
};

struct epoch_book {
    size_t n;
    uint64_t count;
    struct epoch epoch[AGENT_EPOCHS_MAX];
};

struct epoch *epoch_book_find(struct epoch_book *b, const struct id128 *instance);

/* The instance's entry, new (OVER, epoch 0) where there was none; now the last one to be forgotten. NULL: the book is
 * full of epochs that are not over. */
struct epoch *epoch_book_enter(struct epoch_book *b, const struct id128 *instance);

#endif
