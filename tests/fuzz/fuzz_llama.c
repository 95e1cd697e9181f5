/* What llama.cpp's programs print: version, help, devices, and the last words of one that has ended. */
#include <string.h>

#include "agent/gpu.h"
#include "agent/llama.h"
#include "agent/process_log.h"
#include "common/core/text.h"
#include "tests/fuzz/support.h"

static bool is_clean(const char *s)
{
    for (; *s; s += text_sequence(s, strlen(s)))
        if (!text_sequence(s, strlen(s)) || (unsigned char)*s < 0x20)
            return false;
    return true;
}

static void check_devices(const char *text, size_t n)
{
    struct device_facts device[PROTO_DEVICES_MAX];

    memset(device, 0, sizeof(device));
    n = gpu_list_parse(text, n, device, PROTO_DEVICES_MAX);
    FUZZ_CHECK(n <= PROTO_DEVICES_MAX);
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(device[i].name[0] && strnlen(device[i].name, PROTO_DEVICE_MAX) < PROTO_DEVICE_MAX &&
                   is_clean(device[i].description));
}

void fuzz_one(const uint8_t *data, size_t size)
{
    char build[PROTO_NAME_MAX], tail[PROTO_TEXT_MAX], copy[64], *text = fuzz_string(data, size);
    bool has[LLAMA_FLAG_N];

    llama_parse_version(text, build, sizeof(build));
    FUZZ_CHECK(strlen(build) < sizeof(build));
    llama_parse_help(text, has);
    check_devices((const char *)data, size);
    process_log_tail((const char *)data, size, tail, sizeof(tail));
    FUZZ_CHECK(strlen(tail) < sizeof(tail) && is_clean(tail));
    text_copy_bytes(copy, sizeof(copy), (const char *)data, size);
    for (char *p = copy; *p; p++) /* what it keeps besides is clean */
        *p = *p == '\n' ? ' ' : *p;
    FUZZ_CHECK(is_clean(copy));
    free(text);
}
