/* What somebody waits for, in the words of its phase. */
#include <inttypes.h>
#include <stdio.h>

#include "controller/gateway_state.h"

static void say_loading(const struct view_instance *in, char *buf, size_t size)
{
    int n = snprintf(buf, size, "loading %u %%", in->progress_permille / 10);

    if (in->eta_ms != UINT64_MAX && n > 0 && (size_t)n < size)
        snprintf(buf + n, size - (size_t)n, ", about %" PRIu64 " s", in->eta_ms / 1000 + 1);
}

static void say_queued(size_t place, char *buf, size_t size)
{
    if (place)
        snprintf(buf, size, "place %zu in its queue", place);
    else
        snprintf(buf, size, "queued");
}

/* A reason may quote what others have written: it has to stay one line. */
static void flatten(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ')
            *text = ' ';
}

void gateway_say_waiting(const struct view *v, const char *model, size_t place, char *buf, size_t size)
{
    const struct view_instance *in = view_find_instance(v, model);

    if (!in || in->state == INSTANCE_STOPPED || in->state == INSTANCE_STOPPING || in->state == INSTANCE_FAILED)
        snprintf(buf, size, "it is being started");
    else if (in->state == INSTANCE_LOADING)
        say_loading(in, buf, size);
    else if (in->state == INSTANCE_READY || in->state == INSTANCE_DRAINING)
        say_queued(place, buf, size);
    else
        snprintf(buf, size, "%s%s%s", instance_state_name(in->state), *in->reason ? ": " : "", in->reason);
    flatten(buf);
}
