/* The `caravan` command: a table of verbs, each with one table of options that its --help is made from. */
#ifndef CARAVAN_CONTROLLER_CLI_CLI_H
#define CARAVAN_CONTROLLER_CLI_CLI_H

#include <stdbool.h>

#include "common/options.h"

/* Scripts rely on these. */
enum cli_exit { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_REFUSED = 3, CLI_UNREACHABLE = 4 };

struct api;
struct verb;

/* What a verb is run with; all borrowed. */
struct cli {
    const struct verb *verb;
    const struct options *options; /* by the verb's table */
    char **word;                   /* words that are no options */
    int n_words;
    char **rest; /* what follows "--" */
    int n_rest;
    bool json;
    struct api *api;
};

struct verb {
    const char *name;
    const char *usage;   /* words after the name: "MODEL [PROMPT...]" */
    const char *summary; /* one line */
    int min_words, max_words;
    bool takes_rest;
    const struct option_def *options;
    enum cli_exit (*run)(const struct cli *c);
};

/* Each table begins with these, so their index is the same in all. A key itself is no option: argv can be read by all. */
enum { CLI_OPTION_JSON, CLI_OPTION_CONTROLLER, CLI_OPTION_KEY_FILE, CLI_OPTION_CA_FILE, CLI_OPTION_OWN };
#define CLI_KEY_FILE "/var/lib/caravan-controller/admin.key"
#define CLI_COMMON_OPTIONS                                                                                    \
    {.name = "json", .type = OPTION_FLAG, .argv_only = true, .help = "Print the controller's JSON instead."}, \
        {.name = "controller",                                                                                \
         .type = OPTION_STRING,                                                                               \
         .def = "http://127.0.0.1:8080",                                                                      \
         .arg = "URL",                                                                                        \
         .help = "Which controller to ask; also CARAVAN_CONTROLLER."},                                        \
        {.name = "api_key_file",                                                                              \
         .type = OPTION_STRING,                                                                               \
         .def = CLI_KEY_FILE,                                                                                 \
         .arg = "FILE",                                                                                       \
         .help = "Where the API key stands; also CARAVAN_API_KEY_FILE. CARAVAN_API_KEY, the key itself, "     \
                 "goes before. The default is for a controller on this host only."},                          \
    {                                                                                                         \
        .name = "ca_file", .type = OPTION_STRING, .arg = "FILE",                                              \
        .help = "With https://: believe these certificates, not the system's; also CARAVAN_CA_FILE."          \
    }

/* Runs one command line. Returns its exit code. argv: borrowed, its order may change. */
enum cli_exit cli_main(int argc, char **argv);

/* "caravan: ..." on standard error, one line; what comes from outside is cleaned. Returns code, for `return`. */
enum cli_exit cli_complain(enum cli_exit code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The verbs, one file per group. */
extern const struct verb verb_nodes, verb_drain, verb_undrain, verb_backends, verb_models, verb_plan, verb_deploy,
    verb_stop, verb_instances, verb_tasks, verb_chat, verb_ask, verb_events, verb_token, verb_keys, verb_version;

#endif
