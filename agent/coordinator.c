#include "agent/coordinator.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/process.h"
#include "common/core/err.h"

/* 16 endpoints of 53 bytes, 32 devices of 31 with their layers, a dozen numbers. */
enum { TEXT_MAX = 4096 };

struct builder {
    const struct llama *llama;
    struct coordinator_command *c;
    size_t used; /* of text */
};

static void add(struct builder *b, const char *arg)
{
    if (b->c->n < PROCESS_ARGV_MAX)
        b->c->argv[b->c->n] = arg;
    b->c->n++; /* counted on: too many is seen at the end */
}

/* flag where this build has it; value may be NULL. */
static void flag(struct builder *b, enum llama_flag f, const char *value)
{
    if (!b->llama->has[f])
        return;
    add(b, llama_flag_name(f));
    if (value)
        add(b, value);
}

/* Text that lives as long as the command. */
static char *begin_text(struct builder *b)
{
    return b->c->text + b->used;
}

static void append(struct builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void append(struct builder *b, const char *format, ...)
{
    size_t room = TEXT_MAX - 1 - b->used;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(b->c->text + b->used, room, format, ap);
    va_end(ap);
    b->used += n > 0 && (size_t)n < room ? (size_t)n : n > 0 ? room - 1 : 0;
}

static void end_text(struct builder *b)
{
    if (b->used < TEXT_MAX - 1)
        b->used++; /* keeps the NUL */
}

static void number(struct builder *b, enum llama_flag f, uint32_t n)
{
    const char *text = begin_text(b);

    append(b, "%" PRIu32, n);
    end_text(b);
    flag(b, f, text);
}

static bool on_cpu_alone(const struct coordinator_spec *s)
{
    return !s->n_ranks && (!s->n_devices || !strcmp(s->device[0], "CPU"));
}

/* -ts follows --device, not --rpc: so both name exactly the plan's devices in the plan's order. */
static void add_devices(struct builder *b, const struct coordinator_spec *s)
{
    const char *text = begin_text(b);

    if (s->n_ranks) {
        for (size_t i = 0; i < s->n_ranks; i++)
            append(b, "%s%s", i ? "," : "", s->endpoint[i]);
        end_text(b);
        flag(b, LLAMA_RPC, text);
    }
    if (on_cpu_alone(s)) {
        flag(b, LLAMA_DEVICE, "none");
        flag(b, LLAMA_GPU_LAYERS, "0");
        return;
    }
    text = begin_text(b);
    for (size_t i = 0; i < s->n_devices; i++)
        append(b, "%s%s", i ? "," : "", s->device[i]);
    end_text(b);
    flag(b, LLAMA_DEVICE, text);
    text = begin_text(b);
    for (size_t i = 0; i < s->n_devices; i++)
        append(b, "%s%" PRIu32, i ? "," : "", s->layers[i]);
    end_text(b);
    flag(b, LLAMA_TENSOR_SPLIT, text);
    flag(b, LLAMA_GPU_LAYERS, "99");
    flag(b, LLAMA_SPLIT_MODE, "layer");
}

static void add_all(struct builder *b, const struct unit_facts *unit, const struct coordinator_spec *s,
                    const char *model_path, const char *key_file)
{
    add(b, b->llama->server);
    flag(b, LLAMA_MODEL, model_path);
    flag(b, LLAMA_ALIAS, s->alias[0] ? s->alias : s->model);
    add_devices(b, s);
    number(b, LLAMA_CTX, s->ctx);
    number(b, LLAMA_PARALLEL, s->slots);
    number(b, LLAMA_BATCH, s->batch);
    number(b, LLAMA_UBATCH, s->ubatch);
    flag(b, LLAMA_CACHE_K, s->kv_type);
    flag(b, LLAMA_CACHE_V, s->kv_type);
    flag(b, LLAMA_FLASH_ATTN, "on");
    flag(b, LLAMA_FIT, "off");
    flag(b, LLAMA_CACHE_RAM, "0");
    flag(b, LLAMA_CTX_CHECKPOINTS, "0");
    flag(b, LLAMA_VERBOSITY, "4"); /* below it the ranks' buffer sizes are not said */
    flag(b, LLAMA_LOG_COLORS, "off");
    flag(b, LLAMA_THREADS_HTTP, "32"); /* the default starves keep-alive connections */
    flag(b, LLAMA_METRICS, NULL);
    flag(b, LLAMA_SLOTS, NULL);
    flag(b, LLAMA_SSE_PING, "1");
    flag(b, LLAMA_NO_WEBUI, NULL);
    flag(b, LLAMA_NO_WARMUP, NULL); /* the leader's own token proves more than an empty run */
    flag(b, LLAMA_API_KEY_FILE, key_file);
    flag(b, LLAMA_HOST, unit->addr);
    number(b, LLAMA_PORT, unit->port);
    for (size_t i = 0; i < s->n_args; i++)
        add(b, s->arg[i]);
}

void coordinator_command_clear(struct coordinator_command *c)
{
    free(c->argv);
    free(c->text);
    *c = (struct coordinator_command){0};
}

int coordinator_command_make(const struct llama *llama, const struct unit_facts *unit,
                             const struct coordinator_spec *spec, const char *model_path, const char *key_file,
                             struct coordinator_command *ret)
{
    struct builder b = {.llama = llama, .c = ret};

    *ret = (struct coordinator_command){.argv = calloc(PROCESS_ARGV_MAX + 1, sizeof(*ret->argv)),
                                        .text = calloc(1, TEXT_MAX)};
    if (!ret->argv || !ret->text) {
        coordinator_command_clear(ret);
        return err_raise(-ENOMEM);
    }
    add_all(&b, unit, spec, model_path, key_file);
    if (ret->n > PROCESS_ARGV_MAX) {
        coordinator_command_clear(ret);
        return err_raise(-E2BIG);
    }
    return 0;
}
