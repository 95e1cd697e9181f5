/* lab_node: a node that says what it is told to, with a valid key, to a real controller.
 *
 *   lab_node ADDR PORT CONTROLLER-KEY DIR
 *
 * DIR keeps its own key. Standard input, a line each: "hello", "stranger" (a hello whose id does not follow from the key),
 * "foreign" (a hello of another cluster), "full" and "partial" (reports), "event" and "result" (of no instance that there
 * is), each with a number of times ("stranger 1000"); the end of it ends the program. Prints "connected", "welcome" and
 * "refused WHY" as they come, and "sent N" when a line was carried out. */
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/message.h"
#include "common/wire.h"

struct lab_node {
    struct event_base *base;
    struct event *input, *retry;
    struct identity identity;
    struct wire_client *wire;
    char line[256];
    size_t n_line;
    char word[32];
    unsigned long left, n_sent;
    bool connected;
};

static void fill_hello(const struct lab_node *n, struct message *m)
{
    struct hello *h = &m->hello;

    m->kind = MESSAGE_HELLO;
    h->node = crypto_node_id(n->identity.public_key);
    snprintf(h->name, sizeof(h->name), "lab");
    snprintf(h->boot_id, sizeof(h->boot_id), "lab");
    snprintf(h->version, sizeof(h->version), "lab");
    snprintf(h->build_problem, sizeof(h->build_problem), "it is only a test");
    h->n_addrs = 1;
    snprintf(h->addr[0], sizeof(h->addr[0]), "10.77.0.250");
    if (!strcmp(n->word, "stranger"))
        h->node.b[0] ^= 1;
    if (!strcmp(n->word, "foreign"))
        memset(m->cluster.b, 7, sizeof(m->cluster.b));
}

static bool fill(const struct lab_node *n, struct message *m)
{
    if (!strcmp(n->word, "hello") || !strcmp(n->word, "stranger") || !strcmp(n->word, "foreign")) {
        fill_hello(n, m);
    } else if (!strcmp(n->word, "full") || !strcmp(n->word, "partial")) {
        m->kind = MESSAGE_REPORT;
        m->report = calloc(1, sizeof(*m->report));
        if (m->report)
            m->report->full = n->word[0] == 'f';
    } else if (!strcmp(n->word, "event")) {
        m->kind = MESSAGE_EVENT;
        m->event = calloc(1, sizeof(*m->event));
        if (m->event)
            m->event->kind = AGENT_EVENT_RESUMED;
    } else if (!strcmp(n->word, "result")) {
        m->kind = MESSAGE_RESULT;
        m->instance.b[3] = 9;
        m->result.code = RESULT_DONE;
    } else {
        return false;
    }
    return true;
}

/* 0: sent; WIRE_E_FULL: not now. */
static int send_one(const struct lab_node *n)
{
    struct message m = {0};
    uint8_t *bytes = NULL;
    size_t n_bytes;
    int r;

    if (!fill(n, &m)) {
        fprintf(stderr, "lab_node: what is \"%s\"?\n", n->word);
        exit(2);
    }
    r = message_pack(&m, &bytes, &n_bytes);
    if (!r)
        r = wire_client_send(n->wire, bytes, n_bytes);
    free(bytes);
    message_clear(&m);
    return r;
}

static bool take_line(struct lab_node *n)
{
    char *end = memchr(n->line, '\n', n->n_line);
    size_t n_used;

    if (!end)
        return false;
    *end = '\0';
    n->left = 1;
    if (sscanf(n->line, "%31s %lu", n->word, &n->left) < 1)
        n->left = 0;
    n_used = (size_t)(end - n->line) + 1;
    n->n_line -= n_used;
    memmove(n->line, n->line + n_used, n->n_line);
    n->n_sent = 0;
    return true;
}

/* As far as the queue lets it; the timer goes on from there. */
static void go_on(struct lab_node *n)
{
    const struct timeval soon = {.tv_usec = 2000};

    while (n->connected) {
        for (; n->left; n->left--, n->n_sent++) {
            if (send_one(n)) {
                evtimer_add(n->retry, &soon);
                return;
            }
        }
        if (n->n_sent)
            printf("sent %lu\n", n->n_sent);
        if (!take_line(n))
            return;
    }
}

static void on_retry(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    go_on(ctx);
}

static void on_input(evutil_socket_t fd, short what, void *ctx)
{
    struct lab_node *n = ctx;
    ssize_t got = read(fd, n->line + n->n_line, sizeof(n->line) - n->n_line);

    (void)what;
    if (got <= 0) {
        event_base_loopbreak(n->base);
        return;
    }
    n->n_line += (size_t)got;
    if (!n->left)
        go_on(n);
}

static void on_message(void *ctx, const void *buf, size_t n_bytes)
{
    struct message *m = NULL;

    (void)ctx;
    if (!message_unpack(buf, n_bytes, &m) && m->kind == MESSAGE_WELCOME)
        printf(m->welcome.refused[0] ? "refused %s\n" : "welcome\n", m->welcome.refused);
    message_destroy(&m);
}

static void on_connected(void *ctx)
{
    struct lab_node *n = ctx;

    n->connected = true;
    printf("connected\n");
    go_on(n);
}

static void on_disconnected(void *ctx)
{
    struct lab_node *n = ctx;

    n->connected = false;
    printf("disconnected\n");
}

int main(int argc, char **argv)
{
    struct lab_node n = {0};
    const struct wire_client_callbacks cb = {
        .message = on_message, .connected = on_connected, .disconnected = on_disconnected, .ctx = &n};
    uint8_t key[CRYPTO_KEY_BYTES];

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 5 || crypto_init() || crypto_key_parse(argv[3], key) || crypto_identity_load(argv[4], &n.identity)) {
        fprintf(stderr, "lab_node ADDR PORT CONTROLLER-KEY DIR\n");
        return 2;
    }
    n.base = event_base_new();
    n.input = event_new(n.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &n);
    n.retry = evtimer_new(n.base, on_retry, &n);
    if (wire_client_new(n.base, &n.identity, argv[1], (uint16_t)atoi(argv[2]), key, &cb, &n.wire))
        return 1;
    event_add(n.input, NULL);
    event_base_dispatch(n.base);
    wire_client_destroy(&n.wire);
    event_free(n.input);
    event_free(n.retry);
    event_base_free(n.base);
    return 0;
}
