/* The gateway's decisions, without its sockets: one thing happens, and every decision that follows is compared. */
#include "tests/unit/admission_harness.h"

/* ---- where to ---- */

static void test_whom_it_is_for(void **state)
{
    static const struct {
        enum instance_state state;
        const char *model, *said;
    } cases[] = {
        {INSTANCE_READY, "m", "0>3 "},
        {INSTANCE_READY, "tiny", "0>3 "},
        {INSTANCE_READY, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "0>3 "},
        {INSTANCE_DRAINING, "m", "0>3 "},
        {INSTANCE_READY, "none", "0 not found "},
        {INSTANCE_READY, "", "0 not found "},
        {INSTANCE_STOPPED, "m", "0 not found "},
        {INSTANCE_FAILED, "m", "0 failed "},
        {INSTANCE_STOPPING, "m", "0 not ready "},
        {INSTANCE_REQUESTED, "m", "0 waits "},
        {INSTANCE_PLACING, "m", "0 waits "},
        {INSTANCE_WAITING, "m", "0 waits "},
        {INSTANCE_LEASING, "m", "0 waits "},
        {INSTANCE_STARTING, "m", "0 waits "},
        {INSTANCE_LOADING, "m", "0 waits "},
        {INSTANCE_RECOVERING, "m", "0 waits "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lab lab;

        lab_open(&lab, &(struct admission_config){0});
        see(&lab, cases[i].state, 3);
        ask_for(&lab, 0, cases[i].model, 1);
        EXPECT(&lab, cases[i].said);
        lab_shut(&lab);
    }
}

static void test_name_too_long(void **state)
{
    char name[2 * PROTO_MODEL_MAX];
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    memset(name, 'm', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    ask_for(&lab, 0, name, 1);
    EXPECT(&lab, "0 not found ");
    lab_shut(&lab);
}

static void test_waits_until_ready(void **state)
{
    struct lab lab;

    (void)state;
    lab_open(&lab, &(struct admission_config){0});
    see(&lab, INSTANCE_LOADING, 3);
    ask(&lab, 0, 1);
    ask(&lab, 1, 2);
    ask(&lab, 2, 3);
    EXPECT(&lab, "0 waits 1 waits 2 waits ");
    left(&lab, 1); /* its place is free */
    pass(&lab, WAIT_MS - 1);
    ask(&lab, 3, 4);
    EXPECT(&lab, "3 waits ");
    pass(&lab, 1);
    EXPECT(&lab, "0 not ready 2 not ready ");
    see(&lab, INSTANCE_READY, 3);
    EXPECT(&lab, "3>3 ");
    lab_shut(&lab);
}

static void test_no_longer_worth_waiting(void **state)
{
    struct lab lab;

    (void)state;
    lab_open(&lab, &(struct admission_config){0});
    see(&lab, INSTANCE_LOADING, 3);
    ask(&lab, 0, 1);
    EXPECT(&lab, "0 waits ");
    see(&lab, INSTANCE_FAILED, 3);
    EXPECT(&lab, "0 failed ");
    see(&lab, INSTANCE_LOADING, 4);
    ask(&lab, 1, 1);
    look(&lab, INSTANCE_STOPPED, 4);
    lab.view->n_instances = 0; /* no longer shown at all */
    show(&lab);
    EXPECT(&lab, "1 not found ");
    lab.view->n_instances = 1; /* for its end */
    lab_shut(&lab);
}

static void test_bounds(void **state)
{
    struct lab lab;

    (void)state;
    lab_open(&lab, &(struct admission_config){.waiting_max = 2, .waiting_bytes_max = 1000});
    see(&lab, INSTANCE_LOADING, 3);
    ask(&lab, 0, 1);
    ask(&lab, 1, 2);
    ask(&lab, 2, 3);
    EXPECT(&lab, "0 waits 1 waits 2 full ");
    left(&lab, 0);
    ask(&lab, 2, 3);
    EXPECT(&lab, "2 waits ");
    lab_shut(&lab);

    lab_open(&lab, &(struct admission_config){.waiting_bytes_max = 199});
    see(&lab, INSTANCE_LOADING, 3);
    ask(&lab, 0, 1);
    ask(&lab, 1, 2);
    EXPECT(&lab, "0 waits 1 full ");
    see(&lab, INSTANCE_READY, 3); /* what need not wait is not counted */
    ask(&lab, 1, 2);
    EXPECT(&lab, "0>3 1>3 ");
    see(&lab, INSTANCE_LOADING, 4);
    left(&lab, 0);
    left(&lab, 1);
    ask(&lab, 2, 3);
    EXPECT(&lab, "2 waits ");
    lab_shut(&lab);
}

static void test_successor(void **state)
{
    struct view_instance *in, both[2];
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    EXPECT(&lab, "0>3 ");
    in = look(&lab, INSTANCE_DRAINING, 3);
    both[0] = both[1] = *in;
    both[0].id = lab_id(0xbb); /* newest first */
    both[0].follows = in->id;
    both[0].epoch = 1;
    both[0].coordinator_port = 18081;
    both[0].coordinator_key[0] = 'b';
    both[0].plan = NULL;
    both[0].state = INSTANCE_LOADING;
    free(lab.view->instance);
    lab.view->instance = malloc(sizeof(both));
    memcpy(lab.view->instance, both, sizeof(both));
    lab.view->n_instances = 2;
    show(&lab);
    ask(&lab, 1, 2);
    EXPECT(&lab, "1>3 "); /* the old one serves until then */
    lab.view->instance[0].state = INSTANCE_READY;
    show(&lab);
    ask(&lab, 2, 3);
    EXPECT(&lab, "2>1 ");
    done(&lab, 0, 200);
    lab.view->instance[1].state = INSTANCE_STOPPING;
    show(&lab); /* the one that is still there waits for nothing: it goes to the other */
    EXPECT(&lab, "1>1 ");
    lab_shut(&lab);
}

/* ---- epochs ---- */

static void test_epoch_ends(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    ask(&lab, 1, 2);
    admission_committed(lab.admission, lab.ticket[1]);
    EXPECT(&lab, "0>3 1>3 ");
    see(&lab, INSTANCE_RECOVERING, 3);
    EXPECT(&lab, "0 waits 1 lost ");
    see(&lab, INSTANCE_READY, 3); /* never again */
    EXPECT(&lab, "");
    see(&lab, INSTANCE_LOADING, 4);
    EXPECT(&lab, "");
    see(&lab, INSTANCE_READY, 4);
    EXPECT(&lab, "0>4 ");
    done(&lab, 0, 200);
    see(&lab, INSTANCE_READY, 3); /* late */
    ask(&lab, 2, 3);
    EXPECT(&lab, "2>4 ");
    pass(&lab, 10 * WAIT_MS); /* it computes */
    see(&lab, INSTANCE_RECOVERING, 4);
    pass(&lab, WAIT_MS - 1); /* its wait begins here */
    EXPECT(&lab, "2 waits ");
    see(&lab, INSTANCE_READY, 5);
    EXPECT(&lab, "2>5 ");
    lab_shut(&lab);
}

/* A leader that has just started shows what it adopts as recovering first. */
static void test_adopted(void **state)
{
    struct lab lab;

    (void)state;
    lab_open(&lab, &(struct admission_config){0});
    see(&lab, INSTANCE_RECOVERING, 3);
    ask(&lab, 0, 1);
    EXPECT(&lab, "0 waits ");
    see(&lab, INSTANCE_READY, 3);
    EXPECT(&lab, "0>3 ");
    lab_shut(&lab);
}

static void test_epoch_skipped(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    EXPECT(&lab, "0>3 ");
    see(&lab, INSTANCE_READY, 5); /* at once to another */
    EXPECT(&lab, "0>5 ");
    see(&lab, INSTANCE_READY, 6); /* once, not twice */
    EXPECT(&lab, "0 lost ");
    lab_shut(&lab);
}

static void test_stopped_under_it(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    ask(&lab, 1, 2);
    admission_committed(lab.admission, lab.ticket[1]);
    EXPECT(&lab, "0>3 1>3 ");
    see(&lab, INSTANCE_STOPPING, 3);
    EXPECT(&lab, "0 not ready 1 lost ");
    see(&lab, INSTANCE_READY, 4);
    ask(&lab, 0, 1);
    ask(&lab, 1, 2);
    EXPECT(&lab, "0>4 1>4 "); /* nobody is a suspect for it */
    lab_shut(&lab);
}

/* ---- what goes wrong ---- */

static void test_port_refused(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    EXPECT(&lab, "0>3 ");
    broken(&lab, 0, ADMISSION_PORT_REFUSED);
    ask(&lab, 1, 2);
    EXPECT(&lab, "0 waits 1 waits [refused 3] ");
    pass(&lab, ADMISSION_DOUBT_MS); /* the leader does not see it so */
    EXPECT(&lab, "0>3 1>3 ");
    broken(&lab, 1, ADMISSION_UNREACHED);
    broken(&lab, 0, ADMISSION_UNREACHED);
    EXPECT(&lab, "1 waits 0 waits ");
    see(&lab, INSTANCE_RECOVERING, 3);
    see(&lab, INSTANCE_READY, 4);
    EXPECT(&lab, "0>4 1>4 "); /* both at once, in their order: they have not been anywhere */
    broken(&lab, 1, ADMISSION_BROKEN);
    see(&lab, INSTANCE_RECOVERING, 4);
    EXPECT(&lab, "1 waits 0 waits "); /* this was the first time */
    lab_shut(&lab);
}

static void test_never_reached(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    for (int i = 0; i < WAIT_MS / ADMISSION_DOUBT_MS; i++) {
        EXPECT(&lab, "0>3 ");
        broken(&lab, 0, ADMISSION_UNREACHED);
        EXPECT(&lab, "0 waits ");
        pass(&lab, ADMISSION_DOUBT_MS);
    }
    lab.said[0] = '\0';
    broken(&lab, 0, ADMISSION_UNREACHED);
    EXPECT(&lab, "0 not ready ");
    lab_shut(&lab);
}

static void test_broken_answers(void **state)
{
    static const struct {
        int status;
        const char *said;
    } cases[] = {{200, ""}, {400, ""}, {500, "[broken 3] "}, {501, ""}, {502, "[broken 3] "}, {503, ""}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lab lab;

        lab_open_ready(&lab);
        for (int k = 0; k < 2; k++) { /* told once a second at most */
            ask(&lab, 0, 1);
            EXPECT(&lab, "0>3 ");
            done(&lab, 0, cases[i].status);
            EXPECT(&lab, k ? "" : cases[i].said);
        }
        lab_shut(&lab);
    }
}

/* The leader knows why a moment after the connection was cut. */
static void test_cut_waits_for_the_cause(void **state)
{
    struct lab lab;

    (void)state;
    for (int told = 0; told < 2; told++) {
        lab_open_ready(&lab);
        ask(&lab, 0, 1);
        progress(&lab, 0, 10);
        admission_committed(lab.admission, lab.ticket[0]);
        EXPECT(&lab, "0>3 ");
        broken(&lab, 0, ADMISSION_BROKEN);
        EXPECT(&lab, "0 waits ");
        if (told)
            see(&lab, INSTANCE_RECOVERING, 3);
        else
            pass(&lab, ADMISSION_CAUSE_MS);
        EXPECT(&lab, "0 lost ");
        lab_shut(&lab);
    }
}

/* ---- poison ---- */

static void abort_all(struct lab *lab, int first, int last, uint64_t epoch)
{
    for (int k = first; k <= last; k++)
        broken(lab, k, ADMISSION_BROKEN);
    see(lab, INSTANCE_RECOVERING, epoch);
    pull(lab);
    lab->said[0] = '\0';
    see(lab, INSTANCE_READY, epoch + 1);
}

static void test_one_at_a_time(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    for (int k = 0; k < 4; k++)
        ask(&lab, k, (uint8_t)k);
    EXPECT(&lab, "0>3 1>3 2>3 3>3 ");
    abort_all(&lab, 0, 3, 3);
    EXPECT(&lab, "0>4 ");
    ask(&lab, 4, 4); /* new: waits meanwhile */
    EXPECT(&lab, "4 waits ");
    progress(&lab, 0, 1); /* its first token: it was not this one */
    EXPECT(&lab, "");     /* but it is still there */
    done(&lab, 0, 200);
    EXPECT(&lab, "1>4 ");
    broken(&lab, 1, ADMISSION_BROKEN); /* it is */
    EXPECT(&lab, "1 poison [poison 4] ");
    see(&lab, INSTANCE_RECOVERING, 4);
    see(&lab, INSTANCE_READY, 5);
    EXPECT(&lab, "2>5 3>5 4>5 "); /* the others are cleared by that */
    for (int k = 0; k < 10; k++) {
        ask(&lab, 1, 1); /* its client tries for ever */
        EXPECT(&lab, "1 poison ");
    }
    pass(&lab, ADMISSION_POISON_MS);
    lab.said[0] = '\0';
    ask(&lab, 1, 1);
    EXPECT(&lab, "1>5 ");
    lab_shut(&lab);
}

static void test_client_of_a_poison_comes_again(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 7);
    ask(&lab, 1, 1);
    EXPECT(&lab, "0>3 1>3 ");
    broken(&lab, 0, ADMISSION_BROKEN);
    left(&lab, 0); /* it does not wait, but asks anew */
    broken(&lab, 1, ADMISSION_BROKEN);
    see(&lab, INSTANCE_RECOVERING, 3);
    ask(&lab, 2, 7);
    see(&lab, INSTANCE_READY, 4);
    EXPECT(&lab, "1>4 2 waits ");
    done(&lab, 1, 200);
    EXPECT(&lab, "2>4 ");
    broken(&lab, 2, ADMISSION_BROKEN);
    EXPECT(&lab, "2 poison [poison 4] ");
    lab_shut(&lab);
}

/* The one that aborts is found at its second time, and everybody else is served. */
static void test_hundred_and_one_poison(void **state)
{
    enum { POISON = 17, N = 100, GONE = ADMISSION_IN_FLIGHT_MAX };
    uint64_t epoch = 3;
    size_t aborts = 1, served = 0;
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    for (int k = 0; k < N; k++)
        ask(&lab, k, (uint8_t)k);
    pull(&lab);
    abort_all(&lab, 0, GONE - 1, epoch++);
    for (int k = 0; k < N; k++) { /* each as its turn comes */
        lab.said[0] = '\0';
        if (!lab.ticket[k])
            continue;
        pull(&lab);
        if (k != POISON) {
            done(&lab, k, 200);
            served++;
            continue;
        }
        broken(&lab, k, ADMISSION_BROKEN);
        aborts++;
        see(&lab, INSTANCE_RECOVERING, epoch++);
        see(&lab, INSTANCE_READY, epoch);
    }
    assert_int_equal(served, N - 1);
    assert_int_equal(aborts, 2);
    lab_shut(&lab);
}

static struct view_instance *try_it(struct lab *lab, uint64_t epoch, const char *code)
{
    struct view_instance *in = look(lab, INSTANCE_RECOVERING, epoch);

    in->n_tried = 1;
    in->tried[0].epoch = epoch;
    snprintf(in->tried[0].code, sizeof(in->tried[0].code), "%s", code);
    return in;
}

/* A worker that dies takes the coordinator with it: that is no request's doing, and nobody need wait for anybody. */
static void test_a_rank_was_to_blame(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    ask(&lab, 1, 2);
    EXPECT(&lab, "0>3 1>3 ");
    broken(&lab, 0, ADMISSION_BROKEN);
    broken(&lab, 1, ADMISSION_BROKEN);
    try_it(&lab, 3, "rank_lost");
    show(&lab);
    EXPECT(&lab, "0 waits 1 waits ");
    see(&lab, INSTANCE_READY, 4);
    EXPECT(&lab, "0>4 1>4 ");
    done(&lab, 1, 200);
    broken(&lab, 0, ADMISSION_BROKEN); /* again: once was promised */
    try_it(&lab, 4, "node_lost");
    show(&lab);
    EXPECT(&lab, "0 lost ");
    see(&lab, INSTANCE_READY, 5);
    ask(&lab, 0, 1);
    EXPECT(&lab, "0>5 ");
    lab_shut(&lab);
}

/* The same found out too late: the verdict is taken back. */
static void test_acquitted(void **state)
{
    static const char *const whose[] = {"rank_hung", "node_evicted", "carrier_exited"};

    (void)state;
    for (size_t i = 0; i < sizeof(whose) / sizeof(whose[0]); i++) {
        struct lab lab;

        lab_open_ready(&lab);
        ask(&lab, 0, 1);
        EXPECT(&lab, "0>3 ");
        abort_all(&lab, 0, 0, 3);
        EXPECT(&lab, "0>4 ");
        broken(&lab, 0, ADMISSION_BROKEN);
        EXPECT(&lab, "0 poison [poison 4] ");
        ask(&lab, 0, 1);
        EXPECT(&lab, "0 poison ");
        try_it(&lab, 4, whose[i]);
        show(&lab);
        see(&lab, INSTANCE_READY, 5);
        ask(&lab, 0, 1);
        EXPECT(&lab, "0>5 ");
        lab_shut(&lab);
    }
}

/* The leader was faster than the connection's end. */
static void test_told_by_the_leader(void **state)
{
    static const struct {
        const char *code, *said;
    } cases[] = {{"coordinator_lost", "0 poison [poison 4] "}, {"rank_lost", "0 lost "}, {"", "0 lost "}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lab lab;

        lab_open_ready(&lab);
        ask(&lab, 0, 1);
        abort_all(&lab, 0, 0, 3);
        EXPECT(&lab, "0>4 ");
        try_it(&lab, 4, cases[i].code);
        show(&lab);
        EXPECT(&lab, cases[i].said);
        lab_shut(&lab);
    }
}

/* Nothing of its answer had come yet when it was interrupted. Alone it gets on faster, which clears it only far beyond that. */
static void test_poison_gets_on_faster_alone(void **state)
{
    (void)state;
    for (int is_poison = 0; is_poison < 2; is_poison++) {
        struct lab lab;

        lab_open_ready(&lab);
        ask(&lab, 0, 0);
        EXPECT(&lab, "0>3 ");
        abort_all(&lab, 0, 0, 3);
        EXPECT(&lab, "0>4 ");
        ask(&lab, 1, 1);
        EXPECT(&lab, "1 waits ");
        progress(&lab, 0, ADMISSION_FURTHER_BYTES);
        EXPECT(&lab, "");
        if (is_poison) {
            broken(&lab, 0, ADMISSION_BROKEN);
            EXPECT(&lab, "0 poison [poison 4] ");
        } else {
            progress(&lab, 0, 1);
            EXPECT(&lab, "1>4 ");
        }
        lab_shut(&lab);
    }
}

/* It aborts late in its answer: the answer is cut, its client asks again, and gets no company until it is further. */
static void test_poison_in_mid_answer(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    progress(&lab, 0, 500);
    admission_committed(lab.admission, lab.ticket[0]);
    EXPECT(&lab, "0>3 ");
    broken(&lab, 0, ADMISSION_BROKEN);
    see(&lab, INSTANCE_RECOVERING, 3);
    EXPECT(&lab, "0 lost ");
    see(&lab, INSTANCE_READY, 4);
    ask(&lab, 0, 1);
    ask(&lab, 1, 2);
    EXPECT(&lab, "0>4 1 waits ");
    progress(&lab, 0, 1000);
    admission_committed(lab.admission, lab.ticket[0]);
    EXPECT(&lab, "");
    broken(&lab, 0, ADMISSION_BROKEN);
    EXPECT(&lab, "0 poison [poison 4] ");
    see(&lab, INSTANCE_READY, 5);
    EXPECT(&lab, "1>5 ");
    lab_shut(&lab);
}

/* A suspect that takes long is not waited for; one that aborts long after is left alone for longer the next time. */
static void test_turn_ends_by_time(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    ask(&lab, 1, 2);
    EXPECT(&lab, "0>3 1>3 ");
    abort_all(&lab, 0, 1, 3);
    EXPECT(&lab, "0>4 ");
    ask(&lab, 2, 3);
    pass(&lab, ADMISSION_TURN_MS - 1);
    EXPECT(&lab, "2 waits ");
    pass(&lab, 1);
    EXPECT(&lab, "1>4 "); /* the next suspect: alone but for the first */
    done(&lab, 1, 200);
    EXPECT(&lab, "2>4 ");
    broken(&lab, 0, ADMISSION_BROKEN);
    broken(&lab, 2, ADMISSION_BROKEN);
    see(&lab, INSTANCE_RECOVERING, 4);
    EXPECT(&lab, "0 lost 2 waits "); /* it was not alone */
    see(&lab, INSTANCE_READY, 5);
    EXPECT(&lab, "2>5 ");
    done(&lab, 2, 200);
    EXPECT(&lab, "");
    ask(&lab, 0, 1); /* its client asks again */
    ask(&lab, 1, 4);
    EXPECT(&lab, "0>5 1 waits ");
    pass(&lab, WAIT_MS); /* its first turn would have ended by now */
    EXPECT(&lab, "1 not ready ");
    broken(&lab, 0, ADMISSION_BROKEN);
    EXPECT(&lab, "0 poison [poison 5] ");
    lab_shut(&lab);
}

/* Two of the same body that were there at one abort make it one abort; and a long line is no reason to give up. */
static void test_long_line(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    for (int k = 0; k < 6; k++)
        ask(&lab, k, 7);
    EXPECT(&lab, "0>3 1>3 2>3 3>3 4>3 5>3 ");
    abort_all(&lab, 0, 5, 3);
    for (int k = 0; k < 6; k++) {
        char go[16];

        snprintf(go, sizeof(go), "%d>4 ", k);
        EXPECT(&lab, go);
        pass(&lab, ADMISSION_TURN_MS);
    }
    lab_shut(&lab);
}

/* A suspect that comes while others are being answered: new ones are held back for it, but not for ever. */
static void test_waits_for_quiet(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    EXPECT(&lab, "0>3 ");
    broken(&lab, 0, ADMISSION_BROKEN);
    left(&lab, 0);
    see(&lab, INSTANCE_RECOVERING, 3);
    see(&lab, INSTANCE_READY, 4);
    ask(&lab, 1, 2);
    ask(&lab, 0, 1);
    ask(&lab, 2, 3);
    EXPECT(&lab, "1>4 0 waits 2 waits ");
    pass(&lab, ADMISSION_QUIET_MS - 1);
    EXPECT(&lab, "");
    pass(&lab, 1);
    EXPECT(&lab, "2>4 ");
    ask(&lab, 3, 4);
    EXPECT(&lab, "3 waits ");
    done(&lab, 1, 200);
    EXPECT(&lab, "");
    done(&lab, 2, 200);
    EXPECT(&lab, "0>4 ");
    left(&lab, 0); /* its turn is over with it */
    EXPECT(&lab, "3>4 ");
    lab_shut(&lab);
}

/* ---- what the control loop is told ---- */

static void expect_traffic(struct lab *lab, uint64_t epoch, uint32_t in_flight, uint64_t progressed)
{
    struct admission_word w;

    assert_true(admission_next_word(lab->admission, lab->now_ms, &w));
    assert_int_equal(w.kind, ADMISSION_SAYS_TRAFFIC);
    assert_true(w.epoch == epoch && w.traffic.in_flight == in_flight && w.traffic.progress == progressed);
    assert_false(admission_next_word(lab->admission, lab->now_ms, &w));
}

static void expect_silence(struct lab *lab)
{
    struct admission_word w;

    assert_false(admission_next_word(lab->admission, lab->now_ms, &w));
}

static void test_traffic(void **state)
{
    struct lab lab;

    (void)state;
    lab_open_ready(&lab);
    ask(&lab, 0, 1);
    expect_traffic(&lab, 3, 1, 0); /* at once */
    ask(&lab, 1, 2);
    progress(&lab, 0, 10);
    expect_silence(&lab);
    assert_int_equal(admission_due_ms(lab.admission), lab.now_ms + ADMISSION_TRAFFIC_MS);
    lab.now_ms += ADMISSION_TRAFFIC_MS;
    expect_traffic(&lab, 3, 2, 10);
    lab.now_ms += ADMISSION_TRAFFIC_SOON_MS - 1;
    done(&lab, 0, 200);
    done(&lab, 1, 200);
    expect_silence(&lab); /* not for each of a thousand short ones */
    lab.now_ms++;
    expect_traffic(&lab, 3, 0, 10);
    assert_true(admission_due_ms(lab.admission) == UINT64_MAX);
    lab.now_ms += 5000;
    ask(&lab, 2, 3);
    expect_traffic(&lab, 3, 1, 10);
    see(&lab, INSTANCE_READY, 4);
    lab.now_ms += ADMISSION_TRAFFIC_SOON_MS;
    expect_traffic(&lab, 4, 1, 10);
    lab_shut(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whom_it_is_for),
        cmocka_unit_test(test_name_too_long),
        cmocka_unit_test(test_waits_until_ready),
        cmocka_unit_test(test_no_longer_worth_waiting),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_successor),
        cmocka_unit_test(test_epoch_ends),
        cmocka_unit_test(test_adopted),
        cmocka_unit_test(test_epoch_skipped),
        cmocka_unit_test(test_stopped_under_it),
        cmocka_unit_test(test_port_refused),
        cmocka_unit_test(test_never_reached),
        cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_cut_waits_for_the_cause),
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_client_of_a_poison_comes_again),
        cmocka_unit_test(test_hundred_and_one_poison),
        cmocka_unit_test(test_a_rank_was_to_blame),
        cmocka_unit_test(test_acquitted),
        cmocka_unit_test(test_told_by_the_leader),
        cmocka_unit_test(test_poison_gets_on_faster_alone),
        cmocka_unit_test(test_poison_in_mid_answer),
        cmocka_unit_test(test_turn_ends_by_time),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_waits_for_quiet),
        cmocka_unit_test(test_traffic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
