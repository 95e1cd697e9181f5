/* A council: who is asked the same question, from a file of sections, and how their answers are shown.
 *
 *   [NAME]                  a member, as it is called in the answers
 *   model = MODEL           left out: --model, or the only one that is ready
 *   system = ...            who it is; a longer text goes on in indented lines
 *   temperature = 0.8
 *   max_tokens = 300
 *   timeout = 2m
 *
 *   [synthesis]             the same keys: puts the answers together; left out: nobody does */
#ifndef CARAVAN_CONTROLLER_CLI_COUNCIL_H
#define CARAVAN_CONTROLLER_CLI_COUNCIL_H

#include <jansson.h>

#include "controller/cli/cli.h"

/* The request for a fan-out, without what is asked. ret: owned. CLI_DONE; anything else was said. */
enum cli_exit council_read(const char *path, json_t **ret);

/* Asks and shows: members as they end, then their answers in the order of the file, then the synthesis. CLI_FAILED where
 * nobody answered, or the synthesis failed. request: borrowed; it is put in whether a stream is wanted. */
enum cli_exit council_ask(const struct cli *c, json_t *request);

#endif
