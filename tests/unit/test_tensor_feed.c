/* Zero transfer: the index of a model's large tensors, how it is kept, and what
 * a worker is fed from it; with real files, also ones that are changed, cut and
 * replaced at the worst moment. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/carrier/feed.h"
#include "agent/carrier/tensor_store.h"
#include "common/cleanup.h"
#include "common/core/fnv.h"
#include "common/file.h"
#include "tests/unit/tensor_harness.h"

struct place {
    char dir[32], path[64];
    struct model model;
    int fd;
    struct gguf_source source;
    char why[GGUF_WHY_MAX];
    struct timespec time[2];     /* of the model as it was made */
    struct tensor_index *hashed; /* of it; whole */
    uint64_t hash[N_BIG];
};

static struct tensor_index *opened(struct place *p)
{
    struct tensor_index *x = NULL;

    assert_int_equal(tensor_store_open(p->dir, p->fd, &x, p->why, sizeof(p->why)), 0);
    return x;
}

static void write_model(struct place *p)
{
    assert_int_equal(pwrite(p->fd, p->model.data, p->model.n, 0), p->model.n);
    if (p->hashed)
        assert_int_equal(futimens(p->fd, p->time), 0);
}

/* Once for all: hashing takes a while under the sanitizers. */
static int begin(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    struct stat st;

    assert_non_null(p);
    snprintf(p->dir, sizeof(p->dir), "/tmp/tensors.XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof(p->path), "%s/m.gguf", p->dir);
    model_make(&p->model, 0);
    for (size_t i = 0; i < N_BIG; i++)
        p->hash[i] = model_hash(model_big(&p->model, i), BIG_BYTES);
    p->fd = open(p->path, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(p->fd >= 0);
    write_model(p);
    assert_int_equal(fstat(p->fd, &st), 0);
    p->time[0] = st.st_atim;
    p->time[1] = st.st_mtim;
    p->source = file_gguf_source(&p->fd, p->model.n);
    p->hashed = opened(p);
    assert_int_equal(tensor_index_step(p->hashed, &p->source, UINT64_MAX), 0);
    *state = p;
    return 0;
}

static void unlink_kept(const struct place *p, const struct tensor_index *x)
{
    struct tensor_file_id id = tensor_index_file(x);
    char name[TENSOR_STORE_NAME_MAX], path[128];

    snprintf(path, sizeof(path), "%s/%s", p->dir, tensor_store_name(&id, name));
    unlink(path);
}

/* After a test that changed it. */
static int mend(void **state)
{
    struct place *p = *state;

    write_model(p);
    unlink_kept(p, p->hashed);
    return 0;
}

static int end(void **state)
{
    struct place *p = *state;

    unlink(p->path);
    assert_int_equal(rmdir(p->dir), 0); /* and nothing else was left in it */
    close(p->fd);
    tensor_index_destroy(&p->hashed);
    free(p->model.data);
    free(p);
    return 0;
}

static void question(uint8_t frame[HASH_FRAME_BYTES], uint64_t hash)
{
    for (size_t i = 0; i < HASH_FRAME_BYTES; i++)
        frame[i] = (uint8_t)(i * 3);
    for (size_t i = 0; i < 8; i++)
        frame[HASH_FRAME_BYTES - 8 + i] = (uint8_t)(hash >> (8 * i));
}

/* Feeds the tensor with this hash in pieces. Returns whether the answer is
 * "yes"; the frame's data are left in ret. */
static bool fed(const struct feed_file *file, uint64_t hash, size_t piece, uint8_t *ret)
{
    uint8_t frame[HASH_FRAME_BYTES], answer[FEED_ANSWER_BYTES];
    uint8_t *buf = malloc(FEED_HEAD_BYTES + BIG_BYTES);
    struct feed f;
    size_t n = 0;
    bool yes;

    assert_non_null(buf);
    question(frame, hash);
    assert_int_equal(feed_begin(&f, file, frame), 0);
    assert_int_equal(feed_left_bytes(&f), FEED_HEAD_BYTES + BIG_BYTES);
    assert_false(feed_answer(&f, answer)); /* not before it is whole */
    for (size_t got; (got = feed_read(&f, buf + n, piece < feed_left_bytes(&f) ? piece : feed_left_bytes(&f)));)
        n += got;
    assert_int_equal(n, FEED_HEAD_BYTES + BIG_BYTES);
    assert_int_equal(buf[0], 6);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(buf[1 + i], (uint8_t)((uint64_t)(RPC_TENSOR_HEAD_BYTES + BIG_BYTES) >> (8 * i)));
    assert_memory_equal(buf + 9, frame + 9, 296);
    assert_int_equal(buf[9 + 296], 0);
    assert_memory_equal(buf + 9 + 297, frame + 9 + 296, 8);
    memcpy(ret, buf + FEED_HEAD_BYTES, BIG_BYTES);
    free(buf);
    yes = feed_answer(&f, answer);
    assert_memory_equal(answer, ((uint8_t[]){1, 0, 0, 0, 0, 0, 0, 0, yes}), sizeof(answer));
    return yes;
}

static void expect_no(const struct feed_file *file, uint64_t hash, int why)
{
    uint8_t frame[HASH_FRAME_BYTES];
    struct feed f;

    question(frame, hash);
    assert_int_equal(feed_begin(&f, file, frame), why);
}

/* ---- the index ---- */

static void test_index_in_slices(void **state)
{
    static const uint64_t slice[] = {1000003, BIG_BYTES};
    struct place *p = *state;

    for (size_t i = 0; i < sizeof(slice) / sizeof(slice[0]); i++) {
        CLEANUP(tensor_index_destroy) struct tensor_index *x = opened(p);
        uint64_t left = N_BIG * (uint64_t)BIG_BYTES;
        int r = TENSOR_INDEX_E_MORE;

        assert_int_equal(tensor_index_bytes(x), left);
        while (r == TENSOR_INDEX_E_MORE) {
            assert_int_equal(tensor_index_left_bytes(x), left);
            assert_null(tensor_index_find(x, p->hash[0])); /* not before all is hashed */
            r = tensor_index_step(x, &p->source, slice[i]);
            left -= slice[i] < left ? slice[i] : left;
        }
        assert_int_equal(r, 0);
        for (size_t b = 0; b < N_BIG; b++) {
            const struct tensor_span *span = tensor_index_find(x, p->hash[b]);

            assert_non_null(span);
            assert_int_equal(span->offset, model_big(&p->model, b) - p->model.data);
            assert_int_equal(span->n_bytes, BIG_BYTES);
        }
        assert_null(tensor_index_find(x, 1));
    }
}

/* llama-server asks from the first byte over 10 MiB on. */
static void test_which_are_asked_for(void **state)
{
    struct llama_dims exact = {.n_layer = 1, .n_embd = N_EMBD, .n_head = 8, .n_head_kv = 1, .n_vocab = 100, .type = 1};
    struct gguf_image im;
    struct gguf_source source;
    struct tensor_file_id id = {.inode = 1};
    struct tensor_index *x = NULL;
    char why[GGUF_WHY_MAX];

    (void)state;
    exact.n_ff = TENSOR_ASKED_OVER_BYTES / 2 / N_EMBD;
    image_llama(&im, &exact);
    source = image_source(&im);
    id.size_bytes = im.size_bytes;
    assert_int_equal(tensor_index_new(&source, &id, &x, why, sizeof(why)), 0);
    assert_int_equal(tensor_index_bytes(x), 0);
    assert_true(tensor_index_is_done(x));
    assert_int_equal(tensor_index_step(x, &source, 1), 0);
    assert_null(tensor_index_find(x, FNV1A_BASIS));
    tensor_index_destroy(&x);
    im.fail_read = -EIO;
    assert_int_equal(tensor_index_new(&source, &id, &x, why, sizeof(why)), -EIO);
    im.fail_read = 0;
    im.bytes[0] = 'X';
    assert_int_equal(tensor_index_new(&source, &id, &x, why, sizeof(why)), TENSOR_INDEX_E_NO_MODEL);
    assert_non_null(strstr(why, "not a GGUF file"));
    image_clear(&im);
}

/* A read that failed may be tried again. */
static void test_read_error(void **state)
{
    struct place *p = *state;
    CLEANUP(tensor_index_destroy) struct tensor_index *x = opened(p);

    assert_int_equal(ftruncate(p->fd, (off_t)(p->model.n - 1)), 0);
    assert_true(tensor_index_step(x, &p->source, UINT64_MAX) < 0);
    assert_false(tensor_index_is_done(x));
    write_model(p);
    assert_int_equal(tensor_index_step(x, &p->source, UINT64_MAX), 0);
    assert_non_null(tensor_index_find(x, p->hash[2]));
}

static void test_kept(void **state)
{
    struct place *p = *state;
    CLEANUP(tensor_index_destroy)
    struct tensor_index *again = NULL, *changed = NULL, *back = NULL;
    struct timespec later[2];

    assert_int_equal(tensor_store_keep(p->dir, p->hashed), 0);
    again = opened(p);
    assert_true(tensor_index_is_done(again));
    for (size_t b = 0; b < N_BIG; b++)
        assert_int_equal(tensor_index_find(again, p->hash[b])->offset, model_big(&p->model, b) - p->model.data);
    later[0] = later[1] = p->time[1];
    later[1].tv_nsec ^= 1;
    assert_int_equal(futimens(p->fd, later), 0);
    changed = opened(p);
    assert_false(tensor_index_is_done(changed));
    assert_int_equal(tensor_index_step(changed, &p->source, UINT64_MAX), 0);
    assert_int_equal(tensor_store_keep(p->dir, changed),
                     0); /* beside the other: on another disk it would be another file */
    assert_int_equal(futimens(p->fd, p->time), 0);
    back = opened(p);
    assert_true(tensor_index_is_done(back));
    unlink_kept(p, changed);
    assert_true(tensor_store_keep("/nowhere", p->hashed) < 0);
}

/* Each bit of what is kept flipped, and cut at every length. */
static void test_kept_damaged(void **state)
{
    struct place *p = *state;
    CLEANUP(tensor_index_destroy) struct tensor_index *other = opened(p);
    size_t n = tensor_index_kept_bytes(p->hashed);
    uint8_t *buf = malloc(n);

    assert_non_null(buf);
    tensor_index_write(p->hashed, buf);
    for (size_t i = 0; i < n * 8; i++) {
        buf[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_false(tensor_index_take(other, buf, n));
        buf[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t i = 0; i < n; i++)
        assert_false(tensor_index_take(other, buf, i));
    assert_false(tensor_index_is_done(other));
    assert_true(tensor_index_take(other, buf, n));
    assert_true(tensor_index_is_done(other));
    free(buf);
}

/* ---- feeding ---- */

static void test_fed(void **state)
{
    static const size_t piece[] = {SIZE_MAX, 262144, 100003};
    struct place *p = *state;
    CLEANUP(tensor_index_destroy) struct tensor_index *half = opened(p);
    struct feed_file file = {p->fd, p->hashed}, not_yet = {p->fd, half};
    uint8_t *got = malloc(BIG_BYTES);

    assert_non_null(got);
    for (size_t i = 0; i < N_BIG; i++) {
        assert_true(fed(&file, p->hash[i], piece[i], got));
        assert_memory_equal(got, model_big(&p->model, i), BIG_BYTES);
    }
    expect_no(&file, 7, FEED_E_NOT_HERE);
    expect_no(&not_yet, p->hash[0], FEED_E_NOT_HERE);
    free(got);
}

/* Written to since it was indexed, by somebody who left size and time as they
 * were: found out by the bytes. */
static void test_tampered(void **state)
{
    struct place *p = *state;
    struct feed_file file = {p->fd, p->hashed};
    uint64_t hash = p->hash[1];
    uint8_t *got = malloc(BIG_BYTES);
    struct stat st;

    assert_non_null(got);
    assert_int_equal(fstat(p->fd, &st), 0);
    assert_int_equal(pwrite(p->fd, "!", 1, model_big(&p->model, 2) - p->model.data - 1),
                     1);                    /* the last byte of the second */
    expect_no(&file, hash, FEED_E_CHANGED); /* the time tells it already */
    assert_int_equal(futimens(p->fd, (struct timespec[]){st.st_atim, st.st_mtim}), 0);
    assert_false(fed(&file, hash, SIZE_MAX, got));
    assert_true(fed(&file, p->hash[0], SIZE_MAX, got)); /* the others are as they were */
    free(got);
}

/* Cut while it is being fed: the frame is whole, the answer no. */
static void test_cut(void **state)
{
    struct place *p = *state;
    struct feed_file file = {p->fd, p->hashed};
    uint8_t frame[HASH_FRAME_BYTES], answer[FEED_ANSWER_BYTES], buf[4096];
    struct feed f;
    uint64_t n = 0;

    question(frame, p->hash[2]);
    assert_int_equal(feed_begin(&f, &file, frame), 0);
    for (size_t got; (got = feed_read(&f, buf, sizeof(buf))); n += got) {
        if (n == sizeof(buf) * 100)
            assert_int_equal(ftruncate(p->fd, (off_t)(p->model.n - BIG_BYTES / 2)), 0);
    }
    assert_int_equal(n, FEED_HEAD_BYTES + BIG_BYTES);
    assert_false(feed_answer(&f, answer));
    expect_no(&file, p->hash[0], FEED_E_CHANGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_in_slices),
        cmocka_unit_test(test_which_are_asked_for),
        cmocka_unit_test_teardown(test_read_error, mend),
        cmocka_unit_test_teardown(test_kept, mend),
        cmocka_unit_test(test_kept_damaged),
        cmocka_unit_test(test_fed),
        cmocka_unit_test_teardown(test_tampered, mend),
        cmocka_unit_test_teardown(test_cut, mend),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
