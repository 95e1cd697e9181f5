/* Zero transfer in a stream: a coordinator loads a model into a worker through a relay that feeds it, in pieces of any size,
 * from files that are as they should be, and from ones that are changed at the worst moment. Whatever happens, the worker has
 * the model's bytes in the end, and where nothing went wrong every byte that it was told is known beforehand. */
#include "tests/unit/relay_harness.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "agent/carrier/feeding.h"
#include "agent/carrier/hash_gate.h"
#include "agent/carrier/tensor_store.h"
#include "common/file.h"
#include "tests/unit/tensor_harness.h"

enum { FREE = 4, CLEAR = 5, SET = 6, HASH = 7, GET = 8, HELLO = 14, COUNT = 15 };
enum { N_SMALL = 2, SMALL_BYTES = 4097, GET_BYTES = 300000, TENSORS = N_BIG + N_SMALL };

static struct model model, other;
static char dir[32];

/* ---- files -------------------------------------------------------------------------------------------------------- */

static void path_of(const char *name, char ret[PROTO_PATH_MAX])
{
    snprintf(ret, PROTO_PATH_MAX, "%s/%s", dir, name);
}

/* Hashed as the agent would. */
static void index_file(const char *path)
{
    CLEANUP(tensor_index_destroy) struct tensor_index *x = NULL;
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct gguf_source source;
    char why[GGUF_WHY_MAX];

    assert_int_equal(tensor_store_open(dir, fd, &x, why, sizeof(why)), 0);
    source = file_gguf_source(&fd, tensor_index_file(x).size_bytes);
    assert_int_equal(tensor_index_step(x, &source, UINT64_MAX), 0);
    assert_int_equal(tensor_store_keep(dir, x), 0);
}

/* Writes n bytes at `at` and leaves the times as they were. */
static void tamper(const char *path, size_t at, size_t n)
{
    CLEANUP(cleanup_close) int fd = open(path, O_WRONLY | O_CLOEXEC);
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    for (size_t i = 0; i < n; i += 3)
        assert_int_equal(pwrite(fd, "no!", 3, (off_t)(at + i)), 3);
    assert_int_equal(futimens(fd, (struct timespec[]){st.st_atim, st.st_mtim}), 0);
}

/* ---- the scene ---------------------------------------------------------------------------------------------------- */

struct scene {
    struct scribe worker, coordinator;
    struct relay *relay;
    struct rpc_frames sensor;
    struct feeding_files *files;
    struct feeding *feeding;
    char path[2][PROTO_PATH_MAX];
    bool ended;
    uint8_t major; /* what the worker answers to HELLO */
    /* Of the worker: how much of its input it has seen to, and what it has of each tensor. */
    size_t n_served;
    uint8_t *memory[TENSORS];
    size_t n_questions; /* that it was asked */
    bool dawdles;       /* it answers nothing for now */
    size_t n_heard;     /* by the coordinator, of its input */
    struct bytes expected;
    /* Once the worker has got so many bytes. */
    size_t act_at;
    void (*act)(struct scene *s);
};

static void on_came(void *ctx, enum relay_direction direction, const uint8_t *data, size_t n)
{
    struct scene *s = ctx;

    if (direction == RELAY_BACK)
        rpc_frames_request(&s->sensor, data, n, 1);
    else
        rpc_frames_answer(&s->sensor, data, n, 1);
}

static void on_sent(void *ctx, enum relay_direction direction, size_t n)
{
    if (direction == RELAY_BACK)
        rpc_frames_written(&((struct scene *)ctx)->sensor, n, 1);
}

static void on_ended(void *ctx, enum relay_end how, int error)
{
    struct scene *s = ctx;

    (void)error;
    assert_int_equal(how, RELAY_DONE);
    s->ended = true;
    relay_destroy(&s->relay);
}

static void begin(struct scene *s, uint64_t seed, size_t n_files, const char *const *file)
{
    struct relay_calls calls = {.came = on_came, .sent = on_sent, .ended = on_ended, .ctx = s};
    struct relay_sockets with = {.data_max = 65536};
    int near[2], far[2];

    *s = (struct scene){.major = 8};
    for (size_t i = 0; i < n_files; i++)
        path_of(file[i], s->path[i]);
    for (size_t i = 0; i < TENSORS; i++) {
        s->memory[i] = calloc(1, BIG_BYTES);
        assert_non_null(s->memory[i]);
    }
    rpc_frames_init(&s->sensor);
    assert_int_equal(feeding_files_new(s->path, n_files, dir, &s->files), 0);
    assert_int_equal(feeding_new(s->files, &s->sensor, &s->feeding), 0);
    calls.filter = feeding_filter(s->feeding);
    socket_pair(true, near);
    socket_pair(true, far);
    with.near = near[1];
    with.far = far[1];
    scribe_begin(&s->worker, near[0], seed);
    scribe_begin(&s->coordinator, far[0], seed + 1);
    assert_int_equal(relay_new(base, &with, &calls, &s->relay), 0);
}

static void end_scene(struct scene *s)
{
    relay_destroy(&s->relay);
    feeding_destroy(&s->feeding);
    feeding_files_destroy(&s->files);
    scribe_end(&s->worker);
    scribe_end(&s->coordinator);
    for (size_t i = 0; i < TENSORS; i++)
        free(s->memory[i]);
    bytes_clear(&s->expected);
}

/* ---- a worker ----------------------------------------------------------------------------------------------------- */

static uint64_t get_le(const uint8_t *p)
{
    uint64_t value = 0;

    for (size_t i = 0; i < 8; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static void put_le(struct bytes *b, uint64_t value)
{
    for (size_t i = 0; i < 8; i++)
        *bytes_room(b, 1) = (uint8_t)(value >> (8 * i));
}

static void worker_says(struct scene *s, const uint8_t *data, size_t n, size_t n_zeros)
{
    put_le(&s->worker.out, n + n_zeros);
    bytes_add(&s->worker.out, data, n);
    bytes_fill(&s->worker.out, 0, n_zeros);
    scribe_send(&s->worker);
}

/* description, a zero, offset, data: as rpc-server would. */
static void worker_sets(struct scene *s, const uint8_t *data, size_t n)
{
    assert_true(n >= RPC_TENSOR_HEAD_BYTES && data[0] < TENSORS && data[RPC_TENSOR_BYTES] == 0);
    assert_int_equal(get_le(data + RPC_TENSOR_BYTES + 1), 0);
    assert_true(n - RPC_TENSOR_HEAD_BYTES <= BIG_BYTES);
    memcpy(s->memory[data[0]], data + RPC_TENSOR_HEAD_BYTES, n - RPC_TENSOR_HEAD_BYTES);
}

static void worker_hears(struct scene *s, uint8_t command, const uint8_t *data, size_t n)
{
    switch (command) {
    case SET:
        worker_sets(s, data, n);
        return;
    case HELLO:
        worker_says(s, (uint8_t[]){s->major, 0, 0}, 3, 25);
        return;
    case HASH:
        s->n_questions++;
        worker_says(s, (uint8_t[]){0}, 1, 0);
        return;
    case GET:
        worker_says(s, (uint8_t[]){'g'}, 1, GET_BYTES - 1);
        return;
    case COUNT:
        worker_says(s, (uint8_t[]){1}, 1, 3);
        return;
    }
}

static void worker_serves(struct scene *s)
{
    const struct bytes *in = &s->worker.in;

    while (!s->dawdles && in->n - s->n_served >= 9) {
        const uint8_t *p = in->p + s->n_served;
        uint64_t n = get_le(p + 1);

        if (in->n - s->n_served - 9 < n)
            break;
        worker_hears(s, p[0], p + 9, (size_t)n);
        s->n_served += 9 + (size_t)n;
    }
}

/* ---- a coordinator ------------------------------------------------------------------------------------------------ */

/* One turn of the loop, of the worker, and of whoever waits for the worst moment. */
static void turn(struct scene *s)
{
    worker_serves(s);
    event_base_loop(base, EVLOOP_ONCE);
    if (s->act && s->worker.in.n >= s->act_at) {
        s->act(s);
        s->act = NULL;
    }
}

static void add_frame(struct bytes *b, uint8_t command, const struct bytes *data)
{
    *bytes_room(b, 1) = command;
    put_le(b, data->n);
    bytes_add(b, data->p, data->n);
}

static void says(struct scene *s, uint8_t command, const struct bytes *data, size_t piece_max)
{
    while (s->coordinator.n_sent < s->coordinator.out.n) /* so that sizes of pieces are of one frame */
        turn(s);
    s->coordinator.piece_max = piece_max;
    add_frame(&s->coordinator.out, command, data);
    scribe_send(&s->coordinator);
}

/* An answer of n bytes, whose first is returned. */
static uint8_t hears(struct scene *s, size_t n)
{
    while (s->coordinator.in.n - s->n_heard < 8 + n)
        turn(s);
    assert_int_equal(get_le(s->coordinator.in.p + s->n_heard), n);
    s->n_heard += 8 + n;
    return s->coordinator.in.p[s->n_heard - n];
}

static const uint8_t *tensor(size_t i, size_t *ret_n)
{
    *ret_n = i < N_BIG ? BIG_BYTES : SMALL_BYTES;
    return model_big(&model, i < N_BIG ? i : 0);
}

static void describe(struct bytes *b, size_t i)
{
    bytes_fill(b, 7, RPC_TENSOR_BYTES);
    b->p[0] = (uint8_t)i;
}

static void make_question(struct bytes *b, size_t i)
{
    size_t n;
    const uint8_t *p = tensor(i, &n);

    describe(b, i);
    put_le(b, 0);
    put_le(b, model_hash(p, n));
}

static void make_tensor(struct bytes *b, size_t i)
{
    size_t n;
    const uint8_t *p = tensor(i, &n);

    describe(b, i);
    *bytes_room(b, 1) = 0;
    put_le(b, 0);
    bytes_add(b, p, n);
}

static void asks(struct scene *s, uint8_t command, size_t n_data, size_t n_answer)
{
    struct bytes data = {0};

    bytes_fill(&data, command, n_data);
    says(s, command, &data, 20);
    add_frame(&s->expected, command, &data);
    bytes_clear(&data);
    if (n_answer)
        hears(s, n_answer);
}

/* As llama-server does. expected is what the worker is told if all files are as they should be. */
static void loads(struct scene *s, size_t i)
{
    struct bytes question = {0}, data = {0};
    bool yes = false;

    make_tensor(&data, i);
    if (i < N_BIG) {
        size_t n_asked = s->n_questions;

        make_question(&question, i);
        says(s, HASH, &question, 300);
        yes = hears(s, 1);
        if (s->n_questions > n_asked)
            add_frame(&s->expected, HASH, &question);
    }
    if (!yes)
        says(s, SET, &data, 100000);
    add_frame(&s->expected, SET, &data);
    bytes_clear(&question);
    bytes_clear(&data);
}

static bool is_over(struct scene *s)
{
    turn(s);
    return s->ended && s->worker.eof && s->coordinator.eof;
}

static void finish(struct scene *s)
{
    s->coordinator.ends = true;
    scribe_send(&s->coordinator);
    while (!s->worker.eof)
        turn(s);
    worker_serves(s);
    s->worker.ends = true;
    scribe_send(&s->worker);
    while (!is_over(s))
        ;
    worker_serves(s);
    assert_int_equal(s->n_served, s->worker.in.n);
    assert_int_equal(s->n_heard, s->coordinator.in.n);
}

static void load_all(struct scene *s)
{
    asks(s, HELLO, 24, 28);
    asks(s, COUNT, 0, 4);
    for (size_t i = 0; i < TENSORS; i++) {
        loads(s, i);
        asks(s, CLEAR, 9, 0);
        if (i % 2)
            asks(s, GET, 312, GET_BYTES);
    }
    asks(s, FREE, 8, 0);
    finish(s);
    for (size_t i = 0; i < TENSORS; i++) {
        size_t n;
        const uint8_t *p = tensor(i, &n);

        assert_memory_equal(s->memory[i], p, n);
    }
}

static void expect_told(const struct scene *s)
{
    assert_int_equal(s->worker.in.n, s->expected.n);
    assert_memory_equal(s->worker.in.p, s->expected.p, s->expected.n);
}

static void expect_counts(const struct scene *s, uint64_t n_fed, uint64_t n_wrong, uint64_t n_not_here)
{
    struct feeding_counts c = feeding_counts(s->feeding);
    struct rpc_figures v;

    assert_int_equal(c.n_fed, n_fed);
    assert_int_equal(c.n_wrong, n_wrong);
    assert_int_equal(c.n_not_here, n_not_here);
    assert_int_equal(c.fed_bytes, (n_fed + n_wrong) * BIG_BYTES);
    rpc_frames_figures(&s->sensor, 1, &v);
    assert_int_equal(v.why, RPC_BLIND_NOT);
    assert_int_equal(v.request.n_bytes, s->worker.in.n);
    feeding_as_carried(s->feeding, &v); /* now it is what the coordinator has said and heard */
    assert_int_equal(v.request.n_bytes, s->coordinator.out.n);
    assert_int_equal(v.answer.n_bytes, s->coordinator.in.n);
    assert_int_equal(v.n_tensor_bytes, (N_BIG - n_fed) * BIG_BYTES + N_SMALL * SMALL_BYTES);
    assert_int_equal(v.n_fed_bytes, c.fed_bytes);
    assert_int_equal(v.n_hash_asked, N_BIG);
    assert_int_equal(v.n_hash_known, n_fed);
}

/* ---- files that are as they should be ----------------------------------------------------------------------------- */

static void fresh(const char *name, const struct model *m)
{
    char path[PROTO_PATH_MAX];

    path_of(name, path);
    unlink(path);
    model_write(m, path);
    index_file(path);
}

static void test_fed(void **state)
{
    static const char *const file[] = {"other.gguf", "m.gguf"};

    (void)state;
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct scene s;

        fresh("m.gguf", &model);
        fresh("other.gguf", &other);
        stingy = seed;
        begin(&s, seed + 1, 2, file);
        load_all(&s);
        expect_told(&s);
        expect_counts(&s, N_BIG, 0, 0);
        assert_int_equal(s.n_questions, 0);
        end_scene(&s);
        stingy = 0;
    }
}

/* Nothing comes behind the last answer. */
static void test_end_behind_an_answer(void **state)
{
    static const char *const file[] = {"m.gguf"};
    struct scene s;

    (void)state;
    fresh(file[0], &model);
    begin(&s, 1, 1, file);
    asks(&s, HELLO, 24, 28);
    loads(&s, 0);
    finish(&s);
    expect_told(&s);
    end_scene(&s);
}

/* Without files, with another model's, with one that has no index, and with none that could be opened. */
static void test_not_here(void **state)
{
    static const char *const file[][1] = {{""}, {"other.gguf"}, {"new.gguf"}, {"nowhere.gguf"}, {"junk.gguf"}};
    char path[PROTO_PATH_MAX];

    (void)state;
    fresh("other.gguf", &other);
    path_of("new.gguf", path);
    model_write(&model, path);
    path_of("junk.gguf", path);
    assert_int_equal(symlink("/dev/zero", path), 0);
    for (size_t i = 0; i < sizeof(file) / sizeof(file[0]); i++) {
        struct scene s;

        begin(&s, i, i > 0, file[i]);
        load_all(&s);
        expect_told(&s);
        expect_counts(&s, 0, 0, i == 0 ? 0 : i == 1 ? N_BIG : 1); /* where none is of use it is not asked again */
        assert_int_equal(s.n_questions, N_BIG);
        end_scene(&s);
    }
    unlink(path);
    path_of("new.gguf", path);
    unlink(path);
}

/* ---- files that are not ------------------------------------------------------------------------------------------- */

static size_t at_tensor(size_t i)
{
    return (size_t)(model_big(&model, i) - model.data);
}

static void act_tamper_here(struct scene *s)
{
    tamper(s->path[0], at_tensor(1) + BIG_BYTES - 30, 30);
}

static void act_cut(struct scene *s)
{
    assert_int_equal(truncate(s->path[0], (off_t)(at_tensor(1) + BIG_BYTES / 2)), 0);
}

static void act_rewrite(struct scene *s)
{
    model_write(&other, s->path[0]);
}

static void act_replace(struct scene *s)
{
    char aside[PROTO_PATH_MAX];

    path_of("aside.gguf", aside);
    model_write(&other, aside);
    assert_int_equal(rename(aside, s->path[0]), 0);
}

static void act_touch(struct scene *s)
{
    assert_int_equal(utimensat(AT_FDCWD, s->path[0], NULL, 0), 0);
}

static void act_nothing(struct scene *s)
{
    (void)s;
}

static void act_tamper_last(struct scene *s)
{
    tamper(s->path[0], at_tensor(2), 3);
}

/* The worst moments: before the first question; in the middle of the second tensor; behind it. */
enum { BEFORE = 0, WITHIN = BIG_BYTES + BIG_BYTES / 4, BEHIND = 2 * BIG_BYTES + 1000 };

static const struct {
    const char *name;
    void (*act)(struct scene *s);
    size_t at;
    uint64_t n_fed, n_wrong, n_not_here;
    bool known; /* no byte but the right ones is told */
    unsigned n_lines;
} changes[] = {
    {"nothing", act_nothing, WITHIN, 3, 0, 0, true, 0},
    {"tampered with before", act_tamper_here, BEFORE, 1, 1, 0, false, 1},
    {"tampered with in the middle", act_tamper_here, WITHIN, 1, 1, 0, false, 1},
    {"tampered with behind", act_tamper_last, BEHIND, 2, 1, 0, false, 1},
    {"cut before", act_cut, BEFORE, 0, 0, 1, true, 0 /* that it is no model any more is another line */},
    {"cut in the middle", act_cut, WITHIN, 1, 1, 0, false, 1},
    {"cut behind", act_cut, BEHIND, 2, 0, 1, true, 1},
    {"rewritten before", act_rewrite, BEFORE, 0, 0, 1, true, 0},
    {"rewritten in the middle", act_rewrite, WITHIN, 1, 1, 0, false, 1},
    {"rewritten behind", act_rewrite, BEHIND, 2, 0, 1, true, 1},
    {"replaced before: another inode, no index", act_replace, BEFORE, 0, 0, 1, true, 0},
    {"replaced in the middle: the old one is still open", act_replace, WITHIN, 3, 0, 0, true, 0},
    {"touched before: another time, no index", act_touch, BEFORE, 0, 0, 1, true, 0},
    {"touched behind", act_touch, BEHIND, 2, 0, 1, true, 1},
};

static int caught = -1, real_stderr = -1;

static void catch_stderr(void)
{
    real_stderr = dup(STDERR_FILENO);
    caught = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(real_stderr >= 0 && caught >= 0);
    dup2(caught, STDERR_FILENO);
}

/* How often msg was logged. */
static unsigned release_stderr(const char *msg)
{
    static char text[100000];
    ssize_t n = pread(caught, text, sizeof(text) - 1, 0);
    unsigned n_lines = 0;

    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(caught);
    text[n > 0 ? n : 0] = '\0';
    for (const char *at = text; (at = strstr(at, msg)); at++)
        n_lines++;
    return n_lines;
}

static void test_changed(void **state)
{
    static const char *const file[] = {"m.gguf"};

    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        unsigned n_lines;
        struct scene s;

        fresh(file[0], &model);
        stingy = i;
        catch_stderr();
        begin(&s, i + 1, 1, file);
        s.act = changes[i].act;
        s.act_at = changes[i].at;
        if (!changes[i].at) {
            s.act(&s);
            s.act = NULL;
        }
        load_all(&s);
        assert_null(s.act);
        n_lines = release_stderr("msg=feed.wrong");
        print_message("%s\n", changes[i].name);
        assert_int_equal(n_lines, changes[i].n_lines);
        if (changes[i].known)
            expect_told(&s);
        expect_counts(&s, changes[i].n_fed, changes[i].n_wrong, changes[i].n_not_here);
        end_scene(&s);
        stingy = 0;
    }
}

/* ---- coordinators that do not wait, and what is not understood ---------------------------------------------------- */

/* Two questions and a command at once: each gets its own answer, in their order. */
static void test_asked_at_once(void **state)
{
    static const char *const file[] = {"m.gguf"};
    struct bytes question[2] = {{0}, {0}}, get = {0};

    (void)state;
    fresh(file[0], &model);
    bytes_fill(&get, 1, 312);
    for (size_t i = 0; i < 2; i++)
        make_question(&question[i], i);
    for (uint64_t seed = 1; seed < 4; seed++) {
        struct scene s;

        stingy = seed;
        begin(&s, seed, 1, file);
        asks(&s, HELLO, 24, 28);
        add_frame(&s.coordinator.out, HASH, &question[0]);
        add_frame(&s.coordinator.out, HASH, &question[1]);
        add_frame(&s.coordinator.out, GET, &get);
        add_frame(&s.coordinator.out, HASH, &question[0]); /* behind an answer that takes its time: for the worker */
        scribe_send(&s.coordinator);
        assert_int_equal(hears(&s, 1), 1);
        assert_int_equal(hears(&s, 1), 1);
        assert_int_equal(hears(&s, GET_BYTES), 'g');
        assert_int_equal(hears(&s, 1), 0);
        assert_int_equal(s.n_questions, 1);
        finish(&s);
        end_scene(&s);
        stingy = 0;
    }
    bytes_clear(&question[0]);
    bytes_clear(&question[1]);
    bytes_clear(&get);
}

/* Of a version that is not known every byte passes as it is; so does a question before HELLO is answered, and one that its end
 * cuts off. */
static void test_left_alone(void **state)
{
    static const char *const file[] = {"m.gguf"};
    struct bytes question = {0};

    (void)state;
    fresh(file[0], &model);
    make_question(&question, 0);
    for (unsigned i = 0; i < 3; i++) {
        struct scene s;

        begin(&s, i, 1, file);
        s.major = i == 0 ? 9 : 8;
        s.dawdles = i == 1;
        asks(&s, HELLO, 24, i == 1 ? 0 : 28);
        add_frame(&s.coordinator.out, HASH, &question);
        s.coordinator.out.n -= i == 2 ? 100 : 0;
        scribe_send(&s.coordinator);
        if (i == 2) {
            s.coordinator.ends = true;
        } else {
            while (s.worker.in.n < s.coordinator.out.n)
                turn(&s);
            s.dawdles = false;
            assert_int_equal(hears(&s, i == 0 ? 1 : 28), i == 0 ? 0 : 8);
        }
        while (s.worker.in.n < s.coordinator.out.n)
            turn(&s);
        assert_memory_equal(s.worker.in.p, s.coordinator.out.p, s.coordinator.out.n);
        assert_int_equal(feeding_counts(s.feeding).n_fed, 0);
        end_scene(&s);
    }
    bytes_clear(&question);
}

/* A wrong file is not used by the next stream of the carrier either. */
static void test_next_stream(void **state)
{
    static const char *const file[] = {"m.gguf"};
    struct feeding *again = NULL;
    struct scene s;

    (void)state;
    fresh(file[0], &model);
    begin(&s, 1, 1, file);
    act_tamper_here(&s);
    load_all(&s);
    feeding_destroy(&s.feeding);
    assert_int_equal(feeding_new(s.files, &s.sensor, &again), 0);
    s.feeding = again;
    {
        struct relay_filter filter = feeding_filter(again);
        enum relay_verdict verdict = 0;
        uint8_t frame[HASH_FRAME_BYTES] = {HASH, 56, 1};

        assert_int_equal(filter.judge(filter.ctx, frame, sizeof(frame), &verdict), sizeof(frame));
        assert_int_equal(verdict, RELAY_PASS);
    }
    end_scene(&s);
}

/* ---- the rest ----------------------------------------------------------------------------------------------------- */

static int begin_all(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/feeding.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    model_make(&model, 0);
    model_make(&other, 1);
    return begin_loop(state);
}

static int end_all(void **state)
{
    char command[64];

    snprintf(command, sizeof(command), "rm -r %s", dir);
    free(model.data);
    free(other.data);
    end_loop(state);
    return system(command);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fed),           cmocka_unit_test(test_end_behind_an_answer),
        cmocka_unit_test(test_not_here),      cmocka_unit_test(test_changed),
        cmocka_unit_test(test_asked_at_once), cmocka_unit_test(test_left_alone),
        cmocka_unit_test(test_next_stream),
    };

    return cmocka_run_group_tests(tests, begin_all, end_all);
}
