/* What a record owns. Its JSON form is the shell's (controller/record.c). */
#include <stdlib.h>

#include "controller/core/state.h"

void record_clear(struct record *r)
{
    if (!r)
        return;
    switch (r->kind) {
    case RECORD_INSTANCE:
        request_clear(&r->i.request);
        free(r->i.plan);
        free(r->i.pinned);
        free(r->i.tried);
        break;
    case RECORD_TASK:
    case RECORD_AUDIT:
    case RECORD_NODE:
    case RECORD_KEY:
    case RECORD_API_KEY:
        break;
    }
    *r = (struct record){0};
}
