#include "controller/core/api_keys.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/access.h"
#include "controller/core/effects.h"

#define LAST_ADMIN "no other key may administer; make one of scope admin first"

/* ---- the table --------------------------------------------------------------------------------------------------- */

static size_t index_of(const struct cluster *c, const char *name)
{
    size_t i = 0;

    while (i < c->api_keys.n && strcmp(CLUSTER_API_KEY(c, i)->view.name, name) < 0)
        i++;
    return i;
}

static struct access_api_key *find(const struct cluster *c, const char *name)
{
    size_t i = index_of(c, name);

    return i < c->api_keys.n && !strcmp(CLUSTER_API_KEY(c, i)->view.name, name) ? CLUSTER_API_KEY(c, i) : NULL;
}

static int add(struct step *s, const struct view_api_key *view, struct access_api_key **ret)
{
    struct access_api_key *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return err_raise(-ENOMEM);
    k->view = *view;
    r = journal_add(&s->journal, &s->c->api_keys, index_of(s->c, view->name), k, free);
    if (r)
        return err_fold(r);
    s->changed = true;
    *ret = k;
    return 0;
}

/* A name is part of a path. */
static bool is_name(const char *text)
{
    size_t n = 0;

    while (isalnum((unsigned char)text[n]) || (text[n] && strchr("._-", text[n])))
        n++;
    return n && !text[n];
}

static bool is_whole(const struct view_api_key *v)
{
    char hash[PROTO_KEY_MAX];

    return is_name(v->name) && v->scope >= API_INFER && v->scope <= API_ADMIN && access_key_read(v->hash, hash);
}

/* Will it be an administrator's when all that is being written is? */
static bool stays_admin(const struct access_api_key *k)
{
    return k->writing ? k->view.scope == API_ADMIN && k->next.scope == API_ADMIN : k->view.scope == API_ADMIN;
}

static bool has_other_admin(const struct cluster *c, const char *name)
{
    for (size_t i = 0; i < c->api_keys.n; i++) {
        if (strcmp(CLUSTER_API_KEY(c, i)->view.name, name) != 0 && stays_admin(CLUSTER_API_KEY(c, i)))
            return true;
    }
    return false;
}

/* ---- what people want -------------------------------------------------------------------------------------------- */

/* request_id 0: nobody waits. */
static int refuse(struct step *s, uint64_t request_id, const char *code, const char *text)
{
    return request_id ? err_fold(fx_refuse(s, request_id, code, text)) : 0;
}

static int answer(struct step *s, uint64_t request_id, uint64_t token, const char *name, const char *what)
{
    struct cluster_answer done = {.accepted = true, .attached = !token};

    if (!request_id)
        return 0;
    text_format(done.text, sizeof(done.text), "API key %s %s", name, what);
    return err_fold(fx_answer(s, token, request_id, &done));
}

/* k->next is as it is to be. */
static int begin(struct step *s, struct access_api_key *k)
{
    int r = record_api_key(s, k, !k->next.scope);

    k->writing = true;
    return r ? err_fold(r) : err_fold(step_then_key(s, INTENT_API_KEY, NULL, k->view.name, ""));
}

/* NULL: it may be kept; text: the sentence. */
static const char *bars(const struct cluster *c, const struct cluster_ev *ev, const struct access_api_key *k,
                        const char **text)
{
    const struct view_api_key *v = ev->api_key;

    *text = "an API key has a scope, and a name of letters, digits, dots, dashes and underscores";
    if (!is_whole(v))
        return "bad_api_key";
    *text = "that key is being written just now; try again";
    if (k && k->writing)
        return "busy";
    *text = LAST_ADMIN;
    if (v->scope != API_ADMIN && !has_other_admin(c, v->name))
        return "last_admin";
    *text = "there are 64 API keys already, which is as many as may be; remove some";
    if (!k && ev->request_id && c->api_keys.n >= ACCESS_API_KEYS_MAX) /* the controller's own finds room */
        return "too_many";
    return NULL;
}

static int make(struct step *s, const struct view_api_key *v, struct access_api_key *k)
{
    struct view_api_key none = {.scope = (enum api_scope)0};
    int r;

    memcpy(none.name, v->name, sizeof(none.name));
    r = k ? step_api_key(s, k) : add(s, &none, &k);
    if (r)
        return err_fold(r);
    k->next = *v;
    access_key_read(v->hash, k->next.hash);
    k->next.made_wall_ms = s->wall_ms;
    return err_fold(begin(s, k));
}

int api_keys_make(struct step *s, const struct cluster_ev *ev)
{
    const struct view_api_key *v = ev->api_key;
    struct access_api_key *k = find(s->c, v->name);
    const char *text, *code = bars(s->c, ev, k, &text);
    int r;

    if (code)
        return err_fold(refuse(s, ev->request_id, code, text));
    if (k && k->view.scope == v->scope && !strcasecmp(k->view.hash, v->hash))
        return err_fold(answer(s, ev->request_id, 0, v->name, "is there already"));
    r = make(s, v, k);
    return r ? err_fold(r) : err_fold(answer(s, ev->request_id, step_token(s), v->name, "is made"));
}

int api_keys_remove(struct step *s, const struct cluster_ev *ev)
{
    struct access_api_key *k = find(s->c, ev->target);
    int r;

    if (!k || !k->view.scope)
        return err_fold(
            refuse(s, ev->request_id, "not_found", "there is no API key of that name; `caravan keys` lists them"));
    if (k->writing)
        return err_fold(refuse(s, ev->request_id, "busy", "that key is being written just now; try again"));
    if (!has_other_admin(s->c, ev->target))
        return err_fold(refuse(s, ev->request_id, "last_admin", LAST_ADMIN));
    r = step_api_key(s, k);
    if (r)
        return err_fold(r);
    k->next = (struct view_api_key){.scope = (enum api_scope)0};
    r = begin(s, k);
    return r ? err_fold(r) : err_fold(answer(s, ev->request_id, step_token(s), ev->target, "is removed"));
}

/* ---- what became of it ------------------------------------------------------------------------------------------- */

static const char *scope_word(enum api_scope scope, const char *none)
{
    return scope ? api_scope_name(scope) : none;
}

static int keep(struct step *s, struct access_api_key *k)
{
    enum api_scope before = k->view.scope, after = k->next.scope;
    int r = access_say(s, k->view.name, scope_word(before, "unknown"), scope_word(after, "gone"),
                       after ? "api_key" : "api_unkey", "");

    if (r)
        return err_fold(r);
    if (!after)
        return err_fold(journal_remove(&s->journal, &s->c->api_keys, k, free));
    k->view = k->next;
    return 0;
}

int api_keys_written(struct step *s, const struct pending *p, bool ok)
{
    struct access_api_key *k = find(s->c, p->key);
    int r;

    if (!k)
        return 0;
    r = step_api_key(s, k);
    if (r)
        return err_fold(r);
    k->writing = false;
    if (ok)
        return err_fold(keep(s, k));
    return k->view.scope ? 0 : err_fold(journal_remove(&s->journal, &s->c->api_keys, k, free));
}

int api_keys_restore(struct step *s, const struct view_api_key *key)
{
    struct access_api_key *k;

    if (!is_whole(key) || find(s->c, key->name) || s->c->api_keys.n > ACCESS_API_KEYS_MAX)
        return 0;
    return err_fold(add(s, key, &k));
}

int api_keys_view(const struct cluster *c, struct view *v)
{
    v->api_key = calloc(c->api_keys.n + 1, sizeof(*v->api_key));
    if (!v->api_key)
        return err_raise(-ENOMEM);
    for (size_t i = 0; i < c->api_keys.n; i++) {
        if (CLUSTER_API_KEY(c, i)->view.scope)
            v->api_key[v->n_api_keys++] = CLUSTER_API_KEY(c, i)->view;
    }
    return 0;
}
