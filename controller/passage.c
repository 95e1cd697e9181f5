#include "controller/passage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/core/err.h"
#include "controller/gateway_state.h"

struct passage {
    struct gateway *gateway;
    struct passage_spec spec;
    struct httpc_header header[PASSAGE_FIELDS_MAX];
    struct passage_calls calls;
    struct admission_ticket *ticket;
    struct httpc_request *upstream;
    struct id128 instance;
    int failure; /* of the last sending; negative errno */
    int status;  /* of this sending's answer; 0: nothing came yet that is one */
    uint64_t began_us, sent_us, first_us;
};

/* ---- its end ---- */

static void passage_free(struct passage *p)
{
    p->gateway->n_requests--;
    httpc_cancel(&p->upstream);
    free(p);
}

static void passage_fail(struct passage *p, const struct gateway_refusal *r)
{
    p->calls.fail(p->calls.ctx, r);
    passage_free(p);
}

void passage_cancel(struct passage **passage)
{
    struct passage *p = *passage;
    struct gateway *g;

    if (!p)
        return;
    *passage = NULL;
    g = p->gateway;
    admission_left(g->admission, &p->ticket, clock_now_ms());
    passage_free(p);
    gateway_settle(g);
}

/* ---- the answer ---- */

static void on_head(void *ctx, int status, const struct httpc_header *header, size_t n)
{
    struct passage *p = ctx;

    if (!upstream_is_answer(status))
        return; /* as if nothing had come */
    p->status = status;
    p->calls.head(p->calls.ctx, status, header, n);
}

static void on_data(void *ctx, const void *buf, size_t n)
{
    struct passage *p = ctx;
    struct admission *a = p->gateway->admission;

    if (!n || !p->status)
        return;
    switch (p->calls.data(p->calls.ctx, buf, n)) {
    case PASSAGE_SIGN_OF_LIFE:
        return;
    case PASSAGE_HANDED_ON:
        admission_committed(a, p->ticket);
        break;
    case PASSAGE_KEPT:
        break;
    }
    if (!p->first_us)
        p->first_us = clock_now_us() - p->began_us;
    admission_progress(a, p->ticket, n, clock_now_ms());
    gateway_settle(p->gateway);
}

void passage_pause(struct passage *p)
{
    if (p->upstream)
        httpc_pause(p->upstream);
}

void passage_resume(struct passage *p)
{
    if (p->upstream)
        httpc_resume(p->upstream);
}

/* ---- sendings ---- */

static void forget_answer(struct passage *p)
{
    httpc_cancel(&p->upstream);
    if (p->status)
        p->calls.again(p->calls.ctx);
    p->status = 0;
}

/* What its end tells of the coordinator. 0: nothing, it is about this request alone. */
static int how_broken(int r, bool answered)
{
    switch (-r) {
    case ECONNREFUSED:
        return ADMISSION_PORT_REFUSED;
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case ENXIO:
    case ESTALE: /* what a carrier says, or who else answers there, proves no exit: its agent knows better */
    case ENOLINK:
    case EKEYREJECTED:
    case EBADMSG:
        return answered ? ADMISSION_BROKEN : ADMISSION_UNREACHED;
    case EBUSY:
        return ADMISSION_NO_ROOM;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
        return answered ? ADMISSION_BROKEN : ADMISSION_RESET;
    default:
        return 0;
    }
}

static void say_failed(const struct passage *p, int r, struct gateway_refusal *ret)
{
    const struct view_instance *in = view_find_instance(p->gateway->view, p->spec.model);

    *ret = (struct gateway_refusal){.status = 502};
    snprintf(ret->text, sizeof(ret->text), "instance \"%s\" failed: %s", in ? in->name : p->spec.model,
             upstream_failure_text(r));
}

/* p may be gone when the gateway has settled. */
static void sending_failed(struct passage *p, int r)
{
    struct gateway *g = p->gateway;
    int how = how_broken(r, p->status != 0);
    struct gateway_refusal refusal;

    p->failure = r;
    forget_answer(p);
    if (how) {
        admission_broken(g->admission, p->ticket, (enum admission_break)how, clock_now_ms());
        return;
    }
    say_failed(p, r, &refusal);
    admission_done(g->admission, &p->ticket, refusal.status, clock_now_ms());
    passage_fail(p, &refusal);
}

static void on_done(void *ctx, int r)
{
    struct passage *p = ctx;
    struct gateway *g = p->gateway;

    p->upstream = NULL;
    if (r == 0 && !p->status)
        r = err_raise(-EPROTO);
    if (r < 0) {
        sending_failed(p, r);
    } else {
        admission_done(g->admission, &p->ticket, p->status, clock_now_ms());
        p->calls.end(p->calls.ctx);
        passage_free(p);
    }
    gateway_settle(g);
}

static int start_upstream(struct passage *p, const struct upstream_target *to)
{
    const struct upstream up = {p->gateway->deps.base, p->gateway->secret, p->gateway->tunnels, p->gateway->places};
    const struct httpc_callbacks cb = {.head = on_head, .data = on_data, .done = on_done, .ctx = p};
    const struct httpc_spec spec = {.method = p->spec.method,
                                    .target = p->spec.target,
                                    .header = p->header,
                                    .n_headers = p->spec.n_headers,
                                    .body = p->spec.body,
                                    .n_body_bytes = p->spec.n_body_bytes};

    return upstream_start(&up, to, &spec, &cb, &p->upstream);
}

static void go(struct passage *p, const struct admission_decision *d)
{
    struct upstream_target to = {.port = d->port, .instance = d->instance, .epoch = d->epoch};
    int r;

    p->instance = d->instance;
    p->sent_us = clock_now_us() - p->began_us;
    p->first_us = 0; /* what the sending before said was taken back */
    memcpy(to.addr, d->addr, sizeof(to.addr));
    memcpy(to.key, d->key, sizeof(to.key));
    r = start_upstream(p, &to);
    if (r < 0)
        sending_failed(p, r);
}

static void refused(struct passage *p, const struct admission_decision *d)
{
    struct gateway_refusal r;

    p->ticket = NULL;
    gateway_say(p->gateway->view, d, p->spec.model, p->failure, &r);
    passage_fail(p, &r);
}

void passage_decided(const struct admission_decision *d)
{
    struct passage *p = d->owner;

    forget_answer(p);
    switch (d->verdict) {
    case ADMISSION_GO:
        go(p, d);
        return;
    case ADMISSION_WAIT:
        return;
    case ADMISSION_REFUSE:
        refused(p, d);
        return;
    }
}

/* ---- its begin ---- */

/* A keyed hash, so that nobody can make a request that has another's. */
static struct id128 hash_request(const struct gateway *g, const struct passage_spec *spec)
{
    const void *said = spec->said ? spec->said : spec->body;
    size_t n = spec->said ? spec->n_said_bytes : spec->n_body_bytes;
    uint8_t target[CRYPTO_KEY_BYTES], whole[CRYPTO_KEY_BYTES];
    struct id128 hash;

    crypto_derive(g->secret, spec->target, strlen(spec->target), target);
    crypto_derive(target, said, n, whole);
    memcpy(hash.b, whole, sizeof(hash.b));
    return hash;
}

int passage_begin(struct gateway *g, const struct passage_spec *spec, const struct passage_calls *calls,
                  struct passage **ret)
{
    struct admission_ask ask = {.model = spec->model,
                                .wait_ms = spec->wait_ms ? spec->wait_ms : g->deps.wait_ms,
                                .timeout_ms = spec->timeout_ms,
                                .n_bytes = spec->n_body_bytes,
                                .slotless = spec->slotless,
                                .body = hash_request(g, spec)};
    struct passage *p;
    int r;

    if (g->n_requests >= GATEWAY_REQUESTS_MAX)
        return PASSAGE_E_FULL;
    p = calloc(1, sizeof(*p));
    if (!p)
        return err_raise(-ENOMEM);
    *p = (struct passage){.gateway = g, .spec = *spec, .calls = *calls, .began_us = clock_now_us()};
    for (size_t i = 0; i < spec->n_headers; i++)
        p->header[i] = spec->header[i];
    ask.owner = p;
    r = admission_ask(g->admission, &ask, clock_now_ms(), &p->ticket);
    if (r < 0) {
        free(p);
        return err_pass(r);
    }
    g->n_requests++;
    *ret = p;
    gateway_settle(g);
    return 0;
}

/* ---- what is known of it ---- */

void passage_times(const struct passage *p, struct passage_times *ret)
{
    *ret = (struct passage_times){.sent_us = p->sent_us, .first_us = p->first_us};
}

struct id128 passage_instance(const struct passage *p)
{
    return p->instance;
}

void passage_say_waiting(const struct passage *p, char *buf, size_t size)
{
    size_t place = p->ticket ? admission_place(p->gateway->admission, p->ticket) : 0;

    if (p->ticket && !place)
        snprintf(buf, size, "its prompt is being computed");
    else
        gateway_say_waiting(p->gateway->view, p->spec.model, place, buf, size);
}
