/* core/queue_strangers.c: how many may be there who have not said who they are, from one source and
 * in all, and who is not listened to for a while. */
#include "core/attach.h"
#include "core/link_inside.h"
#include "core/queue.h"
#include "tests/support/queue.h"
#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HERE 0x7f000001u
#define NEAR 0x7f000102u
#define FAR 0x7f0a0b0cu

static uint64_t refusals(nq_queue *queue)
{
    return nqtest_stats(queue).refusals;
}

static uint64_t accepted(nq_queue *queue)
{
    return nqtest_stats(queue).links;
}

static uint64_t no_links(nq_queue *queue)
{
    return !nqtest_stats(queue).links;
}

/* One more, and the server has it. */
static int knock(nq_queue *server, uint32_t source)
{
    uint64_t before = accepted(server);
    int fd = nqtest_knock_from(source);

    nqtest_drive_until(server, accepted, before + 1);
    return fd;
}

static bool is_open(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) < 0;
}

/* The server ends it. */
static void check_ended(nq_queue *server, int fd)
{
    while (is_open(fd))
        ck_assert_int_ge(nq_poll(server), 0);
    close(fd);
}

START_TEST(one_too_many_of_a_source_ends_the_oldest_of_that_source)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, ", 'limits': {'source_strangers': 2},"
                                                 " 'progress': {'mode': 'manual'}");
    int far = knock(server, FAR), first = knock(server, HERE), second = knock(server, HERE);
    int near = knock(server, NEAR), third = nqtest_knock_from(HERE);
    struct nq_event event;

    nqtest_drive_until(server, refusals, 1);
    event = nqtest_event(server, NQ_EVENT_REFUSED);
    ck_assert_int_eq(event.reason, NQ_REASON_LIMIT);
    ck_assert_ptr_nonnull(strstr(event.text, "127.0.0.1:"));
    check_ended(server, first);
    ck_assert(is_open(far) && is_open(second) && is_open(near) && is_open(third));
    ck_assert_uint_eq(refusals(server), 1);
    nq_free(server);
    close(far), close(second), close(near), close(third);
}
END_TEST

START_TEST(one_too_many_in_all_ends_the_oldest)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, ", 'limits': {'strangers': 3},"
                                                 " 'progress': {'mode': 'manual'}");
    int oldest = knock(server, FAR), other = knock(server, HERE), near = knock(server, NEAR);
    int late = nqtest_knock_from(NEAR);

    nqtest_drive_until(server, refusals, 1);
    ck_assert_int_eq(nqtest_event(server, NQ_EVENT_REFUSED).reason, NQ_REASON_LIMIT);
    check_ended(server, oldest);
    ck_assert(is_open(other) && is_open(near) && is_open(late));
    nq_free(server);
    close(other), close(near), close(late);
}
END_TEST

/* Who come all at once, before any of those who make room has left, are let in up to twice the
 * limit, of one source (_i = 1) or of all together; the others are closed unseen. */
START_TEST(of_a_crowd_twice_the_limit_comes_in)
{
    enum { CROWD = 12, LIMIT = 4 };
    nq_queue *server = nqtest_server(
        NQTEST_TCP, _i ? ", 'limits': {'source_strangers': 4}, 'progress': {'mode': 'manual'}"
                       : ", 'limits': {'strangers': 4}, 'progress': {'mode': 'manual'}");
    int fds[CROWD];

    for (uint32_t i = 0; i < CROWD; i++)
        fds[i] = nqtest_knock_from(HERE + (_i ? 0 : i));
    nqtest_drive_until(server, refusals, LIMIT);
    for (int i = 0; i < CROWD; i++) {
        if (i / LIMIT != 1)
            check_ended(server, fds[i]);
    }
    ck_assert_uint_eq(refusals(server), LIMIT);
    ck_assert_uint_eq(accepted(server), LIMIT);
    nq_free(server);
    for (int i = LIMIT; i < 2 * LIMIT; i++)
        close(fds[i]);
}
END_TEST

/* Memory in use, of all threads. */
static size_t memory(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static uint8_t greeting[NQI_HELLO_RECORD];

/* So many that the server has them, and of each all but the last byte of HELLO, or nothing. */
static void be_strange(nq_queue *server, int *fds, unsigned n, bool silent)
{
    for (unsigned i = 0; i < n; i++) {
        fds[i] = knock(server, HERE);
        if (!silent)
            ck_assert_int_eq(send(fds[i], greeting, sizeof(greeting) - 1, MSG_NOSIGNAL),
                             sizeof(greeting) - 1);
        ck_assert_int_ge(nq_poll(server), 0);
    }
}

/* What a server keeps of one, whatever he says. */
START_TEST(a_stranger_costs_at_most_4_KiB)
{
    enum { FEW = 20, MANY = 200 };
    nq_queue *server = nqtest_server(NQTEST_TCP, ", 'limits': {'source_strangers': 'unlimited'},"
                                                 " 'progress': {'mode': 'manual'}");
    struct nqi_hello hello = {.id = {{7}}, .version_min = 1, .version_max = 1};
    int fds[FEW + MANY];
    size_t before;

    nqi_hello_write(greeting, NQI_HELLO, &hello);
    be_strange(server, fds, FEW, _i); /* what all of them share is there */
    before = memory();
    be_strange(server, fds + FEW, MANY, _i);
    ck_assert_uint_eq(accepted(server), FEW + MANY);
    ck_assert_uint_le(memory(), before + MANY * (size_t)4096);
    ck_assert_uint_eq(refusals(server), 0);
    nq_free(server);
    for (unsigned i = 0; i < FEW + MANY; i++)
        close(fds[i]);
}
END_TEST

START_TEST(who_left_is_counted_no_more)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, ", 'limits': {'source_strangers': 2},"
                                                 " 'progress': {'mode': 'manual'}");

    for (unsigned i = 0; i < 10; i++) {
        int fds[] = {knock(server, HERE), knock(server, HERE)};

        ck_assert(is_open(fds[0]) && is_open(fds[1]));
        close(fds[0]), close(fds[1]);
        nqtest_drive_until(server, no_links, 1);
    }
    ck_assert_uint_eq(nqtest_drain_events(server, NQ_EVENT_REFUSED), 20); /* closed by them */
    nqtest_end(server);
}
END_TEST

/* Who has said who he is is a stranger no more. */
START_TEST(peers_are_not_counted)
{
    nq_queue *server =
                 nqtest_server(NQTEST_TCP, ", 'limits': {'source_strangers': 1, 'strangers': 1}"),
             *clients[5];

    for (unsigned i = 0; i < NQI_LEN(clients); i++)
        clients[i] = nqtest_join(server, "");
    ck_assert_uint_eq(nqtest_stats(server).peers, NQI_LEN(clients));
    ck_assert_uint_eq(refusals(server), 0);
    for (unsigned i = 0; i < NQI_LEN(clients); i++)
        nqtest_end(clients[i]);
    nqtest_end(server);
}
END_TEST

/* ---- failures ---- */

static void fail_from(nq_queue *server, uint32_t source)
{
    uint64_t before = refusals(server);
    int fd = nqtest_knock_from(source);

    ck_assert_int_eq(send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
    nqtest_drive_until(server, refusals, before + 1);
    check_ended(server, fd);
}

START_TEST(who_fails_too_often_is_closed_unseen_and_others_are_not)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, ", 'limits': {'source_failures': 3},"
                                                 " 'progress': {'mode': 'manual'}");
    struct nq_event event;
    uint64_t told;
    int fd;

    for (unsigned i = 0; i < 3; i++)
        fail_from(server, FAR);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(nqtest_event(server, NQ_EVENT_REFUSED).reason, NQ_REASON_PROTOCOL);
    event = nqtest_event(server, NQ_EVENT_REFUSED);
    ck_assert_int_eq(event.reason, NQ_REASON_LIMIT);
    ck_assert_msg(strstr(event.text, "127.10.11.12: too many failed attempts"), "%s", event.text);
    told = refusals(server);
    check_ended(server, nqtest_knock_from(FAR));
    ck_assert_uint_eq(refusals(server), told); /* no event for each of them */
    fd = knock(server, HERE);
    ck_assert(is_open(fd));
    close(fd);
    nq_free(server);
}
END_TEST

START_TEST(who_is_lost_without_a_word_has_not_failed)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, ", 'limits': {'source_failures': 1},"
                                                 " 'progress': {'mode': 'manual'}");

    for (unsigned i = 0; i < 5; i++) {
        close(knock(server, HERE));
        nqtest_drive_until(server, no_links, 1);
    }
    nqtest_drain_events(server, NQ_EVENT_REFUSED);
    fail_from(server, HERE);
    check_ended(server, nqtest_knock_from(HERE));
    nq_free(server);
}
END_TEST

static const nq_reason blames[] = {NQ_REASON_TIMED_OUT, NQ_REASON_PROTOCOL, NQ_REASON_REFUSED,
                                   NQ_REASON_DUPLICATE, NQ_REASON_VERSION,  NQ_REASON_IDENTITY,
                                   NQ_REASON_AUTH,      NQ_REASON_WIRE};

/* Only he is to blame who does not know what one must know here: `_i` is a reason. */
START_TEST(what_is_not_the_strangers_fault_is_no_failure_of_his)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, ", 'limits': {'source_failures': 1},"
                                                 " 'progress': {'mode': 'manual'}");
    struct nqi_link link = {
        .ep = server->eps[0].ep, .source = nqi_source_read("127.10.11.12:1"), .address = "there"};
    bool blamed = false;

    for (size_t i = 0; i < NQI_LEN(blames); i++)
        blamed |= blames[i] == (nq_reason)_i;
    nqi_queue_refused(server, &link, NULL, (nq_reason)_i, "a test");
    ck_assert_int_eq(nqtest_event(server, NQ_EVENT_REFUSED).reason, _i);
    ck_assert_int_eq(nqi_queue_stranger_refusal(server, "127.10.11.12:2") != NULL, blamed);
    ck_assert_ptr_null(nqi_queue_stranger_refusal(server, "127.10.11.13:2"));
    nq_free(server);
}
END_TEST

/* An id that is in use, which proves nothing. */
START_TEST(who_tries_anothers_id_fails)
{
    const char *id = ", 'id': '00000000-0000-4000-8000-000000000001'";
    nq_queue *server = nqtest_server(NQTEST_TCP, ", 'limits': {'source_failures': 2}");
    nq_queue *first = nqtest_join(server, id), *second = nqtest_client(id);

    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(nqtest_event(server, NQ_EVENT_REFUSED).reason, NQ_REASON_DUPLICATE);
    ck_assert_int_eq(nqtest_event(server, NQ_EVENT_REFUSED).reason, NQ_REASON_LIMIT);
    nqtest_put(first, nqtest_msg("still here"));
    nqtest_get_text(server, "still here");
    nq_free(second);
    nqtest_end(first);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue_strangers");
    TCase *tcase = tcase_create("strangers");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, one_too_many_of_a_source_ends_the_oldest_of_that_source);
    tcase_add_test(tcase, one_too_many_in_all_ends_the_oldest);
    tcase_add_loop_test(tcase, of_a_crowd_twice_the_limit_comes_in, 0, 2);
    tcase_add_loop_test(tcase, a_stranger_costs_at_most_4_KiB, 0, 2);
    tcase_add_test(tcase, who_left_is_counted_no_more);
    tcase_add_test(tcase, peers_are_not_counted);
    tcase_add_test(tcase, who_fails_too_often_is_closed_unseen_and_others_are_not);
    tcase_add_test(tcase, who_is_lost_without_a_word_has_not_failed);
    tcase_add_loop_test(tcase, what_is_not_the_strangers_fault_is_no_failure_of_his, NQ_REASON_NONE,
                        NQ_REASONS);
    tcase_add_test(tcase, who_tries_anothers_id_fails);
    suite_add_tcase(suite, tcase);
    return suite;
}
