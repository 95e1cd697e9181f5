/* Private to metrics*.c: what a page is printed from, and what other files than the table's print of it. */
#ifndef CARAVAN_CONTROLLER_METRICS_PAGE_H
#define CARAVAN_CONTROLLER_METRICS_PAGE_H

#include <stdint.h>
#include <stdio.h>

#include "controller/metrics.h"

struct page {
    FILE *out;
    const struct metrics *m;
    const struct view *view; /* may be NULL */
    const struct metrics_control *control;
    uint64_t wall_ms;
};

/* A label's name, and its value with its quotes. */
void metrics_label(FILE *out, const char *name, const char *value);

void metrics_observe_in(struct metrics_histogram *h, const double bound[METRICS_BUCKETS], double value);
/* model: a label of all its series; NULL: none. */
void metrics_histogram_print(FILE *out, const char *name, const char *model, const double bound[METRICS_BUCKETS],
                             const struct metrics_histogram *h);

/* ---- metrics_models: what is counted of the gateway's answers, by model ------------------------------------------- */

enum metrics_of_model {
    METRICS_QUEUE,
    METRICS_FIRST,
    METRICS_TOKEN,
    METRICS_TOTAL,
    METRICS_TOKENS,
    METRICS_OF_MODEL_N
};

struct metrics_models;
struct metrics_models *metrics_models_new(void); /* NULL: no memory */
void metrics_models_destroy(struct metrics_models **m);
void metrics_models_count(struct metrics_models *m, const struct metrics_answer *a);
void metrics_models_requests(FILE *out, const struct metrics_models *m, const char *name);
void metrics_models_histogram(FILE *out, const struct metrics_models *m, enum metrics_of_model kind, const char *name);

/* ---- metrics_ranks ------------------------------------------------------------------------------------------------ */

void metrics_rank_stall(const struct page *p, const char *name);
void metrics_rank_bytes(const struct page *p, const char *name);
void metrics_rank_fed(const struct page *p, const char *name);
void metrics_rank_round_trips(const struct page *p, const char *name);
void metrics_rank_graphs(const struct page *p, const char *name);

#endif
