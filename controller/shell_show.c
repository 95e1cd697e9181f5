/* What the HTTP thread is told: the picture of the cluster, no older than SHELL_VIEW_MS. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "controller/shell_state.h"

void shell_note_send(struct shell *s, struct front_note *note)
{
    int r = front_send(s->front, note);

    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "controller.http_behind", r, "effect=note_dropped");
}

struct front_note *shell_note_new(struct shell *s, enum front_note_kind kind)
{
    struct front_note *n = calloc(1, sizeof(*n));

    if (!n) {
        shell_give_up(s, "note", -ENOMEM);
        return NULL;
    }
    n->kind = kind;
    n->wall_ms = clock_wall_ms();
    return n;
}

static void send_backends(struct shell *s)
{
    struct front_note *n;

    if (!discovery_changed(s->discovery) || !(n = shell_note_new(s, FRONT_NOTE_BACKENDS)))
        return;
    if (discovery_snapshot(s->discovery, &n->backends) < 0)
        front_note_destroy(&n);
    else
        shell_note_send(s, n);
}

static void take_counts(struct shell *s)
{
    struct link_counts n = link_counts(s->link);

    s->counters.messages_malformed = n.malformed;
    s->counters.messages_unknown = n.unknown;
    s->counters.links_refused = n.refused;
}

void shell_show(struct shell *s)
{
    CLEANUP(front_note_destroy) struct front_note *n = shell_note_new(s, FRONT_NOTE_VIEW);
    int r = n ? cluster_view(s->cluster, clock_now_ms(), n->wall_ms, &n->view) : -ENOMEM;

    if (r < 0) { /* the old picture stands a little longer */
        log_failure(LOG_LEVEL_WARN, "controller.view", r, "effect=stale");
        return;
    }
    s->stale = false;
    event_del(s->show);
    take_counts(s);
    n->control = s->counters;
    n->door = s->door;
    discovery_view(s->discovery, n->view);
    snapshots_show(s->snapshots, n->view);
    if (s->needs_api_key && !n->view->n_api_keys)
        return; /* nobody is asked for a key that does not count yet, so nobody is answered */
    shell_note_send(s, n);
    n = NULL;
    send_backends(s);
}

void shell_on_show(evutil_socket_t fd, short what, void *ctx)
{
    struct shell *s = ctx;

    (void)fd;
    (void)what;
    if (s->stale)
        shell_show(s);
}

void shell_mark_stale(struct shell *s)
{
    struct timeval tv = {.tv_usec = SHELL_VIEW_MS * 1000};

    s->stale = true;
    if (!event_pending(s->show, EV_TIMEOUT, NULL))
        event_add(s->show, &tv);
}
