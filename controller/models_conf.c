#include "controller/models_conf.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/parse.h"
#include "controller/plan_json.h"

struct reader {
    const char *path;
    int line;
    struct models_conf *conf;
    struct served *entry; /* the section being read; NULL before the first */
    char *why;
    size_t why_size;
};

static int fail(struct reader *rd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct reader *rd, const char *fmt, ...)
{
    int n = rd->line ? snprintf(rd->why, rd->why_size, "%s:%d: ", rd->path, rd->line)
                     : snprintf(rd->why, rd->why_size, "%s: ", rd->path);
    va_list ap;

    if (n >= 0 && (size_t)n < rd->why_size) {
        va_start(ap, fmt);
        vsnprintf(rd->why + n, rd->why_size - (size_t)n, fmt, ap);
        va_end(ap);
    }
    return MODELS_CONF_E_INVALID;
}

void models_conf_destroy(struct models_conf **c)
{
    if (!*c)
        return;
    for (size_t i = 0; i < (*c)->n; i++)
        place_request_clear(&(*c)->entry[i].request);
    free((*c)->entry);
    free(*c);
    *c = NULL;
}

/* ---- values ---- */

static int set_text(struct reader *rd, const char *key, const char *value, char *buf, size_t size)
{
    if (!*value || strlen(value) >= size)
        return fail(rd, "%s must be a word of less than %zu bytes", key, size);
    memcpy(buf, value, strlen(value) + 1);
    return 0;
}

static int set_number(struct reader *rd, const char *key, const char *value, uint64_t max, uint32_t *ret)
{
    uint64_t v;

    if (!parse_uint(value, 1, max, &v))
        return fail(rd, "%s must be a whole number from 1 to %" PRIu64 ", not \"%.40s\"", key, max, value);
    *ret = (uint32_t)v;
    return 0;
}

/* The model that a file holds: its name without folder, ".gguf" and the number of a split file. */
static int set_file(struct reader *rd, const char *value)
{
    const char *name = strrchr(value, '/') ? strrchr(value, '/') + 1 : value;
    size_t n = strlen(name);
    int a, b, end = 0;

    if (n >= 5 && strcasecmp(name + n - 5, ".gguf") == 0)
        n -= 5;
    if (n > 15 && sscanf(name + n - 15, "-%5d-of-%5d%n", &a, &b, &end) == 2 && end == 15)
        n -= 15;
    if (!n || n >= PROTO_MODEL_MAX)
        return fail(rd, "file must name a model of less than %d bytes", PROTO_MODEL_MAX);
    memcpy(rd->entry->request.model, name, n);
    rd->entry->request.model[n] = '\0';
    return 0;
}

static int set_policy(struct reader *rd, const char *value)
{
    if (strcmp(value, "fit") != 0 && strcmp(value, "spread") != 0)
        return fail(rd, "policy must be fit or spread, not \"%.40s\"", value);
    rd->entry->request.policy = *value == 'f' ? POLICY_FIT : POLICY_SPREAD;
    return 0;
}

static int set_kv_type(struct reader *rd, const char *value)
{
    if (!plan_kv_type_known(value))
        return fail(rd, "kv_type \"%.40s\" is none that llama-server knows: f16, q8_0, q4_0, ...", value);
    return set_text(rd, "kv_type", value, rd->entry->request.kv_type, sizeof(rd->entry->request.kv_type));
}

static int set_start(struct reader *rd, const char *value)
{
    for (enum served_start start = SERVED_MANUAL; start <= SERVED_BOOT; start++) {
        if (strcmp(value, served_start_name(start)) != 0)
            continue;
        rd->entry->start = start;
        return 0;
    }
    return fail(rd, "start must be boot, demand or manual, not \"%.40s\"", value);
}

static int set_ttl(struct reader *rd, const char *value)
{
    uint64_t *ms = &rd->entry->request.ttl_ms;

    if (strcmp(value, "off") == 0) {
        *ms = 0;
        return 0;
    }
    if (!parse_duration_ms(value, ms) || *ms < MODELS_CONF_TTL_MIN_MS || *ms > MODELS_CONF_TTL_MAX_MS)
        return fail(rd, "ttl must be off or a time from 1s to 8760h, like 10m, not \"%.40s\"", value);
    return 0;
}

static int set_pinned(struct reader *rd, const char *value)
{
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        return fail(rd, "pinned must be yes or no, not \"%.40s\"", value);
    rd->entry->request.pinned = *value == 'y';
    return 0;
}

static int add_arg(struct reader *rd, const char *arg, size_t n)
{
    struct place_request *req = &rd->entry->request;
    const char *flag;
    void *grown;

    if (req->n_args == PROTO_ARGS_MAX || n >= PROTO_ARG_MAX)
        return fail(rd, "args takes at most %d arguments of less than %d bytes", PROTO_ARGS_MAX, PROTO_ARG_MAX);
    grown = realloc(req->arg, (req->n_args + 1) * sizeof(req->arg[0]));
    if (!grown)
        return err_raise(-ENOMEM);
    req->arg = grown;
    memcpy(req->arg[req->n_args], arg, n);
    req->arg[req->n_args][n] = '\0';
    flag = place_owned_flag(req->arg[req->n_args++]);
    return flag ? fail(rd, "%s is set by Caravan from the plan: leave it out of args", flag) : 0;
}

/* Words apart by spaces; "..." holds spaces together. */
static int set_args(struct reader *rd, const char *value)
{
    while (*value) {
        bool quoted;
        size_t n;
        int r;

        value += strspn(value, " \t");
        if (!*value)
            break;
        quoted = *value == '"';
        value += quoted;
        n = strcspn(value, quoted ? "\"" : " \t");
        if (quoted && !value[n])
            return fail(rd, "args has a quote that is not closed");
        r = add_arg(rd, value, n);
        if (r)
            return r;
        value += n + quoted;
    }
    return 0;
}

static int set_value(struct reader *rd, const char *key, const char *value)
{
    struct place_request *req = &rd->entry->request;

    if (strcmp(key, "file") == 0)
        return set_file(rd, value);
    if (strcmp(key, "alias") == 0)
        return set_text(rd, key, value, req->alias, sizeof(req->alias));
    if (strcmp(key, "nodes") == 0)
        return set_number(rd, key, value, PROTO_RANKS_MAX, &req->nodes);
    if (strcmp(key, "policy") == 0)
        return set_policy(rd, value);
    if (strcmp(key, "context") == 0)
        return set_number(rd, key, value, 1 << 24, &req->ctx);
    if (strcmp(key, "slots") == 0)
        return set_number(rd, key, value, 256, &req->slots);
    if (strcmp(key, "kv_type") == 0)
        return set_kv_type(rd, value);
    if (strcmp(key, "start") == 0)
        return set_start(rd, value);
    if (strcmp(key, "pinned") == 0)
        return set_pinned(rd, value);
    if (strcmp(key, "args") == 0)
        return set_args(rd, value);
    if (strcmp(key, "ttl") == 0)
        return set_ttl(rd, value);
    if (strcmp(key, "replicas") == 0)
        return set_number(rd, key, value, SERVED_REPLICAS_MAX, &req->replicas);
    return fail(
        rd,
        "unknown key \"%.40s\"; known: file, alias, nodes, policy, context, slots, kv_type, start, ttl, pinned, "
        "replicas, args",
        key);
}

/* ---- lines ---- */

/* Cuts spaces off both ends, in place. */
static char *trim(char *s)
{
    char *end;

    while (isspace((unsigned char)*s))
        s++;
    for (end = s + strlen(s); end > s && isspace((unsigned char)end[-1]); end--)
        end[-1] = '\0';
    return s;
}

static int begin_section(struct reader *rd, char *name)
{
    char *end = strchr(name, ']');
    void *grown;

    if (!end || end[1])
        return fail(rd, "a section must be [NAME]");
    *end = '\0';
    name = trim(name);
    if (!*name || strlen(name) >= PROTO_MODEL_MAX)
        return fail(rd, "a section's name must have 1 to %d bytes", PROTO_MODEL_MAX - 1);
    for (size_t i = 0; i < rd->conf->n; i++)
        if (strcmp(rd->conf->entry[i].section, name) == 0)
            return fail(rd, "there is a section [%s] already", name);
    if (rd->conf->n == SERVED_MAX)
        return fail(rd, "more than %d sections", SERVED_MAX);
    grown = realloc(rd->conf->entry, (rd->conf->n + 1) * sizeof(rd->conf->entry[0]));
    if (!grown)
        return err_raise(-ENOMEM);
    rd->conf->entry = grown;
    rd->entry = &rd->conf->entry[rd->conf->n++];
    memset(rd->entry, 0, sizeof(*rd->entry));
    rd->entry->start = SERVED_DEMAND;
    memcpy(rd->entry->section, name, strlen(name) + 1);
    memcpy(rd->entry->request.model, name, strlen(name) + 1);
    return 0;
}

static int read_line(struct reader *rd, char *line)
{
    char *equals;

    line = trim(line);
    if (!*line || *line == '#' || *line == ';')
        return 0;
    if (*line == '[')
        return begin_section(rd, line + 1);
    equals = strchr(line, '=');
    if (!equals)
        return fail(rd, "expected [NAME] or key = value");
    if (!rd->entry)
        return fail(rd, "a key must stand under a [NAME]");
    *equals = '\0';
    return set_value(rd, trim(line), trim(equals + 1));
}

/* A section that names a file of another name is an alias of that model. */
static void fill_names(struct models_conf *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct served *e = &c->entry[i];

        if (!*e->request.alias && strcmp(e->request.model, e->section) != 0)
            memcpy(e->request.alias, e->section, sizeof(e->request.alias));
        memcpy(e->name, *e->request.alias ? e->request.alias : e->section, sizeof(e->name));
    }
}

/* A request, or a person, must mean one by a name. */
static int check_names(struct reader *rd)
{
    const struct models_conf *c = rd->conf;

    rd->line = 0;
    for (size_t i = 0; i < c->n; i++) {
        for (size_t k = 0; k < c->n; k++) {
            if (k != i && (strcmp(c->entry[i].name, c->entry[k].section) == 0 ||
                           (k < i && strcmp(c->entry[i].name, c->entry[k].name) == 0)))
                return fail(rd, "[%s] and [%s] are both called %s", c->entry[k].section, c->entry[i].section,
                            c->entry[i].name);
        }
    }
    return 0;
}

int models_conf_parse(const char *path, const char *text, size_t n_bytes, struct models_conf **ret, char *why,
                      size_t why_size)
{
    CLEANUP(models_conf_destroy) struct models_conf *c = calloc(1, sizeof(*c));
    CLEANUP(cleanup_free) char *copy = strndup(text, n_bytes);
    struct reader rd = {.path = path, .conf = c, .why = why, .why_size = why_size};
    char *p = copy;

    if (!c || !copy)
        return err_raise(-ENOMEM);
    if (strlen(copy) != n_bytes) {
        rd.line = 1;
        return fail(&rd, "the file is not text: it holds a NUL");
    }
    while (p && *p) {
        char *line = strsep(&p, "\n");
        int r;

        rd.line++;
        r = read_line(&rd, line);
        if (r)
            return r < 0 ? err_pass(r) : r;
    }
    fill_names(c);
    if (check_names(&rd))
        return MODELS_CONF_E_INVALID;
    *ret = c;
    c = NULL;
    return 0;
}

int models_conf_read(const char *path, bool required, struct models_conf **ret, char *why, size_t why_size)
{
    CLEANUP(cleanup_free) char *text = malloc(MODELS_CONF_BYTES_MAX + 1);
    FILE *f;
    size_t n;

    if (!text)
        return err_raise(-ENOMEM);
    f = fopen(path, "re");
    if (!f && errno == ENOENT && !required)
        return models_conf_parse(path, "", 0, ret, why, why_size);
    if (!f) {
        snprintf(why, why_size, "%s: %s", path, strerrordesc_np(errno));
        return MODELS_CONF_E_INVALID;
    }
    n = fread(text, 1, MODELS_CONF_BYTES_MAX + 1, f);
    if (ferror(f) || n > MODELS_CONF_BYTES_MAX) {
        snprintf(why, why_size, "%s: %s", path, ferror(f) ? "cannot be read" : "larger than 1 MiB");
        fclose(f);
        return MODELS_CONF_E_INVALID;
    }
    fclose(f);
    return models_conf_parse(path, text, n, ret, why, why_size);
}
