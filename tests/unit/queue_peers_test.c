/* core/queue_peers.c: who may come in, who is refused and why, and the list of who is there. */
#include "core/base.h"
#include "tests/support/queue.h"
#include <check.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t peers(nq_queue *queue)
{
    return nqtest_stats(queue).peers;
}

static uint64_t refusals(nq_queue *queue)
{
    return nqtest_stats(queue).refusals;
}

static uint64_t turns(nq_queue *queue)
{
    return nqtest_stats(queue).turns;
}

static uint64_t no_peers(nq_queue *queue)
{
    return !nqtest_stats(queue).peers;
}

static uint64_t no_links(nq_queue *queue)
{
    return !nqtest_stats(queue).links;
}

/* ---- the list ---- */

START_TEST(the_list_tells_who_is_there)
{
    nq_queue *server = nqtest_server(_i, ""), *clients[3];
    struct nq_peer_info infos[3];
    size_t count = 77;

    ck_assert_int_eq(nq_peers(server, infos, 3, &count), NQ_OK);
    ck_assert_uint_eq(count, 0);
    for (unsigned i = 0; i < 3; i++)
        clients[i] = nqtest_join(server, "");
    memset(infos, 0xee, sizeof(infos));
    ck_assert_int_eq(nq_peers(server, NULL, 0, &count), NQ_OK);
    ck_assert_uint_eq(count, 3);
    ck_assert_int_eq(nq_peers(server, infos, 2, &count), NQ_OK);
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_eq(infos[2].id.bytes[0], 0xee);
    for (unsigned i = 0; i < 2; i++) {
        bool found = false;

        for (unsigned k = 0; k < 3; k++)
            found |= nq_uuid_equal(&infos[i].id, nq_id(clients[k]));
        ck_assert(found);
        ck_assert(infos[i].up);
        ck_assert_str_eq(infos[i].transport, nqtest_transport_name(_i));
        ck_assert_str_ne(infos[i].address, "");
    }
    for (unsigned i = 0; i < 3; i++)
        nqtest_end(clients[i]);
    nqtest_drive_until(server, no_peers, 1);
    nqtest_end(server);
}
END_TEST

START_TEST(the_list_counts_what_went_to_and_fro)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct nq_peer_info info;
    size_t count;

    for (unsigned i = 0; i < 10; i++)
        nqtest_put(client, nqtest_noise(1000, i));
    nqtest_put(server, nqtest_noise(500, 1));
    for (unsigned i = 0; i < 7; i++)
        nq_msg_free(nqtest_get(server));
    nq_msg_free(nqtest_get(client));
    do {
        ck_assert_int_eq(nq_peers(server, &info, 1, &count), NQ_OK);
        nqtest_drive_until(server, turns, nqtest_stats(server).turns + 1);
    } while (info.messages_in < 10);
    ck_assert_uint_eq(info.bytes_in, 10000);
    ck_assert_uint_eq(info.unread, 3);
    ck_assert_uint_eq(info.messages_out, 1);
    ck_assert_uint_eq(info.bytes_out, 500);
    ck_assert_uint_eq(info.queued, 0);
    ck_assert_int_eq(nq_peers(client, &info, 1, &count), NQ_OK);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(info.messages_out, 10);
    ck_assert_uint_eq(info.messages_in, 1);
    ck_assert(nq_uuid_equal(&info.id, nq_id(server)));
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_client_lists_its_server_also_while_it_is_away)
{
    struct nq_peer_info info;
    nq_queue *client, *server;
    size_t count;

    nqtest_choose_place(_i);
    client = nqtest_client("");
    nqtest_put(client, nqtest_noise(100, 1));
    ck_assert_int_eq(nq_peers(client, &info, 1, &count), NQ_OK);
    ck_assert_uint_eq(count, 1);
    ck_assert(!info.up);
    ck_assert_str_eq(info.transport, "");
    ck_assert_uint_eq(info.queued, 1);
    ck_assert_uint_eq(info.queued_bytes, 100);
    server = nqtest_server_again("");
    nqtest_event(client, NQ_EVENT_PEER_UP);
    ck_assert_int_eq(nq_peers(client, &info, 1, &count), NQ_OK);
    ck_assert(info.up);
    nq_free(server);
    nqtest_event(client, NQ_EVENT_PEER_GONE);
    ck_assert_int_eq(nq_peers(client, &info, 1, &count), NQ_OK);
    ck_assert(!info.up);
    ck_assert_str_eq(info.address, "");
    nq_free(client);
}
END_TEST

/* The table grows several times. */
/* Each client is an event loop and a connection, both of whose ends are here: more descriptors than
 * a user has unasked. */
static void raise_files(void)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

START_TEST(two_hundred_clients_come_and_go)
{
    enum { CLIENTS = 200 };
    nq_queue *server = nqtest_server(_i, ""), *clients[CLIENTS];

    raise_files();
    for (unsigned i = 0; i < CLIENTS; i++)
        clients[i] = nqtest_client(", 'progress': {'mode': 'manual'}");
    while (peers(server) < CLIENTS) {
        for (unsigned i = 0; i < CLIENTS; i++)
            ck_assert_int_eq(nq_poll(clients[i]), NQ_OK);
        nqtest_drive_until(server, turns, nqtest_stats(server).turns + 1);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(nq_put(server, nqtest_number(i), nq_id(clients[i]), 1, NULL), NQ_OK);
    for (unsigned i = 0; i < CLIENTS; i++)
        ck_assert_uint_eq(nqtest_get_number(clients[i]), i);
    for (unsigned i = 0; i < CLIENTS; i++)
        nq_free(clients[i]);
    nqtest_drive_until(server, no_peers, 1);
    nqtest_drive_until(server, no_links, 1);
    nqtest_end(server);
}
END_TEST

/* ---- who is refused ---- */

START_TEST(an_id_that_is_in_use_is_refused_on_both_sides)
{
    nq_queue *server = nqtest_server(_i, "");
    const char *id = ", 'id': '00000000-0000-4000-8000-000000000001'";
    nq_queue *first = nqtest_join(server, id), *second = nqtest_client(id);
    struct nq_event event = nqtest_event(server, NQ_EVENT_REFUSED);
    nq_uuid want = nqtest_id(1);

    ck_assert_int_eq(event.reason, NQ_REASON_DUPLICATE);
    ck_assert(nq_uuid_equal(&event.peer, &want));
    ck_assert_str_ne(event.text, "");
    event = nqtest_event(second, NQ_EVENT_REFUSED);
    ck_assert_int_eq(event.reason, NQ_REASON_DUPLICATE);
    ck_assert_str_ne(event.text, "");

    nqtest_put(first, nqtest_msg("still there"));
    nqtest_get_text(server, "still there");
    nq_free(second);
    nqtest_end(first);
    nqtest_end(server);
}
END_TEST

/* The second keeps trying; each try is one refusal on each side. */
START_TEST(a_refused_client_is_refused_once_a_try_and_comes_in_when_the_other_left)
{
    nq_queue *server = nqtest_server(_i, "");
    const char *id = ", 'id': '00000000-0000-4000-8000-000000000001'";
    nq_queue *first = nqtest_join(server, id), *second = nqtest_client(id);

    nqtest_put(second, nqtest_msg("at last"));
    nqtest_drive_until(second, refusals, 3);
    nqtest_end(first);
    nqtest_get_text(server, "at last");
    nqtest_event(second, NQ_EVENT_PEER_UP);
    nqtest_end(second);
    nqtest_drive_until(server, no_links, 1);
    nqtest_end(server);
}
END_TEST

START_TEST(a_refusal_is_one_event_on_each_side)
{
    nq_queue *server = nqtest_server(_i, "");
    const char *id = ", 'id': '00000000-0000-4000-8000-000000000001'";
    nq_queue *first = nqtest_join(server, id), *second = nqtest_client(id);
    uint64_t tries;

    nqtest_drive_until(second, refusals, 4);
    ck_assert_int_eq(nq_close(second, 0, NULL), NQ_OK);
    tries = refusals(second);
    ck_assert_uint_eq(nqtest_drain_events(second, NQ_EVENT_REFUSED), tries);
    nq_free(second);
    nqtest_end(first);
    nqtest_drive_until(server, no_links, 1);
    ck_assert_uint_ge(refusals(server), tries);
    ck_assert_uint_le(refusals(server), tries + 1); /* it may have begun another */
    ck_assert_uint_eq(nqtest_drain_events(server, NQ_EVENT_REFUSED), refusals(server));
    nqtest_end(server);
}
END_TEST

START_TEST(the_servers_own_id_is_in_use)
{
    nq_queue *server = nqtest_server(_i, ""), *client;

    nqtest_end(nqtest_join(server, "")); /* it is there: nothing else refuses */
    client = nqtest_client(", 'id': '" NQTEST_SERVER "'");
    ck_assert_int_eq(nqtest_event(client, NQ_EVENT_REFUSED).reason, NQ_REASON_DUPLICATE);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

START_TEST(the_limit_of_peers_is_kept)
{
    nq_queue *server = nqtest_server(_i, ", 'limits': {'peers': 2}");
    nq_queue *first = nqtest_join(server, ""), *second = nqtest_join(server, ""),
             *third = nqtest_client("");

    ck_assert_int_eq(nqtest_event(third, NQ_EVENT_REFUSED).reason, NQ_REASON_LIMIT);
    ck_assert_int_eq(nqtest_event(server, NQ_EVENT_REFUSED).reason, NQ_REASON_LIMIT);
    ck_assert_uint_eq(peers(server), 2);
    nqtest_put(third, nqtest_msg("room at last"));
    nqtest_end(first);
    nqtest_get_text(server, "room at last");
    nqtest_end(second);
    nqtest_end(third);
    nqtest_end(server);
}
END_TEST

START_TEST(a_closed_server_takes_nobody)
{
    nq_queue *server = nqtest_server(_i, ""), *client;

    ck_assert_int_eq(nq_close(server, 0, NULL), NQ_OK);
    client = nqtest_client("");
    ck_assert_int_eq(nqtest_event(client, NQ_EVENT_REFUSED).kind, NQ_EVENT_REFUSED);
    ck_assert_uint_eq(peers(server), 0);
    nq_free(client);
    nq_free(server);
}
END_TEST

/* ---- disconnect ---- */

START_TEST(a_server_ends_a_session_and_the_client_comes_again)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, ""),
             *other = nqtest_join(server, "");
    nq_uuid stranger = nqtest_id(1);
    struct nq_event event;

    ck_assert_int_eq(nq_disconnect(server, &stranger), NQ_ERR_NO_PEER);
    ck_assert_int_eq(nq_disconnect(server, nq_id(client)), NQ_OK);
    event = nqtest_event(server, NQ_EVENT_PEER_GONE);
    ck_assert_int_eq(event.reason, NQ_REASON_DISCONNECTED);
    ck_assert(nq_uuid_equal(&event.peer, nq_id(client)));
    nqtest_event(client, NQ_EVENT_PEER_GONE);
    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_put(client, nqtest_msg("again"));
    nqtest_get_text(server, "again");
    ck_assert_uint_eq(nqtest_drain_events(other, NQ_EVENT_PEER_GONE), 0);
    nqtest_end(client);
    nqtest_end(other);
    nqtest_end(server);
}
END_TEST

/* The client, which nobody drives, takes one message: the second waits. */
START_TEST(what_was_not_acknowledged_settles_when_the_session_is_ended)
{
    nq_queue *server = nqtest_server(_i, ""),
             *client = nqtest_client(", 'queue': {'messages': 1}, 'progress': {'mode': 'manual'}");
    nq_future *sent, *waiting;
    nq_reason reason;
    nq_uuid id = *nq_id(client);

    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_event(server, NQ_EVENT_PEER_UP);
    ck_assert_int_eq(nq_put(server, nqtest_msg("a"), &id, 1, &sent), NQ_OK);
    while (!nqtest_stats(server).messages_out) /* the transport has it */
        sched_yield();
    ck_assert_int_eq(nq_put(server, nqtest_msg("b"), &id, 1, &waiting), NQ_OK);
    ck_assert_int_eq(nq_disconnect(server, &id), NQ_OK);
    ck_assert_int_eq(nqtest_outcome(sent, &reason), NQ_UNKNOWN);
    ck_assert_int_eq(reason, NQ_REASON_DISCONNECTED);
    ck_assert_int_eq(nqtest_outcome(waiting, &reason), NQ_NOT_DELIVERED);
    ck_assert_int_eq(reason, NQ_REASON_DISCONNECTED);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

/* Nobody waits for the acknowledgement, so it would come later. */
START_TEST(what_arrived_is_acknowledged_when_the_session_is_ended)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");

    nqtest_put(client, nqtest_msg("a"));
    nqtest_get_text(server, "a");
    ck_assert_int_eq(nq_disconnect(server, nq_id(client)), NQ_OK);
    nqtest_event(client, NQ_EVENT_PEER_GONE);
    ck_assert_uint_eq(nqtest_stats(client).delivered, 1);
    ck_assert_uint_eq(nqtest_stats(client).unknown, 0);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* The server takes nothing more, so that messages wait on the client's side. */
START_TEST(a_client_ends_its_session_and_begins_another)
{
    nq_queue *server = nqtest_server(_i, ", 'queue': {'messages': 2}");
    nq_queue *client = nqtest_join(server, "");
    nq_future *futures[10];
    nq_reason reason;
    unsigned counts[NQ_UNKNOWN + 1] = {0};

    for (uint64_t i = 0; i < 10; i++)
        futures[i] = nqtest_put_future(client, nqtest_number(i));
    for (uint64_t i = 0; i < 2; i++)
        ck_assert_int_eq(nq_future_wait(futures[i], NQTEST_WAIT), NQ_OK);
    ck_assert_int_eq(nq_disconnect(client, nq_id(server)), NQ_OK);
    for (uint64_t i = 0; i < 10; i++) {
        counts[nqtest_outcome(futures[i], &reason)]++;
        if (i == 9)
            ck_assert_int_eq(reason, NQ_REASON_DISCONNECTED);
    }
    ck_assert_uint_eq(counts[NQ_DELIVERED], 2);
    ck_assert_uint_eq(counts[NQ_NOT_DELIVERED], 8);
    ck_assert_int_eq(nqtest_event(client, NQ_EVENT_PEER_GONE).reason, NQ_REASON_DISCONNECTED);
    nqtest_event(client, NQ_EVENT_PEER_UP);
    ck_assert_uint_eq(nqtest_get_number(server), 0);
    ck_assert_uint_eq(nqtest_get_number(server), 1);
    for (uint64_t i = 20; i < 50; i++)
        nqtest_put(client, nqtest_number(i));
    for (uint64_t i = 20; i < 50; i++)
        ck_assert_uint_eq(nqtest_get_number(server), i);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* The server does not drive its queue: the client takes it for dead. */
START_TEST(a_client_ends_its_session_while_it_has_no_link)
{
    nq_queue *server = nqtest_server(_i, ", 'progress': {'mode': 'manual'}");
    nq_queue *client = nqtest_client(", 'session': {'keepalive': '100ms'}");
    nq_future *future;
    nq_reason reason;

    while (!nqtest_stats(client).connects)
        ck_assert_int_eq(nq_poll(server), NQ_OK);
    nqtest_event(client, NQ_EVENT_PEER_DOWN);
    future = nqtest_put_future(client, nqtest_msg("nobody gets this"));
    ck_assert_int_eq(nq_disconnect(client, nq_id(server)), NQ_OK);
    ck_assert_int_eq(nqtest_event(client, NQ_EVENT_PEER_GONE).reason, NQ_REASON_DISCONNECTED);
    ck_assert_int_eq(nqtest_outcome(future, &reason), NQ_NOT_DELIVERED);
    ck_assert_int_eq(reason, NQ_REASON_DISCONNECTED);
    ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_PEER_GONE), 0);
    nq_free(client);
    nq_free(server);
}
END_TEST

/* ---- strangers, over tcp ---- */

/* 256 strangers and the client; who makes room takes a turn of the loop to leave. */
static uint64_t few_links(nq_queue *queue)
{
    return nqtest_stats(queue).links <= 257;
}

START_TEST(silent_connections_do_not_keep_a_client_out)
{
    enum { SILENT = 300 };
    nq_queue *server = nqtest_server(NQTEST_TCP, ""), *client;
    int fds[SILENT];
    int64_t start;

    for (int i = 0; i < SILENT; i++)
        fds[i] = nqtest_knock();
    start = nqtest_clock();
    client = nqtest_client("");
    nqtest_event(client, NQ_EVENT_PEER_UP);
    ck_assert_int_lt(nqtest_clock() - start, 5000 * NQTEST_MS);
    nqtest_drive_until(server, few_links, 1);
    nqtest_put(client, nqtest_msg("a"));
    nqtest_get_text(server, "a");
    for (int i = 0; i < SILENT; i++)
        close(fds[i]);
    nqtest_end(client);
    nqtest_drive_until(server, no_links, 1);
    nqtest_end(server);
}
END_TEST

/* The oldest go first, and an event tells of them. */
START_TEST(who_has_been_silent_for_longest_makes_room)
{
    enum { SILENT = 260 };
    nq_queue *server = nqtest_server(NQTEST_TCP, ", 'limits': {'source_strangers': 'unlimited'}");
    struct nq_event event;
    int fds[SILENT];
    char byte;

    for (int i = 0; i < SILENT; i++) {
        fds[i] = nqtest_knock();
        nqtest_drive_until(server, turns, nqtest_stats(server).turns + 1);
    }
    for (int i = 0; i < 4; i++) {
        event = nqtest_event(server, NQ_EVENT_REFUSED);
        ck_assert_int_eq(event.reason, NQ_REASON_LIMIT);
        ck_assert_int_eq(read(fds[i], &byte, 1), 0);
    }
    ck_assert_int_eq(recv(fds[4], &byte, 1, MSG_DONTWAIT), -1);
    nq_free(server);
    for (int i = 0; i < SILENT; i++)
        close(fds[i]);
}
END_TEST

START_TEST(a_queue_that_ends_lets_go_of_who_has_not_said_hello)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, "");
    int64_t start;
    int fds[20];
    char byte;

    for (int i = 0; i < 20; i++)
        fds[i] = nqtest_knock();
    while (nqtest_stats(server).links < 20)
        nqtest_drive_until(server, turns, nqtest_stats(server).turns + 1);
    start = nqtest_clock();
    nq_free(server);
    ck_assert_int_lt(nqtest_clock() - start, 5000 * NQTEST_MS);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(read(fds[i], &byte, 1), 0);
        close(fds[i]);
    }
}
END_TEST

START_TEST(a_stranger_that_speaks_something_else_is_refused_at_once)
{
    static const char request[] = "GET / HTTP/1.1\r\n\r\n";
    nq_queue *server = nqtest_server(NQTEST_TCP, "");
    struct nq_event event;
    int fd = nqtest_knock();
    char byte;

    ck_assert_int_eq(write(fd, request, sizeof(request)), sizeof(request));
    event = nqtest_event(server, NQ_EVENT_REFUSED);
    ck_assert_int_eq(event.reason, NQ_REASON_PROTOCOL);
    ck_assert_ptr_nonnull(strstr(event.text, "127.0.0.1"));
    ck_assert_int_le(read(fd, &byte, 1), 0);
    close(fd);
    nqtest_drive_until(server, no_links, 1);
    ck_assert_uint_eq(nqtest_stats(server).refusals, 1);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue_peers");
    TCase *tc = tcase_create("queue_peers");

    tcase_set_timeout(tc, 30);
    nqtest_each(tc, the_list_tells_who_is_there);
    nqtest_each(tc, the_list_counts_what_went_to_and_fro);
    nqtest_each(tc, a_client_lists_its_server_also_while_it_is_away);
    nqtest_each(tc, two_hundred_clients_come_and_go);
    nqtest_each(tc, an_id_that_is_in_use_is_refused_on_both_sides);
    nqtest_each(tc, a_refused_client_is_refused_once_a_try_and_comes_in_when_the_other_left);
    nqtest_each(tc, a_refusal_is_one_event_on_each_side);
    nqtest_each(tc, the_servers_own_id_is_in_use);
    nqtest_each(tc, the_limit_of_peers_is_kept);
    nqtest_each(tc, a_closed_server_takes_nobody);
    nqtest_each(tc, a_server_ends_a_session_and_the_client_comes_again);
    nqtest_each(tc, what_arrived_is_acknowledged_when_the_session_is_ended);
    nqtest_each(tc, what_was_not_acknowledged_settles_when_the_session_is_ended);
    nqtest_each(tc, a_client_ends_its_session_and_begins_another);
    nqtest_each(tc, a_client_ends_its_session_while_it_has_no_link);
    tcase_add_test(tc, silent_connections_do_not_keep_a_client_out);
    tcase_add_test(tc, who_has_been_silent_for_longest_makes_room);
    tcase_add_test(tc, a_queue_that_ends_lets_go_of_who_has_not_said_hello);
    tcase_add_test(tc, a_stranger_that_speaks_something_else_is_refused_at_once);
    suite_add_tcase(suite, tc);
    return suite;
}
