/* GET /metrics in the Prometheus text format 0.0.4. One table names each metric, its type and its help; every series whose
 * labels are fixed is there from the start, at 0. Foreign words never become labels: a `model` that is not ours counts
 * under "unknown". */
#ifndef CARAVAN_CONTROLLER_METRICS_H
#define CARAVAN_CONTROLLER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "controller/core/view.h"

enum { METRICS_BUCKETS = 10, METRICS_MODELS_MAX = 256 };

/* A histogram over fixed bounds. */
struct metrics_histogram {
    uint64_t bucket[METRICS_BUCKETS + 1]; /* not cumulative; the last: above every bound */
    uint64_t n;
    double sum;
};
/* Of a commit's time. */
void metrics_observe(struct metrics_histogram *h, double seconds);

/* What the control loop counts, as a value that travels with each view. */
struct metrics_control {
    struct metrics_histogram store_commit;
    uint64_t messages_malformed;
    uint64_t messages_unknown; /* of a later version */
    uint64_t links_refused;    /* handshakes and messages of keys that may not */
    uint64_t audit_lost;       /* rows */
};

struct metrics;
int metrics_new(struct metrics **ret); /* 0, -ENOMEM */
void metrics_destroy(struct metrics **m);

/* One answer of the gateway. */
struct metrics_answer {
    const char *model; /* the instance's name; NULL: none of ours, and of that nothing but the status is counted */
    int status;
    double queue_s, total_s;
    double first_s, token_s; /* below 0: there was none */
    int64_t n_tokens;        /* below 0: nobody said */
};
void metrics_gateway_answer(struct metrics *m, const struct metrics_answer *a);

/* One request that no handler saw: not valid HTTP, no such path, over a limit. */
void metrics_http_refused(struct metrics *m, int status);

/* The page: malloc'ed, *ret_n bytes. view may be NULL. wall_ms: now, for ages. 0, -ENOMEM. */
int metrics_print(const struct metrics *m, const struct view *view, const struct metrics_control *control,
                  uint64_t wall_ms, char **ret, size_t *ret_n);

#endif
