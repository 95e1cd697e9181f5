#include "controller/core/tokens.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/sat.h"
#include "common/core/text.h"
#include "controller/core/access.h"
#include "controller/core/effects.h"

enum { REFUSED_MS = 60000, REFUSED_MAX = 10 }; /* so many refusals are told to an address in such a time */

#define ANOTHER  "; make another one with `caravan token create`"
#define NOT_KEPT "the controller could not keep the key: its store refused the record"

/* ---- their end --------------------------------------------------------------------------------------------------- */

static bool is_over(const struct step *s, const struct access_key *t)
{
    return t->view.expires_wall_ms <= s->wall_ms;
}

/* In our own time, which the time of day may leave behind: then it is looked for again. */
void tokens_set_end(const struct step *s, struct access_key *t)
{
    t->expires_ms = sat_add(s->now_ms, sat_sub(t->view.expires_wall_ms, s->wall_ms));
}

/* The last that is heard of it. */
static int end(struct step *s, const struct access_key *t, const char *event)
{
    int r = access_say(s, ACCESS_SHORT(t->view.key), key_scope_name(KEY_JOIN), "gone", event, "");

    if (!r)
        r = fx_forbid(s, t->view.key);
    return r ? err_fold(r) : err_fold(journal_remove(&s->journal, &s->c->tokens, t, free));
}

/* Its end need not be durable first: who restores it sees the same clock. */
static int expire(struct step *s, const struct access_key *t)
{
    int r = record_key(s, t, true);

    s->changed = true;
    return r ? err_fold(r) : err_fold(end(s, t, "expire"));
}

static bool has_begun(const struct cluster *c)
{
    return c->numbers.settle_ms != UINT64_MAX;
}

int tokens_expire(struct step *s)
{
    const struct table *tokens = &s->c->tokens;
    int r = 0;

    for (size_t i = has_begun(s->c) ? 0 : tokens->n; !r && i < tokens->n;) {
        struct access_key *t = TABLE_KEY(tokens, i);

        if (t->view.scope && is_over(s, t)) {
            r = expire(s, t);
            continue;
        }
        if (t->view.scope && t->expires_ms <= s->now_ms) {
            r = step_key(s, t);
            if (!r)
                tokens_set_end(s, t);
        }
        i++;
    }
    return err_fold(r);
}

uint64_t tokens_due_ms(const struct cluster *c)
{
    uint64_t due = UINT64_MAX;

    for (size_t i = 0; i < (has_begun(c) ? c->tokens.n : 0); i++) {
        if (TABLE_KEY(&c->tokens, i)->view.scope)
            due = sat_min(due, TABLE_KEY(&c->tokens, i)->expires_ms);
    }
    return due;
}

/* ---- making one -------------------------------------------------------------------------------------------------- */

/* The stable word of what is wrong with it, the sentence in why; NULL: it is good. */
static const char *is_bad(const struct step *s, const struct view_key *v, const char *key, char *why, size_t size)
{
    if (!key[0])
        text_format(why, size, ACCESS_NOT_A_KEY);
    else if (v->uses_left < 1 || v->uses_left > ACCESS_USES_MAX)
        text_format(why, size, "a token is for 1 to %d nodes", (int)ACCESS_USES_MAX);
    else if (is_over(s, &(struct access_key){.view = *v}) || v->expires_wall_ms - s->wall_ms > ACCESS_TTL_MAX_MS)
        text_format(why, size, "a token is good for 30 days at most, and for longer than nothing");
    else if (access_find(&s->c->tokens, key) || access_find(&s->c->keys, key))
        text_format(why, size, "that key is in use already");
    else if (s->c->tokens.n < ACCESS_TOKENS_MAX)
        return NULL;
    else {
        text_format(why, size,
                    "there are %d tokens already, which is as many as may wait; withdraw some, or let them expire",
                    (int)ACCESS_TOKENS_MAX);
        return "too_many";
    }
    return "bad_token";
}

int tokens_make(struct step *s, const struct cluster_ev *ev)
{
    struct cluster_answer done = {.accepted = true};
    struct view_key view = *ev->access;
    char why[PROTO_TEXT_MAX];
    const char *code;
    int r;

    access_key_read(ev->access->key, view.key);
    code = is_bad(s, ev->access, view.key, why, sizeof(why));
    if (code)
        return err_fold(fx_refuse(s, ev->request_id, code, why));
    text_copy(view.name, sizeof(view.name), ev->access->name);
    text_format(done.text, sizeof(done.text), "token %s is made", ACCESS_SHORT(view.key));
    r = access_key_new(s, &s->c->tokens, &view, KEY_JOIN);
    if (r)
        return err_fold(r);
    tokens_set_end(s, access_find(&s->c->tokens, view.key));
    r = step_then_key(s, INTENT_TOKEN, NULL, view.key, "");
    return r ? err_fold(r) : err_fold(fx_answer(s, step_token(s), ev->request_id, &done));
}

int tokens_made(struct step *s, const struct pending *p, bool ok)
{
    struct access_key *t = access_find(&s->c->tokens, p->key);
    bool there;
    int r;

    if (!t)
        return 0;
    r = access_key_written(s, &s->c->tokens, t, KEY_JOIN, ok, &there);
    if (r || !there)
        return err_fold(r);
    r = access_say(s, ACCESS_SHORT(p->key), "unknown", key_scope_name(KEY_JOIN), "token", "");
    return r ? err_fold(r) : err_fold(fx_allow(s, p->key, KEY_JOIN));
}

/* ---- withdrawing one --------------------------------------------------------------------------------------------- */

/* The one that is meant by its key or the beginning of it; NULL: why is the sentence. */
static struct access_key *find_target(const struct cluster *c, const char *target, char *why, size_t size)
{
    size_t n = access_is_prefix(target) ? strlen(target) : 0;
    struct access_key *found = NULL;

    for (size_t i = 0; n && i < c->tokens.n; i++) {
        struct access_key *t = TABLE_KEY(&c->tokens, i);

        if (!t->view.scope || strncasecmp(t->view.key, target, n) != 0)
            continue;
        if (found) {
            text_format(why, size, "two tokens begin with %s: name one by more of its key", target);
            return NULL;
        }
        found = t;
    }
    if (!found)
        text_format(why, size, "there is no token %s; `caravan token list` shows them", target);
    return found;
}

int tokens_withdraw(struct step *s, const struct cluster_ev *ev)
{
    struct cluster_answer done = {.accepted = true};
    char why[PROTO_TEXT_MAX];
    struct access_key *t = find_target(s->c, ev->target, why, sizeof(why));
    int r;

    if (!t)
        return err_fold(fx_refuse(s, ev->request_id, "not_found", why));
    text_format(done.text, sizeof(done.text), "token %s is withdrawn", ACCESS_SHORT(t->view.key));
    r = step_key(s, t);
    if (r)
        return err_fold(r);
    t->next = KEY_REVOKED;
    t->n_writing++;
    r = record_key(s, t, true);
    if (!r)
        r = step_then_key(s, INTENT_UNTOKEN, NULL, t->view.key, "");
    return r ? err_fold(r) : err_fold(fx_answer(s, step_token(s), ev->request_id, &done));
}

static int end_if_used_up(struct step *s, const struct access_key *t)
{
    return t->view.uses_left || t->n_writing ? 0 : err_fold(end(s, t, "used_up"));
}

int tokens_withdrawn(struct step *s, const struct pending *p, bool ok)
{
    struct access_key *t = access_find(&s->c->tokens, p->key);
    bool there;
    int r;

    if (!t)
        return 0; /* it has expired meanwhile */
    r = ok ? step_key(s, t) : access_key_written(s, &s->c->tokens, t, KEY_JOIN, ok, &there);
    if (r)
        return err_fold(r);
    return ok ? err_fold(end(s, t, "untoken")) : err_fold(end_if_used_up(s, t));
}

/* ---- joining ----------------------------------------------------------------------------------------------------- */

/* token, key: of whoever asks, as it was said. refused: empty where it is in. */
static int say_joined(struct step *s, const char *token, const char *key, const char *refused)
{
    CLEANUP(message_destroy) struct message *m = message_to(s, MESSAGE_JOINED);

    if (!m)
        return err_raise(-ENOMEM);
    text_format(m->joined.key, sizeof(m->joined.key), "%s", key);
    text_format(m->joined.refused, sizeof(m->joined.refused), "%s", refused);
    return err_fold(fx_send(s, token, "", &m));
}

static bool is_free(const struct step *s, const struct access_refused *at)
{
    return !at->n || s->now_ms - at->since_ms >= REFUSED_MS;
}

/* The place of this address, or a free one; NULL: more addresses are being refused than can be told apart. */
static struct access_refused *refused_place(const struct step *s, const char *addr)
{
    struct access_refused *place = NULL;

    for (size_t i = 0; i < ACCESS_REFUSED_ADDRS; i++) {
        struct access_refused *at = &s->c->join_refused[i];

        if (!is_free(s, at) && !strcmp(at->addr, addr))
            return at;
        if (is_free(s, at) && !place)
            place = at;
    }
    return place;
}

/* Whether this one may be told, logged and kept: nobody with a token in his hands is to fill our audit. */
static int may_tell(struct step *s, const char *addr, bool *ret)
{
    struct access_refused *at = refused_place(s, addr);
    int r;

    *ret = at && (is_free(s, at) || at->n < REFUSED_MAX);
    if (!*ret)
        return 0;
    r = journal_change(&s->journal, at, sizeof(*at));
    if (r)
        return err_fold(r);
    if (is_free(s, at)) {
        *at = (struct access_refused){.since_ms = s->now_ms};
        text_format(at->addr, sizeof(at->addr), "%s", addr);
    }
    at->n++;
    return 0;
}

static int refuse(struct step *s, const struct access_key *t, const struct cluster_ev *ev, const char *why)
{
    struct cluster_transition refused = {.machine = "access", .from = "unknown", .to = "unknown", .event = "join"};
    const struct join *j = &ev->message->join;
    bool tell;
    int r = may_tell(s, ev->peer_addr, &tell);

    if (r)
        return err_fold(r);
    if (!tell) {
        s->c->numbers.joins_refused++;
        return 0;
    }
    text_copy(refused.id, sizeof(refused.id), j->name[0] ? j->name : ACCESS_SHORT(j->key));
    r = fx_verdict(s, &refused, REFUSE, why, NULL, &s->c->numbers.joins_refused);
    return r ? err_fold(r) : err_fold(say_joined(s, t->view.key, j->key, why));
}

/* NULL: it lets one more in. */
static const char *bars_use(const struct step *s, const struct access_key *t)
{
    if (is_over(s, t))
        return "the token has expired" ANOTHER;
    if (t->next == KEY_REVOKED)
        return "the token was withdrawn" ANOTHER;
    return t->view.uses_left ? NULL : "the token is used up" ANOTHER;
}

/* Gone where it lets nobody in any more. */
static int record_token(struct step *s, const struct access_key *t)
{
    return err_fold(record_key(s, t, !t->view.uses_left || t->next == KEY_REVOKED));
}

static int use(struct step *s, struct access_key *t, const char *key, const char *name)
{
    int r = step_key(s, t);

    if (r)
        return err_fold(r);
    t->view.uses_left--;
    t->n_writing++;
    r = record_token(s, t);
    if (!r)
        r = access_add(s, key, name);
    return r ? err_fold(r) : err_fold(step_then_key(s, INTENT_ALLOW, NULL, key, t->view.key));
}

int tokens_join(struct step *s, const struct cluster_ev *ev)
{
    struct access_key *t = access_find(&s->c->tokens, ev->key);
    const struct join *j = &ev->message->join;
    char key[PROTO_KEY_MAX], why[PROTO_TEXT_MAX];

    if (!t || !t->view.scope) { /* it has ended while this was on its way: nothing is said to it any more */
        s->c->numbers.joins_refused++;
        return 0;
    }
    if (!access_key_read(j->key, key))
        return err_fold(refuse(s, t, ev, ACCESS_NOT_A_KEY));
    if (access_bars(s->c, key, &ev->node, why, sizeof(why)))
        return err_fold(refuse(s, t, ev, why));
    if (access_is_allowed(s->c, key))
        return err_fold(say_joined(s, t->view.key, j->key, ""));
    if (access_find(&s->c->keys, key))
        return 0; /* it is being written, and answered then */
    if (bars_use(s, t))
        return err_fold(refuse(s, t, ev, bars_use(s, t)));
    return err_fold(use(s, t, key, j->name));
}

/* A use that came to nothing is given back, and written so: a later commit may have kept the smaller number. */
int tokens_used(struct step *s, const struct pending *p, bool ok)
{
    struct access_key *t = access_find(&s->c->tokens, p->by);
    bool there;
    int r;

    if (!t)
        return 0; /* it has ended meanwhile */
    r = access_key_written(s, &s->c->tokens, t, KEY_JOIN, ok, &there);
    if (!r && !ok) {
        t->view.uses_left++;
        r = record_token(s, t);
    }
    if (!r)
        r = say_joined(s, t->view.key, p->key, ok ? "" : NOT_KEPT);
    return r ? err_fold(r) : err_fold(end_if_used_up(s, t));
}
