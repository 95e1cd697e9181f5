/* caravan instances, caravan tasks. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/json_get.h"
#include "controller/cli/screen.h"
#include "controller/cli/show.h"
#include "controller/cli/table.h"

/* ---- instances ---------------------------------------------------------------------------------------------------- */

/* What is only shown where it tells something. */
struct shown {
    bool replicas; /* one name has several */
    bool idle;     /* one may leave by itself, or is kept from it */
};

/* "4.0 s of 10 min": not asked for so long, of the time after which it is unloaded. */
static void idle_cell(struct table *t, const json_t *in)
{
    uint64_t idle_ms = json_uint_of(in, "idle_ms", 0), ttl_ms = json_uint_of(in, "ttl_ms", 0);

    if (json_is_true(json_object_get(in, "pinned")))
        table_cell(t, TERM_PLAIN, "pinned");
    else if (!idle_ms)
        table_cell(t, TERM_PLAIN, "-");
    else if (ttl_ms)
        table_cell(t, TERM_PLAIN, "%s of %s", SCREEN_DURATION(idle_ms), SCREEN_DURATION(ttl_ms));
    else
        table_cell(t, TERM_PLAIN, "%s", SCREEN_DURATION(idle_ms));
}

static void instance_row(struct table *t, const struct shown *shown, const json_t *in)
{
    CLEANUP(json_release) json_t *nodes = json_array();
    const char *state = json_text_of(in, "state", "?");
    uint64_t permille = json_uint_of(in, "progress_permille", 0);
    size_t i;
    json_t *rank;

    json_array_foreach(json_object_get(in, "ranks"), i, rank)
    {
        json_array_append(nodes, json_object_get(rank, "node_name"));
    }
    table_cell(t, TERM_PLAIN, "%s", json_text_of(in, "name", "?"));
    if (shown->replicas)
        table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(in, "replica", 0));
    table_cell(t, TERM_PLAIN, "%s", json_text_of(in, "model", "?"));
    if (json_is_true(json_object_get(in, "leaving")))
        state = "leaving";
    if (strcmp(state, "loading") == 0)
        table_cell(t, TERM_PLAIN, "loading %" PRIu64 " %%", permille / 10);
    else
        table_cell(t, term_state_colour(state), "%s", state);
    table_cell(t, TERM_PLAIN, "%s", SHOW_AGE(json_uint_of(in, "state_since_wall_ms", 0)));
    if (shown->idle)
        idle_cell(t, in);
    table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(in, "epoch", 0));
    table_cell(t, TERM_PLAIN, "%s", SHOW_NAMES(nodes));
    table_cell(t, TERM_PLAIN, "%s", json_text_of(in, "coordinator", "-"));
}

static bool is(const json_t *in, const char *state)
{
    return strcmp(json_text_of(in, "state", ""), state) == 0;
}

/* "recovering, attempt 3, again in 4.0 s: ...", "waiting, 1.2 GiB missing: ..." */
static void print_how_it_goes(const json_t *in)
{
    uint64_t attempts = json_uint_of(in, "attempts", 0), missing = json_uint_of(in, "missing_bytes", 0);
    const char *reason = json_text_of(in, "reason", ""), *follows = json_text_of(in, "follows", "");
    uint64_t again_ms = json_uint_of(in, "again_in_ms", UINT64_MAX);
    char text[256] = "";
    size_t n = 0;

    if (is(in, "recovering") && attempts)
        n += (size_t)snprintf(text + n, sizeof(text) - n, ", attempt %" PRIu64, attempts);
    if (is(in, "recovering") && again_ms != UINT64_MAX)
        n += (size_t)snprintf(text + n, sizeof(text) - n, ", again in %s", SCREEN_DURATION(again_ms));
    if (is(in, "waiting") && missing)
        n += (size_t)snprintf(text + n, sizeof(text) - n, ", %s missing", SCREEN_BYTES(missing));
    if (*follows && !is(in, "ready"))
        snprintf(text + n, sizeof(text) - n, ", takes the place of %.8s", follows);
    if (*text || *reason)
        show_line("%s: %s%s%s%s", json_text_of(in, "name", "?"),
                  json_is_true(json_object_get(in, "leaving")) ? "leaving" : json_text_of(in, "state", "?"), text,
                  *reason ? ": " : "", reason);
}

/* What was tried, for one that has given up. */
static void print_tries(const json_t *in)
{
    size_t i;
    json_t *t;

    if (!is(in, "failed"))
        return;
    json_array_foreach(json_object_get(in, "tried"), i, t)
    {
        show_line("  epoch %" PRIu64 ", %s ago: %s (%s)", json_uint_of(t, "epoch", 0),
                  SHOW_AGE(json_uint_of(t, "wall_ms", 0)), json_text_of(t, "text", "?"), json_text_of(t, "code", "?"));
    }
}

static struct shown what_tells(const json_t *instances)
{
    struct shown shown = {.replicas = false};
    size_t i;
    json_t *in;

    json_array_foreach(instances, i, in)
    {
        shown.replicas |= json_uint_of(in, "replica", 0) > 0;
        shown.idle |= json_uint_of(in, "ttl_ms", 0) || json_is_true(json_object_get(in, "pinned")) ||
                      json_is_true(json_object_get(in, "demand"));
    }
    return shown;
}

enum { INSTANCE_COLUMNS = 10 };

static void list_columns(const struct shown *shown, struct table_column ret[INSTANCE_COLUMNS])
{
    size_t n = 0;

    ret[n++] = (struct table_column){"NAME", TABLE_SHRINKS};
    if (shown->replicas)
        ret[n++] = (struct table_column){"REPLICA", TABLE_RIGHT};
    ret[n++] = (struct table_column){"MODEL", TABLE_SHRINKS};
    ret[n++] = (struct table_column){"STATE", 0};
    ret[n++] = (struct table_column){"SINCE", TABLE_RIGHT};
    if (shown->idle)
        ret[n++] = (struct table_column){"IDLE", TABLE_RIGHT};
    ret[n++] = (struct table_column){"EPOCH", TABLE_RIGHT | TABLE_OPTIONAL};
    ret[n++] = (struct table_column){"RANKS 0, 1, ...", TABLE_SHRINKS};
    ret[n++] = (struct table_column){"COORDINATOR", TABLE_SHRINKS | TABLE_OPTIONAL};
    ret[n] = (struct table_column){0};
}

static void print_instances(const json_t *answer)
{
    const json_t *instances = json_object_get(answer, "instances");
    const struct shown shown = what_tells(instances);
    struct table_column columns[INSTANCE_COLUMNS];
    CLEANUP(table_destroy) struct table *t = NULL;
    size_t i;
    json_t *in;

    list_columns(&shown, columns);
    t = table_new(columns);
    json_array_foreach(instances, i, in)
    {
        instance_row(t, &shown, in);
    }
    if (i)
        table_print(t, stdout, term_width());
    else
        printf("Nothing is deployed. \"caravan models\" lists what could be, \"caravan deploy MODEL\" starts one.\n");
    json_array_foreach(instances, i, in)
    {
        print_how_it_goes(in);
        print_tries(in);
    }
}

/* ---- ranks ---- */

static void rank_state_cell(struct table *t, const json_t *rank)
{
    uint64_t frozen_ms = json_uint_of(rank, "frozen_ms", 0);

    if (json_is_true(json_object_get(rank, "stopped")))
        table_cell(t, TERM_BAD, "stopped by a signal");
    else if (frozen_ms >= 1000)
        table_cell(t, TERM_BAD, "frozen for %s", SCREEN_DURATION(frozen_ms));
    else if (json_is_true(json_object_get(rank, "slow")))
        table_cell(t, TERM_WARN, "slow");
    else
        table_cell(t, TERM_PLAIN, json_is_true(json_object_get(rank, "proven")) ? "proven" : "-");
}

/* How many it computes, the output layer among them; "-" where the plan is not there. */
static void layers_cell(struct table *t, const json_t *in, size_t rank)
{
    const json_t *planned = json_array_get(json_object_get(json_object_get(in, "plan"), "ranks"), rank);
    uint64_t n = 0;
    size_t i;
    json_t *device;

    json_array_foreach(json_object_get(planned, "devices"), i, device)
    {
        n += json_uint_of(device, "n_layers", 0);
    }
    if (n)
        table_cell(t, TERM_PLAIN, "%" PRIu64, n);
    else
        table_cell(t, TERM_PLAIN, "-");
}

/* "GET_TENSOR 11 s", "GET_TENSOR 40 ms, network 9.5 s": what waits there, and on the way to it. */
static void oldest_cell(struct table *t, const json_t *flow)
{
    const char *oldest = json_text_of(flow, "oldest", NULL), *blind = json_text_of(flow, "blind", NULL);
    uint64_t away_ms = json_uint_of(flow, "away_ms", 0);
    char network[SCREEN_NUMBER_MAX + 16] = "";

    if (away_ms >= 1000)
        snprintf(network, sizeof(network), "%snetwork %s", oldest ? ", " : "", SCREEN_DURATION(away_ms));
    if (blind)
        table_cell(t, TERM_WARN, "not read: %s", blind);
    else if (oldest)
        table_cell(t, TERM_PLAIN, "%s %s%s", oldest, SCREEN_DURATION(json_uint_of(flow, "oldest_ms", 0)), network);
    else
        table_cell(t, TERM_PLAIN, "%s", *network ? network : "-");
}

static void flow_cells(struct table *t, const json_t *flow)
{
    if (!json_is_object(flow)) {
        for (int i = 0; i < 6; i++)
            table_cell(t, TERM_PLAIN, "-");
        return;
    }
    table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(flow, "fed_bytes", 0)));
    table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(flow, "to_bytes", 0)));
    table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(flow, "from_bytes", 0)));
    table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(flow, "round_trips", 0));
    table_cell(t, TERM_PLAIN, "%" PRIu64 " %%", (json_uint_of(flow, "share_permille", 0) + 5) / 10);
    oldest_cell(t, flow);
}

static void rank_rows(struct table *t, const json_t *in, bool flows)
{
    size_t k;
    json_t *rank;

    json_array_foreach(json_object_get(in, "ranks"), k, rank)
    {
        const char *endpoint = json_text_of(rank, "endpoint", "");

        table_cell(t, TERM_PLAIN, "%s", json_text_of(in, "name", "?"));
        table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(rank, "rank", k));
        table_cell(t, TERM_PLAIN, "%s", json_text_of(rank, "node_name", "?"));
        if (flows)
            layers_cell(t, in, k);
        table_cell(t, TERM_PLAIN, "%s", *endpoint ? endpoint : "-");
        table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(rank, "loaded_bytes", 0)));
        table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(rank, "planned_bytes", 0)));
        if (flows)
            flow_cells(t, json_object_get(rank, "flow"));
        rank_state_cell(t, rank);
    }
}

/* Ranks of an instance that has ended are no news. */
static bool is_there(const json_t *in)
{
    return !is(in, "stopped") && !is(in, "failed");
}

static bool has_flows(const json_t *answer)
{
    size_t i, k;
    json_t *in, *rank;

    json_array_foreach(json_object_get(answer, "instances"), i, in)
    {
        json_array_foreach(json_object_get(in, "ranks"), k, rank)
        {
            if (is_there(in) && json_is_object(json_object_get(rank, "flow")))
                return true;
        }
    }
    return false;
}

/* What passes is only shown where carriers see it. */
static void print_ranks(const json_t *answer)
{
    static const struct table_column plain[] = {
        {"NAME", TABLE_SHRINKS},
        {"RANK", TABLE_RIGHT},
        {"NODE", TABLE_SHRINKS},
        {"ENDPOINT", TABLE_SHRINKS | TABLE_OPTIONAL},
        {"LOADED", TABLE_RIGHT},
        {"OF", TABLE_RIGHT},
        {"STATE", 0},
        {0},
    };
    static const struct table_column seen[] = {
        {"NAME", TABLE_SHRINKS},
        {"RANK", TABLE_RIGHT},
        {"NODE", TABLE_SHRINKS},
        {"LAYERS", TABLE_RIGHT},
        {"ENDPOINT", TABLE_SHRINKS | TABLE_OPTIONAL},
        {"LOADED", TABLE_RIGHT},
        {"OF", TABLE_RIGHT},
        {"OWN FILE", TABLE_RIGHT | TABLE_OPTIONAL},
        {"TO", TABLE_RIGHT},
        {"FROM", TABLE_RIGHT},
        {"TRIPS", TABLE_RIGHT | TABLE_OPTIONAL},
        {"SHARE", TABLE_RIGHT},
        {"OLDEST", TABLE_SHRINKS},
        {"STATE", 0},
        {0},
    };
    bool flows = has_flows(answer);
    CLEANUP(table_destroy) struct table *t = table_new(flows ? seen : plain);
    size_t i;
    json_t *in;

    json_array_foreach(json_object_get(answer, "instances"), i, in)
    {
        if (is_there(in))
            rank_rows(t, in, flows);
    }
    table_print(t, stdout, term_width());
}

enum { INSTANCES_SOCKET = CLI_OPTION_OWN, INSTANCES_RANKS };

static enum cli_exit run_instances(const struct cli *c)
{
    return show_anywhere(c, options_string(c->options, INSTANCES_SOCKET), "/api/instances",
                         options_bool(c->options, INSTANCES_RANKS) ? print_ranks : print_instances);
}

static const struct option_def instances_options[] = {
    CLI_COMMON_OPTIONS,
    SHOW_SOCKET_OPTION,
    {.name = "ranks",
     .type = OPTION_FLAG,
     .argv_only = true,
     .help = "Show each rank: what it holds, what passes to and from it, and how it does."},
    {.name = NULL},
};

const struct verb verb_instances = {
    .name = "instances",
    .usage = "",
    .summary = "What is deployed: state, ranks, coordinator.",
    .options = instances_options,
    .run = run_instances,
};

/* ---- tasks -------------------------------------------------------------------------------------------------------- */

static void task_row(struct table *t, const json_t *task)
{
    const char *state = json_text_of(task, "state", "?");
    uint64_t created = json_uint_of(task, "created_wall_ms", 0), ended = json_uint_of(task, "ended_wall_ms", 0);

    table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(task, "id", 0));
    table_cell(t, TERM_PLAIN, "%s", json_text_of(task, "kind", "?"));
    table_cell(t, TERM_PLAIN, "%s", json_text_of(task, "name", "-"));
    table_cell(t, term_state_colour(state), "%s", state);
    table_cell(t, TERM_PLAIN, "%s", SHOW_AGE(created));
    table_cell(t, TERM_PLAIN, "%s", ended > created ? SCREEN_DURATION(ended - created) : "-");
    table_cell(t, TERM_PLAIN, "%s", json_text_of(task, "text", json_text_of(task, "step", "")));
}

static void print_tasks(const json_t *answer)
{
    static const struct table_column columns[] = {
        {"TASK", TABLE_RIGHT},     {"WHAT", 0},
        {"OF", TABLE_SHRINKS},     {"STATE", 0},
        {"AGE", TABLE_RIGHT},      {"TOOK", TABLE_RIGHT | TABLE_OPTIONAL},
        {"RESULT", TABLE_SHRINKS}, {0},
    };
    CLEANUP(table_destroy) struct table *t = table_new(columns);
    size_t i;
    json_t *task;

    json_array_foreach(json_object_get(answer, "tasks"), i, task)
    {
        task_row(t, task);
    }
    if (i)
        table_print(t, stdout, term_width());
    else
        printf("Nothing has been asked for yet.\n");
}

static enum cli_exit run_tasks(const struct cli *c)
{
    return show_answer(c, "/api/tasks", print_tasks);
}

static const struct option_def tasks_options[] = {CLI_COMMON_OPTIONS, {.name = NULL}};

const struct verb verb_tasks = {
    .name = "tasks",
    .usage = "",
    .summary = "What was asked for, and what became of it.",
    .options = tasks_options,
    .run = run_tasks,
};
