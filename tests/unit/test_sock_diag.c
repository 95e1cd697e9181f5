/* The kernel's answers about sockets, as bytes; and one of them, looked up. All real ones: test_ports.c, test_rank_sockets.c. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/sock_diag.h"

struct told {
    size_t n;
    struct procfs_socket last;
};

static void take(void *ctx, const struct procfs_socket *s)
{
    struct told *t = ctx;

    t->n++;
    t->last = *s;
}

/* n_bytes of what was sent, in memory that ends right there. */
static int read_cut(const void *bytes, size_t n_bytes, struct told *ret)
{
    char *buf = malloc(n_bytes ? n_bytes : 1);
    int r;

    assert_non_null(buf);
    memcpy(buf, bytes, n_bytes);
    *ret = (struct told){.n = 0};
    r = sock_diag_read(buf, n_bytes, take, ret);
    free(buf);
    return r;
}

static void test_an_answer_that_is_cut_anywhere(void **state)
{
    struct {
        struct nlmsghdr head;
        struct inet_diag_msg body;
        struct nlmsghdr done;
    } q = {.head = {.nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_len = NLMSG_LENGTH(sizeof(q.body))},
           .body = {.idiag_family = AF_INET, .idiag_state = PROCFS_TCP_LISTEN, .id.idiag_src = {0x0100007f}},
           .done = {.nlmsg_type = NLMSG_DONE, .nlmsg_len = sizeof(q.done)}};
    struct told t;

    (void)state;
    assert_int_equal(read_cut(&q, sizeof(q), &t), SOCK_DIAG_E_LAST);
    assert_int_equal(t.n, 1);
    assert_int_equal(t.last.state, PROCFS_TCP_LISTEN);
    assert_int_equal(t.last.local.addr[0], 127);
    for (size_t n = 0; n < sizeof(q); n++) {
        assert_int_equal(read_cut(&q, n, &t), 0);
        assert_int_equal(t.n, n >= q.head.nlmsg_len);
    }
}

/* Its length is no multiple of four, and nothing follows: the padding that is not there must not be taken off. */
static void test_the_last_message_lacks_its_padding(void **state)
{
    struct nlmsghdr odd[2] = {{.nlmsg_type = NLMSG_NOOP, .nlmsg_len = sizeof(odd[0]) + 1}};
    struct told t;

    (void)state;
    assert_int_equal(read_cut(odd, sizeof(odd[0]) + 1, &t), 0);
    assert_int_equal(t.n, 0);
}

static void test_what_the_kernel_refuses(void **state)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr body;
    } q = {.head = {.nlmsg_type = NLMSG_ERROR, .nlmsg_len = sizeof(q)}, .body = {.error = -ENOENT}};
    struct told t;

    (void)state;
    assert_int_equal(read_cut(&q, sizeof(q), &t), -ENOENT);
    q.body.error = 0; /* an acknowledgement, which nobody asked for */
    assert_int_equal(read_cut(&q, sizeof(q), &t), -EPROTO);
    q.head.nlmsg_len = sizeof(q.head);
    assert_int_equal(read_cut(&q, sizeof(q), &t), -EPROTO);
}

static void end_of(int fd, bool far, struct procfs_end *ret)
{
    struct sockaddr_in6 at;
    socklen_t n = sizeof(at);

    assert_int_equal((far ? getpeername : getsockname)(fd, (struct sockaddr *)&at, &n), 0);
    *ret = (struct procfs_end){.v6 = true, .port = ntohs(at.sin6_port)};
    memcpy(ret->addr, &at.sin6_addr, sizeof(ret->addr));
}

static void test_one_is_looked_up(void **state)
{
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0),
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct procfs_end own, far, none = {.v6 = true};
    struct procfs_socket found;
    socklen_t n = sizeof(at);

    (void)state;
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0)
        skip(); /* no IPv6 here; of IPv4: test_own_user.c */
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &n), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, n), 0);
    end_of(fd, false, &own);
    end_of(fd, true, &far);
    assert_int_equal(sock_diag_find(&own, &far, &found), 0);
    assert_int_equal(found.state, PROCFS_TCP_ESTABLISHED);
    assert_int_equal(found.uid, geteuid());
    assert_true(found.inode > 0);
    assert_true(procfs_end_equal(&found.local, &own) && procfs_end_equal(&found.remote, &far));
    assert_int_equal(sock_diag_find(&far, &none, &found), 0);
    assert_int_equal(found.state, PROCFS_TCP_LISTEN);
    close(listener);
    close(fd);
    assert_int_equal(sock_diag_find(&far, &none, &found), SOCK_DIAG_E_NONE);
}

/* Whom nobody may be taken for: whoever listens where a connection that is gone had its end. */
static void test_a_listener_is_no_connection(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct procfs_end own = {.addr = {127, 0, 0, 1}}, far = {.addr = {127, 0, 0, 1}, .port = 9}, none = {.port = 0};
    struct procfs_socket found;
    socklen_t n = sizeof(at);

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    own.port = ntohs(at.sin_port);
    assert_int_equal(sock_diag_find(&own, &none, &found), 0); /* the control */
    assert_int_equal(sock_diag_find(&own, &far, &found), SOCK_DIAG_E_NONE);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_that_is_cut_anywhere),
        cmocka_unit_test(test_the_last_message_lacks_its_padding),
        cmocka_unit_test(test_what_the_kernel_refuses),
        cmocka_unit_test(test_one_is_looked_up),
        cmocka_unit_test(test_a_listener_is_no_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
