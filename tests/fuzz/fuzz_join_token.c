/* A join token as somebody pasted it, or as it lies in a file: it is refused with a sentence, or it is one that can be written
 * and read again; and what a node takes of it, one that has joined and one that has not. New inputs are now and then tokens
 * whose check is right and whose contents need not be, which chance alone would not make. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/join_ticket.h"
#include "common/cleanup.h"
#include "common/core/join_token.h"
#include "tests/fuzz/support.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

enum { NODE_NEW, NODE_JOINED, N_NODES };
static struct state_dir *node[N_NODES];

static const uint8_t cluster[sizeof(struct id128)] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

void fuzz_setup(void)
{
    struct state_cluster joined = {.n_controllers = STATE_CONTROLLERS_MAX - 2};
    char dir[64];

    memcpy(joined.id.b, cluster, sizeof(cluster));
    for (size_t i = 0; i < joined.n_controllers; i++)
        joined.controller[i] = (struct join_controller){.port = (uint16_t)(i + 1), .addr = "10.0.0.1"};
    for (int i = 0; i < N_NODES; i++) {
        snprintf(dir, sizeof(dir), "%s/%d", fuzz_dir(), i);
        if (state_dir_open(dir, fuzz_dir(), &node[i]))
            abort();
    }
    if (state_dir_write_cluster(node[NODE_JOINED], &joined) < 0)
        abort();
}

/* ---- new inputs ---- */

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const char *const addr[] = {"10.0.0.1", "fd00::1", "host", ""};
    struct join_token t = {.n_controllers = 1 + seed / 16 % JOIN_TOKEN_CONTROLLERS_MAX};
    char text[JOIN_TOKEN_TEXT_MAX];
    size_t n;

    if (seed % 16)
        return LLVMFuzzerMutate(data, size, max_size);
    if (seed & 1 << 7)
        memcpy(t.cluster.b, cluster, sizeof(cluster));
    t.cluster.b[0] = seed >> 8 & 1;
    for (size_t i = 0; i < t.n_controllers; i++) {
        unsigned bits = seed >> (9 + i);

        t.controller[i].port = bits % 8 ? 7420 : 0;
        snprintf(t.controller[i].addr, sizeof(t.controller[i].addr), "%s", addr[bits / 8 % 4]);
    }
    join_token_format(&t, text);
    n = strlen(text) < max_size ? strlen(text) : max_size;
    memcpy(data, text, n);
    return n;
}

/* ---- what it says ---- */

static bool same(const struct join_token *a, const struct join_token *b)
{
    if (!id128_equal(&a->cluster, &b->cluster) || memcmp(a->seed, b->seed, sizeof(a->seed)) != 0 ||
        a->n_controllers != b->n_controllers)
        return false;
    for (size_t i = 0; i < a->n_controllers; i++)
        if (memcmp(a->controller[i].key, b->controller[i].key, sizeof(a->controller[i].key)) != 0 ||
            a->controller[i].port != b->controller[i].port || strcmp(a->controller[i].addr, b->controller[i].addr) != 0)
            return false;
    return true;
}

/* Returns whether it is one. */
static bool check_token(const uint8_t *data, size_t size)
{
    struct join_token t = {.n_controllers = 0}, back = {.n_controllers = 0};
    char text[JOIN_TOKEN_TEXT_MAX], why[256] = "";
    int r = join_token_parse((const char *)data, size, &t, why, sizeof(why));

    FUZZ_CHECK(r == 0 || (r == JOIN_TOKEN_E_INVALID && why[0] && strnlen(why, sizeof(why)) < sizeof(why)));
    if (r)
        return false;
    FUZZ_CHECK(t.n_controllers >= 1 && t.n_controllers <= JOIN_TOKEN_CONTROLLERS_MAX && !id128_is_zero(&t.cluster));
    for (size_t i = 0; i < t.n_controllers; i++)
        FUZZ_CHECK(t.controller[i].port && strnlen(t.controller[i].addr, PROTO_ADDR_MAX) < PROTO_ADDR_MAX);
    join_token_format(&t, text);
    FUZZ_CHECK(join_token_parse(text, strlen(text), &back, why, sizeof(why)) == 0 && same(&t, &back));
    return true;
}

/* ---- what a node takes of it ---- */

/* text: as `join` has it. Returns whether the node asks by it. */
static bool check_ticket(const char *text, const struct state_dir *state)
{
    struct join_ticket t;
    int r = join_ticket_read(text, state, &t);
    bool asks = t.asks;

    FUZZ_CHECK(r == 0 || (r == JOIN_TICKET_E_REFUSED && !asks));
    FUZZ_CHECK(t.cluster.n_controllers <= STATE_CONTROLLERS_MAX && asks == (t.n_asked > 0));
    if (asks)
        FUZZ_CHECK(t.n_asked <= t.cluster.n_controllers && !id128_is_zero(&t.cluster.id));
    if (state == node[NODE_JOINED])
        FUZZ_CHECK(memcmp(t.cluster.id.b, cluster, sizeof(cluster)) == 0);
    join_ticket_clear(&t);
    return asks;
}

/* As a file, and as standard input: both take the first line that says anything. */
static void check_files(const uint8_t *data, size_t size)
{
    CLEANUP(cleanup_close) int fd = memfd_create("token", MFD_CLOEXEC);
    char path[64];
    bool asks;

    if (fd < 0 || write(fd, data, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) || dup2(fd, STDIN_FILENO) < 0)
        abort();
    snprintf(path, sizeof(path), "@/proc/self/fd/%d", fd);
    asks = check_ticket(path, node[NODE_NEW]);
    FUZZ_CHECK(check_ticket("-", node[NODE_NEW]) == asks);
    check_ticket(size % 2 ? "@/nonexistent" : "@/", node[size / 2 % N_NODES]);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    CLEANUP(cleanup_free) char *text = fuzz_string(data, size);
    bool valid = check_token(data, size);

    if (text[0] != '@' && strcmp(text, "-") != 0) {
        bool asks = check_ticket(text, node[NODE_NEW]);

        FUZZ_CHECK(asks == valid || memchr(data, '\0', size));
        check_ticket(text, node[NODE_JOINED]);
    }
    if (size % 16 == 0) /* a file costs more than its parsing */
        check_files(data, size);
}
