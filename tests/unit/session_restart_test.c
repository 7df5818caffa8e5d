/* core/session_lost.c, core/session.c: the session is over; what the server kept of it, and what
 * goes on in the next one. */
#include "tests/support/session_rig.h"
#include "tests/support/suite.h"
#include <check.h>

static struct nqtest_rig rig;

static void setup(void)
{
    nqtest_rig_init(&rig);
    rig.a.conf.record = 4096;
    rig.a.conf.coalesce = 0; /* a record, a buffer */
}

static void setup_resend(void)
{
    setup();
    rig.a.conf.resend = rig.b.conf.resend = true;
}

static void teardown(void)
{
    nqtest_rig_end(&rig);
}

/* All that both sent is lost but `bytes` of a's, and b's session is over. */
static void end_session(size_t bytes)
{
    nqtest_pull_all(&rig.a);
    nqtest_rig_lose(&rig, bytes, 0);
}

/* ---- what the server kept of it ---- */

START_TEST(what_arrived_in_a_session_that_ended_is_delivered)
{
    size_t two;

    rig.remember = true;
    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 3000);
    nqtest_rig_put(&rig.a, 3000);
    nqtest_pull_all(&rig.a);
    two = rig.a.wire_len;
    nqtest_rig_put(&rig.a, 3000);
    end_session(two + (_i ? 0 : 1000));
    nqtest_rig_put(&rig.a, 3000); /* no link took it */
    nqtest_rig_attach(&rig);
    ck_assert_uint_eq(rig.a.sessions, 1);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(rig.a.puts[i]->outcome, i < 2 ? NQ_DELIVERED : NQ_UNKNOWN);
    nqtest_finish(&rig);
    ck_assert_int_eq(rig.a.puts[3]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(a_message_that_arrived_in_part_is_not_delivered)
{
    rig.remember = true;
    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 20000);
    end_session(10000);
    nqtest_rig_attach(&rig);
    ck_assert_uint_eq(rig.tomb_received, 2);
    ck_assert_int_eq(rig.a.puts[0]->outcome, NQ_UNKNOWN);
}
END_TEST

START_TEST(a_good_bye_whose_answer_was_lost_is_answered)
{
    rig.remember = true;
    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 3000);
    nqi_session_close(&rig.a.session, rig.now);
    end_session(SIZE_MAX);
    nqtest_rig_connect(&rig);
    nqtest_flow_any(&rig);
    ck_assert_int_eq(rig.a.puts[0]->outcome, NQ_DELIVERED);
    ck_assert(nqi_session_flushed(&rig.a.session));
}
END_TEST

/* More than was sent, or less than was acknowledged. */
START_TEST(a_server_that_remembers_wrongly_is_not_believed)
{
    rig.remember = true;
    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 3000);
    nqtest_finish(&rig);
    nqtest_rig_put(&rig.a, 3000);
    end_session(SIZE_MAX);
    rig.tomb_received = _i ? 0 : 3;
    nqtest_rig_connect(&rig);
    nqtest_flow_any(&rig);
    ck_assert_int_eq(rig.a.err, NQ_ERR_PROTO);
    ck_assert_uint_eq(rig.a.puts[1]->settled, 0);
}
END_TEST

START_TEST(whoever_opens_the_next_one_says_what_he_had_of_the_last)
{
    rig.a.conf.ack_consumed = _i;
    rig.a.take = !_i;
    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.b, 10);
    nqtest_rig_put(&rig.b, 10);
    nqtest_finish(&rig);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_rig_attach(&rig); /* b does not know the session any more */
    ck_assert_uint_eq(rig.a.sessions, 1);
    ck_assert_int_eq(rig.greeting.attach.auth.method, NQI_AUTH_OPEN);
    ck_assert_uint_eq(rig.greeting.attach.auth.received, 2);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_rig_attach(&rig);
    ck_assert_uint_eq(rig.greeting.attach.auth.received, 0);
}
END_TEST

START_TEST(what_the_client_says_it_had_is_delivered)
{
    nqtest_rig_greet(&rig);
    for (unsigned i = 0; i < 3; i++)
        nqtest_rig_put(&rig.b, 2500);
    nqtest_pull_all(&rig.b);
    nqi_session_know_received(&rig.b.session, 4); /* nonsense */
    ck_assert_uint_eq(rig.b.puts[0]->settled, 0);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
    nqi_session_know_received(&rig.b.session, 2);
    nqi_session_know_received(&rig.b.session, 1);
    nqtest_rig_lose(&rig, 0, 0);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(rig.b.puts[i]->outcome, i < 2 ? NQ_DELIVERED : NQ_UNKNOWN);
}
END_TEST

/* ---- sent again ---- */

START_TEST(what_may_have_arrived_is_sent_again_and_marked)
{
    static const size_t sizes[] = {10, 20000, 9, 100, 9000};

    nqtest_rig_greet(&rig);
    for (unsigned i = 0; i < 3; i++)
        nqtest_rig_put(&rig.a, sizes[i]);
    end_session(_i ? SIZE_MAX : 9000);
    for (unsigned i = 3; i < 5; i++)
        nqtest_rig_put(&rig.a, sizes[i]);
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.a.sessions, 1);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(rig.a.puts[i]->outcome, NQ_DELIVERED);
        ck_assert_uint_eq(rig.a.puts[i]->again, i < 3);
    }
}
END_TEST

START_TEST(what_no_link_took_is_not_marked)
{
    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 3000);
    nqtest_rig_put(&rig.a, 3000);
    rig.a.pull_cap = 1;
    ck_assert_uint_eq(nqtest_pull(&rig.a, true), 1);
    rig.a.pull_cap = 64;
    nqtest_rig_lose(&rig, SIZE_MAX, 0);
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.a.puts[0]->again, 1);
    ck_assert_uint_eq(rig.a.puts[1]->again, 0);
    ck_assert_uint_eq(rig.a.puts[1]->begun, 1); /* it is asked once whether it may */
}
END_TEST

START_TEST(control_messages_stay_before_the_others)
{
    struct nqtest_rig_put *put;

    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 30);
    put = nqtest_make(&rig.a, 30, 1);
    nq_msg_set_control(put->tx.msg, true);
    nqtest_queue(&rig.a, put);
    end_session(0);
    ck_assert_ptr_eq(rig.a.session.queue[0].head, NULL);
    nqtest_rig_connect(&rig);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_int_eq(put->outcome, NQ_DELIVERED);
    ck_assert_int_eq(rig.a.puts[0]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(what_is_never_sent_again_is_unknown)
{
    struct nqtest_rig_put *mortal;

    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 3000);
    mortal = nqtest_make(&rig.a, 50, 1);
    mortal->tx.msg->deadline_ns = rig.now + NQI_NS_PER_S;
    nqtest_queue(&rig.a, mortal);
    end_session(SIZE_MAX);
    nqtest_rig_put(&rig.a, 3000);
    nqtest_restart(&rig.a, NQ_REASON_NO_SESSION);
    ck_assert_uint_eq(rig.a.puts[0]->settled, 0);
    nqtest_pass(&rig, 2 * NQI_NS_PER_S); /* its time to live is over */
    ck_assert_int_eq(mortal->outcome, NQ_UNKNOWN);
    nqi_session_fini(&rig.a.session, NQ_REASON_LOCAL_CLOSE);
    ck_assert_int_eq(rig.a.puts[0]->outcome, NQ_UNKNOWN);
    ck_assert_int_eq(rig.a.puts[2]->outcome, NQ_NOT_DELIVERED);
}
END_TEST

/* _i: it was on the way when its time to live ended, or came back to the queue before. */
START_TEST(a_time_to_live_goes_on_in_the_queue)
{
    struct nqtest_rig_put *mortal = nqtest_make(&rig.a, 50, 1);

    nqtest_rig_greet(&rig);
    mortal->tx.msg->deadline_ns = rig.now + NQI_NS_PER_S;
    nqtest_queue(&rig.a, mortal);
    nqtest_pull_all(&rig.a);
    if (_i)
        nqtest_pass(&rig, 2 * NQI_NS_PER_S);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_restart(&rig.a, NQ_REASON_NO_SESSION);
    ck_assert_uint_eq(mortal->settled, 0);
    nqtest_pass(&rig, 2 * NQI_NS_PER_S);
    ck_assert_int_eq(mortal->outcome, NQ_UNKNOWN);
    ck_assert_int_eq(mortal->reason, NQ_REASON_NO_SESSION);
}
END_TEST

START_TEST(what_is_cut_cannot_have_arrived)
{
    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 9000);
    rig.a.pull_cap = 1;
    ck_assert_uint_eq(nqtest_pull(&rig.a, true), 1);
    rig.a.pull_cap = 64;
    nqtest_rig_lose(&rig, SIZE_MAX, 0);
    nqtest_restart(&rig.a, NQ_REASON_NO_SESSION);
    if (_i) {
        nqi_session_fini(&rig.a.session, NQ_REASON_LOCAL_CLOSE);
        ck_assert_int_eq(rig.a.puts[0]->outcome, NQ_NOT_DELIVERED);
        return;
    }
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_int_eq(rig.a.puts[0]->outcome, NQ_DELIVERED);
    ck_assert_uint_eq(rig.a.puts[0]->again, 0);
}
END_TEST

START_TEST(what_the_next_server_does_not_take_is_unknown)
{
    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 9000);
    nqtest_rig_put(&rig.a, 100);
    end_session(SIZE_MAX);
    rig.b.conf.max_message = 5000;
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_int_eq(rig.a.puts[0]->outcome, NQ_UNKNOWN);
    ck_assert_int_eq(rig.a.puts[0]->reason, NQ_REASON_LIMIT);
    ck_assert_int_eq(rig.a.puts[1]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(the_oldest_to_drop_was_never_sent)
{
    struct nqi_tx *oldest;

    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 100);
    end_session(0);
    nqtest_rig_put(&rig.a, 100);
    nqtest_restart(&rig.a, NQ_REASON_NO_SESSION);
    oldest = nqi_session_pop_oldest(&rig.a.session);
    ck_assert_ptr_eq(oldest, &rig.a.puts[1]->tx);
    ck_assert_ptr_null(nqi_session_pop_oldest(&rig.a.session));
    nqi_session_put(&rig.a.session, oldest);
}
END_TEST

START_TEST(links_and_sessions_end_again_and_again)
{
    for (unsigned round = 0; round < 300; round++) {
        rig.resume = nqtest_random(&rig, 2);
        nqtest_rig_greet(&rig);
        for (uint64_t n = nqtest_random(&rig, 4); n--;) {
            nqtest_rig_put(&rig.a, 9 + nqtest_random(&rig, 9000));
            nqtest_rig_put(&rig.b, 9 + nqtest_random(&rig, 9000));
        }
        nqtest_pull_all(&rig.a);
        nqtest_pull_all(&rig.b);
        nqtest_rig_lose(&rig, nqtest_random(&rig, rig.a.wire_len + 1),
                        nqtest_random(&rig, rig.b.wire_len + 1));
    }
    rig.resume = true;
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    for (size_t i = 0; i < rig.a.nputs; i++) /* b's session ends with its peer */
        ck_assert_int_eq(rig.a.puts[i]->outcome, NQ_DELIVERED);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_restart");
    TCase *kept = nqtest_case(suite, "kept", setup, teardown);
    TCase *again = nqtest_case(suite, "again", setup_resend, teardown);

    tcase_add_loop_test(kept, what_arrived_in_a_session_that_ended_is_delivered, 0, 2);
    tcase_add_test(kept, a_message_that_arrived_in_part_is_not_delivered);
    tcase_add_test(kept, a_good_bye_whose_answer_was_lost_is_answered);
    tcase_add_loop_test(kept, a_server_that_remembers_wrongly_is_not_believed, 0, 2);
    tcase_add_loop_test(kept, whoever_opens_the_next_one_says_what_he_had_of_the_last, 0, 2);
    tcase_add_test(kept, what_the_client_says_it_had_is_delivered);
    tcase_add_loop_test(again, what_may_have_arrived_is_sent_again_and_marked, 0, 2);
    tcase_add_test(again, what_no_link_took_is_not_marked);
    tcase_add_test(again, control_messages_stay_before_the_others);
    tcase_add_test(again, what_is_never_sent_again_is_unknown);
    tcase_add_loop_test(again, a_time_to_live_goes_on_in_the_queue, 0, 2);
    tcase_add_loop_test(again, what_is_cut_cannot_have_arrived, 0, 2);
    tcase_add_test(again, what_the_next_server_does_not_take_is_unknown);
    tcase_add_test(again, the_oldest_to_drop_was_never_sent);
    tcase_add_test(again, links_and_sessions_end_again_and_again);
    return suite;
}
