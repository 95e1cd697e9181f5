/* Text that agent and carrier write for each other: lines of "key=value", the value being fields with one blank between
 * them, of which the last may be any text. Pure. */
#ifndef CARAVAN_AGENT_CARRIER_LINES_H
#define CARAVAN_AGENT_CARRIER_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is left of a text, or of a value. Borrowed. */
struct span {
    const char *p, *end;
};

/* Takes the next line off text: its key, and what follows the first '='. false: the line has no '=' or no end; nothing is
 * taken then. */
bool lines_next(struct span *text, struct span *ret_key, struct span *ret_value);
bool span_is(const struct span *s, const char *word);

/* Each takes one field off value and what stands behind it, a blank that something follows or the end. false: it is not such
 * a field; *ret may have been written to. */
bool field_uint(struct span *value, uint64_t min, uint64_t max, uint64_t *ret);
bool field_port(struct span *value, uint16_t *ret);       /* not 0 */
bool field_rank(struct span *value, int32_t *ret);        /* 0 to PROTO_RANKS_MAX - 1 */
bool field_addr(struct span *value, char *ret);           /* a numeric address; PROTO_ADDR_MAX bytes */
bool field_key(struct span *value, uint8_t ret[32]);      /* 64 hex digits */
bool field_word(struct span *value, char *ret, size_t n); /* 1 to n - 1 bytes */
bool field_rest(struct span *value, char *ret, size_t n); /* all that is left, as that */

#endif
