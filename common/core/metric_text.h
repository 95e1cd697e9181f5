/* Finds one counter in Prometheus' text, fed in pieces. Pure; believes nothing: a line that is too long or has no number is
 * passed over. */
#ifndef CARAVAN_COMMON_CORE_METRIC_TEXT_H
#define CARAVAN_COMMON_CORE_METRIC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { METRIC_LINE_MAX = 128 };

struct metric_reader {
    const char *name; /* borrowed; of a series without labels */
    bool found;
    uint64_t value; /* the whole part */
    size_t n_line;  /* over METRIC_LINE_MAX: the rest of the line is passed over */
    char line[METRIC_LINE_MAX];
};

void metric_reader_init(struct metric_reader *r, const char *name);
void metric_reader_feed(struct metric_reader *r, const void *buf, size_t n_bytes);
/* The text is over: its last line may lack its line feed. */
void metric_reader_end(struct metric_reader *r);

#endif
