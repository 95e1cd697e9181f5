#include "agent/join_ticket.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

enum { TEXT_MAX = 2 * JOIN_TOKEN_TEXT_MAX };

/* ---- where the token stands -------------------------------------------------------------------------------------- */

/* A token is one line: a terminal need not be closed behind it. */
static bool has_line(const char *buf, size_t n)
{
    size_t blank = 0;

    while (blank < n && isspace((unsigned char)buf[blank]))
        blank++;
    return blank < n && memchr(buf + blank, '\n', n - blank);
}

/* At most TEXT_MAX bytes, of which the reader of tokens refuses a part. 0 or a positive errno. */
static int read_fd(int fd, char buf[TEXT_MAX], size_t *ret_n)
{
    size_t n = 0;
    ssize_t got = 1;

    while (got && n < TEXT_MAX && !has_line(buf, n)) {
        got = read(fd, buf + n, TEXT_MAX - n);
        if (got < 0 && errno != EINTR)
            return errno;
        n += got > 0 ? (size_t)got : 0;
    }
    *ret_n = n;
    return 0;
}

static int read_file(const char *path, char buf[TEXT_MAX], size_t *ret_n)
{
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;

    if (fd < 0)
        return errno;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 07))
        log_warn("join.token", "file=%s text=\"everybody on this machine may read it: chmod o= it\"", LOG_STR(path));
    return read_fd(fd, buf, ret_n);
}

/* ---- what it says ------------------------------------------------------------------------------------------------ */

static bool has_joined(const struct state_dir *state)
{
    return !id128_is_zero(&state_dir_cluster(state)->id);
}

/* 0: without the token. */
static int do_without(const struct state_dir *state, const char *where, const char *problem)
{
    if (has_joined(state)) {
        log_warn("join.token", "from=%s text=\"not used: %s; this node has joined already\"", LOG_STR(where), problem);
        return 0;
    }
    log_error("join.token", "from=%s text=\"this node cannot join: %s\"", LOG_STR(where), problem);
    return JOIN_TICKET_E_REFUSED;
}

static int refuse_other_cluster(const struct state_dir *state, const struct id128 *other)
{
    log_error(
        "join.other_cluster",
        "cluster=%s token=%s text=\"the token is of another cluster than the one that this node has joined: to move "
        "it, end what runs here (caravan-agent --purge) and remove %s/cluster\"",
        ID128_SHORT(&state_dir_cluster(state)->id), ID128_SHORT(other), state_dir_path(state));
    return JOIN_TICKET_E_REFUSED;
}

static void take_token(const struct join_token *token, struct join_ticket *t)
{
    const struct state_cluster known = t->cluster;

    t->asks = true;
    t->cluster = (struct state_cluster){.id = token->cluster};
    for (size_t i = 0; i < token->n_controllers; i++)
        state_cluster_add(&t->cluster, &token->controller[i]);
    t->n_asked = t->cluster.n_controllers;
    for (size_t i = 0; i < known.n_controllers; i++)
        state_cluster_add(&t->cluster, &known.controller[i]);
    crypto_identity_from_seed(token->seed, &t->key);
}

static int take_text(const char *text, size_t n, const char *where, const struct state_dir *state,
                     struct join_ticket *t)
{
    struct join_token token = {.n_controllers = 0};
    char why[PROTO_TEXT_MAX];
    int r = 0;

    if (join_token_parse(text, n, &token, why, sizeof(why)))
        r = do_without(state, where, why);
    else if (has_joined(state) && !id128_equal(&token.cluster, &t->cluster.id))
        r = refuse_other_cluster(state, &token.cluster);
    else
        take_token(&token, t);
    explicit_bzero(&token, sizeof(token));
    return r;
}

int join_ticket_read(const char *text, const struct state_dir *state, struct join_ticket *ret)
{
    bool file = text && text[0] == '@';
    char buf[TEXT_MAX];
    size_t n = 0;
    int error, r;

    *ret = (struct join_ticket){.cluster = *state_dir_cluster(state)};
    if (!text)
        return 0;
    if (!file && strcmp(text, "-") != 0)
        return take_text(text, strlen(text), "--join", state, ret);
    error = file ? read_file(text + 1, buf, &n) : read_fd(STDIN_FILENO, buf, &n);
    if (error == ENOENT && has_joined(state)) {
        log_info("join.token", "file=%s text=\"there is none: this node has joined already\"", LOG_STR(text + 1));
        return 0;
    }
    r = error ? do_without(state, text, strerrordesc_np(error)) : take_text(buf, n, text, state, ret);
    explicit_bzero(buf, sizeof(buf));
    return r;
}

void join_ticket_clear(struct join_ticket *t)
{
    crypto_identity_clear(&t->key);
}
