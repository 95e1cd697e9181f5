/* Names, their replicas, and what is started for who asks: one queue per name, first come, first served. */
#include "tests/unit/admission_harness.h"

static void lab_open_several(struct lab *lab)
{
    lab_open(lab, &(struct admission_config){0});
}

static void ask_name(struct lab *lab, int k, const char *model)
{
    ask_for(lab, k, model, (uint8_t)k);
}

static void ask_many(struct lab *lab, int from, int n, const char *model)
{
    for (int k = from; k < from + n; k++)
        ask_name(lab, k, model);
}

static void refuse_start(struct lab *lab, const char *name, const char *code, const char *text)
{
    struct cluster_answer answer = {.accepted = false};

    snprintf(answer.code, sizeof(answer.code), "%s", code);
    snprintf(answer.text, sizeof(answer.text), "%s", text);
    admission_ensured(lab->admission, name, &answer, lab->now_ms);
}

static void accept_start(struct lab *lab, const char *name)
{
    admission_ensured(lab->admission, name, &(struct cluster_answer){.accepted = true}, lab->now_ms);
}

/* ---- slots ---- */

/* No more in flight than slots and one, and never more than the coordinator has threads for. */
static void test_slots(void **state)
{
    static const struct {
        uint32_t slots;
        int n;
    } cases[] = {{0, 2}, {1, 2}, {4, 5}, {23, 24}, {24, 24}, {200, 24}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lab lab;
        int n = 0;

        lab_open_several(&lab);
        SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = cases[i].slots});
        ask_many(&lab, 0, 40, "m");
        pull(&lab);
        for (const char *at = lab.said; (at = strstr(at, ">a")); at++)
            n++;
        assert_int_equal(n, cases[i].n);
        lab_shut(&lab);
    }
}

static void test_first_come_first_served(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1});
    ask_many(&lab, 0, 6, "m");
    EXPECT(&lab, "0>a 1>a 2 waits 3 waits 4 waits 5 waits ");
    assert_int_equal(admission_place(lab.admission, lab.ticket[1]), 0);
    assert_int_equal(admission_place(lab.admission, lab.ticket[4]), 3);
    left(&lab, 3); /* one that leaves is no longer before anybody */
    assert_int_equal(admission_place(lab.admission, lab.ticket[4]), 2);
    done(&lab, 1, 200);
    EXPECT(&lab, "2>a ");
    left(&lab, 0);
    EXPECT(&lab, "4>a ");
    broken(&lab, 2, ADMISSION_UNREACHED); /* it was nowhere: it keeps its place before the fifth */
    EXPECT(&lab, "2 waits ");
    pass(&lab, ADMISSION_DOUBT_MS);
    EXPECT(&lab, "2>a ");
    lab_shut(&lab);
}

/* Whoever waits for a slot that computes waits as long as it takes. */
static void test_case_13_no_clock_cuts_a_queue(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1});
    ask_many(&lab, 0, 3, "m");
    EXPECT(&lab, "0>a 1>a 2 waits ");
    pass(&lab, 100 * WAIT_MS);
    EXPECT(&lab, "");
    done(&lab, 0, 200);
    EXPECT(&lab, "2>a ");
    lab_shut(&lab);
}

static void ask_beside(struct lab *lab, int k)
{
    const struct admission_ask ask = {
        .model = "m", .body = lab_id((uint8_t)k), .wait_ms = WAIT_MS, .slotless = true, .owner = &lab->owner[k]};

    assert_int_equal(admission_ask(lab->admission, &ask, lab->now_ms, &lab->ticket[k]), 0);
}

/* What computes nothing goes past those who wait for a slot, takes none of them, and is bounded too. */
static void test_beside_the_slots(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1});
    ask_many(&lab, 0, 3, "m");
    EXPECT(&lab, "0>a 1>a 2 waits ");
    for (int k = 3; k < 3 + ADMISSION_SLOTLESS_MAX + 1; k++)
        ask_beside(&lab, k);
    EXPECT(&lab, "3>a 4>a 5>a 6>a 7>a 8>a 9 waits ");
    done(&lab, 3, 200);
    EXPECT(&lab, ""); /* it frees no slot */
    done(&lab, 0, 200);
    EXPECT(&lab, "2>a ");
    done(&lab, 1, 200);
    EXPECT(&lab, "9>a ");
    lab_shut(&lab);
}

/* A carrier without room for one more stream is nobody's fault: again soon, in the old order. */
static void test_no_room(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1});
    ask_many(&lab, 0, 2, "m");
    EXPECT(&lab, "0>a 1>a ");
    broken(&lab, 0, ADMISSION_NO_ROOM);
    ask_name(&lab, 2, "m");
    EXPECT(&lab, "0 waits 2 waits ");
    pass(&lab, ADMISSION_NO_ROOM_MS - 1);
    EXPECT(&lab, "");
    pass(&lab, 1);
    EXPECT(&lab, "0>a ");
    left(&lab, 1);
    left(&lab, 2);
    lab.now_ms += 1;
    for (uint64_t end_ms = lab.now_ms + 2 * WAIT_MS; lab.ticket[0] && lab.now_ms < end_ms;) { /* and not for ever */
        broken(&lab, 0, ADMISSION_NO_ROOM);
        pull(&lab);
        if (lab.ticket[0])
            pass(&lab, ADMISSION_NO_ROOM_MS);
    }
    assert_null(lab.ticket[0]);
    lab_shut(&lab);
}

/* ---- replicas ---- */

static void test_replicas_by_load(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1}, {"m", INSTANCE_READY, .slots = 3},
        {"n", INSTANCE_READY, .slots = 1});
    ask_many(&lab, 0, 6, "m"); /* each as many as it has slots: what is too much for one may go to the other */
    EXPECT(&lab, "0>a 1>b 2>b 3>b 4 waits 5 waits ");
    ask_name(&lab, 6, "n"); /* another name, another queue */
    EXPECT(&lab, "6>c ");
    done(&lab, 2, 200);
    EXPECT(&lab, "4>b ");
    done(&lab, 0, 200);
    EXPECT(&lab, "5>a ");
    done(&lab, 1, 200);
    done(&lab, 3, 200);
    ask_name(&lab, 0, "m");
    EXPECT(&lab, "0>b ");
    ask_name(&lab, 1, "00000000000000000000000000000000"); /* by its id: that one and no other */
    ask_name(&lab, 2, "m");
    EXPECT(&lab, "1 waits 2>b ");
    done(&lab, 5, 200);
    EXPECT(&lab, "1>a ");
    lab_shut(&lab);
}

/* Two queues for one instance: who came first goes first, whichever name he said. */
static void test_two_names_for_one(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1});
    ask_many(&lab, 0, 2, "m");
    ask_name(&lab, 2, "00000000000000000000000000000000");
    ask_name(&lab, 3, "tiny");
    ask_name(&lab, 4, "00000000000000000000000000000000");
    EXPECT(&lab, "0>a 1>a 2 waits 3 waits 4 waits ");
    done(&lab, 0, 200);
    EXPECT(&lab, "2>a ");
    done(&lab, 1, 200);
    EXPECT(&lab, "3>a ");
    done(&lab, 2, 200);
    EXPECT(&lab, "4>a ");
    lab_shut(&lab);
}

static void test_one_replica_is_lost(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 2}, {"m", INSTANCE_READY, .slots = 2});
    ask_many(&lab, 0, 5, "m");
    EXPECT(&lab, "0>a 1>b 2>a 3>b 4 waits ");
    broken(&lab, 0, ADMISSION_UNREACHED);
    EXPECT(&lab, "0 waits ");
    done(&lab, 1, 200); /* the other one has room: no doubt is waited for */
    EXPECT(&lab, "0>b ");
    done(&lab, 2, 200);
    SEE(&lab, NULL, {"m", INSTANCE_FAILED, .slots = 2}, {"m", INSTANCE_READY, .slots = 2});
    EXPECT(&lab, "4>b "); /* the only one now: it gets one more than it has slots */
    lab_shut(&lab);
}

/* The suspect of one replica's abort is alone at one of them; at the other, life goes on. */
static void test_suspect_among_replicas(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 2}, {"m", INSTANCE_READY, .slots = 2});
    ask_many(&lab, 0, 3, "m");
    EXPECT(&lab, "0>a 1>b 2>a ");
    broken(&lab, 0, ADMISSION_RESET);
    broken(&lab, 2, ADMISSION_RESET);
    EXPECT(&lab, "0 waits 2 waits [refused 1] ");
    ask_many(&lab, 3, 2, "m");
    EXPECT(&lab, "3 waits 4 waits "); /* the first is in doubt, the other is to get quiet */
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 2, .epoch = 2}, {"m", INSTANCE_READY, .slots = 2});
    EXPECT(&lab, "3>a 4>a ");
    done(&lab, 1, 200);
    EXPECT(&lab, "0>b ");
    ask_name(&lab, 5, "m");
    done(&lab, 3, 200);
    EXPECT(&lab, "5>a ");
    done(&lab, 0, 200);
    EXPECT(&lab, "2>b ");
    broken(&lab, 2, ADMISSION_RESET);
    EXPECT(&lab, "2 poison [poison 1] [refused 1] ");
    lab_shut(&lab);
}

/* One that hands over to a successor gets nothing once that is ready, however much that has to do. */
static void test_draining(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_LOADING, .slots = 1}, {"m", INSTANCE_DRAINING, .slots = 1});
    ask_name(&lab, 0, "m");
    EXPECT(&lab, "0>b ");
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1}, {"m", INSTANCE_DRAINING, .slots = 1});
    done(&lab, 0, 200);
    ask_many(&lab, 1, 3, "m");
    EXPECT(&lab, "1>a 2>a 3 waits ");
    lab_shut(&lab);
}

/* A suspect's time begins with a slot: it is not spent behind one that takes long. */
static void test_suspect_waits_for_a_slot(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1});
    ask_many(&lab, 0, 2, "m");
    EXPECT(&lab, "0>a 1>a ");
    broken(&lab, 0, ADMISSION_RESET);
    broken(&lab, 1, ADMISSION_RESET);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1, .epoch = 2});
    EXPECT(&lab, "0>a 1 waits [refused 1] ");
    pass(&lab, ADMISSION_TURN_MS); /* its turn is over, its answer is not there */
    EXPECT(&lab, "");
    done(&lab, 0, 200);
    EXPECT(&lab, "1>a ");
    lab_shut(&lab);
}

/* ---- those that are unloaded ---- */

static void test_leaving(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, "m", {"m", INSTANCE_READY, .slots = 4}, {"m", INSTANCE_READY, .slots = 4});
    ask_many(&lab, 0, 2, "m");
    EXPECT(&lab, "0>a 1>b ");
    SEE(&lab, "m", {"m", INSTANCE_READY, .slots = 4, .leaving = true}, {"m", INSTANCE_READY, .slots = 4});
    done(&lab, 1, 200);
    ask_many(&lab, 2, 2, "m");
    EXPECT(&lab, "2>b 3>b "); /* what is there ends, nothing new comes */
    SEE(&lab, "m", {"m", INSTANCE_READY, .slots = 4, .leaving = true},
        {"m", INSTANCE_READY, .slots = 4, .leaving = true});
    ask_name(&lab, 4, "m");
    EXPECT(&lab, "4 waits [ensure m] ");
    SEE(&lab, "m", {"m", INSTANCE_STOPPING, .slots = 4, .leaving = true}, {"m", INSTANCE_READY, .slots = 4});
    EXPECT(&lab, "0>b 4>b "); /* kept, since it was asked for */
    lab_shut(&lab);
}

/* It is kept for whoever asks, by whatever name: nobody need be allowed to start it for that. */
static void test_leaving_by_any_name(void **state)
{
    static const char *const names[] = {"m", "tiny", "00000000000000000000000000000000"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct lab lab;

        lab_open_several(&lab);
        SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 4, .leaving = true});
        ask_name(&lab, 0, names[i]);
        pull(&lab);
        assert_string_equal(lab.said,
                            i < 2 ? "0 waits [ensure m] " : "0 waits [ensure 00000000000000000000000000000000] ");
        lab.said[0] = '\0';
        accept_start(&lab, i < 2 ? "m" : names[i]);
        pass(&lab, ADMISSION_ENSURE_MS - 1);
        SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 4});
        EXPECT(&lab, "0>a ");
        SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 4, .leaving = true}); /* and once more, soon after */
        ask_name(&lab, 1, names[i]);
        pull(&lab);
        assert_non_null(strstr(lab.said, "1 waits [ensure "));
        lab.said[0] = '\0';
        refuse_start(&lab, i < 2 ? "m" : names[i], "manual", "it does not run");
        EXPECT(&lab, "1 not started "); /* it was too late */
        lab_shut(&lab);
    }
}

/* What ends because nobody asked for it is not what a person has stopped. */
static void test_ended_by_itself_under_those_who_wait(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, "m", {"m", INSTANCE_WAITING, .slots = 4});
    ask_name(&lab, 0, "m");
    EXPECT(&lab, "0 waits ");
    SEE(&lab, "m", {"m", INSTANCE_STOPPING, .slots = 4, .leaving = true});
    EXPECT(&lab, "[ensure m] ");
    lab_shut(&lab);
}

/* ---- names ---- */

/* Two sections of one file: the one that is there does not answer for the other. */
static void test_a_name_before_a_models_name(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, "tiny", {"tiny-long", INSTANCE_READY, .slots = 4});
    ask_name(&lab, 0, "tiny");
    EXPECT(&lab, "0 waits [ensure tiny] ");
    SEE(&lab, "tiny", {"tiny-long", INSTANCE_READY, .slots = 4}, {"tiny", INSTANCE_LOADING, .slots = 4});
    EXPECT(&lab, "");
    SEE(&lab, "tiny", {"tiny-long", INSTANCE_READY, .slots = 4}, {"tiny", INSTANCE_READY, .slots = 4});
    EXPECT(&lab, "0>b ");
    lab_shut(&lab);
}

/* ---- starts ---- */

/* What was asked for has been there and is gone: it is asked for again at once. */
static void test_asked_again_at_once_when_it_has_been(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    see_all(&lab, NULL, 0, "m");
    ask_name(&lab, 0, "m");
    EXPECT(&lab, "0 waits [ensure m] ");
    SEE(&lab, "m", {"m", INSTANCE_READY, .slots = 4});
    EXPECT(&lab, "0>a ");
    done(&lab, 0, 200);
    pass(&lab, 10);
    SEE(&lab, "m", {"m", INSTANCE_DRAINING, .slots = 4, .leaving = true});
    ask_name(&lab, 1, "m");
    EXPECT(&lab, "1 waits [ensure m] ");
    lab_shut(&lab);
}

/* The leader could not decide: nobody is refused by that, and it is asked again. */
static void test_not_decided(void **state)
{
    static const char *const codes[] = {"busy", "store_failed", "too_early"};

    (void)state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct lab lab;

        lab_open_several(&lab);
        see_all(&lab, NULL, 0, "m");
        ask_name(&lab, 0, "m");
        EXPECT(&lab, "0 waits [ensure m] ");
        refuse_start(&lab, "m", codes[i], "try again");
        ask_name(&lab, 1, "m");
        EXPECT(&lab, "1 waits ");
        pass(&lab, ADMISSION_ENSURE_MS);
        EXPECT(&lab, "[ensure m] ");
        refuse_start(&lab, "m", "no_fit", "no node has 40 GiB");
        EXPECT(&lab, "0 not started 1 not started ");
        lab_shut(&lab);
    }
}

/* One of several has failed: those who come have it tried again, now and then; the others serve them. */
static void test_failed_replica(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, "m", {"m", INSTANCE_READY, .slots = 4}, {"m", INSTANCE_FAILED, .failed_s = 10});
    ask_name(&lab, 0, "m");
    EXPECT(&lab, "0>a ");
    pass(&lab, ADMISSION_FAILED_MS - 10001);
    EXPECT(&lab, "");
    pass(&lab, 1);
    EXPECT(&lab, "[ensure m] ");
    refuse_start(&lab, "m", "no_fit", "no node has 40 GiB"); /* nobody waits for that one */
    SEE(&lab, "m", {"m", INSTANCE_READY, .slots = 4}, {"m", INSTANCE_FAILED, .failed_s = 31});
    ask_name(&lab, 1, "m");
    EXPECT(&lab, "1>a ");
    pass(&lab, ADMISSION_FAILED_MS);
    EXPECT(&lab, "[ensure m] ");
    pass(&lab, 10 * ADMISSION_FAILED_MS); /* nobody has come since */
    EXPECT(&lab, "");
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 4}, {"m", INSTANCE_FAILED, .failed_s = 31});
    ask_name(&lab, 2, "m"); /* by hand */
    EXPECT(&lab, "2>a ");
    lab_shut(&lab);
}

static void test_case_02_one_start_for_all(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    see_all(&lab, NULL, 0, "m");
    ask_many(&lab, 0, 3, "m");
    EXPECT(&lab, "0 waits 1 waits 2 waits [ensure m] ");
    accept_start(&lab, "m");
    pass(&lab, ADMISSION_ENSURE_MS - 1);
    EXPECT(&lab, "");
    pass(&lab, 1); /* the view does not show it: it is said again */
    EXPECT(&lab, "[ensure m] ");
    SEE(&lab, "m", {"m", INSTANCE_REQUESTED, .slots = 1});
    ask_name(&lab, 3, "m");
    pass(&lab, 10 * ADMISSION_ENSURE_MS);
    EXPECT(&lab, "3 waits ");
    SEE(&lab, "m", {"m", INSTANCE_LOADING, .permille = 100});
    left(&lab, 1);
    SEE(&lab, "m", {"m", INSTANCE_READY, .slots = 8});
    EXPECT(&lab, "0>a 2>a 3>a ");
    lab_shut(&lab);
}

/* What a test of hundreds shows from outside, in the small: each waiter hears the same, and nothing is left. */
static void test_case_02_start_refused(void **state)
{
    struct admission_decision d;
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    see_all(&lab, NULL, 0, "m");
    ask_many(&lab, 0, 3, "m");
    EXPECT(&lab, "0 waits 1 waits 2 waits [ensure m] ");
    refuse_start(&lab, "m", "no_fit", "no node has 40 GiB");
    for (int k = 0; k < 3; k++) {
        assert_true(admission_next(lab.admission, &d));
        assert_int_equal(d.refusal, ADMISSION_NOT_STARTED);
        assert_string_equal(d.code, "no_fit");
        assert_string_equal(d.text, "no node has 40 GiB");
    }
    EXPECT(&lab, "");
    ask_name(&lab, 0, "m"); /* a moment later: the same, and the leader is left in peace */
    EXPECT(&lab, "0 not started ");
    pass(&lab, ADMISSION_ENSURE_MS);
    ask_name(&lab, 0, "m");
    EXPECT(&lab, "0 waits [ensure m] ");
    left(&lab, 0);
    pass(&lab, 5 * ADMISSION_ENSURE_MS);
    EXPECT(&lab, ""); /* nobody waits any more: nothing is asked */
    assert_true(admission_due_ms(lab.admission) == UINT64_MAX);
    lab_shut(&lab);
}

static void test_who_may_be_started(void **state)
{
    static const struct {
        struct seen seen;
        const char *served, *said;
    } cases[] = {
        {{"x", INSTANCE_READY, .slots = 1}, "m", "0 waits [ensure m] "},
        {{"x", INSTANCE_READY, .slots = 1}, NULL, "0 not found "},
        {{"m", INSTANCE_STOPPED, .slots = 1}, "m", "0 waits [ensure m] "},
        {{"m", INSTANCE_STOPPED, .slots = 1}, NULL, "0 not found "},
        {{"m", INSTANCE_STOPPING, .slots = 1}, "m", "0 waits [ensure m] "},
        {{"m", INSTANCE_FAILED, .failed_s = 29}, "m", "0 failed "},
        {{"m", INSTANCE_FAILED, .failed_s = 30}, "m", "0 waits [ensure m] "},
        {{"m", INSTANCE_FAILED, .failed_s = 30}, NULL, "0 failed "},
        {{"m", INSTANCE_READY, .leaving = true}, "m", "0 waits [ensure m] "},
        {{"m", INSTANCE_READY, .leaving = true}, NULL, "0 waits [ensure m] "}, /* not to start it, but to keep it */
        {{"m", INSTANCE_STOPPING, .leaving = true}, NULL, "0 not ready "},
        {{"m", INSTANCE_STOPPING, .leaving = true}, "m", "0 waits [ensure m] "},
        {{"m", INSTANCE_WAITING, .slots = 1}, "m", "0 waits "},
        {{"m", INSTANCE_RECOVERING, .slots = 1}, "m", "0 waits "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lab lab;

        lab_open_several(&lab);
        see_all(&lab, &cases[i].seen, 1, cases[i].served);
        ask_name(&lab, 0, "m");
        EXPECT(&lab, cases[i].said);
        ask_name(&lab, 1, "by-hand");
        EXPECT(&lab, "1 not found ");
        lab_shut(&lab);
    }
}

/* By whatever name it is asked for, it is started under its own. */
static void test_started_by_its_models_name(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, "m", {"m", INSTANCE_STOPPED, .slots = 1});
    ask_name(&lab, 0, "tiny");
    EXPECT(&lab, "0 waits [ensure m] ");
    SEE(&lab, "m", {"m", INSTANCE_READY, .slots = 1, .epoch = 2});
    EXPECT(&lab, "0>a ");
    lab_shut(&lab);
}

/* It fails under those who wait: all hear it; and half a minute later it is begun anew. */
static void test_case_05_start_fails(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, "m", {"m", INSTANCE_LOADING, .slots = 1});
    ask_many(&lab, 0, 2, "m");
    EXPECT(&lab, "0 waits 1 waits ");
    SEE(&lab, "m", {"m", INSTANCE_FAILED, .slots = 1});
    EXPECT(&lab, "0 failed 1 failed ");
    pass(&lab, ADMISSION_FAILED_MS - 1);
    ask_name(&lab, 0, "m");
    EXPECT(&lab, "0 failed ");
    pass(&lab, 1);
    ask_name(&lab, 0, "m");
    EXPECT(&lab, "0 waits [ensure m] ");
    SEE(&lab, "m", {"m", INSTANCE_FAILED, .failed_s = 30}); /* not begun yet */
    EXPECT(&lab, "");
    SEE(&lab, "m", {"m", INSTANCE_READY, .epoch = 2}, {"m", INSTANCE_FAILED, .failed_s = 31});
    EXPECT(&lab, "0>a ");
    lab_shut(&lab);
}

/* Whoever stops a model does not want it back for the sake of those who waited. */
static void test_stopped_by_a_person(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, "m", {"m", INSTANCE_READY, .slots = 1});
    ask_many(&lab, 0, 3, "m");
    EXPECT(&lab, "0>a 1>a 2 waits ");
    SEE(&lab, "m", {"m", INSTANCE_STOPPING, .slots = 1});
    EXPECT(&lab, "0 not ready 1 not ready 2 not ready ");
    ask_name(&lab, 0, "m"); /* who comes later does */
    EXPECT(&lab, "0 waits [ensure m] ");
    lab_shut(&lab);
}

/* gateway_wait = 0: nobody waits, and yet the start is begun. */
static void test_start_without_waiting(void **state)
{
    struct admission_ask a = {.model = "m", .wait_ms = 0};
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    see_all(&lab, NULL, 0, "m");
    a.owner = &lab.owner[0];
    assert_int_equal(admission_ask(lab.admission, &a, lab.now_ms, &lab.ticket[0]), 0);
    EXPECT(&lab, "0 not ready [ensure m] ");
    lab_shut(&lab);
}

/* ---- time ---- */

static void test_patience_follows_the_load(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_LOADING, .permille = 1});
    ask_name(&lab, 0, "m");
    for (uint32_t permille = 2; permille < 20; permille++) {
        pass(&lab, WAIT_MS - 1);
        SEE(&lab, NULL, {"m", INSTANCE_LOADING, .permille = permille});
    }
    EXPECT(&lab, "0 waits ");
    SEE(&lab, NULL, {"m", INSTANCE_LOADING, .permille = 5}); /* that is no growth */
    pass(&lab, WAIT_MS);
    EXPECT(&lab, "0 not ready ");
    ask_name(&lab, 0, "m");
    for (int i = 0; i < 4; i++) { /* nor is waiting for room, again and again */
        SEE(&lab, NULL, {"m", i % 2 ? INSTANCE_PLACING : INSTANCE_WAITING, .epoch = 2});
        pass(&lab, WAIT_MS / 4);
    }
    EXPECT(&lab, "0 not ready ");
    lab_shut(&lab);
}

static void test_timeout_of_the_request(void **state)
{
    struct admission_decision d;
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1});
    ask_timed(&lab, 0, "m", 5000);
    ask_timed(&lab, 1, "m", 7000);
    ask_timed(&lab, 2, "m", 3000);
    ask_timed(&lab, 3, "m", UINT64_MAX);
    EXPECT(&lab, "0>a 1>a 2 waits 3 waits ");
    progress(&lab, 1, 10); /* its first token: it has all the time now */
    pass(&lab, 2999);
    EXPECT(&lab, "");
    lab.now_ms++;
    admission_tick(lab.admission, lab.now_ms);
    assert_true(admission_next(lab.admission, &d));
    assert_true(d.verdict == ADMISSION_REFUSE && d.refusal == ADMISSION_TIMED_OUT && !d.computing);
    assert_int_equal(d.waited_ms, 3000);
    lab.now_ms += 2000;
    admission_tick(lab.admission, lab.now_ms);
    assert_true(admission_next(lab.admission, &d));
    assert_true(d.refusal == ADMISSION_TIMED_OUT && d.computing);
    assert_int_equal(d.waited_ms, 5000);
    EXPECT(&lab, "3>a "); /* its slot is free */
    pass(&lab, 100 * WAIT_MS);
    EXPECT(&lab, "");
    lab_shut(&lab);
}

/* The time that a client gives is counted once, however often it is sent. */
static void test_timeout_over_two_sendings(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_several(&lab);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .slots = 1});
    ask_timed(&lab, 0, "m", 5000);
    pass(&lab, 3000);
    SEE(&lab, NULL, {"m", INSTANCE_RECOVERING, .slots = 1});
    pass(&lab, 1000);
    SEE(&lab, NULL, {"m", INSTANCE_READY, .epoch = 2});
    EXPECT(&lab, "0>a 0 waits 0>a ");
    pass(&lab, 1000);
    EXPECT(&lab, "0 timed out ");
    lab_shut(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_case_13_no_clock_cuts_a_queue),
        cmocka_unit_test(test_beside_the_slots),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_replicas_by_load),
        cmocka_unit_test(test_two_names_for_one),
        cmocka_unit_test(test_one_replica_is_lost),
        cmocka_unit_test(test_suspect_among_replicas),
        cmocka_unit_test(test_draining),
        cmocka_unit_test(test_suspect_waits_for_a_slot),
        cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_leaving_by_any_name),
        cmocka_unit_test(test_ended_by_itself_under_those_who_wait),
        cmocka_unit_test(test_a_name_before_a_models_name),
        cmocka_unit_test(test_asked_again_at_once_when_it_has_been),
        cmocka_unit_test(test_not_decided),
        cmocka_unit_test(test_failed_replica),
        cmocka_unit_test(test_case_02_one_start_for_all),
        cmocka_unit_test(test_case_02_start_refused),
        cmocka_unit_test(test_who_may_be_started),
        cmocka_unit_test(test_started_by_its_models_name),
        cmocka_unit_test(test_case_05_start_fails),
        cmocka_unit_test(test_stopped_by_a_person),
        cmocka_unit_test(test_start_without_waiting),
        cmocka_unit_test(test_patience_follows_the_load),
        cmocka_unit_test(test_timeout_of_the_request),
        cmocka_unit_test(test_timeout_over_two_sendings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
