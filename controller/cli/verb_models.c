/* caravan models, caravan plan. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/api.h"
#include "controller/cli/json_get.h"
#include "controller/cli/request.h"
#include "controller/cli/screen.h"
#include "controller/cli/show.h"
#include "controller/cli/table.h"

/* ---- models ------------------------------------------------------------------------------------------------------- */

static void model_row(struct table *t, const json_t *m)
{
    const char *problem = json_text_of(m, "problem", NULL);
    const char *state = json_text_of(json_object_get(m, "instance"), "state", problem ? "not usable" : "-");

    table_cell(t, TERM_PLAIN, "%s", json_text_of(m, "name", "?"));
    table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(m, "size_bytes", 0)));
    table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(m, "layers", 0));
    table_cell(t, TERM_PLAIN, "%s", *json_text_of(m, "arch", "") ? json_text_of(m, "arch", "") : "-");
    table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(m, "ctx_train", 0));
    table_cell(t, problem ? TERM_BAD : term_state_colour(state), "%s", state);
    table_cell(t, TERM_PLAIN, "%s", SHOW_NAMES(json_object_get(m, "nodes")));
}

/* Until then ranks there get all of it over the network. */
static void print_indexing(const json_t *m)
{
    const json_t *nodes = json_object_get(m, "nodes"), *permille;
    size_t i;

    json_array_foreach(json_object_get(m, "index_permille"), i, permille)
    {
        json_int_t is = json_integer_value(permille);

        if (is > 0 && is < 1000)
            show_line("%s: %d %% of it is indexed on %s", json_text_of(m, "name", "?"), (int)(is / 10),
                      json_string_value(json_array_get(nodes, i)) ? json_string_value(json_array_get(nodes, i)) : "?");
    }
}

static void print_models(const json_t *answer)
{
    static const struct table_column columns[] = {
        {"MODEL", TABLE_SHRINKS},
        {"SIZE", TABLE_RIGHT},
        {"LAYERS", TABLE_RIGHT},
        {"ARCH", TABLE_SHRINKS | TABLE_OPTIONAL},
        {"CONTEXT", TABLE_RIGHT | TABLE_OPTIONAL},
        {"STATE", 0},
        {"NODES", TABLE_SHRINKS},
        {0},
    };
    CLEANUP(table_destroy) struct table *t = table_new(columns);
    const json_t *models = json_object_get(answer, "models");
    size_t i;
    json_t *m;

    json_array_foreach(models, i, m)
    {
        model_row(t, m);
    }
    if (i)
        table_print(t, stdout, term_width());
    else
        printf("No node has a model. Put GGUF files into a directory that `models =` of agent.conf names.\n");
    json_array_foreach(models, i, m)
    {
        if (json_text_of(m, "problem", NULL))
            show_line("%s: %s", json_text_of(m, "name", "?"), json_text_of(m, "problem", ""));
        print_indexing(m);
    }
}

static enum cli_exit run_models(const struct cli *c)
{
    return show_answer(c, "/api/models", print_models);
}

static const struct option_def models_options[] = {CLI_COMMON_OPTIONS, {.name = NULL}};

const struct verb verb_models = {
    .name = "models",
    .usage = "",
    .summary = "The models that the nodes hold.",
    .options = models_options,
    .run = run_models,
};

/* ---- plan --------------------------------------------------------------------------------------------------------- */

enum { PLAN_SAVE = REQUEST_OPTION_OWN };

static enum cli_exit save_plan(const json_t *plan, const char *path)
{
    if (json_dump_file(plan, path, JSON_INDENT(2)) == 0)
        return CLI_DONE;
    return cli_complain(CLI_FAILED, "cannot write the plan to %s: %s", path, strerror(errno));
}

static void print_other(const json_t *other)
{
    CLEANUP(json_release) json_t *nodes = json_array();
    size_t i;
    json_t *rank;

    if (!json_is_object(other))
        return;
    json_array_foreach(json_object_get(other, "ranks"), i, rank)
    {
        json_array_append(nodes, json_object_get(rank, "node_name"));
    }
    if (json_array_size(nodes))
        show_line("policy %s would take %zu: %s", json_text_of(other, "policy", "?"), json_array_size(nodes),
                  SHOW_NAMES(nodes));
}

static enum cli_exit run_plan(const struct cli *c)
{
    CLEANUP(cleanup_free) char *target = request_target(c, "/api/plan");
    CLEANUP(json_release) json_t *answer = NULL;
    const char *save = options_string(c->options, PLAN_SAVE);
    const json_t *plan;
    bool ok;
    enum cli_exit e;

    if (!target)
        return cli_complain(CLI_FAILED, "out of memory");
    e = api_get(c->api, target, &answer);
    if (e)
        return e;
    plan = json_object_get(answer, "plan");
    ok = json_is_true(json_object_get(answer, "ok"));
    if (c->json)
        show_json(answer);
    else if (json_is_object(plan))
        show_plan(plan);
    if (!c->json)
        print_other(json_object_get(answer, "other"));
    if (!ok)
        return cli_complain(CLI_REFUSED, "%s", json_text_of(answer, "message", "there is no such plan"));
    return save ? save_plan(plan, save) : CLI_DONE;
}

static const struct option_def plan_options[] = {
    CLI_COMMON_OPTIONS,
    REQUEST_OPTIONS,
    {.name = "save",
     .type = OPTION_STRING,
     .arg = "FILE",
     .argv_only = true,
     .help = "Keep the plan for `caravan deploy --plan FILE`."},
    {.name = NULL},
};

const struct verb verb_plan = {
    .name = "plan",
    .usage = "MODEL",
    .summary = "Where a model's layers would go, and why; starts nothing.",
    .min_words = 1,
    .max_words = 1,
    .options = plan_options,
    .run = run_plan,
};
