#include "controller/api_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/base64url.h"
#include "common/core/err.h"
#include "common/crypto.h"

#define PREFIX "caravan_"

enum { SECRET_TEXT = BASE64URL_TEXT(CRYPTO_KEY_BYTES) };
_Static_assert(API_KEY_TEXT == sizeof(PREFIX) - 1 + SECRET_TEXT, "the header says how long one is");

void api_key_new(char text[API_KEY_TEXT])
{
    uint8_t key[CRYPTO_KEY_BYTES];

    crypto_random(key, sizeof(key));
    memcpy(text, PREFIX, sizeof(PREFIX) - 1);
    base64url_format(key, sizeof(key), text + sizeof(PREFIX) - 1);
    explicit_bzero(key, sizeof(key));
}

void api_key_hash(const char *text, char hash[PROTO_KEY_MAX])
{
    uint8_t digest[CRYPTO_KEY_BYTES];

    crypto_digest(text, strlen(text), digest);
    crypto_key_format(digest, hash);
}

/* ---- the file ---- */

/* Exactly what api_key_make_file writes, so that half a key or another file is never taken for one. */
static bool is_key(const char *text, size_t n)
{
    return n == API_KEY_TEXT && text[n - 1] == '\n' && memcmp(text, PREFIX, sizeof(PREFIX) - 1) == 0 &&
           base64url_span(text + sizeof(PREFIX) - 1, SECRET_TEXT - 1) == SECRET_TEXT - 1;
}

/* NULL: as it should be. */
static const char *problem_of(const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return "is no file";
    return st->st_mode & 077 ? "may be read by others: chmod 600 it, or remove it and run `caravan-controller init`"
                             : NULL;
}

int api_key_read_file(const char *dir, char text[API_KEY_TEXT], char *why, size_t why_size)
{
    static const char malformed[] = "holds no API key: remove it and run `caravan-controller init`";
    CLEANUP(cleanup_close) int fd = -1;
    char path[PROTO_PATH_MAX], buf[API_KEY_TEXT + 2] = "";
    const char *problem;
    struct stat st;
    ssize_t n;

    if (snprintf(path, sizeof(path), "%s/" API_KEY_FILE, dir) >= (int)sizeof(path))
        return err_raise(-ENAMETOOLONG);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC); /* a FIFO of that name must not hold us up */
    if (fd < 0 && errno == ENOENT)
        return API_KEY_E_NONE;
    if (fd < 0 && errno != ELOOP)
        return err_raise(-errno);
    if (fd >= 0 && fstat(fd, &st) < 0)
        return err_raise(-errno);
    problem = fd < 0 ? "is a link" : problem_of(&st);
    n = problem ? 0 : read(fd, buf, sizeof(buf) - 1);
    if (n < 0)
        return err_raise(-errno);
    if (!problem && !is_key(buf, (size_t)n))
        problem = malformed;
    if (problem) {
        snprintf(why, why_size, "%s %s", path, problem);
    } else {
        memcpy(text, buf, API_KEY_TEXT - 1);
        text[API_KEY_TEXT - 1] = '\0';
    }
    explicit_bzero(buf, sizeof(buf));
    return problem ? API_KEY_E_BAD_FILE : 0;
}

static int write_key(int fd)
{
    char text[API_KEY_TEXT];
    ssize_t n;

    api_key_new(text);
    text[API_KEY_TEXT - 1] = '\n';
    n = write(fd, text, sizeof(text));
    explicit_bzero(text, sizeof(text));
    if (n != (ssize_t)sizeof(text))
        return err_raise(n < 0 ? -errno : -ENOSPC);
    return fsync(fd) < 0 ? err_raise(-errno) : 0;
}

int api_key_make_file(const char *dir)
{
    CLEANUP(cleanup_close) int in = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(cleanup_close) int fd = -1;
    int r;

    if (in < 0)
        return err_raise(-errno);
    fd = openat(in, API_KEY_FILE, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? API_KEY_E_EXISTS : err_raise(-errno);
    r = write_key(fd);
    if (r < 0)
        unlinkat(in, API_KEY_FILE, 0); /* ours, and not whole */
    else if (fsync(in) < 0)
        r = err_raise(-errno);
    return r < 0 ? err_pass(r) : 0;
}
