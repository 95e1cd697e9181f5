/* The door to libavahi-client, as an actor: D-Bus calls block, so they happen in a thread of their own.
 *
 * mDNS says where to knock and nothing else: a record may be an hour old or a lie. Works without Avahi: nothing is found,
 * nothing is advertised, and it comes up by itself when avahi-daemon does. */
#ifndef CARAVAN_COMMON_MDNS_H
#define CARAVAN_COMMON_MDNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct mdns;

enum {
    MDNS_TXT_MAX = 12,
    MDNS_TXT_KEY_MAX = 16,
    MDNS_TXT_VALUE_MAX = 200,
    MDNS_NAME_MAX = 64,
    MDNS_TYPE_MAX = 40,
    MDNS_KEY_MAX = 32
};

struct mdns_txt {
    char key[MDNS_TXT_KEY_MAX];
    char value[MDNS_TXT_VALUE_MAX];
};

/* One resolved service, or the end of one. TXT: the first MDNS_TXT_MAX pairs that fit their bounds, the rest dropped. */
struct mdns_service {
    bool gone;
    char name[MDNS_NAME_MAX]; /* instance name */
    char type[MDNS_TYPE_MAX]; /* "_caravan-ctl._tcp" */
    char host[256];
    char addr[46]; /* one event per address */
    uint16_t port;
    size_t n_txt;
    struct mdns_txt txt[MDNS_TXT_MAX];
};

struct mdns_callbacks {
    void (*service)(void *ctx, const struct mdns_service *s); /* s: borrowed */
    void (*state)(void *ctx, bool running);                   /* avahi-daemon came or went */
    void *ctx;
};

/* types: NULL-terminated list to browse, borrowed until mdns_destroy. 0 or negative errno; Avahi's absence is no error.
 * When avahi-daemon goes, `state` is followed by `gone` for all that was told; they come again with it. Own records and
 * those of loopback are told like any other. */
int mdns_new(struct event_base *base, const char *const *types, const struct mdns_callbacks *cb, struct mdns **ret);
void mdns_destroy(struct mdns **m);

/* Advertises (or changes) one service of this host under a key of the caller's choice (at most MDNS_KEY_MAX with NUL), e.g.
 * "worker". On a name collision another name is taken ("NAME #2"); re-registered when avahi-daemon comes back. txt:
 * borrowed. 0 or negative errno (-EINVAL: a bound exceeded). What Avahi says to it is logged. */
int mdns_publish(struct mdns *m, const char *key, const char *name, const char *type, uint16_t port,
                 const struct mdns_txt *txt, size_t n_txt);
int mdns_withdraw(struct mdns *m, const char *key);

/* The value of a TXT key, or NULL. */
const char *mdns_txt_get(const struct mdns_service *s, const char *key);

#endif
