/* caravan backends. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/api.h"
#include "controller/cli/json_get.h"
#include "controller/cli/screen.h"
#include "controller/cli/show.h"
#include "controller/cli/table.h"

enum { BACKENDS_WHY = CLI_OPTION_OWN };

static void backend_row(struct table *t, const json_t *b)
{
    const char *state = json_text_of(b, "state", "?");
    const json_t *memory = json_object_get(b, "memory_bytes");

    table_cell(t, TERM_PLAIN, "%s", json_text_of(b, "host", "?"));
    table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(b, "port", 0));
    table_cell(t, TERM_PLAIN, "%s", json_text_of(b, "node_name", "-"));
    table_cell(t, term_state_colour(state), "%s", state);
    table_cell(t, TERM_PLAIN, "%s", json_text_of(b, "rpc", "-"));
    table_cell(t, TERM_PLAIN, "%s", json_is_integer(memory) ? SCREEN_BYTES(json_uint_of(b, "memory_bytes", 0)) : "-");
    table_cell(t, TERM_PLAIN, "%s", SHOW_NAMES(json_object_get(b, "devices")));
    table_cell(t, TERM_PLAIN, "%s", json_text_of(b, "source", "?"));
    table_cell(t, TERM_PLAIN, "%s", SHOW_AGE(json_uint_of(b, "last_seen_wall_ms", 0)));
}

static void print_dropped(const json_t *answer)
{
    json_t *dropped = json_object_get(answer, "dropped"), *count;
    const char *why;

    json_object_foreach(dropped, why, count)
    {
        if (json_integer_value(count) > 0)
            show_line("dropped: %" JSON_INTEGER_FORMAT " %s", json_integer_value(count), why);
    }
}

static void print_backends(const json_t *answer)
{
    static const struct table_column columns[] = {
        {"HOST", TABLE_SHRINKS},
        {"PORT", TABLE_RIGHT},
        {"NODE", TABLE_SHRINKS},
        {"STATE", 0},
        {"RPC", 0},
        {"MEMORY", TABLE_RIGHT},
        {"DEVICES", TABLE_SHRINKS | TABLE_OPTIONAL},
        {"SOURCE", TABLE_OPTIONAL},
        {"SEEN", TABLE_RIGHT},
        {0},
    };
    CLEANUP(table_destroy) struct table *t = table_new(columns);
    size_t i;
    json_t *b;

    json_array_foreach(json_object_get(answer, "backends"), i, b)
    {
        backend_row(t, b);
    }
    if (i)
        table_print(t, stdout, term_width());
    else
        printf("No rpc-server has been found.\n");
    print_dropped(answer);
}

static bool backend_is(const json_t *b, const char *host)
{
    return strcmp(json_text_of(b, "host", ""), host) == 0 || strcmp(json_text_of(b, "node_name", ""), host) == 0;
}

static void print_why(const json_t *b)
{
    size_t i;
    json_t *source;

    show_line("%s:%" PRIu64 " is %s", json_text_of(b, "host", "?"), json_uint_of(b, "port", 0),
              json_text_of(b, "state", "?"));
    json_array_foreach(json_object_get(b, "sources"), i, source)
    {
        show_line("  %-6s %s (%s ago)", json_text_of(source, "source", "?"), json_text_of(source, "says", "?"),
                  SHOW_AGE(json_uint_of(source, "last_seen_wall_ms", 0)));
    }
}

/* What each source said of the backends of one host or node. */
static enum cli_exit run_why(const struct cli *c, const char *host)
{
    CLEANUP(json_release) json_t *answer = NULL;
    CLEANUP(json_release) json_t *matching = json_array();
    enum cli_exit e = api_get(c->api, "/api/rpc_backends", &answer);
    size_t i;
    json_t *b;

    if (e)
        return e;
    json_array_foreach(json_object_get(answer, "backends"), i, b)
    {
        if (backend_is(b, host))
            json_array_append(matching, b);
    }
    if (!json_array_size(matching))
        return cli_complain(CLI_FAILED, "no source has named a backend on \"%s\"; \"caravan backends\" lists them all",
                            host);
    if (c->json) {
        show_json(matching);
        return CLI_DONE;
    }
    json_array_foreach(matching, i, b)
    {
        print_why(b);
    }
    return CLI_DONE;
}

static enum cli_exit run_backends(const struct cli *c)
{
    const char *host = options_string(c->options, BACKENDS_WHY);

    return host ? run_why(c, host) : show_answer(c, "/api/rpc_backends", print_backends);
}

static const struct option_def backends_options[] = {
    CLI_COMMON_OPTIONS,
    {.name = "why",
     .type = OPTION_STRING,
     .arg = "HOST",
     .argv_only = true,
     .help = "What each source said of this host or node."},
    {.name = NULL},
};

const struct verb verb_backends = {
    .name = "backends",
    .usage = "",
    .summary = "Every rpc-server that any source has named, and whether it can be used.",
    .options = backends_options,
    .run = run_backends,
};
