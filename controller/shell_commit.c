/* What goes to the store: the core's commits, and the audit. Each change of a node's, an instance's or the leader's own state
 * becomes an audit row, and each refusal.
 * Rows go along with the next commit, or by themselves after AUDIT_MS or AUDIT_BATCH, so that a flood costs few commits. A
 * refusal is answered when its row is durable: nobody can ask faster than refusals can be kept. */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/core/err.h"
#include "common/core/text.h"
#include "common/log.h"
#include "controller/record.h"
#include "controller/shell_state.h"

enum { AUDIT_MS = 100, AUDIT_BATCH = SHELL_AUDIT_MAX / 2 };

/* ---- rows ---- */

static void rows_clear(struct store_record *row, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(row[i].value);
    free(row);
}

/* The records of a commit, then what the audit has collected. row: room for both. */
static int fill_rows(struct shell *s, const struct cluster_fx *fx, struct store_record *row)
{
    size_t n = fx ? fx->n_records : 0;
    int r;

    for (size_t i = 0; i < n; i++) {
        r = record_to_store(&fx->record[i], s->audit_seq++, &row[i]);
        if (r)
            return err_fold(r);
    }
    memcpy(row + n, s->audit, s->n_audit * sizeof(*row)); /* the values move over */
    s->n_audit = 0;
    return 0;
}

/* r: why; negative errno. */
static void lose_audit(struct shell *s, uint64_t n, int r)
{
    if (!n)
        return;
    if (!s->audit_lost)
        log_failure(LOG_LEVEL_ERROR, "store.audit_lost", r, "rows=%" PRIu64, n);
    s->audit_lost += n;
    s->counters.audit_lost += n;
}

/* fx: a commit, or NULL for the audit alone. 0 or negative errno: what of the audit is not kept for the next try is counted
 * as lost. */
static int append(struct shell *s, const struct cluster_fx *fx)
{
    size_t n_audit = s->n_audit, n = n_audit + (fx ? fx->n_records : 0);
    struct store_record *row = calloc(n ? n : 1, sizeof(*row));
    int r = row ? fill_rows(s, fx, row) : err_raise(-ENOMEM);
    struct shell_append *a;

    if (!r) {
        r = store_append(s->store, fx ? fx->token : 0, row, n);
        memset(row, 0, n * sizeof(*row)); /* the values are the store's */
    }
    rows_clear(row, row ? n : 0);
    if (r) {
        lose_audit(s, n_audit - s->n_audit, r);
        return err_fold(r);
    }
    a = &s->append[s->n_appended++ % STORE_PENDING_MAX];
    a->n_audit = n_audit;
    clock_gettime(CLOCK_MONOTONIC, &a->at);
    return 0;
}

/* ---- the audit ---- */

void shell_audit_flush(struct shell *s)
{
    if (s->n_audit)
        (void)append(s, NULL); /* it counts what it loses; the rest goes with the next one */
    event_del(s->audit_due);
}

void shell_on_audit_due(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    shell_audit_flush(ctx);
}

void shell_audit(struct shell *s, const struct cluster_transition *t)
{
    struct record rec = {.kind = RECORD_AUDIT, .instance = t->instance, .wall_ms = clock_wall_ms()};
    struct timeval tv = {.tv_usec = AUDIT_MS * 1000};
    struct record_audit *a = &rec.audit;
    int r = s->n_audit < SHELL_AUDIT_MAX ? 0 : -ENOBUFS;

    text_format(a->machine, sizeof(a->machine), "%s", t->machine);
    text_format(a->id, sizeof(a->id), "%s", t->id);
    text_format(a->from, sizeof(a->from), "%s", t->from);
    text_format(a->to, sizeof(a->to), "%s", t->to ? t->to : t->from);
    text_format(a->event, sizeof(a->event), "%s", t->event);
    text_format(a->verdict, sizeof(a->verdict), "%s", t->verdict);
    text_format(a->text, sizeof(a->text), "%s", t->text);
    if (!r)
        r = record_to_store(&rec, s->audit_seq++, &s->audit[s->n_audit]);
    if (r) {
        lose_audit(s, 1, r);
        return;
    }
    s->n_audit++;
    if (s->n_audit >= AUDIT_BATCH)
        shell_audit_flush(s);
    else if (!event_pending(s->audit_due, EV_TIMEOUT, NULL))
        event_add(s->audit_due, &tv);
}

/* ---- answers that wait ---- */

void shell_hold_answer(struct shell *s, struct front_note *note)
{
    struct held_answer *h = calloc(1, sizeof(*h));

    if (!h) {
        shell_note_send(s, note);
        return;
    }
    h->note = note;
    STAILQ_INSERT_TAIL(&s->held, h, link);
    s->unsettled = true;
}

/* Those whose append is committed, or all. */
static void release_answers(struct shell *s, bool all)
{
    struct held_answer *h;

    while ((h = STAILQ_FIRST(&s->held)) && (all || (h->after && h->after <= s->n_committed))) {
        STAILQ_REMOVE_HEAD(&s->held, link);
        shell_note_send(s, h->note);
        free(h);
    }
}

void shell_settle_answers(struct shell *s)
{
    struct held_answer *h;

    if (!s->unsettled)
        return;
    s->unsettled = false;
    shell_audit_flush(s);
    STAILQ_FOREACH(h, &s->held, link)
    if (!h->after)
        h->after = s->n_appended;
    release_answers(s, s->n_appended == s->n_committed);
}

void shell_drop_answers(struct shell *s)
{
    struct held_answer *h;

    while ((h = STAILQ_FIRST(&s->held))) {
        STAILQ_REMOVE_HEAD(&s->held, link);
        front_note_destroy(&h->note);
        free(h);
    }
}

/* ---- commits ---- */

void shell_commit(struct shell *s, const struct cluster_fx *fx)
{
    int r = append(s, fx);

    if (!r)
        return;
    log_failure(LOG_LEVEL_ERROR, "store.append", r, "token=%" PRIu64, fx->token);
    if (fx->token)
        shell_tell_later(s, &(struct cluster_ev){.kind = CLUSTER_EV_COMMITTED, .token = fx->token, .ok = false});
}

/* Once for a row of failures, not for each of them. */
static void say_result(struct shell *s, uint64_t token, int r)
{
    if (r == STORE_E_FULL && !s->store_failing)
        log_error("store.full", "token=%" PRIu64 " do=%s", token, LOG_STR("free space for the state directory"));
    else if (r < 0 && !s->store_failing)
        log_failure(LOG_LEVEL_ERROR, "store.commit", r, "token=%" PRIu64, token);
    else if (!r && s->store_failing)
        log_info("store.recovered", "token=%" PRIu64, token);
    s->store_failing = r != 0;
    if (!r && s->audit_lost) {
        log_warn("store.audit_gap", "rows=%" PRIu64, s->audit_lost);
        s->audit_lost = 0;
    }
}

void shell_on_committed(void *ctx, uint64_t token, int r)
{
    struct shell *s = ctx;
    const struct shell_append *a = &s->append[s->n_committed++ % STORE_PENDING_MAX];
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    metrics_observe(&s->counters.store_commit,
                    (double)(now.tv_sec - a->at.tv_sec) + (double)(now.tv_nsec - a->at.tv_nsec) / 1e9);
    say_result(s, token, r);
    if (r)
        lose_audit(s, a->n_audit, r < 0 ? r : err_raise(-ENOSPC));
    release_answers(s, false);
    if (token)
        shell_step(s, &(struct cluster_ev){.kind = CLUSTER_EV_COMMITTED, .token = token, .ok = r == 0});
}

bool shell_store_is_behind(const struct shell *s)
{
    return s->n_appended - s->n_committed > STORE_PENDING_MAX / 2;
}
