/* Nobody is there: a queue whose server or broker is missing tries again with growing pauses, says
 * why, costs next to nothing meanwhile, and works once they come.
 *
 * Pauses are random, so the least that some of them take together is known only with a probability:
 * LEAST_NS is missed once in four million runs. */
#include "tests/support/broker.h"
#include "tests/support/queue.h"
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define TRIES 6
#define LEAST_NS (50 * NQTEST_MS)
/* Work for some tries, and what libraries do at their first use; a busy loop needs all the time. */
#define CPU_NS (300 * NQTEST_MS)
#define CPU_SHARE 4 /* and at most one part in so many of the time that passes */

static const struct {
    const char *transport, *hint;
} absent[] = {
    {"loop", "is the server running?"},
    {"tcp", "is the server running?"},
    {"grpc", "is the server running?"},
    {"mqtt", "is the broker running?"},
};

struct cost {
    int64_t at, cpu;
};

static struct cost cost_now(void)
{
    struct rusage use;

    ck_assert_int_eq(getrusage(RUSAGE_SELF, &use), 0);
    return (struct cost){
        .at = nqtest_clock(),
        .cpu = (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * INT64_C(1000000000) +
               (use.ru_utime.tv_usec + use.ru_stime.tv_usec) * INT64_C(1000),
    };
}

/* @return how long it took */
static int64_t check_cost(struct cost since)
{
    struct cost now = cost_now();
    int64_t took = now.at - since.at;

    printf("# %lld ms of the processor in %lld ms\n",
           (long long)((now.cpu - since.cpu) / NQTEST_MS), (long long)(took / NQTEST_MS));
    ck_assert_int_le(now.cpu - since.cpu, CPU_NS + took / CPU_SHARE);
    return took;
}

static struct nq_health_info health(nq_queue *queue)
{
    struct nq_health_info info;
    struct nq_stats stats = nqtest_stats(queue);
    uint64_t sum = 0;
    size_t count = 0;

    ck_assert_int_eq(nq_health(queue, &info, 1, &count), NQ_OK);
    ck_assert_uint_eq(count, 1);
    for (int i = 0; i < NQ_HEALTHS; i++)
        sum += stats.health[i];
    ck_assert_uint_eq(sum, 1);
    return info;
}

static uint64_t connects(nq_queue *queue)
{
    return health(queue).connects;
}

static uint64_t is_ready(nq_queue *queue)
{
    return health(queue).state == NQ_HEALTH_READY;
}

/* A transport's number in this program; -1: it cannot be tested here. */
static int choose(unsigned which)
{
    int transport = nqtest_transport_of(absent[which].transport);

    if (transport < 0)
        return -1;
    nqtest_choose_place(transport);
    if (strcmp(absent[which].transport, "mqtt") == 0)
        nqtest_broker_kill();
    return transport;
}

static nq_queue *server_comes(unsigned which)
{
    if (strcmp(absent[which].transport, "mqtt") == 0)
        nqtest_broker("");
    return nqtest_server_again("");
}

START_TEST(a_client_tries_with_pauses_says_why_and_delivers_when_its_server_comes)
{
    struct nq_health_info info;
    nq_queue *client, *server;
    struct nq_event event;
    nq_future *future;
    struct cost cost;

    if (choose((unsigned)_i) < 0)
        return;
    client = nqtest_client("");
    future = nqtest_put_future(client, nqtest_msg("early"));
    cost = cost_now();
    for (int i = 0; i < TRIES; i++) {
        event = nqtest_event(client, NQ_EVENT_REFUSED);
        ck_assert_int_eq(event.reason, NQ_REASON_REFUSED);
        ck_assert_str_eq(event.transport, absent[_i].transport);
        ck_assert_msg(strstr(event.text, absent[_i].hint), "%s", event.text);
    }
    ck_assert_int_ge(check_cost(cost), LEAST_NS);
    info = health(client);
    ck_assert_str_eq(info.transport, absent[_i].transport);
    ck_assert(info.state == NQ_HEALTH_FAILING || info.state == NQ_HEALTH_CONNECTING);
    ck_assert_uint_ge(info.failures, TRIES);
    ck_assert_uint_le(info.connects - info.failures, 1);
    if (info.state == NQ_HEALTH_FAILING)
        ck_assert_msg(strstr(info.text, absent[_i].hint), "%s", info.text);

    server = server_comes((unsigned)_i);
    nqtest_get_text(server, "early");
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_DELIVERED);
    ck_assert_uint_eq(is_ready(client), 1);
    ck_assert_uint_eq(is_ready(server), 1);
    ck_assert_uint_eq(nqtest_stats(client).health[NQ_HEALTH_READY], 1);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* Its pauses are not random: 100, 200, 400 ms. */
START_TEST(a_server_without_a_broker_tries_with_pauses_says_why_once_and_works_when_it_comes)
{
    enum { MQTT = 3 };
    nq_queue *client, *server;
    struct nq_event event;
    struct cost cost;

    if (choose(MQTT) < 0)
        return;
    cost = cost_now();
    server = nqtest_server_again("");
    event = nqtest_event(server, NQ_EVENT_REFUSED);
    ck_assert_msg(strstr(event.text, absent[MQTT].hint), "%s", event.text);
    nqtest_drive_until(server, connects, 4);
    ck_assert_int_ge(check_cost(cost), 650 * NQTEST_MS);
    ck_assert_int_eq(nq_event_get(server, 0, &event), NQ_AGAIN);

    nqtest_broker("");
    nqtest_drive_until(server, is_ready, 1);
    client = nqtest_join(server, "");
    nqtest_put(client, nqtest_msg("late"));
    nqtest_get_text(server, "late");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_transport_that_stands_on_another_passes_its_health_on)
{
    int transport = nqtest_transport_of("mqtt");
    char text[256];
    nq_queue *client = NULL;
    nq_err err;

    if (transport < 0)
        return;
    nqtest_choose_place(transport);
    snprintf(text, sizeof(text), "'transport': 'fault', 'inner': 'mqtt'%s",
             strstr(nqtest_place(), ", "));
    err = nqtest_try_open(&client, "{'purpose': 'client', %s}", text);
    if (err == NQ_ERR_PLUGIN)
        return; /* it is not built */
    ck_assert_int_eq(err, NQ_OK);
    nqtest_drive_until(client, is_ready, 1); /* no server is needed for that */
    ck_assert_str_eq(health(client).transport, "fault");
    ck_assert_int_eq(strncmp(health(client).text, "mqtt:", 5), 0);
    nqtest_end(client);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("absent");
    TCase *tc = tcase_create("absent");

    tcase_add_checked_fixture(tc, NULL, nqtest_broker_threads_end);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_client_tries_with_pauses_says_why_and_delivers_when_its_server_comes,
                        0, (int)(sizeof(absent) / sizeof(absent[0])));
    tcase_add_test(
        tc, a_server_without_a_broker_tries_with_pauses_says_why_once_and_works_when_it_comes);
    tcase_add_test(tc, a_transport_that_stands_on_another_passes_its_health_on);
    suite_add_tcase(suite, tc);
    return suite;
}
