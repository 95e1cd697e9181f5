/* Options from file, environment and argv: what wins, and what is refused with which words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/options.h"

enum { MEMORY, NAME, CONTROLLERS, GRACE, PORT, TRUST, STANDING, CONFIG, PRINT_KEY };

static const struct option_def table[] = {
    [MEMORY] = {.name = "memory", .type = OPTION_BYTES, .def = "0", .arg = "SIZE", .help = "What this node offers."},
    [NAME] = {.name = "name", .type = OPTION_STRING, .help = "Its name."},
    [CONTROLLERS] = {.name = "controllers", .type = OPTION_LIST, .def = "one,two", .help = "Where to knock."},
    [GRACE] = {.name = "transition_grace",
               .type = OPTION_DURATION_MS,
               .max = 60000,
               .def = "500ms",
               .help = "How long a command that came too early is held before it is refused, which is a sentence that "
                       "does not fit one line of help."},
    [PORT] = {.name = "port", .type = OPTION_UINT, .min = 1, .max = 65535, .def = "7420", .help = "The port."},
    [TRUST] = {.name = "trust", .type = OPTION_CHOICE, .choices = "keys|open", .def = "keys", .help = "Who may join."},
    [STANDING] = {.name = "standing", .type = OPTION_BOOL, .def = "yes", .help = "Keep one worker running."},
    [CONFIG] = {.name = "config", .type = OPTION_STRING, .arg = "FILE", .help = "This file.", .argv_only = true},
    [PRINT_KEY] = {.name = "print_key", .type = OPTION_FLAG, .help = "Print the key.", .argv_only = true},
    {.name = NULL},
};

/* ---- what is said on standard error ---- */

static int real_stderr, caught;

static void catch_stderr(void)
{
    fflush(stderr);
    real_stderr = dup(STDERR_FILENO);
    caught = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(real_stderr >= 0 && caught >= 0);
    dup2(caught, STDERR_FILENO);
}

static void release_stderr(char *buf, size_t size)
{
    ssize_t n;

    fflush(stderr);
    dup2(real_stderr, STDERR_FILENO);
    n = pread(caught, buf, size - 1, 0);
    buf[n > 0 ? n : 0] = '\0';
    close(real_stderr);
    close(caught);
}

/* ---- files ---- */

static char path[] = "/tmp/caravan-options-XXXXXX";

static int setup(void **state)
{
    int fd;

    (void)state;
    memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
    fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static void write_file(const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static struct options *fresh(void)
{
    struct options *o = NULL;

    assert_int_equal(options_new(table, &o), 0);
    return o;
}

static void test_defaults(void **state)
{
    CLEANUP(options_destroy) struct options *o = fresh();
    const char *const *list;

    (void)state;
    assert_int_equal(options_uint(o, MEMORY), 0);
    assert_null(options_string(o, NAME));
    assert_int_equal(options_list(o, CONTROLLERS, &list), 2);
    assert_string_equal(list[1], "two");
    assert_int_equal(options_uint(o, GRACE), 500);
    assert_string_equal(options_string(o, TRUST), "keys");
    assert_true(options_bool(o, STANDING));
    assert_false(options_bool(o, PRINT_KEY));
    for (size_t i = MEMORY; i <= PRINT_KEY; i++)
        assert_false(options_is_set(o, i));
}

static void test_a_file(void **state)
{
    static const char text[] = "\xef\xbb\xbf# comment\n"
                               "; comment\r\n"
                               "memory = 4G\r\n"
                               "\n"
                               "name = a node   ; said behind it\n"
                               "  of two words\n"
                               "controllers = 10.0.0.1:7420 KEY\n"
                               "    10.0.0.2 KEY\n"
                               "    # a comment between\n"
                               "    ,10.0.0.3\n"
                               "transition_grace=10s\n"
                               "trust : open\n"
                               "standing = no";
    CLEANUP(options_destroy) struct options *o = fresh();
    const char *const *list;

    (void)state;
    write_file(text, sizeof(text) - 1);
    assert_int_equal(options_read_file(o, path, true), 0);
    assert_int_equal(options_uint(o, MEMORY), UINT64_C(4) << 30);
    assert_string_equal(options_string(o, NAME), "a node of two words");
    assert_int_equal(options_list(o, CONTROLLERS, &list), 3);
    assert_string_equal(list[0], "10.0.0.1:7420 KEY");
    assert_string_equal(list[1], "10.0.0.2 KEY");
    assert_string_equal(list[2], "10.0.0.3");
    assert_int_equal(options_uint(o, GRACE), 10000);
    assert_string_equal(options_string(o, TRUST), "open");
    assert_false(options_bool(o, STANDING));
    assert_true(options_is_set(o, STANDING));
    assert_int_equal(options_uint(o, PORT), 7420);
    assert_false(options_is_set(o, PORT));
}

#define LONG_200                                                                                           \
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789" \
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

static void test_files_that_are_refused(void **state)
{
    static const struct {
        const char *text, *said; /* said: after "PROGRAM: FILE:" */
    } row[] = {
        {"memory = 1\nmemroy = 4G\n", "2: unknown key 'memroy'; did you mean 'memory'?"},
        {"frobnicate = 4G\n", "1: unknown key 'frobnicate'"},
        {"prot = 1\n", "1: unknown key 'prot'; did you mean 'port'?"},
        {"confg = x\n", "1: unknown key 'confg'"}, /* not for files */
        {"\n\nmemory = 4X\n", "3: memory: '4X' must be a size such as 0, 512M or 4G (K, M, G, T are powers of 1024)"},
        {"port = 0\n", "1: port: '0' must be a whole number from 1 to 65535"},
        {"port = 65536\n", "1: port: '65536' must be a whole number from 1 to 65535"},
        {"port = 99999999999999999999\n", "1: port: '99999999999999999999' must be a whole number from 1 to 65535"},
        {"port = -1\n", "1: port: '-1' must be a whole number from 1 to 65535"},
        {"transition_grace = 61s\n",
         "1: transition_grace: '61s' must be a time from 0s to 60s, such as 500ms, 10s, 5m or 1h"},
        {"transition_grace = 10\n",
         "1: transition_grace: '10' must be a time from 0s to 60s, such as 500ms, 10s, 5m or 1h"},
        {"trust = some\n", "1: trust: 'some' must be one of keys|open"},
        {"trust = key\n", "1: trust: 'key' must be one of keys|open"},
        {"trust =\n", "1: trust: '' must be one of keys|open"},
        {"standing = maybe\n", "1: standing: 'maybe' must be yes or no"},
        {"port = 1\nport = 2\n", "2: 'port' was given in line 1 before"},
        {"config = x\n", "1: 'config' can be given on the command line only"},
        {"print_key = yes\n", "1: 'print_key' can be given on the command line only"},
        {"[agent]\nport = 1\n", "1: this file has no [sections]"},
        {"port = 1\n[agent]\n", "2: this file has no [sections]"},
        {"# fine\nport\n", "2: not 'key = value'"},
        {"= 5\n", "1: unknown key ''"},
        {"name = x\n  port = 5\n", "2: a key must stand at the beginning of its line: remove the spaces"},
        {"port = 5\n  6\n", "2: an indented line goes on with the value above, and this one cannot: remove the spaces"},
        {"name = " LONG_200 "\n", "1: the line is longer than 198 bytes; go on with an indented line"},
        {"# " LONG_200 "\nport = 1", "1: the line is longer than 198 bytes; go on with an indented line"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        CLEANUP(options_destroy) struct options *o = fresh();
        char said[1024], want[1024];
        int r;

        write_file(row[i].text, strlen(row[i].text));
        catch_stderr();
        r = options_read_file(o, path, true);
        release_stderr(said, sizeof(said));
        snprintf(want, sizeof(want), "%s: %s:%s\n", program_invocation_short_name, path, row[i].said);
        assert_string_equal(said, want);
        assert_int_equal(r, OPTIONS_E_INVALID);
    }
}

static void test_the_longest_line(void **state)
{
    CLEANUP(options_destroy) struct options *o = fresh();
    char line[OPTIONS_LINE_MAX + 1] = "name = ";

    (void)state;
    memset(line + 7, 'x', OPTIONS_LINE_MAX - 7);
    line[OPTIONS_LINE_MAX] = '\n';
    write_file(line, sizeof(line));
    assert_int_equal(options_read_file(o, path, true), 0);
    assert_int_equal(strlen(options_string(o, NAME)), OPTIONS_LINE_MAX - 7);
}

static void test_files_that_are_no_text(void **state)
{
    CLEANUP(options_destroy) struct options *o = fresh();
    char *big = malloc(OPTIONS_FILE_MAX + 1), said[1024];

    (void)state;
    assert_non_null(big);
    memset(big, '\n', OPTIONS_FILE_MAX + 1);
    write_file(big, OPTIONS_FILE_MAX);
    assert_int_equal(options_read_file(o, path, true), 0);
    catch_stderr();
    write_file(big, OPTIONS_FILE_MAX + 1);
    assert_int_equal(options_read_file(o, path, true), OPTIONS_E_INVALID);
    write_file("port = 1\n\0port = 2\n", 19);
    assert_int_equal(options_read_file(o, path, true), OPTIONS_E_INVALID);
    assert_int_equal(options_read_file(o, "/tmp", true), OPTIONS_E_INVALID);
    release_stderr(said, sizeof(said));
    assert_non_null(strstr(said, "longer than 64 KiB"));
    assert_non_null(strstr(said, "NUL"));
    assert_non_null(strstr(said, "Is a directory"));
    free(big);
}

static void test_a_missing_file(void **state)
{
    CLEANUP(options_destroy) struct options *o = fresh();
    char said[1024];

    (void)state;
    assert_int_equal(options_read_file(o, "/nonexistent/agent.conf", false), 0);
    catch_stderr();
    assert_int_equal(options_read_file(o, "/nonexistent/agent.conf", true), OPTIONS_E_INVALID);
    release_stderr(said, sizeof(said));
    assert_non_null(strstr(said, "/nonexistent/agent.conf: No such file"));
}

/* ---- sections ---- */

struct seen {
    size_t n;
    char name[4][OPTIONS_SECTION_NAME_MAX];
    unsigned line[4];
    uint64_t port[4];
    int answer;
};

static int on_section(void *ctx, const char *name, unsigned line, struct options **values)
{
    struct seen *seen = ctx;

    assert_true(seen->n < 4);
    snprintf(seen->name[seen->n], sizeof(seen->name[0]), "%s", name);
    seen->line[seen->n] = line;
    seen->port[seen->n++] = options_uint(*values, PORT);
    options_destroy(values);
    return seen->answer;
}

static void test_sections(void **state)
{
    static const char text[] = "# models\n[a model whose name is longer than the fifty bytes of libinih]\nport = 1\n"
                               "[empty] ; nothing\n\n[last]\nport = 3\n";
    struct seen seen = {0};

    (void)state;
    write_file(text, sizeof(text) - 1);
    assert_int_equal(options_read_sections(table, path, true, on_section, &seen), 0);
    assert_int_equal(seen.n, 3);
    assert_string_equal(seen.name[0], "a model whose name is longer than the fifty bytes of libinih");
    assert_int_equal(seen.line[0], 2);
    assert_int_equal(seen.port[0], 1);
    assert_string_equal(seen.name[1], "empty");
    assert_int_equal(seen.port[1], 7420); /* its own defaults */
    assert_string_equal(seen.name[2], "last");
    assert_int_equal(seen.line[2], 6);
    assert_int_equal(seen.port[2], 3);

    seen = (struct seen){.answer = OPTIONS_E_INVALID};
    assert_int_equal(options_read_sections(table, path, true, on_section, &seen), OPTIONS_E_INVALID);
    assert_int_equal(seen.n, 1);
    seen = (struct seen){0};
    assert_int_equal(options_read_sections(table, "/nonexistent/models.conf", false, on_section, &seen), 0);
    assert_int_equal(seen.n, 0);
}

static void test_sections_that_are_refused(void **state)
{
    static const struct {
        const char *text, *said;
    } row[] = {
        {"port = 1\n[a]\n", "1: 'port' stands before the first [section]"},
        {"[a]\n[b]\n[a]\n", "3: [a] is there twice"},
        {"[a\nport = 1\n", "1: a section is [NAME], at most 127 bytes long"},
        {"[]\n", "1: a section is [NAME], at most 127 bytes long"},
        {"[" LONG_200 "]\n", "1: the line is longer than 198 bytes; go on with an indented line"},
        {"[a] port = 1\n", "1: nothing but a comment may follow [a]"},
        {"[a]\nport = 1\nport = 1\n", "3: 'port' was given in line 2 before"},
        {"[a]\nport = 1\n[b]\n  2\n",
         "4: an indented line goes on with the value above, and this one cannot: remove the spaces"},
        {"[a]\nprot = 1\n", "2: unknown key 'prot'; did you mean 'port'?"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct seen seen = {0};
        char said[1024], want[1024];
        int r;

        write_file(row[i].text, strlen(row[i].text));
        catch_stderr();
        r = options_read_sections(table, path, true, on_section, &seen);
        release_stderr(said, sizeof(said));
        snprintf(want, sizeof(want), "%s: %s:%s\n", program_invocation_short_name, path, row[i].said);
        assert_string_equal(said, want);
        assert_int_equal(r, OPTIONS_E_INVALID);
    }
}

/* ---- environment and argv ---- */

static void test_later_wins(void **state)
{
    CLEANUP(options_destroy) struct options *o = fresh();
    char *argv[] = {"x", "--port", "4", "--port=5", NULL};
    int first;

    (void)state;
    write_file("port = 2\nmemory = 1K\ntrust = open\n", 34);
    assert_int_equal(options_read_file(o, path, true), 0);
    setenv("CARAVAN_PORT", "3", 1);
    setenv("CARAVAN_MEMORY", "2K", 1);
    setenv("CARAVAN_TRUST", "", 1);
    setenv("CARAVAN_CONFIG", "ignored", 1);
    assert_int_equal(options_read_env(o), 0);
    assert_int_equal(options_uint(o, PORT), 3);
    assert_int_equal(options_read_argv(o, 4, argv, &first), 0);
    assert_int_equal(first, 4);
    assert_int_equal(options_uint(o, PORT), 5);
    assert_int_equal(options_uint(o, MEMORY), 2048);
    assert_string_equal(options_string(o, TRUST), "open");
    assert_null(options_string(o, CONFIG));
    unsetenv("CARAVAN_PORT");
    unsetenv("CARAVAN_MEMORY");
    unsetenv("CARAVAN_TRUST");
    unsetenv("CARAVAN_CONFIG");
}

static void test_a_bad_environment(void **state)
{
    CLEANUP(options_destroy) struct options *o = fresh();
    char said[1024];

    (void)state;
    setenv("CARAVAN_TRANSITION_GRACE", "soon", 1);
    catch_stderr();
    assert_int_equal(options_read_env(o), OPTIONS_E_INVALID);
    release_stderr(said, sizeof(said));
    unsetenv("CARAVAN_TRANSITION_GRACE");
    assert_non_null(strstr(said, "CARAVAN_TRANSITION_GRACE: 'soon' must be a time from 0s to 60s"));
}

static void test_argv(void **state)
{
    static const struct {
        const char *word[5];
        int want, first;
        const char *said;
    } row[] = {
        {{"--print-key", "--transition-grace", "1m", "--standing=no"}, 0, 5, ""},
        {{"--transition_grace=1s"}, 0, 2, ""},
        {{"deploy", "--port", "1"}, 0, 1, ""},
        {{"--port", "1", "deploy", "--frob"}, 0, 3, ""},
        {{"--port=1", "--", "--frob"}, 0, 3, ""},
        {{"-", "x"}, 0, 1, ""},
        {{"--name", "--port"}, 0, 3, ""},
        {{"--name="}, 0, 2, ""},
        {{"--help", "--frob"}, OPTIONS_E_HELP, 0, ""},
        {{"-h"}, OPTIONS_E_HELP, 0, ""},
        {{"--version"}, OPTIONS_E_VERSION, 0, ""},
        {{"--port"}, OPTIONS_E_INVALID, 0, "--port needs a value"},
        {{"--port", "x"}, OPTIONS_E_INVALID, 0, "--port: 'x' must be a whole number from 1 to 65535"},
        {{"--print-key=yes"}, OPTIONS_E_INVALID, 0, "--print-key takes no value"},
        {{"--print-kee"}, OPTIONS_E_INVALID, 0, "unknown option '--print-kee'; did you mean '--print-key'?"},
        {{"--frobnicate"}, OPTIONS_E_INVALID, 0, "unknown option '--frobnicate'; --help lists them all"},
        {{"--por", "1"}, OPTIONS_E_INVALID, 0, "unknown option '--por'; did you mean '--port'?"},
        {{"-p", "1"}, OPTIONS_E_INVALID, 0, "unknown option '-p'; all but -h are long: --help lists them"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        CLEANUP(options_destroy) struct options *o = fresh();
        char *argv[7] = {"x"}, said[1024], want[1024] = "";
        int argc = 1, first = 0, r;

        for (; argc < 6 && row[i].word[argc - 1]; argc++)
            argv[argc] = (char *)row[i].word[argc - 1];
        catch_stderr();
        r = options_read_argv(o, argc, argv, &first);
        release_stderr(said, sizeof(said));
        if (row[i].said[0])
            snprintf(want, sizeof(want), "%s: %s\n", program_invocation_short_name, row[i].said);
        assert_string_equal(said, want);
        assert_int_equal(r, row[i].want);
        assert_int_equal(first, row[i].first);
    }
}

/* ---- text for people ---- */

/* A secret is gone from argv once it is read, and is not taken from where others could read it. */
static void test_secrets(void **state)
{
    static const struct option_def secrets[] = {
        {.name = "join", .type = OPTION_STRING, .help = "A token.", .secret = true},
        {.name = "name", .type = OPTION_STRING, .help = "No secret."},
        {.name = NULL},
    };
    static const struct {
        const char *word[3], *value, *left[3];
    } row[] = {
        {{"--join", "s3cret"}, "s3cret", {"--join", "xxxxxx"}},
        {{"--join=s3cret"}, "s3cret", {"--join=xxxxxx"}},
        {{"--join", "@/run/token"}, "@/run/token", {"--join", "@/run/token"}},
        {{"--join=-"}, "-", {"--join=-"}},
        {{"--join="}, "", {"--join="}},
        {{"--name", "--join", "word"}, NULL, {"--name", "--join", "word"}},
        {{"--name=--join=word"}, NULL, {"--name=--join=word"}},
    };
    static const char *const in_a_file[] = {"join = s3cret\n", "join = -\n", "join =\n"};
    char said[1024];

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        CLEANUP(options_destroy) struct options *o = NULL;
        char word[3][32], *argv[5] = {(char[]){"prog"}};
        int argc = 1, first;

        for (size_t k = 0; k < 3 && row[i].word[k]; k++)
            argv[argc++] = strcpy(word[k], row[i].word[k]);
        assert_int_equal(options_new(secrets, &o), 0);
        assert_int_equal(options_read_argv(o, argc, argv, &first), 0);
        if (row[i].value)
            assert_string_equal(options_string(o, 0), row[i].value);
        for (size_t k = 0; k < 3 && row[i].word[k]; k++)
            assert_string_equal(word[k], row[i].left[k]);
    }
    for (size_t i = 0; i < sizeof(in_a_file) / sizeof(in_a_file[0]); i++) {
        CLEANUP(options_destroy) struct options *o = NULL;

        assert_int_equal(options_new(secrets, &o), 0);
        write_file(in_a_file[i], strlen(in_a_file[i]));
        catch_stderr();
        assert_int_equal(options_read_file(o, path, true), OPTIONS_E_INVALID);
        release_stderr(said, sizeof(said));
        assert_non_null(strstr(said, ":1: join: must be @FILE"));
        assert_null(strstr(said, "s3cret"));
        write_file("join = @/run/token\n", 19);
        assert_int_equal(options_read_file(o, path, true), 0);
        assert_string_equal(options_string(o, 0), "@/run/token");
        setenv("CARAVAN_JOIN", "s3cret", 1);
        catch_stderr();
        assert_int_equal(options_read_env(o), OPTIONS_E_INVALID);
        release_stderr(said, sizeof(said));
        assert_non_null(strstr(said, "CARAVAN_JOIN: must be @FILE"));
        assert_null(strstr(said, "s3cret"));
        setenv("CARAVAN_JOIN", "@FILE", 1);
        assert_int_equal(options_read_env(o), 0);
        unsetenv("CARAVAN_JOIN");
    }
}

static void test_help(void **state)
{
    static const char want[] =
        "  --memory SIZE            What this node offers. [0]\n"
        "  --name VALUE             Its name.\n"
        "  --controllers VALUE      Where to knock. [one,two]\n"
        "  --transition-grace TIME  How long a command that came too early is held before it is refused,\n"
        "                           which is a sentence that does not fit one line of help. [500ms]\n"
        "  --port VALUE             The port. [7420]\n"
        "  --trust keys|open        Who may join. [keys]\n"
        "  --standing yes|no        Keep one worker running. [yes]\n"
        "  --config FILE            This file.\n"
        "  --print-key              Print the key.\n"
        "  --help                   Print this and exit.\n"
        "  --version                Print the version and exit.\n";
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    (void)state;
    options_print_help(table, f);
    fclose(f);
    assert_string_equal(text, want);
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
    free(text);
}

static void test_markdown(void **state)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    (void)state;
    options_print_markdown(table, f);
    fclose(f);
    assert_non_null(strstr(text, "| `transition_grace` | time: 500ms, 10s, 5m, 1h | `500ms` | How long"));
    assert_non_null(strstr(text, "| `trust` | keys\\|open | `keys` | Who may join. |\n"));
    assert_non_null(strstr(text, "| `--print-key` |  |  | Print the key. |\n"));
    free(text);
}

#define TEST_WITH_FILE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        TEST_WITH_FILE(test_a_file),
        TEST_WITH_FILE(test_files_that_are_refused),
        TEST_WITH_FILE(test_the_longest_line),
        TEST_WITH_FILE(test_files_that_are_no_text),
        cmocka_unit_test(test_a_missing_file),
        TEST_WITH_FILE(test_sections),
        TEST_WITH_FILE(test_sections_that_are_refused),
        TEST_WITH_FILE(test_later_wins),
        cmocka_unit_test(test_a_bad_environment),
        cmocka_unit_test(test_argv),
        TEST_WITH_FILE(test_secrets),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_markdown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
