/* Writes the first inputs of fuzz_record into a directory: one row of each kind, and an instance without a plan. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/record.h"
#include "tests/lib/view_lab.h"

static int write_seed(const char *dir, const char *name, char kind, const struct record *r)
{
    struct store_record row = {.value = NULL};
    char path[4096];
    int res = -1;
    FILE *f;

    if (record_to_store(r, 0, &row))
        return -1;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (f) {
        res = fputc(kind, f) == kind && fputs(row.value, f) >= 0 ? 0 : -1;
        res = fclose(f) == 0 ? res : -1;
    }
    free(row.value);
    return res;
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
    CLEANUP(record_clear) struct record planned = {.kind = RECORD_INSTANCE};
    struct record plain = {.kind = RECORD_INSTANCE}, task = {.kind = RECORD_TASK}, node = {.kind = RECORD_NODE};

    if (argc != 2) {
        fprintf(stderr, "usage: %s DIR\n", argv[0]);
        return 2;
    }
    fill_instance(&plain);
    fill_instance(&planned);
    planned.i.plan = lab_plan();
    planned.i.pinned = lab_plan();
    task.task = (struct view_task){.id = 42, .kind = TASK_DRAIN, .state = TASK_RUNNING};
    snprintf(node.node.name, sizeof(node.node.name), "n1");
    node.node.draining = true;
    if (write_seed(argv[1], "instance", 0, &plain) || write_seed(argv[1], "instance_planned", 0, &planned) ||
        write_seed(argv[1], "task", 1, &task) || write_seed(argv[1], "node", 2, &node)) {
        perror(argv[1]);
        return 1;
    }
    return 0;
}
