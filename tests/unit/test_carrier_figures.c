/* What one process writes and another reads without either waiting: whole, or not at all, also where the file is not ours. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Of the next ones: how many bytes are written where not all are; else what each fails with. */
static int n_failing, failing_with;
static size_t n_taken;

static ssize_t faulty_pwrite(int fd, const void *buf, size_t n, off_t at)
{
    if (n_failing <= 0)
        return pwrite(fd, buf, n, at);
    n_failing--;
    errno = failing_with;
    return failing_with ? -1 : pwrite(fd, buf, n_taken, at);
}

#define pwrite faulty_pwrite
#include "agent/carrier/figures.c"
#undef pwrite

static char dir[] = "/tmp/caravan-figures-XXXXXX";
static char path[64], fresh[64];

static int make_dir(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/figures", dir);
    snprintf(fresh, sizeof(fresh), "%s/figures.new", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    unlink(fresh);
    return rmdir(dir);
}

/* Every number of it says n. */
static struct figures all(uint64_t n)
{
    struct figures f = {.due_ms = n,
                        .n_accepted = n,
                        .n_dialled = n,
                        .n_unreached = n,
                        .n_half_open_dropped = n,
                        .n_bad_handshakes = n};

    for (size_t i = 0; i < TUNNEL_VERDICT_N; i++)
        f.n_refused[i] = n;
    f.n_strangers = f.n_without_room = f.n_forged = f.n_cut = n;
    f.n_flows = PROTO_RANKS_MAX + 1;
    for (size_t i = 0; i < f.n_flows; i++) {
        struct rank_flow *flow = &f.flow[i];

        *flow = (struct rank_flow){.epoch = n, .rank = (uint32_t)i % 16, .at_worker = n % 2, .n_streams = (uint32_t)n};
        flow->request_bytes = flow->answer_bytes = flow->n_requests = flow->n_answers = flow->tensor_bytes = n;
        flow->fed_bytes = flow->n_round_trips = flow->n_graphs = flow->graph_ms = flow->oldest_ms = n;
        flow->held_bytes = flow->held_ms = n;
        strcpy(flow->oldest, n % 2 ? "GET_TENSOR" : "");
    }
    return f;
}

static bool is_of_one_write(const struct figures *f)
{
    const struct figures same = all(f->due_ms);

    if (memcmp(f, &same, offsetof(struct figures, flow)))
        return false;
    for (size_t i = 0; i < f->n_flows; i++)
        if (f->flow[i].epoch != f->due_ms || f->flow[i].n_requests != f->due_ms || f->flow[i].held_ms != f->due_ms)
            return false;
    return true;
}

static void test_written_and_read(void **state)
{
    struct figures f = all(7), back;
    struct figures_writer *w;
    struct figures_reader *r;

    (void)state;
    assert_int_equal(figures_create(path, &w), 0);
    assert_int_equal(figures_open(path, &r), 0);
    memset(&back, 1, sizeof(back));
    assert_int_equal(figures_read(r, 1, &back), FIGURES_E_NONE);
    assert_int_equal(back.due_ms, UINT64_C(0x0101010101010101)); /* as it was */
    assert_int_equal(figures_write(w, &f), 0);
    assert_int_equal(figures_read(r, 1, &back), 0);
    assert_true(is_of_one_write(&back));
    assert_true(back.flow[3].at_worker);
    assert_string_equal(back.flow[3].oldest, "GET_TENSOR");
    figures_writer_destroy(&w);
    assert_int_equal(figures_read(r, 1, &back), 0); /* it outlives who wrote it */
    assert_int_equal(figures_create(path, &w), 0);
    assert_int_equal(figures_read(r, 1, &back), 0); /* and, for who has it, the next one of that name */
    figures_writer_destroy(&w);
    figures_reader_destroy(&r);
}

static void test_late(void **state)
{
    struct figures f = all(3), back;
    struct figures_writer *w;
    struct figures_reader *r;

    (void)state;
    assert_int_equal(figures_create(path, &w), 0);
    assert_int_equal(figures_open(path, &r), 0);
    f.due_ms = 5000;
    assert_int_equal(figures_write(w, &f), 0);
    assert_int_equal(figures_read(r, 5000, &back), 0);
    memset(&back, 0, sizeof(back));
    assert_int_equal(figures_read(r, 5001, &back), FIGURES_E_LATE);
    assert_int_equal(back.n_accepted, 3); /* what is known last is told all the same */
    f.due_ms = 0;
    assert_int_equal(figures_write(w, &f), 0);
    assert_int_equal(figures_read(r, UINT64_MAX, &back), 0); /* rests */
    figures_writer_destroy(&w);
    figures_reader_destroy(&r);
}

static void test_who_was_turned_away(void **state)
{
    struct figures f = all(0);

    (void)state;
    f.n_refused[TUNNEL_NO_GRANT] = 1;
    f.n_refused[TUNNEL_BUSY] = 2;
    f.n_bad_handshakes = 4;
    f.n_half_open_dropped = 8;
    f.n_strangers = 16;
    f.n_without_room = 32;
    f.n_accepted = f.n_dialled = f.n_unreached = f.n_forged = f.n_cut = 1000;
    assert_int_equal(figures_refused(&f), 63);
}

struct race {
    struct figures_writer *w;
    atomic_bool stop;
};

static void *write_on(void *arg)
{
    const struct figures f[] = {all(1), all(2), all(3), all(4)}; /* made before: all the time is spent in writing */
    struct race *race = arg;

    for (size_t i = 0; !race->stop; i++)
        if (figures_write(race->w, &f[i % 4]) < 0)
            abort(); /* (in a thread, or in a process, of its own) */
    return NULL;
}

/* As many whole ones as are wanted, from a writer that never rests; torn ones are seen as such. */
static void read_against(struct figures_reader *r)
{
    struct figures f;

    for (unsigned n_good = 0, n_tries = 0; n_good < 20000; n_tries++) {
        assert_true(n_tries < 1000 * 1000);
        if (figures_read(r, 1, &f)) {
            usleep(1);
            continue;
        }
        n_good++;
        assert_true(is_of_one_write(&f));
    }
}

static void test_a_thread_that_writes_meanwhile(void **state)
{
    struct race race = {.stop = false};
    struct figures_reader *r;
    pthread_t writer;

    (void)state;
    assert_int_equal(figures_create(path, &race.w), 0);
    assert_int_equal(figures_open(path, &r), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_on, &race), 0);
    read_against(r);
    race.stop = true;
    pthread_join(writer, NULL);
    figures_reader_destroy(&r);
    figures_writer_destroy(&race.w);
}

/* Killed wherever it is: what is left is whole or nothing. */
static void test_a_process_that_is_killed_in_it(void **state)
{
    struct figures_reader *r;
    struct figures f;

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct race race = {.stop = false};
        pid_t pid;

        assert_int_equal(figures_create(path, &race.w), 0);
        assert_int_equal(figures_open(path, &r), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves no writer behind */
            write_on(&race);
        }
        while (figures_read(r, 1, &f))
            usleep(1);
        usleep((useconds_t)i * 100);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        if (figures_read(r, 1, &f) == 0)
            assert_true(is_of_one_write(&f));
        figures_reader_destroy(&r);
        figures_writer_destroy(&race.w);
    }
}

static void put(struct image *image)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    image->sum = sum(image);
    assert_int_equal(fwrite(image, sizeof(*image), 1, f), 1);
    assert_int_equal(fclose(f), 0);
}

/* What a sum that is right does not prove: somebody else's build, or somebody. */
static void test_out_of_bounds(void **state)
{
    static const struct {
        size_t at, n;
        uint8_t byte;
    } rows[] = {
        {offsetof(struct image, f.n_flows), 1, PROTO_RANKS_MAX + 2},
        {offsetof(struct image, f.n_flows), 8, 0xff},
        {offsetof(struct image, f.flow[16].rank), 1, PROTO_RANKS_MAX},
        {offsetof(struct image, f.flow[0].at_worker), 1, 2},
        {offsetof(struct image, f.flow[1].oldest), PROTO_WORD_MAX, 'A'},
        {offsetof(struct image, f.flow[1].blind), PROTO_WORD_MAX, 'A'},
        {offsetof(struct image, f.flow[1].oldest), 1, '\n'},
        {offsetof(struct image, f.flow[1].blind), 1, 0xff},
        {offsetof(struct image, n_writes), 8, 0},
    };
    const struct image good = {
        .magic = FIGURES_MAGIC, .version = FIGURES_VERSION, .n_bytes = sizeof(good), .n_writes = 1, .f = all(1)};
    struct image image = good;
    struct figures_reader *r;
    struct figures f;

    (void)state;
    put(&image);
    assert_int_equal(figures_open(path, &r), 0);
    assert_int_equal(figures_read(r, 1, &f), 0); /* the control */
    figures_reader_destroy(&r);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        image = good;
        memset((uint8_t *)&image + rows[i].at, rows[i].byte, rows[i].n);
        put(&image);
        assert_int_equal(figures_open(path, &r), 0);
        if (figures_read(r, 1, &f) !=
            (rows[i].at == offsetof(struct image, n_writes) ? FIGURES_E_NONE : FIGURES_E_FOREIGN))
            fail_msg("row %zu", i);
        figures_reader_destroy(&r);
    }
}

static void test_damaged(void **state)
{
    struct figures f = all(3);
    struct figures_writer *w;
    struct figures_reader *r;
    struct image image;
    int fd;

    (void)state;
    assert_int_equal(figures_create(path, &w), 0);
    assert_int_equal(figures_write(w, &f), 0);
    assert_int_equal(figures_open(path, &r), 0);
    fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &image, sizeof(image), 0), sizeof(image));
    for (size_t i = 0; i < sizeof(image); i += 61) {
        uint8_t byte = (uint8_t)(((uint8_t *)&image)[i] ^ 1);

        assert_int_equal(pwrite(fd, &byte, 1, (off_t)i), 1);
        assert_int_equal(figures_read(r, 1, &f), i < offsetof(struct image, sum) ? FIGURES_E_FOREIGN : FIGURES_E_NONE);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)i), 1);
    }
    assert_int_equal(figures_read(r, 1, &f), 0);
    assert_int_equal(ftruncate(fd, 100), 0); /* no signal, too */
    assert_int_equal(figures_read(r, 1, &f), FIGURES_E_FOREIGN);
    figures_reader_destroy(&r);
    assert_int_equal(figures_open(path, &r), FIGURES_E_FOREIGN);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(ftruncate(fd, sizeof(image)), 0);
    assert_int_equal(figures_open(path, &r), FIGURES_E_FOREIGN); /* zeros */
    figures_writer_destroy(&w);
    close(fd);
}

/* On a disk that has no room, also for what is there already: it is said, nobody is ended, and the next one mends it. */
static void test_a_full_disk(void **state)
{
    struct figures f = all(3), back;
    struct figures_writer *w;
    struct figures_reader *r;

    (void)state;
    n_failing = 1;
    failing_with = ENOSPC;
    assert_int_equal(figures_create(path, &w), -ENOSPC);
    assert_int_equal(figures_create(path, &w), 0);
    assert_int_equal(figures_write(w, &f), 0);
    assert_int_equal(figures_open(path, &r), 0);
    f = all(4);
    n_failing = 1;
    assert_int_equal(figures_write(w, &f), -ENOSPC);
    assert_int_equal(figures_read(r, 1, &back), 0);
    assert_int_equal(back.n_accepted, 3);
    n_failing = 1;
    failing_with = 0;
    n_taken = sizeof(struct image) / 2;
    assert_int_equal(figures_write(w, &f), -ENOSPC);
    assert_int_equal(figures_read(r, 1, &back), FIGURES_E_NONE);
    assert_int_equal(figures_write(w, &f), 0);
    assert_int_equal(figures_read(r, 1, &back), 0);
    assert_int_equal(back.n_accepted, 4);
    figures_reader_destroy(&r);
    figures_writer_destroy(&w);
}

static void test_no_file(void **state)
{
    struct figures_writer *w;
    struct figures_reader *r;
    char longest[PROTO_PATH_MAX + 1];

    (void)state;
    unlink(path);
    assert_int_equal(figures_open(path, &r), -ENOENT);
    assert_int_equal(figures_create("/nowhere/figures", &w), -ENOENT);
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(figures_create(longest, &w), -ENAMETOOLONG);
    assert_int_equal(symlink("/dev/zero", path), 0); /* not ours to follow */
    assert_int_equal(figures_open(path, &r), -ELOOP);
    unlink(path);
    assert_int_equal(symlink("/nowhere", fresh), 0); /* nor what lies in the way */
    assert_int_equal(figures_create(path, &w), 0);
    assert_int_equal(figures_open(path, &r), 0);
    figures_reader_destroy(&r);
    figures_writer_destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_and_read),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_who_was_turned_away),
        cmocka_unit_test(test_a_thread_that_writes_meanwhile),
        cmocka_unit_test(test_a_process_that_is_killed_in_it),
        cmocka_unit_test(test_out_of_bounds),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_a_full_disk),
        cmocka_unit_test(test_no_file),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
