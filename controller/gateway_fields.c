/* What of a request's head goes on to the coordinator, what of an answer's Content-Type comes back, and how long its client
 * waits.
 *
 * Of llama-server's source: it reads Content-Type (multipart), Accept (which its HTTP library checks), a key, and on routes
 * of its own Range, Accept-Encoding and X-Tool-*. X-Request-Id means nothing to it and stands in none of its logs; it goes
 * along for those in its place who do read it. X-Conversation-Id must not pass: with it an answer is computed to its end after
 * its client has left, and can be read by whoever names that id. Nothing else passes: neither secrets nor framing, nor what
 * could say where a request goes. */
#include <string.h>
#include <strings.h>

#include "common/core/parse.h"
#include "controller/gateway_state.h"

enum { TIMEOUT_MIN_MS = 1000, TIMEOUT_MAX_MS = 24 * 3600 * 1000, LEAD_MAX_MS = 1000 };

size_t gateway_fields(const struct http_exchange *x, struct httpc_header ret[GATEWAY_FIELDS_MAX])
{
    static const char *const passed[] = {"Content-Type", "Accept"};
    size_t n = 0;

    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++) {
        const char *value = http_head_field(http_head(x), passed[i]);

        if (value)
            ret[n++] = (struct httpc_header){passed[i], value};
    }
    ret[n++] = (struct httpc_header){"X-Request-Id", http_request_id(x)};
    return n;
}

/* What a node says must never run in a browser as if it were a page of ours: it could do there what its user may. */
const char *gateway_type(const char *type)
{
    static const char *const harmless[] = {"application/json", "text/event-stream", "text/plain"};

    for (size_t i = 0; type && i < sizeof(harmless) / sizeof(harmless[0]); i++) {
        size_t n = strlen(harmless[i]);

        if (strncasecmp(type, harmless[i], n) == 0 && strchr("; \t", type[n])) /* or at its end */
            return type;
    }
    return "application/octet-stream";
}

bool gateway_takes_slot(const char *method, const char *path)
{
    static const char *const counting[] = {"/v1/messages/count_tokens", "/v1/responses/input_tokens", "/tokenize",
                                           "/detokenize", "/apply-template"};

    if (strcmp(method, "POST") != 0)
        return strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
    for (size_t i = 0; i < sizeof(counting) / sizeof(counting[0]); i++)
        if (!strcmp(path, counting[i]))
            return false;
    return true;
}

/* Client libraries say when they give up (X-Stainless-Timeout, in seconds): they are told why a moment before. */
static uint64_t header_timeout_ms(const struct http_head *head)
{
    const char *text = http_head_field(head, "X-Stainless-Timeout");
    uint64_t seconds = 0, ms;

    if (!text || !parse_uint(text, 1, TIMEOUT_MAX_MS / 1000, &seconds))
        return 0;
    ms = seconds * 1000;
    return ms - (ms / 10 < LEAD_MAX_MS ? ms / 10 : LEAD_MAX_MS);
}

/* What the client gives it until the first token. That of a library only ends with the head, which a stream has early. */
uint64_t gateway_timeout_ms(const struct http_head *head, const struct body_peek *peek)
{
    uint64_t header_ms = peek && !peek->stream ? header_timeout_ms(head) : 0;
    uint64_t body_ms = peek ? peek->timeout_ms : 0, ms = body_ms ? body_ms : header_ms;

    if (header_ms && header_ms < ms)
        ms = header_ms;
    if (ms)
        ms = ms < TIMEOUT_MIN_MS ? TIMEOUT_MIN_MS : ms > TIMEOUT_MAX_MS ? TIMEOUT_MAX_MS : ms;
    return ms;
}
