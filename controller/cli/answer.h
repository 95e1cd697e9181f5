/* An answer of a model, shown as it comes. */
#ifndef CARAVAN_CONTROLLER_CLI_ANSWER_H
#define CARAVAN_CONTROLLER_CLI_ANSWER_H

#include <jansson.h>

#include "controller/cli/cli.h"

/* Sends body, a chat completion with "stream": true, and prints what is said. ret_text: owned; the whole of it, NULL where
 * nothing was said. What goes wrong is said on standard error. */
enum cli_exit answer_stream(const struct cli *c, const json_t *body, char **ret_text);

/* A piece of it: on a terminal without what would steer it. */
void answer_write(const char *text, size_t n_bytes);

#endif
