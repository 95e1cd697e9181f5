#include "agent/state_cluster.h"

#include <stdio.h>
#include <string.h>

#include "common/core/ip_literal.h"
#include "common/core/parse.h"
#include "common/crypto.h"

#define HEAD "cluster "
#define LINE "controller "

size_t state_cluster_format(const struct state_cluster *c, char buf[STATE_CLUSTER_TEXT_MAX])
{
    size_t used = (size_t)snprintf(buf, STATE_CLUSTER_TEXT_MAX, HEAD "%s\n", ID128(&c->id));
    char key[CRYPTO_KEY_HEX];

    for (size_t i = 0; i < c->n_controllers; i++)
        used += (size_t)snprintf(buf + used, STATE_CLUSTER_TEXT_MAX - used, LINE "%s %u %s\n", c->controller[i].addr,
                                 (unsigned)c->controller[i].port, crypto_key_format(c->controller[i].key, key));
    return used;
}

/* line: without its end, terminated; taken apart. */
static bool parse_controller(char *line, struct join_controller *c)
{
    char *addr, *port, *key;
    uint64_t number;

    if (strncmp(line, LINE, sizeof(LINE) - 1) != 0)
        return false;
    line += sizeof(LINE) - 1;
    addr = strsep(&line, " ");
    port = strsep(&line, " ");
    key = line;
    if (!port || !key || strlen(addr) >= sizeof(c->addr) || !ip_literal(addr, strlen(addr)) ||
        !parse_uint(port, 1, UINT16_MAX, &number) || crypto_key_parse(key, c->key))
        return false;
    snprintf(c->addr, sizeof(c->addr), "%s", addr);
    c->port = (uint16_t)number;
    return true;
}

/* text: terminated, taken apart. */
static bool parse_lines(char *text, struct state_cluster *c)
{
    char *line = strsep(&text, "\n");

    if (strncmp(line, HEAD, sizeof(HEAD) - 1) != 0 || !id128_parse(line + sizeof(HEAD) - 1, &c->id) ||
        id128_is_zero(&c->id))
        return false;
    while (text && *text) {
        line = strsep(&text, "\n");
        if (c->n_controllers == STATE_CONTROLLERS_MAX || !parse_controller(line, &c->controller[c->n_controllers]))
            return false;
        c->n_controllers++;
    }
    return c->n_controllers > 0;
}

/* Whoever stands in it may lead this node: half of it is not believed either. */
bool state_cluster_parse(const char *text, size_t n_bytes, struct state_cluster *ret)
{
    char copy[STATE_CLUSTER_TEXT_MAX], again[STATE_CLUSTER_TEXT_MAX];
    struct state_cluster c = {.n_controllers = 0};

    if (n_bytes >= sizeof(copy))
        return false;
    memcpy(copy, text, n_bytes);
    copy[n_bytes] = '\0';
    if (!parse_lines(copy, &c) || state_cluster_format(&c, again) != n_bytes || memcmp(text, again, n_bytes) != 0)
        return false;
    *ret = c;
    return true;
}

static bool same_controller(const struct join_controller *a, const struct join_controller *b)
{
    return a->port == b->port && !strcmp(a->addr, b->addr) && !memcmp(a->key, b->key, sizeof(a->key));
}

void state_cluster_add(struct state_cluster *c, const struct join_controller *controller)
{
    for (size_t i = 0; i < c->n_controllers; i++)
        if (same_controller(&c->controller[i], controller))
            return;
    if (c->n_controllers < STATE_CONTROLLERS_MAX)
        c->controller[c->n_controllers++] = *controller;
}

bool state_cluster_same(const struct state_cluster *a, const struct state_cluster *b)
{
    bool same = id128_equal(&a->id, &b->id) && a->n_controllers == b->n_controllers;

    for (size_t i = 0; same && i < a->n_controllers; i++)
        same = same_controller(&a->controller[i], &b->controller[i]);
    return same;
}
