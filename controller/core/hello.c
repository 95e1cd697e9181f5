#include "controller/core/hello.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/access.h"
#include "controller/core/effects.h"
#include "controller/core/knocks.h"
#include "controller/core/neighbours.h"
#include "controller/core/nodes.h"
#include "controller/core/sentence.h"

enum { PLACE_MAX = PROTO_ADDR_MAX + PROTO_NAME_MAX + 16 };

static bool is_key_of(const struct node *n, const char *key)
{
    return !n->key[0] || !strcmp(n->key, key);
}

/* By its messages: a machine that has just booted answers knocks before it says hello. */
static bool still_reports(const struct node *n, const struct cluster *c, uint64_t now_ms)
{
    return n->state != NODE_SUSPECT && !node_gone(c, &n->id, now_ms) && now_ms - n->heard_ms < c->config.silent_ms;
}

/* Where somebody speaks from: of who is carried only his own word is known. */
static void name_place(const struct cluster *c, const char *peer_addr, const struct hello *h, const struct id128 *via,
                       char *buf, size_t size)
{
    const struct node *carrier = via ? node_find(c, via) : NULL;

    text_format(buf, size, "%s", peer_addr[0] ? peer_addr : h->n_addrs ? h->addr[0] : "an unknown address");
    if (carrier)
        sentence_add(buf, size, " by way of %s", carrier->hello.name);
}

static void name_duplicate(const struct cluster *c, const struct node *n, const char *other, char *why, size_t size)
{
    char first[PLACE_MAX];

    name_place(c, n->peer_addr, &n->hello, &n->via, first, sizeof(first));
    text_format(why, size,
                "duplicate_identity: %s and %s use the same key at the same time; remove the state directory of the "
                "copy",
                first, other);
}

static void name_duplicate_hello(const struct cluster *c, const struct node *n, const struct cluster_ev *ev,
                                 const struct node *carrier, char *why, size_t size)
{
    char second[PLACE_MAX];

    name_place(c, ev->peer_addr, &ev->message->hello, carrier ? &carrier->id : NULL, second, sizeof(second));
    name_duplicate(c, n, second, why, size);
}

/* Whether a hello must be refused; why: the sentence, then. n: who has this id already, or NULL. */
static bool hello_is_bad(const struct step *s, const struct node *n, const struct cluster_ev *ev,
                         const struct node *carrier, char *why, size_t size)
{
    const struct message *m = ev->message;
    const struct hello *h = &m->hello;
    const struct cluster *c = s->c;

    if (m->version_major != PROTOCOL_MAJOR)
        text_format(why, size,
                    "it speaks protocol %" PRIu32 ", this controller %d: install the same version of Caravan on both",
                    m->version_major, (int)PROTOCOL_MAJOR);
    else if (!id128_is_zero(&m->cluster) && !id128_equal(&m->cluster, &c->config.cluster))
        text_format(why, size, "it belongs to cluster %s, this is %s: remove it there first", ID128_SHORT(&m->cluster),
                    ID128_SHORT(&c->config.cluster));
    else if (!id128_equal(&h->node, &ev->node))
        text_format(why, size, "its id %s does not follow from its key", ID128_SHORT(&h->node));
    else if (access_bars_hello(c, ev->key, carrier))
        text_format(why, size, "%s", access_bars_hello(c, ev->key, carrier));
    else if (n && carrier && !is_key_of(n, ev->key))
        text_format(why, size, "its id %s is another node's", ID128_SHORT(&h->node));
    else if (n && n->joined && is_key_of(n, ev->key) && strcmp(n->hello.boot_id, h->boot_id) != 0 &&
             still_reports(n, c, s->now_ms) && (carrier || id128_is_zero(&n->via)))
        name_duplicate_hello(c, n, ev, carrier, why, size);
    else if (!n && c->nodes.n >= CLUSTER_NODES_MAX)
        text_format(why, size, "there are %d nodes already, which is as many as a cluster may have",
                    (int)CLUSTER_NODES_MAX);
    else if (n && node_cell(n->state, NODE_EV_HELLO)->verdict == REFUSE)
        text_format(why, size, "%s", node_cell(n->state, NODE_EV_HELLO)->sentence);
    else
        return false;
    return true;
}

/* addr, carrier: the way to whom it is meant for; a copy has the same key on another one. */
static int send_welcome(struct step *s, const char *key, const char *addr, const struct node *carrier,
                        const char *refused)
{
    CLEANUP(message_destroy) struct message *m = message_to(s, MESSAGE_WELCOME);
    const struct cluster_config *config = &s->c->config;

    if (!m)
        return err_raise(-ENOMEM);
    m->welcome.controller = config->controller;
    text_format(m->welcome.name, sizeof(m->welcome.name), "%s", config->name);
    text_format(m->welcome.version, sizeof(m->welcome.version), "%s", CARAVAN_VERSION);
    m->welcome.open = config->trust_open;
    text_format(m->welcome.refused, sizeof(m->welcome.refused), "%s", refused);
    return err_fold(carrier ? fx_relay(s, carrier, key, &m) : fx_send(s, key, addr, &m));
}

int hello_dismiss(struct step *s, const struct node *n, const char *why)
{
    return err_fold(send_welcome(s, n->key, "", NULL, why));
}

static int node_add(struct step *s, const struct cluster_ev *ev, struct node **ret)
{
    struct node *n = calloc(1, sizeof(*n));
    int r;

    if (!n)
        return err_raise(-ENOMEM);
    n->id = ev->node;
    n->state = NODE_UNKNOWN;
    knocks_end(n);
    r = journal_add(&s->journal, &s->c->nodes, node_index(s->c, &ev->node), n, node_free);
    if (r)
        return err_fold(r);
    *ret = n;
    return 0;
}

/* Both are kept: a name is a name tag, the key says who it is. */
static const struct node *namesake(const struct cluster *c, const struct node *n)
{
    for (size_t i = 0; i < c->nodes.n; i++) {
        const struct node *other = CLUSTER_NODE(c, i);

        if (other != n && other->joined && !strcmp(other->hello.name, n->hello.name))
            return other;
    }
    return NULL;
}

static int refuse_hello(struct step *s, struct node *n, const struct cluster_ev *ev, const struct node *carrier,
                        const char *why)
{
    const struct cause cause = {.code = "bad_hello", .text = why};
    int r;

    r = n ? node_event(s, n, NODE_EV_BAD_HELLO, &cause)
          : node_refuse_stranger(s, ev->message->hello.name, NODE_EV_BAD_HELLO, &cause);
    if (r)
        return err_fold(r);
    return err_fold(send_welcome(s, ev->key, ev->peer_addr, carrier, why));
}

/* The link that greeted last speaks for it. One that it greeted on before it went another way is still its own: what is
 * carried may come late, when the node speaks there again and has no reason for another hello. */
static void take_link(struct node *n, const struct cluster_ev *ev, const struct node *carrier)
{
    bool same_boot = n->joined && !strcmp(n->hello.boot_id, ev->message->hello.boot_id);

    if (n->joined && !same_boot)
        memcpy(n->former_addr, n->peer_addr, sizeof(n->former_addr));
    if (!carrier || !same_boot)
        text_format(n->peer_addr, sizeof(n->peer_addr), "%s", ev->peer_addr);
}

static void take_hello(struct step *s, struct node *n, const struct cluster_ev *ev, const struct node *carrier)
{
    take_link(n, ev, carrier);
    text_format(n->key, sizeof(n->key), "%s", ev->key); /* by its own link it is the id's: a carried claim gives way */
    n->hello = ev->message->hello;
    if (!n->hello.name[0])
        id128_short(&n->id, n->hello.name);
    n->last_seen_ms = n->heard_ms = s->now_ms;
    n->joined_wall_ms = s->wall_ms;
    n->joined = true;
    n->complete = false;
    n->n_unknown_fields += ev->message->n_unknown;
    s->changed = true;
    n->neighbours.told = false;
    node_set_carrier(s, n, carrier);
}

int hello_heard(struct step *s, const struct cluster_ev *ev, const struct node *carrier)
{
    struct node *n = node_find(s->c, &ev->node);
    char why[PROTO_TEXT_MAX] = "";
    struct peer_facts before, after;
    const struct node *other;
    int r;

    if (hello_is_bad(s, n, ev, carrier, why, sizeof(why)))
        return err_fold(refuse_hello(s, n, ev, carrier, why));
    r = n ? step_node(s, n) : node_add(s, ev, &n);
    if (r)
        return err_fold(r);
    node_peer(n, &before);
    take_hello(s, n, ev, carrier);
    if (node_peer(n, &after) && !peer_same_place(&before, &after)) {
        r = neighbours_moved(s, n);
        if (r)
            return err_fold(r);
    }
    other = namesake(s->c, n);
    if (other)
        text_format(why, sizeof(why), "node %s has the same name", ID128_SHORT(&other->id));
    r = node_event(s, n, NODE_EV_HELLO, &(struct cause){.text = why});
    if (r)
        return err_fold(r);
    return err_fold(send_welcome(s, ev->key, ev->peer_addr, carrier, ""));
}

int hello_missed(struct step *s, struct node *n, const struct cluster_ev *ev)
{
    char why[PROTO_TEXT_MAX];

    if (!n->former_addr[0] || strcmp(n->former_addr, ev->peer_addr) != 0 || strcmp(n->key, ev->key) != 0)
        return step_late(s);
    name_duplicate(s->c, n, ev->peer_addr, why, sizeof(why));
    return err_fold(refuse_hello(s, n, ev, NULL, why));
}
