/* caravan-carrier UNIT_DIR: carries the streams of one instance's epoch on one node. What it does stands in UNIT_DIR/conf
 * (conf.h); it is asked at UNIT_DIR/control and read in UNIT_DIR/figures. Its parent is caravan-shim, as a worker's is.
 *
 * It needs nobody while it runs, not its agent either. SIGTERM ends it at once, and any end of it resets all its streams:
 * that is how an epoch is cut off. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/carrier/carrier.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/log.h"
#include "common/startup.h"

enum {
    EXIT_USAGE = 2,
    DESCRIPTORS = 4096, /* two for each stream that it may have, and more */
    TURN_NS = 100000    /* the least that Linux grants */
};

/* Small and steady: one arena, and what a stream's buffers took goes back with it. */
static void bound_memory(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, 128 * 1024);
    mallopt(M_MMAP_THRESHOLD, 64 * 1024);
}

static void raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS)
        return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_warn("carrier.limits", "text=%s", LOG_STR(strerrordesc_np(errno)));
}

/* Between two of its turns a token waits, and each takes microseconds. Where the kernel lets a process choose (from 6.12 on),
 * short turns come sooner: workers beside it that compute take the longest that they can get. Elsewhere it changes nothing. */
static void ask_for_short_turns(void)
{
    const struct { /* sched_attr(2), which glibc has no header for and whose own clashes with glibc's */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } attr = {.size = sizeof(attr), .policy = SCHED_OTHER, .nice = getpriority(PRIO_PROCESS, 0), .runtime_ns = TURN_NS};

    if (syscall(SYS_sched_setattr, 0, &attr, 0) < 0)
        log_debug("carrier.turns", "text=%s", LOG_STR(strerrordesc_np(errno)));
}

/* All of a small file; *ret: owned. 0 or negative errno. */
static int read_conf_text(char **ret, size_t *ret_n)
{
    CLEANUP(cleanup_close) int fd = open("conf", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    CLEANUP(cleanup_free) char *text = malloc(CARRIER_CONF_TEXT_MAX + 1);
    size_t n = 0;
    ssize_t got;

    if (fd < 0 || !text)
        return err_raise(fd < 0 ? -errno : -ENOMEM);
    while ((got = read(fd, text + n, CARRIER_CONF_TEXT_MAX + 1 - n)) > 0)
        n += (size_t)got;
    if (got < 0)
        return err_raise(-errno);
    *ret = text;
    *ret_n = n;
    text = NULL;
    return 0;
}

/* Each of these returns an exit status; what is not EXIT_SUCCESS has been said. */

static int fail(int r, const char *what)
{
    log_failure(LOG_LEVEL_ERROR, "carrier.failed", r, "text=%s", LOG_STR(what));
    return EXIT_FAILURE;
}

static int read_conf(struct carrier_conf *ret)
{
    CLEANUP(cleanup_free) char *text = NULL;
    size_t n, line;
    int r = read_conf_text(&text, &n);

    if (r < 0)
        return fail(r, "conf cannot be read"), EXIT_USAGE;
    r = carrier_conf_parse(text, n, ret, &line);
    if (r < 0)
        return fail(r, "conf cannot be read");
    if (r == CARRIER_CONF_E_MALFORMED) {
        log_error("carrier.conf", "file=conf line=%zu text=\"not understood, or nothing where something is needed\"",
                  line);
        return EXIT_USAGE;
    }
    return EXIT_SUCCESS;
}

static int read_identity(const char *path, struct identity *ret)
{
    int r = crypto_init();

    if (r == 0)
        r = crypto_identity_read(path, ret);
    if (r == CRYPTO_E_BAD_KEY_FILE) {
        log_error("identity.bad", "file=%s text=\"malformed, or not its user's alone\"", LOG_STR(path));
        return EXIT_FAILURE;
    }
    return r < 0 ? fail(r, "the node's key cannot be read") : EXIT_SUCCESS;
}

static void on_signal(evutil_socket_t number, short what, void *ctx)
{
    (void)what;
    log_info("carrier.stopping", "signal=%s", sigabbrev_np((int)number));
    event_base_loopbreak(ctx);
}

static int carry(struct event_base *base, const struct carrier_conf *conf, const struct identity *own)
{
    struct event *term = evsignal_new(base, SIGTERM, on_signal, base);
    struct event *interrupt = evsignal_new(base, SIGINT, on_signal, base);
    struct carrier *carrier = NULL;
    int r = term && interrupt && event_add(term, NULL) == 0 && event_add(interrupt, NULL) == 0
                ? carrier_new(base, conf, own, &carrier)
                : err_raise(-ENOMEM);
    bool ran = false;

    if (r == 0) {
        log_info("carrier.started",
                 "instance=%s epoch=%" PRIu64 " addr=%s port=%u rank=%" PRId32 " routes=%zu gateways=%zu",
                 ID128_SHORT(&conf->instance), conf->epoch, conf->addr, conf->port, conf->rank, conf->n_routes,
                 conf->n_gateways);
        ran = event_base_dispatch(base) == 0;
    }
    carrier_destroy(&carrier);
    if (term)
        event_free(term);
    if (interrupt)
        event_free(interrupt);
    if (r < 0)
        return fail(r, "it could not begin to carry");
    return ran ? EXIT_SUCCESS : fail(err_raise(-EIO), "its loop has ended");
}

static int run(void)
{
    CLEANUP(crypto_identity_clear) struct identity own = {0};
    CLEANUP(carrier_conf_clear) struct carrier_conf conf = {0};
    struct event_base *base;
    int status = read_conf(&conf);

    if (status == EXIT_SUCCESS)
        status = read_identity(conf.identity, &own);
    if (status != EXIT_SUCCESS)
        return status;
    base = event_base_new();
    if (!base)
        return fail(err_raise(-ENOMEM), "no event loop");
    status = carry(base, &conf, &own);
    event_base_free(base);
    libevent_global_shutdown();
    return status;
}

static int usage(FILE *to, int status)
{
    fputs(
        "Usage: caravan-carrier UNIT_DIR\n\n"
        "Carries the streams of one instance between this node and others, as UNIT_DIR/conf says. caravan-agent starts\n"
        "it where it is needed; it is not meant to be started by hand.\n\n"
        "  --help     says this\n"
        "  --version  says which one this is\n",
        to);
    return status;
}

int main(int argc, char **argv)
{
    startup_begin();
    bound_memory();
    umask(077);
    if (argc != 2)
        return usage(stderr, EXIT_USAGE);
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return usage(stdout, EXIT_SUCCESS);
    if (!strcmp(argv[1], "--version"))
        return puts("caravan-carrier " CARAVAN_VERSION) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    if (*argv[1] == '-')
        return usage(stderr, EXIT_USAGE);
    if (chdir(argv[1]) < 0)
        return fail(err_raise(-errno), argv[1]), EXIT_USAGE;
    raise_limits();
    ask_for_short_turns();
    return run();
}
