/* core/queue.c: opening, closing and freeing, in every state that a queue may be in. */
#include "core/base.h"
#include "tests/support/alloc.h"
#include "tests/support/queue.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define MANUAL ", 'progress': {'mode': 'manual'}"
#define SOON (5000 * NQTEST_MS) /* "at once", on a machine with other things to do */

static uint64_t unread(nq_queue *queue)
{
    return nqtest_stats(queue).unread;
}

static uint64_t no_links(nq_queue *queue)
{
    return !nqtest_stats(queue).links;
}

/* A client that nobody drives once it is there. */
static nq_queue *stopped_client(nq_queue *server)
{
    nq_queue *client = nqtest_client(MANUAL);

    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_event(server, NQ_EVENT_PEER_UP);
    return client;
}

/* ---- opening ---- */

static const struct {
    const char *text;
    nq_err err;
    const char *says;
} wrong[] = {
    {"", NQ_ERR_CONFIG, NULL},
    {"{'purpose': 'server'", NQ_ERR_CONFIG, NULL},
    {"{'purpose': 'server'}", NQ_ERR_CONFIG, "transport"},
    {"{'transport': 'loop'}", NQ_ERR_CONFIG, "purpose"},
    {"{'purpose': 'both', 'transport': 'loop'}", NQ_ERR_CONFIG, "/purpose"},
    {"{'purpose': 'client', 'transport': 'loop', 'nmae': 'x'}", NQ_ERR_CONFIG, "name"},
    {"{'purpose': 'client', 'transport': 'tcp', 'port': 65536}", NQ_ERR_CONFIG, "/port"},
    {"{'purpose': 'client', 'transport': 'tcp', 'port': '80'}", NQ_ERR_CONFIG, "/port"},
    {"{'purpose': 'client', 'transport': 'loop', 'id': 'me'}", NQ_ERR_CONFIG, "/id"},
    {"{'purpose': 'client', 'transport': 'loop', 'queue': {'messages': 0}}", NQ_ERR_CONFIG,
     "/queue/messages"},
    {"{'purpose': 'client', 'transport': 'pigeon'}", NQ_ERR_PLUGIN, "pigeon"},
};

START_TEST(what_is_wrong_is_told_and_nothing_is_left)
{
    unsigned before = nqtest_descriptors();
    nq_queue *queue = (nq_queue *)(uintptr_t)8;

    for (size_t i = 0; i < NQI_LEN(wrong); i++) {
        ck_assert_msg(nqtest_try_open(&queue, "%s", wrong[i].text[0] ? wrong[i].text : " ") ==
                          wrong[i].err,
                      "%s: %s", wrong[i].text, nq_error());
        ck_assert_str_ne(nq_error(), "");
        if (wrong[i].says)
            ck_assert_msg(strstr(nq_error(), wrong[i].says), "%s: %s", wrong[i].text, nq_error());
    }
    ck_assert_ptr_eq(queue, (nq_queue *)(uintptr_t)8);
    ck_assert_uint_eq(nqtest_descriptors(), before);
}
END_TEST

START_TEST(a_file_is_opened_by_its_path)
{
    char path[] = "/tmp/nqtest-XXXXXX";
    static const char text[] = "{\"purpose\": \"server\", \"transport\": \"loop\"}";
    int fd = mkstemp(path);
    nq_queue *queue = NULL;

    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    ck_assert_int_eq(nq_open(path, &queue), NQ_OK);
    nqtest_end(queue);
    unlink(path);
    ck_assert_int_lt(nq_open(path, &queue), 0);
    ck_assert_ptr_nonnull(strstr(nq_error(), path));
}
END_TEST

/* Only the broker knows, so it is an event. */
static void place_is_in_use_later(nq_queue *server)
{
    nq_queue *client = nqtest_join(server, ""), *second = nqtest_server_again("");

    ck_assert_ptr_nonnull(strstr(nqtest_event(second, NQ_EVENT_REFUSED).text, "in use"));
    nqtest_put(client, nqtest_msg("to the first"));
    nqtest_get_text(server, "to the first");
    nqtest_end(client);
    nqtest_end(second);
    nqtest_end(server);
}

START_TEST(a_place_that_is_in_use_cannot_be_opened_again)
{
    nq_queue *server = nqtest_server(_i, ""), *second = NULL;
    unsigned before = nqtest_descriptors();

    if (_i == nqtest_transport_of("mqtt")) {
        place_is_in_use_later(server);
        return;
    }
    ck_assert_int_lt(nqtest_try_open(&second, "{'purpose': 'server', %s}", nqtest_place()), 0);
    ck_assert_ptr_nonnull(strstr(nq_error(), "in use"));
    ck_assert_ptr_null(second);
    nqtest_until_descriptors(before); /* the first sees that who knocked has gone */
    nqtest_end(server);
    server = nqtest_server_again("");
    nqtest_end(server);
}
END_TEST

START_TEST(a_queue_has_the_id_it_was_given_or_one_of_its_own)
{
    nq_queue *server = nqtest_server(_i, ""), *first = nqtest_client(""),
             *second = nqtest_client(", 'id': '00000000-0000-4000-8000-000000000002'");
    nq_uuid two = nqtest_id(2), nil = {{0}};

    ck_assert(nq_uuid_equal(nq_id(second), &two));
    ck_assert(!nq_uuid_equal(nq_id(first), nq_id(second)));
    ck_assert(!nq_uuid_equal(nq_id(first), &nil));
    nq_free(first);
    nq_free(second);
    nqtest_end(server);
}
END_TEST

/* One that cannot listen is enough to fail, and the others are closed again. */
START_TEST(a_server_listens_on_all_of_its_transports)
{
    nq_queue *server, *by_loop, *by_tcp, *second = NULL;
    char tcp[256], loop[256];

    nqtest_choose_place(NQTEST_TCP);
    snprintf(tcp, sizeof(tcp), "%s", nqtest_place());
    nqtest_choose_place(NQTEST_LOOP);
    snprintf(loop, sizeof(loop), "%s", nqtest_place());
    server = nqtest_open("{'purpose': 'server', 'transports': [{%s}, {%s}]}", loop, tcp);
    by_loop = nqtest_open("{'purpose': 'client', %s}", loop);
    by_tcp = nqtest_open("{'purpose': 'client', %s}", tcp);
    ck_assert_str_eq(nqtest_event(by_loop, NQ_EVENT_PEER_UP).transport, "loop");
    ck_assert_str_eq(nqtest_event(by_tcp, NQ_EVENT_PEER_UP).transport, "tcp");
    nqtest_put(by_loop, nqtest_msg("l"));
    nqtest_get_text(server, "l");
    nqtest_put(by_tcp, nqtest_msg("t"));
    nqtest_get_text(server, "t");
    ck_assert_int_lt(nqtest_try_open(&second,
                                     "{'purpose': 'server', 'transports': [{'transport': 'loop', "
                                     "'name': 'other'}, {%s}]}",
                                     tcp),
                     0);
    second = nqtest_open("{'purpose': 'server', 'transport': 'loop', 'name': 'other'}");
    nqtest_end(second);
    nqtest_end(by_loop);
    nqtest_end(by_tcp);
    nqtest_end(server);
}
END_TEST

START_TEST(a_client_takes_the_first_transport_that_works)
{
    nq_queue *server, *client;
    char tcp[256];

    nqtest_choose_place(NQTEST_TCP);
    snprintf(tcp, sizeof(tcp), "%s", nqtest_place());
    server = nqtest_server(NQTEST_LOOP, "");
    client = nqtest_open("{'purpose': 'client', 'transports': [{%s}, {%s}]}", tcp, nqtest_place());
    ck_assert_str_eq(nqtest_event(client, NQ_EVENT_REFUSED).transport, "tcp");
    ck_assert_str_eq(nqtest_event(client, NQ_EVENT_PEER_UP).transport, "loop");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* ---- closing ---- */

START_TEST(a_close_flushes_and_reports)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct nq_close_report report;
    struct nqtest_block block;

    nqtest_block_init(&block, 7 * MIB);
    for (uint64_t i = 0; i < 1000; i++)
        nqtest_put(client, nqtest_number(i));
    nqtest_put(client, nqtest_block_msg(&block));
    ck_assert_int_eq(nq_close(client, NQTEST_WAIT, &report), NQ_OK);
    ck_assert_uint_eq(report.delivered, 1001);
    ck_assert_uint_eq(report.not_delivered + report.unknown + report.unread, 0);
    ck_assert_uint_eq(block.released, 1);
    ck_assert_int_eq(nqtest_event(server, NQ_EVENT_PEER_GONE).reason, NQ_REASON_PEER_CLOSED);
    ck_assert_uint_eq(nqtest_stats(server).unread, 1001);
    for (uint64_t i = 0; i < 1000; i++)
        ck_assert_uint_eq(nqtest_get_number(server), i);
    nq_msg_free(nqtest_get(server));
    nq_free(client);
    nqtest_end(server);
    nqtest_block_fini(&block);
}
END_TEST

START_TEST(a_server_closes_towards_all_clients)
{
    nq_queue *server = nqtest_server(_i, ""), *clients[4];
    struct nq_close_report report;

    for (int i = 0; i < 4; i++)
        clients[i] = nqtest_join(server, "");
    for (uint64_t i = 0; i < 100; i++)
        nqtest_put(server, nqtest_number(i));
    ck_assert_int_eq(nq_close(server, NQTEST_WAIT, &report), NQ_OK);
    ck_assert_uint_eq(report.delivered, 400);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(nqtest_event(clients[i], NQ_EVENT_PEER_GONE).reason,
                         NQ_REASON_PEER_CLOSED);
        for (uint64_t k = 0; k < 100; k++)
            ck_assert_uint_eq(nqtest_get_number(clients[i]), k);
        nq_free(clients[i]);
    }
    nq_free(server);
}
END_TEST

START_TEST(a_close_can_be_repeated)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct nq_close_report report;

    nqtest_put(client, nqtest_number(1));
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(nq_close(client, i ? 0 : NQTEST_WAIT, &report), NQ_OK);
        ck_assert_uint_eq(report.delivered, 1);
    }
    ck_assert_int_eq(nq_close(client, NQ_FOREVER, NULL), NQ_OK);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

struct closer {
    nq_queue *queue;
    int64_t timeout_ns, took;
    nq_err err;
    struct nq_close_report report;
};

static void *closer_run(void *arg)
{
    struct closer *closer = arg;
    int64_t start = nqtest_clock();

    closer->err = nq_close(closer->queue, closer->timeout_ns, &closer->report);
    closer->took = nqtest_clock() - start;
    return NULL;
}

START_TEST(threads_that_close_at_once_all_wait_for_the_end)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct closer closers[3];
    pthread_t threads[3];

    for (uint64_t i = 0; i < 2000; i++)
        nqtest_put(client, nqtest_noise(1000, i));
    for (int i = 0; i < 3; i++) {
        closers[i] = (struct closer){.queue = client, .timeout_ns = NQTEST_WAIT};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, closer_run, &closers[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        nqtest_end_thread(threads[i]);
        ck_assert_int_eq(closers[i].err, NQ_OK);
        ck_assert_uint_eq(closers[i].report.delivered, 2000);
    }
    nq_free(client);
    nqtest_end(server);
}
END_TEST

/* The server is there and takes nothing, or was never there. _i / 2: which of them. */
START_TEST(a_close_ends_with_its_time_out_when_nobody_answers)
{
    nq_queue *server = NULL, *client;
    struct nq_close_report report;
    nq_future *future;
    int64_t start;

    if (_i / 2) {
        server = nqtest_server(_i % 2, MANUAL);
        client = nqtest_client("");
        while (nqtest_stats(client).connects < 1)
            ck_assert_int_eq(nq_poll(server), NQ_OK);
    } else {
        nqtest_choose_place(_i % 2);
        client = nqtest_client("");
    }
    nqtest_put(client, nqtest_number(1));
    future = nqtest_put_future(client, nqtest_number(2));
    start = nqtest_clock();
    ck_assert_int_eq(nq_close(client, 50 * NQTEST_MS, &report), NQ_AGAIN);
    ck_assert_int_ge(nqtest_clock() - start, 50 * NQTEST_MS);
    ck_assert_int_lt(nqtest_clock() - start, SOON);
    ck_assert_uint_eq(report.delivered, 0);
    ck_assert_uint_eq(report.not_delivered + report.unknown, 2);
    ck_assert_uint_eq(report.unknown, _i / 2 ? 2 : 0);
    ck_assert_int_eq(nq_future_poll(future), NQ_OK);
    ck_assert_int_eq(nqtest_outcome(future, NULL), _i / 2 ? NQ_UNKNOWN : NQ_NOT_DELIVERED);
    ck_assert_int_eq(nq_close(client, NQTEST_WAIT, &report), NQ_OK); /* nothing is left now */
    nq_free(client);
    nq_free(server);
}
END_TEST

START_TEST(a_close_for_ever_lingers_and_no_longer)
{
    nq_queue *client;
    int64_t start = nqtest_clock();

    nqtest_choose_place(_i);
    client = nqtest_client(", 'session': {'linger': '50ms'}");
    nqtest_put(client, nqtest_number(1));
    ck_assert_int_eq(nq_close(client, NQ_FOREVER, NULL), NQ_AGAIN);
    ck_assert_int_lt(nqtest_clock() - start, SOON);
    nq_free(client);
}
END_TEST

START_TEST(a_close_without_time_does_not_flush)
{
    nq_queue *client;
    struct nq_close_report report;

    nqtest_choose_place(_i);
    client = nqtest_client("");
    for (uint64_t i = 0; i < 10; i++)
        nqtest_put(client, nqtest_number(i));
    ck_assert_int_eq(nq_close(client, 0, &report), NQ_AGAIN);
    ck_assert_uint_eq(report.not_delivered, 10);
    nq_free(client);
}
END_TEST

START_TEST(a_queue_without_anything_closes_at_once)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_client("");
    struct nq_close_report report;
    int64_t start = nqtest_clock();

    ck_assert_int_eq(nq_close(client, NQ_FOREVER, &report), NQ_OK);
    ck_assert_int_eq(nq_close(server, NQ_FOREVER, &report), NQ_OK);
    ck_assert_uint_eq(report.delivered + report.not_delivered + report.unknown, 0);
    ck_assert_int_lt(nqtest_clock() - start, SOON);
    nq_free(client);
    nq_free(server);
}
END_TEST

START_TEST(a_client_that_never_met_its_server_closes_at_once)
{
    nq_queue *client;
    int64_t start = nqtest_clock();

    nqtest_choose_place(_i);
    client = nqtest_client("");
    nqtest_event(client, NQ_EVENT_REFUSED);
    ck_assert_int_eq(nq_close(client, NQ_FOREVER, NULL), NQ_OK);
    ck_assert_int_lt(nqtest_clock() - start, SOON);
    nq_free(client);
}
END_TEST

START_TEST(a_close_waits_for_a_server_that_comes_late)
{
    nq_queue *client, *server;
    struct closer closer = {.timeout_ns = NQTEST_WAIT};
    pthread_t thread;

    nqtest_choose_place(_i);
    client = nqtest_client("");
    nqtest_put(client, nqtest_number(5));
    nqtest_event(client, NQ_EVENT_REFUSED);
    closer.queue = client;
    ck_assert_int_eq(pthread_create(&thread, NULL, closer_run, &closer), 0);
    server = nqtest_server_again("");
    ck_assert_uint_eq(nqtest_get_number(server), 5);
    nqtest_end_thread(thread);
    ck_assert_int_eq(closer.err, NQ_OK);
    ck_assert_uint_eq(closer.report.delivered, 1);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

/* One allocation fails: nothing may wait because of that for what does not come.  Over tcp,
 * which has no threads whose allocation it could be. */
START_TEST(a_close_needs_no_memory)
{
    int64_t start = nqtest_clock();
    nq_queue *client;
    nq_err err;

    nqtest_choose_place(NQTEST_TCP);
    client = nqtest_client(MANUAL);
    nqtest_alloc_fail_at(1);
    err = nq_close(client, SOON, NULL);
    (void)nqtest_alloc_disarm();
    ck_assert_int_eq(err, NQ_OK);
    nq_free(client);
    for (unsigned n = 1; n < 10; n++) {
        client = nqtest_client(MANUAL);
        nqtest_alloc_fail_at(n);
        nq_free(client);
        (void)nqtest_alloc_disarm();
    }
    ck_assert_int_lt(nqtest_clock() - start, SOON);
}
END_TEST

/* Both say good-bye while messages are on their way in both directions: what one side counts as
 * delivered is with the other.  A client that has something left waits for a server to come, and
 * a server for a client whose time was over before it had said good-bye. */
START_TEST(both_sides_may_close_at_once)
{
    for (int round = 0; round < 10; round++) {
        nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
        struct closer closers[2] = {{.queue = server, .timeout_ns = 2000 * NQTEST_MS},
                                    {.queue = client, .timeout_ns = 100 * NQTEST_MS}};
        pthread_t threads[2];

        for (unsigned i = 0; i < 50; i++) {
            nqtest_put(client, nqtest_noise(i * 1000, i));
            nqtest_put(server, nqtest_noise(i * 1000, i));
        }
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, closer_run, &closers[i]), 0);
        for (int i = 0; i < 2; i++)
            nqtest_end_thread(threads[i]);
        for (int i = 0; i < 2; i++) {
            const struct nq_close_report *own = &closers[i].report, *other = &closers[!i].report;

            ck_assert_uint_eq(own->delivered + own->not_delivered + own->unknown, 50);
            ck_assert_uint_le(own->delivered, other->unread);
            ck_assert_uint_le(other->unread, own->delivered + own->unknown);
            ck_assert_int_ge(closers[i].err, NQ_OK);
        }
        nq_free(client);
        nq_free(server);
    }
}
END_TEST

/* The server's link is full of what the client has not read when the client says good-bye. */
START_TEST(a_good_bye_is_answered_over_a_full_link)
{
    nq_queue *server = nqtest_server(_i, ""), *client = stopped_client(server);
    struct nq_close_report report;

    while (nqtest_stats(server).queued < 3)
        nqtest_put(server, nqtest_noise(MIB, 1));
    nqtest_put(client, nqtest_number(1));
    ck_assert_int_eq(nq_close(client, NQTEST_WAIT, &report), NQ_OK);
    ck_assert_uint_eq(report.delivered, 1);
    ck_assert_uint_eq(nqtest_get_number(server), 1);
    nq_free(client);
    nqtest_drive_until(server, no_links, 1);
    nqtest_end(server);
}
END_TEST

struct callback {
    nq_queue *queue;
    _Atomic bool done;
    nq_err closed, waited;
};

static void close_in_callback(void *arg, nq_future *future)
{
    struct callback *callback = arg;

    callback->closed = nq_close(callback->queue, NQTEST_WAIT, NULL);
    nq_future_free(future);
    callback->done = true;
}

START_TEST(a_close_inside_a_callback_begins_and_does_not_wait)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct callback callback = {.queue = client};
    nq_future *future = nqtest_put_future(client, nqtest_number(1));
    struct nq_close_report report;
    nq_msg *msg;

    ck_assert_int_eq(nq_future_then(future, close_in_callback, &callback), NQ_OK);
    while (!callback.done)
        ck_assert_int_ge(nq_get(client, NULL, 0, NQTEST_MS, &msg), NQ_AGAIN);
    nqtest_event(server, NQ_EVENT_PEER_GONE);
    msg = nqtest_number(2);
    ck_assert_int_eq(nq_put(client, msg, NULL, 0, NULL), NQ_ERR_CLOSED);
    nq_msg_free(msg);
    ck_assert_int_eq(nq_close(client, NQTEST_WAIT, &report), NQ_OK);
    ck_assert_uint_eq(report.delivered, 1);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

/* The client is idle: the callback's close ends it there and then, and the other closer hears. */
START_TEST(a_close_inside_a_callback_wakes_another_that_waits)
{
    nq_queue *client;
    struct callback callback;
    struct closer closer = {.timeout_ns = NQTEST_WAIT};
    nq_future *future;
    nq_msg *msg;
    pthread_t thread;

    nqtest_choose_place(_i);
    client = nqtest_client("");
    callback = (struct callback){.queue = client};
    msg = nqtest_number(1);
    nq_msg_set_ttl(msg, 50 * NQTEST_MS);
    future = nqtest_put_future(client, msg);
    ck_assert_int_eq(nq_future_then(future, close_in_callback, &callback), NQ_OK);
    closer.queue = client;
    ck_assert_int_eq(pthread_create(&thread, NULL, closer_run, &closer), 0);
    nqtest_end_thread(thread);
    while (!callback.done)
        ck_assert_int_ge(nq_get(client, NULL, 0, NQTEST_MS, &msg), NQ_AGAIN);
    nq_free(client);
}
END_TEST

struct putter {
    nq_queue *queue;
    _Atomic bool stop;
    uint64_t put;
};

static void *putter_run(void *arg)
{
    struct putter *putter = arg;

    for (;;) {
        nq_msg *msg = nqtest_noise(putter->put % 10 ? 100 : 20000, putter->put);
        nq_err err = nq_put(putter->queue, msg, NULL, 0, NULL);

        if (err)
            nq_msg_free(msg);
        if (err < 0)
            return (void *)(intptr_t)err;
        putter->put += !err;
    }
}

/* Every put that was taken is in the report, whatever the close met. _i / 2: with time, or not. */
START_TEST(a_close_amid_puts_of_other_threads_accounts_for_all)
{
    for (int round = 0; round < 5; round++) {
        nq_queue *server = nqtest_server(_i % 2, ", 'limits': {'memory': '64MiB'}");
        nq_queue *client = nqtest_join(server, "");
        struct putter putters[2] = {{.queue = client}, {.queue = client}};
        struct nq_close_report report;
        pthread_t threads[2];
        void *end;
        nq_msg *msg;

        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, putter_run, &putters[i]), 0);
        for (int i = 0; i < 200; i++)
            nq_msg_free(nqtest_get(server));
        ck_assert_int_ge(nq_close(client, _i / 2 ? NQTEST_WAIT : 0, &report), 0);
        for (int i = 0; i < 2; i++) {
            ck_assert_int_eq(pthread_join(threads[i], &end), 0);
            ck_assert_int_eq((intptr_t)end, NQ_ERR_CLOSED);
        }
        ck_assert_int_ge(nq_close(client, 0, &report), 0); /* with those puts that came last */
        ck_assert_uint_eq(report.delivered + report.not_delivered + report.unknown,
                          putters[0].put + putters[1].put);
        while (nq_get(server, NULL, 0, 0, &msg) == NQ_OK)
            nq_msg_free(msg);
        nq_free(client);
        nq_free(server);
    }
}
END_TEST

/* ---- freeing ---- */

static int black_hole(int fds[8], unsigned *port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);

    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fds[0], (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(listen(fds[0], 0), 0);
    ck_assert_int_eq(getsockname(fds[0], (struct sockaddr *)&addr, &len), 0);
    for (int i = 1; i < 8; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(fds[i], (struct sockaddr *)&addr, sizeof(addr));
    }
    *port = ntohs(addr.sin_port);
    return fds[0];
}

START_TEST(a_client_can_be_freed_while_it_connects)
{
    nq_queue *client;
    unsigned port;
    int64_t start;
    int fds[8];
    nq_msg *msg;

    black_hole(fds, &port);
    client = nqtest_open(
        "{'purpose': 'client', 'transport': 'tcp', 'host': '127.0.0.1', 'port': %u}", port);
    nqtest_put(client, nqtest_number(1));
    ck_assert_int_eq(nq_get(client, NULL, 0, 20 * NQTEST_MS, &msg), NQ_AGAIN);
    start = nqtest_clock();
    nq_free(client);
    ck_assert_int_lt(nqtest_clock() - start, SOON);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
}
END_TEST

/* The server accepts and never answers the hello. */
START_TEST(a_client_can_be_freed_while_it_says_hello)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;
    socklen_t len = sizeof(addr);
    struct nq_close_report report;
    nq_queue *client;
    char byte;

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    client =
        nqtest_open("{'purpose': 'client', 'transport': 'tcp', 'host': '127.0.0.1', 'port': %u}",
                    ntohs(addr.sin_port));
    nqtest_put(client, nqtest_number(1));
    peer = accept(fd, NULL, NULL);
    ck_assert_int_eq(read(peer, &byte, 1), 1); /* the hello */
    ck_assert_int_eq(nq_close(client, 20 * NQTEST_MS, &report), NQ_AGAIN);
    ck_assert_uint_eq(report.not_delivered, 1);
    nq_free(client);
    close(peer);
    close(fd);
}
END_TEST

START_TEST(queues_can_be_freed_in_the_midst_of_traffic_and_leave_nothing)
{
    unsigned before = 0;

    for (int round = 0; round < 20; round++) {
        nq_queue *server = nqtest_server(_i, ", 'progress': {'workers': 2}"), *clients[3];
        nq_msg *msg;

        for (int i = 0; i < 3; i++)
            clients[i] = nqtest_join(server, "");
        for (unsigned k = 0; k < 20; k++) {
            for (int i = 0; i < 3; i++)
                nqtest_put(clients[i], nqtest_noise(k * 10000, k));
            nqtest_put(server, nqtest_noise(k * 10000, k));
        }
        for (int i = 0; i < round; i++)
            ck_assert_int_ge(
                nq_get(server, NULL, 0, NQTEST_MS / 10, &msg) ? 0 : (nq_msg_free(msg), 0), 0);
        if (round % 2)
            nq_free(server);
        for (int i = 0; i < 3; i++)
            nq_free(clients[i]);
        if (round % 2 == 0)
            nq_free(server);
        if (round == 0)
            before = nqtest_descriptors();
        nqtest_until_descriptors(before);
    }
    nq_free(NULL);
}
END_TEST

START_TEST(queues_that_were_just_opened_can_be_freed)
{
    unsigned before = 0;

    for (int round = 0; round < 50; round++) {
        nq_queue *server = nqtest_server(_i, ""), *client = nqtest_client("");

        nqtest_put(client, nqtest_number(1));
        nq_free(round % 2 ? server : client);
        nq_free(round % 2 ? client : server);
        if (round == 0)
            before = nqtest_descriptors();
        nqtest_until_descriptors(before);
    }
}
END_TEST

/* In each mode: no thread of the library is left, and no time is lost. */
START_TEST(a_free_ends_the_threads_of_the_library)
{
    static const char *const modes[] = {"auto", "thread", "manual"};
    char more[64];

    for (size_t i = 0; i < NQI_LEN(modes); i++) {
        nq_queue *server, *client;
        int64_t start;

        snprintf(more, sizeof(more), ", 'progress': {'mode': '%s'}", modes[i]);
        server = nqtest_server(_i, "");
        client = nqtest_join(server, more);
        nqtest_put(client, nqtest_number(1));
        nqtest_get_number(server);
        start = nqtest_clock();
        nq_free(client);
        nq_free(server);
        ck_assert_int_lt(nqtest_clock() - start, SOON);
    }
}
END_TEST

/* Each side waits for the other's end of the link, which comes at once. */
START_TEST(a_good_bye_costs_no_time)
{
    int64_t start = nqtest_clock();

    for (int i = 0; i < 10; i++) {
        nq_queue *server = nqtest_server(_i % 2, ""), *client = nqtest_join(server, "");
        nq_queue *first = _i / 2 ? server : client, *second = _i / 2 ? client : server;

        nqtest_end(first);
        nqtest_event(second, NQ_EVENT_PEER_GONE);
        nq_free(second);
    }
    ck_assert_int_lt(nqtest_clock() - start, SOON);
}
END_TEST

START_TEST(unread_messages_are_counted_and_released)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct nq_close_report report;

    for (unsigned i = 0; i < 10; i++)
        nqtest_put(client, nqtest_noise(i * 200000, i));
    nqtest_drive_until(server, unread, 10);
    ck_assert_int_eq(nq_close(server, NQTEST_WAIT, &report), NQ_OK);
    ck_assert_uint_eq(report.unread, 10);
    nq_free(server);
    nq_free(client);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue");
    TCase *tc = tcase_create("queue");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, what_is_wrong_is_told_and_nothing_is_left);
    tcase_add_test(tc, a_file_is_opened_by_its_path);
    nqtest_each(tc, a_place_that_is_in_use_cannot_be_opened_again);
    nqtest_each(tc, a_queue_has_the_id_it_was_given_or_one_of_its_own);
    tcase_add_test(tc, a_server_listens_on_all_of_its_transports);
    tcase_add_test(tc, a_client_takes_the_first_transport_that_works);
    nqtest_each(tc, a_close_flushes_and_reports);
    nqtest_each(tc, a_server_closes_towards_all_clients);
    nqtest_each(tc, a_close_can_be_repeated);
    nqtest_each(tc, threads_that_close_at_once_all_wait_for_the_end);
    tcase_add_loop_test(tc, a_close_ends_with_its_time_out_when_nobody_answers, 0, 4);
    nqtest_each(tc, a_close_for_ever_lingers_and_no_longer);
    nqtest_each(tc, a_close_without_time_does_not_flush);
    nqtest_each(tc, a_queue_without_anything_closes_at_once);
    nqtest_each(tc, a_client_that_never_met_its_server_closes_at_once);
    nqtest_each(tc, a_close_waits_for_a_server_that_comes_late);
    nqtest_each(tc, both_sides_may_close_at_once);
    nqtest_each(tc, a_good_bye_is_answered_over_a_full_link);
    nqtest_each(tc, a_close_inside_a_callback_begins_and_does_not_wait);
    nqtest_each(tc, a_close_inside_a_callback_wakes_another_that_waits);
    tcase_add_loop_test(tc, a_close_amid_puts_of_other_threads_accounts_for_all, 0, 4);
    tcase_add_test(tc, a_client_can_be_freed_while_it_connects);
    tcase_add_test(tc, a_client_can_be_freed_while_it_says_hello);
    nqtest_each(tc, queues_can_be_freed_in_the_midst_of_traffic_and_leave_nothing);
    nqtest_each(tc, queues_that_were_just_opened_can_be_freed);
    nqtest_each(tc, a_free_ends_the_threads_of_the_library);
    tcase_add_loop_test(tc, a_good_bye_costs_no_time, 0, 4);
    nqtest_each(tc, unread_messages_are_counted_and_released);
    suite_add_tcase(suite, tc);

    tc = tcase_create("memory");
    tcase_add_test(tc, a_close_needs_no_memory);
    suite_add_tcase(suite, tc);
    return suite;
}
