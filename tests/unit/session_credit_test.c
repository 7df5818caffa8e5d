/* core/session_credit.c: what the peer may send, and when it is told what came. */
#include "tests/support/session_rig.h"
#include "tests/support/suite.h"
#include <check.h>

#define MS NQI_NS_PER_MS

static struct nqtest_rig rig;

static void setup(void)
{
    nqtest_rig_init(&rig);
}

static void teardown(void)
{
    nqtest_rig_end(&rig);
}

START_TEST(an_acknowledgement_may_wait_a_little)
{
    struct nqtest_rig_put *put;

    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.a, 100);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.b.delivered, 1);
    ck_assert_uint_eq(put->settled, 0);
    ck_assert_uint_eq(rig.a.session.in_flight, 1);
    ck_assert_int_eq(nqi_session_deadline(&rig.b.session), rig.now + 10 * MS);
    nqtest_pass(&rig, 10 * MS - 1);
    nqtest_flow(&rig);
    ck_assert_uint_eq(put->settled, 0);
    nqtest_pass(&rig, 1);
    nqtest_flow(&rig);
    ck_assert_int_eq(put->outcome, NQ_DELIVERED);
    ck_assert_uint_eq(rig.a.session.in_flight, 0);
}
END_TEST

/* Something small comes, and the acknowledgement of it is so far away. */
static int64_t ack_of_another(size_t size)
{
    nqtest_rig_put(&rig.a, size);
    nqtest_flow(&rig);
    return nqi_session_deadline(&rig.b.session) - rig.now;
}

START_TEST(messages_that_come_one_by_one_share_an_acknowledgement)
{
    nqtest_rig_attach(&rig);
    ck_assert_int_eq(ack_of_another(100), 10 * MS);
    nqtest_pass(&rig, 100 * MS);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.a.session.in_flight, 0);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 1; i <= 4; i++) {
            ck_assert_int_eq(ack_of_another(100), (5 - i) * 100 * MS);
            ck_assert_uint_eq(rig.a.session.in_flight, i);
            nqtest_pass(&rig, 100 * MS);
        }
        nqtest_flow(&rig);
        ck_assert_uint_eq(rig.a.session.in_flight, 0);
    }
}
END_TEST

START_TEST(no_acknowledgement_waits_longer_than_a_second)
{
    nqtest_rig_attach(&rig);
    ck_assert_int_eq(ack_of_another(100), 10 * MS);
    nqtest_pass(&rig, 1000 * MS);
    nqtest_flow(&rig);
    ck_assert_int_eq(ack_of_another(100), 1000 * MS);
    nqtest_pass(&rig, 1000 * MS);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.a.session.in_flight, 0);
}
END_TEST

START_TEST(the_first_message_after_a_pause_is_acknowledged_early)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(ack_of_another(100), 10 * MS);
        nqtest_pass(&rig, 1001 * MS);
        nqtest_flow(&rig);
    }
}
END_TEST

START_TEST(much_that_comes_meanwhile_is_acknowledged_early)
{
    nqtest_rig_attach(&rig);
    ck_assert_int_eq(ack_of_another(100), 10 * MS);
    nqtest_pass(&rig, 200 * MS);
    nqtest_flow(&rig);
    ck_assert_int_eq(ack_of_another(100), 800 * MS);
    ck_assert_int_eq(ack_of_another((8 << 10) - 100), 800 * MS);
    ck_assert_int_eq(ack_of_another(1), 10 * MS);
    nqtest_pass(&rig, 9 * MS);
    ck_assert_int_eq(ack_of_another(1000), 1 * MS);
}
END_TEST

START_TEST(an_awaited_message_is_acknowledged_at_once)
{
    static const size_t sizes[] = {0, 10, 5000, 3 << 20};
    struct nqtest_rig_put *put = nqtest_make(&rig.a, sizes[_i], 1);

    nqtest_rig_attach(&rig);
    put->tx.awaited = true;
    nqtest_queue(&rig.a, put);
    nqtest_flow(&rig);
    ck_assert_int_eq(put->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(many_records_or_bytes_are_acknowledged_without_delay)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 4096; i++)
        nqtest_rig_put(&rig.a, 8);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.a.session.in_flight, 0);
    nqtest_rig_put(&rig.a, NQI_ACK_BYTES);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.a.session.in_flight, 1);
    nqtest_rig_put(&rig.a, 8);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.a.session.in_flight, 0);
}
END_TEST

START_TEST(a_stream_of_large_messages_has_two_at_most_without_acknowledgement)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 20; i++) {
        nqtest_rig_put(&rig.a, NQI_ACK_BYTES + i);
        nqtest_flow(&rig);
        ck_assert_uint_le(rig.a.session.in_flight, 1);
    }
}
END_TEST

START_TEST(an_acknowledgement_of_consumption_waits_for_the_user)
{
    struct nqtest_rig_put *puts[3];

    rig.b.conf.ack_consumed = true;
    rig.b.take = false;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 3; i++) {
        puts[i] = nqtest_make(&rig.a, i == 1 ? 3 << 20 : 100, 1);
        puts[i]->tx.awaited = true;
        nqtest_queue(&rig.a, puts[i]);
    }
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.b.delivered, 3);
    for (unsigned i = 0; i < 3; i++) {
        nqtest_pass(&rig, 100 * MS);
        nqtest_flow(&rig);
        ck_assert_uint_eq(puts[i]->settled, 0);
        nqtest_take(&rig.b, 1);
        nqtest_flow(&rig);
        ck_assert_uint_eq(puts[i]->settled, 1);
        ck_assert_int_eq(puts[i]->outcome, NQ_DELIVERED);
    }
}
END_TEST

START_TEST(a_message_larger_than_the_window_arrives)
{
    static const size_t sizes[] = {1001, 1500, 2000, 2048, 2049, 5000, 100000};
    static const bool takes[] = {true, false};

    rig.split = NQTEST_MIXED;
    rig.b.conf.window_bytes = 1000;
    rig.b.take = takes[_i];
    nqtest_rig_attach(&rig);
    for (size_t i = 0; i < NQI_LEN(sizes); i++) {
        nqtest_rig_put(&rig.a, 10);
        nqtest_rig_put(&rig.a, sizes[i]);
        nqtest_finish(&rig);
    }
    ck_assert_uint_eq(rig.b.delivered, 2 * NQI_LEN(sizes));
}
END_TEST

/* The user takes everything at once, and yet the sender never stands still. */
START_TEST(no_mix_of_sizes_stops_for_want_of_credit)
{
    for (unsigned window = 1; window < 70; window++) {
        nqtest_rig_end(&rig);
        nqtest_rig_init(&rig);
        rig.b.conf.window_bytes = window;
        rig.b.conf.window_messages = 1 + window % 5;
        nqtest_rig_attach(&rig);
        for (unsigned i = 0; i < 40; i++)
            nqtest_rig_put(&rig.a, 8 + nqtest_random(&rig, 100));
        nqtest_finish(&rig);
        ck_assert_uint_eq(rig.b.delivered, 40);
    }
}
END_TEST

START_TEST(what_the_user_takes_while_the_link_is_down_counts_on_the_next)
{
    rig.b.conf.window_bytes = 20000;
    rig.b.conf.window_messages = 3;
    rig.b.take = false;
    rig.resume = true;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 5; i++)
        nqtest_rig_put(&rig.a, 100);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.b.delivered, 3);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_take(&rig.b, 2);
    nqtest_rig_attach(&rig);
    ck_assert_uint_eq(rig.a.session.credit_messages, 5);
    ck_assert_uint_eq(rig.a.session.credit_bytes, 20200);
    ck_assert_uint_eq(rig.b.delivered, 5);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_credit");
    TCase *tc = nqtest_case(suite, "credit", setup, teardown);

    tcase_add_test(tc, an_acknowledgement_may_wait_a_little);
    tcase_add_test(tc, messages_that_come_one_by_one_share_an_acknowledgement);
    tcase_add_test(tc, no_acknowledgement_waits_longer_than_a_second);
    tcase_add_test(tc, the_first_message_after_a_pause_is_acknowledged_early);
    tcase_add_test(tc, much_that_comes_meanwhile_is_acknowledged_early);
    tcase_add_loop_test(tc, an_awaited_message_is_acknowledged_at_once, 0, 4);
    tcase_add_test(tc, many_records_or_bytes_are_acknowledged_without_delay);
    tcase_add_test(tc, a_stream_of_large_messages_has_two_at_most_without_acknowledgement);
    tcase_add_test(tc, an_acknowledgement_of_consumption_waits_for_the_user);
    tcase_add_loop_test(tc, a_message_larger_than_the_window_arrives, 0, 2);
    tcase_add_test(tc, no_mix_of_sizes_stops_for_want_of_credit);
    tcase_add_test(tc, what_the_user_takes_while_the_link_is_down_counts_on_the_next);
    return suite;
}
