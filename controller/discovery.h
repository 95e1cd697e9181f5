/* The table of RPC backends that anybody has told of: what agents report (their workers) and what mDNS carries, each with
 * who said so and when. mDNS says only where to knock: an entry of its own is `unmanaged`, never offered for placement.
 * Port 0, hosts without a usable address and placeholder names are dropped at each source, and counted (field case 19). */
#ifndef CARAVAN_CONTROLLER_DISCOVERY_H
#define CARAVAN_CONTROLLER_DISCOVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/mdns.h"
#include "controller/core/view.h"

#define DISCOVERY_TYPE "_llamacpp-rpc._tcp"

enum backend_state { BACKEND_HEALTHY = 1, BACKEND_BUSY, BACKEND_OFFLINE, BACKEND_INCOMPATIBLE, BACKEND_UNMANAGED };
enum backend_source { BACKEND_BY_AGENT, BACKEND_BY_MDNS, BACKEND_SOURCES };
enum backend_drop { BACKEND_DROP_PORT_ZERO, BACKEND_DROP_UNRESOLVABLE, BACKEND_DROP_PLACEHOLDER, BACKEND_DROPS };

enum { BACKENDS_MAX = 1024 };

struct backend {
    char host[PROTO_ADDR_MAX];
    uint16_t port;
    char node_name[PROTO_NAME_MAX]; /* empty: not ours */
    char service[MDNS_NAME_MAX];    /* empty: not advertised */
    bool tunnel;                    /* it is behind carriers: this is where its agent is knocked at */
    enum backend_state state;
    struct rpc_version rpc;
    uint64_t memory_bytes; /* 0: unknown */
    size_t n_devices;
    char device[PROTO_DEVICES_MAX][PROTO_DEVICE_MAX];
    uint64_t first_seen_wall_ms;
    struct backend_said {
        bool now; /* says so in this moment */
        char text[192];
        uint64_t last_wall_ms; /* 0: never said anything */
    } said[BACKEND_SOURCES];
};

/* Immutable once it is handed out. */
struct backends {
    size_t n;
    struct backend *item; /* sorted by host and port */
    uint64_t dropped[BACKEND_DROPS];
    _Atomic uint32_t refs;
};
void backends_unref(struct backends **b);

struct discovery;
int discovery_new(struct discovery **ret); /* 0, -ENOMEM */
void discovery_destroy(struct discovery **d);
/* One service of DISCOVERY_TYPE came, changed or went; others are passed over. */
void discovery_service(struct discovery *d, const struct mdns_service *s, uint64_t wall_ms);
/* The agents' reports as they stand. */
void discovery_view(struct discovery *d, const struct view *v);
/* Did anything change since the last snapshot? */
bool discovery_changed(const struct discovery *d);
/* ret: owned (backends_unref). 0, -ENOMEM. */
int discovery_snapshot(struct discovery *d, struct backends **ret);

const char *backend_state_name(enum backend_state s);
const char *backend_source_name(enum backend_source s);
const char *backend_drop_name(enum backend_drop d);

#endif
