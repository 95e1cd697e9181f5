/* Does an instance hang though its processes live? P1 accuses one rank by its unread bytes, and a carrier by its being
 * stopped, idle or not; P2 the whole instance by its standing still under a request; P3 one rank by the command that it does
 * not answer. Source: design, "The rank tunnel"; detection, sections 2 and 3. */
#ifndef CARAVAN_CONTROLLER_CORE_HANG_H
#define CARAVAN_CONTROLLER_CORE_HANG_H

#include "controller/core/state.h"

enum {
    HANG_MS = 10000, /* of standing still */
    HANG_EARLY_MS =
        100, /* so much sooner may the tenth sample be taken: they come each second, not to the millisecond */
    HANG_SAMPLE_MS = 1000, /* CPU times are precise to 10 ms */
    HANG_HTTP_MS =
        2000 /* a coordinator that does not answer for so long is stopped: in a mere hang of a rank it answers */
};

/* Its processes are there to be watched. */
bool hang_watches(const struct instance *i);

/* P1 of ranks and carriers, by what their nodes have said last, and P3 of the ranks of which carriers have just told. The caller has said
 * step_instance. 0, -ENOMEM. */
int hang_check_ranks(struct step *s, struct instance *i);

/* Once a second: P2, and whoever is late. 0, -ENOMEM. */
int hang_sample(struct step *s, struct instance *i);

/* Every clock stands at 0 again: a node was silent, or a machine was suspended. 0, -ENOMEM. */
int hang_restart(struct step *s, struct instance *i);

/* Our own machine was suspended: the same, and what was in flight then is not expected to end. 0, -ENOMEM. */
int hang_cut_off(struct step *s, struct instance *i);

/* The gateway's word. The caller has said step_instance. */
void hang_traffic(struct step *s, struct instance *i, const struct cluster_traffic *traffic);

/* No token came for long, and this rank computes. */
bool hang_is_slow(const struct instance *i, size_t rank, uint64_t now_ms);
/* For how long it has read nothing, as its node says; 0 where that is not known. */
uint64_t hang_frozen_ms(const struct cluster *c, const struct instance *i, size_t rank);

#endif
