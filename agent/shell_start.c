/* What the agent finds out once, before its loop runs: llama.cpp, devices, addresses; and how it announces itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/shell_internal.h"
#include "agent/system.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "common/crypto.h"
#include "common/log.h"

static struct device_facts cpu_device(void)
{
    struct device_facts d = {.name = "CPU",
                             .description = "host memory",
                             .kind = DEVICE_CPU,
                             .utilization_permille = -1,
                             .temperature_c = INT32_MIN};

    return d;
}

static const struct device_facts *listed(const struct llama *l, const char *name)
{
    for (size_t i = 0; i < l->n_devices; i++)
        if (!strcmp(l->device[i].name, name))
            return &l->device[i];
    return NULL;
}

/* `worker_devices =`, else all GPUs, else the CPU. */
static void choose_devices(struct shell *s)
{
    for (size_t i = 0; i < s->options->n_worker_devices; i++) {
        const char *name = s->options->worker_devices[i];
        const struct device_facts *known = listed(&s->llama, name);

        if (!known && strncmp(name, "CPU", 3) != 0) {
            log_warn("device.unknown", "device=%s text=\"llama-server --list-devices does not name it: left out\"",
                     LOG_STR(name));
            continue;
        }
        s->device[s->n_devices] = known ? *known : cpu_device();
        text_copy(s->device[s->n_devices].name, PROTO_DEVICE_MAX, name);
        s->n_devices++;
    }
    if (!s->n_devices && s->llama.n_devices) {
        memcpy(s->device, s->llama.device, sizeof(s->device));
        s->n_devices = s->llama.n_devices;
    }
    if (!s->n_devices)
        s->device[s->n_devices++] = cpu_device();
}

static int choose_addresses(struct shell *s)
{
    const struct agent_options *o = s->options;
    int r = system_addresses(o->address, o->interfaces, o->n_interfaces, s->hello.addr, &s->hello.n_addrs);

    if (r == SYSTEM_E_ABSENT) {
        log_error("address.none", "address=%s text=\"this node has no address that other machines could reach%s\"",
                  o->address ? LOG_STR(o->address) : "any",
                  o->address || o->n_interfaces ? ": see `address` and `interfaces`" : "");
        return err_raise(-EADDRNOTAVAIL);
    }
    return r < 0 ? err_pass(r) : 0;
}

static int make_hello(struct shell *s)
{
    struct hello *h = &s->hello;
    int r = system_boot_id(h->boot_id);

    if (r < 0)
        return err_pass(r);
    h->node = crypto_node_id(s->identity->public_key);
    text_copy(h->name, sizeof(h->name), s->options->name);
    text_copy(h->version, sizeof(h->version), CARAVAN_VERSION);
    text_copy(h->build, sizeof(h->build), s->llama.build);
    text_copy(h->build_problem, sizeof(h->build_problem), s->llama.problem);
    text_copy(h->transport, sizeof(h->transport), s->options->tunnel ? "tunnel" : "direct");
    h->can_coordinate = !s->llama.problem[0];
    return choose_addresses(s);
}

/* GPU drivers keep what they compile: without a place for it a CUDA build for another card compiles at each start. */
static int make_cache(struct shell *s)
{
    if (snprintf(s->cache_dir, sizeof(s->cache_dir), "%s/cache", state_dir_path(s->state)) >= (int)sizeof(s->cache_dir))
        return err_raise(-ENAMETOOLONG);
    snprintf(s->cache_env[0], sizeof(s->cache_env[0]), "XDG_CACHE_HOME=%s", s->cache_dir);
    snprintf(s->cache_env[1], sizeof(s->cache_env[1]), "CUDA_CACHE_PATH=%s/cuda", s->cache_dir);
    return mkdir(s->cache_dir, 0700) < 0 && errno != EEXIST ? err_raise(-errno) : 0;
}

/* It must be there before a carrier is shut in: a rule for what is not there yet would be none. */
static int make_tensor_dir(struct shell *s)
{
    if (snprintf(s->tensor_dir, sizeof(s->tensor_dir), "%s/tensors", state_dir_path(s->state)) >=
        (int)sizeof(s->tensor_dir))
        return err_raise(-ENAMETOOLONG);
    return mkdir(s->tensor_dir, 0700) < 0 && errno != EEXIST ? err_raise(-errno) : 0;
}

/* Workers and coordinators bind what nobody but their own node reaches, where others have a carrier to reach. */
static void set_addresses(const struct shell *s, struct agent_config *c)
{
    text_copy(c->addr, sizeof(c->addr), s->options->tunnel ? "127.0.0.1" : s->hello.addr[0]);
    if (s->options->tunnel)
        text_copy(c->carrier_addr, sizeof(c->carrier_addr), s->hello.addr[0]);
}

int shell_find_out(struct shell *s, struct agent_config *ret)
{
    int r = llama_find(s->options->llama_dir, &s->llama);

    if (r < 0)
        return err_pass(r);
    r = make_cache(s);
    if (!r)
        r = make_tensor_dir(s);
    if (r < 0)
        return err_pass(r);
    if (s->llama.problem[0])
        log_error("llama.problem", "text=%s", LOG_STR(s->llama.problem));
    else
        log_info("llama.found", "build=%s server=%s rpc_server=%s", s->llama.build, LOG_STR(s->llama.server),
                 LOG_STR(s->llama.rpc_server));
    if (!s->options->sandbox)
        log_warn("sandbox.off", "text=\"rpc-server and llama-server may do all that this agent may\"");
    if (!s->options->tunnel)
        log_warn("transport.direct",
                 "text=\"ranks are not encrypted, and whoever reaches the ports of a worker may use it: for "
                 "networks that you trust (rank_transport)\"");
    choose_devices(s);
    r = make_hello(s);
    if (r < 0)
        return err_pass(r);
    r = gpu_new(NULL, &s->gpu);
    if (r < 0)
        return err_pass(r); /* that there is none is no error */
    *ret = (struct agent_config){.standing = s->options->standing,
                                 .n_devices = s->n_devices,
                                 .memory_limit_bytes = s->options->memory_bytes,
                                 .can_run = !s->llama.problem[0]};
    crypto_key_format(s->identity->public_key, ret->key);
    set_addresses(s, ret);
    text_copy(ret->build_problem, sizeof(ret->build_problem), s->llama.problem);
    for (size_t i = 0; i < s->n_devices; i++)
        text_copy(ret->device[i], PROTO_DEVICE_MAX, s->device[i].name);
    return 0;
}

static void put(struct mdns_txt *txt, size_t *n, const char *key, const char *value)
{
    if (*n == MDNS_TXT_MAX)
        return;
    text_copy(txt[*n].key, sizeof(txt[*n].key), key);
    text_copy(txt[*n].value, sizeof(txt[*n].value), value);
    ++*n;
}

/* worker: NULL for the agent's own record. Returns the number of pairs. */
size_t shell_txt(const struct shell *s, const struct unit_facts *worker, const char *state, struct mdns_txt *ret)
{
    char number[16], rpc[16];
    size_t n = 0;

    snprintf(number, sizeof(number), "%d.%d", PROTOCOL_MAJOR, PROTOCOL_MINOR);
    put(ret, &n, "v", number);
    put(ret, &n, "id", ID128(&s->hello.node));
    put(ret, &n, "node", s->hello.name);
    put(ret, &n, "version", s->hello.version);
    put(ret, &n, "build", s->hello.build);
    if (worker) {
        snprintf(rpc, sizeof(rpc), "%u.%u.%u", worker->rpc.major, worker->rpc.minor, worker->rpc.patch);
        put(ret, &n, "rpc", rpc);
        put(ret, &n, "state", state);
    }
    put(ret, &n, "transport", s->hello.transport);
    return n;
}

int shell_advertise_agent(struct shell *s)
{
    struct mdns_txt txt[MDNS_TXT_MAX];

    return mdns_publish(s->mdns, "agent", s->hello.name, "_caravan._tcp", s->options->control_port, txt,
                        shell_txt(s, NULL, NULL, txt));
}
