/* feed_relay PORT WORKER_PORT DIR [MODEL]: stands between llama-server and rpc-server on loopback, a connection at a time, with
 * what a carrier has beside a worker: the sensor, the gate, and MODEL to feed from. Blocking, and without a cipher: what is
 * tried here is whether the real programs take what it says. One line per connection when that ends. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/carrier/feed.h"
#include "agent/carrier/tensor_store.h"
#include "common/cleanup.h"
#include "common/file.h"

enum { CHUNK = 256 * 1024 };

struct passage {
    int client, worker;
    struct feed_file file;
    struct hash_gate gate;
    struct rpc_frames sensor; /* of what the worker is told and says */
    uint64_t n_fed, n_fed_bytes, n_wrong, n_not_here;
    uint8_t buf[CHUNK];
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool send_all(int fd, const uint8_t *p, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool to_worker(struct passage *r, const uint8_t *p, size_t n)
{
    rpc_frames_request(&r->sensor, p, n, now_ms());
    if (!send_all(r->worker, p, n))
        return false;
    rpc_frames_written(&r->sensor, n, now_ms());
    return true;
}

/* A whole question is held: answered from the file, or by the worker. */
static bool ask(struct passage *r)
{
    uint8_t answer[FEED_ANSWER_BYTES], *buf;
    struct feed f;
    bool ok = true;

    if (!r->file.index || feed_begin(&f, &r->file, r->gate.held)) {
        r->n_not_here++;
        return to_worker(r, r->gate.held, r->gate.n_held);
    }
    buf = malloc(CHUNK);
    for (size_t n; buf && ok && (n = feed_read(&f, buf, CHUNK)); r->n_fed_bytes += n)
        ok = to_worker(r, buf, n);
    free(buf);
    if (feed_answer(&f, answer))
        r->n_fed++;
    else
        r->n_wrong++;
    return buf && ok && send_all(r->client, answer, sizeof(answer));
}

static bool from_client(struct passage *r, size_t n)
{
    for (size_t at = 0; at < n;) {
        enum hash_gate_verdict verdict;
        size_t used;
        bool ok = true;

        used = hash_gate_take(&r->gate, r->buf + at, n - at, rpc_frames_may_answer(&r->sensor), &verdict);
        if (verdict == HASH_GATE_PASS)
            ok = to_worker(r, r->buf + at, used);
        else if (verdict == HASH_GATE_RELEASE)
            ok = to_worker(r, r->gate.held, r->gate.n_held);
        else if (verdict == HASH_GATE_ASK)
            ok = ask(r);
        if (!ok)
            return false;
        at += used;
    }
    return true;
}

/* false: one of the two has left. */
static bool turn(struct passage *r)
{
    struct pollfd p[2] = {{.fd = r->client, .events = POLLIN}, {.fd = r->worker, .events = POLLIN}};
    ssize_t n;

    if (poll(p, 2, -1) < 0)
        return false;
    if (p[1].revents) {
        n = recv(r->worker, r->buf, CHUNK, 0);
        if (n <= 0)
            return false;
        rpc_frames_answer(&r->sensor, r->buf, (size_t)n, now_ms());
        return send_all(r->client, r->buf, (size_t)n);
    }
    n = recv(r->client, r->buf, CHUNK, 0);
    return n > 0 && from_client(r, (size_t)n);
}

static void tell(const struct passage *r)
{
    struct rpc_figures v;

    rpc_frames_figures(&r->sensor, now_ms(), &v);
    printf("fed=%" PRIu64 " fed_bytes=%" PRIu64 " wrong=%" PRIu64 " not_here=%" PRIu64 " tensor_bytes=%" PRIu64
           " graphs=%" PRIu64 " waiting=%zu blind=\"%s\"\n",
           r->n_fed, r->n_fed_bytes, r->n_wrong, r->n_not_here, v.n_tensor_bytes, v.n_graphs, v.n_waiting,
           rpc_blind_text(v.why));
}

static int dial(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    return fd;
}

static int serve(int listener, uint16_t worker_port, const struct feed_file *file)
{
    struct passage *r = calloc(1, sizeof(*r));
    int yes = 1;

    while (r) {
        *r = (struct passage){.file = *file};
        rpc_frames_init(&r->sensor);
        r->client = accept(listener, NULL, NULL);
        r->worker = dial(worker_port);
        if (r->client < 0 || r->worker < 0)
            break;
        setsockopt(r->client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
        while (turn(r))
            ;
        close(r->client);
        close(r->worker);
        tell(r);
    }
    free(r);
    return 1;
}

static struct tensor_index *index_of(const char *dir, int fd)
{
    struct tensor_index *x = NULL;
    struct gguf_source source;
    char why[GGUF_WHY_MAX] = "";

    if (fd < 0 || tensor_store_open(dir, fd, &x, why, sizeof(why))) {
        fprintf(stderr, "feed_relay: no index of it: %s\n", why);
        exit(1);
    }
    source = file_gguf_source(&fd, tensor_index_file(x).size_bytes);
    if (tensor_index_step(x, &source, UINT64_MAX) || tensor_store_keep(dir, x))
        exit(1);
    return x;
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    return bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 16) < 0 ? -1 : fd;
}

int main(int argc, char **argv)
{
    struct feed_file file = {.fd = -1};
    int listener;

    if (argc < 4) {
        fprintf(stderr, "usage: feed_relay PORT WORKER_PORT DIR [MODEL]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 4) {
        file.fd = open(argv[4], O_RDONLY | O_CLOEXEC);
        file.index = index_of(argv[3], file.fd);
    }
    listener = listen_on((uint16_t)atoi(argv[1]));
    if (listener < 0) {
        perror("feed_relay");
        return 1;
    }
    printf("ready\n");
    return serve(listener, (uint16_t)atoi(argv[2]), &file);
}
