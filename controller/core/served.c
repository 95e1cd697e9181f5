#include "controller/core/served.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "controller/core/state.h"

const char *served_start_name(enum served_start s)
{
    static const char *const names[] = {[SERVED_MANUAL] = "manual", [SERVED_DEMAND] = "demand", [SERVED_BOOT] = "boot"};

    return s >= SERVED_MANUAL && s <= SERVED_BOOT ? names[s] : "manual";
}

int served_copy(const struct served *list, size_t n, struct served **ret)
{
    struct served *copy = calloc(n + 1, sizeof(*copy));
    int r = copy ? 0 : err_raise(-ENOMEM);

    for (size_t k = 0; !r && k < n; k++) {
        copy[k] = list[k];
        copy[k].request.arg = NULL;
        r = request_copy(&list[k].request, &copy[k].request);
    }
    if (r) {
        served_free(copy, copy ? n : 0);
        return err_fold(r);
    }
    *ret = copy;
    return 0;
}

void served_free(struct served *list, size_t n)
{
    for (size_t k = 0; k < n; k++)
        request_clear(&list[k].request);
    free(list);
}

const struct served *served_find(const struct served *list, size_t n, const char *name)
{
    const struct served *found = NULL;

    for (size_t k = 0; k < n; k++) {
        if (strcmp(list[k].name, name) == 0)
            return &list[k];
        if (strcmp(list[k].section, name) == 0)
            found = &list[k];
    }
    return found;
}

bool served_has_model(const struct served *list, size_t n, const char *model)
{
    for (size_t k = 0; k < n; k++) {
        if (strcmp(list[k].request.model, model) == 0)
            return true;
    }
    return false;
}

static int take_args(const struct place_request *from, struct place_request *ret)
{
    struct place_request args;
    int r;

    if (ret->n_args || !from->n_args)
        return 0;
    r = request_copy(from, &args);
    if (r)
        return err_fold(r);
    free(ret->arg);
    ret->arg = args.arg;
    ret->n_args = args.n_args;
    return 0;
}

static int take_unsaid(const struct place_request *from, struct place_request *ret)
{
    memcpy(ret->model, from->model, sizeof(ret->model));
    if (!ret->alias[0])
        memcpy(ret->alias, from->alias, sizeof(ret->alias));
    ret->nodes = ret->nodes ? ret->nodes : from->nodes;
    ret->policy = ret->policy ? ret->policy : from->policy;
    ret->ctx = ret->ctx ? ret->ctx : from->ctx;
    ret->slots = ret->slots ? ret->slots : from->slots;
    if (!ret->kv_type[0])
        memcpy(ret->kv_type, from->kv_type, sizeof(ret->kv_type));
    ret->replicas = ret->replicas ? ret->replicas : from->replicas;
    ret->pinned |= from->pinned;
    ret->ttl_ms = ret->ttl_ms ? ret->ttl_ms : from->ttl_ms;
    return err_fold(take_args(from, ret));
}

int served_fill(const struct served *from, const struct place_request *req, struct place_request *ret)
{
    struct place_request filled;
    int r = request_copy(req, &filled);

    if (r)
        return err_fold(r);
    if (from)
        r = take_unsaid(&from->request, &filled);
    if (r) {
        request_clear(&filled);
        return err_fold(r);
    }
    if (filled.ttl_ms == PLACE_TTL_NEVER)
        filled.ttl_ms = 0;
    *ret = filled;
    return 0;
}
