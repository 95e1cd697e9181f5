#include "controller/core/recovery.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/core/sat.h"
#include "common/core/text.h"
#include "common/core/units.h"
#include "controller/core/effects.h"
#include "controller/core/instances.h"
#include "controller/core/nodes.h"
#include "controller/core/offers.h"
#include "controller/core/planning.h"
#include "controller/core/replicas.h"
#include "controller/core/sentence.h"
#include "controller/core/tasks.h"

#define STALE             "stale_epoch"
#define COORDINATOR_CODES "coordinator_"

void recovery_rest(struct instance *i)
{
    struct recovery *r = &i->recovery;

    r->again_ms = r->look_ms = r->patience_ms = r->steady_ms = UINT64_MAX;
    r->missing_bytes = r->room = 0;
}

void recovery_clear(struct recovery *r)
{
    *r = (struct recovery){
        .again_ms = UINT64_MAX, .look_ms = UINT64_MAX, .patience_ms = UINT64_MAX, .steady_ms = UINT64_MAX};
}

void recovery_ready(struct step *s, struct instance *i)
{
    recovery_rest(i);
    i->recovery.steady_ms = s->now_ms + RECOVERY_STEADY_MS;
}

int recovery_keep(const struct recovery *r, struct record_instance *ret)
{
    ret->attempts = r->attempts;
    if (!r->n_tried)
        return 0;
    ret->tried = malloc(r->n_tried * sizeof(*ret->tried));
    if (!ret->tried)
        return err_raise(-ENOMEM);
    ret->n_tried = r->n_tried;
    for (size_t k = 0; k < r->n_tried; k++)
        ret->tried[k] = (struct tried){r->tried[k].shown, r->tried[k].node, r->tried[k].counted};
    return 0;
}

void recovery_restore(struct recovery *r, const struct record_instance *kept)
{
    r->attempts = r->repeats = kept->attempts;
    r->n_tried = kept->n_tried < VIEW_TRIES_MAX ? kept->n_tried : VIEW_TRIES_MAX;
    for (size_t k = 0; k < r->n_tried; k++)
        r->tried[k] = (struct attempt){
            .shown = kept->tried[k].shown, .node = kept->tried[k].node, .counted = kept->tried[k].counted};
}

/* ---- what was tried ---------------------------------------------------------------------------------------------- */

static void drop_attempt(struct recovery *r, size_t at)
{
    r->attempts -= r->tried[at].counted && r->attempts;
    memmove(&r->tried[at], &r->tried[at + 1], (--r->n_tried - at) * sizeof(r->tried[0]));
}

/* A number that some node has passed already is not the placement's fault; but only once in a row, or a node that always
 * says so would keep it going for ever. */
static bool counts(const struct instance *i, const char *code)
{
    const struct recovery *r = &i->recovery;

    if (r->pardoned_epoch == i->epoch)
        return false;
    return strcmp(code, STALE) != 0 || (r->n_tried && !strcmp(r->tried[r->n_tried - 1].shown.code, STALE));
}

void recovery_blame(struct step *s, struct instance *i, const struct cause *cause)
{
    struct recovery *r = &i->recovery;
    struct attempt *a;
    size_t m;

    recovery_rest(i);
    if (!strcmp(cause->code, RECOVERY_DRAINED))
        return;
    r->repeats++;
    if (r->pardoned_epoch == i->epoch)
        return;
    if (r->n_tried == VIEW_TRIES_MAX)
        memmove(&r->tried[0], &r->tried[1], --r->n_tried * sizeof(r->tried[0]));
    a = &r->tried[r->n_tried];
    *a = (struct attempt){.shown = {.epoch = i->epoch, .wall_ms = s->wall_ms}, .counted = counts(i, cause->code)};
    r->n_tried++;
    text_format(a->shown.code, sizeof(a->shown.code), "%s", cause->code);
    text_format(a->shown.text, sizeof(a->shown.text), "%s", cause->text);
    memcpy(a->dying_unit, i->run.dying_unit, sizeof(a->dying_unit));
    r->attempts += a->counted;
    if (!cause->node || !run_member(&i->run, cause->node, &m))
        return;
    a->node = *cause->node;
    memcpy(a->shown.node, i->run.member[m].name, sizeof(a->shown.node));
}

int recovery_pardon(struct step *s, struct instance *i, uint64_t epoch)
{
    struct recovery *r = &i->recovery;
    int err = step_instance(s, i);

    if (err)
        return err_fold(err);
    r->pardoned_epoch = epoch;
    for (size_t k = 0; k < r->n_tried; k++) {
        if (r->tried[k].shown.epoch != epoch)
            continue;
        drop_attempt(r, k);
        return 0;
    }
    return 0;
}

static size_t find_told(const struct recovery *r, const struct unit_facts *u)
{
    for (size_t k = 0; k < r->n_tried; k++) {
        const struct attempt *a = &r->tried[k];

        if (a->shown.epoch != u->epoch)
            continue;
        if (a->dying_unit[0] && !strcmp(a->dying_unit, u->id))
            return k;
        if (u->role != UNIT_COORDINATOR && !strncmp(a->shown.code, COORDINATOR_CODES, strlen(COORDINATOR_CODES)))
            return k;
    }
    return r->n_tried;
}

bool recovery_tells_more(const struct instance *i, const struct unit_facts *u)
{
    return !(u->epoch == i->epoch && instance_state_runs(i->state)) && find_told(&i->recovery, u) < i->recovery.n_tried;
}

int recovery_amend(struct step *s, struct instance *i, const struct unit_facts *u, const struct cause *cause)
{
    struct attempt *a = &i->recovery.tried[find_told(&i->recovery, u)];
    const struct node *n = node_find(s->c, cause->node);
    int r = step_instance(s, i);

    if (r)
        return err_fold(r);
    a->dying_unit[0] = '\0';
    a->node = *cause->node;
    text_format(a->shown.node, sizeof(a->shown.node), "%s", n ? n->hello.name : "");
    text_format(a->shown.code, sizeof(a->shown.code), "%s", cause->code);
    text_format(a->shown.text, sizeof(a->shown.text), "%s", cause->text);
    if (u->epoch != i->epoch || i->state != INSTANCE_RECOVERING)
        return 0;
    text_format(i->code, sizeof(i->code), "%s", cause->code);
    text_format(i->reason, sizeof(i->reason), "%s", cause->text);
    return 0;
}

/* How often this one has failed in this way there. */
static unsigned times(const struct recovery *r, const struct attempt *a)
{
    unsigned n = 0;

    for (size_t k = 0; k < r->n_tried; k++)
        n += id128_equal(&r->tried[k].node, &a->node) && !strcmp(r->tried[k].shown.code, a->shown.code);
    return n;
}

bool recovery_avoids(const struct instance *i, const struct id128 *node)
{
    const struct recovery *r = &i->recovery;

    for (size_t k = 0; k < r->n_tried; k++) {
        if (id128_equal(&r->tried[k].node, node) && times(r, &r->tried[k]) > 1)
            return true;
    }
    return false;
}

/* ---- after the end ----------------------------------------------------------------------------------------------- */

/* "given up after 6 epochs in a row (rank_lost on n2 4 times, load_stalled 2 times); the last one: ..." */
static void say_tried(const struct instance *i, char *buf, size_t size)
{
    const struct recovery *r = &i->recovery;

    text_format(buf, size, "given up after %" PRIu32 " epochs in a row", r->attempts);
    for (size_t k = 0; k < r->n_tried; k++) {
        const struct attempt *a = &r->tried[k];
        bool said = false;

        for (size_t before = 0; before < k; before++)
            said |=
                id128_equal(&r->tried[before].node, &a->node) && !strcmp(r->tried[before].shown.code, a->shown.code);
        if (said)
            continue;
        sentence_add(buf, size, "%s%s%s%s", k ? ", " : " (", a->shown.code, a->shown.node[0] ? " on " : "",
                     a->shown.node);
        if (times(r, a) > 1)
            sentence_add(buf, size, " %u times", times(r, a));
    }
    sentence_add(buf, size, "%s; the last one: %s", r->n_tried ? ")" : "", i->reason);
}

static int give_up(struct step *s, struct instance *i)
{
    char text[PROTO_TEXT_MAX];

    text_format(text, sizeof(text), "%s", i->reason);
    if (i->recovery.attempts > 1)
        say_tried(i, text, sizeof(text));
    memcpy(i->reason, text, sizeof(i->reason));
    return err_fold(instance_event(s, i, INSTANCE_EV_GIVE_UP, &(struct cause){.code = i->code, .text = i->reason}));
}

static uint64_t backoff_ms(const struct recovery *r)
{
    uint64_t ms = RECOVERY_BACKOFF_MS;

    if (r->repeats < 2)
        return 0;
    for (uint32_t k = 2; k < r->repeats && ms < RECOVERY_BACKOFF_MAX_MS; k++)
        ms *= 2;
    return sat_min(ms, RECOVERY_BACKOFF_MAX_MS);
}

/* Until its nodes have measured what the epoch left behind, they offer too little. */
static bool reports_are_due(const struct step *s, const struct instance *i)
{
    if (s->now_ms >= i->recovery.released_ms + RECOVERY_REPORT_MS)
        return false;
    for (size_t m = 0; m < i->run.n_members; m++) {
        const struct node *n = node_find(s->c, &i->run.member[m].node);

        if (n && n->state == NODE_READY && n->last_report_ms < i->recovery.released_ms)
            return true;
    }
    return false;
}

/* PLACE is only raised where there is a plan, or where it must be said that there is none: what waits does not flap. The
 * plan is made again there; it is the same one. */
static int try_place(struct step *s, struct instance *i)
{
    CLEANUP(cleanup_free) struct plan *plan = NULL;
    struct recovery *rec = &i->recovery;
    char why[PROTO_TEXT_MAX] = "";
    int r = planning_instance(s->c, i, &plan, why, sizeof(why));

    if (r < 0)
        return err_pass(r);
    if (r == 0 || (i->state == INSTANCE_RECOVERING && !reports_are_due(s, i)))
        return err_fold(instance_event(s, i, INSTANCE_EV_PLACE, NULL));
    rec->room = offers_room(s->c);
    if (i->state == INSTANCE_RECOVERING) {
        rec->again_ms = rec->released_ms + RECOVERY_REPORT_MS;
        return 0;
    }
    rec->look_ms = s->now_ms + RECOVERY_LOOK_MS;
    rec->missing_bytes = plan ? plan->missing_bytes : 0;
    text_format(i->reason, sizeof(i->reason), "%s", why);
    return 0;
}

int recovery_on_released(struct step *s, struct instance *i, const struct cause *cause)
{
    struct recovery *r = &i->recovery;
    uint64_t wait_ms = backoff_ms(r);

    (void)cause;
    r->released_ms = s->now_ms;
    if (r->attempts >= RECOVERY_ATTEMPTS_MAX || !strcmp(i->code, RECOVERY_FINAL))
        return err_fold(give_up(s, i));
    if (!wait_ms)
        return err_fold(try_place(s, i));
    r->again_ms = s->now_ms + wait_ms;
    return 0;
}

/* Nobody has said that it is to be there, and nobody has had anything of it yet: it takes no other one's place. */
static bool is_only_asked_for(const struct instance *i)
{
    return i->demand && !i->served && id128_is_zero(&i->follows);
}

int recovery_on_no_room(struct step *s, struct instance *i, const struct cause *cause)
{
    struct recovery *r = &i->recovery;

    recovery_rest(i);
    i->placed = true;
    i->want_ms = s->now_ms;
    i->unsure_ms = 0;
    r->look_ms = s->now_ms + RECOVERY_LOOK_MS;
    if (task_live(s->c, i->deploy_task) || is_only_asked_for(i))
        r->patience_ms = s->now_ms + RECOVERY_PATIENCE_MS;
    text_format(i->code, sizeof(i->code), "%s", cause->code);
    text_format(i->reason, sizeof(i->reason), "%s", cause->text);
    for (size_t m = 0; m < i->run.n_members; m++)
        i->run.member[m].leased &= i->run.member[m].told; /* the plan may not have become durable */
    r->room = offers_room(s->c);
    return err_fold(record_instance(s, i, 0, false));
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static int forget(struct step *s, struct instance *i)
{
    bool kept = i->recovery.attempts || i->recovery.n_tried;

    recovery_clear(&i->recovery);
    return kept ? err_fold(record_instance(s, i, 0, false)) : 0;
}

/* Whoever asks for it is told so at once from now on, and later begins it anew. */
static int stop_waiting(struct step *s, struct instance *i)
{
    char text[PROTO_TEXT_MAX];

    text_format(text, sizeof(text), "there was no room for it in %d s: %s", RECOVERY_PATIENCE_MS / 1000, i->reason);
    memcpy(i->reason, text, sizeof(i->reason));
    recovery_rest(i);
    return err_fold(instance_event(s, i, INSTANCE_EV_GIVE_UP, &(struct cause){.code = i->code, .text = i->reason}));
}

/* A person who waits for an answer has one; what he asked for goes on. */
static int lose_patience(struct step *s, struct instance *i)
{
    char text[PROTO_TEXT_MAX];

    if (is_only_asked_for(i))
        return err_fold(stop_waiting(s, i));
    i->recovery.patience_ms = UINT64_MAX;
    text_format(text, sizeof(text), "it waits for room, and starts by itself when there is some: %s", i->reason);
    return err_fold(replicas_task_end(s, i, TASK_EV_FAIL, &(struct cause){.code = "waiting", .text = text}));
}

uint64_t recovery_due_ms(const struct instance *i)
{
    const struct recovery *r = &i->recovery;

    return sat_min(sat_min(r->again_ms, r->look_ms), sat_min(r->patience_ms, r->steady_ms));
}

int recovery_tick(struct step *s, struct instance *i)
{
    struct recovery *r = &i->recovery;

    if (r->steady_ms <= s->now_ms)
        return err_fold(forget(s, i));
    if (r->patience_ms <= s->now_ms) {
        int err = lose_patience(s, i);

        if (err)
            return err_fold(err);
    }
    if (r->again_ms > s->now_ms && r->look_ms > s->now_ms)
        return 0;
    r->again_ms = UINT64_MAX;
    return err_fold(try_place(s, i));
}

static int look(struct step *s, struct instance *i, struct node *unused)
{
    struct recovery *r = &i->recovery;
    int err;

    (void)unused;
    if (i->state != INSTANCE_WAITING && (i->state != INSTANCE_RECOVERING || r->again_ms == UINT64_MAX || !r->room))
        return 0;
    if (r->room == offers_room(s->c))
        return 0;
    err = step_instance(s, i);
    if (err)
        return err_fold(err);
    return err_fold(try_place(s, i));
}

int recovery_look(struct step *s)
{
    return err_fold(instances_each(s, NULL, look));
}
