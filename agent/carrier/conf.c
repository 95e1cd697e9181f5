#include "agent/carrier/conf.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/carrier/lines.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/crypto.h"

enum { CONF_VERSION = 1 };

void carrier_conf_clear(struct carrier_conf *c)
{
    free(c->file);
    *c = (struct carrier_conf){.rank = -1};
}

/* ---- writing ---- */

static bool is_one_line(const char *path)
{
    return !strchr(path, '\n');
}

static void write_routes(FILE *f, const struct carrier_conf *c)
{
    char hex[CRYPTO_KEY_HEX];

    for (size_t i = 0; i < c->n_routes; i++) {
        const struct conf_route *r = &c->route[i];

        fprintf(f, "route=%" PRId32 " %s %u%s%s\n", r->rank, r->addr, r->port, r->tunnel ? " " : "",
                r->tunnel ? crypto_key_format(r->peer, hex) : "");
    }
}

static void write_conf(FILE *f, const struct carrier_conf *c)
{
    char hex[CRYPTO_KEY_HEX];

    fprintf(f, "version=%d\ninstance=%s\nepoch=%" PRIu64 "\nidentity=%s\nlisten=%s %u\n", CONF_VERSION,
            ID128(&c->instance), c->epoch, c->identity, c->addr, c->port);
    if (c->rank >= 0)
        fprintf(f, "rank=%" PRId32 " %u %s\n", c->rank, c->worker_port, crypto_key_format(c->peer, hex));
    for (size_t i = 0; i < c->n_files; i++)
        fprintf(f, "file=%s\n", c->file[i]);
    if (*c->index_dir)
        fprintf(f, "index_dir=%s\n", c->index_dir);
    if (c->coordinator_port)
        fprintf(f, "coordinator=%u\n", c->coordinator_port);
    for (size_t i = 0; i < c->n_gateways; i++)
        fprintf(f, "gateway=%s\n", crypto_key_format(c->gateway[i], hex));
    write_routes(f, c);
}

int carrier_conf_format(const struct carrier_conf *c, char **ret, size_t *ret_n_bytes)
{
    CLEANUP(cleanup_free) char *text = NULL;
    size_t n = 0;
    bool failed;
    FILE *f;

    assert(c->n_files <= CARRIER_FILES_MAX && c->n_gateways <= PROTO_GATEWAYS_MAX && c->n_routes <= PROTO_RANKS_MAX);
    if (!is_one_line(c->identity) || !is_one_line(c->index_dir))
        return err_raise(-EINVAL);
    for (size_t i = 0; i < c->n_files; i++)
        if (!is_one_line(c->file[i]))
            return err_raise(-EINVAL);
    f = open_memstream(&text, &n);
    if (!f)
        return err_raise(-ENOMEM);
    write_conf(f, c);
    failed = ferror(f);
    if (fclose(f) != 0 || failed)
        return err_raise(-ENOMEM);
    *ret = text;
    *ret_n_bytes = n;
    text = NULL;
    return 0;
}

/* ---- reading ---- */

static bool take_version(struct carrier_conf *c, struct span *v)
{
    uint64_t n;

    (void)c;
    return field_uint(v, CONF_VERSION, CONF_VERSION, &n);
}

static bool take_instance(struct carrier_conf *c, struct span *v)
{
    char text[ID128_TEXT];

    return field_word(v, text, sizeof(text)) && id128_parse(text, &c->instance) && !id128_is_zero(&c->instance);
}

static bool take_epoch(struct carrier_conf *c, struct span *v)
{
    return field_uint(v, 0, UINT64_MAX, &c->epoch);
}

static bool take_identity(struct carrier_conf *c, struct span *v)
{
    return field_rest(v, c->identity, sizeof(c->identity));
}

static bool take_listen(struct carrier_conf *c, struct span *v)
{
    return field_addr(v, c->addr) && field_port(v, &c->port);
}

static bool take_rank(struct carrier_conf *c, struct span *v)
{
    return field_rank(v, &c->rank) && field_port(v, &c->worker_port) && field_key(v, c->peer);
}

static bool take_file(struct carrier_conf *c, struct span *v)
{
    return field_rest(v, c->file[c->n_files++], PROTO_PATH_MAX);
}

static bool take_index_dir(struct carrier_conf *c, struct span *v)
{
    return field_rest(v, c->index_dir, sizeof(c->index_dir));
}

static bool take_coordinator(struct carrier_conf *c, struct span *v)
{
    return field_port(v, &c->coordinator_port);
}

static bool take_gateway(struct carrier_conf *c, struct span *v)
{
    return field_key(v, c->gateway[c->n_gateways++]);
}

/* What is not sealed must not leave the machine. */
static bool is_loopback(const char *addr)
{
    return !strncmp(addr, "127.", 4) || !strcmp(addr, "::1");
}

static bool take_route(struct carrier_conf *c, struct span *v)
{
    struct conf_route *r = &c->route[c->n_routes++];

    if (!field_rank(v, &r->rank) || !field_addr(v, r->addr) || !field_port(v, &r->port))
        return false;
    for (const struct conf_route *other = c->route; other < r; other++)
        if (other->rank == r->rank)
            return false;
    r->tunnel = v->p < v->end;
    return r->tunnel ? field_key(v, r->peer) : is_loopback(r->addr);
}

static const struct conf_key {
    const char *name;
    bool (*take)(struct carrier_conf *c, struct span *value);
    bool needed;
    size_t max; /* lines of it */
} keys[] = {
    {"version", take_version, true, 1},
    {"instance", take_instance, true, 1},
    {"epoch", take_epoch, true, 1},
    {"identity", take_identity, true, 1},
    {"listen", take_listen, true, 1},
    {"rank", take_rank, false, 1},
    {"file", take_file, false, CARRIER_FILES_MAX},
    {"index_dir", take_index_dir, false, 1},
    {"coordinator", take_coordinator, false, 1},
    {"gateway", take_gateway, false, PROTO_GATEWAYS_MAX},
    {"route", take_route, false, PROTO_RANKS_MAX},
};
enum { N_KEYS = sizeof(keys) / sizeof(keys[0]) };

/* Room for as many files as there are lines of them: found out first, so that the text alone does not cost memory. */
static int make_room(struct carrier_conf *c, struct span text)
{
    struct span key, value;
    size_t n = 0;

    while (lines_next(&text, &key, &value))
        n += span_is(&key, "file");
    if (!n)
        return 0;
    c->file = calloc(n < CARRIER_FILES_MAX ? n : CARRIER_FILES_MAX, sizeof(*c->file));
    return c->file ? 0 : err_raise(-ENOMEM);
}

static bool take_line(struct carrier_conf *c, size_t n_seen[N_KEYS], const struct span *key, struct span *value)
{
    for (size_t i = 0; i < N_KEYS; i++)
        if (span_is(key, keys[i].name))
            return n_seen[i]++ < keys[i].max && keys[i].take(c, value) && value->p == value->end;
    return false;
}

/* A file without a place for its index, or without a worker to be fed from it, is a mistake of the one who wrote that. */
static bool is_whole(const struct carrier_conf *c, const size_t n_seen[N_KEYS])
{
    for (size_t i = 0; i < N_KEYS; i++)
        if (keys[i].needed && !n_seen[i])
            return false;
    return !c->n_files || (*c->index_dir && c->rank >= 0);
}

/* The line at which it went wrong; 0: nowhere. */
static size_t read_conf(struct carrier_conf *c, struct span text)
{
    size_t n_seen[N_KEYS] = {0}, line = 1;
    struct span key, value;

    for (; text.p < text.end; line++)
        if (!lines_next(&text, &key, &value) || !take_line(c, n_seen, &key, &value))
            return line;
    return is_whole(c, n_seen) ? 0 : line;
}

int carrier_conf_parse(const char *text, size_t n_bytes, struct carrier_conf *ret, size_t *ret_line)
{
    const struct span all = {.p = text, .end = text + n_bytes};
    size_t line = 1;
    int r;

    *ret = (struct carrier_conf){.rank = -1};
    if (n_bytes <= CARRIER_CONF_TEXT_MAX) {
        r = make_room(ret, all);
        if (r < 0)
            return err_pass(r);
        line = read_conf(ret, all);
    }
    if (!line)
        return 0;
    carrier_conf_clear(ret);
    *ret_line = line;
    return CARRIER_CONF_E_MALFORMED;
}
