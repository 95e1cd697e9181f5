/* Joining, between the token's key, the link by our own, and what is kept of the cluster. */
#include "agent/shell_internal.h"
#include "common/core/err.h"
#include "common/log.h"

static void on_try_own_key(void *ctx)
{
    link_let_go(((struct shell *)ctx)->link);
}

/* A node that has joined before tries its own key first: the token in its configuration is used up as a rule, and of use only
 * where the controllers do not know this node any more. */
int shell_open_join(struct shell *s)
{
    const struct join_callbacks cb = {on_try_own_key, s};
    int r;

    if (!s->ticket->asks)
        return 0;
    r = join_new(s->base, s->ticket, s->identity, s->options->name, &cb, &s->join);
    if (r < 0)
        return err_pass(r);
    if (id128_is_zero(&state_dir_cluster(s->state)->id)) {
        link_hold(s->link);
        join_begin(s->join);
    }
    return 0;
}

bool shell_own_key_denied(struct shell *s)
{
    return s->join && join_own_key_denied(s->join);
}

/* Only now is it known that the cluster is the right one, and worth keeping. */
void shell_welcomed(struct shell *s)
{
    const struct state_cluster *cluster = &s->ticket->cluster;
    int r = 0;

    join_destroy(&s->join);
    if (id128_is_zero(&cluster->id) || state_cluster_same(cluster, state_dir_cluster(s->state)))
        return;
    if (!id128_equal(&cluster->id, link_cluster(s->link))) {
        log_warn("join.other_cluster", "cluster=%s token=%s text=\"welcomed by another cluster than the token's\"",
                 ID128_SHORT(link_cluster(s->link)), ID128_SHORT(&cluster->id));
        return;
    }
    r = state_dir_write_cluster(s->state, cluster);
    if (r < 0)
        log_failure(LOG_LEVEL_ERROR, "join.keep", r,
                    "text=\"where the controllers are could not be kept: after a restart it must be said again\"");
    else
        log_info("join.done", "cluster=%s text=\"this node is in; it needs no token any more\"",
                 ID128_SHORT(&cluster->id));
}
