/* http_load --url http://ADDR:PORT/PATH --body FILE... [--header "NAME: VALUE"]... [--connections N] [--requests N | --seconds S]
 *           [--answer FILE]
 *
 * Asks over N connections, of several bodies each connection another (--body again), each as soon as it has its answer, and opens one anew that was closed behind it. Prints
 * one line of JSON: how many answers, how many of them wrong, answers a second, and the times in microseconds until the body's
 * first byte and until its end, from before the connection where one was opened. FILE: an answer as recorded, head and
 * framing with it, whose body each answer must have, byte for byte. One thread; exit 1 where an answer was wrong. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/core/http_parse.h"

enum { ANSWER_MAX = 1024 * 1024, HEADERS_MAX = 8, BODIES_MAX = 256 };

struct conn {
    int fd; /* -1: none */
    struct event *event;
    struct http_parser *parser;
    const struct request *request;
    bool is_new, heard;
    size_t n_body;
    int status;
    int64_t asked_us, first_us;
};

static struct event_base *base;
static struct sockaddr_in server;
static struct request {
    char *text;
    size_t n;
} request[BODIES_MAX];
static size_t n_requests;
static char *wanted;
static size_t n_wanted;
static size_t n_begun, n_done, n_wrong, n_limit = SIZE_MAX;
static bool over;
static int64_t began_us;
static struct times {
    uint32_t *us;
    size_t n, room;
} first, whole;

static int64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "http_load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void note(struct times *t, int64_t us)
{
    if (t->n == t->room) {
        t->room = t->room ? t->room * 2 : 65536;
        t->us = realloc(t->us, t->room * sizeof(*t->us));
        if (!t->us)
            die("times");
    }
    t->us[t->n++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

/* ---- one connection ---- */

static void ask(struct conn *c);

static void hang_up(struct conn *c)
{
    http_parser_destroy(&c->parser);
    if (c->event)
        event_free(c->event);
    c->event = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void next(struct conn *c)
{
    if (n_done == n_limit)
        event_base_loopbreak(base);
    else if (!over && n_begun < n_limit)
        ask(c);
    else
        hang_up(c);
}

static void wrong(struct conn *c, const char *why)
{
    if (++n_wrong <= 5)
        fprintf(stderr, "http_load: answer %zu: %s (status %d, %zu bytes, %s connection)\n", n_done, why, c->status,
                c->n_body, c->is_new ? "new" : "kept");
    n_done++;
    hang_up(c);
    next(c);
}

static void right(struct conn *c)
{
    bool kept = http_parse_reusable(c->parser);

    note(&first, c->first_us - c->asked_us);
    note(&whole, now_us() - c->asked_us);
    n_done++;
    if (!kept)
        hang_up(c);
    next(c);
}

/* NULL, or why the answer is wrong. */
static const char *take(struct conn *c, const struct http_part *part)
{
    switch (part->kind) {
    case HTTP_PART_HEAD:
        c->status = part->status;
        return part->status == 200 ? NULL : "another status";
    case HTTP_PART_DATA:
        if (!c->n_body)
            c->first_us = now_us();
        if (wanted &&
            (c->n_body + part->n_bytes > n_wanted || memcmp(wanted + c->n_body, part->data, part->n_bytes) != 0))
            return "another body";
        c->n_body += part->n_bytes;
        return NULL;
    case HTTP_PART_END:
        return wanted && c->n_body != n_wanted ? "not the whole body" : NULL;
    case HTTP_PART_NONE:
        break;
    }
    return NULL;
}

/* Over: it was closed between two answers, before anything of this one came. Whoever asks so must ask again. */
static bool was_stale(const struct conn *c)
{
    return !c->is_new && !c->heard;
}

static void on_end(struct conn *c)
{
    if (was_stale(c)) {
        hang_up(c);
        n_begun--;
        ask(c);
        return;
    }
    wrong(c, "the connection ended");
}

static void on_read(evutil_socket_t fd, short what, void *ctx)
{
    static char buf[256 * 1024];
    struct conn *c = ctx;
    ssize_t n = recv(fd, buf, sizeof(buf), 0);
    struct http_part part = {.kind = HTTP_PART_NONE};
    size_t at = 0;

    (void)what;
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        on_end(c);
        return;
    }
    c->heard = true;
    do {
        size_t used;
        const char *why;

        if (http_parse(c->parser, buf + at, (size_t)n - at, &used, &part)) {
            wrong(c, "no HTTP");
            return;
        }
        at += used;
        why = take(c, &part);
        if (why) {
            wrong(c, why);
            return;
        }
    } while (part.kind != HTTP_PART_END && part.kind != HTTP_PART_NONE);
    if (part.kind == HTTP_PART_END)
        right(c);
}

static void dial(struct conn *c)
{
    const int on = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof(server)) < 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->event = event_new(base, c->fd, EV_READ | EV_PERSIST, on_read, c);
    if (!c->event || event_add(c->event, NULL) < 0)
        die("event");
}

static void ask(struct conn *c)
{
    n_begun++;
    c->asked_us = now_us();
    c->first_us = c->asked_us;
    c->is_new = c->fd < 0;
    c->heard = false;
    c->n_body = 0;
    c->status = 0;
    http_parser_destroy(&c->parser);
    if (http_parser_new(false, &c->parser) < 0)
        die("parser");
    if (c->is_new)
        dial(c);
    if (send(c->fd, c->request->text, c->request->n, MSG_NOSIGNAL) != (ssize_t)c->request->n && c->is_new)
        die("send"); /* one that was kept ends with its next read */
}

/* ---- what is asked, and what is to come ---- */

static char *read_file(const char *path, size_t *ret_n)
{
    FILE *f = fopen(path, "re");
    char *text = calloc(1, ANSWER_MAX + 1);

    if (!f || !text)
        die(path);
    *ret_n = fread(text, 1, ANSWER_MAX, f);
    fclose(f);
    return text;
}

static void read_wanted(const char *path)
{
    struct http_parser *parser = NULL;
    struct http_part part;
    size_t n, used, at = 0;
    char *text = read_file(path, &n);

    wanted = calloc(1, n + 1);
    if (!wanted || http_parser_new(false, &parser) < 0)
        die(path);
    do {
        if (http_parse(parser, text + at, n - at, &used, &part) || part.kind == HTTP_PART_NONE)
            die("that is no answer");
        at += used;
        if (part.kind == HTTP_PART_DATA) {
            memcpy(wanted + n_wanted, part.data, part.n_bytes);
            n_wanted += part.n_bytes;
        }
    } while (part.kind != HTTP_PART_END);
    http_parser_destroy(&parser);
    free(text);
}

static const char *read_url(const char *url, char addr[64])
{
    unsigned port;
    int n = 0;

    if (sscanf(url, "http://%63[0-9.]:%u%n", addr, &port, &n) != 2 || !n ||
        inet_pton(AF_INET, addr, &server.sin_addr) != 1)
        die(url);
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)port);
    return url[n] ? url + n : "/";
}

static void make_request(const char *url, const char *const *header, size_t n_headers, const char *body_path)
{
    char addr[64], fields[4096] = "";
    const char *path = read_url(url, addr);
    size_t n_body, used = 0;
    char *body = read_file(body_path, &n_body);
    int n;

    for (size_t i = 0; i < n_headers && used < sizeof(fields); i++)
        used += (size_t)snprintf(fields + used, sizeof(fields) - used, "%s\r\n", header[i]);
    if (n_requests == BODIES_MAX)
        die("too many bodies");
    n = asprintf(&request[n_requests].text,
                 "POST %s HTTP/1.1\r\nHost: %s:%u\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s",
                 path, addr, ntohs(server.sin_port), fields, n_body, body);
    if (n < 0)
        die("request");
    request[n_requests++].n = (size_t)n;
    free(body);
}

/* ---- the run ---- */

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint32_t quantile(const struct times *t, double q)
{
    return t->n ? t->us[(size_t)((double)(t->n - 1) * q + 0.5)] : 0;
}

static void print(int64_t us)
{
    qsort(first.us, first.n, sizeof(*first.us), by_size);
    qsort(whole.us, whole.n, sizeof(*whole.us), by_size);
    printf(
        "{\"n\": %zu, \"errors\": %zu, \"rate\": %.1f, \"first_p50_us\": %u, \"first_p99_us\": %u, \"p50_us\": %u, \"p99_us\": "
        "%u}\n",
        n_done, n_wrong, (double)(n_done - n_wrong) * 1e6 / (double)us, quantile(&first, 0.5), quantile(&first, 0.99),
        quantile(&whole, 0.5), quantile(&whole, 0.99));
}

static void on_time(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what, (void)ctx;
    over = true;
    event_base_loopbreak(base);
}

int main(int argc, char **argv)
{
    const char *url = NULL, *body[BODIES_MAX], *header[HEADERS_MAX];
    size_t n_headers = 0, n_bodies = 0, n_conns = 1;
    struct timeval limit = {.tv_sec = 0};
    struct conn *conn;

    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];

        if (strcmp(name, "--url") == 0)
            url = value;
        else if (strcmp(name, "--body") == 0 && n_bodies < BODIES_MAX)
            body[n_bodies++] = value;
        else if (strcmp(name, "--header") == 0 && n_headers < HEADERS_MAX)
            header[n_headers++] = value;
        else if (strcmp(name, "--connections") == 0)
            n_conns = strtoul(value, NULL, 10);
        else if (strcmp(name, "--requests") == 0)
            n_limit = strtoul(value, NULL, 10);
        else if (strcmp(name, "--seconds") == 0)
            limit.tv_sec = strtol(value, NULL, 10);
        else if (strcmp(name, "--answer") == 0)
            read_wanted(value);
        else
            die(name);
    }
    if (!url || !n_bodies)
        die("--url and --body");
    for (size_t i = 0; i < n_bodies; i++)
        make_request(url, header, n_headers, body[i]);
    base = event_base_new();
    conn = calloc(n_conns, sizeof(*conn));
    if (!base || !conn)
        die("memory");
    if (limit.tv_sec)
        event_base_once(base, -1, EV_TIMEOUT, on_time, NULL, &limit);
    began_us = now_us();
    for (size_t i = 0; i < n_conns; i++) {
        conn[i].fd = -1;
        conn[i].request = &request[i % n_requests];
        if (n_begun < n_limit)
            ask(&conn[i]);
    }
    event_base_dispatch(base);
    print(now_us() - began_us);
    return n_wrong > 0;
}
