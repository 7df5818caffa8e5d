/* A session is its client's alone: ten thousand attempts, half of them with keys, to take it, to
 * open another in its name, or to disturb it, by somebody who knows its id, has listened to its
 * greeting, and in part of them has its key.  Meanwhile messages go back and forth in it, and it
 * notices nothing.
 *
 * The thief talks to the port with records that core/attach.c makes, and learns what he could have
 * listened to from the server's own table. */
#include "core/attach.h"
#include "core/queue.h"
#include "core/random.h"
#include "tests/support/queue.h"
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define THIEF_ATTEMPTS 300u
#elif defined(__has_feature)
#define THIEF_ATTEMPTS (NQI_ASAN || __has_feature(thread_sanitizer) ? 300u : 5000u)
#else
#define THIEF_ATTEMPTS (NQI_ASAN ? 300u : 5000u)
#endif

#define VICTIM "00000000-0000-4000-8000-000000000001" /* nqtest_id(1) */
#define VICTIMS_KEY "0123456789abcdef0123456789abcdef01234567"
#define OTHERS_KEY "fedcba9876543210fedcba9876543210fedcba98"
#define WINDOW 8u /* messages on their way */

/* ---- what is to be stolen ---- */

struct treasure {
    struct nqi_session_name name;
    nq_uuid opening;
    uint8_t psk[2][NQI_KEY]; /* the victim's, the others' */
    bool keyed;
};

static struct treasure loot;

static void spy(nq_queue *server)
{
    const nq_uuid victim = nqtest_id(1), other = nqtest_id(2);
    struct nqi_peer *peer = nqi_queue_find(server, &victim);
    struct nqi_keys keys;

    ck_assert_ptr_nonnull(peer);
    loot = (struct treasure){.name = peer->name, .opening = peer->opening};
    nqi_peer_unref(peer);
    loot.keyed = server->conf->keystore;
    if (!loot.keyed)
        return;
    nqi_keystore_find(server->conf->keystore, &victim, nqi_now(), &keys);
    memcpy(loot.psk[0], keys.key[0], NQI_KEY);
    nqi_keystore_find(server->conf->keystore, &other, nqi_now(), &keys);
    memcpy(loot.psk[1], keys.key[0], NQI_KEY);
}

/* ---- what the thief does ---- */

/* What an attempt has that is not his: nothing else in it is right. */
#define SESSION 0x1u      /* names the victim's */
#define KEY 0x2u          /* and has its key */
#define OPENING 0x4u      /* what the session was asked for with */
#define STALE 0x8u        /* a link counter that was used before; else a higher one */
#define OTHER_ID 0x10u    /* says he is another one */
#define PSK_VICTIM 0x20u  /* with keys: the victim's */
#define PSK_OTHERS 0x40u  /* that of everybody else */
#define REPLAY 0x80u      /* HELLO and AUTH of the attempt before, as they were */
#define FLIPPED 0x100u    /* one bit of AUTH is another */
#define SERVER_ID 0x200u  /* says he is the server */
#define NO_HELLO 0x400u   /* random bytes instead */
#define HALF_HELLO 0x800u /* and no more */
#define NO_AUTH 0x1000u   /* random bytes instead */
#define HALF_AUTH 0x2000u
#define DATA 0x4000u /* a message instead of AUTH */

#define ANY NQ_REASONS /* refused, or just closed */

static const struct attempt {
    enum nqi_auth_method method;
    unsigned what;
    nq_reason reason, keyed; /* from a server without and with keys */
} attempts[] = {
    {NQI_AUTH_RESUME, 0, NQ_REASON_NO_SESSION, NQ_REASON_AUTH},
    {NQI_AUTH_RESUME, SESSION, NQ_REASON_NO_SESSION, NQ_REASON_AUTH},
    {NQI_AUTH_RESUME, KEY, NQ_REASON_NO_SESSION, NQ_REASON_AUTH},
    {NQI_AUTH_RESUME, SESSION | KEY | STALE, NQ_REASON_NO_SESSION, NQ_REASON_AUTH},
    {NQI_AUTH_RESUME, SESSION | KEY | STALE | PSK_VICTIM, NQ_REASON_NO_SESSION,
     NQ_REASON_NO_SESSION},
    {NQI_AUTH_RESUME, SESSION | KEY | PSK_OTHERS | STALE, NQ_REASON_NO_SESSION, NQ_REASON_AUTH},
    {NQI_AUTH_RESUME, SESSION | KEY | OTHER_ID, NQ_REASON_NO_SESSION, NQ_REASON_AUTH},
    {NQI_AUTH_RESUME, SESSION | KEY | PSK_VICTIM | REPLAY, NQ_REASON_NO_SESSION, NQ_REASON_AUTH},
    {NQI_AUTH_RESUME, SESSION | KEY | PSK_VICTIM | FLIPPED, ANY, ANY},
    {NQI_AUTH_OPEN, 0, NQ_REASON_DUPLICATE, NQ_REASON_AUTH},
    {NQI_AUTH_OPEN, SESSION, NQ_REASON_DUPLICATE, NQ_REASON_AUTH},
    {NQI_AUTH_OPEN, KEY, NQ_REASON_DUPLICATE, NQ_REASON_AUTH},
    {NQI_AUTH_OPEN, OPENING, NQ_REASON_DUPLICATE, NQ_REASON_AUTH},
    {NQI_AUTH_OPEN, OPENING | SESSION, NQ_REASON_DUPLICATE, NQ_REASON_AUTH},
    {NQI_AUTH_OPEN, OPENING | STALE, NQ_REASON_DUPLICATE, NQ_REASON_AUTH},
    {NQI_AUTH_PSK, 0, NQ_REASON_AUTH, NQ_REASON_AUTH},
    {NQI_AUTH_PSK, SESSION | KEY, NQ_REASON_AUTH, NQ_REASON_AUTH},
    {NQI_AUTH_PSK, SESSION | KEY | PSK_OTHERS, NQ_REASON_AUTH, NQ_REASON_AUTH},
    {NQI_AUTH_OPEN, SERVER_ID, NQ_REASON_DUPLICATE, NQ_REASON_DUPLICATE},
    {NQI_AUTH_OPEN, NO_HELLO, ANY, ANY},
    {NQI_AUTH_OPEN, HALF_HELLO, ANY, ANY},
    {NQI_AUTH_RESUME, SESSION | NO_AUTH, ANY, ANY},
    {NQI_AUTH_RESUME, SESSION | KEY | HALF_AUTH, ANY, ANY},
    {NQI_AUTH_RESUME, SESSION | DATA, ANY, ANY},
};

static void random_bytes(void *at, size_t len)
{
    for (size_t done = 0; done < len; done += 256)
        ck_assert_int_eq(nqi_random((uint8_t *)at + done, NQI_MIN(len - done, (size_t)256)), NQ_OK);
}

static nq_uuid random_id(void)
{
    nq_uuid id;

    ck_assert_int_eq(nq_uuid_random(&id), NQ_OK);
    return id;
}

/* The server may have ended the link before it has read all. */
static void say(int fd, const void *data, size_t len)
{
    while (send(fd, data, len, MSG_NOSIGNAL) < 0 && errno == EINTR)
        continue;
}

/* @return false: the server has ended the link */
static bool hear(int fd, uint8_t *at, size_t len)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    while (len) {
        ssize_t n;

        ck_assert_int_eq(poll(&ready, 1, (int)(NQTEST_WAIT / NQTEST_MS)), 1);
        n = read(fd, at, len);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static void make_hello(const struct attempt *attempt, uint8_t ret[NQI_HELLO_RECORD])
{
    struct nqi_hello hello = {.version_min = NQI_VERSION_MIN,
                              .version_max = NQI_VERSION_MAX,
                              .id = nqtest_id(1),
                              .incarnation = random_id(),
                              .max_message = 1 << 20,
                              .expiry_ns = NQI_NS_PER_S};

    if (attempt->what & OTHER_ID)
        hello.id = random_id();
    if (attempt->what & SERVER_ID)
        ck_assert_int_eq(nq_uuid_parse(NQTEST_SERVER, &hello.id), NQ_OK);
    if (attempt->what & SESSION)
        hello.session = loot.name.id;
    else if (attempt->method == NQI_AUTH_RESUME)
        hello.session = random_id();
    random_bytes(hello.nonce, sizeof(hello.nonce));
    nqi_hello_write(ret, NQI_HELLO, &hello);
}

static const uint8_t *thief_psk(const struct attempt *attempt)
{
    static const uint8_t guess[NQI_KEY] = {1, 2, 3};

    if (loot.keyed && attempt->what & (PSK_VICTIM | PSK_OTHERS))
        return loot.psk[attempt->what & PSK_VICTIM ? 0 : 1];
    return attempt->method == NQI_AUTH_PSK ? guess : NULL;
}

static void make_auth(const struct attempt *attempt, const uint8_t *hello, const uint8_t *challenge,
                      uint8_t ret[NQI_AUTH_RECORD])
{
    struct nqi_auth auth = {.method = (uint16_t)attempt->method,
                            .opening = random_id(),
                            .counter = loot.name.counter + 1000,
                            .credit_messages = 100,
                            .credit_bytes = 1 << 20};
    uint8_t key[NQI_KEY], transcript[NQI_KEY], place;

    random_bytes(key, sizeof(key));
    random_bytes(&place, sizeof(place));
    if (attempt->what & KEY)
        memcpy(key, loot.name.key, NQI_KEY);
    if (attempt->what & OPENING)
        auth.opening = loot.opening;
    if (attempt->method == NQI_AUTH_RESUME)
        auth.opening = (nq_uuid){{0}};
    if (attempt->what & STALE)
        auth.counter = loot.name.counter;
    nqi_transcript(hello, challenge, transcript);
    nqi_auth_write(ret, &auth, thief_psk(attempt), key, transcript);
    if (attempt->what & FLIPPED)
        ret[NQI_HEAD + place % NQI_AUTH_SIZE] ^= (uint8_t)(1u << place / 32);
}

/* What is said before the challenge.  False: nothing follows. */
static bool begin(int fd, const struct attempt *attempt, const uint8_t *hello)
{
    uint8_t noise[NQI_HELLO_RECORD];

    if (attempt->what & NO_HELLO) {
        random_bytes(noise, sizeof(noise));
        say(fd, noise, sizeof(noise));
        return false;
    }
    say(fd, hello, attempt->what & HALF_HELLO ? NQI_HELLO_RECORD / 2 : NQI_HELLO_RECORD);
    if (attempt->what & HALF_HELLO)
        shutdown(fd, SHUT_WR);
    return !(attempt->what & (HALF_HELLO | SERVER_ID));
}

/* What is said after it. */
static void go_on(int fd, const struct attempt *attempt, uint8_t *auth)
{
    if (attempt->what & NO_AUTH)
        random_bytes(auth, NQI_AUTH_RECORD);
    if (attempt->what & DATA)
        nqi_head_write(auth, NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_END, 0, NQI_AUTH_SIZE, 0);
    say(fd, auth, attempt->what & HALF_AUTH ? NQI_AUTH_RECORD / 2 : NQI_AUTH_RECORD);
    if (attempt->what & HALF_AUTH)
        shutdown(fd, SHUT_WR);
}

/* The last word is no welcome, and the reason is what it should be. */
static void check_refused(int fd, const struct attempt *attempt)
{
    nq_reason want = loot.keyed ? attempt->keyed : attempt->reason;
    uint8_t head[NQI_HEAD];
    bool answered = hear(fd, head, sizeof(head));

    if (!answered) {
        ck_assert_msg(want == ANY, "method %d, 0x%x: no answer", attempt->method, attempt->what);
        return;
    }
    /* Whoever has the victim's pre-shared key is told, with proof, that it is not enough. */
    if (want == ANY && loot.keyed && attempt->what & PSK_VICTIM && head[0] == NQI_WELCOME &&
        nqi_load_u16(head + 2) == NQI_WELCOME_UNKNOWN)
        return;
    ck_assert_msg(head[0] == NQI_REJECT, "method %d, 0x%x: record %d", attempt->method,
                  attempt->what, head[0]);
    if (want != ANY)
        ck_assert_msg(nqi_load_u16(head + 2) == want, "method %d, 0x%x: reason %d", attempt->method,
                      attempt->what, nqi_load_u16(head + 2));
}

static void try(const struct attempt *attempt, unsigned number)
{
    static uint8_t hello[NQI_HELLO_RECORD], auth[NQI_AUTH_RECORD];
    uint8_t challenge[NQI_HELLO_RECORD], noise[NQI_AUTH_RECORD];
    int fd = nqtest_knock_from(0x7f010000u + number % 250);
    bool replay = attempt->what & REPLAY && auth[0] == NQI_AUTH;

    if (!replay)
        make_hello(attempt, hello);
    if (begin(fd, attempt, hello)) {
        ck_assert(hear(fd, challenge, sizeof(challenge)));
        ck_assert_int_eq(challenge[0], NQI_CHALLENGE);
        if (!replay)
            make_auth(attempt, hello, challenge, auth);
        memcpy(noise, auth, sizeof(noise));
        go_on(fd, attempt, noise);
    }
    check_refused(fd, attempt);
    close(fd);
}

/* ---- what the victim does meanwhile ---- */

static _Atomic bool robbed;      /* the thief has given up */
static _Atomic uint64_t chatted; /* numbers that came back */

static void until_chatted(uint64_t count)
{
    while (atomic_load(&chatted) < count)
        sched_yield();
}

/* Numbers go out and come back, in order and once each; UINT64_MAX is the last. */
static void *chat(void *arg)
{
    nq_queue *client = arg;
    uint64_t sent = 0, came = 0;

    while (!atomic_load(&robbed) || came < sent) {
        while (sent < came + WINDOW && !atomic_load(&robbed))
            nqtest_put(client, nqtest_number(sent++));
        if (came < sent)
            ck_assert_uint_eq(nqtest_get_number(client), came++);
        atomic_store(&chatted, came);
    }
    nqtest_put(client, nqtest_number(UINT64_MAX));
    return NULL;
}

static void *answer(void *arg)
{
    nq_queue *server = arg;
    uint64_t next = 0;

    for (;;) {
        uint64_t number = nqtest_get_number(server);

        if (number == UINT64_MAX)
            return NULL;
        ck_assert_uint_eq(number, next++);
        nqtest_put(server, nqtest_number(number));
    }
}

/* ---- the test ---- */

static char keys_path[96];

static const char *server_options(bool keyed)
{
    static char options[512];
    FILE *file;

    snprintf(options, sizeof(options), ", 'limits': {'source_failures': 'unlimited'}");
    if (!keyed)
        return options;
    snprintf(keys_path, sizeof(keys_path), "/tmp/nqtest-thief-XXXXXX");
    file = fdopen(mkstemp(keys_path), "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "{\"keys\": {\"" VICTIM "\": \"" VICTIMS_KEY "\"}, \"key\": \"" OTHERS_KEY "\"}");
    ck_assert_int_eq(fclose(file), 0);
    snprintf(options + strlen(options), sizeof(options) - strlen(options),
             ", 'security': {'psk': '%s'}", keys_path);
    return options;
}

static const char *client_options(bool keyed)
{
    static char options[256];

    snprintf(options, sizeof(options), ", 'id': '" VICTIM "'");
    if (keyed)
        snprintf(options + strlen(options), sizeof(options) - strlen(options),
                 ", 'security': {'psk': '%s'}", keys_path);
    return options;
}

/* The victim's client has only ever heard that its session began. */
static void check_undisturbed(nq_queue *client)
{
    struct nq_event event;

    while (!nq_event_get(client, 0, &event))
        ck_assert_msg(event.kind == NQ_EVENT_HIGH_MARK || event.kind == NQ_EVENT_LOW_MARK, "%s: %s",
                      nq_event_text(event.kind), event.text);
}

START_TEST(nobody_takes_or_disturbs_a_session_that_is_not_his)
{
    nq_queue *server = nqtest_server(NQTEST_TCP, server_options(_i)), *client;
    pthread_t talks, echoes;

    client = nqtest_join(server, client_options(_i));
    spy(server);
    ck_assert_int_eq(pthread_create(&echoes, NULL, answer, server), 0);
    ck_assert_int_eq(pthread_create(&talks, NULL, chat, client), 0);
    until_chatted(1); /* before, the client itself might open its session again */
    for (unsigned i = 0; i < THIEF_ATTEMPTS; i++)
        try(&attempts[i % NQI_LEN(attempts)], i);
    until_chatted(WINDOW + 1);
    atomic_store(&robbed, true);
    ck_assert_int_eq(pthread_join(talks, NULL), 0);
    ck_assert_int_eq(pthread_join(echoes, NULL), 0);

    ck_assert_uint_eq(nqtest_stats(server).connects, 1);
    ck_assert_uint_eq(nqtest_stats(server).peers, 1);
    check_undisturbed(client);
    nqtest_end(client);
    nqtest_end(server);
    if (_i)
        unlink(keys_path);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tcp_thief");
    TCase *tcase = tcase_create("thief");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, nobody_takes_or_disturbs_a_session_that_is_not_his, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
