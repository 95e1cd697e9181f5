/* A stand-in for the carrier beside a coordinator, on the loop of the controller under test: a real door, and real relays to a
 * port of this machine. */
#ifndef CARAVAN_TESTS_LIB_CARRIER_LAB_H
#define CARAVAN_TESTS_LIB_CARRIER_LAB_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/tunnel_end.h"

struct carrier_lab {
    /* the caller's to fill before it is opened */
    struct identity node;              /* all zero: some other one */
    uint8_t gateway[CRYPTO_KEY_BYTES]; /* who may come */
    struct id128 instance;
    uint64_t epoch; /* 0: any */
    uint16_t coordinator_port;

    struct event_base *base;
    char key[CRYPTO_KEY_HEX]; /* the node's */
    uint16_t port;
    enum tunnel_verdict verdict; /* for whom would be granted */
    /* Takes a stream in place of a relay; NULL: none does. */
    void (*opened)(struct carrier_lab *c, struct tunnel_end *end);
    void *ctx;
    size_t n_asked, n_opened, n_streams; /* the last: now */
    size_t most_half_open;
    struct tunnel_door *door;
    LIST_HEAD(, carrier_lab_stream) streams;
};

void carrier_lab_open(struct carrier_lab *c, struct event_base *base);
/* It dies: its port, and all its streams with a reset. Fine too where it is dead, or never was. */
void carrier_lab_kill(struct carrier_lab *c);

#endif
