/* Rows of the store: a file that was put back may have been written by anybody. What is read must be written and read again
 * alike. First byte: the kind; the rest: the value. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "controller/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void drop_row(struct store_record *row)
{
    free(row->value);
}

static void check(const struct store_record *row)
{
    CLEANUP(drop_row) struct store_record one = {.value = NULL}, two = {.value = NULL};
    CLEANUP(record_clear) struct record rec = {.kind = RECORD_AUDIT}, back = {.kind = RECORD_AUDIT};
    char why[512];

    if (record_from_store(row, &rec, why, sizeof(why)))
        return;
    if (record_to_store(&rec, 0, &one) || record_from_store(&one, &back, why, sizeof(why)) ||
        record_to_store(&back, 0, &two) || strcmp(one.kind, two.kind) || strcmp(one.key, two.key) ||
        strcmp(one.value, two.value))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const kinds[] = {"instance", "task", "node", "audit"};
    CLEANUP(cleanup_free) char *value = size ? malloc(size) : NULL;
    struct store_record row = {.value = value};

    if (!value)
        return 0;
    memcpy(value, data + 1, size - 1);
    value[size - 1] = '\0';
    snprintf(row.kind, sizeof(row.kind), "%s", kinds[data[0] % 4]);
    check(&row);
    return 0;
}
