/* Private to admission*.c: what is known of an instance as a place that requests are sent to. Epochs only grow; one that is
 * over stays so. */
#ifndef CARAVAN_CONTROLLER_CORE_ADMISSION_UNIT_H
#define CARAVAN_CONTROLLER_CORE_ADMISSION_UNIT_H

#include "controller/core/admission.h"

struct admission_line;

struct admission_unit {
    struct id128 instance;
    struct admission_line *line; /* of its name */
    uint64_t epoch;              /* the newest heard of */
    uint64_t over;               /* this one and all before */
    bool serving;                /* its epoch is ready and not over */
    bool listed;                 /* in the newest view */
    bool live;                   /* it serves, or may come to it by itself */
    bool ready;                  /* it serves and is not about to hand over to a successor */
    bool leaving;                /* nothing new goes there */
    bool keepable;               /* it leaves, and whoever asks for it may have it stay */
    bool failed;                 /* it does not come back by itself */
    bool stopped;                /* by a person, as the newest view has it for the first time */
    uint32_t slots;              /* at least 1 */
    uint64_t failed_until_ms;    /* so long it is not started anew by a request; 0: it has not failed */
    uint64_t far_epoch;          /* how far it had come on its way to ready */
    unsigned far;
    char addr[PROTO_ADDR_MAX];
    uint16_t port;
    char key[PROTO_KEY_MAX];
    uint64_t doubt_ms; /* nothing is sent before */

    size_t n_sent;
    size_t n_slotless;              /* of these: they take no slot */
    size_t n_overtime;              /* of these: suspects whose turn was over before they were answered */
    struct admission_ticket *turn;  /* the suspect that is to be alone now */
    uint64_t turn_ms;               /* until then */
    uint64_t moved_ms;              /* when a request, or its load, last got on here */
    uint64_t aborted;               /* the last epoch that ended under a request */
    bool aborted_alone;             /* under one only */
    struct admission_line *held_by; /* scratch of one look at the queue: whose suspect is to be alone here */

    struct cluster_traffic traffic, told;
    uint64_t traffic_epoch, told_epoch, told_ms;
    struct admission_unit_word {
        uint64_t epoch; /* 0: none to be told */
        uint64_t at_ms; /* when it was last told */
    } word[UPSTREAM_POISON + 1];
};

/* What a view says of it: whether, with this, an epoch has come to its end. */
bool admission_unit_learn(struct admission_unit *u, const struct view_instance *in);
/* It is no longer shown at all. As admission_unit_learn. */
bool admission_unit_vanish(struct admission_unit *u);
/* Has it come further on its way to ready than at the last look? */
bool admission_unit_grew(struct admission_unit *u, const struct view_instance *in);
/* May anything be sent there at all? */
bool admission_unit_open(const struct admission_unit *u, uint64_t now_ms);
/* Does it take requests of its name? While one is ready, those that hand over to it do not. */
bool admission_unit_takes(const struct admission_unit *u);
/* How many it may have in flight. */
size_t admission_unit_cap(const struct admission_unit *u);
/* Has it fewer requests for its slots than the other? */
bool admission_unit_lighter(const struct admission_unit *u, const struct admission_unit *than);
/* Is nobody in flight who could be to blame, should it abort now? */
bool admission_unit_quiet(const struct admission_unit *u);
/* kind: told soon, at most once a second, but for UPSTREAM_POISON. */
void admission_unit_say(struct admission_unit *u, enum cluster_upstream kind, uint64_t epoch, uint64_t now_ms);
bool admission_unit_next_word(struct admission_unit *u, uint64_t now_ms, struct admission_word *ret);
/* When there is something to be told; UINT64_MAX: never. */
uint64_t admission_unit_word_due_ms(const struct admission_unit *u);

#endif
