#include "controller/cli/show.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "controller/cli/api.h"
#include "controller/cli/json_get.h"
#include "controller/cli/screen.h"
#include "controller/cli/table.h"

void show_line(const char *fmt, ...)
{
    CLEANUP(cleanup_free) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    if (text)
        puts(screen_clean(text));
}

void show_coloured(enum term_colour colour, const char *fmt, ...)
{
    CLEANUP(cleanup_free) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    if (text)
        printf("%s%s%s\n", term_begin(colour), screen_clean(text), term_begin(TERM_PLAIN));
}

void show_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}

enum cli_exit show_answer(const struct cli *c, const char *target, void (*print)(const json_t *answer))
{
    CLEANUP(json_release) json_t *answer = NULL;
    enum cli_exit e = api_get(c->api, target, &answer);

    if (e)
        return e;
    if (c->json)
        show_json(answer);
    else
        print(answer);
    return CLI_DONE;
}

/* How old an agent's answer is: by its own clock, else by ours. */
static char *answer_age(const json_t *answer, char *buf)
{
    uint64_t age_ms = json_uint_of(answer, "age_ms", UINT64_MAX);

    return age_ms == UINT64_MAX ? show_age(json_uint_of(answer, "made_wall_ms", 0), buf) : screen_duration(age_ms, buf);
}

#define OLD_NEWS "No controller is reached at %s: this is how it was %s ago, by this machine's agent."

static void say_age(const struct cli *c, const json_t *answer)
{
    char age[SCREEN_NUMBER_MAX];

    answer_age(answer, age);
    if (c->json)
        cli_complain(CLI_DONE, OLD_NEWS, api_url(c->api), age);
    else
        show_coloured(TERM_WARN, OLD_NEWS, api_url(c->api), age);
}

enum cli_exit show_anywhere(const struct cli *c, const char *socket, const char *target,
                            void (*print)(const json_t *answer))
{
    CLEANUP(json_release) json_t *answer = NULL;
    bool by_agent;
    enum cli_exit e = api_get_anywhere(c->api, socket, target, &answer, &by_agent);

    if (e)
        return e;
    if (by_agent)
        say_age(c, answer);
    if (c->json)
        show_json(answer);
    else
        print(answer);
    return CLI_DONE;
}

enum cli_exit show_done(const struct cli *c, const char *method, char *target, const json_t *body, const char *done)
{
    CLEANUP(json_release) json_t *answer = NULL;
    CLEANUP(cleanup_free) char *mine = target;
    enum cli_exit e = mine ? api_call(c->api, method, mine, body, &answer) : cli_complain(CLI_FAILED, "out of memory");

    if (e)
        return e;
    if (c->json)
        show_json(answer);
    else
        show_line("%s", json_text_of(answer, "text", done));
    return CLI_DONE;
}

char *show_names(const json_t *list, char *buf, size_t size)
{
    size_t used = 0;

    snprintf(buf, size, "-");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        size_t n = name ? strlen(name) : 0;

        if (used + n + 6 > size) { /* ", " and "...", NUL */
            memcpy(buf + used, "...", 4);
            break;
        }
        used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? ", " : "", name ? name : "?");
    }
    return buf;
}

char *show_age(uint64_t wall_ms, char *buf)
{
    uint64_t now_ms = clock_wall_ms();

    if (!wall_ms)
        return strcpy(buf, "-");
    return screen_duration(now_ms > wall_ms ? now_ms - wall_ms : 0, buf);
}

char *show_left(uint64_t wall_ms, char *buf)
{
    uint64_t now_ms = clock_wall_ms();

    if (!wall_ms)
        return strcpy(buf, "-");
    return screen_duration(wall_ms > now_ms ? wall_ms - now_ms : 0, buf);
}

/* ---- plans -------------------------------------------------------------------------------------------------------- */

static void plan_head(const json_t *plan)
{
    uint64_t wanted = json_uint_of(plan, "wanted_nodes", 0);
    char why[48];

    if (wanted)
        snprintf(why, sizeof(why), "--nodes %" PRIu64, wanted);
    else
        snprintf(why, sizeof(why), "size band of %" PRIu64, json_uint_of(plan, "band", 0));
    show_line("%s  %s, %" PRIu64 " layers, context %" PRIu64 " over %" PRIu64 " slot%s, KV %s",
              json_text_of(plan, "model", "?"), SCREEN_BYTES(json_uint_of(plan, "model_bytes", 0)),
              json_uint_of(plan, "n_layer", 0), json_uint_of(plan, "ctx", 0), json_uint_of(plan, "slots", 0),
              json_uint_of(plan, "slots", 0) == 1 ? "" : "s", json_text_of(plan, "kv_type", "?"));
    show_line("ranks: %zu, by policy %s and %s; transport %s; llama.cpp %s",
              json_array_size(json_object_get(plan, "ranks")), json_text_of(plan, "policy", "?"), why,
              json_text_of(plan, "transport", "direct"), json_text_of(plan, "build", "?"));
}

static char *layer_range(const json_t *device, char *buf, size_t size)
{
    uint64_t first = json_uint_of(device, "first_layer", 0), n = json_uint_of(device, "n_layers", 0);
    const char *output = json_is_true(json_object_get(device, "has_output")) ? "output" : "";

    if (!n)
        snprintf(buf, size, "%s", *output ? output : "none");
    else
        snprintf(buf, size, "%" PRIu64 "-%" PRIu64 "%s%s", first, first + n - 1, *output ? " + " : "", output);
    return buf;
}

static void device_row(struct table *t, const json_t *rank, const json_t *device, bool first)
{
    char layers[64];

    if (first) {
        table_cell(t, TERM_PLAIN, "%" PRIu64, json_uint_of(rank, "rank", 0));
        table_cell(t, TERM_PLAIN, "%s", json_text_of(rank, "node_name", "?"));
        table_cell(t, TERM_PLAIN, "%s", json_text_of(rank, "addr", "?"));
    } else {
        for (int i = 0; i < 3; i++)
            table_cell(t, TERM_PLAIN, " ");
    }
    table_cell(t, TERM_PLAIN, "%s%s", json_text_of(device, "name", "?"),
               json_is_true(json_object_get(rank, "local")) ? " (local)" : "");
    table_cell(t, TERM_PLAIN, "%s", layer_range(device, layers, sizeof(layers)));
    table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(device, "weight_bytes", 0)));
    table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(device, "kv_bytes", 0)));
    table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(device, "compute_bytes", 0)));
    table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(device, "peak_bytes", 0)));
    table_cell(t, TERM_PLAIN, "%s", SCREEN_BYTES(json_uint_of(device, "offer_bytes", 0)));
}

void show_plan(const json_t *plan)
{
    static const struct table_column columns[] = {
        {"RANK", TABLE_RIGHT},
        {"NODE", TABLE_SHRINKS},
        {"ADDRESS", TABLE_SHRINKS},
        {"DEVICE", TABLE_SHRINKS},
        {"LAYERS", 0},
        {"WEIGHTS", TABLE_RIGHT | TABLE_OPTIONAL},
        {"KV", TABLE_RIGHT | TABLE_OPTIONAL},
        {"COMPUTE", TABLE_RIGHT | TABLE_OPTIONAL},
        {"PEAK", TABLE_RIGHT},
        {"OF", TABLE_RIGHT},
        {0},
    };
    CLEANUP(table_destroy) struct table *t = table_new(columns);
    size_t i, k;
    json_t *rank, *device, *note;

    plan_head(plan);
    json_array_foreach(json_object_get(plan, "ranks"), i, rank)
    {
        json_array_foreach(json_object_get(rank, "devices"), k, device)
        {
            device_row(t, rank, device, k == 0);
        }
    }
    if (json_array_size(json_object_get(plan, "ranks")))
        table_print(t, stdout, term_width());
    if (json_uint_of(plan, "host_bytes", 0))
        show_line("and %s of host memory on rank 0's node for the coordinator",
                  SCREEN_BYTES(json_uint_of(plan, "host_bytes", 0)));
    if (json_uint_of(plan, "missing_bytes", 0))
        show_line("missing: %s", SCREEN_BYTES(json_uint_of(plan, "missing_bytes", 0)));
    json_array_foreach(json_object_get(plan, "notes"), i, note)
    {
        show_line("- %s", json_string_value(note) ? json_string_value(note) : "?");
    }
}
