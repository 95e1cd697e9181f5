#include "tests/fuzz/support.h"

#include <ftw.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "common/crypto.h"
#include "common/log.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

enum { FAILURES_MAX = 32 };

/* Allocations while an input is tried; the linker leads those of our own code here (--wrap). */
static struct {
    bool on, failed;
    long until_failure; /* -1: none fails */
    size_t bytes, largest;
} memory = {.until_failure = -1};

/* The input that has cost most. */
static struct {
    size_t input, bytes, largest;
} most;

static void count(size_t n_bytes)
{
    memory.bytes += n_bytes;
    memory.largest = n_bytes > memory.largest ? n_bytes : memory.largest;
}

static bool fails(size_t n_bytes)
{
    if (!memory.on)
        return false;
    if (memory.until_failure >= 0 && memory.until_failure-- == 0) {
        memory.failed = true;
        return true;
    }
    count(n_bytes);
    return false;
}

/* Jansson's are counted and never fail: it asserts where its buffer cannot grow in the middle of a string. */
static void *malloc_for_json(size_t n)
{
    if (memory.on)
        count(n);
    return __real_malloc(n);
}

void *__wrap_malloc(size_t n)
{
    return fails(n) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails(n * size) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails(n) ? NULL : __real_realloc(p, n);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
    return fails(n * size) ? NULL : __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *s)
{
    return fails(strlen(s) + 1) ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
    return fails(strnlen(s, n) + 1) ? NULL : __real_strndup(s, n);
}

bool fuzz_memory_failed(void)
{
    return memory.failed;
}

char *fuzz_string(const uint8_t *data, size_t size)
{
    char *s = __real_malloc(size + 1);

    if (!s)
        abort();
    if (size)
        memcpy(s, data, size);
    s[size] = '\0';
    return s;
}

static char dir[] = "/tmp/caravan-fuzz-XXXXXX";

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void remove_dir(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fuzz_dir(void)
{
    static bool made;

    if (!made && (!mkdtemp(dir) || atexit(remove_dir) != 0))
        abort();
    made = true;
    return dir;
}

static void say_most(void)
{
    printf("memory: at most %zu bytes, the largest piece %zu, for an input of %zu bytes\n", most.bytes, most.largest,
           most.input);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_set_level(LOG_LEVEL_ERROR);
    json_set_alloc_funcs(malloc_for_json, free);
    if (getenv("FUZZ_MEMORY"))
        atexit(say_most);
    if (crypto_init() < 0)
        abort();
    if (fuzz_setup)
        fuzz_setup();
    return 0;
}

static void try_input(const uint8_t *data, size_t size, long until_failure)
{
    memory.on = true;
    memory.failed = false;
    memory.until_failure = until_failure;
    memory.bytes = memory.largest = 0;
    fuzz_one(data, size);
    memory.on = false;
}

/* Which inputs come again, and what fails then, follows from the bytes alone: an input that was kept fails again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    try_input(data, size, -1);
    if (memory.bytes > most.bytes) {
        most.input = size;
        most.bytes = memory.bytes;
        most.largest = memory.largest;
    }
    if (hash >> 60 < 4)
        try_input(data, size, (long)(hash >> 32) % FAILURES_MAX);
    return 0;
}
