/* What the leader was asked to start: an answer says the number of the question, and whoever waits knows the name. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "controller/gateway_state.h"

static struct gateway_ask *find(struct gateway_asks *a, const char *name)
{
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->item[i].name, name) == 0)
            return &a->item[i];
    return NULL;
}

int gateway_asks_begin(struct gateway_asks *a, const char *name, uint64_t *ret_id)
{
    struct gateway_ask *it = find(a, name), *grown;

    if (!it) {
        grown = realloc(a->item, (a->n + 1) * sizeof(*grown));
        if (!grown)
            return err_raise(-ENOMEM);
        a->item = grown;
        it = &a->item[a->n++];
        *it = (struct gateway_ask){.id = 0};
        strncpy(it->name, name, sizeof(it->name) - 1);
    }
    it->id = *ret_id = GATEWAY_REQUEST | ++a->last;
    return 0;
}

bool gateway_asks_end(struct gateway_asks *a, uint64_t id, char name[PROTO_MODEL_MAX])
{
    for (size_t i = 0; i < a->n; i++) {
        if (a->item[i].id != id)
            continue;
        memcpy(name, a->item[i].name, PROTO_MODEL_MAX);
        a->item[i] = a->item[--a->n];
        return true;
    }
    return false;
}
