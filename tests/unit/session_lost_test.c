/* core/session_lost.c: the link is lost in every state; each put ends once, with the right word. */
#include "core/pool.h"
#include "tests/support/session_rig.h"
#include <check.h>
#include <string.h>

static struct nqtest_rig rig;

static void setup(void)
{
    nqtest_rig_init(&rig);
    rig.a.conf.record = 4096;
}

static void teardown(void)
{
    nqi_pool_fail_after(0);
    nqtest_rig_end(&rig);
}

static void pull_all(struct nqtest_side *side)
{
    while (nqtest_pull(side, true))
        continue;
}

/* `side` gives buffers out; the link takes the first `n`. */
static void pull_some(struct nqtest_side *side, uint32_t n)
{
    side->pull_cap = n;
    ck_assert_uint_eq(nqtest_pull(side, true), n);
    side->pull_cap = 64;
}

static void lose(void)
{
    nqtest_rig_lose(&rig, 0, 0);
}

/* What is left goes over a new link. */
static void go_on(void)
{
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
}

/* ---- states ---- */

START_TEST(before_the_first_link_nothing_is_lost)
{
    struct nqtest_rig_put *put = nqtest_rig_put(&rig.a, 10);

    nqi_session_down(&rig.a.session, NQ_REASON_LINK_LOST);
    nqi_session_down(&rig.a.session, NQ_REASON_LINK_LOST);
    ck_assert_uint_eq(put->settled, 0);
    go_on();
    ck_assert_int_eq(put->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(lost_while_greeting_everything_waits)
{
    struct nqtest_rig_put *small = nqtest_rig_put(&rig.a, 10),
                          *large = nqtest_rig_put(&rig.a, 50000);

    for (size_t i = 0; i < 3; i++) {
        nqtest_rig_connect(&rig);
        pull_all(&rig.a);
        nqtest_rig_lose(&rig, i * 100, 0);
    }
    ck_assert_uint_eq(small->begun + large->begun, 0);
    go_on();
    ck_assert_int_eq(small->outcome, NQ_DELIVERED);
    ck_assert_int_eq(large->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(what_was_sent_and_not_acknowledged_is_unknown)
{
    struct nqtest_rig_put *small, *large;

    rig.resume = _i & 2;
    nqtest_rig_attach(&rig);
    small = nqtest_rig_put(&rig.a, 10);
    large = nqtest_rig_put(&rig.a, 50000);
    pull_all(&rig.a);
    nqtest_rig_lose(&rig, _i & 1 ? SIZE_MAX : 0, 0);
    ck_assert_int_eq(small->outcome, NQ_UNKNOWN);
    ck_assert_int_eq(large->outcome, NQ_UNKNOWN);
    ck_assert_int_eq(large->reason, NQ_REASON_LINK_LOST);
    ck_assert_uint_eq(rig.a.session.in_flight, 0);
    go_on();
    ck_assert_uint_eq(rig.b.delivered, _i & 1 ? 2 : 0);
}
END_TEST

START_TEST(what_was_not_handed_over_goes_over_the_next_link)
{
    struct nqtest_rig_put *puts[6];

    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 6; i++)
        puts[i] = nqtest_rig_put(&rig.a, 3000);
    pull_some(&rig.a, 2);
    lose();
    for (unsigned i = 0; i < 6; i++)
        ck_assert_uint_eq(puts[i]->settled, i < 2);
    go_on();
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(puts[i]->outcome, i < 2 ? NQ_UNKNOWN : NQ_DELIVERED);
    ck_assert_uint_eq(rig.a.session.seq, 4);
}
END_TEST

START_TEST(a_sealed_stage_goes_over_the_next_link)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 5; i++)
        ck_assert(nqtest_put_now(&rig.a, nqtest_make(&rig.a, 20, 1), i % 2));
    lose();
    go_on();
    ck_assert_uint_eq(rig.b.delivered, 5);
    ck_assert_uint_eq(rig.a.untracked_outcomes[NQ_DELIVERED], 3);
}
END_TEST

START_TEST(counted_messages_are_unknown_too)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 5; i++)
        ck_assert(nqtest_put_now(&rig.a, nqtest_make(&rig.a, 20, 1), false));
    pull_all(&rig.a);
    lose();
    ck_assert_uint_eq(rig.a.untracked_outcomes[NQ_UNKNOWN], 5);
    ck_assert_uint_eq(rig.a.session.untracked, 0);
}
END_TEST

START_TEST(a_lost_link_while_closing)
{
    struct nqtest_rig_put *put;

    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.a, 10);
    nqi_session_close(&rig.a.session);
    pull_all(&rig.a);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_CLOSING);
    nqtest_rig_lose(&rig, SIZE_MAX, 0);
    ck_assert_int_eq(put->outcome, NQ_UNKNOWN);
    ck_assert(nqi_session_flushed(&rig.a.session));
}
END_TEST

START_TEST(a_lost_link_after_the_good_bye)
{
    nqtest_rig_attach(&rig);
    nqtest_rig_put(&rig.a, 10);
    nqi_session_close(&rig.a.session);
    nqtest_flow(&rig);
    lose();
    ck_assert_int_eq(rig.a.puts[0]->outcome, NQ_DELIVERED);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_DOWN);
}
END_TEST

/* ---- messages in several records ---- */

/* 10 records; the link takes `taken` of them, the peer has acknowledged `acked` of those. */
static struct nqtest_rig_put *send_part(uint32_t taken, uint32_t acked)
{
    struct nqtest_rig_put *put;

    rig.b.conf.window_bytes = 64 << 10;
    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.a, 40000);
    nqtest_rig_put(&rig.a, 3000);
    nqtest_rig_put(&rig.a, 10);
    if (acked) {
        pull_some(&rig.a, acked);
        ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
        nqtest_pass(&rig, 10 * NQI_NS_PER_MS);
        pull_all(&rig.b);
        ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
        ck_assert_uint_eq(rig.a.session.acked, acked);
    }
    if (taken > acked)
        pull_some(&rig.a, taken - acked);
    return put;
}

START_TEST(a_message_that_is_cut_in_two_did_not_arrive)
{
    uint32_t taken = (uint32_t)_i / 11 + 1, acked = (uint32_t)_i % 11;
    struct nqtest_rig_put *put;

    if (acked > taken)
        return;
    put = send_part(taken, acked);
    nqtest_rig_lose(&rig, SIZE_MAX, 0);
    ck_assert_uint_eq(put->settled, 1);
    if (acked == 10)
        ck_assert_int_eq(put->outcome, NQ_DELIVERED);
    else
        ck_assert_int_eq(put->outcome, taken == 10 ? NQ_UNKNOWN : NQ_NOT_DELIVERED);
    go_on();
    ck_assert_int_eq(rig.a.puts[1]->outcome, NQ_DELIVERED);
    ck_assert_int_eq(rig.a.puts[2]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(a_message_whose_end_has_no_record_yet_did_not_arrive)
{
    struct nqtest_rig_put *put;

    rig.b.conf.window_bytes = 10000;
    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.a, 40000);
    nqtest_rig_put(&rig.a, 3000);
    switch (_i) {
    case 0: /* all that there is credit for */
        pull_all(&rig.a);
        break;
    case 1: /* a part */
        pull_some(&rig.a, 1);
        break;
    case 2: /* all of it acknowledged */
        rig.b.refuse = true;
        nqtest_flow(&rig);
        nqtest_pass(&rig, 10 * NQI_NS_PER_MS);
        nqtest_flow(&rig);
        ck_assert_ptr_null(rig.a.session.unacked.head);
        break;
    default:
        break;
    }
    lose();
    rig.b.refuse = false;
    ck_assert_uint_eq(put->settled, _i < 3);
    go_on();
    ck_assert_int_eq(put->outcome, _i < 3 ? NQ_NOT_DELIVERED : NQ_DELIVERED);
    ck_assert_int_eq(rig.a.puts[1]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(a_begun_message_of_which_nothing_left_begins_again)
{
    struct nqtest_rig_put *put;

    rig.b.conf.window_bytes = 10000;
    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.a, 40000);
    ck_assert_uint_eq(nqtest_rig_put(&rig.b, 10)->settled, 0);
    rig.a.slow = true;
    while (!rig.a.session.ready.head)
        nqtest_pull(&rig.a, true);
    rig.a.slow = false;
    lose();
    go_on();
    ck_assert_uint_eq(put->settled, 1);
}
END_TEST

START_TEST(links_break_again_and_again)
{
    for (unsigned i = 0; i < 8; i++) {
        nqtest_rig_put(&rig.a, 3000);
        nqtest_rig_put(&rig.a, 10000);
        nqtest_rig_put(&rig.a, 10);
    }
    for (unsigned i = 0; i < 8; i++) {
        nqtest_rig_greet(&rig);
        if (i % 4 < 3)
            pull_some(&rig.a, 1 + i % 3);
        nqtest_rig_lose(&rig, i % 2 ? SIZE_MAX : 0, 0);
    }
    go_on();
}
END_TEST

START_TEST(less_credit_than_before_is_kept_to)
{
    nqtest_rig_greet(&rig);
    for (unsigned i = 0; i < 20; i++)
        nqtest_rig_put(&rig.a, i % 2 ? 6000 : 100);
    pull_some(&rig.a, 1); /* records are made of all that there is credit for */
    lose();
    rig.b.conf.window_bytes = _i ? 1 << 20 : 10000;
    rig.b.conf.window_messages = _i ? 3 : 100;
    nqtest_rig_put(&rig.a, 100);
    go_on();
    for (unsigned i = 1; i < 20; i++) {
        ck_assert_int_eq(rig.a.puts[i]->outcome, NQ_NOT_DELIVERED);
        ck_assert_int_eq(rig.a.puts[i]->reason, NQ_REASON_LIMIT);
    }
    ck_assert_int_eq(rig.a.puts[20]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(the_end_settles_everything)
{
    struct nqtest_rig_put *puts[5];

    rig.b.conf.window_bytes = 10000;
    nqtest_rig_attach(&rig);
    puts[0] = nqtest_rig_put(&rig.a, 3000);
    puts[1] = nqtest_rig_put(&rig.a, 3000);
    puts[2] = nqtest_rig_put(&rig.a, 50000);
    puts[3] = nqtest_rig_put(&rig.a, 10);
    puts[4] = nqtest_make(&rig.a, 10, 1);
    nq_msg_set_control(puts[4]->tx.msg, true);
    nqtest_queue(&rig.a, puts[4]);
    pull_some(&rig.a, 2);
    nqi_session_fini(&rig.a.session, NQ_REASON_LOCAL_CLOSE);
    ck_assert_int_eq(puts[4]->outcome, NQ_UNKNOWN); /* it overtook the others */
    ck_assert_int_eq(puts[0]->outcome, NQ_UNKNOWN);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_int_eq(puts[i]->outcome, NQ_NOT_DELIVERED);
        ck_assert_int_eq(puts[i]->reason, NQ_REASON_LOCAL_CLOSE);
    }
}
END_TEST

/* ---- memory ---- */

/* A whole conversation; what fails for want of memory is tried again over a new link. */
static void talk(void)
{
    unsigned links = 0;

    do {
        ck_assert_uint_lt(links++, 10);
        nqtest_rig_connect(&rig);
        for (unsigned i = 0; i < 6 && !rig.dead; i++) {
            nqtest_flow_any(&rig);
            nqtest_pass(&rig, 10 * NQI_NS_PER_MS);
        }
        if (rig.dead) {
            ck_assert_msg(rig.a.err == NQ_ERR_NOMEM || rig.b.err == NQ_ERR_NOMEM, "%d %d %s",
                          rig.a.err, rig.b.err, nq_error());
            lose();
        }
    } while (rig.dead);
}

/* nqi_pool_fail_after(n) has struck: no more of the next `n` blocks fails. */
static bool has_failed(unsigned n)
{
    bool failed = true;

    while (n--) {
        void *block = nqi_pool_alloc(1);

        failed &= block != NULL;
        nqi_pool_free(block, 1);
    }
    nqi_pool_fail_after(0);
    return failed;
}

START_TEST(every_allocation_may_fail)
{
    static const size_t sizes[] = {0, 10, 1024, 1025, 2048, 2049, 9000, 30000};

    for (unsigned n = 1;; n++) {
        bool failed;

        nqtest_rig_init(&rig);
        rig.split = NQTEST_SPACE;
        rig.a.conf.record = 4096;
        rig.b.conf.window_bytes = 20000;
        for (unsigned i = 0; i < 16; i++) {
            struct nqtest_rig_put *put = nqtest_make(&rig.a, sizes[i % 8], 1);

            if (i >= 8)
                ck_assert_int_eq(nq_msg_set_meta(put->tx.msg, "k", sizes, i), NQ_OK);
            nqtest_queue(&rig.a, put);
            nqtest_rig_put(&rig.b, sizes[i % 8]);
        }
        nqi_pool_fail_after(n);
        talk();
        failed = has_failed(n);
        nqtest_finish(&rig);
        for (unsigned i = 0; i < 16; i++) {
            ck_assert_uint_eq(rig.a.puts[i]->settled, 1);
            ck_assert_uint_eq(rig.b.puts[i]->settled, 1);
        }
        nqtest_rig_end(&rig);
        if (!failed)
            break;
    }
    nqtest_rig_init(&rig);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_lost");
    TCase *states = tcase_create("states"), *parts = tcase_create("parts");
    TCase *memory = tcase_create("memory");

    tcase_add_checked_fixture(states, setup, teardown);
    tcase_set_timeout(states, 30);
    tcase_add_test(states, before_the_first_link_nothing_is_lost);
    tcase_add_test(states, lost_while_greeting_everything_waits);
    tcase_add_loop_test(states, what_was_sent_and_not_acknowledged_is_unknown, 0, 4);
    tcase_add_test(states, what_was_not_handed_over_goes_over_the_next_link);
    tcase_add_test(states, a_sealed_stage_goes_over_the_next_link);
    tcase_add_test(states, counted_messages_are_unknown_too);
    tcase_add_test(states, a_lost_link_while_closing);
    tcase_add_test(states, a_lost_link_after_the_good_bye);
    suite_add_tcase(suite, states);
    tcase_add_checked_fixture(parts, setup, teardown);
    tcase_set_timeout(parts, 30);
    tcase_add_loop_test(parts, a_message_that_is_cut_in_two_did_not_arrive, 0, 110);
    tcase_add_loop_test(parts, a_message_whose_end_has_no_record_yet_did_not_arrive, 0, 4);
    tcase_add_test(parts, a_begun_message_of_which_nothing_left_begins_again);
    tcase_add_test(parts, links_break_again_and_again);
    tcase_add_loop_test(parts, less_credit_than_before_is_kept_to, 0, 2);
    tcase_add_test(parts, the_end_settles_everything);
    suite_add_tcase(suite, parts);
    tcase_add_checked_fixture(memory, setup, teardown);
    tcase_set_timeout(memory, 60);
    tcase_add_test(memory, every_allocation_may_fail);
    suite_add_tcase(suite, memory);
    return suite;
}
