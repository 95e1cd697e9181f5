#include "agent/process_spec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/procfs.h"

enum { SPEC_VERSION = 1 };

bool process_id_valid(const char *id)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t n = strnlen(id, PROTO_NAME_MAX);

    return n > 0 && n < PROTO_NAME_MAX && id[0] != '.' && strspn(id, allowed) == n;
}

size_t process_spec_format(const struct unit_facts *u, char buf[PROCESS_SPEC_TEXT_MAX])
{
    int n = snprintf(buf, PROCESS_SPEC_TEXT_MAX,
                     "version=%d\nid=%s\nrole=%d\nstanding=%d\ninstance=%s\nepoch=%" PRIu64 "\nrank=%" PRId32
                     "\naddr=%s\nport=%u\n",
                     SPEC_VERSION, u->id, (int)u->role, u->standing, ID128(&u->instance), u->epoch, u->rank + 1,
                     u->addr, (unsigned)u->port);

    for (size_t i = 0; i < u->n_devices; i++) /* at most 16 names of 31 bytes: it all fits */
        n += snprintf(buf + n, PROCESS_SPEC_TEXT_MAX - (size_t)n, "device=%s\n", u->device[i]);
    return (size_t)n;
}

static bool take_text(const char *p, size_t n, char *ret, size_t size)
{
    if (n >= size || memchr(p, '\0', n))
        return false;
    memcpy(ret, p, n);
    ret[n] = '\0';
    return true;
}

static bool take_uint(const char *p, size_t n, uint64_t max, uint64_t *ret)
{
    const char *end = p + n;

    return procfs_uint(&p, end, ret) && p == end && *ret <= max;
}

/* One bit for each key that must be there. */
enum { HAS_VERSION = 1, HAS_ID = 2, HAS_ROLE = 4, HAS_INSTANCE = 8, HAS_EPOCH = 16, HAS_RANK = 32, HAS_ALL = 63 };

static bool is(const char *key, size_t n, const char *name)
{
    return strlen(name) == n && !memcmp(key, name, n);
}

static bool take(struct unit_facts *u, unsigned *has, const char *key, size_t n_key, const char *v, size_t n)
{
    char text[ID128_TEXT];
    uint64_t number = 0;
    bool ok = true;

    if (is(key, n_key, "version")) {
        ok = take_uint(v, n, SPEC_VERSION, &number) && number == SPEC_VERSION;
        *has |= HAS_VERSION;
    } else if (is(key, n_key, "id")) {
        ok = take_text(v, n, u->id, sizeof(u->id)) && process_id_valid(u->id);
        *has |= HAS_ID;
    } else if (is(key, n_key, "role")) {
        ok = take_uint(v, n, UNIT_CARRIER, &number) && number >= UNIT_WORKER;
        u->role = (enum unit_role)number;
        *has |= HAS_ROLE;
    } else if (is(key, n_key, "standing")) {
        ok = take_uint(v, n, 1, &number);
        u->standing = number;
    } else if (is(key, n_key, "instance")) {
        ok = take_text(v, n, text, sizeof(text)) && id128_parse(text, &u->instance);
        *has |= HAS_INSTANCE;
    } else if (is(key, n_key, "epoch")) {
        ok = take_uint(v, n, UINT64_MAX, &u->epoch);
        *has |= HAS_EPOCH;
    } else if (is(key, n_key, "rank")) {
        ok = take_uint(v, n, PROTO_RANKS_MAX, &number);
        u->rank = (int32_t)number - 1; /* stored from 1: 0 is none */
        *has |= HAS_RANK;
    } else if (is(key, n_key, "addr")) {
        ok = take_text(v, n, u->addr, sizeof(u->addr));
    } else if (is(key, n_key, "port")) {
        ok = take_uint(v, n, UINT16_MAX, &number);
        u->port = (uint16_t)number;
    } else if (is(key, n_key, "device")) {
        ok = u->n_devices < PROTO_DEVICES_MAX && take_text(v, n, u->device[u->n_devices], PROTO_DEVICE_MAX);
        u->n_devices++;
    }
    return ok;
}

bool process_spec_parse(const char *text, size_t n_bytes, struct unit_facts *ret)
{
    const char *end = text + n_bytes;
    struct unit_facts u = {.proc_state = '?'};
    unsigned has = 0;

    for (const char *p = text; p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        const char *eq = eol ? memchr(p, '=', (size_t)(eol - p)) : NULL;

        if (!eq || !take(&u, &has, p, (size_t)(eq - p), eq + 1, (size_t)(eol - eq - 1)))
            return false;
        p = eol + 1;
    }
    if (has != HAS_ALL)
        return false;
    *ret = u;
    return true;
}
