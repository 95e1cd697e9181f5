/* Private to admission*.c: what is known of an instance as a place that requests are sent to. Epochs only grow; one that is
 * over stays so. */
#ifndef CARAVAN_CONTROLLER_CORE_ADMISSION_UNIT_H
#define CARAVAN_CONTROLLER_CORE_ADMISSION_UNIT_H

#include "controller/core/admission.h"

struct admission_unit {
    struct id128 instance;
    uint64_t epoch; /* the newest heard of */
    uint64_t over;  /* this one and all before */
    bool serving;   /* its epoch is ready and not over */
    bool listed;    /* in the newest view */
    char addr[PROTO_ADDR_MAX];
    uint16_t port;
    char key[PROTO_KEY_MAX];
    uint64_t doubt_ms; /* nothing is sent before */

    size_t n_sent;
    size_t n_overtime;             /* of these: suspects whose turn was over before they were answered */
    struct admission_ticket *turn; /* the suspect that is to be alone now */
    uint64_t turn_ms;              /* until then */
    uint64_t quiet_ms;             /* since then new requests are held back for a suspect; 0: they are not */
    uint64_t moved_ms;             /* when a request last got on here */
    uint64_t aborted;              /* the last epoch that ended under a request */
    bool aborted_alone;            /* under one only */
    /* scratch of one look at the queue */
    struct admission_ticket *next_suspect;
    bool let_others;

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
/* May anything be sent there at all? */
bool admission_unit_open(const struct admission_unit *u, uint64_t now_ms);
/* Is nobody in flight who could be to blame, should it abort now? */
bool admission_unit_quiet(const struct admission_unit *u);
/* kind: told soon, at most once a second, but for UPSTREAM_POISON. */
void admission_unit_say(struct admission_unit *u, enum cluster_upstream kind, uint64_t epoch, uint64_t now_ms);
bool admission_unit_next_word(struct admission_unit *u, uint64_t now_ms, struct admission_word *ret);
/* When there is something to be told; UINT64_MAX: never. */
uint64_t admission_unit_word_due_ms(const struct admission_unit *u);

#endif
