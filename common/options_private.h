/* What common/options.c, which knows values, shares with common/options_file.c, which reads files. */
#ifndef CARAVAN_COMMON_OPTIONS_PRIVATE_H
#define CARAVAN_COMMON_OPTIONS_PRIVATE_H

#include "common/options.h"

enum { NAME_MAX_BYTES = 64 };

struct value {
    char *text; /* NULL: unset */
    uint64_t number;
    char *list_text; /* what `item` points into */
    char **item;
    size_t n_items;
    bool set; /* by anything but the default */
};

struct options {
    const struct option_def *table;
    size_t n;
    struct value value[];
};

/* One line on standard error; returns OPTIONS_E_INVALID. */
int options_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* where: "FILE:LINE: key", "--key", "CARAVAN_KEY", as the user knows it. 0, OPTIONS_E_INVALID (said), -ENOMEM. */
int options_set(struct options *o, size_t index, const char *text, const char *where);
/* Whether text, which came from a file or the environment, is one that may stand there. 0, OPTIONS_E_INVALID (said). */
int options_check_secret(const struct option_def *d, const char *text, const char *where);
/* Index of a name; o->n where there is none. dash: `-` may stand for `_`. */
size_t options_find(const struct options *o, const char *name, size_t length, bool dash);
/* The known name that somebody may have meant; NULL: none is near. in_file: those for argv alone are left out. */
const char *options_nearest(const struct options *o, const char *name, size_t length, bool in_file);

#endif
