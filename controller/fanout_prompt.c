#include "controller/fanout_prompt.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "controller/json_fields.h"

/* ---- texts -------------------------------------------------------------------------------------------------------- */

struct text {
    char *s;
    size_t n;
};

static void text_clear(struct text *t)
{
    free(t->s);
}

static void write_documents(FILE *out, const json_t *documents)
{
    const json_t *d;
    size_t i;

    fputs("<documents>\n", out);
    json_array_foreach(documents, i, d)
    {
        const char *title = json_string_value(json_object_get(d, "title"));

        fprintf(out, "<document index=\"%zu\">\n", i + 1);
        if (title)
            fprintf(out, "<title>%s</title>\n", title);
        fprintf(out, "%s\n</document>\n", json_string_value(json_object_get(d, "text")));
    }
    fputs("</documents>\n\n", out);
}

static int passages(const char *context, const json_t *documents, struct text *ret)
{
    FILE *out = open_memstream(&ret->s, &ret->n);

    if (!out)
        return err_raise(-ENOMEM);
    if (context)
        fprintf(out, "<context>\n%s\n</context>\n\n", context);
    if (json_array_size(documents))
        write_documents(out, documents);
    return fclose(out) == 0 ? 0 : err_raise(-ENOMEM);
}

static int answers(const struct fanout_said *said, size_t n, struct text *ret)
{
    FILE *out = open_memstream(&ret->s, &ret->n);

    if (!out)
        return err_raise(-ENOMEM);
    fputs("\n\n<answers>\n", out);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "<answer name=\"%s\">\n", said[i].name);
        fwrite(said[i].text, 1, said[i].n_bytes, out);
        fputs("\n</answer>\n", out);
    }
    fputs("</answers>", out);
    return fclose(out) == 0 ? 0 : err_raise(-ENOMEM);
}

/* ---- messages ----------------------------------------------------------------------------------------------------- */

static bool is_role(const json_t *message, const char *role)
{
    return strcmp(json_string_value(json_object_get(message, "role")), role) == 0;
}

static json_t *joined_text(const json_t *content, const struct text *t, bool before)
{
    struct text whole = {NULL, t->n + json_string_length(content)};
    const char *own = json_string_value(content);
    size_t n_own = json_string_length(content);
    json_t *j;

    whole.s = malloc(whole.n + 1);
    if (!whole.s)
        return NULL;
    memcpy(whole.s + (before ? t->n : 0), own, n_own);
    memcpy(whole.s + (before ? 0 : n_own), t->s, t->n);
    j = json_stringn(whole.s, whole.n);
    free(whole.s);
    return j;
}

static json_t *joined_parts(json_t *content, const struct text *t, bool before)
{
    json_t *parts = json_copy(content), *text = json_stringn(t->s, t->n);
    json_t *part = text ? json_pack("{s:s, s:o}", "type", "text", "text", text) : NULL;
    size_t at = before ? 0 : json_array_size(content);

    if (parts && part && json_array_insert_new(parts, at, part) == 0)
        return parts;
    json_decref(parts);
    return NULL;
}

/* The same message with t before or behind what it says. */
static int with_text(json_t *message, const struct text *t, bool before, json_t **ret)
{
    json_t *content = json_object_get(message, "content"), *copy;

    if (!json_is_string(content) && !json_is_array(content))
        return FANOUT_PROMPT_E_CONTENT;
    content = json_is_string(content) ? joined_text(content, t, before) : joined_parts(content, t, before);
    copy = content ? json_copy(message) : NULL;
    if (!copy || json_object_set(copy, "content", content) < 0) {
        json_decref(content);
        json_decref(copy);
        return err_raise(-ENOMEM);
    }
    json_decref(content);
    *ret = copy;
    return 0;
}

/* The same messages, the one at `at` with t before or behind what it says. */
static int with_text_at(const json_t *messages, size_t at, const struct text *t, bool before, json_t **ret)
{
    CLEANUP(json_cleanup)
    json_t *list = json_copy((json_t *)(uintptr_t)messages); /* jansson's signature lacks a const */
    json_t *message;
    int r;

    if (!list)
        return err_raise(-ENOMEM);
    r = with_text(json_array_get(messages, at), t, before, &message);
    if (r)
        return r;
    if (json_array_set_new(list, at, message) < 0)
        return err_raise(-ENOMEM);
    *ret = list;
    list = NULL;
    return 0;
}

static int with_text_of_user(const json_t *messages, const struct text *t, bool before, json_t **ret)
{
    for (size_t i = json_array_size(messages); i--;)
        if (is_role(json_array_get(messages, i), "user"))
            return with_text_at(messages, i, t, before, ret);
    return FANOUT_PROMPT_E_NO_USER;
}

int fanout_prompt_question(const json_t *messages, const char *context, const json_t *documents, json_t **ret)
{
    CLEANUP(text_clear) struct text t = {NULL, 0};
    int r;

    if (!context && !json_array_size(documents)) {
        *ret = json_incref((json_t *)(uintptr_t)messages);
        return 0;
    }
    r = passages(context, documents, &t);
    if (r < 0)
        return err_pass(r);
    return with_text_of_user(messages, &t, true, ret);
}

int fanout_prompt_answers(const json_t *messages, const struct fanout_said *said, size_t n, json_t **ret)
{
    CLEANUP(text_clear) struct text t = {NULL, 0};
    int r = answers(said, n, &t);

    if (r < 0)
        return err_pass(r);
    return with_text_of_user(messages, &t, false, ret);
}

static int with_new_system(const json_t *messages, const char *text, json_t **ret)
{
    json_t *list = json_copy((json_t *)(uintptr_t)messages);
    json_t *message = json_pack("{s:s, s:s}", "role", "system", "content", text);

    if (!list || !message || json_array_insert_new(list, 0, message) < 0) {
        json_decref(list);
        return err_raise(-ENOMEM);
    }
    *ret = list;
    return 0;
}

int fanout_prompt_system(const json_t *messages, const char *text, json_t **ret)
{
    const json_t *first = json_array_get(messages, 0);
    CLEANUP(text_clear) struct text t = {NULL, 0};
    int n;

    if (!first || (!is_role(first, "system") && !is_role(first, "developer")))
        return with_new_system(messages, text, ret);
    n = asprintf(&t.s, "\n\n%s", text);
    if (n < 0) {
        t.s = NULL;
        return err_raise(-ENOMEM);
    }
    t.n = (size_t)n;
    return with_text_at(messages, 0, &t, false, ret);
}
