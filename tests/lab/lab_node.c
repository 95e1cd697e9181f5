/* lab_node: a node that says what it is told to, with a valid key, to a real controller.
 *
 *   lab_node ADDR PORT CONTROLLER-KEY DIR [TOKEN-FILE]
 *
 * DIR keeps its own key, and gives it its name; with TOKEN-FILE it dials with the key of the join token in there. Standard input, a line each; the end of it ends the program:
 *   hello, stranger, foreign [TIMES]   a hello; one whose id does not follow from the key; one of another cluster
 *   join [TIMES]                       asks to let the own key in
 *   full, partial [TIMES]              reports
 *   result, event [TIMES]              that a command is done, that a worker has exited
 *   keep WORD                          says that by itself from now on, so as not to fall silent
 *   door ADDR PORT                     where hellos say that it can be knocked at; else nowhere
 *   of INSTANCE EPOCH                  what results and events are about; else an instance that there is not
 * Prints "connected", "denied", "disconnected", "welcome", "joined" and "refused WHY" as they come, and "sent N" when a line
 * of a number of times was carried out. */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/core/join_token.h"
#include "common/core/text.h"
#include "common/message.h"
#include "common/wire.h"

enum { BEAT_MS = 300 }; /* well below suspect_after */

struct lab_node {
    struct event_base *base;
    struct event *input, *retry, *beat;
    struct identity identity; /* its own */
    struct identity dials;    /* that, or a token's */
    struct wire_client *wire;
    const char *name;
    char line[256];
    size_t n_line;
    char word[32], kept[32];
    char door_addr[PROTO_ADDR_MAX];
    uint16_t door_port;
    struct id128 instance;
    uint64_t epoch;
    unsigned long left, n_sent;
    bool connected;
};

static void fill_hello(const struct lab_node *n, const char *word, struct message *m)
{
    struct hello *h = &m->hello;

    m->kind = MESSAGE_HELLO;
    h->node = crypto_node_id(n->identity.public_key);
    text_format(h->name, sizeof(h->name), "%s", n->name);
    text_format(h->boot_id, sizeof(h->boot_id), "lab");
    text_format(h->version, sizeof(h->version), "lab");
    text_format(h->build_problem, sizeof(h->build_problem), "it is only a test");
    h->n_addrs = 1;
    text_format(h->addr[0], sizeof(h->addr[0]), "%s", n->door_addr);
    h->port = n->door_port;
    if (!strcmp(word, "stranger"))
        h->node.b[0] ^= 1;
    if (!strcmp(word, "foreign"))
        memset(m->cluster.b, 7, sizeof(m->cluster.b));
}

static void fill_event(const struct lab_node *n, struct message *m)
{
    m->kind = MESSAGE_EVENT;
    m->event = calloc(1, sizeof(*m->event));
    if (!m->event)
        return;
    m->event->kind = AGENT_EVENT_UNIT_EXITED;
    m->event->unit.role = UNIT_WORKER;
    m->event->unit.state = UNIT_EXITED;
    m->event->unit.instance = n->instance;
    m->event->unit.epoch = n->epoch;
}

static bool fill(const struct lab_node *n, const char *word, struct message *m)
{
    m->instance = n->instance;
    m->epoch = n->epoch;
    if (!strcmp(word, "hello") || !strcmp(word, "stranger") || !strcmp(word, "foreign")) {
        fill_hello(n, word, m);
    } else if (!strcmp(word, "join")) {
        m->kind = MESSAGE_JOIN;
        crypto_key_format(n->identity.public_key, m->join.key);
        text_format(m->join.name, sizeof(m->join.name), "%s", n->name);
    } else if (!strcmp(word, "full") || !strcmp(word, "partial")) {
        m->kind = MESSAGE_REPORT;
        m->report = calloc(1, sizeof(*m->report));
        if (m->report)
            m->report->full = word[0] == 'f';
    } else if (!strcmp(word, "event")) {
        fill_event(n, m);
    } else if (!strcmp(word, "result")) {
        m->kind = MESSAGE_RESULT;
        m->result.code = RESULT_DONE;
    } else {
        return false;
    }
    return true;
}

/* 0: sent; WIRE_E_FULL: not now. */
static int send_one(const struct lab_node *n, const char *word)
{
    struct message m = {0};
    uint8_t *bytes = NULL;
    size_t n_bytes;
    int r;

    if (!fill(n, word, &m)) {
        fprintf(stderr, "lab_node: what is \"%s\"?\n", word);
        exit(2);
    }
    r = message_pack(&m, &bytes, &n_bytes);
    if (!r)
        r = wire_client_send(n->wire, bytes, n_bytes);
    free(bytes);
    message_clear(&m);
    return r;
}

/* ---- what it is told ---------------------------------------------------------------------------------------------- */

/* Whether the line sets something and nothing is to be sent. */
static bool take_setting(struct lab_node *n)
{
    const struct timeval often = {.tv_usec = BEAT_MS * 1000};
    char id[ID128_TEXT];

    if (sscanf(n->line, "keep %31s", n->kept) == 1)
        return event_add(n->beat, &often) == 0;
    if (sscanf(n->line, "door %45s %" SCNu16, n->door_addr, &n->door_port) == 2)
        return true;
    return sscanf(n->line, "of %32s %" SCNu64, id, &n->epoch) == 2 && id128_parse(id, &n->instance);
}

static bool take_line(struct lab_node *n)
{
    char *end = memchr(n->line, '\n', n->n_line);
    size_t n_used;

    if (!end)
        return false;
    *end = '\0';
    n->left = 1;
    if (take_setting(n) || sscanf(n->line, "%31s %lu", n->word, &n->left) < 1)
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
            if (send_one(n, n->word)) {
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

static void on_beat(evutil_socket_t fd, short what, void *ctx)
{
    const struct lab_node *n = ctx;

    (void)fd;
    (void)what;
    if (n->connected)
        send_one(n, n->kept); /* the next one is soon */
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
    if (message_unpack(buf, n_bytes, &m))
        return;
    if (m->kind == MESSAGE_WELCOME)
        printf(m->welcome.refused[0] ? "refused %s\n" : "welcome\n", m->welcome.refused);
    else if (m->kind == MESSAGE_JOINED)
        printf(m->joined.refused[0] ? "refused %s\n" : "joined\n", m->joined.refused);
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

static void on_denied(void *ctx)
{
    struct lab_node *n = ctx;

    n->connected = false;
    printf("denied\n");
}

static int read_token(const char *path, struct identity *ret)
{
    char text[JOIN_TOKEN_TEXT_MAX], why[PROTO_TEXT_MAX];
    struct join_token token;
    FILE *f = fopen(path, "r");
    size_t n_bytes = f ? fread(text, 1, sizeof(text), f) : 0;

    if (f)
        fclose(f);
    if (join_token_parse(text, n_bytes, &token, why, sizeof(why)))
        return -EINVAL;
    crypto_identity_from_seed(token.seed, ret);
    return 0;
}

int main(int argc, char **argv)
{
    struct lab_node n = {.door_addr = "10.77.0.250", .instance = {{9}}};
    const struct wire_client_callbacks cb = {.message = on_message,
                                             .connected = on_connected,
                                             .disconnected = on_disconnected,
                                             .denied = on_denied,
                                             .ctx = &n};
    uint8_t key[CRYPTO_KEY_BYTES];

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 5 || argc > 6 || crypto_init() || crypto_key_parse(argv[3], key) ||
        crypto_identity_load(argv[4], &n.identity)) {
        fprintf(stderr, "lab_node ADDR PORT CONTROLLER-KEY DIR [TOKEN-FILE]\n");
        return 2;
    }
    n.dials = n.identity;
    if (argc == 6 && read_token(argv[5], &n.dials)) {
        fprintf(stderr, "lab_node: %s holds no join token\n", argv[5]);
        return 2;
    }
    n.name = basename(argv[4]);
    n.base = event_base_new();
    n.input = event_new(n.base, STDIN_FILENO, EV_READ | EV_PERSIST, on_input, &n);
    n.retry = evtimer_new(n.base, on_retry, &n);
    n.beat = event_new(n.base, -1, EV_PERSIST, on_beat, &n);
    if (wire_client_new(n.base, &n.dials, argv[1], (uint16_t)atoi(argv[2]), key, &cb, &n.wire))
        return 1;
    event_add(n.input, NULL);
    event_base_dispatch(n.base);
    wire_client_destroy(&n.wire);
    event_free(n.input);
    event_free(n.retry);
    event_free(n.beat);
    event_base_free(n.base);
    return 0;
}
