#include "controller/core/placement_plan.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/core/units.h"

void plan_trim(char *text)
{
    size_t start = strlen(text);

    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xc0)
        text[start - 1] = '\0';
}

void plan_note(struct plan *plan, const char *format, ...)
{
    char *to = plan->note[plan->n_notes < PLACE_NOTES_MAX ? plan->n_notes : PLACE_NOTES_MAX - 1];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(to, sizeof(plan->note[0]), format, args);
    va_end(args);
    if (n >= (int)sizeof(plan->note[0]))
        plan_trim(to);
    if (plan->n_notes < PLACE_NOTES_MAX)
        plan->n_notes++;
}

/* Decimal GB, rounded to 10 MB as people are shown it: a model that is called 2 GB is one. */
uint32_t plan_band(uint64_t model_bytes)
{
    uint64_t hundredths = model_bytes / 10000000 + (model_bytes % 10000000 >= 5000000);

    if (hundredths < 200)
        return 1;
    return hundredths <= 1000 ? 2 : 4;
}

void plan_note_band(struct plan *plan)
{
    if (plan->band == 1)
        plan_note(plan, "%s is under 2 GB: 1 node", UNITS_FILE(plan->model_bytes));
    else if (plan->band == 2)
        plan_note(plan, "%s is 2 to 10 GB: up to 2 nodes", UNITS_FILE(plan->model_bytes));
    else
        plan_note(plan, "%s is over 10 GB: up to 4 nodes", UNITS_FILE(plan->model_bytes));
    if (plan->wanted_nodes)
        plan_note(plan, "--nodes %" PRIu32 " was asked for: it counts, the size does not", plan->wanted_nodes);
}

/* ---- ranks ---- */

static void fill_device(struct plan_rank *rank, const struct fit_problem *p, const struct fit_layout *l,
                        const struct fit_slot *slot, const struct fit_node *f, uint32_t *n_rpc)
{
    struct plan_device *to = &rank->device[rank->n_devices++];
    const struct fit_device *d = &f->device[slot->device];
    const char *name = f->node->device[d->index].name;
    struct memory_run run = p->run;

    run.n_devices = l->n_devices;
    snprintf(to->name, sizeof(to->name), "%s", name);
    if (rank->local)
        snprintf(to->flag, sizeof(to->flag), "%s", name);
    else
        snprintf(to->flag, sizeof(to->flag), "RPC%" PRIu32, (*n_rpc)++);
    to->first_layer = slot->first_layer;
    to->n_layers = slot->part.n_layers + slot->part.has_output;
    to->has_output = slot->part.has_output;
    to->weight_bytes = slot->part.weight_bytes;
    to->kv_bytes = slot->part.kv_bytes;
    to->compute_bytes = memory_part_compute(&slot->part, p->shape, &run);
    to->peak_bytes = fit_slot_bytes(p, l, slot, f);
    to->offer_bytes = d->offer_bytes;
}

static void note_rank0(struct plan *plan)
{
    const struct plan_rank *rank = &plan->rank[0];

    if (rank->local)
        plan_note(plan, "rank 0 on %s: it holds the file, llama-server itself takes the layers on %s", rank->node_name,
                  rank->device[0].name);
    else
        plan_note(plan, "rank 0 on %s: it holds the file and runs llama-server, its worker takes the layers",
                  rank->node_name);
}

void plan_fill(struct plan *plan, const struct fit_problem *p, const struct fit_node *const *nodes, size_t n)
{
    struct fit_layout layout;
    uint32_t n_rpc = 0;
    bool holds = fit_balance(p, nodes, n, &layout);

    assert(holds); /* it was chosen because it does */
    (void)holds;
    plan->n_ranks = n;
    plan->host_bytes = layout.host_bytes;
    for (size_t i = 0; i < n; i++) {
        struct plan_rank *rank = &plan->rank[i];

        rank->node = nodes[i]->node->id;
        snprintf(rank->node_name, sizeof(rank->node_name), "%s", nodes[i]->node->name);
        snprintf(rank->addr, sizeof(rank->addr), "%s", nodes[i]->node->addr);
        rank->local = i == 0 && fit_is_local(p, nodes[0]);
    }
    for (size_t i = 0; i < layout.n; i++) {
        uint32_t rank = layout.slot[i].rank;

        fill_device(&plan->rank[rank], p, &layout, &layout.slot[i], nodes[rank], &n_rpc);
    }
    note_rank0(plan);
}
