/* Whole reads of a file: all that was asked for, or an error. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/file.h"

static int file_of(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
    return fd;
}

static void test_read_at(void **state)
{
    CLEANUP(cleanup_close) int fd = file_of("0123456789");
    char buf[16];

    (void)state;
    assert_int_equal(file_read_at(fd, 3, buf, 4), 0);
    assert_memory_equal(buf, "3456", 4);
    assert_int_equal(file_read_at(fd, 10, buf, 0), 0);
    assert_int_equal(file_read_at(fd, 7, buf, 4), -EIO);
    assert_int_equal(file_read_at(fd, 11, buf, 1), -EIO);
    assert_int_equal(file_read_at(-1, 0, buf, 1), -EBADF);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0); /* whoever else reads it is where they were */
}

static void test_source(void **state)
{
    CLEANUP(cleanup_close) int fd = -1;
    struct gguf_source source = file_gguf_source(&fd, 10);
    char buf[4];

    (void)state;
    fd = file_of("0123456789");
    assert_int_equal(source.size_bytes, 10);
    assert_int_equal(source.read(source.ctx, 6, buf, 4), 0);
    assert_memory_equal(buf, "6789", 4);
    assert_int_equal(ftruncate(fd, 8), 0);
    assert_int_equal(source.read(source.ctx, 6, buf, 4), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_at),
        cmocka_unit_test(test_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
