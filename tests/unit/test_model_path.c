/* Which files of the model directories are opened: what a name may not lead to, however it was laid out. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/inventory_scan.h"
#include "agent/model_path.h"
#include "common/core/gguf.h"

struct fixture {
    char top[64], dir[2][96];
    const char *dirs[2];
};

static void shell(const struct fixture *f, const char *script)
{
    char command[1024];

    snprintf(command, sizeof(command), "cd %s && %s", f->top, script);
    assert_int_equal(system(command), 0);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    strcpy(f->top, "/tmp/test_model_path.XXXXXX");
    assert_non_null(mkdtemp(f->top));
    for (int i = 0; i < 2; i++) {
        snprintf(f->dir[i], sizeof(f->dir[i]), "%s/%c", f->top, 'a' + i);
        f->dirs[i] = f->dir[i];
    }
    shell(f, "mkdir -p a/sub b ab && echo x | tee a/m.gguf a/sub/s.gguf b/n.gguf ab/z.gguf secret >/dev/null");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", f->top);
    free(f);
    return system(command) ? -1 : 0;
}

static int open_in_a(const struct fixture *f, const char *name)
{
    char path[256];
    int fd = -1, r;

    snprintf(path, sizeof(path), "%s/%s", f->dir[0], name);
    r = model_path_open(path, f->dirs, 2, &fd);
    assert_int_equal(r == 0, fd >= 0);
    if (fd >= 0)
        close(fd);
    return r;
}

static void test_links(void **state)
{
    static const struct {
        const char *target;
        int wanted;
    } rows[] = {
        {"m.gguf", 0},
        {"sub/s.gguf", 0},
        {"../a/m.gguf", 0},
        {"../b/n.gguf", 0}, /* as in a cache of Hugging Face: snapshots link to blobs, and both are named */
        {"../b/../b/n.gguf", 0},
        {"../secret", MODEL_PATH_E_OUTSIDE},
        {"../b/../secret", MODEL_PATH_E_OUTSIDE},
        {"../ab/z.gguf", MODEL_PATH_E_OUTSIDE}, /* begins with the same letters */
        {"/etc/passwd", MODEL_PATH_E_OUTSIDE},
        {"/proc/self/environ", MODEL_PATH_E_OUTSIDE},
        {"/proc/self/root/etc/passwd", MODEL_PATH_E_OUTSIDE},
        {"/dev/null", MODEL_PATH_E_OUTSIDE},
        {"../nowhere", MODEL_PATH_E_NO_FILE},
        {"sub", MODEL_PATH_E_NO_FILE},
        {"l.gguf", -ELOOP},
    };
    struct fixture *f = *state;
    char script[256];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(script, sizeof(script), "ln -sfn '%s' a/l.gguf", rows[i].target);
        shell(f, script);
        if (open_in_a(f, "l.gguf") != rows[i].wanted)
            fail_msg("a link to %s: %d", rows[i].target, open_in_a(f, "l.gguf"));
    }
}

/* Through a link that leads to another link out, and through a linked directory. */
static void test_links_to_links(void **state)
{
    struct fixture *f = *state;

    shell(f, "ln -s out.gguf a/l.gguf && ln -s ../secret a/out.gguf && ln -s .. a/up && ln -s up/secret a/u.gguf");
    assert_int_equal(open_in_a(f, "l.gguf"), MODEL_PATH_E_OUTSIDE);
    assert_int_equal(open_in_a(f, "u.gguf"), MODEL_PATH_E_OUTSIDE);
}

static void test_no_plain_file(void **state)
{
    struct fixture *f = *state;

    shell(f, "mkfifo a/f.gguf && mkdir a/d.gguf");
    assert_int_equal(open_in_a(f, "m.gguf"), 0);
    assert_int_equal(open_in_a(f, "f.gguf"), MODEL_PATH_E_NO_FILE);
    assert_int_equal(open_in_a(f, "d.gguf"), MODEL_PATH_E_NO_FILE);
    assert_int_equal(open_in_a(f, "none.gguf"), MODEL_PATH_E_NO_FILE);
}

/* The directory itself may be a link: its owner has said so. */
static void test_directory_is_a_link(void **state)
{
    struct fixture *f = *state;

    shell(f, "mv a real && ln -s real a && ln -s sub/s.gguf real/l.gguf");
    assert_int_equal(open_in_a(f, "m.gguf"), 0);
    assert_int_equal(open_in_a(f, "l.gguf"), 0);
}

static void test_every_file_of_a_split_model(void **state)
{
    struct fixture *f = *state;
    char path[256], file[GGUF_FILE_MAX];

    shell(f, "for i in 1 2 3; do echo x >a/s-0000$i-of-00003.gguf; done");
    snprintf(path, sizeof(path), "%s/s-00001-of-00003.gguf", f->dir[0]);
    assert_int_equal(model_path_check(path, f->dirs, 2, file), 0);
    shell(f, "ln -sf ../secret a/s-00003-of-00003.gguf");
    assert_int_equal(model_path_check(path, f->dirs, 2, file), MODEL_PATH_E_OUTSIDE);
    assert_string_equal(file, "s-00003-of-00003.gguf");
    shell(f, "rm a/s-00002-of-00003.gguf");
    assert_int_equal(model_path_check(path, f->dirs, 2, file), MODEL_PATH_E_NO_FILE);
    assert_string_equal(file, "s-00002-of-00003.gguf");
}

static void test_files_of_a_split_model(void **state)
{
    struct fixture *f = *state;
    char path[256], (*file)[PROTO_PATH_MAX] = NULL;
    size_t n = 0;

    shell(f, "for i in 1 2 3; do echo x >a/s-0000$i-of-00003.gguf; done");
    snprintf(path, sizeof(path), "%s/s-00001-of-00003.gguf", f->dir[0]);
    assert_int_equal(model_path_files(path, f->dirs, 2, 2, &file, &n), MODEL_PATH_E_TOO_MANY);
    assert_int_equal(model_path_files(path, f->dirs, 2, 3, &file, &n), 0);
    assert_int_equal(n, 3);
    assert_string_equal(file[0], path);
    snprintf(path, sizeof(path), "%s/s-00003-of-00003.gguf", f->dir[0]);
    assert_string_equal(file[2], path);
    free(file);
    snprintf(path, sizeof(path), "%s/m.gguf", f->dir[0]);
    assert_int_equal(model_path_files(path, f->dirs, 2, 3, &file, &n), 0);
    assert_int_equal(n, 1);
    assert_string_equal(file[0], path);
    free(file);

    file = NULL;
    shell(f, "ln -sf ../secret a/s-00002-of-00003.gguf");
    snprintf(path, sizeof(path), "%s/s-00001-of-00003.gguf", f->dir[0]);
    assert_int_equal(model_path_files(path, f->dirs, 2, 3, &file, &n), MODEL_PATH_E_OUTSIDE);
    assert_int_equal(model_path_files("nothing", f->dirs, 2, 3, &file, &n), MODEL_PATH_E_NO_FILE);
    assert_null(file);
}

/* What leads out is listed, with the way out of it, and nothing of what it leads to was read. */
static void test_inventory_says_so(void **state)
{
    struct fixture *f = *state;
    struct inventory_cache *cache;
    struct inventory *found;

    shell(f, "rm a/m.gguf b/n.gguf && ln -s ../secret a/l.gguf");
    assert_int_equal(inventory_cache_new(f->dirs, 2, &cache), 0);
    assert_int_equal(inventory_scan(cache, &found), 0);
    assert_int_equal(found->n_models, 1);
    assert_null(found->model[0].shape);
    assert_non_null(strstr(found->model[0].problem, "leads out of this node's `models`"));
    inventory_destroy(&found);
    inventory_cache_destroy(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_links, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links_to_links, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_plain_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_directory_is_a_link, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_file_of_a_split_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files_of_a_split_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_inventory_says_so, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
