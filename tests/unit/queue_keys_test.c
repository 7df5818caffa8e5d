/* core/queue_keys.c: each transport's entry has keys of its own, or the queue's, or none; and a
 * session goes on only where its own keys count. */
#include "core/base.h"
#include "tests/support/queue.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ONE "00000000-0000-4000-8000-000000000001" /* nqtest_id(1) */

static char folder[64], files[2][96], ways[2][512];

static void write_keys(char path[96], unsigned number)
{
    FILE *file;

    snprintf(path, 96, "%s/keys-%u", folder, number);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "{\"key\": \"%u123456789abcdef0123456789abcdef\"}", number);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

/* Two places to listen at, tcp and loop, and two files of keys. */
static void setup(void)
{
    static const int transports[] = {NQTEST_TCP, NQTEST_LOOP};

    snprintf(folder, sizeof(folder), "/tmp/nqtest-keys-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    for (unsigned i = 0; i < 2; i++) {
        write_keys(files[i], i);
        nqtest_choose_place(transports[i]);
        snprintf(ways[i], sizeof(ways[i]), "%s", nqtest_place());
    }
}

static void teardown(void)
{
    for (unsigned i = 0; i < 2; i++)
        unlink(files[i]);
    rmdir(folder);
}

/* ", 'psk': FILE" of that number, or nothing. */
static const char *own_keys(int number)
{
    static char text[4][256];
    static unsigned turn;
    char *out = text[turn++ % NQI_LEN(text)];

    *out = '\0';
    if (number >= 0)
        snprintf(out, sizeof(text[0]), ", 'psk': '%s'", files[number]);
    return out;
}

/* A server at both places, each with those keys; `queue` is the number of the queue's own. */
static nq_queue *serve(int first, int second, int queue)
{
    char security[256] = "";

    if (queue >= 0)
        snprintf(security, sizeof(security), ", 'security': {'psk': '%s'}", files[queue]);
    return nqtest_open("{'purpose': 'server', 'id': '%s', 'transports': [{%s%s}, {%s%s}]%s}",
                       NQTEST_SERVER, ways[0], own_keys(first), ways[1], own_keys(second),
                       security);
}

static nq_queue *come(unsigned way, int keys)
{
    return nqtest_open("{'purpose': 'client', 'id': '" ONE "', %s%s}", ways[way], own_keys(keys));
}

static void comes_in(nq_queue *server, unsigned way, int keys)
{
    nq_queue *client = come(way, keys);

    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_event(server, NQ_EVENT_PEER_UP);
    nqtest_put(client, nqtest_msg("up"));
    nqtest_get_text(server, "up");
    nqtest_end(client);
    nqtest_event(server, NQ_EVENT_PEER_GONE);
}

static void is_refused(nq_queue *server, unsigned way, int keys, const char *why)
{
    nq_queue *client = come(way, keys);
    struct nq_event event = nqtest_event(server, NQ_EVENT_REFUSED);

    ck_assert_int_eq(event.reason, NQ_REASON_AUTH);
    ck_assert_msg(strstr(event.text, why), "%s", event.text);
    ck_assert_int_eq(nqtest_event(client, NQ_EVENT_REFUSED).reason, NQ_REASON_AUTH);
    nq_free(client);
}

#define NO_KEY "it proves no key of its id"
#define NO_KEYS "this server has none"

START_TEST(each_transport_has_keys_of_its_own)
{
    nq_queue *server = serve(0, 1, -1);

    for (unsigned way = 0; way < 2; way++) {
        comes_in(server, way, (int)way);
        is_refused(server, way, !way, NO_KEY);
        is_refused(server, way, -1, NO_KEY);
    }
    nqtest_end(server);
}
END_TEST

START_TEST(one_with_keys_and_one_without_stand_side_by_side)
{
    nq_queue *server = serve(0, -1, -1);

    comes_in(server, 0, 0);
    is_refused(server, 0, -1, NO_KEY);
    comes_in(server, 1, -1);
    is_refused(server, 1, 0, NO_KEYS);
    nqtest_end(server);
}
END_TEST

START_TEST(own_keys_are_in_place_of_the_queues)
{
    nq_queue *server = serve(0, -1, 1);

    comes_in(server, 0, 0);
    is_refused(server, 0, 1, NO_KEY);
    comes_in(server, 1, 1);
    is_refused(server, 1, 0, NO_KEY);
    nqtest_end(server);
}
END_TEST

/* ---- sessions ---- */

/* A client that is at home in the first way, over which no record gets through, and then takes the
 * second. */
static nq_queue *come_by_both(int first, int second)
{
    return nqtest_open("{'purpose': 'client', 'id': '" ONE "', 'transports': [{'transport': "
                       "'fault', 'inner'%s%s, 'cut': 1000, 'after_min': '2KiB', "
                       "'after_max': '4KiB'}, {%s%s}]}",
                       ways[0] + strlen("'transport'"), own_keys(first), ways[1], own_keys(second));
}

static nq_outcome put_large(nq_queue *client)
{
    return nqtest_outcome(nqtest_put_future(client, nqtest_noise(3 << 20, 1)), NULL);
}

static struct nq_event await_other_keys(nq_queue *client)
{
    struct nq_event event;

    do
        event = nqtest_event(client, NQ_EVENT_PEER_GONE);
    while (!strstr(event.text, "other keys"));
    return event;
}

/* Whoever knows the first key has the session's: over the other transport it would prove nothing.
 */
START_TEST(a_session_does_not_go_on_where_other_keys_count)
{
    nq_queue *server = serve(_i ? -1 : 0, 1, -1), *client = come_by_both(_i ? -1 : 0, 1);

    nqtest_event(client, NQ_EVENT_PEER_UP);
    ck_assert_int_ne(put_large(client), NQ_DELIVERED);
    ck_assert_int_eq(await_other_keys(client).reason, NQ_REASON_NO_SESSION);
    ck_assert_str_eq(nqtest_event(client, NQ_EVENT_PEER_UP).transport, "loop");
    nqtest_put(client, nqtest_msg("later"));
    nqtest_get_text(server, "later");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* The session's key never was on a link, so it goes on, guarded. */
START_TEST(a_session_goes_on_where_the_same_keys_count_or_none)
{
    nq_queue *server = serve(0, _i ? -1 : 0, -1), *client = come_by_both(0, _i ? -1 : 0);
    struct nq_event event;
    nq_msg *msg;

    nqtest_event(client, NQ_EVENT_PEER_UP);
    ck_assert_int_eq(put_large(client), NQ_DELIVERED);
    do
        event = nqtest_event(client, NQ_EVENT_PEER_RESUMED);
    while (strcmp(event.transport, "loop") != 0);
    ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_PEER_GONE), 0);
    msg = nqtest_get(server);
    nqtest_check_noise(msg, 3 << 20, 1);
    nq_msg_free(msg);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue_keys");
    TCase *tc = tcase_create("queue_keys");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, each_transport_has_keys_of_its_own);
    tcase_add_test(tc, one_with_keys_and_one_without_stand_side_by_side);
    tcase_add_test(tc, own_keys_are_in_place_of_the_queues);
    tcase_add_loop_test(tc, a_session_does_not_go_on_where_other_keys_count, 0, 2);
    tcase_add_loop_test(tc, a_session_goes_on_where_the_same_keys_count_or_none, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}
