/* How a llama-server is called as coordinator of an epoch: every flag explicit, because its defaults are traps (port,
 * 8 GiB of prompt cache, a fit that trusts MemTotal), and none that this build lacks. Pure. */
#ifndef CARAVAN_AGENT_COORDINATOR_H
#define CARAVAN_AGENT_COORDINATOR_H

#include <stddef.h>
#include <stdint.h>

#include "agent/llama.h"
#include "common/core/protocol.h"

struct coordinator_command {
    size_t n;
    const char **argv; /* NULL at the end; points into text, and to what it was made of */
    char *text;
};

/* All borrowed as long as *ret is used. model_path: of the (first) file. key_file: holds spec->api_key. ret: owned
 * (coordinator_command_clear). 0, -ENOMEM, -E2BIG. */
int coordinator_command_make(const struct llama *llama, const struct unit_facts *unit,
                             const struct coordinator_spec *spec, const char *model_path, const char *key_file,
                             struct coordinator_command *ret);
void coordinator_command_clear(struct coordinator_command *c);

#endif
