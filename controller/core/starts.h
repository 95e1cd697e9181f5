/* Instances begin: those of a name that are not there yet, by one task. */
#ifndef CARAVAN_CONTROLLER_CORE_STARTS_H
#define CARAVAN_CONTROLLER_CORE_STARTS_H

#include "controller/core/state.h"

struct start {
    uint64_t request_id; /* whom to answer; 0: nobody waits */
    const struct place_request *request;
    const struct plan *plan; /* NULL: places freely */
    struct id128 id;         /* of the first one; those of the others follow from it */
    bool demand;             /* a request begins it */
    bool failed;             /* only those of its replicas that have failed, and not just now */
    struct task *task;       /* pending; NULL: a new one */
};

/* The name that requests use. Borrowed of r. */
const char *starts_name(const struct place_request *r);

/* What can be said against it before anything is begun. NULL: nothing; else the code, and the sentence in why. */
const char *starts_objection(const struct step *s, const struct start *st, char *why, size_t size);

/* Both return 0 or -ENOMEM. */

/* There is no objection. Ends in one answer. */
int starts_begin(struct step *s, const struct start *st);
/* Accepted, by that task, once it is durable. */
int starts_answer(struct step *s, uint64_t request_id, const struct task *t, bool attached);

#endif
