#include "agent/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/core/err.h"

enum {
    OPT_CONFIG,
    OPT_NAME,
    OPT_STATE_DIR,
    OPT_MODELS,
    OPT_CONTROLLERS,
    OPT_JOIN,
    OPT_TRUST,
    OPT_ADDRESS,
    OPT_INTERFACES,
    OPT_MEMORY,
    OPT_LLAMA_DIR,
    OPT_WORKER_THREADS,
    OPT_WORKER_DEVICES,
    OPT_WORKER_PORTS,
    OPT_COORDINATOR_PORTS,
    OPT_RANK_TRANSPORT,
    OPT_CARRIER_PORTS,
    OPT_STANDING,
    OPT_CONTROL_PORT,
    OPT_NEIGHBOUR_PORT,
    OPT_SOCKET,
    OPT_SHIM,
    OPT_CARRIER,
    OPT_SANDBOX,
    OPT_LOG_LEVEL,
    OPT_PRINT_KEY,
    OPT_PURGE,
};

const struct option_def agent_option_table[] = {
    [OPT_CONFIG] = {.name = "config",
                    .type = OPTION_STRING,
                    .def = CARAVAN_SYSCONFDIR "/agent.conf",
                    .arg = "FILE",
                    .help = "Configuration file; one that is named here must exist.",
                    .argv_only = true},
    [OPT_NAME] = {.name = "name",
                  .type = OPTION_STRING,
                  .arg = "NAME",
                  .help = "This node's name. Default: the host name."},
    [OPT_STATE_DIR] = {.name = "state_dir",
                       .type = OPTION_STRING,
                       .def = "/var/lib/caravan",
                       .arg = "DIR",
                       .help = "Where the key, the newest epochs and the records of children are kept."},
    [OPT_MODELS] = {.name = "models",
                    .type = OPTION_LIST,
                    .def = "/var/lib/caravan/models",
                    .arg = "DIR,...",
                    .help = "Directories of GGUF files."},
    [OPT_CONTROLLERS] = {.name = "controllers",
                         .type = OPTION_LIST,
                         .arg = "HOST[:PORT] KEY,...",
                         .help = "Controllers, with the keys that `caravan-controller --print-key` prints. Under "
                                 "trust = open the key may be left out of those that mDNS announces too."},
    [OPT_JOIN] =
        {.name = "join",
         .type = OPTION_STRING,
         .arg = "TOKEN|@FILE|-",
         .help = "Join a cluster by the token that `caravan token create` prints there; @FILE: the token stands in "
                 "it, -: it comes by standard input. Needed once: where the controllers are is kept in "
                 "`state_dir`. In files and the environment only @FILE.",
         .secret = true},
    [OPT_TRUST] =
        {.name = "trust",
         .type = OPTION_CHOICE,
         .def = "keys",
         .choices = "keys|open",
         .help =
             "keys: only controllers whose key stands in `controllers` or came with `join`. open: also those that mDNS "
             "announces; the first one's key is kept. For trusted networks."},
    [OPT_ADDRESS] = {.name = "address",
                     .type = OPTION_STRING,
                     .arg = "ADDR",
                     .help =
                         "The address at which other machines reach this node. Default: the first of `interfaces`."},
    [OPT_INTERFACES] = {.name = "interfaces",
                        .type = OPTION_LIST,
                        .arg = "NAME,...",
                        .help = "Network interfaces in order of preference; !NAME excludes one; NAME may end in *."},
    [OPT_MEMORY] = {.name = "memory",
                    .type = OPTION_BYTES,
                    .def = "0",
                    .arg = "SIZE",
                    .help = "All the memory that this node offers, such as 24G. 0: what is free, less headroom."},
    [OPT_LLAMA_DIR] = {.name = "llama_dir",
                       .type = OPTION_STRING,
                       .arg = "DIR",
                       .help = "Where llama-server and rpc-server are. Default: along PATH."},
    [OPT_WORKER_THREADS] = {.name = "worker_threads",
                            .type = OPTION_UINT,
                            .max = 1024,
                            .def = "0",
                            .arg = "N",
                            .help = "Threads of a worker on the CPU. 0: as many as there are processors."},
    [OPT_WORKER_DEVICES] = {.name = "worker_devices",
                            .type = OPTION_LIST,
                            .arg = "DEVICE,...",
                            .help =
                                "Devices that workers expose, as llama.cpp names them. Default: all GPUs, else CPU."},
    [OPT_WORKER_PORTS] = {.name = "worker_ports",
                          .type = OPTION_STRING,
                          .def = "20052-20151",
                          .arg = "FIRST-LAST",
                          .help = "Ports of workers. Below 32768, where outgoing connections do not take them."},
    [OPT_COORDINATOR_PORTS] = {.name = "coordinator_ports",
                               .type = OPTION_STRING,
                               .def = "18080-18179",
                               .arg = "FIRST-LAST",
                               .help = "Ports of coordinators."},
    [OPT_RANK_TRANSPORT] =
        {.name = "rank_transport",
         .type = OPTION_CHOICE,
         .def = "tunnel",
         .choices = "tunnel|direct",
         .help =
             "How this node's ranks and coordinators are reached. tunnel: through a caravan-carrier, encrypted, and only "
             "by whom the controller grants it; they listen on 127.0.0.1. direct: they listen on `address`, for whoever "
             "is on the network to use and to read. The same on all nodes and controllers."},
    [OPT_CARRIER_PORTS] = {.name = "carrier_ports",
                           .type = OPTION_STRING,
                           .def = "7440-7499",
                           .arg = "FIRST-LAST",
                           .help = "Ports of carriers, one for each instance that has a part here."},
    [OPT_STANDING] = {.name = "standing",
                      .type = OPTION_BOOL,
                      .def = "yes",
                      .help = "Keep one worker running and announced."},
    [OPT_CONTROL_PORT] = {.name = "control_port",
                          .type = OPTION_UINT,
                          .min = 1,
                          .max = 65535,
                          .def = "7420",
                          .arg = "PORT",
                          .help = "Port of controllers where `controllers` names none."},
    [OPT_NEIGHBOUR_PORT] =
        {.name = "neighbour_port",
         .type = OPTION_UINT,
         .min = 1,
         .max = 65535,
         .def = "7431",
         .arg = "PORT",
         .help =
             "Port for other agents' links and for knocks, on `address`, else on all addresses. "
             "Where it is taken, the next free one of the 31 after it that is in none of this agent's other ranges, with all "
             "defaults one of 7432 to 7439: agents may share a machine."},
    [OPT_SOCKET] = {.name = "socket",
                    .type = OPTION_STRING,
                    .def = "/run/caravan/agent.sock",
                    .arg = "FILE",
                    .help = "Unix socket that answers `caravan nodes` and `caravan instances`, read-only, while no "
                            "controller can be reached. Empty: none."},
    [OPT_SHIM] = {.name = "shim",
                  .type = OPTION_STRING,
                  .arg = "FILE",
                  .help = "caravan-shim. Default: beside caravan-agent, or in its libexec directory."},
    [OPT_CARRIER] = {.name = "carrier",
                     .type = OPTION_STRING,
                     .arg = "FILE",
                     .help = "caravan-carrier. Default: as for `shim`."},
    [OPT_SANDBOX] =
        {.name = "sandbox",
         .type = OPTION_BOOL,
         .def = "yes",
         .help =
             "Shut llama.cpp's programs, and carriers, in: no files but models, libraries and GPU devices, no calls "
             "that they have no use for. no: for a GPU driver that does not work so."},
    [OPT_LOG_LEVEL] = {.name = "log_level",
                       .type = OPTION_CHOICE,
                       .def = "info",
                       .choices = "error|warn|info|debug",
                       .help = "Least grave lines that are logged, to standard error."},
    [OPT_PRINT_KEY] = {.name = "print_key",
                       .type = OPTION_FLAG,
                       .argv_only = true,
                       .help = "Print this node's public key and exit."},
    [OPT_PURGE] = {.name = "purge",
                   .type = OPTION_FLAG,
                   .argv_only = true,
                   .help = "End every worker, coordinator and carrier that this node has left running, and exit."},
    {.name = NULL},
};

static int refuse(const char *key, const char *value, const char *allowed)
{
    fprintf(stderr, "caravan-agent: %s = %s: %s\n", key, value, allowed);
    return OPTIONS_E_INVALID;
}

bool port_range_parse(const char *text, struct port_range *ret)
{
    const char *dash = strchr(text, '-');
    uint64_t first, last;
    char head[8];

    if (!dash) {
        if (!parse_uint(text, 1, 65535, &first))
            return false;
        *ret = (struct port_range){(uint16_t)first, (uint16_t)first};
        return true;
    }
    if (dash - text >= (ptrdiff_t)sizeof(head))
        return false;
    memcpy(head, text, (size_t)(dash - text));
    head[dash - text] = '\0';
    if (!parse_uint(head, 1, 65535, &first) || !parse_uint(dash + 1, first, 65535, &last))
        return false;
    *ret = (struct port_range){(uint16_t)first, (uint16_t)last};
    return true;
}

bool port_range_has(const struct port_range *r, uint16_t port)
{
    return port >= r->first && port <= r->last;
}

/* "HOST", "HOST:PORT", "[v6]:PORT", "v6". */
static bool parse_host(const char *p, size_t n, uint16_t default_port, struct controller_address *ret)
{
    const char *end = p + n, *colon = memrchr(p, ':', n), *host_end = end;
    uint64_t port = default_port;
    char number[8];

    if (n && p[0] == '[') {
        const char *close = memchr(p, ']', n);

        if (!close || (close + 1 != end && close[1] != ':'))
            return false;
        colon = close + 1 == end ? NULL : close + 1;
        p++;
        host_end = close;
    } else if (colon && memchr(p, ':', (size_t)(colon - p))) {
        colon = NULL; /* a bare IPv6 literal */
    } else if (colon) {
        host_end = colon;
    }
    if (colon) {
        if (end - colon - 1 >= (ptrdiff_t)sizeof(number))
            return false;
        memcpy(number, colon + 1, (size_t)(end - colon - 1));
        number[end - colon - 1] = '\0';
        if (!parse_uint(number, 1, 65535, &port))
            return false;
    }
    if (host_end <= p || (size_t)(host_end - p) >= sizeof(ret->host))
        return false;
    memcpy(ret->host, p, (size_t)(host_end - p));
    ret->host[host_end - p] = '\0';
    ret->port = (uint16_t)port;
    return true;
}

bool controller_address_parse(const char *text, uint16_t default_port, struct controller_address *ret)
{
    size_t n = strcspn(text, " \t");
    const char *key = text + n + strspn(text + n, " \t");
    struct controller_address a = {0};

    if (!parse_host(text, n, default_port, &a))
        return false;
    if (*key) {
        if (crypto_key_parse(key, a.key))
            return false;
        a.has_key = true;
    }
    *ret = a;
    return true;
}

static enum log_level level_of(const char *word)
{
    static const char *const words[] = {"error", "warn", "info", "debug"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (!strcmp(words[i], word))
            return (enum log_level)i;
    return LOG_LEVEL_INFO;
}

/* Not by realpath: what is named need not be there yet. */
static int make_absolute(struct agent_options *o, size_t *n_made, const char **path)
{
    CLEANUP(cleanup_free) char *cwd = NULL;
    char *made;

    if (!*path || !(*path)[0] || (*path)[0] == '/')
        return 0;
    cwd = getcwd(NULL, 0);
    if (!cwd)
        return err_raise(-errno);
    if (asprintf(&made, "%s/%s", cwd, *path) < 0)
        return err_raise(-ENOMEM);
    o->made[(*n_made)++] = made;
    *path = made;
    return 0;
}

static int take_paths(struct agent_options *o)
{
    const char *const *models;
    size_t n_made = 0;
    int r;

    o->state_dir = options_string(o->values, OPT_STATE_DIR);
    o->llama_dir = options_string(o->values, OPT_LLAMA_DIR);
    o->shim = options_string(o->values, OPT_SHIM);
    o->carrier = options_string(o->values, OPT_CARRIER);
    o->socket = options_string(o->values, OPT_SOCKET);
    o->n_models = options_list(o->values, OPT_MODELS, &models);
    o->made = calloc(o->n_models + 6, sizeof(*o->made));
    o->made_models = calloc(o->n_models + 1, sizeof(*o->made_models));
    o->models = o->made_models;
    if (!o->made || !o->made_models)
        return err_raise(-ENOMEM);
    r = make_absolute(o, &n_made, &o->state_dir);
    if (r == 0)
        r = make_absolute(o, &n_made, &o->llama_dir);
    if (r == 0)
        r = make_absolute(o, &n_made, &o->shim);
    if (r == 0)
        r = make_absolute(o, &n_made, &o->carrier);
    if (r == 0)
        r = make_absolute(o, &n_made, &o->socket);
    for (size_t i = 0; r == 0 && i < o->n_models; i++) {
        o->made_models[i] = models[i];
        r = make_absolute(o, &n_made, &o->made_models[i]);
    }
    return r < 0 ? err_pass(r) : 0;
}

static int take_name(struct agent_options *o)
{
    const char *given = options_string(o->values, OPT_NAME);
    char host[256] = "";

    if (!given) {
        if (gethostname(host, sizeof(host) - 1) < 0)
            return err_raise(-errno);
        host[strcspn(host, ".")] = '\0';
        given = host[0] ? host : "node";
    } else if (!given[0] || strlen(given) >= sizeof(o->name) ||
               given[strspn(given, "abcdefghijklmnopqrstuvwxyz"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789-_.")]) {
        return refuse("name", given, "letters, digits, '-', '_' and '.', at most 63");
    }
    snprintf(o->name, sizeof(o->name), "%.63s", given);
    return 0;
}

static int take_controllers(struct agent_options *o)
{
    const char *const *list;
    size_t n = options_list(o->values, OPT_CONTROLLERS, &list);

    if (n > AGENT_CONTROLLERS_MAX)
        return refuse("controllers", list[AGENT_CONTROLLERS_MAX], "at most 8 controllers");
    for (size_t i = 0; i < n; i++) {
        struct controller_address *a = &o->controller[i];

        if (!controller_address_parse(list[i], o->control_port, a))
            return refuse("controllers", list[i], "HOST[:PORT] KEY, where KEY is 64 hex digits");
        if (!a->has_key && !o->trust_open)
            return refuse("controllers", list[i],
                          "its key is missing: `caravan-controller --print-key` prints it (or set trust = open)");
    }
    o->n_controllers = n;
    return 0;
}

static int take_devices(struct agent_options *o)
{
    o->n_worker_devices = options_list(o->values, OPT_WORKER_DEVICES, &o->worker_devices);
    if (o->n_worker_devices > PROTO_DEVICES_MAX)
        return refuse("worker_devices", o->worker_devices[PROTO_DEVICES_MAX], "at most 16 devices");
    for (size_t i = 0; i < o->n_worker_devices; i++)
        if (strlen(o->worker_devices[i]) >= PROTO_DEVICE_MAX)
            return refuse("worker_devices", o->worker_devices[i], "a name such as CUDA0, at most 31 letters");
    return 0;
}

static int take_range(struct agent_options *o, size_t option, struct port_range *ret)
{
    const char *text = options_string(o->values, option);

    if (port_range_parse(text, ret))
        return 0;
    return refuse(agent_option_table[option].name, text, "FIRST-LAST, both from 1 to 65535");
}

static int take_all(struct agent_options *o)
{
    long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    const struct options *v = o->values;
    int r;

    o->action = options_bool(v, OPT_PRINT_KEY) ? AGENT_PRINT_KEY : options_bool(v, OPT_PURGE) ? AGENT_PURGE : AGENT_RUN;
    o->address = options_string(v, OPT_ADDRESS);
    o->n_interfaces = options_list(v, OPT_INTERFACES, &o->interfaces);
    o->trust_open = !strcmp(options_string(v, OPT_TRUST), "open");
    o->sandbox = options_bool(v, OPT_SANDBOX);
    o->standing = options_bool(v, OPT_STANDING);
    o->tunnel = !strcmp(options_string(v, OPT_RANK_TRANSPORT), "tunnel");
    o->memory_bytes = options_uint(v, OPT_MEMORY);
    o->worker_threads = (uint32_t)options_uint(v, OPT_WORKER_THREADS);
    if (!o->worker_threads)
        o->worker_threads = n_cpus > 0 ? (uint32_t)n_cpus : 1;
    o->control_port = (uint16_t)options_uint(v, OPT_CONTROL_PORT);
    o->neighbour_port = (uint16_t)options_uint(v, OPT_NEIGHBOUR_PORT);
    o->log_level = level_of(options_string(v, OPT_LOG_LEVEL));
    r = take_paths(o);
    if (!r)
        r = take_name(o);
    if (!r)
        r = take_controllers(o);
    if (!r)
        r = take_devices(o);
    if (!r)
        r = take_range(o, OPT_WORKER_PORTS, &o->worker_ports);
    if (!r)
        r = take_range(o, OPT_COORDINATOR_PORTS, &o->coordinator_ports);
    if (!r)
        r = take_range(o, OPT_CARRIER_PORTS, &o->carrier_ports);
    return r;
}

/* A token whose --join is missing is not shown. */
static int refuse_word(const char *word)
{
    bool token = strncmp(word, "caravan", 7) == 0;

    return refuse("argument", token ? "(a token?)" : word,
                  token ? "a join token is given by --join" : "there are none, only options (--help)");
}

/* ret: what argv alone says: --config names another file before that file is read, and --join is overwritten. */
static int read_argv_first(int argc, char **argv, struct options **ret)
{
    int first, r = options_new(agent_option_table, ret);

    if (!r)
        r = options_read_argv(*ret, argc, argv, &first);
    if (!r && first < argc)
        r = refuse_word(argv[first]);
    return r < 0 ? err_pass(r) : r;
}

static int take_join(struct agent_options *o, const struct options *given)
{
    const char *text = options_string(options_is_set(given, OPT_JOIN) ? given : o->values, OPT_JOIN);

    if (!text)
        return 0;
    o->join = strdup(text);
    return o->join ? 0 : err_raise(-ENOMEM);
}

/* argv is read twice: it wins in the end. */
int agent_options_load(struct agent_options *o, int argc, char **argv)
{
    CLEANUP(options_destroy) struct options *given = NULL;
    int first, r;

    memset(o, 0, sizeof(*o));
    r = read_argv_first(argc, argv, &given);
    if (!r)
        r = options_new(agent_option_table, &o->values);
    if (!r)
        r = options_read_file(o->values, options_string(given, OPT_CONFIG), options_is_set(given, OPT_CONFIG));
    if (!r)
        r = options_read_env(o->values);
    if (!r)
        r = take_join(o, given);
    if (!r)
        r = options_read_argv(o->values, argc, argv, &first);
    if (!r)
        r = take_all(o);
    return r < 0 ? err_pass(r) : r;
}

void agent_options_forget_join(struct agent_options *o)
{
    if (o->join)
        explicit_bzero(o->join, strlen(o->join));
    free(o->join);
    o->join = NULL;
}

void agent_options_clear(struct agent_options *o)
{
    for (char **path = o->made; path && *path; path++)
        free(*path);
    free(o->made);
    free(o->made_models);
    agent_options_forget_join(o);
    options_destroy(&o->values);
}
