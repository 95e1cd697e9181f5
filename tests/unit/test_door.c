/* What addresses a join token names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controller/door.h"

static const struct {
    const char *listen, *host, *want; /* addresses with a space after each */
} cases[] = {
    {"0.0.0.0", "192.0.2.1 127.0.0.1 ", "192.0.2.1 "},
    {"0.0.0.0", "192.0.2.1 2001:db8::1 198.51.100.1 127.0.0.1 ::1 ", "192.0.2.1 198.51.100.1 "},
    {"::", "192.0.2.1 2001:db8::1 fe80::1 127.0.0.1 ::1 ", "192.0.2.1 2001:db8::1 "},
    {"*", "169.254.3.4 2001:db8::1 127.0.0.1 ", "2001:db8::1 "},
    {"0.0.0.0", "2001:db8::1 127.0.0.1 ::1 ", "127.0.0.1 "}, /* the loopback alone is better than nothing */
    {"::", "127.0.0.1 ::1 ", "127.0.0.1 ::1 "},
    {"0.0.0.0", "", ""},
    {"192.0.2.9", "192.0.2.1 192.0.2.9 ", "192.0.2.9 "},
    {"127.0.0.1", "192.0.2.1 127.0.0.1 ", "127.0.0.1 "},
    {"0.0.0.0", "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 10.0.0.8 10.0.0.9 ",
     "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 10.0.0.8 "},
};

static void read_host(const char *text, struct cluster_host *host)
{
    int n;

    while (host->n_addrs < PROTO_ADDRS_MAX && sscanf(text, "%45s %n", host->addr[host->n_addrs], &n) == 1) {
        host->n_addrs++;
        text += n;
    }
}

static void test_addresses(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cluster_host host = {.n_addrs = 0};
        struct door d = {.n_addrs = 3}; /* as it was before */
        char got[512] = "";

        read_host(cases[i].host, &host);
        door_fill(&d, cases[i].listen, &host);
        for (size_t k = 0; k < d.n_addrs; k++)
            snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s ", d.addr[k]);
        assert_string_equal(got, cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_addresses)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
