/* People: who deploys, stops and drains; and the gateway with those who ask a model. */
#ifndef CARAVAN_TESTS_SIM_USER_H
#define CARAVAN_TESTS_SIM_USER_H

#include "controller/core/cluster.h"
#include "tests/sim/llama.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

enum { USER_WISHES_MAX = 1024, USER_REQUESTS_MAX = 64, USER_NAMES = 4, USER_TOLD = 32 };

/* An order that was given: answered exactly once, unless the controller went away. */
struct wish {
    enum action_kind kind;
    int name; /* index of user_names */
    uint32_t leader_life;
    unsigned n_answers;
    bool accepted;
    uint64_t task;
};

/* A request that the gateway has passed on. */
struct passage {
    struct request request;
    bool used;
    struct id128 instance;
    uint64_t epoch;
};

struct users {
    uint64_t n_wishes; /* ids from 1 */
    struct wish wish[USER_WISHES_MAX];
    struct passage passage[USER_REQUESTS_MAX];
    uint64_t asking_until_ms[USER_NAMES];
    bool poisoned[USER_NAMES]; /* the next request is */
    struct told {
        struct id128 instance;
        uint64_t epoch;
        struct cluster_traffic traffic;
    } told[USER_TOLD]; /* what the leader was told last */
};

extern const char *const user_names[USER_NAMES]; /* aliases; the first one is the model's own name */

void user_begin(struct world *w);
void user_end(struct world *w);
void user_do(struct world *w, const struct action *a);
/* Somebody who follows what happens, and gives the order that suits it least, at once. Not once all is healed. */
void user_sees(struct world *w, const struct cluster_transition *t);
/* Somebody who changes his mind in one breath: stop and deploy, drain and undrain. Not once all is healed. */
void user_hurries(struct world *w);
void user_stop_everything(struct world *w);
void user_leader_gone(struct world *w);
/* A request for that name. False: nothing serves it. */
bool user_asks(struct world *w, const char *name);
/* Of that epoch's, at the gateway. */
uint32_t user_in_flight(const struct world *w, const struct id128 *instance, uint64_t epoch);
/* An order that is to be answered once. ev: its request_id and new_instance are filled in. False: it could not be given. */
bool user_orders(struct world *w, struct cluster_ev *ev, enum action_kind kind);

#endif
