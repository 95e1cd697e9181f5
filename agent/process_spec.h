/* A unit's `spec` file: what it is, in lines of key=value, so that the next agent knows what it adopts. Pure. */
#ifndef CARAVAN_AGENT_PROCESS_SPEC_H
#define CARAVAN_AGENT_PROCESS_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "common/core/protocol.h"

enum { PROCESS_SPEC_TEXT_MAX = 2048 };

/* Returns the length, without the NUL that is there too. */
size_t process_spec_format(const struct unit_facts *unit, char buf[PROCESS_SPEC_TEXT_MAX]);

/* Unknown keys are passed over. *ret is zeroed but for what the spec says. false: another version, or malformed. */
bool process_spec_parse(const char *text, size_t n_bytes, struct unit_facts *ret);

/* What may be a unit's id, and so the name of its directory: letters, digits, '-', '_', '.', not first. */
bool process_id_valid(const char *id);

#endif
