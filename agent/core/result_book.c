#include "agent/core/result_book.h"

bool command_key_equal(const struct command_key *a, const struct command_key *b)
{
    return a->command_id == b->command_id && a->epoch == b->epoch && id128_equal(&a->instance, &b->instance);
}

struct command_key command_key_of(const struct message *m)
{
    return (struct command_key){.instance = m->instance, .epoch = m->epoch, .command_id = m->command_id};
}

const struct result *result_book_find(const struct result_book *b, const struct command_key *key)
{
    for (size_t i = 0; i < b->n; i++) {
        if (command_key_equal(&b->item[i].key, key))
            return &b->item[i].result;
    }
    return NULL;
}

void result_book_put(struct result_book *b, const struct command_key *key, const struct result *result)
{
    if (result_book_find(b, key))
        return;
    b->item[b->next].key = *key;
    b->item[b->next].result = *result;
    b->next = (b->next + 1) % AGENT_RESULTS_MAX;
    if (b->n < AGENT_RESULTS_MAX)
        b->n++;
}
