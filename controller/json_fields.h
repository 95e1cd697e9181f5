/* One table per struct says how it looks as JSON, in both directions: what is written is what is accepted. Reading is
 * strict: a missing, unknown, mistyped or out-of-range key is refused by name, and nothing longer than its room passes. */
#ifndef CARAVAN_CONTROLLER_JSON_FIELDS_H
#define CARAVAN_CONTROLLER_JSON_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_E_INVALID = 1 /* why says what */ };

enum json_field_type {
    JSON_FIELD_TEXT = 1, /* char[size] */
    JSON_FIELD_U32,
    JSON_FIELD_U64,
    JSON_FIELD_BOOL,
    JSON_FIELD_HEX64, /* uint64_t as 16 hex digits: a JSON number would lose bits in a browser */
    JSON_FIELD_ID,    /* struct id128 */
    JSON_FIELD_WORD   /* an enum that counts from 1; 0 is "not said" and is not written */
};

struct json_field {
    const char *key; /* NULL ends a table */
    enum json_field_type type;
    size_t offset, size;
    bool required;
    uint64_t max;             /* of numbers; 0: what the type and a JSON integer can hold */
    const char *(*word)(int); /* WORD: the name of value v */
    int n_words;              /* WORD: values are 1..n_words */
};

/* Where a member lies; and whole entries for members whose key is their name. */
#define JSON_AT(strukt, member) .offset = offsetof(struct strukt, member), .size = sizeof(((struct strukt *)0)->member)
#define JSON_MEMBER(strukt, member, kind, needed)                                 \
    {                                                                             \
        .key = #member, .type = kind, .required = needed, JSON_AT(strukt, member) \
    }

/* o: borrowed. others: keys that the caller reads itself, NULL-terminated; NULL: any unknown key passes (records of a
 * later version). base: the struct, its unread fields are left alone. 0, JSON_E_INVALID. */
int json_fields_read(const json_t *o, const struct json_field *fields, const char *const *others, void *base, char *why,
                     size_t why_size);
/* Adds the fields to o. 0, -ENOMEM. */
int json_fields_write(json_t *o, const struct json_field *fields, const void *base);

/* Sets o[key]; value: consumed. NULL counts as no memory. The others make the value. 0, -ENOMEM. */
int json_put(json_t *o, const char *key, json_t *value);
int json_put_text(json_t *o, const char *key, const char *text);         /* bytes that are not UTF-8 become '?' */
int json_put_text_or_null(json_t *o, const char *key, const char *text); /* empty: null */
int json_put_uint(json_t *o, const char *key, uint64_t v);               /* capped at INT64_MAX */
int json_put_uint_or_null(json_t *o, const char *key, uint64_t v);       /* 0: null */
int json_put_bool(json_t *o, const char *key, bool v);
int json_put_null(json_t *o, const char *key);
/* A string of any bytes, as text_clean makes it where they are not UTF-8. NULL: no memory. */
json_t *json_text(const char *text);

/* One JSON text, duplicates of a key refused. In memory it takes up to twenty times as much; the largest that is honest, the
 * record of an instance with two plans, has 300 KiB. buf: borrowed. ret: owned. 0, JSON_E_INVALID (line and column in why). */
enum { JSON_TEXT_MAX = 1024 * 1024 };
int json_parse(const char *buf, size_t n_bytes, json_t **ret, char *why, size_t why_size);

void json_cleanup(json_t **j);

#endif
