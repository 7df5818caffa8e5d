/* plugins/shm below whole queues: what is loaned is filled, sent and read in one place. */
#include "core/queue.h"
#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include <stdio.h>
#include <string.h>

#define SIZE (4u << 20) /* of a message: several records */

static void fill(uint8_t *data, size_t len, uint8_t with)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + i / 4096 + with);
}

static void check(const uint8_t *data, size_t len, uint8_t with)
{
    size_t wrong = 0;

    for (size_t i = 0; i < len; i++)
        wrong += data[i] != (uint8_t)(i * 7 + i / 4096 + with);
    ck_assert_uint_eq(wrong, 0);
}

static void put_loan(nq_queue *queue, const nq_uuid *peer, size_t size, uint8_t with)
{
    void *data;
    nq_msg *msg;

    for (;;) { /* while a thread of the queue is inside of the link it is common memory */
        ck_assert_int_eq(nq_loan(queue, peer, peer != NULL, size, &data, &msg), NQ_OK);
        if (nqtest_shm_holds(data, size))
            break;
        nq_msg_free(msg);
    }
    fill(data, size, with);
    ck_assert_int_eq(nq_put(queue, msg, peer, peer != NULL, NULL), NQ_OK);
}

static nq_queue *shm_server(void)
{
    int transport = nqtest_transport_of("shm");

    ck_assert_int_ge(transport, 0);
    return nqtest_server(transport, "");
}

/* Over a link that has to gather, all but the first would wait for each other. */
START_TEST(small_messages_leave_at_once_one_by_one)
{
    int transport = nqtest_transport_of("shm");
    nq_queue *server = nqtest_server(transport, "");
    nq_queue *client = nqtest_join(server, ", 'progress': {'mode': 'manual'}");
    const struct nqi_session *session = &client->server->session;
    uint64_t before = session->handed;

    for (uint64_t i = 1; i <= 100; i++) {
        nqtest_put(client, nqtest_number(i));
        ck_assert_uint_eq(session->handed, before + i);
        ck_assert_ptr_null(session->stage);
    }
    for (uint64_t i = 1; i <= 100; i++)
        ck_assert_uint_eq(nqtest_get_number(server), i);
    ck_assert_uint_eq(nqtest_stats(client).messages_out, 100);
    nqtest_part(server, client);
    nqtest_end(server);
}
END_TEST

/* One for sixteen or less. */
START_TEST(an_acknowledgement_goes_before_a_message_that_leaves_at_once)
{
    int transport = nqtest_transport_of("shm");
    nq_queue *server = nqtest_server(transport, "");
    nq_queue *client = nqtest_join(server, ", 'progress': {'mode': 'manual'}");
    const struct nqi_session *session = &client->server->session;

    for (uint64_t i = 0; i < 64; i++) {
        ck_assert_int_eq(nq_put(server, nqtest_number(i), nq_id(client), 1, NULL), NQ_OK);
        ck_assert_uint_eq(nqtest_get_number(client), i);
        nqtest_put(client, nqtest_number(i));
        ck_assert_ptr_null(session->stage);
        ck_assert_ptr_null(session->control.head);
        ck_assert_uint_lt(session->received - session->acked_out, NQI_ACK_RECORDS);
        ck_assert_uint_eq(nqtest_get_number(server), i);
    }
    nqtest_part(server, client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_loaned_message_is_read_where_it_was_written)
{
    nq_queue *server = shm_server(), *client = nqtest_join(server, "");
    const void *data;
    nq_msg *msg;
    size_t len;

    for (uint8_t i = 0; i < 40; i++) {
        bool up = i % 2;

        put_loan(up ? client : server, up ? NULL : nq_id(client), SIZE, i);
        msg = nqtest_get(up ? server : client);
        ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
        ck_assert_uint_eq(len, SIZE);
        ck_assert_uint_eq(nq_stream_nchunks(nq_msg_stream(msg)), 1);
        ck_assert(nqtest_shm_holds(data, len)); /* nobody copied it */
        check(data, len, i);
        nq_msg_free(msg);
    }
    nq_free(client);
    nq_free(server);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

START_TEST(messages_stay_when_both_queues_are_gone)
{
    nq_queue *server = shm_server(), *client = nqtest_join(server, "");
    const void *data;
    nq_msg *msg;
    size_t len;

    put_loan(client, NULL, SIZE, 1);
    msg = nqtest_get(server);
    nq_free(client);
    nq_free(server);
    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    check(data, len, 1);
    ck_assert_uint_ge(nqtest_shm_maps(), 1);
    nq_msg_free(msg);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

START_TEST(who_keeps_messages_is_sent_copies_and_nothing_stops)
{
    nq_queue *server = shm_server(), *client = nqtest_join(server, "");
    nq_msg *kept[40];
    unsigned views = 0;
    const void *data;
    size_t len;

    for (uint8_t i = 0; i < 40; i++) { /* 160 MiB; the pool has 64 */
        void *at;
        nq_msg *msg;

        ck_assert_int_eq(nq_loan(client, NULL, 0, SIZE, &at, &msg), NQ_OK);
        fill(at, SIZE, i);
        ck_assert_int_eq(nq_put(client, msg, NULL, 0, NULL), NQ_OK);
        kept[i] = nqtest_get(server);
    }
    for (uint8_t i = 0; i < 40; i++) {
        ck_assert_int_eq(nq_msg_data(kept[i], &data, &len), NQ_OK);
        check(data, len, i);
        views += nqtest_shm_holds(data, len);
        nq_msg_free(kept[i]);
    }
    ck_assert_uint_ge(views, 10);
    ck_assert_uint_le(views, 16);
    nq_free(client);
    nq_free(server);
}
END_TEST

START_TEST(a_loan_that_is_not_put_or_comes_late_is_like_any_message)
{
    nq_queue *server = shm_server(), *client = nqtest_join(server, "");
    void *data;
    nq_msg *msg;

    ck_assert_int_eq(nq_loan(client, NULL, 0, SIZE, &data, &msg), NQ_OK);
    nq_msg_free(msg);
    ck_assert_int_eq(nq_loan(client, NULL, 0, 100, &data, &msg), NQ_OK);
    ck_assert(!nqtest_shm_holds(data, 100));
    nq_msg_free(msg);
    ck_assert_int_eq(nq_loan(client, NULL, 0, SIZE, &data, &msg), NQ_OK);
    ck_assert(nqtest_shm_holds(data, SIZE));
    nq_free(client);
    fill(data, SIZE, 3);
    ck_assert_int_eq(nq_put(server, msg, nq_id(server), 0, NULL), NQ_OK); /* to whoever is there */
    nq_free(server);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

START_TEST(what_is_shared_is_counted)
{
    nq_queue *server = shm_server(), *client = nqtest_join(server, "");
    uint64_t outbox = nqtest_stats(client).shared_bytes;
    struct nq_event event;
    void *data;
    nq_msg *msg;

    ck_assert_uint_gt(outbox, 0);
    ck_assert_uint_eq(nqtest_stats(server).shared_bytes, outbox); /* each counts its own */
    do { /* while a thread of the queue is inside of the link it is common memory */
        ck_assert_int_eq(nq_loan(client, NULL, 0, SIZE, &data, &msg), NQ_OK);
        nq_msg_free(msg);
    } while (nqtest_stats(client).shared_bytes == outbox);
    ck_assert_uint_ge(nqtest_stats(client).shared_bytes, outbox + SIZE);
    nqtest_end(client);
    while (nqtest_stats(server).shared_bytes)
        ck_assert_int_ge(nq_event_get(server, NQTEST_MS, &event), 0);
    nq_free(server);
}
END_TEST

/* The acknowledgement that frees the only block waits in the link: nobody has looked since. */
START_TEST(a_loan_waits_for_the_block_that_is_on_its_way_back)
{
    const char *manual = ", 'progress': {'mode': 'manual'}, 'pool': '4MiB'";
    nq_queue *server = nqtest_server(nqtest_transport_of("shm"), manual);
    nq_queue *client = nqtest_client(manual);
    unsigned up = 0;

    while (up < 2) {
        ck_assert_int_ge(nq_poll(server), 0);
        ck_assert_int_ge(nq_poll(client), 0);
        up += nqtest_drain_events(server, NQ_EVENT_PEER_UP) +
              nqtest_drain_events(client, NQ_EVENT_PEER_UP);
    }
    for (unsigned i = 0; i < 20; i++) {
        nq_future *future;
        void *data;
        nq_msg *msg;

        ck_assert_int_eq(nq_loan(client, NULL, 0, SIZE, &data, &msg), NQ_OK);
        ck_assert_msg(nqtest_shm_holds(data, SIZE), "loan %u is common memory", i);
        future = nqtest_put_future(client, msg); /* somebody asks: it is acknowledged at once */
        nq_future_free(future);
        nq_msg_free(nqtest_get(server));
    }
    nqtest_part(server, client);
    nqtest_end(server);
}
END_TEST

/* Who keeps what he got is not waited for again and again. */
START_TEST(a_loan_that_waited_in_vain_is_common_memory)
{
    nq_queue *server = shm_server(), *client = nqtest_join(server, ", 'pool': '4MiB'");
    void *data[3];
    nq_msg *msgs[3];

    do { /* while a thread of the queue is inside of the link it is common memory */
        ck_assert_int_eq(nq_loan(client, NULL, 0, SIZE, &data[0], &msgs[0]), NQ_OK);
    } while (!nqtest_shm_holds(data[0], SIZE) && (nq_msg_free(msgs[0]), true));
    for (unsigned i = 1; i < 3; i++) {
        ck_assert_int_eq(nq_loan(client, NULL, 0, SIZE, &data[i], &msgs[i]), NQ_OK);
        ck_assert(!nqtest_shm_holds(data[i], SIZE));
        ck_assert(atomic_load(&client->server->loans_short));
    }
    for (unsigned i = 0; i < 3; i++)
        nq_msg_free(msgs[i]);
    put_loan(client, NULL, SIZE, 1);
    ck_assert(!atomic_load(&client->server->loans_short));
    nq_msg_free(nqtest_get(server));
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, queues");
    TCase *tc = tcase_create("queues");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, small_messages_leave_at_once_one_by_one);
    tcase_add_test(tc, an_acknowledgement_goes_before_a_message_that_leaves_at_once);
    tcase_add_test(tc, a_loaned_message_is_read_where_it_was_written);
    tcase_add_test(tc, messages_stay_when_both_queues_are_gone);
    tcase_add_test(tc, who_keeps_messages_is_sent_copies_and_nothing_stops);
    tcase_add_test(tc, a_loan_that_is_not_put_or_comes_late_is_like_any_message);
    tcase_add_test(tc, what_is_shared_is_counted);
    tcase_add_test(tc, a_loan_waits_for_the_block_that_is_on_its_way_back);
    tcase_add_test(tc, a_loan_that_waited_in_vain_is_common_memory);
    suite_add_tcase(suite, tc);
    return suite;
}
