/* Rows of the store: a file that was put back may have been written by anybody. What is read must be written and read again
 * alike. First byte: the kind, a digit; the rest: the value. */
#include <string.h>

#include "common/cleanup.h"
#include "controller/record.h"
#include "tests/fuzz/support.h"

static void drop_row(struct store_record *row)
{
    free(row->value);
}

static void check(const struct store_record *row)
{
    CLEANUP(drop_row) struct store_record one = {.value = NULL}, two = {.value = NULL};
    CLEANUP(record_clear) struct record rec = {.kind = RECORD_AUDIT}, back = {.kind = RECORD_AUDIT};
    char why[512];
    int r = record_from_store(row, &rec, why, sizeof(why));

    FUZZ_CHECK(r >= 0);
    if (r)
        return;
    r = record_to_store(&rec, 0, &one);
    FUZZ_CHECK(r == 0);
    r = r ? r : record_from_store(&one, &back, why, sizeof(why));
    FUZZ_CHECK(r == 0);
    r = r ? r : record_to_store(&back, 0, &two);
    FUZZ_CHECK(r == 0 && strcmp(one.kind, two.kind) == 0 && strcmp(one.key, two.key) == 0 &&
               strcmp(one.value, two.value) == 0);
}

/* Audit rows are only written. */
static void check_audit(const char *text)
{
    CLEANUP(drop_row) struct store_record row = {.value = NULL};
    struct record rec = {.kind = RECORD_AUDIT};

    snprintf(rec.audit.text, sizeof(rec.audit.text), "%s", text);
    FUZZ_CHECK(record_to_store(&rec, 1, &row) == 0);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    static const char *const kinds[] = {"instance", "task", "node", "audit", "key", "api_key"};
    char *value = size ? fuzz_string(data + 1, size - 1) : NULL;
    struct store_record row = {.value = value};
    unsigned kind;

    if (!value)
        return;
    kind = (data[0] - (unsigned)'0') % 6;
    snprintf(row.kind, sizeof(row.kind), "%s", kinds[kind]);
    check(&row);
    if (kind == 3)
        check_audit(value);
    free(value);
}
