/* Files that an agent finds in its state directory: a line of its epochs, the cluster it has joined, a unit's spec, a shim's
 * record. What is taken is written and read again alike. */
#include <string.h>

#include "agent/process_spec.h"
#include "agent/shim/record.h"
#include "agent/state.h"
#include "agent/state_cluster.h"
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

/* It has one text: who leads this node is never half believed. */
static void check_cluster(const char *text, size_t n)
{
    char buf[STATE_CLUSTER_TEXT_MAX];
    struct state_cluster c, more;

    if (!state_cluster_parse(text, n, &c))
        return;
    FUZZ_CHECK(state_cluster_format(&c, buf) == n && memcmp(buf, text, n) == 0);
    FUZZ_CHECK(c.n_controllers >= 1 && !id128_is_zero(&c.id) && state_cluster_same(&c, &c));
    more = c;
    for (size_t i = 0; i < c.n_controllers; i++)
        state_cluster_add(&more, &c.controller[i]);
    FUZZ_CHECK(state_cluster_same(&c, &more));
    more.controller[0].port++;
    state_cluster_add(&more, &c.controller[0]);
    FUZZ_CHECK(more.n_controllers <= STATE_CONTROLLERS_MAX && !state_cluster_same(&c, &more));
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
    check_cluster((const char *)data, size);
    check_spec((const char *)data, size);
    check_record((const char *)data, size);
}
