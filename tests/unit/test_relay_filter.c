/* A filter in a relay: what it lets pass, swallows, inserts and answers, whatever pieces all of it comes in. The filter here
 * reads a little language, one letter a byte; what must come of it is worked out beside it by expected(). */
#include "tests/unit/relay_harness.h"

enum { ROOM = 4096 /* of the relay's buffers */, LARGE = 3 * ROOM * 100 };
/* A letter below SWALLOWED passes. */
enum {
    SWALLOWED = 200,
    HELD = 210 /* swallowed, and inserted with the third of them, or at the end */,
    INSERTED = 220
};
enum { HELD_MAX = 3 };
/* Answers are of bytes that near never says. */
enum { ANSWER = 128 };
static const uint8_t cipher_keys[2][CRYPTO_KEY_BYTES] = {"out", "back"};

/* Each letter from INSERTED on: so many bytes are inserted, and so many answered. */
static const struct {
    size_t n_inserted, n_answer;
} inserted[] = {{5, 9}, {0, 0}, {0, 16}, {ROOM, 9}, {ROOM - 1, 0}, {3 * ROOM, 1}, {LARGE, 9}};
enum { N_INSERTED = sizeof(inserted) / sizeof(inserted[0]) };

/* ---- the language ------------------------------------------------------------------------------------------------- */

static uint8_t answer_byte(size_t which, size_t at)
{
    return (uint8_t)(ANSWER + (which * 16 + at) % 120);
}

static void add_inserted(struct bytes *near, struct bytes *answers, uint64_t seed, size_t which, size_t *n_answered)
{
    for (size_t k = 0; k < inserted[which].n_inserted; k++)
        *bytes_room(near, 1) = byte_at(seed, k);
    for (size_t k = 0; k < inserted[which].n_answer; k++)
        *bytes_room(answers, 1) = answer_byte(*n_answered, k);
    *n_answered += inserted[which].n_answer > 0;
}

static void expected(const struct bytes *said, struct bytes *near, struct bytes *answers)
{
    size_t n_held = 0, n_answered = 0;

    for (size_t i = 0; i <= said->n; i++) {
        bool is_end = i == said->n;
        uint8_t letter = is_end ? HELD : said->p[i];

        if (letter < SWALLOWED)
            bytes_add(near, &letter, 1);
        else if (letter >= INSERTED)
            add_inserted(near, answers, i, letter - INSERTED, &n_answered);
        n_held += letter == HELD && !is_end;
        if (n_held == HELD_MAX || is_end) {
            bytes_fill(near, HELD, n_held);
            n_held = 0;
        }
    }
}

struct filter {
    size_t n_judged, n_held;
    uint64_t seed; /* of what is being inserted */
    bool releases; /* it is held letters */
    size_t n_insert, n_answer, at, n_answered;
    bool ended;
    /* What a test looks at. */
    unsigned n_reads;
    bool is_inserting, was_last, wrong;
    struct scribe *speaks; /* something, at the moment of the answer */
};

static void insert(struct filter *f, uint64_t seed, size_t n, size_t n_answer, enum relay_verdict *ret)
{
    f->is_inserting = true;
    f->was_last = false;
    f->seed = seed;
    f->n_insert = n;
    f->n_answer = n_answer;
    f->at = 0;
    *ret = RELAY_INSERT;
}

static void release(struct filter *f, enum relay_verdict *ret)
{
    insert(f, 0, f->n_held, 0, ret);
    f->releases = true;
    f->n_held = 0;
}

/* A letter that stands for something. */
static void judge_letter(struct filter *f, uint8_t letter, enum relay_verdict *ret)
{
    *ret = RELAY_SWALLOW;
    f->releases = false;
    f->n_held += letter == HELD;
    if (f->n_held == HELD_MAX)
        release(f, ret);
    if (letter >= INSERTED)
        insert(f, f->n_judged, inserted[letter - INSERTED].n_inserted, inserted[letter - INSERTED].n_answer, ret);
}

/* One of those, or a run of letters that pass. */
static size_t on_judge(void *ctx, const uint8_t *data, size_t n, enum relay_verdict *ret)
{
    struct filter *f = ctx;
    size_t n_pass = 0, n_used;

    f->wrong = f->wrong || f->is_inserting || f->ended;
    f->ended = n == 0;
    *ret = RELAY_PASS;
    if (!n && f->n_held)
        release(f, ret);
    while (n_pass < n && data[n_pass] < SWALLOWED)
        n_pass++;
    if (n && !n_pass)
        judge_letter(f, data[0], ret);
    n_used = n && !n_pass ? 1 : n_pass;
    f->n_judged += n_used;
    return n_used;
}

static size_t on_read(void *ctx, uint8_t *buf, size_t n)
{
    struct filter *f = ctx;
    size_t left = f->n_insert - f->at, n_took = n < left ? n : left;

    f->wrong = f->wrong || !f->is_inserting || f->was_last;
    f->was_last = n_took < n;
    f->n_reads++;
    for (size_t i = 0; i < n_took; i++)
        buf[i] = f->releases ? HELD : byte_at(f->seed, f->at + i);
    f->at += n_took;
    return n_took;
}

static size_t on_answer(void *ctx, uint8_t buf[RELAY_ANSWER_MAX])
{
    struct filter *f = ctx;

    f->wrong = f->wrong || !f->is_inserting || f->at != f->n_insert;
    f->is_inserting = false;
    for (size_t i = 0; i < f->n_answer; i++)
        buf[i] = answer_byte(f->n_answered, i);
    f->n_answered += f->n_answer > 0;
    if (f->speaks)
        assert_int_equal(send(f->speaks->fd, f->speaks->out.p, f->speaks->out.n, 0), (ssize_t)f->speaks->out.n);
    return f->n_answer;
}

/* ---- a worker, a relay with a filter, and a coordinator ----------------------------------------------------------- */

struct scene {
    struct scribe near, far;
    struct relay *relay, *other; /* other: where far is sealed, the relay that opens it again */
    struct filter filter;
    struct bytes came[RELAY_DIRECTIONS]; /* as the relay with the filter has told */
    size_t n_sent[RELAY_DIRECTIONS];
    bool ended, other_ended;
    enum relay_end how, other_how;
    struct bytes near_expected, answers_expected;
};

static void on_came(void *ctx, enum relay_direction direction, const uint8_t *data, size_t n)
{
    bytes_add(&((struct scene *)ctx)->came[direction], data, n);
}

static void on_sent(void *ctx, enum relay_direction direction, size_t n)
{
    struct scene *s = ctx;

    s->n_sent[direction] += n;
    s->filter.wrong = s->filter.wrong || s->n_sent[direction] > s->came[direction].n;
}

static void on_ended(void *ctx, enum relay_end how, int error)
{
    struct scene *s = ctx;

    (void)error;
    assert_false(s->ended);
    s->ended = true;
    s->how = how;
    relay_destroy(&s->relay);
}

static void on_other_ended(void *ctx, enum relay_end how, int error)
{
    struct scene *s = ctx;

    (void)error;
    s->other_ended = true;
    s->other_how = how;
    relay_destroy(&s->other);
}

static void make_seals(struct relay_sockets *with, bool flip)
{
    assert_int_equal(seal_new(SEAL_AES_256_GCM, cipher_keys[flip], ROOM, &with->seal), 0);
    assert_int_equal(seal_new(SEAL_AES_256_GCM, cipher_keys[!flip], ROOM, &with->open), 0);
}

static void begin(struct scene *s, bool sealed, uint64_t seed)
{
    struct relay_filter filter = {.judge = on_judge, .read = on_read, .answer = on_answer, .ctx = &s->filter};
    struct relay_calls calls = {.came = on_came, .sent = on_sent, .ended = on_ended, .ctx = s, .filter = filter};
    struct relay_calls other_calls = {.ended = on_other_ended, .ctx = s};
    int near[2], far[2], middle[2];

    *s = (struct scene){0};
    socket_pair(true, near);
    socket_pair(true, far);
    scribe_begin(&s->near, near[0], seed);
    scribe_begin(&s->far, far[0], seed + 1);
    if (sealed) {
        struct relay_sockets with = {.near = near[1], .data_max = ROOM}, other = {.near = far[1], .data_max = ROOM};

        socket_pair(true, middle);
        with.far = middle[0];
        other.far = middle[1];
        make_seals(&with, false);
        make_seals(&other, true);
        assert_int_equal(relay_new(base, &with, &calls, &s->relay), 0);
        assert_int_equal(relay_new(base, &other, &other_calls, &s->other), 0);
    } else {
        struct relay_sockets with = {.near = near[1], .far = far[1], .data_max = ROOM};

        assert_int_equal(relay_new(base, &with, &calls, &s->relay), 0);
        s->other_ended = true;
    }
}

static void end_scene(struct scene *s)
{
    relay_destroy(&s->relay);
    relay_destroy(&s->other);
    scribe_end(&s->near);
    scribe_end(&s->far);
    for (size_t d = 0; d < RELAY_DIRECTIONS; d++)
        bytes_clear(&s->came[d]);
    bytes_clear(&s->near_expected);
    bytes_clear(&s->answers_expected);
}

static void far_says(struct scene *s, const void *letters, size_t n)
{
    bytes_add(&s->far.out, letters, n);
    scribe_send(&s->far);
}

static void near_says(struct scene *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *bytes_room(&s->near.out, 1) = byte_at(77, i) % ANSWER;
    scribe_send(&s->near);
}

/* What far has heard is what near said and what was answered, each in its order. Returns where the first answer is. */
static size_t expect_heard(const struct scene *s, const struct bytes *heard)
{
    size_t n_near = 0, n_answer = 0, first = heard->n;

    for (size_t i = 0; i < heard->n; i++) {
        bool is_answer = heard->p[i] >= ANSWER;
        const struct bytes *of = is_answer ? &s->answers_expected : &s->near.out;
        size_t *at = is_answer ? &n_answer : &n_near;

        assert_true(*at < of->n);
        assert_int_equal(heard->p[i], of->p[*at]);
        first = is_answer && !n_answer ? i : first;
        ++*at;
    }
    assert_int_equal(n_near + n_answer, heard->n);
    return first;
}

static void expect_all(struct scene *s)
{
    expected(&s->far.out, &s->near_expected, &s->answers_expected);
    assert_false(s->filter.wrong);
    assert_int_equal(s->near.in.n, s->near_expected.n);
    assert_memory_equal(s->near.in.p, s->near_expected.p, s->near.in.n);
    assert_int_equal(s->came[RELAY_BACK].n, s->near_expected.n);
    assert_memory_equal(s->came[RELAY_BACK].p, s->near_expected.p, s->near_expected.n);
    assert_int_equal(s->n_sent[RELAY_BACK], s->near_expected.n);
    expect_heard(s, &s->far.in);
    assert_int_equal(s->far.in.n, s->near.out.n + s->answers_expected.n);
    assert_int_equal(s->came[RELAY_OUT].n, s->near.out.n); /* nobody is told of the answers */
    assert_int_equal(s->n_sent[RELAY_OUT], s->near.out.n);
}

static bool is_over(const void *arg)
{
    const struct scene *s = arg;

    return s->ended && s->other_ended && (s->near.eof || s->near.reset) && (s->far.eof || s->far.reset);
}

static bool near_has_end(const void *arg)
{
    return ((const struct scene *)arg)->near.eof;
}

/* ---- what goes in and what comes out ------------------------------------------------------------------------------ */

/* Letters that pass, mostly, as they do in what this is for. */
static void random_letters(struct scene *s, uint64_t seed, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t kind = random_in(&seed, 0, 19);
        uint8_t letter = (uint8_t)random_in(&seed, 0, SWALLOWED - 1);

        if (kind == 0)
            letter = random_one_in(&seed, 2) ? SWALLOWED : HELD;
        else if (kind == 1)
            letter = (uint8_t)(INSERTED + random_in(&seed, 0, N_INSERTED - 2));
        *bytes_room(&s->far.out, 1) = letter;
    }
}

static void test_any_pieces(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct scene s;

        stingy = seed % 3 ? seed : 0;
        begin(&s, seed % 2, seed);
        random_letters(&s, seed, 1 + seed * 5);
        if (seed % 5 == 0)
            far_says(&s, (uint8_t[]){1, HELD, HELD, HELD}, 4); /* to be let out by the end */
        if (seed % 7 == 0)
            far_says(&s, (uint8_t[]){INSERTED + N_INSERTED - 1}, seed % 5 ? 1 : 0);
        s.far.ends = true;
        near_says(&s, (size_t)seed * 500);
        scribe_send(&s.far);
        run_until(near_has_end, &s);
        s.near.ends = true;
        scribe_send(&s.near);
        run_until(is_over, &s);
        assert_int_equal(s.how, RELAY_DONE);
        expect_all(&s);
        end_scene(&s);
        stingy = 0;
    }
}

/* ---- back-pressure ------------------------------------------------------------------------------------------------ */

static void nudge(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static bool is_inserting(const void *arg)
{
    return ((const struct scene *)arg)->filter.n_reads > 2;
}

/* Until for 50 turns nothing has moved. */
static void settle(const struct scene *s)
{
    static const struct timeval soon = {0, 1000};
    struct event *turns = event_new(base, -1, EV_PERSIST, nudge, NULL);
    size_t n_before = 0;

    event_add(turns, &soon);
    for (unsigned n_still = 0; n_still < 50; n_still++) {
        size_t n = s->far.n_sent + s->near.n_sent + s->came[RELAY_BACK].n + s->far.in.n;

        event_base_loop(base, EVLOOP_ONCE);
        n_still = n == n_before ? n_still : 0;
        n_before = n;
    }
    event_free(turns);
}

/* near takes nothing: one piece is made, and far is not heard. Then it does, and all is there. */
static void test_near_is_slow(void **state)
{
    (void)state;
    for (size_t sealed = 0; sealed < 2; sealed++) {
        struct scene s;

        begin(&s, sealed, 1);
        event_del(s.near.on_readable);
        far_says(&s, (uint8_t[]){1, INSERTED + N_INSERTED - 1}, 2);
        bytes_fill(&s.far.out, 2, 8 << 20);
        s.far.ends = true;
        run_until(is_inserting, &s);
        settle(&s);
        assert_true(s.filter.is_inserting && s.came[RELAY_BACK].n < LARGE && s.far.n_sent < s.far.out.n);
        assert_true(s.came[RELAY_BACK].n - s.n_sent[RELAY_BACK] <= ROOM);
        n_calls = 0;
        settle(&s);
        assert_true(n_calls < 25); /* it does not try again at every turn */
        near_says(&s, 1000);       /* what near says is heard meanwhile */
        settle(&s);
        assert_int_equal(s.far.in.n, 1000);
        assert_true(s.filter.is_inserting);
        event_add(s.near.on_readable, NULL);
        run_until(near_has_end, &s);
        s.near.ends = true;
        scribe_send(&s.near);
        run_until(is_over, &s);
        expect_all(&s);
        end_scene(&s);
    }
}

/* However fast near is, others have their turn between two pieces. */
static void test_a_piece_a_turn(void **state)
{
    struct scene s;
    unsigned n_most = 0;

    (void)state;
    begin(&s, false, 1);
    s.near.ends = s.far.ends = true;
    far_says(&s, (uint8_t[]){INSERTED + N_INSERTED - 1}, 1);
    near_says(&s, 0);
    while (!is_over(&s)) {
        unsigned n = s.filter.n_reads;

        event_base_loop(base, EVLOOP_ONCE);
        n_most = s.filter.n_reads - n > n_most ? s.filter.n_reads - n : n_most;
    }
    assert_int_equal(n_most, 1);
    assert_true(s.filter.n_reads > 100);
    end_scene(&s);
}

/* ---- the answer --------------------------------------------------------------------------------------------------- */

static bool has_answered(const void *arg)
{
    return ((const struct scene *)arg)->filter.n_answered > 0;
}

static bool far_heard_all(const void *arg)
{
    const struct scene *s = arg;

    return s->far.in.n == s->near.out.n + 9;
}

/* far takes nothing, so that near's words wait in the relay: the answer comes behind those that were read, before the others,
 * and until it does nothing of far is judged. */
static void test_answer_waits(void **state)
{
    (void)state;
    for (size_t sealed = 0; sealed < 2; sealed++) {
        struct scene s;
        size_t n_read;

        begin(&s, sealed, 1);
        event_del(s.far.on_readable);
        near_says(&s, 8 << 20);
        settle(&s);
        assert_true(s.near.n_sent < s.near.out.n);
        far_says(&s, (uint8_t[]){INSERTED, 1}, 2);
        run_until(has_answered, &s);
        settle(&s);
        assert_int_equal(s.filter.n_judged, 1);
        n_read = s.came[RELAY_OUT].n;
        event_add(s.far.on_readable, NULL);
        run_until(far_heard_all, &s);
        settle(&s);
        assert_int_equal(s.filter.n_judged, 2);
        expected(&s.far.out, &s.near_expected, &s.answers_expected);
        assert_int_equal(expect_heard(&s, &s.far.in), n_read);
        end_scene(&s);
    }
}

/* What near says from the moment of the answer on comes behind it. */
static void test_answer_is_next(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        struct scene s;

        begin(&s, i % 2, i + 1);
        bytes_add(&s.near.out, "and", 3);
        s.filter.speaks = &s.near;
        far_says(&s, (uint8_t[]){INSERTED}, 1);
        run_until(far_heard_all, &s);
        expected(&s.far.out, &s.near_expected, &s.answers_expected);
        assert_int_equal(expect_heard(&s, &s.far.in), 0);
        end_scene(&s);
    }
}

/* Behind its end near is not answered for; the other direction goes on. waits: it ends while something is inserted. */
static void play_near_has_ended(bool sealed, bool waits)
{
    static const uint8_t letters[] = {INSERTED + N_INSERTED - 1, 1, INSERTED, 2};
    struct scene s;

    begin(&s, sealed, 1);
    s.near.ends = true;
    if (waits) {
        event_del(s.near.on_readable);
        far_says(&s, letters, sizeof(letters));
        run_until(is_inserting, &s);
    }
    near_says(&s, 1000);
    while (!s.far.eof)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(s.filter.is_inserting, waits);
    s.far.ends = true;
    event_add(s.near.on_readable, NULL);
    far_says(&s, letters, waits ? 0 : sizeof(letters));
    run_until(is_over, &s);
    assert_int_equal(s.how, RELAY_DONE);
    assert_int_equal(s.far.in.n, 1000);
    expected(&s.far.out, &s.near_expected, &s.answers_expected);
    assert_int_equal(s.near.in.n, s.near_expected.n);
    assert_memory_equal(s.near.in.p, s.near_expected.p, s.near.in.n);
    end_scene(&s);
}

static void test_near_has_ended(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        play_near_has_ended(i % 2, i / 2);
}

/* At any moment between many answers: those that still come are the first ones, and the end is as it should be. */
static void test_near_ends_between_answers(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct scene s;

        begin(&s, true, seed);
        stingy = seed;
        s.near.ends = s.far.ends = true;
        bytes_fill(&s.far.out, INSERTED, 30);
        scribe_send(&s.far);
        run_until(has_answered, &s);
        near_says(&s, 100);
        run_until(is_over, &s);
        assert_int_equal(s.how, RELAY_DONE);
        assert_int_equal(s.other_how, RELAY_DONE);
        expected(&s.far.out, &s.near_expected, &s.answers_expected);
        expect_heard(&s, &s.far.in);
        end_scene(&s);
        stingy = 0;
    }
}

/* ---- ends that are none ------------------------------------------------------------------------------------------- */

static bool relay_ended(const void *arg)
{
    return ((const struct scene *)arg)->ended;
}

static void test_near_is_reset(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, false, 1);
    event_del(s.near.on_readable);
    far_says(&s, (uint8_t[]){INSERTED + N_INSERTED - 1}, 1);
    run_until(is_inserting, &s);
    close_socket(&s.near.fd, true);
    run_until(relay_ended, &s);
    assert_int_equal(s.how, RELAY_RESET);
    while (!s.far.reset)
        event_base_loop(base, EVLOOP_ONCE);
    end_scene(&s);
}

static void test_destroyed_in_the_middle(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, true, 1);
    event_del(s.near.on_readable);
    far_says(&s, (uint8_t[]){INSERTED + N_INSERTED - 1}, 1);
    run_until(is_inserting, &s);
    relay_destroy(&s.relay);
    assert_false(s.ended);
    end_scene(&s);
}

static void test_numbers_run_out(void **state)
{
    struct scene s;

    (void)state;
    begin(&s, true, 1);
    seal_set_limits(s.relay->seal, (struct seal_limits){SEAL_REKEY_RECORDS, SEAL_REKEY_BYTES, 0});
    far_says(&s, (uint8_t[]){INSERTED, INSERTED, 1}, 3);
    run_until(relay_ended, &s);
    assert_int_equal(s.how, RELAY_SPENT);
    end_scene(&s);
}

static void test_no_memory(void **state)
{
    struct relay_calls calls = {.ended = on_ended, .filter = {on_judge, on_read, on_answer, NULL}};
    struct relay_sockets with = {.data_max = ROOM};
    struct relay *r = NULL;
    int near[2], far[2];
    int res = -1;

    (void)state;
    socket_pair(true, near);
    socket_pair(true, far);
    with.near = near[0];
    with.far = far[0];
    for (long n = 0; res; n++) {
        allocs_until_failure = n;
        res = relay_new(base, &with, &calls, &r);
        allocs_until_failure = -1;
        assert_true(res == -ENOMEM || n == 4);
    }
    relay_destroy(&r);
    close(near[1]);
    close(far[1]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_pieces),
        cmocka_unit_test(test_near_is_slow),
        cmocka_unit_test(test_a_piece_a_turn),
        cmocka_unit_test(test_answer_waits),
        cmocka_unit_test(test_answer_is_next),
        cmocka_unit_test(test_near_has_ended),
        cmocka_unit_test(test_near_ends_between_answers),
        cmocka_unit_test(test_near_is_reset),
        cmocka_unit_test(test_destroyed_in_the_middle),
        cmocka_unit_test(test_numbers_run_out),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, begin_loop, end_loop);
}
