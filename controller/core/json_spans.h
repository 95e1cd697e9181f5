/* The members of a JSON object, or the elements of an array, one after another, as they stand: nothing is decoded, copied or
 * built. Pure. For text that has been checked, or whose writer is trusted to write JSON: what is not JSON is noticed only where
 * it stands in the way, and never read over. */
#ifndef CARAVAN_CONTROLLER_CORE_JSON_SPANS_H
#define CARAVAN_CONTROLLER_CORE_JSON_SPANS_H

#include <stdbool.h>
#include <stddef.h>

struct json_span {
    const char *s;
    size_t n;
};

struct json_spans {
    const char *p, *end;
    bool is_object;
};

/* False: it is neither an object nor an array. container: borrowed until the last step, white space around it is fine. */
bool json_spans_open(struct json_spans *ret, struct json_span container);
/* False: there are no more, or what comes is not JSON. ret_key: without its quotes, escapes as they stand; empty in an array.
 * ret_value: without white space around it. */
bool json_spans_next(struct json_spans *s, struct json_span *ret_key, struct json_span *ret_value);
/* There are no more: the closing bracket is there. */
bool json_spans_ended(const struct json_spans *s);

/* Is it these bytes? */
bool json_span_is(struct json_span span, const char *text);
/* What is between its quotes; s NULL: it is not a string. */
struct json_span json_span_string(struct json_span value);

#endif
