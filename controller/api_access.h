/* /api/tokens, /api/keys and /api/nodes/approve: who may join and who may ask. What is secret in it is made here, on the HTTP
 * thread, said once in the answer to whoever asked for it, and wiped: the control loop learns what may be kept. */
#ifndef CARAVAN_CONTROLLER_API_ACCESS_H
#define CARAVAN_CONTROLLER_API_ACCESS_H

#include "controller/http.h"

/* A token or key that was made, until it counts. */
struct api_secret;
void api_secret_destroy(struct api_secret **s); /* wipes it */
void api_secret_reply(struct http_exchange *x, const struct api_secret *s);

/* ctx: the struct api. */
void api_handle_tokens(void *ctx, struct http_exchange *x);
void api_handle_new_token(void *ctx, struct http_exchange *x);
void api_handle_drop_token(void *ctx, struct http_exchange *x);
void api_handle_keys(void *ctx, struct http_exchange *x);
void api_handle_new_key(void *ctx, struct http_exchange *x);
void api_handle_drop_key(void *ctx, struct http_exchange *x);
void api_handle_approve(void *ctx, struct http_exchange *x);

#endif
