/* One counter out of Prometheus' text, whole and in pieces of every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/metric_text.h"

static bool read_in_pieces(const char *text, size_t step, uint64_t *ret)
{
    size_t n = strlen(text);
    struct metric_reader r;

    metric_reader_init(&r, "llamacpp:n_decode_total");
    for (size_t at = 0; at < n; at += step) {
        size_t n_piece = n - at < step ? n - at : step;
        char *piece = malloc(n_piece);

        assert_non_null(piece);
        memcpy(piece, text + at, n_piece);
        metric_reader_feed(&r, piece, n_piece);
        free(piece);
    }
    metric_reader_end(&r);
    *ret = r.value;
    return r.found;
}

static void test_texts(void **state)
{
    static const struct {
        const char *text;
        bool found;
        uint64_t value;
    } rows[] = {
        {"# HELP llamacpp:n_decode_total Total number of llama_decode() calls\n# TYPE llamacpp:n_decode_total counter\n"
         "llamacpp:n_decode_total 4711\n# HELP llamacpp:n_tokens_max x\nllamacpp:n_tokens_max 9\n",
         true, 4711},
        {"llamacpp:n_decode_total 0", true, 0},
        {"llamacpp:n_decode_total 12.75 1700000000\r\n", true, 12},
        {"llamacpp:n_decode_total 18446744073709551615\n", true, UINT64_MAX},
        {"", false, 0},
        {"llamacpp:n_decode_total", false, 0},
        {"llamacpp:n_decode_total \n", false, 0},
        {"llamacpp:n_decode_total -1\n", false, 0},
        {"llamacpp:n_decode_total 1e+06\n", false, 0},
        {"llamacpp:n_decode_total NaN\n", false, 0},
        {"llamacpp:n_decode_total 18446744073709551616\n", false, 0},
        {"llamacpp:n_decode_total_x 1\nxllamacpp:n_decode_total 1\nllamacpp:n_decode_total{a=\"b\"} 1\n", false, 0},
        {"llamacpp:n_decode_total 1\nllamacpp:n_decode_total 2\n", true, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t step = 1; step <= strlen(rows[i].text) + 1; step++) {
            uint64_t value;

            assert_int_equal(read_in_pieces(rows[i].text, step, &value), rows[i].found);
            assert_int_equal(value, rows[i].value);
        }
}

/* A line that is longer than any of ours; the next one counts again. */
static void test_long_lines(void **state)
{
    char text[1024];

    (void)state;
    for (size_t n_pad = 0; n_pad < 3 * METRIC_LINE_MAX; n_pad += 7) {
        uint64_t value;

        snprintf(text, sizeof(text), "llamacpp:n_decode_total 7%*s\n%*s\nllamacpp:n_decode_total 8\n", (int)n_pad, "",
                 (int)n_pad, "x");
        assert_true(read_in_pieces(text, 13, &value));
        assert_int_equal(value, 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_long_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
