/* A coordinator behind a carrier: what it is told in place of the plan's endpoints, and what it says put back into them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/carrier_routes.h"
#include "agent/endpoint.h"

/* One of them is on the coordinator's own node, and a port is the beginning of another one. */
static const struct control_answer carrier = {
    .ok = true,
    .n_routes = 3,
    .route = {{0, 41111, "127.0.0.1:20052"}, {2, 4111, "10.0.0.3:7441"}, {5, 41112, "[fd00::2]:7440"}},
};

static void test_endpoints(void **state)
{
    static const struct {
        const char *text, *addr;
        uint16_t port;
    } good[] = {
        {"10.77.0.12:20052", "10.77.0.12", 20052},
        {"[fd00::1]:1", "fd00::1", 1},
        {"fd00::1:65535", "fd00::1", 65535},
        {"[::]:7440", "::", 7440},
    };
    static const char *const bad[] = {
        "",
        ":",
        ":1",
        "10.0.0.1",
        "10.0.0.1:",
        "10.0.0.1:0",
        "a:65536",
        "a:1234567",
        "a:-1",
        "a:1 ",
        "[]:1",
        "a:123456789012345678901234567890",
        "1234567890123456789012345678901234567890123456:1",
    };
    char addr[PROTO_ADDR_MAX];
    uint16_t port;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(endpoint_parse(good[i].text, strlen(good[i].text), addr, &port));
        assert_string_equal(addr, good[i].addr);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (endpoint_parse(bad[i], strlen(bad[i]), addr, &port))
            fail_msg("\"%s\" is %s and %u", bad[i], addr, (unsigned)port);
    assert_true(endpoint_parse("10.0.0.1:12,", 11, addr, &port)); /* it need not end there */
    assert_int_equal(port, 12);
}

static void test_a_coordinator_dials_its_carrier(void **state)
{
    struct coordinator_spec spec = {
        .n_ranks = 3,
        .n_routes = 3,
        .endpoint = {"127.0.0.1:20052", "10.0.0.3:7441", "[fd00::2]:7440"},
        .route = {{.rank = 0}, {.rank = 2}, {.rank = 5}},
    };

    (void)state;
    assert_true(carrier_routes_apply(&carrier, &spec));
    assert_string_equal(spec.endpoint[0], "127.0.0.1:41111");
    assert_string_equal(spec.endpoint[1], "127.0.0.1:4111");
    assert_string_equal(spec.endpoint[2], "127.0.0.1:41112");
    spec.route[1].rank = 3;
    assert_false(carrier_routes_apply(&carrier, &spec));
}

static void test_buffers_are_the_plans(void **state)
{
    struct agent_event_facts facts = {
        .n_buffers = 5,
        .buffers = {{.endpoint = "127.0.0.1:41111"},
                    {.endpoint = "127.0.0.1:41112", .device = 1},
                    {.endpoint = ""},
                    {.endpoint = "127.0.0.1:4111"},
                    {.endpoint = "127.0.0.1:4110"}},
    };

    (void)state;
    carrier_routes_name_buffers(&carrier, &facts);
    assert_string_equal(facts.buffers[0].endpoint, "127.0.0.1:20052");
    assert_string_equal(facts.buffers[1].endpoint, "[fd00::2]:7440");
    assert_int_equal(facts.buffers[1].device, 1);
    assert_string_equal(facts.buffers[2].endpoint, "");
    assert_string_equal(facts.buffers[3].endpoint, "10.0.0.3:7441");
    assert_string_equal(facts.buffers[4].endpoint, "127.0.0.1:4110"); /* nobody's */
}

static void test_texts_are_the_plans(void **state)
{
    static const char *const rows[][2] = {
        {"", ""},
        {"127.0.0.1:41112", "[fd00::2]:7440"},
        {"Failed to connect to 127.0.0.1:4111", "Failed to connect to 10.0.0.3:7441"},
        {"RPC0[127.0.0.1:41112] and RPC1[127.0.0.1:4111], closed",
         "RPC0[[fd00::2]:7440] and RPC1[10.0.0.3:7441], closed"},
        {"127.0.0.1:4111x, 127.0.0.1:41113, 127.0.0.1:411", "10.0.0.3:7441x, 127.0.0.1:41113, 127.0.0.1:411"},
        {"127.0.0.1:", "127.0.0.1:"},
    };
    char text[PROTO_TEXT_MAX], small[20] = "127.0.0.1:41112";

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(text, sizeof(text), "%s", rows[i][0]);
        carrier_routes_name_text(&carrier, text, sizeof(text));
        assert_string_equal(text, rows[i][1]);
    }
    carrier_routes_name_text(&carrier, small, 8); /* cut where it does not fit */
    assert_string_equal(small, "[fd00::");
    for (size_t used = 0; used + 16 < sizeof(text); used += 15) /* what grows must stop somewhere */
        strcpy(text + used, "127.0.0.1:4111 ");
    carrier_routes_name_text(
        &(struct control_answer){.n_routes = 1, .route = {{0, 4111, "[fd00:1:2:3:4:5:6:7]:65535"}}}, text,
        sizeof(text));
    assert_int_equal(strlen(text), sizeof(text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_a_coordinator_dials_its_carrier),
        cmocka_unit_test(test_buffers_are_the_plans),
        cmocka_unit_test(test_texts_are_the_plans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
