#include "common/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/options_private.h"

int options_complain(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return OPTIONS_E_INVALID;
}

/* ---- values ---- */

static void value_clear(struct value *v)
{
    if (v->text)
        explicit_bzero(v->text, strlen(v->text)); /* it may be a secret */
    free(v->text);
    free(v->list_text);
    free(v->item);
    *v = (struct value){0};
}

static bool in_choices(const char *choices, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = choices; n && *p;) {
        size_t length = strcspn(p, "|");

        if (length == n && memcmp(p, word, n) == 0)
            return true;
        p += length + (p[length] == '|');
    }
    return false;
}

/* Empty elements are dropped, so that a comma at the end of a line does no harm. */
static int split_list(struct value *v)
{
    size_t most = 1;
    char *next;

    v->list_text = strdup(v->text);
    if (!v->list_text)
        return err_raise(-ENOMEM);
    for (const char *p = v->text; *p; p++)
        most += *p == ',';
    v->item = calloc(most, sizeof(*v->item));
    if (!v->item)
        return err_raise(-ENOMEM);
    next = v->list_text;
    for (char *one; (one = strsep(&next, ","));) {
        size_t n;

        one += strspn(one, " \t");
        for (n = strlen(one); n && isspace((unsigned char)one[n - 1]); n--)
            one[n - 1] = '\0';
        if (n)
            v->item[v->n_items++] = one;
    }
    return 0;
}

static bool in_range(const struct option_def *d, uint64_t n)
{
    return (d->min == 0 && d->max == 0) || (n >= d->min && n <= d->max);
}

/* 0; OPTIONS_E_INVALID, nothing said; -ENOMEM. ret: filled in every case, to be cleared by the caller. */
static int value_parse(const struct option_def *d, const char *text, struct value *ret)
{
    bool ok = true;

    ret->text = strdup(text);
    if (!ret->text)
        return err_raise(-ENOMEM);
    switch (d->type) {
    case OPTION_FLAG:
    case OPTION_BOOL:
        ret->number = strcmp(text, "yes") == 0;
        ok = ret->number || strcmp(text, "no") == 0;
        break;
    case OPTION_UINT:
        ok = parse_uint(text, 0, UINT64_MAX, &ret->number) && in_range(d, ret->number);
        break;
    case OPTION_DURATION_MS:
        ok = parse_duration_ms(text, &ret->number) && in_range(d, ret->number);
        break;
    case OPTION_BYTES:
        ok = parse_bytes(text, &ret->number) && in_range(d, ret->number);
        break;
    case OPTION_CHOICE:
        ok = in_choices(d->choices, text);
        break;
    case OPTION_STRING:
        break;
    case OPTION_LIST:
        return split_list(ret);
    }
    return ok ? 0 : OPTIONS_E_INVALID;
}

static char *format_duration(uint64_t ms, char *buf, size_t size)
{
    if (ms % 1000)
        snprintf(buf, size, "%llums", (unsigned long long)ms);
    else
        snprintf(buf, size, "%llus", (unsigned long long)ms / 1000);
    return buf;
}

/* What a value of this option looks like, for a person. */
static const char *allowed(const struct option_def *d, char *buf, size_t size)
{
    bool ranged = d->min || d->max;
    char least[32], most[32];

    switch (d->type) {
    case OPTION_UINT:
        if (ranged)
            snprintf(buf, size, "must be a whole number from %llu to %llu", (unsigned long long)d->min,
                     (unsigned long long)d->max);
        else
            snprintf(buf, size, "must be a whole number");
        break;
    case OPTION_DURATION_MS:
        if (ranged)
            snprintf(buf, size, "must be a time from %s to %s, such as 500ms, 10s, 5m or 1h",
                     format_duration(d->min, least, sizeof(least)), format_duration(d->max, most, sizeof(most)));
        else
            snprintf(buf, size, "must be a time such as 500ms, 10s, 5m or 1h");
        break;
    case OPTION_BYTES:
        if (ranged)
            snprintf(buf, size, "must be a size from %llu to %llu bytes, such as 512M or 4G (powers of 1024)",
                     (unsigned long long)d->min, (unsigned long long)d->max);
        else
            snprintf(buf, size, "must be a size such as 0, 512M or 4G (K, M, G, T are powers of 1024)");
        break;
    case OPTION_CHOICE:
        snprintf(buf, size, "must be one of %s", d->choices);
        break;
    case OPTION_FLAG:
    case OPTION_BOOL:
    case OPTION_STRING:
    case OPTION_LIST:
        snprintf(buf, size, "must be yes or no");
        break;
    }
    return buf;
}

int options_set(struct options *o, size_t index, const char *text, const char *where)
{
    CLEANUP(value_clear) struct value v = {0};
    char buf[256];
    int r = value_parse(&o->table[index], text, &v);

    if (r == OPTIONS_E_INVALID)
        return options_complain("%s: '%.100s' %s", where, text, allowed(&o->table[index], buf, sizeof(buf)));
    if (r)
        return err_fold(r);
    value_clear(&o->value[index]);
    o->value[index] = v;
    o->value[index].set = true;
    v = (struct value){0};
    return 0;
}

/* ---- names ---- */

size_t options_find(const struct options *o, const char *name, size_t length, bool dash)
{
    for (size_t i = 0; i < o->n; i++) {
        const char *have = o->table[i].name;
        size_t k = 0;

        while (k < length && have[k] && (dash && name[k] == '-' ? '_' : name[k]) == have[k])
            k++;
        if (k == length && have[k] == '\0')
            return i;
    }
    return o->n;
}

/* Levenshtein distance; what is too long for the row is far away. */
static size_t distance(const char *a, size_t n_a, const char *b)
{
    size_t row[NAME_MAX_BYTES + 1], n_b = strlen(b);

    if (n_a > NAME_MAX_BYTES || n_b > NAME_MAX_BYTES)
        return SIZE_MAX;
    for (size_t k = 0; k <= n_b; k++)
        row[k] = k;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t k = 1; k <= n_b; k++) {
            size_t swap = diagonal + (a[i - 1] != b[k - 1] && !(a[i - 1] == '-' && b[k - 1] == '_'));
            size_t least = row[k] < row[k - 1] ? row[k] + 1 : row[k - 1] + 1;

            diagonal = row[k];
            row[k] = swap < least ? swap : least;
        }
    }
    return row[n_b];
}

const char *options_nearest(const struct options *o, const char *name, size_t length, bool in_file)
{
    size_t best = length < 4 ? 2 : 3;
    const char *found = NULL;

    for (size_t i = 0; i < o->n; i++) {
        size_t d = distance(name, length, o->table[i].name);

        if (d < best && !(in_file && o->table[i].argv_only)) {
            best = d;
            found = o->table[i].name;
        }
    }
    return found;
}

/* foo_bar as --foo-bar. */
static void argv_name(const char *name, char *buf, size_t size)
{
    snprintf(buf, size, "--%s", name);
    for (char *p = buf; *p; p++)
        *p = *p == '_' ? '-' : *p;
}

/* ---- making ---- */

static void assert_valid(const struct option_def *d)
{
    (void)d; /* where assertions are off */
    assert(d->name[0] && strlen(d->name) < NAME_MAX_BYTES - sizeof("CARAVAN_"));
    assert(d->name[strspn(d->name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0');
    assert(d->help && d->min <= d->max);
    assert((d->type == OPTION_CHOICE) == (d->choices != NULL));
    assert(d->type != OPTION_FLAG || !d->def);
    assert(!d->secret || (d->type == OPTION_STRING && !d->def));
}

int options_new(const struct option_def *table, struct options **ret)
{
    CLEANUP(options_destroy) struct options *o = NULL;
    size_t n = 0;

    while (table[n].name)
        n++;
    o = calloc(1, sizeof(*o) + n * sizeof(o->value[0]));
    if (!o)
        return err_raise(-ENOMEM);
    o->table = table;
    o->n = n;
    for (size_t i = 0; i < n; i++) {
        int r = 0;

        assert_valid(&table[i]);
        if (table[i].def)
            r = value_parse(&table[i], table[i].def, &o->value[i]);
        assert(r <= 0); /* a default that is not valid */
        if (r < 0)
            return err_pass(r);
    }
    *ret = o;
    o = NULL;
    return 0;
}

void options_destroy(struct options **o)
{
    if (!*o)
        return;
    for (size_t i = 0; i < (*o)->n; i++)
        value_clear(&(*o)->value[i]);
    free(*o);
    *o = NULL;
}

/* ---- environment and argv ---- */

int options_check_secret(const struct option_def *d, const char *text, const char *where)
{
    if (!d->secret || text[0] == '@')
        return 0;
    return options_complain("%s: must be @FILE: others may read what stands here", where);
}

/* From the list of processes. */
static void hide(const struct option_def *d, char *text)
{
    if (d->secret && text[0] != '@' && strcmp(text, "-") != 0)
        memset(text, 'x', strlen(text));
}

int options_read_env(struct options *o)
{
    for (size_t i = 0; i < o->n; i++) {
        char name[NAME_MAX_BYTES + 1];
        const char *text;
        int r;

        if (o->table[i].argv_only || o->table[i].type == OPTION_FLAG)
            continue;
        snprintf(name, sizeof(name), "CARAVAN_%s", o->table[i].name);
        for (char *p = name; *p; p++)
            *p = (char)toupper((unsigned char)*p);
        text = getenv(name);
        if (!text || !*text)
            continue;
        r = options_check_secret(&o->table[i], text, name);
        if (!r)
            r = options_set(o, i, text, name);
        if (r)
            return r;
    }
    return 0;
}

static int unknown_option(const struct options *o, const char *word, size_t length)
{
    const char *near = options_nearest(o, word, length, false);
    char name[NAME_MAX_BYTES + 3] = "";

    if (near)
        argv_name(near, name, sizeof(name));
    return options_complain("unknown option '--%.*s'%s%s%s", length > 60 ? 60 : (int)length, word,
                            near ? "; did you mean '" : "", name, near ? "'?" : "; --help lists them all");
}

/* word: what follows the "--" of argv[*i]; *i moves on where the value is a word of its own. */
static int take_word(struct options *o, const char *word, int argc, char **argv, int *i)
{
    size_t length = strcspn(word, "=");
    size_t index = options_find(o, word, length, true);
    char *text = word[length] == '=' ? argv[*i] + 2 + length + 1 : NULL;
    char name[NAME_MAX_BYTES + 3];
    int r;

    if (index == o->n)
        return unknown_option(o, word, length);
    argv_name(o->table[index].name, name, sizeof(name));
    if (o->table[index].type == OPTION_FLAG)
        return text ? options_complain("%s takes no value", name) : options_set(o, index, "yes", name);
    if (!text && *i + 1 >= argc)
        return options_complain("%s needs a value", name);
    if (!text)
        text = argv[++*i];
    r = options_set(o, index, text, name);
    hide(&o->table[index], text);
    return r < 0 ? err_pass(r) : r;
}

int options_read_argv(struct options *o, int argc, char **argv, int *ret_first)
{
    int i, r;

    for (i = 1; i < argc; i++) {
        const char *word = argv[i];

        if (strcmp(word, "--") == 0) {
            i++;
            break;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
            return OPTIONS_E_HELP;
        if (strcmp(word, "--version") == 0)
            return OPTIONS_E_VERSION;
        if (word[0] != '-' || word[1] == '\0')
            break;
        if (word[1] != '-')
            return options_complain("unknown option '%.60s'; all but -h are long: --help lists them", word);
        r = take_word(o, word + 2, argc, argv, &i);
        if (r)
            return r < 0 ? err_pass(r) : r;
    }
    *ret_first = i;
    return 0;
}

/* ---- reading them ---- */

static const struct value *value_of(const struct options *o, size_t index)
{
    assert(index < o->n);
    return &o->value[index];
}

bool options_bool(const struct options *o, size_t index)
{
    const struct value *v = value_of(o, index);

    assert(o->table[index].type == OPTION_FLAG || o->table[index].type == OPTION_BOOL);
    return v->number != 0;
}

uint64_t options_uint(const struct options *o, size_t index)
{
    const struct value *v = value_of(o, index);

    assert(o->table[index].type == OPTION_UINT || o->table[index].type == OPTION_DURATION_MS ||
           o->table[index].type == OPTION_BYTES);
    return v->number;
}

const char *options_string(const struct options *o, size_t index)
{
    const struct value *v = value_of(o, index);

    assert(o->table[index].type == OPTION_STRING || o->table[index].type == OPTION_CHOICE);
    return v->text;
}

size_t options_list(const struct options *o, size_t index, const char *const **ret)
{
    const struct value *v = value_of(o, index);

    assert(o->table[index].type == OPTION_LIST);
    *ret = (const char *const *)v->item;
    return v->n_items;
}

bool options_is_set(const struct options *o, size_t index)
{
    return value_of(o, index)->set;
}
