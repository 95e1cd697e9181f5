/* What controllers are told without asking: every 500 ms what changed, every 10 s and on each new link everything. The
 * beat itself is news: its absence makes a node suspect. */
#include <stdlib.h>
#include <string.h>

#include "agent/core/state.h"
#include "common/core/sat.h"
#include "common/core/text.h"

enum { FROZEN_TOLD_MS = 1000 /* below it is noise, and would put the units into every report */ };

static bool set(uint64_t *to, uint64_t from)
{
    bool changed = *to != from;

    *to = from;
    return changed;
}

static uint64_t frozen_ms(struct unit *u, const struct agent_unit_sample *from, uint64_t now_ms)
{
    uint64_t ms;

    if (u->facts.role == UNIT_COORDINATOR || u->facts.state != UNIT_RUNNING || unit_is_free(u)) {
        hang_watch_restart(&u->hang);
        return 0;
    }
    ms = u->facts.role == UNIT_CARRIER ? hang_watch_stopped(&u->hang, from->proc_state, now_ms)
                                       : hang_watch_sample(&u->hang, from, now_ms);
    return ms < FROZEN_TOLD_MS ? 0 : ms;
}

/* True: there is news. */
static bool take_unit(struct unit *u, const struct agent_unit_sample *from, uint64_t now_ms)
{
    struct unit_facts *f = &u->facts;
    bool changed = f->proc_state != from->proc_state || f->retransmits != from->retransmits ||
                   f->closed_streams != from->closed_streams;

    f->proc_state = from->proc_state;
    f->retransmits = from->retransmits;
    f->closed_streams = from->closed_streams;
    changed |= set(&f->rss_bytes, from->rss_bytes);
    changed |= set(&f->cpu_ms, from->cpu_ms);
    changed |= set(&f->n_decode, from->n_decode);
    changed |= set(&f->http_silent_ms, from->http_silent_ms);
    changed |= set(&f->n_refused, sat_max(f->n_refused, from->n_refused)); /* 0 where it could not be read this time */
    changed |= set(&f->n_unreached, sat_max(f->n_unreached, from->n_unreached));
    changed |= set(&f->frozen_ms, frozen_ms(u, from, now_ms));
    return changed;
}

static void take_units(struct step *st, const struct agent_sample *sample)
{
    for (size_t i = 0; i < sample->n_units; i++) {
        struct unit *u = unit_find(st->s, sample->unit[i].id);

        if (u && take_unit(u, &sample->unit[i], st->now_ms))
            st->s->units_changed = true;
    }
}

/* True: there is news. Of what differs by its padding alone, too: that costs a few bytes. */
static bool take_flows(struct state *s, const struct agent_sample *sample)
{
    size_t n = sample->n_flows < PROTO_FLOWS_MAX ? sample->n_flows : PROTO_FLOWS_MAX;
    bool changed = n != s->n_flows || memcmp(s->flow, sample->flow, n * sizeof(s->flow[0])) != 0;

    s->n_flows = n;
    memcpy(s->flow, sample->flow, n * sizeof(s->flow[0]));
    return changed;
}

static bool same_device(const struct device_facts *a, const struct device_facts *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->description, b->description) == 0 && a->kind == b->kind &&
           a->total_bytes == b->total_bytes && a->free_bytes == b->free_bytes &&
           a->utilization_permille == b->utilization_permille && a->temperature_c == b->temperature_c;
}

static bool devices_unchanged(const struct state *s, const struct agent_sample *sample)
{
    if (s->n_devices != sample->n_devices)
        return false;
    for (size_t i = 0; i < s->n_devices; i++) {
        if (!same_device(&s->device[i], &sample->device[i]))
            return false;
    }
    return true;
}

/* One that is ready, or is so no more, is news: plans speak of it. How far the others are can wait for a full report. */
static void take_indexes(struct state *s, const struct agent_sample *sample)
{
    size_t n = s->n_models < PROTO_MODELS_MAX ? s->n_models : PROTO_MODELS_MAX;

    for (size_t i = 0; i < n && sample->n_models == s->n_models; i++) {
        uint16_t *was = &s->index_permille[i], is = sample->index_permille[i];

        s->models_untold |= (*was == 1000) != (is == 1000);
        s->models_told_once |= *was != is;
        *was = is;
    }
}

void report_on_sample(struct step *st, const struct agent_sample *sample)
{
    struct state *s = st->s;

    s->devices_changed = s->devices_changed || !devices_unchanged(s, sample);
    s->n_devices = sample->n_devices < PROTO_DEVICES_MAX ? sample->n_devices : PROTO_DEVICES_MAX;
    memcpy(s->device, sample->device, s->n_devices * sizeof(s->device[0]));
    s->load_permille = sample->load_permille;
    s->uptime_ms = sample->uptime_ms;
    s->host_total_bytes = sample->host_total_bytes;
    s->host_free_bytes = sample->host_free_bytes;
    s->freed_bytes = 0;
    s->have_sample = true;
    take_units(st, sample);
    if (take_flows(s, sample))
        s->units_changed = true;
    take_indexes(s, sample);
}

static void tell_resumed(struct step *st)
{
    struct message *m;

    if (!st->s->resumed_untold || !route_is_open(st->s))
        return;
    m = route_send(st, MESSAGE_EVENT);
    if (!m)
        return;
    m->event->kind = AGENT_EVENT_RESUMED;
    text_copy(m->event->text, sizeof(m->event->text), "This machine was suspended.");
    st->s->resumed_untold = false;
}

void report_on_resumed(struct step *st)
{
    st->s->resumed_untold = true;
    st->s->units_changed = true;
    tell_resumed(st);
}

void report_on_link_up(struct step *st)
{
    st->s->models_untold = true;
    st->s->next_report_ms = st->s->next_full_ms = st->now_ms;
    report_if_due(st);
    tell_resumed(st);
    for (size_t i = 0; i < st->s->n_units; i++)
        unit_tell_again(st, &st->s->unit[i]);
}

static bool copy_models(struct report *r, const struct state *s)
{
    size_t n = s->n_models < PROTO_MODELS_MAX ? s->n_models : PROTO_MODELS_MAX;

    r->has_models = true;
    if (!n)
        return true;
    r->model = calloc(n, sizeof(*r->model));
    if (!r->model)
        return false;
    for (; r->n_models < n; r->n_models++) {
        struct model_facts *to = &r->model[r->n_models];

        *to = s->model[r->n_models];
        to->index_permille = s->index_permille[r->n_models];
        if (!to->shape)
            continue;
        to->shape = model_shape_copy(to->shape);
        if (!to->shape)
            return false;
    }
    return true;
}

/* At once, and once more with the next full report: they may be megabytes, so not with each, but the only telling may be
 * dropped on its way (a queue that is full, a neighbour that has carried enough for us), and then nothing would fit here
 * until the next link. */
static void tell_models(struct step *st, struct report *r)
{
    struct state *s = st->s;

    if (!s->models_untold && !(s->models_told_once && r->full))
        return;
    if (!copy_models(r, s))
        effects_fail(&st->fx);
    s->models_told_once = s->models_untold;
    s->models_untold = false;
}

/* One before 1.5 would refuse a report with more, and that is the node's beat. */
static size_t flows_told(const struct state *s)
{
    bool is_old = s->route.minor < PROTO_FLOWS_MORE_MINOR && s->n_flows > PROTO_FLOWS_OLD_MAX;

    return is_old ? PROTO_FLOWS_OLD_MAX : s->n_flows;
}

static void fill(struct report *r, const struct step *st)
{
    const struct state *s = st->s;

    r->uptime_ms = s->uptime_ms;
    r->load_permille = s->load_permille;
    r->memory_limit_bytes = st->config->memory_limit_bytes;
    r->host_total_bytes = s->host_total_bytes;
    r->host_free_bytes = s->host_free_bytes;
    r->n_leases = s->leases.n;
    memcpy(r->lease, s->leases.lease, s->leases.n * sizeof(r->lease[0]));
    if (r->has_devices) {
        r->n_devices = s->n_devices;
        memcpy(r->device, s->device, s->n_devices * sizeof(r->device[0]));
    }
    if (r->has_units) {
        r->n_units = s->n_units;
        for (size_t i = 0; i < s->n_units; i++)
            r->unit[i] = s->unit[i].facts;
        r->n_flows = flows_told(s);
        memcpy(r->flow, s->flow, r->n_flows * sizeof(r->flow[0]));
    }
}

uint64_t report_due_ms(const struct state *s)
{
    return route_is_open(s) && s->have_sample ? s->next_report_ms : UINT64_MAX;
}

/* Nothing before the first sample: a node that reports no memory would be placed around. */
void report_if_due(struct step *st)
{
    struct state *s = st->s;
    struct message *m;

    if (st->now_ms < report_due_ms(s))
        return;
    m = route_send(st, MESSAGE_REPORT);
    if (!m)
        return;
    m->report->full = st->now_ms >= s->next_full_ms;
    m->report->has_devices = m->report->full || s->devices_changed;
    m->report->has_units = m->report->full || s->units_changed;
    tell_models(st, m->report);
    fill(m->report, st);
    s->next_report_ms = st->now_ms + AGENT_REPORT_MS;
    if (m->report->full)
        s->next_full_ms = st->now_ms + AGENT_FULL_REPORT_MS;
    s->devices_changed = s->units_changed = false;
}
