#include "common/wire_zap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/cleanup.h"
#include "common/core/err.h"
#include "common/crypto.h"
#include "common/zmq_watch.h"

/* A request: version, request id, domain, address, routing id, mechanism, credentials... Only libzmq itself can reach an
 * inproc endpoint, but parts of it come from a peer: anything unexpected is answered "500" and the handler lives on. */
enum { ZAP_VERSION, ZAP_REQUEST_ID, ZAP_DOMAIN, ZAP_ADDRESS, ZAP_ROUTING_ID, ZAP_MECHANISM, ZAP_KEY, ZAP_N };

struct wire_zap {
    void *socket;
    struct wire_zap_callbacks cb;
    struct zmq_watch *watch;
};

struct request {
    zmq_msg_t frame[ZAP_N];
    size_t n; /* frames that came, also those that were thrown away */
};

static void request_clear(struct request *q)
{
    for (size_t i = 0; i < ZAP_N; i++)
        zmq_msg_close(&q->frame[i]);
}

/* Takes a whole request, of which at most ZAP_N frames are kept. false: there was none. */
static bool request_receive(void *socket, struct request *q)
{
    zmq_msg_t extra;
    int more;

    do {
        zmq_msg_t *frame = q->n < ZAP_N ? &q->frame[q->n] : &extra;

        if (frame == &extra)
            zmq_msg_init(&extra);
        if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0)
            return q->n > 0;
        more = zmq_msg_more(frame);
        if (frame == &extra)
            zmq_msg_close(&extra);
        q->n++;
    } while (more);
    return true;
}

static bool frame_is(zmq_msg_t *frame, const char *text)
{
    return zmq_msg_size(frame) == strlen(text) && memcmp(zmq_msg_data(frame), text, strlen(text)) == 0;
}

static bool request_is_curve(struct request *q)
{
    return q->n == ZAP_N && frame_is(&q->frame[ZAP_VERSION], "1.0") && frame_is(&q->frame[ZAP_MECHANISM], "CURVE") &&
           zmq_msg_size(&q->frame[ZAP_KEY]) == CRYPTO_KEY_BYTES;
}

static void reply(void *socket, struct request *q, const char *status, const char *text, const char *user_id)
{
    const char *const after_id[] = {status, text, user_id, "" /* metadata */};
    const size_t n = sizeof(after_id) / sizeof(after_id[0]);

    /* The asking session may be gone: then libzmq drops the reply, and a REP socket is ready for the next request. */
    zmq_send(socket, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(socket, zmq_msg_data(&q->frame[ZAP_REQUEST_ID]), zmq_msg_size(&q->frame[ZAP_REQUEST_ID]), ZMQ_SNDMORE);
    for (size_t i = 0; i < n; i++)
        zmq_send(socket, after_id[i], strlen(after_id[i]), i + 1 < n ? ZMQ_SNDMORE : 0);
}

static void answer(struct wire_zap *z, struct request *q)
{
    char addr[64] = "", user_id[CRYPTO_KEY_HEX];
    const uint8_t *key = zmq_msg_data(&q->frame[ZAP_KEY]);
    size_t n_addr = zmq_msg_size(&q->frame[ZAP_ADDRESS]);

    if (!request_is_curve(q)) {
        reply(z->socket, q, "500", "unexpected request", "");
        return;
    }
    if (n_addr < sizeof(addr))
        memcpy(addr, zmq_msg_data(&q->frame[ZAP_ADDRESS]), n_addr);
    if (z->cb.allow(z->cb.ctx, key)) {
        reply(z->socket, q, "200", "OK", crypto_key_format(key, user_id));
        return;
    }
    reply(z->socket, q, "400", "this key may not in", "");
    z->cb.refused(z->cb.ctx, key, addr); /* z may be gone */
}

static bool on_request(void *ctx)
{
    struct wire_zap *z = ctx;
    CLEANUP(request_clear) struct request q = {.n = 0};

    for (size_t i = 0; i < ZAP_N; i++)
        zmq_msg_init(&q.frame[i]);
    if (!request_receive(z->socket, &q))
        return false;
    answer(z, &q);
    return true;
}

int wire_zap_new(struct event_base *base, void *zmq_context, const struct wire_zap_callbacks *cb, struct wire_zap **ret)
{
    CLEANUP(wire_zap_destroy) struct wire_zap *z = calloc(1, sizeof(*z));
    const int no_linger = 0;
    int r;

    if (!z)
        return err_raise(-ENOMEM);
    z->cb = *cb;
    z->socket = zmq_socket(zmq_context, ZMQ_REP);
    if (!z->socket || zmq_setsockopt(z->socket, ZMQ_LINGER, &no_linger, sizeof(no_linger)) < 0 ||
        zmq_bind(z->socket, "inproc://zeromq.zap.01") < 0)
        return err_raise(-errno);
    r = zmq_watch_new(base, z->socket, on_request, z, &z->watch);
    if (r < 0)
        return err_pass(r);
    *ret = z;
    z = NULL;
    return 0;
}

void wire_zap_destroy(struct wire_zap **z)
{
    if (!*z)
        return;
    zmq_watch_destroy(&(*z)->watch);
    if ((*z)->socket)
        zmq_close((*z)->socket);
    free(*z);
    *z = NULL;
}
