/* Those who ask for what nobody has deployed: the gateway's part in starting it, and models.conf. */
#ifndef CARAVAN_TESTS_SIM_ASKER_H
#define CARAVAN_TESTS_SIM_ASKER_H

#include "controller/core/served.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

enum { ASKER_SECTIONS = 4, ASKER_NAMES = 7, ASKER_ENSURES_MAX = 600 };

/* What models.conf says; one list for all. */
const struct served *asker_sections(void);

void asker_begin(struct world *w);
void asker_end(struct world *w);

/* For a.lasts_ms, once a second or so. */
void asker_do(struct world *w, const struct action *a);
/* All is healed: one name is asked for until the end. */
void asker_healed(struct world *w);
const char *asker_last(const struct world *w); /* NULL: none is */
void asker_stop_everything(struct world *w);

#endif
