/* A council while it answers: on a terminal a line for each member that has ended, and below them one that moves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/sse.h"
#include "controller/cli/answer.h"
#include "controller/cli/api.h"
#include "controller/cli/council.h"
#include "controller/cli/json_get.h"
#include "controller/cli/screen.h"
#include "controller/cli/show.h"
#include "controller/cli/term.h"

enum { COUNCIL_MAX = 64, LINE_MAX_BYTES = 1024 };

struct council {
    const json_t *members; /* of the request */
    size_t n, n_ended;
    size_t n_tokens[COUNCIL_MAX]; /* pieces of each, while it answers */
    json_t *ended[COUNCIL_MAX];
    bool moving; /* the line that moves is on the terminal */
    bool synthesis_began;
    json_t *whole;
};

static void council_clear(struct council *c)
{
    for (size_t i = 0; i < COUNCIL_MAX; i++)
        json_decref(c->ended[i]);
    json_decref(c->whole);
}

/* ---- while they answer -------------------------------------------------------------------------------------------- */

static void print_clean(const char *text)
{
    CLEANUP(cleanup_free) char *copy = strdup(text);

    if (copy)
        fputs(screen_clean(copy), stdout);
}

static const char *name_of(const struct council *c, size_t i)
{
    return json_text_of(json_array_get(c->members, i), "name", "?");
}

static void clear_line(struct council *c)
{
    if (c->moving)
        printf("\r\033[K");
    c->moving = false;
}

/* "2 of 6; sceptic 34 tokens, optimist waits": as much of it as fits. */
static void show_moving(struct council *c)
{
    char line[LINE_MAX_BYTES];
    size_t used, width = term_width();

    if (!width || c->n_ended == c->n)
        return;
    used = (size_t)snprintf(line, sizeof(line), "%zu of %zu have ended", c->n_ended, c->n);
    for (size_t i = 0; i < c->n && used < sizeof(line); i++) {
        if (c->ended[i])
            continue;
        if (c->n_tokens[i])
            used +=
                (size_t)snprintf(line + used, sizeof(line) - used, "; %s: %zu tokens", name_of(c, i), c->n_tokens[i]);
        else
            used += (size_t)snprintf(line + used, sizeof(line) - used, "; %s waits", name_of(c, i));
    }
    screen_clean(line);
    line[screen_fit(line, width - 1, NULL)] = '\0';
    clear_line(c);
    printf("%s%s%s", term_begin(TERM_DIM), line, term_begin(TERM_PLAIN));
    c->moving = true;
    fflush(stdout);
}

static void show_end(struct council *c, size_t i)
{
    const json_t *m = c->ended[i], *tokens = json_object_get(m, "tokens");
    bool success = json_is_true(json_object_get(m, "success"));

    if (!term_is_tty())
        return;
    clear_line(c);
    printf("%s%s%s ", term_begin(success ? TERM_GOOD : TERM_BAD), success ? "answered" : "failed  ",
           term_begin(TERM_PLAIN));
    print_clean(name_of(c, i));
    printf("  %s", SCREEN_DURATION(json_uint_of(m, "total_ms", 0)));
    if (success)
        printf("  %zu tokens", (size_t)json_uint_of(tokens, "completion", c->n_tokens[i]));
    putchar('\n');
}

/* ---- what they answered ------------------------------------------------------------------------------------------- */

static void print_heading(const char *name, const char *model)
{
    printf("%s== ", term_begin(TERM_BOLD));
    print_clean(name);
    if (*model) {
        printf(" (");
        print_clean(model);
        putchar(')');
    }
    printf("%s\n", term_begin(TERM_PLAIN));
}

static void print_answer(const struct council *c, size_t i)
{
    const json_t *m = c->ended[i];
    const char *text = json_text_of(m, "content", NULL);

    print_heading(name_of(c, i), json_text_of(m, "model", ""));
    if (text)
        answer_write(text, strlen(text));
    else {
        printf("failed: ");
        print_clean(json_text_of(json_object_get(m, "error"), "message", "no reason is known"));
    }
    printf("\n\n");
}

static void take_end(struct council *c, size_t i, json_t *e)
{
    if (c->ended[i])
        return;
    c->ended[i] = json_incref(e);
    c->n_ended++;
    show_end(c, i);
    if (c->n_ended < c->n)
        return;
    if (term_is_tty())
        putchar('\n');
    for (size_t k = 0; k < c->n; k++)
        print_answer(c, k);
    fflush(stdout);
}

static void take_synthesis(struct council *c, const json_t *e)
{
    const char *text = json_text_of(e, "content", "");

    if (!c->synthesis_began)
        print_heading("synthesis", "");
    c->synthesis_began = true;
    answer_write(text, strlen(text));
}

/* ---- events ------------------------------------------------------------------------------------------------------- */

/* Returns false: that was the last. */
static bool take_event(struct council *c, const char *name, json_t *e)
{
    size_t i = (size_t)json_uint_of(e, "index", COUNCIL_MAX);

    if (strcmp(name, "done") == 0) {
        c->whole = json_incref(e);
        return false;
    }
    if (strcmp(name, "synthesis.delta") == 0)
        take_synthesis(c, e);
    if (strcmp(name, "synthesis.again") == 0 && c->synthesis_began) {
        putchar('\n');
        c->synthesis_began = false; /* it says it anew, under a heading of its own */
    }
    if (i >= c->n)
        return true;
    if (strcmp(name, "member.delta") == 0)
        c->n_tokens[i]++;
    else if (strcmp(name, "member.again") == 0)
        c->n_tokens[i] = 0;
    else if (strcmp(name, "member.done") == 0)
        take_end(c, i, e);
    show_moving(c);
    return true;
}

static bool on_event(void *ctx, const struct sse_event *e)
{
    json_t *o = json_loads(e->data, 0, NULL);
    bool more = !json_is_object(o) || take_event(ctx, e->event, o);

    json_decref(o);
    return more;
}

static enum cli_exit conclude(const json_t *whole)
{
    const json_t *s = json_object_get(whole, "synthesis");

    if (!json_uint_of(whole, "success_count", 0))
        return cli_complain(CLI_FAILED, "no member has answered");
    if (!json_is_object(s) || json_is_true(json_object_get(s, "success")))
        return CLI_DONE;
    return cli_complain(CLI_FAILED, "synthesis: %s",
                        json_text_of(json_object_get(s, "error"), "message", "it failed, no reason is known"));
}

static enum cli_exit ask_as_stream(const struct cli *cli, const json_t *request)
{
    CLEANUP(council_clear) struct council c = {.members = json_object_get(request, "members")};
    const struct api_stream stream = {
        .method = "POST", .target = "/v1/fanout", .body = request, .pinged = true, .on_event = on_event, .ctx = &c};
    enum cli_exit e;

    c.n = json_array_size(c.members);
    if (c.n > COUNCIL_MAX)
        return cli_complain(CLI_USAGE, "a council has at most %d members", COUNCIL_MAX);
    show_moving(&c);
    e = api_stream(cli->api, &stream);
    clear_line(&c);
    if (e)
        return e;
    if (c.synthesis_began)
        putchar('\n');
    return c.whole ? conclude(c.whole) : cli_complain(CLI_FAILED, "the answers were cut off");
}

/* In one piece: a stream's last event does not have the answers again. */
static enum cli_exit ask_as_json(const struct cli *cli, const json_t *request)
{
    CLEANUP(json_release) json_t *whole = NULL;
    enum cli_exit e = api_ask(cli->api, "/v1/fanout", request, &whole);

    if (e)
        return e;
    show_json(whole);
    return conclude(whole);
}

enum cli_exit council_ask(const struct cli *cli, json_t *request)
{
    json_object_set_new(request, "stream", json_boolean(!cli->json));
    return cli->json ? ask_as_json(cli, request) : ask_as_stream(cli, request);
}
