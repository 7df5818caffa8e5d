/* core/queue_greeting.c: who comes in with a pre-shared key, and who does not. */
#include "core/attach.h"
#include "core/keystore.h"
#include "core/loop.h"
#include "core/queue.h"
#include "tests/support/queue.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define GREETING_SANITIZED true
#elif defined(__has_feature)
#define GREETING_SANITIZED (NQI_ASAN || __has_feature(thread_sanitizer))
#else
#define GREETING_SANITIZED NQI_ASAN
#endif

#define ONE "00000000-0000-4000-8000-000000000001" /* nqtest_id(1) */
#define TWO "00000000-0000-4000-8000-000000000002"
#define KEY1 "'0123456789abcdef0123456789abcdef01234567'"
#define KEY2 "'fedcba9876543210fedcba9876543210fedcba98'"
#define KEY3 "'00112233445566778899aabbccddeeff00112233'"

static char folder[64], paths[4][96];
static unsigned npaths;

static void setup(void)
{
    snprintf(folder, sizeof(folder), "/tmp/nqtest-greeting-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    npaths = 0;
}

static void teardown(void)
{
    while (npaths)
        unlink(paths[--npaths]);
    rmdir(folder);
}

/* Members for a queue with a file of keys, from text with ' for "; NULL = no key. */
static const char *with_keys(const char *text, const char *id)
{
    static char more[4][256];
    static unsigned turn;
    char *out = more[turn++ % NQI_LEN(more)], *path = paths[npaths];
    FILE *file;

    snprintf(out, sizeof(more[0]), "%s%s%s", id ? ", 'id': '" : "", id ? id : "", id ? "'" : "");
    if (!text)
        return out;
    snprintf(path, sizeof(paths[0]), "%s/keys-%u", folder, npaths++);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    for (; *text; text++)
        fputc(*text == '\'' ? '"' : *text, file);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0600), 0);
    snprintf(out + strlen(out), sizeof(more[0]) - strlen(out), ", 'security': {'psk': '%s'}", path);
    return out;
}

/* ---- who comes in ---- */

static const struct {
    const char *server, *client;
} fits[] = {
    {"{'keys': {'" ONE "': " KEY1 ", '" TWO "': " KEY2 "}}", "{'key': " KEY1 "}"},
    {"{'key': " KEY1 "}", "{'keys': {'" ONE "': " KEY1 "}}"},
    {"{'keys': {'" TWO "': " KEY2 "}, 'key': " KEY1 "}", "{'key': " KEY1 "}"},
    /* on the way from one key to the next */
    {"{'keys': {'" ONE "': [" KEY2 ", " KEY1 "]}}", "{'key': " KEY1 "}"},
    {"{'keys': {'" ONE "': [" KEY1 ", " KEY2 "]}}", "{'key': [" KEY1 ", " KEY3 "]}"},
};

START_TEST(who_has_the_key_comes_in_and_messages_pass)
{
    unsigned fit = (unsigned)_i / (unsigned)NQTEST_TRANSPORTS;
    nq_queue *server = nqtest_server(_i % NQTEST_TRANSPORTS, with_keys(fits[fit].server, NULL));
    nq_queue *client = nqtest_join(server, with_keys(fits[fit].client, ONE));

    nqtest_put(client, nqtest_msg("up"));
    nqtest_get_text(server, "up");
    nqtest_put(server, nqtest_msg("down"));
    nqtest_get_text(client, "down");
    for (unsigned i = 0; i < 20; i++)
        nqtest_put(client, nqtest_noise(i * 9999, i));
    for (unsigned i = 0; i < 20; i++) {
        nq_msg *msg = nqtest_get(server);

        nqtest_check_noise(msg, i * 9999, i);
        nq_msg_free(msg);
    }
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* ---- who does not ---- */

static const struct {
    const char *server, *client; /* NULL = no keys */
    const char *why;             /* the server's event */
} misfits[] = {
    {"{'key': " KEY1 "}", "{'key': " KEY2 "}", "it proves no key of its id"},
    {"{'key': " KEY1 "}", NULL, "it proves no key of its id"},
    {NULL, "{'key': " KEY1 "}", "this server has none"},
    {"{'keys': {'" TWO "': " KEY1 "}}", "{'key': " KEY1 "}", "it proves no key of its id"},
    {"{'keys': {'" ONE "': " KEY1 ", '" TWO "': " KEY2 "}}", "{'key': " KEY2 "}",
     "it proves no key of its id"},
    {"{'keys': {'" ONE "': " KEY1 "}, 'key': " KEY2 "}", "{'key': " KEY2 "}",
     "it proves no key of its id"},
    {"{'keys': {'" ONE "': [" KEY1 ", " KEY2 "]}}", "{'key': [" KEY3 ", " KEY1 "]}",
     "it proves no key of its id"},
};

START_TEST(who_has_not_the_key_is_refused_and_both_sides_say_so)
{
    unsigned misfit = (unsigned)_i / (unsigned)NQTEST_TRANSPORTS;
    nq_queue *server =
        nqtest_server(_i % NQTEST_TRANSPORTS, with_keys(misfits[misfit].server, NULL));
    nq_queue *client = nqtest_client(with_keys(misfits[misfit].client, ONE));
    struct nq_event event = nqtest_event(server, NQ_EVENT_REFUSED);
    const nq_uuid id = nqtest_id(1);

    ck_assert_int_eq(event.reason, NQ_REASON_AUTH);
    ck_assert_msg(strstr(event.text, misfits[misfit].why), "%s", event.text);
    ck_assert(nq_uuid_equal(&event.peer, &id));
    event = nqtest_event(client, NQ_EVENT_REFUSED);
    ck_assert_int_eq(event.reason, NQ_REASON_AUTH);
    ck_assert_uint_eq(nqtest_stats(server).peers, 0);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

/* HELLO of id 1, and AUTH by this method with a proof of this key, by hand: the answer. */
static struct nqi_head greet(const uint8_t psk[NQI_KEY], uint16_t method)
{
    static const uint8_t no_key[NQI_KEY];
    const struct nqi_hello hello = {.id = nqtest_id(1), .version_min = 1, .version_max = 1};
    const struct nqi_auth auth = {.method = method, .opening = nqtest_id(9)};
    uint8_t raw[NQI_HELLO_RECORD], challenge[NQI_HELLO_RECORD], transcript[NQI_KEY];
    struct nqi_head head;
    int fd = nqtest_knock();

    nqi_hello_write(raw, NQI_HELLO, &hello);
    ck_assert_int_eq(write(fd, raw, sizeof(raw)), sizeof(raw));
    ck_assert_int_eq(recv(fd, challenge, sizeof(challenge), MSG_WAITALL), sizeof(challenge));
    nqi_transcript(raw, challenge, transcript);
    nqi_auth_write(raw, &auth, psk, no_key, transcript);
    ck_assert_int_eq(write(fd, raw, NQI_AUTH_RECORD), NQI_AUTH_RECORD);
    ck_assert_int_eq(recv(fd, raw, NQI_HEAD, MSG_WAITALL), NQI_HEAD);
    ck_assert_int_eq(nqi_head_read(raw, &head), NQ_OK);
    close(fd);
    return head;
}

/* _i: who has the key says so. */
START_TEST(a_key_counts_for_nobody_who_says_that_he_has_none)
{
    const nq_uuid id = nqtest_id(1);
    char more[400];
    nq_queue *server;
    struct nqi_keys known;
    struct nqi_head head;

    snprintf(more, sizeof(more), "%s, 'progress': {'mode': 'thread'}",
             with_keys("{'keys': {'" ONE "': " KEY1 "}}", NULL));
    server = nqtest_server(NQTEST_TCP, more);
    nqi_keystore_find(server->conf->keystore, &id, nqi_now(), &known);
    ck_assert(known.known);
    head = greet(known.key[0], _i ? NQI_AUTH_PSK : NQI_AUTH_OPEN);
    ck_assert_uint_eq(head.type, _i ? NQI_WELCOME : NQI_REJECT);
    ck_assert_uint_eq(head.aux, _i ? NQI_WELCOME_NEW : NQ_REASON_AUTH);
    nq_free(server);
}
END_TEST

static const struct {
    const char *keys, *why;
    mode_t mode;
} files[] = {
    {"{'key': " KEY1 "}", "`chmod 600 ", 0644},
    {"{'keys': {'" TWO "': " KEY1 "}}", "has no key for this side's id " ONE, 0600},
    {"{'key': 'secretsecretsecretsecret'}", "a key is 16 to 128 random bytes", 0600},
};

START_TEST(a_client_with_a_bad_file_of_keys_does_not_open)
{
    const char *more = with_keys(files[_i].keys, ONE);
    nq_queue *queue = NULL;

    nqtest_choose_place(NQTEST_TCP);
    ck_assert_int_eq(chmod(paths[0], files[_i].mode), 0);
    ck_assert_int_eq(nqtest_try_open(&queue, "{'purpose': 'client', %s%s}", nqtest_place(), more),
                     NQ_ERR_CONFIG);
    ck_assert_msg(strstr(nq_error(), files[_i].why), "%s", nq_error());
    ck_assert_ptr_nonnull(strstr(nq_error(), "/security/psk"));
    ck_assert_ptr_null(strstr(nq_error(), "secretsecret"));
    ck_assert_ptr_null(strstr(nq_error(), "0123456789"));
}
END_TEST

/* ---- sessions ---- */

static uint64_t refusals(nq_queue *queue)
{
    return nqtest_stats(queue).refusals;
}

START_TEST(who_has_the_key_takes_the_place_of_his_former_life)
{
    nq_queue *server = nqtest_server(_i, with_keys("{'key': " KEY1 "}", NULL));
    nq_queue *old = nqtest_join(server, with_keys("{'key': " KEY1 "}", ONE)), *fresh;

    nqtest_put(old, nqtest_msg("before"));
    nqtest_get_text(server, "before");
    nq_free(old); /* without a good-bye: the server keeps its session */
    fresh = nqtest_client(with_keys("{'key': " KEY1 "}", ONE));
    nqtest_event(fresh, NQ_EVENT_PEER_UP);
    nqtest_put(fresh, nqtest_msg("after"));
    nqtest_get_text(server, "after");
    ck_assert_uint_eq(nqtest_stats(server).peers, 1);
    nqtest_end(fresh);
    nqtest_end(server);
}
END_TEST

/* Somebody without the key, under the id of who is there, does not even disturb him. */
START_TEST(an_id_with_a_key_is_nobody_elses)
{
    static const char *const theirs[] = {NULL, "{'key': " KEY2 "}"};
    nq_queue *server =
        nqtest_server(_i, with_keys("{'keys': {'" ONE "': " KEY1 "}, 'key': " KEY2 "}", NULL));
    nq_queue *client = nqtest_join(server, with_keys("{'key': " KEY1 "}", ONE));

    for (unsigned i = 0; i < NQI_LEN(theirs); i++) {
        nq_queue *thief = nqtest_client(with_keys(theirs[i], ONE));

        nqtest_drive_until(server, refusals, i + 1);
        ck_assert_int_eq(nqtest_event(thief, NQ_EVENT_REFUSED).reason, NQ_REASON_AUTH);
        nq_free(thief);
        nqtest_put(client, nqtest_msg("still here"));
        nqtest_get_text(server, "still here");
    }
    ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_PEER_DOWN), 0);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* The server's next life proves that it does not know the session; what was not sent goes on. */
START_TEST(a_server_that_was_restarted_is_believed_because_it_has_the_key)
{
    const char *keys = with_keys("{'keys': {'" ONE "': [" KEY2 ", " KEY1 "]}}", NULL);
    nq_queue *server = nqtest_server(_i, keys), *client;

    client = nqtest_join(server, with_keys("{'key': " KEY1 "}", ONE));
    nq_free(server);
    nqtest_put(client, nqtest_msg("waits"));
    server = nqtest_server_again(keys);
    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_get_text(server, "waits");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* The last words are proven, too, or they would be taken for a stranger's. */
START_TEST(who_is_disconnected_is_told)
{
    nq_queue *server = nqtest_server(_i, with_keys("{'key': " KEY1 "}", NULL));
    nq_queue *client = nqtest_join(server, with_keys("{'key': " KEY1 "}", ONE));
    const nq_uuid id = nqtest_id(1);

    ck_assert_int_eq(nq_disconnect(server, &id), NQ_OK);
    ck_assert_int_eq(nqtest_event(client, NQ_EVENT_PEER_GONE).reason, NQ_REASON_DISCONNECTED);
    nq_free(client);
    nqtest_end(server);
}
END_TEST

/* ---- keys that change meanwhile ---- */

/* Another text into the file of the `n`-th with_keys(). */
static void change_keys(unsigned n, const char *text)
{
    FILE *file = fopen(paths[n], "w");

    ck_assert_ptr_nonnull(file);
    for (; *text; text++)
        fputc(*text == '\'' ? '"' : *text, file);
    ck_assert_int_eq(fclose(file), 0);
}

/* Whose key changed, and what into: the server's file is the first one, the client's the second. */
static const char *const changes[] = {"{'keys': {'" ONE "': [" KEY2 "]}}", "{'key': " KEY1 "}"};

START_TEST(a_changed_key_holds_without_a_restart)
{
    unsigned file = (unsigned)_i / (unsigned)NQTEST_TRANSPORTS;
    nq_queue *server = nqtest_server(_i % NQTEST_TRANSPORTS, with_keys("{'key': " KEY1 "}", NULL));
    nq_queue *client = nqtest_client(with_keys("{'key': " KEY2 "}", ONE));

    ck_assert_int_eq(nqtest_event(client, NQ_EVENT_REFUSED).reason, NQ_REASON_AUTH);
    change_keys(file, changes[file]);
    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_put(client, nqtest_msg("up"));
    nqtest_get_text(server, "up");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* Who is there goes on: his session has a key of its own. */
START_TEST(a_session_outlives_the_key_that_it_began_with)
{
    nq_queue *server =
        nqtest_server(_i, with_keys("{'keys': {'" ONE "': [" KEY1 ", " KEY2 "]}}", NULL));
    nq_queue *client = nqtest_join(server, with_keys("{'key': " KEY1 "}", ONE)), *other;

    change_keys(0, "{'keys': {'" TWO "': " KEY3 "}}");
    other = nqtest_client(with_keys("{'key': " KEY3 "}", TWO));
    nqtest_event(other, NQ_EVENT_PEER_UP); /* the new keys hold */
    nqtest_put(client, nqtest_msg("still here"));
    nqtest_get_text(server, "still here");
    nqtest_end(other);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* ---- nothing is left of it ---- */

/* How often the 32 bytes whose complement is `not_key` stand in memory that this process can
 * write. */
static unsigned count_in_memory(const uint8_t not_key[32])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long from, to;
    unsigned found = 0;
    char line[512], mode[5];

    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps)) {
        if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || strncmp(mode, "rw", 2) != 0)
            continue;
        for (const uint8_t *at = (const uint8_t *)from; at + 32 <= (const uint8_t *)to; at++) {
            unsigned n = 0;

            while (n < 32 && at[n] == 255 - not_key[n])
                n++;
            found += n == 32;
        }
    }
    fclose(maps);
    return found;
}

/* What the protocol makes of the key that is written.  Sanitizers have memory of their own, and do
 * not want it read. */
START_TEST(keys_are_gone_from_memory_when_the_queues_are)
{
    /* HMAC-SHA-256 over "nq1 key", keyed with the 20 bytes of KEY1; complemented */
    static const uint8_t not_key[32] = {0xa4, 0x93, 0x5a, 0xb7, 0x89, 0xd6, 0x24, 0xbe,
                                        0x2a, 0x63, 0xe0, 0xee, 0x07, 0x2e, 0xf4, 0x98,
                                        0x87, 0x78, 0xf1, 0x45, 0x9c, 0x09, 0x24, 0x15,
                                        0x66, 0x21, 0x5d, 0x2a, 0xd9, 0x10, 0x89, 0xbf};
    nq_queue *server = nqtest_server(NQTEST_TCP, with_keys("{'key': " KEY1 "}", NULL));
    nq_queue *client = nqtest_join(server, with_keys("{'key': " KEY1 "}", ONE));

    nqtest_put(client, nqtest_msg("up"));
    nqtest_get_text(server, "up");
    /* what each queue has read, and what the client uses of it */
    ck_assert_uint_eq(count_in_memory(not_key), 3);
    nqtest_end(client);
    nqtest_end(server);
    ck_assert_uint_eq(count_in_memory(not_key), 0);
}
END_TEST

/* Whoever takes the server's place without the key gets nothing. */
START_TEST(what_waits_is_for_the_server_with_the_key)
{
    const char *keys = with_keys("{'key': " KEY1 "}", NULL), *mine;
    nq_queue *server = nqtest_server(_i, keys), *client;

    mine = with_keys("{'key': " KEY1 "}", ONE);
    client = nqtest_join(server, mine);
    nq_free(server);
    nqtest_put(client, nqtest_msg("a secret"));
    server = nqtest_server_again("");
    while (nqtest_event(client, NQ_EVENT_REFUSED).reason != NQ_REASON_AUTH)
        continue; /* an attempt before it listened */
    ck_assert_uint_eq(nqtest_stats(server).peers, 0);
    nq_free(server);
    server = nqtest_server_again(keys);
    nqtest_get_text(server, "a secret");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("queue_greeting");
    TCase *in = tcase_create("in"), *out = tcase_create("out"), *kept = tcase_create("sessions");

    tcase_add_checked_fixture(in, setup, teardown);
    tcase_set_timeout(in, 60);
    nqtest_each_of(in, who_has_the_key_comes_in_and_messages_pass, (int)NQI_LEN(fits));
    suite_add_tcase(suite, in);
    tcase_add_checked_fixture(out, setup, teardown);
    tcase_set_timeout(out, 60);
    nqtest_each_of(out, who_has_not_the_key_is_refused_and_both_sides_say_so,
                   (int)NQI_LEN(misfits));
    tcase_add_loop_test(out, a_key_counts_for_nobody_who_says_that_he_has_none, 0, 2);
    tcase_add_loop_test(out, a_client_with_a_bad_file_of_keys_does_not_open, 0,
                        (int)NQI_LEN(files));
    suite_add_tcase(suite, out);
    tcase_add_checked_fixture(kept, setup, teardown);
    tcase_set_timeout(kept, 60);
    nqtest_each(kept, who_has_the_key_takes_the_place_of_his_former_life);
    nqtest_each(kept, an_id_with_a_key_is_nobody_elses);
    nqtest_each(kept, a_server_that_was_restarted_is_believed_because_it_has_the_key);
    if (!GREETING_SANITIZED)
        tcase_add_test(kept, keys_are_gone_from_memory_when_the_queues_are);
    nqtest_each(kept, who_is_disconnected_is_told);
    nqtest_each_of(kept, a_changed_key_holds_without_a_restart, 2);
    tcase_add_loop_test(kept, a_session_outlives_the_key_that_it_began_with, NQTEST_LOOP,
                        NQTEST_TCP + 1);
    nqtest_each(kept, what_waits_is_for_the_server_with_the_key);
    suite_add_tcase(suite, kept);
    return suite;
}
