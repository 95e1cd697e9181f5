/* The last results given, by command: one that comes again (its answer was lost with a link) is answered the same and
 * done once. */
#ifndef CARAVAN_AGENT_CORE_RESULT_BOOK_H
#define CARAVAN_AGENT_CORE_RESULT_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/agent.h"

struct command_key {
    struct id128 instance;
    uint64_t epoch, command_id;
};

struct result_book {
    size_t n, next;
    struct {
        struct command_key key;
        struct result result;
    } item[AGENT_RESULTS_MAX];
};

bool command_key_equal(const struct command_key *a, const struct command_key *b);
struct command_key command_key_of(const struct message *m);

/* NULL: not known (any more). */
const struct result *result_book_find(const struct result_book *b, const struct command_key *key);

/* The first result of a command is the one that is kept. */
void result_book_put(struct result_book *b, const struct command_key *key, const struct result *result);

#endif
