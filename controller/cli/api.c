#include "controller/cli/api.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/sse.h"
#include "common/httpc.h"
#include "common/tls.h"
#include "controller/cli/json_get.h"
#include "controller/cli/key.h"
#include "controller/cli/screen.h"

enum { BODY_MAX = 64 * 1024 * 1024, IDLE_MS = 30000, PINGED_IDLE_MS = 45000 };

struct api {
    struct event_base *base;
    char *url;
    char *host;
    uint16_t port;
    struct tls *tls;     /* NULL: http:// */
    char *authorization; /* NULL: no key */
};

/* One request on its way. */
struct call {
    struct httpc_request *request;
    const char *socket;              /* of an agent; NULL: the controller */
    const struct api_stream *stream; /* NULL: a plain call */
    struct sse *sse;
    uint32_t idle_ms; /* without a sign of life it is over; 0: it may take as long as it wants */
    int status;
    bool is_events, enough, over;
    int result;
    char *body;
    size_t n_body;
};

/* ---- the controller's address ------------------------------------------------------------------------------------ */

static bool parse_port(const char *text, uint16_t *ret)
{
    uint64_t port;

    if (!parse_uint(text, 1, 65535, &port))
        return false;
    *ret = (uint16_t)port;
    return true;
}

/* HOST, HOST:PORT, [V6] or [V6]:PORT in place. ret_port: left alone where there is none. */
static bool split_authority(char *text, const char **ret_host, uint16_t *ret_port)
{
    char *end;

    *ret_host = text;
    if (*text == '[') {
        *ret_host = text + 1;
        end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return false;
        *end++ = '\0';
    } else {
        end = strchr(text, ':');
        if (!end)
            return *text != '\0';
    }
    if (*end == '\0')
        return **ret_host != '\0';
    *end = '\0';
    return **ret_host && parse_port(end + 1, ret_port);
}

static enum cli_exit set_address(struct api *a, const char *url, const char *ca_file)
{
    const bool secure = strncmp(url, "https://", 8) == 0;
    const size_t n_scheme = secure ? 8 : 7;
    CLEANUP(cleanup_free) char *authority = NULL;
    char why[512];
    const char *host;

    if (strchr(url, '@')) /* not said again: there is a password in it */
        return cli_complain(CLI_USAGE, "a controller's address holds no user and no password: an API key goes into "
                                       "CARAVAN_API_KEY or --api-key-file");
    if (!secure && strncmp(url, "http://", n_scheme) != 0)
        return cli_complain(CLI_USAGE, "\"%s\" is no controller's address: it begins with http:// or https://", url);
    authority = strdup(url + n_scheme);
    a->url = strdup(url);
    if (!authority || !a->url)
        return cli_complain(CLI_FAILED, "out of memory");
    for (size_t n = strlen(authority); n && authority[n - 1] == '/'; n--)
        a->url[n_scheme - 1 + n] = authority[n - 1] = '\0';
    a->port = secure ? 443 : 80;
    if (strchr(authority, '/') || !split_authority(authority, &host, &a->port))
        return cli_complain(CLI_USAGE, "\"%s\" is no controller's address: it looks like http://HOST:PORT", url);
    a->host = strdup(host);
    if (!a->host)
        return cli_complain(CLI_FAILED, "out of memory");
    if (!secure)
        return CLI_DONE;
    switch (tls_client_new(ca_file, &a->tls, why, sizeof(why))) {
    case 0:
        return CLI_DONE;
    case TLS_E_FILE:
        return cli_complain(CLI_USAGE, "%s", why);
    }
    return cli_complain(CLI_FAILED, "out of memory");
}

static enum cli_exit set_key(struct api *a, const struct api_access *access)
{
    char key[KEY_SIZE];
    enum cli_exit e = key_find(access, a->host, key);

    if (!e && *key && asprintf(&a->authorization, "Bearer %s", key) < 0) {
        a->authorization = NULL;
        e = cli_complain(CLI_FAILED, "out of memory");
    }
    explicit_bzero(key, sizeof(key));
    return e;
}

enum cli_exit api_new(const char *url, const struct api_access *access, struct api **ret)
{
    CLEANUP(api_destroy) struct api *a = calloc(1, sizeof(*a));
    enum cli_exit e;

    if (!a)
        return cli_complain(CLI_FAILED, "out of memory");
    e = set_address(a, url, access->ca_file);
    if (!e)
        e = set_key(a, access);
    if (e)
        return e;
    a->base = event_base_new();
    if (!a->base)
        return cli_complain(CLI_FAILED, "out of memory");
    *ret = a;
    a = NULL;
    return CLI_DONE;
}

void api_destroy(struct api **a)
{
    if (!*a)
        return;
    if ((*a)->base)
        event_base_free((*a)->base);
    if ((*a)->authorization)
        explicit_bzero((*a)->authorization, strlen((*a)->authorization));
    tls_destroy(&(*a)->tls);
    free((*a)->url);
    free((*a)->host);
    free((*a)->authorization);
    free(*a);
    *a = NULL;
}

const char *api_url(const struct api *a)
{
    return a->url;
}

char *api_target(const char *format, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";
    char *encoded = malloc(strlen(word) * 3 + 1), *target = NULL, *end = encoded;

    if (!encoded)
        return NULL;
    for (; *word; word++)
        end += strchr(plain, *word) ? sprintf(end, "%c", *word) : sprintf(end, "%%%02X", (unsigned char)*word);
    *end = '\0';
    target = malloc(strlen(format) + strlen(encoded) + 1);
    if (target) {
        const char *hole = strstr(format, "%s");

        sprintf(target, "%.*s%s%s", (int)(hole - format), format, encoded, hole + 2);
    }
    free(encoded);
    return target;
}

/* ---- one request ------------------------------------------------------------------------------------------------- */

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n_headers)
{
    struct call *c = ctx;

    c->status = status;
    for (size_t i = 0; c->stream && i < n_headers; i++)
        if (strcasecmp(header[i].name, "Content-Type") == 0)
            c->is_events = strncasecmp(header[i].value, "text/event-stream", 17) == 0;
}

static void on_sse(void *ctx, const struct sse_event *e)
{
    struct call *c = ctx;

    if (!c->enough)
        c->enough = !c->stream->on_event(c->stream->ctx, e);
}

static int body_add(struct call *c, const void *buf, size_t n_bytes)
{
    char *grown;

    if (c->n_body + n_bytes > BODY_MAX)
        return -EMSGSIZE;
    grown = realloc(c->body, c->n_body + n_bytes);
    if (!grown)
        return -ENOMEM;
    memcpy(grown + c->n_body, buf, n_bytes);
    c->body = grown;
    c->n_body += n_bytes;
    return 0;
}

static void on_data(void *ctx, const void *buf, size_t n_bytes)
{
    struct call *c = ctx;
    int r;

    r = c->is_events ? sse_feed(c->sse, buf, n_bytes, on_sse, c) : body_add(c, buf, n_bytes);
    if (!r && !c->enough)
        return;
    c->result = r > 0 ? -EMSGSIZE : r;
    c->over = true;
    httpc_cancel(&c->request);
}

static void on_done(void *ctx, int r)
{
    struct call *c = ctx;

    c->result = r;
    c->over = true;
}

static void call_clear(struct call *c)
{
    sse_destroy(&c->sse);
    free(c->body);
}

/* Sends it and waits for its end. 0 or negative errno: no whole answer. */
static int perform(struct api *a, struct call *c, const char *method, const char *target, const json_t *body,
                   const char *last_event_id)
{
    const struct httpc_callbacks cb = {on_head, on_data, on_done, c};
    CLEANUP(cleanup_free) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    const struct httpc_secure secure = tls_secure(a->tls);
    struct httpc_header header[4] = {{"Accept", c->stream ? "text/event-stream" : "application/json"}};
    struct httpc_spec spec = {
        .host = a->host, .port = a->port, .unix_path = c->socket, .method = method, .target = target, .header = header};
    int r;

    if (body && !text)
        return -ENOMEM;
    spec.secure = a->tls && !c->socket ? &secure : NULL;
    spec.n_headers = 1;
    if (a->authorization && !c->socket) /* the key is the controller's */
        header[spec.n_headers++] = (struct httpc_header){"Authorization", a->authorization};
    if (text)
        header[spec.n_headers++] = (struct httpc_header){"Content-Type", "application/json"};
    if (last_event_id && *last_event_id)
        header[spec.n_headers++] = (struct httpc_header){"Last-Event-ID", last_event_id};
    spec.body = text;
    spec.n_body_bytes = text ? strlen(text) : 0;
    spec.idle_timeout_ms = c->idle_ms;
    r = httpc_start(a->base, &spec, &cb, &c->request);
    if (r < 0)
        return r;
    while (!c->over)
        event_base_loop(a->base, EVLOOP_ONCE);
    return c->result;
}

/* ---- what went wrong, for a person --------------------------------------------------------------------------------- */

static const char *why_not(int r)
{
    return r == -ENXIO ? "no such host" : strerror(-r);
}

static enum cli_exit say_unreachable(const struct api *a, int r)
{
    if (r == -EKEYREJECTED)
        return cli_complain(CLI_UNREACHABLE, "%s: %s; --ca-file names whom to believe", a->url, tls_why(a->tls));
    if (r == -EPROTO && a->tls && *tls_why(a->tls))
        return cli_complain(CLI_UNREACHABLE, "%s: %s; is it http://?", a->url, tls_why(a->tls));
    if (r == -EPROTO)
        return cli_complain(CLI_UNREACHABLE, "what answers at %s is no Caravan controller; check --controller", a->url);
    if (r == -EINVAL)
        return cli_complain(CLI_USAGE, "%s or the API key holds characters that cannot be sent", a->url);
    if (r == -EMSGSIZE)
        return cli_complain(CLI_FAILED, "the answer of %s is too large", a->url);
    if (r == -ENOMEM)
        return cli_complain(CLI_FAILED, "out of memory");
    return cli_complain(CLI_UNREACHABLE,
                        "cannot reach the controller at %s (%s); is caravan-controller running there? "
                        "--controller URL or CARAVAN_CONTROLLER names another",
                        a->url, why_not(r));
}

static enum cli_exit say_refusal(const struct api *a, const struct call *c)
{
    CLEANUP(json_release) json_t *answer = json_loadb(c->body ? c->body : "", c->n_body, JSON_REJECT_DUPLICATES, NULL);
    const json_t *error = json_object_get(answer, "error");
    const char *message = json_text_of(error, "message", NULL);
    enum cli_exit e = (c->status >= 400 && c->status < 500) || c->status == 501 ? CLI_REFUSED : CLI_FAILED;

    if (c->status == 401 && !a->authorization)
        return cli_complain(
            e,
            "%s; put it into CARAVAN_API_KEY, or name its file with --api-key-file: the controller's own "
            "is admin.key in its state directory",
            message ? message : "this needs an API key");
    if (c->status == 401 || c->status == 403)
        return cli_complain(e, "%s; another one goes into CARAVAN_API_KEY or --api-key-file",
                            message ? message : "this API key is refused");
    if (message)
        return cli_complain(e, "%s", message);
    return cli_complain(e, "%s answered %d without a reason; is it a Caravan controller?", a->url, c->status);
}

/* ---- calls -------------------------------------------------------------------------------------------------------- */

/* The answer of a call that has come to its end with r. */
static enum cli_exit conclude(const struct api *a, const struct call *c, int r, json_t **ret)
{
    CLEANUP(json_release) json_t *answer = NULL;

    if (r < 0)
        return say_unreachable(a, r);
    if (c->status < 200 || c->status > 299)
        return say_refusal(a, c);
    answer = json_loadb(c->body ? c->body : "", c->n_body, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(answer))
        return say_unreachable(a, -EPROTO);
    *ret = answer;
    answer = NULL;
    return CLI_DONE;
}

enum cli_exit api_call(struct api *a, const char *method, const char *target, const json_t *body, json_t **ret)
{
    CLEANUP(call_clear) struct call c = {.idle_ms = IDLE_MS};
    int r = perform(a, &c, method, target, body, NULL);

    return conclude(a, &c, r, ret);
}

enum cli_exit api_ask(struct api *a, const char *target, const json_t *body, json_t **ret)
{
    CLEANUP(call_clear) struct call c = {.idle_ms = 0};
    int r = perform(a, &c, "POST", target, body, NULL);

    return conclude(a, &c, r, ret);
}

/* Errors that say that nobody is there, and not what is wrong with the question. */
static bool is_away(int r)
{
    return r < 0 && r != -EPROTO && r != -EINVAL && r != -EMSGSIZE && r != -ENOMEM && r != -EKEYREJECTED;
}

/* 0 or negative errno: it has none, or what answers there is no agent. */
static int ask_agent(struct api *a, const char *socket, const char *target, json_t **ret)
{
    CLEANUP(call_clear) struct call c = {.socket = socket, .idle_ms = IDLE_MS};
    CLEANUP(json_release) json_t *answer = NULL;
    int r = perform(a, &c, "GET", target, NULL, NULL);

    if (r < 0)
        return r;
    if (c.status != 200)
        return c.status == 503 ? -ENODATA : -EPROTO;
    answer = json_loadb(c.body ? c.body : "", c.n_body, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(answer))
        return -EPROTO;
    *ret = answer;
    answer = NULL;
    return 0;
}

static const char *why_no_agent(int r)
{
    if (r == -EACCES)
        return "it is for root and the group caravan";
    if (r == -ENODATA)
        return "no controller has told it anything yet";
    return strerror(-r);
}

enum cli_exit api_get_anywhere(struct api *a, const char *socket, const char *target, json_t **ret, bool *ret_by_agent)
{
    CLEANUP(call_clear) struct call c = {.idle_ms = IDLE_MS};
    int r = perform(a, &c, "GET", target, NULL, NULL), by_agent;

    *ret_by_agent = is_away(r);
    if (!is_away(r))
        return conclude(a, &c, r, ret);
    by_agent = ask_agent(a, socket, target, ret);
    if (by_agent == 0)
        return CLI_DONE;
    return cli_complain(CLI_UNREACHABLE,
                        "cannot reach the controller at %s (%s), nor can the agent at %s tell (%s); is "
                        "caravan-controller running there? --controller URL or CARAVAN_CONTROLLER names another",
                        a->url, why_not(r), socket, why_no_agent(by_agent));
}

enum cli_exit api_stream(struct api *a, const struct api_stream *s)
{
    CLEANUP(call_clear) struct call c = {.stream = s, .idle_ms = s->pinged ? PINGED_IDLE_MS : 0};
    int r;

    if (sse_new(&c.sse) < 0)
        return cli_complain(CLI_FAILED, "out of memory");
    r = perform(a, &c, s->method, s->target, s->body, s->last_event_id);
    if (r < 0)
        return s->quiet ? CLI_UNREACHABLE : say_unreachable(a, r);
    if (c.status < 200 || c.status > 299)
        return say_refusal(a, &c);
    return c.is_events ? CLI_DONE : say_unreachable(a, -EPROTO);
}
