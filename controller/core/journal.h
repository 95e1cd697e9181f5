/* All or nothing for one step: whoever changes the cluster says so here first, and a step that runs out of memory is
 * undone from here, newest change first. Objects stay where they are, so pointers to them hold through the whole step.
 *
 * An alternative was to copy what a step touches and to swap pointers at its end; then every caller down the stack may
 * hold a pointer to the old copy and write there. Counting the memory up front does not work either: one lost node
 * touches every instance on it. */
#ifndef CARAVAN_CONTROLLER_CORE_JOURNAL_H
#define CARAVAN_CONTROLLER_CORE_JOURNAL_H

#include <stddef.h>

/* Pointers to objects that the table owns. */
struct table {
    size_t n, cap;
    void **item;
};

struct journal {
    size_t n, cap;
    struct journal_entry *entry;
};

typedef void (*journal_destroy_fn)(void *);

/* Each returns 0 or -ENOMEM, and has then done nothing. What is said to be consumed is so on every path. */

/* size bytes at `at` are about to be written. Cheap when said twice. */
int journal_change(struct journal *j, void *at, size_t size);

/* Puts item (consumed) at index of the table; destroy ends it when the step is undone. */
int journal_add(struct journal *j, struct table *t, size_t index, void *item, journal_destroy_fn destroy);

/* Takes item out of the table now; it is destroyed when the step is kept. */
int journal_remove(struct journal *j, struct table *t, const void *item, journal_destroy_fn destroy);

/* The owned pointer stored at `at` becomes value (consumed, may be NULL); the old one is destroyed when the step is kept,
 * the new one when it is undone. destroy NULL: ownership only moves. */
int journal_replace(struct journal *j, void *at, void *value, journal_destroy_fn destroy);

/* The step is kept, or undone. The journal is empty afterwards. */
void journal_keep(struct journal *j);
void journal_undo(struct journal *j);

void table_destroy(struct table *t, journal_destroy_fn destroy);

#endif
