#include "common/core/sse.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"

/* A string that grows. */
struct text {
    char *s;
    size_t n, room;
};

struct sse {
    struct text line, data;
    bool has_data;
    char event[64], id[64];
};

static int text_add(struct text *t, const char *s, size_t n)
{
    size_t room = t->room ? t->room : 256;
    char *grown;

    if (t->n + n > SSE_EVENT_MAX)
        return SSE_E_TOO_LARGE;
    while (room < t->n + n + 1)
        room *= 2;
    if (room != t->room) {
        grown = realloc(t->s, room);
        if (!grown)
            return err_raise(-ENOMEM);
        t->s = grown;
        t->room = room;
    }
    memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = '\0';
    return 0;
}

int sse_new(struct sse **ret)
{
    struct sse *s = calloc(1, sizeof(*s));

    if (!s)
        return err_raise(-ENOMEM);
    *ret = s;
    return 0;
}

void sse_destroy(struct sse **s)
{
    if (!*s)
        return;
    free((*s)->line.s);
    free((*s)->data.s);
    free(*s);
    *s = NULL;
}

void sse_reset(struct sse *s)
{
    s->line.n = s->data.n = 0;
    s->has_data = false;
    s->event[0] = s->id[0] = '\0';
}

/* "field: value" into *ret_value when the line is of that field. */
static bool is_field(const char *line, const char *field, const char **ret_value)
{
    size_t n = strlen(field);

    if (strncmp(line, field, n) != 0 || line[n] != ':')
        return false;
    *ret_value = line + n + 1 + (line[n + 1] == ' ');
    return true;
}

static int take_line(struct sse *s, const char *line, void (*on_event)(void *ctx, const struct sse_event *e), void *ctx)
{
    const char *value;
    int r = 0;

    if (!*line) {
        if (s->has_data)
            on_event(ctx, &(struct sse_event){s->event, s->id, s->data.s ? s->data.s : ""});
        s->has_data = false;
        s->data.n = 0;
        s->event[0] = '\0';
        return 0;
    }
    if (is_field(line, "data", &value)) {
        if (s->has_data)
            r = text_add(&s->data, "\n", 1);
        s->has_data = true;
        return r ? r : text_add(&s->data, value, strlen(value));
    }
    if (is_field(line, "event", &value))
        snprintf(s->event, sizeof(s->event), "%s", value);
    else if (is_field(line, "id", &value))
        snprintf(s->id, sizeof(s->id), "%s", value);
    return 0; /* comments and what later versions add */
}

int sse_feed(struct sse *s, const char *buf, size_t n_bytes, void (*on_event)(void *ctx, const struct sse_event *e),
             void *ctx)
{
    while (n_bytes) {
        const char *end = memchr(buf, '\n', n_bytes);
        size_t n = end ? (size_t)(end - buf) : n_bytes;
        int r = text_add(&s->line, buf, n);

        if (r)
            return r;
        if (!end)
            return 0;
        if (s->line.n && s->line.s[s->line.n - 1] == '\r')
            s->line.s[--s->line.n] = '\0';
        r = take_line(s, s->line.s, on_event, ctx);
        s->line.n = 0;
        if (r)
            return r;
        buf += n + 1;
        n_bytes -= n + 1;
    }
    return 0;
}
