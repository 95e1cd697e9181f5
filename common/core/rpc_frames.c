#include "common/core/rpc_frames.h"

#include <string.h>

#include "common/core/le.h"
#include "common/core/sat.h"

enum {
    CMD_SET_TENSOR = 6,
    CMD_SET_TENSOR_HASH = 7,
    CMD_GET_TENSOR = 8,
    CMD_GRAPH_COMPUTE = 10,
    CMD_HELLO = 14,
    CMD_GRAPH_RECOMPUTE = 16
};
enum { REQUEST_HEAD = 9, ANSWER_HEAD = 8, HELLO_ANSWER_MIN = 3 };

/* ---- what is known of each version ---- */

struct rpc_command {
    const char *name; /* NULL: there is none */
    bool answered, long_request, long_answer;
};

/* Seen in streams of 8.0.0, or tried on its rpc-server: 7, 9 and 12. Other versions answer
 * other commands; a table for one must be made of what was seen there, too. */
static const struct rpc_command commands_8[] = {
    {.name = "ALLOC_BUFFER", .answered = true},
    {.name = "GET_ALIGNMENT", .answered = true},
    {.name = "GET_MAX_SIZE", .answered = true},
    {.name = "BUFFER_GET_BASE", .answered = true},
    {.name = "FREE_BUFFER"},
    {.name = "BUFFER_CLEAR"},
    {.name = "SET_TENSOR", .long_request = true},
    {.name = "SET_TENSOR_HASH", .answered = true},
    {.name = "GET_TENSOR", .answered = true, .long_answer = true},
    {.name = "COPY_TENSOR", .answered = true},
    {.name = "GRAPH_COMPUTE", .long_request = true},
    {.name = "GET_DEVICE_MEMORY", .answered = true},
    {.name = "INIT_TENSOR"},
    {.name = "GET_ALLOC_SIZE", .answered = true},
    {.name = "HELLO", .answered = true},
    {.name = "DEVICE_COUNT", .answered = true},
    {.name = "GRAPH_RECOMPUTE"},
};

struct rpc_dialect {
    uint8_t major;
    bool may_feed; /* tried: a tensor asked for by hash can be given to the worker by somebody else */
    size_t n;
    const struct rpc_command *command;
};

static const struct rpc_dialect dialects[] = {
    {.major = 8, .may_feed = true, .n = sizeof(commands_8) / sizeof(commands_8[0]), .command = commands_8},
};

static const struct rpc_dialect *dialect_find(uint8_t major)
{
    for (size_t i = 0; i < sizeof(dialects) / sizeof(dialects[0]); i++) {
        if (dialects[i].major == major)
            return &dialects[i];
    }
    return NULL;
}

const char *rpc_command_name(uint8_t command)
{
    return command < dialects[0].n ? dialects[0].command[command].name : "unknown";
}

const char *rpc_blind_text(enum rpc_blind why)
{
    static const char *const text[] = {
        [RPC_BLIND_NOT] = "",
        [RPC_BLIND_NO_HELLO] = "it did not begin with HELLO and an answer to it",
        [RPC_BLIND_VERSION] = "its RPC version is not known here",
        [RPC_BLIND_COMMAND] = "a command that is not known here",
        [RPC_BLIND_LENGTH] = "a length that makes no sense",
        [RPC_BLIND_UNASKED] = "an answer to no question",
        [RPC_BLIND_TOO_MANY] = "too many commands without an answer",
    };

    return text[why];
}

const char *rpc_blind_name(enum rpc_blind why)
{
    static const char *const names[] = {
        [RPC_BLIND_NOT] = "",
        [RPC_BLIND_NO_HELLO] = "no_hello",
        [RPC_BLIND_VERSION] = "version",
        [RPC_BLIND_COMMAND] = "command",
        [RPC_BLIND_LENGTH] = "length",
        [RPC_BLIND_UNASKED] = "unasked",
        [RPC_BLIND_TOO_MANY] = "too_many",
    };

    return names[why];
}

/* ---- the stream ---- */

void rpc_frames_init(struct rpc_frames *f)
{
    *f = (struct rpc_frames){0};
}

static void go_blind(struct rpc_frames *f, enum rpc_blind why, uint8_t command)
{
    f->fig.why = why;
    f->fig.odd_command = command;
    f->fig.n_waiting = 0;
    f->n_graphs_done = f->fig.n_graphs;
}

static struct rpc_waiting *waiting_at(struct rpc_frames *f, size_t i)
{
    return &f->waiting[(f->first + i) % RPC_FRAMES_WAITING_MAX];
}

/* What the table says of a command; NULL: nothing, and the stream is not judged any more. */
static const struct rpc_command *command_of(struct rpc_frames *f, uint8_t command)
{
    if (!f->dialect && (command != CMD_HELLO || f->fig.n_waiting)) {
        go_blind(f, RPC_BLIND_NO_HELLO, command);
        return NULL;
    }
    if (!f->dialect)
        return &dialects[0].command[CMD_HELLO]; /* the same in every version that has it */
    if (command >= f->dialect->n || !f->dialect->command[command].name) {
        go_blind(f, RPC_BLIND_COMMAND, command);
        return NULL;
    }
    return &f->dialect->command[command];
}

static void request_begins(struct rpc_frames *f)
{
    const struct rpc_command *c = command_of(f, f->request.head[0]);

    if (!c)
        return;
    if (!c->long_request && f->request.n_data > RPC_SMALL_REQUEST_MAX)
        go_blind(f, RPC_BLIND_LENGTH, f->request.head[0]);
    else
        f->fig.request.n_frames++;
}

/* end: where in the stream the last byte of the frame was. */
static void graph_asked(struct rpc_frames *f, uint64_t end)
{
    if (f->n_graphs_done == f->fig.n_graphs) {
        f->graph_end = end;
        f->graph_written = false;
    }
    f->fig.n_graphs++;
}

static void request_ends(struct rpc_frames *f, uint64_t end)
{
    uint8_t command = f->request.head[0];
    const struct rpc_command *c = command_of(f, command);

    if (!c)
        return;
    if (command == CMD_GRAPH_COMPUTE || command == CMD_GRAPH_RECOMPUTE)
        graph_asked(f, end);
    f->fig.n_hash_asked += command == CMD_SET_TENSOR_HASH;
    if (!c->answered)
        return;
    if (f->fig.n_waiting == RPC_FRAMES_WAITING_MAX) {
        go_blind(f, RPC_BLIND_TOO_MANY, command);
        return;
    }
    *waiting_at(f, f->fig.n_waiting) = (struct rpc_waiting){
        .command = command, .long_answer = c->long_answer, .end = end, .n_graphs = f->fig.n_graphs};
    f->fig.n_waiting++;
}

/* Takes bytes of one frame's head. Returns how many; *ret_whole: that was the last of it. */
static size_t take_head(struct rpc_cursor *c, size_t n_head, const uint8_t *p, size_t n, bool *ret_whole)
{
    size_t n_took = n < n_head - c->n_head ? n : n_head - c->n_head;

    memcpy(c->head + c->n_head, p, n_took);
    c->n_head += n_took;
    *ret_whole = c->n_head == n_head;
    if (*ret_whole) {
        c->n_data = le_get(c->head + n_head - 8, 8);
        c->at = 0;
    }
    return n_took;
}

static size_t take_data(struct rpc_cursor *c, size_t n)
{
    size_t n_took = n < c->n_data - c->at ? n : (size_t)(c->n_data - c->at);

    c->at += n_took;
    return n_took;
}

/* Bytes of tensors among data that went from `from` to f->request.at. */
static void count_tensor(struct rpc_frames *f, uint64_t from)
{
    if (f->request.head[0] == CMD_SET_TENSOR)
        f->fig.n_tensor_bytes += sat_sub(f->request.at, RPC_TENSOR_HEAD_BYTES) - sat_sub(from, RPC_TENSOR_HEAD_BYTES);
}

static size_t request_some(struct rpc_frames *f, const uint8_t *p, size_t n, uint64_t offset)
{
    uint64_t from = f->request.at;
    bool whole = true;
    size_t n_took;

    if (f->request.n_head < REQUEST_HEAD) {
        n_took = take_head(&f->request, REQUEST_HEAD, p, n, &whole);
        if (whole)
            request_begins(f);
    } else {
        n_took = take_data(&f->request, n);
        count_tensor(f, from);
    }
    if (whole && f->request.at == f->request.n_data && f->fig.why == RPC_BLIND_NOT) {
        f->request.n_head = 0;
        request_ends(f, offset + n_took);
    }
    return n_took;
}

void rpc_frames_request(struct rpc_frames *f, const void *buf, size_t n_bytes, uint64_t now_ms)
{
    const uint8_t *p = buf;
    uint64_t before = f->fig.request.n_bytes;

    if (f->n_written == before && n_bytes)
        f->moved_ms = now_ms; /* nothing was held until now */
    f->fig.request.n_bytes += n_bytes;
    for (size_t at = 0; at < n_bytes && f->fig.why == RPC_BLIND_NOT;)
        at += request_some(f, p + at, n_bytes - at, before + at);
}

void rpc_frames_written(struct rpc_frames *f, uint64_t n_bytes, uint64_t now_ms)
{
    if (!n_bytes)
        return;
    f->n_written += sat_min(n_bytes, f->fig.request.n_bytes - f->n_written);
    f->moved_ms = now_ms;
    for (size_t i = 0; i < f->fig.n_waiting; i++) {
        struct rpc_waiting *w = waiting_at(f, i);

        if (!w->is_written && w->end <= f->n_written) {
            w->is_written = true;
            w->written_ms = now_ms;
        }
    }
    if (!f->graph_written && f->n_graphs_done != f->fig.n_graphs && f->graph_end <= f->n_written) {
        f->graph_written = true;
        f->graph_ms = now_ms;
    }
}

/* ---- answers ---- */

/* The graphs before this GET_TENSOR are done. Of those behind it, sent without waiting, the time counts from here. */
static void graphs_done(struct rpc_frames *f, const struct rpc_waiting *get, uint64_t now_ms)
{
    if (get->n_graphs == f->n_graphs_done)
        return;
    if (f->graph_written)
        f->fig.graph_ms += sat_sub(now_ms, f->graph_ms);
    f->n_graphs_done = get->n_graphs;
    f->graph_ms = now_ms;
}

/* The worker has begun to answer: from here on it is the network, not the worker, that is waited for. */
static void answer_begins(struct rpc_frames *f, uint64_t now_ms)
{
    const struct rpc_waiting *w = waiting_at(f, 0);

    if (!f->fig.n_waiting || !w->is_written) {
        go_blind(f, RPC_BLIND_UNASKED, 0);
        return;
    }
    f->answered = w->command;
    if (f->answer.n_data > RPC_SMALL_ANSWER_MAX && !w->long_answer) {
        go_blind(f, RPC_BLIND_LENGTH, w->command);
        return;
    }
    if (w->command == CMD_GET_TENSOR)
        graphs_done(f, w, now_ms);
    f->first = (f->first + 1) % RPC_FRAMES_WAITING_MAX;
    f->fig.n_waiting--;
    f->fig.answer.n_frames++;
}

static void hello_answered(struct rpc_frames *f)
{
    const uint8_t *v = f->start;

    f->fig.version = (struct rpc_version){v[0], v[1], v[2]};
    f->dialect = f->answer.n_data >= HELLO_ANSWER_MIN ? dialect_find(v[0]) : NULL;
    if (!f->dialect)
        go_blind(f, RPC_BLIND_VERSION, 0);
}

static void answer_ends(struct rpc_frames *f)
{
    f->fig.n_round_trips++;
    if (f->answered == CMD_HELLO)
        hello_answered(f);
    f->fig.n_hash_known += f->answered == CMD_SET_TENSOR_HASH && f->answer.n_data == 1 && f->start[0] == 1;
}

static size_t answer_some(struct rpc_frames *f, const uint8_t *p, size_t n, uint64_t now_ms)
{
    uint64_t from = f->answer.at;
    bool whole = true;
    size_t n_took;

    if (f->answer.n_head < ANSWER_HEAD) {
        n_took = take_head(&f->answer, ANSWER_HEAD, p, n, &whole);
        if (whole) {
            memset(f->start, 0, sizeof(f->start));
            answer_begins(f, now_ms);
        }
    } else {
        n_took = take_data(&f->answer, n);
        for (size_t i = 0; i < n_took && from + i < sizeof(f->start); i++)
            f->start[from + i] = p[i];
    }
    if (whole && f->answer.at == f->answer.n_data && f->fig.why == RPC_BLIND_NOT) {
        f->answer.n_head = 0;
        answer_ends(f);
    }
    return n_took;
}

void rpc_frames_answer(struct rpc_frames *f, const void *buf, size_t n_bytes, uint64_t now_ms)
{
    const uint8_t *p = buf;

    f->fig.answer.n_bytes += n_bytes;
    for (size_t at = 0; at < n_bytes && f->fig.why == RPC_BLIND_NOT;)
        at += answer_some(f, p + at, n_bytes - at, now_ms);
}

/* ---- the picture ---- */

bool rpc_frames_may_answer(const struct rpc_frames *f)
{
    return f->dialect && f->dialect->may_feed && f->fig.why == RPC_BLIND_NOT && !f->fig.n_waiting && !f->answer.n_head;
}

void rpc_frames_figures(const struct rpc_frames *f, uint64_t now_ms, struct rpc_figures *ret)
{
    const struct rpc_waiting *w = &f->waiting[f->first];

    *ret = f->fig;
    ret->n_held_bytes = f->fig.request.n_bytes - f->n_written;
    ret->held_ms = ret->n_held_bytes ? sat_sub(now_ms, f->moved_ms) : 0;
    ret->n_graphs_open = f->fig.n_graphs - f->n_graphs_done;
    ret->graph_age_ms = ret->n_graphs_open && f->graph_written ? sat_sub(now_ms, f->graph_ms) : 0;
    if (!f->fig.n_waiting)
        return;
    ret->oldest = rpc_command_name(w->command);
    ret->oldest_age_ms = w->is_written ? sat_sub(now_ms, w->written_ms) : 0;
}
