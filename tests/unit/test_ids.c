/* Ids: text form and back; everything else is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/core/ids.h"

static void test_round_trip(void **state)
{
    struct id128 id, back;

    (void)state;
    for (size_t i = 0; i < sizeof(id.b); i++)
        id.b[i] = (uint8_t)(i * 17);
    assert_string_equal(ID128(&id), "00112233445566778899aabbccddeeff");
    assert_string_equal(ID128_SHORT(&id), "00112233");
    assert_true(id128_parse("00112233445566778899AABBCCDDEEFF", &back));
    assert_true(id128_equal(&id, &back));
}

static void test_refuses_what_is_not_an_id(void **state)
{
    static const char *const bad[] = {"",
                                      "0",
                                      "00112233445566778899aabbccddeef",
                                      "00112233445566778899aabbccddeeff0",
                                      "00112233445566778899aabbccddeefg",
                                      " 0112233445566778899aabbccddeeff"};
    struct id128 id = {{1}};

    (void)state;
    assert_false(id128_parse(NULL, &id));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(id128_parse(bad[i], &id));
    assert_int_equal(id.b[0], 1);
    assert_false(id128_is_zero(&id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refuses_what_is_not_an_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
