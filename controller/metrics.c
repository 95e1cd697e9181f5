#include "controller/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/core/err.h"
#include "controller/metrics_page.h"

static const double bounds[METRICS_BUCKETS] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0};

/* Codes of requests that no handler saw. */
static const int refusals[] = {400, 401, 403, 404, 405, 408, 413, 417, 421, 431, 501, 503, 505};
enum { REFUSALS = sizeof(refusals) / sizeof(refusals[0]) };

struct metrics {
    struct metrics_models *models;
    uint64_t refused[REFUSALS];
};

int metrics_new(struct metrics **ret)
{
    struct metrics *m = calloc(1, sizeof(*m));

    if (!m)
        return err_raise(-ENOMEM);
    m->models = metrics_models_new();
    if (!m->models) {
        free(m);
        return err_raise(-ENOMEM);
    }
    *ret = m;
    return 0;
}

void metrics_destroy(struct metrics **m)
{
    if (*m)
        metrics_models_destroy(&(*m)->models);
    free(*m);
    *m = NULL;
}

void metrics_observe_in(struct metrics_histogram *h, const double bound[METRICS_BUCKETS], double value)
{
    size_t i = 0;

    while (i < METRICS_BUCKETS && value > bound[i])
        i++;
    h->bucket[i]++;
    h->n++;
    h->sum += value;
}

void metrics_observe(struct metrics_histogram *h, double seconds)
{
    metrics_observe_in(h, bounds, seconds);
}

void metrics_gateway_answer(struct metrics *m, const struct metrics_answer *a)
{
    metrics_models_count(m->models, a);
}

void metrics_http_refused(struct metrics *m, int status)
{
    for (size_t i = 0; i < REFUSALS; i++)
        m->refused[i] += refusals[i] == status;
}

/* ---- printing ---- */

void metrics_label(FILE *out, const char *name, const char *value)
{
    fprintf(out, "%s=\"", name);
    for (; *value; value++)
        if (*value == '\\' || *value == '"')
            fprintf(out, "\\%c", *value);
        else if (*value == '\n')
            fputs("\\n", out);
        else
            fputc(*value, out);
    fputc('"', out);
}

static void print_nodes(const struct page *p, const char *name)
{
    for (int s = NODE_UNKNOWN; s <= NODE_RETIRED; s++) {
        size_t n = 0;

        for (size_t i = 0; p->view && i < p->view->n_nodes; i++)
            n += (int)p->view->node[i].state == s;
        fprintf(p->out, "%s{state=\"%s\"} %zu\n", name, node_state_name((enum node_state)s), n);
    }
}

static void print_instances(const struct page *p, const char *name)
{
    for (int s = INSTANCE_REQUESTED; s <= INSTANCE_FAILED; s++) {
        size_t n = 0;

        for (size_t i = 0; p->view && i < p->view->n_instances; i++)
            n += (int)p->view->instance[i].state == s;
        fprintf(p->out, "%s{state=\"%s\"} %zu\n", name, instance_state_name((enum instance_state)s), n);
    }
}

/* Two hosts of one name must not make one series twice, which would spoil the whole page; nodes are sorted by name. */
static void node_label(const struct page *p, const struct view_node *n)
{
    const struct view_node *first = p->view->node, *last = first + p->view->n_nodes - 1;
    bool twin = (n > first && strcmp(n[-1].hello.name, n->hello.name) == 0) ||
                (n < last && strcmp(n[1].hello.name, n->hello.name) == 0);
    char name[PROTO_NAME_MAX + ID128_SHORT_TEXT + 1];

    snprintf(name, sizeof(name), "%s%s%s", n->hello.name, twin ? "-" : "", twin ? ID128_SHORT(&n->id) : "");
    metrics_label(p->out, "node", name);
}

static void node_sample(const struct page *p, const char *name, const struct view_node *n, const char *value)
{
    fprintf(p->out, "%s{", name);
    node_label(p, n);
    fprintf(p->out, "} %s\n", value);
}

static bool is_up(enum node_state s)
{
    switch (s) {
    case NODE_READY:
    case NODE_DRAINING:
    case NODE_DRAINED:
        return true;
    case NODE_UNKNOWN:
    case NODE_JOINING:
    case NODE_SUSPECT:
    case NODE_LOST:
    case NODE_EVICTED:
    case NODE_STUCK:
    case NODE_RETIRED:
        break;
    }
    return false;
}

static void print_node_up(const struct page *p, const char *name)
{
    for (size_t i = 0; p->view && i < p->view->n_nodes; i++)
        node_sample(p, name, &p->view->node[i], is_up(p->view->node[i].state) ? "1" : "0");
}

static void print_node_age(const struct page *p, const char *name)
{
    for (size_t i = 0; p->view && i < p->view->n_nodes; i++) {
        uint64_t since = p->wall_ms > p->view->made_wall_ms ? p->wall_ms - p->view->made_wall_ms : 0;
        char text[32];

        snprintf(text, sizeof(text), "%.3f", (double)(p->view->node[i].last_report_ms + since) / 1000);
        node_sample(p, name, &p->view->node[i], text);
    }
}

static void node_count(const struct page *p, const char *name, const struct view_node *n, uint64_t count)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, count);
    node_sample(p, name, n, text);
}

static void print_carrier_refused(const struct page *p, const char *name)
{
    for (size_t i = 0; p->view && i < p->view->n_nodes; i++)
        node_count(p, name, &p->view->node[i], p->view->node[i].n_refused);
}

static void print_carrier_unreached(const struct page *p, const char *name)
{
    for (size_t i = 0; p->view && i < p->view->n_nodes; i++)
        node_count(p, name, &p->view->node[i], p->view->node[i].n_unreached);
}

static void device_sample(const struct page *p, const char *name, const struct view_node *n,
                          const struct device_facts *d, const char *kind)
{
    fprintf(p->out, "%s{", name);
    node_label(p, n);
    fputc(',', p->out);
    metrics_label(p->out, "device", d->name);
    if (kind) {
        fputc(',', p->out);
        metrics_label(p->out, "kind", kind);
    }
    fputs("} ", p->out);
}

#define FOR_EACH_DEVICE(p, n, d)                                                \
    for (size_t i_ = 0; (p)->view && i_ < (p)->view->n_nodes; i_++)             \
        for (size_t d_ = 0; d_ < (p)->view->node[i_].n_devices; d_++)           \
            for (const struct view_node *n = &(p)->view->node[i_]; n; n = NULL) \
                for (const struct device_facts *d = &n->device[d_]; d; d = NULL)

static void print_device_memory(const struct page *p, const char *name)
{
    FOR_EACH_DEVICE(p, n, d)
    {
        device_sample(p, name, n, d, "total");
        fprintf(p->out, "%" PRIu64 "\n", d->total_bytes);
        device_sample(p, name, n, d, "free");
        fprintf(p->out, "%" PRIu64 "\n", d->free_bytes);
    }
}

static void print_device_utilization(const struct page *p, const char *name)
{
    FOR_EACH_DEVICE(p, n, d)
    {
        if (d->utilization_permille < 0)
            continue;
        device_sample(p, name, n, d, NULL);
        fprintf(p->out, "%.3f\n", d->utilization_permille / 1000.0);
    }
}

static void print_device_temperature(const struct page *p, const char *name)
{
    FOR_EACH_DEVICE(p, n, d)
    {
        if (d->temperature_c == INT32_MIN)
            continue;
        device_sample(p, name, n, d, NULL);
        fprintf(p->out, "%" PRId32 "\n", d->temperature_c);
    }
}

static void instance_sample(const struct page *p, const char *name, const struct view_instance *in)
{
    fprintf(p->out, "%s{", name);
    metrics_label(p->out, "model", in->name);
    fputc(',', p->out);
    metrics_label(p->out, "unit", ID128(&in->id));
    fputs("} ", p->out);
}

static void print_instance_ready(const struct page *p, const char *name)
{
    for (size_t i = 0; p->view && i < p->view->n_instances; i++) {
        instance_sample(p, name, &p->view->instance[i]);
        fprintf(p->out, "%d\n", p->view->instance[i].state == INSTANCE_READY);
    }
}

static void print_instance_epoch(const struct page *p, const char *name)
{
    for (size_t i = 0; p->view && i < p->view->n_instances; i++) {
        instance_sample(p, name, &p->view->instance[i]);
        fprintf(p->out, "%" PRIu64 "\n", p->view->instance[i].epoch);
    }
}

static void print_instance_progress(const struct page *p, const char *name)
{
    for (size_t i = 0; p->view && i < p->view->n_instances; i++) {
        instance_sample(p, name, &p->view->instance[i]);
        fprintf(p->out, "%.3f\n", p->view->instance[i].progress_permille / 1000.0);
    }
}

static void print_instance_attempts(const struct page *p, const char *name)
{
    for (size_t i = 0; p->view && i < p->view->n_instances; i++) {
        instance_sample(p, name, &p->view->instance[i]);
        fprintf(p->out, "%" PRIu32 "\n", p->view->instance[i].attempts);
    }
}

static void print_brake(const struct page *p, const char *name)
{
    fprintf(p->out, "%s %d\n", name, p->view && p->view->brake.on);
}

static void print_audit_lost(const struct page *p, const char *name)
{
    fprintf(p->out, "%s %" PRIu64 "\n", name, p->control->audit_lost);
}

static void print_starts(const struct page *p, const char *name)
{
    fprintf(p->out, "%s %" PRIu64 "\n", name, p->view ? p->view->coordinator_starts : 0);
}

static void print_refusals(const struct page *p, const char *name)
{
    for (size_t i = 0; p->view && i < p->view->n_refusals; i++) {
        const struct view_refusal *r = &p->view->refusal[i];

        fprintf(p->out, "%s{machine=\"%s\",state=\"%s\",event=\"%s\"} %" PRIu64 "\n", name, r->machine, r->state,
                r->event, r->n);
    }
}

static void print_requests(const struct page *p, const char *name)
{
    metrics_models_requests(p->out, p->m->models, name);
}

static void print_queue(const struct page *p, const char *name)
{
    metrics_models_histogram(p->out, p->m->models, METRICS_QUEUE, name);
}

static void print_first(const struct page *p, const char *name)
{
    metrics_models_histogram(p->out, p->m->models, METRICS_FIRST, name);
}

static void print_token(const struct page *p, const char *name)
{
    metrics_models_histogram(p->out, p->m->models, METRICS_TOKEN, name);
}

static void print_total(const struct page *p, const char *name)
{
    metrics_models_histogram(p->out, p->m->models, METRICS_TOTAL, name);
}

static void print_tokens(const struct page *p, const char *name)
{
    metrics_models_histogram(p->out, p->m->models, METRICS_TOKENS, name);
}

static void print_refused(const struct page *p, const char *name)
{
    for (size_t i = 0; i < REFUSALS; i++)
        fprintf(p->out, "%s{code=\"%d\"} %" PRIu64 "\n", name, refusals[i], p->m->refused[i]);
}

static void print_leader(const struct page *p, const char *name)
{
    fprintf(p->out, "%s %d\n", name, p->view && p->view->leader);
}

static void print_malformed(const struct page *p, const char *name)
{
    fprintf(p->out, "%s{reason=\"malformed\"} %" PRIu64 "\n", name, p->control->messages_malformed);
    fprintf(p->out, "%s{reason=\"unknown_kind\"} %" PRIu64 "\n", name, p->control->messages_unknown);
}

static void print_late(const struct page *p, const char *name)
{
    fprintf(p->out, "%s %" PRIu64 "\n", name, p->view ? p->view->late_messages : 0);
}

static void print_link_refused(const struct page *p, const char *name)
{
    fprintf(p->out, "%s %" PRIu64 "\n", name, p->control->links_refused);
}

static void print_join_refused(const struct page *p, const char *name)
{
    fprintf(p->out, "%s %" PRIu64 "\n", name, p->view ? p->view->joins_refused : 0);
}

static void print_api_keys(const struct page *p, const char *name)
{
    for (int s = API_INFER; s <= API_ADMIN; s++) {
        size_t n = 0;

        for (size_t i = 0; p->view && i < p->view->n_api_keys; i++)
            n += (int)p->view->api_key[i].scope == s;
        fprintf(p->out, "%s{scope=\"%s\"} %zu\n", name, api_scope_name((enum api_scope)s), n);
    }
}

void metrics_histogram_print(FILE *out, const char *name, const char *model, const double bound[METRICS_BUCKETS],
                             const struct metrics_histogram *h)
{
    uint64_t sum = 0;

    for (size_t i = 0; i <= METRICS_BUCKETS; i++) {
        sum += h->bucket[i];
        fprintf(out, "%s_bucket{", name);
        if (model) {
            metrics_label(out, "model", model);
            fputc(',', out);
        }
        if (i < METRICS_BUCKETS)
            fprintf(out, "le=\"%g\"} %" PRIu64 "\n", bound[i], sum);
        else
            fprintf(out, "le=\"+Inf\"} %" PRIu64 "\n", sum);
    }
    for (int count = 0; count < 2; count++) {
        fprintf(out, "%s_%s", name, count ? "count" : "sum");
        if (model) {
            fputc('{', out);
            metrics_label(out, "model", model);
            fputc('}', out);
        }
        if (count)
            fprintf(out, " %" PRIu64 "\n", h->n);
        else
            fprintf(out, " %.6f\n", h->sum);
    }
}

static void print_store_commit(const struct page *p, const char *name)
{
    metrics_histogram_print(p->out, name, NULL, bounds, &p->control->store_commit);
}

static const struct {
    const char *name, *type, *help;
    void (*print)(const struct page *p, const char *name);
} table[] = {
    {"caravan_leader", "gauge", "1 where this controller leads.", print_leader},
    {"caravan_nodes", "gauge", "Nodes by state.", print_nodes},
    {"caravan_brake", "gauge", "1 while silence of nodes is not acted on.", print_brake},
    {"caravan_node_up", "gauge", "1 while the node reports: ready, draining or drained.", print_node_up},
    {"caravan_node_last_report_seconds", "gauge", "Age of the node's last report.", print_node_age},
    {"caravan_device_memory_bytes", "gauge", "Memory of a node's device, by kind: total or free.", print_device_memory},
    {"caravan_device_utilization_ratio", "gauge", "Utilization of a device, where it can be read.",
     print_device_utilization},
    {"caravan_device_temperature_celsius", "gauge", "Temperature of a device, where it can be read.",
     print_device_temperature},
    {"caravan_instances", "gauge", "Instances by state.", print_instances},
    {"caravan_instance_ready", "gauge", "1 while the instance serves requests.", print_instance_ready},
    {"caravan_instance_epoch", "gauge", "The instance's placements so far.", print_instance_epoch},
    {"caravan_instance_load_ratio", "gauge", "How much of the instance's weights its ranks hold.",
     print_instance_progress},
    {"caravan_instance_attempts", "gauge", "Placements in a row without five minutes of ready.",
     print_instance_attempts},
    {"caravan_rank_stall_seconds", "gauge",
     "How long a rank has not touched bytes that wait for it, or owes an answer.", metrics_rank_stall},
    {"caravan_rank_bytes_total", "counter", "Bytes that carriers have passed to and from a rank, in this placement.",
     metrics_rank_bytes},
    {"caravan_rank_fed_bytes_total", "counter", "Bytes of its weights that a rank got from its node's own file.",
     metrics_rank_fed},
    {"caravan_rank_round_trips_total", "counter", "Answers that its coordinator has waited for.",
     metrics_rank_round_trips},
    {"caravan_rank_graph_seconds_total", "counter", "Time between graphs given to a rank and their answers.",
     metrics_rank_graphs},
    {"caravan_carrier_refused_total", "counter",
     "Connections that a node's carriers have turned away: strangers, claims that nobody granted, too many.",
     print_carrier_refused},
    {"caravan_carrier_unreached_total", "counter", "Streams of a node's carriers whose other side could not be had.",
     print_carrier_unreached},
    {"caravan_coordinator_starts_total", "counter", "Coordinators started.", print_starts},
    {"caravan_transitions_refused_total", "counter", "State transitions refused.", print_refusals},
    {"caravan_gateway_requests_total", "counter", "Requests to /v1 by model and status code.", print_requests},
    {"caravan_gateway_queue_seconds", "histogram", "Time until a request was sent to its coordinator, by model.",
     print_queue},
    {"caravan_gateway_ttft_seconds", "histogram",
     "Time until the first token of a streamed answer, from the request's arrival.", print_first},
    {"caravan_gateway_token_seconds", "histogram",
     "Time per token behind the first one: the mean of each streamed answer.", print_token},
    {"caravan_gateway_request_seconds", "histogram", "Time until the end of an answer, whatever it was.", print_total},
    {"caravan_gateway_answer_tokens", "histogram",
     "Tokens made for an answer, as its usage or timings say; of a stream that was cut, its events.", print_tokens},
    {"caravan_http_refused_total", "counter", "HTTP requests that were refused before any handler saw them.",
     print_refused},
    {"caravan_link_messages_dropped_total", "counter", "Messages of agents that could not be read.", print_malformed},
    {"caravan_late_messages_total", "counter",
     "Results and events of agents that came late, twice, or of a past epoch.", print_late},
    {"caravan_link_refused_total", "counter", "Dials and messages of agents whose key may not.", print_link_refused},
    {"caravan_join_refused_total", "counter", "Nodes that asked with a join token and were not let in.",
     print_join_refused},
    {"caravan_api_keys", "gauge", "API keys by scope.", print_api_keys},
    {"caravan_audit_lost_total", "counter", "Audit rows that the store could not take.", print_audit_lost},
    {"caravan_store_commit_seconds", "histogram", "Time from an append to its durable commit.", print_store_commit},
};

int metrics_print(const struct metrics *m, const struct view *view, const struct metrics_control *control,
                  uint64_t wall_ms, char **ret, size_t *ret_n)
{
    struct page page = {.m = m, .view = view, .control = control, .wall_ms = wall_ms};
    char *text = NULL;
    size_t n = 0;

    page.out = open_memstream(&text, &n);
    if (!page.out)
        return err_raise(-ENOMEM);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        fprintf(page.out, "# HELP %s %s\n# TYPE %s %s\n", table[i].name, table[i].help, table[i].name, table[i].type);
        table[i].print(&page, table[i].name);
    }
    if (fclose(page.out) != 0) {
        free(text);
        return err_raise(-ENOMEM);
    }
    *ret = text;
    *ret_n = n;
    return 0;
}
