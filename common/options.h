/* One table per program feeds the configuration file, the environment, argv, --help and the reference page.
 *
 * Key foo_bar is also --foo-bar [VALUE], --foo-bar=VALUE and CARAVAN_FOO_BAR. Later wins: default, file, environment,
 * argv. Errors are one line on standard error with file and line, the key and what is allowed.
 *
 * A file: `key = value` lines; a line that begins with # or ; is a comment, and so is the rest of a line behind " ;". An
 * indented line goes on with the value above it, of STRING with a space between, of LIST as more elements. Lines are at most
 * OPTIONS_LINE_MAX bytes long (libinih's buffer), a file at most OPTIONS_FILE_MAX. */
#ifndef CARAVAN_COMMON_OPTIONS_H
#define CARAVAN_COMMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/core/parse.h"

enum { OPTIONS_LINE_MAX = 198, OPTIONS_FILE_MAX = 64 * 1024, OPTIONS_SECTION_NAME_MAX = 128 /* with NUL */ };

enum option_type {
    OPTION_FLAG,        /* argv only, no value: --print-key */
    OPTION_BOOL,        /* yes|no */
    OPTION_UINT,        /* min..max */
    OPTION_DURATION_MS, /* 500ms, 10s, 5m, 1h; min..max in ms */
    OPTION_BYTES,       /* 0, 1024, 4G: K, M, G, T are powers of 1024 */
    OPTION_STRING,
    OPTION_CHOICE, /* one of `choices`, separated by '|' */
    OPTION_LIST    /* comma separated, spaces dropped */
};

struct option_def {
    const char *name; /* NULL ends a table */
    enum option_type type;
    uint64_t min, max; /* numbers; 0, 0: any */
    const char *def;   /* text form; NULL: unset */
    const char *choices;
    const char *arg; /* placeholder in --help: "DIR" */
    const char *help;
    bool argv_only; /* not in files or environment */
    /* STRING: overwritten in argv as soon as it is read there, unless it is @FILE or "-", which are no secrets. Files and the
     * environment, which others can read or inherit, may only name it: @FILE. */
    bool secret;
};

struct options; /* values for one table; opaque */

enum { OPTIONS_E_INVALID = 1 /* said on standard error */, OPTIONS_E_HELP, OPTIONS_E_VERSION };

/* table: borrowed, must outlive the result. ret: owned, all defaults. 0 or -ENOMEM. Asserts that each def is valid. */
int options_new(const struct option_def *table, struct options **ret);
void options_destroy(struct options **o);

/* A file that is missing is fine where `required` is false. 0, OPTIONS_E_INVALID, negative errno. */
int options_read_file(struct options *o, const char *path, bool required);
/* Each CARAVAN_* of the table; an empty one counts as absent. 0, OPTIONS_E_INVALID, -ENOMEM. */
int options_read_env(struct options *o);

/* A file of [sections] that have all the same keys: `section` for each, in their order, with values of its own. values:
 * consumed. line: where it begins. It returns 0, or anything else, which ends the reading and is returned; it has then said
 * on standard error what is wrong. A section that comes twice is refused. Else as options_read_file. */
typedef int options_section(void *ctx, const char *name, unsigned line, struct options **values);
int options_read_sections(const struct option_def *table, const char *path, bool required, options_section *section,
                          void *ctx);

/* Takes long options (argv: a secret is read once, see option_def); the first word that is not one, and what follows "--", stays in argv: *ret_first is its index.
 * 0, OPTIONS_E_INVALID, OPTIONS_E_HELP, OPTIONS_E_VERSION. */
int options_read_argv(struct options *o, int argc, char **argv, int *ret_first);

/* Index = position in the table. Asserts on a wrong type: that is our own mistake. */
bool options_bool(const struct options *o, size_t index);                            /* FLAG and BOOL */
uint64_t options_uint(const struct options *o, size_t index);                        /* UINT, DURATION_MS, BYTES */
const char *options_string(const struct options *o, size_t index);                   /* STRING, CHOICE; NULL: unset */
size_t options_list(const struct options *o, size_t index, const char *const **ret); /* LIST; ret: borrowed */
bool options_is_set(const struct options *o, size_t index);                          /* by anything but the default */

/* The options part of --help, aligned; and the reference page as a Markdown table. */
void options_print_help(const struct option_def *table, FILE *out);
void options_print_markdown(const struct option_def *table, FILE *out);

#endif
