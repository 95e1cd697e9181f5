/* "10.77.0.12:20052", "[fd00::1]:20052": where a rank is reached. Pure. */
#ifndef CARAVAN_AGENT_ENDPOINT_H
#define CARAVAN_AGENT_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

/* n_bytes of text, need not be terminated. ret_addr: without brackets, and not looked at. false: no such thing. */
bool endpoint_parse(const char *text, size_t n_bytes, char ret_addr[PROTO_ADDR_MAX], uint16_t *ret_port);

#endif
