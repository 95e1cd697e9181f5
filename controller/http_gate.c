#include "controller/http_gate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "controller/http_auth.h"
#include "controller/http_json.h"
#include "controller/json_fields.h"

/* Why somebody was turned away. why: the word in the log and in an answer of ours. */
struct refusal {
    int status;
    const char *why;
};

static void note(struct http_gate *g, const struct http_exchange *x, const struct refusal *r)
{
    char address[PROTO_ADDR_MAX];
    uint64_t n = talkers_count(&g->turned_away, http_peer(x, address, sizeof(address)), clock_now_ms());

    metrics_http_refused(g->metrics, r->status);
    if (n)
        log_warn("http.refused", "from=%s why=%s n=%" PRIu64, LOG_STR(address), r->why, n);
}

static bool is_v1(const struct http_head *h)
{
    return strncmp(h->path + strspn(h->path, "/"), "v1", 2) == 0; /* llama-server's 404 to //v1 has the same fields */
}

/* text: NULL where llama-server's own words are all that a client of its expects. */
static void turn_away(struct http_gate *g, struct http_exchange *x, struct refusal r, const char *text)
{
    note(g, x, &r);
    http_close_after(x);
    if (r.status == 401)
        http_add_field(x, "WWW-Authenticate", "Bearer");
    if (text)
        http_reply_error(x, r.status, r.why, "%s", text);
    else
        http_reply_as_llama(x, r.status);
}

static void turn_away_lesser(struct http_gate *g, struct http_exchange *x, enum http_claim claim,
                             const struct http_route *route)
{
    const char *wanted = route->access == HTTP_FOR_READ    ? api_scope_name(API_READ)
                         : route->access == HTTP_FOR_INFER ? api_scope_name(API_INFER)
                                                           : api_scope_name(API_ADMIN);
    char text[128];

    snprintf(text, sizeof(text), "this API key has the scope \"%s\"; this needs \"%s\"", http_claim_name(claim),
             wanted);
    turn_away(g, x, (struct refusal){403, "lesser_key"}, text);
}

static void turn_away_name(struct http_gate *g, struct http_exchange *x)
{
    char text[384];

    snprintf(text, sizeof(text), "nobody is called \"%s\" here: ask by address, or add the name to http_hosts",
             http_head(x)->host);
    turn_away(g, x, (struct refusal){421, "wrong_host"}, text);
}

/* Must a request of /v1 name a key? Then it may come from anybody's page, as llama-server has it: a page that has no key gets
 * nothing, and no browser adds one by itself. Without keys it would do as its user may, and is turned away. */
static bool is_locked_v1(const struct view *v, const struct http_head *head)
{
    return is_v1(head) && v && v->n_api_keys;
}

/* The page that may read our answer; NULL: none. */
static const char *reader_of(const struct http_gate *g, const struct view *v, const struct http_head *head)
{
    return is_locked_v1(v, head) ? http_head_field(head, "Origin") : http_names_origin(g->names, head);
}

/* A browser's question before a request from another page. What it keeps of its user's own (a proxy's cookies) it is to send
 * for pages that were named to us alone; `*` does not cover Authorization. */
static void answer_options(struct http_exchange *x, const char *reader, bool named)
{
    if (is_v1(http_head(x)) && reader) {
        if (named)
            http_add_field(x, "Access-Control-Allow-Credentials", "true");
        http_add_field(x, "Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS");
        http_add_field(x, "Access-Control-Allow-Headers", "Authorization, Content-Type, X-Api-Key, *");
    }
    http_reply(x, 200, "text/html", NULL, 0);
}

static void say_reader(struct http_exchange *x, const char *reader)
{
    if (!is_v1(http_head(x)))
        return;
    http_add_field(x, "Access-Control-Allow-Origin", reader ? reader : "");
    if (reader)
        http_add_field(x, "Vary", "Origin");
}

static bool judge(struct http_gate *g, const struct view *v, struct http_exchange *x, enum http_claim claim,
                  const struct http_route *route)
{
    switch (http_auth_judge(v, g->local, claim, route)) {
    case HTTP_PASS:
        return false;
    case HTTP_NO_KEY:
        turn_away(g, x, (struct refusal){401, "no_key"},
                  http_speaks_openai(x) ? NULL : "this needs an API key, as Authorization: Bearer KEY");
        return true;
    case HTTP_WRONG_KEY:
        turn_away(g, x, (struct refusal){401, "wrong_key"},
                  http_speaks_openai(x) ? NULL : "this API key is not known here");
        return true;
    case HTTP_LESSER_KEY:
        turn_away_lesser(g, x, claim, route);
        return true;
    case HTTP_CLOSED:
        turn_away(g, x, (struct refusal){401, "no_keys"},
                  "no API key exists: caravan-controller init makes one, and until then only its own host may ask");
        return true;
    case HTTP_STARTING:
        http_add_field(x, "Retry-After", "1");
        turn_away(g, x, (struct refusal){503, "starting"}, "the controller is starting: try again");
        return true;
    }
    return true;
}

/* HTTP/1.0 needs no Host, and no browser speaks it: probes do. */
static bool is_rebound(const struct http_gate *g, const struct http_head *head)
{
    return (*head->host || !head->http_1_0) && !http_names_host(g->names, head->host);
}

bool http_gate_keeps(const struct http_gate *g, const struct view *v, const char *sender,
                     const struct http_route *route)
{
    return http_auth_judge(v, g->local, http_auth_claim_again(v, sender), route) == HTTP_PASS;
}

bool http_gate_stops(struct http_gate *g, const struct view *v, struct http_exchange *x, struct http_head *head,
                     const struct http_route *route)
{
    char hash[PROTO_KEY_MAX];
    enum http_claim claim = http_auth_claim(v, head, hash);
    const char *reader = reader_of(g, v, head);

    http_auth_wipe(head);
    http_set_sender(x, hash);
    if (http_speaks_openai(x))
        http_add_field(x, "X-Request-Id", http_request_id(x));
    if (is_rebound(g, head)) {
        turn_away_name(g, x);
        return true;
    }
    say_reader(x, reader);
    if (http_is(x, "OPTIONS")) {
        answer_options(x, reader, http_names_origin(g->names, head));
        return true;
    }
    if (!http_claim_counts(claim) && !is_locked_v1(v, head) && http_names_foreign(g->names, head)) {
        turn_away(
            g, x, (struct refusal){403, "cross_site"},
            "a page of another site may not ask anything here without an API key: http_hosts names those that may");
        return true;
    }
    return judge(g, v, x, claim, route);
}
