/* The sentences with which a voice of a fan-out is given up. */
#ifndef CARAVAN_CONTROLLER_FANOUT_SAY_H
#define CARAVAN_CONTROLLER_FANOUT_SAY_H

#include "controller/core/fanout_course.h"
#include "controller/core/view.h"
#include "controller/fanout_request.h"
#include "controller/passage.h"

/* Why a voice that has FAILED did, in *ret; left alone where it failed of itself: that was said. */
void fanout_say(const struct view *v, const struct fanout_request *r, const struct fanout_voice_course *c, size_t voice,
                struct gateway_refusal *ret);

#endif
