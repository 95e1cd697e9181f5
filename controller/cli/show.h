/* What several verbs print. */
#ifndef CARAVAN_CONTROLLER_CLI_SHOW_H
#define CARAVAN_CONTROLLER_CLI_SHOW_H

#include <jansson.h>
#include <stddef.h>

#include "controller/cli/cli.h"
#include "controller/cli/term.h"

/* Fetches target and prints it as JSON or by `print`. */
enum cli_exit show_answer(const struct cli *c, const char *target, void (*print)(const json_t *answer));

/* The same for what an agent can tell too, while no controller is reached: how old that is stands above it, on standard error
 * with --json. socket: as for api_get_anywhere. */
enum cli_exit show_anywhere(const struct cli *c, const char *socket, const char *target,
                            void (*print)(const json_t *answer));
/* Asks for what is done at once, and says how the controller puts it, else `done`. target: consumed; NULL: there was no memory
 * for it. body: borrowed, NULL for none. */
enum cli_exit show_done(const struct cli *c, const char *method, char *target, const json_t *body, const char *done);

/* For verbs that can ask an agent. */
#define SHOW_SOCKET_OPTION                                                                        \
    {                                                                                             \
        .name = "socket", .type = OPTION_STRING, .def = "/run/caravan/agent.sock", .arg = "PATH", \
        .help = "The agent to ask while no controller can be reached; also CARAVAN_SOCKET."       \
    }

/* One line of text; what comes from outside in it is cleaned. */
void show_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

void show_coloured(enum term_colour colour, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The whole value, indented, with a newline. */
void show_json(const json_t *value);

/* A PLAN object as people read it: what it is, a row per device, the notes. */
void show_plan(const json_t *plan);

/* "node1, node2, node3" of an array of strings, or "-"; cut with "..." at size. Returns buf. */
char *show_names(const json_t *list, char *buf, size_t size);
/* Time since wall_ms, or until it; "-" for 0. */
char *show_age(uint64_t wall_ms, char *buf);
char *show_left(uint64_t wall_ms, char *buf);

#define SHOW_NAMES(list)  show_names((list), (char[256]){0}, 256)
#define SHOW_AGE(wall_ms) show_age((wall_ms), (char[32]){0})

#endif
