/* core/session*.c: two sessions that talk through memory; greeting, data, credit, time, good-bye.
 */
#include "core/pool.h"
#include "tests/support/session_rig.h"
#include "tests/support/suite.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct nqtest_rig rig;

static void setup(void)
{
    nqtest_rig_init(&rig);
}

static void teardown(void)
{
    nqi_pool_fail_after(0);
    nqtest_rig_end(&rig);
}

/* ---- greeting ---- */

START_TEST(four_records_bring_both_up)
{
    rig.a.conf.max_message = 12345;
    nqtest_rig_connect(&rig);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_HELLO);
    ck_assert(nqi_session_has_output(&rig.a.session));
    ck_assert(!nqi_session_has_output(&rig.b.session));
    nqtest_flow(&rig);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_UP);
    ck_assert_int_eq(rig.b.session.state, NQI_SESSION_UP);
    ck_assert(nq_uuid_equal(&rig.a.session.peer, &rig.b.conf.id));
    ck_assert(nq_uuid_equal(&rig.b.session.peer, &rig.a.conf.id));
    ck_assert_uint_eq(rig.b.session.peer_max_message, 12345);
    ck_assert_uint_eq(rig.a.session.credit_bytes, rig.b.conf.window_bytes);
    ck_assert_uint_eq(rig.b.session.credit_messages, rig.a.conf.window_messages);
    ck_assert(!nqi_session_has_output(&rig.a.session));
    ck_assert(!nqi_session_has_output(&rig.b.session));
}
END_TEST

START_TEST(nothing_but_the_hello_is_sent_before_the_welcome)
{
    struct nqtest_rig_put *put = nqtest_rig_put(&rig.a, 100);

    nqtest_rig_connect(&rig);
    while (nqtest_pull(&rig.a, true))
        continue;
    ck_assert_uint_eq(rig.a.wire_len, NQI_HEAD + NQI_HELLO_SIZE);
    ck_assert_uint_eq(put->begun, 0);
    nqtest_finish(&rig);
    ck_assert_int_eq(put->outcome, NQ_DELIVERED);
}
END_TEST

/* A client whose HELLO is out, and what the server then says. */
static nq_err answer(enum nqi_record_type type, const struct nqi_hello *hello)
{
    uint8_t raw[NQI_HEAD + NQI_HELLO_SIZE];

    nqtest_rig_connect(&rig);
    while (nqtest_pull(&rig.a, true))
        continue;
    nqi_hello_write(raw, type, hello);
    nqtest_inject(&rig.b, raw, sizeof(raw));
    return nqtest_feed(&rig.b, SIZE_MAX);
}

START_TEST(what_is_no_netqueue_is_called_so)
{
    static const char http[] = "HTTP/1.0 400 Bad request";

    nqtest_rig_connect(&rig);
    while (nqtest_pull(&rig.a, true))
        continue;
    nqtest_inject(&rig.b, http, strlen(http));
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_ERR_PROTO);
    ck_assert_ptr_nonnull(strstr(nq_error(), "does not speak netqueue: record of unknown type"));
}
END_TEST

START_TEST(a_server_of_other_versions_is_left_alone)
{
    struct nqi_hello hello = {.version_min = NQI_VERSION_MAX + 1,
                              .version_max = NQI_VERSION_MAX + 4,
                              .id = rig.b.conf.id};

    ck_assert_int_eq(answer(NQI_CHALLENGE, &hello), NQ_ERR_CLOSED);
    ck_assert_int_eq(rig.a.session.bye_reason, NQ_REASON_VERSION);
}
END_TEST

START_TEST(a_hello_is_no_answer)
{
    struct nqi_hello hello = {.version_min = 1, .version_max = 1, .id = rig.b.conf.id};

    ck_assert_int_eq(answer(NQI_HELLO, &hello), NQ_ERR_PROTO);
}
END_TEST

START_TEST(a_refusal_says_why)
{
    static const uint16_t reasons[] = {NQ_REASON_DUPLICATE, NQ_REASON_VERSION, 0, NQ_REASONS,
                                       UINT16_MAX};
    static const nq_reason want[] = {NQ_REASON_DUPLICATE, NQ_REASON_VERSION, NQ_REASON_REFUSED,
                                     NQ_REASON_REFUSED, NQ_REASON_REFUSED};
    struct nqtest_rig_put *put = nqtest_rig_put(&rig.a, 5);

    nqtest_rig_connect(&rig);
    while (nqtest_pull(&rig.a, true))
        continue;
    nqtest_inject_record(&rig.b, NQI_REJECT, 0, reasons[_i], 9, 0, "too early", 9);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_ERR_CLOSED);
    ck_assert_int_eq(rig.a.session.bye_reason, want[_i]);
    ck_assert_ptr_nonnull(strstr(nq_error(), "too early"));
    nqtest_rig_lose(&rig, 0, 0);
    ck_assert_uint_eq(put->settled, 0); /* another try may succeed */
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_int_eq(put->outcome, NQ_DELIVERED);
}
END_TEST

/* ---- data ---- */

static const size_t sizes[] = {0,    1,    2,     7,     8,     63,    64,    1023,
                               1024, 1025, 2047,  2048,  2049,  4095,  4096,  4097,
                               8191, 8192, 12287, 12288, 12289, 40960, 40961, 200000};

/* One of each size, in records of 4 KiB, read in the way `split`. */
static void send_sizes(bool now, const char *key, size_t meta)
{
    void *value = calloc(1, meta + 1);

    rig.a.conf.record = 4096;
    nqtest_rig_attach(&rig);
    for (size_t i = 0; i < NQI_LEN(sizes); i++) {
        struct nqtest_rig_put *put = nqtest_make(&rig.a, sizes[i], 1);

        if (key) {
            nq_msg_set_correlation(put->tx.msg, i + 1);
            ck_assert_int_eq(nq_msg_set_meta(put->tx.msg, key, value, meta), NQ_OK);
        }
        if (!now || !nqtest_put_now(&rig.a, put, i % 2))
            nqtest_queue(&rig.a, put);
        nqtest_flow(&rig);
        ck_assert_uint_eq(rig.b.delivered, i + 1);
        ck_assert_uint_eq(rig.b.last_size, sizes[i]);
        ck_assert_uint_eq(rig.b.last_correlation, key ? i + 1 : 0);
    }
    nqtest_finish(&rig);
    for (size_t i = 0; i < rig.a.nputs; i++)
        ck_assert_int_eq(rig.a.puts[i]->outcome, rig.a.puts[i]->tracked ? NQ_DELIVERED : 0);
    ck_assert_uint_eq(rig.a.untracked_outcomes[NQ_DELIVERED], rig.a.untracked);
    free(value);
}

START_TEST(every_size_arrives)
{
    rig.split = (enum nqtest_split)_i;
    send_sizes(false, NULL, 0);
}
END_TEST

START_TEST(every_size_arrives_from_the_stage)
{
    rig.split = (enum nqtest_split)_i;
    send_sizes(true, NULL, 0);
    ck_assert_uint_gt(rig.a.untracked, 0);
}
END_TEST

START_TEST(every_size_arrives_with_metadata)
{
    rig.split = (enum nqtest_split)_i;
    send_sizes(true, "key", 700);
}
END_TEST

START_TEST(metadata_may_be_as_large_as_it_can_be)
{
    rig.split = (enum nqtest_split)_i;
    send_sizes(true, "k", NQ_META_MAX - NQI_META_CORRELATION_SIZE - NQI_META_HEAD - 2);
}
END_TEST

START_TEST(every_size_arrives_without_a_stage)
{
    rig.split = (enum nqtest_split)_i;
    rig.a.conf.coalesce = 0;
    send_sizes(true, NULL, 0);
    ck_assert_uint_eq(rig.a.untracked, 0);
}
END_TEST

START_TEST(many_small_messages_leave_in_few_buffers)
{
    struct nqt_buf *bufs[64];
    uint32_t n;

    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 5000; i++) {
        struct nqtest_rig_put *put = nqtest_make(&rig.a, 8 + i % 120, 1);

        if (!nqtest_put_now(&rig.a, put, false))
            nqtest_queue(&rig.a, put);
    }
    n = nqi_session_pull(&rig.a.session, true, bufs, 64);
    ck_assert_uint_lt(n, 20); /* blocks double from 2 KiB to 64 KiB */
    for (uint32_t i = 0; i < n; i++) {
        ck_assert_uint_eq(bufs[i]->nseg, 1);
        bufs[i]->ops->unref(bufs[i]);
    }
    nqtest_finish(&rig); /* what was not taken is pulled again */
    ck_assert_uint_eq(rig.b.delivered, 5000);
    ck_assert_uint_gt(rig.a.untracked, 20);
}
END_TEST

START_TEST(a_payload_of_hundreds_of_pieces)
{
    static const size_t views[] = {2, 3, 63, 64, 65, 127, 128, 129, 500};

    rig.split = (enum nqtest_split)_i;
    rig.a.conf.record = 64 << 10;
    nqtest_rig_attach(&rig);
    for (size_t i = 0; i < NQI_LEN(views); i++) {
        nqtest_queue(&rig.a, nqtest_make(&rig.a, 1500, views[i]));
        nqtest_queue(&rig.a, nqtest_make(&rig.a, 5000, views[i]));
        nqtest_queue(&rig.a, nqtest_make(&rig.a, 300001, views[i]));
    }
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 3 * NQI_LEN(views));
}
END_TEST

START_TEST(both_directions_at_once)
{
    rig.split = (enum nqtest_split)_i;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 40; i++) {
        nqtest_rig_put(&rig.a, sizes[i % NQI_LEN(sizes)]);
        nqtest_rig_put(&rig.b, sizes[(i * 7) % NQI_LEN(sizes)]);
    }
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.a.delivered, 40);
    ck_assert_uint_eq(rig.b.delivered, 40);
    ck_assert_uint_eq(rig.b.session.stats.messages_in, rig.a.session.stats.messages_out);
    ck_assert_uint_eq(rig.b.session.stats.bytes_in, rig.a.session.stats.bytes_out);
}
END_TEST

START_TEST(a_link_that_takes_little_at_a_time)
{
    rig.split = (enum nqtest_split)_i;
    rig.a.slow = rig.b.slow = true;
    rig.a.pull_cap = 3;
    rig.a.conf.record = 4096;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 60; i++)
        nqtest_rig_put(&rig.a, sizes[i % NQI_LEN(sizes)]);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 60);
}
END_TEST

START_TEST(control_messages_overtake_queued_ones)
{
    uint64_t order[6];

    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 6; i++) {
        struct nqtest_rig_put *put = nqtest_make(&rig.a, 3000, 1);

        nq_msg_set_control(put->tx.msg, i % 2);
        nqtest_queue(&rig.a, put);
    }
    rig.b.take = false;
    nqtest_flow(&rig);
    for (unsigned i = 0; i < 6; i++) {
        nq_msg *msg = NQI_CONTAINER(nqi_fifo_pop(&rig.b.inbox), nq_msg, node);
        uint8_t raw[8];

        nq_stream_tobytes(&msg->stream, raw, 8);
        order[i] = nqi_load_u64(raw);
        nqi_fifo_push(&rig.b.inbox, &msg->node);
    }
    for (unsigned i = 0; i < 6; i++)
        ck_assert_uint_eq(order[i], i < 3 ? i * 2 + 1 : (i - 3) * 2);
}
END_TEST

/* ---- the queue ---- */

START_TEST(what_waits_too_long_expires)
{
    struct nqtest_rig_put *puts[3];

    for (unsigned i = 0; i < 3; i++) {
        puts[i] = nqtest_make(&rig.a, 100, 1);
        puts[i]->tx.msg->deadline_ns = i == 1 ? 0 : rig.now + 1000 * (i + 1);
        nqtest_queue(&rig.a, puts[i]);
    }
    ck_assert_int_eq(nqi_session_deadline(&rig.a.session), rig.now + 1000);
    nqtest_pass(&rig, 999);
    ck_assert_uint_eq(puts[0]->settled, 0);
    nqtest_pass(&rig, 1);
    ck_assert_int_eq(puts[0]->outcome, NQ_EXPIRED);
    ck_assert_int_eq(nqi_session_deadline(&rig.a.session), rig.now + 2000);
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_int_eq(puts[1]->outcome, NQ_DELIVERED);
    ck_assert_int_eq(puts[2]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(a_message_with_a_time_to_live_does_not_go_into_the_stage)
{
    struct nqtest_rig_put *put = nqtest_make(&rig.a, 100, 1);

    nqtest_rig_attach(&rig);
    nq_msg_set_ttl(put->tx.msg, 1000);
    ck_assert(!nqtest_put_now(&rig.a, put, true));
}
END_TEST

START_TEST(a_cancelled_message_is_its_owners_again)
{
    struct nqtest_rig_put *puts[4];

    for (unsigned i = 0; i < 4; i++) {
        puts[i] = nqtest_rig_put(&rig.a, i < 2 ? 50 : 50000);
        puts[i]->cancelled = i % 2;
    }
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(puts[i]->outcome, i % 2 ? NQ_CANCELLED : NQ_DELIVERED);
    ck_assert_uint_eq(rig.b.delivered, 2);
}
END_TEST

static bool is_small(const struct nqi_tx *tx)
{
    return tx->msg->stream.nbytes < 100;
}

static void drop(struct nqi_tx *tx)
{
    struct nqtest_rig_put *put = NQI_CONTAINER(tx, struct nqtest_rig_put, tx);

    put->settled++;
    put->outcome = NQ_DROPPED;
}

START_TEST(messages_are_taken_out_of_the_middle)
{
    nqtest_rig_put(&rig.a, 1000);
    nqtest_rig_put(&rig.a, 10);
    nqtest_rig_put(&rig.a, 1000);
    nqtest_rig_put(&rig.a, 20);
    drop(nqi_session_take_if(&rig.a.session, is_small));
    drop(nqi_session_take_if(&rig.a.session, is_small));
    ck_assert_ptr_null(nqi_session_take_if(&rig.a.session, is_small));
    nqtest_rig_put(&rig.a, 30); /* the list's end is where it should be */
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 3);
    ck_assert_int_eq(rig.a.puts[1]->outcome, NQ_DROPPED);
}
END_TEST

START_TEST(the_oldest_ordinary_message_is_dropped_first)
{
    struct nqtest_rig_put *control = nqtest_make(&rig.a, 10, 1), *first, *second;

    nq_msg_set_control(control->tx.msg, true);
    nqtest_queue(&rig.a, control);
    first = nqtest_rig_put(&rig.a, 10);
    second = nqtest_rig_put(&rig.a, 10);
    ck_assert_ptr_eq(nqi_session_pop_oldest(&rig.a.session), &first->tx);
    ck_assert_ptr_eq(nqi_session_pop_oldest(&rig.a.session), &second->tx);
    ck_assert_ptr_eq(nqi_session_pop_oldest(&rig.a.session), &control->tx);
    ck_assert_ptr_null(nqi_session_pop_oldest(&rig.a.session));
    drop(&first->tx);
    drop(&second->tx);
    drop(&control->tx);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session");
    TCase *greeting = nqtest_case(suite, "greeting", setup, teardown);
    TCase *data = nqtest_case(suite, "data", setup, teardown);
    TCase *queue = nqtest_case(suite, "queue", setup, teardown);

    tcase_add_test(greeting, four_records_bring_both_up);
    tcase_add_test(greeting, nothing_but_the_hello_is_sent_before_the_welcome);
    tcase_add_test(greeting, what_is_no_netqueue_is_called_so);
    tcase_add_test(greeting, a_server_of_other_versions_is_left_alone);
    tcase_add_test(greeting, a_hello_is_no_answer);
    tcase_add_loop_test(greeting, a_refusal_says_why, 0, 5);
    tcase_add_loop_test(data, every_size_arrives, 0, NQTEST_SPLITS);
    tcase_add_loop_test(data, every_size_arrives_from_the_stage, 0, NQTEST_SPLITS);
    tcase_add_loop_test(data, every_size_arrives_with_metadata, 0, NQTEST_SPLITS);
    tcase_add_loop_test(data, metadata_may_be_as_large_as_it_can_be, 0, NQTEST_SPLITS);
    tcase_add_loop_test(data, every_size_arrives_without_a_stage, 0, NQTEST_SPLITS);
    tcase_add_test(data, many_small_messages_leave_in_few_buffers);
    tcase_add_loop_test(data, a_payload_of_hundreds_of_pieces, 0, NQTEST_SPLITS);
    tcase_add_loop_test(data, both_directions_at_once, 0, NQTEST_SPLITS);
    tcase_add_loop_test(data, a_link_that_takes_little_at_a_time, 0, NQTEST_SPLITS);
    tcase_add_test(data, control_messages_overtake_queued_ones);
    tcase_add_test(queue, what_waits_too_long_expires);
    tcase_add_test(queue, a_message_with_a_time_to_live_does_not_go_into_the_stage);
    tcase_add_test(queue, a_cancelled_message_is_its_owners_again);
    tcase_add_test(queue, messages_are_taken_out_of_the_middle);
    tcase_add_test(queue, the_oldest_ordinary_message_is_dropped_first);
    return suite;
}
