/* caravan-mkgguf OUT: writes a small random, or a huge sparse, llama model as GGUF version 3.
 *
 * For quickstart and the tests: llama-server loads it and answers in words, and equal options give equal bytes. The
 * vocabulary is a byte-fallback one, so that any prompt can be tokenized. The rows of the output matrix that belong to
 * byte and control tokens are zero: a random model then practically never ends by itself, and an answer has exactly as
 * many tokens as were asked for. The damaged forms (--header-only, --truncate) and shards are there for tests of
 * whoever reads such files. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "deploy/mkgguf/model.h"

enum { SHARDS_MAX = 99, LAYERS_MAX = 1024 };

/* OUT, or OUT's stem with -00001-of-00004.gguf. Returns false where that is too long. */
static bool shard_path(const struct options *o, uint64_t shard, char *ret, size_t size)
{
    size_t n = strlen(o->out), stem = n > 5 && !strcmp(o->out + n - 5, ".gguf") ? n - 5 : n;
    int r = o->shards == 1 ? snprintf(ret, size, "%s", o->out)
                           : snprintf(ret, size, "%.*s-%05" PRIu64 "-of-%05" PRIu64 ".gguf", (int)stem, o->out,
                                      shard + 1, o->shards);

    return r >= 0 && (size_t)r < size;
}

static bool write_data(FILE *f, uint64_t data_start, struct weights *w, const struct options *o, uint64_t shard,
                       const struct tensor *tensors, size_t n_tensors, uint64_t *ret_end)
{
    uint64_t end = data_start;

    for (size_t i = 0; i < n_tensors && !o->header_only; i++) {
        const struct tensor *t = &tensors[i];

        if (t->shard != shard)
            continue;
        end = data_start + t->offset + (t->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        if (o->sparse_gb > 0)
            continue; /* a hole: every weight is zero */
        if (fseeko(f, (off_t)(data_start + t->offset), SEEK_SET) || !weights_write(w, f, o, t))
            return false;
    }
    *ret_end = end;
    return true;
}

static int write_shard(const struct options *o, struct weights *w, uint64_t shard, const struct tensor *tensors,
                       size_t n_tensors, uint64_t *total)
{
    CLEANUP(bytes_destroy) struct bytes header = {0};
    char path[4096];
    uint64_t end = 0;
    FILE *f;
    bool ok;

    header_put(&header, o, shard, tensors, n_tensors);
    if (header.failed)
        return -ENOMEM;
    if (!shard_path(o, shard, path, sizeof(path)))
        return -ENAMETOOLONG;
    f = fopen(path, "wb");
    if (!f)
        return -errno;
    ok = fwrite(header.data, 1, header.n, f) == header.n &&
         write_data(f, header.n, w, o, shard, tensors, n_tensors, &end) && fflush(f) == 0;
    if (ok && o->truncated && shard == o->shards - 1 && end > o->truncate_bytes)
        end = o->truncate_bytes;
    ok = ok && ftruncate(fileno(f), (off_t)end) == 0;
    int r = ok ? 0 : -(errno ? errno : EIO);
    if (fclose(f) && r == 0)
        r = -errno;
    *total += r == 0 ? end : 0;
    return r;
}

static int write_model(const struct options *o, uint64_t *ret_bytes)
{
    size_t n_tensors = 0;
    CLEANUP(cleanup_free) struct tensor *tensors = tensors_new(o, &n_tensors);
    CLEANUP(cleanup_free) struct weights *w = weights_new(o);
    uint64_t total = 0;

    if (!tensors || !w)
        return -ENOMEM;
    for (uint64_t shard = 0; shard < o->shards; shard++) {
        int r = write_shard(o, w, shard, tensors, n_tensors, &total);

        if (r < 0)
            return r;
    }
    *ret_bytes = total;
    return 0;
}

/* ---- options ------------------------------------------------------------------------------------------------- */

static void usage(FILE *f)
{
    fputs("usage: caravan-mkgguf [OPTION]... OUT.gguf\n"
          "Writes a random llama model. Equal options give equal bytes.\n\n"
          "  --layers N       4, or 32 with --sparse      --embd N      128, or what suits --sparse\n"
          "  --heads N        embd / 32, or / 128         --kv-heads N  heads / 4\n"
          "  --ff N           3 x embd                    --vocab N     512, at least 400\n"
          "  --ctx N          4096                        --type TYPE   f16, f32 or q8_0\n"
          "  --seed N         1                           --name NAME   caravan-test\n"
          "  --sparse GB      every weight zero and a hole in the file, which is at least GB (10^9 bytes) long\n"
          "  --shards N       OUT-00001-of-0000N.gguf and so on\n"
          "  --header-only    ends where the first tensor would begin\n"
          "  --truncate BYTES the (last) file ends after BYTES\n",
          f);
}

static bool parse_number(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value > max)
        return false;
    *ret = value;
    return true;
}

static bool parse_gb(const char *text, double *ret)
{
    char *end;

    *ret = strtod(text, &end);
    return end != text && !*end && *ret > 0 && *ret <= 100000;
}

/* One option; false: its value is no good. */
static bool take_option(struct options *o, const char *name, const char *value)
{
    const struct {
        const char *name;
        uint64_t *at;
        uint64_t max;
    } numbers[] = {
        {"layers", &o->layers, LAYERS_MAX},
        {"embd", &o->embd, 1 << 16},
        {"heads", &o->heads, 1 << 12},
        {"kv-heads", &o->kv_heads, 1 << 12},
        {"ff", &o->ff, 1 << 24},
        {"vocab", &o->vocab, 1 << 20},
        {"ctx", &o->ctx, 1 << 30},
        {"seed", &o->seed, UINT64_MAX},
        {"shards", &o->shards, SHARDS_MAX},
        {"truncate", &o->truncate_bytes, INT64_MAX},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        if (!strcmp(name, numbers[i].name)) {
            o->truncated = o->truncated || numbers[i].at == &o->truncate_bytes;
            return parse_number(value, numbers[i].max, numbers[i].at);
        }
    }
    if (!strcmp(name, "type"))
        return (o->type = tensor_type_find(value)) != NULL;
    if (!strcmp(name, "sparse"))
        return parse_gb(value, &o->sparse_gb);
    if (!strcmp(name, "name"))
        o->name = value;
    else
        o->header_only = true;
    return true;
}

/* Fills in what was left open. Returns NULL, or what is wrong. */
static const char *complete(struct options *o)
{
    bool sparse = o->sparse_gb > 0;

    o->layers = o->layers ? o->layers : sparse ? 32 : 4;
    o->embd = o->embd ? o->embd : !sparse ? 128 : o->sparse_gb >= 6 ? 4096 : o->sparse_gb >= 1 ? 2048 : 512;
    o->heads = o->heads ? o->heads : o->embd < 128 ? 1 : o->embd / (sparse ? 128 : 32);
    o->kv_heads = o->kv_heads ? o->kv_heads : o->heads < 4 ? 1 : o->heads / 4;
    if (o->shards == 0 || o->ctx == 0)
        return "--shards and --ctx must be at least 1";
    if (o->vocab < VOCAB_MIN)
        return "--vocab must be at least 400";
    if (o->embd % o->heads || o->heads % o->kv_heads || o->embd / o->heads % 2)
        return "--heads must divide --embd into even parts, and --kv-heads divide --heads";
    if (sparse && !o->ff) {
        double row = (double)o->type->block_bytes / o->type->block * (double)o->embd; /* bytes of embd weights */
        uint64_t kv = o->embd / o->heads * o->kv_heads;
        double layer = (o->sparse_gb * 1e9 - 2 * row * (double)o->vocab) / (double)o->layers;
        double ff = (layer - row * (2 * (double)o->embd + 2 * (double)kv)) / (3 * row);

        if (ff < 1)
            return "--sparse is too small for these layers and this --embd";
        o->ff = (uint64_t)ceil(ff / 32) * 32; /* at least what was asked for: it may be a bound that is tested */
    }
    o->ff = o->ff ? o->ff : 3 * o->embd;
    if (o->embd % o->type->block || o->ff % o->type->block)
        return "q8_0 wants --embd and --ff divisible by 32";
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"layers", required_argument, NULL, 'o'},   {"embd", required_argument, NULL, 'o'},
        {"heads", required_argument, NULL, 'o'},    {"kv-heads", required_argument, NULL, 'o'},
        {"ff", required_argument, NULL, 'o'},       {"vocab", required_argument, NULL, 'o'},
        {"ctx", required_argument, NULL, 'o'},      {"type", required_argument, NULL, 'o'},
        {"seed", required_argument, NULL, 'o'},     {"name", required_argument, NULL, 'o'},
        {"sparse", required_argument, NULL, 'o'},   {"shards", required_argument, NULL, 'o'},
        {"truncate", required_argument, NULL, 'o'}, {"header-only", no_argument, NULL, 'o'},
        {"help", no_argument, NULL, 'h'},           {0},
    };
    struct options o = {
        .name = "caravan-test", .type = tensor_type_find("f16"), .vocab = 512, .ctx = 4096, .seed = 1, .shards = 1};
    const char *problem;
    uint64_t bytes;
    int c, index, r;

    while ((c = getopt_long(argc, argv, "h", names, &index)) != -1) {
        if (c == 'h') {
            usage(stdout);
            return 0;
        }
        if (c == '?')
            return 2;
        if (!take_option(&o, names[index].name, optarg)) {
            fprintf(stderr, "caravan-mkgguf: --%s cannot be %s\n", names[index].name, optarg);
            return 2;
        }
    }
    if (optind != argc - 1) {
        usage(stderr);
        return 2;
    }
    o.out = argv[optind];
    problem = complete(&o);
    if (problem) {
        fprintf(stderr, "caravan-mkgguf: %s\n", problem);
        return 2;
    }
    r = write_model(&o, &bytes);
    if (r < 0) {
        fprintf(stderr, "caravan-mkgguf: %s: %s\n", o.out, strerror(-r));
        return 1;
    }
    printf("%s: %" PRIu64 " layers, embd %" PRIu64 ", ff %" PRIu64 ", vocab %" PRIu64 ", %s, %.3f GB\n", o.out,
           o.layers, o.embd, o.ff, o.vocab, o.type->name, (double)bytes / 1e9);
    return 0;
}
