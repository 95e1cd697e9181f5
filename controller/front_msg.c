#include "controller/front_msg.h"

#include <stdlib.h>

#include "controller/plan_json.h"

static void planned_clear(struct front_planned *p)
{
    free(p->plan);
    free(p->other);
    p->plan = NULL;
    p->other = NULL;
}

void front_note_destroy(struct front_note **n)
{
    if (*n) {
        view_unref(&(*n)->view);
        backends_unref(&(*n)->backends);
        planned_clear(&(*n)->planned);
        free(*n);
    }
    *n = NULL;
}

void front_order_destroy(struct front_order **o)
{
    if (*o) {
        place_request_clear(&(*o)->request);
        free((*o)->plan);
        free(*o);
    }
    *o = NULL;
}

void front_note_drop(void *note)
{
    struct front_note *n = note;

    front_note_destroy(&n);
}

void front_order_drop(void *order)
{
    struct front_order *o = order;

    front_order_destroy(&o);
}
