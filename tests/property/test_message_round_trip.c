/* Whatever can be said arrives as it was said, and packing it again gives the same bytes. A failing seed is printed:
 * add it to `kept`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/message.h"
#include "tests/lib/messages.h"

static void round_trip(uint64_t seed)
{
    CLEANUP(message_destroy) struct message *m = message_random_new(seed), *back = NULL;
    CLEANUP(cleanup_free) uint8_t *one = NULL, *two = NULL;
    size_t n_one, n_two;
    int r = message_pack(m, &one, &n_one);

    if (r == MESSAGE_E_TOO_LARGE)
        return;
    if (r || message_unpack(one, n_one, &back) || !message_same(m, back) || back->n_unknown)
        fail_msg("seed %llu does not come back", (unsigned long long)seed);
    if (message_pack(back, &two, &n_two) || n_one != n_two || memcmp(one, two, n_one))
        fail_msg("seed %llu has two forms", (unsigned long long)seed);
}

static void test_round_trip(void **state)
{
    static const uint64_t kept[] = {0, UINT64_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        round_trip(kept[i]);
    for (uint64_t seed = 1; seed <= 2000; seed++)
        round_trip(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
