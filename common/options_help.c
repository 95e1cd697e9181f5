/* What people read of an options table: the options part of --help, and the reference page. */
#include <string.h>

#include "common/options.h"

enum { COLUMNS = 100, INDENT = 2, LEFT_MAX = 34 };

static const char *placeholder(const struct option_def *d)
{
    if (d->arg)
        return d->arg;
    if (d->choices)
        return d->choices;
    return d->type == OPTION_BOOL ? "yes|no" : d->type == OPTION_DURATION_MS ? "TIME" : "VALUE";
}

/* "--foo-bar ARG" into buf; returns its length. */
static size_t left_side(const struct option_def *d, char *buf, size_t size)
{
    size_t n = strlen(d->name);

    if (d->type == OPTION_FLAG)
        snprintf(buf, size, "--%s", d->name);
    else
        snprintf(buf, size, "--%s %s", d->name, placeholder(d));
    for (char *p = buf; p < buf + 2 + n; p++)
        *p = *p == '_' ? '-' : *p;
    return strlen(buf);
}

/* Words from column `left` to COLUMNS; *at is where the cursor is. */
static void wrap(FILE *out, const char *text, size_t left, size_t *at)
{
    while (*text) {
        size_t n = strcspn(text, " ");

        if (*at > left && *at + 1 + n > COLUMNS) {
            fprintf(out, "\n%*s", (int)left, "");
            *at = left;
        }
        *at += (size_t)fprintf(out, "%s%.*s", *at > left ? " " : "", (int)n, text);
        text += n + strspn(text + n, " ");
    }
}

static void help_line(FILE *out, const struct option_def *d, const char *left, size_t left_width)
{
    size_t column = INDENT + left_width + 2, at = INDENT + strlen(left);
    char def[512];

    fprintf(out, "%*s%s", INDENT, "", left);
    if (at + 2 > column) {
        fputc('\n', out);
        at = 0;
    }
    fprintf(out, "%*s", (int)(column - at), "");
    at = column;
    wrap(out, d->help, column, &at);
    if (d->def) {
        snprintf(def, sizeof(def), "[%s]", d->def);
        wrap(out, def, column, &at);
    }
    fputc('\n', out);
}

void options_print_help(const struct option_def *table, FILE *out)
{
    static const struct option_def own[] = {
        {.name = "help", .type = OPTION_FLAG, .help = "Print this and exit."},
        {.name = "version", .type = OPTION_FLAG, .help = "Print the version and exit."},
    };
    size_t width = sizeof("--version") - 1;
    char left[256];

    for (const struct option_def *d = table; d->name; d++) {
        size_t n = left_side(d, left, sizeof(left));

        if (n > width && n <= LEFT_MAX)
            width = n;
    }
    for (const struct option_def *d = table; d->name; d++) {
        left_side(d, left, sizeof(left));
        help_line(out, d, left, width);
    }
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        left_side(&own[i], left, sizeof(left));
        help_line(out, &own[i], left, width);
    }
}

/* A cell of a Markdown table ends at '|', also within `code`. */
static void cell(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            fputc('\\', out);
        fputc(*text, out);
    }
}

static const char *type_name(enum option_type t)
{
    switch (t) {
    case OPTION_FLAG:
        return "";
    case OPTION_BOOL:
        return "yes, no";
    case OPTION_UINT:
        return "number";
    case OPTION_DURATION_MS:
        return "time: 500ms, 10s, 5m, 1h";
    case OPTION_BYTES:
        return "size: 0, 512M, 4G";
    case OPTION_STRING:
        return "text";
    case OPTION_CHOICE:
        return "";
    case OPTION_LIST:
        return "list, separated by commas";
    }
    return "";
}

void options_print_markdown(const struct option_def *table, FILE *out)
{
    char left[256];

    fputs("| key | value | default | |\n|---|---|---|---|\n", out);
    for (const struct option_def *d = table; d->name; d++) {
        left_side(d, left, sizeof(left));
        left[strcspn(left, " ")] = '\0';
        fprintf(out, "| `%s` | ", d->argv_only || d->type == OPTION_FLAG ? left : d->name);
        cell(out, d->choices ? d->choices : type_name(d->type));
        fprintf(out, " | %s", d->def ? "`" : "");
        cell(out, d->def ? d->def : "");
        fprintf(out, "%s | ", d->def ? "`" : "");
        cell(out, d->help);
        fputs(" |\n", out);
    }
}
