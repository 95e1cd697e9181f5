/* Models in directories: found, named, kept, refused with a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/inventory_scan.h"
#include "tests/lib/gguf_image.h"

static const struct llama_dims dims = {
    .n_layer = 2, .n_embd = 64, .n_head = 4, .n_head_kv = 4, .n_ff = 128, .n_vocab = 32, .n_ctx = 128, .type = 1};

struct fixture {
    char dir[2][64];
    const char *dirs[2];
    struct inventory_cache *cache;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    for (int i = 0; i < 2; i++) {
        strcpy(f->dir[i], "/tmp/test_inventory.XXXXXX");
        assert_non_null(mkdtemp(f->dir[i]));
        f->dirs[i] = f->dir[i];
    }
    assert_int_equal(inventory_cache_new(f->dirs, 2, &f->cache), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[256];

    inventory_cache_destroy(&f->cache);
    snprintf(command, sizeof(command), "rm -rf %s %s", f->dir[0], f->dir[1]);
    if (system(command))
        return -1;
    free(f);
    return 0;
}

static void put(const char *dir, const char *name, const void *bytes, size_t n, uint64_t size_bytes)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(truncate(path, (off_t)size_bytes), 0);
}

static void put_model(const char *dir, const char *name, const struct llama_dims *d)
{
    struct gguf_image im;

    image_llama(&im, d);
    put(dir, name, im.bytes, im.n, im.size_bytes);
    image_clear(&im);
}

static struct inventory *scan(struct fixture *f)
{
    struct inventory *i;

    assert_int_equal(inventory_scan(f->cache, &i), 0);
    return i;
}

static void case_08_headers_are_read_once(void **state)
{
    struct llama_dims other = dims;
    struct fixture *f = *state;
    struct inventory *i;
    uint64_t hash;
    char path[512];

    put_model(f->dir[0], "a.gguf", &dims);
    i = scan(f);
    assert_non_null(i);
    assert_int_equal(i->n_models, 1);
    assert_string_equal(i->model[0].name, "a");
    assert_string_equal(i->model[0].problem, "");
    assert_int_equal(i->model[0].n_files, 1);
    assert_non_null(i->model[0].shape);
    assert_int_equal(i->model[0].shape->n_layer, 2);
    hash = i->model[0].header_hash;
    inventory_destroy(&i);
    for (int n = 0; n < 3; n++)
        assert_null(scan(f));
    assert_int_equal(inventory_headers_read(f->cache), 1);
    other.n_layer = 3;
    put_model(f->dir[0], "a.gguf", &other);
    i = scan(f);
    assert_non_null(i);
    assert_int_equal(i->model[0].shape->n_layer, 3);
    assert_true(i->model[0].header_hash != hash);
    assert_int_equal(inventory_headers_read(f->cache), 2);
    inventory_destroy(&i);
    snprintf(path, sizeof(path), "%s/a.gguf", f->dir[0]);
    assert_int_equal(unlink(path), 0);
    i = scan(f);
    assert_non_null(i);
    assert_int_equal(i->n_models, 0);
    inventory_destroy(&i);
}

static void test_nothing_there(void **state)
{
    static const char *const nowhere[] = {"/nonexistent/models"};
    struct inventory_cache *c = NULL;
    struct inventory *i;

    (void)state;
    assert_int_equal(inventory_cache_new(nowhere, 1, &c), 0);
    assert_int_equal(inventory_scan(c, &i), 0);
    assert_non_null(i); /* the first look is told, empty as it is */
    assert_int_equal(i->n_models, 0);
    inventory_destroy(&i);
    assert_int_equal(inventory_scan(c, &i), 0);
    assert_null(i);
    inventory_cache_destroy(&c);
}

static void test_what_cannot_be_used_says_why(void **state)
{
    static const struct {
        const char *name, *says;
    } expected[] = {{"fifo", NULL}, {"junk", "GGUF"}, {"short", NULL}, {"split", "it belongs to another set"}};
    struct fixture *f = *state;
    struct gguf_image im;
    struct inventory *i;
    char path[512];

    put(f->dir[0], "junk.gguf", "junk", 4, 4);
    put(f->dir[0], "notes.txt", "junk", 4, 4);
    put(f->dir[0], ".hidden.gguf", "junk", 4, 4);
    image_llama(&im, &dims);
    put(f->dir[0], "short.gguf", im.bytes, im.n, im.size_bytes - 1);
    put(f->dir[0], "split-00001-of-00003.gguf", im.bytes, im.n, im.size_bytes);
    put(f->dir[0], "split-00003-of-00003.gguf", im.bytes, im.n, im.size_bytes);
    image_clear(&im);
    snprintf(path, sizeof(path), "%s/fifo.gguf", f->dir[0]);
    assert_int_equal(mkfifo(path, 0600), 0); /* not opened: that would wait for ever */
    i = scan(f);
    assert_int_equal(i->n_models, 3);
    for (size_t m = 0; m < 3; m++) {
        assert_string_equal(i->model[m].name, expected[m + 1].name);
        assert_true(i->model[m].problem[0]);
        assert_null(i->model[m].shape);
        if (expected[m + 1].says && !strstr(i->model[m].problem, expected[m + 1].says))
            fail_msg("%s says: %s", expected[m + 1].name, i->model[m].problem);
    }
    assert_int_equal(i->model[2].n_files, 3);
    inventory_destroy(&i);
}

static void test_the_earlier_directory_wins(void **state)
{
    struct llama_dims other = dims;
    struct fixture *f = *state;
    struct inventory *i;

    other.n_layer = 5;
    put_model(f->dir[1], "a.gguf", &other);
    put_model(f->dir[1], "b.gguf", &other);
    put_model(f->dir[0], "a.gguf", &dims);
    i = scan(f);
    assert_int_equal(i->n_models, 2);
    assert_int_equal(i->model[0].shape->n_layer, 2);
    assert_string_equal(i->model[1].name, "b");
    inventory_destroy(&i);
}

static void test_names_that_cannot_be_sent(void **state)
{
    struct fixture *f = *state;
    struct inventory *i;
    char name[200];

    memset(name, 'n', 150);
    strcpy(name + 150, ".gguf");
    put_model(f->dir[0], name, &dims);
    put_model(f->dir[0], "bad\xff.gguf", &dims);
    i = scan(f);
    assert_int_equal(i->n_models, 2);
    for (size_t m = 0; m < 2; m++)
        assert_non_null(strstr(i->model[m].problem, "rename it"));
    inventory_destroy(&i);
}

#define WITH_DIRS(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIRS(case_08_headers_are_read_once),   WITH_DIRS(test_what_cannot_be_used_says_why),
        WITH_DIRS(test_the_earlier_directory_wins), WITH_DIRS(test_names_that_cannot_be_sent),
        cmocka_unit_test(test_nothing_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
