#include "common/core/model_shape.h"

#include <stdlib.h>
#include <string.h>

static size_t shape_size(uint32_t n_layer)
{
    return sizeof(struct model_shape) + n_layer * sizeof(struct model_layer);
}

struct model_shape *model_shape_new(uint32_t n_layer)
{
    struct model_shape *s;

    if (n_layer > MODEL_LAYERS_MAX)
        return NULL;
    s = calloc(1, shape_size(n_layer));
    if (s)
        s->n_layer = n_layer;
    return s;
}

struct model_shape *model_shape_copy(const struct model_shape *s)
{
    struct model_shape *copy = model_shape_new(s->n_layer);

    return copy ? memcpy(copy, s, shape_size(s->n_layer)) : NULL;
}
