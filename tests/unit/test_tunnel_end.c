/* Two ends of a stream over loopback: what was granted opens, and nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/tunnel_harness.h"

static void test_granted(void **state)
{
    static const char *const addrs[] = {"127.0.0.1", "::1"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct lab lab;
        struct call c;
        struct tunnel_dial_spec spec;

        lab_begin_at(&lab, addrs[i]);
        spec = good_spec(lab.port);
        strcpy(spec.addr, addrs[i]);
        call_through(&lab, &c, &spec);
        assert_int_equal(c.r, 0);
        assert_int_equal(lab.n_asked, 1);
        assert_int_equal(lab_counts(&lab)->n_opened, 1);
        expect_carries(&c.end, &lab.end);
        expect_carries(&lab.end, &c.end);
        call_end(&c);
        lab_end(&lab);
    }
}

/* ---- what was not granted ----------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    static const struct {
        const struct identity *who;
        struct tunnel_claim claim;
        bool ended; /* before it is asked for */
        enum tunnel_verdict verdict, told;
    } table[] = {
        {&ana, {{{0xcb}}, 4, 3, TUNNEL_TO_RANK}, false, TUNNEL_NO_GRANT, TUNNEL_NO_GRANT},
        {&eve, {{{0xca}}, 4, 3, TUNNEL_TO_RANK}, false, TUNNEL_OTHER_PEER, TUNNEL_NO_GRANT},
        {&ana, {{{0xca}}, 4, 0, TUNNEL_TO_COORDINATOR}, false, TUNNEL_OTHER_DIRECTION, TUNNEL_OTHER_DIRECTION},
        {&ana, {{{0xca}}, 5, 3, TUNNEL_TO_RANK}, false, TUNNEL_OTHER_EPOCH, TUNNEL_OTHER_EPOCH},
        {&ana, {{{0xca}}, 3, 3, TUNNEL_TO_RANK}, false, TUNNEL_OTHER_EPOCH, TUNNEL_OTHER_EPOCH},
        {&ana, {{{0xca}}, 4, 2, TUNNEL_TO_RANK}, false, TUNNEL_OTHER_RANK, TUNNEL_OTHER_RANK},
        {&ana, {{{0xca}}, 4, 3, TUNNEL_TO_RANK}, true, TUNNEL_ENDED, TUNNEL_ENDED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct tunnel_dial_spec spec;
        struct call c;
        struct lab lab;

        lab_begin(&lab);
        expect_opens(&lab);
        if (table[i].ended)
            grant_book_end_rank(&lab.book, &good_claim.instance, 4, 3);
        spec = good_spec(lab.port);
        spec.own = table[i].who;
        spec.claim = table[i].claim;
        call_through(&lab, &c, &spec);
        assert_int_equal(c.r, -EACCES);
        assert_int_equal(c.verdict, table[i].told);
        assert_int_equal(lab.n_opened, 1);
        assert_int_equal(lab_counts(&lab)->n_refused[table[i].verdict], 1);
        assert_int_equal(lab.counts.n_accepted, 2);
        if (!table[i].ended)
            expect_opens(&lab);
        lab_end(&lab);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_granted),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, begin_loop, end_loop);
}
