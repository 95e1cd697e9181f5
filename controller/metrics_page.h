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

void metrics_rank_stall(const struct page *p, const char *name);
void metrics_rank_bytes(const struct page *p, const char *name);
void metrics_rank_fed(const struct page *p, const char *name);
void metrics_rank_round_trips(const struct page *p, const char *name);
void metrics_rank_graphs(const struct page *p, const char *name);

#endif
