/* Words for people, who is where, and that clearing a message frees all that it owns (LeakSanitizer is the judge). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/messages.h"

/* A value without a word would be shown as "unknown", which only what lies outside may be. */
#define ASSERT_WORDS(name, type, last)                                 \
    do {                                                               \
        for (int v = 1; v <= (int)(last); v++)                         \
            assert_string_not_equal(name((enum type)v), "unknown");    \
        assert_string_equal(name((enum type)0), "unknown");            \
        assert_string_equal(name((enum type)((last) + 1)), "unknown"); \
    } while (0)

static void test_every_value_has_a_word(void **state)
{
    (void)state;
    ASSERT_WORDS(unit_state_name, unit_state, UNIT_FAILED);
    ASSERT_WORDS(unit_role_name, unit_role, UNIT_CARRIER);
    ASSERT_WORDS(device_kind_name, device_kind, DEVICE_UNIFIED);
    ASSERT_WORDS(command_kind_name, command_kind, COMMAND_KNOCK);
    ASSERT_WORDS(knock_outcome_name, knock_outcome, KNOCK_NO_CARRIER);
    ASSERT_WORDS(agent_event_kind_name, agent_event_kind, AGENT_EVENT_PORT_CLASH);
    assert_string_equal(unit_state_name(UNIT_BACKOFF), "backoff");
    assert_string_equal(device_kind_name(DEVICE_UNIFIED), "unified");
}

static void test_same_place(void **state)
{
    const struct peer_facts a = {.name = "a", .port = 7431, .n_addrs = 2, .addr = {"10.0.0.1", "fd00::1"}};
    struct peer_facts b = a;

    (void)state;
    strcpy(b.name, "b"); /* what it is called says nothing of where it is */
    assert_true(peer_same_place(&a, &b));
    strcpy(b.addr[1], "fd00::2");
    assert_false(peer_same_place(&a, &b));
    b.n_addrs = 1;
    assert_false(peer_same_place(&a, &b));
    b = a;
    b.port++;
    assert_false(peer_same_place(&a, &b));
}

static void test_clear_leaves_nothing(void **state)
{
    static const struct message zero;

    (void)state;
    message_clear(NULL);
    for (const struct message_sample *s = message_samples; s->name; s++) {
        struct message *m = message_sample_new(s);

        message_clear(m);
        assert_memory_equal(m, &zero, sizeof(zero));
        message_clear(m);
        message_destroy(&m);
        assert_null(m);
        message_destroy(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_value_has_a_word),
        cmocka_unit_test(test_same_place),
        cmocka_unit_test(test_clear_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
