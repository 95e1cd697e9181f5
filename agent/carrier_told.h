/* What a carrier tells of its ranks, sample after sample; and where that cannot be had, that it cannot. A rank of which nothing
 * is said would be taken for one that is as it was said last. */
#ifndef CARAVAN_AGENT_CARRIER_TOLD_H
#define CARAVAN_AGENT_CARRIER_TOLD_H

#include <stddef.h>
#include <stdint.h>

#include "agent/carrier/control.h"
#include "agent/carrier/figures.h"
#include "common/core/protocol.h"
#include "common/seldom.h"

/* All zero at first. */
struct carrier_told {
    struct figures_reader *reader; /* NULL: not there yet */
    const char *why;               /* they are not read, as was said last: static; NULL: they are */
    struct seldom said;
};
void carrier_told_clear(struct carrier_told *f);

/* Of a carrier that is late the flows are those that it told last, without what waits in them, and `blind` says "stale". Of one
 * of another build they cannot be read; nor can a file that is damaged, or that cannot be opened though it is there. Either is said when it begins. path: of the file; unit: whose
 * it is, for log lines. now_ms: CLOCK_MONOTONIC. *ret is as it was where there is nothing to be had. */
enum {
    CARRIER_TOLD_E_NONE = 1, /* nothing is there yet */
    CARRIER_TOLD_E_UNREAD
};
int carrier_told_read(struct carrier_told *f, const char *path, const char *unit, uint64_t now_ms, struct figures *ret);

/* What is told of each rank of a carrier that cannot be read: nothing but that, `blind` says "figures". of: the unit that it is
 * for, a worker or a coordinator; routes: what it has answered for a coordinator. */
void carrier_told_unread(const struct unit_facts *of, const struct control_answer *routes, struct figures *ret);

#endif
