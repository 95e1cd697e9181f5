/* The book of grants against a list of all that ever happened: in any order of grants and ends, it says what the list says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/core/grant.h"
#include "tests/lib/random.h"

/* Few enough instances that none is forgotten, and few enough of all else that most things come again. */
enum { STORIES = 300, STEPS = 200, INSTANCES = 3, EPOCHS = 5, RANKS = 3, PEERS = 2 };

/* What happened: every add and every end, as it was asked for. */
struct story {
    uint64_t newest[INSTANCES]; /* of any add or end; 0: none */
    bool over[INSTANCES][EPOCHS + 1];
    enum { NEVER, GIVEN, TAKEN } right[INSTANCES][EPOCHS + 1][RANKS][2][PEERS];
};

struct step {
    unsigned instance, rank, direction, peer;
    uint64_t epoch;
};

static struct step random_step(uint64_t *seed)
{
    struct step s = {.instance = (unsigned)random_in(seed, 0, INSTANCES - 1),
                     .epoch = random_in(seed, 1, EPOCHS),
                     .rank = (unsigned)random_in(seed, 0, RANKS - 1),
                     .direction = random_one_in(seed, 4),
                     .peer = (unsigned)random_in(seed, 0, PEERS - 1)};

    if (s.direction)
        s.rank = 0;
    return s;
}

static struct tunnel_claim claim_of(const struct step *s)
{
    return (struct tunnel_claim){.instance = {{(uint8_t)(1 + s->instance)}},
                                 .epoch = s->epoch,
                                 .rank = s->rank,
                                 .direction = s->direction ? TUNNEL_TO_COORDINATOR : TUNNEL_TO_RANK};
}

static const uint8_t peers[PEERS][GRANT_KEY_BYTES] = {{1}, {2}};

static bool should_be_granted(const struct story *t, const struct step *s)
{
    return s->epoch == t->newest[s->instance] && !t->over[s->instance][s->epoch] &&
           t->right[s->instance][s->epoch][s->rank][s->direction][s->peer] == GIVEN;
}

static void add(struct grant_book *b, struct story *t, const struct step *s)
{
    const struct tunnel_claim claim = claim_of(s);
    int expected = 0;

    if (s->epoch < t->newest[s->instance])
        expected = GRANT_E_OLD;
    else if (t->over[s->instance][s->epoch] || t->right[s->instance][s->epoch][s->rank][s->direction][s->peer] == TAKEN)
        expected = GRANT_E_ENDED;
    assert_int_equal(grant_book_add(b, &claim, peers[s->peer]), expected);
    if (expected)
        return;
    t->newest[s->instance] = s->epoch;
    t->right[s->instance][s->epoch][s->rank][s->direction][s->peer] = GIVEN;
}

static void end_epoch(struct grant_book *b, struct story *t, const struct step *s)
{
    const struct tunnel_claim claim = claim_of(s);

    assert_int_equal(grant_book_end_epoch(b, &claim.instance, s->epoch), 0);
    if (s->epoch > t->newest[s->instance])
        t->newest[s->instance] = s->epoch;
    for (uint64_t e = 1; e <= s->epoch; e++)
        t->over[s->instance][e] = true;
}

static void end_rank(struct grant_book *b, struct story *t, const struct step *s)
{
    const struct tunnel_claim claim = claim_of(s);

    grant_book_end_rank(b, &claim.instance, s->epoch, s->rank);
    for (unsigned p = 0; p < PEERS; p++) {
        if (t->right[s->instance][s->epoch][s->rank][0][p] == GIVEN)
            t->right[s->instance][s->epoch][s->rank][0][p] = TAKEN;
    }
}

static void check_all(const struct grant_book *b, const struct story *t)
{
    assert_true(b->n <= GRANTS_MAX && b->n_instances <= INSTANCES);
    for (unsigned i = 0; i < INSTANCES * EPOCHS * RANKS * 2 * PEERS; i++) {
        const struct step s = {.peer = i % PEERS,
                               .direction = i / PEERS % 2,
                               .rank = i / PEERS / 2 % RANKS,
                               .epoch = 1 + i / PEERS / 2 / RANKS % EPOCHS,
                               .instance = i / PEERS / 2 / RANKS / EPOCHS};
        const struct tunnel_claim claim = claim_of(&s);
        bool granted = grant_book_check(b, &claim, peers[s.peer]) == TUNNEL_GRANTED;

        assert_int_equal(granted, should_be_granted(t, &s));
    }
}

static void test_the_book_says_what_happened(void **state)
{
    (void)state;
    for (uint64_t story = 1; story <= STORIES; story++) {
        struct grant_book book = {0};
        struct story told = {.newest = {0}};
        uint64_t seed = story;

        for (int i = 0; i < STEPS; i++) {
            struct step s = random_step(&seed);
            uint64_t what = random_in(&seed, 0, 19);

            if (what == 0)
                end_epoch(&book, &told, &s);
            else if (what < 4)
                end_rank(&book, &told, &s);
            else
                add(&book, &told, &s);
            if (i % 8 == 0)
                check_all(&book, &told);
        }
        check_all(&book, &told);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_book_says_what_happened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
