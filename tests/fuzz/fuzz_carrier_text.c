/* What agent and carrier write for each other: a carrier's conf, and packets of its control socket. What is taken is written
 * and read again alike. */
#include <string.h>

#include "agent/carrier/conf.h"
#include "agent/carrier/control.h"
#include "common/cleanup.h"
#include "common/core/ip_literal.h"
#include "tests/fuzz/support.h"

static size_t count_lines(const char *text, size_t n)
{
    size_t lines = 1;

    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    return lines;
}

/* What the program relies on. */
static void check_bounds(const struct carrier_conf *c)
{
    FUZZ_CHECK(!id128_is_zero(&c->instance) && c->port && *c->identity && ip_literal(c->addr, strlen(c->addr)));
    FUZZ_CHECK(c->rank >= -1 && c->rank < PROTO_RANKS_MAX && (c->rank < 0 || c->worker_port));
    FUZZ_CHECK(c->n_files <= CARRIER_FILES_MAX && (!c->n_files || (*c->index_dir && c->rank >= 0)));
    FUZZ_CHECK(c->n_gateways <= PROTO_GATEWAYS_MAX && c->n_routes <= PROTO_RANKS_MAX);
    for (size_t i = 0; i < c->n_routes; i++) {
        const struct conf_route *r = &c->route[i];

        FUZZ_CHECK(r->port && r->rank >= 0 && r->rank < PROTO_RANKS_MAX && ip_literal(r->addr, strlen(r->addr)));
        FUZZ_CHECK(r->tunnel || !strncmp(r->addr, "127.", 4) || !strcmp(r->addr, "::1"));
    }
}

static void check_conf(const char *text, size_t n)
{
    CLEANUP(carrier_conf_clear) struct carrier_conf c, back = {0};
    CLEANUP(cleanup_free) char *once = NULL, *twice = NULL;
    size_t line = 0, n_once = 0, n_twice = 0;
    int r = carrier_conf_parse(text, n, &c, &line);

    if (r) {
        FUZZ_CHECK(r == CARRIER_CONF_E_MALFORMED && line >= 1 && line <= count_lines(text, n));
        return;
    }
    check_bounds(&c);
    r = carrier_conf_format(&c, &once, &n_once);
    FUZZ_CHECK(r == 0);
    r = r ? r : carrier_conf_parse(once, n_once, &back, &line);
    FUZZ_CHECK(r == 0);
    r = r ? r : carrier_conf_format(&back, &twice, &n_twice);
    FUZZ_CHECK(r == 0 && n_once == n_twice && !strcmp(once, twice));
}

static void check_question(const char *packet, size_t n)
{
    struct control_question q, back;
    char buf[CONTROL_PACKET_MAX];

    if (control_question_parse(packet, n, &q))
        return;
    FUZZ_CHECK(control_question_parse(buf, control_question_format(&q, buf), &back) == 0);
    FUZZ_CHECK(q.kind == back.kind);
}

static void check_answer(const char *packet, size_t n)
{
    char once[CONTROL_PACKET_MAX], twice[CONTROL_PACKET_MAX];
    struct control_answer a, back;
    size_t n_once;

    if (control_answer_parse(packet, n, &a))
        return;
    n_once = control_answer_format(&a, once);
    FUZZ_CHECK(control_answer_parse(once, n_once, &back) == 0 && back.ok == a.ok && back.n_routes == a.n_routes);
    FUZZ_CHECK(control_answer_format(&back, twice) == n_once && !memcmp(once, twice, n_once));
}

void fuzz_one(const uint8_t *data, size_t size)
{
    check_conf((const char *)data, size);
    check_question((const char *)data, size);
    check_answer((const char *)data, size);
}
