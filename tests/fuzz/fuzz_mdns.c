/* What anybody on the network may advertise: TXT records as they stand in packets, read, looked up, and put into the table of
 * backends under hosts, addresses and ports out of the same bytes. */
#include <avahi-common/strlst.h>
#include <string.h>

#include "common/mdns_avahi.h"
#include "controller/discovery.h"
#include "tests/fuzz/support.h"
#include "tests/lib/view_lab.h"

static struct view *view; /* all that changes in it is set before each use */

void fuzz_setup(void)
{
    view = lab_view(INSTANCE_READY, 1);
}

static void snapshot(struct discovery *table)
{
    struct backends *b = NULL;
    int r = discovery_snapshot(table, &b);

    FUZZ_CHECK(r == 0);
    if (r)
        return;
    for (size_t i = 0; i < b->n; i++) {
        FUZZ_CHECK(b->item[i].port && b->item[i].host[0]);
        FUZZ_CHECK(backend_state_name(b->item[i].state)[0] && backend_source_name(BACKEND_BY_MDNS)[0]);
    }
    for (int i = 0; i < BACKEND_DROPS; i++)
        FUZZ_CHECK(backend_drop_name((enum backend_drop)i)[0]);
    backends_unref(&b);
}

/* The text of a TXT key, or another word, where the network would have had it. */
static void name_from(const struct mdns_service *s, const char *key, char *buf, size_t size)
{
    const char *value = mdns_txt_get(s, key);

    snprintf(buf, size, "%s", value ? value : key);
}

static void take_txt(struct mdns_service *s, const uint8_t *txt, size_t n)
{
    AvahiStringList *list = NULL;

    if (avahi_string_list_parse(txt, n, &list) < 0)
        return;
    mdns_avahi_take_txt(s, list);
    avahi_string_list_free(list);
    FUZZ_CHECK(s->n_txt <= MDNS_TXT_MAX);
    for (size_t i = 0; i < s->n_txt; i++)
        FUZZ_CHECK(strnlen(s->txt[i].key, MDNS_TXT_KEY_MAX) < MDNS_TXT_KEY_MAX &&
                   strnlen(s->txt[i].value, MDNS_TXT_VALUE_MAX) < MDNS_TXT_VALUE_MAX);
}

static void advertise(struct discovery *table, const uint8_t head[4], const uint8_t *txt, size_t n, uint64_t now_ms)
{
    struct mdns_service s = {.gone = head[0] & 2, .port = (uint16_t)(head[1] << 8 | head[2])};

    take_txt(&s, txt, n);
    name_from(&s, "host", s.host, sizeof(s.host));
    name_from(&s, "addr", s.addr, sizeof(s.addr));
    name_from(&s, "name", s.name, sizeof(s.name));
    snprintf(s.type, sizeof(s.type), "%s", head[0] & 1 ? "_other._tcp" : DISCOVERY_TYPE);
    discovery_service(table, &s, now_ms);
}

/* What the agents report meanwhile. */
static void report(struct discovery *table, const uint8_t head[4], uint64_t now_ms)
{
    struct view *v = view;

    v->node[0].state = (enum node_state)(head[1] % (NODE_RETIRED + 1));
    v->node[0].n_units = head[0] >> 7;
    v->node[0].unit[0].state = head[2] & 1 ? UNIT_RUNNING : UNIT_EXITED;
    v->node[0].unit[0].port = head[2];
    v->node[0].unit[0].rpc.major = head[2] & 2 ? 8 : 7;
    v->made_wall_ms = now_ms;
    discovery_view(table, v);
}

/* Records of four bytes (what it is, port, length of the TXT record) and the TXT record. Between them minutes go by. */
void fuzz_one(const uint8_t *data, size_t size)
{
    struct discovery *table = NULL;
    uint64_t now_ms = 1;

    if (discovery_new(&table) < 0)
        return;
    for (size_t at = 0; at + 4 <= size; now_ms += 200000) {
        const uint8_t *head = data + at;
        size_t n = head[3] < size - at - 4 ? head[3] : size - at - 4;

        if (head[0] & 4)
            report(table, head, now_ms);
        else
            advertise(table, head, head + 4, n, now_ms);
        at += 4 + n;
        if (discovery_changed(table))
            snapshot(table);
    }
    discovery_destroy(&table);
}
