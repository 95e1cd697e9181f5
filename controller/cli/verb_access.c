/* caravan token, caravan keys: who may join and who may ask. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/api.h"
#include "controller/cli/json_get.h"
#include "controller/cli/screen.h"
#include "controller/cli/show.h"
#include "controller/cli/table.h"

enum { TOKEN_SHOWN = 16 /* digits of its key: enough to tell it and to remove it */ };

/* Posts body (consumed) and prints the secret of the answer alone, or the whole answer as JSON. ret: owned. */
static enum cli_exit create(const struct cli *c, const char *target, json_t *body, const char *secret, json_t **ret)
{
    CLEANUP(json_release) json_t *mine = body;
    enum cli_exit e = mine ? api_call(c->api, "POST", target, mine, ret) : CLI_FAILED;

    if (!mine)
        return cli_complain(CLI_FAILED, "out of memory");
    if (e)
        return e;
    if (c->json)
        show_json(*ret);
    else
        show_line("%s", json_text_of(*ret, secret, ""));
    fflush(stdout); /* before the hint */
    return CLI_DONE;
}

static enum cli_exit say_usage(const struct cli *c)
{
    return cli_complain(CLI_USAGE, "%s has no use for \"%s\": caravan %s %s", c->verb->name, c->word[0], c->verb->name,
                        c->verb->usage);
}

static bool is_asked(const struct cli *c, const char *word, int n_words)
{
    return c->n_words == n_words && strcmp(c->word[0], word) == 0;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------- */

enum { TOKEN_TTL = CLI_OPTION_OWN, TOKEN_USES };

static void token_row(struct table *t, const json_t *token)
{
    uint64_t expires = json_uint_of(token, "expires_wall_ms", 0);
    char left[SCREEN_NUMBER_MAX];

    table_cell(t, TERM_PLAIN, "%.*s", TOKEN_SHOWN, json_text_of(token, "key", "?"));
    table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(token, "uses_left", 0));
    table_cell(t, TERM_PLAIN, "%s", show_left(expires, left));
    table_cell(t, TERM_PLAIN, "%s", SHOW_AGE(json_uint_of(token, "made_wall_ms", 0)));
}

static void print_tokens(const json_t *answer)
{
    static const struct table_column columns[] = {
        {"TOKEN", 0}, {"USES LEFT", TABLE_RIGHT}, {"EXPIRES IN", TABLE_RIGHT}, {"AGE", TABLE_RIGHT}, {0},
    };
    CLEANUP(table_destroy) struct table *t = table_new(columns);
    size_t i;
    json_t *token;

    json_array_foreach(json_object_get(answer, "tokens"), i, token)
    {
        token_row(t, token);
    }
    if (i)
        table_print(t, stdout, term_width());
    else
        printf("No token is open. `caravan token create` makes one.\n");
}

static enum cli_exit create_token(const struct cli *c)
{
    uint64_t ttl_ms = options_uint(c->options, TOKEN_TTL), uses = options_uint(c->options, TOKEN_USES);
    CLEANUP(json_release) json_t *answer = NULL;
    char left[SCREEN_NUMBER_MAX], machines[40] = "one machine";
    enum cli_exit e =
        create(c, "/api/tokens", json_pack("{s:I,s:I}", "ttl_ms", (json_int_t)ttl_ms, "uses", (json_int_t)uses),
               "token", &answer);

    if (e || c->json)
        return e;
    if (uses > 1)
        snprintf(machines, sizeof(machines), "%" PRIu64 " machines", uses);
    fprintf(
        stderr,
        "It lets in %s within %s. Keep it secret. On the machine: caravan-agent --join @FILE, or --join - and paste it,\n"
        "or the line  join = @FILE  in agent.conf.\n",
        machines, screen_duration(ttl_ms, left));
    return CLI_DONE;
}

static enum cli_exit run_token(const struct cli *c)
{
    if (is_asked(c, "create", 1))
        return create_token(c);
    if (options_is_set(c->options, TOKEN_TTL) || options_is_set(c->options, TOKEN_USES))
        return cli_complain(CLI_USAGE, "--ttl and --uses are for caravan token create");
    if (is_asked(c, "list", 1))
        return show_answer(c, "/api/tokens", print_tokens);
    if (is_asked(c, "remove", 2))
        return show_done(c, "DELETE", api_target("/api/tokens/%s", c->word[1]), NULL,
                         "removed: it lets nobody in any more");
    return say_usage(c);
}

static const struct option_def token_options[] = {
    CLI_COMMON_OPTIONS,
    {.name = "ttl",
     .type = OPTION_DURATION_MS,
     .min = 60000,
     .max = UINT64_C(30) * 24 * 3600 * 1000,
     .def = "1h",
     .argv_only = true,
     .help = "create: how long it is good for."},
    {.name = "uses",
     .type = OPTION_UINT,
     .min = 1,
     .max = 1024,
     .def = "1",
     .arg = "N",
     .argv_only = true,
     .help = "create: how many machines it lets in."},
    {.name = NULL},
};

const struct verb verb_token = {
    .name = "token",
    .usage = "create | list | remove TOKEN",
    .summary = "Join tokens: one string lets a machine in. create prints it; list shows those that are open.",
    .min_words = 1,
    .max_words = 2,
    .options = token_options,
    .run = run_token,
};

/* ---- API keys ----------------------------------------------------------------------------------------------------- */

enum { KEYS_SCOPE = CLI_OPTION_OWN };

static void key_row(struct table *t, const json_t *key)
{
    table_cell(t, TERM_PLAIN, "%s", json_text_of(key, "name", "?"));
    table_cell(t, TERM_PLAIN, "%s", json_text_of(key, "scope", "?"));
    table_cell(t, TERM_PLAIN, "%s", SHOW_AGE(json_uint_of(key, "made_wall_ms", 0)));
}

static void print_keys(const json_t *answer)
{
    static const struct table_column columns[] = {{"KEY", TABLE_SHRINKS}, {"SCOPE", 0}, {"AGE", TABLE_RIGHT}, {0}};
    CLEANUP(table_destroy) struct table *t = table_new(columns);
    size_t i;
    json_t *key;

    json_array_foreach(json_object_get(answer, "keys"), i, key)
    {
        key_row(t, key);
    }
    if (i)
        table_print(t, stdout, term_width());
    else
        printf("There is no API key: HTTP is open, on this machine only. `caravan-controller init` makes the first.\n");
}

static enum cli_exit create_key(const struct cli *c)
{
    const char *scope = options_string(c->options, KEYS_SCOPE);
    CLEANUP(json_release) json_t *answer = NULL;
    json_t *body;
    enum cli_exit e;

    if (!scope)
        return cli_complain(CLI_USAGE, "keys create needs what it is for: --scope infer, read or admin");
    body = json_pack("{s:s,s:s}", "name", c->word[1], "scope", scope);
    if (!body)
        return cli_complain(CLI_USAGE, "a key's name is of letters, digits, '-', '_' and '.'");
    e = create(c, "/api/keys", body, "key", &answer);
    if (e || c->json)
        return e;
    fprintf(stderr, "It is not shown again. Clients send it as  Authorization: Bearer KEY;  `caravan` takes it from "
                    "CARAVAN_API_KEY.\n");
    return CLI_DONE;
}

static enum cli_exit run_keys(const struct cli *c)
{
    if (c->n_words && is_asked(c, "create", 2))
        return create_key(c);
    if (options_is_set(c->options, KEYS_SCOPE))
        return cli_complain(CLI_USAGE, "--scope is for caravan keys create NAME");
    if (!c->n_words || is_asked(c, "list", 1))
        return show_answer(c, "/api/keys", print_keys);
    if (is_asked(c, "remove", 2))
        return show_done(c, "DELETE", api_target("/api/keys/%s", c->word[1]), NULL,
                         "removed: it opens nothing any more");
    return say_usage(c);
}

static const struct option_def keys_options[] = {
    CLI_COMMON_OPTIONS,
    {.name = "scope",
     .type = OPTION_CHOICE,
     .choices = "infer|read|admin",
     .argv_only = true,
     .help = "create: infer: /v1. read: what is shown, and /metrics. admin: everything."},
    {.name = NULL},
};

const struct verb verb_keys = {
    .name = "keys",
    .usage = "[create NAME --scope SCOPE | remove NAME]",
    .summary = "API keys: lists them; create prints a new one, once.",
    .max_words = 2,
    .options = keys_options,
    .run = run_keys,
};
