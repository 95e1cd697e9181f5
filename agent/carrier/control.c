#include "agent/carrier/control.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/carrier/lines.h"
#include "common/core/text.h"

size_t control_question_format(const struct control_question *q, char buf[CONTROL_PACKET_MAX])
{
    switch (q->kind) {
    case CONTROL_HELLO:
        return (size_t)snprintf(buf, CONTROL_PACKET_MAX, "hello\n");
    }
    return 0;
}

int control_question_parse(const char *packet, size_t n_bytes, struct control_question *ret)
{
    const struct span text = {.p = packet, .end = packet + n_bytes};

    if (!span_is(&text, "hello\n"))
        return CONTROL_E_MALFORMED;
    *ret = (struct control_question){.kind = CONTROL_HELLO};
    return 0;
}

/* What has been written of a packet: the longest has half of the room. */
struct packet {
    char *buf;
    size_t n;
};

__attribute__((format(printf, 2, 3))) static void append(struct packet *p, const char *format, ...)
{
    size_t room = CONTROL_PACKET_MAX - p->n;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(p->buf + p->n, room, format, ap);
    va_end(ap);
    assert(n >= 0 && (size_t)n < room);
    p->n += (size_t)n;
}

/* One line, whatever was said. */
static void append_text(struct packet *p, const char *said)
{
    char text[PROTO_TEXT_MAX];

    text_copy(text, sizeof(text), said);
    for (char *lf = text; (lf = strchr(lf, '\n'));)
        *lf = ' ';
    if (*text)
        append(p, "text=%s\n", text);
}

size_t control_answer_format(const struct control_answer *a, char buf[CONTROL_PACKET_MAX])
{
    struct packet p = {.buf = buf};

    assert(a->n_routes <= PROTO_RANKS_MAX);
    append(&p, "ok=%d\n", a->ok);
    append_text(&p, a->text);
    if (a->version)
        append(&p, "version=%" PRIu32 "\n", a->version);
    for (size_t i = 0; i < a->n_routes; i++)
        append(&p, "route=%" PRId32 " %u %s\n", a->route[i].rank, a->route[i].port, a->route[i].endpoint);
    return p.n;
}

static bool take_route(struct control_answer *a, struct span *value)
{
    struct control_route *r = &a->route[a->n_routes];

    if (a->n_routes == PROTO_RANKS_MAX || !field_rank(value, &r->rank) || !field_port(value, &r->port) ||
        !field_word(value, r->endpoint, sizeof(r->endpoint)))
        return false;
    a->n_routes++;
    return r->endpoint[strspn(r->endpoint, "0123456789abcdefABCDEF.:")] == '\0';
}

/* Keys that this version does not know are passed over: a carrier outlives the agent that started it. */
static bool take_line(struct control_answer *a, bool *has_ok, const struct span *key, struct span *value)
{
    uint64_t n = 0;
    bool good = true;

    if (span_is(key, "ok")) {
        good = !*has_ok && field_uint(value, 0, 1, &n);
        a->ok = n;
        *has_ok = true;
    } else if (span_is(key, "version")) {
        good = field_uint(value, 1, UINT32_MAX, &n);
        a->version = (uint32_t)n;
    } else if (span_is(key, "text")) {
        good = field_rest(value, a->text, sizeof(a->text));
        text_clean(a->text);
    } else if (span_is(key, "route")) {
        good = take_route(a, value);
    } else {
        return true;
    }
    return good && value->p == value->end;
}

int control_answer_parse(const char *packet, size_t n_bytes, struct control_answer *ret)
{
    struct span text = {.p = packet, .end = packet + n_bytes}, key, value;
    struct control_answer a = {0};
    bool has_ok = false;

    while (text.p < text.end)
        if (!lines_next(&text, &key, &value) || !take_line(&a, &has_ok, &key, &value))
            return CONTROL_E_MALFORMED;
    if (!has_ok)
        return CONTROL_E_MALFORMED;
    *ret = a;
    return 0;
}
