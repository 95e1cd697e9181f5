/* The form of a log line: what a machine reads back must be what was logged, whatever a string from outside holds. */
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

#include "common/core/err.h"
#include "common/log.h"

static int real_stderr, caught;

static void catch_stderr(void)
{
    real_stderr = dup(STDERR_FILENO);
    caught = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(real_stderr >= 0 && caught >= 0);
    dup2(caught, STDERR_FILENO);
}

static void release_stderr(char *buf, size_t size)
{
    ssize_t n = pread(caught, buf, size - 1, 0);

    dup2(real_stderr, STDERR_FILENO);
    buf[n > 0 ? n : 0] = '\0';
    close(real_stderr);
    close(caught);
}

/* Behind the time, which is always as long. */
static const char *after_time(const char *line)
{
    static const char form[] = "ts=dddd-dd-ddTdd:dd:dd.dddZ ";

    for (size_t i = 0; form[i]; i++) {
        if (form[i] == 'd')
            assert_in_range(line[i], '0', '9');
        else
            assert_int_equal(line[i], form[i]);
    }
    return line + sizeof(form) - 1;
}

static void test_a_line(void **state)
{
    char line[LOG_LINE_MAX * 2];

    (void)state;
    catch_stderr();
    log_info("instance.state", "instance=%s epoch=%d", LOG_STR("qwen 3"), 4);
    release_stderr(line, sizeof(line));
    assert_string_equal(after_time(line), "level=info msg=instance.state instance=\"qwen 3\" epoch=4\n");
}

static void test_a_failure(void **state)
{
    char line[LOG_LINE_MAX * 2];

    (void)state;
    catch_stderr();
    log_failure(LOG_LEVEL_ERROR, "store.write", err_raise(-ENOSPC), "file=%s", "x");
    release_stderr(line, sizeof(line));
    assert_non_null(
        strstr(line, "level=error msg=store.write file=x error=\"No space left on device\" at=\"test_log.c:"));
    assert_non_null(strstr(line, "(test_a_failure)\"\n"));
}

static void test_levels(void **state)
{
    char line[LOG_LINE_MAX * 2];

    (void)state;
    catch_stderr();
    log_debug("unseen", "n=%d", 1);
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("unseen", "n=%d", 1);
    log_error("seen", "n=%d", 1);
    log_set_level(LOG_LEVEL_INFO);
    release_stderr(line, sizeof(line));
    assert_null(strstr(line, "unseen"));
    assert_non_null(strstr(line, "level=error msg=seen n=1\n"));
}

/* The end of a long line is lost, never its newline; of a failure, never its cause. */
static void test_long_lines(void **state)
{
    static char text[2 * LOG_LINE_MAX], line[4 * LOG_LINE_MAX];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    catch_stderr();
    log_info("long", "text=%s", text);
    log_failure(LOG_LEVEL_WARN, "long", -EIO, "text=%s", text);
    log_info("short", "n=%d", 1);
    release_stderr(line, sizeof(line));
    assert_in_range(strcspn(line, "\n"), LOG_LINE_MAX - 8, LOG_LINE_MAX - 1);
    assert_true(strcspn(strchr(line, '\n') + 1, "\n") < LOG_LINE_MAX);
    assert_non_null(strstr(line, "error=\"Input/output error\" at="));
    assert_non_null(strstr(line, "\"\nts="));
    assert_non_null(strstr(line, " msg=short n=1\n"));
}

static void test_a_cut_closes_the_quotes(void **state)
{
    static char text[LOG_LINE_MAX], line[2 * LOG_LINE_MAX];

    (void)state;
    for (size_t n = LOG_LINE_MAX - 80; n < LOG_LINE_MAX - 1; n++) {
        memset(text, 'x', n);
        catch_stderr();
        log_info("long", "a=%s b=\"two \\\" words\"", text);
        release_stderr(line, sizeof(line));
        size_t quotes = 0;

        for (const char *p = line; *p; p++)
            quotes += *p == '"' && p[-1] != '\\';
        assert_int_equal(quotes % 2, 0);
        assert_int_equal(line[strlen(line) - 1], '\n');
    }
}

static void test_quoting(void **state)
{
    static const struct {
        const char *text, *want;
    } row[] = {
        {NULL, "\"\""},
        {"", "\"\""},
        {"plain-1.2_3,4:5/6@7+8%(9)[0]*~", "plain-1.2_3,4:5/6@7+8%(9)[0]*~"},
        {"two words", "\"two words\""},
        {"key=value", "\"key=value\""},
        {"a\"b\\c", "\"a\\\"b\\\\c\""},
        {"line\nmsg=forged", "\"line\\x0amsg=forged\""},
        {"\x1b[31m\x7f", "\"\\x1b[31m\\x7f\""},
        {"caf\xc3\xa9", "\"caf\\xc3\\xa9\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
        assert_string_equal(LOG_STR(row[i].text), row[i].want);
}

/* In any size: terminated, inside the buffer, and cut only where it must be. */
static void test_quoting_in_little_room(void **state)
{
    static const char *const text[] = {"abcdefghijklmnopqrstuvwxyz", "abc def ghi jkl mno pqr stu", "\n\n\n\n\n\n\n\n",
                                       "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\""};

    (void)state;
    for (size_t k = 0; k < sizeof(text) / sizeof(text[0]); k++) {
        for (size_t size = 0; size <= 64; size++) {
            char *buf = malloc(size + 1); /* its own object, for AddressSanitizer */
            size_t n;

            assert_non_null(buf);
            buf[size] = 'E';
            assert_ptr_equal(log_quote(buf, size, text[k]), buf);
            assert_int_equal(buf[size], 'E');
            n = size ? strnlen(buf, size) : 0;
            assert_true(size == 0 || n < size);
            if (n && buf[0] == '"') {
                assert_true(n >= 2 && buf[n - 1] == '"');
            }
            free(buf);
        }
    }
    assert_string_equal(log_quote((char[12]){0}, 12, "abcdefghijklmnop"), "\"abcdef...\"");
    assert_string_equal(log_quote((char[8]){0}, 8, "a b c"), "\"a b c\"");
    assert_string_equal(log_quote((char[8]){0}, 8, "a b cd"), "\"a ...\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line),
        cmocka_unit_test(test_a_failure),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_a_cut_closes_the_quotes),
        cmocka_unit_test(test_quoting),
        cmocka_unit_test(test_quoting_in_little_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
