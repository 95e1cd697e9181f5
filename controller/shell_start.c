/* How the control loop comes to be and ends: the store is read, the core told of it, then the doors open. */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/parse.h"
#include "common/log.h"
#include "controller/record.h"
#include "controller/shell_state.h"

static void on_row(void *ctx, const struct store_record *row)
{
    char why[PROTO_TEXT_MAX];
    struct shell *s = ctx;
    void *grown;
    int r;

    if (s->restore_failure)
        return;
    grown = realloc(s->restored, (s->n_restored + 1) * sizeof(s->restored[0]));
    if (!grown) {
        s->restore_failure = -ENOMEM;
        return;
    }
    s->restored = grown;
    r = record_from_store(row, &s->restored[s->n_restored], why, sizeof(why));
    if (r == 0) {
        s->n_restored++;
    } else if (r != RECORD_E_IGNORED) {
        s->restore_failure = r;
        snprintf(s->restore_why, sizeof(s->restore_why), "its %.15s record %.63s cannot be read: %s", row->kind,
                 row->key, r < 0 ? "out of memory" : why);
    }
}

static void drop_restored(struct shell *s)
{
    for (size_t i = 0; i < s->n_restored; i++)
        record_clear(&s->restored[i]);
    free(s->restored);
    s->restored = NULL;
    s->n_restored = 0;
}

/* The file is whole, and what it says is not what we write. */
static int damaged(const char *state_dir, const char *what, char *why, size_t why_size)
{
    char path[PROTO_PATH_MAX];

    snprintf(path, sizeof(path), "%s/" STORE_FILE, state_dir);
    store_say_damaged(path, what, why, why_size);
    return SHELL_E_START;
}

static int open_store(struct shell *s, const char *state_dir, char *why, size_t why_size)
{
    const struct store_callbacks cb = {.committed = shell_on_committed, .ctx = s};
    char path[PROTO_PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/" STORE_FILE, state_dir) >= (int)sizeof(path)) {
        snprintf(why, why_size, "state_dir is too long");
        return SHELL_E_START;
    }
    if (store_open(s->base, path, &cb, on_row, s, &s->store, why, why_size))
        return SHELL_E_START; /* a negative errno too: why names the file and what to do */
    if (s->restore_failure < 0)
        return err_raise(s->restore_failure);
    return s->restore_failure ? damaged(state_dir, s->restore_why, why, why_size) : 0;
}

/* A value of the store, made on first use. */
static int keep_meta(struct shell *s, const char *key, const char *fresh, char *buf, size_t size)
{
    int r = store_meta_get(s->store, key, buf, size);

    if (r == 0)
        return 0;
    if (r > 0) {
        snprintf(buf, size, "%s", fresh);
        r = store_meta_set(s->store, key, fresh);
    }
    return r < 0 ? err_pass(r) : r;
}

/* Cluster id and secret are made once; the term grows by one with each start, so that agents know the newer leader. */
static int read_meta(struct shell *s, const char *state_dir, struct cluster_config *config, char *why, size_t why_size)
{
    char text[CRYPTO_KEY_HEX], fresh[CRYPTO_KEY_HEX];
    struct id128 id = crypto_random_id();
    uint8_t secret[CRYPTO_KEY_BYTES];
    uint64_t term;
    int r = keep_meta(s, "cluster", ID128(&id), text, sizeof(text));

    if (r)
        return err_fold(r);
    if (!id128_parse(text, &config->cluster))
        return damaged(state_dir, "its cluster is not valid", why, why_size);
    crypto_random(secret, sizeof(secret));
    r = keep_meta(s, "secret", crypto_key_format(secret, fresh), text, sizeof(text));
    if (r)
        return err_fold(r);
    r = crypto_key_parse(text, s->secret);
    explicit_bzero(text, sizeof(text));
    explicit_bzero(fresh, sizeof(fresh));
    explicit_bzero(secret, sizeof(secret));
    if (r)
        return damaged(state_dir, "its secret is not valid", why, why_size);
    r = keep_meta(s, "term", "0", text, sizeof(text));
    if (r)
        return err_fold(r);
    if (!parse_uint(text, 0, UINT64_MAX - 1, &term))
        return damaged(state_dir, "its term is not valid", why, why_size);
    config->term = term + 1;
    snprintf(text, sizeof(text), "%" PRIu64, config->term);
    r = store_meta_set(s->store, "term", text);
    return r < 0 ? err_pass(r) : r;
}

static int make_cluster(struct shell *s, const struct shell_config *c, struct cluster_config *config)
{
    int r;

    config->controller = crypto_node_id(c->identity->public_key);
    memcpy(config->name, c->name, sizeof(config->name));
    config->trust_open = c->trust_open;
    config->tunnel = c->tunnel;
    crypto_key_format(c->identity->public_key, config->key);
    config->settle_ms = c->settle_ms;
    config->silent_ms = c->silent_ms;
    config->evict_after_ms = c->evict_after_ms;
    config->brake_hold_ms = c->brake_hold_ms;
    config->graph_max_ms = c->graph_max_ms;
    config->load_stall_ms = c->load_stall_ms;
    config->warm_up_ms = c->warm_up_ms;
    config->transition_grace_ms = c->transition_grace_ms;
    config->served = c->models->entry;
    config->n_served = c->models->n;
    config->others = c->others;
    s->warm_up_ms = c->warm_up_ms;
    r = cluster_new(config, &s->cluster);
    return r < 0 ? err_pass(r) : r;
}

static int open_link(struct shell *s, const struct shell_config *c, const struct cluster_config *config, char *why,
                     size_t why_size)
{
    const struct link_config link_config = {.addr = strcmp(c->listen, "0.0.0.0") == 0 ? "*" : c->listen,
                                            .port = c->port,
                                            .trust_open = c->trust_open,
                                            .cluster = config->cluster,
                                            .term = config->term};
    const struct link_callbacks cb = {.message = shell_on_message, .closed = shell_on_closed, .ctx = s};
    int r = link_new(s->base, c->identity, &link_config, &cb, &s->link);

    if (r == LINK_E_ADDR_IN_USE)
        snprintf(why, why_size, "%s:%u is taken by another program: stop it, or set port", c->listen, c->port);
    if (r == LINK_E_BAD_ADDR)
        snprintf(why, why_size, "listen = %s is no address of this host", c->listen);
    return r > 0 ? SHELL_E_START : r < 0 ? err_pass(r) : 0;
}

/* Without Avahi all goes on; agents are then told of controllers by hand. */
static int advertise(struct shell *s, const struct shell_config *c, const struct cluster_config *config)
{
    static const char *const types[] = {DISCOVERY_TYPE, NULL};
    const struct mdns_callbacks cb = {.service = shell_on_service, .state = shell_on_mdns_state, .ctx = s};
    struct mdns_txt txt[4] = {{.key = "v"}, {.key = "cluster"}, {.key = "key"}, {.key = "http"}};
    int r = mdns_new(s->base, types, &cb, &s->mdns);

    if (r < 0)
        return err_pass(r);
    snprintf(txt[0].value, sizeof(txt[0].value), "%d", PROTOCOL_MAJOR);
    id128_format(&config->cluster, txt[1].value);
    crypto_key_format(c->identity->public_key, txt[2].value);
    snprintf(txt[3].value, sizeof(txt[3].value), "%s", c->http_text);
    r = mdns_publish(s->mdns, "controller", c->name, "_caravan-ctl._tcp", c->port, txt, 4);
    return r < 0 ? err_pass(r) : r;
}

static int make_timers(struct shell *s)
{
    s->tick = evtimer_new(s->base, shell_on_tick, s);
    s->show = evtimer_new(s->base, shell_on_show, s);
    s->turn = event_new(s->base, -1, 0, shell_on_turn, s);
    s->audit_due = evtimer_new(s->base, shell_on_audit_due, s);
    s->look = event_new(s->base, -1, EV_PERSIST, shell_on_look, s);
    return s->tick && s->show && s->turn && s->audit_due && s->look ? 0 : err_raise(-ENOMEM);
}

/* Eyes on the world beside the link. */
static int open_world(struct shell *s)
{
    int r = knocking_new(s->base, &s->identity, shell_on_knocked, s, &s->knocking);

    if (!r)
        r = host_watch_new(s->base, shell_on_host, s, &s->host);
    if (!r)
        r = tunnels_new(s->base, &s->identity, &s->tunnels);
    if (!r)
        r = snapshots_new(s->base, SNAPSHOTS_ROUND_MS, shell_send_snapshot, s, &s->snapshots);
    return r < 0 ? err_pass(r) : r;
}

static int begin(struct shell *s)
{
    static const struct timeval look = {.tv_usec = SHELL_LOOK_MS * 1000};

    for (size_t i = 0; i < s->n_restored; i++)
        shell_step(s, &(struct cluster_ev){.kind = CLUSTER_EV_RESTORE, .record = &s->restored[i]});
    drop_restored(s);
    shell_step(s, &(struct cluster_ev){.kind = CLUSTER_EV_BEGIN});
    shell_tell_admin(s);
    shell_on_host(s, host_watch_now(s->host));
    shell_look_at_clocks(s);
    event_add(s->look, &look);
    if (s->failure)
        return err_raise(s->failure);
    shell_show(s);
    return 0;
}

static int start(struct shell *s, const struct shell_config *c, char *why, size_t why_size)
{
    const struct front_callbacks cb = {.order = shell_on_order, .ctx = s};
    const struct front_config front = {.fds = c->http_fds,
                                       .n_fds = c->n_http_fds,
                                       .secret = s->secret,
                                       .identity = &s->identity,
                                       .wait_ms = c->gateway_wait_ms,
                                       .waiting_max = c->gateway_waiting,
                                       .waiting_bytes_max = c->gateway_waiting_bytes,
                                       .settings = c->http};
    struct cluster_config config = {.term = 0};
    int r = make_timers(s);

    if (!r)
        r = discovery_new(&s->discovery);
    if (!r)
        r = open_store(s, c->state_dir, why, why_size);
    if (!r)
        r = read_meta(s, c->state_dir, &config, why, why_size);
    if (!r)
        r = shell_check_api_keys(s, c, why, why_size);
    if (!r)
        r = make_cluster(s, c, &config);
    if (!r)
        r = open_link(s, c, &config, why, why_size);
    if (!r)
        r = open_world(s);
    if (!r)
        r = front_new(s->base, &front, &cb, &s->front);
    if (!r)
        r = begin(s);
    if (!r)
        r = advertise(s, c, &config);
    if (!r)
        log_info("controller.ready", "name=%s controller=%s cluster=%s term=%" PRIu64 " port=%u http=%s trust=%s",
                 LOG_STR(c->name), ID128_SHORT(&config.controller), ID128_SHORT(&config.cluster), config.term, c->port,
                 LOG_STR(c->http_text), c->trust_open ? "open" : "keys");
    return r;
}

int shell_new(struct event_base *base, const struct shell_config *config, struct shell **ret, char *why,
              size_t why_size)
{
    CLEANUP(shell_destroy) struct shell *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return err_raise(-ENOMEM);
    s->base = base;
    s->identity = *config->identity;
    s->door.port = config->port;
    memcpy(s->door.key, config->identity->public_key, sizeof(s->door.key));
    snprintf(s->listen, sizeof(s->listen), "%s", config->listen);
    STAILQ_INIT(&s->late);
    STAILQ_INIT(&s->held);
    LIST_INIT(&s->warming);
    r = start(s, config, why, why_size);
    if (r)
        return r < 0 ? err_pass(r) : r;
    *ret = s;
    s = NULL;
    return 0;
}

static void cancel_warming(struct shell *s)
{
    struct warming *w;

    while ((w = LIST_FIRST(&s->warming))) {
        LIST_REMOVE(w, link);
        warm_up_cancel(&w->warm_up);
        free(w);
    }
}

static void free_timers(struct shell *s)
{
    struct event *all[] = {s->tick, s->show, s->turn, s->audit_due, s->look};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i])
            event_free(all[i]);
}

void shell_destroy(struct shell **shell)
{
    struct shell *s = *shell;
    struct late *l;

    if (!s)
        return;
    s->failure = s->failure ? s->failure : -ECANCELED; /* no step from here on */
    mdns_destroy(&s->mdns);
    front_destroy(&s->front);
    shell_drop_answers(s);
    snapshots_destroy(&s->snapshots);
    host_watch_destroy(&s->host);
    knocking_destroy(&s->knocking);
    link_destroy(&s->link);
    cancel_warming(s);
    tunnels_destroy(&s->tunnels);
    if (s->store && s->audit_due)
        shell_audit_flush(s);
    store_close(&s->store);
    cluster_destroy(&s->cluster);
    discovery_destroy(&s->discovery);
    drop_restored(s);
    while ((l = STAILQ_FIRST(&s->late))) {
        STAILQ_REMOVE_HEAD(&s->late, link);
        free(l);
    }
    free_timers(s);
    crypto_identity_clear(&s->identity);
    explicit_bzero(s->secret, sizeof(s->secret));
    free(s);
    *shell = NULL;
}
