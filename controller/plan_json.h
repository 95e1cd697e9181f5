/* A plan and a wish for one as JSON: what /api/plan shows, `caravan plan --save` keeps, `deploy --plan` brings back and the
 * store holds. Reading trusts nothing: every count is bounded, and layers must lie side by side and sum to the model's. */
#ifndef CARAVAN_CONTROLLER_PLAN_JSON_H
#define CARAVAN_CONTROLLER_PLAN_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "controller/core/placement.h"

enum { PLAN_JSON_FORMAT = 1 };
enum { PLAN_JSON_E_INVALID = 1 /* why says what */ };

/* ret: owned. 0, -ENOMEM. */
int plan_json_write(const struct plan *p, json_t **ret);
/* j: borrowed. ret: owned (free); a plan without ranks passes. 0, PLAN_JSON_E_INVALID, -ENOMEM. */
int plan_json_read(const json_t *j, struct plan **ret, char *why, size_t why_size);

/* The request's fields are added to o, "args" among them. read: keys named in others ("args" too) are not refused, NULL:
 * none is. On success req->arg is
 * owned by req (place_request_clear). 0, PLAN_JSON_E_INVALID, -ENOMEM: *req is then empty. */
int place_request_write(json_t *o, const struct place_request *req);
int place_request_read(const json_t *o, const char *const *others, struct place_request *req, char *why,
                       size_t why_size);
void place_request_clear(struct place_request *req);
/* Deep. 0, -ENOMEM. */
int place_request_copy(const struct place_request *from, struct place_request *ret);

/* "f16", ... as llama-server's -ctk takes them. */
_Bool plan_kv_type_known(const char *kv_type);

#endif
