#include "agent/carrier/streams.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/carrier/feeding.h"
#include "agent/carrier/stream.h"
#include "agent/carrier/tally.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "common/seldom.h"
#include "common/socket_reset.h"

/* Where streams go to: a rank's worker, or the coordinator. */
struct place {
    int32_t rank; /* -1: the coordinator, to which HTTP passes */
    struct stream_goal goal;
    size_t n, max; /* streams */
    struct rank_flow ended;
    struct seldom unreached, refused;
};

struct entry {
    struct entry *next, **at;
    struct streams *set;
    struct place *place;
    struct stream *stream;
};

struct streams {
    struct event_base *base;
    const struct identity *own;
    struct entry *first, **end; /* the oldest first */
    size_t n_open, n_routes;
    struct place route[PROTO_RANKS_MAX], worker, coordinator;
    struct feeding_files *feed; /* NULL: there are none */
    struct streams_counts counts;
};

/* ---- one of them -------------------------------------------------------------------------------------------------- */

/* NULL: no room, or no memory. */
static struct entry *entry_add(struct streams *set, struct place *place)
{
    struct entry *e = place->n < place->max ? malloc(sizeof(*e)) : NULL;
    uint64_t n;

    if (e) {
        *e = (struct entry){.set = set, .place = place, .at = set->end};
        *set->end = e;
        set->end = &e->next;
        set->n_open++;
        place->n++;
        return e;
    }
    set->counts.n_without_room++;
    n = seldom_count(&place->refused, clock_now_ms());
    if (n)
        log_warn("stream.refused", "rank=%" PRId32 " text=\"no room for another one\" n_open=%zu n=%" PRIu64,
                 place->rank, place->n, n);
    return NULL;
}

static void entry_drop(struct entry *e)
{
    struct rpc_figures fig;

    if (e->stream) {
        stream_figures(e->stream, clock_now_ms(), &fig);
        tally_passed(&e->place->ended, &fig);
    }
    stream_destroy(&e->stream);
    e->place->n--;
    e->set->n_open--;
    *e->at = e->next;
    if (e->next)
        e->next->at = e->at;
    else
        e->set->end = e->at;
    free(e);
}

static void say_unreached(struct place *place, const struct stream_ending *how)
{
    uint64_t n = seldom_count(&place->unreached, clock_now_ms());

    if (n)
        log_warn("stream.unreached", "rank=%" PRId32 " addr=%s port=%u text=%s verdict=%s n=%" PRIu64, place->rank,
                 place->goal.addr, place->goal.port, LOG_STR(strerrordesc_np(how->error)),
                 how->error == EACCES ? tunnel_verdict_name(how->verdict) : "none", n);
}

/* That a client of a gateway leaves is nothing to tell. */
static enum log_level level_of(const struct entry *e, enum relay_end end)
{
    if (end == RELAY_DONE || (end == RELAY_RESET && e->place->rank < 0))
        return LOG_LEVEL_DEBUG;
    return end == RELAY_RESET ? LOG_LEVEL_INFO : LOG_LEVEL_WARN;
}

static void say_ended(const struct entry *e, const struct stream_ending *how)
{
    struct rpc_figures fig;

    stream_figures(e->stream, clock_now_ms(), &fig);
    log_line(level_of(e, how->end), "stream.ended",
             "rank=%" PRId32 " end=%s error=%s request_bytes=%" PRIu64 " answer_bytes=%" PRIu64 " fed_bytes=%" PRIu64,
             e->place->rank, relay_end_name(how->end), how->error ? strerrorname_np(how->error) : "0",
             fig.request.n_bytes, fig.answer.n_bytes, fig.n_fed_bytes);
}

static void on_stands(void *ctx)
{
    const struct entry *e = ctx;

    e->set->counts.n_dialled += e->place->goal.peer != NULL;
    log_debug("stream.stands", "rank=%" PRId32 " addr=%s port=%u n_open=%zu", e->place->rank, e->place->goal.addr,
              e->place->goal.port, e->place->n);
}

static void on_ended(void *ctx, const struct stream_ending *how)
{
    struct entry *e = ctx;

    if (how->stood) {
        e->set->counts.n_forged += how->end == RELAY_FORGED;
        e->set->counts.n_cut += how->end == RELAY_CUT;
        say_ended(e, how);
    } else {
        e->set->counts.n_unreached++;
        say_unreached(e->place, how);
    }
    entry_drop(e);
}

static struct stream_calls calls_of(struct entry *e)
{
    return (struct stream_calls){.stands = on_stands, .ended = on_ended, .ctx = e};
}

/* ---- new ones ----------------------------------------------------------------------------------------------------- */

static struct place *place_of(struct streams *set, const struct tunnel_claim *claim)
{
    return claim->direction == TUNNEL_TO_RANK ? &set->worker : &set->coordinator;
}

bool streams_have_room(struct streams *set, const struct tunnel_claim *claim)
{
    const struct place *place = place_of(set, claim);

    return place->n < place->max;
}

void streams_add_far(struct streams *set, const struct tunnel_claim *claim, struct tunnel_end *far)
{
    struct place *place = place_of(set, claim);
    struct entry *e = entry_add(set, place);
    struct stream_calls calls = calls_of(e);
    int r;

    if (!e) {
        tunnel_end_clear(far);
        return;
    }
    r = stream_from_far(set->base, &place->goal, far, &calls, &e->stream);
    if (r < 0)
        on_ended(e, &(struct stream_ending){.error = -r});
}

void streams_add_near(struct streams *set, size_t route, int near)
{
    struct place *place = &set->route[route];
    struct entry *e = entry_add(set, place);
    struct stream_calls calls = calls_of(e);
    int r;

    if (!e) {
        socket_hang_up(&near);
        return;
    }
    r = stream_from_near(set->base, set->own, &place->goal, near, &calls, &e->stream);
    if (r < 0)
        on_ended(e, &(struct stream_ending){.error = -r});
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

static struct place make_place(const struct carrier_conf *conf, int32_t rank, const char *addr, uint16_t port,
                               size_t max)
{
    struct place p = {.rank = rank, .goal = {.port = port, .is_rpc = rank >= 0}, .max = max};

    snprintf(p.goal.addr, sizeof(p.goal.addr), "%s", addr);
    p.goal.claim = (struct tunnel_claim){.instance = conf->instance,
                                         .epoch = conf->epoch,
                                         .rank = rank < 0 ? 0 : (uint32_t)rank,
                                         .direction = TUNNEL_TO_RANK};
    p.ended = (struct rank_flow){
        .instance = conf->instance, .epoch = conf->epoch, .rank = p.goal.claim.rank, .at_worker = true};
    return p;
}

static void make_route(struct place *p, const struct carrier_conf *conf, const struct conf_route *r)
{
    *p = make_place(conf, r->rank, r->addr, r->port, STREAMS_PER_RANK);
    p->goal.peer = r->tunnel ? r->peer : NULL;
    p->ended.at_worker = !r->tunnel;
}

int streams_new(struct event_base *base, const struct carrier_conf *conf, const struct identity *own,
                struct streams **ret)
{
    CLEANUP(streams_destroy) struct streams *set = calloc(1, sizeof(*set));
    int r;

    if (!set)
        return err_raise(-ENOMEM);
    r = conf->n_files ? feeding_files_new(conf->file, conf->n_files, conf->index_dir, &set->feed) : 0;
    if (r < 0)
        return err_pass(r);
    set->base = base;
    set->own = own;
    set->end = &set->first;
    set->n_routes = conf->n_routes;
    for (size_t i = 0; i < conf->n_routes; i++)
        make_route(&set->route[i], conf, &conf->route[i]);
    set->worker = make_place(conf, conf->rank, "127.0.0.1", conf->worker_port, conf->rank >= 0 ? STREAMS_PER_RANK : 0);
    set->worker.goal.feed = set->feed;
    set->coordinator =
        make_place(conf, -1, "127.0.0.1", conf->coordinator_port, conf->coordinator_port ? STREAMS_TO_COORDINATOR : 0);
    *ret = set;
    set = NULL;
    return 0;
}

void streams_destroy(struct streams **s)
{
    if (!*s)
        return;
    while ((*s)->first)
        entry_drop((*s)->first);
    feeding_files_destroy(&(*s)->feed);
    free(*s);
    *s = NULL;
}

size_t streams_open(const struct streams *s)
{
    return s->n_open;
}

void streams_counts(const struct streams *s, struct streams_counts *ret)
{
    *ret = s->counts;
}

static void flow_of(const struct streams *set, const struct place *place, uint64_t now_ms, struct rank_flow *ret)
{
    struct rpc_figures fig;

    *ret = place->ended;
    for (const struct entry *e = set->first; e; e = e->next) {
        if (e->place != place)
            continue;
        stream_figures(e->stream, now_ms, &fig);
        tally_open(ret, &fig);
    }
}

size_t streams_flows(const struct streams *s, uint64_t now_ms, struct rank_flow ret[STREAMS_RANKS_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_routes; i++)
        flow_of(s, &s->route[i], now_ms, &ret[n++]);
    if (s->worker.rank >= 0)
        flow_of(s, &s->worker, now_ms, &ret[n++]);
    return n;
}
