/* Memory truly free under any arrangement of cgroups, addresses chosen, devices named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "agent/gpu.h"
#include "agent/system.h"
#include "common/clock.h"
#include "common/host.h"

#define GIB (UINT64_C(1) << 30)

static char root[64];

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test_system.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    char command[96];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

static void put(const char *path, const char *text)
{
    char full[512];
    FILE *f;

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        mkdir(full, 0700);
    }
    f = fopen(full, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void put_host(void) /* 16 GiB, 12 free */
{
    put("/proc/meminfo", "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 12582912 kB\n");
}

static struct system_memory read_memory(void)
{
    struct system_memory m;

    assert_int_equal(system_memory_read(root, &m), 0);
    return m;
}

static void test_no_cgroups(void **state)
{
    struct system_memory m;

    (void)state;
    assert_true(system_memory_read(root, &m) < 0);
    put_host();
    m = read_memory();
    assert_int_equal(m.total_bytes, 16 * GIB);
    assert_int_equal(m.free_bytes, 12 * GIB);
}

static void test_v2(void **state)
{
    struct system_memory m;

    (void)state;
    put_host();
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/a/memory.max", "4294967296\n");
    put("/sys/fs/cgroup/a/memory.current", "3221225472\n");
    m = read_memory();
    assert_int_equal(m.total_bytes, 4 * GIB); /* the parent's */
    assert_int_equal(m.free_bytes, 1 * GIB);
    put("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 1073741824\n");
    assert_int_equal(read_memory().free_bytes, 2 * GIB);
    put("/sys/fs/cgroup/a/b/memory.max", "2147483648\n");
    put("/sys/fs/cgroup/a/b/memory.current", "3000000000\n"); /* over it: nothing is left */
    m = read_memory();
    assert_int_equal(m.total_bytes, 2 * GIB);
    assert_int_equal(m.free_bytes, 0);
}

static void test_v1_and_hybrid(void **state)
{
    (void)state;
    put_host();
    put("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/cv-lab/n2\n0::/x\n");
    put("/sys/fs/cgroup/memory/cv-lab/n2/memory.limit_in_bytes", "2147483648\n");
    put("/sys/fs/cgroup/memory/cv-lab/n2/memory.usage_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/cv-lab/n2/memory.stat", "inactive_file 1\ntotal_inactive_file 536870912\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(read_memory().free_bytes, 3 * GIB / 2);
    put("/sys/fs/cgroup/unified/x/memory.max", "1073741824\n");
    put("/sys/fs/cgroup/unified/x/memory.current", "0\n");
    assert_int_equal(read_memory().free_bytes, 1 * GIB);
}

/* A container on v1 sees the host's path and its own group as the root of the mount. */
static void test_path_not_visible(void **state)
{
    (void)state;
    put_host();
    put("/proc/self/cgroup", "4:memory:/docker/0123\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
    assert_int_equal(read_memory().free_bytes, 1 * GIB);
}

static void test_this_machine(void **state)
{
    struct system_memory m;
    uint32_t load;
    char boot_id[SYSTEM_BOOT_ID];

    (void)state;
    assert_int_equal(system_memory_read("", &m), 0);
    assert_true(m.free_bytes > 0 && m.free_bytes <= m.total_bytes);
    assert_int_equal(system_load_read("", &load), 0);
    assert_int_equal(system_boot_id(boot_id), 0);
    assert_int_equal(strlen(boot_id), 36);
    assert_true(system_uptime_ms() >= clock_now_ms());
    assert_true(host_has_address("127.0.0.1"));
    assert_false(host_has_address("203.0.113.7"));
}

static void test_machine_id(void **state)
{
    char id[SYSTEM_MACHINE_ID];

    (void)state;
    assert_int_equal(system_machine_id(root, id), SYSTEM_E_ABSENT);
    put("/etc/machine-id", "");
    assert_int_equal(system_machine_id(root, id), SYSTEM_E_ABSENT);
    put("/etc/machine-id", "uninitialized\n");
    assert_int_equal(system_machine_id(root, id), SYSTEM_E_ABSENT);
    put("/etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
    assert_int_equal(system_machine_id(root, id), 0);
    assert_string_equal(id, "3d1219c7c4c5404aaa1f6d2a48adfda4");
}

static void test_addresses(void **state)
{
    static const struct system_address have[] = {
        {"lo", "127.0.0.1", false, true},     {"docker0", "172.17.0.1", false, true},
        {"eth0", "2001:db8::5", true, true},  {"eth0", "fe80::1", true, true},
        {"eth0", "10.77.0.11", false, true},  {"eth1", "192.168.5.2", false, true},
        {"wlan0", "10.1.1.1", false, false},  {"eth1", "169.254.3.4", false, true},
        {"br-3f", "172.18.0.1", false, true}, {"lo", "127.0.0.2", false, true},
    };
    static const struct {
        const char *wanted;
        const char *rule[4];
        size_t n_rules, n;
        const char *first;
    } rows[] = {
        {NULL, {NULL}, 0, 3, "10.77.0.11"},
        {NULL, {"!eth0"}, 1, 1, "192.168.5.2"},
        {NULL, {"eth1", "eth0"}, 2, 3, "192.168.5.2"},
        {NULL, {"eth*", "!eth1"}, 2, 2, "10.77.0.11"},
        {NULL, {"docker0"}, 1, 1, "172.17.0.1"},
        {NULL, {"lo"}, 1, 2, "127.0.0.1"},
        {NULL, {"wlan0"}, 1, 0, NULL},
        {NULL, {"nosuch"}, 1, 0, NULL},
        {"192.168.5.2", {NULL}, 0, 3, "192.168.5.2"},
        {"127.0.0.2", {NULL}, 0, 4, "127.0.0.2"},
        {"10.9.9.9", {NULL}, 0, 0, NULL},
        {"10.1.1.1", {NULL}, 0, 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char got[PROTO_ADDRS_MAX][PROTO_ADDR_MAX];
        size_t n = system_choose_addresses(have, sizeof(have) / sizeof(have[0]), rows[i].wanted, rows[i].rule,
                                           rows[i].n_rules, got);

        assert_int_equal(n, rows[i].n);
        if (n)
            assert_string_equal(got[0], rows[i].first);
    }
}

static void test_device_list(void **state)
{
    static const char text[] = "ggml_cuda_init: found 1 CUDA devices:\n"
                               "  Device 0: NVIDIA H200, compute capability 9.0, VMM: yes\n"
                               "Available devices:\n"
                               "  CUDA0: NVIDIA H200 (143167 MiB, 142000 MiB free)\n"
                               "  Vulkan0: AMD (RADV: GFX1151) (x) (65536 MiB, 1 MiB free)\n"
                               "  (none)\n"
                               "  : x (1 MiB, 1 MiB free)\n"
                               "  a b: x (1 MiB, 1 MiB free)\n"
                               "  A: x (1 MiB, 1 MiB free\n"
                               "  A: x (99999999999999999999 MiB, 1 MiB free)\n"
                               "  A: x (17592186044416 MiB, 1 MiB free)\n"
                               "  cut: x (1 MiB, 1 MiB free)";
    struct device_facts d[4];

    (void)state;
    assert_int_equal(gpu_list_parse(text, sizeof(text) - 1, d, 4), 2);
    assert_string_equal(d[0].name, "CUDA0");
    assert_string_equal(d[0].description, "NVIDIA H200");
    assert_int_equal(d[0].total_bytes, 143167ull << 20);
    assert_int_equal(d[0].free_bytes, 142000ull << 20);
    assert_int_equal(d[0].kind, DEVICE_GPU);
    assert_string_equal(d[1].description, "AMD (RADV: GFX1151) (x)");
    assert_int_equal(gpu_list_parse(text, sizeof(text) - 1, d, 1), 1);
    for (size_t n = 0; n < sizeof(text); n++) {
        char *cut = malloc(n ? n : 1);

        assert_non_null(cut);
        memcpy(cut, text, n);
        assert_true(gpu_list_parse(cut, n, d, 4) <= 2);
        free(cut);
    }
}

static void test_no_driver(void **state)
{
    struct gpu *g = NULL;

    (void)state;
    assert_int_equal(gpu_new("/nonexistent/libnvidia-ml.so.1", &g), GPU_E_ABSENT);
    assert_int_equal(gpu_new("libc.so.6", &g), GPU_E_ABSENT); /* a library, but not that one */
    assert_null(g);
    gpu_destroy(&g);
}

#define WITH_ROOT(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(test_no_cgroups),       WITH_ROOT(test_v2),
        WITH_ROOT(test_v1_and_hybrid),    WITH_ROOT(test_path_not_visible),
        WITH_ROOT(test_machine_id),       cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_device_list),
        cmocka_unit_test(test_no_driver),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
