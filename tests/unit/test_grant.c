/* The book of grants: who may open which stream, and of what is wrong with a claim, what is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/grant.h"
#include "common/core/protocol.h"

static const uint8_t ana[GRANT_KEY_BYTES] = {1}, bob[GRANT_KEY_BYTES] = {2}, eve[GRANT_KEY_BYTES] = {3};
static struct grant_book book;

static struct tunnel_claim claim_of(uint8_t instance, uint64_t epoch, uint32_t rank)
{
    return (struct tunnel_claim){.instance = {{instance}}, .epoch = epoch, .rank = rank, .direction = TUNNEL_TO_RANK};
}

static struct tunnel_claim gateway_of(uint8_t instance, uint64_t epoch)
{
    return (struct tunnel_claim){.instance = {{instance}}, .epoch = epoch, .direction = TUNNEL_TO_COORDINATOR};
}

static int add(uint8_t instance, uint64_t epoch, uint32_t rank, const uint8_t *peer)
{
    const struct tunnel_claim claim = claim_of(instance, epoch, rank);

    return grant_book_add(&book, &claim, peer);
}

static enum tunnel_verdict check(uint8_t instance, uint64_t epoch, uint32_t rank, const uint8_t *peer)
{
    const struct tunnel_claim claim = claim_of(instance, epoch, rank);

    return grant_book_check(&book, &claim, peer);
}

static int fresh(void **state)
{
    (void)state;
    memset(&book, 0, sizeof(book));
    return 0;
}

static void test_what_is_wrong_is_named(void **state)
{
    const struct tunnel_claim to_coordinator = gateway_of(1, 4);
    static const struct {
        uint8_t instance;
        uint64_t epoch;
        uint32_t rank;
        const uint8_t *peer;
        enum tunnel_verdict verdict;
    } table[] = {
        {1, 4, 2, ana, TUNNEL_GRANTED},     {1, 4, 3, bob, TUNNEL_GRANTED},     {2, 4, 2, ana, TUNNEL_NO_GRANT},
        {1, 4, 2, eve, TUNNEL_OTHER_PEER},  {1, 3, 2, ana, TUNNEL_OTHER_EPOCH}, {1, 5, 2, ana, TUNNEL_OTHER_EPOCH},
        {1, 4, 3, ana, TUNNEL_OTHER_RANK},  {1, 4, 2, bob, TUNNEL_OTHER_RANK},  {1, 4, 0, ana, TUNNEL_OTHER_RANK},
        {1, 5, 3, ana, TUNNEL_OTHER_EPOCH},
    };

    (void)state;
    assert_int_equal(check(1, 4, 2, ana), TUNNEL_NO_GRANT);
    assert_int_equal(add(1, 4, 1, ana), 0);
    assert_int_equal(add(1, 4, 2, ana), 0);
    assert_int_equal(add(1, 4, 3, bob), 0);
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        assert_int_equal(check(table[i].instance, table[i].epoch, table[i].rank, table[i].peer), table[i].verdict);
    assert_int_equal(grant_book_check(&book, &to_coordinator, ana), TUNNEL_OTHER_DIRECTION);
}

static void test_directions_are_apart(void **state)
{
    const struct tunnel_claim gateway = gateway_of(1, 4);

    (void)state;
    assert_int_equal(grant_book_add(&book, &gateway, ana), 0);
    assert_int_equal(check(1, 4, 0, ana), TUNNEL_OTHER_DIRECTION);
    assert_int_equal(add(1, 4, 0, ana), 0);
    assert_int_equal(check(1, 4, 0, ana), TUNNEL_GRANTED);
    assert_int_equal(grant_book_check(&book, &gateway, ana), TUNNEL_GRANTED);
}

static void test_full(void **state)
{
    uint8_t peer[GRANT_KEY_BYTES] = {0};
    struct grant_book before;

    (void)state;
    for (unsigned i = 0; i < GRANTS_MAX; i++) {
        peer[0] = (uint8_t)i;
        assert_int_equal(add(1, 4, i % PROTO_RANKS_MAX, peer), 0);
        assert_int_equal(add(1, 4, i % PROTO_RANKS_MAX, peer), 0); /* twice */
        assert_int_equal(book.n, i + 1);
    }
    before = book;
    peer[0] = GRANTS_MAX;
    assert_int_equal(add(1, 4, 0, peer), GRANT_E_FULL);
    assert_memory_equal(&book, &before, sizeof(book));
    peer[0] = 1;
    assert_int_equal(add(1, 4, 1, peer), 0); /* is there already */
}

static void test_claims_on_the_wire(void **state)
{
    const struct tunnel_claim claim = {
        .instance = {{0xa1, [15] = 0xa2}}, .epoch = 0x0102030405060708, .rank = 15, .direction = TUNNEL_TO_RANK};
    static const uint8_t wire[TUNNEL_CLAIM_BYTES] = {0xa1, [15] = 0xa2, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 15, 1};
    static const struct {
        size_t at;
        uint8_t byte;
        int r;
    } table[] = {
        {27, 16, TUNNEL_CLAIM_E_MALFORMED},
        {24, 1, TUNNEL_CLAIM_E_MALFORMED},
        {28, 0, TUNNEL_CLAIM_E_MALFORMED},
        {28, 3, TUNNEL_CLAIM_E_MALFORMED},
        {28, 2, TUNNEL_CLAIM_E_MALFORMED},
        {0, 0, 0},
        {15, 0, 0},
        {27, 0, 0},
    };
    uint8_t bytes[TUNNEL_CLAIM_BYTES];
    struct tunnel_claim got;

    (void)state;
    tunnel_claim_encode(&claim, bytes);
    assert_memory_equal(bytes, wire, sizeof(wire));
    assert_int_equal(tunnel_claim_decode(bytes, &got), 0);
    assert_true(id128_equal(&got.instance, &claim.instance));
    assert_true(got.epoch == claim.epoch && got.rank == claim.rank && got.direction == claim.direction);
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        memcpy(bytes, wire, sizeof(wire));
        bytes[table[i].at] = table[i].byte;
        assert_int_equal(tunnel_claim_decode(bytes, &got), table[i].r);
    }
    memset(bytes, 0, 16);
    bytes[28] = 1;
    assert_int_equal(tunnel_claim_decode(bytes, &got), TUNNEL_CLAIM_E_MALFORMED);
    bytes[0] = 1;
    bytes[27] = 0;
    bytes[28] = 2;
    assert_int_equal(tunnel_claim_decode(bytes, &got), 0);
    assert_int_equal(got.direction, TUNNEL_TO_COORDINATOR);
    for (int v = 0; v < TUNNEL_VERDICT_N; v++)
        assert_non_null(tunnel_verdict_name((enum tunnel_verdict)v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_is_wrong_is_named, fresh),
        cmocka_unit_test_setup(test_directions_are_apart, fresh),
        cmocka_unit_test_setup(test_full, fresh),
        cmocka_unit_test(test_claims_on_the_wire),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
