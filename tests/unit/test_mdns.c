/* mDNS without Avahi, and what needs none. With avahi-daemon: tests/lab, by mdns_probe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <avahi-common/strlst.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mdns.h"
#include "common/mdns_avahi.h"

static const char *const types[] = {"_caravan._tcp", "_llamacpp-rpc._tcp", NULL};

static void on_service(void *ctx, const struct mdns_service *s)
{
    (void)s;
    ++*(int *)ctx;
}

static void on_state(void *ctx, _Bool running)
{
    (void)running;
    ++*(int *)ctx;
}

/* Standard error goes to a pipe; returns its reading end. */
static int catch_log(int *ret_saved)
{
    int fd[2];

    *ret_saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(fd), 0);
    dup2(fd[1], STDERR_FILENO);
    close(fd[1]);
    return fd[0];
}

static void await_line(int fd, const char *wanted)
{
    char text[8192];
    size_t n = 0;

    do {
        ssize_t got = read(fd, text + n, sizeof(text) - 1 - n);

        assert_true(got > 0);
        n += (size_t)got;
        text[n] = '\0';
    } while (!strstr(text, wanted));
}

static void test_without_a_bus(void **state)
{
    const struct mdns_txt txt[] = {{"state", "idle"}, {"v", "1"}};
    struct event_base *base = event_base_new();
    int n_calls = 0, saved, fd;
    const struct mdns_callbacks cb = {on_service, on_state, &n_calls};
    struct mdns *m = NULL;

    (void)state;
    setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
    log_set_level(LOG_LEVEL_DEBUG);
    fd = catch_log(&saved);
    assert_int_equal(mdns_new(base, types, &cb, &m), 0);
    assert_int_equal(mdns_publish(m, "worker", "box", "_llamacpp-rpc._tcp", 20052, txt, 2), 0);
    await_line(fd, "msg=mdns.no_bus");
    assert_int_equal(mdns_publish(m, "worker", "box", "_llamacpp-rpc._tcp", 20052, txt, 1), 0); /* only the TXT */
    assert_int_equal(mdns_publish(m, "agent", "box", "_caravan._tcp", 7431, NULL, 0), 0);
    assert_int_equal(mdns_withdraw(m, "worker"), 0);
    assert_int_equal(mdns_withdraw(m, "never published"), 0);
    event_base_loop(base, EVLOOP_NONBLOCK);
    mdns_destroy(&m); /* all orders were carried out before */
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fd);
    assert_null(m);
    assert_int_equal(n_calls, 0);
    event_base_free(base);
}

static void test_bounds_of_what_is_published(void **state)
{
    static const char name_64[] = "0123456789012345678901234567890123456789012345678901234567890123";
    struct mdns_txt txt[MDNS_TXT_MAX + 1] = {{"k", "v"}};
    struct event_base *base = event_base_new();
    int n_calls = 0;
    const struct mdns_callbacks cb = {on_service, on_state, &n_calls};
    struct mdns *m = NULL;

    (void)state;
    setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
    assert_int_equal(mdns_new(base, types, &cb, &m), 0);
    assert_int_equal(mdns_publish(m, "k", name_64, "_caravan._tcp", 1, NULL, 0), -EINVAL);
    assert_int_equal(mdns_publish(m, "k", "", "_caravan._tcp", 1, NULL, 0), -EINVAL);
    assert_int_equal(mdns_publish(m, name_64, "n", "_caravan._tcp", 1, NULL, 0), -EINVAL);
    assert_int_equal(mdns_publish(m, "k", "n", name_64, 1, NULL, 0), -EINVAL);
    assert_int_equal(mdns_publish(m, "k", "n", "_caravan._tcp", 1, txt, MDNS_TXT_MAX + 1), -EINVAL);
    assert_int_equal(mdns_withdraw(m, ""), -EINVAL);
    assert_int_equal(mdns_publish(m, "k", name_64 + 1, "_caravan._tcp", 1, txt, MDNS_TXT_MAX), 0);
    mdns_destroy(&m);
    event_base_free(base);
}

static void test_txt_values(void **state)
{
    const struct mdns_service s = {.n_txt = 2, .txt = {{"state", "idle"}, {"empty", ""}, {"beyond", "x"}}};

    (void)state;
    assert_string_equal(mdns_txt_get(&s, "state"), "idle");
    assert_string_equal(mdns_txt_get(&s, "empty"), "");
    assert_null(mdns_txt_get(&s, "beyond"));
    assert_null(mdns_txt_get(&s, "sta"));
}

/* A TXT record as it stands in a packet: each string behind its length. */
static struct mdns_service service_of(const char *bytes, size_t n)
{
    struct mdns_service s = {.n_txt = 0};
    AvahiStringList *list = NULL;

    assert_int_equal(avahi_string_list_parse(bytes, n, &list), 0);
    mdns_avahi_take_txt(&s, list);
    avahi_string_list_free(list);
    return s;
}

static void test_txt_from_strangers(void **state)
{
    static const char ok[] = "\x04k=v1\x01x\x05k=v\0w\x12sixteen_letters_k=";
    char many[(MDNS_TXT_MAX + 8) * 4], large[256];
    struct mdns_service s;

    (void)state;
    s = service_of(ok, sizeof(ok) - 1);
    assert_int_equal(s.n_txt, 2); /* a value with a NUL and a key that is too long are left out */
    assert_string_equal(mdns_txt_get(&s, "k"), "v1");
    assert_string_equal(mdns_txt_get(&s, "x"), "");
    memset(large, 'v', sizeof(large));
    memcpy(large,
           "\xff"
           "k=",
           3);
    s = service_of(large, sizeof(large));
    assert_int_equal(s.n_txt, 0);
    for (size_t i = 0; i < sizeof(many); i += 4)
        memcpy(many + i,
               "\x03"
               "a=b",
               4);
    s = service_of(many, sizeof(many));
    assert_int_equal(s.n_txt, MDNS_TXT_MAX);
    s = service_of("", 0);
    assert_int_equal(s.n_txt, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_bus),
        cmocka_unit_test(test_bounds_of_what_is_published),
        cmocka_unit_test(test_txt_values),
        cmocka_unit_test(test_txt_from_strangers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
