/* What is counted of an answer as it passes, in whatever pieces it comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/core/answer_tally.h"

static const struct {
    const char *text;
    bool is_stream;
    int64_t tokens;
    uint64_t n_events;
} cases[] = {
    {"{\"choices\":[],\"usage\":{\"completion_tokens\":32,\"prompt_tokens\":30}}", false, 32, 0},
    {"{\"usage\":{\"completion_tokens\" : 1}}", false, -1, 0}, /* nobody writes it so */
    {"{\"usage\":{\"completion_tokens\": 7}}", false, 7, 0},
    {"{\"usage\":{\"input_tokens\":9,\"output_tokens\":12}}", false, 12, 0},
    {"{\"timings\":{\"predicted_n\":5,\"predicted_ms\":1.5}}", false, 5, 0},
    {"{\"usage\":{\"completion_tokens\":3},\"timings\":{\"predicted_n\":5}}", false, 3, 0},
    {"{\"error\":{\"code\":400}}", false, -1, 0},
    {"", true, -1, 0},
    /* what a model writes is no figure */
    {"{\"content\":\"\\\"completion_tokens\\\":99\",\"usage\":{\"completion_tokens\":2}}", false, 2, 0},
    {"{\"content\":\"\\\"completion_tokens\\\":99\"}", false, -1, 0},
    {"{\"usage\":{\"completion_tokens\":99999999999999999999}}", false, -1, 0},
    /* streams: cut, with its timings, with usage */
    {": ping\n\ndata: {\"a\":1}\n\ndata: {\"a\":2}\n\n:\n\ndata: {\"a\":", true, 3, 3},
    {"data: {\"a\":\"data: x\"}\n\ndata: {\"timings\":{\"predicted_n\":98}}\n\ndata: [DONE]\n\n", true, 98, 3},
    {"data: {\"a\":1}\n\ndata: {\"usage\":{\"completion_tokens\":4}}\n\ndata: [DONE]\n\n", true, 4, 3},
    {"event: message_delta\ndata: {\"usage\":{\"output_tokens\":1}}\n\n"
     "event: message_delta\ndata: {\"usage\":{\"output_tokens\":6}}\n\n",
     true, 6, 2},
};

static void test_in_pieces_of_each_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = strlen(cases[i].text);

        for (size_t piece = 1; piece <= n + 1; piece++) {
            struct answer_tally t = {.n_bytes = 0};

            for (size_t at = 0; at < n; at += piece)
                answer_tally_feed(&t, cases[i].text + at, piece < n - at ? piece : n - at);
            if (answer_tally_tokens(&t, cases[i].is_stream) != cases[i].tokens || t.n_events != cases[i].n_events ||
                t.n_bytes != n)
                fail_msg("case %zu in pieces of %zu: %ld tokens, %lu events", i, piece,
                         (long)answer_tally_tokens(&t, cases[i].is_stream), (unsigned long)t.n_events);
        }
    }
}

/* Only the end of a long answer is kept, and no byte beyond it. */
static void test_a_long_answer(void **state)
{
    static const char usage[] = "\"},\"usage\":{\"completion_tokens\":1234}}";

    (void)state;
    for (size_t n = ANSWER_TAIL_BYTES - 50; n < 3 * ANSWER_TAIL_BYTES; n++) {
        struct answer_tally t = {.n_bytes = 0};
        char *text = malloc(n + sizeof(usage) - 1);

        assert_non_null(text);
        memset(text, 'x', n);
        memcpy(text + n, usage, sizeof(usage) - 1);
        answer_tally_feed(&t, text, n / 2);
        answer_tally_feed(&t, text + n / 2, n - n / 2 + sizeof(usage) - 1);
        assert_int_equal(answer_tally_tokens(&t, false), 1234);
        assert_int_equal(t.n_bytes, n + sizeof(usage) - 1);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_pieces_of_each_size),
        cmocka_unit_test(test_a_long_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
