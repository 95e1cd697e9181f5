#include "controller/fanout_request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "controller/fanout_reader.h"
#include "controller/json_fields.h"

/* ---- the question ------------------------------------------------------------------------------------------------- */

static int check_messages(struct fanout_reader *rd, const json_t *messages)
{
    const json_t *m;
    size_t i;

    json_array_foreach(messages, i, m)
    {
        if (!json_is_object(m))
            return fanout_invalid(&rd->fields, "messages[%zu] must be an object", i);
        if (!json_is_string(json_object_get(m, "role")))
            return fanout_invalid(&rd->fields, "messages[%zu].role must be a string", i);
    }
    return 0;
}

static int check_documents(struct fanout_reader *rd, const json_t *documents)
{
    static const char *const keys[] = {"title", "text", NULL};
    const json_t *d;
    size_t i;

    json_array_foreach(documents, i, d)
    {
        const char *text = NULL, *title = NULL;
        char place[40];
        int r;

        snprintf(place, sizeof(place), "documents[%zu].", i);
        if (!json_is_object(d))
            return fanout_invalid(&rd->fields, "documents[%zu] must be an object with text, and title if it has one",
                                  i);
        r = fanout_check_keys(&rd->fields, place, d, keys);
        if (!r)
            r = fanout_read_text(&rd->fields, place, d, "title", JSON_TEXT_MAX, &title);
        if (!r)
            r = fanout_read_text(&rd->fields, place, d, "text", JSON_TEXT_MAX, &text);
        if (r)
            return r;
        if (!text)
            return fanout_invalid(&rd->fields, "%stext is missing", place);
    }
    return 0;
}

/* Messages with context and documents; ret: owned. */
static int read_question(struct fanout_reader *rd, json_t **ret)
{
    const json_t *messages, *documents = NULL;
    const char *context = NULL;
    int r = fanout_read_list(&rd->fields, rd->root, "messages", 1, FANOUT_MESSAGES_MAX, &messages);

    if (!r)
        r = check_messages(rd, messages);
    if (!r)
        r = fanout_read_text(&rd->fields, "", rd->root, "context", JSON_TEXT_MAX, &context);
    if (!r)
        r = fanout_read_list(&rd->fields, rd->root, "documents", 0, FANOUT_DOCUMENTS_MAX, &documents);
    if (!r)
        r = check_documents(rd, documents);
    if (r)
        return r;
    r = fanout_prompt_question(messages, context, documents, ret);
    return r ? fanout_say_prompt(rd, r, "context and documents") : 0;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

static int read_times(struct fanout_reader *rd)
{
    struct fanout_request *r = rd->request;
    bool shared = fanout_field(rd->root, "synthesis") != NULL;
    int e;

    r->timeout_ms = FANOUT_TIMEOUT_DEFAULT_MS;
    e = fanout_read_seconds(&rd->fields, "", rd->root, "timeout", &r->timeout_ms);
    rd->member_timeout_ms = shared ? r->timeout_ms / 4 * 3 : r->timeout_ms;
    return e ? e : fanout_read_seconds(&rd->fields, "", rd->root, "member_timeout", &rd->member_timeout_ms);
}

static int read_root(struct fanout_reader *rd)
{
    static const char *const keys[] = {"messages",  "members", "model",          "context", "documents",
                                       "synthesis", "timeout", "member_timeout", "stream",  NULL};
    CLEANUP(json_cleanup) json_t *question = NULL;
    int r;

    if (!json_is_object(rd->root))
        return fanout_invalid(&rd->fields, "the body is not a JSON object");
    r = fanout_check_keys(&rd->fields, "", rd->root, keys);
    if (!r)
        r = fanout_read_flag(&rd->fields, rd->root, "stream", &rd->request->stream);
    if (!r)
        r = fanout_read_name(&rd->fields, "", rd->root, "model", rd->model, sizeof(rd->model));
    if (!r)
        r = read_times(rd);
    if (!r)
        r = read_question(rd, &question);
    if (!r)
        r = fanout_read_members(rd, question);
    return r ? r : fanout_read_synthesis(rd, question);
}

void fanout_request_destroy(struct fanout_request **r)
{
    if (!*r)
        return;
    for (size_t i = 0; i < FANOUT_VOICES_MAX; i++)
        free((*r)->voice[i].body);
    free((*r)->question);
    free((*r)->settings);
    free(*r);
    *r = NULL;
}

int fanout_request_read(const char *text, size_t n_bytes, struct fanout_request **ret, char *why, size_t why_size)
{
    CLEANUP(fanout_request_destroy) struct fanout_request *request = NULL;
    struct fanout_reader rd = {.fields = {why, why_size}};
    CLEANUP(json_cleanup) json_t *root = NULL;
    int r;

    if (n_bytes > JSON_TEXT_MAX) {
        fanout_invalid(&rd.fields, "the body has %zu KiB: at most %d", n_bytes / 1024, JSON_TEXT_MAX / 1024);
        return FANOUT_E_TOO_LARGE;
    }
    if (json_parse(text, n_bytes, &root, why, why_size))
        return FANOUT_E_INVALID;
    request = calloc(1, sizeof(*request));
    if (!request)
        return err_raise(-ENOMEM);
    rd.request = request;
    rd.root = root;
    r = read_root(&rd);
    if (r)
        return r;
    *ret = request;
    request = NULL;
    return 0;
}
