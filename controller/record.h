/* What the core wants kept (struct record) as rows of the store, and back. Values are JSON; a key that a later version
 * added is passed over, so that going back one version does not lose the store. */
#ifndef CARAVAN_CONTROLLER_RECORD_H
#define CARAVAN_CONTROLLER_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "controller/core/cluster.h"
#include "controller/store.h"

enum { RECORD_E_INVALID = 1 /* why says what */, RECORD_E_IGNORED /* an audit row, or a kind of a later version */ };

/* audit_seq: tells audit rows of one millisecond apart. ret: its value is owned by the caller. 0, -ENOMEM. */
int record_to_store(const struct record *r, uint32_t audit_seq, struct store_record *ret);
/* s: borrowed. ret: owned (record_clear). 0, RECORD_E_*, -ENOMEM. */
int record_from_store(const struct store_record *s, struct record *ret, char *why, size_t why_size);

#endif
