/* caravan deploy, caravan stop. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/api.h"
#include "controller/cli/follow.h"
#include "controller/cli/json_get.h"
#include "controller/cli/request.h"
#include "controller/cli/show.h"

/* ---- deploy ------------------------------------------------------------------------------------------------------- */

enum { DEPLOY_ALIAS = REQUEST_OPTION_OWN, DEPLOY_REPLICAS, DEPLOY_TTL, DEPLOY_PINNED, DEPLOY_PLAN, DEPLOY_NO_WAIT };

static enum cli_exit read_plan(const char *path, json_t **ret)
{
    json_error_t error;

    *ret = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!*ret && error.line < 0)
        return cli_complain(CLI_USAGE, "cannot read the plan: %s", error.text);
    if (!*ret)
        return cli_complain(CLI_USAGE, "%s:%d: %s", path, error.line, error.text);
    if (!json_is_object(*ret))
        return cli_complain(CLI_USAGE, "%s holds no plan; \"caravan plan MODEL --save FILE\" writes one", path);
    return CLI_DONE;
}

static json_t *args_array(const struct cli *c)
{
    json_t *args = json_array();

    for (int i = 0; i < c->n_rest; i++)
        if (json_array_append_new(args, json_string(c->rest[i])) < 0) {
            json_decref(args);
            return NULL;
        }
    return args;
}

static enum cli_exit deploy_body(const struct cli *c, json_t *body)
{
    const char *alias = options_string(c->options, DEPLOY_ALIAS), *path = options_string(c->options, DEPLOY_PLAN);
    json_t *plan = NULL;
    int bad = 0;

    if (path) {
        enum cli_exit e = read_plan(path, &plan);

        if (e) {
            json_decref(plan);
            return e;
        }
        bad |= json_object_set_new(body, "plan", plan);
    }
    if (alias)
        bad |= json_object_set_new(body, "alias", json_string(alias));
    if (options_is_set(c->options, DEPLOY_REPLICAS))
        bad |=
            json_object_set_new(body, "replicas", json_integer((json_int_t)options_uint(c->options, DEPLOY_REPLICAS)));
    if (options_is_set(c->options, DEPLOY_TTL))
        bad |= json_object_set_new(body, "ttl_ms", json_integer((json_int_t)options_uint(c->options, DEPLOY_TTL)));
    if (options_bool(c->options, DEPLOY_PINNED))
        bad |= json_object_set_new(body, "pinned", json_true());
    if (c->n_rest)
        bad |= json_object_set_new(body, "args", args_array(c));
    return bad ? cli_complain(CLI_USAGE, "an argument is not UTF-8") : CLI_DONE;
}

static enum cli_exit run_deploy(const struct cli *c)
{
    CLEANUP(json_release) json_t *body = request_new(c);
    CLEANUP(json_release) json_t *answer = NULL;
    enum cli_exit e;

    if (!body)
        return cli_complain(CLI_USAGE, "an argument is not UTF-8");
    e = deploy_body(c, body);
    if (e)
        return e;
    e = api_call(c->api, "POST", "/api/instances", body, &answer);
    if (e)
        return e;
    if (!c->json && json_is_true(json_object_get(answer, "attached")))
        show_line("%s was deployed before and stays as it is; stop it first to change it", c->word[0]);
    return follow_accepted(c, answer, !options_bool(c->options, DEPLOY_NO_WAIT));
}

static const struct option_def deploy_options[] = {
    CLI_COMMON_OPTIONS,
    REQUEST_OPTIONS,
    {.name = "alias",
     .type = OPTION_STRING,
     .arg = "NAME",
     .argv_only = true,
     .help = "The name that requests use; the model's own otherwise."},
    {.name = "replicas",
     .type = OPTION_UINT,
     .min = 1,
     .max = 16,
     .arg = "N",
     .argv_only = true,
     .help = "So many instances of it, on nodes of their own where there are enough."},
    {.name = "ttl",
     .type = OPTION_DURATION_MS,
     .max = UINT64_C(31536000000),
     .arg = "TIME",
     .argv_only = true,
     .help = "Unload it when nobody has asked for so long, or another model needs its memory; 0: never."},
    {.name = "pinned",
     .type = OPTION_FLAG,
     .argv_only = true,
     .help = "Never unload it, whatever else needs its memory."},
    {.name = "plan",
     .type = OPTION_STRING,
     .arg = "FILE",
     .argv_only = true,
     .help = "Exactly as `caravan plan --save FILE` kept it."},
    {.name = "no_wait", .type = OPTION_FLAG, .argv_only = true, .help = "Print the task's number and return at once."},
    {.name = NULL},
};

const struct verb verb_deploy = {
    .name = "deploy",
    .usage = "MODEL [-- ARGS...]",
    .summary = "Starts a model and returns when it is ready; ARGS go to llama-server.",
    .min_words = 1,
    .max_words = 1,
    .takes_rest = true,
    .options = deploy_options,
    .run = run_deploy,
};

/* ---- stop --------------------------------------------------------------------------------------------------------- */

enum { STOP_NO_WAIT = CLI_OPTION_OWN };

static enum cli_exit run_stop(const struct cli *c)
{
    CLEANUP(cleanup_free) char *target = api_target("/api/instances/%s", c->word[0]);
    CLEANUP(json_release) json_t *answer = NULL;
    enum cli_exit e;

    if (!target)
        return cli_complain(CLI_FAILED, "out of memory");
    e = api_call(c->api, "DELETE", target, NULL, &answer);
    return e ? e : follow_accepted(c, answer, !options_bool(c->options, STOP_NO_WAIT));
}

static const struct option_def stop_options[] = {
    CLI_COMMON_OPTIONS,
    {.name = "no_wait", .type = OPTION_FLAG, .argv_only = true, .help = "Print the task's number and return at once."},
    {.name = NULL},
};

const struct verb verb_stop = {
    .name = "stop",
    .usage = "NAME",
    .summary = "Ends an instance (name, alias, model or id) and returns when its workers are empty.",
    .min_words = 1,
    .max_words = 1,
    .options = stop_options,
    .run = run_stop,
};
