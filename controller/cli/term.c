#include "controller/cli/term.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool term_is_tty(void)
{
    return isatty(STDOUT_FILENO);
}

size_t term_width(void)
{
    struct winsize size;

    if (!term_is_tty())
        return 0;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static bool has_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return term_is_tty() && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

const char *term_begin(enum term_colour colour)
{
    if (!has_colour())
        return "";
    switch (colour) {
    case TERM_PLAIN:
        return "\033[0m";
    case TERM_GOOD:
        return "\033[32m";
    case TERM_WARN:
        return "\033[33m";
    case TERM_BAD:
        return "\033[31m";
    case TERM_DIM:
        return "\033[2m";
    case TERM_BOLD:
        return "\033[1m";
    }
    return "";
}

enum term_colour term_state_colour(const char *state)
{
    static const struct {
        const char *state;
        enum term_colour colour;
    } colours[] = {
        {"ready", TERM_GOOD},      {"running", TERM_GOOD}, {"complete", TERM_GOOD},    {"healthy", TERM_GOOD},
        {"lost", TERM_BAD},        {"failed", TERM_BAD},   {"stuck", TERM_BAD},        {"evicted", TERM_BAD},
        {"refused", TERM_BAD},     {"offline", TERM_BAD},  {"incompatible", TERM_BAD}, {"suspect", TERM_WARN},
        {"recovering", TERM_WARN}, {"waiting", TERM_WARN}, {"backoff", TERM_WARN},     {"draining", TERM_WARN},
        {"unmanaged", TERM_WARN},  {"stopped", TERM_DIM},  {"drained", TERM_DIM},      {"retired", TERM_DIM},
        {"cancelled", TERM_DIM},
    };

    for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++)
        if (strcmp(colours[i].state, state) == 0)
            return colours[i].colour;
    return TERM_PLAIN;
}
