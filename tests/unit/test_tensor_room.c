/* The background of the index: a thread of the lowest priority, which tells how far it is and ends when it is to. */
#include "tests/unit/tensor_harness.h"

#include <dirent.h>
#include <event2/event.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "agent/tensor_work.h"

/* In the thread: the next ones find no memory. */
static atomic_int n_not_taken;

static int faulty_take(struct tensor_work *w, const struct tensor_models *models)
{
    return atomic_fetch_sub(&n_not_taken, 1) > 0 ? -ENOMEM : tensor_work_take(w, models);
}

#define tensor_work_take faulty_take
#include "agent/tensor_room.c"
#undef tensor_work_take

/* One tensor is large: a thread that gets only what is left over takes its time. */
static const struct llama_dims dims = {
    .n_layer = 1, .n_embd = 1024, .n_head = 8, .n_head_kv = 1, .n_ff = 128, .n_vocab = 5300, .type = 1, .tied = 1};
static const uint64_t n_bytes = 1024 * 5300 * 2;

struct place {
    char models[64], index[64];
    const char *dir[1];
    struct model_facts facts;
    struct inventory inventory;
    struct event_base *base;
    struct tensor_room *room;
    struct tensor_progress told;
    unsigned n_told;
    bool stop_when_looked;
};

static void on_progress(void *ctx, const struct tensor_progress *now)
{
    struct place *p = ctx;

    p->told = *now;
    p->n_told++;
    if (now->n_indexed + now->n_failed == 1 || (p->stop_when_looked && now->left_bytes))
        event_base_loopbreak(p->base);
}

static int begin_place(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    struct model model;

    strcpy(p->models, "/tmp/tensor_room.XXXXXX");
    strcpy(p->index, "/tmp/tensor_index.XXXXXX");
    assert_true(mkdtemp(p->models) && mkdtemp(p->index));
    snprintf(p->facts.path, sizeof(p->facts.path), "%s/m.gguf", p->models);
    model_make_of(&model, &dims, 0);
    model_write(&model, p->facts.path);
    free(model.data);
    p->dir[0] = p->models;
    p->inventory = (struct inventory){.n_models = 1, .model = &p->facts};
    p->base = event_base_new();
    assert_int_equal(tensor_room_new(p->base, p->index, p->dir, 1, on_progress, p, &p->room), 0);
    *state = p;
    return 0;
}

static int end_place(void **state)
{
    struct place *p = *state;
    char command[256];

    tensor_room_destroy(&p->room);
    event_base_free(p->base);
    snprintf(command, sizeof(command), "rm -r %s %s", p->models, p->index);
    free(p);
    return system(command);
}

static void too_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    fail_msg("nothing was told for so long");
}

static void run(struct place *p)
{
    static const struct timeval limit = {110, 0};
    struct event *late = evtimer_new(p->base, too_late, NULL);

    evtimer_add(late, &limit);
    event_base_dispatch(p->base);
    event_free(late);
}

/* Threads of ours that only get what nobody else wants. */
static size_t count_idle(void)
{
    DIR *d = opendir("/proc/self/task");
    struct dirent *e;
    size_t n = 0;

    assert_non_null(d);
    while ((e = readdir(d)))
        n += e->d_name[0] != '.' && sched_getscheduler((pid_t)atoi(e->d_name)) == SCHED_IDLE;
    closedir(d);
    return n;
}

static void test_indexed(void **state)
{
    struct place *p = *state;
    struct tensor_progress now;

    assert_int_equal(tensor_room_take(p->room, &p->inventory), 0);
    run(p);
    tensor_room_progress(p->room, &now);
    assert_memory_equal(&now, &p->told, sizeof(now));
    assert_int_equal(now.n_files, 1);
    assert_int_equal(now.n_indexed, 1);
    assert_int_equal(now.left_bytes, 0);
    assert_int_equal(now.n_bytes, n_bytes);
    assert_true(p->n_told >= 2); /* how much it is, and that it is done */
    assert_int_equal(count_idle(), 1);
}

/* Ended in the middle: nothing half is left. */
static void test_stopped(void **state)
{
    struct place *p = *state;
    DIR *d;
    struct dirent *e;

    p->stop_when_looked = true;
    assert_int_equal(tensor_room_take(p->room, &p->inventory), 0);
    run(p);
    tensor_room_destroy(&p->room);
    d = opendir(p->index);
    while ((e = readdir(d)))
        assert_null(strstr(e->d_name, ".new"));
    closedir(d);
}

/* Memory was short when they came: they are taken later. */
static void test_taken_again(void **state)
{
    struct place *p = *state;

    n_not_taken = 2;
    assert_int_equal(tensor_room_take(p->room, &p->inventory), 0);
    run(p);
    assert_int_equal(p->told.n_indexed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_indexed, begin_place, end_place),
        cmocka_unit_test_setup_teardown(test_taken_again, begin_place, end_place),
        cmocka_unit_test_setup_teardown(test_stopped, begin_place, end_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
