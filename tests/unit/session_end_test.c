/* core/session_end.c: good-bye, and being asked to go away before it. */
#include "tests/support/session_rig.h"
#include "tests/support/suite.h"
#include <check.h>

static struct nqtest_rig rig;

static void setup(void)
{
    nqtest_rig_init(&rig);
}

static void teardown(void)
{
    nqtest_rig_end(&rig);
}

/* ---- good-bye ---- */

static void check_closed(void)
{
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_CLOSED);
    ck_assert_int_eq(rig.b.session.state, NQI_SESSION_CLOSED);
}

START_TEST(good_bye_comes_after_everything_queued)
{
    struct nqtest_side *from = _i ? &rig.b : &rig.a, *to = from->other;

    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 30; i++)
        nqtest_rig_put(from, i * 1000);
    nqi_session_close(&from->session, rig.now);
    nqtest_flow(&rig);
    check_closed();
    ck_assert_uint_eq(to->delivered, 30);
    ck_assert_int_eq(from->session.bye_reason, NQ_REASON_LOCAL_CLOSE);
    ck_assert_int_eq(to->session.bye_reason, NQ_REASON_PEER_CLOSED);
    for (size_t i = 0; i < from->nputs; i++)
        ck_assert_int_eq(from->puts[i]->outcome, NQ_DELIVERED);
    ck_assert(nqi_session_flushed(&from->session));
}
END_TEST

START_TEST(good_bye_waits_for_credit)
{
    rig.b.conf.window_messages = 4;
    rig.b.take = false;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 10; i++)
        nqtest_rig_put(&rig.a, 10);
    nqi_session_close(&rig.a.session, rig.now);
    nqtest_flow(&rig);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_UP);
    while (rig.b.inbox_count) {
        nqtest_take(&rig.b, 4);
        nqtest_flow(&rig);
    }
    check_closed();
}
END_TEST

START_TEST(both_say_good_bye_at_once)
{
    nqtest_rig_attach(&rig);
    nqtest_rig_put(&rig.a, 100);
    nqtest_rig_put(&rig.b, 100);
    nqi_session_close(&rig.b.session, rig.now);
    nqtest_pass(&rig, NQI_NS_PER_S); /* it has waited for the other one */
    nqi_session_close(&rig.a.session, rig.now);
    nqtest_pull_all(&rig.a);
    nqtest_pull_all(&rig.b);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_CLOSING);
    ck_assert_int_eq(rig.b.session.state, NQI_SESSION_CLOSING);
    nqtest_flow(&rig);
    check_closed();
    ck_assert_int_eq(rig.a.puts[0]->outcome, NQ_DELIVERED);
    ck_assert_int_eq(rig.b.puts[0]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(a_good_bye_may_be_cut_short)
{
    nqtest_rig_attach(&rig);
    nqi_session_close(&rig.b.session, rig.now);
    nqtest_pass(&rig, NQI_NS_PER_S);
    nqi_session_close(&rig.a.session, rig.now);
    nqtest_pull_all(&rig.a);
    nqtest_pull_all(&rig.b);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_CLOSED);
    /* b's time to close is over before a's answer is there. */
    nqtest_inject_record(&rig.b, NQI_REJECT, 0, NQ_REASON_PEER_CLOSED, 0, 0, "", 0);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_ERR_CLOSED);
}
END_TEST

START_TEST(good_bye_acknowledges_what_came_before)
{
    struct nqtest_rig_put *put;

    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.b, 100);
    nqtest_flow(&rig);
    ck_assert_uint_eq(put->settled, 0);
    nqi_session_close(&rig.a.session, rig.now);
    nqtest_flow(&rig);
    check_closed();
    ck_assert_int_eq(put->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(after_the_peers_good_bye_no_data_leaves)
{
    struct nqtest_rig_put *put;

    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.b, 5000);
    nqtest_pull_nothing(&rig.b); /* its record is made */
    nqi_session_close(&rig.a.session, rig.now);
    nqtest_flow(&rig);
    check_closed();
    nqtest_rig_lose(&rig, 0, 0);
    ck_assert_int_eq(put->outcome, NQ_NOT_DELIVERED);
}
END_TEST

START_TEST(a_good_bye_that_got_lost_is_said_again)
{
    nqtest_rig_attach(&rig);
    nqtest_rig_put(&rig.a, 5000);
    nqi_session_close(&rig.a.session, rig.now);
    if (_i)
        nqtest_pull_all(&rig.a);
    else
        nqtest_pull_nothing(&rig.a);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_CLOSING);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_rig_connect(&rig);
    nqtest_flow(&rig);
    check_closed();
    ck_assert_int_eq(rig.a.puts[0]->outcome, _i ? NQ_UNKNOWN : NQ_DELIVERED);
}
END_TEST

/* ---- asked to go away ---- */

START_TEST(a_server_that_closes_hears_what_its_client_has_begun)
{
    struct nqtest_rig_put *begun, *later;

    rig.a.conf.record = 1000;
    rig.a.pull_cap = 1;
    nqtest_rig_attach(&rig);
    begun = nqtest_rig_put(&rig.a, 100000);
    ck_assert_uint_eq(nqtest_pull(&rig.a, true), 1);
    nqi_session_close(&rig.b.session, rig.now);
    nqtest_pull_all(&rig.b);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
    later = nqtest_rig_put(&rig.a, 10);
    rig.a.pull_cap = 64;
    nqtest_flow(&rig);
    check_closed();
    ck_assert_int_eq(begun->outcome, NQ_DELIVERED);
    ck_assert_uint_eq(later->begun, 0);
    ck_assert_int_eq(rig.a.session.bye_reason, NQ_REASON_PEER_CLOSED);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_restart(&rig.a, NQ_REASON_PEER_CLOSED);
    ck_assert_uint_eq(later->settled, 0); /* it goes on with the next server */
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_int_eq(later->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(what_is_put_while_going_away_waits)
{
    struct nqtest_rig_put *put;

    nqtest_rig_attach(&rig);
    nqi_session_close(&rig.b.session, rig.now);
    nqtest_pull_all(&rig.b);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
    put = nqtest_make(&rig.a, 10, 1);
    ck_assert(!nqtest_put_now(&rig.a, put, true));
    nqtest_queue(&rig.a, put);
    nqtest_flow(&rig);
    check_closed();
    ck_assert_uint_eq(put->begun, 0);
}
END_TEST

/* The client's user has no room for it to end, or the client is an old one. */
START_TEST(a_server_waits_a_second_for_its_client)
{
    rig.b.conf.window_bytes = 1000;
    rig.b.refuse = true;
    rig.a.conf.record = 500;
    nqtest_rig_attach(&rig);
    nqtest_rig_put(&rig.a, 5000);
    nqtest_flow(&rig);
    nqi_session_close(&rig.b.session, rig.now);
    nqtest_flow(&rig);
    nqtest_pass(&rig, NQI_NS_PER_S - 1);
    nqtest_flow(&rig);
    ck_assert_int_eq(rig.b.session.state, NQI_SESSION_UP);
    nqtest_pass(&rig, 1);
    nqtest_flow(&rig);
    check_closed();
}
END_TEST

START_TEST(a_client_is_asked_again_over_the_next_link)
{
    rig.resume = true;
    nqtest_rig_attach(&rig);
    nqi_session_close(&rig.b.session, rig.now);
    nqtest_pull_all(&rig.b);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_rig_connect(&rig);
    nqtest_flow(&rig);
    check_closed();
    ck_assert(rig.a.session.going);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_end");
    TCase *bye = nqtest_case(suite, "good-bye", setup, teardown);

    tcase_add_loop_test(bye, good_bye_comes_after_everything_queued, 0, 2);
    tcase_add_test(bye, good_bye_waits_for_credit);
    tcase_add_test(bye, both_say_good_bye_at_once);
    tcase_add_test(bye, a_good_bye_may_be_cut_short);
    tcase_add_test(bye, good_bye_acknowledges_what_came_before);
    tcase_add_test(bye, after_the_peers_good_bye_no_data_leaves);
    tcase_add_loop_test(bye, a_good_bye_that_got_lost_is_said_again, 0, 2);
    tcase_add_test(bye, a_server_that_closes_hears_what_its_client_has_begun);
    tcase_add_test(bye, what_is_put_while_going_away_waits);
    tcase_add_test(bye, a_server_waits_a_second_for_its_client);
    tcase_add_test(bye, a_client_is_asked_again_over_the_next_link);
    return suite;
}
