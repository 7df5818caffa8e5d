/* core/attach.c: what is written is read back, what is proven cannot be changed in a single bit. */
#include "core/attach.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static uint8_t key[NQI_KEY];
static uint8_t hello_raw[NQI_HELLO_RECORD], challenge_raw[NQI_HELLO_RECORD];
static uint8_t auth_raw[NQI_AUTH_RECORD], welcome_raw[NQI_WELCOME_RECORD];
static uint8_t transcript[NQI_KEY];
static struct nqi_auth auth;
static struct nqi_welcome welcome;

static nq_uuid uuid_of(uint8_t byte)
{
    nq_uuid uuid;

    memset(uuid.bytes, byte, sizeof(uuid.bytes));
    return uuid;
}

static struct nqi_hello hello_of(uint8_t id, uint8_t incarnation, uint8_t session, uint8_t nonce)
{
    struct nqi_hello hello = {.version_min = 1,
                              .version_max = 1,
                              .id = uuid_of(id),
                              .incarnation = uuid_of(incarnation),
                              .session = uuid_of(session),
                              .max_message = 1000,
                              .keepalive_ns = 2000,
                              .expiry_ns = 3000};

    memset(hello.nonce, nonce, sizeof(hello.nonce));
    return hello;
}

/* A whole greeting, over memory that was not clean. */
static void setup(void)
{
    struct nqi_hello hello = hello_of(1, 2, 3, 4), challenge = hello_of(5, 6, 0, 7);

    memset(hello_raw, 0x5a, sizeof(hello_raw));
    memset(auth_raw, 0x5a, sizeof(auth_raw));
    memset(welcome_raw, 0x5a, sizeof(welcome_raw));
    for (uint8_t i = 0; i < NQI_KEY; i++)
        key[i] = i;
    nqi_hello_write(hello_raw, NQI_HELLO, &hello);
    nqi_hello_write(challenge_raw, NQI_CHALLENGE, &challenge);
    nqi_transcript(hello_raw, challenge_raw, transcript);
    auth = (struct nqi_auth){.method = NQI_AUTH_RESUME,
                             .counter = 8,
                             .received = 9,
                             .credit_messages = 10,
                             .credit_bytes = 11};
    nqi_auth_write(auth_raw, &auth, NULL, key, transcript);
    ck_assert_int_eq(nqi_auth_read(auth_raw, &auth), NQ_OK);
    welcome = (struct nqi_welcome){.kind = NQI_WELCOME_RESUMED,
                                   .session = uuid_of(3),
                                   .received = 12,
                                   .credit_messages = 13,
                                   .credit_bytes = 14,
                                   .expiry_ns = 15};
    nqi_welcome_write(welcome_raw, &welcome, key, transcript, auth.proof);
}

/* ---- HELLO and CHALLENGE ---- */

static struct nqi_hello hello_full(void)
{
    struct nqi_hello hello = hello_of(0x21, 0x22, 0x23, 0x24);

    hello.version_max = 3;
    hello.features = UINT64_C(0x0102030405060708);
    hello.max_message = UINT64_MAX;
    hello.keepalive_ns = INT64_MAX;
    return hello;
}

static const uint8_t *hello_body(const struct nqi_hello *hello)
{
    static uint8_t raw[NQI_HELLO_RECORD];

    nqi_hello_write(raw, NQI_HELLO, hello);
    return raw + NQI_HEAD;
}

START_TEST(a_hello_begins_as_a_frame_of_256_bytes_of_the_older_wire)
{
    static const uint8_t want[] = {0, 0, 0, 0, 0, 0, 1, 0, 0xff, 'n', 'q', '1'};

    ck_assert_mem_eq(hello_raw, want, sizeof(want));
    for (size_t i = NQI_HEAD + 120; i < sizeof(hello_raw); i++)
        ck_assert_uint_eq(hello_raw[i], 0); /* nothing of our memory leaves with it */
    ck_assert_uint_eq(challenge_raw[0], NQI_CHALLENGE);
}
END_TEST

START_TEST(a_hello_is_read_back)
{
    struct nqi_hello hello = hello_full(), got;

    ck_assert_int_eq(nqi_hello_read(hello_body(&hello), &got), NQ_OK);
    ck_assert_uint_eq(got.version_min, hello.version_min);
    ck_assert_uint_eq(got.version_max, hello.version_max);
    ck_assert_uint_eq(got.features, hello.features);
    ck_assert(nq_uuid_equal(&got.id, &hello.id));
    ck_assert(nq_uuid_equal(&got.incarnation, &hello.incarnation));
    ck_assert(nq_uuid_equal(&got.session, &hello.session));
    ck_assert_uint_eq(got.max_message, hello.max_message);
    ck_assert_int_eq(got.keepalive_ns, hello.keepalive_ns);
    ck_assert_int_eq(got.expiry_ns, hello.expiry_ns);
    ck_assert_mem_eq(got.nonce, hello.nonce, NQI_NONCE);
}
END_TEST

static const struct {
    const char *what;
    size_t at;
    size_t len;
    uint8_t byte;
} spoilt[] = {
    {"magic", 0, 1, 0},       {"magic", 1, 1, 'N'},           {"magic", 3, 1, '2'},
    {"no version", 4, 4, 0},  {"min beyond max", 5, 1, 4},    {"nil id", 16, 16, 0},
    {"ones id", 16, 16, 255}, {"keepalive < 0", 72, 1, 0x80}, {"expiry < 0", 80, 1, 0x80},
};

START_TEST(a_bad_hello_is_refused)
{
    struct nqi_hello hello = hello_full(), got = {.max_message = 4711};
    uint8_t body[NQI_HELLO_SIZE];

    memcpy(body, hello_body(&hello), sizeof(body));
    memset(body + spoilt[_i].at, spoilt[_i].byte, spoilt[_i].len);
    ck_assert_msg(nqi_hello_read(body, &got) == NQ_ERR_PROTO, "%s", spoilt[_i].what);
    ck_assert_uint_eq(got.max_message, 4711);
}
END_TEST

START_TEST(what_a_later_version_adds_to_the_hello_is_ignored)
{
    struct nqi_hello hello = hello_full(), got;
    uint8_t body[NQI_HELLO_SIZE];

    memcpy(body, hello_body(&hello), sizeof(body));
    memset(body + 120, 0xff, NQI_HELLO_SIZE - 120);
    ck_assert_int_eq(nqi_hello_read(body, &got), NQ_OK);
}
END_TEST

static const struct {
    uint16_t min, max;
    bool agrees;
} versions[] = {
    {1, 1, true},
    {1, 9, true},
    {1, UINT16_MAX, true},
    {NQI_VERSION_MAX + 1, NQI_VERSION_MAX + 1, false},
    {NQI_VERSION_MAX + 1, UINT16_MAX, false},
    {0, 0, false},
};

START_TEST(the_highest_common_version_is_spoken)
{
    struct nqi_hello theirs = hello_full(), ours = {.version_min = 77, .features = UINT64_MAX};

    theirs.version_min = versions[_i].min;
    theirs.version_max = versions[_i].max;
    theirs.features = UINT64_MAX;
    ck_assert_int_eq(nqi_hello_agree(&theirs, &ours), versions[_i].agrees);
    ck_assert_uint_eq(ours.version_min, versions[_i].agrees ? NQI_VERSION_MAX : 77);
    if (!versions[_i].agrees)
        return;
    ck_assert_uint_eq(ours.version_max, ours.version_min);
    ck_assert_uint_eq(ours.features, NQI_FEATURES);
}
END_TEST

/* ---- AUTH and WELCOME ---- */

START_TEST(an_auth_is_read_back)
{
    ck_assert_uint_eq(auth.method, NQI_AUTH_RESUME);
    ck_assert_uint_eq(auth.counter, 8);
    ck_assert_uint_eq(auth.received, 9);
    ck_assert_uint_eq(auth.credit_messages, 10);
    ck_assert_uint_eq(auth.credit_bytes, 11);
    ck_assert_mem_eq(auth.proof, auth_raw + NQI_AUTH_RECORD - NQI_KEY, NQI_KEY);
    for (size_t i = NQI_HEAD + 32; i < NQI_HEAD + 96; i++)
        ck_assert_uint_eq(auth_raw[i], 0);
}
END_TEST

START_TEST(a_welcome_is_read_back)
{
    struct nqi_welcome got;

    welcome.kind = NQI_WELCOME_NEW;
    memcpy(welcome.key, key, NQI_KEY);
    nqi_welcome_write(welcome_raw, &welcome, key, transcript, auth.proof);
    ck_assert_int_eq(nqi_welcome_read(welcome_raw, &got), NQ_OK);
    ck_assert_int_eq(got.kind, NQI_WELCOME_NEW);
    ck_assert(nq_uuid_equal(&got.session, &welcome.session));
    ck_assert_uint_eq(got.received, 12);
    ck_assert_uint_eq(got.credit_messages, 13);
    ck_assert_uint_eq(got.credit_bytes, 14);
    ck_assert_int_eq(got.expiry_ns, 15);
    ck_assert_mem_eq(got.key, key, NQI_KEY);
    ck_assert_mem_eq(got.proof, welcome_raw + NQI_WELCOME_RECORD - NQI_KEY, NQI_KEY);
    for (size_t i = NQI_HEAD + 80; i < NQI_HEAD + 128; i++)
        ck_assert_uint_eq(welcome_raw[i], 0);
}
END_TEST

START_TEST(unknown_methods_and_kinds_are_refused)
{
    struct nqi_welcome got;

    for (unsigned aux = 0; aux <= UINT16_MAX; aux++) {
        nqi_store_u16(auth_raw + 2, (uint16_t)aux);
        nqi_store_u16(welcome_raw + 2, (uint16_t)aux);
        if ((nqi_auth_read(auth_raw, &auth) == NQ_OK) != (aux >= 1 && aux <= 3) ||
            (nqi_welcome_read(welcome_raw, &got) == NQ_OK) != (aux <= 3))
            ck_abort_msg("%u", aux);
    }
    nqi_store_u16(welcome_raw + 2, 0);
    welcome_raw[NQI_HEAD + 40] |= 0x80; /* expires before it began */
    ck_assert_int_eq(nqi_welcome_read(welcome_raw, &got), NQ_ERR_PROTO);
}
END_TEST

/* ---- proofs ---- */

/* What another implementation of SHA-256 and HMAC says, Python's:
 *
 *     def hello(type, id, inc, ses, nonce):
 *         return struct.pack('>BBHI4sHHQ', type, 0, 0, 256, b'\xffnq1', 1, 1, 0) + \
 *             16 * bytes([id]) + 16 * bytes([inc]) + 16 * bytes([ses]) + \
 *             struct.pack('>QQQ', 1000, 2000, 3000) + 32 * bytes([nonce]) + bytes(136)
 *     prove = lambda data: hmac.new(bytes(range(32)), data, hashlib.sha256).digest()
 *     t = hashlib.sha256(hello(0, 1, 2, 3, 4) + hello(1, 5, 6, 0, 7)).digest()
 *     auth = struct.pack('>BBHIQQQQ', 2, 0, 2, 128, 8, 9, 10, 11) + bytes(64)
 *     a = prove(b'nq1 auth' + t + auth)
 *     welcome = struct.pack('>BBHI', 3, 0, 1, 160) + 16 * b'\x03' + \
 *         struct.pack('>QQQQ', 12, 13, 14, 15) + bytes(80)
 *     w = prove(b'nq1 welcome' + t + a + welcome) */
START_TEST(proofs_are_what_the_protocol_says)
{
    static const uint8_t t[] = {0x12, 0x89, 0x8c, 0x05, 0x79, 0xf9, 0x9e, 0xe7, 0xb1, 0x8f, 0xb4,
                                0x69, 0x59, 0xec, 0x72, 0xb7, 0xb6, 0x85, 0x1a, 0x05, 0xed, 0xc6,
                                0x71, 0xe9, 0xde, 0x1a, 0xe9, 0x93, 0x50, 0x83, 0x31, 0xc6};
    static const uint8_t a[] = {0x9a, 0x8c, 0xad, 0x6a, 0x13, 0x69, 0x47, 0x35, 0x0c, 0xf4, 0xea,
                                0xe8, 0xed, 0xd3, 0xb8, 0x39, 0x04, 0xc0, 0xa4, 0x8d, 0x01, 0x84,
                                0x3a, 0xbb, 0x61, 0xc1, 0x58, 0x94, 0x96, 0xb0, 0xf2, 0xf4};
    static const uint8_t w[] = {0xed, 0x62, 0x95, 0x5f, 0x94, 0x79, 0x64, 0xf9, 0xa3, 0xf7, 0x1a,
                                0x64, 0x5f, 0x72, 0xdc, 0x04, 0x36, 0xbb, 0xd6, 0xa8, 0x91, 0x74,
                                0x58, 0x16, 0x4d, 0x36, 0x38, 0x07, 0xde, 0xfd, 0x0e, 0x1c};

    ck_assert_mem_eq(transcript, t, NQI_KEY);
    ck_assert_mem_eq(auth.proof, a, NQI_KEY);
    ck_assert_mem_eq(welcome_raw + NQI_WELCOME_RECORD - NQI_KEY, w, NQI_KEY);
}
END_TEST

/* The same with a pre-shared key:
 *
 *     psk = bytes(range(100, 132))
 *     auth = struct.pack('>BBHIQQQQ', 2, 0, 3, 128, 8, 9, 10, 11) + bytes(32)
 *     p = hmac.new(psk, b'nq1 psk' + t + auth, hashlib.sha256).digest()
 *     k = hmac.new(psk, b'nq1 session' + 16 * b'\x03' + 16 * b'\x09' + 16 * b'\x01' +
 *                  16 * b'\x05', hashlib.sha256).digest() */
static void write_psk(uint8_t psk[NQI_KEY])
{
    for (uint8_t i = 0; i < NQI_KEY; i++)
        psk[i] = (uint8_t)(100 + i);
    auth.method = NQI_AUTH_PSK;
    nqi_auth_write(auth_raw, &auth, psk, key, transcript);
}

START_TEST(proofs_and_keys_made_from_a_psk_are_what_the_protocol_says)
{
    static const uint8_t p[] = {0xe5, 0x07, 0xd5, 0x8a, 0x23, 0x0d, 0xbf, 0x15, 0x95, 0x89, 0x9f,
                                0xda, 0xd8, 0xa4, 0x6f, 0x49, 0x17, 0x75, 0x52, 0xa3, 0xa5, 0xc3,
                                0x00, 0x5b, 0x1a, 0x5d, 0x67, 0xb0, 0x18, 0x0c, 0xf4, 0xf9};
    static const uint8_t k[] = {0xb5, 0xa2, 0xbc, 0x85, 0x5c, 0x50, 0xc8, 0xff, 0xce, 0x83, 0x43,
                                0xbd, 0x20, 0xa3, 0x3b, 0xe8, 0x23, 0x04, 0x4f, 0xcb, 0x30, 0x9c,
                                0x8a, 0x5a, 0xdb, 0x7e, 0x4c, 0x45, 0xfd, 0x39, 0x53, 0xdb};
    const nq_uuid session = uuid_of(3), opening = uuid_of(9), client = uuid_of(1),
                  server = uuid_of(5);
    uint8_t psk[NQI_KEY], got[NQI_KEY];

    write_psk(psk);
    ck_assert_mem_eq(auth_raw + NQI_HEAD + 64, p, NQI_KEY);
    nqi_psk_session_key(psk, &session, &opening, &client, &server, got);
    ck_assert_mem_eq(got, k, NQI_KEY);
}
END_TEST

START_TEST(the_proof_of_a_psk_is_of_every_bit_before_it)
{
    uint8_t psk[NQI_KEY];
    struct {
        uint8_t *bytes;
        size_t len;
    } parts[] = {{auth_raw, NQI_HEAD + 96}, {psk, NQI_KEY}, {transcript, NQI_KEY}};

    write_psk(psk);
    ck_assert(nqi_auth_has_psk(auth_raw, psk, transcript));
    ck_assert(nqi_auth_is_proven(auth_raw, key, transcript));
    for (size_t i = 0; i < NQI_LEN(parts); i++)
        for (size_t bit = 0; bit < 8 * parts[i].len; bit++) {
            parts[i].bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (nqi_auth_has_psk(auth_raw, psk, transcript))
                ck_abort_msg("bit %zu of part %zu makes no difference", bit, i);
            parts[i].bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    ck_assert(nqi_auth_has_psk(auth_raw, psk, transcript));
}
END_TEST

START_TEST(a_session_key_depends_on_all_that_it_is_of)
{
    nq_uuid names[4] = {uuid_of(1), uuid_of(2), uuid_of(3), uuid_of(4)};
    uint8_t psk[NQI_KEY], first[NQI_KEY], got[NQI_KEY];

    write_psk(psk);
    nqi_psk_session_key(psk, &names[0], &names[1], &names[2], &names[3], first);
    for (unsigned i = 0; i <= 4; i++) {
        uint8_t *byte = i < 4 ? names[i].bytes : psk;

        *byte ^= 1;
        nqi_psk_session_key(psk, &names[0], &names[1], &names[2], &names[3], got);
        ck_assert_mem_ne(got, first, NQI_KEY);
        *byte ^= 1;
    }
}
END_TEST

static bool both_are_proven(void)
{
    return nqi_auth_is_proven(auth_raw, key, transcript) &&
           nqi_welcome_is_proven(welcome_raw, key, transcript, auth.proof);
}

/* Each bit of `bytes` matters to AUTH, to WELCOME. */
static void check_every_bit(uint8_t *bytes, size_t len, bool of_auth, bool of_welcome)
{
    for (size_t bit = 0; bit < 8 * len; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (nqi_auth_is_proven(auth_raw, key, transcript) == of_auth ||
            nqi_welcome_is_proven(welcome_raw, key, transcript, auth.proof) == of_welcome)
            ck_abort_msg("bit %zu makes no difference", bit);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert(both_are_proven());
}

START_TEST(a_proof_is_of_every_bit)
{
    ck_assert(both_are_proven());
    check_every_bit(auth_raw, sizeof(auth_raw), true, false);
    check_every_bit(welcome_raw, sizeof(welcome_raw), false, true);
    check_every_bit(key, sizeof(key), true, true);
    check_every_bit(transcript, sizeof(transcript), true, true);
    check_every_bit(auth.proof, sizeof(auth.proof), false, true);
}
END_TEST

START_TEST(a_transcript_is_of_every_bit)
{
    uint8_t got[NQI_KEY], *records[] = {hello_raw, challenge_raw};

    for (size_t bit = 0; bit < 16 * (size_t)NQI_HELLO_RECORD; bit++) {
        uint8_t *byte = &records[bit / 8 / NQI_HELLO_RECORD][bit / 8 % NQI_HELLO_RECORD];

        *byte ^= (uint8_t)(1u << bit % 8);
        nqi_transcript(hello_raw, challenge_raw, got);
        if (!memcmp(got, transcript, NQI_KEY))
            ck_abort_msg("bit %zu makes no difference", bit);
        *byte ^= (uint8_t)(1u << bit % 8);
    }
    nqi_transcript(challenge_raw, hello_raw, got);
    ck_assert_mem_ne(got, transcript, NQI_KEY);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("attach");
    TCase *tcase = tcase_create("attach");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, a_hello_begins_as_a_frame_of_256_bytes_of_the_older_wire);
    tcase_add_test(tcase, a_hello_is_read_back);
    tcase_add_loop_test(tcase, a_bad_hello_is_refused, 0, NQI_LEN(spoilt));
    tcase_add_test(tcase, what_a_later_version_adds_to_the_hello_is_ignored);
    tcase_add_loop_test(tcase, the_highest_common_version_is_spoken, 0, NQI_LEN(versions));
    tcase_add_test(tcase, an_auth_is_read_back);
    tcase_add_test(tcase, a_welcome_is_read_back);
    tcase_add_test(tcase, unknown_methods_and_kinds_are_refused);
    tcase_add_test(tcase, proofs_are_what_the_protocol_says);
    tcase_add_test(tcase, a_proof_is_of_every_bit);
    tcase_add_test(tcase, a_transcript_is_of_every_bit);
    tcase_add_test(tcase, proofs_and_keys_made_from_a_psk_are_what_the_protocol_says);
    tcase_add_test(tcase, the_proof_of_a_psk_is_of_every_bit_before_it);
    tcase_add_test(tcase, a_session_key_depends_on_all_that_it_is_of);
    suite_add_tcase(suite, tcase);
    return suite;
}
