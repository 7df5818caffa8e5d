/* core/queue_get.c: time-outs, named peers, many at once, fairness, the end, and what a get gives
 * back to the sender. */
#include "core/base.h"
#include "core/queue.h"
#include "tests/support/queue.h"
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>

static uint64_t unread(nq_queue *queue)
{
    return nqtest_stats(queue).unread;
}

/* ---- time-outs and the end ---- */

START_TEST(an_empty_queue_gives_nothing_within_the_time_out)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_msg *msg = NULL, *msgs[2];
    int64_t start;
    size_t count = 77;

    ck_assert_int_eq(nq_get(server, NULL, 0, 0, &msg), NQ_AGAIN);
    start = nqtest_clock();
    ck_assert_int_eq(nq_get(server, NULL, 0, 20 * NQTEST_MS, &msg), NQ_AGAIN);
    ck_assert_int_ge(nqtest_clock() - start, 20 * NQTEST_MS);
    ck_assert_int_eq(nq_get_many(server, msgs, 2, 0, &count), NQ_AGAIN);
    ck_assert_ptr_null(msg);
    ck_assert_uint_eq(count, 77);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_message_that_is_there_needs_no_wait)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_msg *msg;

    nqtest_put(client, nqtest_number(1));
    nqtest_drive_until(server, unread, 1);
    ck_assert_int_eq(nq_get(server, NULL, 0, 0, &msg), NQ_OK);
    nq_msg_free(msg);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

struct getter {
    nq_queue *queue;
    nq_err err;
    nq_msg *msg;
};

static void *getter_run(void *arg)
{
    struct getter *getter = arg;

    getter->err = nq_get(getter->queue, NULL, 0, NQ_FOREVER, &getter->msg);
    return NULL;
}

START_TEST(a_getter_that_waits_for_ever_gets_what_comes)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct getter getter = {.queue = server};
    nq_msg *none;
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, getter_run, &getter), 0);
    ck_assert_int_eq(nq_get(client, NULL, 0, 20 * NQTEST_MS, &none), NQ_AGAIN);
    nqtest_put(client, nqtest_number(5));
    nqtest_end_thread(thread);
    ck_assert_int_eq(getter.err, NQ_OK);
    ck_assert_uint_eq(nqtest_number_of(getter.msg), 5);
    nq_msg_free(getter.msg);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_getter_that_waits_is_woken_by_the_close)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct getter getter = {.queue = server};
    nq_msg *none;
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, getter_run, &getter), 0);
    ck_assert_int_eq(nq_get(client, NULL, 0, 20 * NQTEST_MS, &none), NQ_AGAIN);
    ck_assert_int_eq(nq_close(server, NQTEST_WAIT, NULL), NQ_OK);
    nqtest_end_thread(thread);
    ck_assert_int_eq(getter.err, NQ_END);
    nq_free(server);
    nq_free(client);
}
END_TEST

START_TEST(after_the_close_comes_what_is_left_and_then_the_end)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct nq_close_report report;
    nq_msg *msg, *msgs[2];
    size_t count;

    for (uint64_t i = 0; i < 3; i++)
        nqtest_put(client, nqtest_number(i));
    nqtest_drive_until(server, unread, 3);
    ck_assert_int_eq(nq_close(server, NQTEST_WAIT, &report), NQ_OK);
    ck_assert_uint_eq(report.unread, 3);
    for (uint64_t i = 0; i < 3; i++)
        ck_assert_uint_eq(nqtest_get_number(server), i);
    ck_assert_int_eq(nq_get(server, NULL, 0, NQ_FOREVER, &msg), NQ_END);
    ck_assert_int_eq(nq_get(server, NULL, 0, 0, &msg), NQ_END);
    ck_assert_int_eq(nq_get(server, nq_id(client), 1, NQ_FOREVER, &msg), NQ_END);
    ck_assert_int_eq(nq_get_many(server, msgs, 2, NQ_FOREVER, &count), NQ_END);
    nq_free(server);
    nq_free(client);
}
END_TEST

START_TEST(messages_outlive_the_queue_and_unread_ones_are_released)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_msg *msg;

    for (uint64_t i = 0; i < 5; i++)
        nqtest_put(client, nqtest_noise(i * 100000, i));
    nqtest_drive_until(server, unread, 5);
    msg = nqtest_get(server);
    nq_msg_free(msg);
    msg = nqtest_get(server);
    nq_free(client);
    nq_free(server);
    nqtest_check_noise(msg, 100000, 1);
    nq_msg_free(msg);
}
END_TEST

/* ---- named peers ---- */

START_TEST(a_get_takes_from_the_peers_it_names_only)
{
    nq_queue *server = nqtest_server(_i, ""), *clients[3];
    nq_uuid ids[3], stranger = nqtest_id(1), pair[2];
    nq_msg *msg = NULL;

    for (unsigned i = 0; i < 3; i++) {
        clients[i] = nqtest_join(server, "");
        ids[i] = *nq_id(clients[i]);
        nqtest_put(clients[i], nqtest_number(i * 10));
        nqtest_put(clients[i], nqtest_number(i * 10 + 1));
    }
    nqtest_drive_until(server, unread, 6);
    ck_assert_int_eq(nq_get(server, &stranger, 1, 0, &msg), NQ_AGAIN);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(nq_get(server, &ids[1], 1, 0, &msg), NQ_OK);
        ck_assert(nq_uuid_equal(nq_msg_sender(msg), &ids[1]));
        ck_assert_uint_eq(nqtest_number_of(msg), 10 + i);
        nq_msg_free(msg);
    }
    ck_assert_int_eq(nq_get(server, &ids[1], 1, 10 * NQTEST_MS, &msg), NQ_AGAIN);
    pair[0] = ids[1];
    pair[1] = ids[2];
    ck_assert_int_eq(nq_get(server, pair, 2, 0, &msg), NQ_OK);
    ck_assert_uint_eq(nqtest_number_of(msg), 20);
    nq_msg_free(msg);
    ck_assert_uint_eq(nqtest_stats(server).unread, 3);
    for (unsigned i = 0; i < 3; i++)
        nqtest_end(clients[i]);
    nqtest_end(server);
}
END_TEST

START_TEST(a_named_peer_is_waited_for_while_others_send)
{
    nq_queue *server = nqtest_server(_i, ""), *loud = nqtest_join(server, ""),
             *quiet = nqtest_join(server, "");
    nq_msg *msg;

    for (uint64_t i = 0; i < 100; i++)
        nqtest_put(loud, nqtest_number(i));
    ck_assert_int_eq(nq_get(server, nq_id(quiet), 1, 20 * NQTEST_MS, &msg), NQ_AGAIN);
    nqtest_put(quiet, nqtest_number(7));
    ck_assert_int_eq(nq_get(server, nq_id(quiet), 1, NQTEST_WAIT, &msg), NQ_OK);
    ck_assert_uint_eq(nqtest_number_of(msg), 7);
    nq_msg_free(msg);
    for (uint64_t i = 0; i < 100; i++)
        ck_assert_uint_eq(nqtest_get_number(server), i);
    nqtest_end(loud);
    nqtest_end(quiet);
    nqtest_end(server);
}
END_TEST

START_TEST(messages_of_a_peer_that_is_gone_are_there_under_its_name)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_uuid id = *nq_id(client);
    nq_msg *msg;

    for (uint64_t i = 0; i < 4; i++)
        nqtest_put(client, nqtest_number(i));
    nqtest_end(client);
    nqtest_event(server, NQ_EVENT_PEER_GONE);
    for (uint64_t i = 0; i < 4; i++) {
        ck_assert_int_eq(nq_get(server, i % 2 ? &id : NULL, i % 2, 0, &msg), NQ_OK);
        ck_assert(nq_uuid_equal(nq_msg_sender(msg), &id));
        ck_assert_uint_eq(nqtest_number_of(msg), i);
        nq_msg_free(msg);
    }
    nqtest_end(server);
}
END_TEST

START_TEST(a_client_gets_from_its_server_by_name)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_uuid stranger = nqtest_id(1);
    nq_msg *msg;

    nqtest_put(server, nqtest_number(1));
    ck_assert_int_eq(nq_get(client, &stranger, 1, 20 * NQTEST_MS, &msg), NQ_AGAIN);
    ck_assert_int_eq(nq_get(client, nq_id(server), 1, NQTEST_WAIT, &msg), NQ_OK);
    ck_assert(nq_uuid_equal(nq_msg_sender(msg), nq_id(server)));
    nq_msg_free(msg);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* ---- many at once, and fairness ---- */

START_TEST(many_messages_are_taken_at_once_up_to_the_room)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_msg *msgs[8];
    uint64_t next = 0;
    size_t count;

    ck_assert_int_eq(nq_get_many(server, msgs, 0, 0, &count), NQ_ERR_INVAL);
    for (uint64_t i = 0; i < 20; i++)
        nqtest_put(client, nqtest_number(i));
    nqtest_drive_until(server, unread, 20);
    while (next < 20) {
        ck_assert_int_eq(nq_get_many(server, msgs, 8, NQTEST_WAIT, &count), NQ_OK);
        ck_assert_uint_eq(count, NQI_MIN(20 - next, 8));
        for (size_t i = 0; i < count; i++) {
            ck_assert_uint_eq(nqtest_number_of(msgs[i]), next++);
            nq_msg_free(msgs[i]);
        }
    }
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* More peers than one look can serve. */
/* A server that nobody drives but who waits, and a client. */
static nq_queue *manual_server(int transport, nq_queue **client)
{
    nq_queue *server = nqtest_server(transport, ", 'progress': {'mode': 'manual'}");

    *client = nqtest_client("");
    nqtest_event(server, NQ_EVENT_PEER_UP);
    nqtest_event(*client, NQ_EVENT_PEER_UP);
    return server;
}

START_TEST(what_comes_on_the_thread_that_waits_goes_straight_to_it)
{
    nq_queue *client, *server = manual_server(_i, &client);

    for (uint64_t i = 0; i < 5; i++) {
        nqtest_put(client, nqtest_number(i));
        atomic_store(&server->changed, false);
        ck_assert_uint_eq(nqtest_get_number(server), i);
        ck_assert(!atomic_load(&server->changed)); /* others need not look */
        ck_assert_uint_eq(nqtest_stats(server).unread, 0);
    }
    nqtest_part(server, client);
    nqtest_end(server);
}
END_TEST

/* In one batch, of which the thread that waits has room for a part. */
START_TEST(what_there_is_no_room_for_comes_next_in_order)
{
    nq_queue *client, *server = manual_server(_i, &client);
    uint64_t got = 0;
    nq_msg *msgs[3];
    size_t count;

    for (uint64_t i = 0; i < 100; i++)
        nqtest_put(client, nqtest_number(i));
    while (got < 100) {
        ck_assert_int_eq(nq_get_many(server, msgs, 3, NQTEST_WAIT, &count), NQ_OK);
        for (size_t i = 0; i < count; i++) {
            ck_assert_uint_eq(nqtest_number_of(msgs[i]), got++);
            nq_msg_free(msgs[i]);
        }
    }
    ck_assert_uint_eq(nqtest_stats(server).unread, 0);
    nqtest_part(server, client);
    nqtest_end(server);
}
END_TEST

START_TEST(many_messages_of_many_peers_all_come)
{
    enum { PEERS = 20 };
    nq_queue *server = nqtest_server(_i, ""), *clients[PEERS];
    unsigned seen[PEERS] = {0}, total = 0;
    nq_msg *msgs[64];
    size_t count;

    for (unsigned i = 0; i < PEERS; i++) {
        clients[i] = nqtest_join(server, "");
        nqtest_put(clients[i], nqtest_number(i));
        nqtest_put(clients[i], nqtest_number(i));
    }
    while (total < 2 * PEERS) {
        ck_assert_int_eq(nq_get_many(server, msgs, 64, NQTEST_WAIT, &count), NQ_OK);
        for (size_t i = 0; i < count; i++) {
            seen[nqtest_number_of(msgs[i])]++;
            nq_msg_free(msgs[i]);
        }
        total += (unsigned)count;
    }
    for (unsigned i = 0; i < PEERS; i++) {
        ck_assert_uint_eq(seen[i], 2);
        nqtest_end(clients[i]);
    }
    nqtest_end(server);
}
END_TEST

START_TEST(a_busy_peer_does_not_hide_the_others)
{
    nq_queue *server = nqtest_server(_i, ""), *loud = nqtest_join(server, ""),
             *quiet = nqtest_join(server, "");
    bool found = false;

    for (uint64_t i = 0; i < 50; i++)
        nqtest_put(loud, nqtest_number(i));
    nqtest_drive_until(server, unread, 50);
    nqtest_put(quiet, nqtest_number(99));
    nqtest_drive_until(server, unread, 51);
    for (int i = 0; i < 2; i++)
        found |= nqtest_get_number(server) == 99;
    ck_assert(found);
    nqtest_end(loud);
    nqtest_end(quiet);
    nqtest_end(server);
}
END_TEST

/* ---- several getters ---- */

enum { SHARED = 6000, GETTERS = 3 };

struct shared {
    nq_queue *queue;
    _Atomic unsigned seen[SHARED];
    _Atomic unsigned total;
    bool many;
};

static void *shared_run(void *arg)
{
    struct shared *shared = arg;
    nq_msg *msgs[16];
    size_t count;

    for (;;) {
        nq_err err = shared->many ? nq_get_many(shared->queue, msgs, 16, NQ_FOREVER, &count)
                                  : nq_get(shared->queue, NULL, 0, NQ_FOREVER, msgs);

        if (err)
            return (void *)(intptr_t)err;
        if (!shared->many)
            count = 1;
        for (size_t i = 0; i < count; i++) {
            shared->seen[nqtest_number_of(msgs[i])]++;
            nq_msg_free(msgs[i]);
            shared->total++;
        }
    }
}

static uint64_t delivered(nq_queue *queue)
{
    return nqtest_stats(queue).delivered;
}

/* _i / 2: one by one, or many at once. */
START_TEST(each_message_goes_to_one_getter)
{
    nq_queue *server = nqtest_server(_i % 2, ""), *client = nqtest_join(server, "");
    static struct shared shared;
    pthread_t threads[GETTERS];
    int64_t until = nqtest_clock() + NQTEST_WAIT;
    void *end;

    shared.queue = server;
    shared.many = _i / 2;
    for (int i = 0; i < GETTERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, shared_run, &shared), 0);
    for (uint64_t i = 0; i < SHARED; i++)
        nqtest_put(client, nqtest_number(i));
    nqtest_drive_until(client, delivered, SHARED);
    while (shared.total < SHARED)
        ck_assert_int_lt(nqtest_clock(), until);
    ck_assert_int_eq(nq_close(server, NQTEST_WAIT, NULL), NQ_OK);
    for (int i = 0; i < GETTERS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &end), 0);
        ck_assert_int_eq((intptr_t)end, NQ_END);
    }
    for (int i = 0; i < SHARED; i++)
        ck_assert_uint_eq(shared.seen[i], 1);
    nq_free(server);
    nq_free(client);
}
END_TEST

/* ---- what a get gives back ---- */

START_TEST(with_ack_consumed_a_message_is_delivered_when_a_get_returned_it)
{
    nq_queue *server = nqtest_server(_i, ", 'session': {'ack': 'consumed'}");
    nq_queue *client = nqtest_join(server, "");
    nq_future *first = nqtest_put_future(client, nqtest_number(1));
    nq_future *second = nqtest_put_future(client, nqtest_noise(300000, 2));

    nqtest_drive_until(server, unread, 2);
    ck_assert_int_eq(nq_future_wait(first, 30 * NQTEST_MS), NQ_AGAIN);
    ck_assert_uint_eq(nqtest_get_number(server), 1);
    ck_assert_int_eq(nqtest_outcome(first, NULL), NQ_DELIVERED);
    ck_assert_int_eq(nq_future_wait(second, 30 * NQTEST_MS), NQ_AGAIN);
    nq_msg_free(nqtest_get(server));
    ck_assert_int_eq(nqtest_outcome(second, NULL), NQ_DELIVERED);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* A queue of few messages: each quarter that is taken lets more come, and the sender's keeper
 * goes on by itself. */
START_TEST(what_is_taken_lets_more_come)
{
    nq_queue *server = nqtest_server(_i, ", 'queue': {'messages': 4}");
    nq_queue *client = nqtest_join(server, "");

    for (uint64_t i = 0; i < 500; i++)
        nqtest_put(client, nqtest_number(i));
    for (uint64_t i = 0; i < 500; i++) {
        ck_assert_uint_eq(nqtest_get_number(server), i);
        ck_assert_uint_le(nqtest_stats(server).unread, 4);
    }
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue_get");
    TCase *tc = tcase_create("queue_get");

    tcase_set_timeout(tc, 30);
    nqtest_each(tc, an_empty_queue_gives_nothing_within_the_time_out);
    nqtest_each(tc, a_message_that_is_there_needs_no_wait);
    nqtest_each(tc, a_getter_that_waits_for_ever_gets_what_comes);
    nqtest_each(tc, a_getter_that_waits_is_woken_by_the_close);
    nqtest_each(tc, after_the_close_comes_what_is_left_and_then_the_end);
    nqtest_each(tc, messages_outlive_the_queue_and_unread_ones_are_released);
    nqtest_each(tc, a_get_takes_from_the_peers_it_names_only);
    nqtest_each(tc, a_named_peer_is_waited_for_while_others_send);
    nqtest_each(tc, messages_of_a_peer_that_is_gone_are_there_under_its_name);
    nqtest_each(tc, a_client_gets_from_its_server_by_name);
    nqtest_each(tc, many_messages_are_taken_at_once_up_to_the_room);
    nqtest_each(tc, what_comes_on_the_thread_that_waits_goes_straight_to_it);
    nqtest_each(tc, what_there_is_no_room_for_comes_next_in_order);
    nqtest_each(tc, many_messages_of_many_peers_all_come);
    nqtest_each(tc, a_busy_peer_does_not_hide_the_others);
    tcase_add_loop_test(tc, each_message_goes_to_one_getter, 0, 4);
    nqtest_each(tc, with_ack_consumed_a_message_is_delivered_when_a_get_returned_it);
    nqtest_each(tc, what_is_taken_lets_more_come);
    suite_add_tcase(suite, tc);
    return suite;
}
