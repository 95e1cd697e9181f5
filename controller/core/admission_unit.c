#include "controller/core/admission_unit.h"

#include <string.h>

#include "controller/core/admission_state.h"

/* ---- what the leader says ---- */

static bool serves(const struct view_instance *in)
{
    return (in->state == INSTANCE_READY || in->state == INSTANCE_DRAINING) && in->coordinator_port;
}

static bool is_ended(const struct view_instance *in)
{
    return in->state == INSTANCE_STOPPING || in->state == INSTANCE_STOPPED || in->state == INSTANCE_FAILED;
}

static bool end_epoch(struct admission_unit *u, uint64_t epoch)
{
    if (epoch <= u->over)
        return false;
    u->over = epoch;
    u->serving = u->serving && u->epoch > epoch;
    return true;
}

bool admission_unit_learn(struct admission_unit *u, const struct view_instance *in)
{
    bool ended = false;

    u->listed = true;
    if (in->epoch < u->epoch)
        return false;
    u->stopped = u->live && !in->leaving && (in->state == INSTANCE_STOPPING || in->state == INSTANCE_STOPPED);
    u->live = !is_ended(in) && !in->leaving;
    u->ready = in->state == INSTANCE_READY;
    u->leaving = in->leaving;
    u->keepable = in->leaving && !is_ended(in);
    u->failed = in->state == INSTANCE_FAILED;
    u->slots = in->plan && in->plan->slots ? in->plan->slots : 1;
    if (in->epoch > u->epoch) {
        ended = end_epoch(u, in->epoch - 1);
        u->epoch = in->epoch;
        u->doubt_ms = 0;
    }
    if (u->epoch <= u->over)
        return ended;
    /* One that never served here may still become ready: a leader that has just started shows it as recovering until its
     * nodes confirm it. */
    if (is_ended(in) || (u->serving && !serves(in)))
        return end_epoch(u, u->epoch) || ended;
    u->serving = serves(in);
    memcpy(u->addr, in->coordinator_addr, sizeof(u->addr));
    u->port = in->coordinator_port;
    memcpy(u->key, in->coordinator_key, sizeof(u->key));
    return ended;
}

/* A state that is waited in, for room or for its turn, is no step. */
static unsigned how_far(const struct view_instance *in)
{
    switch (in->state) {
    case INSTANCE_LEASING:
        return 1;
    case INSTANCE_STARTING:
        return 2;
    case INSTANCE_LOADING:
        return 3 + (in->progress_permille < 1000 ? in->progress_permille : 1000);
    case INSTANCE_READY:
    case INSTANCE_DRAINING:
        return 3 + 1000 + 1;
    case INSTANCE_REQUESTED:
    case INSTANCE_PLACING:
    case INSTANCE_WAITING:
    case INSTANCE_RECOVERING:
    case INSTANCE_STOPPING:
    case INSTANCE_STOPPED:
    case INSTANCE_FAILED:
        break;
    }
    return 0;
}

bool admission_unit_grew(struct admission_unit *u, const struct view_instance *in)
{
    unsigned far = how_far(in);
    bool grew = far && (in->epoch > u->far_epoch || (in->epoch == u->far_epoch && far > u->far));

    if (!grew)
        return false;
    u->far_epoch = in->epoch;
    u->far = far;
    return true;
}

bool admission_unit_vanish(struct admission_unit *u)
{
    u->live = u->keepable = u->failed = false;
    return end_epoch(u, u->epoch);
}

bool admission_unit_open(const struct admission_unit *u, uint64_t now_ms)
{
    return u->serving && now_ms >= u->doubt_ms;
}

bool admission_unit_takes(const struct admission_unit *u)
{
    return u->serving && !u->leaving && (u->ready || !u->line->n_ready);
}

size_t admission_unit_cap(const struct admission_unit *u)
{
    size_t n_takers = u->line->n_ready ? u->line->n_ready : u->line->n_serving;
    size_t cap = (size_t)u->slots + (n_takers == 1);

    return cap < ADMISSION_IN_FLIGHT_MAX ? cap : ADMISSION_IN_FLIGHT_MAX;
}

bool admission_unit_lighter(const struct admission_unit *u, const struct admission_unit *than)
{
    return (uint64_t)u->n_sent * than->slots < (uint64_t)than->n_sent * u->slots;
}

bool admission_unit_quiet(const struct admission_unit *u)
{
    return u->n_sent == u->n_overtime;
}

/* ---- what the leader is told ---- */

void admission_unit_say(struct admission_unit *u, enum cluster_upstream kind, uint64_t epoch, uint64_t now_ms)
{
    struct admission_unit_word *w = &u->word[kind];

    if (kind != UPSTREAM_POISON && w->at_ms && now_ms < w->at_ms + ADMISSION_TRAFFIC_MS)
        return;
    w->epoch = epoch;
    w->at_ms = now_ms;
}

uint64_t admission_unit_word_due_ms(const struct admission_unit *u)
{
    bool changed = u->traffic.in_flight != u->told.in_flight || u->traffic.progress != u->told.progress ||
                   (u->traffic.in_flight && u->traffic_epoch != u->told_epoch);

    for (size_t k = 0; k <= UPSTREAM_POISON; k++)
        if (u->word[k].epoch)
            return 0;
    if (!changed)
        return UINT64_MAX;
    if (!u->told_ms)
        return 0;
    return u->told_ms + (!u->traffic.in_flight != !u->told.in_flight || u->traffic_epoch != u->told_epoch
                             ? ADMISSION_TRAFFIC_SOON_MS
                             : ADMISSION_TRAFFIC_MS);
}

bool admission_unit_next_word(struct admission_unit *u, uint64_t now_ms, struct admission_word *ret)
{
    if (admission_unit_word_due_ms(u) > now_ms)
        return false;
    *ret = (struct admission_word){.instance = u->instance};
    for (size_t k = UPSTREAM_POISON; k > 0; k--) {
        if (!u->word[k].epoch)
            continue;
        ret->epoch = u->word[k].epoch;
        ret->kind = ADMISSION_SAYS_UPSTREAM;
        ret->upstream = (enum cluster_upstream)k;
        u->word[k].epoch = 0;
        return true;
    }
    ret->kind = ADMISSION_SAYS_TRAFFIC;
    ret->epoch = u->told_epoch = u->traffic_epoch;
    ret->traffic = u->told = u->traffic;
    u->told_ms = now_ms;
    return true;
}
