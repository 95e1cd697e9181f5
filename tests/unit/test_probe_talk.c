/* The talk with an rpc-server, without one: what is asked, what is believed. Over real sockets: test_probe.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/probe_talk.h"

#define BYTES(s) s, sizeof(s) - 1
#define HELLO_8  "\x1c\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define COUNT_1  "\x04\0\0\0\0\0\0\0\x01\0\0\0"
#define COUNT_64 "\x04\0\0\0\0\0\0\0\x40\0\0\0"
#define MEMORY   "\x10\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0"

/* Says the answer byte by byte; what came of the last one. */
static int say(struct probe_talk *t, const char *answer, size_t n)
{
    uint8_t request[RPC_REQUEST_MAX];
    int r = PROBE_TALK_MORE;

    assert_in_range(probe_talk_request(t, request), 9, RPC_REQUEST_MAX);
    for (size_t i = 0; i < n && r == PROBE_TALK_MORE; i++)
        r = probe_talk_feed(t, answer + i, 1);
    return r;
}

static void test_a_whole_talk(void **state)
{
    struct probe_talk t = {.step = PROBE_HELLO};

    (void)state;
    assert_int_equal(say(&t, BYTES(HELLO_8)), PROBE_TALK_NEXT);
    assert_int_equal(say(&t, BYTES(COUNT_1)), PROBE_TALK_NEXT);
    assert_int_equal(say(&t, BYTES(MEMORY)), PROBE_TALK_DONE);
    assert_true(t.result.ok);
    assert_int_equal(t.result.n_devices, 1);
    assert_int_equal(t.result.free_bytes[0], 0x100);
    assert_int_equal(t.result.total_bytes[0], 0x200);
}

static void test_no_more_devices_than_there_is_room_for(void **state)
{
    struct probe_talk t = {.step = PROBE_HELLO};

    (void)state;
    assert_int_equal(say(&t, BYTES(HELLO_8)), PROBE_TALK_NEXT);
    assert_int_equal(say(&t, BYTES(COUNT_64)), PROBE_TALK_NEXT);
    for (size_t i = 1; i < PROTO_DEVICES_MAX; i++)
        assert_int_equal(say(&t, BYTES(MEMORY)), PROBE_TALK_NEXT);
    assert_int_equal(say(&t, BYTES(MEMORY)), PROBE_TALK_DONE);
    assert_int_equal(t.result.n_devices, PROTO_DEVICES_MAX);
}

/* The header promises no version where the answer is not one: half of a talk leaves nothing to be taken for whole. */
static void test_a_failure_leaves_nothing_behind(void **state)
{
    struct probe_talk t = {.step = PROBE_HELLO};

    (void)state;
    assert_int_equal(say(&t, BYTES(HELLO_8)), PROBE_TALK_NEXT);
    assert_int_equal(say(&t, BYTES("\x04\0\0\0\0\0\0\0\0\0\0\0")), PROBE_TALK_DONE);
    assert_false(t.result.ok);
    assert_int_equal(t.result.rpc.major, 0);
    assert_string_equal(t.result.text, "its device count makes no sense");
}

static void test_another_dialect_is_tried_once(void **state)
{
    struct probe_talk t = {.step = PROBE_HELLO};

    (void)state;
    assert_int_equal(say(&t, "", 0), PROBE_TALK_MORE);
    assert_true(probe_talk_closed(&t));
    assert_int_equal(say(&t, "", 0), PROBE_TALK_MORE);
    assert_false(probe_talk_closed(&t));
    assert_false(t.result.ok);

    t = (struct probe_talk){.step = PROBE_HELLO};
    assert_int_equal(say(&t, "\x1c", 1), PROBE_TALK_MORE); /* it did begin to answer */
    assert_false(probe_talk_closed(&t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_talk),
        cmocka_unit_test(test_no_more_devices_than_there_is_room_for),
        cmocka_unit_test(test_a_failure_leaves_nothing_behind),
        cmocka_unit_test(test_another_dialect_is_tried_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
