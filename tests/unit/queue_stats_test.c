/* core/queue_stats.c: who connects is answered by whoever drives, nobody who connects disturbs, and
 * nothing of it is left. */
#include "core/base.h"
#include "tests/support/alloc.h"
#include "tests/support/stats_reader.h"
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANUAL ", 'progress': {'mode': 'manual'}"
#define SIX(text) text text text text text text

enum { READERS = 4 }; /* that are served at a time */

static char more[1024];

/* A server with the socket. */
static nq_queue *open_with(int transport, const char *rest)
{
    snprintf(more, sizeof(more), "%s%s", nqtest_stats_key(), rest);
    return nqtest_server(transport, more);
}

/* A client that tells more than the system keeps for a reader who does not read: why each of its
 * transports is not here. */
static nq_queue *open_long(const char *rest)
{
    char list[2048] = "";

    for (int i = 0; i < 60; i++)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "{'transport': 'none%d'},", i);
    return nqtest_open("{'purpose': 'client', 'transports': [%s {'transport': 'loop', 'name': "
                       "'nobody'}]%s%s}",
                       list, nqtest_stats_key(), rest);
}

static json_int_t number_of(const json_t *json, const char *object, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(json, object), name));
}

static bool socket_is_there(void)
{
    struct stat st;

    return !lstat(nqtest_stats_path(), &st);
}

/* ---- answers ---- */

START_TEST(a_queue_answers_over_every_transport_amid_its_traffic)
{
    nq_queue *server = open_with(_i, ""), *client = nqtest_join(server, "");
    json_t *json;

    for (uint64_t i = 0; i < 200; i++) {
        nqtest_put(client, nqtest_number(i));
        ck_assert_uint_eq(nqtest_get_number(server), i);
        if (i % 50)
            continue;
        json = nqtest_stats_ask(NULL);
        ck_assert_int_eq(number_of(json, "stats", "messages_in"), (json_int_t)i + 1);
        ck_assert_int_eq(json_integer_value(json_object_get(json, "pid")), getpid());
        ck_assert_uint_eq(json_array_size(json_object_get(json, "peers")), 1);
        json_decref(json);
    }
    nqtest_end(client);
    nqtest_end(server);
    ck_assert(!socket_is_there());
}
END_TEST

static const char *const modes[] = {"auto", "thread"};

START_TEST(nobody_needs_to_call_for_an_answer)
{
    char rest[64];
    nq_queue *server;
    json_t *json;

    snprintf(rest, sizeof(rest), ", 'progress': {'mode': '%s', 'workers': 3}", modes[_i]);
    server = open_with(NQTEST_TCP, rest);
    json = nqtest_stats_ask(NULL);
    ck_assert_str_eq(json_string_value(json_object_get(json, "progress")), modes[_i]);
    json_decref(json);
    nqtest_end(server);
}
END_TEST

START_TEST(a_manual_queue_answers_when_it_is_driven)
{
    nq_queue *server = open_with(NQTEST_TCP, MANUAL);
    struct pollfd pollfd = {.fd = nq_fd(server), .events = POLLIN};
    int fd;

    ck_assert_int_eq(poll(&pollfd, 1, 0), 0);
    fd = nqtest_stats_connect();
    ck_assert_int_eq(poll(&pollfd, 1, -1), 1);
    pollfd.fd = fd;
    ck_assert_int_eq(poll(&pollfd, 1, 0), 0);
    json_decref(nqtest_stats_read(fd, server));
    nqtest_end(server);
}
END_TEST

/* ---- readers ---- */

START_TEST(a_thousand_readers_leave_nothing)
{
    nq_queue *server = open_with(NQTEST_TCP, MANUAL);
    unsigned before;

    json_decref(nqtest_stats_ask(server));
    before = nqtest_descriptors();
    for (int i = 0; i < 1000; i++) {
        int fd = nqtest_stats_connect();

        ck_assert_int_ge(fd, 0);
        if (i % 10 == 3) /* gone before it is answered */
            close(fd);
        else
            json_decref(nqtest_stats_read(fd, server));
    }
    json_decref(nqtest_stats_ask(server));
    ck_assert_uint_eq(nqtest_descriptors(), before);
    nqtest_end(server);
}
END_TEST

START_TEST(a_long_document_comes_in_pieces)
{
    nq_queue *client = open_long(MANUAL);
    json_t *json = nqtest_stats_ask(client);

    ck_assert_uint_eq(json_array_size(json_object_get(json, "transports")), 61);
    json_decref(json);
    nq_free(client);
}
END_TEST

/* More than is made at once. */
START_TEST(many_peers_come_one_by_one)
{
    enum { PEERS = 120 };
    nq_queue *server = open_with(NQTEST_LOOP, ""), *clients[PEERS];
    const json_t *peers, *peer;
    json_t *json;

    for (int i = 0; i < PEERS; i++)
        clients[i] = nqtest_join(server, MANUAL);
    json = nqtest_stats_ask(NULL);
    peers = json_object_get(json, "peers");
    ck_assert_uint_eq(json_array_size(peers), PEERS);
    for (size_t i = 0; i < PEERS; i++) {
        char id[NQ_UUID_TEXT];

        peer = json_array_get(peers, i);
        nq_uuid_format(nq_id(clients[i]), id);
        ck_assert_str_eq(json_string_value(json_object_get(peer, "id")), id);
    }
    json_decref(json);
    for (int i = 0; i < PEERS; i++)
        nq_free(clients[i]);
    nq_free(server);
}
END_TEST

/* The queue goes on, others are answered while a place is free, and those who do not read lose
 * theirs. */
START_TEST(who_never_reads_disturbs_nobody)
{
    nq_queue *client = open_long("");
    int stuck[READERS], fd;
    struct pollfd pollfd = {.events = POLLIN};
    char *text;

    for (int i = 0; i < READERS - 1; i++) {
        stuck[i] = nqtest_stats_connect();
        pollfd.fd = stuck[i];
        ck_assert_int_eq(poll(&pollfd, 1, -1), 1); /* begun */
    }
    json_decref(nqtest_stats_ask(NULL));
    stuck[READERS - 1] = nqtest_stats_connect();
    pollfd.fd = stuck[READERS - 1];
    ck_assert_int_eq(poll(&pollfd, 1, -1), 1);

    nqtest_put(client, nqtest_msg("goes on"));
    fd = nqtest_stats_connect();
    pollfd.fd = fd;
    ck_assert_int_eq(poll(&pollfd, 1, -1), 1);
    pollfd = (struct pollfd){.fd = stuck[0]};
    ck_assert_int_eq(poll(&pollfd, 1, 0), 1); /* its place was what that one waited for */
    json_decref(nqtest_stats_read(fd, NULL));
    for (int i = 0; i < READERS; i++) {
        pollfd = (struct pollfd){.fd = stuck[i]};
        ck_assert_int_eq(poll(&pollfd, 1, -1), 1); /* hung up */
        text = nqtest_stats_rest(stuck[i], NULL);
        ck_assert_ptr_null(strstr(text, "peers\": ["));
        free(text);
        close(stuck[i]);
    }
    nq_free(client);
}
END_TEST

START_TEST(who_hangs_up_is_forgotten_at_once)
{
    nq_queue *client = open_long(MANUAL);
    unsigned before;
    int fds[READERS];
    char byte;

    json_decref(nqtest_stats_ask(client));
    before = nqtest_descriptors();
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < READERS; i++)
            fds[i] = nqtest_stats_connect();
        for (int i = 0; i < READERS; i++) {
            struct pollfd pollfd = {.fd = fds[i], .events = POLLIN};

            while (!poll(&pollfd, 1, 0))
                ck_assert_int_eq(nq_poll(client), NQ_OK);
            ck_assert_int_eq(read(fds[i], &byte, 1), 1);
        }
        for (int i = 0; i < READERS; i++)
            close(fds[i]);
    }
    json_decref(nqtest_stats_ask(client));
    while (nqtest_descriptors() > before)
        ck_assert_int_eq(nq_poll(client), NQ_OK);
    nq_free(client);
}
END_TEST

START_TEST(what_is_written_to_it_is_not_read)
{
    nq_queue *server = open_with(NQTEST_LOOP, MANUAL);
    int fd = nqtest_stats_connect();
    static char noise[100000];

    while (send(fd, noise, sizeof(noise), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
    json_decref(nqtest_stats_read(fd, server));
    nqtest_end(server);
}
END_TEST

/* ---- the file ---- */

START_TEST(without_the_key_there_is_nothing)
{
    unsigned before;
    nq_queue *server;

    server = nqtest_server(NQTEST_LOOP, "");
    nqtest_end(server);
    before = nqtest_descriptors();
    server = nqtest_server(NQTEST_LOOP, MANUAL);
    before = nqtest_descriptors() - before;
    nqtest_end(server);
    server = open_with(NQTEST_LOOP, MANUAL);
    ck_assert(socket_is_there());
    ck_assert_uint_gt(nqtest_descriptors(), before);
    nqtest_end(server);
    ck_assert(!socket_is_there());
}
END_TEST

START_TEST(closing_removes_it_and_ends_its_readers)
{
    nq_queue *client = open_long("");
    int fd = nqtest_stats_connect();
    char *text;
    char byte;

    ck_assert_int_eq(read(fd, &byte, 1), 1);
    ck_assert_int_eq(nq_close(client, 0, NULL), NQ_OK);
    ck_assert(!socket_is_there());
    text = nqtest_stats_rest(fd, NULL);
    ck_assert_ptr_null(strstr(text, "peers\": ["));
    free(text);
    close(fd);
    ck_assert_int_lt(nqtest_stats_connect(), 0);
    ck_assert_int_eq(nq_close(client, 0, NULL), NQ_OK);
    nq_free(client);
}
END_TEST

START_TEST(a_second_queue_is_refused)
{
    nq_queue *server = open_with(NQTEST_LOOP, ""), *second = NULL;

    ck_assert_int_eq(nqtest_try_open(&second,
                                     "{'purpose': 'server', 'transport': 'loop', 'name': "
                                     "'another'%s}",
                                     nqtest_stats_key()),
                     NQ_ERR_SYS);
    ck_assert_ptr_null(second);
    ck_assert_msg(strstr(nq_error(), "\"stats\": process ") && strstr(nq_error(), " listens at "),
                  "%s", nq_error());
    json_decref(nqtest_stats_ask(NULL));
    nqtest_end(server);
    ck_assert(!socket_is_there());
}
END_TEST

START_TEST(a_dead_process_leaves_a_place)
{
    nq_queue *server;
    pid_t child = fork();

    if (!child) {
        server = open_with(NQTEST_LOOP, "");
        _exit(server && socket_is_there() ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert(socket_is_there());
    server = open_with(NQTEST_LOOP, "");
    json_decref(nqtest_stats_ask(NULL));
    nqtest_end(server);
}
END_TEST

START_TEST(a_path_that_is_too_long_is_a_problem_of_the_file)
{
    nq_queue *queue = NULL;

    ck_assert_int_eq(nqtest_try_open(&queue,
                                     "{'purpose': 'server', 'transport': 'loop', 'name': 'x', "
                                     "'stats': {'socket': '/%s'}}",
                                     SIX(SIX("abc"))),
                     NQ_ERR_CONFIG);
    ck_assert_msg(strstr(nq_error(), "/stats/socket: is longer than 107 bytes"), "%s", nq_error());
}
END_TEST

/* ---- fork ---- */

/* It has the descriptors, too, also that of an answer that has begun: it must neither answer, nor
 * remove the file, nor keep a reader waiting for the end. */
START_TEST(a_forked_child_leaves_it_alone)
{
    nq_queue *client = open_long(MANUAL);
    int begun = nqtest_stats_connect(), hands[2];
    struct pollfd pollfd = {.fd = begun, .events = POLLIN};
    char byte;
    pid_t child;

    while (!poll(&pollfd, 1, 0))
        ck_assert_int_eq(nq_poll(client), NQ_OK);
    ck_assert_int_eq(pipe(hands), 0);
    child = fork();
    if (!child) {
        nq_free(client);
        (void)!write(hands[1], "x", 1);
        close(hands[1]);
        pause();
    }
    ck_assert_int_eq(read(hands[0], &byte, 1), 1);
    ck_assert(socket_is_there());
    json_decref(nqtest_stats_read(begun, client));
    json_decref(nqtest_stats_ask(client));
    nq_free(client);
    ck_assert(!socket_is_there());
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    close(hands[0]);
    close(hands[1]);
}
END_TEST

/* ---- lack of things ---- */

/* Check allocates, too: it is not asked while an allocation is to fail. */
START_TEST(opening_without_memory_leaves_nothing)
{
    nq_err err = NQ_ERR_NOMEM;
    unsigned failures = 0, before;
    nq_queue *queue = NULL;
    char text[256];

    snprintf(text, sizeof(text),
             "{\"purpose\": \"server\", \"transport\": \"loop\", \"name\": \"x\","
             " \"progress\": {\"mode\": \"manual\"}, \"stats\": {\"socket\": \"%s\"}}",
             nqtest_stats_path());
    nqtest_end(open_with(NQTEST_LOOP, MANUAL));
    before = nqtest_descriptors();
    for (unsigned n = 1; err; n++) {
        nqtest_alloc_fail_at(n);
        err = nq_open_json(text, strlen(text), &queue);
        failures += nqtest_alloc_disarm();
        ck_assert_int_eq(socket_is_there(), err == NQ_OK);
        if (err)
            ck_assert_uint_eq(nqtest_descriptors(), before);
    }
    ck_assert_uint_gt(failures, 20);
    nqtest_end(queue);
}
END_TEST

/* Whose answer the memory does not suffice for sees the end of it; the next one is answered. */
START_TEST(answering_without_memory_goes_on_with_the_next)
{
    nq_queue *client = open_long(MANUAL);
    nq_err polled = NQ_OK;
    unsigned cut = 0;
    bool failed = true;

    for (unsigned n = 1; failed; n++) {
        int fd = nqtest_stats_connect();
        char *text;

        nqtest_alloc_fail_at(n);
        for (int i = 0; i < 10; i++)
            polled |= nq_poll(client);
        failed = nqtest_alloc_disarm();
        text = nqtest_stats_rest(fd, client);
        cut += strstr(text, "peers\": [") == NULL;
        ck_assert(failed || strstr(text, "peers\": ["));
        free(text);
        close(fd);
    }
    ck_assert_int_eq(polled, NQ_OK);
    ck_assert_uint_ge(cut, 4); /* reader, list of peers, timer, watch */
    nq_free(client);
}
END_TEST

/* The loop does not turn in circles for who cannot be let in, and lets him in when it can. */
START_TEST(without_descriptors_who_asks_waits)
{
    nq_queue *server = open_with(NQTEST_TCP, MANUAL);
    int fd = nqtest_stats_connect(), spare = dup(fd);
    struct pollfd pollfd = {.fd = nq_fd(server), .events = POLLIN};
    struct rlimit before, none;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_ge(spare, 0);
    none = before;
    none.rlim_cur = (rlim_t)spare;
    close(spare);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_int_eq(poll(&pollfd, 1, -1), 1);
    ck_assert_int_eq(nq_poll(server), NQ_OK);
    ck_assert_int_eq(poll(&pollfd, 1, 0), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    json_decref(nqtest_stats_read(fd, server));
    nqtest_end(server);
}
END_TEST

/* ---- closing amid readers ---- */

static void *ask_again_and_again(void *arg)
{
    unsigned *answers = arg;

    for (;;) {
        int fd = nqtest_stats_connect();
        char *text;

        if (fd < 0 && errno == EAGAIN)
            continue;
        if (fd < 0)
            return NULL;
        text = nqtest_stats_rest(fd, NULL);
        *answers += *text != '\0';
        free(text);
        close(fd);
    }
}

START_TEST(a_queue_may_close_while_many_ask)
{
    unsigned answers[3] = {0};
    pthread_t threads[3];
    nq_queue *server = open_with(NQTEST_TCP, ""), *client = nqtest_join(server, "");

    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_again_and_again, &answers[i]), 0);
    for (uint64_t i = 0; i < 500; i++) {
        nqtest_put(client, nqtest_number(i));
        ck_assert_uint_eq(nqtest_get_number(server), i);
    }
    nqtest_end(client);
    nqtest_end(server);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_gt(answers[0] + answers[1] + answers[2], 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue_stats");
    TCase *tc = tcase_create("queue_stats");

    tcase_set_timeout(tc, 40);
    tcase_add_checked_fixture(tc, nqtest_stats_setup, nqtest_stats_teardown);
    nqtest_each(tc, a_queue_answers_over_every_transport_amid_its_traffic);
    tcase_add_loop_test(tc, nobody_needs_to_call_for_an_answer, 0, NQI_LEN(modes));
    tcase_add_test(tc, a_manual_queue_answers_when_it_is_driven);
    tcase_add_test(tc, a_thousand_readers_leave_nothing);
    tcase_add_test(tc, a_long_document_comes_in_pieces);
    tcase_add_test(tc, many_peers_come_one_by_one);
    tcase_add_test(tc, who_never_reads_disturbs_nobody);
    tcase_add_test(tc, who_hangs_up_is_forgotten_at_once);
    tcase_add_test(tc, what_is_written_to_it_is_not_read);
    tcase_add_test(tc, without_the_key_there_is_nothing);
    tcase_add_test(tc, closing_removes_it_and_ends_its_readers);
    tcase_add_test(tc, a_second_queue_is_refused);
    tcase_add_test(tc, a_dead_process_leaves_a_place);
    tcase_add_test(tc, a_path_that_is_too_long_is_a_problem_of_the_file);
    tcase_add_test(tc, a_forked_child_leaves_it_alone);
    tcase_add_test(tc, opening_without_memory_leaves_nothing);
    tcase_add_test(tc, answering_without_memory_goes_on_with_the_next);
    tcase_add_test(tc, without_descriptors_who_asks_waits);
    tcase_add_test(tc, a_queue_may_close_while_many_ask);
    suite_add_tcase(suite, tc);
    return suite;
}
