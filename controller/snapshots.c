#include "controller/snapshots.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "controller/api_json.h"
#include "controller/json_fields.h"

struct snapshots {
    void (*send)(void *ctx, const char *key, struct message *m);
    void *ctx;
    uint32_t round_ms;
    struct event *next;
    struct view *view;   /* the newest */
    struct id128 last;   /* who was sent to last; the next one by id follows */
    struct message made; /* of kind SNAPSHOT; empty where the last try gave none */
    uint64_t tried_ms;   /* when that was */
    bool newest;         /* and it was of the newest view */
    bool too_large_told;
    size_t n_newest; /* nodes in a row that were sent the newest view */
};

/* ---- the picture ---- */

static char *dump(json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

    json_decref(j);
    return text;
}

/* A list that is too long goes without its plans, and then not at all. */
static char *dump_instances(const struct view *v)
{
    char *text = dump(api_json_instances(v));

    if (!text || strlen(text) <= PROTO_SNAPSHOT_MAX)
        return text;
    free(text);
    return dump(api_json_instances_brief(v));
}

static bool fits(struct snapshots *s, const struct snapshot *made)
{
    bool fit = made->n_nodes_bytes <= PROTO_SNAPSHOT_MAX && made->n_instances_bytes <= PROTO_SNAPSHOT_MAX;

    if (!fit && !s->too_large_told)
        log_warn("snapshot.too_large", "nodes=%zu instances=%zu max=%d effect=%s", made->n_nodes_bytes,
                 made->n_instances_bytes, (int)PROTO_SNAPSHOT_MAX,
                 LOG_STR("agents answer with an older picture while no controller can be reached"));
    s->too_large_told = !fit;
    return fit;
}

/* Anew once a round at most. Returns whether there is one to send. */
static bool make(struct snapshots *s)
{
    struct snapshot *made = &s->made.snapshot;
    const struct view *v = s->view;
    uint64_t now_ms = clock_now_ms();

    if (s->tried_ms && now_ms - s->tried_ms < s->round_ms)
        return made->nodes;
    message_clear(&s->made);
    s->made.kind = MESSAGE_SNAPSHOT;
    s->tried_ms = now_ms;
    s->newest = true;
    made->made_wall_ms = v->made_wall_ms;
    made->nodes = dump(api_json_nodes(v, v->made_wall_ms));
    made->instances = dump_instances(v);
    made->n_nodes_bytes = made->nodes ? strlen(made->nodes) : 0;
    made->n_instances_bytes = made->instances ? strlen(made->instances) : 0;
    if (made->nodes && made->instances && fits(s, made))
        return true;
    message_clear(&s->made);
    return false;
}

/* ---- whose turn it is ---- */

/* A picture goes by the node's own link alone. */
static bool hears(const struct view_node *n)
{
    return view_node_answers(n) && n->joined && !n->via[0];
}

/* The one after `last` by id, from the beginning again after the highest. NULL: nobody hears. */
static const struct view_node *next_node(const struct view *v, const struct id128 *last, size_t *ret_n)
{
    const struct view_node *after = NULL, *lowest = NULL;

    *ret_n = 0;
    for (size_t i = 0; i < v->n_nodes; i++) {
        const struct view_node *n = &v->node[i];

        if (!hears(n))
            continue;
        (*ret_n)++;
        if (!lowest || id128_compare(&n->id, &lowest->id) < 0)
            lowest = n;
        if (id128_compare(&n->id, last) > 0 && (!after || id128_compare(&n->id, &after->id) < 0))
            after = n;
    }
    return after ? after : lowest;
}

static void arm(struct snapshots *s, size_t n)
{
    uint64_t ms = s->round_ms / (!n ? 1 : n < SNAPSHOTS_NODES ? n : SNAPSHOTS_NODES);
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    event_add(s->next, &tv);
}

static void on_next(evutil_socket_t fd, short what, void *ctx)
{
    struct snapshots *s = ctx;
    const struct view_node *n;
    size_t n_hearing = 0;

    (void)fd;
    (void)what;
    n = next_node(s->view, &s->last, &n_hearing);
    if (s->n_newest >= n_hearing) /* all have it; snapshots_show arms the timer again */
        return;
    arm(s, n_hearing);
    s->last = n->id;
    if (make(s))
        s->send(s->ctx, n->key, &s->made);
    s->n_newest = s->newest ? s->n_newest + 1 : 0;
}

/* ---- life ---- */

int snapshots_new(struct event_base *base, uint32_t round_ms,
                  void (*send)(void *ctx, const char *key, struct message *m), void *ctx, struct snapshots **ret)
{
    CLEANUP(snapshots_destroy) struct snapshots *s = calloc(1, sizeof(*s));

    if (!s)
        return err_raise(-ENOMEM);
    s->round_ms = round_ms;
    s->send = send;
    s->ctx = ctx;
    s->made.kind = MESSAGE_SNAPSHOT;
    s->next = evtimer_new(base, on_next, s);
    if (!s->next)
        return err_raise(-ENOMEM);
    *ret = s;
    s = NULL;
    return 0;
}

void snapshots_destroy(struct snapshots **s)
{
    if (!*s)
        return;
    if ((*s)->next)
        event_free((*s)->next);
    message_clear(&(*s)->made);
    view_unref(&(*s)->view);
    free(*s);
    *s = NULL;
}

void snapshots_show(struct snapshots *s, struct view *v)
{
    size_t n_hearing;

    view_unref(&s->view);
    s->view = view_ref(v);
    s->newest = false;
    s->n_newest = 0;
    if (event_pending(s->next, EV_TIMEOUT, NULL))
        return;
    next_node(v, &s->last, &n_hearing);
    arm(s, n_hearing);
}
