/* caravan-agent: on every node; starts and watches llama.cpp's programs and reports to a controller. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/join_ticket.h"
#include "agent/options.h"
#include "agent/process.h"
#include "agent/shell.h"
#include "agent/state.h"
#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/startup.h"

enum { EXIT_USAGE = 2, PURGE_GRACE_MS = 3000 };

/* Small and steady: one arena for the three threads, and freed pages go back. */
static void bound_memory(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, 128 * 1024);
    mallopt(M_MMAP_THRESHOLD, 64 * 1024);
}

/* Beside this program (a build tree), else where `make install` puts it. */
static const char *find_helper(const char *name, char buf[PROTO_PATH_MAX])
{
    static const char *const places[] = {"", "/../libexec/caravan", "/../lib/caravan"};
    char self[PROTO_PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (n <= 0)
        return NULL;
    self[n] = '\0';
    slash = strrchr(self, '/');
    if (!slash)
        return NULL;
    *slash = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (snprintf(buf, PROTO_PATH_MAX, "%s%s/%s", self, places[i], name) < PROTO_PATH_MAX && access(buf, X_OK) == 0)
            return buf;
    return NULL;
}

static int fail(int r, const char *what)
{
    log_failure(LOG_LEVEL_ERROR, "agent.failed", r, "text=%s", LOG_STR(what));
    return EXIT_FAILURE;
}

static int load_identity(const char *dir, struct identity *ret)
{
    int r = crypto_identity_load(dir, ret);

    if (r == CRYPTO_E_BAD_KEY_FILE) {
        log_error("identity.bad",
                  "file=%s/identity text=\"malformed, or readable by others: repair it, or remove it to "
                  "get a new key\"",
                  dir);
        return EXIT_FAILURE;
    }
    return r < 0 ? fail(r, "the node's key cannot be read or made") : 0;
}

static int print_key(const char *dir)
{
    char hex[CRYPTO_KEY_HEX];
    struct identity identity;
    int r = load_identity(dir, &identity);

    if (r)
        return r;
    puts(crypto_key_format(identity.public_key, hex));
    crypto_identity_clear(&identity);
    return EXIT_SUCCESS;
}

static int purge(const struct state_dir *state)
{
    int r = process_purge(state_dir_path(state), PURGE_GRACE_MS);

    if (r < 0)
        return fail(r, "children cannot be ended");
    printf("ended %d\n", r);
    return EXIT_SUCCESS;
}

/* Whom this node looks for. */
static void warn_of_trust(const struct agent_options *o, const struct join_ticket *ticket)
{
    if (o->trust_open)
        log_warn("trust.open",
                 "text=\"any controller announced by mDNS may lead this node: for trusted networks only\"");
    else if (!o->n_controllers && !ticket->cluster.n_controllers)
        log_warn("trust.keys",
                 "text=\"no controller is known: join a cluster (on the controller, `caravan token create`, and "
                 "here --join TOKEN), or set controllers = HOST KEY\"");
}

static int serve(struct agent_options *o, struct state_dir *state)
{
    CLEANUP(join_ticket_clear) struct join_ticket ticket;
    char shim_path[PROTO_PATH_MAX], carrier_path[PROTO_PATH_MAX];
    const char *shim = o->shim ? o->shim : find_helper("caravan-shim", shim_path);
    const char *carrier = o->carrier ? o->carrier : find_helper("caravan-carrier", carrier_path);
    struct identity identity;
    int r = join_ticket_read(o->join, state, &ticket);

    agent_options_forget_join(o);
    if (r)
        return EXIT_USAGE;
    if (!shim) {
        log_error("shim.missing", "text=\"caravan-shim was not found beside caravan-agent: set shim\"");
        return EXIT_FAILURE;
    }
    if (!carrier && o->tunnel) {
        log_error("carrier.missing", "text=\"caravan-carrier was not found beside caravan-agent: set carrier\"");
        return EXIT_FAILURE;
    }
    r = load_identity(state_dir_path(state), &identity);
    if (r)
        return r;
    warn_of_trust(o, &ticket);
    r = shell_run(o, state, &identity, &ticket, shim, carrier);
    crypto_identity_clear(&identity);
    return r < 0 ? fail(r, "the agent cannot run") : EXIT_SUCCESS;
}

static int run(struct agent_options *o)
{
    struct state_dir *state = NULL;
    int r = state_dir_open(o->state_dir, "", &state);

    if (r == STATE_E_IN_USE && o->action == AGENT_PRINT_KEY)
        return print_key(o->state_dir);
    if (r == STATE_E_IN_USE) {
        log_error("state.in_use", "dir=%s text=\"another agent runs on this state directory\"", LOG_STR(o->state_dir));
        return EXIT_FAILURE;
    }
    if (r < 0)
        return fail(r, "the state directory cannot be used");
    switch (o->action) {
    case AGENT_PRINT_KEY:
        r = print_key(state_dir_path(state));
        break;
    case AGENT_PURGE:
        r = purge(state);
        break;
    case AGENT_RUN:
        r = serve(o, state);
        break;
    }
    state_dir_close(&state);
    return r;
}

int main(int argc, char **argv)
{
    struct agent_options o;
    int r;

    bound_memory();
    startup_begin();
    r = crypto_init();
    if (r < 0)
        return fail(r, "libsodium cannot be used");
    r = agent_options_load(&o, argc, argv);
    switch (r) {
    case 0:
        log_set_level(o.log_level);
        r = run(&o);
        break;
    case OPTIONS_E_HELP:
        puts(
            "Usage: caravan-agent [OPTION...]\n\nStarts and watches llama.cpp's programs on this node and reports to a "
            "controller.\n");
        options_print_help(agent_option_table, stdout);
        puts("\nKey foo_bar of the file is also --foo-bar and CARAVAN_FOO_BAR.");
        r = EXIT_SUCCESS;
        break;
    case OPTIONS_E_VERSION:
        puts("caravan-agent " CARAVAN_VERSION);
        r = EXIT_SUCCESS;
        break;
    case OPTIONS_E_INVALID:
        r = EXIT_USAGE;
        break;
    default:
        r = fail(err_fold(r), "options cannot be read");
        break;
    }
    agent_options_clear(&o);
    return r;
}
