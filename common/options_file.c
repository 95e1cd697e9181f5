/* Configuration files: the door to libinih. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ini.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/options_private.h"

/* A file while it is read. libinih takes each line apart; what it would pass over in silence (a long line, a key given
 * twice, an indented line, a section without keys, the end of a long name) is seen here. */
struct source {
    const char *path;
    char *text; /* all of it */
    size_t pos, n_bytes;
    unsigned line;
    bool indented;
    int r;                          /* the first thing that went wrong: reading ends */
    const struct option_def *table; /* sections: of each of them */
    options_section *section;       /* NULL: a file without sections */
    void *ctx;
    struct options *o; /* what is filled; NULL: before the first section */
    char name[OPTIONS_SECTION_NAME_MAX];
    unsigned begun;  /* line of the section */
    unsigned *given; /* line by option, 0: not in this section */
    size_t last;     /* option that an indented line goes on with; o->n: none */
    char **names;    /* of all sections so far */
    size_t n_names;
};

/* An open section is handed over. */
static int section_end(struct source *s)
{
    int r;

    if (!s->section || !s->o)
        return 0;
    r = s->section(s->ctx, s->name, s->begun, &s->o);
    assert(!s->o);
    return r;
}

static int remember_name(struct source *s)
{
    char **grown;

    for (size_t i = 0; i < s->n_names; i++) {
        if (strcmp(s->names[i], s->name) == 0)
            return options_complain("%s:%u: [%s] is there twice", s->path, s->line, s->name);
    }
    grown = reallocarray(s->names, s->n_names + 1, sizeof(*s->names));
    if (!grown)
        return err_raise(-ENOMEM);
    s->names = grown;
    s->names[s->n_names] = strdup(s->name);
    if (!s->names[s->n_names])
        return err_raise(-ENOMEM);
    s->n_names++;
    return 0;
}

/* line: from its '[' on, without its end. */
static int section_begin(struct source *s, const char *line)
{
    size_t n = strcspn(line + 1, "]");
    const char *rest = line + 1 + n;
    int r = section_end(s);

    if (r)
        return r;
    if (!s->section)
        return options_complain("%s:%u: this file has no [sections]", s->path, s->line);
    if (*rest++ != ']' || n == 0 || n >= sizeof(s->name))
        return options_complain("%s:%u: a section is [NAME], at most %d bytes long", s->path, s->line,
                                OPTIONS_SECTION_NAME_MAX - 1);
    rest += strspn(rest, " \t\r");
    if (*rest && *rest != ';' && *rest != '#')
        return options_complain("%s:%u: nothing but a comment may follow [%.*s]", s->path, s->line, (int)n, line + 1);
    memcpy(s->name, line + 1, n);
    s->name[n] = '\0';
    s->begun = s->line;
    r = remember_name(s);
    if (r)
        return r;
    r = options_new(s->table, &s->o);
    if (r < 0)
        return err_pass(r);
    s->last = s->o->n;
    memset(s->given, 0, s->o->n * sizeof(*s->given));
    return 0;
}

/* Gives libinih one line (fgets); NULL ends the reading. */
static char *next_line(char *buf, int size, void *stream)
{
    struct source *s = stream;
    const char *from = s->text + s->pos;
    size_t n = strcspn(from, "\n");
    size_t blank;

    if (s->r || s->pos >= s->n_bytes)
        return NULL;
    s->line++;
    s->pos += n + 1;
    if (n > OPTIONS_LINE_MAX || n + 2 > (size_t)size) {
        s->r = options_complain("%s:%u: the line is longer than %d bytes; go on with an indented line", s->path,
                                s->line, OPTIONS_LINE_MAX);
        return NULL;
    }
    memcpy(buf, from, n);
    memcpy(buf + n, "\n", 2);
    blank = strspn(buf, " \t\r\f\v");
    s->indented = blank && blank < n;
    if (buf[0] == '[') {
        buf[n] = '\0';
        s->r = section_begin(s, buf);
        memcpy(buf, "#\n", 3); /* done here; a comment for libinih */
    }
    return s->r ? NULL : buf;
}

static int unknown_key(const struct source *s, const char *name)
{
    const char *near = options_nearest(s->o, name, strlen(name), true);

    return options_complain("%s:%u: unknown key '%.60s'%s%s%s", s->path, s->line, name, near ? "; did you mean '" : "",
                            near ? near : "", near ? "'?" : "");
}

/* An indented line: more of the value above it. */
static int go_on(struct source *s, const char *more, const char *where)
{
    enum option_type type = s->last < s->o->n ? s->o->table[s->last].type : OPTION_BOOL;
    CLEANUP(cleanup_free) char *text = NULL;

    if (type != OPTION_STRING && type != OPTION_LIST)
        return options_complain(
            "%s:%u: an indented line goes on with the value above, and this one cannot: remove the spaces", s->path,
            s->line);
    if (asprintf(&text, "%s%c%s", s->o->value[s->last].text, type == OPTION_LIST ? ',' : ' ', more) < 0) {
        text = NULL;
        return err_raise(-ENOMEM);
    }
    return options_set(s->o, s->last, text, where);
}

static int take_line(struct source *s, const char *key, const char *value)
{
    size_t n = strcspn(value, " \t=:");
    char where[4096];
    size_t index;
    int r;

    if (!s->o)
        return options_complain("%s:%u: '%.60s' stands before the first [section]", s->path, s->line, key);
    if (s->indented) {
        /* libinih calls this more of the value above, a person may have meant a key. */
        if (value[n + strspn(value + n, " \t")] == '=' && options_find(s->o, value, n, false) < s->o->n)
            return options_complain("%s:%u: a key must stand at the beginning of its line: remove the spaces", s->path,
                                    s->line);
        snprintf(where, sizeof(where), "%s:%u: %s", s->path, s->line, s->last < s->o->n ? key : "");
        return go_on(s, value, where);
    }
    index = options_find(s->o, key, strlen(key), false);
    if (index == s->o->n)
        return unknown_key(s, key);
    if (s->o->table[index].argv_only || s->o->table[index].type == OPTION_FLAG)
        return options_complain("%s:%u: '%s' can be given on the command line only", s->path, s->line, key);
    if (s->given[index])
        return options_complain("%s:%u: '%s' was given in line %u before", s->path, s->line, key, s->given[index]);
    s->given[index] = s->line;
    s->last = index;
    snprintf(where, sizeof(where), "%s:%u: %s", s->path, s->line, key);
    r = options_check_secret(&s->o->table[index], value, where);
    return r ? r : options_set(s->o, index, value, where);
}

/* libinih's handler: nonzero is fine. */
static int on_line(void *user, const char *section, const char *key, const char *value)
{
    struct source *s = user;

    (void)section; /* cut at 49 bytes; ours is s->name */
    if (s->r == 0)
        s->r = take_line(s, key, value);
    return s->r == 0;
}

/* All of the file into s->text; nothing where there is none and none is needed. 0, OPTIONS_E_INVALID, -ENOMEM. */
static int load(struct source *s, bool required)
{
    CLEANUP(cleanup_close) int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    ssize_t got = 1;

    if (fd < 0 && errno == ENOENT && !required)
        return 0;
    if (fd < 0)
        return options_complain("%s: %s", s->path, strerror(errno));
    s->text = malloc(OPTIONS_FILE_MAX + 1);
    if (!s->text)
        return err_raise(-ENOMEM);
    while (got && s->n_bytes <= OPTIONS_FILE_MAX) {
        got = read(fd, s->text + s->n_bytes, OPTIONS_FILE_MAX + 1 - s->n_bytes);
        if (got < 0 && errno != EINTR)
            return options_complain("%s: %s", s->path, strerror(errno));
        s->n_bytes += got > 0 ? (size_t)got : 0;
    }
    if (s->n_bytes > OPTIONS_FILE_MAX)
        return options_complain("%s: longer than %d KiB", s->path, OPTIONS_FILE_MAX / 1024);
    s->text[s->n_bytes] = '\0';
    if (strlen(s->text) != s->n_bytes)
        return options_complain("%s: not text: it holds a NUL byte", s->path);
    return 0;
}

static void source_clear(struct source *s)
{
    for (size_t i = 0; i < s->n_names; i++)
        free(s->names[i]);
    free(s->names);
    free(s->given);
    free(s->text);
    if (s->section)
        options_destroy(&s->o);
}

static int read_source(struct source *s, bool required)
{
    size_t n = 0;
    int r = load(s, required);

    if (r || !s->text)
        return r < 0 ? err_pass(r) : r;
    while (s->table[n].name)
        n++;
    s->last = n;
    s->given = calloc(n + 1, sizeof(*s->given));
    if (!s->given)
        return err_raise(-ENOMEM);
    r = ini_parse_stream(next_line, s, on_line, s);
    if (s->r == 0 && r > 0)
        return options_complain("%s:%d: not 'key = value'", s->path, r);
    if (s->r == 0 && r < 0)
        return err_raise(-ENOMEM);
    r = s->r ? s->r : section_end(s);
    return r < 0 ? err_pass(r) : r;
}

int options_read_file(struct options *o, const char *path, bool required)
{
    CLEANUP(source_clear) struct source s = {.path = path, .table = o->table, .o = o};

    return read_source(&s, required);
}

int options_read_sections(const struct option_def *table, const char *path, bool required, options_section *section,
                          void *ctx)
{
    CLEANUP(source_clear) struct source s = {.path = path, .table = table, .section = section, .ctx = ctx};

    return read_source(&s, required);
}
