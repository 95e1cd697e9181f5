/* One supervised process: what each move of the Process machine entails. */
#include <inttypes.h>
#include <string.h>

#include "agent/core/state.h"
#include "common/core/text.h"

enum { SIGNAL_KILL = 9, SIGNAL_TERM = 15 }; /* a core has no <signal.h> */

/* ---- moves ------------------------------------------------------------------------------------------------------ */

static bool move(struct step *st, struct unit *u, enum process_event event)
{
    st->s->units_changed = true;
    return process_machine_apply(&u->facts, event, &st->fx);
}

/* What was measured of a process that is gone, or of its work for somebody else. */
static void forget_measures(struct unit_facts *f)
{
    f->frozen_ms = f->http_silent_ms = f->n_decode = 0;
    f->closed_streams = 0;
    f->retransmits = false;
}

static void wait_ms(struct step *st, struct unit *u, uint64_t ms)
{
    u->wait_ms = ms;
    u->due_ms = st->now_ms + ms;
}

static void send_signal(struct step *st, const struct unit *u, int signal)
{
    struct agent_fx *fx = unit_effect(st, u, AGENT_FX_SIGNAL);

    if (fx)
        fx->signal = signal;
}

static void probe(struct step *st, struct unit *u, uint64_t deadline_ms)
{
    struct agent_fx *fx = unit_effect(st, u, AGENT_FX_PROBE);

    u->probing = true;
    if (fx)
        fx->deadline_ms = deadline_ms;
}

/* A coordinator does not begin before its carrier answers. */
static uint64_t start_ms(const struct state *s, const struct unit *u)
{
    bool waits = u->facts.role == UNIT_COORDINATOR && unit_is_carried(s, u);

    return waits ? PATIENCE_CARRIED_MS : AGENT_WORKER_START_MS;
}

struct agent_fx *unit_start(struct step *st, struct unit *u)
{
    struct agent_fx *fx;

    if (!move(st, u, PROCESS_EV_START))
        return NULL;
    u->started_ms = st->now_ms;
    u->running_ms = 0;
    wait_ms(st, u, start_ms(st->s, u));
    u->asked = u->killed = u->probing = u->untold = false;
    u->reason[0] = u->why[0] = '\0';
    u->facts.exit = (struct exit_facts){0};
    u->facts.port = 0;
    memcpy(u->facts.addr, unit_home(st, u->facts.role), sizeof(u->facts.addr));
    u->facts.adopted = u->exposed = false;
    fx = unit_effect(st, u, AGENT_FX_SPAWN);
    if (!fx)
        return NULL;
    fx->unit = u->facts;
    fx->port_hint = u->port_hint;
    return fx;
}

/* SIGKILL cannot be lost, and a process that comes into being later is met by unit_on_spawned. It may hang in the kernel
 * all the same. */
static void kill_now(struct step *st, struct unit *u)
{
    u->probing = false;
    u->killed = true;
    wait_ms(st, u, AGENT_STUCK_MS);
    send_signal(st, u, SIGNAL_KILL);
}

void unit_stop(struct step *st, struct unit *u)
{
    if (!move(st, u, PROCESS_EV_STOP) || u->facts.state != UNIT_STOPPING)
        return;
    u->asked = true;
    u->probing = false;
    /* Stopped by somebody, it would not hear SIGTERM; and a carrier has nothing to bring to an end: its sockets are to be
     * closed at once. */
    if (u->facts.proc_state == 'T' || u->facts.role == UNIT_CARRIER) {
        kill_now(st, u);
        return;
    }
    wait_ms(st, u, u->grace_ms);
    send_signal(st, u, SIGNAL_TERM);
}

static uint64_t next_backoff_ms(const struct unit *u, uint64_t now_ms)
{
    bool lasted = u->running_ms && now_ms - u->running_ms >= AGENT_BACKOFF_RESET_MS;

    if (lasted || !u->backoff_ms)
        return AGENT_BACKOFF_MIN_MS;
    return u->backoff_ms * 2 < AGENT_BACKOFF_MAX_MS ? u->backoff_ms * 2 : AGENT_BACKOFF_MAX_MS;
}

void unit_back_off(struct step *st, struct unit *u)
{
    if (!move(st, u, PROCESS_EV_BACK_OFF))
        return;
    u->due_ms = u->asked ? st->now_ms : st->now_ms + u->backoff_ms;
    u->facts.restarts++;
    u->port_hint = u->exposed ? st->s->worker_port : u->facts.port;
    if (u->quick_exits >= 2) /* the range is the shell's: it begins anew where it ends; 65535 wraps to "the first" */
        u->port_hint = (uint16_t)(u->facts.port + 1);
    unit_effect(st, u, AGENT_FX_FORGET);
}

static bool is_private(const struct step *st, const struct unit *u)
{
    return st->config->carrier_addr[0] && strcmp(u->facts.addr, st->config->addr) == 0;
}

/* The shell's search goes on from a port and begins anew at the end of its range: what is left behind comes again last. */
void unit_expose(struct step *st, struct unit *u)
{
    uint16_t port = u->facts.port, *next = &st->s->worker_port;

    if (u->facts.role != UNIT_WORKER || u->exposed || !port || is_private(st, u) ||
        unit_coordinator(st->s, &u->facts.instance, u->facts.epoch) /* here, and ended before its workers */)
        return;
    if (port >= *next || port < u->port_hint /* it has begun anew */)
        *next = (uint16_t)(port + 1);
    u->exposed = true;
    u->port_hint = *next;
}

void unit_ask_empty(struct step *st, struct unit *u)
{
    wait_ms(st, u, UINT64_C(2) * AGENT_EMPTY_MS); /* the shell answers by the deadline; this is for one that does not */
    probe(st, u, AGENT_EMPTY_MS);
}

void unit_assign(struct step *st, struct unit *u, const struct id128 *instance, uint64_t epoch, int32_t rank)
{
    struct agent_fx *fx;

    u->facts.instance = *instance;
    u->facts.epoch = epoch;
    u->facts.rank = rank;
    u->ending = u->unwritten = false;
    forget_measures(&u->facts);
    hang_watch_restart(&u->hang);
    u->token = ++st->s->last_token;
    st->s->units_changed = true;
    fx = unit_effect(st, u, AGENT_FX_ASSIGN);
    if (!fx)
        return;
    fx->unit = u->facts;
    fx->token = u->token;
}

void unit_disown(struct step *st, const char *id, bool gone)
{
    struct agent_fx *fx = effects_add(&st->fx, gone ? AGENT_FX_FORGET : AGENT_FX_SIGNAL);

    if (!fx)
        return;
    text_copy(fx->unit_id, sizeof(fx->unit_id), id);
    fx->signal = gone ? 0 : SIGNAL_KILL;
}

/* ---- what happened ---------------------------------------------------------------------------------------------- */

void unit_tell(struct step *st, struct unit *u, enum agent_event_kind kind, const char *text)
{
    struct message *m;

    if (!u || !route_is_open(st->s))
        return;
    m = route_send(st, MESSAGE_EVENT);
    if (!m)
        return;
    m->event->kind = kind;
    text_copy(m->event->text, sizeof(m->event->text), text);
    m->instance = u->facts.instance;
    m->epoch = u->facts.epoch;
    m->event->unit = u->facts;
    if (kind == AGENT_EVENT_RANK_BUFFERS) {
        m->event->n_buffers = u->n_buffers;
        memcpy(m->event->buffers, u->buffers, u->n_buffers * sizeof(u->buffers[0]));
    }
}

void unit_tell_again(struct step *st, struct unit *u)
{
    if (u->untold)
        unit_tell(st, u, AGENT_EVENT_UNIT_EXITED, u->why);
    u->untold = false;
    if (u->facts.role != UNIT_COORDINATOR || unit_is_gone(u))
        return;
    if (u->loading)
        unit_tell(st, u, AGENT_EVENT_LOADING, "");
    if (u->n_buffers)
        unit_tell(st, u, AGENT_EVENT_RANK_BUFFERS, "");
    if (u->listening)
        unit_tell(st, u, AGENT_EVENT_LISTENING, "");
}

void unit_on_spawned(struct step *st, struct unit *u, const struct agent_ev *ev)
{
    if (!move(st, u, PROCESS_EV_SPAWNED))
        return;
    u->facts.pid = ev->pid;
    u->facts.port = ev->port;
    if (ev->addr && ev->addr[0])
        text_copy(u->facts.addr, sizeof(u->facts.addr), ev->addr);
    if (u->facts.state == UNIT_STOPPING) {
        send_signal(st, u, u->killed ? SIGNAL_KILL : SIGNAL_TERM);
    } else if (u->facts.role ==
               UNIT_COORDINATOR) { /* how long a load may take is the leader's to judge, by its progress */
        u->due_ms = UINT64_MAX;
    } else {
        wait_ms(st, u, AGENT_WORKER_START_MS);
        probe(st, u, AGENT_WORKER_START_MS);
    }
}

static void tell_end(struct step *st, struct unit *u)
{
    u->untold = !u->asked && !u->ending;
    if (!u->untold || !route_is_open(st->s))
        return;
    unit_tell(st, u, AGENT_EVENT_UNIT_EXITED, u->why);
    u->untold = false;
}

static void count_end(struct step *st, struct unit *u)
{
    bool quick = !u->asked && st->now_ms - u->started_ms <= AGENT_QUICK_EXIT_MS;

    u->quick_exits = quick ? u->quick_exits + 1 : 0;
    if (!u->asked)
        u->backoff_ms = next_backoff_ms(u, st->now_ms);
    u->due_ms = UINT64_MAX;
    u->probing = u->unwritten = false; /* its record goes with it, or is written anew by the next start */
    u->token = 0;
}

void unit_on_spawn_failed(struct step *st, struct unit *u, const char *reason, const char *text)
{
    if (!move(st, u, PROCESS_EV_SPAWN_FAILED))
        return;
    text_copy(u->reason, sizeof(u->reason), reason ? reason : "spawn_failed");
    text_copy(u->why, sizeof(u->why), text);
    count_end(st, u);
    tell_end(st, u);
}

void unit_on_exited(struct step *st, struct unit *u, const struct exit_facts *exit, const char *text)
{
    if (!move(st, u, PROCESS_EV_EXITED))
        return;
    st->s->freed_bytes += u->facts.rss_bytes;
    u->facts.exit = *exit;
    u->facts.pid = 0;
    u->facts.rss_bytes = 0;
    u->facts.dying = false;
    u->facts.proc_state = '?';
    forget_measures(&u->facts);
    if (!u->reason[0])
        text_format(u->reason, sizeof(u->reason), "%s_exited", unit_role_name(u->facts.role));
    if (!u->why[0])
        text_copy(u->why, sizeof(u->why), text);
    count_end(st, u);
    tell_end(st, u);
}

void unit_on_dying(struct step *st, struct unit *u)
{
    if (!move(st, u, PROCESS_EV_DYING) || u->facts.dying)
        return;
    u->facts.dying = true;
    if (!u->asked && !u->ending)
        unit_tell(st, u, AGENT_EVENT_UNIT_DYING, "The kernel takes this process down; its memory is not free yet.");
}

static void take_answer(struct unit *u, const struct agent_ev *ev)
{
    u->facts.rpc = ev->rpc;
    for (size_t i = 0; i < u->facts.n_devices && i < ev->n_devices; i++)
        u->facts.device_total_bytes[i] = ev->device_total_bytes[i];
}

static void on_answered(struct step *st, struct unit *u)
{
    if (!move(st, u, PROCESS_EV_ANSWERED))
        return;
    u->running_ms = st->now_ms;
    u->due_ms = UINT64_MAX;
}

static void on_silent(struct step *st, struct unit *u)
{
    if (!move(st, u, PROCESS_EV_SILENT))
        return;
    text_format(u->reason, sizeof(u->reason), "%s_silent", unit_role_name(u->facts.role));
    text_format(u->why, sizeof(u->why), "It was started but did not answer within %" PRIu64 " s.", u->wait_ms / 1000);
    kill_now(st, u);
}

/* Whoever it still serves is gone or unknown to us; waiting cannot help and asking it cannot either: it takes one client
 * at a time and never notices one that vanished without FIN. */
static void on_not_empty(struct step *st, struct unit *u)
{
    if (!move(st, u, PROCESS_EV_NOT_EMPTY))
        return;
    text_copy(u->reason, sizeof(u->reason), "worker_not_empty");
    text_format(u->why, sizeof(u->why), "It still served somebody %d s after its last epoch ended; it is ended.",
                AGENT_EMPTY_MS / 1000);
    u->asked = true;
    kill_now(st, u);
}

static void on_empty(struct step *st, struct unit *u)
{
    static const struct id128 nobody;

    u->due_ms = UINT64_MAX;
    if (move(st, u, PROCESS_EV_EMPTY) && u->ending)
        unit_assign(st, u, &nobody, 0, -1);
}

void unit_on_probed(struct step *st, struct unit *u, const struct agent_ev *ev)
{
    if (!u->probing) /* an answer that came too late to matter */
        return;
    u->probing = false;
    if (ev->ok)
        take_answer(u, ev);
    if (u->facts.state == UNIT_RUNNING)
        (ev->ok ? on_empty : on_not_empty)(st, u);
    else
        (ev->ok ? on_answered : on_silent)(st, u);
}

void unit_on_log(struct step *st, struct unit *u, const struct agent_event_facts *facts)
{
    if (u->facts.role != UNIT_COORDINATOR || unit_is_gone(u))
        return;
    switch (facts->kind) {
    case AGENT_EVENT_LOADING:
        u->loading = true;
        break;
    case AGENT_EVENT_RANK_BUFFERS:
        u->n_buffers = facts->n_buffers < UNIT_BUFFERS_MAX ? facts->n_buffers : UNIT_BUFFERS_MAX;
        memcpy(u->buffers, facts->buffers, u->n_buffers * sizeof(u->buffers[0]));
        break;
    case AGENT_EVENT_LISTENING:
        u->listening = true;
        if (u->facts.state == UNIT_STARTING)
            on_answered(st, u);
        break;
    case AGENT_EVENT_UNIT_EXITED:
    case AGENT_EVENT_UNIT_DYING:
    case AGENT_EVENT_RESUMED:
    case AGENT_EVENT_PORT_CLASH:
        return; /* no log says that */
    }
    unit_tell(st, u, facts->kind, facts->text);
}

void unit_on_due(struct step *st, struct unit *u)
{
    if (st->now_ms < u->due_ms)
        return;
    switch (u->facts.state) {
    case UNIT_STARTING:
        on_silent(st, u);
        break;
    case UNIT_RUNNING:
        on_not_empty(st, u);
        break;
    case UNIT_STOPPING:
        if (!move(st, u, PROCESS_EV_GRACE_OVER))
            break;
        if (u->killed)
            command_give_up(st, u);
        kill_now(st, u);
        break;
    case UNIT_IDLE:
    case UNIT_EXITED:
    case UNIT_BACKOFF: /* settle_standing starts it */
    case UNIT_FAILED:
        break;
    }
}

/* The machine slept: what was to happen meanwhile gets its whole time again. A backoff does not: nothing runs that could
 * have missed it. */
void unit_on_resumed(struct step *st, struct unit *u)
{
    hang_watch_restart(&u->hang);
    u->facts.frozen_ms = 0;
    if (!unit_is_gone(u) && u->due_ms != UINT64_MAX)
        wait_ms(st, u, u->wait_ms);
}

/* It came to be, or to its end, after this agent had given it up. */
void unit_on_unknown(struct step *st, const struct agent_ev *ev)
{
    if (ev->unit_id && (ev->kind == AGENT_EV_SPAWNED || ev->kind == AGENT_EV_EXITED))
        unit_disown(st, ev->unit_id, ev->kind == AGENT_EV_EXITED);
}
