/* The response parser: what it makes of each answer does not depend on how the bytes were cut, and what is not HTTP as we take it
 * is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/http_parse.h"

/* An answer in short: "200 a=b|body" and how it ended. */
struct outcome {
    char text[512];
    int r;
    _Bool whole;
};

static void append(struct outcome *o, const char *bytes, size_t n)
{
    size_t used = strlen(o->text);

    for (size_t i = 0; i < n && used < sizeof(o->text) - 1; i++)
        o->text[used++] = bytes[i] ? bytes[i] : '?';
}

static void note(struct outcome *o, const struct http_part *part)
{
    char status[16];

    if (part->kind == HTTP_PART_DATA)
        append(o, part->data, part->n_bytes);
    if (part->kind != HTTP_PART_HEAD)
        return;
    append(o, status, (size_t)snprintf(status, sizeof(status), "%d ", part->status));
    for (size_t i = 0; i < part->n_fields; i++) {
        append(o, part->field[i].name, strlen(part->field[i].name));
        append(o, "=", 1);
        append(o, part->field[i].value, strlen(part->field[i].value));
        append(o, ",", 1);
    }
    append(o, "|", 1);
}

/* Feeds bytes in pieces of at most n_piece, each in memory of exactly its size so that a read beyond it is seen. */
static struct outcome feed(const char *bytes, size_t n, size_t n_piece, _Bool head_only)
{
    struct http_parser *p = NULL;
    struct outcome o = {.text = ""};
    size_t at = 0;

    assert_int_equal(http_parser_new(head_only, &p), 0);
    while (!o.r && !o.whole && at < n) {
        size_t n_now = n - at < n_piece ? n - at : n_piece, offset = 0, used = 0;
        char *piece = malloc(n_now);
        struct http_part part;

        assert_non_null(piece);
        memcpy(piece, bytes + at, n_now);
        do {
            o.r = http_parse(p, piece + offset, n_now - offset, &used, &part);
            offset += used;
            if (!o.r)
                note(&o, &part);
        } while (!o.r && part.kind != HTTP_PART_NONE && part.kind != HTTP_PART_END);
        o.whole = !o.r && part.kind == HTTP_PART_END;
        if (!o.r && !o.whole)
            assert_int_equal(offset, n_now); /* NONE means that all was used */
        free(piece);
        at += offset;
    }
    if (!o.r && !o.whole) {
        o.r = http_parse_eof(p);
        o.whole = !o.r;
    }
    http_parser_destroy(&p);
    return o;
}

#define OK "HTTP/1.1 200 OK\r\n"

static const struct {
    const char *bytes;
    const char *text; /* NULL: whatever came before the end */
    int r;
} cases[] = {
    /* framing */
    {OK "Content-Length: 5\r\n\r\nhello", "200 Content-Length=5,|hello", 0},
    {OK "Content-Length: 5\r\n\r\nhello, and the next answer", "200 Content-Length=5,|hello", 0},
    {OK "Content-Length: 0\r\n\r\n", "200 Content-Length=0,|", 0},
    {OK "Content-Length: 5\r\n\r\nhell", NULL, HTTP_E_CUT},
    {OK "\r\nuntil the end", "200 |until the end", 0},
    {"HTTP/1.0 200\r\n\r\nold", "200 |old", 0},
    {OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
     "200 Transfer-Encoding=chunked,|hello world", 0},
    {OK "transfer-encoding: CHUNKED\r\n\r\n00A;x=\"y\"\r\n0123456789\r\n0 ;z\r\nTrailer: t\r\n\r\n",
     "200 transfer-encoding=CHUNKED,|0123456789", 0},
    {OK "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200 Transfer-Encoding=chunked,|", 0},
    /* cut at each of its stages */
    {OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r", NULL, HTTP_E_CUT},
    {OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", NULL, HTTP_E_CUT},
    {OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", NULL, HTTP_E_CUT},
    {OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello", NULL, HTTP_E_CUT},
    {OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", NULL, HTTP_E_CUT},
    {OK "Transfer-Encoding: chunked\r\n\r\n5", NULL, HTTP_E_CUT},
    {OK "Transfer-Encoding: chunked\r\n", NULL, HTTP_E_CUT},
    {"HTTP/1.1 2", NULL, HTTP_E_CUT},
    {"", NULL, HTTP_E_CUT},
    /* interim answers and those without a body */
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" OK "Content-Length: 2\r\n\r\nok",
     "200 Content-Length=2,|ok", 0},
    {"HTTP/1.1 100 Continue\r\n\r\n", NULL, HTTP_E_CUT},
    {"HTTP/1.1 101 Switching\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {"HTTP/1.1 204 No Content\r\n\r\n", "204 |", 0},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "304 Content-Length=9,|", 0},
    /* the head */
    {OK "A:b\r\nC: \t d e \t\r\nF:\r\n\r\n", "200 A=b,C=d e,F=,|", 0},
    {"HTTP/1.1 503 \xc3\xa9t\xc3\xa9\r\nContent-Length: 0\r\n\r\n", "503 Content-Length=0,|", 0},
    {"HTTP/2 200 OK\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {"HTTP/1.1 20 OK\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {"HTTP/1.1 099 OK\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {"HTTP/1.1 600 OK\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {"HTTP/1.1  200 OK\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {"SSH-2.0-OpenSSH_9.2\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {"\r\n" OK "\r\n", NULL, HTTP_E_MALFORMED},
    {"HTTP/1.1 200 OK\n\n", NULL, HTTP_E_MALFORMED},
    {OK "A: b\nC: d\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "A: b\r\n\n", NULL, HTTP_E_MALFORMED},
    {OK "A: b\r\n folded\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "A : b\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "no colon\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK ": no name\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "A: b\rc\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "A: \x01\r\n\r\n", NULL, HTTP_E_MALFORMED},
    /* ambiguous or odd framing */
    {OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", NULL, HTTP_E_MALFORMED},
    {OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "Content-Length: 0x5\r\n\r\nhello", NULL, HTTP_E_MALFORMED},
    {OK "Content-Length: +5\r\n\r\nhello", NULL, HTTP_E_MALFORMED},
    {OK "Content-Length: 5, 5\r\n\r\nhello", NULL, HTTP_E_MALFORMED},
    {OK "Content-Length:\r\n\r\nhello", NULL, HTTP_E_MALFORMED},
    {OK "Content-Length: 99999999999999999999\r\n\r\nhello", NULL, HTTP_E_MALFORMED},
    {OK "Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "Transfer-Encoding: chunked\r\n\r\n\r\nab\r\n0\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "Transfer-Encoding: chunked\r\n\r\n-1\r\nab\r\n0\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "Transfer-Encoding: chunked\r\n\r\n ab\r\n0\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "Transfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "Transfer-Encoding: chunked\r\n\r\n2;\nab\r\n0\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", NULL, HTTP_E_MALFORMED},
    {OK "Transfer-Encoding: chunked\r\n\r\n1000000000000000\r\nab", NULL, HTTP_E_MALFORMED},
};

static void test_each_answer_cut_in_every_way(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = strlen(cases[i].bytes);

        for (size_t n_piece = 1; n_piece <= n + 1; n_piece++) {
            struct outcome o = feed(cases[i].bytes, n, n_piece, 0);

            if (o.r != cases[i].r || o.whole != !cases[i].r || (cases[i].text && strcmp(o.text, cases[i].text) != 0))
                fail_msg("case %zu in pieces of %zu: %d \"%s\"", i, n_piece, o.r, o.text);
        }
    }
}

/* Every beginning of a whole answer is cut, except where the end of the connection ends the body. */
static void test_no_beginning_is_taken_for_the_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n_whole = 0;

        if (cases[i].r || strstr(cases[i].bytes, "until the end") || !strstr(cases[i].bytes, "ength: ") ||
            strstr(cases[i].bytes, "304"))
            continue;
        while (feed(cases[i].bytes, n_whole, n_whole + 1, 0).r == HTTP_E_CUT)
            n_whole++;
        assert_int_equal(feed(cases[i].bytes, n_whole, n_whole, 0).r, 0);
        assert_string_equal(feed(cases[i].bytes, n_whole, n_whole, 0).text, cases[i].text);
    }
}

static void test_head_request(void **state)
{
    static const char bytes[] = OK "Content-Length: 500\r\n\r\n";

    (void)state;
    assert_int_equal(feed(bytes, sizeof(bytes) - 1, 7, 1).r, 0);
    assert_int_equal(feed(bytes, sizeof(bytes) - 1, 7, 0).r, HTTP_E_CUT);
}

/* head, then `line` n times, then the end; in pieces. */
static int feed_many(const char *head, const char *line, size_t n_lines, size_t n_piece)
{
    size_t n_head = strlen(head), n_line = strlen(line), n = n_head + n_line * n_lines;
    char *bytes = malloc(n + 3);
    int r;

    assert_non_null(bytes);
    memcpy(bytes, head, n_head);
    for (size_t i = 0; i < n_lines; i++)
        memcpy(bytes + n_head + i * n_line, line, n_line);
    memcpy(bytes + n, "\r\n", 3);
    r = feed(bytes, n + 2, n_piece, 1).r;
    free(bytes);
    return r;
}

static void test_bounds(void **state)
{
    char line[1200];

    (void)state;
    memset(line, 'a', sizeof(line));
    memcpy(line + 1, ": ", 2);
    memcpy(line + sizeof(line) - 3, "\r\n", 3);
    for (size_t n_piece = 100; n_piece <= 100000; n_piece *= 10) {
        assert_int_equal(feed_many(OK, "A: b\r\n", HTTP_HEADERS_MAX, n_piece), 0);
        assert_int_equal(feed_many(OK, "A: b\r\n", HTTP_HEADERS_MAX + 1, n_piece), HTTP_E_TOO_LARGE);
        assert_int_equal(feed_many(OK, line, 54, n_piece), 0);
        assert_int_equal(feed_many(OK, line, 56, n_piece), HTTP_E_TOO_LARGE);
        assert_int_equal(feed_many("HTTP/1.1 200 ", "a", 70000, n_piece), HTTP_E_TOO_LARGE);
    }
    memset(line, '0', 300);
    line[300] = '\0';
    {
        char bytes[600];
        int n = snprintf(bytes, sizeof(bytes), OK "Transfer-Encoding: chunked\r\n\r\n%s", line);

        assert_int_equal(feed(bytes, (size_t)n, 50, 0).r, HTTP_E_TOO_LARGE);
    }
}

/* Any bytes: it may refuse them, but neither crash nor stand still. What it lets through does not depend on the cut. */
static void test_mutated_answers(void **state)
{
    uint32_t random = 7;

    (void)state;
    for (int round = 0; round < 4000; round++) {
        char bytes[256];
        size_t i = (random = random * 1664525 + 1013904223) % (sizeof(cases) / sizeof(cases[0]));
        size_t n = strlen(cases[i].bytes);
        struct outcome a, b;

        memcpy(bytes, cases[i].bytes, n);
        for (int k = 0; n && k < 3; k++) {
            random = random * 1664525 + 1013904223;
            bytes[(random >> 8) % n] = "\r\n:;0 5f\0x"[(random >> 24) % 10];
        }
        a = feed(bytes, n, n + 1, 0);
        b = feed(bytes, n, 1, 0);
        if (a.r != b.r || (!a.r && strcmp(a.text, b.text) != 0))
            fail_msg("round %d: %d \"%s\" but byte by byte %d \"%s\"", round, a.r, a.text, b.r, b.text);
    }
}

static void test_what_may_stand_in_a_request(void **state)
{
    (void)state;
    assert_true(http_is_token("X-Api-Key") && http_is_token("GET"));
    assert_false(http_is_token("") || http_is_token("a b") || http_is_token("a:") || http_is_token("a\r\nb"));
    assert_true(http_is_field_value("") && http_is_field_value("a b\tc \xc3\xa9"));
    assert_false(http_is_field_value("a\r\nHost: b") || http_is_field_value("a\nb") || http_is_field_value("\x7f"));
    assert_true(http_is_target("/api/plan?model=a%20b"));
    assert_false(http_is_target("") || http_is_target("/a b") || http_is_target("/a\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_answer_cut_in_every_way),
        cmocka_unit_test(test_no_beginning_is_taken_for_the_whole),
        cmocka_unit_test(test_head_request),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_mutated_answers),
        cmocka_unit_test(test_what_may_stand_in_a_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
