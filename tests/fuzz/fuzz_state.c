/* Files that an agent finds in its state directory: a line of its epochs, a unit's spec, a shim's record. What is taken is
 * written and read again alike. */
#include <string.h>

#include "agent/process_spec.h"
#include "agent/shim/record.h"
#include "agent/state.h"
#include "tests/fuzz/support.h"

static void check_epoch(const char *text, size_t n)
{
    char buf[STATE_EPOCH_LINE_MAX];
    struct agent_epoch e, back;
    size_t n_back;

    if (!state_epoch_parse(text, n, &e))
        return;
    n_back = state_epoch_format(&e, buf);
    FUZZ_CHECK(n_back < sizeof(buf) && state_epoch_parse(buf, n_back - 1, &back));
    FUZZ_CHECK(id128_equal(&e.instance, &back.instance) && e.epoch == back.epoch && e.leased == back.leased &&
               e.lease_bytes == back.lease_bytes);
}

static void check_spec(const char *text, size_t n)
{
    char buf[PROCESS_SPEC_TEXT_MAX], again[PROCESS_SPEC_TEXT_MAX];
    struct unit_facts u, back;
    size_t n_back;

    if (!process_spec_parse(text, n, &u))
        return;
    n_back = process_spec_format(&u, buf);
    FUZZ_CHECK(n_back < sizeof(buf) && process_id_valid(u.id));
    FUZZ_CHECK(process_spec_parse(buf, n_back, &back));
    FUZZ_CHECK(process_spec_format(&back, again) == n_back && strcmp(buf, again) == 0);
}

static void check_record(const char *text, size_t n)
{
    char buf[RECORD_TEXT_MAX], again[RECORD_TEXT_MAX];
    struct record r, back;
    size_t n_back;

    if (!record_parse(text, n, &r))
        return;
    n_back = record_format(&r, buf);
    FUZZ_CHECK(n_back < sizeof(buf));
    FUZZ_CHECK(record_parse(buf, n_back, &back));
    FUZZ_CHECK(record_format(&back, again) == n_back && strcmp(buf, again) == 0);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    check_epoch((const char *)data, size);
    check_spec((const char *)data, size);
    check_record((const char *)data, size);
}
