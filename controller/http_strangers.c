#include "controller/http_strangers.h"

#include <stdio.h>
#include <string.h>

static struct stranger *find(struct strangers *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->known[i].name, name) == 0)
            return &s->known[i];
    return NULL;
}

/* One that has been silent for long enough gives its place away; NULL: none has. */
static struct stranger *take_place(struct strangers *s, uint64_t now_ms)
{
    if (s->n < STRANGERS_MAX)
        return &s->known[s->n++];
    for (size_t i = 0; i < s->n; i++)
        if (now_ms - s->known[i].said_ms >= STRANGERS_MS)
            return &s->known[i];
    return NULL;
}

uint64_t strangers_count(struct strangers *s, const char *name, uint64_t now_ms, const char **ret_who)
{
    struct stranger *one = find(s, name);
    uint64_t n;

    if (!one && (one = take_place(s, now_ms))) {
        *one = (struct stranger){.count = 0};
        snprintf(one->name, sizeof(one->name), "%s", name);
    }
    if (!one) {
        one = &s->others;
        snprintf(one->name, sizeof(one->name), "others");
    }
    n = ++one->count;
    if (one->said_ms && now_ms - one->said_ms < STRANGERS_MS)
        return 0;
    one->said_ms = now_ms;
    one->count = 0;
    *ret_who = one->name;
    return n;
}
