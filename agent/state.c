#include "agent/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/system.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/procfs.h"
#include "common/log.h"

enum { PINS_MAX = 8, FILE_MAX = AGENT_EPOCHS_MAX * STATE_EPOCH_LINE_MAX + 64, NAME_BYTES = 64 };

struct state_dir {
    char path[PROTO_PATH_MAX - NAME_BYTES]; /* with room for a file's name */
    int lock;
    size_t n_epochs;
    struct agent_epoch epoch[AGENT_EPOCHS_MAX];
    size_t n_pins;
    uint8_t pin[PINS_MAX][CRYPTO_KEY_BYTES];
    struct state_cluster cluster;
};

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void file_path(char buf[PROTO_PATH_MAX], const struct state_dir *s, const char *name)
{
    snprintf(buf, PROTO_PATH_MAX, "%s/%.60s", s->path, name);
}

/* The whole file, at most size - 1 bytes, terminated; 0 where there is none. */
static int read_file(const struct state_dir *s, const char *name, char *buf, size_t size, size_t *ret_n)
{
    CLEANUP(cleanup_close) int fd = -1;
    char path[PROTO_PATH_MAX];
    ssize_t n;

    *ret_n = 0;
    buf[0] = '\0';
    file_path(path, s, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : err_raise(-errno);
    n = read(fd, buf, size - 1);
    if (n < 0)
        return err_raise(-errno);
    buf[n] = '\0';
    *ret_n = (size_t)n;
    return 0;
}

static int sync_dir(const char *path)
{
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || fsync(fd) < 0 ? err_raise(-errno) : 0;
}

/* Replaces the file at once: temporary, synced, renamed, the directory synced. */
static int write_file(const struct state_dir *s, const char *name, const char *text, size_t n_bytes)
{
    CLEANUP(cleanup_close) int fd = -1;
    char path[PROTO_PATH_MAX], temporary[PROTO_PATH_MAX], temporary_name[NAME_BYTES];
    ssize_t n;

    snprintf(temporary_name, sizeof(temporary_name), "%.50s.new", name);
    file_path(path, s, name);
    file_path(temporary, s, temporary_name);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_raise(-errno);
    n = write(fd, text, n_bytes);
    if (n < 0)
        return err_raise(-errno);
    if ((size_t)n != n_bytes)
        return err_raise(-ENOSPC);
    if (fsync(fd) < 0 || rename(temporary, path) < 0)
        return err_raise(-errno);
    return sync_dir(s->path);
}

/* ---- whose it is ------------------------------------------------------------------------------------------------- */

static int make_dirs(const char *path)
{
    char part[PROTO_PATH_MAX];

    if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
        return err_raise(-ENAMETOOLONG);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return err_raise(-errno);
        *slash = '/';
    }
    return mkdir(part, 0700) < 0 && errno != EEXIST ? err_raise(-errno) : 0;
}

/* Makes it, takes the lock. */
static int enter(struct state_dir *s, const char *dir)
{
    CLEANUP(cleanup_free) char *real = NULL;
    char path[PROTO_PATH_MAX];
    int r = make_dirs(dir);

    if (r < 0)
        return err_pass(r);
    real = realpath(dir, NULL);
    if (!real)
        return err_raise(-errno);
    if (strlen(real) >= sizeof(s->path))
        return err_raise(-ENAMETOOLONG);
    strcpy(s->path, real);
    file_path(path, s, "lock");
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock < 0)
        return err_raise(-errno);
    if (flock(s->lock, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? STATE_E_IN_USE : err_raise(-errno);
    return 0;
}

/* Another machine's state goes aside as a whole: its key must not be on the network twice. */
static int move_aside(struct state_dir *s, const char *dir, const char *old_id, const char *new_id)
{
    char aside[PROTO_PATH_MAX];

    if (snprintf(aside, sizeof(aside), "%s.%s", s->path, old_id) >= (int)sizeof(aside))
        return err_raise(-ENAMETOOLONG);
    if (rename(s->path, aside) < 0)
        return err_raise(-errno);
    log_warn("state.moved",
             "dir=%s to=%s machine_id=%s text=\"it belongs to another machine: this one gets a new key\"", LOG_STR(dir),
             LOG_STR(aside), new_id);
    cleanup_close(&s->lock);
    return enter(s, dir);
}

static int write_machine_id(const struct state_dir *s, const char *id, bool random)
{
    char text[64];
    int n = snprintf(text, sizeof(text), "%s%s\n", id, random ? " random" : "");

    return write_file(s, "machine-id", text, (size_t)n);
}

static int bind_to_machine(struct state_dir *s, const char *dir, const char *root)
{
    char mine[SYSTEM_MACHINE_ID], text[64], kept[SYSTEM_MACHINE_ID] = "";
    struct id128 id;
    bool random;
    size_t n;
    int absent, r;

    absent = system_machine_id(root, mine);
    if (absent < 0)
        return err_pass(absent);
    r = read_file(s, "machine-id", text, sizeof(text), &n);
    if (r < 0)
        return err_pass(r);
    if (n >= 32) {
        memcpy(kept, text, 32);
        if (!id128_parse(kept, &id))
            kept[0] = '\0'; /* nobody's: taken over */
    }
    random = strstr(text, " random");
    if (absent) {
        if (kept[0])
            return 0;
        id = crypto_random_id();
        return write_machine_id(s, id128_format(&id, mine), true);
    }
    if (!strcmp(kept, mine))
        return 0;
    if (kept[0] && !random) {
        r = move_aside(s, dir, kept, mine);
        if (r)
            return r < 0 ? err_pass(r) : r;
    }
    return write_machine_id(s, mine, false); /* also: a machine that has come by its id later */
}

/* ---- epochs ------------------------------------------------------------------------------------------------------ */

size_t state_epoch_format(const struct agent_epoch *e, char buf[STATE_EPOCH_LINE_MAX])
{
    return (size_t)snprintf(buf, STATE_EPOCH_LINE_MAX, "%s %" PRIu64 " %s %" PRIu64 "\n", ID128(&e->instance), e->epoch,
                            e->leased ? "leased" : "over", e->lease_bytes);
}

bool state_epoch_parse(const char *line, size_t n_bytes, struct agent_epoch *ret)
{
    const char *p = line, *end = line + n_bytes;
    struct agent_epoch e = {0};
    char id[ID128_TEXT];

    if (n_bytes < ID128_TEXT || p[32] != ' ')
        return false;
    memcpy(id, p, 32);
    id[32] = '\0';
    p += 33;
    if (!id128_parse(id, &e.instance) || !procfs_uint(&p, end, &e.epoch))
        return false;
    e.leased = end - p > 8 && !memcmp(p, " leased ", 8);
    if (!e.leased && (end - p <= 6 || memcmp(p, " over ", 6) != 0))
        return false;
    p += e.leased ? 8 : 6;
    if (!procfs_uint(&p, end, &e.lease_bytes) || p != end)
        return false;
    *ret = e;
    return true;
}

/* Places e at the end: the newest ones last. Over the bound the oldest that is over goes, else the oldest. */
static size_t put_epoch(struct agent_epoch *list, size_t n, const struct agent_epoch *e)
{
    size_t out = n;

    for (size_t i = 0; i < n && out == n; i++)
        if (id128_equal(&list[i].instance, &e->instance))
            out = i;
    if (out == n && n == AGENT_EPOCHS_MAX) {
        out = 0;
        for (size_t i = n; i-- > 0;)
            if (!list[i].leased)
                out = i;
    }
    if (out < n) {
        memmove(&list[out], &list[out + 1], (n - out - 1) * sizeof(*list));
        n--;
    }
    list[n] = *e;
    return n + 1;
}

static int read_epochs(struct state_dir *s)
{
    CLEANUP(cleanup_free) char *text = malloc(FILE_MAX);
    size_t n, n_bad = 0;
    int r;

    if (!text)
        return err_raise(-ENOMEM);
    r = read_file(s, "epochs", text, FILE_MAX, &n);
    if (r < 0)
        return err_pass(r);
    for (char *p = text, *eol; (eol = memchr(p, '\n', (size_t)(text + n - p))); p = eol + 1) {
        struct agent_epoch e;

        if (state_epoch_parse(p, (size_t)(eol - p), &e))
            s->n_epochs = put_epoch(s->epoch, s->n_epochs, &e);
        else
            n_bad++;
    }
    if (n_bad)
        log_warn("state.epochs", "lines=%zu text=\"not understood, passed over\"", n_bad);
    return 0;
}

size_t state_dir_epochs(const struct state_dir *s, const struct agent_epoch **ret)
{
    *ret = s->epoch;
    return s->n_epochs;
}

int state_dir_write_epoch(struct state_dir *s, const struct agent_epoch *epoch)
{
    CLEANUP(cleanup_free) char *text = malloc(FILE_MAX);
    CLEANUP(cleanup_free) struct agent_epoch *list = malloc(sizeof(s->epoch));
    size_t n, used = 0;
    int r;

    if (!text || !list)
        return err_raise(-ENOMEM);
    memcpy(list, s->epoch, sizeof(s->epoch));
    n = put_epoch(list, s->n_epochs, epoch);
    for (size_t i = 0; i < n; i++)
        used += state_epoch_format(&list[i], text + used);
    r = write_file(s, "epochs", text, used);
    if (r < 0)
        return err_pass(r);
    memcpy(s->epoch, list, sizeof(s->epoch));
    s->n_epochs = n;
    return 0;
}

/* ---- pins -------------------------------------------------------------------------------------------------------- */

static int read_pins(struct state_dir *s)
{
    char text[PINS_MAX * CRYPTO_KEY_HEX + 1];
    size_t n;
    int r = read_file(s, "controllers", text, sizeof(text), &n);

    if (r < 0)
        return err_pass(r);
    for (char *p = text, *eol; (eol = strchr(p, '\n')) && s->n_pins < PINS_MAX; p = eol + 1) {
        *eol = '\0';
        if (!crypto_key_parse(p, s->pin[s->n_pins]))
            s->n_pins++;
    }
    return 0;
}

size_t state_dir_pins(const struct state_dir *s, const uint8_t (**ret)[CRYPTO_KEY_BYTES])
{
    *ret = s->pin;
    return s->n_pins;
}

int state_dir_pin(struct state_dir *s, const uint8_t key[CRYPTO_KEY_BYTES])
{
    char text[PINS_MAX * CRYPTO_KEY_HEX + 1], hex[CRYPTO_KEY_HEX];
    size_t used = 0;
    int r;

    if (s->n_pins == PINS_MAX)
        return err_raise(-ENOSPC);
    memcpy(s->pin[s->n_pins++], key, CRYPTO_KEY_BYTES);
    for (size_t i = 0; i < s->n_pins; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\n", crypto_key_format(s->pin[i], hex));
    r = write_file(s, "controllers", text, used);
    return r < 0 ? err_pass(r) : 0;
}

/* ---- cluster ----------------------------------------------------------------------------------------------------- */

/* Who can write it names those who may lead this node. */
static int read_cluster(struct state_dir *s)
{
    char text[STATE_CLUSTER_TEXT_MAX], path[PROTO_PATH_MAX];
    struct stat st;
    size_t n;
    int r;

    file_path(path, s, "cluster");
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_raise(-errno);
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022)) {
        log_warn("state.cluster", "file=%s text=\"passed over: not a file that this user alone may write\"",
                 LOG_STR(path));
        return 0;
    }
    r = read_file(s, "cluster", text, sizeof(text), &n);
    if (r < 0)
        return err_pass(r);
    if (!state_cluster_parse(text, n, &s->cluster))
        log_warn("state.cluster", "file=%s text=\"passed over: it is damaged; join the cluster again\"", LOG_STR(path));
    return 0;
}

const struct state_cluster *state_dir_cluster(const struct state_dir *s)
{
    return &s->cluster;
}

int state_dir_write_cluster(struct state_dir *s, const struct state_cluster *c)
{
    char text[STATE_CLUSTER_TEXT_MAX];
    int r = write_file(s, "cluster", text, state_cluster_format(c, text));

    if (r < 0)
        return err_pass(r);
    s->cluster = *c;
    return 0;
}

/* ------------------------------------------------------------------------------------------------------------------ */

int state_dir_open(const char *dir, const char *root, struct state_dir **ret)
{
    CLEANUP(state_dir_close) struct state_dir *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return err_raise(-ENOMEM);
    s->lock = -1;
    r = enter(s, dir);
    if (!r)
        r = bind_to_machine(s, dir, root);
    if (!r)
        r = read_epochs(s);
    if (!r)
        r = read_pins(s);
    if (!r)
        r = read_cluster(s);
    if (r)
        return r < 0 ? err_pass(r) : r;
    *ret = s;
    s = NULL;
    return 0;
}

void state_dir_close(struct state_dir **s)
{
    if (!*s)
        return;
    cleanup_close(&(*s)->lock);
    free(*s);
    *s = NULL;
}

const char *state_dir_path(const struct state_dir *s)
{
    return s->path;
}
