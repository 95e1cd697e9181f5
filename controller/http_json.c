#include "controller/http_json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/protocol.h"
#include "controller/json_fields.h"

#define JSON_TYPE "application/json; charset=utf-8"

void http_reply_json(struct http_exchange *x, int status, json_t *body)
{
    static const char short_of_memory[] = "{\"error\":{\"code\":\"no_memory\",\"message\":\"out of memory\"}}";
    CLEANUP(cleanup_free) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    json_decref(body);
    if (text)
        http_reply(x, status, JSON_TYPE, text, strlen(text));
    else
        http_reply(x, 500, JSON_TYPE, short_of_memory, sizeof(short_of_memory) - 1);
}

/* As OpenAI names them. */
const char *http_openai_type(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
    case 405:
        return "not_found_error";
    case 501:
        return "not_supported_error";
    case 503:
        return "unavailable_error";
    default:
        return status < 500 ? "invalid_request_error" : "server_error";
    }
}

json_t *http_openai_error(int status, const char *message)
{
    json_t *text = json_text(message);

    return text ? json_pack("{s:{s:i,s:o,s:s}}", "error", "code", status, "message", text, "type",
                            http_openai_type(status))
                : NULL;
}

void http_reply_as_llama(struct http_exchange *x, int status)
{
    const char *text = status == 401 ? "Invalid API Key" : "File Not Found";

    http_reply_json(x, status,
                    json_pack("{s:{s:s,s:s,s:i}}", "error", "message", text, "type", http_openai_type(status), "code",
                              status)); /* another order than its handlers' errors have */
}

bool http_speaks_openai(const struct http_exchange *x)
{
    const char *path = http_path(x);
    size_t n = strspn(path, "/");

    return n && (strncmp(path + n, "v1", 2) == 0 || strncmp(path, "/upstream/", 10) == 0);
}

static json_t *api_error(const char *code, const char *message)
{
    json_t *text = json_text(message);

    return text ? json_pack("{s:{s:s,s:o}}", "error", "code", code, "message", text) : NULL;
}

void http_reply_error(struct http_exchange *x, int status, const char *code, const char *fmt, ...)
{
    char message[2 * PROTO_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    if (http_speaks_openai(x))
        http_reply_json(x, status, http_openai_error(status, message));
    else
        http_reply_json(x, status, api_error(code, message));
}

bool http_sse_begin(struct http_exchange *x)
{
    http_add_field(x, "Cache-Control", "no-cache");
    http_add_field(x, "X-Accel-Buffering", "no"); /* a proxy in front of us must not hold events back */
    http_begin(x, 200, "text/event-stream", -1);
    if (!http_is(x, "HEAD"))
        return true;
    http_end(x);
    return false;
}

int http_sse_send(struct http_exchange *x, uint64_t id, const char *event, const char *data)
{
    CLEANUP(cleanup_free) char *text = NULL;
    int n = id ? asprintf(&text, "id: %" PRIu64 "\nevent: %s\ndata: %s\n\n", id, event, data)
               : asprintf(&text, "event: %s\ndata: %s\n\n", event, data);

    if (n < 0) {
        text = NULL; /* glibc leaves it undefined */
        return 0;
    }
    return http_write(x, text, (size_t)n);
}

void http_sse_ping(struct http_exchange *x)
{
    http_write(x, ": ping\n\n", 8);
}
