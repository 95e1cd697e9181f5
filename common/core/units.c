#include "common/core/units.h"

#include <inttypes.h>
#include <stdio.h>

static uint64_t divide_nearest(uint64_t n, uint64_t by)
{
    return n / by + (n % by >= by - by / 2);
}

static uint64_t divide_up(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

char *units_file(uint64_t bytes, char *buf)
{
    if (bytes < 1000)
        snprintf(buf, UNITS_TEXT, "%" PRIu64 " B", bytes);
    else if (divide_nearest(bytes, 1000) < 1000)
        snprintf(buf, UNITS_TEXT, "%" PRIu64 " kB", divide_nearest(bytes, 1000));
    else if (divide_nearest(bytes, 1000000) < 1000)
        snprintf(buf, UNITS_TEXT, "%" PRIu64 " MB", divide_nearest(bytes, 1000000));
    else
        snprintf(buf, UNITS_TEXT, "%" PRIu64 ".%02u GB", divide_nearest(bytes, 10000000) / 100,
                 (unsigned)(divide_nearest(bytes, 10000000) % 100));
    return buf;
}

char *units_memory(uint64_t bytes, char *buf)
{
    /* Tenths of a GiB are 107374182.4 bytes: whole GiB and the tenths of the rest are taken apart. */
    uint64_t whole = bytes >> 30, tenths = divide_up((bytes & ((UINT64_C(1) << 30) - 1)) * 10, UINT64_C(1) << 30);

    if (bytes < 1024)
        snprintf(buf, UNITS_TEXT, "%" PRIu64 " B", bytes);
    else if (divide_up(bytes, 1024) < 1024)
        snprintf(buf, UNITS_TEXT, "%" PRIu64 " KiB", divide_up(bytes, 1024));
    else if (divide_up(bytes, 1024 * 1024) < 1024)
        snprintf(buf, UNITS_TEXT, "%" PRIu64 " MiB", divide_up(bytes, 1024 * 1024));
    else
        snprintf(buf, UNITS_TEXT, "%" PRIu64 ".%u GiB", whole + tenths / 10, (unsigned)(tenths % 10));
    return buf;
}
