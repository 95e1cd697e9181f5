/* caravan nodes, caravan drain, caravan undrain. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/api.h"
#include "controller/cli/follow.h"
#include "controller/cli/json_get.h"
#include "controller/cli/screen.h"
#include "controller/cli/show.h"
#include "controller/cli/table.h"

/* ---- nodes -------------------------------------------------------------------------------------------------------- */

/* "CPU, CUDA0": which devices a node has. */
static char *device_names(const json_t *devices, char *buf, size_t size)
{
    CLEANUP(json_release) json_t *names = json_array();
    size_t i;
    json_t *device;

    json_array_foreach(devices, i, device)
    {
        json_array_append(names, json_object_get(device, "name"));
    }
    return show_names(names, buf, size);
}

/* What the node can still give: `memory =` where it is set, else what its devices have free. */
static void memory_cell(struct table *t, const json_t *node)
{
    const json_t *memory = json_object_get(node, "memory");
    uint64_t limit = json_uint_of(memory, "limit_bytes", 0), leased = json_uint_of(memory, "leased_bytes", 0);
    uint64_t free_bytes = json_uint_of(memory, "free_bytes", 0), total = json_uint_of(memory, "total_bytes", 0);

    if (limit) {
        free_bytes = limit > leased ? limit - leased : 0;
        total = limit;
    }
    table_cell(t, TERM_PLAIN, "%s of %s", SCREEN_BYTES(free_bytes), SCREEN_BYTES(total));
}

/* stale_ms: age of the answer itself. */
static void node_row(struct table *t, const json_t *node, uint64_t stale_ms)
{
    const char *state = json_text_of(node, "state", "?"), *problem = json_text_of(node, "build_problem", "");
    const char *build = json_text_of(node, "build", ""), *via = json_text_of(node, "via", "");
    uint64_t load = json_uint_of(node, "load_permille", 0);
    char devices[128];

    table_cell(t, TERM_PLAIN, "%s", json_text_of(node, "name", "?"));
    table_cell(t, term_state_colour(state), *via ? "%s (via %s)" : "%s", state, via);
    table_cell(t, TERM_PLAIN, "%s", json_text_of(node, "addr", "-"));
    memory_cell(t, node);
    table_cell(t, TERM_PLAIN, "%s", device_names(json_object_get(node, "devices"), devices, sizeof(devices)));
    table_cell(t, *problem ? TERM_BAD : TERM_PLAIN, "%s", *problem ? "not usable" : *build ? build : "-");
    table_cell(t, TERM_PLAIN, "%s", json_text_of(node, "rpc", "-"));
    table_cell(t, TERM_PLAIN, "%" PRIu64 ".%02" PRIu64, load / 1000, load % 1000 / 10);
    table_cell(t, TERM_PLAIN, "%s", SHOW_NAMES(json_object_get(node, "instances")));
    table_cell(t, TERM_PLAIN, "%s", SCREEN_DURATION(json_uint_of(node, "age_ms", 0) + stale_ms));
}

static void print_brake(const json_t *answer)
{
    const json_t *brake = json_object_get(answer, "brake");

    if (json_is_true(json_object_get(brake, "on")))
        show_coloured(TERM_WARN, "brake: on for %s: %s", SHOW_AGE(json_uint_of(brake, "since_wall_ms", 0)),
                      json_text_of(brake, "text", "silent nodes are not given up"));
}

/* What is the matter with it, below the table. */
static void print_troubles(const json_t *node)
{
    uint64_t n_refused = json_uint_of(node, "refused", 0), n_unreached = json_uint_of(node, "unreached", 0);
    const char *name = json_text_of(node, "name", "?"), *reason = json_text_of(node, "reason", "");

    if (*reason)
        show_line("%s: %s", name, reason);
    if (*json_text_of(node, "build_problem", ""))
        show_line("%s: %s", name, json_text_of(node, "build_problem", ""));
    if (n_refused)
        show_line("%s: its carriers have turned away %" PRIu64 " connection%s; the units' logs say whose", name,
                  n_refused, n_refused == 1 ? "" : "s");
    if (n_unreached)
        show_line("%s: its carriers could not reach the other side of %" PRIu64 " stream%s", name, n_unreached,
                  n_unreached == 1 ? "" : "s");
}

static void print_nodes(const json_t *answer)
{
    static const struct table_column columns[] = {
        {"NODE", TABLE_SHRINKS},
        {"STATE", 0},
        {"ADDRESS", TABLE_SHRINKS},
        {"FREE", TABLE_RIGHT},
        {"DEVICES", TABLE_SHRINKS | TABLE_OPTIONAL},
        {"LLAMA.CPP", TABLE_SHRINKS},
        {"RPC", TABLE_OPTIONAL},
        {"LOAD", TABLE_RIGHT | TABLE_OPTIONAL},
        {"INSTANCES", TABLE_SHRINKS},
        {"SEEN", TABLE_RIGHT},
        {0},
    };
    CLEANUP(table_destroy) struct table *t = table_new(columns);
    const json_t *nodes = json_object_get(answer, "nodes");
    uint64_t stale_ms = json_uint_of(answer, "age_ms", 0);
    size_t i;
    json_t *node;

    print_brake(answer);
    json_array_foreach(nodes, i, node)
    {
        node_row(t, node, stale_ms);
    }
    if (i)
        table_print(t, stdout, term_width());
    else
        printf("No node has joined. Start caravan-agent on each machine that shall take part, with what "
               "`caravan token create` prints.\n");
    json_array_foreach(nodes, i, node)
    {
        print_troubles(node);
    }
    if (strcmp(json_text_of(answer, "trust", ""), "open") == 0)
        show_coloured(TERM_WARN, "trust = open: any machine that reaches the controller may join.");
}

/* ---- what is asked of a node --------------------------------------------------------------------------------------- */

/* target: consumed; NULL: there was no memory for it. */
static enum cli_exit post(const struct cli *c, char *target, json_t **ret)
{
    CLEANUP(cleanup_free) char *mine = target;

    if (!mine)
        return cli_complain(CLI_FAILED, "out of memory");
    return api_call(c->api, "POST", mine, NULL, ret);
}

enum { NODES_SOCKET = CLI_OPTION_OWN, NODES_NAME };

/* A key that `caravan-agent --print-key` printed. */
static enum cli_exit approve(const struct cli *c)
{
    CLEANUP(json_release) json_t *body = NULL;
    const char *name = options_string(c->options, NODES_NAME);

    if (!name)
        return cli_complain(CLI_USAGE, "nodes approve needs the node's name: caravan nodes approve KEY --name NODE");
    body = json_pack("{s:s,s:s}", "key", c->word[1], "name", name);
    if (!body)
        return cli_complain(CLI_USAGE, "a name is UTF-8 text");
    return show_done(c, "POST", strdup("/api/nodes/approve"), body, "approved: it may join now");
}

static enum cli_exit run_nodes(const struct cli *c)
{
    if (!c->n_words)
        return show_anywhere(c, options_string(c->options, NODES_SOCKET), "/api/nodes", print_nodes);
    if (c->n_words == 2 && strcmp(c->word[0], "approve") == 0)
        return approve(c);
    if (options_is_set(c->options, NODES_NAME))
        return cli_complain(CLI_USAGE, "--name is for caravan nodes approve KEY");
    if (c->n_words == 2 && strcmp(c->word[0], "revoke") == 0)
        return show_done(c, "POST", api_target("/api/nodes/%s/revoke", c->word[1]), NULL,
                         "revoked: its links are closed, and its key is not let in again");
    if (c->n_words == 2 && strcmp(c->word[0], "retire") == 0)
        return show_done(c, "POST", api_target("/api/nodes/%s/retire", c->word[1]), NULL,
                         "retired: it may not join again under its key");
    if (c->n_words == 1 && strcmp(c->word[0], "lift-brake") == 0)
        return show_done(c, "POST", strdup("/api/brake/lift"), NULL, "the brake is lifted");
    return cli_complain(CLI_USAGE, "nodes has no use for \"%s\": caravan nodes %s", c->word[0], c->verb->usage);
}

static const struct option_def nodes_options[] = {
    CLI_COMMON_OPTIONS,
    SHOW_SOCKET_OPTION,
    {.name = "name",
     .type = OPTION_STRING,
     .arg = "NODE",
     .argv_only = true,
     .help = "approve: what the node is called."},
    {.name = NULL},
};

const struct verb verb_nodes = {
    .name = "nodes",
    .usage = "[approve KEY --name NODE | revoke NODE | retire NODE | lift-brake]",
    .summary =
        "The machines that take part: state, memory, devices, llama.cpp. Lets one in, or out for good; lifts the brake.",
    .max_words = 2,
    .options = nodes_options,
    .run = run_nodes,
};

enum { DRAIN_NO_WAIT = CLI_OPTION_OWN };

static enum cli_exit run_drain(const struct cli *c)
{
    CLEANUP(json_release) json_t *answer = NULL;
    enum cli_exit e = post(c, api_target("/api/nodes/%s/drain", c->word[0]), &answer);

    return e ? e : follow_accepted(c, answer, !options_bool(c->options, DRAIN_NO_WAIT));
}

static const struct option_def drain_options[] = {
    CLI_COMMON_OPTIONS,
    {.name = "no_wait", .type = OPTION_FLAG, .argv_only = true, .help = "Print the task's number and return at once."},
    {.name = NULL},
};

const struct verb verb_drain = {
    .name = "drain",
    .usage = "NODE",
    .summary = "Moves away what a node serves and places nothing there; returns when it is empty.",
    .min_words = 1,
    .max_words = 1,
    .options = drain_options,
    .run = run_drain,
};

static enum cli_exit run_undrain(const struct cli *c)
{
    return show_done(c, "POST", api_target("/api/nodes/%s/undrain", c->word[0]), NULL, "the node takes part again");
}

static const struct option_def undrain_options[] = {CLI_COMMON_OPTIONS, {.name = NULL}};

const struct verb verb_undrain = {
    .name = "undrain",
    .usage = "NODE",
    .summary = "Takes a drained node back.",
    .min_words = 1,
    .max_words = 1,
    .options = undrain_options,
    .run = run_undrain,
};
