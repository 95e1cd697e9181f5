#include "controller/upstream.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/le.h"
#include "controller/tunnels.h"
#include "controller/upstream_places.h"

enum { WARM_UP_ANSWER_MAX = 2048 };

char *upstream_key(const uint8_t secret[CRYPTO_KEY_BYTES], const struct id128 *instance, uint64_t epoch,
                   char buf[PROTO_KEY_MAX])
{
    uint8_t data[sizeof(instance->b) + 8], key[CRYPTO_KEY_BYTES];

    memcpy(data, instance->b, sizeof(instance->b));
    le_put(data + sizeof(instance->b), 8, epoch);
    crypto_derive(secret, data, sizeof(data), key);
    return crypto_key_format(key, buf);
}

void upstream_bearer(const uint8_t secret[CRYPTO_KEY_BYTES], const struct upstream_target *target,
                     char buf[UPSTREAM_BEARER_MAX])
{
    char key[PROTO_KEY_MAX];

    snprintf(buf, UPSTREAM_BEARER_MAX, "Bearer %s", upstream_key(secret, &target->instance, target->epoch, key));
}

static int start(const struct upstream *up, const struct httpc_spec *spec, const char *bearer,
                 const struct httpc_callbacks *cb, struct httpc_request **ret)
{
    struct httpc_header header[UPSTREAM_FIELDS_MAX];
    struct httpc_spec full = *spec;
    int r;

    assert(spec->n_headers < UPSTREAM_FIELDS_MAX);
    if (spec->n_headers)
        memcpy(header, spec->header, spec->n_headers * sizeof(header[0]));
    header[spec->n_headers] = (struct httpc_header){"Authorization", bearer};
    full.header = header;
    full.n_headers = spec->n_headers + 1;
    r = httpc_start(up->base, &full, cb, ret);
    return r < 0 ? err_pass(r) : r;
}

/* On a connection of its own. */
static int start_once(const struct upstream *up, const struct upstream_target *target, struct httpc_spec *spec,
                      const struct httpc_callbacks *cb, struct httpc_request **ret)
{
    struct tunnels_way way = {.tunnels = up->tunnels, .target = target};
    struct httpc_dialer dialer = tunnels_dialer;
    char bearer[UPSTREAM_BEARER_MAX];

    upstream_bearer(up->secret, target, bearer);
    dialer.ctx = &way;
    spec->host = target->addr;
    spec->port = target->port;
    spec->dialer = *target->key ? &dialer : NULL;
    spec->connect_timeout_ms = UPSTREAM_CONNECT_MS;
    return err_fold(start(up, spec, bearer, cb, ret));
}

int upstream_start(const struct upstream *up, const struct upstream_target *target, const struct httpc_spec *spec,
                   const struct httpc_callbacks *cb, struct httpc_request **ret)
{
    struct httpc_spec full = *spec;
    const char *bearer;
    int r;

    if (!up->places)
        return err_fold(start_once(up, target, &full, cb, ret));
    r = upstream_places_find(up->places, target, &full.place, &bearer);
    if (r < 0)
        return err_pass(r);
    return err_fold(start(up, &full, bearer, cb, ret));
}

bool upstream_is_answer(int status)
{
    return status == 200 || status >= 400;
}

/* Framing and CORS are http.c's and the gate's to say. The rest of what a browser or a client library acts on (Location,
 * Set-Cookie, Refresh, ...) would let a node make it do something elsewhere, with the client's key. */
bool upstream_passes_on(const char *name)
{
    static const char *const passed[] = {"Cache-Control", "Retry-After", "Server", "X-Accel-Buffering"};

    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        if (strcasecmp(name, passed[i]) == 0)
            return true;
    return false;
}

const char *upstream_field(const struct httpc_header *header, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcasecmp(header[i].name, name) == 0)
            return header[i].value;
    return NULL;
}

int64_t upstream_length(const struct httpc_header *header, size_t n)
{
    const char *text = upstream_field(header, n, "Content-Length");

    if (!text || !*text || strlen(text) > 18 || text[strspn(text, "0123456789")])
        return -1;
    return strtoll(text, NULL, 10);
}

const char *upstream_failure_text(int r)
{
    const char *text;

    switch (-r) {
    case ECONNREFUSED:
        return "its coordinator refused the connection";
    case ECONNRESET:
    case EPIPE:
        return "its coordinator closed the connection";
    case ETIMEDOUT:
        return "its coordinator did not answer in time";
    case EHOSTUNREACH:
    case ENETUNREACH:
        return "its node cannot be reached";
    case EPROTO:
        return "its coordinator's answer is not valid HTTP";
    case ESTALE:
        return "its node lets us through to no such epoch";
    case EBUSY:
        return "its node has too many streams open";
    case EOPNOTSUPP:
        return "its node and this controller have no cipher in common";
    case ENOLINK:
        return "its node hung up before the connection stood";
    case EKEYREJECTED:
        return "somebody else answers in its node's place";
    case EBADMSG:
        return "the connection to its node was tampered with";
    default:
        text = strerrordesc_np(-r);
        return text ? text : "unknown error";
    }
}

/* ---- warm-up ----
 *
 * A completion, not a chat: it needs no template. Nothing of it may stay in the prompt cache. Where llama-server was started
 * with --embeddings, a completion can make it crash; its own /embeddings answers then with every kind of pooling, also for
 * --reranking, while /v1/embeddings refuses pooling "none". */

#define COMPLETION "{\"prompt\":\"hi\",\"max_tokens\":1,\"temperature\":0,\"cache_prompt\":false}"
#define EMBEDDING  "{\"input\":\"hi\"}"

struct warm_up {
    struct upstream_target target;
    struct httpc_request *request;
    struct event *deadline;
    warm_up_done *done;
    void *ctx;
    int status;
    size_t n;
    char answer[WARM_UP_ANSWER_MAX];
};

void warm_up_cancel(struct warm_up **w)
{
    if (!*w)
        return;
    httpc_cancel(&(*w)->request);
    if ((*w)->deadline)
        event_free((*w)->deadline);
    free(*w);
    *w = NULL;
}

static void end(struct warm_up *w, bool ok, const char *text)
{
    struct upstream_target target = w->target;
    warm_up_done *done = w->done;
    void *ctx = w->ctx;

    warm_up_cancel(&w);
    done(ctx, &target, ok, text);
}

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n_headers)
{
    struct warm_up *w = ctx;

    (void)header;
    (void)n_headers;
    w->status = status;
}

static void on_data(void *ctx, const void *buf, size_t n_bytes)
{
    struct warm_up *w = ctx;
    size_t room = sizeof(w->answer) - 1 - w->n;

    n_bytes = n_bytes < room ? n_bytes : room;
    memcpy(w->answer + w->n, buf, n_bytes);
    w->n += n_bytes;
}

static void on_done(void *ctx, int r)
{
    struct warm_up *w = ctx;
    char text[PROTO_TEXT_MAX];

    w->request = NULL;
    w->answer[w->n] = '\0';
    if (r == 0 && w->status == 200) {
        end(w, true, "");
        return;
    }
    if (r < 0)
        snprintf(text, sizeof(text), "the first token did not come: %s", upstream_failure_text(r));
    else
        snprintf(text, sizeof(text), "the first token was refused with status %d: %.300s", w->status, w->answer);
    end(w, false, text);
}

static void on_deadline(evutil_socket_t fd, short what, void *ctx)
{
    struct warm_up *w = ctx;
    char text[PROTO_TEXT_MAX];

    (void)fd;
    (void)what;
    snprintf(text, sizeof(text), "the first token did not come in time");
    end(w, false, text);
}

int warm_up_start(const struct upstream *up, const struct upstream_target *target, uint64_t deadline_ms,
                  warm_up_done *done, void *ctx, struct warm_up **ret)
{
    static const struct httpc_header header[] = {{"Content-Type", "application/json"}};
    const char *body = target->embeds ? EMBEDDING : COMPLETION;
    const struct httpc_spec spec = {.method = "POST",
                                    .target = target->embeds ? "/embeddings" : "/v1/completions",
                                    .header = header,
                                    .n_headers = 1,
                                    .body = body,
                                    .n_body_bytes = strlen(body)};
    struct timeval tv = {.tv_sec = (time_t)(deadline_ms / 1000), .tv_usec = (suseconds_t)(deadline_ms % 1000) * 1000};
    CLEANUP(warm_up_cancel) struct warm_up *w = calloc(1, sizeof(*w));
    struct httpc_callbacks cb = {.head = on_head, .data = on_data, .done = on_done, .ctx = w};
    int r;

    if (!w)
        return err_raise(-ENOMEM);
    w->target = *target;
    w->done = done;
    w->ctx = ctx;
    w->deadline = evtimer_new(up->base, on_deadline, w);
    if (!w->deadline || event_add(w->deadline, &tv) < 0)
        return err_raise(-ENOMEM);
    r = upstream_start(up, target, &spec, &cb, &w->request);
    if (r < 0)
        return err_pass(r);
    *ret = w;
    w = NULL;
    return 0;
}
