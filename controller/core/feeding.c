#include "controller/core/feeding.h"

#include <string.h>

#include "common/core/rpc_wire.h"
#include "common/core/text.h"
#include "controller/core/nodes.h"

/* Every such note begins so, and no other one. */
static const char OWN_FILE[] = "loads from its own file: ";

static void drop_notes(struct plan *p)
{
    size_t n = 0;

    for (size_t k = 0; k < p->n_notes; k++) {
        if (strncmp(p->note[k], OWN_FILE, sizeof(OWN_FILE) - 1) != 0)
            memmove(p->note[n++], p->note[k], sizeof(p->note[0]));
    }
    p->n_notes = n;
}

/* Smaller tensors cross the network in any case. */
static bool has_large_tensors(const struct model_shape *shape, const struct plan_rank *rank)
{
    for (size_t d = 0; d < rank->n_devices; d++) {
        const struct plan_device *device = &rank->device[d];
        uint32_t end = device->first_layer + device->n_layers - device->has_output;

        for (uint32_t l = device->first_layer; l < end && l < shape->n_layer; l++) {
            if (shape->layer[l].max_tensor_bytes > RPC_HASHED_OVER_BYTES)
                return true;
        }
        if (device->has_output && shape->output_max_tensor_bytes > RPC_HASHED_OVER_BYTES)
            return true;
    }
    return false;
}

/* The same file on that node; NULL: it has none that is hashed, or is being hashed, to be used so. */
static const struct model_facts *own_file(const struct cluster *c, const struct model_facts *model,
                                          const struct plan_rank *rank)
{
    const struct node *n = node_find(c, &rank->node);

    for (size_t m = 0; n && m < (n->models ? n->models->n : 0); m++) {
        const struct model_facts *f = &n->models->model[m];

        if (!strcmp(f->name, model->name) && f->header_hash == model->header_hash && f->index_permille)
            return f;
    }
    return NULL;
}

void feeding_note(const struct cluster *c, const struct model_facts *model, struct plan *p)
{
    drop_notes(p);
    for (size_t r = 1; r < p->n_ranks && plan_is_tunnel(p) && p->n_notes < PLACE_NOTES_MAX; r++) {
        const struct plan_rank *rank = &p->rank[r];
        const struct model_facts *f = own_file(c, model, rank);

        if (!f || !has_large_tensors(model->shape, rank) || id128_equal(&rank->node, &p->rank[0].node))
            continue;
        text_format(p->note[p->n_notes++], sizeof(p->note[0]), "%srank %zu on %s%s", OWN_FILE, r, rank->node_name,
                    f->index_permille == 1000 ? "" : ", when its index is ready");
    }
}
