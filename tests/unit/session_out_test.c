/* core/session_out.c: acknowledgements, credit, order. */
#include "tests/support/session_rig.h"
#include "tests/support/suite.h"
#include <check.h>
#include <string.h>

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

/* ---- acknowledgements ---- */

START_TEST(an_acknowledgement_rides_along_with_data)
{
    struct nqtest_rig_put *put;

    nqtest_rig_attach(&rig);
    nqtest_pass(&rig, 5 * MS);
    put = nqtest_rig_put(&rig.a, 100);
    nqtest_flow(&rig);
    nqtest_rig_put(&rig.b, 100);
    nqtest_pull_all(&rig.b);
    ck_assert_uint_eq(nqtest_on_wire(&rig.b, NQI_ACK), 1);
    nqtest_flow(&rig);
    ck_assert_int_eq(put->outcome, NQ_DELIVERED);
    nqtest_rig_put(&rig.b, 100); /* nothing new: no second one */
    nqtest_pull_all(&rig.b);
    ck_assert_uint_eq(nqtest_on_wire(&rig.b, NQI_ACK), 0);
}
END_TEST

START_TEST(of_quick_round_trips_sixteen_share_an_acknowledgement)
{
    unsigned acks = 0;

    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 32; i++) {
        nqtest_rig_put(&rig.a, 100);
        nqtest_flow(&rig);
        nqtest_rig_put(&rig.b, 100);
        nqtest_pull_all(&rig.b);
        acks += nqtest_on_wire(&rig.b, NQI_ACK);
        nqtest_flow(&rig);
    }
    ck_assert_uint_eq(acks, 2);
    ck_assert_uint_eq(rig.a.session.in_flight, 0);
    nqtest_rig_put(&rig.a, 100); /* the last one waits no longer than any */
    nqtest_flow(&rig);
    ck_assert_int_eq(nqi_session_deadline(&rig.b.session), rig.now + 10 * MS);
}
END_TEST

START_TEST(a_large_message_is_acknowledged_in_its_answer)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 20; i++) {
        nqtest_rig_put(&rig.a, NQI_ACK_BYTES);
        nqtest_flow(&rig);
        ck_assert_uint_eq(rig.a.session.in_flight, 1);
        nqtest_rig_put(&rig.b, 100);
        nqtest_pull_all(&rig.b);
        ck_assert_uint_eq(nqtest_on_wire(&rig.b, NQI_ACK), 1);
        nqtest_flow(&rig);
        ck_assert_uint_eq(rig.a.session.in_flight, 0);
    }
}
END_TEST

START_TEST(what_is_acknowledged_is_let_go)
{
    struct nqtest_rig_put *put = nqtest_make(&rig.a, 2500000, 1);

    nqtest_rig_attach(&rig);
    nqtest_queue(&rig.a, put);
    nqtest_flow(&rig);
    ck_assert_uint_gt(put->tx.msg->refs, 1);
    nqtest_finish(&rig);
    ck_assert_uint_le(put->tx.msg->refs, 2); /* the link's, that keeps one buffer */
    ck_assert_ptr_null(rig.a.session.block);
    ck_assert(nqi_session_flushed(&rig.a.session));
}
END_TEST

/* ---- credit ---- */

START_TEST(no_more_messages_are_sent_than_there_is_credit_for)
{
    rig.b.conf.window_messages = 4;
    rig.b.take = false;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 20; i++)
        nqtest_rig_put(&rig.a, _i ? 3000 : 10);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.b.delivered, 4);
    for (unsigned taken = 0; taken < 20; taken += 2) {
        nqtest_take(&rig.b, 2);
        nqtest_flow(&rig);
        ck_assert_uint_le(rig.b.inbox_count, 4);
        ck_assert_uint_ge(rig.b.delivered, NQI_MIN(20, taken + 4));
    }
    ck_assert_uint_eq(rig.b.delivered, 20);
}
END_TEST

START_TEST(no_more_bytes_are_sent_than_there_is_credit_for)
{
    rig.b.conf.window_bytes = 1000;
    rig.b.take = false;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 20; i++)
        nqtest_rig_put(&rig.a, 300);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.b.delivered, 3);
    for (unsigned i = 0; i < 20; i++) {
        nqtest_take(&rig.b, 1);
        nqtest_flow(&rig);
        ck_assert_uint_le(rig.b.inbox_count, 4);
    }
    ck_assert_uint_eq(rig.b.delivered, 20);
}
END_TEST

START_TEST(a_message_waits_until_memory_is_set_aside_for_it)
{
    struct nqtest_rig_put *put;

    rig.b.conf.window_bytes = 10000;
    rig.b.refuse = true;
    rig.a.conf.record = 4096;
    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.a, 100000);
    nqtest_flow(&rig);
    for (unsigned i = 0; i < 5; i++) {
        nqtest_pass(&rig, 10 * MS);
        nqtest_flow(&rig);
    }
    ck_assert_uint_eq(rig.b.delivered, 0);
    ck_assert_uint_eq(put->tx.sent, 10000); /* the window, and nothing beyond */
    ck_assert_uint_eq(rig.b.reservations, 6);
    rig.b.refuse = false;
    nqtest_pass(&rig, 10 * MS);
    ck_assert_uint_eq(rig.b.reserved, 100000);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.b.delivered, 1);
}
END_TEST

START_TEST(what_was_set_aside_is_given_back_when_the_link_is_lost)
{
    rig.b.conf.window_bytes = 10000;
    nqtest_rig_attach(&rig);
    nqtest_rig_put(&rig.a, 100000);
    nqtest_pull_all(&rig.a);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    ck_assert_uint_eq(rig.b.reserved, 100000);
    nqtest_rig_lose(&rig, 0, 0);
    ck_assert_uint_eq(rig.b.reserved, 0);
}
END_TEST

/* ---- control records that the link does not take ---- */

START_TEST(nothing_overtakes_the_hello)
{
    nqtest_rig_connect(&rig);
    nqtest_pull_nothing(&rig.a);
    nqtest_pass(&rig, 15 * NQI_NS_PER_S); /* a PING is due, too */
    nqtest_flow(&rig);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_UP);
}
END_TEST

START_TEST(nothing_overtakes_the_welcome)
{
    nqtest_rig_connect(&rig);
    nqtest_pull_all(&rig.a);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
    nqtest_pull_nothing(&rig.a);
    nqtest_pass(&rig, 1);
    nqtest_pull_all(&rig.a);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    nqtest_pull_nothing(&rig.b);
    nqtest_pass(&rig, 15 * NQI_NS_PER_S);
    nqtest_flow(&rig);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_UP);
}
END_TEST

START_TEST(control_records_that_wait_are_not_repeated)
{
    nqtest_rig_attach(&rig);
    nqtest_rig_put(&rig.a, 2 << 20);
    nqtest_flow(&rig);
    for (unsigned i = 0; i < 5; i++) {
        nqtest_rig_put(&rig.a, 2 << 20);
        nqtest_pull_all(&rig.a);
        ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
        nqtest_pull_nothing(&rig.b);
    }
    nqtest_finish(&rig);
}
END_TEST

static const struct {
    uint8_t type;
    uint32_t length;
    uint64_t answer; /* bytes for any number of them */
} floods[] = {
    {NQI_PING, 8, NQI_HEAD + 8}, /* one PONG */
    {NQI_PONG, 8, 0},
    {NQI_ACK, 24, 0},
};

/* What a peer can send without credit makes no work but its own: what came in one read has one
 * answer, which is no longer than one of them, and nothing is kept. */
START_TEST(control_records_without_end_have_one_answer)
{
    static const uint8_t body[24];
    const struct nqi_session *session = &rig.b.session;
    uint64_t before;

    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    before = rig.b.wire_total;
    for (unsigned i = 0; i < 10000; i++)
        nqtest_inject_record(&rig.a, floods[_i].type, 0, 0, floods[_i].length, 0, body,
                             floods[_i].length);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    ck_assert_ptr_null(session->control.head);
    nqtest_pull_all(&rig.b);
    ck_assert_uint_eq(rig.b.wire_total - before, floods[_i].answer);
    ck_assert_ptr_null(session->control.head);
    nqtest_finish(&rig);
}
END_TEST

/* ---- one by one ---- */

static unsigned unacked_buffers(const struct nqtest_side *side)
{
    unsigned n = 0;

    for (const struct nqi_node *node = side->session.unacked.head; node; node = node->next)
        n++;
    return n;
}

static void put_alone(unsigned i)
{
    ck_assert(nqtest_put_now(&rig.a, nqtest_make(&rig.a, 40, 1), i % 2));
    ck_assert(nqtest_send_stage(&rig.a));
}

START_TEST(messages_that_leave_one_by_one_wait_in_few_buffers)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 100; i++)
        put_alone(i);
    ck_assert_uint_ge(unacked_buffers(&rig.a), 2); /* none grows for ever */
    ck_assert_uint_le(unacked_buffers(&rig.a), 8);
    ck_assert_uint_eq(rig.a.session.handed, 100);
    ck_assert_uint_eq(rig.a.session.in_flight, 100);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 100);
    ck_assert_uint_eq(rig.a.session.in_flight, 0);
}
END_TEST

/* Each way a number of records that arrived, so that the link is lost in the midst of a buffer. */
START_TEST(messages_that_left_one_by_one_go_on_over_the_next_link)
{
    rig.resume = true;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 100; i++)
        put_alone(i);
    nqtest_rig_lose(&rig, (size_t)_i * 48 + 20, 0);
    nqtest_rig_attach(&rig);
    put_alone(100);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 101);
}
END_TEST

START_TEST(an_acknowledgement_goes_before_the_stage_or_keeps_it_back)
{
    const struct nqi_session *session = &rig.a.session;

    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 16; i++)
        nqtest_rig_put(&rig.b, 8);
    nqtest_pull_all(&rig.b);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
    ck_assert(nqi_session_ack_rides(session));
    ck_assert(nqtest_put_now(&rig.a, nqtest_make(&rig.a, 40, 1), true));
    rig.a.refuses = true;
    ck_assert(!nqtest_send_stage(&rig.a));
    ck_assert(session->ack_due && session->stage); /* it is not lost */
    rig.a.refuses = false;
    ck_assert(nqtest_send_stage(&rig.a));
    ck_assert(!session->ack_due && !session->stage);
    ck_assert_uint_eq(rig.b.session.in_flight, 16);
    ck_assert_int_eq(nqtest_feed(&rig.a, NQI_ACK_RECORD), NQ_OK);
    ck_assert_uint_eq(rig.b.session.in_flight, 0);
    ck_assert_uint_eq(rig.b.delivered, 0);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 1);
}
END_TEST

START_TEST(the_stage_goes_alone_only_when_nothing_else_is_due)
{
    struct nqtest_rig_put *put;

    nqtest_rig_attach(&rig);
    ck_assert(!nqtest_send_stage(&rig.a)); /* there is none */
    put_alone(0);
    ck_assert(nqtest_put_now(&rig.a, nqtest_make(&rig.a, 40, 1), true));
    put = nqtest_rig_put(&rig.a, 100000);
    ck_assert(!nqtest_send_stage(&rig.a)); /* a message waits */
    nqtest_flow(&rig);
    ck_assert_uint_eq(put->arrived, 1);
    ck_assert(nqtest_put_now(&rig.a, nqtest_make(&rig.a, 40, 1), true));
    nqtest_rig_lose(&rig, 0, 0);
    ck_assert(!nqtest_send_stage(&rig.a));
}
END_TEST

/* ---- straight ---- */

static bool put_straight(size_t size)
{
    return nqtest_put_straight(&rig.a, nqtest_make(&rig.a, size, 1));
}

START_TEST(straight_messages_become_part_of_the_last_buffer)
{
    nqtest_rig_attach(&rig);
    put_alone(0);
    for (unsigned i = 1; i < 40; i++)
        ck_assert(put_straight(40));
    ck_assert_uint_eq(unacked_buffers(&rig.a), 1);
    ck_assert_uint_eq(rig.a.session.handed, 40);
    ck_assert_uint_eq(rig.a.session.untracked, 40);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 40);
    ck_assert_uint_eq(rig.a.session.untracked, 0);
}
END_TEST

START_TEST(what_the_link_refuses_straight_changes_nothing)
{
    struct nqi_session before;
    struct nqtest_rig_put *put;

    nqtest_rig_attach(&rig);
    put_alone(0);
    before = rig.a.session;
    put = nqtest_make(&rig.a, 40, 1);
    rig.a.refuses = true;
    ck_assert(!nqtest_put_straight(&rig.a, put));
    rig.a.refuses = false;
    ck_assert_mem_eq(&before, &rig.a.session, sizeof(before));
    ck_assert(nqtest_put_now(&rig.a, put, true)); /* its bytes go where those were written */
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 2);
}
END_TEST

/* Each way a number of records that arrived, so that the link is lost in the midst of a buffer. */
START_TEST(straight_messages_go_on_over_the_next_link)
{
    rig.resume = true;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 100; i++)
        if (!put_straight(40))
            put_alone(i);
    nqtest_rig_lose(&rig, (size_t)_i * 48 + 20, 0);
    nqtest_rig_attach(&rig);
    put_alone(100);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 101);
}
END_TEST

START_TEST(nothing_goes_straight_past_what_is_before_it)
{
    struct nqtest_rig_put *put;

    nqtest_rig_attach(&rig);
    ck_assert(!put_straight(40)); /* there is no buffer to become part of */
    put_alone(0);
    ck_assert(!put_straight(3000)); /* it is not small */
    ck_assert(nqtest_put_now(&rig.a, nqtest_make(&rig.a, 40, 1), true));
    ck_assert(!put_straight(40)); /* the stage is before it */
    ck_assert(nqtest_send_stage(&rig.a));
    put = nqtest_make(&rig.a, 40, 1);
    nq_msg_set_ttl(put->tx.msg, NQI_NS_PER_S);
    ck_assert(!nqtest_put_straight(&rig.a, put));
    ck_assert(put_straight(40));
    nqtest_rig_put(&rig.a, 100000);
    ck_assert(!put_straight(40)); /* a message waits */
    nqtest_flow(&rig);
    nqtest_rig_lose(&rig, 0, 0);
    ck_assert(!put_straight(40));
}
END_TEST

START_TEST(straight_messages_end_with_the_credit)
{
    unsigned n = 0;

    rig.b.conf.window_messages = 8;
    nqtest_rig_attach(&rig);
    put_alone(0);
    while (put_straight(40))
        n++;
    ck_assert_uint_eq(n, 7);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 8);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_out");
    TCase *acks = nqtest_case(suite, "acknowledgements", setup, teardown);
    TCase *credit = nqtest_case(suite, "credit", setup, teardown);
    TCase *order = nqtest_case(suite, "order", setup, teardown);
    TCase *alone = nqtest_case(suite, "one by one", setup, teardown);
    TCase *straight = nqtest_case(suite, "straight", setup, teardown);

    tcase_add_test(acks, an_acknowledgement_rides_along_with_data);
    tcase_add_test(acks, of_quick_round_trips_sixteen_share_an_acknowledgement);
    tcase_add_test(acks, a_large_message_is_acknowledged_in_its_answer);
    tcase_add_test(acks, what_is_acknowledged_is_let_go);
    tcase_add_loop_test(credit, no_more_messages_are_sent_than_there_is_credit_for, 0, 2);
    tcase_add_test(credit, no_more_bytes_are_sent_than_there_is_credit_for);
    tcase_add_test(credit, a_message_waits_until_memory_is_set_aside_for_it);
    tcase_add_test(credit, what_was_set_aside_is_given_back_when_the_link_is_lost);
    tcase_add_test(order, nothing_overtakes_the_hello);
    tcase_add_test(order, nothing_overtakes_the_welcome);
    tcase_add_test(order, control_records_that_wait_are_not_repeated);
    tcase_add_loop_test(order, control_records_without_end_have_one_answer, 0,
                        (int)NQI_LEN(floods));
    tcase_add_test(alone, messages_that_leave_one_by_one_wait_in_few_buffers);
    tcase_add_loop_test(alone, messages_that_left_one_by_one_go_on_over_the_next_link, 0, 101);
    tcase_add_test(alone, an_acknowledgement_goes_before_the_stage_or_keeps_it_back);
    tcase_add_test(alone, the_stage_goes_alone_only_when_nothing_else_is_due);
    tcase_add_test(straight, straight_messages_become_part_of_the_last_buffer);
    tcase_add_test(straight, what_the_link_refuses_straight_changes_nothing);
    tcase_add_loop_test(straight, straight_messages_go_on_over_the_next_link, 0, 100);
    tcase_add_test(straight, nothing_goes_straight_past_what_is_before_it);
    tcase_add_test(straight, straight_messages_end_with_the_credit);
    return suite;
}
