/* "wire": "net-queue" against a peer that misbehaves, as older peers or strangers do (net_queue/
 * faults.py): whatever it does, nothing of ours hangs, spins, claims what it cannot know, or harms
 * others. */
#include "tests/interop/net_queue_rig.h"
#include <stdio.h>
#include <string.h>

/* How long anything may take that the peer never answers. */
#define PATIENCE ", 'session': {'keepalive': '1s', 'linger': '500ms'}"
#define TURNS 200 /* far more than an idle queue takes in QUIET */
#define QUIET (100 * NQTEST_MS)

/* What a server of ours makes of a faulty client. */
enum verdict {
    STAYS,   /* nothing that it could know is wrong, or it may still become right */
    REFUSED, /* before it was a session */
    CLOSED,  /* the session ends as if all were well */
    BROKEN,  /* the session ends: the protocol is broken, or a limit */
    LOST,    /* the session ends: the connection did; mqtt and grpc cannot see that */
};

/* Of faults.py. */
static const struct fault {
    const char *name;
    unsigned messages; /* that are good and so arrive */
    enum verdict verdict;
} faults[] = {
    {"silence", 0, STAYS},
    {"own-uuid-as-data", 1, CLOSED},
    {"fin-twice", 0, CLOSED},
    {"data-after-fin", 1, CLOSED},
    {"data-before-ini", 0, REFUSED},
    {"no-ini", 0, REFUSED},
    {"second-ini-of-another", 2, STAYS},
    {"end-without-ini", 0, STAYS},
    {"end-in-ini", 0, STAYS},
    {"end-without-fin", 1, LOST},
    {"half-end-without-fin", 1, LOST},
    {"reset-without-fin", 1, LOST},
    {"end-in-head", 1, LOST},
    {"end-in-payload", 0, LOST},
    {"never-fin", 1, STAYS},
    {"never-reads", 0, STAYS},
    {"length-of-1-tib", 0, BROKEN},
    {"length-of-all-ones", 0, BROKEN},
    {"length-with-high-bit", 0, BROKEN},
    {"length-of-1-tib-first", 0, REFUSED},
    {"length-of-17-first", 0, REFUSED},
    {"shifted-by-one", 0, BROKEN}, /* a length of 0, then one that is far too large */
    {"half-head-and-silence", 0, STAYS},
    {"half-ini-and-silence", 0, STAYS},
    {"half-frame-and-silence", 0, STAYS},
    {"pickle-that-executes", 1, STAYS},
    {"tls-hello", 0, REFUSED},
    {"http", 0, REFUSED},
    {"held-call", 0, STAYS},
};
#define FAULTS ((int)(sizeof(faults) / sizeof(*faults)))

/* A test runs with each fault at each place. */
static const struct fault *fault_make(int variant, char *more, size_t size)
{
    const struct fault *fault = &faults[variant % FAULTS];

    nqtest_old_choose(variant / FAULTS);
    snprintf(more, size, ", 'fault': '%s'", fault->name);
    return fault;
}

/* A queue that nothing happens to takes no turns of its loop. */
static void check_quiet(nq_queue *queue)
{
    uint64_t turns = nqtest_stats(queue).turns;
    static const nq_uuid nobody = {{0xff}};
    nq_msg *msg;

    ck_assert_int_eq(nq_get(queue, &nobody, 1, QUIET, &msg), NQ_AGAIN);
    ck_assert_uint_lt(nqtest_stats(queue).turns - turns, TURNS);
}

/* Whatever is queued for it or was taken by its transport: nobody knows that it arrived. */
static void check_claims_nothing(nq_future *future)
{
    nq_reason reason;

    ck_assert_int_ne(nqtest_outcome(future, &reason), NQ_DELIVERED);
}

static void check_verdict(nq_queue *server, enum verdict verdict, int place)
{
    bool sees_ends = nqtest_old_is(place, "tcp") || nqtest_old_is(place, "tls");
    struct nq_event event;

    if (verdict == STAYS || (verdict == LOST && !sees_ends))
        return;
    event = nqtest_event(server, verdict == REFUSED ? NQ_EVENT_REFUSED : NQ_EVENT_PEER_GONE);
    if (verdict == CLOSED)
        ck_assert_int_eq(event.reason, NQ_REASON_PEER_CLOSED);
    else if (verdict == LOST)
        ck_assert_int_eq(event.reason, NQ_REASON_LINK_LOST);
    else if (verdict == BROKEN)
        ck_assert(event.reason == NQ_REASON_PROTOCOL || event.reason == NQ_REASON_LIMIT);
}

static void check_good_client(nq_queue *server, const char *end)
{
    nq_msg *msg;

    nqtest_python_client(end, "");
    nqtest_python_await(end, "ini");
    nqtest_python_say("{'do': 'put', 'end': '%s', 'text': 'good'}", end);
    do {
        const void *data;
        size_t len;
        bool good;

        msg = nqtest_get(server); /* the faulty one's come as well */
        ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
        good = len == 4 && memcmp(data, "good", 4) == 0;
        if (good)
            ck_assert_int_eq(nq_put(server, nqtest_msg("indeed"), nq_msg_sender(msg), 1, NULL),
                             NQ_OK);
        nq_msg_free(msg);
        if (good)
            break;
    } while (true);
    nqtest_python_expect(end, "indeed", 6);
}

START_TEST(a_faulty_client_harms_nobody_else)
{
    char more[96];
    const struct fault *fault;
    nq_queue *server;
    int64_t begin;

    fault = fault_make(_i, more, sizeof(more));
    server = nqtest_old_server(PATIENCE);
    nqtest_python_client("bad", more);
    for (unsigned i = 0; i < fault->messages; i++)
        nq_msg_free(nqtest_get(server));
    check_verdict(server, fault->verdict, _i / FAULTS);
    check_good_client(server, "good");
    check_quiet(server);
    begin = nqtest_clock();
    (void)!nq_close(server, 100 * NQTEST_MS, NULL);
    ck_assert_int_lt(nqtest_clock() - begin, NQTEST_WAIT / 2);
    nq_free(server);
}
END_TEST

START_TEST(a_faulty_server_does_not_hang_its_client)
{
    char more[96];
    nq_queue *client;
    nq_future *future;
    int64_t begin;

    fault_make(_i, more, sizeof(more));
    nqtest_python_server("bad", more);
    client = nqtest_old_client(PATIENCE);
    future = nqtest_put_future(client, nqtest_python_noise(1 << 20, 1));
    nqtest_python_await("bad", "open");
    check_quiet(client);
    begin = nqtest_clock();
    (void)!nq_close(client, 100 * NQTEST_MS, NULL);
    ck_assert_int_lt(nqtest_clock() - begin, NQTEST_WAIT / 2);
    check_claims_nothing(future);
    nq_free(client);
}
END_TEST

/* ---- a connection that is lost ---- */

#define INI 24u
#define LOST_BODY 100u
#define LOST_MOST (INI + 2 * (8 + LOST_BODY))

/* Two messages, and the end after every number of bytes: the whole ones arrive. */
START_TEST(a_client_lost_at_any_byte_gives_whole_messages_only)
{
    nq_queue *server;

    nqtest_old_choose(_i);
    server = nqtest_old_server(PATIENCE ", 'limits': {'source_failures': 1000}");
    for (unsigned n = 0; n <= LOST_MOST; n += n == INI || n + 1 >= LOST_MOST || n < 2 ? 1 : 5) {
        unsigned whole = n < INI ? 0 : (n - INI) / (8 + LOST_BODY);

        char more[256];

        snprintf(more, sizeof(more),
                 ", 'script': ['ini', ['data', {'noise': [%u, 0]}], "
                 "['data', {'noise': [%u, 1]}], ['cut', %u, 'end']]",
                 LOST_BODY, LOST_BODY, n);
        nqtest_python_client("c", more);
        nqtest_python_await("c", "lost");
        for (unsigned i = 0; i < whole; i++) {
            nq_msg *msg = nqtest_get(server);

            nqtest_python_check_noise(msg, LOST_BODY, i);
            nq_msg_free(msg);
        }
        if (n >= INI) {
            struct nq_event event = nqtest_event(server, NQ_EVENT_PEER_GONE);

            ck_assert_int_eq(event.reason, NQ_REASON_LINK_LOST);
        }
    }
    nqtest_end(server);
}
END_TEST

/* ---- a name that another one has ---- */

START_TEST(a_second_client_of_the_same_name_does_not_take_the_first_ones_place)
{
    nq_queue *server;

    nqtest_old_choose(_i);
    server = nqtest_old_server(PATIENCE);
    nqtest_python_joined(server, "first", ", 'id': '00000000-0000-4000-8000-000000000001'");
    nqtest_python_client("second", ", 'id': '00000000-0000-4000-8000-000000000001'");
    nqtest_python_await("second", "lost");
    nqtest_put(server, nqtest_msg("yours"));
    nqtest_python_expect("first", "yours", 5);
    nqtest_python_say("{'do': 'put', 'end': 'first', 'text': 'mine'}");
    nqtest_get_text(server, "mine");
    nq_free(server);
}
END_TEST

START_TEST(a_client_with_the_servers_name_is_refused)
{
    nq_queue *server;

    nqtest_old_choose(_i);
    server = nqtest_old_server(PATIENCE);
    nqtest_python_client("c", ", 'id': '" NQTEST_SERVER "'");
    nqtest_event(server, NQ_EVENT_REFUSED);
    check_good_client(server, "good");
    nq_free(server);
}
END_TEST

START_TEST(an_older_client_cannot_have_a_native_ones_name)
{
    nq_queue *server, *native;

    nqtest_old_choose(_i);
    server = nqtest_old_open("server", "both", PATIENCE);
    native =
        nqtest_old_open("client", "netqueue", ", 'id': '00000000-0000-4000-8000-000000000001'");
    nqtest_event(native, NQ_EVENT_PEER_UP);
    nqtest_event(server, NQ_EVENT_PEER_UP);
    nqtest_python_client("c", ", 'id': '00000000-0000-4000-8000-000000000001'");
    nqtest_event(server, NQ_EVENT_REFUSED);
    nqtest_put(native, nqtest_msg("mine"));
    nqtest_get_text(server, "mine");
    nqtest_put(server, nqtest_msg("yours"));
    nqtest_get_text(native, "yours");
    nqtest_part(server, native);
    nq_free(server);
}
END_TEST

/* ---- the other wire ---- */

START_TEST(a_native_client_at_an_older_server_is_refused)
{
    nq_queue *client;

    nqtest_old_choose(_i);
    nqtest_python_server("s", "");
    client = nqtest_old_open("client", "netqueue", PATIENCE);
    nqtest_event(client, NQ_EVENT_REFUSED);
    nq_free(client);
}
END_TEST

START_TEST(an_older_client_at_a_native_server_is_refused)
{
    nq_queue *server;

    nqtest_old_choose(_i);
    server = nqtest_old_open("server", "netqueue", PATIENCE);
    nqtest_python_client("c", "");
    nqtest_event(server, NQ_EVENT_REFUSED);
    nq_free(server);
}
END_TEST

/* ---- limits ---- */

START_TEST(a_message_above_our_limit_ends_the_session)
{
    nq_queue *server;
    struct nq_event event;

    nqtest_old_choose(_i);
    server = nqtest_old_server(PATIENCE ", 'limits': {'max_message': '64KiB'}");
    nqtest_python_joined(server, "c", "");
    nqtest_python_say("{'do': 'put', 'end': 'c', 'noise': [65536, 1]}");
    nq_msg_free(nqtest_get(server));
    nqtest_python_say("{'do': 'put', 'end': 'c', 'noise': [65537, 1]}");
    event = nqtest_event(server, NQ_EVENT_PEER_GONE);
    ck_assert(event.reason == NQ_REASON_LIMIT || event.reason == NQ_REASON_PROTOCOL);
    nq_free(server);
}
END_TEST

START_TEST(a_peer_that_dies_with_what_it_was_sent_is_noticed)
{
    nq_queue *client;

    nqtest_old_choose(_i);
    nqtest_python_server("s", ", 'deaf': true");
    client = nqtest_old_client(PATIENCE);
    for (unsigned i = 0; i < 16; i++)
        nqtest_put(client, nqtest_python_noise(1 << 20, i));
    nqtest_python_await("s", "open");
    nqtest_python_kill();
    while (nqtest_stats(client).links)
        ck_assert_int_ge(nq_event_get(client, 10 * NQTEST_MS, &(struct nq_event){0}), 0);
    ck_assert_uint_eq(nqtest_stats(client).delivered, 0);
    nq_free(client);
}
END_TEST

/* Nothing is resumed, but the dead one is noticed and the new one is found. */
START_TEST(a_server_that_is_killed_and_comes_again_is_a_new_one)
{
    nq_queue *client;

    nqtest_old_choose(_i);
    nqtest_python_server("s", ", 'echo': true");
    client = nqtest_old_joined("s", PATIENCE);
    nqtest_python_kill();
    ck_assert_int_eq(nqtest_event(client, NQ_EVENT_PEER_GONE).reason, NQ_REASON_LINK_LOST);
    nqtest_python_start();
    nqtest_python_server("s", ", 'echo': true");
    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_put(client, nqtest_msg("again"));
    nqtest_get_text(client, "again");
    nqtest_end(client);
}
END_TEST

/* ---- mqtt: pieces that nobody misses ---- */

START_TEST(a_lost_piece_ends_the_session_and_not_the_server)
{
    nq_queue *server;
    struct nq_event event;

    nqtest_old_choose(_i);
    server = nqtest_old_server(PATIENCE);
    nqtest_python_joined(server, "c", ", 'piece': 1000");
    nqtest_python_say("{'do': 'act', 'end': 'c', 'script': [['lose', 1]]}");
    for (unsigned i = 0; i < 10; i++)
        nqtest_python_say("{'do': 'put', 'end': 'c', 'noise': [1500, %u]}", i);
    event = nqtest_event(server, NQ_EVENT_PEER_GONE);
    ck_assert(event.reason == NQ_REASON_LIMIT || event.reason == NQ_REASON_PROTOCOL);
    check_good_client(server, "good");
    nq_free(server);
}
END_TEST

/* ---- */

#define each_fault(tc, test) tcase_add_loop_test(tc, test, 0, FAULTS *nqtest_old_places())
#define each_place(tc, test) tcase_add_loop_test(tc, test, 0, nqtest_old_places())

/* A broker would end the first one's connection itself. */
static const char *const own_connections[] = {"tcp", "tls", "grpc"};

/* Tests of one transport only. */
static void add_at(TCase *tc, const TTest *test, const char *transport)
{
    for (int place = 0; place < nqtest_old_places(); place++)
        if (nqtest_old_is(place, transport))
            tcase_add_loop_test(tc, test, place, place + 1);
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("net-queue faults");
    TCase *tc = nqtest_old_case(suite, "faults", 60);

    each_fault(tc, a_faulty_client_harms_nobody_else);
    each_fault(tc, a_faulty_server_does_not_hang_its_client);

    tc = nqtest_old_case(suite, "lost", 60);
    add_at(tc, a_client_lost_at_any_byte_gives_whole_messages_only, "tcp");
    add_at(tc, a_client_lost_at_any_byte_gives_whole_messages_only, "tls");
    add_at(tc, a_peer_that_dies_with_what_it_was_sent_is_noticed, "tcp");
    add_at(tc, a_peer_that_dies_with_what_it_was_sent_is_noticed, "tls");
    add_at(tc, a_server_that_is_killed_and_comes_again_is_a_new_one, "tcp");
    add_at(tc, a_server_that_is_killed_and_comes_again_is_a_new_one, "tls");
    add_at(tc, a_server_that_is_killed_and_comes_again_is_a_new_one, "grpc");
    add_at(tc, a_lost_piece_ends_the_session_and_not_the_server, "mqtt");

    tc = nqtest_old_case(suite, "names", 60);
    for (size_t i = 0; i < sizeof(own_connections) / sizeof(*own_connections); i++) {
        add_at(tc, a_second_client_of_the_same_name_does_not_take_the_first_ones_place,
               own_connections[i]);
        add_at(tc, a_client_with_the_servers_name_is_refused, own_connections[i]);
    }
    each_place(tc, an_older_client_cannot_have_a_native_ones_name);

    tc = nqtest_old_case(suite, "other wire", 60);
    add_at(tc, a_native_client_at_an_older_server_is_refused, "tcp");
    add_at(tc, an_older_client_at_a_native_server_is_refused, "tcp");

    tc = nqtest_old_case(suite, "limits", 60);
    each_place(tc, a_message_above_our_limit_ends_the_session);
    return suite;
}
