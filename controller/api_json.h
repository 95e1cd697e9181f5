/* What /api shows, made from snapshots. Each returns an owned JSON value, or NULL where memory is short. */
#ifndef CARAVAN_CONTROLLER_API_JSON_H
#define CARAVAN_CONTROLLER_API_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "controller/front_msg.h"

json_t *api_json_version(const struct view *v);
json_t *api_json_nodes(const struct view *v, uint64_t wall_ms);
json_t *api_json_models(const struct view *v);
/* in: of v. with_plan: false leaves "plan" null. */
json_t *api_json_instance(const struct view *v, const struct view_instance *in, bool with_plan);
json_t *api_json_instances(const struct view *v);
/* The same without plans. */
json_t *api_json_instances_brief(const struct view *v);
json_t *api_json_task(const struct view_task *t);
json_t *api_json_tasks(const struct view *v);
json_t *api_json_backends(const struct backends *b);
json_t *api_json_tokens(const struct view *v);
json_t *api_json_keys(const struct view *v);
json_t *api_json_plan(const struct plan *p); /* null where p is NULL */
json_t *api_json_planned(const struct front_planned *p);
/* {"task", "instance", "attached", "text"}, null where there is none. */
json_t *api_json_accepted(const struct cluster_answer *a);
/* {"error": {"code", "message", "machine", "state", "event"}} */
json_t *api_json_refused(const struct cluster_answer *a, const struct front_refusal *r);
json_t *api_json_transition(const struct cluster_transition *t, uint64_t wall_ms);
/* {"task": TASK, "instance": INSTANCE or null} */
json_t *api_json_follow(const struct view *v, const struct view_task *t);

/* NULL: none. */
const struct view_task *api_find_task(const struct view *v, uint64_t id);
const struct view_instance *api_find_instance_by_id(const struct view *v, const struct id128 *id);

#endif
