#include "common/core/procfs.h"

#include <string.h>

enum { PF_EXITING_FLAG = 0x4 };

bool procfs_uint(const char **p, const char *end, uint64_t *ret)
{
    const char *at = *p;
    uint64_t value = 0;

    for (; at < end && *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(value, 10u, &value) || __builtin_add_overflow(value, (unsigned)(*at - '0'), &value))
            return false;
    if (at == *p)
        return false;
    *p = at;
    *ret = value;
    return true;
}

static void skip_spaces(const char **p, const char *end)
{
    while (*p < end && (**p == ' ' || **p == '\t'))
        (*p)++;
}

/* A number that is wholly there: something must follow it, so that a cut text yields nothing. May be negative. */
static bool field(const char **p, const char *end, int64_t *ret)
{
    const char *at = *p;
    bool negative;
    uint64_t value;

    skip_spaces(&at, end);
    negative = at < end && *at == '-';
    at += negative;
    if (!procfs_uint(&at, end, &value) || at == end || (*at != ' ' && *at != '\n'))
        return false;
    if (value > INT64_MAX)
        return false;
    *ret = negative ? -(int64_t)value : (int64_t)value;
    *p = at;
    return true;
}

static bool fits_pid(int64_t n)
{
    return n >= INT32_MIN && n <= INT32_MAX;
}

bool procfs_stat_parse(const char *text, size_t n_bytes, struct procfs_stat *ret)
{
    /* Indexes into f[] are the field numbers of proc(5). */
    enum { PID = 1, STATE = 3, PPID, PGRP, SESSION, FLAGS = 9, UTIME = 14, STIME = 15, START = 22, RSS = 24 };
    const char *end = text + n_bytes, *p = text, *close;
    int64_t f[RSS + 1] = {0};

    if (!field(&p, end, &f[PID]))
        return false;
    close = memrchr(p, ')', (size_t)(end - p));
    if (!close || end - close < 4 || close[1] != ' ' || close[2] < 'A' || close[2] > 'z')
        return false;
    p = close + 3;
    for (size_t i = PPID; i <= RSS; i++)
        if (!field(&p, end, &f[i]))
            return false;
    if (!fits_pid(f[PID]) || !fits_pid(f[PPID]) || !fits_pid(f[PGRP]) || !fits_pid(f[SESSION]) || f[UTIME] < 0 ||
        f[STIME] < 0 || f[START] < 0 || f[RSS] < 0)
        return false;
    *ret = (struct procfs_stat){
        .pid = (int32_t)f[PID],
        .parent_pid = (int32_t)f[PPID],
        .group = (int32_t)f[PGRP],
        .session = (int32_t)f[SESSION],
        .state = close[2],
        .exiting = f[FLAGS] & PF_EXITING_FLAG,
        .ticks = (uint64_t)f[UTIME] + (uint64_t)f[STIME],
        .start_ticks = (uint64_t)f[START],
        .rss_pages = (uint64_t)f[RSS],
    };
    return true;
}

/* Exactly n hex digits. */
static bool hex(const char **p, const char *end, size_t n, uint32_t *ret)
{
    uint32_t value = 0;

    if ((size_t)(end - *p) < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = (*p)[i];

        if (c >= '0' && c <= '9')
            value = value << 4 | (uint32_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            value = value << 4 | (uint32_t)(c - 'A' + 10);
        else
            return false;
    }
    *p += n;
    *ret = value;
    return true;
}

static bool literal(const char **p, const char *end, char c)
{
    if (*p == end || **p != c)
        return false;
    (*p)++;
    return true;
}

/* The kernel prints an address as 32-bit words of its own byte order: 8 digits for v4, 32 for v6. */
static bool address(const char **p, const char *end, uint8_t ret[16], size_t *ret_n)
{
    const char *colon = memchr(*p, ':', (size_t)(end - *p));
    size_t n_words = colon && colon - *p == 8 ? 1 : 4;

    if (!colon || colon - *p != (ptrdiff_t)n_words * 8)
        return false;
    for (size_t i = 0; i < n_words; i++) {
        uint32_t word;

        if (!hex(p, end, 8, &word))
            return false;
        memcpy(ret + 4 * i, &word, sizeof(word));
    }
    *ret_n = n_words * 4;
    return true;
}

bool procfs_end_equal(const struct procfs_end *a, const struct procfs_end *b)
{
    return a->v6 == b->v6 && a->port == b->port && !memcmp(a->addr, b->addr, sizeof(a->addr));
}

bool procfs_end_is_any(const struct procfs_end *e)
{
    static const uint8_t zero[16];

    return !memcmp(e->addr, zero, sizeof(zero));
}

void procfs_end_unmap(struct procfs_end *e)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (!e->v6 || memcmp(e->addr, mapped, sizeof(mapped)) != 0)
        return;
    memmove(e->addr, e->addr + 12, 4);
    memset(e->addr + 4, 0, 12);
    e->v6 = false;
}

/* "0100007F:4E54" */
static bool socket_end(const char **p, const char *end, struct procfs_end *ret)
{
    size_t n_addr;
    uint32_t port;

    if (!address(p, end, ret->addr, &n_addr) || !literal(p, end, ':') || !hex(p, end, 4, &port))
        return false;
    ret->port = (uint16_t)port;
    ret->v6 = n_addr == 16;
    procfs_end_unmap(ret);
    return true;
}

/* "00:00000000": the timer and when it is due, which grows by more digits */
static bool timer(const char **p, const char *end)
{
    uint32_t which;

    if (!hex(p, end, 2, &which) || !literal(p, end, ':'))
        return false;
    while (*p < end && **p != ' ')
        (*p)++;
    return true;
}

/* "  0: 0100007F:4E54 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 ..." */
bool procfs_socket_parse(const char *line, size_t n_bytes, struct procfs_socket *ret)
{
    const char *end = line + n_bytes, *p = line;
    struct procfs_socket s = {0};
    uint32_t state, unsent;
    uint64_t slot;
    int64_t uid, timeout, inode;

    skip_spaces(&p, end);
    if (!procfs_uint(&p, end, &slot) || !literal(&p, end, ':'))
        return false;
    skip_spaces(&p, end);
    if (!socket_end(&p, end, &s.local) || !literal(&p, end, ' ') || !socket_end(&p, end, &s.remote) ||
        !literal(&p, end, ' ') || !hex(&p, end, 2, &state) || !literal(&p, end, ' '))
        return false;
    if (!hex(&p, end, 8, &unsent) || !literal(&p, end, ':') || !hex(&p, end, 8, &s.unread_bytes) ||
        !literal(&p, end, ' ') || !timer(&p, end) || !literal(&p, end, ' ') || !hex(&p, end, 8, &s.retransmits))
        return false;
    if (!field(&p, end, &uid) || !field(&p, end, &timeout) || !field(&p, end, &inode) || uid < 0 || uid > UINT32_MAX ||
        inode < 0)
        return false;
    s.any = procfs_end_is_any(&s.local);
    s.state = (uint8_t)state;
    s.uid = (uint32_t)uid;
    s.inode = (uint64_t)inode;
    *ret = s;
    return true;
}

/* "Name:   12345 kB\n" at the start of a line. */
static bool kib_line(const char *text, const char *end, const char *name, uint64_t *ret_bytes)
{
    size_t n_name = strlen(name);

    for (const char *p = text; p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        uint64_t kib;

        if (!eol)
            return false;
        if ((size_t)(eol - p) > n_name && !memcmp(p, name, n_name)) {
            p += n_name;
            skip_spaces(&p, eol);
            return procfs_uint(&p, eol, &kib) && eol - p == 3 && !memcmp(p, " kB", 3) &&
                   !__builtin_mul_overflow(kib, 1024u, ret_bytes);
        }
        p = eol + 1;
    }
    return false;
}

bool procfs_memory_parse(const char *text, size_t n_bytes, struct procfs_memory *ret)
{
    struct procfs_memory m;

    if (!kib_line(text, text + n_bytes, "MemTotal:", &m.total_bytes) ||
        !kib_line(text, text + n_bytes, "MemAvailable:", &m.available_bytes))
        return false;
    *ret = m;
    return true;
}

/* "12.34 ", read as thousandths of one. */
static bool thousandths(const char *text, size_t n_bytes, uint64_t *ret)
{
    const char *end = text + n_bytes, *p = text;
    uint64_t whole, scale = 100, part = 0;

    if (!procfs_uint(&p, end, &whole) || !literal(&p, end, '.'))
        return false;
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        part += (uint64_t)(*p - '0') * scale;
        scale /= 10;
    }
    if (p == end || (*p != ' ' && *p != '\n') || __builtin_mul_overflow(whole, 1000u, &whole))
        return false;
    return !__builtin_add_overflow(whole, part, ret);
}

bool procfs_load_parse(const char *text, size_t n_bytes, uint32_t *ret_permille)
{
    uint64_t value;

    if (!thousandths(text, n_bytes, &value) || value > UINT32_MAX)
        return false;
    *ret_permille = (uint32_t)value;
    return true;
}
