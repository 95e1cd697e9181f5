/* How an rpc-server is called. Pure. */
#ifndef CARAVAN_AGENT_WORKER_H
#define CARAVAN_AGENT_WORKER_H

#include "common/core/protocol.h"

enum { WORKER_ARGV_MAX = 16, WORKER_DEVICES_TEXT = PROTO_DEVICES_MAX * PROTO_DEVICE_MAX };

struct worker_command {
    const char *argv[WORKER_ARGV_MAX]; /* NULL at the end; points into this struct and to what it was made of */
    char port[8], threads[12], devices[WORKER_DEVICES_TEXT];
};

/* program, unit: borrowed as long as *ret is used. Devices of the unit, each once and explicit; none: rpc-server's own
 * choice. */
void worker_command_make(const char *program, const struct unit_facts *unit, uint32_t threads,
                         struct worker_command *ret);

#endif
