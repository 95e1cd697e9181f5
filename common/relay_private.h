/* What common/relay.c, which moves bytes between the sockets, shares with common/relay_filter.c. */
#ifndef CARAVAN_COMMON_RELAY_PRIVATE_H
#define CARAVAN_COMMON_RELAY_PRIVATE_H

#include <stdbool.h>

#include "common/relay.h"

struct event;

/* What a direction does with the bytes of its input. */
enum relay_work { CARRY, SEAL, OPEN };

/* One direction. In its buffer: what goes out, [ready, ready_end), and, of a direction that opens, behind it what is still
 * sealed, [raw, raw_end). Nothing is read while something goes out. */
struct way {
    struct relay *relay;
    enum relay_direction direction;
    enum relay_work work;
    struct seal *seal; /* of the relay; NULL with CARRY */
    int in, out;
    struct event *on_readable, *on_writable;
    uint8_t *buf;
    size_t size;
    const uint8_t *ready_in; /* the bytes below are of: buf, or what a filter inserts */
    size_t ready, ready_end;
    size_t raw, raw_end;
    size_t n_record; /* bytes of the record that raw begins with, as far as they are known */
    size_t n_sealed; /* plain bytes in the record that goes out */
    bool untold;     /* what goes out is a filter's answer */
    bool ending;     /* the input has ended: behind what is ready comes FIN */
    bool over;
};

struct relay {
    struct way way[RELAY_DIRECTIONS];
    struct relay_calls calls;
    int near, far;
    struct seal *seal, *open;
    /* Of the filter. In the buffer of BACK, behind what is ready: what has come and is not judged yet. */
    size_t plain, plain_end;
    bool end_judged;
    bool inserting, is_last; /* what is ready, or was, is the last that is inserted */
    uint8_t *inserted;       /* as large as the data in a buffer */
    size_t inserted_size;
    uint8_t answer[RELAY_ANSWER_MAX];
    size_t n_answer; /* 0: none waits */
};

static inline bool relay_is_filtered(const struct way *w)
{
    return w->direction == RELAY_BACK && w->relay->calls.filter.judge;
}

/* What is to be done with a direction whose ready bytes are all out. */
enum relay_next {
    RELAY_SEND, /* more is ready */
    RELAY_READ, /* go on with its input */
    RELAY_WAIT, /* its event was added, or the other direction will do that */
    RELAY_GONE  /* the relay has ended */
};

/* ---- relay.c ---- */

/* Waits for on_readable or on_writable; costs nothing where that is waited for already. False: the relay has ended. */
bool relay_wait_for(struct way *w, struct event *ev);
/* OUT: ready is a record (or, with CARRY, the bytes) of the n that lie behind the place for its head. False: the relay has
 * ended. */
bool relay_make_ready(struct way *w, enum seal_kind kind, size_t n);
size_t relay_head_bytes(const struct way *w);
void relay_tell_came(struct way *w, const uint8_t *data, size_t n_bytes);

/* ---- relay_filter.c ---- */

/* What has come on BACK is to be judged before it goes out. */
void relay_filter_take(struct way *w);
/* Either direction: nothing is ready any more. */
enum relay_next relay_filter_next(struct way *w);
/* BACK takes bytes again: makes the next of what is inserted ready, if it is that which goes out. */
void relay_filter_turn(struct way *w);

#endif
