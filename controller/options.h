/* The controller's options: file, environment, argv, --help and the reference page come from this one table. */
#ifndef CARAVAN_CONTROLLER_OPTIONS_H
#define CARAVAN_CONTROLLER_OPTIONS_H

#include "common/options.h"

/* Places in controller_options. */
enum {
    CONTROLLER_OPT_CONFIG,
    CONTROLLER_OPT_NAME,
    CONTROLLER_OPT_STATE_DIR,
    CONTROLLER_OPT_LISTEN,
    CONTROLLER_OPT_PORT,
    CONTROLLER_OPT_HTTP_LISTEN,
    CONTROLLER_OPT_TRUST,
    CONTROLLER_OPT_MODELS_CONF,
    CONTROLLER_OPT_LOG_LEVEL,
    CONTROLLER_OPT_SETTLE,
    CONTROLLER_OPT_SUSPECT_AFTER,
    CONTROLLER_OPT_LOST_AFTER,
    CONTROLLER_OPT_LOAD_STALL,
    CONTROLLER_OPT_WARM_UP,
    CONTROLLER_OPT_TRANSITION_GRACE,
    CONTROLLER_OPT_PRINT_KEY
};

extern const struct option_def controller_options[];

#endif
