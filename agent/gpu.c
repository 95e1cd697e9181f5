#include "agent/gpu.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/procfs.h"

/* The few prototypes of NVML that are needed; its ABI is stable under these names. */
typedef struct nvml_device *nvml_device_t;
struct nvml_memory {
    unsigned long long total, free, used;
};
struct nvml_utilization {
    unsigned gpu, memory;
};
enum { NVML_OK = 0, NVML_NOT_SUPPORTED = 3, NVML_TEMPERATURE_GPU = 0 };

struct gpu {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*by_index)(unsigned index, nvml_device_t *ret);
    int (*by_uuid)(const char *uuid, nvml_device_t *ret);
    int (*memory)(nvml_device_t device, struct nvml_memory *ret);
    int (*utilization)(nvml_device_t device, struct nvml_utilization *ret);
    int (*temperature)(nvml_device_t device, int sensor, unsigned *ret);
    bool running;
};

void gpu_destroy(struct gpu **g)
{
    if (!*g)
        return;
    if ((*g)->running)
        (*g)->shutdown();
    if ((*g)->library)
        dlclose((*g)->library);
    free(*g);
    *g = NULL;
}

/* dlsym yields an object pointer where a function pointer is wanted: POSIX has them the same, ISO C does not. */
static bool load(struct gpu *g, const char *name, void *function)
{
    void *symbol = dlsym(g->library, name);

    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

int gpu_new(const char *library, struct gpu **ret)
{
    CLEANUP(gpu_destroy) struct gpu *g = calloc(1, sizeof(*g));

    if (!g)
        return err_raise(-ENOMEM);
    g->library = dlopen(library ? library : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!g->library)
        return GPU_E_ABSENT;
    if (!load(g, "nvmlInit_v2", &g->init) || !load(g, "nvmlShutdown", &g->shutdown) ||
        !load(g, "nvmlDeviceGetHandleByIndex_v2", &g->by_index) || !load(g, "nvmlDeviceGetHandleByUUID", &g->by_uuid) ||
        !load(g, "nvmlDeviceGetMemoryInfo", &g->memory) || !load(g, "nvmlDeviceGetUtilizationRates", &g->utilization) ||
        !load(g, "nvmlDeviceGetTemperature", &g->temperature))
        return GPU_E_ABSENT;
    g->running = g->init() == NVML_OK;
    if (!g->running)
        return GPU_E_ABSENT;
    *ret = g;
    g = NULL;
    return 0;
}

/* The n-th entry of CUDA_VISIBLE_DEVICES: an index, or a UUID. Not set: n itself. */
static bool handle_of(const struct gpu *g, unsigned n, nvml_device_t *ret)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    char entry[96];
    size_t len;

    if (!visible)
        return g->by_index(n, ret) == NVML_OK;
    for (; n; n--) {
        visible = strchr(visible, ',');
        if (!visible++)
            return false;
    }
    visible += strspn(visible, " ");
    len = strcspn(visible, ", ");
    if (!len || len >= sizeof(entry))
        return false;
    memcpy(entry, visible, len);
    entry[len] = '\0';
    if (isdigit((unsigned char)entry[0]))
        return g->by_index((unsigned)strtoul(entry, NULL, 10), ret) == NVML_OK;
    return g->by_uuid(entry, ret) == NVML_OK;
}

static bool cuda_index(const char *name, unsigned *ret)
{
    const char *p = name + 4, *end = name + strlen(name);
    uint64_t n;

    if (strncmp(name, "CUDA", 4) != 0 || !procfs_uint(&p, end, &n) || p != end || n > 1024)
        return false;
    *ret = (unsigned)n;
    return true;
}

static void read_one(const struct gpu *g, nvml_device_t handle, uint64_t host_free_bytes, struct device_facts *d)
{
    struct nvml_utilization utilization;
    struct nvml_memory memory;
    unsigned celsius;
    int r = g->memory(handle, &memory);

    if (r == NVML_OK) {
        d->total_bytes = memory.total;
        d->free_bytes = memory.free;
    } else if (r == NVML_NOT_SUPPORTED) {
        d->kind = DEVICE_UNIFIED;
        d->free_bytes = host_free_bytes;
    }
    d->utilization_permille =
        g->utilization(handle, &utilization) == NVML_OK ? (int32_t)(utilization.gpu % 101 * 10) : -1;
    d->temperature_c =
        g->temperature(handle, NVML_TEMPERATURE_GPU, &celsius) == NVML_OK ? (int32_t)(celsius % 1000) : INT32_MIN;
}

void gpu_read(struct gpu *g, uint64_t host_free_bytes, struct device_facts *device, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        nvml_device_t handle;
        unsigned index;

        if (cuda_index(device[i].name, &index) && handle_of(g, index, &handle))
            read_one(g, handle, host_free_bytes, &device[i]);
    }
}

/* "N MiB" before p, going back from it; *p moves before it. */
static bool mib_before(const char *begin, const char **p, uint64_t *ret_bytes)
{
    const char *end = *p, *digit;

    if (end - begin < 5 || memcmp(end - 4, " MiB", 4) != 0)
        return false;
    end -= 4;
    for (digit = end; digit > begin && isdigit((unsigned char)digit[-1]);)
        digit--;
    *p = digit;
    return procfs_uint(&digit, end, ret_bytes) && !__builtin_mul_overflow(*ret_bytes, 1024u * 1024u, ret_bytes);
}

static bool ends_with(const char *begin, const char **end, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(*end - begin) < n || memcmp(*end - n, word, n) != 0)
        return false;
    *end -= n;
    return true;
}

/* Read from the end: the description may hold parentheses and colons. */
static bool parse_line(const char *p, const char *end, struct device_facts *ret)
{
    struct device_facts d = {.kind = DEVICE_GPU, .utilization_permille = -1, .temperature_c = INT32_MIN};
    const char *colon;

    while (p < end && *p == ' ')
        p++;
    colon = memchr(p, ':', (size_t)(end - p));
    if (!colon || colon == p || colon - p >= PROTO_DEVICE_MAX || end - colon < 3 || colon[1] != ' ')
        return false;
    for (const char *c = p; c < colon; c++)
        if (!isalnum((unsigned char)*c) && *c != '_' && *c != '-')
            return false;
    memcpy(d.name, p, (size_t)(colon - p));
    p = colon + 2;
    if (!ends_with(p, &end, " free)") || !mib_before(p, &end, &d.free_bytes) || !ends_with(p, &end, ", ") ||
        !mib_before(p, &end, &d.total_bytes) || !ends_with(p, &end, " ("))
        return false;
    for (size_t i = 0; p + i < end && i < PROTO_NAME_MAX - 1; i++)
        d.description[i] = p[i] >= ' ' && p[i] <= '~' ? p[i] : '?';
    *ret = d;
    return true;
}

size_t gpu_list_parse(const char *text, size_t n_bytes, struct device_facts *ret, size_t max)
{
    const char *end = text + n_bytes;
    size_t n = 0;

    for (const char *p = text; p < end && n < max;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));

        if (!eol)
            break;
        n += parse_line(p, eol, &ret[n]);
        p = eol + 1;
    }
    return n;
}
