/* caravan events, caravan version. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/sse.h"
#include "controller/cli/api.h"
#include "controller/cli/json_get.h"
#include "controller/cli/show.h"

/* ---- events ------------------------------------------------------------------------------------------------------- */

enum { PATIENCE_S = 30 };

struct watch {
    bool json;
    bool heard; /* anything at all since the last dial */
    char last_id[64];
};

static void print_event(const json_t *e)
{
    uint64_t wall_ms = json_uint_of(e, "wall_ms", 0);
    time_t seconds = (time_t)(wall_ms / 1000);
    const char *verdict = json_text_of(e, "verdict", ""), *text = json_text_of(e, "text", "");
    struct tm tm;
    char when[16] = "";

    if (localtime_r(&seconds, &tm))
        strftime(when, sizeof(when), "%H:%M:%S", &tm);
    show_line("%s.%03" PRIu64 "  %s %s  %s -> %s  %s%s%s%s%s", when, wall_ms % 1000, json_text_of(e, "machine", "?"),
              json_text_of(e, "id", "?"), json_text_of(e, "from", "?"), json_text_of(e, "to", "?"),
              json_text_of(e, "event", ""), *verdict && strcmp(verdict, "go") != 0 ? ", " : "",
              strcmp(verdict, "go") != 0 ? verdict : "", *text ? ": " : "", text);
}

static bool on_event(void *ctx, const struct sse_event *e)
{
    struct watch *w = ctx;
    json_t *data = json_loads(e->data, JSON_REJECT_DUPLICATES, NULL);

    w->heard = true;
    snprintf(w->last_id, sizeof(w->last_id), "%s", e->id);
    if (data && w->json) {
        json_dumpf(data, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (data) {
        print_event(data);
    }
    json_decref(data);
    fflush(stdout);
    return !ferror(stdout);
}

/* For ever: over a restart of the controller too, going on after the last event that was heard. */
static enum cli_exit run_events(const struct cli *c)
{
    struct watch w = {.json = c->json};

    for (int n_silent = 0; n_silent <= PATIENCE_S; sleep(1)) {
        const struct api_stream stream = {.method = "GET",
                                          .target = "/api/events",
                                          .last_event_id = w.last_id,
                                          .quiet = *w.last_id != '\0',
                                          .pinged = true,
                                          .on_event = on_event,
                                          .ctx = &w};
        enum cli_exit e;

        w.heard = false;
        e = api_stream(c->api, &stream);
        if (ferror(stdout))
            return CLI_DONE; /* whoever read us has enough */
        if (e && (e != CLI_UNREACHABLE || !*w.last_id))
            return e;
        n_silent = w.heard ? 0 : n_silent + 1;
    }
    return cli_complain(CLI_UNREACHABLE, "the controller at %s is away", api_url(c->api));
}

static const struct option_def events_options[] = {CLI_COMMON_OPTIONS, {.name = NULL}};

const struct verb verb_events = {
    .name = "events",
    .usage = "",
    .summary = "What happens, as it happens: a line per change of state.",
    .options = events_options,
    .run = run_events,
};

/* ---- version ------------------------------------------------------------------------------------------------------ */

static enum cli_exit run_version(const struct cli *c)
{
    CLEANUP(json_release) json_t *controller = NULL;
    enum cli_exit e;

    if (!c->json) {
        printf("caravan %s\n", CARAVAN_VERSION);
        fflush(stdout);
    }
    e = api_get(c->api, "/api/version", &controller);
    if (c->json) {
        CLEANUP(json_release)
        json_t *both = json_pack("{s:s, s:O?}", "version", CARAVAN_VERSION, "controller", controller);

        show_json(both);
        return e;
    }
    if (!e)
        show_line("controller %s at %s, cluster %s, trust = %s", json_text_of(controller, "version", "?"),
                  api_url(c->api), json_text_of(controller, "cluster", "?"), json_text_of(controller, "trust", "?"));
    return e;
}

static const struct option_def version_options[] = {CLI_COMMON_OPTIONS, {.name = NULL}};

const struct verb verb_version = {
    .name = "version",
    .usage = "",
    .summary = "The versions of this command and of the controller.",
    .options = version_options,
    .run = run_version,
};
