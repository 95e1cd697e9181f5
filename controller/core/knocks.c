/* Is a silent node alive? Everybody's answer is one of three, and none is evidence by itself: only a round in which
 * somebody who counts got no answer, twice in a row, makes a node `lost`. */
#include "controller/core/knocks.h"

#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/brake.h"
#include "controller/core/commands.h"
#include "controller/core/effects.h"
#include "controller/core/hearing.h"
#include "controller/core/instances.h"
#include "controller/core/neighbours.h"
#include "controller/core/nodes.h"
#include "controller/core/sentence.h"

enum { ROUNDS = 2 }; /* one knock in a thousand goes unanswered by loss alone: detection, section 4 */

void knocks_end(struct node *n)
{
    n->knock = (struct knock){.due_ms = UINT64_MAX};
}

bool knocks_unanswered(const struct node *n)
{
    return n->knock.unanswered >= ROUNDS;
}

/* ---- a round ---------------------------------------------------------------------------------------------------- */

static void add_knocker(struct knock *k, const struct id128 *node)
{
    k->knocker[k->n_knockers++] = (struct knocker){.node = *node};
}

static bool is_knocker(const struct knock *k, const struct id128 *node)
{
    for (size_t i = 0; i < k->n_knockers; i++) {
        if (id128_equal(&k->knocker[i].node, node))
            return true;
    }
    return false;
}

/* Whose knock n's agent answers, and whom we can ask without it. */
static bool may_witness(const struct node *n, const struct node *witness)
{
    return (witness->state == NODE_READY || witness->state == NODE_DRAINING) && neighbours_are(n, witness) &&
           !id128_equal(&witness->via, &n->id);
}

static bool share_an_instance(const struct cluster *c, const struct node *a, const struct node *b)
{
    size_t member;

    for (size_t k = 0; k < c->instances.n; k++) {
        const struct instance *i = CLUSTER_INSTANCE(c, k);

        if (instance_state_runs(i->state) && run_member(&i->run, &a->id, &member) &&
            run_member(&i->run, &b->id, &member))
            return true;
    }
    return false;
}

/* Those who have rank traffic with it first: it is their link to it that matters. */
static void choose_witnesses(const struct cluster *c, struct node *n)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t k = 0; k < c->nodes.n && n->knock.n_knockers < KNOCKERS_MAX; k++) {
            const struct node *w = CLUSTER_NODE(c, k);

            if (may_witness(n, w) && !is_knocker(&n->knock, &w->id) && (pass || share_an_instance(c, n, w)))
                add_knocker(&n->knock, &w->id);
        }
    }
}

static int ask_all(struct step *s, const struct node *n, const struct peer_facts *at)
{
    const struct knock *k = &n->knock;
    int r = fx_knock(s, at, k->token);

    for (size_t w = 1; !r && w < k->n_knockers; w++)
        r = command_knock(s, node_find(s->c, &k->knocker[w].node), at, k->token);
    return err_fold(r);
}

int knocks_begin(struct step *s, struct node *n)
{
    const struct id128 ourselves = {{0}};
    struct peer_facts at;

    n->knock.token = 0;
    n->knock.n_knockers = 0;
    n->knock.due_ms = nodes_quiet(s) ? s->c->numbers.quiet_ms : s->now_ms + KNOCK_AGAIN_MS;
    if (nodes_quiet(s))
        return 0;
    if (!node_peer(n, &at))
        return 0; /* there is no door: it stays suspect until it speaks */
    n->knock.token = command_new_id(s);
    n->knock.due_ms = s->now_ms + KNOCK_WAIT_MS;
    add_knocker(&n->knock, &ourselves);
    choose_witnesses(s->c, n);
    return err_fold(ask_all(s, n, &at));
}

/* ---- what was found --------------------------------------------------------------------------------------------- */

static size_t count(const struct knock *k, enum knock_outcome found)
{
    size_t n = 0;

    for (size_t i = 0; i < k->n_knockers; i++)
        n += k->knocker[i].found == found;
    return n;
}

/* "neither this controller nor n2 got an answer": a person wants to know who has looked. */
static void name_knockers(const struct cluster *c, const struct knock *k, char *buf, size_t size)
{
    text_format(buf, size, "knocked at twice and not answered, by");
    for (size_t i = 0; i < k->n_knockers; i++) {
        const struct node *w = node_find(c, &k->knocker[i].node);

        if (k->knocker[i].found == KNOCK_UNANSWERED)
            sentence_add(buf, size, " %s", w ? w->hello.name : "this controller");
    }
}

static uint64_t next_ms(const struct node *n, uint64_t now_ms)
{
    switch (n->state) {
    case NODE_SUSPECT:
    case NODE_LOST:
        return now_ms + KNOCK_AGAIN_MS;
    case NODE_STUCK:
        return now_ms + KNOCK_STUCK_MS;
    case NODE_UNKNOWN:
    case NODE_JOINING:
    case NODE_READY:
    case NODE_EVICTED:
    case NODE_DRAINING:
    case NODE_DRAINED:
    case NODE_RETIRED:
        break;
    }
    return UINT64_MAX;
}

static int found_kernel(struct step *s, struct node *n, enum node_event event, const char *text)
{
    n->last_seen_ms = s->now_ms;
    n->knock.unanswered = 0;
    return err_fold(node_event(s, n, event, &(struct cause){.text = text}));
}

static int found_nobody(struct step *s, struct node *n, const struct knock *round)
{
    char text[PROTO_TEXT_MAX];

    if (n->knock.unanswered < ROUNDS)
        n->knock.unanswered++;
    if (n->knock.unanswered < ROUNDS)
        return err_fold(knocks_begin(s, n));
    if (brake_is_on(s->c))
        return err_fold(hear_node_silent(s, n)); /* what fails anyway does not wait for it */
    name_knockers(s->c, round, text, sizeof(text));
    return err_fold(node_event(s, n, NODE_EV_KNOCK_UNANSWERED, &(struct cause){.text = text}));
}

static int judge(struct step *s, struct node *n)
{
    const struct knock round = n->knock;
    int r = 0;

    n->knock.token = 0;
    if (count(&round, KNOCK_ANSWERED))
        r = found_kernel(s, n, NODE_EV_KNOCK_ANSWERED, "it answers a knock, but its reports do not come");
    else if (count(&round, KNOCK_REFUSED))
        r = found_kernel(s, n, NODE_EV_KNOCK_REFUSED, "its machine answers a knock, its agent does not");
    else if (count(&round, KNOCK_UNANSWERED))
        r = found_nobody(s, n, &round);
    else
        n->knock.unanswered = 0; /* nobody could tell */
    if (!r && !n->knock.token)
        n->knock.due_ms = next_ms(n, s->now_ms);
    return err_fold(r);
}

static int take(struct step *s, struct node *n, const struct id128 *knocker, enum knock_outcome found)
{
    int r = step_node(s, n);

    if (r)
        return err_fold(r);
    for (size_t i = 0; i < n->knock.n_knockers; i++) {
        if (id128_equal(&n->knock.knocker[i].node, knocker))
            n->knock.knocker[i].found = found;
    }
    if (found != KNOCK_ANSWERED && count(&n->knock, 0))
        return 0;
    return err_fold(judge(s, n));
}

int knocks_own(struct step *s, const struct cluster_ev *ev)
{
    const struct id128 ourselves = {{0}};
    struct node *n = node_find(s->c, &ev->node);

    if (!n || !n->knock.token || n->knock.token != ev->token)
        return step_late(s);
    if (ev->knock == KNOCK_NO_CARRIER && brake_overruled(s->c))
        return err_fold(take(s, n, &ourselves, KNOCK_UNANSWERED));
    return err_fold(take(s, n, &ourselves, ev->knock));
}

/* A word that is none of ours is no outcome: that witness does not count. */
static enum knock_outcome outcome_of(const struct result *res)
{
    for (enum knock_outcome o = KNOCK_ANSWERED; res->code == RESULT_DONE && o <= KNOCK_NO_CARRIER; o++) {
        if (!strcmp(res->reason, knock_outcome_name(o)))
            return o;
    }
    return KNOCK_NO_CARRIER;
}

int knocks_witness(struct step *s, struct node *witness, const struct message *m)
{
    for (size_t k = 0; m->command_id && k < s->c->nodes.n; k++) {
        struct node *n = CLUSTER_NODE(s->c, k);

        if (n->knock.token == m->command_id && is_knocker(&n->knock, &witness->id))
            return err_fold(take(s, n, &witness->id, outcome_of(&m->result)));
    }
    return step_late(s);
}

/* ---- reasons to knock ------------------------------------------------------------------------------------------- */

/* Not one of another node at the same address. Of who is carried it was silent anyway. */
static bool was_its_link(const struct node *n, const struct cluster_ev *ev)
{
    return ev->peer_addr[0] && !strcmp(n->peer_addr, ev->peer_addr) && id128_is_zero(&n->via) &&
           (id128_is_zero(&ev->node) || id128_equal(&ev->node, &n->id));
}

int knocks_closed(struct step *s, const struct cluster_ev *ev)
{
    const struct cause closed = {.text = "its link was closed"};
    int r;

    if (nodes_quiet(s))
        return 0;
    for (size_t k = 0; k < s->c->nodes.n; k++) {
        struct node *n = CLUSTER_NODE(s->c, k);

        if (!was_its_link(n, ev) || !nodes_listens_for(n))
            continue;
        r = node_event(s, n, NODE_EV_SILENT, &closed);
        if (r)
            return err_fold(r);
    }
    return 0;
}

int knocks_tick(struct step *s)
{
    int r;

    if (nodes_quiet(s))
        return 0;
    for (size_t k = 0; k < s->c->nodes.n; k++) {
        struct node *n = CLUSTER_NODE(s->c, k);

        if (n->knock.due_ms > s->now_ms)
            continue;
        r = step_node(s, n);
        if (!r)
            r = n->knock.token ? judge(s, n) : knocks_begin(s, n);
        if (r)
            return err_fold(r);
    }
    return 0;
}

uint64_t knocks_due_ms(const struct cluster *c)
{
    uint64_t due = UINT64_MAX;

    for (size_t k = 0; k < c->nodes.n; k++) {
        uint64_t at = CLUSTER_NODE(c, k)->knock.due_ms;

        due = at < due ? at : due;
    }
    return due < c->numbers.quiet_ms ? c->numbers.quiet_ms : due;
}
