#include "controller/plan_json.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "controller/core/served.h"
#include "controller/json_fields.h"

static_assert(sizeof(enum place_policy) == sizeof(unsigned int), "json_fields writes words as unsigned int");

enum { REQUEST_CTX_MAX = 1 << 24, REQUEST_SLOTS_MAX = 256, REQUEST_BATCH_MAX = 1 << 16 };
#define REQUEST_TTL_MAX_MS (UINT64_C(1) << 52)

static const char *policy_word(int v)
{
    return place_policy_name((enum place_policy)v);
}

static const char *transport_word(int v)
{
    return place_transport_name((enum place_transport)v);
}

static const char *rank0_word(int v)
{
    switch ((enum place_rank0)v) {
    case RANK0_AUTO:
        return "auto";
    case RANK0_LOCAL:
        return "local";
    case RANK0_RPC:
        return "rpc";
    }
    return "auto";
}

#define TEXT(strukt, name) JSON_MEMBER(strukt, name, JSON_FIELD_TEXT, true)
#define U64(strukt, name)  JSON_MEMBER(strukt, name, JSON_FIELD_U64, true)
#define BOOL(strukt, name) JSON_MEMBER(strukt, name, JSON_FIELD_BOOL, true)
#define U32(strukt, name, limit)                                                                      \
    {                                                                                                 \
        .key = #name, .type = JSON_FIELD_U32, .required = true, .max = (limit), JSON_AT(strukt, name) \
    }

static const struct json_field plan_fields[] = {
    TEXT(plan, model),
    TEXT(plan, alias),
    U64(plan, model_bytes),
    {.key = "header_hash", .type = JSON_FIELD_HEX64, .required = true, JSON_AT(plan, header_hash)},
    U32(plan, n_layer, MODEL_LAYERS_MAX),
    U32(plan, ctx, REQUEST_CTX_MAX),
    U32(plan, slots, REQUEST_SLOTS_MAX),
    U32(plan, batch, REQUEST_BATCH_MAX),
    U32(plan, ubatch, REQUEST_BATCH_MAX),
    TEXT(plan, kv_type),
    {.key = "policy",
     .type = JSON_FIELD_WORD,
     .required = true,
     .word = policy_word,
     .n_words = POLICY_SPREAD,
     JSON_AT(plan, policy)},
    {.key = "transport",
     .type = JSON_FIELD_WORD, /* not required: earlier versions kept plans without it */
     .word = transport_word,
     .n_words = TRANSPORT_TUNNEL,
     JSON_AT(plan, transport)},
    U32(plan, band, PROTO_RANKS_MAX),
    U32(plan, wanted_nodes, PROTO_RANKS_MAX),
    TEXT(plan, build),
    U64(plan, host_bytes),
    U64(plan, missing_bytes),
    {.key = NULL},
};
static const struct json_field rank_fields[] = {
    {.key = "node", .type = JSON_FIELD_ID, .required = true, JSON_AT(plan_rank, node)},
    TEXT(plan_rank, node_name),
    TEXT(plan_rank, addr),
    BOOL(plan_rank, local),
    {.key = NULL},
};
static const struct json_field device_fields[] = {
    TEXT(plan_device, name),
    TEXT(plan_device, flag),
    U32(plan_device, first_layer, MODEL_LAYERS_MAX),
    U32(plan_device, n_layers, MODEL_LAYERS_MAX + 1),
    BOOL(plan_device, has_output),
    U64(plan_device, weight_bytes),
    U64(plan_device, kv_bytes),
    U64(plan_device, compute_bytes),
    U64(plan_device, peak_bytes),
    U64(plan_device, offer_bytes),
    {.key = NULL},
};
static const struct json_field request_fields[] = {
    {.key = "model", .type = JSON_FIELD_TEXT, .required = true, JSON_AT(place_request, model)},
    {.key = "alias", .type = JSON_FIELD_TEXT, JSON_AT(place_request, alias)},
    {.key = "nodes", .type = JSON_FIELD_U32, .max = PROTO_RANKS_MAX, JSON_AT(place_request, nodes)},
    {.key = "policy",
     .type = JSON_FIELD_WORD,
     .word = policy_word,
     .n_words = POLICY_SPREAD,
     JSON_AT(place_request, policy)},
    {.key = "rank0", .type = JSON_FIELD_WORD, .word = rank0_word, .n_words = RANK0_RPC, JSON_AT(place_request, rank0)},
    {.key = "ctx", .type = JSON_FIELD_U32, .max = REQUEST_CTX_MAX, JSON_AT(place_request, ctx)},
    {.key = "slots", .type = JSON_FIELD_U32, .max = REQUEST_SLOTS_MAX, JSON_AT(place_request, slots)},
    {.key = "batch", .type = JSON_FIELD_U32, .max = REQUEST_BATCH_MAX, JSON_AT(place_request, batch)},
    {.key = "ubatch", .type = JSON_FIELD_U32, .max = REQUEST_BATCH_MAX, JSON_AT(place_request, ubatch)},
    {.key = "kv_type", .type = JSON_FIELD_TEXT, JSON_AT(place_request, kv_type)},
    {.key = "replicas", .type = JSON_FIELD_U32, .max = SERVED_REPLICAS_MAX, JSON_AT(place_request, replicas)},
    {.key = "pinned", .type = JSON_FIELD_BOOL, JSON_AT(place_request, pinned)},
    {.key = "ttl_ms", .type = JSON_FIELD_U64, .max = REQUEST_TTL_MAX_MS, JSON_AT(place_request, ttl_ms)},
    {.key = NULL},
};

/* ---- writing ---- */

static int write_devices(json_t *o, const struct plan_rank *rank)
{
    json_t *list = json_array();
    int r = json_put(o, "devices", list);

    for (size_t i = 0; !r && i < rank->n_devices; i++) {
        json_t *d = json_object();

        r = json_array_append_new(list, d) < 0 ? err_raise(-ENOMEM)
                                               : json_fields_write(d, device_fields, &rank->device[i]);
    }
    return r;
}

static int write_ranks(json_t *o, const struct plan *p)
{
    json_t *list = json_array();
    int r = json_put(o, "ranks", list);

    for (size_t i = 0; !r && i < p->n_ranks; i++) {
        json_t *rank = json_object();

        if (json_array_append_new(list, rank) < 0)
            return err_raise(-ENOMEM);
        r = json_put_uint(rank, "rank", i);
        if (!r)
            r = json_fields_write(rank, rank_fields, &p->rank[i]);
        if (!r)
            r = write_devices(rank, &p->rank[i]);
    }
    return r;
}

static int write_notes(json_t *o, const struct plan *p)
{
    json_t *list = json_array();
    int r = json_put(o, "notes", list);

    for (size_t i = 0; !r && i < p->n_notes; i++)
        if (json_array_append_new(list, json_text(p->note[i])) < 0)
            return err_raise(-ENOMEM);
    return r;
}

int plan_json_write(const struct plan *p, json_t **ret)
{
    CLEANUP(json_cleanup) json_t *o = json_object();
    int r;

    if (!o)
        return err_raise(-ENOMEM);
    r = json_put_uint(o, "format", PLAN_JSON_FORMAT);
    if (!r)
        r = json_fields_write(o, plan_fields, p);
    if (!r)
        r = write_ranks(o, p);
    if (!r)
        r = write_notes(o, p);
    if (r < 0)
        return err_pass(r);
    *ret = o;
    o = NULL;
    return 0;
}

/* ---- reading ---- */

static int refuse(char *why, size_t why_size, const char *text)
{
    snprintf(why, why_size, "%s", text);
    return PLAN_JSON_E_INVALID;
}

/* A list of at least min and at most max entries, or NULL with the reason. */
static const json_t *get_list(const json_t *o, const char *key, size_t min, size_t max, char *why, size_t why_size)
{
    const json_t *list = json_object_get(o, key);

    if (json_is_array(list) && json_array_size(list) >= min && json_array_size(list) <= max)
        return list;
    snprintf(why, why_size, "\"%s\" must be a list of %zu to %zu entries", key, min, max);
    return NULL;
}

static int read_rank(const json_t *j, size_t index, struct plan_rank *rank, char *why, size_t why_size)
{
    static const char *const others[] = {"rank", "devices", NULL}, *const none[] = {NULL};
    const json_t *list;

    if (json_fields_read(j, rank_fields, others, rank, why, why_size))
        return PLAN_JSON_E_INVALID;
    if (!json_is_integer(json_object_get(j, "rank")) ||
        json_integer_value(json_object_get(j, "rank")) != (json_int_t)index)
        return refuse(why, why_size, "\"rank\" must count from 0 in order");
    list = get_list(j, "devices", 1, PROTO_DEVICES_MAX, why, why_size);
    if (!list)
        return PLAN_JSON_E_INVALID;
    for (; rank->n_devices < json_array_size(list); rank->n_devices++)
        if (json_fields_read(json_array_get(list, rank->n_devices), device_fields, none, &rank->device[rank->n_devices],
                             why, why_size))
            return PLAN_JSON_E_INVALID;
    return 0;
}

/* Layers in rank and device order: side by side from 0, n_layer + 1 in all, the output layer on the last device that has
 * any. Anything else would start a coordinator whose ranks are not the plan's. */
static int check_layers(const struct plan *p, char *why, size_t why_size)
{
    uint64_t next = 0;
    size_t n_devices = 0;
    bool output = false;

    for (size_t r = 0; r < p->n_ranks; r++)
        for (size_t d = 0; d < p->rank[r].n_devices; d++, n_devices++) {
            const struct plan_device *dev = &p->rank[r].device[d];

            if (dev->n_layers && (dev->first_layer != next || output))
                return refuse(why, why_size, "the ranks' layers do not follow one another");
            next += dev->n_layers;
            output = output || dev->has_output;
        }
    if (n_devices > PLACE_PLAN_DEVICES)
        return refuse(why, why_size, "the plan has more devices than llama.cpp takes");
    if (next != (uint64_t)p->n_layer + 1 || !output)
        return refuse(why, why_size, "the ranks' layers do not sum to the model's, the output layer included");
    return 0;
}

static int read_ranks(const json_t *j, struct plan *p, char *why, size_t why_size)
{
    const json_t *list = get_list(j, "ranks", 0, PROTO_RANKS_MAX, why, why_size);
    int r;

    if (!list)
        return PLAN_JSON_E_INVALID;
    for (; p->n_ranks < json_array_size(list); p->n_ranks++) {
        r = read_rank(json_array_get(list, p->n_ranks), p->n_ranks, &p->rank[p->n_ranks], why, why_size);
        if (r)
            return r;
    }
    return p->n_ranks ? check_layers(p, why, why_size) : 0;
}

static int read_notes(const json_t *j, struct plan *p, char *why, size_t why_size)
{
    const json_t *list = get_list(j, "notes", 0, PLACE_NOTES_MAX, why, why_size);

    if (!list)
        return PLAN_JSON_E_INVALID;
    for (; p->n_notes < json_array_size(list); p->n_notes++) {
        const char *note = json_string_value(json_array_get(list, p->n_notes));

        if (!note || strlen(note) >= sizeof(p->note[0]))
            return refuse(why, why_size, "\"notes\" must be a list of short sentences");
        memcpy(p->note[p->n_notes], note, strlen(note) + 1);
    }
    return 0;
}

int plan_json_read(const json_t *j, struct plan **ret, char *why, size_t why_size)
{
    static const char *const others[] = {"format", "ranks", "notes", NULL};
    CLEANUP(cleanup_free) struct plan *p = NULL;
    const json_t *format;

    if (!json_is_object(j))
        return refuse(why, why_size, "a plan must be a JSON object");
    format = json_object_get(j, "format");
    if (!json_is_integer(format) || json_integer_value(format) != PLAN_JSON_FORMAT)
        return refuse(why, why_size, "\"format\" must be 1: make the plan again with this version of caravan");
    p = calloc(1, sizeof(*p));
    if (!p)
        return err_raise(-ENOMEM);
    if (json_fields_read(j, plan_fields, others, p, why, why_size) || read_ranks(j, p, why, why_size) ||
        read_notes(j, p, why, why_size))
        return PLAN_JSON_E_INVALID;
    *ret = p;
    p = NULL;
    return 0;
}

/* ---- requests ---- */

_Bool plan_kv_type_known(const char *kv_type)
{
    static const char *const known[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(kv_type, known[i]) == 0)
            return true;
    return false;
}

int place_request_write(json_t *o, const struct place_request *req)
{
    json_t *args = json_array();
    int r = json_put(o, "args", args);

    for (size_t i = 0; !r && i < req->n_args; i++)
        if (json_array_append_new(args, json_text(req->arg[i])) < 0)
            return err_raise(-ENOMEM);
    return r ? err_pass(r) : json_fields_write(o, request_fields, req);
}

static int read_args(const json_t *list, struct place_request *req, char *why, size_t why_size)
{
    size_t n = json_array_size(list);

    if (!json_is_array(list) || n > PROTO_ARGS_MAX)
        return refuse(why, why_size, "\"args\" must be a list of at most 64 strings");
    if (!n)
        return 0;
    req->arg = calloc(n, sizeof(req->arg[0]));
    if (!req->arg)
        return err_raise(-ENOMEM);
    for (; req->n_args < n; req->n_args++) {
        const char *arg = json_string_value(json_array_get(list, req->n_args));

        if (!arg || strlen(arg) >= PROTO_ARG_MAX)
            return refuse(why, why_size, "\"args\" must hold strings of less than 1024 bytes");
        memcpy(req->arg[req->n_args], arg, strlen(arg) + 1);
    }
    return 0;
}

int place_request_read(const json_t *o, const char *const *others, struct place_request *req, char *why,
                       size_t why_size)
{
    CLEANUP(place_request_clear) struct place_request new = {.nodes = 0};
    const json_t *args;
    int r;

    memset(req, 0, sizeof(*req));
    if (json_fields_read(o, request_fields, others, &new, why, why_size))
        return PLAN_JSON_E_INVALID;
    if (!*new.model)
        return refuse(why, why_size, "\"model\" is empty");
    if (*new.kv_type && !plan_kv_type_known(new.kv_type))
        return refuse(why, why_size, "\"kv_type\" must be one of f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1");
    args = json_object_get(o, "args");
    if (args && !json_is_null(args)) {
        r = read_args(args, &new, why, why_size);
        if (r)
            return r;
    }
    *req = new;
    memset(&new, 0, sizeof(new));
    return 0;
}

void place_request_clear(struct place_request *req)
{
    free(req->arg);
    memset(req, 0, sizeof(*req));
}

int place_request_copy(const struct place_request *from, struct place_request *ret)
{
    struct place_request copy = *from;

    copy.arg = NULL;
    if (from->n_args) {
        copy.arg = calloc(from->n_args, sizeof(copy.arg[0]));
        if (!copy.arg)
            return err_raise(-ENOMEM);
        memcpy(copy.arg, from->arg, from->n_args * sizeof(copy.arg[0]));
    }
    *ret = copy;
    return 0;
}
