/* plugins/mqtt below whole queues, and a broker that is killed and started again while messages are
 * on their way: each put settles as delivered, and all arrives, once and in order. */
#include "tests/support/broker.h"
#include "tests/support/queue.h"
#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS 3u
#define KILLS 5u         /* NQ_BROKER_KILLS overrules it */
#define BETWEEN 40u      /* messages of each client between two kills */
#define SMALL 30000u     /* bytes of the largest message but for ... */
#define LARGE (3u << 20) /* ... one in 16 */

static unsigned kills(void)
{
    const char *text = getenv("NQ_BROKER_KILLS");

    return text ? (unsigned)atoi(text) : KILLS;
}

static size_t size_of(unsigned number)
{
    return number % 16 == 7 ? LARGE : number * 7919u % SMALL;
}

/* One direction of one client: put `count` messages, all of which settle as delivered. */
struct sender {
    nq_queue *queue;
    unsigned client, count;
    bool server;
    _Atomic unsigned put;
    unsigned unknown;
};

static nq_future *sender_put(struct sender *sender, unsigned number)
{
    nq_msg *msg = nqtest_noise(size_of(number), number * 100 + sender->client);
    const nq_uuid id = nqtest_id(sender->client + 1);
    nq_future *future = NULL;

    ck_assert_int_eq(
        nq_put(sender->queue, msg, sender->server ? &id : NULL, sender->server, &future), NQ_OK);
    return future;
}

static void *sender_run(void *arg)
{
    struct sender *sender = arg;
    nq_future **futures = calloc(sender->count, sizeof(*futures));

    for (unsigned i = 0; i < sender->count; i++) {
        futures[i] = sender_put(sender, i);
        atomic_store(&sender->put, i + 1);
        /* At most BETWEEN / 2 are open, so that each kill meets traffic. */
        if (i >= BETWEEN / 2)
            ck_assert_int_eq(nq_future_wait(futures[i - BETWEEN / 2], 60000 * NQTEST_MS), NQ_OK);
    }
    for (unsigned i = 0; i < sender->count; i++) {
        ck_assert_int_eq(nq_future_wait(futures[i], 60000 * NQTEST_MS), NQ_OK);
        sender->unknown += nq_future_outcome(futures[i], NULL) != NQ_DELIVERED;
        nq_future_free(futures[i]);
    }
    free(futures);
    return NULL;
}

struct receiver {
    nq_queue *queue;
    unsigned clients, first, count;
};

static nq_msg *receive(nq_queue *queue)
{
    nq_msg *msg = NULL;

    ck_assert_int_eq(nq_get(queue, NULL, 0, 60000 * NQTEST_MS, &msg), NQ_OK);
    return msg;
}

/* Everything of everybody, each sender's in order. */
static void *receiver_run(void *arg)
{
    const struct receiver *receiver = arg;
    unsigned next[CLIENTS] = {0};

    for (unsigned i = 0; i < receiver->clients * receiver->count; i++) {
        nq_msg *msg = receive(receiver->queue);
        unsigned who = receiver->first;

        for (unsigned c = 0; receiver->clients > 1 && c < CLIENTS; c++) {
            const nq_uuid id = nqtest_id(c + 1);

            if (memcmp(nq_msg_sender(msg), &id, sizeof(id)) == 0)
                who = c;
        }
        nqtest_check_noise(msg, size_of(next[who]), next[who] * 100 + who);
        next[who]++;
        nq_msg_free(msg);
    }
    return NULL;
}

static void run(const char *more, bool graceful)
{
    const unsigned count = BETWEEN * (kills() + 1);
    nq_queue *server = nqtest_server(nqtest_transport_of("mqtt"), more), *clients[CLIENTS];
    struct sender up[CLIENTS], down[CLIENTS];
    struct receiver in[CLIENTS + 1];
    pthread_t threads[3 * CLIENTS + 1];
    unsigned n = 0;
    nq_msg *msg = NULL;

    for (unsigned i = 0; i < CLIENTS; i++) {
        char id[128];

        snprintf(id, sizeof(id), ", 'id': '" NQTEST_ID "'", i + 1);
        clients[i] = nqtest_join(server, id);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        up[i] = (struct sender){.queue = clients[i], .client = i, .count = count};
        down[i] = (struct sender){.queue = server, .client = i, .count = count, .server = true};
        in[i] = (struct receiver){.queue = clients[i], .clients = 1, .first = i, .count = count};
        pthread_create(&threads[n++], NULL, sender_run, &up[i]);
        pthread_create(&threads[n++], NULL, sender_run, &down[i]);
        pthread_create(&threads[n++], NULL, receiver_run, &in[i]);
    }
    in[CLIENTS] = (struct receiver){.queue = server, .clients = CLIENTS, .count = count};
    pthread_create(&threads[n++], NULL, receiver_run, &in[CLIENTS]);
    for (unsigned k = 1; k <= kills(); k++) {
        while (atomic_load(&up[k % CLIENTS].put) < k * BETWEEN)
            ck_assert_int_eq(nq_event_get(server, 0, &(struct nq_event){0}) < 0, 0);
        if (graceful)
            nqtest_broker_end();
        else
            nqtest_broker_kill();
        nqtest_broker("");
    }
    while (n)
        pthread_join(threads[--n], NULL);
    ck_assert_int_eq(nq_get(server, NULL, 0, 0, &msg), NQ_AGAIN); /* none twice */
    for (unsigned i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(nq_get(clients[i], NULL, 0, 0, &msg), NQ_AGAIN);
        ck_assert_uint_eq(up[i].unknown + down[i].unknown, 0);
        nqtest_end(clients[i]);
    }
    nqtest_end(server);
}

START_TEST(a_broker_that_is_killed_under_load_loses_and_doubles_nothing)
{
    run(_i ? ", 'session': {'record': '4KiB'}" : "", false);
}
END_TEST

START_TEST(a_broker_that_ends_in_order_under_load_loses_and_doubles_nothing)
{
    run("", true);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("mqtt below queues");
    TCase *tc = tcase_create("queues");

    if (nqtest_transport_of("mqtt") < 0)
        return suite;
    tcase_add_checked_fixture(tc, NULL, nqtest_broker_threads_end);
    tcase_set_timeout(tc, 240);
    tcase_add_loop_test(tc, a_broker_that_is_killed_under_load_loses_and_doubles_nothing, 0, 2);
    tcase_add_test(tc, a_broker_that_ends_in_order_under_load_loses_and_doubles_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}
