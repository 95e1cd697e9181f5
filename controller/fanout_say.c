#include "controller/fanout_say.h"

#include <stdio.h>

/* Where it was when its time was up. */
static void say_where(const struct view *v, const char *model, const struct fanout_voice_course *c, char *buf,
                      size_t size)
{
    const struct view_instance *in = view_find_instance(v, model);

    if (c->asked_ms == UINT64_MAX)
        snprintf(buf, size, "it had not been asked yet");
    else if (c->first_ms != UINT64_MAX)
        snprintf(buf, size, "it was in the midst of its answer");
    else if (c->sent_ms != UINT64_MAX)
        snprintf(buf, size, "its prompt was still being computed");
    else if (in && in->state == INSTANCE_LOADING)
        snprintf(buf, size, "its model is loading (%u %%)", in->progress_permille / 10);
    else if (in && in->state != INSTANCE_READY)
        snprintf(buf, size, "its model is %s", instance_state_name(in->state));
    else
        snprintf(buf, size, "it waited for a slot");
}

static void say_late(const char *whose, uint64_t limit_ms, const char *where, struct gateway_refusal *ret)
{
    *ret = (struct gateway_refusal){.status = 504};
    snprintf(ret->text, sizeof(ret->text), "no answer within the %g s that %s: %s", (double)limit_ms / 1000, whose,
             where);
}

void fanout_say(const struct view *v, const struct fanout_request *r, const struct fanout_voice_course *c, size_t voice,
                struct gateway_refusal *ret)
{
    char where[128];

    switch (c->why) {
    case FANOUT_WHY_ITSELF:
        return;
    case FANOUT_WHY_LATE:
        say_where(v, r->voice[voice].model, c, where, sizeof(where));
        say_late("it has", r->voice[voice].timeout_ms, where, ret);
        return;
    case FANOUT_WHY_ALL_LATE:
        say_where(v, r->voice[voice].model, c, where, sizeof(where));
        say_late("all have", r->timeout_ms, where, ret);
        return;
    case FANOUT_WHY_NOBODY:
        *ret =
            (struct gateway_refusal){.status = 502, .text = "no member has answered: there is nothing to put together"};
        return;
    }
}
