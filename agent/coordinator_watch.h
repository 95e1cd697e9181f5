/* Follows a coordinator from its start until it serves: reads its log as it grows, asks its /health, and says what the
 * core wants to know: LOADING, RANK_BUFFERS, LISTENING. From then on asks for its /metrics. */
#ifndef CARAVAN_AGENT_COORDINATOR_WATCH_H
#define CARAVAN_AGENT_COORDINATOR_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/metrics_poll.h"
#include "common/core/protocol.h"

struct event_base;
struct coordinator_watch;

/* facts: borrowed; its unit is zero, unit_id names it. From the loop, never from within a call. The callee must not destroy
 * the watch. */
typedef void coordinator_told(void *ctx, const char *unit_id, const struct agent_event_facts *facts);

/* An adopted coordinator is followed from the beginning of its log, so that all is told again. key_path: the file with its
 * API key, read when it serves. 0 or negative errno. */
int coordinator_watch_new(struct event_base *base, const char *unit_id, const char *log_path, const char *key_path,
                          const char *addr, uint16_t port, coordinator_told *told, void *ctx,
                          struct coordinator_watch **ret);
void coordinator_watch_destroy(struct coordinator_watch **w);

/* true: it serves, and these are its figures. */
bool coordinator_watch_figures(const struct coordinator_watch *w, struct metrics_figures *ret);

/* After its exit: the one line of its log that says best why; "" where none does. Borrowed. */
const char *coordinator_watch_cause(struct coordinator_watch *w);

#endif
