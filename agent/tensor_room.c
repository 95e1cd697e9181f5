#include "agent/tensor_room.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/actor.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/core/err.h"
#include "common/log.h"
#include "common/seldom.h"

/* A slice is a millisecond of a core: whoever wants the end waits for one, also where an idle thread gets little of a core. */
enum { SLICE_BYTES = 1024 * 1024, TELL_MS = 1000, AGAIN_MS = 500 };

struct tensor_room {
    struct actor *actor;
    const char *index_dir;
    const char *const *dir;
    size_t n_dirs;
    tensor_progressed *progressed;
    void *ctx;
    uint64_t take;
    struct tensor_progress progress;
};

/* What lives in the thread. */
struct hasher {
    struct actor_pipe *pipe;
    struct event_base *base;
    struct event *on_turn;
    struct tensor_work *work;
    struct tensor_models *models; /* that work has not taken yet; owned */
    struct seldom refused;
    struct tensor_progress told;
    uint64_t told_ms;
};

/* ---- the thread --------------------------------------------------------------------------------------------------- */

/* Each of these may be refused, and then the others do. Where the CPU is wanted, SCHED_IDLE leaves a three-hundredth of it. */
static void be_idle(void)
{
    static const struct sched_param none = {0};

    setpriority(PRIO_PROCESS, 0, 19); /* 0: on Linux, this thread; so for all three */
    sched_setscheduler(0, SCHED_IDLE, &none);
    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

/* Of a step that hashed only the bytes that are left have changed: that is told once a second. */
static void tell(struct hasher *h)
{
    struct tensor_progress now, *copy;

    tensor_work_progress(h->work, &now);
    if (now.n_files == h->told.n_files && now.n_indexed == h->told.n_indexed && now.n_failed == h->told.n_failed &&
        now.n_bytes == h->told.n_bytes && now.take == h->told.take &&
        (now.left_bytes == h->told.left_bytes || clock_now_ms() - h->told_ms < TELL_MS))
        return;
    copy = malloc(sizeof(*copy));
    if (!copy)
        return; /* the next one */
    *copy = h->told = now;
    h->told_ms = clock_now_ms();
    actor_pipe_send(h->pipe, copy);
}

static void turn_after(struct hasher *h, unsigned ms)
{
    const struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

    evtimer_add(h->on_turn, &wait);
}

/* false: later. */
static bool take_models(struct hasher *h)
{
    int r = h->models ? tensor_work_take(h->work, h->models) : 0;
    uint64_t n = r < 0 ? seldom_count(&h->refused, clock_now_ms()) : 0;

    if (n)
        log_failure(LOG_LEVEL_WARN, "tensors.take", r, "models=%zu times=%" PRIu64, h->models->n, n);
    if (r < 0) {
        turn_after(h, AGAIN_MS);
        return false;
    }
    free(h->models);
    h->models = NULL;
    return true;
}

static void turn(evutil_socket_t fd, short what, void *ctx)
{
    struct hasher *h = ctx;
    int r;

    (void)fd;
    (void)what;
    if (!take_models(h))
        return;
    r = tensor_work_step(h->work, SLICE_BYTES);
    tell(h);
    if (r == TENSOR_WORK_E_MORE)
        turn_after(h, 0);
    else
        log_info("tensors.done", "files=%zu indexed=%zu failed=%zu bytes=%" PRIu64, h->told.n_files, h->told.n_indexed,
                 h->told.n_failed, h->told.n_bytes);
}

static void take(void *ctx, void *object)
{
    struct hasher *h = ctx;

    free(h->models);
    h->models = object;
    turn_after(h, 0);
}

static void stop(void *ctx)
{
    event_base_loopbreak(((struct hasher *)ctx)->base);
}

static int hasher_begin(struct hasher *h, const struct tensor_room *room)
{
    int r = tensor_work_new(room->index_dir, room->dir, room->n_dirs, &h->work);

    if (r < 0)
        return err_pass(r);
    h->base = event_base_new();
    h->on_turn = h->base ? evtimer_new(h->base, turn, h) : NULL;
    if (!h->on_turn)
        return err_raise(-ENOMEM);
    r = actor_pipe_attach(h->pipe, h->base, take, h, stop);
    return r < 0 ? err_pass(r) : 0;
}

static void hasher_main(struct actor_pipe *pipe, void *arg)
{
    struct hasher h = {.pipe = pipe};
    int r = hasher_begin(&h, arg);

    be_idle();
    if (r < 0)
        log_failure(LOG_LEVEL_ERROR, "tensors.start", r, "text=\"all tensors come over the network\"");
    else
        event_base_dispatch(h.base);
    if (h.on_turn)
        event_free(h.on_turn);
    free(h.models);
    tensor_work_destroy(&h.work);
    if (h.base)
        event_base_free(h.base);
}

/* ---- the owner ---------------------------------------------------------------------------------------------------- */

static void received(void *ctx, void *object)
{
    CLEANUP(cleanup_free) struct tensor_progress *p = object;
    struct tensor_room *r = ctx;

    r->progress = *p;
    if (r->progressed)
        r->progressed(r->ctx, p);
}

int tensor_room_new(struct event_base *base, const char *index_dir, const char *const *dir, size_t n_dirs,
                    tensor_progressed *progressed, void *ctx, struct tensor_room **ret)
{
    CLEANUP(tensor_room_destroy) struct tensor_room *room = calloc(1, sizeof(*room));
    int r;

    if (!room)
        return err_raise(-ENOMEM);
    room->index_dir = index_dir;
    room->dir = dir;
    room->n_dirs = n_dirs;
    room->progressed = progressed;
    room->ctx = ctx;
    r = actor_new(base, hasher_main, room, received, room, free, free, &room->actor);
    if (r < 0)
        return err_pass(r);
    *ret = room;
    room = NULL;
    return 0;
}

void tensor_room_destroy(struct tensor_room **r)
{
    if (!*r)
        return;
    if ((*r)->actor)
        actor_destroy(&(*r)->actor);
    free(*r);
    *r = NULL;
}

int tensor_room_take(struct tensor_room *r, const struct inventory *models)
{
    struct tensor_models *m;
    int res = tensor_models_of(models, &m);

    if (res == 0) {
        m->take = ++r->take;
        res = actor_send(r->actor, m);
    }
    return res < 0 ? err_pass(res) : 0;
}

void tensor_room_progress(const struct tensor_room *r, struct tensor_progress *ret)
{
    *ret = r->progress.take == r->take ? r->progress : (struct tensor_progress){.take = r->take};
}
