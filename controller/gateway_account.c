/* What is told of each request when it is over: one line of the log, without its prompt and its key, and the figures. */
#include <inttypes.h>

#include "common/log.h"
#include "controller/gateway_state.h"

static double seconds(uint64_t us)
{
    return (double)us / 1e6;
}

/* Behind the first one, as that waited for the prompt. */
static double time_per_token(const struct gateway_account *a, int64_t n_tokens)
{
    if (!a->streamed || !a->times.first_us || n_tokens < 2 || a->total_us < a->times.first_us)
        return -1;
    return seconds(a->total_us - a->times.first_us) / (double)(n_tokens - 1);
}

static void count(struct gateway *g, const struct gateway_account *a, int64_t n_tokens)
{
    const struct metrics_answer answer = {.model = a->name,
                                          .status = a->status,
                                          .queue_s = seconds(a->times.sent_us ? a->times.sent_us : a->total_us),
                                          .total_s = seconds(a->total_us),
                                          .first_s = a->streamed && a->times.first_us ? seconds(a->times.first_us) : -1,
                                          .token_s = time_per_token(a, n_tokens),
                                          .n_tokens = n_tokens};

    metrics_gateway_answer(g->deps.metrics, &answer);
}

/* Where its coordinator is; "-": it was sent nowhere, or that is known no more. */
static const char *node_of(const struct gateway *g, const struct id128 *instance)
{
    for (size_t i = 0; g->view && i < g->view->n_instances; i++) {
        const struct view_instance *in = &g->view->instance[i];

        if (id128_equal(&in->id, instance))
            return in->plan && in->plan->n_ranks ? in->plan->rank[0].node_name : "-";
    }
    return "-";
}

static void log_answer(const struct gateway *g, const struct gateway_account *a, int64_t n_tokens)
{
    char client[PROTO_ADDR_MAX], instance[ID128_SHORT_TEXT] = "-";

    if (a->times.sent_us)
        id128_short(&a->instance, instance);
    log_info(a->part ? "gateway.member" : "gateway.request",
             "request=%s model=%s instance=%s node=%s client=%s status=%d stream=%s bytes=%" PRIu64 " tokens=%" PRId64
             " queue_ms=%.1f first_ms=%.1f total_ms=%.1f",
             LOG_STR(http_request_id(a->x)),
             LOG_STR(a->name    ? a->name
                     : a->asked ? a->asked
                                : "-"),
             instance, LOG_STR(node_of(g, &a->instance)), http_peer(a->x, client, sizeof(client)), a->status,
             a->streamed ? "yes" : "no", a->tally ? a->tally->n_bytes : 0, n_tokens,
             (double)(a->times.sent_us ? a->times.sent_us : a->total_us) / 1000, (double)a->times.first_us / 1000,
             (double)a->total_us / 1000);
}

void gateway_account(struct gateway *g, const struct gateway_account *a)
{
    int64_t n_tokens = a->tally ? answer_tally_tokens(a->tally, a->streamed) : -1;

    count(g, a, n_tokens);
    log_answer(g, a, n_tokens);
}
