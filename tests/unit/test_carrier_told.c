/* What an agent tells of a carrier's ranks: what its figures say as long as they are written, and that they are not, else. */
#include <fcntl.h>
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

/* What was said. */
static char said[1024];

#include "common/log.h"

__attribute__((format(printf, 2, 3))) static void note(const char *msg, const char *format, ...)
{
    size_t n = strlen(said);

    (void)format;
    snprintf(said + n, sizeof(said) - n, "%s ", msg);
}

#undef log_info
#undef log_warn
#define log_info note
#define log_warn note
#include "agent/carrier_told.c"

static char dir[] = "/tmp/caravan-told-XXXXXX";
static char path[64];

static int make_dir(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/figures", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static int begin(void **state)
{
    (void)state;
    *said = '\0';
    return 0;
}

static int end(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static struct figures some(void)
{
    struct figures f = {.due_ms = 5000, .n_flows = 2};

    f.flow[0] = (struct rank_flow){.rank = 1,
                                   .at_worker = true,
                                   .n_streams = 1,
                                   .request_bytes = 300,
                                   .tensor_bytes = 200,
                                   .oldest = "GET_TENSOR",
                                   .oldest_ms = 900,
                                   .held_bytes = 7,
                                   .held_ms = 800};
    f.flow[1] = (struct rank_flow){.rank = 2, .request_bytes = 5, .blind = "version"};
    return f;
}

static void test_what_is_written_is_told(void **state)
{
    struct figures f = some(), told;
    struct carrier_told c = {0};
    struct figures_writer *w;

    (void)state;
    assert_int_equal(carrier_told_read(&c, path, "x-1", 1000, &told), CARRIER_TOLD_E_NONE);
    assert_int_equal(figures_create(path, &w), 0);
    assert_int_equal(carrier_told_read(&c, path, "x-1", 1000, &told), CARRIER_TOLD_E_NONE);
    assert_int_equal(figures_write(w, &f), 0);
    assert_int_equal(carrier_told_read(&c, path, "x-1", 5000, &told), 0);
    assert_memory_equal(&told, &f, sizeof(f));
    assert_string_equal(said, "");
    carrier_told_clear(&c);
    figures_writer_destroy(&w);
}

static void expect_stale(const struct figures *f)
{
    assert_int_equal(f->n_flows, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(f->flow[i].blind, "stale");
        assert_string_equal(f->flow[i].oldest, "");
        assert_int_equal(f->flow[i].oldest_ms + f->flow[i].held_bytes + f->flow[i].held_ms, 0);
    }
    assert_int_equal(f->flow[0].request_bytes, 300); /* that has passed, whatever came since */
    assert_int_equal(f->flow[0].tensor_bytes, 200);
}

static void test_a_carrier_that_stopped_telling(void **state)
{
    struct figures f = some(), told;
    struct carrier_told c = {0};
    struct figures_writer *w;

    (void)state;
    assert_int_equal(figures_create(path, &w), 0);
    assert_int_equal(figures_write(w, &f), 0);
    for (uint64_t now_ms = 5001; now_ms < 8000; now_ms += 500) {
        assert_int_equal(carrier_told_read(&c, path, "x-1", now_ms, &told), 0);
        expect_stale(&told);
    }
    assert_string_equal(said, "figures.unread "); /* once */
    f.due_ms = 9000;
    assert_int_equal(figures_write(w, &f), 0);
    assert_int_equal(carrier_told_read(&c, path, "x-1", 8000, &told), 0);
    assert_memory_equal(&told, &f, sizeof(f));
    assert_string_equal(said, "figures.unread figures.read ");
    carrier_told_read(&c, path, "x-1", 9500, &told); /* to and fro: not each time */
    assert_string_equal(said, "figures.unread figures.read ");
    f.due_ms = 11000; /* nor that it is over, of which nothing was said */
    assert_int_equal(figures_write(w, &f), 0);
    assert_int_equal(carrier_told_read(&c, path, "x-1", 10000, &told), 0);
    assert_string_equal(said, "figures.unread figures.read ");
    carrier_told_read(&c, path, "x-1", 14000, &told); /* and what lasts is said in the end */
    carrier_told_read(&c, path, "x-1", 16000, &told);
    assert_string_equal(said, "figures.unread figures.read figures.unread ");
    f.due_ms = 0; /* nothing changes any more */
    assert_int_equal(figures_write(w, &f), 0);
    assert_int_equal(carrier_told_read(&c, path, "x-1", UINT64_MAX, &told), 0);
    assert_string_equal(told.flow[0].blind, "");
    carrier_told_clear(&c);
    figures_writer_destroy(&w);
}

/* An earlier agent's carrier, which has other fields. */
static void test_a_carrier_of_another_build(void **state)
{
    const struct unit_facts worker = {.role = UNIT_WORKER, .rank = 3},
                            coordinator = {.role = UNIT_COORDINATOR, .rank = -1};
    const struct control_answer routes = {
        .n_routes = 3,
        .route = {{0, 41111, "127.0.0.1:20052"}, {2, 4111, "10.0.0.3:7441"}, {5, 41112, "[fd00::2]:7440"}}};
    struct carrier_told c = {0};
    struct figures told;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    (void)state;
    assert_int_equal(write(fd, "cvfg\1\0\0\0\0\0\0\0", 12), 12);
    close(fd);
    for (uint64_t now_ms = 1; now_ms < 60000; now_ms += 500)
        assert_int_equal(carrier_told_read(&c, path, "x-1", now_ms, &told), CARRIER_TOLD_E_UNREAD);
    assert_string_equal(said, "figures.unread ");
    carrier_told_unread(&worker, &routes, &told);
    assert_int_equal(told.n_flows, 1);
    assert_int_equal(told.flow[0].rank, 3);
    assert_true(told.flow[0].at_worker);
    assert_string_equal(told.flow[0].blind, "figures");
    carrier_told_unread(&coordinator, &routes, &told);
    assert_int_equal(told.n_flows, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(told.flow[i].rank, routes.route[i].rank);
        assert_int_equal(told.flow[i].at_worker, i == 0);
        assert_string_equal(told.flow[i].blind, "figures");
    }
    carrier_told_unread(&coordinator, &(struct control_answer){.n_routes = 0}, &told); /* it has not answered yet */
    assert_int_equal(told.n_flows, 0);
    carrier_told_clear(&c);
}

/* As where no descriptor is left. */
static void test_what_is_there_and_cannot_be_opened(void **state)
{
    struct carrier_told c = {0};
    struct figures told;

    (void)state;
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(carrier_told_read(&c, path, "x-1", 1, &told), CARRIER_TOLD_E_UNREAD);
    assert_string_equal(said, "figures.unread ");
    carrier_told_clear(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_written_is_told, begin, end),
        cmocka_unit_test_setup_teardown(test_a_carrier_that_stopped_telling, begin, end),
        cmocka_unit_test_setup_teardown(test_a_carrier_of_another_build, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_there_and_cannot_be_opened, begin, end),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
