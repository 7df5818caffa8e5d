/* "wire": "net-queue" against an independent peer of that wire that behaves well, in both roles and
 * over each transport: see net_queue/peer.py. */
#include "tests/interop/net_queue_rig.h"
#include <netqueue/datum.h>
#include <netqueue/serializer.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define MIB ((size_t)1 << 20)
#define MANY 8
#define FIFTY 50

static const size_t sizes[] = {1, 7, 8, 15, 16, 17, 255, 4096, 65537, MIB, MIB + 1, 64 * MIB};
#define SIZES (sizeof(sizes) / sizeof(*sizes))

/* One pair: `queue` is ours, whichever role it has; `end` is the peer's. */
struct pair {
    nq_queue *queue;
    const char *end;
};

enum { OURS_IS_SERVER, OURS_IS_CLIENT, ROLES };

/* A test runs at each place in both roles. */
static struct pair pair_make(int variant, const char *more, const char *python_more)
{
    struct pair pair = {.end = "p"};

    nqtest_old_choose(variant / ROLES);
    if (variant % ROLES == OURS_IS_SERVER) {
        pair.queue = nqtest_old_server(more);
        nqtest_python_joined(pair.queue, "p", python_more);
    } else {
        nqtest_python_server("p", python_more);
        pair.queue = nqtest_old_joined("p", more);
    }
    return pair;
}

/* A client says fin first, the server answers. */
static void pair_part(struct pair pair, int variant)
{
    if (variant % ROLES == OURS_IS_SERVER) {
        struct nq_event event;

        nqtest_python_say("{'do': 'close', 'end': 'p'}");
        nqtest_python_await("p", "closed");
        event = nqtest_event(pair.queue, NQ_EVENT_PEER_GONE);
        ck_assert_int_eq(event.reason, NQ_REASON_PEER_CLOSED);
        nqtest_end(pair.queue);
    } else {
        json_t *lost;

        nqtest_end(pair.queue);
        lost = nqtest_python_event("p", "lost");
        ck_assert(json_is_true(json_object_get(lost, "clean")));
        json_decref(lost);
    }
}

/* ---- what passes ---- */

static void pass_to_python(struct pair pair, size_t size, unsigned seed)
{
    nqtest_old_put(pair.queue, nqtest_python_noise(size, seed));
    nqtest_python_expect_noise(pair.end, size, seed);
}

static void pass_from_python(struct pair pair, size_t size, unsigned seed)
{
    nq_msg *msg;

    nqtest_python_say("{'do': 'put', 'end': '%s', 'noise': [%zu, %u]}", pair.end, size, seed);
    msg = nqtest_get(pair.queue);
    nqtest_python_check_noise(msg, size, seed);
    nq_msg_free(msg);
}

START_TEST(payloads_of_every_size_pass_both_ways)
{
    struct pair pair = pair_make(_i, "", "");

    for (unsigned i = 0; i < SIZES; i++) {
        pass_to_python(pair, sizes[i], i);
        pass_from_python(pair, sizes[i], i + 100);
    }
    pair_part(pair, _i);
}
END_TEST

START_TEST(pieces_of_the_stream_end_anywhere)
{
    struct pair pair = pair_make(_i, "", ", 'piece': 1");

    for (unsigned i = 0; i < 7; i++) {
        pass_from_python(pair, sizes[i], i);
        pass_to_python(pair, sizes[i], i + 100);
    }
    pair_part(pair, _i);
}
END_TEST

START_TEST(pieces_have_any_size_and_many_frames)
{
    struct pair pair = pair_make(_i, "", ", 'piece': 50, 'ragged': 1");

    for (unsigned i = 0; i < 200; i++) {
        nqtest_python_say("{'do': 'put', 'end': 'p', 'noise': [%u, %u]}", 1 + i * 7 % 41, i);
        nqtest_put(pair.queue, nqtest_python_noise(1 + i * 11 % 43, i));
    }
    for (unsigned i = 0; i < 200; i++) {
        nq_msg *msg = nqtest_get(pair.queue);

        nqtest_python_check_noise(msg, 1 + i * 7 % 41, i);
        nq_msg_free(msg);
        nqtest_python_expect_noise("p", 1 + i * 11 % 43, i);
    }
    pair_part(pair, _i);
}
END_TEST

/* What came is understood, written anew, and goes back. */
static void turn_back(struct pair pair)
{
    void *value = NULL;
    json_t *event;

    ck_assert_msg(nq_get_object(pair.queue, NULL, 0, NQTEST_WAIT, &value, NULL) == NQ_OK, "%s",
                  nq_error());
    ck_assert_int_eq(nq_put_object(pair.queue, value, NULL, 0, NULL), NQ_OK);
    nq_datum_unref(value);
    event = nqtest_python_event("p", "data");
    ck_assert(json_is_true(json_object_get(event, "same")));
    json_decref(event);
}

START_TEST(values_of_every_type_come_back_as_they_were)
{
    struct pair pair = pair_make(_i, ", 'serializer': 'pickle'", "");

    for (unsigned seed = 0; seed < 40; seed++)
        for (unsigned protocol = 2; protocol <= 5; protocol++) {
            nqtest_python_say("{'do': 'trip', 'end': 'p', 'value': %u, 'protocol': %u, "
                              "'numpy': true}",
                              seed, protocol);
            turn_back(pair);
        }
    pair_part(pair, _i);
}
END_TEST

/* A frame of 16 bytes is a good-bye if it has the sender's id, so that one cannot be a message. */
START_TEST(sixteen_bytes_pass_unless_they_are_our_id)
{
    struct pair pair = pair_make(_i, "", "");
    nq_msg *own = NULL;

    ck_assert_int_eq(nq_msg_new(nq_id(pair.queue), 16, &own), NQ_OK);
    ck_assert_int_lt(nq_put(pair.queue, own, NULL, 0, NULL), 0);
    nq_msg_free(own);
    pass_to_python(pair, 16, 1);
    pass_from_python(pair, 16, 2);
    pair_part(pair, _i);
}
END_TEST

START_TEST(messages_longer_than_the_peer_takes_come_to_it_in_pieces)
{
    struct pair pair = pair_make(_i, "", ", 'message_size': 1000");
    nq_msg *msg = nqtest_python_noise(2500, 3);
    const char *data;
    const void *at;
    size_t len;

    ck_assert_int_eq(nq_msg_data(msg, &at, &len), NQ_OK);
    data = at;
    nqtest_put(pair.queue, nqtest_python_noise(2500, 3));
    nqtest_python_expect("p", data, 1000);
    nqtest_python_expect("p", data + 1000, 1000);
    nqtest_python_expect("p", data + 2000, 500);
    nq_msg_free(msg);
    pair_part(pair, _i);
}
END_TEST

/* What these tests rest on: the peer's messages are what its commands and ours call them. */
START_TEST(the_peer_talks_to_itself)
{
    nqtest_old_choose(_i);
    nqtest_python_server("s", "");
    nqtest_python_client("c", "");
    for (unsigned i = 0; i < SIZES - 1; i++) {
        nqtest_python_say("{'do': 'put', 'end': 'c', 'noise': [%zu, %u]}", sizes[i], i);
        nqtest_python_expect_noise("s", sizes[i], i);
        nqtest_python_say("{'do': 'put', 'end': 's', 'noise': [%zu, %u]}", sizes[i], i + 100);
        nqtest_python_expect_noise("c", sizes[i], i + 100);
    }
}
END_TEST

/* ---- several clients ---- */

static nq_uuid join_as(nq_queue *server, unsigned n)
{
    char end[16], more[96];

    snprintf(end, sizeof(end), "c%u", n);
    snprintf(more, sizeof(more), ", 'id': '" NQTEST_ID "'", n);
    nqtest_python_joined(server, end, more);
    return nqtest_id(n);
}

START_TEST(clients_are_told_apart)
{
    nq_queue *server;

    nqtest_old_choose(_i);
    server = nqtest_old_server("");
    for (unsigned i = 0; i < MANY; i++)
        join_as(server, i);
    for (unsigned i = 0; i < MANY; i++) {
        const nq_uuid id = nqtest_id(i);
        char end[16];
        nq_msg *msg;

        snprintf(end, sizeof(end), "c%u", i);
        nqtest_python_say("{'do': 'put', 'end': '%s', 'text': 'from %u'}", end, i);
        msg = nqtest_get(server);
        ck_assert_int_eq(memcmp(nq_msg_sender(msg), &id, sizeof(id)), 0);
        nq_msg_free(msg);
        ck_assert_int_eq(nq_put(server, nqtest_msg(end), &id, 1, NULL), NQ_OK);
        nqtest_python_expect(end, end, strlen(end));
    }
    nqtest_old_put(server, nqtest_msg("to all"));
    for (unsigned i = 0; i < MANY; i++) {
        char end[16];

        snprintf(end, sizeof(end), "c%u", i);
        nqtest_python_expect(end, "to all", 6);
        nqtest_python_say("{'do': 'close', 'end': '%s'}", end);
        nqtest_python_await(end, "closed");
        nqtest_event(server, NQ_EVENT_PEER_GONE);
    }
    nqtest_end(server);
}
END_TEST

/* A grpc server has one thread for all of them. */
START_TEST(several_clients_of_ours_share_a_server)
{
    nq_queue *clients[MANY];

    nqtest_old_choose(_i);
    nqtest_python_server("s", ", 'echo': true");
    for (unsigned i = 0; i < MANY; i++)
        clients[i] = nqtest_old_joined("s", "");
    for (unsigned i = 0; i < MANY; i++)
        nqtest_put(clients[i], nqtest_number(i));
    for (unsigned i = 0; i < MANY; i++)
        ck_assert_uint_eq(nqtest_get_number(clients[i]), i);
    for (unsigned i = 0; i < MANY; i++)
        nqtest_end(clients[i]);
}
END_TEST

START_TEST(a_client_of_ours_may_put_before_the_server_is_there)
{
    nq_queue *client;

    nqtest_old_choose(_i);
    client = nqtest_old_client("");
    nqtest_put(client, nqtest_msg("early"));
    nqtest_python_server("s", "");
    nqtest_python_expect("s", "early", 5);
    nqtest_end(client);
}
END_TEST

START_TEST(one_server_serves_fifty_clients_of_each_wire)
{
    nq_queue *server, *natives[FIFTY];

    nqtest_old_choose(_i);
    server = nqtest_old_open("server", "both", "");
    for (unsigned i = 0; i < FIFTY; i++) {
        char id[96];

        join_as(server, i);
        snprintf(id, sizeof(id), ", 'id': '" NQTEST_ID "'", 1000 + i);
        natives[i] = nqtest_old_open("client", "netqueue", id);
        nqtest_event(natives[i], NQ_EVENT_PEER_UP);
        nqtest_event(server, NQ_EVENT_PEER_UP);
    }
    for (unsigned i = 0; i < FIFTY; i++) {
        nqtest_put(natives[i], nqtest_number(i));
        nqtest_python_say("{'do': 'put', 'end': 'c%u', 'noise': [8, %u]}", i, i);
    }
    for (unsigned i = 0; i < 2 * FIFTY; i++) { /* each gets its own back */
        nq_msg *msg = nqtest_get(server);
        const nq_uuid sender = *nq_msg_sender(msg);

        ck_assert_int_eq(nq_put(server, msg, &sender, 1, NULL), NQ_OK);
    }
    nqtest_put(server, nqtest_msg("to all"));
    for (unsigned i = 0; i < FIFTY; i++) {
        char end[16];

        snprintf(end, sizeof(end), "c%u", i);
        nqtest_python_expect_noise(end, 8, i);
        nqtest_python_expect(end, "to all", 6);
        ck_assert_uint_eq(nqtest_get_number(natives[i]), i);
        nqtest_get_text(natives[i], "to all");
    }
    for (unsigned i = 0; i < FIFTY; i++) {
        nqtest_end(natives[i]);
        nqtest_python_say("{'do': 'close', 'end': 'c%u'}", i);
    }
    nqtest_end(server);
}
END_TEST

/* ---- the end, in every order ---- */

START_TEST(a_client_of_ours_closes_while_the_server_waits_for_its_fin)
{
    struct pair pair = pair_make(_i * ROLES + OURS_IS_CLIENT, "", "");

    nqtest_python_say("{'do': 'close', 'end': 'p'}");
    nqtest_put(pair.queue, nqtest_msg("still there"));
    nqtest_python_expect("p", "still there", 11);
    nqtest_end(pair.queue);
    nqtest_python_await("p", "closed");
}
END_TEST

START_TEST(what_was_put_before_a_close_arrives)
{
    struct pair pair = pair_make(_i * ROLES + OURS_IS_CLIENT, "", "");
    nq_msg *msg;

    nqtest_python_say("{'do': 'put', 'end': 'p', 'noise': [%zu, 1]}", MIB);
    nqtest_python_sync();
    nqtest_put(pair.queue, nqtest_python_noise(MIB, 2));
    ck_assert_int_eq(nq_close(pair.queue, NQTEST_WAIT, NULL), NQ_OK);
    nqtest_python_expect_noise("p", MIB, 2);
    msg = nqtest_get(pair.queue);
    nqtest_python_check_noise(msg, MIB, 1);
    nq_msg_free(msg);
    ck_assert_int_eq(nq_get(pair.queue, NULL, 0, 0, &msg), NQ_END);
    nq_free(pair.queue);
}
END_TEST

static void *close_it(void *arg)
{
    nqtest_end(arg);
    return NULL;
}

/* The wire has no way to tell clients: it can only wait for them. */
START_TEST(a_server_of_ours_that_closes_waits_for_its_clients)
{
    struct pair pair = pair_make(_i * ROLES + OURS_IS_SERVER, "", "");
    pthread_t closer;
    json_t *lost;

    ck_assert_int_eq(pthread_create(&closer, NULL, close_it, pair.queue), 0);
    nqtest_python_say("{'do': 'put', 'end': 'p', 'text': 'still there'}");
    nqtest_python_say("{'do': 'close', 'end': 'p'}");
    lost = nqtest_python_event("p", "lost");
    ck_assert(json_is_true(json_object_get(lost, "clean")));
    json_decref(lost);
    pthread_join(closer, NULL);
}
END_TEST

START_TEST(a_server_of_ours_that_closes_waits_no_longer_than_it_may)
{
    struct pair pair = pair_make(_i * ROLES + OURS_IS_SERVER, "", "");
    int64_t begin = nqtest_clock();

    ck_assert_int_eq(nq_close(pair.queue, 200 * NQTEST_MS, NULL), NQ_AGAIN);
    ck_assert_int_lt(nqtest_clock() - begin, NQTEST_WAIT);
    nq_free(pair.queue);
}
END_TEST

START_TEST(a_client_that_closes_before_it_heard_anything_is_answered)
{
    nq_queue *server;

    nqtest_old_choose(_i);
    server = nqtest_old_server("");
    nqtest_python_client("c", "");
    nqtest_python_say("{'do': 'put', 'end': 'c', 'text': 'hello'}");
    nqtest_python_say("{'do': 'close', 'end': 'c'}");
    nqtest_get_text(server, "hello");
    nqtest_python_await("c", "fin");
    nqtest_python_await("c", "closed");
    nqtest_end(server);
}
END_TEST

/* ---- */

#define each_role(tc, test) tcase_add_loop_test(tc, test, 0, ROLES *nqtest_old_places())
#define each_place(tc, test) tcase_add_loop_test(tc, test, 0, nqtest_old_places())

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("net-queue");
    TCase *tc = nqtest_old_case(suite, "payloads", 120);

    each_place(tc, the_peer_talks_to_itself);
    each_role(tc, payloads_of_every_size_pass_both_ways);
    each_role(tc, pieces_of_the_stream_end_anywhere);
    each_role(tc, pieces_have_any_size_and_many_frames);
    each_role(tc, values_of_every_type_come_back_as_they_were);
    each_role(tc, sixteen_bytes_pass_unless_they_are_our_id);
    each_role(tc, messages_longer_than_the_peer_takes_come_to_it_in_pieces);

    tc = nqtest_old_case(suite, "clients", 60);
    each_place(tc, clients_are_told_apart);
    each_place(tc, several_clients_of_ours_share_a_server);
    each_place(tc, a_client_of_ours_may_put_before_the_server_is_there);
    each_place(tc, one_server_serves_fifty_clients_of_each_wire);

    tc = nqtest_old_case(suite, "ends", 60);
    each_place(tc, a_client_of_ours_closes_while_the_server_waits_for_its_fin);
    each_place(tc, what_was_put_before_a_close_arrives);
    each_place(tc, a_server_of_ours_that_closes_waits_for_its_clients);
    each_place(tc, a_server_of_ours_that_closes_waits_no_longer_than_it_may);
    each_place(tc, a_client_that_closes_before_it_heard_anything_is_answered);
    return suite;
}
