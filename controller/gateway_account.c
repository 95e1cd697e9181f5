#include "controller/gateway_state.h"

void gateway_account(struct gateway *g, const struct gateway_account *a)
{
    metrics_gateway_request(g->deps.metrics, a->name, a->status);
}
