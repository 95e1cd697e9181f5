/* A configuration file from anybody, read both as one without sections and as one with them; then its lines as arguments, as
 * the environment and as values of an agent's options: an outcome, never a crash. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/options.h"
#include "common/cleanup.h"
#include "common/options.h"
#include "tests/fuzz/support.h"

enum { ARGS_MAX = 16 };

static const struct option_def table[] = {
    {.name = "memory", .type = OPTION_BYTES, .def = "1G", .arg = "SIZE", .help = "How much."},
    {.name = "name", .type = OPTION_STRING, .help = "Which."},
    {.name = "controllers", .type = OPTION_LIST, .help = "Where."},
    {.name = "grace", .type = OPTION_DURATION_MS, .max = 60000, .def = "500ms", .help = "How long."},
    {.name = "port", .type = OPTION_UINT, .min = 1, .max = 65535, .help = "Where to."},
    {.name = "trust", .type = OPTION_CHOICE, .choices = "keys|open", .def = "keys", .help = "Whom."},
    {.name = "standing", .type = OPTION_BOOL, .def = "no", .help = "Whether."},
    {.name = "print_key", .type = OPTION_FLAG, .argv_only = true, .help = "That."},
    {.name = NULL},
};
enum { MEMORY, NAME, CONTROLLERS, GRACE, PORT, TRUST, STANDING, PRINT_KEY };

static void check_values(const struct options *o)
{
    const char *const *list = NULL;
    size_t n = options_list(o, CONTROLLERS, &list);

    FUZZ_CHECK(options_uint(o, GRACE) <= 60000 && options_uint(o, PORT) <= 65535);
    FUZZ_CHECK(strcmp(options_string(o, TRUST), "keys") == 0 || strcmp(options_string(o, TRUST), "open") == 0);
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(list[i]);
}

static int on_section(void *ctx, const char *name, unsigned line, struct options **values)
{
    (void)ctx;
    FUZZ_CHECK(*name && line);
    check_values(*values);
    options_destroy(values);
    return 0;
}

static void read_files(struct options *o, const uint8_t *data, size_t size)
{
    CLEANUP(cleanup_close) int fd = memfd_create("options", MFD_CLOEXEC);
    char path[64];
    int r;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    r = options_read_file(o, path, true);
    FUZZ_CHECK(r >= 0);
    if (r == 0)
        check_values(o);
    r = options_read_sections(table, path, true, on_section, NULL);
    FUZZ_CHECK(r >= 0);
}

static void read_value(const char *text)
{
    struct controller_address a = {.port = 0};
    struct port_range range;

    if (port_range_parse(text, &range))
        FUZZ_CHECK(range.first && range.first <= range.last);
    if (controller_address_parse(text, 7420, &a))
        FUZZ_CHECK(*a.host && a.port && strnlen(a.host, sizeof(a.host)) < sizeof(a.host));
}

static void read_arguments(struct options *o, char *text)
{
    char *argv[ARGS_MAX + 2] = {(char *)"fuzz"}, *save = NULL;
    int argc = 1, first = 0, r;

    setenv("CARAVAN_NAME", text, 1);
    setenv("CARAVAN_GRACE", text, 1);
    FUZZ_CHECK(options_read_env(o) >= 0);
    for (char *word = strtok_r(text, "\n", &save); word && argc <= ARGS_MAX; word = strtok_r(NULL, "\n", &save)) {
        read_value(word);
        argv[argc++] = word;
    }
    r = options_read_argv(o, argc, argv, &first);
    FUZZ_CHECK(r >= 0 && (r || (first >= 1 && first <= argc)));
}

void fuzz_one(const uint8_t *data, size_t size)
{
    CLEANUP(options_destroy) struct options *o = NULL, *argv = NULL;
    char *text = fuzz_string(data, size);

    if (options_new(table, &o) == 0)
        read_files(o, data, size);
    if (options_new(table, &argv) == 0)
        read_arguments(argv, text);
    free(text);
}
