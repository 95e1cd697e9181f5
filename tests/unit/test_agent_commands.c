/* How llama.cpp's programs are called, what is read of what they say about themselves, and the agent's own options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/coordinator.h"
#include "agent/llama.h"
#include "agent/options.h"
#include "agent/subprocess.h"
#include "agent/worker.h"

static char *join(const char *const *argv)
{
    static char line[8192];
    size_t used = 0;

    for (line[0] = '\0'; *argv; argv++)
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%s", used ? " " : "", *argv);
    return line;
}

static void test_worker(void **state)
{
    struct unit_facts unit = {.addr = "10.77.0.11", .port = 20052, .n_devices = 2, .device = {"CUDA0", "CUDA1"}};
    struct worker_command c;

    (void)state;
    worker_command_make("/usr/bin/rpc-server", &unit, 8, &c);
    assert_string_equal(join(c.argv), "/usr/bin/rpc-server -H 10.77.0.11 -p 20052 -t 8 -d CUDA0,CUDA1");
    unit.n_devices = 0;
    worker_command_make("/usr/bin/rpc-server", &unit, 1, &c);
    assert_string_equal(join(c.argv), "/usr/bin/rpc-server -H 10.77.0.11 -p 20052 -t 1");
    unit.n_devices = PROTO_DEVICES_MAX;
    for (size_t i = 0; i < PROTO_DEVICES_MAX; i++) {
        memset(unit.device[i], 'd', PROTO_DEVICE_MAX - 1);
        unit.device[i][PROTO_DEVICE_MAX - 1] = '\0';
    }
    worker_command_make("r", &unit, 1, &c);
    assert_int_equal(strlen(c.devices), PROTO_DEVICES_MAX * PROTO_DEVICE_MAX - 1);
}

static struct llama all_flags(void)
{
    struct llama l = {.server = "/usr/bin/llama-server"};

    memset(l.has, true, sizeof(l.has));
    return l;
}

static const struct unit_facts coordinator = {.addr = "10.77.0.11", .port = 18080};

static void test_coordinator(void **state)
{
    char arg[2][PROTO_ARG_MAX] = {"--temp", "0"};
    struct coordinator_spec spec = {.model = "m",
                                    .alias = "qwen",
                                    .n_ranks = 2,
                                    .n_devices = 3,
                                    .endpoint = {"10.77.0.11:20052", "10.77.0.12:20052"},
                                    .device = {"RPC0", "RPC1", "RPC2"},
                                    .layers = {6, 6, 5},
                                    .ctx = 4096,
                                    .slots = 2,
                                    .batch = 512,
                                    .ubatch = 128,
                                    .kv_type = "q8_0",
                                    .api_key = "SECRET",
                                    .n_args = 2,
                                    .arg = arg};
    struct llama l = all_flags();
    struct coordinator_command c;

    (void)state;
    assert_int_equal(coordinator_command_make(&l, &coordinator, &spec, "/models/m.gguf", "/s/key", &c), 0);
    assert_string_equal(join(c.argv),
                        "/usr/bin/llama-server -m /models/m.gguf -a qwen --rpc 10.77.0.11:20052,10.77.0.12:20052 "
                        "--device RPC0,RPC1,RPC2 -ts 6,6,5 -ngl 99 -sm layer -c 4096 -np 2 -b 512 -ub 128 -ctk q8_0 "
                        "-ctv q8_0 -fa on -fit off -cram 0 -ctxcp 0 -lv 4 --log-colors off --threads-http 32 --metrics "
                        "--slots --sse-ping-interval 1 --no-webui --no-warmup --api-key-file /s/key --host 10.77.0.11 "
                        "--port 18080 --temp 0");
    assert_null(strstr(join(c.argv), "SECRET"));
    coordinator_command_clear(&c);
    for (size_t f = LLAMA_FIT; f < LLAMA_FLAG_N; f++)
        l.has[f] = false; /* an older build */
    assert_int_equal(coordinator_command_make(&l, &coordinator, &spec, "/m", "/k", &c), 0);
    assert_null(strstr(join(c.argv), "-fit"));
    assert_null(strstr(join(c.argv), "--slots"));
    assert_non_null(strstr(join(c.argv), "-lv 4"));
    coordinator_command_clear(&c);
}

static void test_coordinator_without_ranks(void **state)
{
    struct coordinator_spec spec = {
        .model = "m", .n_devices = 1, .device = {"CUDA0"}, .layers = {17}, .kv_type = "f16"};
    struct llama l = all_flags();
    struct coordinator_command c;

    (void)state;
    assert_int_equal(coordinator_command_make(&l, &coordinator, &spec, "/m", "/k", &c), 0);
    assert_null(strstr(join(c.argv), "--rpc"));
    assert_non_null(strstr(join(c.argv), "-a m --device CUDA0 -ts 17 -ngl 99"));
    coordinator_command_clear(&c);
    strcpy(spec.device[0], "CPU");
    assert_int_equal(coordinator_command_make(&l, &coordinator, &spec, "/m", "/k", &c), 0);
    assert_non_null(strstr(join(c.argv), "--device none -ngl 0"));
    assert_null(strstr(join(c.argv), "-ts"));
    coordinator_command_clear(&c);
}

/* The longest that a command may be fits. */
static void test_largest_coordinator(void **state)
{
    struct coordinator_spec spec = {.n_ranks = PROTO_RANKS_MAX,
                                    .n_devices = PROTO_RANKS_MAX * 2,
                                    .ctx = UINT32_MAX,
                                    .slots = UINT32_MAX,
                                    .batch = UINT32_MAX,
                                    .ubatch = UINT32_MAX,
                                    .n_args = PROTO_ARGS_MAX};
    char(*arg)[PROTO_ARG_MAX] = calloc(PROTO_ARGS_MAX, PROTO_ARG_MAX);
    struct llama l = all_flags();
    struct coordinator_command c;
    size_t n = 0;

    (void)state;
    assert_non_null(arg);
    spec.arg = arg;
    for (size_t i = 0; i < spec.n_ranks; i++)
        memset(spec.endpoint[i], 'e', sizeof(spec.endpoint[i]) - 1);
    for (size_t i = 0; i < spec.n_devices; i++) {
        memset(spec.device[i], 'd', sizeof(spec.device[i]) - 1);
        spec.layers[i] = UINT32_MAX;
    }
    assert_int_equal(coordinator_command_make(&l, &coordinator, &spec, "/m", "/k", &c), 0);
    while (c.argv[n] && strcmp(c.argv[n], "--port") != 0)
        n++;
    assert_string_equal(c.argv[n + 1], "18080");
    coordinator_command_clear(&c);
    free(arg);
}

static void test_version(void **state)
{
    static const struct {
        const char *text, *build;
    } rows[] = {
        {"version: 0.7.0 (build 11669, commit Debian)\nbuilt with GNU\n", "b11669-0.7.0"},
        {"noise\nversion: 4567 (abc1234)\nbuilt with cc\n", "b4567-abc1234"},
        {"version: \n", ""},
        {"version: 1", ""},
        {"version: 1 (", "b1-"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char build[PROTO_NAME_MAX];

        llama_parse_version(rows[i].text, build, sizeof(build));
        assert_string_equal(build, rows[i].build);
    }
}

static void test_help(void **state)
{
    bool has[LLAMA_FLAG_N];

    (void)state;
    llama_parse_help("----- common params -----\n"
                     "-c,    --ctx-size N                     size\n"
                     "                                        (see --rpc and -ts)\n"
                     "--ui,  --webui, --no-ui, --no-webui     whether\n"
                     "-dev,  --device <dev1,dev2,..>          devices\n"
                     "--slots-x                               other\n"
                     "--metrics",
                     has);
    assert_true(has[LLAMA_CTX] && has[LLAMA_NO_WEBUI] && has[LLAMA_DEVICE] && has[LLAMA_METRICS]);
    assert_false(has[LLAMA_RPC] || has[LLAMA_TENSOR_SPLIT] || has[LLAMA_SLOTS]);
}

static void test_subprocess(void **state)
{
    char text[16];

    (void)state;
    assert_int_equal(subprocess_run((const char *[]){"/bin/sh", "-c", "echo a; echo b >&2", NULL}, 10000, text, 16), 0);
    assert_string_equal(text, "a\nb\n");
    assert_int_equal(
        subprocess_run((const char *[]){"/bin/sh", "-c", "yes | head -c 100000; exit 1", NULL}, 10000, text, 16),
        SUBPROCESS_E_FAILED);
    assert_int_equal(strlen(text), 15);
    assert_int_equal(subprocess_run((const char *[]){"/nonexistent", NULL}, 10000, text, 16), SUBPROCESS_E_EXEC);
    assert_int_equal(subprocess_run((const char *[]){"/bin/sh", "-c", "sleep 1000 & wait", NULL}, 50, text, 16),
                     SUBPROCESS_E_TIMEOUT);
}

static void test_no_llama(void **state)
{
    struct llama l;

    (void)state;
    assert_int_equal(llama_find("/nonexistent", &l), 0);
    assert_string_equal(l.problem, "llama-server was not found in /nonexistent: install llama.cpp, or set llama_dir");
}

#define KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void test_controllers(void **state)
{
    static const struct {
        const char *text;
        bool ok, has_key;
        const char *host;
        uint16_t port;
    } rows[] = {
        {"10.0.0.1 " KEY, true, true, "10.0.0.1", 7420},
        {"ctl:7421 \t" KEY, true, true, "ctl", 7421},
        {"[fe80::1]:99 " KEY, true, true, "fe80::1", 99},
        {"[2001:db8::1]", true, false, "2001:db8::1", 7420},
        {"2001:db8::1", true, false, "2001:db8::1", 7420},
        {"ctl", true, false, "ctl", 7420},
        {"", .ok = false},
        {":7420", .ok = false},
        {"ctl:", .ok = false},
        {"ctl:0", .ok = false},
        {"ctl:65536", .ok = false},
        {"ctl:123456789", .ok = false},
        {"[::1", .ok = false},
        {"[::1]x", .ok = false},
        {"[]:1", .ok = false},
        {"ctl 0011", .ok = false},
        {"ctl " KEY "0", .ok = false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct controller_address a;

        if (controller_address_parse(rows[i].text, 7420, &a) != rows[i].ok)
            fail_msg("%s", rows[i].text);
        if (!rows[i].ok)
            continue;
        assert_string_equal(a.host, rows[i].host);
        assert_int_equal(a.port, rows[i].port);
        assert_int_equal(a.has_key, rows[i].has_key);
    }
}

/* Children run in another directory than the agent: what they are given must not depend on it. */
static void test_relative_paths(void **state)
{
    char *argv[] = {"caravan-agent", "--state-dir", "state", "--models",  "models,/m/./x", "--llama-dir",
                    "llama/bin",     "--shim",      "shim",  "--carrier", "carrier",       NULL};
    char cwd[PROTO_PATH_MAX / 2], expected[PROTO_PATH_MAX];
    struct agent_options o;

    (void)state;
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    assert_int_equal(agent_options_load(&o, 11, argv), 0);
    snprintf(expected, sizeof(expected), "%s/state", cwd);
    assert_string_equal(o.state_dir, expected);
    snprintf(expected, sizeof(expected), "%s/llama/bin", cwd);
    assert_string_equal(o.llama_dir, expected);
    snprintf(expected, sizeof(expected), "%s/shim", cwd);
    assert_string_equal(o.shim, expected);
    snprintf(expected, sizeof(expected), "%s/carrier", cwd);
    assert_string_equal(o.carrier, expected);
    assert_int_equal(o.n_models, 2);
    snprintf(expected, sizeof(expected), "%s/models", cwd);
    assert_string_equal(o.models[0], expected);
    assert_string_equal(o.models[1], "/m/./x");
    agent_options_clear(&o);
}

static void test_rank_transport(void **state)
{
    char *direct[] = {"caravan-agent", "--rank-transport", "direct", "--carrier-ports", "7500-7509", NULL};
    char *plain[] = {"caravan-agent", NULL}, *neither[] = {"caravan-agent", "--rank-transport", "both", NULL};
    struct agent_options o;

    (void)state;
    assert_int_equal(agent_options_load(&o, 5, direct), 0);
    assert_false(o.tunnel);
    assert_int_equal(o.carrier_ports.first, 7500);
    assert_int_equal(o.carrier_ports.last, 7509);
    agent_options_clear(&o);
    assert_int_equal(agent_options_load(&o, 1, plain), 0);
    assert_true(o.tunnel);
    assert_int_equal(o.carrier_ports.first, 7440);
    assert_int_equal(o.carrier_ports.last, 7499);
    agent_options_clear(&o);
    assert_int_equal(agent_options_load(&o, 3, neither), OPTIONS_E_INVALID);
    agent_options_clear(&o);
}

static void test_port_ranges(void **state)
{
    static const char *const bad[] = {"", "-", "1-", "-1", "2-1", "0-5", "1-65536", "a-b", "123456789-1", "1-2-3"};
    struct port_range r;

    (void)state;
    assert_true(port_range_parse("20052-20151", &r));
    assert_int_equal(r.first, 20052);
    assert_int_equal(r.last, 20151);
    assert_true(port_range_parse("7", &r));
    assert_int_equal(r.first, 7);
    assert_int_equal(r.last, 7);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(port_range_parse(bad[i], &r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker),
        cmocka_unit_test(test_coordinator),
        cmocka_unit_test(test_coordinator_without_ranks),
        cmocka_unit_test(test_largest_coordinator),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_subprocess),
        cmocka_unit_test(test_no_llama),
        cmocka_unit_test(test_controllers),
        cmocka_unit_test(test_relative_paths),
        cmocka_unit_test(test_rank_transport),
        cmocka_unit_test(test_port_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
