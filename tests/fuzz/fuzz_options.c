/* A configuration file from anybody, read both as one without sections and as one with them: an outcome, never a crash. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/options.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct option_def table[] = {
    {.name = "memory", .type = OPTION_BYTES, .help = "."},
    {.name = "name", .type = OPTION_STRING, .help = "."},
    {.name = "controllers", .type = OPTION_LIST, .help = "."},
    {.name = "grace", .type = OPTION_DURATION_MS, .max = 60000, .help = "."},
    {.name = "port", .type = OPTION_UINT, .min = 1, .max = 65535, .help = "."},
    {.name = "trust", .type = OPTION_CHOICE, .choices = "keys|open", .help = "."},
    {.name = "standing", .type = OPTION_BOOL, .help = "."},
    {.name = NULL},
};

/* What is said of each refused file would bury everything else. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    stderr = fopen("/dev/null", "w");
    return 0;
}

static int on_section(void *ctx, const char *name, unsigned line, struct options **values)
{
    (void)ctx;
    (void)name;
    (void)line;
    options_destroy(values);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(options_destroy) struct options *o = NULL;
    CLEANUP(cleanup_close) int fd = memfd_create("options", MFD_CLOEXEC);
    char path[64];

    if (fd < 0 || write(fd, data, size) != (ssize_t)size || options_new(table, &o))
        return 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (options_read_file(o, path, true) < 0 || options_read_sections(table, path, true, on_section, NULL) < 0)
        abort();
    return 0;
}
