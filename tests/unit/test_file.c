/* Reading and writing of whole pieces: all that was asked for, or an error. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
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

/* ---- a pipe that every second signal empties: a write is cut short, and the next is interrupted before its first byte */

enum { PIPE_BYTES = 64 * 1024, SENT_BYTES = 3 * PIPE_BYTES };
static int pipe_fd[2];
static char received[SENT_BYTES];
static volatile size_t n_received;

static void empty_pipe(void)
{
    ssize_t n = read(pipe_fd[0], received + n_received, SENT_BYTES - n_received);

    n_received += n > 0 ? (size_t)n : 0;
}

static void on_signal(int signal_number)
{
    static bool second;
    int error = errno;

    (void)signal_number;
    if (second)
        empty_pipe();
    second = !second;
    errno = error;
}

static void test_write(void **state)
{
    struct sigaction on_alarm = {.sa_handler = on_signal};
    struct itimerval often = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};
    static char sent[SENT_BYTES];

    (void)state;
    for (size_t i = 0; i < SENT_BYTES; i++)
        sent[i] = (char)(i % 251);
    assert_int_equal(pipe(pipe_fd), 0);
    assert_int_equal(fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK), 0);
    sigaction(SIGALRM, &on_alarm, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    assert_int_equal(file_write(pipe_fd[1], sent, SENT_BYTES), 0);
    setitimer(ITIMER_REAL, &never, NULL);
    empty_pipe();
    assert_int_equal(n_received, SENT_BYTES);
    assert_memory_equal(received, sent, SENT_BYTES);
    assert_int_equal(fcntl(pipe_fd[1], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(file_write(pipe_fd[1], sent, SENT_BYTES), -EAGAIN);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
}

/* ---- as a source ---- */

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
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
