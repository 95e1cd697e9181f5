/* caravan chat. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "controller/cli/answer.h"
#include "controller/cli/api.h"
#include "controller/cli/json_get.h"
#include "controller/cli/prompt.h"
#include "controller/cli/screen.h"
#include "controller/cli/show.h"
#include "controller/cli/term.h"

enum { CHAT_SYSTEM = CLI_OPTION_OWN, CHAT_MAX_TOKENS, CHAT_TEMPERATURE };
/* ---- the request -------------------------------------------------------------------------------------------------- */

static int add_message(json_t *messages, const char *role, const char *text)
{
    return json_array_append_new(messages, json_pack("{s:s, s:s}", "role", role, "content", text));
}

/* llama-server takes 0 and up; over 2 is a slip of the finger. */
static bool parse_temperature(const char *text, double *ret)
{
    char *end;

    errno = 0;
    *ret = strtod(text, &end);
    return end != text && !*end && !errno && *ret >= 0 && *ret <= 2;
}

static enum cli_exit new_body(const struct cli *c, json_t *messages, json_t **ret)
{
    const char *temperature = options_string(c->options, CHAT_TEMPERATURE);
    json_t *body = json_pack("{s:s, s:O, s:b}", "model", c->word[0], "messages", messages, "stream", !c->json);
    double t;

    *ret = body;
    if (!body)
        return cli_complain(CLI_USAGE, "the model's name is not UTF-8");
    if (options_is_set(c->options, CHAT_MAX_TOKENS))
        json_object_set_new(body, "max_tokens", json_integer((json_int_t)options_uint(c->options, CHAT_MAX_TOKENS)));
    if (!temperature)
        return CLI_DONE;
    if (!parse_temperature(temperature, &t))
        return cli_complain(CLI_USAGE, "--temperature: '%s' must be a number from 0 to 2", temperature);
    json_object_set_new(body, "temperature", json_real(t));
    return CLI_DONE;
}

static enum cli_exit one_turn(const struct cli *c, json_t *body, json_t *messages, const char *prompt)
{
    CLEANUP(json_release) json_t *whole = NULL;
    CLEANUP(cleanup_free) char *text = NULL;
    enum cli_exit e;

    if (add_message(messages, "user", prompt) < 0)
        return cli_complain(CLI_USAGE, "the prompt is not UTF-8");
    if (c->json) {
        e = api_call(c->api, "POST", "/v1/chat/completions", body, &whole);
        if (!e)
            show_json(whole);
        return e;
    }
    e = answer_stream(c, body, &text);
    if (text && !e)
        add_message(messages, "assistant", text);
    return e;
}

/* ---- where prompts come from -------------------------------------------------------------------------------------- */

/* A conversation, until the end of input. An answer that failed is said, and the next may be asked. */
static enum cli_exit converse(const struct cli *c, json_t *body, json_t *messages)
{
    CLEANUP(cleanup_free) char *line = NULL;
    size_t room = 0;
    enum cli_exit e = CLI_DONE;

    for (;;) {
        ssize_t n;

        printf("%s>%s ", term_begin(TERM_BOLD), term_begin(TERM_PLAIN));
        fflush(stdout);
        n = getline(&line, &room, stdin);
        if (n < 0)
            break;
        if (n && line[n - 1] == '\n')
            line[--n] = '\0';
        if (!n)
            continue;
        e = one_turn(c, body, messages, line);
        if (e)
            json_array_remove(messages, json_array_size(messages) - 1); /* what was not answered was not said */
    }
    putchar('\n');
    return e;
}

static enum cli_exit run_chat(const struct cli *c)
{
    CLEANUP(json_release) json_t *messages = json_array();
    CLEANUP(json_release) json_t *body = NULL;
    CLEANUP(cleanup_free) char *prompt = NULL;
    const char *system_text = options_string(c->options, CHAT_SYSTEM);
    enum cli_exit e = new_body(c, messages, &body);

    if (e)
        return e;
    if (system_text && add_message(messages, "system", system_text) < 0)
        return cli_complain(CLI_USAGE, "--system is not UTF-8");
    if (c->n_words == 1 && isatty(STDIN_FILENO))
        return converse(c, body, messages);
    prompt = c->n_words > 1 ? prompt_join(c->word + 1, c->n_words - 1) : prompt_read();
    if (!prompt)
        return cli_complain(CLI_FAILED, "the prompt could not be read, or is over 16 MiB");
    if (!*prompt)
        return cli_complain(CLI_USAGE, "there is no prompt: give one after the model's name, or on standard input");
    return one_turn(c, body, messages, prompt);
}

static const struct option_def chat_options[] = {
    CLI_COMMON_OPTIONS,
    {.name = "system", .type = OPTION_STRING, .arg = "TEXT", .argv_only = true, .help = "Said to the model first."},
    {.name = "max_tokens",
     .type = OPTION_UINT,
     .min = 1,
     .max = 1000000,
     .arg = "N",
     .argv_only = true,
     .help = "The answer ends after so many."},
    {.name = "temperature",
     .type = OPTION_STRING,
     .arg = "T",
     .argv_only = true,
     .help = "0 to 2; 0 takes the likeliest token each time."},
    {.name = NULL},
};

const struct verb verb_chat = {
    .name = "chat",
    .usage = "MODEL [PROMPT...]",
    .summary = "Asks a model. Without PROMPT: what standard input says, or a conversation.",
    .min_words = 1,
    .max_words = 1 << 20,
    .options = chat_options,
    .run = run_chat,
};
