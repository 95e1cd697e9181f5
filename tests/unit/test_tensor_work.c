/* Indexing a node's models in the background, without the background: what is hashed, once; what is kept of it, and for how
 * long; and files that change while they are read. */
#include "tests/unit/tensor_harness.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/lib/failing_alloc.h"

#include "agent/tensor_work.c"

enum { SLICE = 4 << 20 };
static const uint64_t all_bytes = (uint64_t)N_BIG * BIG_BYTES;
static struct model model, other;

struct place {
    char models[64], index[64];
    const char *dir[1];
    struct tensor_work *work;
    struct tensor_models *list;
};

static void path_of(const struct place *p, const char *name, char ret[PROTO_PATH_MAX])
{
    snprintf(ret, PROTO_PATH_MAX, "%s/%s", p->models, name);
}

static void put(const struct place *p, const char *name, const struct model *m)
{
    char path[PROTO_PATH_MAX];

    path_of(p, name, path);
    model_write(m, path);
}

/* Names, with an end. */
static void list(struct place *p, const char *const *name)
{
    size_t n = 0;

    free(p->list);
    p->list = calloc(1, sizeof(*p->list) + 8 * sizeof(p->list->path[0]));
    for (; name[n]; n++)
        path_of(p, name[n], p->list->path[n]);
    p->list->n = n;
    assert_int_equal(tensor_work_take(p->work, p->list), 0);
}

static struct tensor_progress progress(const struct place *p)
{
    struct tensor_progress now;

    tensor_work_progress(p->work, &now);
    return now;
}

/* As many steps as there are before some bytes are hashed. */
static void until_hashing(struct place *p)
{
    for (uint64_t n = UINT64_MAX; n > 0 && (n == UINT64_MAX || progress(p).left_bytes >= n);) {
        if (p->work->index)
            n = progress(p).left_bytes;
        assert_int_equal(tensor_work_step(p->work, SLICE), TENSOR_WORK_E_MORE);
    }
}

/* To the end. Returns how many bytes were hashed. */
static uint64_t finish_all(struct place *p)
{
    uint64_t n = 0, before = 0, left;

    do {
        left = progress(p).left_bytes;
        n += left < before ? before - left : 0;
        before = left;
    } while (tensor_work_step(p->work, SLICE) == TENSOR_WORK_E_MORE);
    return n;
}

static void expect(const struct place *p, size_t n_files, size_t n_indexed, size_t n_failed, uint64_t left_bytes)
{
    struct tensor_progress now = progress(p);

    assert_int_equal(now.n_files, n_files);
    assert_int_equal(now.n_indexed, n_indexed);
    assert_int_equal(now.n_failed, n_failed);
    assert_int_equal(now.left_bytes, left_bytes);
}

static size_t count_kept(const struct place *p)
{
    CLEANUP(close_dir) DIR *d = opendir(p->index);
    struct dirent *e;
    size_t n = 0;

    while ((e = readdir(d)))
        n += e->d_name[0] != '.';
    return n;
}

static int begin_place(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    strcpy(p->models, "/tmp/tensor_work.XXXXXX");
    strcpy(p->index, "/tmp/tensor_index.XXXXXX");
    assert_true(mkdtemp(p->models) && mkdtemp(p->index));
    p->dir[0] = p->models;
    assert_int_equal(tensor_work_new(p->index, p->dir, 1, &p->work), 0);
    *state = p;
    return 0;
}

static int end_place(void **state)
{
    struct place *p = *state;
    char command[256];

    snprintf(command, sizeof(command), "rm -r %s %s", p->models, p->index);
    tensor_work_destroy(&p->work);
    free(p->list);
    free(p);
    return system(command);
}

static void work_anew(struct place *p)
{
    tensor_work_destroy(&p->work);
    assert_int_equal(tensor_work_new(p->index, p->dir, 1, &p->work), 0);
}

/* ---- what is hashed ----------------------------------------------------------------------------------------------- */

static void test_once(void **state)
{
    static const char *const names[] = {"m.gguf", "o-00001-of-00002.gguf", NULL};
    struct place *p = *state;
    char path[PROTO_PATH_MAX];

    put(p, "m.gguf", &model);
    put(p, "o-00001-of-00002.gguf", &other);
    put(p, "o-00002-of-00002.gguf", &model);
    list(p, names);
    assert_int_equal(finish_all(p), 3 * all_bytes);
    expect(p, 3, 3, 0, 0);
    assert_int_equal(progress(p).n_bytes, 3 * all_bytes);
    assert_int_equal(count_kept(p), 3);
    list(p, names); /* it is told again: nothing is even opened */
    expect(p, 3, 3, 0, 0);
    assert_int_equal(finish_all(p), 0);
    work_anew(p);
    list(p, names);
    assert_int_equal(finish_all(p), 0);
    expect(p, 3, 3, 0, 0);
    path_of(p, "m.gguf", path);
    assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0); /* another file, for all that can be known */
    list(p, names);
    assert_int_equal(finish_all(p), all_bytes);
    expect(p, 3, 3, 0, 0);
}

static void test_in_slices(void **state)
{
    static const char *const names[] = {"m.gguf", NULL};
    struct place *p = *state;
    uint64_t left = all_bytes;

    put(p, "m.gguf", &model);
    list(p, names);
    expect(p, 1, 0, 0, 0); /* not looked at */
    assert_int_equal(tensor_work_step(p->work, SLICE), TENSOR_WORK_E_MORE);
    expect(p, 1, 0, 0, all_bytes);
    until_hashing(p);
    while (left > SLICE) {
        left -= SLICE;
        expect(p, 1, 0, 0, left);
        assert_int_equal(count_kept(p), 0);
        assert_int_equal(tensor_work_step(p->work, SLICE), TENSOR_WORK_E_MORE);
    }
    expect(p, 1, 1, 0, 0);
    assert_int_equal(tensor_work_step(p->work, SLICE), 0);
}

static uint16_t indexed(const struct place *p, size_t at)
{
    struct tensor_progress now = progress(p);

    assert_true(at < now.n_models);
    return now.index_permille[at];
}

/* Model by model, of all its files together; one that is not whole, or cannot be read, is never ready. */
static void test_how_much_of_each_model(void **state)
{
    static const char *const names[] = {"m.gguf", "o-00001-of-00002.gguf", "gone.gguf", "bad.gguf", NULL};
    struct place *p = *state;
    char path[PROTO_PATH_MAX];
    uint16_t last = 0;
    FILE *f;

    put(p, "m.gguf", &model);
    put(p, "o-00001-of-00002.gguf", &other);
    put(p, "o-00002-of-00002.gguf", &model);
    path_of(p, "bad.gguf", path);
    f = fopen(path, "w");
    assert_true(f && fputs("no model", f) >= 0 && fclose(f) == 0);
    list(p, names);
    assert_int_equal(progress(p).n_models, 4);
    assert_int_equal(indexed(p, 0), 1); /* not looked at, but it will be */
    while (indexed(p, 0) < 1000) {
        assert_in_range(indexed(p, 0), last, 999);
        assert_int_equal(indexed(p, 1), 1);
        last = indexed(p, 0);
        assert_int_equal(tensor_work_step(p->work, SLICE), TENSOR_WORK_E_MORE);
    }
    assert_true(last > 500);
    for (last = 0; indexed(p, 1) < 500; last = indexed(p, 1))
        assert_int_equal(tensor_work_step(p->work, SLICE), TENSOR_WORK_E_MORE);
    finish_all(p);
    assert_int_equal(indexed(p, 1), 1000);
    assert_int_equal(indexed(p, 2), 0);
    assert_int_equal(indexed(p, 3), 0);
    list(p, names + 1); /* what is done stays done, under its new number */
    assert_int_equal(progress(p).n_models, 3);
    assert_int_equal(indexed(p, 0), 1000);
    assert_int_equal(indexed(p, 1), 0);
}

/* A new list in the middle: what is still wanted goes on where it is, what is not is left. */
static void test_told_in_the_middle(void **state)
{
    static const char *const first[] = {"m.gguf", "o.gguf", NULL}, *const second[] = {"o.gguf", "m.gguf", NULL};
    static const char *const third[] = {"o.gguf", NULL};
    struct place *p = *state;

    put(p, "m.gguf", &model);
    put(p, "o.gguf", &other);
    list(p, first);
    until_hashing(p);
    expect(p, 2, 0, 0, 2 * all_bytes - SLICE);
    list(p, second);
    expect(p, 2, 0, 0, 2 * all_bytes - SLICE);
    assert_int_equal(tensor_work_step(p->work, SLICE), TENSOR_WORK_E_MORE);
    expect(p, 2, 0, 0, 2 * all_bytes - 2 * SLICE);
    list(p, third);
    expect(p, 1, 0, 0, all_bytes);
    assert_int_equal(finish_all(p), all_bytes);
    assert_int_equal(count_kept(p), 1);
    list(p, (const char *const[]){NULL});
    assert_int_equal(finish_all(p), 0);
    expect(p, 0, 0, 0, 0);
    assert_int_equal(count_kept(p), 1); /* its disk may be back */
}

/* ---- what changes ------------------------------------------------------------------------------------------------- */

static void test_changed_while_read(void **state)
{
    static const char *const names[] = {"m.gguf", NULL};
    struct place *p = *state;

    put(p, "m.gguf", &model);
    for (int i = 0; i < 3; i++) {
        char path[PROTO_PATH_MAX];

        path_of(p, "m.gguf", path);
        list(p, names);
        until_hashing(p);
        if (i == 0)
            put(p, "m.gguf", &other); /* written to */
        else if (i == 1)
            assert_int_equal(truncate(path, (off_t)model.n - 1), 0);
        else
            assert_int_equal(unlink(path), 0); /* what is open is still what it was */
        finish_all(p);
        expect(p, 1, i == 2, i != 2, 0);
        assert_int_equal(count_kept(p), i == 2);
        put(p, "m.gguf", &model);
    }
}

static void test_not_usable(void **state)
{
    static const char *const names[] = {"gone.gguf", "junk.gguf", "out.gguf", "no-model", "m.gguf", NULL};
    static const struct model junk = {.data = (uint8_t *)(uintptr_t) "junk", .n = 4};
    struct place *p = *state;
    char path[PROTO_PATH_MAX], outside[PROTO_PATH_MAX];

    put(p, "m.gguf", &model);
    put(p, "junk.gguf", &junk);
    snprintf(outside, sizeof(outside), "%s/outside", p->index);
    model_write(&model, outside);
    path_of(p, "out.gguf", path);
    assert_int_equal(symlink(outside, path), 0);
    list(p, names);
    finish_all(p);
    expect(p, 2, 1, 1, 0); /* the junk, and the model */
    list(p, names);
    expect(p, 2, 1, 0, 0); /* what failed is tried again */
    finish_all(p);
    expect(p, 2, 1, 1, 0);
}

/* Empty ones: what is in them is looked at later. */
static void put_shards(const struct place *p, unsigned count)
{
    char name[64], path[PROTO_PATH_MAX];

    for (unsigned i = 1; i <= count; i++) {
        snprintf(name, sizeof(name), "s-%05u-of-%05u.gguf", i, count);
        path_of(p, name, path);
        fclose(fopen(path, "w"));
    }
}

/* What no carrier would open is not hashed for one. */
static void test_too_many_files(void **state)
{
    static const char *const many[] = {"s-00001-of-00129.gguf", NULL}, *const most[] = {"s-00001-of-00128.gguf", NULL};
    struct place *p = *state;

    assert_int_equal(CARRIER_FILES_MAX, 128);
    put_shards(p, CARRIER_FILES_MAX);
    put_shards(p, CARRIER_FILES_MAX + 1);
    list(p, most);
    assert_int_equal(progress(p).n_files, CARRIER_FILES_MAX);
    list(p, many);
    assert_int_equal(progress(p).n_files, 0);
    assert_int_equal(indexed(p, 0), 0);
}

static void test_cannot_be_kept(void **state)
{
    static const char *const names[] = {"m.gguf", NULL};
    struct place *p = *state;

    put(p, "m.gguf", &model);
    p->work->index_dir = "/nonexistent";
    list(p, names);
    finish_all(p);
    expect(p, 1, 0, 1, 0);
    p->work->index_dir = p->index; /* it is tried again when there is something to tell */
    list(p, names);
    assert_int_equal(finish_all(p), all_bytes);
    expect(p, 1, 1, 0, 0);
}

/* ---- what is kept ------------------------------------------------------------------------------------------------- */

static void put_kept(const struct place *p, const char *name, int days)
{
    struct timespec then[2] = {{.tv_sec = time(NULL) - days * 24 * 3600}};
    char path[PROTO_PATH_MAX];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", p->index, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    then[1] = then[0];
    assert_int_equal(futimens(fd, then), 0);
    close(fd);
}

static bool is_kept(const struct place *p, const char *name)
{
    char path[PROTO_PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", p->index, name);
    return access(path, F_OK) == 0;
}

static void test_swept(void **state)
{
    static const char *const names[] = {"m.gguf", NULL};
    struct place *p = *state;
    struct tensor_file_id id;
    char kept[TENSOR_STORE_NAME_MAX];

    put(p, "m.gguf", &model);
    put_kept(p, "1-2-3.tensors", TENSOR_WORK_KEEP_DAYS + 1);
    put_kept(p, "1-2-3.tensors.new", TENSOR_WORK_KEEP_DAYS + 1);
    put_kept(p, "1-2-4.tensors", TENSOR_WORK_KEEP_DAYS - 1);
    put_kept(p, "something else", TENSOR_WORK_KEEP_DAYS + 1);
    list(p, names);
    finish_all(p);
    assert_false(is_kept(p, "1-2-3.tensors") || is_kept(p, "1-2-3.tensors.new"));
    assert_true(is_kept(p, "1-2-4.tensors") && is_kept(p, "something else"));
    id = p->work->job[0].id;
    tensor_store_name(&id, kept);
    for (int i = 0; i < 2; i++) { /* what is wanted is not old, whoever has known of it */
        put_kept(p, kept, TENSOR_WORK_KEEP_DAYS + 1);
        put_kept(p, "1-2-5.tensors", TENSOR_WORK_KEEP_DAYS + 1);
        if (i)
            work_anew(p);
        list(p, names);
        assert_int_equal(finish_all(p), 0);
        assert_true(is_kept(p, kept) && !is_kept(p, "1-2-5.tensors"));
    }
}

/* ---- the list ----------------------------------------------------------------------------------------------------- */

static void test_models(void **state)
{
    struct model_facts facts[] = {
        {.path = "/a/m.gguf"}, {.path = "/a/n.gguf", .problem = "none"}, {.path = "/b/o.gguf"}};
    struct inventory inventory = {.n_models = 3, .model = facts};
    struct tensor_models *m = NULL;
    struct tensor_work *w = NULL;

    (void)state;
    allocs_until_failure = 0;
    assert_int_equal(tensor_models_of(&inventory, &m), -ENOMEM);
    allocs_until_failure = 0;
    assert_int_equal(tensor_work_new("", NULL, 0, &w), -ENOMEM);
    allocs_until_failure = -1;
    assert_int_equal(tensor_models_of(&inventory, &m), 0);
    assert_int_equal(m->n, 2);
    assert_string_equal(m->path[0], "/a/m.gguf");
    assert_string_equal(m->path[1], "/b/o.gguf");
    free(m);
}

static int begin_all(void **state)
{
    (void)state;
    model_make(&model, 0);
    model_make(&other, 1);
    return 0;
}

static int end_all(void **state)
{
    (void)state;
    free(model.data);
    free(other.data);
    return 0;
}

#define IN_A_PLACE(test) cmocka_unit_test_setup_teardown(test, begin_place, end_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_A_PLACE(test_once),
        IN_A_PLACE(test_in_slices),
        IN_A_PLACE(test_how_much_of_each_model),
        IN_A_PLACE(test_told_in_the_middle),
        IN_A_PLACE(test_changed_while_read),
        IN_A_PLACE(test_not_usable),
        IN_A_PLACE(test_too_many_files),
        IN_A_PLACE(test_cannot_be_kept),
        IN_A_PLACE(test_swept),
        cmocka_unit_test(test_models),
    };

    return cmocka_run_group_tests(tests, begin_all, end_all);
}
