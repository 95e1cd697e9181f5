#include "controller/cli/answer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/sse.h"
#include "controller/cli/api.h"
#include "controller/cli/json_get.h"
#include "controller/cli/screen.h"
#include "controller/cli/term.h"

/* What a stream has brought so far. */
struct answer {
    char *text; /* the assistant's, for the next turn */
    size_t n_text;
    bool thinking;     /* the terminal is dimmed */
    bool done;         /* [DONE] */
    enum cli_exit end; /* of an error within the stream */
    bool failed;
};

static int keep(struct answer *a, const char *text, size_t n)
{
    char *grown = realloc(a->text, a->n_text + n + 1);

    if (!grown)
        return -ENOMEM;
    a->text = grown;
    memcpy(a->text + a->n_text, text, n);
    a->n_text += n;
    a->text[a->n_text] = '\0';
    return 0;
}

void answer_write(const char *text, size_t n_bytes)
{
    if (term_is_tty())
        screen_write(stdout, text, n_bytes);
    else
        fwrite(text, 1, n_bytes, stdout);
    fflush(stdout);
}

static void write_piece(struct answer *a, const char *text, bool thinking)
{
    if (!*text)
        return;
    if (thinking != a->thinking)
        printf("%s", term_begin(thinking ? TERM_DIM : TERM_PLAIN));
    a->thinking = thinking;
    answer_write(text, strlen(text));
}

static bool take_chunk(struct answer *a, const json_t *chunk)
{
    const json_t *delta = json_object_get(json_array_get(json_object_get(chunk, "choices"), 0), "delta");
    const json_t *error = json_object_get(chunk, "error");
    const char *text = json_text_of(delta, "content", "");

    if (json_is_object(error)) {
        a->failed = true;
        a->end = cli_complain(CLI_FAILED, "%s", json_text_of(error, "message", "the answer ended with an error"));
        return false;
    }
    write_piece(a, json_text_of(delta, "reasoning_content", ""), true);
    write_piece(a, text, false);
    if (keep(a, text, strlen(text)) < 0 || ferror(stdout)) {
        a->failed = true;
        a->end = CLI_FAILED; /* nobody reads us any more */
        return false;
    }
    return true;
}

static bool on_event(void *ctx, const struct sse_event *e)
{
    struct answer *a = ctx;
    json_t *chunk;
    bool more;

    if (strcmp(e->data, "[DONE]") == 0) {
        a->done = true;
        return false;
    }
    chunk = json_loads(e->data, 0, NULL);
    more = !json_is_object(chunk) || take_chunk(a, chunk);
    json_decref(chunk);
    return more;
}

static void answer_clear(struct answer *a)
{
    free(a->text);
}

enum cli_exit answer_stream(const struct cli *c, const json_t *body, char **ret_text)
{
    CLEANUP(answer_clear) struct answer a = {.failed = false};
    const struct api_stream stream = {
        .method = "POST", .target = "/v1/chat/completions", .body = body, .on_event = on_event, .ctx = &a};
    enum cli_exit e = api_stream(c->api, &stream);

    if (a.thinking)
        printf("%s", term_begin(TERM_PLAIN));
    if (a.n_text || a.thinking)
        putchar('\n');
    if (a.failed)
        return a.end;
    if (!e && !a.done)
        return cli_complain(CLI_FAILED, "the answer was cut off");
    *ret_text = a.text;
    a.text = NULL;
    return e;
}
