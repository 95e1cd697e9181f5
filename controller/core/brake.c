/* It only ever holds back: what answers is served, started and recovered as usual, and so is what fails on evidence. */
#include "controller/core/brake.h"

#include <inttypes.h>
#include <string.h>

#include "common/core/err.h"
#include "common/core/text.h"
#include "controller/core/effects.h"
#include "controller/core/knocks.h"
#include "controller/core/restore.h"

enum { WINDOW_MS = 10000 };

bool brake_is_on(const struct cluster *c)
{
    return c->brake.on;
}

bool brake_overruled(const struct cluster *c)
{
    return c->brake.overruled;
}

bool brake_carrier(const struct cluster *c)
{
    return !c->brake.has_host || c->brake.host.carrier;
}

bool brake_deaf(const struct cluster *c)
{
    return !brake_carrier(c) && !c->brake.overruled;
}

/* ---- whose machine ---------------------------------------------------------------------------------------------- */

static bool is_loopback(const char *addr)
{
    return !strncmp(addr, "127.", 4) || !strcmp(addr, "::1");
}

static bool is_ours(const struct brake *b, const char *addr)
{
    for (size_t k = 0; k < b->host.n_addrs; k++) {
        if (!strcmp(b->host.addr[k], addr))
            return true;
    }
    return false;
}

bool brake_own_host(const struct cluster *c, const struct node *n)
{
    if (is_loopback(n->peer_addr) || is_ours(&c->brake, n->peer_addr))
        return true;
    for (size_t k = 0; k < n->hello.n_addrs; k++) {
        if (is_ours(&c->brake, n->hello.addr[k]))
            return true;
    }
    return false;
}

/* ---- how many --------------------------------------------------------------------------------------------------- */

struct census {
    size_t answering, silent; /* nodes of other hosts; silent: since `from` */
};

static struct census count(const struct cluster *c, uint64_t from_ms)
{
    struct census sum = {0};

    for (size_t k = 0; k < c->nodes.n; k++) {
        const struct node *n = CLUSTER_NODE(c, k);

        if (brake_own_host(c, n))
            continue;
        switch (n->state) {
        case NODE_READY:
        case NODE_DRAINING:
            sum.answering++;
            break;
        case NODE_STUCK: /* its machine is there, and the network to it, for as long as it answers knocks */
            sum.answering += !knocks_unanswered(n);
            break;
        case NODE_SUSPECT:
        case NODE_LOST:
        case NODE_EVICTED:
            sum.silent += n->silent_since_ms >= from_ms;
            break;
        case NODE_UNKNOWN:
        case NODE_JOINING:
        case NODE_DRAINED:
        case NODE_RETIRED:
            break;
        }
    }
    return sum;
}

/* ---- on and off ------------------------------------------------------------------------------------------------- */

static int change(struct step *s, bool on, const char *event, const char *text)
{
    struct cluster_transition t = {
        .machine = "brake", .from = on ? "off" : "on", .to = on ? "on" : "off", .event = event};
    struct brake *b = &s->c->brake;
    int r = journal_change(&s->journal, b, sizeof(*b));

    if (r)
        return err_fold(r);
    b->on = on;
    b->judged_ms = s->now_ms;
    b->since_wall_ms = s->wall_ms;
    b->hold_ms = b->look_ms = on ? s->now_ms + s->c->config.brake_hold_ms : UINT64_MAX;
    b->known_ms = 0;
    text_format(b->text, sizeof(b->text), "%s", on ? text : "");
    text_format(t.id, sizeof(t.id), "%s", s->c->config.name);
    s->changed = true;
    return err_fold(fx_verdict(s, &t, GO, NULL, &(struct cause){.text = text}, NULL));
}

static int put_on(struct step *s, uint64_t from_ms, const char *event, const char *text)
{
    int r = change(s, true, event, text);

    if (r)
        return err_fold(r);
    s->c->brake.from_ms = from_ms;
    return 0;
}

/* Silence counts again: whoever is silent is asked once more. */
static int lift(struct step *s, const char *event, const char *text)
{
    int r = change(s, false, event, text);

    for (size_t k = 0; !r && k < s->c->nodes.n; k++) {
        struct node *n = CLUSTER_NODE(s->c, k);

        if (n->state != NODE_SUSPECT)
            continue;
        r = step_node(s, n);
        if (r)
            return err_fold(r);
        n->knock.unanswered = 0;
        r = knocks_begin(s, n);
    }
    return err_fold(r);
}

/* Somebody has gone silent, or our own link has. */
static int consider(struct step *s)
{
    const struct brake *b = &s->c->brake;
    uint64_t from_ms = s->now_ms > WINDOW_MS ? s->now_ms - WINDOW_MS : 0;
    struct census sum;
    char text[160];

    from_ms = from_ms > b->judged_ms ? from_ms : b->judged_ms + 1;
    sum = count(s->c, from_ms);
    if (b->on || b->overruled)
        return 0;
    if (!brake_carrier(s->c) && (sum.answering + sum.silent || restore_undecided(s->c)))
        return err_fold(
            put_on(s, from_ms, "no_carrier",
                   "this controller's own network link is down, so nobody is called lost for being silent"));
    if (sum.silent < 2 || sum.silent <= sum.answering)
        return 0;
    text_format(text, sizeof(text),
                "%zu of %zu nodes on other machines went silent within %d s, so none of them is called lost for that",
                sum.silent, sum.silent + sum.answering, WINDOW_MS / 1000);
    return err_fold(put_on(s, from_ms, "mass_loss", text));
}

int brake_silent(struct step *s)
{
    return err_fold(consider(s));
}

int brake_review(struct step *s)
{
    const struct brake *b = &s->c->brake;
    struct census sum;

    if (!b->on || !brake_carrier(s->c) || s->now_ms < b->known_ms)
        return 0;
    sum = count(s->c, b->from_ms);
    if (!sum.silent && !sum.answering)
        return err_fold(lift(s, "nobody_silent", "no node on another machine has gone silent"));
    if (!sum.silent || sum.answering > sum.silent)
        return err_fold(lift(s, "majority_back", "most nodes on other machines answer"));
    if (s->now_ms >= b->hold_ms && sum.answering)
        return err_fold(lift(s, "hold_over", "the others have had their time to come back"));
    return 0;
}

/* ---- what is heard ---------------------------------------------------------------------------------------------- */

int brake_host(struct step *s, const struct cluster_ev *ev)
{
    struct brake *b = &s->c->brake;
    bool was_up = brake_carrier(s->c);
    int r = journal_change(&s->journal, b, sizeof(*b));

    if (r)
        return err_fold(r);
    b->host = *ev->host;
    b->has_host = true;
    s->changed = true;
    if (!b->host.carrier)
        return err_fold(consider(s));
    b->overruled = false;
    if (!was_up) {
        r = restore_wait_on(s);
        if (r)
            return err_fold(r);
    }
    if (b->on && !was_up) { /* only now can they come back, and only those who are heard now have */
        b->hold_ms = s->now_ms + s->c->config.brake_hold_ms;
        b->known_ms = b->look_ms = s->now_ms + s->c->config.silent_ms;
    }
    return err_fold(brake_review(s));
}

int brake_lift(struct step *s, const struct cluster_ev *ev)
{
    const struct cluster_answer done = {.accepted = true, .text = "silence counts again"};
    int r;

    if (!s->c->brake.on)
        return err_fold(fx_refuse(s, ev->request_id, "not_braking", "the brake is not on"));
    r = lift(s, "operator", "an operator says that it is over");
    if (r)
        return err_fold(r);
    s->c->brake.overruled = !brake_carrier(s->c);
    return err_fold(fx_answer(s, 0, ev->request_id, &done));
}

int brake_tick(struct step *s)
{
    struct brake *b = &s->c->brake;
    int r;

    if (!b->on || s->now_ms < b->look_ms)
        return 0;
    r = journal_change(&s->journal, b, sizeof(*b));
    if (r)
        return err_fold(r);
    b->look_ms = s->now_ms < b->hold_ms ? b->hold_ms : UINT64_MAX;
    return err_fold(brake_review(s));
}

uint64_t brake_due_ms(const struct cluster *c)
{
    return c->brake.on ? c->brake.look_ms : UINT64_MAX;
}
