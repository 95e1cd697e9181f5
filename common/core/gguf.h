/* Reads what placement needs from the header of a GGUF file (versions 2 and 3) without reading its tensors.
 *
 * Pure: bytes are pulled through a callback. Bounded in memory and work whatever the file says: nothing is allocated by
 * a count in the file, arrays (the vocabulary) are passed over in a 64 KiB window, and every limit below has an outcome.
 * What llama.cpp refuses at load is refused here, so that it is told before memory is leased. */
#ifndef CARAVAN_COMMON_CORE_GGUF_H
#define CARAVAN_COMMON_CORE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/core/model_shape.h"

enum {
    GGUF_KEYS_MAX = 4096,
    GGUF_TENSORS_MAX = 65536,
    GGUF_SHARDS_MAX = 1024,
    GGUF_STRING_MAX = 255,     /* a key, or a value that is kept */
    GGUF_TENSOR_NAME_MAX = 64, /* with NUL, as in ggml */
    GGUF_NAME_MAX = 128,
    GGUF_FILE_MAX = 256, /* a file's name, with NUL */
    GGUF_HEADER_MAX = 128 * 1024 * 1024,
    GGUF_WHY_MAX = 512
};

enum {
    GGUF_E_NOT_GGUF = 1,
    GGUF_E_VERSION,
    GGUF_E_TRUNCATED,   /* shorter than its header says */
    GGUF_E_HEADER_ONLY, /* a header, but no tensors behind it */
    GGUF_E_MALFORMED,
    GGUF_E_TOO_LARGE,     /* beyond a limit above */
    GGUF_E_TENSOR_TYPE,   /* unknown, or removed from ggml */
    GGUF_E_NOT_A_MODEL,   /* an adapter, an importance matrix, ... */
    GGUF_E_MISSING_SHARD, /* gguf_merge: a file of the set is not there */
    GGUF_E_OTHER_SHARD    /* gguf_merge: a file belongs to another set */
};

struct gguf_source {
    /* Reads exactly n bytes at offset, all within size_bytes. 0 or a negative errno. */
    int (*read)(void *ctx, uint64_t offset, void *buf, size_t n);
    void *ctx;
    uint64_t size_bytes; /* of the file */
    /* NULL, or told each tensor once, in the file's order; offset: from where the data begin (data_offset). 0 or a
     * negative errno, which ends the reading. */
    int (*on_tensor)(void *ctx, uint64_t offset, uint64_t n_bytes);
};

struct gguf {
    uint32_t version;
    char name[GGUF_NAME_MAX]; /* general.name; empty: none. Bytes from outside */
    uint64_t header_hash;     /* FNV-1a-64 of the header, without the padding before the data */
    uint64_t data_offset;
    uint64_t needed_bytes; /* how long the file must be at least */
    uint32_t n_tensors;
    uint32_t split_no, split_count; /* 0 and 1: one whole file */
    uint32_t split_tensors;         /* of all files of the set; 0: not said */
    bool has_output;                /* output.weight is in this file: what makes a model untied */
    struct model_shape *shape;      /* owned; of a file of a set, only this file's tensors: see gguf_merge */
};

/* ret: owned (gguf_destroy), set only on 0. why: a sentence for a person, set only on a positive. 0; GGUF_E_*; negative
 * errno of the callback; -ENOMEM. */
int gguf_read(const struct gguf_source *source, struct gguf **ret, char *why, size_t why_size);
void gguf_destroy(struct gguf **g);

/* One model out of the files of a split one, in order; shard[i] NULL: not there. n: split_count. stem: the files' name
 * without "-00001-of-0000N.gguf", to name the one that is missing. ret: owned; its header_hash covers all headers, its
 * needed_bytes are the sum, its split_count stays. 0; GGUF_E_*; -ENOMEM. */
int gguf_merge(const char *stem, const struct gguf *const *shard, size_t n, struct gguf **ret, char *why,
               size_t why_size);

/* "STEM-00002-of-00004.gguf" -> stem, 1, 4; "STEM.gguf" -> stem, 0, 1. False: not the name of a GGUF file. stem:
 * GGUF_FILE_MAX bytes. */
bool gguf_parse_file_name(const char *file, char *stem, uint32_t *ret_no, uint32_t *ret_count);
/* The other way round. buf: GGUF_FILE_MAX bytes. Returns buf. */
char *gguf_shard_file_name(const char *stem, uint32_t no, uint32_t count, char *buf);

#endif
