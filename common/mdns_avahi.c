/* The thread that speaks to avahi-daemon: one AvahiClient, one browser per type, one resolver per thing seen (it stays, and
 * so tells changes of TXT), one entry group per published service. The client is made anew whenever it failed. */
#include "common/mdns_avahi.h"

#include <avahi-client/client.h>
#include <avahi-client/lookup.h>
#include <avahi-client/publish.h>
#include <avahi-common/alternative.h>
#include <avahi-common/error.h>
#include <avahi-common/malloc.h>
#include <avahi-common/simple-watch.h>
#include <avahi-common/timeval.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/actor.h"
#include "common/cleanup.h"
#include "common/log.h"

enum {
    RESTART_MS = 200, /* after a client that had worked: avahi-daemon was restarted */
    RETRY_MIN_MS = 2000,
    RETRY_MAX_MS = 30000,
    NAMES_MAX = 64,     /* names tried where this very host has them already */
    SIGHTINGS_MAX = 512 /* anybody on the network can advertise any number; avahi-daemon allows 1024 objects a client */
};

/* One thing that a browser has shown: a service on an interface. */
struct sighting {
    struct sighting *next;
    struct thread *thread;
    AvahiIfIndex interface;
    AvahiProtocol protocol;
    char name[MDNS_NAME_MAX];
    char type[MDNS_TYPE_MAX];
    AvahiServiceResolver *resolver;
    bool told;
    struct mdns_service service; /* as told last */
};

/* One service of ours. */
struct entry {
    struct entry *next;
    struct thread *thread;
    struct mdns_order order;
    char shown[MDNS_NAME_MAX]; /* the name after collisions */
    AvahiEntryGroup *group;    /* NULL while Avahi is away */
};

struct thread {
    struct actor_pipe *pipe;
    const char *const *types;
    AvahiSimplePoll *simple;
    const AvahiPoll *poll;
    AvahiTimeout *retry;
    uint32_t retry_ms;
    AvahiClient *client;
    bool browsing;
    bool running; /* as told last */
    struct sighting *sightings;
    size_t n_sightings;
    struct entry *entries;
};

/* ---- to the owner ----------------------------------------------------------------------------------------------- */

static void send_report(struct thread *t, const struct mdns_report *report)
{
    struct mdns_report *copy = malloc(sizeof(*copy));
    int r = -ENOMEM;

    if (copy) {
        *copy = *report;
        r = actor_pipe_send(t->pipe, copy);
    }
    if (r < 0)
        log_failure(LOG_LEVEL_WARN, "mdns.report_lost", r, "name=%s", LOG_STR(report->service.name));
}

static void tell_state(struct thread *t, bool running)
{
    if (t->running == running)
        return;
    t->running = running;
    log_info("mdns.state", "running=%s", running ? "yes" : "no");
    send_report(t, &(struct mdns_report){.is_state = true, .running = running});
}

static void tell_service(struct thread *t, const struct mdns_service *service, bool gone)
{
    struct mdns_report report = {.service = *service};

    report.service.gone = gone;
    send_report(t, &report);
}

/* ---- what others advertise -------------------------------------------------------------------------------------- */

static bool same_place(const struct mdns_service *a, const struct mdns_service *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->type, b->type) == 0 && strcmp(a->addr, b->addr) == 0;
}

/* The same service at the same address may be seen on several interfaces; it is gone with the last. */
static void tell_gone(struct sighting *s)
{
    s->told = false;
    for (struct sighting *other = s->thread->sightings; other; other = other->next)
        if (other->told && same_place(&other->service, &s->service))
            return;
    tell_service(s->thread, &s->service, true);
}

static void sighting_free(struct sighting *s)
{
    if (s->resolver)
        avahi_service_resolver_free(s->resolver);
    free(s);
}

static bool is_plain(const char *value, size_t n)
{
    return !memchr(value, '\0', n);
}

void mdns_avahi_take_txt(struct mdns_service *service, AvahiStringList *list)
{
    for (; list && service->n_txt < MDNS_TXT_MAX; list = avahi_string_list_get_next(list)) {
        struct mdns_txt *txt = &service->txt[service->n_txt];
        char *key = NULL, *value = NULL;
        size_t n_value = 0;

        if (avahi_string_list_get_pair(list, &key, &value, &n_value) < 0)
            return; /* without memory */
        if (strlen(key) < sizeof(txt->key) && n_value < sizeof(txt->value) && is_plain(value ? value : "", n_value)) {
            memset(txt, 0, sizeof(*txt));
            memcpy(txt->key, key, strlen(key));
            if (value)
                memcpy(txt->value, value, n_value);
            service->n_txt++;
        }
        avahi_free(key);
        avahi_free(value);
    }
}

static void on_resolved(AvahiServiceResolver *resolver, AvahiIfIndex interface, AvahiProtocol protocol,
                        AvahiResolverEvent event, const char *name, const char *type, const char *domain,
                        const char *host, const AvahiAddress *address, uint16_t port, AvahiStringList *txt,
                        AvahiLookupResultFlags flags, void *arg)
{
    struct sighting *s = arg;
    struct mdns_service service = {.port = port};

    (void)resolver, (void)interface, (void)protocol, (void)name, (void)type, (void)domain, (void)flags;
    if (event != AVAHI_RESOLVER_FOUND)
        return; /* a record whose host is silent; the resolver stays and tells if it speaks */
    snprintf(service.name, sizeof(service.name), "%s", s->name);
    snprintf(service.type, sizeof(service.type), "%s", s->type);
    snprintf(service.host, sizeof(service.host), "%s", host);
    avahi_address_snprint(service.addr, sizeof(service.addr), address);
    mdns_avahi_take_txt(&service, txt);
    if (s->told && !same_place(&service, &s->service))
        tell_gone(s); /* it has moved */
    s->service = service;
    s->told = true;
    tell_service(s->thread, &service, false);
}

static struct sighting **sighting_find(struct thread *t, AvahiIfIndex interface, AvahiProtocol protocol,
                                       const char *name, const char *type)
{
    struct sighting **s = &t->sightings;

    while (*s && !((*s)->interface == interface && (*s)->protocol == protocol && strcmp((*s)->name, name) == 0 &&
                   strcmp((*s)->type, type) == 0))
        s = &(*s)->next;
    return s;
}

static void sighting_add(struct thread *t, AvahiIfIndex interface, AvahiProtocol protocol, const char *name,
                         const char *type, const char *domain)
{
    struct sighting *s;

    if (t->n_sightings >= SIGHTINGS_MAX || strlen(name) >= sizeof(s->name) || strlen(type) >= sizeof(s->type)) {
        log_warn("mdns.ignored", "name=%s type=%s reason=%s", LOG_STR(name), LOG_STR(type),
                 t->n_sightings >= SIGHTINGS_MAX ? "too_many" : "too_long");
        return;
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return;
    s->thread = t;
    s->interface = interface;
    s->protocol = protocol;
    memcpy(s->name, name, strlen(name));
    memcpy(s->type, type, strlen(type));
    s->next = t->sightings;
    t->sightings = s;
    t->n_sightings++;
    s->resolver = avahi_service_resolver_new(t->client, interface, protocol, name, type, domain, AVAHI_PROTO_INET, 0,
                                             on_resolved, s);
    if (!s->resolver)
        log_warn("mdns.resolve_failed", "name=%s reason=%s", LOG_STR(name),
                 LOG_STR(avahi_strerror(avahi_client_errno(t->client))));
}

static void sighting_remove(struct thread *t, struct sighting **at)
{
    struct sighting *s = *at;

    *at = s->next;
    t->n_sightings--;
    if (s->told)
        tell_gone(s);
    sighting_free(s);
}

static void restart_soon(struct thread *t);

static void on_browsed(AvahiServiceBrowser *browser, AvahiIfIndex interface, AvahiProtocol protocol,
                       AvahiBrowserEvent event, const char *name, const char *type, const char *domain,
                       AvahiLookupResultFlags flags, void *arg)
{
    struct thread *t = arg;
    struct sighting **at;

    (void)browser, (void)flags;
    switch (event) {
    case AVAHI_BROWSER_NEW:
        at = sighting_find(t, interface, protocol, name, type);
        if (!*at)
            sighting_add(t, interface, protocol, name, type, domain);
        break;
    case AVAHI_BROWSER_REMOVE:
        at = sighting_find(t, interface, protocol, name, type);
        if (*at)
            sighting_remove(t, at);
        break;
    case AVAHI_BROWSER_FAILURE:
        restart_soon(t);
        break;
    case AVAHI_BROWSER_CACHE_EXHAUSTED:
    case AVAHI_BROWSER_ALL_FOR_NOW:
        break;
    }
}

static void browse(struct thread *t)
{
    if (t->browsing)
        return;
    t->browsing = true;
    for (const char *const *type = t->types; *type; type++) {
        /* Freed with the client. */
        if (avahi_service_browser_new(t->client, AVAHI_IF_UNSPEC, AVAHI_PROTO_INET, *type, NULL, 0, on_browsed, t))
            continue;
        log_warn("mdns.browse_failed", "type=%s reason=%s", *type,
                 LOG_STR(avahi_strerror(avahi_client_errno(t->client))));
        restart_soon(t);
        return;
    }
}

/* ---- what we advertise ------------------------------------------------------------------------------------------ */

static void entry_register(struct entry *e);

static void on_group_state(AvahiEntryGroup *group, AvahiEntryGroupState state, void *arg)
{
    struct entry *e = arg;
    char *other;

    switch (state) {
    case AVAHI_ENTRY_GROUP_ESTABLISHED:
        log_debug("mdns.advertised", "name=%s type=%s port=%u", LOG_STR(e->shown), e->order.type, e->order.port);
        break;
    case AVAHI_ENTRY_GROUP_COLLISION:
        other = avahi_alternative_service_name(e->shown);
        if (!other)
            break;
        log_info("mdns.collision", "name=%s becomes=%s", LOG_STR(e->shown), LOG_STR(other));
        snprintf(e->shown, sizeof(e->shown), "%s", other);
        avahi_free(other);
        e->group = group;
        entry_register(e);
        break;
    case AVAHI_ENTRY_GROUP_FAILURE:
        log_warn("mdns.advertise_failed", "name=%s reason=%s", LOG_STR(e->shown),
                 LOG_STR(avahi_strerror(avahi_client_errno(avahi_entry_group_get_client(group)))));
        break;
    case AVAHI_ENTRY_GROUP_UNCOMMITED:
    case AVAHI_ENTRY_GROUP_REGISTERING:
        break;
    }
}

static AvahiStringList *txt_list(const struct mdns_order *order)
{
    AvahiStringList *list = NULL;

    for (size_t i = order->n_txt; i-- > 0;) /* the list grows at its head */
        list = avahi_string_list_add_pair(list, order->txt[i].key, order->txt[i].value);
    return list;
}

static int group_fill(struct entry *e)
{
    AvahiStringList *txt = txt_list(&e->order);
    int r = 0;

    for (int i = 0; i < NAMES_MAX; i++) {
        char *other;

        r = avahi_entry_group_add_service_strlst(e->group, AVAHI_IF_UNSPEC, AVAHI_PROTO_INET, 0, e->shown,
                                                 e->order.type, NULL, NULL, e->order.port, txt);
        if (r != AVAHI_ERR_COLLISION) /* a service of this very host has the name */
            break;
        other = avahi_alternative_service_name(e->shown);
        if (!other)
            break;
        snprintf(e->shown, sizeof(e->shown), "%s", other);
        avahi_free(other);
    }
    avahi_string_list_free(txt);
    return r < 0 ? r : avahi_entry_group_commit(e->group);
}

/* Anew, whatever was registered for it. */
static void entry_register(struct entry *e)
{
    struct thread *t = e->thread;
    int r = 0;

    if (!t->client || avahi_client_get_state(t->client) != AVAHI_CLIENT_S_RUNNING)
        return; /* on_client_state will */
    if (!e->group)
        e->group = avahi_entry_group_new(t->client, on_group_state, e);
    else
        r = avahi_entry_group_reset(e->group);
    if (!e->group)
        r = avahi_client_errno(t->client);
    if (r == 0)
        r = group_fill(e);
    if (r < 0)
        log_warn("mdns.advertise_failed", "name=%s reason=%s", LOG_STR(e->shown), LOG_STR(avahi_strerror(r)));
}

static void entry_update_txt(struct entry *e)
{
    AvahiStringList *txt = txt_list(&e->order);
    int r = avahi_entry_group_update_service_txt_strlst(e->group, AVAHI_IF_UNSPEC, AVAHI_PROTO_INET, 0, e->shown,
                                                        e->order.type, NULL, txt);

    avahi_string_list_free(txt);
    if (r < 0)
        entry_register(e);
}

static struct entry **entry_find(struct thread *t, const char *key)
{
    struct entry **e = &t->entries;

    while (*e && strcmp((*e)->order.key, key) != 0)
        e = &(*e)->next;
    return e;
}

static void entry_remove(struct entry **at)
{
    struct entry *e = *at;

    *at = e->next;
    if (e->group)
        avahi_entry_group_free(e->group);
    free(e);
}

static void entry_publish(struct thread *t, const struct mdns_order *order)
{
    struct entry **at = entry_find(t, order->key);
    struct entry *e = *at;
    bool only_txt = e && e->group && e->order.port == order->port && strcmp(e->order.name, order->name) == 0 &&
                    strcmp(e->order.type, order->type) == 0;

    if (!e) {
        e = calloc(1, sizeof(*e));
        if (!e) {
            log_warn("mdns.advertise_failed", "name=%s reason=memory", LOG_STR(order->name));
            return;
        }
        e->thread = t;
        *at = e;
    }
    e->order = *order;
    if (only_txt) {
        entry_update_txt(e);
        return;
    }
    memcpy(e->shown, order->name, sizeof(e->shown));
    entry_register(e);
}

/* ---- the client ------------------------------------------------------------------------------------------------- */

/* Everything that belongs to the client goes with it. */
static void client_drop(struct thread *t)
{
    tell_state(t, false);
    for (struct entry *e = t->entries; e; e = e->next)
        e->group = NULL;
    while (t->sightings) {
        t->sightings->resolver = NULL;
        sighting_remove(t, &t->sightings);
    }
    if (t->client)
        avahi_client_free(t->client);
    t->client = NULL;
    t->browsing = false;
}

static void retry_in(struct thread *t, uint32_t delay_ms)
{
    struct timeval tv;

    t->poll->timeout_update(t->retry, avahi_elapse_time(&tv, delay_ms, 0));
}

/* From within Avahi's callbacks: the client may not be freed there. */
static void restart_soon(struct thread *t)
{
    retry_in(t, RESTART_MS);
}

static void on_client_state(AvahiClient *client, AvahiClientState state, void *arg)
{
    struct thread *t = arg;

    t->client = client; /* called for the first time before avahi_client_new has returned */
    switch (state) {
    case AVAHI_CLIENT_S_RUNNING:
        t->retry_ms = RETRY_MIN_MS;
        tell_state(t, true);
        browse(t);
        for (struct entry *e = t->entries; e; e = e->next)
            entry_register(e);
        break;
    case AVAHI_CLIENT_S_REGISTERING:
    case AVAHI_CLIENT_S_COLLISION: /* our host's name is changing: the records of the old one must not stay */
        for (struct entry *e = t->entries; e; e = e->next)
            if (e->group)
                avahi_entry_group_reset(e->group);
        break;
    case AVAHI_CLIENT_CONNECTING: /* the bus is there, the daemon is not: it will be told */
        break;
    case AVAHI_CLIENT_FAILURE:
        restart_soon(t);
        break;
    }
}

static void on_retry(AvahiTimeout *timeout, void *arg)
{
    struct thread *t = arg;
    int error = 0;

    t->poll->timeout_update(timeout, NULL);
    client_drop(t);
    if (avahi_client_new(t->poll, AVAHI_CLIENT_NO_FAIL, on_client_state, t, &error))
        return;
    t->client = NULL; /* it may have called us, and is gone now with all we made of it */
    client_drop(t);
    log_debug("mdns.no_bus", "reason=%s retry_ms=%u", LOG_STR(avahi_strerror(error)), t->retry_ms);
    retry_in(t, t->retry_ms);
    t->retry_ms = t->retry_ms * 2 < RETRY_MAX_MS ? t->retry_ms * 2 : RETRY_MAX_MS;
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void on_order(void *ctx, void *object)
{
    struct thread *t = ctx;
    CLEANUP(cleanup_free) struct mdns_order *order = object;
    struct entry **at;

    if (!order->withdraw) {
        entry_publish(t, order);
        return;
    }
    at = entry_find(t, order->key);
    if (*at)
        entry_remove(at);
}

/* Only wakes the loop, which looks at the pipe after each turn. */
static void on_pipe(AvahiWatch *watch, int fd, AvahiWatchEvent event, void *arg)
{
    (void)watch, (void)fd, (void)event, (void)arg;
}

static bool thread_init(struct thread *t)
{
    struct timeval now;

    t->simple = avahi_simple_poll_new();
    if (!t->simple)
        return false;
    t->poll = avahi_simple_poll_get(t->simple);
    t->retry = t->poll->timeout_new(t->poll, avahi_elapse_time(&now, 0, 0), on_retry, t);
    return t->retry && t->poll->watch_new(t->poll, actor_pipe_fd(t->pipe), AVAHI_WATCH_IN, on_pipe, t);
}

static void thread_clear(struct thread *t)
{
    t->running = false; /* nobody listens any more */
    while (t->sightings) {
        struct sighting *s = t->sightings;

        t->sightings = s->next;
        s->resolver = NULL; /* freed with the client */
        sighting_free(s);
    }
    if (t->client)
        avahi_client_free(t->client);
    while (t->entries) {
        t->entries->group = NULL;
        entry_remove(&t->entries);
    }
    if (t->simple)
        avahi_simple_poll_free(t->simple); /* with its watches and timeouts */
}

void mdns_avahi_main(struct actor_pipe *pipe, void *types)
{
    CLEANUP(thread_clear) struct thread t = {.pipe = pipe, .types = types, .retry_ms = RETRY_MIN_MS};

    if (!thread_init(&t)) {
        log_warn("mdns.off", "reason=memory");
        return;
    }
    while (actor_pipe_drain(pipe, on_order, &t))
        if (avahi_simple_poll_iterate(t.simple, -1) != 0) {
            log_warn("mdns.off", "reason=poll");
            return;
        }
}
