/* All that will be done to a cluster, written down before it begins: so that a story can be told again with parts of it
 * left out, and still be the same story where those parts did not matter. */
#ifndef CARAVAN_TESTS_SIM_SCENARIO_H
#define CARAVAN_TESTS_SIM_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SCENARIO_ACTIONS_MAX = 160,
    SCENARIO_QUIET_MS = 60000, /* after which all must be ready again */
    SCENARIO_BRAKE_MS = 65000, /* the brake must have lifted by then */
    SCENARIO_STOP_MS = 25000
};

enum action_kind {
    /* what people do */
    ACTION_DEPLOY,
    ACTION_STOP,
    ACTION_DRAIN,
    ACTION_UNDRAIN,
    ACTION_RETIRE,
    ACTION_LIFT_BRAKE,
    ACTION_REQUESTS, /* somebody asks a model, again and again for a while */
    ACTION_DEMAND,   /* the same of one that a request may start: asker.h */
    /* what goes wrong with processes */
    ACTION_KILL,
    ACTION_FREEZE,
    ACTION_SLOW,
    ACTION_POISON,
    ACTION_ANSWERS_500,
    ACTION_PORT_TAKEN,
    ACTION_SPAWN_FAILS,
    ACTION_STILLBORN, /* the next ones that start end at once */
    ACTION_CARRIER_KILLED,
    ACTION_CARRIER_FROZEN,
    ACTION_WORKER_FROZEN, /* one that has a client */
    /* with agents and the controller */
    ACTION_AGENT_CRASH,
    ACTION_AGENT_CRASH_MIDWAY, /* between two effects of a step */
    ACTION_AGENT_FREEZE,
    ACTION_AGENTS_CRASH, /* all of them */
    ACTION_LEADER_CRASH,
    ACTION_LEADER_CRASH_MIDWAY,
    ACTION_LEADER_FREEZE,
    ACTION_TRANSPORT, /* somebody sets the other rank_transport, everywhere, and all are started anew one by one */
    /* with machines */
    ACTION_POWER_CUT,
    ACTION_SUSPEND,
    ACTION_MEMORY_SHRINKS,
    ACTION_DISK_FULL,
    ACTION_STORE_FAILS,
    ACTION_STORE_SLOW,
    ACTION_CLOCK_JUMP,
    /* with the network */
    ACTION_CUT, /* between two */
    ACTION_CUT_ONE_WAY,
    ACTION_CABLE,    /* one machine from all others */
    ACTION_SPLIT,    /* some from the rest */
    ACTION_LINK_OUT, /* any of the three, for less than anybody waits before he evicts */
    ACTION_DELAY,
    ACTION_LOSS,
    ACTION_DUPLICATE,
    ACTION_REORDER,
    /* what nobody should send */
    ACTION_COPY_OF_NODE,     /* the same key from another machine */
    ACTION_HELLO_AGAIN,      /* the same node says hello twice */
    ACTION_LATE_WORDS,       /* of a node, and long on their way: it may be gone by now */
    ACTION_STRANGER_REPORTS, /* a report of somebody who never joined */
    ACTION_BAD_COMMANDS,     /* of instances and epochs that are not */
    ACTION_ODD_EVENTS,       /* process events out of turn */
    ACTION_N
};

enum { SPAWN_ALL_FAIL = 3 /* SPAWN_FAILS: not only the next ones */ };

/* LATE_WORDS: a hello, half a report or a whole one; 0: the hello, and one of the others later. */
enum late_words { LATE_HELLO = 1, LATE_HALF, LATE_WHOLE, LATE_WORDS_N };

struct action {
    uint64_t at_ms;
    enum action_kind kind;
    int host, other;      /* whom it is done to; 0: the leader's machine */
    uint64_t lasts_ms, n; /* how long, how much */
    bool dropped;         /* while a story is made short */
};

enum { SCENARIO_MODELS = 4, SCENARIO_NAMES = 4 };

struct scenario {
    uint64_t seed; /* of what happens in it by chance */
    size_t n_hosts;
    bool shared_machine;   /* the controller lives on node 1's machine */
    bool odd;              /* now and then every event out of turn is raised */
    bool lives_on;         /* a coordinator whose rank has died answers 500 for ever (newer llama.cpp) */
    bool skips;            /* a coordinator may pass over a rank that it cannot reach, and say nothing */
    bool deaf;             /* now and then a process starts and never says a word */
    bool keys;             /* trust = keys: nodes join by tokens */
    bool tunnel;           /* rank_transport, of the controller and all nodes but one */
    bool blind;            /* no agent can read the queues of its workers' sockets */
    bool asks;             /* requests may start models; models.conf says of some what becomes of them then */
    bool calm;             /* links go out and come back, processes freeze; nothing else is wrong */
    int differs;           /* the node with the other transport; 0: none */
    uint32_t gpu_permille; /* nodes with a GPU */
    uint32_t load_mib_s;
    uint64_t evict_after_ms;
    uint64_t heal_ms;
    uint32_t delay_ms; /* of a message, at most, on a good day */
    size_t n;
    struct action action[SCENARIO_ACTIONS_MAX]; /* in order of time */
};

enum scenario_transport { SCENARIO_ANY, SCENARIO_DIRECT, SCENARIO_TUNNEL };

/* n_hosts: 0 lets the seed choose. */
void scenario_make(struct scenario *s, uint64_t seed, size_t n_hosts, enum scenario_transport transport);
const char *action_name(enum action_kind k);

#endif
