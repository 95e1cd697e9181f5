#include "common/core/talkers.h"

#include <stdbool.h>
#include <string.h>

#include "common/core/text.h"

static struct talker *find(struct talkers *t, const char *addr)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->talker[i].addr, addr) == 0)
            return &t->talker[i];
    return NULL;
}

/* A free place, or that of who was not heard for so long that its line is not missed. NULL: there is none. */
static struct talker *make_room(struct talkers *t, uint64_t now_ms)
{
    struct talker *oldest = &t->talker[0];

    if (t->n < TALKERS_MAX)
        return &t->talker[t->n++];
    for (size_t i = 1; i < t->n; i++)
        if (t->talker[i].last_ms < oldest->last_ms)
            oldest = &t->talker[i];
    if (now_ms - oldest->last_ms < TALKERS_MS)
        return NULL;
    t->n_others += oldest->n;
    return oldest;
}

uint64_t talkers_count(struct talkers *t, const char *addr, uint64_t now_ms)
{
    struct talker *k = find(t, addr);
    bool is_new = !k;
    uint64_t n;

    if (is_new) {
        k = make_room(t, now_ms);
        if (!k) {
            t->n_others++;
            return 0;
        }
        *k = (struct talker){.n = 0};
        text_copy(k->addr, sizeof(k->addr), addr);
    }
    k->n++;
    k->last_ms = now_ms;
    n = ++k->n_unsaid;
    if (!is_new && now_ms - k->said_ms < TALKERS_MS)
        return 0;
    k->n_unsaid = 0;
    k->said_ms = now_ms;
    return n;
}
