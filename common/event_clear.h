/* An event that may not be there yet, or any more: freed and forgotten. */
#ifndef CARAVAN_COMMON_EVENT_CLEAR_H
#define CARAVAN_COMMON_EVENT_CLEAR_H

#include <event2/event.h>

static inline void event_clear(struct event **ev)
{
    if (*ev)
        event_free(*ev);
    *ev = NULL;
}

#endif
