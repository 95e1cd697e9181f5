#include "controller/core/retire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/access.h"
#include "controller/core/effects.h"
#include "controller/core/knocks.h"
#include "controller/core/neighbours.h"
#include "controller/core/nodes.h"

static bool is_called(const struct node *n, const char *target)
{
    return !strcmp(n->hello.name, target) || !strcmp(ID128_SHORT(&n->id), target);
}

/* A node that was retired or revoked comes again with another key, under the same name as a rule: of the two, people mean the
 * one that is there. */
static bool is_rather_meant(const struct node *n, const struct node *other)
{
    return n->state != NODE_RETIRED && other->state == NODE_RETIRED;
}

struct node *retire_target(const struct cluster *c, const char *target, char *why, size_t why_size)
{
    struct node *found = NULL, *twin = NULL;
    struct id128 id;

    if (id128_parse(target, &id) && node_find(c, &id))
        return node_find(c, &id);
    for (size_t k = 0; k < c->nodes.n; k++) {
        struct node *n = CLUSTER_NODE(c, k);

        if (!is_called(n, target) || (found && is_rather_meant(found, n)))
            continue;
        twin = found && !is_rather_meant(n, found) ? found : NULL;
        found = n;
    }
    if (twin)
        text_format(why, why_size, "two nodes are called %s: name one by its id, %s or %s", target, ID128(&twin->id),
                    ID128(&found->id));
    else if (!found)
        text_format(why, why_size, "there is no node %s; `caravan nodes` lists them", target);
    return twin ? NULL : found;
}

/* ---- a node's key and nothing else ---------------------------------------------------------------------------- */

/* By the key or the beginning of it, or by the name that it was let in under. */
static bool is_meant(const char *key, const char *name, const char *target)
{
    return access_is_prefix(target) ? !strncasecmp(key, target, strlen(target)) : !strcmp(name, target);
}

/* The one more that is meant, among what was found so far. false: that is one too many. */
static bool take_meant(const char **found, const char *key)
{
    bool first = !*found || !strcmp(*found, key);

    *found = key;
    return first;
}

static bool is_a_nodes_name(const struct cluster *c, const char *target)
{
    for (size_t k = 0; k < c->nodes.n; k++) {
        if (!strcmp(CLUSTER_NODE(c, k)->hello.name, target))
            return true;
    }
    return false;
}

/* live: no key that is revoked and no node that is retired. NULL: none, and why is left alone; or more than one. */
static const char *key_target(const struct cluster *c, const char *target, bool live, char *why, size_t size)
{
    const char *found = NULL;
    bool one = true;

    for (size_t i = 0; i < c->keys.n; i++) {
        const struct view_key *v = &TABLE_KEY(&c->keys, i)->view;

        if (is_meant(v->key, v->name, target) && !(live && v->scope == KEY_REVOKED))
            one &= take_meant(&found, v->key);
    }
    for (size_t i = 0; i < c->nodes.n; i++) {
        const struct node *n = CLUSTER_NODE(c, i);

        if (n->key[0] && is_meant(n->key, "", target) && !(live && n->state == NODE_RETIRED))
            one &= take_meant(&found, n->key);
    }
    if (!one)
        text_format(why, size, "two keys are meant by %s: name one by more of its digits", target);
    return one ? found : NULL;
}

/* Nobody is to read that a key is revoked while another one, let in under that name since, is not. NULL: why is the sentence. */
static const char *revoke_target(const struct cluster *c, const char *target, struct node **ret, char *why, size_t size)
{
    struct node *n = retire_target(c, target, why, size);
    const char *key;

    *ret = n;
    if (n && n->state != NODE_RETIRED)
        return n->key;
    if (!n && is_a_nodes_name(c, target))
        return NULL; /* which of them is not clear */
    key = key_target(c, target, true, why, size);
    if (!key && n)
        return why[0] ? NULL : n->key;
    if (!key)
        key = key_target(c, target, false, why, size);
    *ret = key ? node_by_key(c, key) : NULL;
    return key;
}

/* ---- out --------------------------------------------------------------------------------------------------------- */

/* The flag of the node and the record of its key go in one commit. */
static int take_out(struct step *s, struct node *n)
{
    int r = step_node(s, n);

    if (r)
        return err_fold(r);
    n->retired = true;
    return err_fold(record_node(s, n));
}

int retire_begin(struct step *s, const struct cluster_ev *ev)
{
    struct cluster_answer done = {.accepted = true};
    char why[PROTO_TEXT_MAX] = "";
    struct node *n = retire_target(s->c, ev->target, why, sizeof(why));
    bool kept;
    int r;

    if (!n)
        return err_fold(fx_refuse(s, ev->request_id, "not_found", why));
    text_format(done.text, sizeof(done.text), "node %s is retired", n->hello.name);
    if (n->state == NODE_RETIRED)
        return err_fold(fx_answer(s, 0, ev->request_id, &done));
    kept = access_find(&s->c->keys, n->key);
    r = take_out(s, n);
    if (!r && kept)
        r = access_take(s, n->key, n->hello.name);
    if (!r)
        r = step_then_key(s, INTENT_RETIRE, n, kept ? n->key : "", "");
    if (!r)
        r = fx_answer(s, step_token(s), ev->request_id, &done);
    return err_fold(r);
}

static int revoke(struct step *s, uint64_t request_id, struct node *n, const char *key)
{
    const struct access_key *k = access_find(&s->c->keys, key);
    const char *name = n ? n->hello.name : k ? k->view.name : "";
    struct cluster_answer done = {.accepted = true};
    int r = 0;

    text_format(done.text, sizeof(done.text), "the key of %s is revoked", name[0] ? name : ACCESS_SHORT(key));
    if (k && k->view.scope == KEY_REVOKED && (!n || n->state == NODE_RETIRED))
        return err_fold(fx_answer(s, 0, request_id, &done));
    if (n && n->state != NODE_RETIRED)
        r = take_out(s, n);
    if (!r)
        r = access_take(s, key, name);
    if (!r)
        r = step_then_key(s, INTENT_REVOKE, n, key, "");
    return r ? err_fold(r) : err_fold(fx_answer(s, step_token(s), request_id, &done));
}

int retire_revoke(struct step *s, const struct cluster_ev *ev)
{
    char why[PROTO_TEXT_MAX] = "";
    struct node *n;
    const char *key = revoke_target(s->c, ev->target, &n, why, sizeof(why));

    if (!key)
        return err_fold(fx_refuse(s, ev->request_id, "not_found", why));
    if (!key[0])
        return err_fold(retire_begin(s, ev)); /* it was restored without one */
    if (!access_find(&s->c->keys, key) && s->c->keys.n >= ACCESS_KEYS_MAX)
        return err_fold(fx_refuse(s, ev->request_id, "too_many",
                                  "as many keys are kept as may be; retire the node, which needs no room"));
    return err_fold(revoke(s, ev->request_id, n, key));
}

/* Its neighbours forget its key at once, not with their next list. */
static int leave(struct step *s, struct node *n, const char *why, bool ok)
{
    int r = step_node(s, n);

    if (r)
        return err_fold(r);
    n->retired = ok || n->state == NODE_RETIRED; /* it may have been asked twice, and written once */
    if (!ok)
        return 0;
    r = node_event(s, n, NODE_EV_RETIRE, &(struct cause){.text = why});
    return r ? err_fold(r) : err_fold(neighbours_tell(s));
}

static int go_on(struct step *s, const struct pending *p, const char *event, const char *why, bool ok)
{
    struct node *n = node_find(s->c, &p->instance);
    int r = n ? leave(s, n, why, ok) : 0;

    return r ? err_fold(r) : err_fold(access_taken(s, p->key, event, ok));
}

int retire_go_on(struct step *s, const struct pending *p, bool ok)
{
    return err_fold(go_on(s, p, "retire", "an operator has retired it", ok));
}

int retire_revoked(struct step *s, const struct pending *p, bool ok)
{
    return err_fold(go_on(s, p, "revoke", "an operator has revoked its key", ok));
}

/* As it comes into being: no transition leads to where it is. */
int retire_restore(struct step *s, const struct record *rec)
{
    struct node *n;

    if (node_find(s->c, &rec->instance) || s->c->nodes.n >= CLUSTER_NODES_MAX)
        return 0;
    n = calloc(1, sizeof(*n));
    if (!n)
        return err_raise(-ENOMEM);
    n->id = rec->instance;
    memcpy(n->key, rec->node.key, sizeof(n->key));
    memcpy(n->hello.name, rec->node.name, sizeof(n->hello.name));
    n->hello.node = n->id;
    n->draining = rec->node.draining;
    n->retired = rec->node.retired;
    n->state = n->retired ? NODE_RETIRED : NODE_UNKNOWN;
    text_format(n->reason, sizeof(n->reason), "%s", n->retired ? "an operator has retired it" : "");
    n->last_seen_ms = s->now_ms;
    knocks_end(n);
    s->changed = true;
    return err_fold(journal_add(&s->journal, &s->c->nodes, node_index(s->c, &n->id), n, node_free));
}
