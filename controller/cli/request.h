/* The options that `plan` and `deploy` share, and what they become on the way to the controller. */
#ifndef CARAVAN_CONTROLLER_CLI_REQUEST_H
#define CARAVAN_CONTROLLER_CLI_REQUEST_H

#include <jansson.h>

#include "controller/cli/cli.h"

enum {
    REQUEST_NODES = CLI_OPTION_OWN,
    REQUEST_POLICY,
    REQUEST_CTX,
    REQUEST_SLOTS,
    REQUEST_KV_TYPE,
    REQUEST_RANK0,
    REQUEST_OPTION_OWN
};

#define REQUEST_OPTIONS                                                                                \
    {.name = "nodes",                                                                                  \
     .type = OPTION_UINT,                                                                              \
     .min = 1,                                                                                         \
     .max = 16,                                                                                        \
     .arg = "N",                                                                                       \
     .argv_only = true,                                                                                \
     .help = "Exactly so many ranks, each on a node of its own."},                                     \
        {.name = "policy",                                                                             \
         .type = OPTION_CHOICE,                                                                        \
         .choices = "fit|spread",                                                                      \
         .argv_only = true,                                                                            \
         .help = "fit: as few nodes as hold the model. spread: as many as its size allows."},          \
        {.name = "ctx",                                                                                \
         .type = OPTION_UINT,                                                                          \
         .min = 1,                                                                                     \
         .max = 16777216,                                                                              \
         .arg = "N",                                                                                   \
         .argv_only = true,                                                                            \
         .help = "Context over all slots, llama-server's -c."},                                        \
        {.name = "slots",                                                                              \
         .type = OPTION_UINT,                                                                          \
         .min = 1,                                                                                     \
         .max = 256,                                                                                   \
         .arg = "N",                                                                                   \
         .argv_only = true,                                                                            \
         .help = "Requests at once, llama-server's -np."},                                             \
        {.name = "kv_type",                                                                            \
         .type = OPTION_STRING,                                                                        \
         .arg = "TYPE",                                                                                \
         .argv_only = true,                                                                            \
         .help = "Type of the KV cache: f16, q8_0, ..."},                                              \
    {                                                                                                  \
        .name = "rank0", .type = OPTION_CHOICE, .choices = "auto|local|rpc", .argv_only = true,        \
        .help = "Whether rank 0's layers are on the coordinator's own device or on its node's worker." \
    }

/* {"model": ..., and what was given}. Owned; NULL: no memory. */
json_t *request_new(const struct cli *c);
/* The same as "?model=...&nodes=..." after path. Owned; NULL: no memory. */
char *request_target(const struct cli *c, const char *path);

#endif
