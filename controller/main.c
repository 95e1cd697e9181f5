/* caravan-controller: options, identity, sockets, signals; the rest is shell.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/startup.h"
#include "controller/api_key.h"
#include "controller/http.h"
#include "controller/http_settings.h"
#include "controller/init.h"
#include "controller/options.h"
#include "controller/shell.h"
#include "controller/store.h"

enum { EXIT_USAGE = 2, LISTEN_FDS_START = 3, HTTP_FDS_MAX = 8 };

static int say(const char *text)
{
    fprintf(stderr, "caravan-controller: %s\n", text);
    return EXIT_FAILURE;
}

static int help(void)
{
    puts(
        "Usage: caravan-controller [init] [OPTION...]\n\nDecides where models run and serves them at one address.\n\n"
        "init: makes what it needs before its first start, the identity and the admin key, says what comes next, and ends.\n"
        "What is there already is left as it is.\n");
    options_print_help(controller_options, stdout);
    puts("\nKey foo_bar of the file is also --foo-bar and CARAVAN_FOO_BAR.");
    return EXIT_SUCCESS;
}

/* Default, file, environment, argv; the file's name comes from argv alone. */
static int read_options(struct options *o, int argc, char **argv)
{
    int first, r = options_read_argv(o, argc, argv, &first);

    if (r)
        return r;
    if (first < argc) {
        fprintf(stderr, "caravan-controller: unexpected argument \"%s\"\n", argv[first]);
        return OPTIONS_E_INVALID;
    }
    r = options_read_file(o, options_string(o, CONTROLLER_OPT_CONFIG), options_is_set(o, CONTROLLER_OPT_CONFIG));
    if (!r)
        r = options_read_env(o);
    if (!r)
        r = options_read_argv(o, argc, argv, &first); /* once more: argv wins */
    return r;
}

static enum log_level log_level_of(const char *name)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};

    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum log_level)i;
    return LOG_LEVEL_INFO;
}

/* --backup, --restore: what was done or why not is said in one sentence. */
static int copy_store(const struct options *o)
{
    const char *dir = options_string(o, CONTROLLER_OPT_STATE_DIR), *backup = options_string(o, CONTROLLER_OPT_BACKUP),
               *restore = options_string(o, CONTROLLER_OPT_RESTORE);
    char path[PROTO_PATH_MAX], said[4 * PROTO_PATH_MAX];
    int r;

    if (backup && restore)
        return say("--backup and --restore are two things: give one of them"), EXIT_USAGE;
    if (snprintf(path, sizeof(path), "%s/" STORE_FILE, dir) >= (int)sizeof(path))
        return say("state_dir is too long"), EXIT_USAGE;
    if (restore && init_make_dir(dir) < 0)
        return EXIT_FAILURE;
    r = backup ? store_backup(path, backup, said, sizeof(said)) : store_restore(path, restore, said, sizeof(said));
    if (r)
        return say(said);
    puts(said);
    return EXIT_SUCCESS;
}

/* Sockets that a service manager, or quickstart from another network namespace, made for us. */
static size_t inherited_fds(int *fds)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t n = 0, for_pid = 0;

    if (!pid || !count || !parse_uint(pid, 1, INT32_MAX, &for_pid) || for_pid != (uint64_t)getpid() ||
        !parse_uint(count, 1, HTTP_FDS_MAX, &n))
        n = 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    for (size_t i = 0; i < n; i++)
        fds[i] = LISTEN_FDS_START + (int)i;
    return (size_t)n;
}

/* "ADDR:PORT" of a socket, for people and the mDNS record. */
static void describe(int fd, char *buf, size_t size)
{
    struct sockaddr_storage ss;
    socklen_t n = sizeof(ss);
    char addr[INET6_ADDRSTRLEN];

    snprintf(buf, size, "inherited");
    if (getsockname(fd, (struct sockaddr *)&ss, &n) < 0)
        return;
    if (ss.ss_family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&ss;

        snprintf(buf, size, "%s:%u", inet_ntop(AF_INET, &in->sin_addr, addr, sizeof(addr)), ntohs(in->sin_port));
    } else if (ss.ss_family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;

        snprintf(buf, size, "[%s]:%u", inet_ntop(AF_INET6, &in6->sin6_addr, addr, sizeof(addr)), ntohs(in6->sin6_port));
    }
}

/* Returns an exit status: EXIT_SUCCESS, or what was said is why not. */
static int open_http(const struct options *o, int *fds, size_t *ret_n)
{
    const char *where = options_string(o, CONTROLLER_OPT_HTTP_LISTEN);
    int r;

    *ret_n = inherited_fds(fds);
    if (*ret_n)
        return 0;
    r = http_bind(where, &fds[0]);
    if (r == HTTP_LISTEN_E_IN_USE)
        fprintf(stderr, "caravan-controller: %s is taken by another program: stop it, or set http_listen\n", where);
    else if (r == HTTP_LISTEN_E_BAD_ADDR)
        fprintf(stderr, "caravan-controller: http_listen = %s is not ADDR:PORT of this host\n", where);
    else if (r < 0)
        fprintf(stderr, "caravan-controller: http_listen = %s: %s\n", where, strerror(-r));
    *ret_n = 1;
    if (r == HTTP_LISTEN_E_BAD_ADDR)
        return EXIT_USAGE;
    return r ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Whether nobody but this machine can reach any of them. */
static bool all_local(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!http_is_local(fds[i]))
            return false;
    return true;
}

/* hash: "" where there is no such key. Returns an exit status. */
static int read_admin_key(const char *state_dir, char hash[PROTO_KEY_MAX])
{
    char text[API_KEY_TEXT], why[PROTO_PATH_MAX + PROTO_TEXT_MAX];
    int r = api_key_read_file(state_dir, text, why, sizeof(why));

    *hash = '\0';
    if (r == API_KEY_E_NONE)
        return EXIT_SUCCESS;
    if (r < 0)
        snprintf(why, sizeof(why), "%s/" API_KEY_FILE " cannot be read: %s", state_dir, strerror(-r));
    if (r)
        return say(why);
    api_key_hash(text, hash);
    explicit_bzero(text, sizeof(text));
    return EXIT_SUCCESS;
}

static void on_signal(evutil_socket_t number, short what, void *ctx)
{
    (void)what;
    log_info("controller.stopping", "signal=%s", sigabbrev_np((int)number));
    event_base_loopbreak(ctx);
}

static int loop(struct event_base *base, const struct shell_config *config)
{
    struct event *term = evsignal_new(base, SIGTERM, on_signal, base);
    struct event *interrupt = evsignal_new(base, SIGINT, on_signal, base);
    CLEANUP(shell_destroy) struct shell *shell = NULL;
    char why[PROTO_PATH_MAX + 2 * PROTO_TEXT_MAX] = ""; /* what to do stands at the end */
    int r = term && interrupt ? shell_new(base, config, &shell, why, sizeof(why)) : -ENOMEM;

    if (r == SHELL_E_START) {
        say(why);
    } else if (r < 0) {
        log_failure(LOG_LEVEL_ERROR, "controller.start", r, "state_dir=%s", LOG_STR(config->state_dir));
    } else {
        event_add(term, NULL);
        event_add(interrupt, NULL);
        event_base_dispatch(base);
        r = shell_failure(shell);
    }
    shell_destroy(&shell);
    if (term)
        event_free(term);
    if (interrupt)
        event_free(interrupt);
    return r ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void warn_of_trust(const struct options *o)
{
    if (strcmp(options_string(o, CONTROLLER_OPT_TRUST), "open") == 0)
        log_warn("controller.trust_open", "means=%s",
                 LOG_STR("any agent that reaches this port may join and be given models: only on a trusted network"));
}

static bool has_tunnel(const struct options *o)
{
    return strcmp(options_string(o, CONTROLLER_OPT_RANK_TRANSPORT), "tunnel") == 0;
}

static void warn_of_transport(const struct options *o)
{
    if (!has_tunnel(o))
        log_warn("controller.rank_transport_direct", "means=%s",
                 LOG_STR("whoever is on the network can read prompts, answers and models, and use workers and "
                         "coordinators: only on an isolated network"));
}

static int run(const struct options *o, const struct identity *id)
{
    CLEANUP(models_conf_destroy) struct models_conf *models = NULL;
    CLEANUP(http_settings_clear) struct http_settings http = {.tls = NULL};
    struct event_base *base;
    char why[PROTO_TEXT_MAX], http_text[80];
    int fds[HTTP_FDS_MAX], r;
    struct shell_config config = {
        .identity = id,
        .state_dir = options_string(o, CONTROLLER_OPT_STATE_DIR),
        .listen = options_string(o, CONTROLLER_OPT_LISTEN),
        .port = (uint16_t)options_uint(o, CONTROLLER_OPT_PORT),
        .http_text = http_text,
        .http_fds = fds,
        .http = &http,
        .trust_open = strcmp(options_string(o, CONTROLLER_OPT_TRUST), "open") == 0,
        .tunnel = has_tunnel(o),
        .settle_ms = options_uint(o, CONTROLLER_OPT_SETTLE),
        .silent_ms = options_uint(o, CONTROLLER_OPT_SUSPECT_AFTER),
        .evict_after_ms = options_uint(o, CONTROLLER_OPT_EVICT_AFTER),
        .brake_hold_ms = options_uint(o, CONTROLLER_OPT_BRAKE_HOLD),
        .graph_max_ms = options_uint(o, CONTROLLER_OPT_GRAPH_MAX),
        .load_stall_ms = options_uint(o, CONTROLLER_OPT_LOAD_STALL),
        .warm_up_ms = options_uint(o, CONTROLLER_OPT_WARM_UP),
        .transition_grace_ms = options_uint(o, CONTROLLER_OPT_TRANSITION_GRACE),
        .gateway_wait_ms = options_uint(o, CONTROLLER_OPT_GATEWAY_WAIT),
        .gateway_waiting = options_uint(o, CONTROLLER_OPT_GATEWAY_WAITING),
        .gateway_waiting_bytes = options_uint(o, CONTROLLER_OPT_GATEWAY_WAITING_BYTES),
    };

    if (options_string(o, CONTROLLER_OPT_NAME))
        snprintf(config.name, sizeof(config.name), "%s", options_string(o, CONTROLLER_OPT_NAME));
    else if (gethostname(config.name, sizeof(config.name) - 1) < 0)
        snprintf(config.name, sizeof(config.name), "controller");
    r = models_conf_read(options_string(o, CONTROLLER_OPT_MODELS_CONF), options_is_set(o, CONTROLLER_OPT_MODELS_CONF),
                         &models, why, sizeof(why));
    if (r)
        return r < 0 ? say("out of memory") : (say(why), EXIT_USAGE);
    config.models = models;
    config.others = strcmp(options_string(o, CONTROLLER_OPT_START), "manual") == 0 ? SERVED_MANUAL : SERVED_DEMAND;
    r = http_settings_read(o, &http, why, sizeof(why));
    if (r)
        return r < 0 ? say("out of memory") : (say(why), EXIT_USAGE);
    r = open_http(o, fds, &config.n_http_fds);
    if (r)
        return r;
    describe(fds[0], http_text, sizeof(http_text));
    config.http_is_local = all_local(fds, config.n_http_fds);
    r = read_admin_key(config.state_dir, config.admin_hash);
    if (r)
        return r;
    warn_of_trust(o);
    warn_of_transport(o);
    base = event_base_new();
    if (!base)
        return say("out of memory");
    r = loop(base, &config);
    event_base_free(base);
    return r;
}

static int begin(struct options *o, int argc, char **argv)
{
    bool init = argc > 1 && strcmp(argv[1], "init") == 0;
    const char *state_dir;
    struct identity id;
    char key[CRYPTO_KEY_HEX];
    int r = read_options(o, argc - init, argv + init);

    if (r == OPTIONS_E_HELP)
        return help();
    if (r == OPTIONS_E_VERSION) {
        puts("caravan-controller " CARAVAN_VERSION);
        return EXIT_SUCCESS;
    }
    if (r)
        return r > 0 ? EXIT_USAGE : say(strerror(-r));
    log_set_level(log_level_of(options_string(o, CONTROLLER_OPT_LOG_LEVEL)));
    if (crypto_init() < 0)
        return say("libsodium cannot be used");
    if (options_string(o, CONTROLLER_OPT_BACKUP) || options_string(o, CONTROLLER_OPT_RESTORE))
        return copy_store(o);
    state_dir = options_string(o, CONTROLLER_OPT_STATE_DIR);
    if (init)
        return init_run(state_dir);
    if (init_make_dir(state_dir) < 0 || init_load_identity(state_dir, &id) < 0)
        return EXIT_FAILURE;
    if (options_bool(o, CONTROLLER_OPT_PRINT_KEY)) {
        puts(crypto_key_format(id.public_key, key));
        r = EXIT_SUCCESS;
    } else {
        r = run(o, &id);
    }
    crypto_identity_clear(&id);
    return r;
}

/* A shell gives 1024, which the HTTP clients that are let in could use up alone; nothing here is bound to select(). */
static void take_all_files(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv)
{
    struct options *o = NULL;
    int r;

    startup_begin();
    take_all_files();
    if (options_new(controller_options, &o) < 0)
        return say("out of memory");
    r = begin(o, argc, argv);
    options_destroy(&o);
    return r;
}
