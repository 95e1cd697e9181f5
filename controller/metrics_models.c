/* The first METRICS_MODELS_MAX names that were served get series of their own; what comes later, and what is none of ours, is
 * counted together as "unknown", by status alone. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/metrics_page.h"

/* Codes that answers are counted under; others together. */
static const int codes[] = {200, 400, 404, 429, 499, 500, 502, 503, 504};
enum { CODES = sizeof(codes) / sizeof(codes[0]), CODE_OTHER = CODES };

static const double bounds[METRICS_OF_MODEL_N][METRICS_BUCKETS] = {
    [METRICS_QUEUE] = {0.001, 0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 1800},
    [METRICS_FIRST] = {0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 120},
    [METRICS_TOKEN] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1},
    [METRICS_TOTAL] = {0.05, 0.25, 1, 2.5, 10, 30, 60, 180, 600, 1800},
    [METRICS_TOKENS] = {1, 8, 32, 128, 256, 512, 1024, 2048, 8192, 32768},
};

struct model {
    char name[PROTO_MODEL_MAX];
    uint64_t n[CODES + 1];
    struct metrics_histogram histogram[METRICS_OF_MODEL_N];
};

struct metrics_models {
    size_t n;
    struct model *model[METRICS_MODELS_MAX];
    struct model unknown;
};

struct metrics_models *metrics_models_new(void)
{
    struct metrics_models *m = calloc(1, sizeof(*m));

    if (m)
        snprintf(m->unknown.name, sizeof(m->unknown.name), "unknown");
    return m;
}

void metrics_models_destroy(struct metrics_models **m)
{
    for (size_t i = 0; *m && i < (*m)->n; i++)
        free((*m)->model[i]);
    free(*m);
    *m = NULL;
}

static size_t code_index(int status)
{
    for (size_t i = 0; i < CODES; i++)
        if (codes[i] == status)
            return i;
    return CODE_OTHER;
}

static struct model *find(struct metrics_models *m, const char *name)
{
    struct model *model;

    if (!name || strcmp(name, m->unknown.name) == 0)
        return &m->unknown;
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->model[i]->name, name) == 0)
            return m->model[i];
    model = m->n < METRICS_MODELS_MAX ? calloc(1, sizeof(*model)) : NULL;
    if (!model)
        return &m->unknown;
    snprintf(model->name, sizeof(model->name), "%s", name);
    m->model[m->n++] = model;
    return model;
}

static void observe(struct model *model, enum metrics_of_model kind, double value)
{
    if (value >= 0)
        metrics_observe_in(&model->histogram[kind], bounds[kind], value);
}

void metrics_models_count(struct metrics_models *m, const struct metrics_answer *a)
{
    struct model *model = find(m, a->model);

    model->n[code_index(a->status)]++;
    observe(model, METRICS_QUEUE, a->queue_s);
    observe(model, METRICS_FIRST, a->first_s);
    observe(model, METRICS_TOKEN, a->token_s);
    observe(model, METRICS_TOTAL, a->total_s);
    observe(model, METRICS_TOKENS, (double)a->n_tokens);
}

static void print_requests_of(FILE *out, const char *name, const struct model *model)
{
    for (size_t i = 0; i <= CODES; i++) {
        char code[16] = "other";

        if (i < CODES)
            snprintf(code, sizeof(code), "%d", codes[i]);
        fprintf(out, "%s{", name);
        metrics_label(out, "model", model->name);
        fprintf(out, ",code=\"%s\"} %" PRIu64 "\n", code, model->n[i]);
    }
}

void metrics_models_requests(FILE *out, const struct metrics_models *m, const char *name)
{
    print_requests_of(out, name, &m->unknown);
    for (size_t i = 0; i < m->n; i++)
        print_requests_of(out, name, m->model[i]);
}

void metrics_models_histogram(FILE *out, const struct metrics_models *m, enum metrics_of_model kind, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        metrics_histogram_print(out, name, m->model[i]->name, bounds[kind], &m->model[i]->histogram[kind]);
}
