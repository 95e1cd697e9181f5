/* caravan instances, caravan tasks. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/json_get.h"
#include "controller/cli/screen.h"
#include "controller/cli/show.h"
#include "controller/cli/table.h"

/* ---- instances ---------------------------------------------------------------------------------------------------- */

static void instance_row(struct table *t, const json_t *in)
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
    table_cell(t, TERM_PLAIN, "%s", json_text_of(in, "model", "?"));
    if (strcmp(state, "loading") == 0)
        table_cell(t, TERM_PLAIN, "loading %" PRIu64 " %%", permille / 10);
    else
        table_cell(t, term_state_colour(state), "%s", state);
    table_cell(t, TERM_PLAIN, "%s", SHOW_AGE(json_uint_of(in, "state_since_wall_ms", 0)));
    table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(in, "epoch", 0));
    table_cell(t, TERM_PLAIN, "%s", SHOW_NAMES(nodes));
    table_cell(t, TERM_PLAIN, "%s", json_text_of(in, "coordinator", "-"));
}

static void print_instances(const json_t *answer)
{
    static const struct table_column columns[] = {
        {"NAME", TABLE_SHRINKS},
        {"MODEL", TABLE_SHRINKS},
        {"STATE", 0},
        {"SINCE", TABLE_RIGHT},
        {"EPOCH", TABLE_RIGHT | TABLE_OPTIONAL},
        {"RANKS 0, 1, ...", TABLE_SHRINKS},
        {"COORDINATOR", TABLE_SHRINKS | TABLE_OPTIONAL},
        {0},
    };
    CLEANUP(table_destroy) struct table *t = table_new(columns);
    const json_t *instances = json_object_get(answer, "instances");
    size_t i;
    json_t *in;

    json_array_foreach(instances, i, in)
    {
        instance_row(t, in);
    }
    if (i)
        table_print(t, stdout, term_width());
    else
        printf("Nothing is deployed. \"caravan models\" lists what could be, \"caravan deploy MODEL\" starts one.\n");
    json_array_foreach(instances, i, in)
    {
        if (json_text_of(in, "reason", NULL))
            show_line("%s: %s", json_text_of(in, "name", "?"), json_text_of(in, "reason", ""));
    }
}

static enum cli_exit run_instances(const struct cli *c)
{
    return show_answer(c, "/api/instances", print_instances);
}

static const struct option_def instances_options[] = {CLI_COMMON_OPTIONS, {.name = NULL}};

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
