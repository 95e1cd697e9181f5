/* Request bodies that were in flight when a coordinator aborted, and those that are refused for it. Known by their hash, so
 * that a client which leaves and asks again is the same suspect. Bounded: the oldest gives way. Source: design, "Gateway". */
#ifndef CARAVAN_CONTROLLER_CORE_SUSPECTS_H
#define CARAVAN_CONTROLLER_CORE_SUSPECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/ids.h"

struct suspect {
    struct id128 body;
    struct id128 instance;
    uint64_t first_epoch, epoch; /* of the first and of the last abort that it was in flight at */
    uint32_t aborts;
    uint64_t reached_bytes; /* how far its answer had come when it was interrupted, at most */
    uint64_t until_ms;      /* forgotten from then on */
    bool refused;
};

struct suspects;

/* keep_ms: how long a body is remembered after the last abort, and refused once it is. 0, -ENOMEM. */
int suspects_new(size_t max, uint64_t keep_ms, struct suspects **ret);
void suspects_destroy(struct suspects **s);

/* borrowed, until the next call that takes a struct suspects not const; NULL: it is none. */
const struct suspect *suspects_find(const struct suspects *s, const struct id128 *body, uint64_t now_ms);
/* It was in flight when this epoch aborted, and so far was its answer. Counted once for an epoch. borrowed */
const struct suspect *suspects_add(struct suspects *s, const struct id128 *body, const struct id128 *instance,
                                   uint64_t epoch, uint64_t reached_bytes, uint64_t now_ms);
/* It was answered. */
void suspects_clear(struct suspects *s, const struct id128 *body);
/* It was found: refused for keep_ms. Whoever was in flight with it at the first abort is a suspect no more. */
void suspects_convict(struct suspects *s, const struct id128 *body, uint64_t now_ms);
/* That epoch ended for another reason. */
void suspects_forgive(struct suspects *s, const struct id128 *instance, uint64_t epoch);
bool suspects_none(const struct suspects *s);
/* Another one after each change but that by time: who is a suspect is worth looking up again. */
uint64_t suspects_version(const struct suspects *s);

#endif
