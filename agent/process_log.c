#include "agent/process_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/core/err.h"

enum { TAIL_READ_BYTES = 16 * 1024, TAIL_LINES = 4, PUNCH_ALIGN = 64 * 1024, PUNCH_SLACK = 1024 * 1024 };

int process_log_bound(const char *path, uint64_t keep_bytes)
{
    CLEANUP(cleanup_close) int fd = -1;
    uint64_t size, cut;
    struct stat st;

    if (stat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_raise(-errno);
    size = (uint64_t)st.st_size;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_blocks * 512 < keep_bytes + PUNCH_SLACK || size <= keep_bytes)
        return 0;
    fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_raise(-errno);
    cut = (size - keep_bytes) / PUNCH_ALIGN * PUNCH_ALIGN;
    if (!cut || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)cut) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return err_raise(-errno);
    if (size > 2 * keep_bytes && ftruncate(fd, 0) < 0)
        return err_raise(-errno);
    return 0;
}

/* Length of the valid UTF-8 sequence at s, 0 where there is none. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : 0;

    if (s[0] >= 0xf0 && s[0] < 0xf5)
        len = 4;
    if (!len || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

struct line {
    const char *at;
    size_t n;
};

static bool contains(struct line l, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= l.n; i++)
        if (!strncasecmp(l.at + i, word, n))
            return true;
    return false;
}

/* rpc-server tells of each client that comes and goes, the ordinary ones too: that is never why it ended. */
static bool is_chatter(struct line l)
{
    static const char *const words[] = {"Accepted client connection", "Client connection closed", "recv returned ",
                                        "recv failed (bytes_recv",    "send failed (bytes_sent",  "Expected HELLO"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (contains(l, words[i]))
            return true;
    return false;
}

/* llama.cpp marks errors with " E "; the rest is what libraries, loaders and the kernel's signals leave behind. */
static bool matters(struct line l)
{
    static const char *const words[] = {"error",         "failed", "abort",   "assert",  "cannot",
                                        "out of memory", "denied", "invalid", "crashed", "no such"};

    if (memmem(l.at, l.n, " E ", 3))
        return !memmem(l.at, l.n, "backends0", 9);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (contains(l, words[i]))
            /* Said by every llama.cpp whose compiled-in folder is absent; the one beside the program is then used. */
            return !contains(l, "failed to enumerate");
    return false;
}

static bool blank(struct line l)
{
    for (size_t i = 0; i < l.n; i++)
        if ((unsigned char)l.at[i] > ' ')
            return false;
    return true;
}

/* Takes the last TAIL_LINES lines that pass, newest first; the number taken. Of lines that need not matter only those
 * after the last client count: what stands before was said while all was well. */
static size_t pick(const char *text, size_t n_bytes, bool only_what_matters, struct line ret[TAIL_LINES])
{
    size_t n = 0, end = n_bytes;

    while (end > 0 && n < TAIL_LINES) {
        const char *nl = memrchr(text, '\n', end);
        size_t begin = nl ? (size_t)(nl - text) + 1 : 0;
        struct line l = {text + begin, end - begin};

        if (is_chatter(l) && !only_what_matters)
            break;
        if (!blank(l) && !is_chatter(l) && (!only_what_matters || matters(l)))
            ret[n++] = l;
        end = begin ? begin - 1 : 0;
    }
    return n;
}

/* false: it is full. */
static bool append_clean(char *ret, size_t size, size_t *used, struct line l)
{
    for (size_t i = 0; i < l.n;) {
        size_t len = utf8_length((const unsigned char *)l.at + i, l.n - i);
        bool plain = len > 1 || (len == 1 && l.at[i] >= ' ' && l.at[i] != 0x7f);

        if (*used + (len ? len : 1) >= size)
            return false;
        if (plain)
            memcpy(ret + *used, l.at + i, len);
        else
            ret[*used] = l.at[i] == '\t' ? ' ' : '?';
        *used += plain ? len : 1;
        i += len ? len : 1;
    }
    return true;
}

/* Rather fewer lines than a newest one cut off; one at least. */
static size_t newest_that_fit(const struct line *line, size_t n, size_t size)
{
    size_t total = 0;

    for (size_t i = 0; i < n; i++) {
        total += line[i].n + 3;
        if (i && total > size)
            return i;
    }
    return n;
}

void process_log_tail(const char *text, size_t n_bytes, char *ret, size_t size)
{
    struct line line[TAIL_LINES];
    size_t n = pick(text, n_bytes, true, line), used = 0;

    if (!n)
        n = pick(text, n_bytes, false, line);
    n = newest_that_fit(line, n, size);
    for (size_t i = n; i-- > 0;) {
        if (i != n - 1 && !append_clean(ret, size, &used, (struct line){" | ", 3}))
            break;
        if (!append_clean(ret, size, &used, line[i]))
            break;
    }
    ret[used] = '\0';
}

void process_log_tail_file(const char *path, char *ret, size_t size)
{
    CLEANUP(cleanup_free) char *buf = malloc(TAIL_READ_BYTES);
    CLEANUP(cleanup_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    ssize_t n;

    ret[0] = '\0';
    if (!buf || fd < 0 || fstat(fd, &st) < 0)
        return;
    n = pread(fd, buf, TAIL_READ_BYTES, st.st_size > TAIL_READ_BYTES ? st.st_size - TAIL_READ_BYTES : 0);
    if (n > 0)
        process_log_tail(buf, (size_t)n, ret, size);
}
