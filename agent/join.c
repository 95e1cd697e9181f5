#include "agent/join.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "common/log.h"
#include "common/message.h"
#include "common/wire.h"

enum { AGAIN_FIRST_MS = 5000, AGAIN_MS = 30000 };

/* One address of one controller. */
struct line {
    struct joining *join;
    struct join_controller at;
    struct wire_client *client; /* NULL: it has had its answer for now */
    bool asked;                 /* by this connection, without an answer yet */
    bool told;                  /* that nobody is there */
};

struct joining {
    struct event_base *base;
    struct identity key;
    struct join_callbacks cb;
    struct message ask;
    struct event *on_patience, *on_again;
    size_t n_tries, n_lines;
    struct line line[JOIN_TOKEN_CONTROLLERS_MAX];
    bool begun, own_key_told;
    bool denied, denied_told;
    char refused[PROTO_TEXT_MAX]; /* as was said last */
};

/* ---- outcomes ---------------------------------------------------------------------------------------------------- */

static void after_ms(struct event *timer, uint32_t ms)
{
    const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    evtimer_add(timer, &tv);
}

/* Up to a quarter less at random: those who wait for the same controller shall not come in step. */
static void again_later(struct joining *j)
{
    uint32_t random, ms = j->n_tries ? AGAIN_MS : AGAIN_FIRST_MS;

    if (evtimer_pending(j->on_again, NULL))
        return;
    crypto_random(&random, sizeof(random));
    after_ms(j->on_again, ms - random % (ms / 4));
}

static void try_own_key(struct joining *j)
{
    if (j->own_key_told)
        return;
    j->own_key_told = true;
    evtimer_del(j->on_patience);
    j->cb.try_own_key(j->cb.ctx);
}

/* The line has its outcome: it is dialled again with all others. */
static void line_end(struct line *line)
{
    wire_client_destroy(&line->client);
    line->asked = false;
    try_own_key(line->join);
    again_later(line->join);
}

static void on_patience(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    try_own_key(ctx);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

/* Several addresses of one controller: it is asked once. */
static bool is_asked(const struct joining *j, const uint8_t *key)
{
    for (size_t i = 0; i < j->n_lines; i++)
        if (j->line[i].asked && !memcmp(j->line[i].at.key, key, CRYPTO_KEY_BYTES))
            return true;
    return false;
}

static void on_connected(void *ctx)
{
    CLEANUP(cleanup_free) uint8_t *buf = NULL;
    struct line *line = ctx;
    struct joining *j = line->join;
    size_t n;
    int r;

    if (is_asked(j, line->at.key))
        return;
    again_later(j); /* should the answer be lost, or another's who uses the same token */
    r = message_pack(&j->ask, &buf, &n);
    if (!r)
        r = wire_client_send(line->client, buf, n);
    line->asked = r == 0;
    if (r)
        log_failure(LOG_LEVEL_WARN, "join.ask", r < 0 ? r : err_raise(-ENOBUFS), "controller=%s port=%u", line->at.addr,
                    (unsigned)line->at.port);
}

static void on_answer(struct line *line, const struct joined *answer)
{
    struct joining *j = line->join;

    if (!answer->refused[0])
        log_info("join.let_in", "controller=%s port=%u", line->at.addr, (unsigned)line->at.port);
    else if (strcmp(j->refused, answer->refused) != 0)
        log_warn("join.refused", "controller=%s port=%u text=%s", line->at.addr, (unsigned)line->at.port,
                 LOG_STR(answer->refused));
    text_copy(j->refused, sizeof(j->refused), answer->refused);
    line_end(line);
}

/* The answer goes to the newest connection of the token's key: it may be for another node that uses the same token. */
static void on_message(void *ctx, const void *buf, size_t n_bytes)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct line *line = ctx;

    if (message_unpack(buf, n_bytes, &m) == 0 && m->kind == MESSAGE_JOINED &&
        !strcmp(m->joined.key, line->join->ask.join.key))
        on_answer(line, &m->joined);
}

/* A controller may close the line of a token whose last use we were: then our own key is in. */
static void on_disconnected(void *ctx)
{
    struct line *line = ctx;

    if (line->asked)
        try_own_key(line->join);
    else if (!line->told)
        log_warn("join.unreachable",
                 "controller=%s port=%u text=\"no controller answers there, or not by the key that the "
                 "token names; it is tried again\"",
                 line->at.addr, (unsigned)line->at.port);
    line->told = true;
    line->asked = false;
}

/* Not worth a word yet: the own key may be in, by this very token. */
static void on_denied(void *ctx)
{
    struct line *line = ctx;

    line->join->denied = true;
    line_end(line);
}

static void dial(struct line *line)
{
    const struct wire_client_callbacks cb = {.message = on_message,
                                             .connected = on_connected,
                                             .disconnected = on_disconnected,
                                             .denied = on_denied,
                                             .ctx = line};
    struct joining *j = line->join;
    int r = wire_client_new(j->base, &j->key, line->at.addr, line->at.port, line->at.key, &cb, &line->client);

    if (!r)
        return;
    log_failure(LOG_LEVEL_WARN, "join.dial", r < 0 ? r : err_raise(-EADDRNOTAVAIL), "controller=%s port=%u",
                line->at.addr, (unsigned)line->at.port);
    again_later(j);
}

static void ask_all(struct joining *j)
{
    for (size_t i = 0; i < j->n_lines; i++) {
        wire_client_destroy(&j->line[i].client);
        j->line[i].asked = false;
    }
    for (size_t i = 0; i < j->n_lines; i++)
        dial(&j->line[i]);
}

static void on_again(evutil_socket_t fd, short what, void *ctx)
{
    struct joining *j = ctx;

    (void)fd;
    (void)what;
    j->n_tries++;
    ask_all(j);
}

/* ---- from outside ------------------------------------------------------------------------------------------------ */

void join_begin(struct joining *j)
{
    if (j->begun)
        return;
    j->begun = true;
    after_ms(j->on_patience, JOIN_PATIENCE_MS);
    ask_all(j);
}

bool join_own_key_denied(struct joining *j)
{
    join_begin(j);
    if (j->denied && !j->denied_told && j->own_key_told) {
        j->denied_told = true;
        log_warn("join.denied",
                 "text=\"the token is used up, expired or withdrawn: on the controller, `caravan token create` "
                 "makes another\"");
    }
    return !j->own_key_told;
}

int join_new(struct event_base *base, struct join_ticket *t, const struct identity *own, const char *name,
             const struct join_callbacks *cb, struct joining **ret)
{
    CLEANUP(join_destroy) struct joining *j = calloc(1, sizeof(*j));

    if (!j)
        return err_raise(-ENOMEM);
    j->base = base;
    j->cb = *cb;
    j->key = t->key;
    join_ticket_clear(t);
    j->ask = (struct message){.kind = MESSAGE_JOIN, .seq = 1};
    crypto_key_format(own->public_key, j->ask.join.key);
    text_copy(j->ask.join.name, sizeof(j->ask.join.name), name);
    j->n_lines = t->n_asked;
    for (size_t i = 0; i < j->n_lines; i++)
        j->line[i] = (struct line){.join = j, .at = t->cluster.controller[i]};
    j->on_patience = evtimer_new(base, on_patience, j);
    j->on_again = evtimer_new(base, on_again, j);
    if (!j->on_patience || !j->on_again)
        return err_raise(-ENOMEM);
    *ret = j;
    j = NULL;
    return 0;
}

void join_destroy(struct joining **j)
{
    if (!*j)
        return;
    for (size_t i = 0; i < (*j)->n_lines; i++)
        wire_client_destroy(&(*j)->line[i].client);
    if ((*j)->on_patience)
        event_free((*j)->on_patience);
    if ((*j)->on_again)
        event_free((*j)->on_again);
    crypto_identity_clear(&(*j)->key);
    free(*j);
    *j = NULL;
}
