/* Members of the JSON objects that a fan-out is asked with, each refused by name and place where it is not what it should be.
 * place: "" for the whole body, else the object's with a dot behind: "members[2]." */
#ifndef CARAVAN_CONTROLLER_FANOUT_FIELDS_H
#define CARAVAN_CONTROLLER_FANOUT_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the refusal is written. */
struct fanout_fields {
    char *why;
    size_t why_size;
};

/* Returns FANOUT_E_INVALID, for `return`. */
int fanout_invalid(struct fanout_fields *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A member that is there and not null; borrowed. */
const json_t *fanout_field(const json_t *o, const char *key);

/* All 0 or FANOUT_E_INVALID. What is not there leaves *ret alone; an empty text is as if it were not there. */
int fanout_check_keys(struct fanout_fields *f, const char *place, const json_t *o, const char *const *keys);
/* ret: borrowed. max: bytes. */
int fanout_read_text(struct fanout_fields *f, const char *place, const json_t *o, const char *key, size_t max,
                     const char **ret);
int fanout_read_name(struct fanout_fields *f, const char *place, const json_t *o, const char *key, char *buf,
                     size_t size);
/* 0.1 to 86400. */
int fanout_read_seconds(struct fanout_fields *f, const char *place, const json_t *o, const char *key, uint64_t *ret_ms);
int fanout_read_flag(struct fanout_fields *f, const json_t *o, const char *key, bool *ret);
/* Where min is 0 it may be missing: *ret is NULL then. */
int fanout_read_list(struct fanout_fields *f, const json_t *o, const char *key, size_t min, size_t max,
                     const json_t **ret);

#endif
