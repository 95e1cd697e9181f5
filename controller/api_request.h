/* What is asked of /api, out of bodies and queries. Each returns false where it has answered instead. */
#ifndef CARAVAN_CONTROLLER_API_REQUEST_H
#define CARAVAN_CONTROLLER_API_REQUEST_H

#include <jansson.h>
#include <stdbool.h>

#include "controller/front_msg.h"
#include "controller/http.h"

/* The order from the body of POST /api/instances. */
bool api_read_deploy(struct http_exchange *x, const json_t *body, struct front_order *o);
/* The wish from the query of GET /api/plan. */
bool api_read_plan_query(struct http_exchange *x, struct place_request *req);

#endif
