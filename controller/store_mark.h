/* Private to controller/store*.c: the file PATH-cluster beside a store. It says once and for all whose store belongs there,
 * so that one that is gone is missed and not begun anew; and its lock keeps a second controller away from the store. */
#ifndef CARAVAN_CONTROLLER_STORE_MARK_H
#define CARAVAN_CONTROLLER_STORE_MARK_H

#include "common/core/ids.h"

enum store_mark_state {
    STORE_MARK_NONE = 1, /* there never was a store */
    STORE_MARK_MADE,     /* that of `cluster` */
    STORE_MARK_SPOILT    /* there was one; whose, it does not say */
};

struct store_mark {
    int fd; /* -1: not held */
    enum store_mark_state state;
    struct id128 cluster;
};

#define STORE_MARK_SUFFIX "-cluster"

/* Makes the file where it is missing (NONE) and locks it until store_mark_drop. 0; STORE_E_LOCKED; STORE_E_FULL; negative
 * errno. */
int store_mark_take(const char *path, struct store_mark *ret);
/* On the disk when it returns. 0; STORE_E_FULL; negative errno. */
int store_mark_write(struct store_mark *m, const struct id128 *cluster);
/* For CLEANUP. */
void store_mark_drop(struct store_mark *m);

#endif
