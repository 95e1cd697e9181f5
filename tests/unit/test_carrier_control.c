/* Questions and answers between agent and carrier: as they were said, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/carrier/control.h"

static void test_questions(void **state)
{
    struct control_question q = {.kind = CONTROL_HELLO}, back;
    char buf[CONTROL_PACKET_MAX];
    size_t n = control_question_format(&q, buf);

    (void)state;
    assert_int_equal(control_question_parse(buf, n, &back), 0);
    assert_int_equal(back.kind, CONTROL_HELLO);
}

static void test_no_questions(void **state)
{
    static const char *const rows[] = {"",          "\n",       "hello",  "hello\n\n",  "Hello\n",
                                       "hello 1\n", "hello \n", "hell\n", "hello\nx\n", "cut 1\n"};
    struct control_question q;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (control_question_parse(rows[i], strlen(rows[i]), &q) != CONTROL_E_MALFORMED)
            fail_msg("taken: %s", rows[i]);
    assert_int_equal(control_question_parse("hello\0\n", 7, &q), CONTROL_E_MALFORMED);
}

static struct control_answer longest(void)
{
    struct control_answer a = {.ok = true, .version = UINT32_MAX, .n_routes = PROTO_RANKS_MAX};

    memset(a.text, 't', sizeof(a.text) - 1);
    for (int i = 0; i < PROTO_RANKS_MAX; i++) {
        a.route[i] = (struct control_route){.rank = i, .port = (uint16_t)(65535 - i)};
        memset(a.route[i].endpoint, 'e', sizeof(a.route[i].endpoint) - 1);
    }
    return a;
}

static void test_answers(void **state)
{
    struct control_answer a = longest(), back;
    char buf[CONTROL_PACKET_MAX];
    size_t n = control_answer_format(&a, buf);

    (void)state;
    assert_int_equal(control_answer_parse(buf, n, &back), 0);
    assert_true(back.ok);
    assert_int_equal(back.version, UINT32_MAX);
    assert_string_equal(back.text, a.text);
    assert_int_equal(back.n_routes, PROTO_RANKS_MAX);
    assert_memory_equal(back.route, a.route, sizeof(a.route));
    for (size_t cut = 0; cut < n; cut++) /* part of a packet is a shorter answer or none, never a longer one */
        if (control_answer_parse(buf, cut, &back) == 0)
            assert_true(buf[cut - 1] == '\n' && back.n_routes < PROTO_RANKS_MAX);
    a = (struct control_answer){.text = "no\nok=1\n"};
    n = control_answer_format(&a, buf);
    assert_int_equal(control_answer_parse(buf, n, &back), 0);
    assert_false(back.ok);
    assert_string_equal(back.text, "no ok=1 ");
}

static void test_an_answer_of_a_later_version(void **state)
{
    static const char text[] = "ok=1\nversion=9\nstreams=4 of 5\nroute=3 40000 10.0.0.2:7441\n";
    struct control_answer a;

    (void)state;
    assert_int_equal(control_answer_parse(text, sizeof(text) - 1, &a), 0);
    assert_int_equal(a.version, 9);
    assert_int_equal(a.n_routes, 1);
    assert_int_equal(a.route[0].rank, 3);
    assert_int_equal(a.route[0].port, 40000);
    assert_string_equal(a.route[0].endpoint, "10.0.0.2:7441");
}

static void test_no_answers(void **state)
{
    static const char *const rows[] = {
        "",
        "\n",
        "ok\n",
        "ok=2\n",
        "ok=1",
        "ok=1\nok=1\n",
        "version=1\n",
        "ok=1\nversion=0\n",
        "ok=1\nversion=4294967296\n",
        "ok=1\nversion=1 \n",
        "ok=1\ntext=\n",
        "ok=1\nroute=16 1 a:1\n",
        "ok=1\nroute=1 0 a:1\n",
        "ok=1\nroute=1 65536 a:1\n",
        "ok=1\nroute=1 1\n",
        "ok=1\nroute=1 1 \n",
        "ok=1\nroute=1 1 a:1 b\n",
        "ok=1\nroute=1 1 host:1\n",
        "ok=1\nroute=1 1 eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\n",
    };
    struct control_answer a;
    char many[1024] = "ok=1\n";

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (control_answer_parse(rows[i], strlen(rows[i]), &a) != CONTROL_E_MALFORMED)
            fail_msg("taken: %s", rows[i]);
    for (int i = 0; i < PROTO_RANKS_MAX + 1; i++)
        strcat(many, "route=1 1 a:1\n");
    assert_int_equal(control_answer_parse(many, strlen(many), &a), CONTROL_E_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions),  cmocka_unit_test(test_no_questions),
        cmocka_unit_test(test_answers),    cmocka_unit_test(test_an_answer_of_a_later_version),
        cmocka_unit_test(test_no_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
