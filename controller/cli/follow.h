/* Follows a task to its end and shows how it goes: one line that is redrawn on a terminal, lines at each step elsewhere. */
#ifndef CARAVAN_CONTROLLER_CLI_FOLLOW_H
#define CARAVAN_CONTROLLER_CLI_FOLLOW_H

#include <jansson.h>
#include <stdint.h>

#include "controller/cli/cli.h"

/* What the controller has accepted: followed to its end, or its number told at once. What needed no task is done. Followed,
 * it returns when the task has ended: CLI_DONE, CLI_FAILED or CLI_REFUSED with its reason said. With --json nothing is shown
 * meanwhile and the last {"task":..., "instance":...} is printed. A controller that goes away is given 30 s to come back. */
enum cli_exit follow_accepted(const struct cli *c, const json_t *answer, bool wait);

#endif
