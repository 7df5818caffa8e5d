/* plugins/fault below whole queues: what the core makes of it.  Whatever breaks, each put settles,
 * what is delivered arrives, what is not does not, nothing arrives twice.  Order is kept over one
 * link; what came over an earlier one may still wait when the next one's is there. */
#include "tests/support/queue.h"
#include <check.h>
#include <stdio.h>
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define MESSAGES 60u
#define PIECE 137u /* message i has so many bytes, i times; the size tells which one it is */

/* The client's way to the place, with faults; the server has none. */
static nq_queue *harmed_client(const char *faults, unsigned seed)
{
    const char *place = nqtest_place();

    /* The place begins with 'transport': which becomes 'inner'. */
    ck_assert_int_eq(strncmp(place, "'transport'", 11), 0);
    return nqtest_open("{'purpose': 'client', 'transports': [{'transport': 'fault', 'inner'%s, "
                       "'seed': %u, %s}]}",
                       place + 11, seed, faults);
}

static void put_all(nq_queue *queue, nq_future *futures[MESSAGES])
{
    for (unsigned i = 0; i < MESSAGES; i++)
        futures[i] = nqtest_put_future(queue, nqtest_noise(i * PIECE, i));
}

static unsigned settle_all(nq_future *futures[MESSAGES], nq_outcome outcomes[MESSAGES])
{
    unsigned delivered = 0;

    for (unsigned i = 0; i < MESSAGES; i++) {
        nq_reason reason;

        outcomes[i] = nqtest_outcome(futures[i], &reason);
        delivered += outcomes[i] == NQ_DELIVERED;
        if (outcomes[i] != NQ_DELIVERED)
            printf("# message %u: outcome %d, %s\n", i, (int)outcomes[i], nq_reason_text(reason));
    }
    return delivered;
}

/* All has settled: what is there is all that will be. */
static void check_all(nq_queue *queue, const nq_outcome outcomes[MESSAGES], bool breaks)
{
    bool came[MESSAGES] = {false};
    unsigned next = 0;
    nq_msg *msg = NULL;

    while (nq_get(queue, NULL, 0, 0, &msg) == NQ_OK) {
        unsigned i = (unsigned)(nq_msg_size(msg) / PIECE);

        ck_assert_uint_lt(i, MESSAGES);
        ck_assert_msg(!came[i], "message %u came twice", i);
        ck_assert_msg(breaks || i == next, "message %u, not %u", i, next);
        nqtest_check_noise(msg, i * PIECE, i);
        nq_msg_free(msg);
        came[i] = true;
        next = i + 1;
    }
    for (unsigned i = 0; i < MESSAGES; i++) {
        ck_assert_msg(came[i] || outcomes[i] != NQ_DELIVERED, "%u is lost", i);
        ck_assert_msg(!came[i] || outcomes[i] == NQ_DELIVERED || outcomes[i] == NQ_UNKNOWN,
                      "%u came, and its put says %d", i, (int)outcomes[i]);
    }
}

static const struct {
    const char *faults;
    bool breaks; /* links, and so what is on its way */
    bool holds;  /* needs a transport that can stop receiving */
} harms[] = {
    {"'short_read': 700, 'short_write': 2", false, false},
    {"'rate': '4MiB', 'pause': 500, 'dead_time': '10ms'", false, true},
    {"'cut': 600, 'truncate': 300, 'after_min': '2KiB', 'after_max': '96KiB'", true, false},
    {"'cut': 800, 'after_max': '32KiB', 'refuse': 200, 'short_read': '4KiB'", true, false},
    {"'half_open': 500, 'pause': 500, 'after_max': '128KiB', 'dead_time': '5ms'", true, true},
    {"'truncate': 1000, 'after_max': '200KiB', 'short_write': 1", true, false},
};

static void tell_the_truth(int transport, int harm)
{
    bool breaks = harms[harm].breaks;
    nq_queue *server = nqtest_server(transport, "");
    nq_queue *client = harmed_client(harms[harm].faults, (unsigned)harm + 1);
    nq_future *up[MESSAGES], *down[MESSAGES];
    nq_outcome up_outcomes[MESSAGES], down_outcomes[MESSAGES];
    unsigned delivered;

    nqtest_event(server, NQ_EVENT_PEER_UP);
    put_all(client, up);
    put_all(server, down);
    delivered = settle_all(up, up_outcomes) + settle_all(down, down_outcomes);
    if (!breaks)
        ck_assert_uint_eq(delivered, 2 * MESSAGES);
    check_all(server, up_outcomes, breaks);
    check_all(client, down_outcomes, breaks);
    nq_free(client);
    nq_free(server);
}

START_TEST(outcomes_tell_the_truth)
{
    tell_the_truth(_i % NQTEST_TRANSPORTS, _i / NQTEST_TRANSPORTS);
}
END_TEST

START_TEST(outcomes_tell_the_truth_over_one_from_outside)
{
    if (!harms[_i].holds)
        tell_the_truth(NQTEST_OUTSIDE, _i);
}
END_TEST

static const char *const losses[] = {
    "'drop': 100",
    "'duplicate': 300",
    "'reorder': 400",
    "'drop': 200, 'duplicate': 200, 'reorder': 200",
    "'drop': 100, 'reorder': 100, 'short_write': 2, 'pause': 500, 'dead_time': '5ms'",
    "'drop': 50, 'duplicate': 50, 'reorder': 50, 'cut': 500, 'after_max': '256KiB'",
};

static nq_queue *lossy_queue(const char *purpose, const char *faults, unsigned seed)
{
    return nqtest_open("{'purpose': '%s', 'transports': [{'transport': 'fault', 'inner'%s, "
                       "'seed': %u, %s}]}",
                       purpose, nqtest_place() + 11, seed, faults);
}

/* Both ends lose messages, and those who put and get notice nothing of it. */
START_TEST(messages_that_are_lost_are_sent_again)
{
    bool breaks = strstr(losses[_i], "cut") != NULL;
    nq_queue *server, *client;
    nq_future *up[MESSAGES], *down[MESSAGES];
    nq_outcome up_outcomes[MESSAGES], down_outcomes[MESSAGES];

    nqtest_choose_place(NQTEST_LOOP);
    server = lossy_queue("server", losses[_i], 2 * (unsigned)_i + 1);
    client = lossy_queue("client", losses[_i], 2 * (unsigned)_i + 2);
    nqtest_event(server, NQ_EVENT_PEER_UP);
    put_all(client, up);
    put_all(server, down);
    ck_assert_uint_eq(settle_all(up, up_outcomes), MESSAGES);
    ck_assert_uint_eq(settle_all(down, down_outcomes), MESSAGES);
    check_all(server, up_outcomes, false);
    check_all(client, down_outcomes, false);
    if (!breaks)
        ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_PEER_DOWN), 0);
    nqtest_end(client);
    nq_free(server);
}
END_TEST

START_TEST(an_option_of_the_inner_transport_is_checked_as_ever)
{
    static const char format[] =
        "{'purpose': 'client', 'transport': 'fault', 'inner': 'tcp', '%s': 1}";
    nq_queue *queue = NULL;

    ck_assert_int_eq(nqtest_try_open(&queue, format, "prot"), NQ_ERR_CONFIG);
    ck_assert_msg(strstr(nq_error(), "the nearest is \"port\"") != NULL, "%s", nq_error());
    ck_assert_int_eq(nqtest_try_open(&queue, format, "drop"), NQ_ERR_CONFIG);
    ck_assert_msg(strstr(nq_error(), "carries a stream of bytes") != NULL, "%s", nq_error());
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("fault below queues");
    TCase *tc = tcase_create("queues");

    tcase_set_timeout(tc, 60);
    nqtest_each_of(tc, outcomes_tell_the_truth, (int)LEN(harms));
    tcase_add_loop_test(tc, outcomes_tell_the_truth_over_one_from_outside, 0, (int)LEN(harms));
    tcase_add_loop_test(tc, messages_that_are_lost_are_sent_again, 0, (int)LEN(losses));
    tcase_add_test(tc, an_option_of_the_inner_transport_is_checked_as_ever);
    suite_add_tcase(suite, tc);
    return suite;
}
