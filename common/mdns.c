#include "common/mdns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/actor.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/mdns_avahi.h"

struct mdns {
    struct actor *actor;
    struct mdns_callbacks cb;
};

static void on_report(void *ctx, void *object)
{
    struct mdns *m = ctx;
    CLEANUP(cleanup_free) struct mdns_report *report = object;

    /* m may be gone after either */
    if (report->is_state)
        m->cb.state(m->cb.ctx, report->running);
    else
        m->cb.service(m->cb.ctx, &report->service);
}

int mdns_new(struct event_base *base, const char *const *types, const struct mdns_callbacks *cb, struct mdns **ret)
{
    CLEANUP(mdns_destroy) struct mdns *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return err_raise(-ENOMEM);
    m->cb = *cb;
    r = actor_new(base, mdns_avahi_main, (void *)types, on_report, m, free, free, &m->actor);
    if (r < 0)
        return err_pass(r);
    *ret = m;
    m = NULL;
    return 0;
}

void mdns_destroy(struct mdns **m)
{
    if (!*m)
        return;
    actor_destroy(&(*m)->actor);
    free(*m);
    *m = NULL;
}

static bool copy_text(char *to, size_t size, const char *from)
{
    size_t n = strlen(from);

    if (!n || n >= size)
        return false;
    memcpy(to, from, n + 1);
    return true;
}

int mdns_publish(struct mdns *m, const char *key, const char *name, const char *type, uint16_t port,
                 const struct mdns_txt *txt, size_t n_txt)
{
    CLEANUP(cleanup_free) struct mdns_order *order = calloc(1, sizeof(*order));
    int r;

    if (!order)
        return err_raise(-ENOMEM);
    if (n_txt > MDNS_TXT_MAX || !copy_text(order->key, sizeof(order->key), key) ||
        !copy_text(order->name, sizeof(order->name), name) || !copy_text(order->type, sizeof(order->type), type))
        return err_raise(-EINVAL);
    order->port = port;
    order->n_txt = n_txt;
    if (n_txt)
        memcpy(order->txt, txt, n_txt * sizeof(*txt));
    r = actor_send(m->actor, order);
    order = NULL; /* consumed */
    return r < 0 ? err_pass(r) : 0;
}

int mdns_withdraw(struct mdns *m, const char *key)
{
    CLEANUP(cleanup_free) struct mdns_order *order = calloc(1, sizeof(*order));
    int r;

    if (!order)
        return err_raise(-ENOMEM);
    if (!copy_text(order->key, sizeof(order->key), key))
        return err_raise(-EINVAL);
    order->withdraw = true;
    r = actor_send(m->actor, order);
    order = NULL; /* consumed */
    return r < 0 ? err_pass(r) : 0;
}

const char *mdns_txt_get(const struct mdns_service *s, const char *key)
{
    for (size_t i = 0; i < s->n_txt; i++)
        if (strcmp(s->txt[i].key, key) == 0)
            return s->txt[i].value;
    return NULL;
}
