/* core/queue_older.c: who comes in over the wire of net-queue, and who does not. */
#include "core/base.h"
#include "tests/support/queue.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ONE "00000000-0000-4000-8000-000000000001" /* nqtest_id(1) */
#define BOTH ", 'wire': 'both'"
#define HEAD 8u
#define INI (HEAD + 16u)

static char keys[64]; /* a file; "" = none */

static void setup(void)
{
    *keys = '\0';
}

static void teardown(void)
{
    if (*keys)
        unlink(keys);
}

/* Members of a server of both wires that has a key for nqtest_id(1) alone. */
static const char *with_key(void)
{
    static char more[160];
    static const char text[] = "{\"keys\": {\"" ONE "\": \"0123456789abcdef0123456789abcdef\"}}";
    int fd;

    snprintf(keys, sizeof(keys), "/tmp/nqtest-older-XXXXXX");
    fd = mkstemp(keys);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fchmod(fd, 0600), 0);
    ck_assert_int_eq(write(fd, text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
    ck_assert_int_eq(close(fd), 0);
    snprintf(more, sizeof(more), BOTH ", 'security': {'psk': '%s'}", keys);
    return more;
}

static void frame(int fd, const void *payload, uint8_t len)
{
    uint8_t bytes[HEAD + 255] = {[HEAD - 1] = len};

    memcpy(bytes + HEAD, payload, len);
    ck_assert_int_eq(send(fd, bytes, HEAD + len, MSG_NOSIGNAL), (ssize_t)(HEAD + len));
}

/* A connection whose first words are the ini of that id. */
static int knock_as(const nq_uuid *id)
{
    int fd = nqtest_knock();

    frame(fd, id->bytes, sizeof(id->bytes));
    return fd;
}

static void expect(int fd, const void *payload, uint8_t len)
{
    uint8_t bytes[HEAD + 255];

    ck_assert_int_eq(recv(fd, bytes, HEAD + len, MSG_WAITALL), (ssize_t)(HEAD + len));
    ck_assert_uint_eq(bytes[HEAD - 1], len);
    ck_assert_mem_eq(bytes + HEAD, payload, len);
}

static void expect_ini(int fd)
{
    nq_uuid server;

    ck_assert_int_eq(nq_uuid_parse(NQTEST_SERVER, &server), NQ_OK);
    expect(fd, server.bytes, sizeof(server.bytes));
}

/* Nothing more comes, at most the server's ini came. */
static void expect_end(int fd)
{
    uint8_t bytes[INI + 1];

    ck_assert_int_le(recv(fd, bytes, sizeof(bytes), MSG_WAITALL), (ssize_t)INI);
    close(fd);
}

static void expect_refusal(nq_queue *server, const nq_uuid *id, nq_reason reason)
{
    int fd = knock_as(id);
    struct nq_event event = nqtest_event(server, NQ_EVENT_REFUSED);

    ck_assert_int_eq(event.reason, reason);
    expect_end(fd);
}

/* ---- who comes in ---- */

START_TEST(who_says_ini_is_a_peer_and_messages_pass)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, BOTH);
    const nq_uuid id = nqtest_id(1);
    int fd = knock_as(&id);
    struct nq_event event = nqtest_event(server, NQ_EVENT_PEER_UP);
    nq_future *future;

    ck_assert(nq_uuid_equal(&event.peer, &id));
    ck_assert_msg(strstr(event.text, "net-queue"), "%s", event.text);
    expect_ini(fd);
    frame(fd, "up", 2);
    nqtest_get_text(server, "up");
    future = nqtest_put_future(server, nqtest_msg("down"));
    expect(fd, "down", 4);
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_HANDED);
    frame(fd, id.bytes, sizeof(id.bytes)); /* fin, and the server's */
    expect_ini(fd);
    expect_end(fd);
    nqtest_end(server);
}
END_TEST

START_TEST(clients_of_both_wires_are_served_at_once)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, BOTH);
    nq_queue *native = nqtest_join(server, ", 'id': '" ONE "'");
    const nq_uuid id = nqtest_id(2);
    int fd = knock_as(&id);

    nqtest_event(server, NQ_EVENT_PEER_UP);
    expect_ini(fd);
    nqtest_put(server, nqtest_msg("all"));
    expect(fd, "all", 3);
    nqtest_get_text(native, "all");
    close(fd);
    nqtest_end(native);
    nqtest_end(server);
}
END_TEST

START_TEST(an_id_with_a_key_leaves_others_in)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, with_key());
    const nq_uuid one = nqtest_id(1), two = nqtest_id(2);
    int fd;

    expect_refusal(server, &one, NQ_REASON_AUTH);
    fd = knock_as(&two);
    expect_ini(fd);
    close(fd);
    nqtest_end(server);
}
END_TEST

/* ---- who does not ---- */

START_TEST(a_session_of_our_wire_is_taken_by_nobody)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, BOTH);
    nq_queue *native = nqtest_join(server, ", 'id': '" ONE "'");
    const nq_uuid id = nqtest_id(1);

    for (int i = 0; i < 3; i++)
        expect_refusal(server, &id, NQ_REASON_WIRE);
    nqtest_put(native, nqtest_msg("still here"));
    nqtest_get_text(server, "still here");
    nqtest_end(native);
    nqtest_end(server);
}
END_TEST

START_TEST(an_id_that_is_there_is_not_replaced_without_a_certificate)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, BOTH);
    const nq_uuid id = nqtest_id(1);
    int first = knock_as(&id);

    expect_ini(first);
    expect_refusal(server, &id, NQ_REASON_DUPLICATE);
    frame(first, "still here", 10);
    nqtest_get_text(server, "still here");
    close(first);
    nqtest_end(server);
}
END_TEST

START_TEST(ids_that_nobody_has_are_refused)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, BOTH);
    nq_uuid id = {{0}};

    expect_refusal(server, &id, NQ_REASON_PROTOCOL);
    memset(id.bytes, 0xff, sizeof(id.bytes));
    expect_refusal(server, &id, NQ_REASON_PROTOCOL);
    ck_assert_int_eq(nq_uuid_parse(NQTEST_SERVER, &id), NQ_OK);
    expect_refusal(server, &id, NQ_REASON_DUPLICATE);
    ck_assert_uint_eq(nqtest_stats(server).peers, 0);
    nqtest_end(server);
}
END_TEST

START_TEST(each_wire_alone_refuses_the_other)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, ""), *client;
    const nq_uuid id = nqtest_id(1);

    expect_refusal(server, &id, NQ_REASON_WIRE);
    nqtest_end(server);
    server = nqtest_server(NQTEST_TCP, ", 'wire': 'net-queue'");
    client = nqtest_client("");
    ck_assert_int_eq(nqtest_event(server, NQ_EVENT_REFUSED).reason, NQ_REASON_WIRE);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue_older");
    TCase *tc = tcase_create("queue_older");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, who_says_ini_is_a_peer_and_messages_pass);
    tcase_add_test(tc, clients_of_both_wires_are_served_at_once);
    tcase_add_test(tc, an_id_with_a_key_leaves_others_in);
    tcase_add_test(tc, a_session_of_our_wire_is_taken_by_nobody);
    tcase_add_test(tc, an_id_that_is_there_is_not_replaced_without_a_certificate);
    tcase_add_test(tc, ids_that_nobody_has_are_refused);
    tcase_add_test(tc, each_wire_alone_refuses_the_other);
    suite_add_tcase(suite, tc);
    return suite;
}
