#include "agent/sandbox_rules.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/process.h"
#include "common/core/err.h"

void sandbox_rules_clear(struct sandbox_rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->rule[i]);
    free(r->rule);
    *r = (struct sandbox_rules){0};
}

/* What was short shows at the end: nothing is started with a part of its rules, but -E2BIG or -ENOMEM wins. */
__attribute__((format(printf, 3, 4))) static void add(struct sandbox_rules *r, int *result, const char *format, ...)
{
    va_list ap;
    int n;

    if (*result < 0)
        return;
    if (r->n == PROCESS_RULES_MAX) {
        *result = err_raise(-E2BIG);
        return;
    }
    va_start(ap, format);
    n = vasprintf(&r->rule[r->n], format, ap);
    va_end(ap);
    if (n < 0) {
        r->rule[r->n] = NULL;
        *result = err_raise(-ENOMEM);
        return;
    }
    r->n++;
}

/* A program's folder. One that is called bin has its libraries beside it; install-llamacpp calls theirs root. */
static void add_program(struct sandbox_rules *r, int *result, const char *program)
{
    static const char *const beside[] = {"lib", "lib64", "libexec", "share", "root"};
    const char *slash = strrchr(program, '/');
    int n = slash ? (int)(slash - program) : 0;

    if (n == 0)
        return;
    add(r, result, "run=%.*s", n, program);
    if (n < 4 || strncmp(slash - 4, "/bin", 4) != 0)
        return;
    for (size_t i = 0; i < sizeof(beside) / sizeof(beside[0]); i++)
        add(r, result, "run=%.*s/%s", n - 4, program, beside[i]);
}

static void add_library_path(struct sandbox_rules *r, int *result, const char *path)
{
    while (path && *path) {
        size_t n = strcspn(path, ":;");

        if (*path == '/')
            add(r, result, "run=%.*s", (int)n, path);
        path += n + (path[n] != '\0');
    }
}

static void add_coordinator(struct sandbox_rules *r, int *result, const struct sandbox_request *req)
{
    add(r, result, "read=%s", req->key_file);
    for (size_t i = 0; i < req->n_models; i++)
        add(r, result, "read=%s", req->models[i]);
    for (size_t i = 0; i < req->spec->n_ranks; i++) {
        const char *colon = strrchr(req->spec->endpoint[i], ':');

        add(r, result, "connect=%s", colon ? colon + 1 : "");
    }
}

static int begin(struct sandbox_rules *r)
{
    *r = (struct sandbox_rules){.rule = calloc(PROCESS_RULES_MAX + 1, sizeof(*r->rule))};
    return r->rule ? 0 : err_raise(-ENOMEM);
}

int sandbox_rules_make(const struct sandbox_request *req, struct sandbox_rules *ret)
{
    int result = begin(ret);

    if (result < 0)
        return err_pass(result);
    add_program(ret, &result, req->llama->server);
    add_program(ret, &result, req->llama->rpc_server);
    add_library_path(ret, &result, req->library_path);
    add(ret, &result, "write=%s", req->cache_dir);
    add(ret, &result, "listen=%u", (unsigned)req->unit->port);
    if (req->spec)
        add_coordinator(ret, &result, req);
    return result;
}

static void add_connect(struct sandbox_rules *r, int *result, uint16_t port)
{
    if (port)
        add(r, result, "connect=%u", (unsigned)port);
}

int sandbox_rules_of_carrier(const char *program, const char *unit_dir, const struct carrier_conf *conf,
                             struct sandbox_rules *ret)
{
    int result = begin(ret);

    if (result < 0)
        return err_pass(result);
    add_program(ret, &result, program);
    add(ret, &result, "read=%s", conf->identity);
    for (size_t i = 0; i < conf->n_files; i++)
        add(ret, &result, "read=%s", conf->file[i]);
    if (conf->n_files)
        add(ret, &result, "read=%s", conf->index_dir);
    add(ret, &result, "write=%s", unit_dir);
    add(ret, &result, "listen=%u", (unsigned)conf->port);
    if (conf->n_routes)
        add(ret, &result, "listen=0"); /* one for each, on loopback */
    add_connect(ret, &result, conf->worker_port);
    add_connect(ret, &result, conf->coordinator_port);
    for (size_t i = 0; i < conf->n_routes; i++)
        add_connect(ret, &result, conf->route[i].port);
    return result;
}
