/* Reads the text of files under /proc, without opening any: each function takes what was read, at most so many bytes,
 * not NUL-terminated, and believes none of it. A text that was cut off is refused or ends early; nothing is guessed. */
#ifndef CARAVAN_COMMON_CORE_PROCFS_H
#define CARAVAN_COMMON_CORE_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PROCFS_STAT_MAX = 1024, /* more than /proc/PID/stat ever holds */
    PROCFS_LINE_MAX = 512   /* a line of /proc/net/tcp6 is about 170 */
};

/* /proc/PID/stat */
struct procfs_stat {
    int32_t pid;
    int32_t parent_pid;
    int32_t group;
    int32_t session;
    char state;           /* R, S, D, T, t, Z, X, I */
    bool exiting;         /* PF_EXITING: the kernel is taking it down; a large process needs seconds from here */
    uint64_t ticks;       /* user and system time, in clock ticks */
    uint64_t start_ticks; /* since boot: tells a reused pid from the one that was meant */
    uint64_t rss_pages;
};

/* The name in parentheses may hold spaces, parentheses and newlines: what counts follows the last ')'. */
bool procfs_stat_parse(const char *text, size_t n_bytes, struct procfs_stat *ret);

/* States of a socket that anybody here asks for. */
enum {
    PROCFS_TCP_ESTABLISHED = 0x01,
    PROCFS_TCP_FIN_WAIT1 = 0x04,
    PROCFS_TCP_FIN_WAIT2 = 0x05,
    PROCFS_TCP_TIME_WAIT = 0x06,
    PROCFS_TCP_CLOSE_WAIT = 0x08,
    PROCFS_TCP_LISTEN = 0x0a
};

/* An address and a port, of either end. */
struct procfs_end {
    bool v6;          /* false: v4, or v4 mapped into v6 */
    uint8_t addr[16]; /* in network order; the first 4 bytes where v6 is false, the rest is zero */
    uint16_t port;
};

bool procfs_end_equal(const struct procfs_end *a, const struct procfs_end *b);
bool procfs_end_is_any(const struct procfs_end *e); /* no address: every one of its own */
void procfs_end_unmap(struct procfs_end *e);        /* a v4 address that stands in a v6 one becomes that */

/* One line of /proc/net/tcp or tcp6. */
struct procfs_socket {
    struct procfs_end local, remote;
    bool any; /* listens on every address */
    uint8_t state;
    uint32_t unread_bytes; /* in its receive queue; of a listening one: connections that nobody has accepted */
    uint32_t retransmits;  /* of the oldest bytes that the other end has not acknowledged */
    uint32_t uid;
    uint64_t inode; /* as in /proc/PID/fd: "socket:[N]"; 0: no process has it: not accepted yet, or closed */
};

/* false: the heading, or no such line. */
bool procfs_socket_parse(const char *line, size_t n_bytes, struct procfs_socket *ret);

/* /proc/meminfo */
struct procfs_memory {
    uint64_t total_bytes;
    uint64_t available_bytes;
};

bool procfs_memory_parse(const char *text, size_t n_bytes, struct procfs_memory *ret);

/* /proc/loadavg: the one-minute load in thousandths. */
bool procfs_load_parse(const char *text, size_t n_bytes, uint32_t *ret_permille);

/* Reads decimal digits at *p, up to end. false: none, or over UINT64_MAX; *p is then where it was. */
bool procfs_uint(const char **p, const char *end, uint64_t *ret);

#endif
