/* The tensor types of ggml: how many bytes a row takes. Source: memory-model, section 7 (ggml 0.27). */
#ifndef CARAVAN_COMMON_CORE_GGML_TYPE_H
#define CARAVAN_COMMON_CORE_GGML_TYPE_H

#include <stdbool.h>
#include <stdint.h>

enum ggml_type_id { GGML_ID_F32 = 0, GGML_ID_F16 = 1, GGML_ID_Q4_0 = 2, GGML_ID_Q8_0 = 8 }; /* those named in code */

struct ggml_type {
    const char *name;
    uint32_t block;       /* elements; a row is a whole number of blocks */
    uint32_t block_bytes; /* bytes of one block */
    bool kv;              /* llama-server takes it as --cache-type-k and -v */
};

/* NULL: unknown to this version, or removed from ggml. */
const struct ggml_type *ggml_type_find(uint32_t id);
/* Was there once, and is refused by llama.cpp today. */
bool ggml_type_was_removed(uint32_t id);
/* The id of a type by its name in lower case ("q8_0"), or -1. */
int32_t ggml_type_id(const char *name);

#endif
