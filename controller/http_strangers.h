/* Who was turned away is said at most once a minute for each address, and once for all those that the table has no place for:
 * a log that anybody can fill is no log. Pure. */
#ifndef CARAVAN_CONTROLLER_HTTP_STRANGERS_H
#define CARAVAN_CONTROLLER_HTTP_STRANGERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STRANGERS_MAX = 64, STRANGERS_MS = 60000, STRANGERS_NAME_MAX = 46 };

struct strangers {
    size_t n;
    struct stranger {
        char name[STRANGERS_NAME_MAX];
        uint64_t said_ms, count; /* count: since it was said */
    } known[STRANGERS_MAX];
    struct stranger others;
};

/* Once more from name. 0: not to be said; else how often it was since it was said last, by *ret_who ("others" for those
 * without a place). Zeroed at first. now_ms: monotonic. */
uint64_t strangers_count(struct strangers *s, const char *name, uint64_t now_ms, const char **ret_who);

#endif
