/* Walks a table that pairs the fields of one of protobuf-c's structs with those of one of ours, in either direction, and
 * checks every bound on the way in. Private to common/message.c; the tables are in message_tables.c. */
#ifndef CARAVAN_COMMON_MESSAGE_MAP_H
#define CARAVAN_COMMON_MESSAGE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct ProtobufCBinaryData;
struct ProtobufCMessage;
struct ProtobufCMessageDescriptor;

enum field_type {
    FIELD_TEXT,    /* bytes <-> char[size] */
    FIELD_ID,      /* bytes, 16 or none <-> struct id128 */
    FIELD_KEY,     /* 32 bytes <-> char[PROTO_KEY_MAX], 64 hex digits */
    FIELD_HEX_KEY, /* 64 hex digits or none <-> char[PROTO_KEY_MAX] */
    FIELD_BOOL,
    FIELD_CHAR, /* uint32 <-> char, printable ASCII; '?' where there is none */
    FIELD_U8,
    FIELD_U16,
    FIELD_U32, /* up to max, where that is not 0 */
    FIELD_U64,
    FIELD_I32,      /* min..max */
    FIELD_ENUM,     /* 1..max */
    FIELD_ROLE,     /* the same; a greater one is a later version's, and what has it is left out of its list */
    FIELD_SUB,      /* message <-> struct; absent is all zero */
    FIELD_TEXTS,    /* repeated bytes <-> char[max][size] and its count */
    FIELD_HEX_KEYS, /* the same of keys, none of them empty */
    FIELD_U32S,     /* repeated numbers <-> array that shares the count of a FIELD_TEXTS before it */
    FIELD_U64S,
    FIELD_LIST /* repeated message <-> array of structs and its count */
};

struct field {
    enum field_type type;
    size_t wire, wire_n; /* offsets in protobuf-c's struct: value, count */
    size_t own, own_n;   /* offsets in ours */
    size_t size;         /* FIELD_TEXT, _TEXTS, _LIST: bytes of one element of ours */
    int64_t min, max;    /* lists: max elements */
    const struct map *sub;
};

struct map {
    const struct ProtobufCMessageDescriptor *wire;
    size_t n;
    const struct field *field;
};

/* protobuf_c_message_unpack in memory of at most a fixed multiple of n_bytes. ret: owned (map_parsed_destroy).
 * 0, MESSAGE_E_MALFORMED, -ENOMEM. */
int map_parse(const struct ProtobufCMessageDescriptor *desc, const void *buf, size_t n_bytes,
              struct ProtobufCMessage **ret);
void map_parsed_destroy(struct ProtobufCMessage **m);
/* Fields that this version does not know, in m and all that is below it. */
uint32_t map_count_unknown(const struct ProtobufCMessage *m);

enum { MAP_E_LATER = 100 /* no other outcome of message.h; own has a FIELD_ROLE of a later version */ };

/* own: zeroed. 0; MESSAGE_E_MALFORMED or MAP_E_LATER, own is then half filled. Elements of a FIELD_LIST that are a later
 * version's are left out, so that its own count is less than that of the wire's. */
int map_get(const struct map *map, const void *wire, void *own);
/* One text into size zeroed bytes: UTF-8 without NUL that leaves room for the end. 0, MESSAGE_E_MALFORMED. */
int map_get_text(const struct ProtobufCBinaryData *from, char *to, size_t size);

/* Everything that is made for one message on its way out, freed at once. */
struct arena {
    struct chunk *first;
};
void arena_clear(struct arena *a);
/* n elements of size bytes, zeroed; the caller has bounded n. NULL: -ENOMEM. */
void *arena_take(struct arena *a, size_t n, size_t size);

/* A message of protobuf-c's in the arena, its texts borrowed from own where they are UTF-8; NULL: -ENOMEM. */
void *map_put(struct arena *a, const struct map *map, const void *own);
/* 0, -ENOMEM. */
int map_put_text(struct arena *a, const char *from, size_t size, struct ProtobufCBinaryData *to);

#endif
