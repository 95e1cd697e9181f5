/* Messages to test with: one fixed sample per kind and variant, and random ones that use every bound. */
#ifndef CARAVAN_TESTS_LIB_MESSAGES_H
#define CARAVAN_TESTS_LIB_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

struct message_sample {
    const char *name; /* of its golden file; NULL ends the table */
    void (*fill)(struct message *m);
};
extern const struct message_sample message_samples[];

/* ret: owned (message_destroy). Memory that is short ends the program. */
struct message *message_sample_new(const struct message_sample *s);
struct message *message_random_new(uint64_t seed);

/* All that was said, also in what they own; not n_unknown. */
bool message_same(const struct message *a, const struct message *b);

#endif
