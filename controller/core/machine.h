/* What the three machines (node, instance, task) have in common: how a cell of a [state][event] table decides.
 * A zero cell is undecided, and a test fails while one exists. */
#ifndef CARAVAN_CONTROLLER_CORE_MACHINE_H
#define CARAVAN_CONTROLLER_CORE_MACHINE_H

struct id128;

enum verdict {
    UNDECIDED = 0,
    GO,     /* to the state named (which may be the same one), then the action */
    REFUSE, /* nothing changes; who asked is answered, it is counted and audited. Never kills anything */
    IGNORE  /* nothing changes: late, doubled, or true already */
};

/* Why an event is raised, for the person who reads it: a stable word and a sentence; and whose fault it is, so that the
 * next placement can avoid that node. Any may be NULL. */
struct cause {
    const char *code;
    const char *text;
    const struct id128 *node;
};

/* "go", "refuse", "ignore": static. */
const char *verdict_name(enum verdict v);

#endif
