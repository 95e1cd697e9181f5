/* Bytes to messages and back: golden files, every cut and every flipped bit of them, every bound, other versions.
 *
 *   test_message --write-golden DIR     writes the golden files; only for a new kind, see proto/README.md */
#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/crypto.h"
#include "common/message.h"
#include "tests/lib/messages.h"

#define SAMPLE_KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

struct bytes {
    uint8_t *data;
    size_t n;
};

static void bytes_clear(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

static struct bytes pack_sample(const struct message_sample *s)
{
    struct message *m = message_sample_new(s);
    struct bytes b = {0};

    assert_int_equal(message_pack(m, &b.data, &b.n), 0);
    message_destroy(&m);
    return b;
}

static const struct message_sample *sample(const char *name)
{
    const struct message_sample *s = message_samples;

    while (s->name && strcmp(s->name, name))
        s++;
    assert_non_null(s->name);
    return s;
}

/* ---- golden files ---- */

static struct bytes read_golden(const char *name)
{
    struct bytes b = {.data = malloc(PROTO_MESSAGE_MAX)};
    char path[4096];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s.bin", PROTO_GOLDEN_DIR, name);
    f = fopen(path, "rb");
    if (!f || !b.data)
        fail_msg("%s: %s", path, strerror(errno));
    b.n = fread(b.data, 1, PROTO_MESSAGE_MAX, f);
    fclose(f);
    return b;
}

/* A file keeps the minor version of its time: everything behind field 2 must be as it was. */
static struct bytes behind_the_version(const struct bytes *b)
{
    size_t skip = b->n > 3 && b->data[2] == 2 << 3 ? 4 : 2;

    assert_true(b->n > skip && b->data[0] == 1 << 3 && b->data[1] == PROTOCOL_MAJOR);
    return (struct bytes){.data = b->data + skip, .n = b->n - skip};
}

/* So does the message in a relay, whose version stands somewhere in the middle. */
static void forget_versions(struct bytes *b)
{
    static const uint8_t prelude[] = {1 << 3, PROTOCOL_MAJOR, 2 << 3};
    uint8_t *at = b->data;

    while ((at = memmem(at, b->n - (size_t)(at - b->data), prelude, sizeof(prelude))) && at + 3 < b->data + b->n) {
        at[3] = 0;
        at += 4;
    }
}

static void test_golden_files_are_current(void **state)
{
    (void)state;
    for (const struct message_sample *s = message_samples; s->name; s++) {
        CLEANUP(bytes_clear) struct bytes now = pack_sample(s), then = read_golden(s->name);
        struct bytes a, b;

        forget_versions(&now);
        forget_versions(&then);
        a = behind_the_version(&now);
        b = behind_the_version(&then);
        if (a.n != b.n || memcmp(a.data, b.data, a.n))
            fail_msg("%s is packed differently than before", s->name);
    }
}

static void test_golden_files_mean_what_they_did(void **state)
{
    (void)state;
    for (const struct message_sample *s = message_samples; s->name; s++) {
        CLEANUP(bytes_clear) struct bytes b = read_golden(s->name);
        CLEANUP(message_destroy) struct message *want = message_sample_new(s), *got = NULL;

        assert_int_equal(message_unpack(b.data, b.n, &got), 0);
        want->version_minor = got->version_minor;
        if (got->kind == MESSAGE_RELAY)
            want->relay.inner->version_minor = got->relay.inner->version_minor;
        if (!message_same(want, got))
            fail_msg("%s is read differently than before", s->name);
        assert_int_equal(got->n_unknown, 0);
    }
}

/* An exact copy, so that AddressSanitizer sees a byte read behind the end. */
static int unpack_copy(const uint8_t *data, size_t n)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    uint8_t *copy = malloc(n ? n : 1);
    int r;

    assert_non_null(copy);
    memcpy(copy, data, n);
    r = message_unpack(copy, n, &m);
    assert_true(r >= 0);
    assert_true((r == 0) == (m != NULL));
    free(copy);
    return r;
}

static void test_every_cut_has_an_outcome(void **state)
{
    (void)state;
    for (const struct message_sample *s = message_samples; s->name; s++) {
        CLEANUP(bytes_clear) struct bytes b = read_golden(s->name);

        for (size_t n = 0; n < b.n; n++)
            unpack_copy(b.data, n);
    }
}

static void test_every_flipped_bit_has_an_outcome(void **state)
{
    (void)state;
    for (const struct message_sample *s = message_samples; s->name; s++) {
        CLEANUP(bytes_clear) struct bytes b = read_golden(s->name);

        for (size_t i = 0; i < b.n * 8; i++) {
            b.data[i / 8] ^= (uint8_t)(1u << i % 8);
            unpack_copy(b.data, b.n);
            b.data[i / 8] ^= (uint8_t)(1u << i % 8);
        }
    }
}

/* ---- bytes made by hand ---- */

struct wire {
    uint8_t data[8192];
    size_t n;
};

static void put_varint(struct wire *w, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        w->data[w->n++] = (uint8_t)(v | 0x80);
    w->data[w->n++] = (uint8_t)v;
}

static void put_number(struct wire *w, unsigned field, uint64_t v)
{
    put_varint(w, field << 3);
    put_varint(w, v);
}

static void put_bytes(struct wire *w, unsigned field, const void *data, size_t n)
{
    put_varint(w, field << 3 | 2);
    put_varint(w, n);
    memcpy(w->data + w->n, data, n);
    w->n += n;
}

static void put_wire(struct wire *w, unsigned field, const struct wire *sub)
{
    put_bytes(w, field, sub->data, sub->n);
}

/* An envelope of our version with one field, a kind. */
static int unpack_kind(unsigned kind, const struct wire *body)
{
    struct wire w = {0};

    put_number(&w, 1, PROTOCOL_MAJOR);
    put_wire(&w, kind, body);
    return unpack_copy(w.data, w.n);
}

enum {
    HELLO = 16,
    WELCOME,
    REPORT,
    COMMAND,
    RESULT,
    EVENT,
    NEIGHBOURS,
    SNAPSHOT,
    HEALTH,
    RELAY,
    PING,
    PONG,
    JOIN,
    JOINED
};

static void test_text_and_ids_are_checked(void **state)
{
    static const struct {
        unsigned field; /* of Welcome: 1 is an id, 2 a name */
        const char *bytes;
        size_t n;
        int want;
    } row[] = {
        {2, "", 0, 0},
        {2, "caf\xc3\xa9", 5, 0},
        {2, "\xf0\x9d\x84\x9e", 4, 0},
        {2, "\xf4\x8f\xbf\xbf", 4, 0},
        {2, "a\0b", 3, MESSAGE_E_MALFORMED},
        {2, "\0", 1, MESSAGE_E_MALFORMED},
        {2, "\xc3", 1, MESSAGE_E_MALFORMED},             /* cut off */
        {2, "\xc3(", 2, MESSAGE_E_MALFORMED},            /* no continuation */
        {2, "\x80", 1, MESSAGE_E_MALFORMED},             /* continuation alone */
        {2, "\xc0\xaf", 2, MESSAGE_E_MALFORMED},         /* overlong */
        {2, "\xe0\x80\xaf", 3, MESSAGE_E_MALFORMED},     /* overlong */
        {2, "\xed\xa0\x80", 3, MESSAGE_E_MALFORMED},     /* surrogate */
        {2, "\xf4\x90\x80\x80", 4, MESSAGE_E_MALFORMED}, /* over U+10FFFF */
        {2, "\xff", 1, MESSAGE_E_MALFORMED},
        {2, "123456789012345678901234567890123456789012345678901234567890123", 63, 0},
        {2, "1234567890123456789012345678901234567890123456789012345678901234", 64, MESSAGE_E_MALFORMED},
        {1, "", 0, 0},
        {1, "0123456789abcdef", 16, 0},
        {1, "0123456789abcde", 15, MESSAGE_E_MALFORMED},
        {1, "0123456789abcdef0", 17, MESSAGE_E_MALFORMED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct wire body = {0};
        int r;

        put_bytes(&body, row[i].field, row[i].bytes, row[i].n);
        r = unpack_kind(WELCOME, &body);
        if (r != row[i].want)
            fail_msg("row %zu: %d", i, r);
    }
}

static uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static void test_numbers_are_checked(void **state)
{
    static const struct {
        unsigned field; /* of Unit */
        uint64_t value;
        int want;
    } row[] = {
        {2, 0, MESSAGE_E_MALFORMED},
        {2, 1, 0},
        {2, 3, 0},
        {2, 4, 0}, /* a later version's: that unit is left out */
        {2, UINT64_MAX, MESSAGE_E_MALFORMED},
        {3, 7, 0},
        {3, 8, MESSAGE_E_MALFORMED},
        {3, UINT64_MAX, MESSAGE_E_MALFORMED}, /* -1 */
        {9, 65535, 0},
        {9, 65536, MESSAGE_E_MALFORMED},
        {10, 0x7fffffff, 0},
        {10, UINT64_MAX, MESSAGE_E_MALFORMED}, /* pid -1 */
        {13, 'S', 0},
        {13, 0, 0},
        {13, '\n', MESSAGE_E_MALFORMED},
        {13, 0x153, MESSAGE_E_MALFORMED}, /* 'S' in its low byte */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct wire unit = {0}, report = {0};
        int r;

        put_number(&unit, 2, UNIT_WORKER);
        put_number(&unit, 3, UNIT_RUNNING);
        put_number(&unit, row[i].field, row[i].value); /* the last one counts */
        put_wire(&report, 11, &unit);
        r = unpack_kind(REPORT, &report);
        if (r != row[i].want)
            fail_msg("row %zu: %d", i, r);
    }
}

static void test_ranks_are_checked(void **state)
{
    static const struct {
        int64_t rank;
        int want;
    } row[] = {{0, 0}, {15, 0}, {16, MESSAGE_E_MALFORMED}, {-1, MESSAGE_E_MALFORMED}, {INT32_MIN, MESSAGE_E_MALFORMED}};

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct wire worker = {0}, command = {0};

        put_number(&worker, 1, zigzag(row[i].rank));
        put_wire(&command, 2, &worker);
        assert_int_equal(unpack_kind(COMMAND, &command), row[i].want);
    }
}

/* Field of a message with `max` elements at most; each element is `element`. */
static int unpack_repeated(unsigned kind, unsigned field, const struct wire *element, size_t n)
{
    struct wire body = {0};

    for (size_t i = 0; i < n; i++)
        put_wire(&body, field, element);
    return unpack_kind(kind, &body);
}

/* An empty id would say "about no unit". */
static void test_the_unit_of_an_event_has_an_id(void **state)
{
    struct wire unit = {0}, event = {0};

    (void)state;
    put_number(&unit, 2, UNIT_WORKER);
    put_number(&unit, 3, UNIT_IDLE);
    put_number(&event, 1, AGENT_EVENT_UNIT_EXITED);
    put_wire(&event, 2, &unit);
    assert_int_equal(unpack_kind(EVENT, &event), MESSAGE_E_MALFORMED);
}

static void test_counts_are_bounded(void **state)
{
    struct wire empty = {0}, device = {0}, unit = {0};
    const struct {
        unsigned kind, field;
        const struct wire *element;
        size_t max;
    } row[] = {
        {HELLO, 9, &empty, PROTO_ADDRS_MAX},
        {REPORT, 10, &device, PROTO_DEVICES_MAX},
        {REPORT, 11, &unit, PROTO_UNITS_MAX},
        {REPORT, 12, &empty, PROTO_MODELS_MAX},
        {REPORT, 13, &empty, PROTO_UNITS_MAX},
        {REPORT, 14, &empty, PROTO_FLOWS_MAX},
        {EVENT, 4, &empty, 0},
    };

    (void)state;
    put_number(&device, 3, DEVICE_CPU);
    put_number(&unit, 2, UNIT_WORKER);
    put_number(&unit, 3, UNIT_IDLE);
    for (size_t i = 0; i + 1 < sizeof(row) / sizeof(row[0]); i++) {
        assert_int_equal(unpack_repeated(row[i].kind, row[i].field, row[i].element, row[i].max), 0);
        assert_int_equal(unpack_repeated(row[i].kind, row[i].field, row[i].element, row[i].max + 1),
                         MESSAGE_E_MALFORMED);
    }
}

static void test_columns_are_equally_long(void **state)
{
    static const size_t n_bytes[] = {0, 1, 2, 3, 17};

    (void)state;
    for (size_t i = 0; i < sizeof(n_bytes) / sizeof(n_bytes[0]); i++) {
        struct wire lease = {0}, command = {0};

        put_bytes(&lease, 1, "CUDA0", 5);
        put_bytes(&lease, 1, "CUDA1", 5);
        put_bytes(&lease, 2, "12345678901234567", n_bytes[i]); /* packed, one byte each */
        put_wire(&command, 1, &lease);
        assert_int_equal(unpack_kind(COMMAND, &command), n_bytes[i] == 2 ? 0 : MESSAGE_E_MALFORMED);
    }
}

static void test_layers_are_bounded_and_equally_many(void **state)
{
    static const struct {
        size_t n[4];
        int want;
    } row[] = {
        {{0, 0, 0, 0}, 0},
        {{3, 3, 3, 3}, 0},
        {{3, 3, 3, 2}, MESSAGE_E_MALFORMED},
        {{3, 3, 0, 3}, MESSAGE_E_MALFORMED},
        {{0, 3, 3, 3}, MESSAGE_E_MALFORMED},
        {{1024, 1024, 1024, 1024}, 0},
        {{1025, 1025, 1025, 1025}, MESSAGE_E_MALFORMED},
    };
    static const uint8_t layer[1025] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct wire shape = {0}, model = {0}, report = {0};

        for (unsigned k = 0; k < 4; k++)
            put_bytes(&shape, 22 + k, layer, row[i].n[k]);
        put_wire(&model, 8, &shape);
        put_wire(&report, 12, &model);
        assert_int_equal(unpack_kind(REPORT, &report), row[i].want);
    }
}

/* In these two a key is 32 bytes, any of them, and never absent. */
static void test_keys_are_bytes(void **state)
{
    static const unsigned kind[] = {JOIN, JOINED};
    const uint8_t key[CRYPTO_KEY_BYTES + 1] = {0, 0xff, 0x80};
    CLEANUP(message_destroy) struct message *m = NULL;
    struct wire w = {0}, join = {0};

    (void)state;
    for (size_t i = 0; i < 2; i++)
        for (size_t n = 0; n <= sizeof(key); n++) {
            struct wire body = {0};

            put_bytes(&body, 1, key, n);
            assert_int_equal(unpack_kind(kind[i], &body), n == CRYPTO_KEY_BYTES ? 0 : MESSAGE_E_MALFORMED);
        }
    assert_int_equal(unpack_kind(JOIN, &(struct wire){0}), MESSAGE_E_MALFORMED);
    put_bytes(&join, 1, key, CRYPTO_KEY_BYTES);
    put_bytes(&join, 2, "n1", 2);
    put_number(&w, 1, PROTOCOL_MAJOR);
    put_wire(&w, JOIN, &join);
    assert_int_equal(message_unpack(w.data, w.n, &m), 0);
    assert_string_equal(m->join.key, "00ff800000000000000000000000000000000000000000000000000000000000");
    assert_string_equal(m->join.name, "n1");
}

/* A worker's peer and a route's may be absent, a gateway may not; each is 64 hex digits, and is read in one spelling. */
static void test_keys_of_grants_are_hex(void **state)
{
    static const struct {
        const char *key;
        int peer, gateway;
    } row[] = {
        {"", 0, MESSAGE_E_MALFORMED},
        {SAMPLE_KEY, 0, 0},
        {"00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF", 0, 0},
        {SAMPLE_KEY "0", MESSAGE_E_MALFORMED, MESSAGE_E_MALFORMED},
        {SAMPLE_KEY + 1, MESSAGE_E_MALFORMED, MESSAGE_E_MALFORMED},
        {"g0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", MESSAGE_E_MALFORMED, MESSAGE_E_MALFORMED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct wire worker = {0}, coordinator = {0}, command[2] = {{.n = 0}, {.n = 0}};

        put_bytes(&worker, 3, row[i].key, strlen(row[i].key));
        put_bytes(&coordinator, 14, row[i].key, strlen(row[i].key));
        put_wire(&command[0], 2, &worker);
        put_wire(&command[1], 3, &coordinator);
        assert_int_equal(unpack_kind(COMMAND, &command[0]), row[i].peer);
        assert_int_equal(unpack_kind(COMMAND, &command[1]), row[i].gateway);
    }
}

static void test_a_key_is_read_in_one_spelling(void **state)
{
    static const char upper[] = "00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF";
    CLEANUP(message_destroy) struct message *m = NULL;
    struct wire worker = {0}, command = {0}, w = {0};

    (void)state;
    put_bytes(&worker, 3, upper, strlen(upper));
    put_wire(&command, 2, &worker);
    put_number(&w, 1, PROTOCOL_MAJOR);
    put_wire(&w, COMMAND, &command);
    assert_int_equal(message_unpack(w.data, w.n, &m), 0);
    assert_string_equal(m->command.worker.peer, SAMPLE_KEY);
}

/* What a coordinator is told of its way to its ranks: gateways, endpoints, and the rank of each route or -1 at the end. */
static void test_routes_match_endpoints(void **state)
{
    static const struct {
        size_t n_gateways, n_endpoints;
        int rank[4];
        int want;
    } row[] = {
        {0, 0, {-1}, 0},
        {0, 2, {-1}, 0},
        {1, 0, {-1}, 0},
        {1, 2, {0, 1, -1}, 0},
        {PROTO_GATEWAYS_MAX, 2, {1, 3, -1}, 0},
        {PROTO_GATEWAYS_MAX + 1, 2, {0, 1, -1}, MESSAGE_E_MALFORMED},
        {1, 2, {-1}, MESSAGE_E_MALFORMED},
        {1, 2, {0, -1}, MESSAGE_E_MALFORMED},
        {1, 2, {0, 1, 2, -1}, MESSAGE_E_MALFORMED},
        {1, 2, {1, 1, -1}, MESSAGE_E_MALFORMED},
        {1, 2, {1, 0, -1}, MESSAGE_E_MALFORMED},
        {1, 2, {0, PROTO_RANKS_MAX, -1}, MESSAGE_E_MALFORMED},
        {0, 2, {0, 1, -1}, MESSAGE_E_MALFORMED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct wire coordinator = {0}, command = {0};

        for (size_t k = 0; k < row[i].n_endpoints; k++)
            put_bytes(&coordinator, 4, "10.77.0.11:20052", 16);
        for (size_t k = 0; k < row[i].n_gateways; k++)
            put_bytes(&coordinator, 14, SAMPLE_KEY, 64);
        for (size_t k = 0; row[i].rank[k] >= 0; k++) {
            struct wire route = {0};

            put_number(&route, 1, zigzag(row[i].rank[k]));
            put_wire(&coordinator, 15, &route);
        }
        put_wire(&command, 3, &coordinator);
        if (unpack_kind(COMMAND, &command) != row[i].want)
            fail_msg("row %zu", i);
    }
}

static void test_the_rank_of_a_flow_is_one(void **state)
{
    (void)state;
    for (uint64_t rank = 0; rank <= PROTO_RANKS_MAX; rank++) {
        struct wire flow = {0}, report = {0};

        put_number(&flow, 3, rank);
        put_wire(&report, 14, &flow);
        assert_int_equal(unpack_kind(REPORT, &report), rank < PROTO_RANKS_MAX ? 0 : MESSAGE_E_MALFORMED);
    }
}

static void test_peers_are_bounded(void **state)
{
    const struct wire empty = {0};
    struct wire peer = {0}, long_key = {0};
    char key[PROTO_KEY_MAX];

    (void)state;
    memset(key, 'f', sizeof(key));
    put_bytes(&peer, 3, key, PROTO_KEY_MAX - 1);
    put_bytes(&long_key, 3, key, PROTO_KEY_MAX);
    for (unsigned field = 1; field <= 2; field++) { /* peers, guests: an empty one is fine */
        assert_int_equal(unpack_repeated(NEIGHBOURS, field, &empty, PROTO_PEERS_MAX), 0);
        assert_int_equal(unpack_repeated(NEIGHBOURS, field, &empty, PROTO_PEERS_MAX + 1), MESSAGE_E_MALFORMED);
    }
    assert_int_equal(unpack_repeated(NEIGHBOURS, 1, &peer, 1), 0);
    assert_int_equal(unpack_repeated(NEIGHBOURS, 1, &long_key, 1), MESSAGE_E_MALFORMED);
    assert_int_equal(unpack_repeated(COMMAND, 5, &peer, 1), 0);
    assert_int_equal(unpack_repeated(COMMAND, 5, &long_key, 1), MESSAGE_E_MALFORMED);
}

/* ---- what carries other things ---- */

static int pack_and_unpack(const struct message *m)
{
    CLEANUP(bytes_clear) struct bytes b = {0};
    int r = message_pack(m, &b.data, &b.n);

    return r ? r : unpack_copy(b.data, b.n);
}

static void test_snapshots_are_bounded(void **state)
{
    CLEANUP(message_destroy) struct message *m = message_sample_new(sample("snapshot"));
    CLEANUP(bytes_clear) struct bytes b = {0};
    uint8_t *data;

    (void)state;
    free(m->snapshot.nodes);
    m->snapshot.nodes = calloc(1, PROTO_SNAPSHOT_MAX + 1);
    assert_non_null(m->snapshot.nodes);
    memset(m->snapshot.nodes, ' ', PROTO_SNAPSHOT_MAX);
    m->snapshot.n_nodes_bytes = PROTO_SNAPSHOT_MAX;
    assert_int_equal(pack_and_unpack(m), 0);

    /* One byte more, by hand: all lengths before it grow by one too. */
    data = malloc(PROTO_SNAPSHOT_MAX + 64);
    assert_non_null(data);
    for (size_t n = PROTO_SNAPSHOT_MAX; n <= PROTO_SNAPSHOT_MAX + 1; n++) {
        struct wire head = {0};

        put_number(&head, 1, PROTOCOL_MAJOR);
        put_varint(&head, SNAPSHOT << 3 | 2);
        put_varint(&head, 1 + 3 + n);
        put_varint(&head, 3 << 3 | 2);
        put_varint(&head, n);
        memcpy(data, head.data, head.n);
        memset(data + head.n, 'x', n);
        assert_int_equal(unpack_copy(data, head.n + n), n > PROTO_SNAPSHOT_MAX ? MESSAGE_E_MALFORMED : 0);
    }
    free(data);
}

static void test_a_snapshot_is_utf8(void **state)
{
    struct wire good = {0}, bad = {0}, nul = {0};

    (void)state;
    put_bytes(&good, 2, "{\"name\":\"caf\xc3\xa9\"}", 15);
    put_bytes(&bad, 2, "{\"name\":\"caf\xc3\"}", 14);
    put_bytes(&nul, 3, "{}\0", 3);
    assert_int_equal(unpack_kind(SNAPSHOT, &good), 0);
    assert_int_equal(unpack_kind(SNAPSHOT, &bad), MESSAGE_E_MALFORMED);
    assert_int_equal(unpack_kind(SNAPSHOT, &nul), MESSAGE_E_MALFORMED);
}

static void test_a_snapshot_of_nothing(void **state)
{
    CLEANUP(message_destroy) struct message *back = NULL, *m = message_sample_new(sample("snapshot"));
    CLEANUP(bytes_clear) struct bytes b = {0};

    (void)state;
    message_clear(m);
    m->kind = MESSAGE_SNAPSHOT;
    assert_int_equal(message_pack(m, &b.data, &b.n), 0);
    assert_int_equal(message_unpack(b.data, b.n, &back), 0);
    assert_int_equal(back->snapshot.n_nodes_bytes, 0);
    assert_string_equal(back->snapshot.nodes, "");
    assert_string_equal(back->snapshot.instances, "");
}

/* A relay of these bytes, by hand. */
static int unpack_relay(const struct wire *inner)
{
    struct wire relay = {0};

    put_wire(&relay, 2, inner);
    return unpack_kind(RELAY, &relay);
}

static void test_a_relay_carries_one_message_of_ours(void **state)
{
    const struct wire empty = {0};
    struct wire ping = {0}, relay = {0}, in_relay = {0}, other = {0}, later = {0};

    (void)state;
    put_number(&ping, 1, PROTOCOL_MAJOR);
    put_wire(&ping, PING, &empty);
    assert_int_equal(unpack_relay(&ping), 0);

    put_wire(&in_relay, 2, &ping);
    put_number(&relay, 1, PROTOCOL_MAJOR);
    put_wire(&relay, RELAY, &in_relay);
    assert_int_equal(unpack_copy(relay.data, relay.n), 0);
    assert_int_equal(unpack_relay(&relay), MESSAGE_E_MALFORMED); /* a relay in a relay */

    put_number(&other, 1, PROTOCOL_MAJOR + 1);
    put_wire(&other, PING, &empty);
    assert_int_equal(unpack_relay(&other), MESSAGE_E_MALFORMED); /* not the version of who carried it */
    put_number(&later, 1, PROTOCOL_MAJOR);
    put_wire(&later, 60, &empty);
    assert_int_equal(unpack_relay(&later), MESSAGE_E_UNKNOWN_KIND);
    assert_int_equal(unpack_relay(&empty), MESSAGE_E_MALFORMED);
    assert_int_equal(unpack_kind(RELAY, &empty), MESSAGE_E_MALFORMED);
}

/* Relays down to the end of the message: only the first of them is opened. */
static void test_relays_without_end(void **state)
{
    uint8_t *data = malloc(PROTO_MESSAGE_MAX), *at;
    size_t n = 0;

    (void)state;
    assert_non_null(data);
    at = data + PROTO_MESSAGE_MAX;
    for (;;) { /* from the inside out */
        struct wire inner = {0}, w = {0};

        put_varint(&inner, 2 << 3 | 2);
        put_varint(&inner, n);
        put_number(&w, 1, PROTOCOL_MAJOR);
        put_varint(&w, RELAY << 3 | 2);
        put_varint(&w, inner.n + n);
        if (n + inner.n + w.n > PROTO_MESSAGE_MAX)
            break;
        at -= inner.n;
        memcpy(at, inner.data, inner.n);
        at -= w.n;
        memcpy(at, w.data, w.n);
        n += inner.n + w.n;
    }
    assert_int_equal(unpack_copy(at, n), MESSAGE_E_MALFORMED);
    free(data);
}

static void test_a_relay_that_is_too_large_is_not_sent(void **state)
{
    CLEANUP(message_destroy) struct message *m = message_sample_new(sample("relay"));
    struct report *r = m->relay.inner->report;
    uint8_t *data = NULL;
    size_t n;

    (void)state;
    r->n_models = PROTO_MODELS_MAX;
    r->model = calloc(r->n_models, sizeof(*r->model));
    assert_non_null(r->model);
    for (size_t i = 0; i < r->n_models; i++) {
        r->model[i].shape = model_shape_new(MODEL_LAYERS_MAX);
        assert_non_null(r->model[i].shape);
        for (uint32_t k = 0; k < MODEL_LAYERS_MAX; k++)
            r->model[i].shape->layer[k] = (struct model_layer){UINT64_MAX, UINT64_MAX, 1, 1};
    }
    assert_int_equal(message_pack(m, &data, &n), MESSAGE_E_TOO_LARGE);
    assert_null(data);
}

/* ---- hostile size ---- */

static void test_too_large_is_not_parsed(void **state)
{
    uint8_t *data = calloc(1, PROTO_MESSAGE_MAX + 1);
    struct message *m = NULL;

    (void)state;
    assert_non_null(data);
    assert_int_equal(message_unpack(data, PROTO_MESSAGE_MAX + 1, &m), MESSAGE_E_TOO_LARGE);
    assert_int_equal(message_unpack(data, PROTO_MESSAGE_MAX, &m), MESSAGE_E_MALFORMED);
    assert_null(m);
    free(data);
}

/* Two bytes each, ten to a hundred times that in memory: 4 MiB would become half a gigabyte. Sizes that grow slowly meet
 * the end of the budget in every place where protobuf-c allocates; none may crash or leak. (The last one is a field that
 * may come as often as it likes, so that nothing but the budget stops it.) */
static void test_what_swells_is_refused_early(void **state)
{
    static const uint8_t element[][2] = {{11 << 3 | 2, 0}, {12 << 3 | 2, 0}, {1 << 3, 0}};
    enum { MAX = 1 << 20 };
    uint8_t *data = malloc(MAX + 16);

    (void)state;
    assert_non_null(data);
    for (size_t k = 0; k < sizeof(element) / sizeof(element[0]); k++) {
        for (size_t n = 8; n < MAX; n += (n / 8 & ~(size_t)1) + 2) {
            struct wire head = {0};

            put_number(&head, 1, PROTOCOL_MAJOR);
            put_varint(&head, REPORT << 3 | 2);
            put_varint(&head, n);
            memcpy(data, head.data, head.n);
            for (size_t i = 0; i < n; i += 2)
                memcpy(data + head.n + i, element[k], 2);
            if (n > MAX / 2)
                assert_int_equal(unpack_copy(data, head.n + n), MESSAGE_E_MALFORMED);
            else
                unpack_copy(data, head.n + n);
        }
    }
    free(data);
}

static void test_what_is_too_large_is_not_sent(void **state)
{
    CLEANUP(message_destroy) struct message *m = message_sample_new(sample("report_quiet"));
    struct report *r = m->report;
    uint8_t *data = NULL;
    size_t n;

    (void)state;
    r->n_models = PROTO_MODELS_MAX;
    r->model = calloc(r->n_models, sizeof(*r->model));
    assert_non_null(r->model);
    for (size_t i = 0; i < r->n_models; i++) {
        r->model[i].shape = model_shape_new(MODEL_LAYERS_MAX);
        assert_non_null(r->model[i].shape);
        for (uint32_t k = 0; k < MODEL_LAYERS_MAX; k++)
            r->model[i].shape->layer[k] = (struct model_layer){UINT64_MAX, UINT64_MAX, 1, 1};
    }
    assert_int_equal(message_pack(m, &data, &n), MESSAGE_E_TOO_LARGE);
    assert_null(data);
}

/* ---- memory that is short ---- */

/* Runs before the sanitizers do. */
#define UNCHECKED __attribute__((no_sanitize("address", "undefined", "thread")))

static size_t fail_at; /* 0: never; n: the n-th allocation from now */

UNCHECKED static bool may_allocate(void)
{
    return fail_at == 0 || --fail_at > 0;
}

UNCHECKED void *calloc(size_t n, size_t size)
{
    static void *(*real)(size_t, size_t);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "calloc");
    return may_allocate() ? real(n, size) : NULL;
}

UNCHECKED void *malloc(size_t size)
{
    static void *(*real)(size_t);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "malloc");
    return may_allocate() ? real(size) : NULL;
}

static void fail_each_allocation(const struct message_sample *s)
{
    CLEANUP(message_destroy) struct message *m = message_sample_new(s), *back = NULL;
    CLEANUP(bytes_clear) struct bytes b = {0};
    int r = -ENOMEM;

    for (size_t n = 1; r == -ENOMEM; n++) {
        fail_at = n;
        r = message_pack(m, &b.data, &b.n);
        assert_int_equal(r == -ENOMEM, fail_at == 0); /* it was met, and not passed over */
        fail_at = 0;
        assert_true(r == 0 || !b.data);
    }
    assert_int_equal(r, 0);
    r = -ENOMEM;
    for (size_t n = 1; r == -ENOMEM; n++) {
        fail_at = n;
        r = message_unpack(b.data, b.n, &back);
        assert_int_equal(r == -ENOMEM, fail_at == 0); /* it was met, and not passed over */
        fail_at = 0;
        assert_true(r == 0 || !back);
    }
    assert_int_equal(r, 0);
}

static void test_each_allocation_may_fail(void **state)
{
    (void)state;
    for (const struct message_sample *s = message_samples; s->name; s++)
        fail_each_allocation(s);
}

/* ---- versions ---- */

static void test_unknown_fields_are_counted(void **state)
{
    CLEANUP(message_destroy) struct message *m = NULL;
    struct wire rpc = {0}, hello = {0}, w = {0};

    (void)state;
    put_number(&rpc, 1, 8);
    put_number(&rpc, 99, 1);
    put_bytes(&hello, 2, "n1", 2);
    put_wire(&hello, 7, &rpc);
    put_bytes(&hello, 500, "later", 5);
    put_number(&hello, 501, 7);
    put_number(&w, 1, PROTOCOL_MAJOR);
    put_number(&w, 2, 9);
    put_number(&w, 15, 1);
    put_wire(&w, HELLO, &hello);
    assert_int_equal(message_unpack(w.data, w.n, &m), 0);
    assert_int_equal(m->n_unknown, 4);
    assert_int_equal(m->version_minor, 9);
    assert_string_equal(m->hello.name, "n1");
    assert_int_equal(m->hello.rpc.major, 8);
}

/* What an agent of a later version runs besides must not make the rest of its report worthless. */
static void test_a_unit_of_a_later_role_is_left_out(void **state)
{
    CLEANUP(message_destroy) struct message *m = message_sample_new(sample("report_watched")), *back = NULL;
    CLEANUP(bytes_clear) struct bytes b = {0};

    (void)state;
    m->report->unit[2] = m->report->unit[1];
    m->report->unit[1] = m->report->unit[0];
    m->report->unit[0].role = m->report->unit[3].role = (enum unit_role)(UNIT_CARRIER + 1);
    m->report->unit[3].state = UNIT_RUNNING;
    m->report->unit[3].rank = PROTO_RANKS_MAX; /* whatever that may mean then */
    m->report->n_units = 4;
    assert_int_equal(message_pack(m, &b.data, &b.n), 0);
    assert_int_equal(message_unpack(b.data, b.n, &back), 0);
    assert_int_equal(back->n_unknown, 2);
    assert_int_equal(back->report->n_units, 2);
    assert_memory_equal(back->report->unit, m->report->unit + 1, 2 * sizeof(m->report->unit[0]));
    assert_string_equal(back->report->unit[2].id, "");
    assert_int_equal(back->report->uptime_ms, m->report->uptime_ms);
}

static void test_a_unit_without_a_role_is_none(void **state)
{
    static const int roles[] = {0, -1, INT32_MIN};

    (void)state;
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        CLEANUP(message_destroy) struct message *m = message_sample_new(sample("report_watched")), *back = NULL;
        CLEANUP(bytes_clear) struct bytes b = {0};

        memcpy(&m->report->unit[1].role, &roles[i], sizeof(roles[i]));
        assert_int_equal(message_pack(m, &b.data, &b.n), 0);
        assert_int_equal(message_unpack(b.data, b.n, &back), MESSAGE_E_MALFORMED);
    }
}

static void test_an_event_about_a_later_role(void **state)
{
    CLEANUP(message_destroy) struct message *m = message_sample_new(sample("event_unit_exited")), *back = NULL;
    CLEANUP(bytes_clear) struct bytes b = {0};

    (void)state;
    m->event->unit.role = (enum unit_role)(UNIT_CARRIER + 1);
    assert_int_equal(message_pack(m, &b.data, &b.n), 0);
    assert_int_equal(message_unpack(b.data, b.n, &back), MESSAGE_E_UNKNOWN_KIND);
}

static void test_kinds_and_versions(void **state)
{
    const struct wire empty = {0};
    struct wire w = {0}, later = {0};

    (void)state;
    assert_int_equal(unpack_kind(63, &empty), MESSAGE_E_UNKNOWN_KIND);
    assert_int_equal(unpack_kind(JOINED + 1, &empty), MESSAGE_E_UNKNOWN_KIND);
    assert_int_equal(unpack_kind(64, &empty), MESSAGE_E_MALFORMED); /* no kind at all */
    assert_int_equal(unpack_kind(COMMAND, &empty), MESSAGE_E_MALFORMED);
    put_wire(&later, 9, &empty);
    assert_int_equal(unpack_kind(COMMAND, &later), MESSAGE_E_UNKNOWN_KIND);

    assert_int_equal(unpack_copy(w.data, 0), MESSAGE_E_MALFORMED);
    put_number(&w, 1, PROTOCOL_MAJOR + 1);
    assert_int_equal(unpack_copy(w.data, w.n), MESSAGE_E_VERSION);
    put_number(&w, HELLO, 1); /* what is a message here is a number there */
    put_number(&w, 3, 1);
    assert_int_equal(unpack_copy(w.data, w.n), MESSAGE_E_VERSION);
}

static void test_the_version_sent_is_ours(void **state)
{
    CLEANUP(message_destroy) struct message *m = message_sample_new(sample("welcome")), *back = NULL;
    CLEANUP(bytes_clear) struct bytes b = {0};

    (void)state;
    m->version_major = m->version_minor = 0;
    assert_int_equal(message_pack(m, &b.data, &b.n), 0);
    assert_int_equal(message_unpack(b.data, b.n, &back), 0);
    assert_int_equal(back->version_major, PROTOCOL_MAJOR);
}

/* ---- what we send is always readable ---- */

static void test_text_that_is_no_utf8_is_mended(void **state)
{
    static const struct {
        const char *text, *want;
    } row[] = {{"Karte \xfc 8", "Karte ? 8"}, {"caf\xc3", "caf?"}, {"\xed\xa0\x80", "???"}, {"€\x80€", "€?€"}};

    (void)state;
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        CLEANUP(message_destroy) struct message *m = message_sample_new(sample("welcome")), *back = NULL;
        CLEANUP(bytes_clear) struct bytes b = {0};

        snprintf(m->welcome.name, sizeof(m->welcome.name), "%s", row[i].text);
        assert_int_equal(message_pack(m, &b.data, &b.n), 0);
        assert_int_equal(message_unpack(b.data, b.n, &back), 0);
        assert_string_equal(back->welcome.name, row[i].want);
    }
}

static void test_an_event_about_no_unit(void **state)
{
    CLEANUP(bytes_clear) struct bytes b = pack_sample(sample("event_resumed"));
    CLEANUP(message_destroy) struct message *m = NULL;

    (void)state;
    assert_int_equal(message_unpack(b.data, b.n, &m), 0);
    assert_int_equal(m->event->kind, AGENT_EVENT_RESUMED);
    assert_string_equal(m->event->unit.id, "");
}

static int write_golden(const char *dir)
{
    for (const struct message_sample *s = message_samples; s->name; s++) {
        CLEANUP(bytes_clear) struct bytes b = pack_sample(s);
        char path[4096];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s.bin", dir, s->name);
        f = fopen(path, "wb");
        if (!f || fwrite(b.data, 1, b.n, f) != b.n || fclose(f)) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_files_are_current),
        cmocka_unit_test(test_golden_files_mean_what_they_did),
        cmocka_unit_test(test_every_cut_has_an_outcome),
        cmocka_unit_test(test_every_flipped_bit_has_an_outcome),
        cmocka_unit_test(test_text_and_ids_are_checked),
        cmocka_unit_test(test_numbers_are_checked),
        cmocka_unit_test(test_ranks_are_checked),
        cmocka_unit_test(test_the_unit_of_an_event_has_an_id),
        cmocka_unit_test(test_counts_are_bounded),
        cmocka_unit_test(test_columns_are_equally_long),
        cmocka_unit_test(test_layers_are_bounded_and_equally_many),
        cmocka_unit_test(test_keys_are_bytes),
        cmocka_unit_test(test_keys_of_grants_are_hex),
        cmocka_unit_test(test_a_key_is_read_in_one_spelling),
        cmocka_unit_test(test_routes_match_endpoints),
        cmocka_unit_test(test_the_rank_of_a_flow_is_one),
        cmocka_unit_test(test_peers_are_bounded),
        cmocka_unit_test(test_snapshots_are_bounded),
        cmocka_unit_test(test_a_snapshot_is_utf8),
        cmocka_unit_test(test_a_snapshot_of_nothing),
        cmocka_unit_test(test_a_relay_carries_one_message_of_ours),
        cmocka_unit_test(test_relays_without_end),
        cmocka_unit_test(test_a_relay_that_is_too_large_is_not_sent),
        cmocka_unit_test(test_too_large_is_not_parsed),
        cmocka_unit_test(test_what_swells_is_refused_early),
        cmocka_unit_test(test_what_is_too_large_is_not_sent),
        cmocka_unit_test(test_each_allocation_may_fail),
        cmocka_unit_test(test_unknown_fields_are_counted),
        cmocka_unit_test(test_a_unit_of_a_later_role_is_left_out),
        cmocka_unit_test(test_a_unit_without_a_role_is_none),
        cmocka_unit_test(test_an_event_about_a_later_role),
        cmocka_unit_test(test_kinds_and_versions),
        cmocka_unit_test(test_the_version_sent_is_ours),
        cmocka_unit_test(test_text_that_is_no_utf8_is_mended),
        cmocka_unit_test(test_an_event_about_no_unit),
    };

    if (argc == 3 && strcmp(argv[1], "--write-golden") == 0)
        return write_golden(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
