/* Models that come in several files: their names, and one shape out of all their headers. */
#include "common/core/gguf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/fnv.h"
#include "common/core/gguf_reader.h"
#include "common/core/gguf_shape.h"
#include "common/core/sat.h"

enum { SUFFIX_LENGTH = 15 /* "-00001-of-00004" */ };

static bool five_digits(const char *s, uint32_t *ret)
{
    uint32_t n = 0;

    for (int i = 0; i < 5; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(s[i] - '0');
    }
    *ret = n;
    return true;
}

bool gguf_parse_file_name(const char *file, char *stem, uint32_t *ret_no, uint32_t *ret_count)
{
    size_t n = strlen(file);
    uint32_t no, count;
    const char *suffix;

    if (n <= 5 || n >= GGUF_FILE_MAX || strcmp(file + n - 5, ".gguf") != 0)
        return false;
    n -= 5;
    *ret_no = 0;
    *ret_count = 1;
    suffix = n > SUFFIX_LENGTH ? file + n - SUFFIX_LENGTH : NULL;
    if (suffix && suffix[0] == '-' && five_digits(suffix + 1, &no) && strncmp(suffix + 6, "-of-", 4) == 0 &&
        five_digits(suffix + 10, &count) && no >= 1 && no <= count && count <= GGUF_SHARDS_MAX) {
        *ret_no = no - 1;
        *ret_count = count;
        n -= SUFFIX_LENGTH;
    }
    memcpy(stem, file, n);
    stem[n] = '\0';
    return true;
}

char *gguf_shard_file_name(const char *stem, uint32_t no, uint32_t count, char *buf)
{
    if (count > 1)
        snprintf(buf, GGUF_FILE_MAX, "%s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", stem, no + 1, count);
    else
        snprintf(buf, GGUF_FILE_MAX, "%s.gguf", stem);
    return buf;
}

static int check_set(const char *stem, const struct gguf *const *shard, size_t n, char *why, size_t why_size)
{
    char file[GGUF_FILE_MAX];
    uint64_t n_tensors = 0;

    for (uint32_t i = 0; i < n; i++) {
        gguf_shard_file_name(stem, i, (uint32_t)n, file);
        if (!shard[i])
            return gguf_say(why, why_size, GGUF_E_MISSING_SHARD, "%s is missing: put all %zu files in one directory",
                            file, n);
        if (shard[i]->split_count != n || shard[i]->split_no != i)
            return gguf_say(why, why_size, GGUF_E_OTHER_SHARD,
                            "%s says it is file %" PRIu32 " of %" PRIu32 ": it belongs to another set", file,
                            shard[i]->split_no + 1, shard[i]->split_count);
        n_tensors += shard[i]->n_tensors;
    }
    if (shard[0]->split_tensors && n_tensors != shard[0]->split_tensors)
        return gguf_say(why, why_size, GGUF_E_OTHER_SHARD,
                        "%s: its %zu files have %" PRIu64 " tensors together instead of %" PRIu32
                        ": some belong to another set",
                        stem, n, n_tensors, shard[0]->split_tensors);
    return 0;
}

int gguf_merge(const char *stem, const struct gguf *const *shard, size_t n, struct gguf **ret, char *why,
               size_t why_size)
{
    CLEANUP(gguf_destroy) struct gguf *g = NULL;
    int r = n ? check_set(stem, shard, n, why, why_size)
              : gguf_say(why, why_size, GGUF_E_MISSING_SHARD, "%s: no file of it is there", stem);

    if (r)
        return r;
    g = malloc(sizeof(*g));
    if (!g)
        return err_raise(-ENOMEM);
    *g = *shard[0];
    g->shape = model_shape_copy(shard[0]->shape);
    if (!g->shape)
        return err_raise(-ENOMEM);
    g->header_hash = n > 1 ? FNV1A_BASIS : g->header_hash;
    for (size_t i = 0; i < n && n > 1; i++) {
        g->header_hash = fnv1a(g->header_hash, &shard[i]->header_hash, sizeof(shard[i]->header_hash));
        if (i == 0)
            continue;
        gguf_shape_add(g->shape, shard[i]->shape);
        g->needed_bytes = sat_add(g->needed_bytes, shard[i]->needed_bytes);
        g->n_tensors += shard[i]->n_tensors;
        g->has_output |= shard[i]->has_output;
    }
    if (n > 1)
        r = gguf_shape_close(g->shape, g->has_output, why, why_size);
    if (r)
        return r;
    *ret = g;
    g = NULL;
    return 0;
}
