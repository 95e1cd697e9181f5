/* How long a node works at a start before it says itself that nothing came of it, and how much longer whoever asked waits for
 * that: a leader that gives up first never hears why. */
#ifndef CARAVAN_COMMON_CORE_PATIENCE_H
#define CARAVAN_COMMON_CORE_PATIENCE_H

enum {
    PATIENCE_START_MS = 15000,                   /* agent: a process that was started, and does not answer */
    PATIENCE_CARRIED_MS = 2 * PATIENCE_START_MS, /* agent: one that begins only when another one has answered */
    PATIENCE_WAY_MS = 5000 /* leader: for the question and the answer, either of which may have to be sent again */
};

#endif
