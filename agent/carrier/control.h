/* What an agent and a carrier say to each other: packets of lines over STATE_DIR/units/ID/control (SOCK_SEQPACKET), whoever
 * is not of the same user or root is hung up on. One question, one answer; nothing is kept of it. Pure.
 *
 * "hello": version, whether all its ports listen, and the loopback ports that stand for the ranks. */
#ifndef CARAVAN_AGENT_CARRIER_CONTROL_H
#define CARAVAN_AGENT_CARRIER_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/protocol.h"

enum { CONTROL_PACKET_MAX = 4096, CONTROL_VERSION = 1 };
enum { CONTROL_E_MALFORMED = 1 };

struct control_question {
    enum { CONTROL_HELLO = 1 } kind;
};

struct control_answer {
    bool ok; /* false: `text` says why not */
    char text[PROTO_TEXT_MAX];
    /* HELLO */
    uint32_t version;
    size_t n_routes;
    struct control_route {
        int32_t rank;
        uint16_t port;                     /* on 127.0.0.1: what a coordinator dials */
        char endpoint[PROTO_ADDR_MAX + 8]; /* what that stands for */
    } route[PROTO_RANKS_MAX];
};

/* Both return the length; it all fits. */
size_t control_question_format(const struct control_question *q, char buf[CONTROL_PACKET_MAX]);
size_t control_answer_format(const struct control_answer *a, char buf[CONTROL_PACKET_MAX]);
/* 0; CONTROL_E_MALFORMED. */
int control_question_parse(const char *packet, size_t n_bytes, struct control_question *ret);
int control_answer_parse(const char *packet, size_t n_bytes, struct control_answer *ret);

#endif
