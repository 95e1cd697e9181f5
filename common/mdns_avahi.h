/* What mdns.c and the thread that speaks to Avahi send each other. Private to mdns*.c. */
#ifndef CARAVAN_COMMON_MDNS_AVAHI_H
#define CARAVAN_COMMON_MDNS_AVAHI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/mdns.h"

struct AvahiStringList;
struct actor_pipe;

/* Owner -> thread: publish, or with `withdraw` the key alone. */
struct mdns_order {
    bool withdraw;
    char key[MDNS_KEY_MAX];
    char name[MDNS_NAME_MAX];
    char type[MDNS_TYPE_MAX];
    uint16_t port;
    size_t n_txt;
    struct mdns_txt txt[MDNS_TXT_MAX];
};

/* Thread -> owner. */
struct mdns_report {
    bool is_state; /* else a service */
    bool running;
    struct mdns_service service;
};

/* An actor_main. arg: the NULL-terminated list of types, borrowed for the thread's life. Orders and reports are malloc'ed,
 * without anything inside. */
void mdns_avahi_main(struct actor_pipe *pipe, void *types);

/* The pairs of a TXT record that fit their bounds, added to those of service. Pure. list: borrowed, may be NULL. */
void mdns_avahi_take_txt(struct mdns_service *service, struct AvahiStringList *list);

#endif
