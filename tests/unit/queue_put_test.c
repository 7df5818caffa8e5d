/* core/queue_put.c and core/peer_put.c: to whom a put goes, what it takes, limits and policies. */
#include "core/queue.h"
#include "tests/support/queue.h"
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* ---- to whom ---- */

START_TEST(a_put_of_a_client_goes_to_the_server)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_msg *msg;

    nqtest_put(client, nqtest_msg("hello"));
    msg = nqtest_get(server);
    ck_assert(nq_uuid_equal(nq_msg_sender(msg), nq_id(client)));
    nq_msg_free(msg);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_put_of_a_server_goes_to_all_clients_or_to_those_named)
{
    nq_queue *server = nqtest_server(_i, ""), *clients[3];
    nq_uuid peers[2];

    for (int i = 0; i < 3; i++)
        clients[i] = nqtest_join(server, "");
    nqtest_put(server, nqtest_msg("all"));
    peers[0] = *nq_id(clients[2]);
    peers[1] = *nq_id(clients[0]);
    ck_assert_int_eq(nq_put(server, nqtest_msg("two"), peers, 2, NULL), NQ_OK);
    ck_assert_int_eq(nq_put(server, nqtest_msg("one"), peers, 1, NULL), NQ_OK);
    memset(peers, 0, sizeof(peers)); /* the ids were copied */
    nqtest_put(server, nqtest_msg("last"));

    nqtest_get_text(clients[0], "all");
    nqtest_get_text(clients[0], "two");
    nqtest_get_text(clients[0], "last");
    nqtest_get_text(clients[1], "all");
    nqtest_get_text(clients[1], "last");
    nqtest_get_text(clients[2], "all");
    nqtest_get_text(clients[2], "two");
    nqtest_get_text(clients[2], "one");
    nqtest_get_text(clients[2], "last");
    nqtest_end(server);
    for (int i = 0; i < 3; i++)
        nq_free(clients[i]);
}
END_TEST

static nq_err put_to(nq_queue *queue, const nq_uuid *id, uint64_t number)
{
    nq_msg *msg = nqtest_number(number);
    nq_err err = nq_put(queue, msg, id, 1, NULL);

    if (err)
        nq_msg_free(msg);
    return err;
}

/* Who was put to last is found without the lock; the others as ever. */
START_TEST(puts_to_clients_in_turn_go_to_each)
{
    nq_queue *server = nqtest_server(_i, ""), *clients[3];

    for (int i = 0; i < 3; i++)
        clients[i] = nqtest_join(server, "");
    for (uint64_t n = 0; n < 60; n++)
        ck_assert_int_eq(put_to(server, nq_id(clients[n / 2 % 3]), n), NQ_OK);
    ck_assert(nq_uuid_equal(nqi_peer_id(atomic_load(&server->recent)), nq_id(clients[2])));
    for (uint64_t n = 0; n < 60; n++)
        ck_assert_uint_eq(nqtest_get_number(clients[n / 2 % 3]), n);
    nqtest_end(server);
    for (int i = 0; i < 3; i++)
        nq_free(clients[i]);
}
END_TEST

/* It would come again, but nobody drives it then. */
START_TEST(a_client_that_has_gone_is_not_found_as_the_last_one)
{
    nq_queue *server = nqtest_server(_i, ""),
             *client = nqtest_join(server, ", 'progress': {'mode': 'manual'}");
    nq_uuid id = *nq_id(client);
    struct nqi_peer *peer;

    ck_assert_int_eq(put_to(server, &id, 1), NQ_OK);
    ck_assert_uint_eq(nqtest_get_number(client), 1);
    peer = nqi_queue_find_recent(server, &id); /* as by a put that takes long */
    ck_assert_ptr_null(atomic_load(&server->recent));
    ck_assert_int_eq(nq_disconnect(server, &id), NQ_OK);
    while (!atomic_load(&peer->ended)) /* another thread may be inside of it */
        ck_assert_int_ge(nq_poll(server), 0);
    nqi_queue_put_back(server, peer);
    ck_assert_int_eq(put_to(server, &id, 2), NQ_ERR_NO_PEER);
    ck_assert_ptr_null(atomic_load(&server->recent));
    nq_free(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_client_that_goes_is_not_kept_as_the_last_one)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");

    ck_assert_int_eq(put_to(server, nq_id(client), 1), NQ_OK);
    ck_assert_uint_eq(nqtest_get_number(client), 1);
    ck_assert_ptr_nonnull(atomic_load(&server->recent));
    ck_assert_int_eq(nq_disconnect(server, nq_id(client)), NQ_OK);
    while (atomic_load(&server->recent))
        ck_assert_int_ge(nq_poll(server), 0);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_broadcast_shares_its_memory_and_releases_it_once)
{
    nq_queue *server = nqtest_server(_i, ""), *clients[5];
    struct nqtest_block block;
    nq_uuid peers[8];
    nq_future *future;
    nq_outcome outcome;

    nqtest_block_init(&block, 3 * MIB + 17);
    for (int i = 0; i < 5; i++)
        clients[i] = nqtest_join(server, "");
    future = nqtest_put_future(server, nqtest_block_msg(&block));
    ck_assert_uint_eq(nq_future_peers(future, peers, 8), 5);
    ck_assert_int_eq(nq_future_wait(future, NQTEST_WAIT), NQ_OK);
    for (int i = 0; i < 5; i++) {
        nq_msg *msg = nqtest_get(clients[i]);

        ck_assert_int_eq(nq_future_peer_outcome(future, nq_id(clients[i]), &outcome, NULL), NQ_OK);
        ck_assert_int_eq(outcome, NQ_DELIVERED);
        nqtest_check_noise(msg, block.size, block.size);
        nq_msg_free(msg);
    }
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_DELIVERED);
    ck_assert_uint_eq(block.released, 1);
    ck_assert_uint_eq(nqtest_stats(server).delivered, 5);
    nqtest_end(server);
    for (int i = 0; i < 5; i++)
        nq_free(clients[i]);
    nqtest_block_fini(&block);
}
END_TEST

START_TEST(a_put_to_nobody_is_not_delivered)
{
    nq_queue *server = nqtest_server(_i, "");
    struct nqtest_block block;
    nq_reason reason;

    nqtest_block_init(&block, 10);
    ck_assert_int_eq(nqtest_outcome(nqtest_put_future(server, nqtest_block_msg(&block)), &reason),
                     NQ_NOT_DELIVERED);
    ck_assert_int_eq(reason, NQ_REASON_NO_PEER);
    ck_assert_uint_eq(block.released, 1);
    nqtest_put(server, nqtest_msg("a"));
    nqtest_end(server);
    nqtest_block_fini(&block);
}
END_TEST

START_TEST(a_peer_that_is_not_known_cannot_be_named)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_uuid peers[2] = {*nq_id(client), nqtest_id(1)};
    nq_msg *msg = nqtest_msg("mine");
    nq_future *future = NULL;

    ck_assert_int_eq(nq_put(server, msg, &peers[1], 1, &future), NQ_ERR_NO_PEER);
    ck_assert_ptr_nonnull(strstr(nq_error(), "00000000-0000-4000-8000-000000000001"));
    ck_assert_int_eq(nq_put(server, msg, peers, 2, &future), NQ_ERR_NO_PEER);
    ck_assert_ptr_null(future);
    ck_assert_int_eq(nq_put(server, msg, peers, 1, NULL), NQ_OK); /* it was still ours */
    nqtest_get_text(client, "mine");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_client_may_name_only_its_server)
{
    nq_queue *server, *client;
    nq_uuid stranger = nqtest_id(1), nobody = {{0}}, both[2];
    nq_msg *msg = nqtest_msg("a");

    nqtest_choose_place(_i);
    client = nqtest_client("");
    ck_assert_int_eq(nq_put(client, msg, &nobody, 1, NULL), NQ_ERR_NO_PEER);
    server = nqtest_server_again("");
    nqtest_event(client, NQ_EVENT_PEER_UP);
    both[0] = both[1] = *nq_id(server);
    ck_assert_int_eq(nq_put(client, msg, &nobody, 1, NULL), NQ_ERR_NO_PEER);
    ck_assert_int_eq(nq_put(client, msg, &stranger, 1, NULL), NQ_ERR_NO_PEER);
    ck_assert_int_eq(nq_put(client, msg, both, 2, NULL), NQ_ERR_NO_PEER);
    ck_assert_int_eq(nq_put(client, msg, both, 1, NULL), NQ_OK);
    nqtest_get_text(server, "a");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_message_beyond_the_own_limit_is_too_big)
{
    nq_queue *server = nqtest_server(_i, ""),
             *client = nqtest_join(server, ", 'limits': {'max_message': '1KiB'}");
    nq_msg *msg = nqtest_noise(KIB + 1, 1);

    ck_assert_int_eq(nq_put(client, msg, NULL, 0, NULL), NQ_ERR_TOO_BIG);
    nq_msg_free(msg);
    nqtest_put(client, nqtest_noise(KIB, 2));
    msg = nqtest_get(server);
    nqtest_check_noise(msg, KIB, 2);
    nq_msg_free(msg);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* The one message fails, and nothing else notices.  _i / 2: a message of one record, or of many. */
START_TEST(a_message_beyond_the_peers_limit_is_not_delivered)
{
    nq_queue *server = nqtest_server(_i % 2, ", 'limits': {'max_message': '1KiB'}");
    nq_queue *client = nqtest_join(server, "");
    size_t size = _i / 2 ? 3 * MIB : KIB + 1;
    nq_future *first = nqtest_put_future(client, nqtest_noise(KIB, 1));
    nq_future *big = nqtest_put_future(client, nqtest_noise(size, 2));
    nq_future *last = nqtest_put_future(client, nqtest_noise(KIB, 3));
    nq_reason reason;

    ck_assert_int_eq(nqtest_outcome(first, NULL), NQ_DELIVERED);
    ck_assert_int_eq(nqtest_outcome(big, &reason), NQ_NOT_DELIVERED);
    ck_assert_int_eq(reason, NQ_REASON_LIMIT);
    ck_assert_int_eq(nqtest_outcome(last, NULL), NQ_DELIVERED);
    ck_assert_uint_eq(nqtest_stats(client).dropped_by[NQ_REASON_LIMIT], 1);
    ck_assert_uint_eq(nqtest_stats(client).connects, 1);
    nqtest_end(client);
    ck_assert_uint_eq(nqtest_stats(server).messages_in, 2);
    nqtest_end(server);
}
END_TEST

START_TEST(a_closed_queue_takes_no_put)
{
    nq_queue *server = nqtest_server(_i, "");
    nq_msg *msg = nqtest_msg("a"), *loan;
    void *data;

    ck_assert_int_eq(nq_close(server, 0, NULL), NQ_OK);
    ck_assert_int_eq(nq_put(server, msg, NULL, 0, NULL), NQ_ERR_CLOSED);
    ck_assert_int_eq(nq_loan(server, NULL, 0, 10, &data, &loan), NQ_ERR_CLOSED);
    nq_msg_free(msg);
    nq_free(server);
}
END_TEST

/* ---- what arrives ---- */

static const size_t sizes[] = {
    0,     1,      7,       255, 256,     2047,        2048,    2049,        4096,        65535,
    65536, 100000, MIB - 1, MIB, MIB + 1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 3, 1};

START_TEST(messages_of_all_sizes_arrive_whole_and_in_order_both_ways)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");

    for (size_t i = 0; i < NQI_LEN(sizes); i++) {
        nqtest_put(client, nqtest_noise(sizes[i], i));
        nqtest_put(server, nqtest_noise(sizes[i], i + 100));
    }
    for (size_t i = 0; i < NQI_LEN(sizes); i++) {
        nq_msg *up = nqtest_get(server), *down = nqtest_get(client);

        nqtest_check_noise(up, sizes[i], i);
        nqtest_check_noise(down, sizes[i], i + 100);
        nq_msg_free(up);
        nq_msg_free(down);
    }
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_message_of_many_chunks_arrives_whole)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_stream *stream = NULL;
    char text[2000 * 5 + 1];
    nq_msg *msg = NULL;
    const void *data;
    size_t len;

    ck_assert_int_eq(nq_stream_new(&stream), NQ_OK);
    for (int i = 0; i < 2000; i++) {
        snprintf(text + i * 5, 6, "%05d", i);
        ck_assert_int_eq(nq_stream_write(stream, text + i * 5, 5), NQ_OK);
    }
    ck_assert_int_eq(nq_msg_from_stream(stream, &msg), NQ_OK);
    nq_stream_free(stream);
    nqtest_put(client, msg);
    msg = nqtest_get(server);
    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    ck_assert_uint_eq(len, 10000);
    ck_assert_mem_eq(data, text, len);
    nq_msg_free(msg);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

static const size_t meta_sizes[][2] = {
    {0, 10}, {10, 0}, {100, 2000}, {2048, 4000}, {3 * MIB, 30000}};

START_TEST(metadata_travels_with_the_message)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");

    for (size_t i = 0; i < NQI_LEN(meta_sizes); i++) {
        nq_msg *msg = nqtest_noise(meta_sizes[i][0], i), *noise = nqtest_noise(meta_sizes[i][1], i);
        const void *data, *want;
        size_t len, size;

        ck_assert_int_eq(nq_msg_data(noise, &want, &size), NQ_OK);
        ck_assert_int_eq(nq_msg_set_meta(msg, "noise", want, size), NQ_OK);
        ck_assert_int_eq(nq_msg_set_meta(msg, "name", "value", 5), NQ_OK);
        nq_msg_set_correlation(msg, 1000 + i);
        nqtest_put(client, msg);
        msg = nqtest_get(server);
        nqtest_check_noise(msg, meta_sizes[i][0], i);
        ck_assert_uint_eq(nq_msg_correlation(msg), 1000 + i);
        ck_assert_int_eq(nq_msg_meta(msg, "noise", &data, &len), NQ_OK);
        ck_assert_uint_eq(len, size);
        ck_assert(!size || memcmp(data, want, size) == 0);
        ck_assert_int_eq(nq_msg_meta(msg, "name", &data, &len), NQ_OK);
        ck_assert_uint_eq(len, 5);
        ck_assert_int_eq(nq_msg_meta(msg, "none", &data, &len), NQ_AGAIN);
        nq_msg_free(msg);
        nq_msg_free(noise);
    }
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_received_message_can_be_put_again)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");

    for (size_t i = 0; i < NQI_LEN(sizes); i++) {
        nq_msg *msg = nqtest_noise(sizes[i], i);

        nq_msg_set_correlation(msg, i + 1);
        nqtest_put(client, msg);
        nqtest_put(server, nqtest_get(server));
        msg = nqtest_get(client);
        nqtest_check_noise(msg, sizes[i], i);
        ck_assert_uint_eq(nq_msg_correlation(msg), i + 1);
        ck_assert(nq_uuid_equal(nq_msg_sender(msg), nq_id(server)));
        nq_msg_free(msg);
    }
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_loan_is_filled_in_place_and_arrives)
{
    nq_queue *server = nqtest_server(_i, ""),
             *client = nqtest_join(server, ", 'limits': {'max_message': '1MiB'}");
    nq_uuid stranger = nqtest_id(3);
    nq_msg *msg = NULL;
    void *data;

    ck_assert_int_eq(nq_loan(client, NULL, 0, MIB + 1, &data, &msg), NQ_ERR_TOO_BIG);
    ck_assert_int_eq(nq_loan(client, &stranger, 1, 10, &data, &msg), NQ_ERR_NO_PEER);
    ck_assert_ptr_null(msg);
    ck_assert_int_eq(nq_loan(client, nq_id(server), 1, MIB, &data, &msg), NQ_OK);
    memset(data, 'x', MIB);
    nqtest_put(client, msg);
    msg = nqtest_get(server);
    ck_assert_uint_eq(nq_msg_size(msg), MIB);
    nq_msg_free(msg);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* ---- cancelled ---- */

static void *cancelled_put(void *arg)
{
    nq_msg *msg = nqtest_msg("last words");

    pthread_cancel(pthread_self()); /* acted upon at the first cancellation point: no ck_assert */
    if (nq_put(arg, msg, NULL, 0, NULL))
        return NULL;
    pthread_testcancel();
    return NULL;
}

static void *cancelled_loan(void *arg)
{
    nq_msg *loan;
    void *data;

    pthread_cancel(pthread_self());
    if (nq_loan(arg, NULL, 0, MIB, &data, &loan))
        return NULL;
    memset(data, 0, MIB);
    if (nq_put(arg, loan, NULL, 0, NULL))
        return NULL;
    pthread_testcancel();
    return NULL;
}

/* What it holds while it is inside of the peer would be held for ever. */
START_TEST(a_thread_that_is_cancelled_leaves_the_peer_first)
{
    void *(*const run[])(void *) = {cancelled_put, cancelled_loan};
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    pthread_t thread;
    void *result;

    for (unsigned i = 0; i < NQI_LEN(run); i++) {
        ck_assert_int_eq(pthread_create(&thread, NULL, run[i], client), 0);
        ck_assert_int_eq(pthread_join(thread, &result), 0);
        ck_assert_ptr_eq(result, PTHREAD_CANCELED);
        nq_msg_free(nqtest_get(server));
        ck_assert_int_eq(nqtest_outcome(nqtest_put_future(client, nqtest_msg("next")), NULL),
                         NQ_DELIVERED);
        nqtest_get_text(server, "next");
    }
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* The client's next message reaches the server's thread that waits for it, while another is inside
 * the peer for a loan: it is left to that one, and the first sleeps again. */
static struct {
    nq_queue *client; /* NULL: loans are as ever */
    nq_future *put;   /* acknowledged at once: no clock is set that would wake the thread */
    _Atomic pid_t getter;
    _Atomic unsigned got;
} loan_meets;

nq_err __real_nqi_link_loan(struct nqi_link *link, size_t len, struct nqt_buf **ret);
nq_err __wrap_nqi_link_loan(struct nqi_link *link, size_t len, struct nqt_buf **ret);

nq_err __wrap_nqi_link_loan(struct nqi_link *link, size_t len, struct nqt_buf **ret)
{
    if (loan_meets.client) {
        loan_meets.put = nqtest_put_future(loan_meets.client, nqtest_msg("meanwhile"));
        while (!nqi_strand_is_wanted(nqi_link_strand(link)))
            sched_yield();
        nqtest_until_asleep(&loan_meets.getter);
    }
    return __real_nqi_link_loan(link, len, ret);
}

#define LOAN_HEARD (10000 * NQTEST_MS) /* sooner than a ping would wake the thread */

enum { LOAN_ROUNDS = 12 }; /* in some of them the loop wakes the thread once more by chance */

static void *loan_get(void *arg)
{
    loan_meets.getter = gettid();
    for (; loan_meets.got < LOAN_ROUNDS; loan_meets.got++)
        nqtest_get_text(arg, "meanwhile");
    return NULL;
}

START_TEST(who_waits_hears_of_what_came_during_a_loan)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, ", 'progress': {'spin': 'off'}"),
             *client = nqtest_join(server, "");
    pthread_t thread;
    nq_msg *loan;
    void *data;

    ck_assert_int_eq(pthread_create(&thread, NULL, loan_get, server), 0);
    loan_meets.client = client;
    for (unsigned i = 0; i < LOAN_ROUNDS; i++) {
        nqtest_until_asleep(&loan_meets.getter);
        ck_assert_int_eq(nq_loan(server, nq_id(client), 1, MIB, &data, &loan), NQ_OK);
        nq_msg_free(loan);
        ck_assert_int_eq(nqtest_outcome(loan_meets.put, NULL), NQ_DELIVERED);
        for (int64_t until = nqtest_clock() + LOAN_HEARD; loan_meets.got == i; sched_yield())
            ck_assert_int_lt(nqtest_clock(), until);
    }
    loan_meets.client = NULL;
    nqtest_end_thread(thread);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* ---- order ---- */

enum { ORDER_THREADS = 4, ORDER_EACH = 3000 };

struct order {
    nq_queue *queue;
    unsigned thread;
    bool futures;
};

static void *order_put(void *arg)
{
    static const unsigned char noise[5000];
    struct order *order = arg;

    for (unsigned i = 0; i < ORDER_EACH; i++) {
        nq_msg *msg = nqtest_number((uint64_t)order->thread << 32 | i);
        nq_future *future = NULL;

        /* Small ones, now and then a large one: different ways into the session. */
        if (i % 500 == 0)
            ck_assert_int_eq(nq_msg_set_meta(msg, "m", noise, sizeof(noise)), NQ_OK);
        ck_assert_int_eq(nq_put(order->queue, msg, NULL, 0, order->futures ? &future : NULL),
                         NQ_OK);
        nq_future_free(future);
    }
    return NULL;
}

/* _i / 2: with futures, or without. */
START_TEST(puts_of_each_thread_stay_in_order)
{
    nq_queue *server = nqtest_server(_i % 2, ""), *client = nqtest_join(server, "");
    struct order orders[ORDER_THREADS];
    pthread_t threads[ORDER_THREADS];
    unsigned next[ORDER_THREADS] = {0};

    for (unsigned i = 0; i < ORDER_THREADS; i++) {
        orders[i] = (struct order){client, i, _i / 2};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, order_put, &orders[i]), 0);
    }
    for (unsigned i = 0; i < ORDER_THREADS * ORDER_EACH; i++) {
        uint64_t number = nqtest_get_number(server);

        ck_assert_uint_lt(number >> 32, ORDER_THREADS);
        ck_assert_uint_eq(number & 0xffffffff, next[number >> 32]);
        next[number >> 32]++;
    }
    for (unsigned i = 0; i < ORDER_THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(nq_close(client, NQTEST_WAIT, NULL), NQ_OK);
    ck_assert_uint_eq(nqtest_stats(client).delivered, ORDER_THREADS * ORDER_EACH);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

START_TEST(control_messages_overtake_what_is_queued)
{
    static const char *const order[] = {"c1", "c2", "b1", "b2", "b3"};
    nq_queue *client, *server;
    nq_msg *msg;

    nqtest_choose_place(_i);
    client = nqtest_client("");
    nqtest_put(client, nqtest_msg("b1"));
    nqtest_put(client, nqtest_msg("b2"));
    msg = nqtest_msg("c1");
    nq_msg_set_control(msg, true);
    nqtest_put(client, msg);
    nqtest_put(client, nqtest_msg("b3"));
    msg = nqtest_msg("c2");
    nq_msg_set_control(msg, true);
    nqtest_put(client, msg);
    server = nqtest_server_again("");
    for (size_t i = 0; i < NQI_LEN(order); i++)
        nqtest_get_text(server, order[i]);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* ---- limits and policies: nobody is there to send to ---- */

static nq_queue *lonely(int transport, const char *queue)
{
    char more[256];

    nqtest_choose_place(transport);
    snprintf(more, sizeof(more), ", 'queue': {%s}", queue);
    return nqtest_client(more);
}

/* The numbers that a server gets, in order. */
static void expect_numbers(nq_queue *client, uint64_t first, uint64_t count)
{
    nq_queue *server = nqtest_server_again("");

    for (uint64_t i = 0; i < count; i++)
        ck_assert_uint_eq(nqtest_get_number(server), first + i);
    nqtest_end(client);
    ck_assert_uint_eq(nqtest_stats(server).messages_in, count);
    nqtest_end(server);
}

START_TEST(with_policy_fail_a_full_queue_takes_no_more)
{
    nq_queue *client = lonely(_i, "'messages': 4, 'policy': 'fail'");
    nq_future *future = NULL;
    nq_msg *msg = nqtest_number(4);

    for (uint64_t i = 0; i < 4; i++)
        nqtest_put(client, nqtest_number(i));
    ck_assert_int_eq(nq_put(client, msg, NULL, 0, NULL), NQ_AGAIN);
    ck_assert_int_eq(nq_put(client, msg, NULL, 0, &future), NQ_AGAIN);
    ck_assert_ptr_null(future);
    ck_assert_uint_eq(nqtest_number_of(msg), 4);
    nq_msg_free(msg);
    ck_assert_uint_eq(nqtest_stats(client).queued, 4);
    ck_assert_uint_eq(nqtest_stats(client).queued_bytes, 32);
    expect_numbers(client, 0, 4);
}
END_TEST

START_TEST(the_limit_in_bytes_counts_payload)
{
    nq_queue *client = lonely(_i, "'bytes': 1000"), *server;
    nq_msg *msg = nqtest_noise(1, 0);

    nqtest_put(client, nqtest_noise(600, 1));
    nqtest_put(client, nqtest_noise(400, 2));
    ck_assert_int_eq(nq_put(client, msg, NULL, 0, NULL), NQ_AGAIN);
    nq_msg_free(msg);
    nqtest_put(client, nqtest_noise(0, 3)); /* no payload, no bytes */
    ck_assert_uint_eq(nqtest_stats(client).queued_bytes, 1000);
    server = nqtest_server_again("");
    ck_assert_int_eq(nq_close(client, NQTEST_WAIT, NULL), NQ_OK);
    ck_assert_uint_eq(nqtest_stats(server).messages_in, 3);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_message_larger_than_the_queue_is_admitted_when_it_is_alone)
{
    nq_queue *client = lonely(_i, "'bytes': 1000"), *server;
    nq_msg *msg = nqtest_noise(1, 0);

    nqtest_put(client, nqtest_noise(100000, 1));
    ck_assert_int_eq(nq_put(client, msg, NULL, 0, NULL), NQ_AGAIN);
    nq_msg_free(msg);
    server = nqtest_server_again("");
    msg = nqtest_get(server);
    nqtest_check_noise(msg, 100000, 1);
    nq_msg_free(msg);
    nqtest_put(client, nqtest_noise(0, 2));
    msg = nqtest_get(server);
    nq_msg_free(msg);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

static uint64_t look_dropped(nq_queue *queue)
{
    return nqtest_stats(queue).dropped;
}

START_TEST(with_policy_drop_newest_the_first_ones_stay)
{
    nq_queue *client = lonely(_i, "'messages': 4, 'policy': 'drop_newest'");
    nq_reason reason;

    for (uint64_t i = 0; i < 10; i++) {
        nq_future *future = nqtest_put_future(client, nqtest_number(i));

        if (i < 4) {
            nq_future_free(future);
            continue;
        }
        ck_assert_int_eq(nq_future_poll(future), NQ_OK);
        ck_assert_int_eq(nqtest_outcome(future, &reason), NQ_DROPPED);
        ck_assert_int_eq(reason, NQ_REASON_QUEUE_FULL);
    }
    ck_assert_uint_eq(nqtest_stats(client).dropped, 6);
    ck_assert_uint_eq(nqtest_stats(client).dropped_by[NQ_REASON_QUEUE_FULL], 6);
    expect_numbers(client, 0, 4);
}
END_TEST

START_TEST(with_policy_drop_oldest_the_last_ones_stay)
{
    nq_queue *client = lonely(_i, "'messages': 4, 'policy': 'drop_oldest'");
    nq_future *futures[10];
    nq_reason reason;

    for (uint64_t i = 0; i < 10; i++)
        futures[i] = nqtest_put_future(client, nqtest_number(i));
    for (uint64_t i = 0; i < 10; i++)
        if (i < 6) {
            ck_assert_int_eq(nqtest_outcome(futures[i], &reason), NQ_DROPPED);
            ck_assert_int_eq(reason, NQ_REASON_QUEUE_FULL);
        } else {
            ck_assert_int_eq(nq_future_poll(futures[i]), NQ_AGAIN);
            nq_future_free(futures[i]);
        }
    nqtest_drive_until(client, look_dropped, 6);
    ck_assert_uint_eq(nqtest_stats(client).dropped, 6);
    ck_assert_uint_eq(nqtest_stats(client).queued, 4);
    expect_numbers(client, 6, 4);
}
END_TEST

START_TEST(with_policy_drop_oldest_a_large_message_pushes_all_others_out)
{
    nq_queue *client = lonely(_i, "'bytes': 1000, 'policy': 'drop_oldest'"), *server;
    nq_msg *msg;

    for (uint64_t i = 0; i < 10; i++)
        nqtest_put(client, nqtest_number(i));
    nqtest_put(client, nqtest_noise(5000, 1));
    nqtest_drive_until(client, look_dropped, 10); /* whoever is in the strand drops */
    ck_assert_uint_eq(nqtest_stats(client).queued, 1);
    server = nqtest_server_again("");
    msg = nqtest_get(server);
    nqtest_check_noise(msg, 5000, 1);
    nq_msg_free(msg);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* _i / 2: which of the two policies. */
START_TEST(what_is_dropped_is_told_by_events)
{
    nq_queue *client = lonely(_i % 2, _i / 2 ? "'messages': 4, 'policy': 'drop_oldest'"
                                             : "'messages': 4, 'policy': 'drop_newest'");
    uint64_t count = 0;

    for (uint64_t i = 0; i < 10; i++)
        nqtest_put(client, nqtest_number(i));
    while (count < 6) {
        struct nq_event event = nqtest_event(client, NQ_EVENT_DROPPED);

        ck_assert_int_eq(event.reason, NQ_REASON_QUEUE_FULL);
        count += event.count;
    }
    ck_assert_uint_eq(count, 6);
    nq_free(client);
}
END_TEST

START_TEST(the_marks_are_told_when_the_queue_fills_and_empties)
{
    nq_queue *client = lonely(_i, "'messages': 8"), *server;

    for (uint64_t i = 0; i < 6; i++)
        nqtest_put(client, nqtest_number(i));
    ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_HIGH_MARK), 0);
    nqtest_put(client, nqtest_number(6));
    nqtest_event(client, NQ_EVENT_HIGH_MARK);
    nqtest_put(client, nqtest_number(7));
    ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_LOW_MARK), 0);
    server = nqtest_server_again("");
    nqtest_event(client, NQ_EVENT_LOW_MARK);
    ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_HIGH_MARK), 0);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* One turn takes all; without an acknowledgement and a keep-alive nothing else happens. */
START_TEST(the_low_mark_is_told_by_the_turn_that_empties_the_queue)
{
    static const char quiet[] = ", 'session': {'keepalive': 'off', 'ack': 'consumed'}";
    nq_queue *client, *server;
    char more[256];

    nqtest_choose_place(_i);
    snprintf(more, sizeof(more), ", 'queue': {'messages': 100}%s", quiet);
    client = nqtest_client(more);
    for (uint64_t i = 0; i < 90; i++)
        nqtest_put(client, nqtest_number(i));
    nqtest_event(client, NQ_EVENT_HIGH_MARK);
    server = nqtest_server_again(quiet);
    nqtest_event(client, NQ_EVENT_LOW_MARK);
    nq_free(client);
    nq_free(server);
}
END_TEST

START_TEST(the_marks_count_bytes_as_well)
{
    nq_queue *client = lonely(_i, "'bytes': 1000"), *server;

    nqtest_put(client, nqtest_noise(750, 1));
    ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_HIGH_MARK), 0);
    nqtest_put(client, nqtest_noise(1, 1));
    nqtest_event(client, NQ_EVENT_HIGH_MARK);
    server = nqtest_server_again("");
    nqtest_event(client, NQ_EVENT_LOW_MARK);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* ---- policy block ---- */

struct putter {
    nq_queue *queue;
    nq_msg *msg;
    const nq_uuid *peers; /* `n` of them; NULL = all */
    size_t n;
    nq_future **future; /* NULL = none is wanted */
    nq_err err;
    _Atomic pid_t thread;
    _Atomic bool done;
};

static void *putter_run(void *arg)
{
    struct putter *putter = arg;

    putter->thread = gettid();
    putter->err = nq_put(putter->queue, putter->msg, putter->peers, putter->n, putter->future);
    putter->done = true;
    return NULL;
}

/* A thread that puts into a full queue, and waits. */
static pthread_t putter_start(struct putter *putter, nq_queue *queue, const nq_uuid *peers,
                              size_t n, nq_future **future)
{
    pthread_t thread;

    *putter = (struct putter){
        .queue = queue, .msg = nqtest_number(2), .peers = peers, .n = n, .future = future};
    ck_assert_int_eq(pthread_create(&thread, NULL, putter_run, putter), 0);
    nqtest_until_asleep(&putter->thread);
    ck_assert(!putter->done);
    return thread;
}

START_TEST(with_policy_block_a_put_waits_for_room)
{
    nq_queue *client = lonely(_i, "'messages': 2, 'policy': 'block'"), *server;
    struct putter putter;
    pthread_t thread;

    nqtest_put(client, nqtest_number(0));
    nqtest_put(client, nqtest_number(1));
    thread = putter_start(&putter, client, NULL, 0, NULL);
    server = nqtest_server_again("");
    for (uint64_t i = 0; i < 3; i++)
        ck_assert_uint_eq(nqtest_get_number(server), i);
    nqtest_end_thread(thread);
    ck_assert_int_eq(putter.err, NQ_OK);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_put_that_waits_ends_when_the_queue_closes)
{
    nq_queue *client = lonely(_i, "'messages': 2, 'policy': 'block'");
    struct nq_close_report report;
    struct putter putter;
    pthread_t thread;

    nqtest_put(client, nqtest_number(0));
    nqtest_put(client, nqtest_number(1));
    thread = putter_start(&putter, client, NULL, 0, NULL);
    ck_assert_int_eq(nq_close(client, NQTEST_MS, &report), NQ_AGAIN);
    nqtest_end_thread(thread);
    ck_assert_int_eq(putter.err, NQ_ERR_CLOSED);
    ck_assert_uint_eq(nqtest_number_of(putter.msg), 2);
    ck_assert_uint_eq(report.not_delivered, 2);
    nq_msg_free(putter.msg);
    nq_free(client);
}
END_TEST

START_TEST(a_put_that_waits_goes_on_when_another_is_cancelled)
{
    nq_queue *client = lonely(_i, "'messages': 2, 'policy': 'block'");
    struct putter putter;
    nq_future *future;
    pthread_t thread;

    nqtest_put(client, nqtest_number(0));
    future = nqtest_put_future(client, nqtest_number(1));
    thread = putter_start(&putter, client, NULL, 0, NULL);
    ck_assert_int_eq(nq_future_cancel(future), NQ_OK);
    nqtest_end_thread(thread);
    ck_assert_int_eq(putter.err, NQ_OK);
    nq_future_free(future);
    nq_free(client);
}
END_TEST

START_TEST(a_put_that_waits_goes_on_when_another_expires)
{
    nq_queue *client = lonely(_i, "'messages': 1, 'policy': 'block'");
    nq_msg *msg = nqtest_number(1);

    nq_msg_set_ttl(msg, 50 * NQTEST_MS);
    nqtest_put(client, msg);
    nqtest_put(client, nqtest_number(2));
    ck_assert_uint_eq(nqtest_stats(client).expired, 1);
    nq_free(client);
}
END_TEST

struct blocked {
    nq_queue *queue;
    nq_err first, second;
};

static _Atomic uint64_t blocked_done;
static _Thread_local bool blocked_asks, blocked_late;

static uint64_t look_blocked(nq_queue *queue)
{
    (void)queue;
    return blocked_done;
}

static void put_in_callback(void *arg, nq_future *future)
{
    struct blocked *blocked = arg;
    nq_msg *msg;

    if (blocked_asks) { /* it had settled: this is the caller's own turn, where a put may wait */
        blocked_late = true;
        nq_future_free(future);
        return;
    }
    msg = nqtest_number(9);
    blocked->first = nq_put(blocked->queue, nqtest_number(8), NULL, 0, NULL);
    blocked->second = nq_put(blocked->queue, msg, NULL, 0, NULL);
    nq_msg_free(msg);
    nq_future_free(future);
    blocked_done = 1;
}

START_TEST(a_put_inside_a_callback_never_waits)
{
    nq_queue *client = lonely(_i, "'messages': 2, 'policy': 'block'");
    struct blocked blocked = {.queue = client};
    int64_t ttl = 20 * NQTEST_MS;

    nqtest_put(client, nqtest_number(1));
    do {
        nq_msg *msg = nqtest_number(0);
        nq_future *future;

        nq_msg_set_ttl(msg, ttl);
        future = nqtest_put_future(client, msg);
        blocked_late = false;
        blocked_asks = true;
        ck_assert_int_eq(nq_future_then(future, put_in_callback, &blocked), NQ_OK);
        blocked_asks = false;
        ttl *= 4;
    } while (blocked_late);
    nqtest_drive_until(client, look_blocked, 1);
    ck_assert_int_eq(blocked.first, NQ_OK); /* the room of what expired */
    ck_assert_int_eq(blocked.second, NQ_AGAIN);
    nq_free(client);
}
END_TEST

/* ---- several peers, one of which takes nothing ---- */

/* A client that nobody drives any more and that takes one message; and its server. */
static nq_queue *stopped_client(nq_queue *server)
{
    nq_queue *client = nqtest_client(", 'queue': {'messages': 1}, 'progress': {'mode': 'manual'}");

    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_event(server, NQ_EVENT_PEER_UP);
    return client;
}

START_TEST(a_full_queue_to_one_peer_is_that_peers_affair)
{
    nq_queue *server = nqtest_server(_i, ", 'queue': {'messages': 10}");
    nq_queue *stopped = stopped_client(server), *client = nqtest_join(server, "");
    nq_uuid peers[2] = {*nq_id(stopped), *nq_id(client)};
    nq_future *future;
    nq_outcome outcome;
    nq_reason reason;
    nq_msg *msg;
    nq_err err;

    do { /* until its queue is full */
        msg = nqtest_noise(MIB, 0);
        err = nq_put(server, msg, peers, 1, NULL);
    } while (!err);
    ck_assert_int_eq(err, NQ_AGAIN);
    nq_msg_free(msg);
    ck_assert_int_eq(nq_put(server, nqtest_msg("to both"), peers, 2, &future), NQ_OK);
    nqtest_get_text(client, "to both");
    ck_assert_int_eq(nq_future_wait(future, NQTEST_WAIT), NQ_OK);
    ck_assert_int_eq(nq_future_peer_outcome(future, &peers[1], &outcome, &reason), NQ_OK);
    ck_assert_int_eq(outcome, NQ_DELIVERED);
    ck_assert_int_eq(nq_future_peer_outcome(future, &peers[0], &outcome, &reason), NQ_OK);
    ck_assert_int_eq(outcome, NQ_NOT_DELIVERED);
    ck_assert_int_eq(reason, NQ_REASON_QUEUE_FULL);
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_NOT_DELIVERED);
    nq_free(stopped);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(cancelling_takes_a_message_back_from_who_did_not_get_it)
{
    nq_queue *server = nqtest_server(_i, "");
    nq_queue *stopped = stopped_client(server), *client = nqtest_join(server, "");
    nq_uuid peers[2] = {*nq_id(stopped), *nq_id(client)};
    nq_future *future;
    nq_outcome outcome;

    ck_assert_int_eq(nq_put(server, nqtest_msg("all it takes"), peers, 1, NULL), NQ_OK);
    ck_assert_int_eq(nq_put(server, nqtest_msg("to both"), peers, 2, &future), NQ_OK);
    nqtest_get_text(client, "to both");
    while (nq_future_peer_outcome(future, &peers[1], &outcome, NULL) == NQ_OK &&
           outcome == NQ_PENDING)
        ck_assert_int_eq(nq_future_wait(future, NQTEST_MS), NQ_AGAIN);
    ck_assert_int_eq(nq_future_cancel(future), NQ_AGAIN);
    ck_assert_int_eq(nq_future_peer_outcome(future, &peers[0], &outcome, NULL), NQ_OK);
    ck_assert_int_eq(outcome, NQ_CANCELLED);
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_CANCELLED);
    nq_free(stopped);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* A server with policy `block`, and two clients that take nothing: the queue to the first is full,
 * but for `room` messages. */
static nq_queue *blocking_server(int transport, nq_queue *stopped[2], nq_uuid peers[2],
                                 unsigned room)
{
    nq_queue *server = nqtest_server(transport, ", 'queue': {'messages': 10, 'policy': 'block'}");

    for (int i = 0; i < 2; i++) {
        stopped[i] = stopped_client(server);
        peers[i] = *nq_id(stopped[i]);
    }
    ck_assert_int_eq(nq_put(server, nqtest_msg("all it takes"), peers, 1, NULL), NQ_OK);
    while (nqtest_stats(server).queued)
        sched_yield();
    for (unsigned i = room; i < 10; i++)
        ck_assert_int_eq(nq_put(server, nqtest_noise(MIB, 0), peers, 1, NULL), NQ_OK);
    return server;
}

/* The stopped ones first: they say good-bye while the server still answers. */
static void free_all(nq_queue *server, nq_queue *stopped[2])
{
    nq_free(stopped[0]);
    nq_free(stopped[1]);
    nq_free(server);
}

START_TEST(a_put_that_waits_goes_on_when_one_of_several_parts_is_cancelled)
{
    nq_queue *stopped[2], *server;
    nq_uuid peers[2];
    nq_future *future, *later = NULL;
    struct putter putter;
    pthread_t thread;

    server = blocking_server(_i, stopped, peers, 1);
    ck_assert_int_eq(nq_put(server, nqtest_msg("to both"), peers, 2, &future), NQ_OK);
    thread = putter_start(&putter, server, peers, 1, &later);
    ck_assert_int_eq(nq_future_cancel(future), NQ_AGAIN); /* the other one has it, perhaps */
    nqtest_end_thread(thread);
    ck_assert_int_eq(putter.err, NQ_OK);
    nq_future_free(future);
    nq_future_free(later);
    free_all(server, stopped);
}
END_TEST

START_TEST(a_close_ends_the_wait_for_one_of_several_peers)
{
    nq_queue *stopped[2], *server;
    nq_outcome outcome;
    nq_reason reason;
    nq_uuid peers[2];
    nq_future *future = NULL;
    struct putter putter;
    pthread_t thread;

    server = blocking_server(_i, stopped, peers, 0);
    thread = putter_start(&putter, server, peers, 2, &future);
    ck_assert_int_eq(nq_close(server, 0, NULL), NQ_AGAIN);
    nqtest_end_thread(thread);
    ck_assert_int_eq(putter.err, NQ_OK);
    ck_assert_int_eq(nq_future_wait(future, NQTEST_WAIT), NQ_OK);
    ck_assert_int_eq(nq_future_peer_outcome(future, &peers[0], &outcome, &reason), NQ_OK);
    ck_assert_int_eq(outcome, NQ_NOT_DELIVERED);
    ck_assert_int_eq(reason, NQ_REASON_LOCAL_CLOSE);
    nq_future_free(future);
    free_all(server, stopped);
}
END_TEST

/* ---- windows ---- */

START_TEST(large_messages_pass_through_a_small_credit_window)
{
    nq_queue *server = nqtest_server(_i, ", 'session': {'credit': '64KiB'}");
    nq_queue *client = nqtest_join(server, "");

    for (size_t i = 0; i < 10; i++)
        nqtest_put(client, nqtest_noise(i % 3 ? 3 * MIB + i : 100, i));
    for (size_t i = 0; i < 10; i++) {
        nq_msg *msg = nqtest_get(server);

        nqtest_check_noise(msg, i % 3 ? 3 * MIB + i : 100, i);
        nq_msg_free(msg);
    }
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* Nobody gets: at most the window arrives, and the rest after it was taken. */
START_TEST(no_more_than_the_credit_is_on_its_way)
{
    nq_queue *server = nqtest_server(_i, ", 'session': {'credit': '64KiB'}");
    nq_queue *client = nqtest_join(server, "");
    struct nq_close_report report;
    nq_msg *msg;

    for (unsigned i = 0; i < 1000; i++)
        nqtest_put(client, nqtest_noise(KIB, i));
    while (nqtest_stats(client).queued > 1000 - 64)
        ck_assert_int_eq(nq_get(client, NULL, 0, NQTEST_MS, &msg), NQ_AGAIN);
    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(nq_get(client, NULL, 0, NQTEST_MS, &msg), NQ_AGAIN);
    ck_assert_uint_le(nqtest_stats(server).unread_bytes, 64 * KIB);
    for (unsigned i = 0; i < 1000; i++) {
        msg = nqtest_get(server);
        nqtest_check_noise(msg, KIB, i);
        nq_msg_free(msg);
    }
    ck_assert_int_eq(nq_close(client, NQTEST_WAIT, &report), NQ_OK);
    ck_assert_uint_eq(report.delivered, 1000);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

START_TEST(two_large_senders_share_the_memory_limit)
{
    nq_queue *server = nqtest_server(
        _i, ", 'limits': {'memory': '8MiB', 'max_message': '8MiB'}, 'session': {'credit': '1MiB'}");
    nq_queue *clients[2] = {nqtest_join(server, ""), nqtest_join(server, "")};
    unsigned next[2] = {0};

    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 2; k++)
            nqtest_put(clients[k], nqtest_noise(6 * MIB + k, i));
    for (unsigned i = 0; i < 8; i++) {
        nq_msg *msg = nqtest_get(server);
        unsigned k = nq_uuid_equal(nq_msg_sender(msg), nq_id(clients[1]));

        nqtest_check_noise(msg, 6 * MIB + k, next[k]++);
        nq_msg_free(msg);
    }
    nqtest_end(clients[0]);
    nqtest_end(clients[1]);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue_put");
    TCase *tc = tcase_create("queue_put");

    tcase_set_timeout(tc, 30);
    nqtest_each(tc, a_put_of_a_client_goes_to_the_server);
    nqtest_each(tc, a_put_of_a_server_goes_to_all_clients_or_to_those_named);
    nqtest_each(tc, puts_to_clients_in_turn_go_to_each);
    nqtest_each(tc, a_client_that_has_gone_is_not_found_as_the_last_one);
    nqtest_each(tc, a_client_that_goes_is_not_kept_as_the_last_one);
    nqtest_each(tc, a_broadcast_shares_its_memory_and_releases_it_once);
    nqtest_each(tc, a_put_to_nobody_is_not_delivered);
    nqtest_each(tc, a_peer_that_is_not_known_cannot_be_named);
    nqtest_each(tc, a_client_may_name_only_its_server);
    nqtest_each(tc, a_message_beyond_the_own_limit_is_too_big);
    tcase_add_loop_test(tc, a_message_beyond_the_peers_limit_is_not_delivered, 0, 4);
    nqtest_each(tc, a_closed_queue_takes_no_put);
    nqtest_each(tc, messages_of_all_sizes_arrive_whole_and_in_order_both_ways);
    nqtest_each(tc, a_message_of_many_chunks_arrives_whole);
    nqtest_each(tc, metadata_travels_with_the_message);
    nqtest_each(tc, a_received_message_can_be_put_again);
    nqtest_each(tc, a_loan_is_filled_in_place_and_arrives);
    tcase_add_loop_test(tc, puts_of_each_thread_stay_in_order, 0, 4);
    nqtest_each(tc, control_messages_overtake_what_is_queued);
    nqtest_each(tc, with_policy_fail_a_full_queue_takes_no_more);
    nqtest_each(tc, the_limit_in_bytes_counts_payload);
    nqtest_each(tc, a_message_larger_than_the_queue_is_admitted_when_it_is_alone);
    nqtest_each(tc, with_policy_drop_newest_the_first_ones_stay);
    nqtest_each(tc, with_policy_drop_oldest_the_last_ones_stay);
    nqtest_each(tc, with_policy_drop_oldest_a_large_message_pushes_all_others_out);
    tcase_add_loop_test(tc, what_is_dropped_is_told_by_events, 0, 4);
    nqtest_each(tc, the_marks_are_told_when_the_queue_fills_and_empties);
    nqtest_each(tc, the_marks_count_bytes_as_well);
    nqtest_each(tc, the_low_mark_is_told_by_the_turn_that_empties_the_queue);
    nqtest_each(tc, with_policy_block_a_put_waits_for_room);
    nqtest_each(tc, a_put_that_waits_ends_when_the_queue_closes);
    nqtest_each(tc, a_put_that_waits_goes_on_when_another_is_cancelled);
    nqtest_each(tc, a_put_that_waits_goes_on_when_another_expires);
    nqtest_each(tc, a_put_inside_a_callback_never_waits);
    nqtest_each(tc, a_full_queue_to_one_peer_is_that_peers_affair);
    nqtest_each(tc, cancelling_takes_a_message_back_from_who_did_not_get_it);
    nqtest_each(tc, a_put_that_waits_goes_on_when_one_of_several_parts_is_cancelled);
    nqtest_each(tc, a_close_ends_the_wait_for_one_of_several_peers);
    nqtest_each(tc, large_messages_pass_through_a_small_credit_window);
    nqtest_each(tc, no_more_than_the_credit_is_on_its_way);
    nqtest_each(tc, two_large_senders_share_the_memory_limit);
    suite_add_tcase(suite, tc);

    tc = tcase_create("loans");
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, who_waits_hears_of_what_came_during_a_loan);
    nqtest_each(tc, a_thread_that_is_cancelled_leaves_the_peer_first);
    suite_add_tcase(suite, tc);
    return suite;
}
