#include "controller/core/retire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/knocks.h"
#include "controller/core/nodes.h"

struct node *retire_target(const struct cluster *c, const char *target, char *why, size_t why_size)
{
    struct node *found = NULL;
    struct id128 id;

    if (id128_parse(target, &id) && node_find(c, &id))
        return node_find(c, &id);
    for (size_t k = 0; k < c->nodes.n; k++) {
        struct node *n = CLUSTER_NODE(c, k);

        if (strcmp(n->hello.name, target) != 0 && strcmp(ID128_SHORT(&n->id), target) != 0)
            continue;
        if (found) {
            text_format(why, why_size, "two nodes are called %s: name one by its id, %s or %s", target,
                        ID128(&found->id), ID128(&n->id));
            return NULL;
        }
        found = n;
    }
    if (!found)
        text_format(why, why_size, "there is no node %s; `caravan nodes` lists them", target);
    return found;
}

int retire_begin(struct step *s, const struct cluster_ev *ev)
{
    struct cluster_answer done = {.accepted = true};
    char why[PROTO_TEXT_MAX] = "";
    struct node *n = retire_target(s->c, ev->target, why, sizeof(why));
    int r;

    if (!n)
        return err_fold(fx_refuse(s, ev->request_id, "not_found", why));
    text_format(done.text, sizeof(done.text), "node %s is retired", n->hello.name);
    if (n->state == NODE_RETIRED)
        return err_fold(fx_answer(s, 0, ev->request_id, &done));
    r = step_node(s, n);
    if (r)
        return err_fold(r);
    n->retired = true;
    r = record_node(s, n);
    if (!r)
        r = step_then_node(s, INTENT_RETIRE, n);
    if (!r)
        r = fx_answer(s, step_token(s), ev->request_id, &done);
    return err_fold(r);
}

int retire_go_on(struct step *s, const struct id128 *node, bool ok)
{
    struct node *n = node_find(s->c, node);
    int r;

    if (!n)
        return 0;
    r = step_node(s, n);
    if (r)
        return err_fold(r);
    n->retired = ok || n->state == NODE_RETIRED; /* it may have been asked twice, and written once */
    return ok ? err_fold(node_event(s, n, NODE_EV_RETIRE, &(struct cause){.text = "an operator has retired it"})) : 0;
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
