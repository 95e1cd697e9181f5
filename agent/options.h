/* caravan-agent's options: one table for file, environment, argv and --help, and what it means, checked. */
#ifndef CARAVAN_AGENT_OPTIONS_H
#define CARAVAN_AGENT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/options.h"

enum { AGENT_CONTROLLERS_MAX = 8, AGENT_HOST_MAX = 256 };

struct controller_address {
    char host[AGENT_HOST_MAX];
    uint16_t port;
    bool has_key;
    uint8_t key[CRYPTO_KEY_BYTES];
};

struct port_range {
    uint16_t first, last;
};

enum agent_action { AGENT_RUN, AGENT_PRINT_KEY, AGENT_PURGE };

/* Strings and lists point into `values` and `made`. Paths are absolute: children run in another directory. */
struct agent_options {
    struct options *values;
    char **made; /* the paths that were relative, NULL-terminated */
    const char **made_models;
    char *join; /* a token, "@FILE" or "-"; NULL: none. Secret: agent_options_forget_join when it was read */
    enum agent_action action;
    char name[PROTO_NAME_MAX];
    const char *state_dir, *address, *llama_dir, *shim, *carrier, *socket; /* socket: "" is none */
    const char *const *models, *const *interfaces, *const *worker_devices;
    size_t n_models, n_interfaces, n_worker_devices;
    size_t n_controllers;
    struct controller_address controller[AGENT_CONTROLLERS_MAX];
    bool trust_open, standing, sandbox, tunnel;
    uint64_t memory_bytes;
    uint32_t worker_threads;
    struct port_range worker_ports, coordinator_ports, carrier_ports;
    uint16_t control_port, neighbour_port;
    enum log_level log_level;
};

extern const struct option_def agent_option_table[];

/* File, environment, argv. ret is cleared by agent_options_clear in every case. 0; OPTIONS_E_INVALID (said on standard
 * error), OPTIONS_E_HELP, OPTIONS_E_VERSION; negative errno. */
int agent_options_load(struct agent_options *ret, int argc, char **argv);
void agent_options_clear(struct agent_options *o);
void agent_options_forget_join(struct agent_options *o);

/* "HOST[:PORT] KEY" and "HOST[:PORT]"; an IPv6 literal with a port stands in brackets. Pure. */
bool controller_address_parse(const char *text, uint16_t default_port, struct controller_address *ret);
/* "20052-20151" or "20052". Pure. */
bool port_range_parse(const char *text, struct port_range *ret);
bool port_range_has(const struct port_range *r, uint16_t port);

#endif
