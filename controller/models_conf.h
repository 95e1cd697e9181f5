/* models.conf: what is served how. One section per model, [NAME] and key = value; errors name file and line.
 *
 *   [qwen]                       the name that requests use
 *   file = qwen2-7b-q4_k_m.gguf  the model's file or stem; without it the section's name is the model
 *   nodes = 2  policy = spread  context = 8192  slots = 4  kv_type = q8_0  args = --temp 0.7
 *   start = demand               the first request starts it, the default; boot: as soon as the model appears; manual: only
 *                                `caravan deploy`
 *   ttl = 10m  pinned = yes  replicas = 2 */
#ifndef CARAVAN_CONTROLLER_MODELS_CONF_H
#define CARAVAN_CONTROLLER_MODELS_CONF_H

#include <stdbool.h>
#include <stddef.h>

#include "controller/core/served.h"

enum { MODELS_CONF_BYTES_MAX = 1024 * 1024, MODELS_CONF_TTL_MIN_MS = 1000 };
#define MODELS_CONF_TTL_MAX_MS (UINT64_C(365) * 24 * 3600 * 1000)
enum { MODELS_CONF_E_INVALID = 1 /* why: "FILE:LINE: ..." */ };

struct models_conf {
    size_t n;
    struct served *entry; /* SERVED_MAX at most */
};

/* A file that is missing gives an empty list where required is false. ret: owned. 0, MODELS_CONF_E_INVALID, -ENOMEM. */
int models_conf_read(const char *path, bool required, struct models_conf **ret, char *why, size_t why_size);
/* The same from text; path only names it in errors. */
int models_conf_parse(const char *path, const char *text, size_t n_bytes, struct models_conf **ret, char *why,
                      size_t why_size);
void models_conf_destroy(struct models_conf **c);

#endif
