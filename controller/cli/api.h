/* Calls of the controller's HTTP API, one at a time, waited for here. Whatever goes wrong is said on standard error in one
 * line; the caller gets the exit code for it. */
#ifndef CARAVAN_CONTROLLER_CLI_API_H
#define CARAVAN_CONTROLLER_CLI_API_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "controller/cli/cli.h"

struct api;
struct sse_event;

struct api_access {
    const char *key_file; /* holds an API key */
    bool key_file_named;  /* it was asked for: it must be there, and goes to any controller. Else to one on this host */
    const char *ca_file;  /* NULL: the system's certificates */
};

/* url: http://HOST[:PORT] or https://HOST[:PORT]. With each call goes the key in CARAVAN_API_KEY of the environment, or else
 * in key_file. access: borrowed. CLI_DONE, CLI_USAGE, CLI_FAILED. */
enum cli_exit api_new(const char *url, const struct api_access *access, struct api **ret);
void api_destroy(struct api **a);
const char *api_url(const struct api *a);

/* body: borrowed, NULL for none. ret: owned, an object. Anything but 2xx is said and turned into an exit code:
 * CLI_REFUSED for what the controller does not want (4xx, 501), CLI_FAILED for what it cannot do now. */
enum cli_exit api_call(struct api *a, const char *method, const char *target, const json_t *body, json_t **ret);
static inline enum cli_exit api_get(struct api *a, const char *target, json_t **ret)
{
    return api_call(a, "GET", target, NULL, ret);
}

/* The same of a model, which may load and compute for as long as it takes. */
enum cli_exit api_ask(struct api *a, const char *target, const json_t *body, json_t **ret);

/* The same; where the controller cannot be reached, from the agent at this socket instead, which says what it was told last.
 * *ret_by_agent: whether that was so. socket: a path in the file system. */
enum cli_exit api_get_anywhere(struct api *a, const char *socket, const char *target, json_t **ret, bool *ret_by_agent);

struct api_stream {
    const char *method, *target;
    const json_t *body;        /* borrowed, NULL for none */
    const char *last_event_id; /* NULL or "": from now on */
    bool quiet;                /* a controller that cannot be reached is not said: the caller tries again */
    bool pinged;               /* the controller sends something each 15 s; silence for 45 s is an end */
    /* false: that is all, hang up. */
    bool (*on_event)(void *ctx, const struct sse_event *e);
    void *ctx;
};

/* Server-sent events until on_event has enough or the stream ends, which is CLI_DONE either way: the caller knows whether it
 * was at its end. CLI_UNREACHABLE also for a stream that was cut. */
enum cli_exit api_stream(struct api *a, const struct api_stream *s);

/* FORMAT's %s are put in with what is not plain percent-encoded. Owned; NULL: no memory. */
char *api_target(const char *format, const char *word);

#endif
