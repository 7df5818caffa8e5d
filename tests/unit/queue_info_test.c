/* core/queue_info.c: counters that add up, one's own event loop, and the other modes of progress.
 */
#include "core/base.h"
#include "tests/support/queue.h"
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define MANUAL ", 'progress': {'mode': 'manual'}"
#define THREAD ", 'progress': {'mode': 'thread'}"

static uint64_t unread(nq_queue *queue)
{
    return nqtest_stats(queue).unread;
}

static uint64_t delivered(nq_queue *queue)
{
    return nqtest_stats(queue).delivered;
}

static uint64_t messages_in(nq_queue *queue)
{
    return nqtest_stats(queue).messages_in;
}

static uint64_t no_links(nq_queue *queue)
{
    return !nqtest_stats(queue).links;
}

/* ---- counters ---- */

START_TEST(a_new_queue_counts_nothing)
{
    nq_queue *server = nqtest_server(_i, "");
    struct nq_stats stats = nqtest_stats(server);

    ck_assert_uint_eq(stats.messages_out + stats.messages_in + stats.delivered + stats.unread, 0);
    ck_assert_uint_eq(stats.peers + stats.links + stats.connects + stats.refusals, 0);
    nqtest_end(server);
}
END_TEST

START_TEST(counters_of_both_sides_add_up)
{
    nq_queue *server = nqtest_server(_i, ""), *clients[3];
    uint64_t bytes = 0, out = 0;
    struct nq_stats stats;

    for (unsigned i = 0; i < 3; i++) {
        clients[i] = nqtest_join(server, "");
        for (unsigned k = 0; k < 100; k++, out++) {
            size_t size = k * k * 10;

            nqtest_put(clients[i], nqtest_noise(size, k));
            bytes += size;
        }
    }
    for (unsigned i = 0; i < 250; i++)
        nq_msg_free(nqtest_get(server));
    for (unsigned i = 0; i < 3; i++) {
        nqtest_drive_until(clients[i], delivered, 100);
        stats = nqtest_stats(clients[i]);
        ck_assert_uint_eq(stats.delivered, 100);
        ck_assert_uint_eq(stats.messages_out, 100);
        ck_assert_uint_eq(stats.bytes_out, bytes / 3);
        ck_assert_uint_eq(stats.queued + stats.queued_bytes, 0);
        ck_assert_uint_eq(stats.peers, 1);
        ck_assert_uint_eq(stats.links, 1);
        ck_assert_uint_eq(stats.connects, 1);
    }
    nqtest_drive_until(server, messages_in, out);
    stats = nqtest_stats(server);
    ck_assert_uint_eq(stats.messages_in, out);
    ck_assert_uint_eq(stats.bytes_in, bytes);
    ck_assert_uint_eq(stats.unread, out - 250);
    ck_assert_uint_eq(stats.peers, 3);
    ck_assert_uint_eq(stats.links, 3);
    ck_assert_uint_eq(stats.connects, 3);

    /* What peers counted stays when they are gone. */
    for (unsigned i = 0; i < 3; i++)
        nqtest_end(clients[i]);
    nqtest_drive_until(server, no_links, 1);
    stats = nqtest_stats(server);
    ck_assert_uint_eq(stats.messages_in, out);
    ck_assert_uint_eq(stats.bytes_in, bytes);
    ck_assert_uint_eq(stats.peers, 0);
    nqtest_end(server);
}
END_TEST

START_TEST(every_put_is_counted_under_one_outcome)
{
    nq_queue *client;
    struct nq_close_report report;
    struct nq_stats stats;
    nq_future *future;
    nq_msg *msg;

    nqtest_choose_place(_i);
    client = nqtest_client(", 'queue': {'messages': 5, 'policy': 'drop_newest'}");
    future = nqtest_put_future(client, nqtest_number(0));
    msg = nqtest_number(1);
    nq_msg_set_ttl(msg, 1);
    ck_assert_int_eq(nqtest_outcome(nqtest_put_future(client, msg), NULL), NQ_EXPIRED);
    for (uint64_t i = 0; i < 10; i++)
        nqtest_put(client, nqtest_number(i));
    ck_assert_int_eq(nq_future_cancel(future), NQ_OK);
    nq_future_free(future);
    ck_assert_int_eq(nq_close(client, 0, &report), NQ_AGAIN);
    stats = nqtest_stats(client);
    ck_assert_uint_eq(stats.expired, 1);
    ck_assert_uint_eq(stats.dropped, 6);
    ck_assert_uint_eq(stats.cancelled, 1);
    ck_assert_uint_eq(stats.not_delivered, 4);
    ck_assert_uint_eq(stats.delivered + stats.unknown, 0);
    ck_assert_uint_eq(stats.dropped_by[NQ_REASON_QUEUE_FULL], 6);
    ck_assert_uint_eq(stats.dropped_by[NQ_REASON_LOCAL_CLOSE], 4);
    ck_assert_uint_eq(report.not_delivered, 12);
    ck_assert_uint_eq(report.delivered + report.unknown + report.unread, 0);
    nq_free(client);
}
END_TEST

START_TEST(a_caller_with_a_smaller_struct_gets_the_part_it_knows)
{
    nq_queue *server = nqtest_server(_i, "");
    struct nq_stats stats;

    memset(&stats, 0xee, sizeof(stats));
    ck_assert_int_eq(nq_stats_get(server, &stats, offsetof(struct nq_stats, messages_in)), NQ_OK);
    ck_assert_uint_eq(stats.messages_out, 0);
    ck_assert_uint_eq(stats.messages_in, UINT64_C(0xeeeeeeeeeeeeeeee));
    nqtest_end(server);
}
END_TEST

static void *count_run(void *arg)
{
    nq_queue *queue = arg;
    uint64_t last = 0;

    /* The sum of all peers, of those that are gone as well, never falls. */
    do {
        uint64_t now = messages_in(queue);

        if (now < last)
            return (void *)"it fell";
        last = now;
    } while (last < 50 * 20);
    return NULL;
}

START_TEST(counters_never_fall_while_peers_come_and_go)
{
    nq_queue *server = nqtest_server(_i, ""), *client;
    pthread_t thread;
    void *failure;

    ck_assert_int_eq(pthread_create(&thread, NULL, count_run, server), 0);
    for (unsigned i = 0; i < 50; i++) {
        client = nqtest_client("");
        for (unsigned k = 0; k < 20; k++)
            nqtest_put(client, nqtest_number(k));
        nqtest_end(client);
    }
    nqtest_drive_until(server, messages_in, 50 * 20);
    pthread_join(thread, &failure);
    ck_assert_ptr_null(failure);
    nqtest_end(server);
}
END_TEST

/* ---- one's own event loop ---- */

START_TEST(only_a_manual_queue_has_a_descriptor)
{
    nq_queue *server = nqtest_server(_i, ""), *manual = nqtest_client(MANUAL),
             *thread = nqtest_client(THREAD);

    ck_assert_int_eq(nq_fd(server), -1);
    ck_assert_int_eq(nq_fd(thread), -1);
    ck_assert_int_ge(nq_fd(manual), 0);
    nq_free(manual);
    nq_free(thread);
    nqtest_end(server);
}
END_TEST

/* Sleep until the queue has something to do, then do it.  False: nothing came for `ms`. */
static bool poll_once(nq_queue *queue, int ms)
{
    struct pollfd pollfd = {.fd = nq_fd(queue), .events = POLLIN};

    if (!poll(&pollfd, 1, ms))
        return false;
    ck_assert_int_ge(nq_poll(queue), 0);
    return true;
}

static void poll_both(nq_queue *a, nq_queue *b)
{
    struct pollfd pollfds[2] = {{.fd = nq_fd(a), .events = POLLIN},
                                {.fd = nq_fd(b), .events = POLLIN}};

    ck_assert_int_gt(poll(pollfds, 2, 20000), 0);
    ck_assert_int_ge(nq_poll(a), 0);
    ck_assert_int_ge(nq_poll(b), 0);
}

/* Both ends on this one thread: nothing but poll(2) ever wakes it. */
START_TEST(a_program_drives_its_queues_by_poll)
{
    nq_queue *server = nqtest_server(_i, MANUAL), *client = nqtest_client(MANUAL);
    nq_future *last = NULL;
    uint64_t got = 0;
    nq_msg *msg;

    while (nqtest_stats(client).connects < 1)
        poll_both(server, client);
    for (uint64_t i = 0; i < 2000; i++) {
        msg = nqtest_noise(i % 100 ? 100 : 300000, i);
        ck_assert_int_eq(nq_put(client, msg, NULL, 0, i == 1999 ? &last : NULL), NQ_OK);
    }
    while (nq_future_poll(last)) {
        poll_both(server, client);
        while (nq_get(server, NULL, 0, 0, &msg) == NQ_OK) {
            nqtest_check_noise(msg, got % 100 ? 100 : 300000, got);
            got++;
            nq_msg_free(msg);
        }
    }
    while (nq_get(server, NULL, 0, 0, &msg) == NQ_OK) {
        got++;
        nq_msg_free(msg);
    }
    ck_assert_uint_eq(got, 2000);
    ck_assert_int_eq(nqtest_outcome(last, NULL), NQ_DELIVERED);
    nqtest_part(server, client);
    nq_free(server);
}
END_TEST

START_TEST(the_descriptor_is_readable_while_messages_wait)
{
    nq_queue *server = nqtest_server(_i, MANUAL), *client = nqtest_client("");
    struct pollfd pollfd = {.fd = nq_fd(server), .events = POLLIN};

    nqtest_put(client, nqtest_number(1));
    nqtest_put(client, nqtest_number(2));
    while (unread(server) < 2)
        ck_assert(poll_once(server, 20000));
    nqtest_drain_events(server, NQ_EVENT_PEER_UP);
    ck_assert_int_eq(poll(&pollfd, 1, 0), 1);
    nq_msg_free(nqtest_get(server));
    ck_assert_int_eq(poll(&pollfd, 1, 0), 1);
    nq_msg_free(nqtest_get(server));
    while (poll_once(server, 100)) /* the acknowledgement */
        nqtest_drain_events(server, NQ_EVENT_PEER_UP);
    nqtest_end(server); /* first: nobody drives it */
    nqtest_end(client);
}
END_TEST

START_TEST(the_descriptor_is_readable_while_events_wait)
{
    nq_queue *server = nqtest_server(_i, MANUAL ", 'queue': {'messages': 4}");
    nq_queue *client = nqtest_client("");
    struct pollfd pollfd = {.fd = nq_fd(server), .events = POLLIN};
    struct nq_event event;

    while (nqtest_stats(server).connects < 1)
        ck_assert(poll_once(server, 20000));
    nqtest_drain_events(server, NQ_EVENT_PEER_UP);
    while (poll_once(server, 100))
        ;
    /* Made by a call of ours, not by what came through a descriptor. */
    ck_assert_int_eq(nq_disconnect(server, nq_id(client)), NQ_OK);
    for (int i = 0; i < 3 && poll(&pollfd, 1, 0) == 1; i++)
        ck_assert_int_eq(nq_poll(server), NQ_OK);
    ck_assert_int_eq(poll(&pollfd, 1, 0), 1);
    while (nq_event_get(server, 0, &event) == NQ_OK)
        ;
    nq_free(client);
    while (poll_once(server, 100))
        nqtest_drain_events(server, NQ_EVENT_PEER_UP);
    nq_free(server);
}
END_TEST

START_TEST(the_descriptor_is_readable_when_nothing_will_come_any_more)
{
    nq_queue *server = nqtest_server(_i, MANUAL);
    struct pollfd pollfd = {.fd = nq_fd(server), .events = POLLIN};

    while (poll_once(server, 100))
        ;
    ck_assert_int_eq(nq_close(server, 0, NULL), NQ_OK);
    ck_assert_int_eq(poll(&pollfd, 1, 0), 1);
    ck_assert_int_eq(nq_poll(server), NQ_END);
    nq_free(server);
}
END_TEST

START_TEST(a_manual_queue_runs_callbacks_when_it_is_polled)
{
    nq_queue *client;
    nq_future *future;
    nq_msg *msg = nqtest_number(1);

    nqtest_choose_place(_i);
    client = nqtest_client(MANUAL);
    nq_msg_set_ttl(msg, 20 * NQTEST_MS);
    future = nqtest_put_future(client, msg);
    while (nq_future_poll(future))
        ck_assert(poll_once(client, 20000));
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_EXPIRED);
    nq_free(client);
}
END_TEST

/* In mode manual the calls that wait drive as well. */
START_TEST(a_manual_queue_can_wait_too)
{
    nq_queue *server = nqtest_server(_i, MANUAL), *client = nqtest_client("");

    nqtest_put(client, nqtest_number(1));
    ck_assert_uint_eq(nqtest_get_number(server), 1);
    nqtest_put(server, nqtest_number(2));
    ck_assert_uint_eq(nqtest_get_number(client), 2);
    ck_assert_int_eq(nq_close(server, NQTEST_WAIT, NULL), NQ_OK);
    nq_free(server);
    nq_free(client);
}
END_TEST

START_TEST(polling_tells_the_end)
{
    nq_queue *server = nqtest_server(_i, MANUAL), *client = nqtest_client("");

    nqtest_put(client, nqtest_number(1));
    while (unread(server) < 1)
        ck_assert(poll_once(server, 20000));
    ck_assert_int_eq(nq_poll(server), NQ_OK);
    ck_assert_int_eq(nq_close(server, NQTEST_WAIT, NULL), NQ_OK);
    ck_assert_int_eq(nq_poll(server), NQ_OK); /* not empty */
    nq_msg_free(nqtest_get(server));
    ck_assert_int_eq(nq_poll(server), NQ_END);
    nq_free(server);
    nq_free(client);
}
END_TEST

/* ---- the other modes ---- */

START_TEST(in_mode_thread_the_library_drives)
{
    nq_queue *server = nqtest_server(_i, THREAD), *client = nqtest_join(server, THREAD);
    int64_t until = nqtest_clock() + NQTEST_WAIT;

    for (uint64_t i = 0; i < 1000; i++)
        nqtest_put(client, nqtest_number(i));
    while (delivered(client) < 1000)
        ck_assert_int_lt(nqtest_clock(), until);
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert_uint_eq(nqtest_get_number(server), i);
    ck_assert_int_eq(nq_poll(client), NQ_OK);
    nqtest_put(server, nqtest_number(5));
    ck_assert_uint_eq(nqtest_get_number(client), 5);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

enum { WORKERS_CLIENTS = 8, WORKERS_EACH = 1000 };

static void *workers_run(void *arg)
{
    nq_queue *client = arg;

    for (uint64_t i = 0; i < WORKERS_EACH; i++)
        if (nq_put(client, nqtest_number(i), NULL, 0, NULL))
            return (void *)"put";
    for (uint64_t i = 0; i < WORKERS_EACH; i++) {
        nq_msg *msg;

        if (nq_get(client, NULL, 0, NQTEST_WAIT, &msg))
            return (void *)"get";
        if (nqtest_number_of(msg) != i)
            return (void *)"order";
        nq_msg_free(msg);
    }
    return NULL;
}

/* An echo server with four loops; one thread echoes. */
START_TEST(four_workers_serve_eight_clients)
{
    nq_queue *server = nqtest_server(_i % 2, ", 'progress': {'workers': 4}");
    nq_queue *clients[WORKERS_CLIENTS];
    pthread_t threads[WORKERS_CLIENTS];
    void *failure;

    for (int i = 0; i < WORKERS_CLIENTS; i++)
        clients[i] = nqtest_join(server, "");
    for (int i = 0; i < WORKERS_CLIENTS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, workers_run, clients[i]), 0);
    for (int i = 0; i < WORKERS_CLIENTS * WORKERS_EACH; i++) {
        nq_msg *msg = nqtest_get(server);
        nq_uuid from = *nq_msg_sender(msg);

        ck_assert_int_eq(nq_put(server, msg, &from, 1, NULL), NQ_OK);
    }
    for (int i = 0; i < WORKERS_CLIENTS; i++) {
        pthread_join(threads[i], &failure);
        ck_assert_msg(!failure, "%s", (const char *)failure);
        nqtest_end(clients[i]);
    }
    nqtest_end(server);
}
END_TEST

struct one_at_a_time {
    _Atomic unsigned inside, count, overlaps;
};

static void one_enter(struct one_at_a_time *one)
{
    int64_t until = nqtest_clock() + NQTEST_MS / 5;

    one->overlaps += one->inside++ != 0;
    while (nqtest_clock() < until)
        ;
    one->inside--;
    one->count++;
}

static _Thread_local bool one_inside_then;

static void one_on_settled(void *arg, nq_future *future)
{
    struct one_at_a_time *one = arg;

    nq_future_free(future);
    if (one_inside_then) /* it had settled: this is the caller's own turn */
        one->count++;
    else
        one_enter(one);
}

static void one_on_event(void *arg, const struct nq_event *event)
{
    (void)event;
    one_enter(arg);
}

/* Futures and events, with waiting threads in the rooms of several loops. */
START_TEST(callbacks_of_a_queue_run_one_at_a_time)
{
    enum { CLIENTS = 8, EACH = 30 };
    nq_queue *server = nqtest_server(_i, ", 'progress': {'workers': 4}"), *clients[CLIENTS];
    int64_t until = nqtest_clock() + NQTEST_WAIT;
    struct one_at_a_time one = {0};

    for (int i = 0; i < CLIENTS; i++)
        clients[i] = nqtest_join(server, "");
    nq_event_callback(server, one_on_event, &one);
    for (unsigned k = 0; k < EACH; k++)
        for (unsigned i = 0; i < CLIENTS; i++) {
            nq_future *future;

            nqtest_put(clients[i], nqtest_number(k)); /* moves the room where callers wait */
            nq_msg_free(nqtest_get(server));
            ck_assert_int_eq(nq_put(server, nqtest_number(k), nq_id(clients[i]), 1, &future),
                             NQ_OK);
            one_inside_then = true;
            ck_assert_int_eq(nq_future_then(future, one_on_settled, &one), NQ_OK);
            one_inside_then = false;
        }
    while (one.count < EACH * CLIENTS)
        ck_assert_int_lt(nqtest_clock(), until);
    for (int i = 0; i < CLIENTS; i++)
        nq_free(clients[i]);
    while (one.count < (EACH + 1) * CLIENTS)
        ck_assert_int_lt(nqtest_clock(), until);
    ck_assert_uint_eq(one.overlaps, 0);
    nq_event_callback(server, NULL, NULL);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue_info");
    TCase *tc = tcase_create("queue_info");

    tcase_set_timeout(tc, 30);
    nqtest_each(tc, a_new_queue_counts_nothing);
    nqtest_each(tc, counters_of_both_sides_add_up);
    nqtest_each(tc, every_put_is_counted_under_one_outcome);
    nqtest_each(tc, a_caller_with_a_smaller_struct_gets_the_part_it_knows);
    nqtest_each(tc, counters_never_fall_while_peers_come_and_go);
    nqtest_each(tc, only_a_manual_queue_has_a_descriptor);
    nqtest_each(tc, a_program_drives_its_queues_by_poll);
    nqtest_each(tc, the_descriptor_is_readable_while_messages_wait);
    nqtest_each(tc, the_descriptor_is_readable_while_events_wait);
    nqtest_each(tc, the_descriptor_is_readable_when_nothing_will_come_any_more);
    nqtest_each(tc, a_manual_queue_runs_callbacks_when_it_is_polled);
    nqtest_each(tc, a_manual_queue_can_wait_too);
    nqtest_each(tc, polling_tells_the_end);
    nqtest_each(tc, in_mode_thread_the_library_drives);
    tcase_add_loop_test(tc, four_workers_serve_eight_clients, 0, 2);
    nqtest_each(tc, callbacks_of_a_queue_run_one_at_a_time);
    suite_add_tcase(suite, tc);
    return suite;
}
