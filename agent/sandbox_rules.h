/* What one child's sandbox leaves open besides the system's own places: from this node's options, never from what a
 * controller says, but for the ports of an instance's ranks and carriers. Pure. */
#ifndef CARAVAN_AGENT_SANDBOX_RULES_H
#define CARAVAN_AGENT_SANDBOX_RULES_H

#include <stddef.h>

#include "agent/carrier/conf.h"
#include "agent/llama.h"
#include "common/core/protocol.h"

struct sandbox_request {
    const struct llama *llama;
    const char *library_path; /* LD_LIBRARY_PATH; may be NULL */
    const char *cache_dir;    /* the one place to write to */
    const struct unit_facts *unit;
    /* of a coordinator; spec is NULL for a worker, which reads no file and connects to nobody */
    const struct coordinator_spec *spec;
    const char *key_file;
    const char *const *models;
    size_t n_models;
};

struct sandbox_rules {
    size_t n;
    char **rule; /* NULL at the end */
};

/* req: borrowed. ret: owned (sandbox_rules_clear, also after a failure). 0, -ENOMEM; -E2BIG: more than
 * PROCESS_RULES_MAX. */
int sandbox_rules_make(const struct sandbox_request *req, struct sandbox_rules *ret);
/* The same for a carrier: what its conf names, and its unit's directory, in which it makes its files. That has its record,
 * too; but whoever has taken over a carrier has the node's key already. */
int sandbox_rules_of_carrier(const char *program, const char *unit_dir, const struct carrier_conf *conf,
                             struct sandbox_rules *ret);
void sandbox_rules_clear(struct sandbox_rules *r);

#endif
