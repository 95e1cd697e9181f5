#include "controller/api_access.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "controller/api_json.h"
#include "controller/api_key.h"
#include "controller/api_state.h"
#include "controller/core/access.h"
#include "controller/http_json.h"
#include "controller/json_fields.h"

enum { TTL_MIN_MS = 60 * 1000, TTL_DEFAULT_MS = 3600 * 1000 };
enum { SAID_MAX = JOIN_TOKEN_TEXT_MAX + 256 };

struct api_secret {
    size_t n;
    char said[SAID_MAX]; /* the answer */
};

/* ---- what is said once ---- */

void api_secret_destroy(struct api_secret **s)
{
    if (!*s)
        return;
    explicit_bzero(*s, sizeof(**s));
    free(*s);
    *s = NULL;
}

/* Nobody on the way may keep it, and a proxy or browser would. */
void api_secret_reply(struct http_exchange *x, const struct api_secret *s)
{
    http_add_field(x, "Cache-Control", "no-store");
    http_reply(x, 200, "application/json; charset=utf-8", s->said, s->n);
}

static void reply_no_memory(struct http_exchange *x)
{
    http_reply_error(x, 503, "no_memory", "out of memory");
}

/* Printed by hand, of words that need no escapes: jansson's copies could not be wiped. NULL, and an answer: no memory. */
__attribute__((format(printf, 2, 3))) static struct api_secret *secret_new(struct http_exchange *x, const char *fmt,
                                                                           ...)
{
    struct api_secret *s = calloc(1, sizeof(*s));
    va_list ap;

    if (!s) {
        reply_no_memory(x);
        return NULL;
    }
    va_start(ap, fmt);
    s->n = (size_t)vsnprintf(s->said, sizeof(s->said), fmt, ap);
    va_end(ap);
    return s;
}

/* ---- what is asked for ---- */

/* The fields of the body; an empty one says nothing. false: answered. */
static bool read_body(struct http_exchange *x, const struct json_field *fields, void *base)
{
    static const char *const no_others[] = {NULL};
    CLEANUP(json_cleanup) json_t *body = NULL;
    char why[PROTO_TEXT_MAX];
    const char *text;
    size_t n;

    text = http_body(x, &n);
    if (!n)
        text = "{}", n = 2;
    if (json_parse(text, n, &body, why, sizeof(why))) {
        http_reply_error(x, 400, "bad_json", "%s", why);
        return false;
    }
    if (json_fields_read(body, fields, no_others, base, why, sizeof(why)) == 0)
        return true;
    http_reply_error(x, 400, "bad_request", "%s", why);
    return false;
}

/* ---- tokens ---- */

struct new_token {
    uint64_t ttl_ms;
    uint32_t uses;
};

static const struct json_field token_fields[] = {
    {.key = "ttl_ms", .type = JSON_FIELD_U64, JSON_AT(new_token, ttl_ms), .max = ACCESS_TTL_MAX_MS},
    {.key = "uses", .type = JSON_FIELD_U32, JSON_AT(new_token, uses), .max = ACCESS_USES_MAX},
    {.key = NULL},
};

static bool judge_token(struct http_exchange *x, const struct new_token *t)
{
    if (t->ttl_ms >= TTL_MIN_MS && t->uses)
        return true;
    http_reply_error(x, 400, "bad_request",
                     t->uses ? "\"ttl_ms\" must be 60000 (a minute) at least" : "\"uses\" must be 1 at least");
    return false;
}

/* The seed is in the token alone; o gets the public half of the key that follows from it. */
static struct api_secret *make_token(const struct api *a, struct http_exchange *x, struct front_order *o)
{
    struct join_token t = {.cluster = a->view->cluster, .n_controllers = a->door.n_addrs};
    char text[JOIN_TOKEN_TEXT_MAX];
    struct identity id;
    struct api_secret *s;

    crypto_random(t.seed, sizeof(t.seed));
    crypto_identity_from_seed(t.seed, &id);
    crypto_key_format(id.public_key, o->access.key);
    crypto_identity_clear(&id);
    for (size_t i = 0; i < t.n_controllers; i++) {
        memcpy(t.controller[i].key, a->door.key, sizeof(t.controller[i].key));
        memcpy(t.controller[i].addr, a->door.addr[i], sizeof(t.controller[i].addr));
        t.controller[i].port = a->door.port;
    }
    join_token_format(&t, text);
    s = secret_new(x, "{\"token\":\"%s\",\"key\":\"%s\",\"uses\":%" PRIu32 ",\"expires_wall_ms\":%" PRIu64 "}", text,
                   o->access.key, o->access.uses_left, o->access.expires_wall_ms);
    explicit_bzero(&t, sizeof(t));
    explicit_bzero(text, sizeof(text));
    return s;
}

void api_handle_new_token(void *ctx, struct http_exchange *x)
{
    struct new_token wanted = {.ttl_ms = TTL_DEFAULT_MS, .uses = 1};
    CLEANUP(front_order_destroy) struct front_order *o = NULL;
    CLEANUP(api_secret_destroy) struct api_secret *secret = NULL;
    struct api *a = ctx;
    uint64_t now_ms = clock_wall_ms();

    if (!api_need_view(a, x) || !read_body(x, token_fields, &wanted) || !judge_token(x, &wanted))
        return;
    if (!a->door.n_addrs) {
        http_reply_error(x, 503, "no_address", "this machine has no address that an agent could dial: try again");
        return;
    }
    if (api_new_order(x, FRONT_ORDER_TOKEN, &o) < 0)
        return;
    o->access = (struct view_key){
        .scope = KEY_JOIN, .made_wall_ms = now_ms, .expires_wall_ms = now_ms + wanted.ttl_ms, .uses_left = wanted.uses};
    secret = make_token(a, x, o);
    if (secret)
        api_submit(a, x, &o, &secret);
}

void api_handle_tokens(void *ctx, struct http_exchange *x)
{
    struct view *v = api_need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_tokens(v));
}

void api_handle_drop_token(void *ctx, struct http_exchange *x)
{
    api_order_of_target(ctx, x, FRONT_ORDER_UNTOKEN, "token");
}

/* ---- nodes ---- */

static const struct json_field approve_fields[] = {
    JSON_MEMBER(view_key, key, JSON_FIELD_TEXT, true),
    JSON_MEMBER(view_key, name, JSON_FIELD_TEXT, true),
    {.key = NULL},
};

/* The key in the one form that it is compared in; a name that fits on a line. */
static bool judge_approval(struct http_exchange *x, struct view_key *k)
{
    uint8_t key[CRYPTO_KEY_BYTES];

    if (crypto_key_parse(k->key, key)) {
        http_reply_error(x, 400, "bad_request", "\"key\" is no key: `caravan-agent --print-key` prints 64 hex digits");
        return false;
    }
    crypto_key_format(key, k->key);
    for (const char *p = k->name; *p; p++)
        if (iscntrl((unsigned char)*p)) {
            http_reply_error(x, 400, "bad_request", "\"name\" must not hold control characters");
            return false;
        }
    if (!*k->name)
        http_reply_error(x, 400, "bad_request", "\"name\" must not be empty");
    return *k->name;
}

void api_handle_approve(void *ctx, struct http_exchange *x)
{
    CLEANUP(front_order_destroy) struct front_order *o = NULL;

    if (api_new_order(x, FRONT_ORDER_APPROVE, &o) < 0 || !read_body(x, approve_fields, &o->access) ||
        !judge_approval(x, &o->access))
        return;
    o->access.scope = KEY_NODE;
    o->access.made_wall_ms = clock_wall_ms();
    api_submit(ctx, x, &o, NULL);
}

/* ---- API keys ---- */

static const char *scope_word(int v)
{
    return api_scope_name((enum api_scope)v);
}

static const struct json_field key_fields[] = {
    JSON_MEMBER(view_api_key, name, JSON_FIELD_TEXT, true),
    {.key = "scope",
     .type = JSON_FIELD_WORD,
     .required = true,
     JSON_AT(view_api_key, scope),
     .word = scope_word,
     .n_words = API_ADMIN},
    {.key = NULL},
};

static bool is_taken(const struct view *v, const char *name)
{
    for (size_t i = 0; i < v->n_api_keys; i++)
        if (strcmp(v->api_key[i].name, name) == 0)
            return true;
    return false;
}

/* "admin" is what admin.key says, from one start to the next. */
static bool is_of_file(struct http_exchange *x, const char *name)
{
    if (strcmp(name, "admin") != 0)
        return false;
    http_reply_error(x, 409, "reserved",
                     "\"admin\" is the key in " API_KEY_FILE ": for another one, remove that file, run "
                     "`caravan-controller init` and restart the controller");
    return true;
}

static bool judge_key(const struct view *v, struct http_exchange *x, const struct view_api_key *k)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    if (!*k->name || k->name[strspn(k->name, plain)]) {
        http_reply_error(x, 400, "bad_request", "\"name\" must be of letters, digits, '-', '_' and '.'");
        return false;
    }
    if (is_of_file(x, k->name))
        return false;
    if (!is_taken(v, k->name))
        return true;
    http_reply_error(x, 409, "exists", "there is a key \"%s\" already: remove that first, or name this one otherwise",
                     k->name);
    return false;
}

void api_handle_new_key(void *ctx, struct http_exchange *x)
{
    CLEANUP(front_order_destroy) struct front_order *o = NULL;
    CLEANUP(api_secret_destroy) struct api_secret *secret = NULL;
    struct view *v = api_need_view(ctx, x);
    char text[API_KEY_TEXT];

    if (!v || api_new_order(x, FRONT_ORDER_API_KEY, &o) < 0 || !read_body(x, key_fields, &o->api_key) ||
        !judge_key(v, x, &o->api_key))
        return;
    o->api_key.made_wall_ms = clock_wall_ms();
    api_key_new(text);
    api_key_hash(text, o->api_key.hash);
    secret = secret_new(x, "{\"key\":\"%s\",\"name\":\"%s\",\"scope\":\"%s\"}", text, o->api_key.name,
                        api_scope_name(o->api_key.scope));
    explicit_bzero(text, sizeof(text));
    if (secret)
        api_submit(ctx, x, &o, &secret);
}

void api_handle_keys(void *ctx, struct http_exchange *x)
{
    struct view *v = api_need_view(ctx, x);

    if (v)
        http_reply_json(x, 200, api_json_keys(v));
}

/* Without any key HTTP is open to all that reach it, which nobody means who removes one. */
void api_handle_drop_key(void *ctx, struct http_exchange *x)
{
    struct view *v = api_need_view(ctx, x);

    if (!v || is_of_file(x, http_arg(x)))
        return;
    if (v->n_api_keys == 1 && is_taken(v, http_arg(x)))
        http_reply_error(x, 409, "last_key", "it is the last API key: without one, HTTP would be open to everybody");
    else
        api_order_of_target(ctx, x, FRONT_ORDER_API_UNKEY, "key");
}
