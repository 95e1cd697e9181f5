/* Where a filter stands in a relay: between what has come from far and what goes out to near.
 *
 * BACK judges what it has read piece by piece, and reads no more before all is judged and out. While something is inserted
 * it goes by the turns of the loop, a piece in each, so that the rest of the process keeps its share. The answer goes out on
 * OUT between two reads of near; until it lies in OUT's buffer BACK stands still, so there is never a second one. */
#include <assert.h>
#include <event2/event.h>
#include <string.h>

#include "common/relay_private.h"

void relay_filter_take(struct way *w)
{
    struct relay *r = w->relay;

    r->plain = w->ready;
    r->plain_end = w->ready_end;
    w->ready_end = w->ready;
}

static bool is_busy(const struct way *w)
{
    return w->ready < w->ready_end;
}

static enum relay_next wait_turn(struct way *w)
{
    event_del(w->on_readable);
    return relay_wait_for(w, w->on_writable) ? RELAY_WAIT : RELAY_GONE;
}

void relay_filter_turn(struct way *w)
{
    struct relay *r = w->relay;

    if (!r->inserting || is_busy(w))
        return;
    w->ready_in = r->inserted;
    w->ready = 0;
    w->ready_end = r->calls.filter.read(r->calls.filter.ctx, r->inserted, r->inserted_size);
    r->is_last = w->ready_end < r->inserted_size;
    relay_tell_came(w, r->inserted, w->ready_end);
}

static enum relay_next judge(struct way *w)
{
    struct relay *r = w->relay;

    while (r->plain < r->plain_end || (w->ending && !r->end_judged)) {
        enum relay_verdict verdict = RELAY_PASS;
        size_t at = r->plain, n = r->plain_end - at;
        size_t n_used = r->calls.filter.judge(r->calls.filter.ctx, w->buf + at, n, &verdict);

        assert(n_used <= n && !n_used == !n);
        r->end_judged = !n;
        r->plain += n_used;
        if (verdict == RELAY_INSERT) {
            r->inserting = true;
            r->is_last = false;
            return wait_turn(w);
        }
        if (verdict == RELAY_PASS && n_used) {
            w->ready_in = w->buf;
            w->ready = at;
            w->ready_end = r->plain;
            relay_tell_came(w, w->buf + at, n_used);
            return RELAY_SEND;
        }
    }
    return RELAY_READ;
}

/* All that was inserted is out. OUT is woken if it has nothing to do, and read no more, so that the answer comes before
 * whatever near says from now on. Behind its end there is nobody to answer to. False: the relay has ended. */
static bool insertion_ends(struct relay *r)
{
    struct way *out = &r->way[RELAY_OUT];

    r->inserting = false;
    r->n_answer = r->calls.filter.answer(r->calls.filter.ctx, r->answer);
    assert(r->n_answer <= RELAY_ANSWER_MAX);
    if (out->over)
        r->n_answer = 0;
    if (!r->n_answer || is_busy(out))
        return true;
    event_del(out->on_readable);
    return relay_wait_for(out, out->on_writable);
}

static enum relay_next next_back(struct way *w)
{
    struct relay *r = w->relay;

    if (r->inserting && !r->is_last)
        return wait_turn(w);
    if (r->inserting && !insertion_ends(r))
        return RELAY_GONE;
    if (r->n_answer) {
        event_del(w->on_readable);
        return RELAY_WAIT;
    }
    return judge(w);
}

static enum relay_next next_out(struct way *w)
{
    struct relay *r = w->relay;
    size_t n = r->n_answer;

    if (!n)
        return RELAY_READ;
    r->n_answer = 0;
    if (!relay_wait_for(&r->way[RELAY_BACK], r->way[RELAY_BACK].on_writable))
        return RELAY_GONE;
    if (w->ending) /* its end is out already */
        return RELAY_READ;
    memcpy(w->buf + relay_head_bytes(w), r->answer, n);
    w->untold = true;
    return relay_make_ready(w, SEAL_DATA, n) ? RELAY_SEND : RELAY_GONE;
}

enum relay_next relay_filter_next(struct way *w)
{
    return w->direction == RELAY_BACK ? next_back(w) : next_out(w);
}
