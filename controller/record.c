#include "controller/record.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "controller/json_fields.h"
#include "controller/plan_json.h"

static const char *instance_state_word(int v)
{
    return instance_state_name((enum instance_state)v);
}

static const char *task_state_word(int v)
{
    return task_state_name((enum task_state)v);
}

static const char *task_kind_word(int v)
{
    return task_kind_name((enum task_kind)v);
}

static const char *key_scope_word(int v)
{
    return key_scope_name((enum key_scope)v);
}

static const char *api_scope_word(int v)
{
    return api_scope_name((enum api_scope)v);
}

#define TEXT(strukt, name) JSON_MEMBER(strukt, name, JSON_FIELD_TEXT, false)
#define U64(strukt, name)  JSON_MEMBER(strukt, name, JSON_FIELD_U64, false)
#define BOOL(strukt, name) JSON_MEMBER(strukt, name, JSON_FIELD_BOOL, false)
#define ID(strukt, name)   JSON_MEMBER(strukt, name, JSON_FIELD_ID, true)
#define WORD(strukt, name, fn, n)                                                                                  \
    {                                                                                                              \
        .key = #name, .type = JSON_FIELD_WORD, .required = true, .word = fn, .n_words = (n), JSON_AT(strukt, name) \
    }

static const struct json_field head_fields[] = {
    ID(record, instance),
    U64(record, wall_ms),
    {.key = NULL},
};
static const struct json_field instance_fields[] = {
    TEXT(record_instance, name),
    WORD(record_instance, state, instance_state_word, INSTANCE_FAILED),
    {.key = "epoch", .type = JSON_FIELD_U64, .required = true, JSON_AT(record_instance, epoch)},
    TEXT(record_instance, reason),
    JSON_MEMBER(record_instance, attempts, JSON_FIELD_U32, false),
    U64(record_instance, load_ms),
    BOOL(record_instance, served),
    JSON_MEMBER(record_instance, follows, JSON_FIELD_ID, false),
    {.key = "replica", .type = JSON_FIELD_U32, .max = SERVED_REPLICAS_MAX - 1, JSON_AT(record_instance, replica)},
    BOOL(record_instance, demand),
    U64(record_instance, deploy_task),
    {.key = NULL},
};
static const struct json_field node_fields[] = {
    TEXT(record_node, name),    TEXT(record_node, key), BOOL(record_node, draining),
    BOOL(record_node, retired), {.key = NULL},
};
static const struct json_field key_fields[] = {
    {.key = "key", .type = JSON_FIELD_TEXT, .required = true, JSON_AT(view_key, key)},
    WORD(view_key, scope, key_scope_word, KEY_REVOKED),
    TEXT(view_key, name),
    U64(view_key, made_wall_ms),
    U64(view_key, expires_wall_ms),
    JSON_MEMBER(view_key, uses_left, JSON_FIELD_U32, false),
    {.key = NULL},
};
static const struct json_field api_key_fields[] = {
    {.key = "name", .type = JSON_FIELD_TEXT, .required = true, JSON_AT(view_api_key, name)},
    {.key = "hash", .type = JSON_FIELD_TEXT, .required = true, JSON_AT(view_api_key, hash)},
    WORD(view_api_key, scope, api_scope_word, API_ADMIN),
    U64(view_api_key, made_wall_ms),
    {.key = NULL},
};
static const struct json_field task_fields[] = {
    {.key = "id", .type = JSON_FIELD_U64, .required = true, JSON_AT(view_task, id)},
    WORD(view_task, kind, task_kind_word, TASK_DRAIN),
    WORD(view_task, state, task_state_word, TASK_CANCELLED),
    ID(view_task, instance),
    TEXT(view_task, name),
    TEXT(view_task, code),
    TEXT(view_task, text),
    TEXT(view_task, step),
    U64(view_task, created_wall_ms),
    U64(view_task, ended_wall_ms),
    {.key = NULL},
};
static const struct json_field audit_fields[] = {
    TEXT(record_audit, machine), TEXT(record_audit, id),      TEXT(record_audit, from), TEXT(record_audit, to),
    TEXT(record_audit, event),   TEXT(record_audit, verdict), TEXT(record_audit, text), {.key = NULL},
};

/* NULL: not written. */
static int write_plan(json_t *o, const char *key, const struct plan *plan)
{
    json_t *value = NULL;
    int r = plan ? plan_json_write(plan, &value) : 0;

    return r || !plan ? r : json_put(o, key, value);
}

static const struct json_field debt_fields[] = {
    JSON_MEMBER(debt, node, JSON_FIELD_ID, true),
    JSON_MEMBER(debt, epoch, JSON_FIELD_U64, true),
    BOOL(debt, tunnel),
    {.key = NULL},
};

static const struct json_field tried_fields[] = {
    {.key = "epoch", .type = JSON_FIELD_U64, JSON_AT(tried, shown.epoch)},
    {.key = "wall_ms", .type = JSON_FIELD_U64, JSON_AT(tried, shown.wall_ms)},
    {.key = "code", .type = JSON_FIELD_TEXT, JSON_AT(tried, shown.code)},
    {.key = "node", .type = JSON_FIELD_TEXT, JSON_AT(tried, shown.node)},
    {.key = "text", .type = JSON_FIELD_TEXT, JSON_AT(tried, shown.text)},
    {.key = "node_id", .type = JSON_FIELD_ID, JSON_AT(tried, node)},
    BOOL(tried, counted),
    {.key = NULL},
};

/* n items of that size each. */
static int write_list(json_t *o, const char *key, const struct json_field *fields, const void *item, size_t size,
                      size_t n)
{
    json_t *list = json_array();
    int r = json_put(o, key, list);

    for (size_t k = 0; k < n && !r; k++) {
        json_t *one = json_object();

        r = !one || json_array_append_new(list, one) ? err_raise(-ENOMEM)
                                                     : json_fields_write(one, fields, (const char *)item + k * size);
    }
    return r;
}

static int write_instance(json_t *o, const struct record_instance *i)
{
    json_t *request = json_object();
    int r = json_put(o, "request", request);

    if (!r)
        r = place_request_write(request, &i->request);
    if (!r)
        r = write_plan(o, "plan", i->plan);
    if (!r)
        r = write_plan(o, "pinned", i->pinned);
    if (!r && i->n_debts)
        r = write_list(o, "debts", debt_fields, i->debt, sizeof(i->debt[0]), i->n_debts);
    if (!r && i->n_tried)
        r = write_list(o, "tried", tried_fields, i->tried, sizeof(i->tried[0]), i->n_tried);
    if (!r)
        r = json_fields_write(o, instance_fields, i);
    return r;
}

static int write_value(json_t *o, const struct record *r)
{
    int res = json_fields_write(o, head_fields, r);

    if (res)
        return err_pass(res);
    switch (r->kind) {
    case RECORD_INSTANCE:
        return write_instance(o, &r->i);
    case RECORD_TASK:
        return json_fields_write(o, task_fields, &r->task);
    case RECORD_AUDIT:
        return json_fields_write(o, audit_fields, &r->audit);
    case RECORD_NODE:
        return json_fields_write(o, node_fields, &r->node);
    case RECORD_KEY:
        return json_fields_write(o, key_fields, &r->key);
    case RECORD_API_KEY:
        return json_fields_write(o, api_key_fields, &r->api_key);
    }
    return err_raise(-EINVAL);
}

static void name_row(const struct record *r, uint32_t audit_seq, struct store_record *row)
{
    switch (r->kind) {
    case RECORD_INSTANCE:
        snprintf(row->kind, sizeof(row->kind), "instance");
        snprintf(row->key, sizeof(row->key), "%s", ID128(&r->instance));
        return;
    case RECORD_TASK:
        snprintf(row->kind, sizeof(row->kind), "task");
        snprintf(row->key, sizeof(row->key), "%020" PRIu64, r->task.id);
        return;
    case RECORD_AUDIT:
        snprintf(row->kind, sizeof(row->kind), "audit");
        snprintf(row->key, sizeof(row->key), "%020" PRIu64 "-%010" PRIu32, r->wall_ms, audit_seq);
        return;
    case RECORD_NODE:
        snprintf(row->kind, sizeof(row->kind), "node");
        snprintf(row->key, sizeof(row->key), "%s", ID128(&r->instance));
        return;
    case RECORD_KEY:
        snprintf(row->kind, sizeof(row->kind), "key");
        snprintf(row->key, sizeof(row->key), "%s", r->key.key);
        return;
    case RECORD_API_KEY:
        snprintf(row->kind, sizeof(row->kind), "api_key");
        snprintf(row->key, sizeof(row->key), "%s", r->api_key.name);
        return;
    }
}

int record_to_store(const struct record *r, uint32_t audit_seq, struct store_record *ret)
{
    CLEANUP(json_cleanup) json_t *o = NULL;
    struct store_record row = {.gone = r->gone};
    int res;

    name_row(r, audit_seq, &row);
    if (!r->gone) {
        o = json_object();
        if (!o)
            return err_raise(-ENOMEM);
        res = write_value(o, r);
        if (res < 0)
            return err_pass(res);
        row.value = json_dumps(o, JSON_COMPACT);
        if (!row.value)
            return err_raise(-ENOMEM);
    }
    *ret = row;
    return 0;
}

static int read_plan(const json_t *o, const char *key, struct plan **ret, char *why, size_t why_size)
{
    const json_t *plan = json_object_get(o, key);

    return plan && !json_is_null(plan) ? plan_json_read(plan, ret, why, why_size) : 0;
}

/* The items of a list, each into a place of that size; *ret_n grows with them. */
static int read_list(const json_t *list, const struct json_field *fields, void *item, size_t size, size_t *ret_n,
                     char *why, size_t why_size)
{
    for (size_t k = 0; k < json_array_size(list); k++) {
        if (json_fields_read(json_array_get(list, k), fields, NULL, (char *)item + k * size, why, why_size))
            return RECORD_E_INVALID;
        *ret_n = k + 1;
    }
    return 0;
}

/* *ret: a list of n_max at most; NULL: none, as in a record that an earlier version kept. */
static int find_list(const json_t *o, const char *key, size_t n_max, const json_t **ret, char *why, size_t why_size)
{
    const json_t *list = json_object_get(o, key);

    if (list && (!json_is_array(list) || json_array_size(list) > n_max)) {
        snprintf(why, why_size, "%s: not a list of %zu at most", key, n_max);
        return RECORD_E_INVALID;
    }
    *ret = list;
    return 0;
}

static int read_debts(const json_t *o, struct record_instance *i, char *why, size_t why_size)
{
    const json_t *list;
    int r = find_list(o, "debts", DEBTS_MAX, &list, why, why_size);

    return r ? r : read_list(list, debt_fields, i->debt, sizeof(i->debt[0]), &i->n_debts, why, why_size);
}

static int read_tried(const json_t *o, struct record_instance *i, char *why, size_t why_size)
{
    const json_t *list;
    int r = find_list(o, "tried", VIEW_TRIES_MAX, &list, why, why_size);

    if (r || !json_array_size(list))
        return r;
    i->tried = calloc(json_array_size(list), sizeof(*i->tried));
    if (!i->tried)
        return err_raise(-ENOMEM);
    return read_list(list, tried_fields, i->tried, sizeof(i->tried[0]), &i->n_tried, why, why_size);
}

static int read_instance(const json_t *o, struct record_instance *i, char *why, size_t why_size)
{
    int r;

    if (json_fields_read(o, instance_fields, NULL, i, why, why_size))
        return RECORD_E_INVALID;
    r = place_request_read(json_object_get(o, "request"), NULL, &i->request, why, why_size);
    if (!r)
        r = read_plan(o, "plan", &i->plan, why, why_size);
    if (!r)
        r = read_plan(o, "pinned", &i->pinned, why, why_size);
    if (!r)
        r = read_debts(o, i, why, why_size);
    if (!r)
        r = read_tried(o, i, why, why_size);
    return r > 0 ? RECORD_E_INVALID : r;
}

/* rec->kind is set. */
static int read_value(const json_t *o, struct record *rec, char *why, size_t why_size)
{
    if (json_fields_read(o, head_fields, NULL, rec, why, why_size))
        return RECORD_E_INVALID;
    switch (rec->kind) {
    case RECORD_INSTANCE:
        return read_instance(o, &rec->i, why, why_size);
    case RECORD_TASK:
        return json_fields_read(o, task_fields, NULL, &rec->task, why, why_size) ? RECORD_E_INVALID : 0;
    case RECORD_NODE:
        return json_fields_read(o, node_fields, NULL, &rec->node, why, why_size) ? RECORD_E_INVALID : 0;
    case RECORD_KEY:
        return json_fields_read(o, key_fields, NULL, &rec->key, why, why_size) ? RECORD_E_INVALID : 0;
    case RECORD_API_KEY:
        return json_fields_read(o, api_key_fields, NULL, &rec->api_key, why, why_size) ? RECORD_E_INVALID : 0;
    case RECORD_AUDIT:
        break;
    }
    return err_raise(-EINVAL);
}

static bool read_kind(const char *word, enum record_kind *ret)
{
    static const struct {
        const char *word;
        enum record_kind kind;
    } kinds[] = {{"instance", RECORD_INSTANCE},
                 {"task", RECORD_TASK},
                 {"node", RECORD_NODE},
                 {"key", RECORD_KEY},
                 {"api_key", RECORD_API_KEY}};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(word, kinds[i].word) == 0) {
            *ret = kinds[i].kind;
            return true;
        }
    return false;
}

int record_from_store(const struct store_record *s, struct record *ret, char *why, size_t why_size)
{
    CLEANUP(json_cleanup) json_t *o = NULL;
    struct record rec = {.gone = false};
    int r;

    if (s->gone || !s->value || !read_kind(s->kind, &rec.kind))
        return RECORD_E_IGNORED;
    if (json_parse(s->value, strlen(s->value), &o, why, why_size))
        return RECORD_E_INVALID;
    r = read_value(o, &rec, why, why_size);
    if (r) {
        record_clear(&rec);
        return r < 0 ? err_pass(r) : r;
    }
    *ret = rec;
    return 0;
}
