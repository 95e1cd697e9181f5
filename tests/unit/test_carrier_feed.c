/* Zero transfer between two real carriers: a worker whose node has the model gets a large tensor from there, and the network
 * carries the question and the answer. What feeding does in every other case is tests/unit/test_feeding.c. */
#include "tests/unit/tensor_harness.h"

#include "agent/carrier/tensor_store.h"
#include "common/cleanup.h"
#include "common/core/le.h"
#include "common/file.h"
#include "tests/unit/carrier_harness.h"

static const uint8_t hello[9 + 24] = {14, 24}, hello_answer[8 + 28] = {28, [8] = 8};
enum { QUESTION_BYTES = 9 + 312, HEAD_BYTES = 9 + 305 };

static void keep_index(const char *dir, const char *path)
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

struct world {
    struct model model;
    char dir[64];
    char file[1][PROTO_PATH_MAX];
    struct node head, node;
    int worker;
};

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct carrier_conf *head = &w->head.conf, *conf = &w->node.conf;

    *state = w;
    node_init(&w->head);
    node_init(&w->node);
    strcpy(w->dir, "/tmp/caravan-models-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    model_make(&w->model, 0);
    snprintf(w->file[0], sizeof(w->file[0]), "%s/m.gguf", w->dir);
    model_write(&w->model, w->file[0]);
    keep_index(w->dir, w->file[0]);
    w->worker = listen_on("127.0.0.1", 0, &conf->worker_port);
    conf->rank = 1;
    memcpy(conf->peer, w->head.own.public_key, sizeof(conf->peer));
    conf->n_files = 1;
    conf->file = w->file;
    strcpy(conf->index_dir, w->dir);
    node_start(&w->node);
    head->n_routes = 1;
    head->route[0] = (struct conf_route){.rank = 1, .tunnel = true, .port = conf->port};
    strcpy(head->route[0].addr, conf->addr);
    memcpy(head->route[0].peer, w->node.own.public_key, sizeof(head->route[0].peer));
    node_start(&w->head);
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;
    char command[128];

    node_stop(&w->head);
    node_stop(&w->node);
    close(w->worker);
    snprintf(command, sizeof(command), "rm -r %s", w->dir);
    free(w->model.data);
    free(w);
    return system(command);
}

static void expect_tensor(int fd, const uint8_t *data)
{
    for (size_t at = 0; at < BIG_BYTES; at += 4096)
        expect(fd, data + at, 4096);
}

static bool has_fed(const struct figures *f, const void *arg)
{
    (void)arg;
    return flow_of_rank(f, 1)->n_answers == 2;
}

static void test_fed(void **state)
{
    struct world *w = *state;
    uint8_t question[QUESTION_BYTES] = {7, 56, 1}, head[HEAD_BYTES] = {6};
    const uint8_t *data = model_big(&w->model, 1);
    int near = dial(port_of(&w->head, 1)), worker = take(w->worker);
    char said[4096], fed[128];
    struct figures f;

    put(near, hello, sizeof(hello));
    expect(worker, hello, sizeof(hello));
    put(worker, hello_answer, sizeof(hello_answer));
    expect(near, hello_answer, sizeof(hello_answer));
    memset(question + 9, 7, 296);
    le_put(question + QUESTION_BYTES - 8, 8, model_hash(data, BIG_BYTES));
    put(near, question, sizeof(question));
    le_put(head + 1, 8, 305 + BIG_BYTES);
    memcpy(head + 9, question + 9, 296);
    expect(worker, head, sizeof(head));
    expect_tensor(worker, data);
    expect(near, (uint8_t[]){1, 0, 0, 0, 0, 0, 0, 0, 1}, 9);
    f = look_until(&w->node, has_fed, NULL);
    assert_int_equal(flow_of_rank(&f, 1)->fed_bytes, BIG_BYTES);
    assert_int_equal(flow_of_rank(&f, 1)->tensor_bytes, 0);
    assert_int_equal(flow_of_rank(&f, 1)->request_bytes, sizeof(hello) + sizeof(question));
    assert_int_equal(flow_of_rank(&f, 1)->answer_bytes, sizeof(hello_answer) + 9);
    f = look_until(&w->head, has_fed, NULL);
    assert_int_equal(flow_of_rank(&f, 1)->fed_bytes, 0); /* it cannot know */
    assert_int_equal(flow_of_rank(&f, 1)->request_bytes, sizeof(hello) + sizeof(question));
    close(near);
    close(worker);
    wait_for_word(&w->node, "feed.ended", said, sizeof(said));
    snprintf(fed, sizeof(fed), "rank=1 fed=1 fed_bytes=%d wrong=0 not_here=0", BIG_BYTES);
    assert_non_null(strstr(said, fed));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_fed, make_world, end_world)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
