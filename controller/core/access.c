#include "controller/core/access.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/api_keys.h"
#include "controller/core/effects.h"
#include "controller/core/nodes.h"
#include "controller/core/tokens.h"

#define WAS_REVOKED                                                                                                     \
    "this key was revoked and is not let in again; remove the file identity from the agent's state directory: it is a " \
    "new node then"

/* ---- keys as text ------------------------------------------------------------------------------------------------ */

static size_t count_digits(const char *text)
{
    size_t n = 0;

    while (isxdigit((unsigned char)text[n]))
        n++;
    return text[n] ? 0 : n;
}

bool access_key_read(const char *text, char ret[PROTO_KEY_MAX])
{
    ret[0] = '\0';
    if (count_digits(text) != PROTO_KEY_MAX - 1)
        return false;
    for (size_t i = 0; i < PROTO_KEY_MAX; i++)
        ret[i] = (char)tolower((unsigned char)text[i]);
    return true;
}

bool access_is_prefix(const char *text)
{
    size_t n = count_digits(text);

    return n >= ID128_SHORT_TEXT - 1 && n < PROTO_KEY_MAX;
}

const char *access_short(const char *key, char buf[ID128_SHORT_TEXT])
{
    text_copy(buf, ID128_SHORT_TEXT, key);
    return buf;
}

/* ---- the tables -------------------------------------------------------------------------------------------------- */

static size_t index_of(const struct table *t, const char *key)
{
    size_t low = 0, high = t->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(TABLE_KEY(t, middle)->view.key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct access_key *access_find(const struct table *t, const char *key)
{
    size_t i = index_of(t, key);

    return i < t->n && !strcmp(TABLE_KEY(t, i)->view.key, key) ? TABLE_KEY(t, i) : NULL;
}

static int key_add(struct step *s, struct table *t, const struct view_key *view, struct access_key **ret)
{
    struct access_key *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return err_raise(-ENOMEM);
    k->view = *view;
    k->expires_ms = UINT64_MAX;
    r = journal_add(&s->journal, t, index_of(t, view->key), k, free);
    if (r)
        return err_fold(r);
    s->changed = true;
    *ret = k;
    return 0;
}

int access_key_new(struct step *s, struct table *t, const struct view_key *view, enum key_scope as)
{
    struct access_key *k;
    int r = key_add(s, t, view, &k);

    if (r)
        return err_fold(r);
    k->view.scope = (enum key_scope)0;
    k->view.made_wall_ms = s->wall_ms;
    k->next = as;
    k->n_writing = 1;
    return err_fold(record_key(s, k, false));
}

static int key_write(struct step *s, struct access_key *k, enum key_scope as)
{
    int r = step_key(s, k);

    if (r)
        return err_fold(r);
    k->next = as;
    k->n_writing++;
    return err_fold(record_key(s, k, false));
}

int access_key_written(struct step *s, struct table *t, struct access_key *k, enum key_scope as, bool ok, bool *ret)
{
    int r = step_key(s, k);

    if (r)
        return err_fold(r);
    k->n_writing--;
    if (ok)
        k->view.scope = as;
    if (!k->n_writing)
        k->next = (enum key_scope)0;
    *ret = k->n_writing || k->view.scope;
    return *ret ? 0 : err_fold(journal_remove(&s->journal, t, k, free));
}

int access_say(struct step *s, const char *id, const char *from, const char *to, const char *event, const char *text)
{
    struct cluster_transition t = {.machine = "access", .from = from, .to = to, .event = event};

    text_format(t.id, sizeof(t.id), "%s", id);
    return err_fold(fx_verdict(s, &t, GO, text, NULL, NULL));
}

/* ---- whose keys -------------------------------------------------------------------------------------------------- */

bool access_is_allowed(const struct cluster *c, const char *key)
{
    const struct access_key *k = access_find(&c->keys, key);

    return k && k->view.scope == KEY_NODE;
}

bool access_is_revoked(const struct cluster *c, const char *key)
{
    const struct access_key *k = access_find(&c->keys, key);

    return k && k->view.scope == KEY_REVOKED;
}

/* The link knows whom it lets in; a neighbour only knows whom it was told to expect, and may be wrong. A revoked key may
 * have been on its way when that was said. */
const char *access_bars_hello(const struct cluster *c, const char *key, bool carried)
{
    if (access_is_revoked(c, key))
        return WAS_REVOKED;
    if (carried && !c->config.trust_open && !access_is_allowed(c, key))
        return "this key is not let in; see `caravan token create` and `caravan nodes approve`";
    return NULL;
}

const char *access_bars(const struct cluster *c, const char *key, const struct id128 *node, char *why, size_t size)
{
    const struct access_key *k = access_find(&c->keys, key);
    const struct node *n = node_find(c, node);

    if (access_find(&c->tokens, key)) {
        text_format(why, size, "that is a join token's key; a node has one of its own");
        return "bad_key";
    }
    if (k && (k->view.scope == KEY_REVOKED || k->next == KEY_REVOKED)) {
        text_format(why, size, WAS_REVOKED);
        return "revoked";
    }
    if (n && n->state == NODE_RETIRED) {
        text_format(why, size, "%s", node_cell(NODE_RETIRED, NODE_EV_HELLO)->sentence);
        return "retired";
    }
    if (!k && c->keys.n >= ACCESS_KEYS_MAX) {
        text_format(why, size, "%d keys are kept already, which is as many as a cluster may have",
                    (int)ACCESS_KEYS_MAX);
        return "too_many";
    }
    return NULL;
}

/* ---- letting in -------------------------------------------------------------------------------------------------- */

static void name_key(struct view_key *v, const char *key, const char *name)
{
    text_format(v->key, sizeof(v->key), "%s", key);
    text_copy(v->name, sizeof(v->name), name);
    if (!v->name[0])
        text_format(v->name, sizeof(v->name), "%s", ACCESS_SHORT(key));
}

/* As what it is from the next commit on. */
static int write_as(struct step *s, const char *key, const char *name, enum key_scope as)
{
    struct access_key *k = access_find(&s->c->keys, key);
    struct view_key view = {.scope = as};

    if (k)
        return err_fold(key_write(s, k, as));
    name_key(&view, key, name);
    return err_fold(access_key_new(s, &s->c->keys, &view, as));
}

int access_add(struct step *s, const char *key, const char *name)
{
    return err_fold(write_as(s, key, name, KEY_NODE));
}

static int approve(struct step *s, uint64_t request_id, const char *key, const char *name,
                   const struct cluster_answer *done)
{
    int r = access_add(s, key, name);

    if (!r)
        r = step_then_key(s, INTENT_ALLOW, NULL, key, "");
    return r ? err_fold(r) : err_fold(fx_answer(s, step_token(s), request_id, done));
}

int access_approve(struct step *s, const struct cluster_ev *ev)
{
    struct cluster_answer done = {.accepted = true};
    char key[PROTO_KEY_MAX], why[PROTO_TEXT_MAX];
    const char *code;

    if (!access_key_read(ev->access->key, key))
        return err_fold(fx_refuse(s, ev->request_id, "bad_key", ACCESS_NOT_A_KEY));
    code = access_bars(s->c, key, &ev->node, why, sizeof(why));
    if (code)
        return err_fold(fx_refuse(s, ev->request_id, code, why));
    done.attached = access_is_allowed(s->c, key);
    text_format(done.text, sizeof(done.text), "key %s is let in%s", ACCESS_SHORT(key), done.attached ? " already" : "");
    if (done.attached)
        return err_fold(fx_answer(s, 0, ev->request_id, &done));
    return err_fold(approve(s, ev->request_id, key, ev->access->name, &done));
}

/* by: the token, or empty. */
static int let_in(struct step *s, const struct access_key *k, const char *by)
{
    char text[64] = "";
    int r;

    if (by[0])
        text_format(text, sizeof(text), "key %s, by token %s", ACCESS_SHORT(k->view.key), ACCESS_SHORT(by));
    r = access_say(s, k->view.name, "unknown", key_scope_name(KEY_NODE), by[0] ? "join" : "approve", text);
    return r ? err_fold(r) : err_fold(fx_allow(s, k->view.key, KEY_NODE));
}

int access_allowed(struct step *s, const struct pending *p, bool ok)
{
    struct access_key *k = access_find(&s->c->keys, p->key);
    bool before = access_is_allowed(s->c, p->key), there;
    int r = k ? access_key_written(s, &s->c->keys, k, KEY_NODE, ok, &there) : 0;

    if (!r && !before && access_is_allowed(s->c, p->key))
        r = let_in(s, k, p->by);
    if (!r && p->by[0])
        r = tokens_used(s, p, ok);
    return err_fold(r);
}

/* ---- and no more ------------------------------------------------------------------------------------------------- */

int access_take(struct step *s, const char *key, const char *name)
{
    return err_fold(write_as(s, key, name, KEY_REVOKED));
}

static int keep_out(struct step *s, const struct access_key *k, enum key_scope before, const char *event)
{
    int r = access_say(s, k->view.name, key_scope_name(before), key_scope_name(KEY_REVOKED), event, "");

    return r ? err_fold(r) : err_fold(fx_forbid(s, k->view.key));
}

int access_taken(struct step *s, const char *key, const char *event, bool ok)
{
    struct access_key *k = access_find(&s->c->keys, key);
    enum key_scope before = k ? k->view.scope : (enum key_scope)0;
    bool there;
    int r;

    if (!k)
        return 0;
    r = access_key_written(s, &s->c->keys, k, KEY_REVOKED, ok, &there);
    if (r || !there || k->view.scope == before)
        return err_fold(r);
    return err_fold(keep_out(s, k, before, event));
}

/* ---- from the store, and to be seen ------------------------------------------------------------------------------ */

static int restore_node_key(struct step *s, const struct view_key *v)
{
    struct access_key *k;

    if (s->c->keys.n >= ACCESS_KEYS_MAX || access_find(&s->c->keys, v->key))
        return 0;
    return err_fold(key_add(s, &s->c->keys, v, &k));
}

static int restore_token(struct step *s, const struct view_key *v)
{
    struct access_key *k;
    int r;

    if (s->c->tokens.n >= ACCESS_TOKENS_MAX || access_find(&s->c->tokens, v->key))
        return 0;
    r = key_add(s, &s->c->tokens, v, &k);
    if (!r)
        tokens_set_end(s, k);
    return err_fold(r);
}

int access_restore(struct step *s, const struct view_key *key)
{
    struct view_key v = *key;

    if (!access_key_read(key->key, v.key))
        return 0;
    switch (v.scope) {
    case KEY_NODE:
    case KEY_REVOKED:
        return err_fold(restore_node_key(s, &v));
    case KEY_JOIN:
        return err_fold(restore_token(s, &v));
    }
    return 0;
}

int access_begin(struct step *s)
{
    int r = tokens_expire(s);

    for (size_t i = 0; !r && i < s->c->keys.n; i++) {
        const struct view_key *v = &TABLE_KEY(&s->c->keys, i)->view;

        r = v->scope == KEY_REVOKED ? fx_forbid(s, v->key) : fx_allow(s, v->key, v->scope);
    }
    for (size_t i = 0; !r && i < s->c->tokens.n; i++)
        r = fx_allow(s, TABLE_KEY(&s->c->tokens, i)->view.key, KEY_JOIN);
    return err_fold(r);
}

static int by_scope(const void *a, const void *b)
{
    const struct view_key *x = a, *y = b;
    int order = (int)x->scope - (int)y->scope;

    if (!order)
        order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->key, y->key);
}

static void list_durable(const struct table *t, struct view *v)
{
    for (size_t i = 0; i < t->n; i++) {
        if (TABLE_KEY(t, i)->view.scope)
            v->key[v->n_keys++] = TABLE_KEY(t, i)->view;
    }
}

int access_view(const struct cluster *c, struct view *v)
{
    v->key = calloc(c->keys.n + c->tokens.n + 1, sizeof(*v->key));
    if (!v->key)
        return err_raise(-ENOMEM);
    list_durable(&c->keys, v);
    list_durable(&c->tokens, v);
    qsort(v->key, v->n_keys, sizeof(*v->key), by_scope);
    return err_fold(api_keys_view(c, v));
}
