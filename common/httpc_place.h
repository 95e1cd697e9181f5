/* A place that requests go to again and again: connections to it are kept for the next one.
 *
 * A request takes the connection that was used last, and opens another only where none waits. So there are never more of them
 * than there were requests at a time, and one; llama-server holds one of its HTTP threads for each. One is kept behind an
 * answer that is whole and says nothing against it, HTTPC_IDLE_MAX at most, for HTTPC_IDLE_MS: both ends may give it up at
 * any time, and llama-server does after 5 s. Never behind an event stream, which llama-server closes without a word; while
 * one comes, another connection is opened where none waits, so that the next request need not await a handshake.
 *
 * A request whose kept connection turns out to be over before anything of an answer came is sent again on a new one, once, and
 * nobody is told. Where that cannot be opened either, the request ends with what ended the first: it had been sent, and its
 * other end may have gone over it. */
#ifndef CARAVAN_COMMON_HTTPC_PLACE_H
#define CARAVAN_COMMON_HTTPC_PLACE_H

#include "common/httpc.h"

enum { HTTPC_IDLE_MAX = 24, HTTPC_IDLE_MS = 4000 };

/* spec: host, port, dialer and connect_timeout_ms count; the first is copied, the dialer's ctx is borrowed until
 * httpc_place_leave. ret: owned. 0, -ENOMEM. */
int httpc_place_new(const struct httpc_spec *spec, struct httpc_place **ret);
/* Nobody goes there any more: connections that wait are closed, others behind their answers. Requests that are under way go
 * on, and keep what they need of it. NULL is fine. */
void httpc_place_leave(struct httpc_place **p);
size_t httpc_place_idle(const struct httpc_place *p); /* connections that wait */

/* ---- for httpc.c -------------------------------------------------------------------------------------------------- */

struct httpc_conn;
struct httpc_conn_calls;

struct httpc_place *httpc_place_ref(struct httpc_place *p);
void httpc_place_unref(struct httpc_place **p);
const struct httpc_spec *httpc_place_where(const struct httpc_place *p); /* NULL: it has been left */
/* One that waited, and is not known to be over; NULL: none. It tells `calls` from now on. */
struct httpc_conn *httpc_place_take(struct httpc_place *p, const struct httpc_conn_calls *calls);
/* One that nobody has used yet, unless there is one. */
void httpc_place_prepare(struct httpc_place *p, struct event_base *base);
/* Or closes it. */
void httpc_place_keep(struct httpc_place *p, struct httpc_conn **c);

#endif
