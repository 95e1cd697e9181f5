/* First inputs of fuzz_record: one row of each kind, and an instance without a plan. (Audit rows are only written.) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/record.h"
#include "tests/fuzz/seeds.h"
#include "tests/lib/view_lab.h"

/* As fuzz_record reads it: the kind's number, then the value. */
static void write_seed(const char *dir, const char *name, char kind, const struct record *r)
{
    struct store_record row = {.value = NULL};
    char *text;

    if (record_to_store(r, 0, &row) || asprintf(&text, "%c%s", kind, row.value) < 0)
        abort();
    seed_write(dir, name, text, strlen(row.value) + 1);
    free(text);
    free(row.value);
}

static void fill_instance(struct record *r)
{
    r->kind = RECORD_INSTANCE;
    r->instance = lab_id(5);
    snprintf(r->i.name, sizeof(r->i.name), "m");
    snprintf(r->i.request.model, sizeof(r->i.request.model), "tiny");
    r->i.state = INSTANCE_READY;
    r->i.epoch = 4;
}

int main(int argc, char **argv)
{
    const char *dir = seed_dir(argc, argv);
    CLEANUP(record_clear) struct record planned = {.kind = RECORD_INSTANCE};
    struct record plain = {.kind = RECORD_INSTANCE}, task = {.kind = RECORD_TASK}, node = {.kind = RECORD_NODE};
    struct record key = {.kind = RECORD_KEY}, api_key = {.kind = RECORD_API_KEY};

    fill_instance(&plain);
    fill_instance(&planned);
    planned.i.plan = lab_plan();
    planned.i.pinned = lab_plan();
    planned.i.n_debts = 1;
    planned.i.debt[0] = (struct debt){.node = lab_id(6), .epoch = 3};
    planned.i.n_tried = 1;
    planned.i.tried = calloc(1, sizeof(*planned.i.tried));
    if (!planned.i.tried)
        abort();
    planned.i.tried[0] = (struct tried){
        .shown = {.epoch = 3, .wall_ms = 70, .code = "rank_lost", .node = "n2"}, .node = lab_id(2), .counted = true};
    task.task = (struct view_task){.id = 42, .kind = TASK_DRAIN, .state = TASK_RUNNING};
    snprintf(node.node.name, sizeof(node.node.name), "n1");
    node.node.draining = true;
    key.key = (struct view_key){.scope = KEY_JOIN, .expires_wall_ms = 9000, .uses_left = 2};
    memset(key.key.key, 'a', sizeof(key.key.key) - 1);
    api_key.api_key = (struct view_api_key){.scope = API_READ, .name = "grafana", .made_wall_ms = 5};
    memset(api_key.api_key.hash, 'b', sizeof(api_key.api_key.hash) - 1);
    write_seed(dir, "instance", '0', &plain);
    write_seed(dir, "instance_planned", '0', &planned);
    write_seed(dir, "task", '1', &task);
    write_seed(dir, "node", '2', &node);
    write_seed(dir, "key", '4', &key);
    write_seed(dir, "api_key", '5', &api_key);
    return 0;
}
