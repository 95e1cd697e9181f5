/* Which keys a wire_server lets in. Private to it. */
#ifndef CARAVAN_COMMON_WIRE_KEYS_H
#define CARAVAN_COMMON_WIRE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct key_list {
    uint8_t (*key)[32];
    size_t n;
};

/* What was said of a key last counts. */
struct wire_keys {
    bool open; /* whoever is not forbidden may in; else: whoever is allowed */
    struct key_list allowed, forbidden;
};

bool wire_keys_may_in(const struct wire_keys *k, const uint8_t *key);
int wire_keys_allow(struct wire_keys *k, const uint8_t *key); /* 0 or -ENOMEM: nothing has changed */
void wire_keys_disallow(struct wire_keys *k, const uint8_t *key);
int wire_keys_forbid(struct wire_keys *k,
                     const uint8_t *key); /* 0; -ENOMEM, only where it is open: nothing has changed */
void wire_keys_clear(struct wire_keys *k);

#endif
