#include "agent/core/hang_watch.h"

static bool may_be_hung(const struct agent_unit_sample *s)
{
    return s->has_sockets && s->unread_bytes && s->proc_state != 'D' && !s->devices_busy && !s->retransmits;
}

static bool nothing_moved(const struct hang_watch *w, const struct agent_unit_sample *s, uint64_t now_ms)
{
    return w->running && now_ms - w->sampled_ms <= HANG_GAP_MS && s->cpu_ms == w->cpu_ms &&
           s->unread_bytes >= w->unread_bytes;
}

uint64_t hang_watch_sample(struct hang_watch *w, const struct agent_unit_sample *s, uint64_t now_ms)
{
    if (!may_be_hung(s)) {
        hang_watch_restart(w);
        return 0;
    }
    if (!nothing_moved(w, s, now_ms))
        w->since_ms = now_ms;
    w->running = true;
    w->sampled_ms = now_ms;
    w->unread_bytes = s->unread_bytes;
    w->cpu_ms = s->cpu_ms;
    return now_ms - w->since_ms;
}

uint64_t hang_watch_stopped(struct hang_watch *w, char proc_state, uint64_t now_ms)
{
    if (proc_state != 'T') {
        hang_watch_restart(w);
        return 0;
    }
    if (!w->running || now_ms - w->sampled_ms > HANG_GAP_MS)
        w->since_ms = now_ms;
    w->running = true;
    w->sampled_ms = now_ms;
    return now_ms - w->since_ms;
}

void hang_watch_restart(struct hang_watch *w)
{
    w->running = false;
}
