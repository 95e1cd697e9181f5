/* The kernel's answers about sockets, as bytes. Real ones: test_ports.c, test_rank_sockets.c. */
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

#include <cmocka.h>

#include "agent/sockets.h"

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
    r = sockets_read_diag(buf, n_bytes, take, ret);
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
    assert_int_equal(read_cut(&q, sizeof(q), &t), SOCKETS_E_LAST);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_that_is_cut_anywhere),
        cmocka_unit_test(test_the_last_message_lacks_its_padding),
        cmocka_unit_test(test_what_the_kernel_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
