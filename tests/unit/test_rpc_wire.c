/* rpc-server's wire format: bytes as measured, and replies cut, split and forged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/rpc_wire.h"

static void test_requests(void **state)
{
    static const uint8_t hello[33] = {14, 24};
    static const uint8_t old[9] = {14};
    static const uint8_t count[9] = {15};
    static const uint8_t memory[13] = {11, 4, 0, 0, 0, 0, 0, 0, 0, 0x04, 0x03, 0x02, 0x01};
    uint8_t buf[RPC_REQUEST_MAX];

    (void)state;
    assert_int_equal(rpc_hello(buf), sizeof(hello));
    assert_memory_equal(buf, hello, sizeof(hello));
    assert_int_equal(rpc_hello_without_data(buf), sizeof(old));
    assert_memory_equal(buf, old, sizeof(old));
    assert_int_equal(rpc_device_count(buf), sizeof(count));
    assert_memory_equal(buf, count, sizeof(count));
    assert_int_equal(rpc_device_memory(buf, 0x01020304), sizeof(memory));
    assert_memory_equal(buf, memory, sizeof(memory));
}

/* Whole, byte by byte, and in two pieces at every place. */
static void test_reply_in_pieces(void **state)
{
    uint8_t wire[36] = {28, 0, 0, 0, 0, 0, 0, 0, 8, 1, 2};

    (void)state;
    for (size_t cut = 0; cut <= sizeof(wire); cut++) {
        struct rpc_reply two = {0}, single = {0};
        struct rpc_version v;

        assert_int_equal(rpc_reply_feed(&two, wire, cut), cut == sizeof(wire) ? 0 : RPC_E_MORE);
        assert_int_equal(rpc_reply_feed(&two, wire + cut, sizeof(wire) - cut), 0);
        for (size_t i = 0; i < cut; i++)
            assert_int_equal(rpc_reply_feed(&single, wire + i, 1), i + 1 == sizeof(wire) ? 0 : RPC_E_MORE);
        assert_true(rpc_hello_answer(&two, &v));
        assert_int_equal(v.major, 8);
        assert_int_equal(v.minor, 1);
        assert_int_equal(v.patch, 2);
    }
}

static void test_forged_replies(void **state)
{
    uint8_t wire[256] = {0};
    struct rpc_reply r = {0};
    struct rpc_version v = {0};
    uint64_t free_bytes, total_bytes;
    uint32_t n;

    (void)state;
    memset(wire, 0xff, 8); /* 2^64-1 */
    assert_int_equal(rpc_reply_feed(&r, wire, 8), RPC_E_MALFORMED);
    memset(wire, 0, sizeof(wire));
    wire[0] = RPC_REPLY_MAX + 1;
    r = (struct rpc_reply){0};
    assert_int_equal(rpc_reply_feed(&r, wire, sizeof(wire)), RPC_E_MALFORMED);
    wire[0] = RPC_REPLY_MAX;
    r = (struct rpc_reply){0};
    assert_int_equal(rpc_reply_feed(&r, wire, 8 + RPC_REPLY_MAX), 0);
    assert_int_equal(rpc_reply_feed(&r, wire, 1), RPC_E_MALFORMED); /* nobody asked for more */
    assert_false(rpc_hello_answer(&r, &v));
    assert_false(rpc_device_count_answer(&r, &n));
    assert_false(rpc_device_memory_answer(&r, &free_bytes, &total_bytes));
    r = (struct rpc_reply){.n_seen = 12, .n_bytes = 4};
    assert_false(rpc_device_count_answer(&r, &n)); /* no device at all */
    memset(r.data, 0xff, 4);
    assert_false(rpc_device_count_answer(&r, &n));
    r = (struct rpc_reply){.n_seen = 12, .n_bytes = 4, .data = {2}};
    assert_true(rpc_device_count_answer(&r, &n));
    assert_int_equal(n, 2);
    r = (struct rpc_reply){.n_bytes = 16, .data = {0, 1, [8] = 0, [9] = 2}};
    assert_true(rpc_device_memory_answer(&r, &free_bytes, &total_bytes));
    assert_int_equal(free_bytes, 256);
    assert_int_equal(total_bytes, 512);
    r = (struct rpc_reply){.n_bytes = 0};
    assert_int_equal(rpc_reply_feed(&r, wire + 1, 8), 0); /* an empty reply is complete, and no answer */
    assert_false(rpc_hello_answer(&r, &v));
    r = (struct rpc_reply){.n_bytes = 28};
    assert_false(rpc_hello_answer(&r, &v)); /* 0.0.0 means "not asked" here */
}

static void test_versions(void **state)
{
    static const struct {
        struct rpc_version client, server;
        bool compatible, known;
    } rows[] = {
        {{8, 0, 0}, {8, 0, 0}, true, true},   {{8, 1, 0}, {8, 0, 3}, true, true},  {{8, 0, 0}, {8, 1, 0}, false, true},
        {{8, 0, 0}, {3, 5, 2}, false, false}, {{3, 5, 2}, {8, 0, 0}, false, true}, {{8, 0, 0}, {9, 0, 0}, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(rpc_compatible(&rows[i].client, &rows[i].server), rows[i].compatible);
        assert_int_equal(rpc_dialect_known(&rows[i].server), rows[i].known);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_reply_in_pieces),
        cmocka_unit_test(test_forged_replies),
        cmocka_unit_test(test_versions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
