#include "common/core/coordinator_log.h"

#include <string.h>

#include "common/core/text.h"

/* ---- errors ---------------------------------------------------------------------------------------------------- */

/* Wording of llama.cpp b11669. The first match counts, so exceptions stand before their rule. */
static const struct {
    const char *text;
    enum coordinator_error error;
} verdicts[] = {
    /* A build that skips an unreachable endpoint has no RPCn for it afterwards: that may pass. */
    {"invalid device:", COORDINATOR_ERROR_MAY_PASS},
    {"error while handling argument", COORDINATOR_ERROR_FLAG},
    {"invalid argument:", COORDINATOR_ERROR_FLAG},
    {"unknown model architecture", COORDINATOR_ERROR_MODEL},
    {"unknown pre-tokenizer type", COORDINATOR_ERROR_MODEL},
    {"unknown tokenizer", COORDINATOR_ERROR_MODEL},
    {"invalid magic characters", COORDINATOR_ERROR_FILE},
    {"is not within the file bounds", COORDINATOR_ERROR_FILE},
    {"is corrupted or incomplete", COORDINATOR_ERROR_FILE},
    {"error loading model hyperparameters", COORDINATOR_ERROR_FILE},
    {"error loading model vocabulary", COORDINATOR_ERROR_FILE},
    {"missing tensor", COORDINATOR_ERROR_FILE},
    {"wrong number of tensors", COORDINATOR_ERROR_FILE},
    {"has wrong shape", COORDINATOR_ERROR_FILE},
    {"failed to read key-value pairs", COORDINATOR_ERROR_FILE},
    {"failed to read tensor info", COORDINATOR_ERROR_FILE},
};

/* True but empty: each follows a line that says what happened. */
static const char *const wrappers[] = {"exiting due to", "failed to load model", "while trying to fit params"};

enum coordinator_error coordinator_error_of(const char *line)
{
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
        if (strstr(line, verdicts[i].text))
            return verdicts[i].error;
    }
    return COORDINATOR_ERROR_MAY_PASS;
}

bool coordinator_error_is_final(enum coordinator_error e)
{
    return e >= COORDINATOR_ERROR_FILE;
}

const char *coordinator_error_name(enum coordinator_error e)
{
    switch (e) {
    case COORDINATOR_ERROR_NONE:
        return "none";
    case COORDINATOR_ERROR_MAY_PASS:
        return "coordinator_failed";
    case COORDINATOR_ERROR_FILE:
        return "bad_file";
    case COORDINATOR_ERROR_MODEL:
        return "unsupported_model";
    case COORDINATOR_ERROR_FLAG:
        return "bad_flag";
    }
    return "unknown";
}

/* "0.00.014.756 E srv start: ...": where the text after the level begins, and the level; NULL where there is none. */
static const char *after_level(const char *line, char *ret_level)
{
    size_t n = strspn(line, "0123456789.");

    if (!n || line[n] != ' ' || !line[n + 1] || line[n + 2] != ' ')
        return NULL;
    *ret_level = line[n + 1];
    return line + n + 3;
}

/* "./src/ggml-rpc/ggml-rpc.cpp:650: Failed to connect": what GGML_ABORT prints, without time or level. */
static bool is_abort(const char *text)
{
    const char *dot = strstr(text, ".cpp:");
    size_t n = dot ? strspn(dot + 5, "0123456789") : 0;

    return n && dot[5 + n] == ':' && !memchr(text, ' ', (size_t)(dot - text));
}

static bool is_error(const char *line, const char **ret_text)
{
    static const char *const starts[] = {"error: ", "error while ", "terminate called", "  what(): "};
    char level = ' ';
    const char *text = after_level(line, &level);

    *ret_text = text ? text : line;
    if (level == 'E' || is_abort(*ret_text))
        return true;
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        if (strncmp(line, starts[i], strlen(starts[i])) == 0)
            return true;
    }
    return false;
}

/* Names are padded to columns; nobody wants to read the blanks. */
static void squeeze(char *s)
{
    char *out = s;

    for (const char *in = s; *in; in++) {
        if (*in != ' ' || (out > s && out[-1] != ' '))
            *out++ = *in;
    }
    while (out > s && out[-1] == ' ')
        out--;
    *out = '\0';
}

static unsigned take_error(struct coordinator_log *l, const char *text)
{
    enum coordinator_error e = coordinator_error_of(text);
    char *slot;

    /* Once it serves, an error is that of a request, and what a request says must not condemn the model. */
    if (l->listening && coordinator_error_is_final(e))
        e = COORDINATOR_ERROR_MAY_PASS;
    if (l->n_errors == COORDINATOR_LOG_ERRORS_MAX)
        memmove(l->errors[0], l->errors[1], sizeof(l->errors) - sizeof(l->errors[0]));
    else
        l->n_errors++;
    slot = l->errors[l->n_errors - 1];
    text_copy(slot, PROTO_TEXT_MAX, text);
    squeeze(slot);
    if (coordinator_error_is_final(e) && !l->final[0])
        memcpy(l->final, slot, PROTO_TEXT_MAX);
    if (e > l->error && !coordinator_error_is_final(l->error))
        l->error = e;
    return COORDINATOR_LOG_ERROR;
}

static bool is_wrapper(const char *text)
{
    for (size_t i = 0; i < sizeof(wrappers) / sizeof(wrappers[0]); i++) {
        if (strstr(text, wrappers[i]))
            return true;
    }
    return false;
}

const char *coordinator_log_cause(const struct coordinator_log *l)
{
    if (l->final[0])
        return l->final;
    for (size_t i = l->n_errors; i-- > 0;) {
        if (!is_wrapper(l->errors[i]))
            return l->errors[i];
    }
    return l->n_errors ? l->errors[l->n_errors - 1] : "";
}

/* ---- buffers --------------------------------------------------------------------------------------------------- */

/* "73.36 MiB" -> bytes, rounded down. More digits than any machine has bytes: refused. */
static bool parse_mib(const char *p, uint64_t *ret_bytes)
{
    uint64_t hundredths = 0;
    size_t n = strspn(p, "0123456789"), n_frac;

    if (!n || n > 7 || p[n] != '.')
        return false;
    for (size_t i = 0; i < n; i++)
        hundredths = hundredths * 10 + (uint64_t)(p[i] - '0');
    p += n + 1;
    n_frac = strspn(p, "0123456789");
    if (n_frac != 2 || strncmp(p + 2, " MiB", 4) != 0)
        return false;
    hundredths = hundredths * 100 + (uint64_t)(p[0] - '0') * 10 + (uint64_t)(p[1] - '0');
    *ret_bytes = hundredths * 1024 * 1024 / 100;
    return true;
}

static bool is_host(const char *name, size_t n)
{
    static const char host[] = "_Host";
    size_t n_host = sizeof(host) - 1;

    return strncmp(name, "CPU", 3) == 0 || (n > n_host && memcmp(name + n - n_host, host, n_host) == 0);
}

/* Whose buffer: "RPC0[10.77.0.12:20052]", "CUDA0", "CPU_Mapped". false: none that could be ours. */
static bool parse_owner(const char *name, size_t n, struct rank_buffers *ret)
{
    size_t digits;

    memset(ret, 0, sizeof(*ret));
    if (strncmp(name, "RPC", 3) != 0) {
        if (is_host(name, n))
            return true;
        text_copy_bytes(ret->endpoint, sizeof(ret->endpoint), name, n);
        return n < PROTO_DEVICE_MAX;
    }
    digits = strspn(name + 3, "0123456789");
    if (digits > 3 || n < digits + 6 || name[3 + digits] != '[' || name[n - 1] != ']' ||
        n - digits - 5 >= sizeof(ret->endpoint))
        return false;
    for (size_t i = 0; i < digits; i++)
        ret->device = ret->device * 10 + (uint32_t)(name[3 + i] - '0');
    text_copy_bytes(ret->endpoint, sizeof(ret->endpoint), name + 3 + digits + 1, n - digits - 5);
    return true;
}

static struct rank_buffers *find_or_add(struct coordinator_log *l, const struct rank_buffers *key)
{
    for (size_t i = 0; i < l->n_buffers; i++) {
        if (l->buffers[i].device == key->device && strcmp(l->buffers[i].endpoint, key->endpoint) == 0)
            return &l->buffers[i];
    }
    if (l->n_buffers == COORDINATOR_LOG_BUFFERS_MAX) {
        l->n_dropped++;
        return NULL;
    }
    l->buffers[l->n_buffers] = *key;
    return &l->buffers[l->n_buffers++];
}

/* "load_tensors:   CPU_Mapped": a file's name or a template's text that only looks like a figure has no such word. */
static bool follows_function(const char *line, const char *p)
{
    while (p > line && p[-1] == ' ')
        p--;
    return p > line && p[-1] == ':';
}

/* "load_tensors: RPC0[10.77.0.11:20052] model buffer size =    73.36 MiB": at points to " buffer size". */
static unsigned take_buffer(struct coordinator_log *l, const char *at)
{
    const char *kind = at, *name, *end, *value = at + strlen(" buffer size");
    struct rank_buffers key, *b;
    uint64_t bytes;

    while (kind > l->line && kind[-1] != ' ')
        kind--;
    end = kind;
    while (end > l->line && end[-1] == ' ')
        end--;
    name = end;
    while (name > l->line && name[-1] != ' ')
        name--;
    value += strspn(value, " ");
    if (*value != '=' || name == end || !follows_function(l->line, name) ||
        !parse_owner(name, (size_t)(end - name), &key))
        return 0;
    value++;
    if (!parse_mib(value + strspn(value, " "), &bytes))
        return 0;
    if (strncmp(kind, "model ", 6) != 0 && strncmp(kind, "KV ", 3) != 0 && strncmp(kind, "RS ", 3) != 0 &&
        strncmp(kind, "compute ", 8) != 0)
        return 0;
    b = find_or_add(l, &key);
    if (!b)
        return 0;
    if (*kind == 'm') /* one line per file or memory type: they add up, and so do the two caches of SWA models */
        b->model_bytes += bytes;
    else if (*kind == 'K' || *kind == 'R')
        b->kv_bytes += bytes;
    else /* reserved anew when a first try did not suit: the last one holds */
        b->compute_bytes = bytes;
    if (*kind != 'm' || l->loading)
        return COORDINATOR_LOG_BUFFERS;
    l->loading = true;
    return COORDINATOR_LOG_BUFFERS | COORDINATOR_LOG_LOADING;
}

/* ---- lines ----------------------------------------------------------------------------------------------------- */

static void take_sched_copies(struct coordinator_log *l, const char *at)
{
    const char *p = at + strlen("sched copies = ");
    size_t n = strspn(p, "0123456789");

    if (!n || n > 4)
        return;
    l->sched_copies = 0;
    for (size_t i = 0; i < n; i++)
        l->sched_copies = l->sched_copies * 10 + (uint32_t)(p[i] - '0');
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), n_end = strlen(end);

    return n >= n_end && strcmp(s + n - n_end, end) == 0;
}

static unsigned take_line(struct coordinator_log *l)
{
    const char *at, *text;
    unsigned news = 0;

    if (!l->loaded) {
        at = strstr(l->line, " buffer size");
        if (at)
            return take_buffer(l, at);
        at = strstr(l->line, "sched copies = ");
        if (at)
            take_sched_copies(l, at);
        if (ends_with(l->line, ": model loaded")) {
            l->loaded = true;
            return COORDINATOR_LOG_LOADED;
        }
    }
    if (!l->listening && (strstr(l->line, ": listening on http") || strstr(l->line, ": server is listening on http"))) {
        if (!l->loaded) /* a build with other words for it; it listens for work only with the model in place */
            news |= COORDINATOR_LOG_LOADED;
        l->loaded = l->listening = true;
        return news | COORDINATOR_LOG_LISTENING;
    }
    return is_error(l->line, &text) ? take_error(l, text) : 0;
}

static unsigned end_line(struct coordinator_log *l)
{
    size_t n = l->line_used;

    l->line_used = 0;
    if (n && l->line[n - 1] == '\r')
        n--;
    l->line[n] = '\0';
    return n ? take_line(l) : 0;
}

void coordinator_log_init(struct coordinator_log *l)
{
    memset(l, 0, sizeof(*l));
}

unsigned coordinator_log_feed(struct coordinator_log *l, const void *bytes, size_t n_bytes)
{
    const char *p = bytes, *end = p + n_bytes;
    unsigned news = 0;

    while (p < end) {
        const char *feed = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((feed ? feed : end) - p), room = sizeof(l->line) - 1 - l->line_used;

        memcpy(l->line + l->line_used, p, n < room ? n : room);
        l->line_used += n < room ? n : room;
        p += n;
        if (feed) {
            news |= end_line(l);
            p++;
        }
    }
    return news;
}

unsigned coordinator_log_end(struct coordinator_log *l)
{
    return end_line(l);
}
