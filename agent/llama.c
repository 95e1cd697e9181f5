#include "agent/llama.h"

#include <errno.h>
#include <glob.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/gpu.h"
#include "agent/subprocess.h"
#include "common/cleanup.h"
#include "common/core/err.h"

enum { OUTPUT_MAX = 256 * 1024, ASK_MS = 10000 };

static const char *const flag_names[LLAMA_FLAG_N] = {
    [LLAMA_MODEL] = "-m",
    [LLAMA_RPC] = "--rpc",
    [LLAMA_DEVICE] = "--device",
    [LLAMA_TENSOR_SPLIT] = "-ts",
    [LLAMA_GPU_LAYERS] = "-ngl",
    [LLAMA_SPLIT_MODE] = "-sm",
    [LLAMA_CTX] = "-c",
    [LLAMA_PARALLEL] = "-np",
    [LLAMA_BATCH] = "-b",
    [LLAMA_UBATCH] = "-ub",
    [LLAMA_CACHE_K] = "-ctk",
    [LLAMA_CACHE_V] = "-ctv",
    [LLAMA_FLASH_ATTN] = "-fa",
    [LLAMA_HOST] = "--host",
    [LLAMA_PORT] = "--port",
    [LLAMA_ALIAS] = "-a",
    [LLAMA_API_KEY_FILE] = "--api-key-file",
    [LLAMA_VERBOSITY] = "-lv",
    [LLAMA_FIT] = "-fit",
    [LLAMA_CACHE_RAM] = "-cram",
    [LLAMA_CTX_CHECKPOINTS] = "-ctxcp",
    [LLAMA_THREADS_HTTP] = "--threads-http",
    [LLAMA_METRICS] = "--metrics",
    [LLAMA_SLOTS] = "--slots",
    [LLAMA_SSE_PING] = "--sse-ping-interval",
    [LLAMA_NO_WEBUI] = "--no-webui",
    [LLAMA_NO_WARMUP] = "--no-warmup",
    [LLAMA_LOG_COLORS] = "--log-colors",
};

const char *llama_flag_name(enum llama_flag f)
{
    return flag_names[f];
}

/* ---- what it says ------------------------------------------------------------------------------------------------ */

static size_t word_length(const char *s)
{
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-+_~");
}

/* Debian: "version: 0.7.0 (build 11669, commit Debian)"; upstream: "version: 4567 (abc1234)". */
void llama_parse_version(const char *text, char *ret, size_t size)
{
    const char *version = strstr(text, "version: "), *paren, *build;

    ret[0] = '\0';
    if (!version)
        return;
    version += strlen("version: ");
    paren = version + word_length(version);
    if (paren == version || strncmp(paren, " (", 2) != 0)
        return;
    build = paren + 2;
    if (!strncmp(build, "build ", 6)) {
        build += 6;
        snprintf(ret, size, "b%.*s-%.*s", (int)strspn(build, "0123456789"), build, (int)(paren - version), version);
    } else {
        snprintf(ret, size, "b%.*s-%.*s", (int)(paren - version), version, (int)word_length(build), build);
    }
}

/* A line of options begins with '-' and names all its spellings before a gap of two blanks, or to its end. */
void llama_parse_help(const char *text, bool has[LLAMA_FLAG_N])
{
    memset(has, 0, LLAMA_FLAG_N * sizeof(*has));
    for (const char *line = text; *line; line += *line == '\n') {
        const char *end = line + strcspn(line, "\n");

        for (const char *p = line; *line == '-' && p < end;) {
            size_t n = strcspn(p, " ,\t\n");

            for (size_t f = 0; n && f < LLAMA_FLAG_N; f++)
                if (strlen(flag_names[f]) == n && !memcmp(p, flag_names[f], n))
                    has[f] = true;
            p += n;
            p += strspn(p, " ,\t");
        }
        line = end;
    }
}

/* ---- where it is ------------------------------------------------------------------------------------------------- */

/* The real path: children get it from another directory, and it tells two installations apart. */
static bool take_program(const char *dir, size_t n_dir, const char *name, char ret[PROTO_PATH_MAX])
{
    CLEANUP(cleanup_free) char *real = NULL;
    char path[PROTO_PATH_MAX];

    if (snprintf(path, sizeof(path), "%.*s/%s", (int)n_dir, dir, name) >= (int)sizeof(path) || access(path, X_OK) < 0)
        return false;
    real = realpath(path, NULL);
    if (!real || strlen(real) >= PROTO_PATH_MAX)
        return false;
    strcpy(ret, real);
    return true;
}

static bool along_path(const char *name, char ret[PROTO_PATH_MAX])
{
    const char *path = getenv("PATH");

    for (size_t n; path && *path; path += n + (path[n] == ':')) {
        n = strcspn(path, ":");
        if (n && take_program(path, n, name, ret))
            return true;
    }
    return false;
}

static bool along_glob(const char *pattern, char ret[PROTO_PATH_MAX])
{
    bool found = false;
    glob_t g;

    if (glob(pattern, 0, NULL, &g) != 0)
        return false;
    for (size_t i = 0; i < g.gl_pathc && !found; i++) {
        const char *slash = strrchr(g.gl_pathv[i], '/');

        found = slash && take_program(g.gl_pathv[i], (size_t)(slash - g.gl_pathv[i]), slash + 1, ret);
    }
    globfree(&g);
    return found;
}

static void find_programs(const char *dir, struct llama *l)
{
    static const char *const names[] = {"rpc-server", "ggml-rpc-server"};
    static const char *const homes[] = {"/usr/libexec/*/llama/bin/ggml-rpc-server",
                                        "/usr/lib/*/llama/bin/ggml-rpc-server"};

    if (dir) {
        take_program(dir, strlen(dir), "llama-server", l->server);
        for (size_t i = 0; i < 2 && !l->rpc_server[0]; i++)
            take_program(dir, strlen(dir), names[i], l->rpc_server);
        return; /* a mixture of two installations would be worse than none */
    }
    along_path("llama-server", l->server);
    for (size_t i = 0; i < 2 && !l->rpc_server[0]; i++)
        along_path(names[i], l->rpc_server);
    for (size_t i = 0; i < 2 && !l->rpc_server[0]; i++)
        along_glob(homes[i], l->rpc_server);
}

/* ---- asking it --------------------------------------------------------------------------------------------------- */

static int ask(struct llama *l, const char *flag, char *text)
{
    int r = subprocess_run((const char *[]){l->server, flag, NULL}, ASK_MS, text, OUTPUT_MAX);

    switch (r) {
    case SUBPROCESS_E_EXEC:
        snprintf(l->problem, sizeof(l->problem), "%.300s cannot be executed", l->server);
        break;
    case SUBPROCESS_E_TIMEOUT:
        snprintf(l->problem, sizeof(l->problem), "%.300s %s did not end within %d s", l->server, flag, ASK_MS / 1000);
        break;
    case SUBPROCESS_E_FAILED:
        snprintf(l->problem, sizeof(l->problem), "%.300s %s failed: run it by hand to see why", l->server, flag);
        break;
    }
    return r < 0 ? err_pass(r) : r;
}

static void name_missing_flags(struct llama *l)
{
    size_t used = 0;

    for (size_t f = 0; f < LLAMA_FIT; f++)
        if (!l->has[f] && used < sizeof(l->problem))
            used += (size_t)snprintf(l->problem + used, sizeof(l->problem) - used, "%s%s",
                                     used ? ", " : "llama-server is too old or too new: it has no ", flag_names[f]);
}

int llama_find(const char *dir, struct llama *ret)
{
    CLEANUP(cleanup_free) char *text = malloc(OUTPUT_MAX);
    struct llama *l = ret;
    int r;

    if (!text)
        return err_raise(-ENOMEM);
    memset(l, 0, sizeof(*l));
    find_programs(dir, l);
    if (!l->server[0] || !l->rpc_server[0]) {
        snprintf(l->problem, sizeof(l->problem), "%s was not found in %.200s: install llama.cpp, or set llama_dir",
                 l->server[0] ? "rpc-server" : "llama-server", dir ? dir : "PATH");
        return 0;
    }
    r = ask(l, "--version", text);
    if (r)
        return r < 0 ? err_pass(r) : 0;
    llama_parse_version(text, l->build, sizeof(l->build));
    r = ask(l, "--help", text);
    if (r)
        return r < 0 ? err_pass(r) : 0;
    llama_parse_help(text, l->has);
    name_missing_flags(l);
    if (l->problem[0])
        return 0;
    r = ask(l, "--list-devices", text);
    if (r)
        return r < 0 ? err_pass(r) : 0;
    l->n_devices = gpu_list_parse(text, strlen(text), l->device, PROTO_DEVICES_MAX);
    return 0;
}
