/* caravan ask. */
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/cli/answer.h"
#include "controller/cli/api.h"
#include "controller/cli/council.h"
#include "controller/cli/json_get.h"
#include "controller/cli/prompt.h"
#include "controller/cli/show.h"

enum { ASK_MODEL = CLI_OPTION_OWN, ASK_COUNCIL, ASK_TIMEOUT };

/* {"messages": [...]}, and the model where one was named. */
static int put_question(const struct cli *c, const char *question, json_t *body)
{
    const char *model = options_string(c->options, ASK_MODEL);
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", question);

    if (json_object_set_new(body, "messages", messages) < 0)
        return -1;
    return model ? json_object_set_new(body, "model", json_string(model)) : 0;
}

static enum cli_exit ask_one(const struct cli *c, json_t *body)
{
    CLEANUP(json_release) json_t *whole = NULL;
    CLEANUP(cleanup_free) char *text = NULL;
    enum cli_exit e;

    json_object_set_new(body, "stream", json_boolean(!c->json));
    if (!c->json)
        return answer_stream(c, body, &text);
    e = api_ask(c->api, "/v1/chat/completions", body, &whole);
    if (!e)
        show_json(whole);
    return e;
}

static enum cli_exit run_ask(const struct cli *c)
{
    const char *council = options_string(c->options, ASK_COUNCIL);
    CLEANUP(cleanup_free) char *question = c->n_words ? prompt_join(c->word, c->n_words) : prompt_read();
    CLEANUP(json_release) json_t *body = NULL;
    enum cli_exit e;

    if (!question)
        return cli_complain(CLI_FAILED, "the question could not be read, or is over 16 MiB");
    if (!*question)
        return cli_complain(CLI_USAGE, "there is no question: give one, or on standard input");
    if (!council && options_is_set(c->options, ASK_TIMEOUT))
        return cli_complain(CLI_USAGE, "--timeout is for a --council");
    e = council ? council_read(council, &body) : CLI_DONE;
    if (e)
        return e;
    body = body ? body : json_object();
    if (put_question(c, question, body) < 0)
        return cli_complain(CLI_USAGE, "the question or the model's name is not UTF-8");
    if (!council)
        return ask_one(c, body);
    if (options_is_set(c->options, ASK_TIMEOUT))
        json_object_set_new(body, "timeout", json_real((double)options_uint(c->options, ASK_TIMEOUT) / 1000));
    return council_ask(c, body);
}

static const struct option_def ask_options[] = {
    CLI_COMMON_OPTIONS,
    {.name = "model",
     .type = OPTION_STRING,
     .arg = "MODEL",
     .argv_only = true,
     .help = "Whom to ask, and of a council those who name none; left out: the only one that is ready."},
    {.name = "council",
     .type = OPTION_STRING,
     .arg = "FILE",
     .argv_only = true,
     .help =
         "Asks all members of that file at once, then puts their answers together; deploy/examples/council.conf is one."},
    {.name = "timeout",
     .type = OPTION_DURATION_MS,
     .min = 100,
     .max = 86400000,
     .arg = "TIME",
     .argv_only = true,
     .help = "How long a council may take: 90s, 10m; left out: 10 minutes."},
    {.name = NULL},
};

const struct verb verb_ask = {
    .name = "ask",
    .usage = "[QUESTION...]",
    .summary = "Asks one question of a model, or of a council of them.",
    .min_words = 0,
    .max_words = 1 << 20,
    .options = ask_options,
    .run = run_ask,
};
