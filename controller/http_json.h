/* Answers that /api, /v1 and the server itself have in common: JSON, errors in the shape of the path asked for, and
 * server-sent events. */
#ifndef CARAVAN_CONTROLLER_HTTP_JSON_H
#define CARAVAN_CONTROLLER_HTTP_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "controller/http.h"

/* body: consumed; NULL (no memory) is answered 500. */
void http_reply_json(struct http_exchange *x, int status, json_t *body);

/* Is it asked for as one asks llama-server? /v1, also with another slash before it, and what is below /upstream. */
bool http_speaks_openai(const struct http_exchange *x);
/* There llama-server's shape counts ({"error":{"code":404,"message":...,"type":"not_found_error"}}), all else is as /api
 * ({"error":{"code":"unknown_model","message":...}}). code: a stable word. */
void http_reply_error(struct http_exchange *x, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* What llama-server itself says, byte for byte, to a request that no handler of its sees. status: 401, 404. */
void http_reply_as_llama(struct http_exchange *x, int status);
/* "not_found_error", ...: the type that goes with a status there; static. */
const char *http_openai_type(int status);
/* The OpenAI shape as a value; NULL: no memory. */
json_t *http_openai_error(int status, const char *message);

/* Begins a stream of events. Returns false where it has already answered (HEAD). */
bool http_sse_begin(struct http_exchange *x);
/* id 0: none. data: one line. As http_write; without memory nothing is sent. */
int http_sse_send(struct http_exchange *x, uint64_t id, const char *event, const char *data);
void http_sse_ping(struct http_exchange *x);

#endif
