#include "controller/cli/follow.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/sse.h"
#include "controller/cli/api.h"
#include "controller/cli/json_get.h"
#include "controller/cli/screen.h"
#include "controller/cli/show.h"
#include "controller/cli/term.h"

enum { PATIENCE_S = 30, BAR_CELLS = 20, PLAIN_STEP_PERMILLE = 250 };

struct follow {
    bool json, tty;
    bool heard; /* anything of the task since the last dial */
    bool drawn; /* a line stands on the terminal that the next one replaces */
    json_t *last;
    char said[256];     /* state and step of the line said last, where lines are said */
    uint64_t said_part; /* quarter of the progress said last */
};

/* ---- showing ------------------------------------------------------------------------------------------------------ */

static void line_add(char *line, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void line_add(char *line, size_t size, const char *fmt, ...)
{
    size_t used = strlen(line);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line + used, size - used, fmt, ap);
    va_end(ap);
}

/* "93 MiB of 206 MiB, 2 of 4 ranks proven, 12 s left" */
static void describe_progress(char *line, size_t size, const json_t *instance)
{
    const json_t *ranks = json_object_get(instance, "ranks");
    uint64_t loaded = 0, planned = 0, fed = 0, eta_ms = json_uint_of(instance, "eta_ms", UINT64_MAX);
    size_t i, n_proven = 0;
    json_t *rank;

    json_array_foreach(ranks, i, rank)
    {
        loaded += json_uint_of(rank, "loaded_bytes", 0);
        planned += json_uint_of(rank, "planned_bytes", 0);
        fed += json_uint_of(json_object_get(rank, "flow"), "fed_bytes", 0);
        n_proven += json_is_true(json_object_get(rank, "proven"));
    }
    if (loaded)
        line_add(line, size, ", %s of %s", SCREEN_BYTES(loaded), SCREEN_BYTES(planned));
    if (fed)
        line_add(line, size, ", %s from the nodes' own files", SCREEN_BYTES(fed));
    if (n_proven)
        line_add(line, size, ", %zu of %zu ranks proven", n_proven, json_array_size(ranks));
    if (loaded && eta_ms != UINT64_MAX)
        line_add(line, size, ", %s left", SCREEN_DURATION(eta_ms));
}

static void describe_bar(char *line, size_t size, uint64_t permille)
{
    uint64_t full = permille * BAR_CELLS / 1000;

    line_add(line, size, "  [");
    for (uint64_t i = 0; i < BAR_CELLS; i++)
        line_add(line, size, "%s", i < full ? "#" : ".");
    line_add(line, size, "] %3" PRIu64 " %%", permille / 10);
}

static void draw(struct follow *f, char *line)
{
    size_t width = term_width();

    screen_clean(line);
    if (f->tty) /* one column is left free: a full line would scroll */
        printf("\r\033[K%.*s", (int)screen_fit(line, width > 1 ? width - 1 : 0, NULL), line);
    else
        printf("%s\n", line);
    f->drawn = f->tty;
    fflush(stdout);
}

static void undraw(struct follow *f)
{
    if (f->drawn)
        printf("\r\033[K");
    f->drawn = false;
}

static void show_progress(struct follow *f)
{
    const json_t *task = json_object_get(f->last, "task"), *instance = json_object_get(f->last, "instance");
    const char *state = json_text_of(instance, "state", json_text_of(task, "state", "?"));
    const char *step = json_text_of(task, "step", "");
    uint64_t permille = json_uint_of(instance, "progress_permille", 0), part = permille / PLAIN_STEP_PERMILLE;
    char head[256] = "", line[1024] = "";

    line_add(head, sizeof(head), "%s: %s", json_text_of(task, "name", "?"), state);
    if (*step && strcmp(step, state) != 0)
        line_add(head, sizeof(head), " (%s)", step);
    if (!f->tty && strcmp(head, f->said) == 0 && part == f->said_part)
        return;
    memcpy(f->said, head, sizeof(head));
    f->said_part = part;
    line_add(line, sizeof(line), "%s", head);
    if (permille && f->tty && strcmp(state, "loading") == 0)
        describe_bar(line, sizeof(line), permille);
    if (strcmp(state, "loading") == 0)
        describe_progress(line, sizeof(line), instance);
    draw(f, line);
}

/* ---- following ---------------------------------------------------------------------------------------------------- */

static bool is_over(const json_t *task)
{
    const char *state = json_text_of(task, "state", "");

    return strcmp(state, "pending") != 0 && strcmp(state, "running") != 0;
}

static bool on_event(void *ctx, const struct sse_event *e)
{
    struct follow *f = ctx;
    json_t *data = json_loads(e->data, JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(json_object_get(data, "task"))) { /* not ours to understand */
        json_decref(data);
        return true;
    }
    json_decref(f->last);
    f->last = data;
    f->heard = true;
    if (is_over(json_object_get(data, "task")))
        return false;
    if (!f->json)
        show_progress(f);
    return true;
}

static void show_ready(const json_t *instance, const json_t *task)
{
    size_t n_ranks = json_array_size(json_object_get(instance, "ranks"));
    uint64_t began = json_uint_of(task, "created_wall_ms", 0), ended = json_uint_of(task, "ended_wall_ms", began);
    const char *name = json_text_of(task, "name", "?"), *remark = json_text_of(task, "text", "");

    if (strcmp(json_text_of(instance, "state", ""), "ready") == 0)
        show_line("%s is ready: %zu rank%s, epoch %" PRIu64 ", after %s", name, n_ranks, n_ranks == 1 ? "" : "s",
                  json_uint_of(instance, "epoch", 0), SCREEN_DURATION(ended > began ? ended - began : 0));
    else if (json_is_object(instance))
        show_line("%s is %s%s%s", name, json_text_of(instance, "state", "?"), *remark ? "; " : "", remark);
    else
        show_line("%s: %s", name, *remark ? remark : "done");
}

static enum cli_exit conclude(struct follow *f)
{
    const json_t *task = json_object_get(f->last, "task");
    const char *state = json_text_of(task, "state", "?"), *name = json_text_of(task, "name", "?");
    const char *text = json_text_of(task, "text", "no reason was given"), *code = json_text_of(task, "code", "");

    undraw(f);
    if (f->json)
        show_json(f->last);
    if (strcmp(state, "complete") == 0) {
        if (!f->json)
            show_ready(json_object_get(f->last, "instance"), task);
        return CLI_DONE;
    }
    return cli_complain(strcmp(state, "refused") == 0 ? CLI_REFUSED : CLI_FAILED, "%s of %s %s: %s%s%s%s",
                        json_text_of(task, "kind", "the task"), name, state, text, *code ? " (" : "", code,
                        *code ? ")" : "");
}

static enum cli_exit follow_to_end(const struct cli *c, struct follow *f, const char *target)
{
    const struct api_stream stream = {
        .method = "GET", .target = target, .quiet = true, .pinged = true, .on_event = on_event, .ctx = f};
    int n_tries = 0;

    for (;;) {
        enum cli_exit e;

        f->heard = false;
        e = api_stream(c->api, &stream);
        if (f->last && is_over(json_object_get(f->last, "task")))
            return conclude(f);
        if (e != CLI_DONE && e != CLI_UNREACHABLE)
            return e;
        n_tries = f->heard ? 0 : n_tries + 1;
        if (n_tries > PATIENCE_S) {
            undraw(f);
            return cli_complain(CLI_UNREACHABLE,
                                "the controller at %s is away; the task goes on without us: "
                                "\"caravan tasks\" will tell",
                                api_url(c->api));
        }
        sleep(1);
    }
}

static enum cli_exit follow_task(const struct cli *c, uint64_t task_id)
{
    struct follow f = {.json = c->json, .tty = term_is_tty()};
    char target[64];
    enum cli_exit e;

    snprintf(target, sizeof(target), "/api/tasks/%" PRIu64, task_id);
    e = follow_to_end(c, &f, target);
    json_decref(f.last);
    return e;
}

enum cli_exit follow_accepted(const struct cli *c, const json_t *answer, bool wait)
{
    uint64_t task_id = json_uint_of(answer, "task", 0);

    if (wait && task_id)
        return follow_task(c, task_id);
    if (c->json)
        show_json(answer);
    else if (task_id)
        show_line("task %" PRIu64, task_id);
    else
        show_line("%s", json_text_of(answer, "text", "done"));
    return CLI_DONE;
}
