/* core/session*.c with a pre-shared key: what is proven, by whom, and what is not believed. */
#include "core/pool.h"
#include "tests/support/session_rig.h"
#include "tests/support/suite.h"
#include <check.h>
#include <string.h>

static struct nqtest_rig rig;
static uint8_t psk[NQI_KEY], other_psk[NQI_KEY];

static void setup(void)
{
    nqtest_rig_init(&rig);
    for (uint8_t i = 0; i < NQI_KEY; i++) {
        psk[i] = (uint8_t)(i + 1);
        other_psk[i] = (uint8_t)(i + 2);
    }
    rig.a_psk = rig.psk = psk;
}

static void teardown(void)
{
    nqtest_rig_end(&rig);
}

/* a's AUTH is out, and nobody has seen it. */
static void challenge(void)
{
    nqtest_rig_connect(&rig);
    nqtest_pull(&rig.a, true);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_AUTH);
    nqtest_pull(&rig.a, true);
    ck_assert_uint_eq(rig.a.wire_len, NQI_AUTH_RECORD);
}

/* It is answered with a WELCOME that `key` proves. */
static nq_err welcome(enum nqi_welcome_kind kind, const nq_uuid *id, const uint8_t *key)
{
    struct nqi_welcome welcome = {.kind = kind, .session = *id, .expiry_ns = NQI_NS_PER_S};
    uint8_t raw[NQI_WELCOME_RECORD];

    rig.a.wire_len = 0;
    memcpy(welcome.key, key, NQI_KEY);
    nqi_welcome_write(raw, &welcome, key, rig.greeting.attach.transcript,
                      rig.a.session.greeting.proof);
    nqtest_inject(&rig.b, raw, sizeof(raw));
    return nqtest_feed(&rig.b, SIZE_MAX);
}

/* ---- a session begins ---- */

START_TEST(both_have_a_key_that_was_on_no_link)
{
    static const uint8_t zeros[NQI_KEY];

    challenge();
    ck_assert_uint_eq(nqi_load_u16(rig.a.wire + 2), NQI_AUTH_PSK);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    nqtest_pull(&rig.b, true);
    ck_assert_uint_ge(rig.b.wire_len, NQI_WELCOME_RECORD);
    ck_assert_mem_eq(rig.b.wire + NQI_HEAD + 48, zeros, NQI_KEY);
    nqtest_flow(&rig);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_UP);
    ck_assert(rig.a.session.name.circle && rig.b.session.name.circle);
    ck_assert_mem_eq(rig.a.session.name.key, rig.b.session.name.key, NQI_KEY);
    ck_assert_mem_ne(rig.a.session.name.key, zeros, NQI_KEY);
    ck_assert_mem_ne(rig.a.session.name.key, psk, NQI_KEY);
}
END_TEST

START_TEST(each_session_has_another_key)
{
    uint8_t first[NQI_KEY];

    nqtest_rig_attach(&rig);
    memcpy(first, rig.a.session.name.key, NQI_KEY);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_rig_attach(&rig);
    ck_assert_mem_ne(rig.a.session.name.key, first, NQI_KEY);
}
END_TEST

START_TEST(a_server_refuses_who_has_another_key_or_none)
{
    rig.a_psk = _i ? other_psk : NULL;
    nqtest_rig_connect(&rig);
    nqtest_flow_any(&rig);
    ck_assert_int_eq(rig.a.err, NQ_ERR_CLOSED);
    ck_assert_int_eq(rig.a.session.bye_reason, NQ_REASON_AUTH);
    ck_assert_ptr_nonnull(strstr(nq_error(), _i ? "the server has another key for this side's id"
                                                : "the server asks for a pre-shared key"));
    ck_assert(nq_uuid_is_nil(&rig.b.session.name.id));
}
END_TEST

START_TEST(a_server_without_keys_refuses_who_has_one)
{
    rig.psk = NULL;
    nqtest_rig_connect(&rig);
    nqtest_flow_any(&rig);
    ck_assert_int_eq(rig.a.err, NQ_ERR_CLOSED);
    ck_assert_int_eq(rig.a.session.bye_reason, NQ_REASON_AUTH);
    ck_assert_ptr_nonnull(strstr(nq_error(), "or none (\"psk\")"));
}
END_TEST

/* The server's words are its reason's, most of the time. */
START_TEST(a_refusal_is_not_said_twice)
{
    static const char *const said[] = {"", "the id is in use by another session", "ask Jo"};
    static const char *const told[] = {"the id is in use by another session",
                                       "the id is in use by another session",
                                       "the id is in use by another session: ask Jo"};

    challenge();
    rig.a.wire_len = 0;
    nqtest_inject_record(&rig.b, NQI_REJECT, 0, NQ_REASON_DUPLICATE, (uint32_t)strlen(said[_i]), 0,
                         said[_i], strlen(said[_i]));
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_ERR_CLOSED);
    ck_assert_str_eq(nq_error(), told[_i]);
}
END_TEST

/* It says the key itself, as to who has none. */
START_TEST(a_client_believes_no_server_that_has_not_the_key)
{
    const nq_uuid id = {{9}};

    challenge();
    ck_assert_int_eq(welcome(NQI_WELCOME_NEW, &id, other_psk), NQ_ERR_PROTO);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_AUTH);
    ck_assert(nq_uuid_is_nil(&rig.a.session.name.id));
}
END_TEST

/* What the server made of the lost attempt is found again, with the same key. */
START_TEST(a_session_whose_welcome_was_lost_is_found_again)
{
    struct nqtest_rig_put *put = nqtest_rig_put(&rig.a, 100);
    uint8_t key[NQI_KEY];

    rig.resume = true;
    challenge();
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    memcpy(key, rig.b.session.name.key, NQI_KEY);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_rig_attach(&rig);
    ck_assert_mem_eq(rig.a.session.name.key, key, NQI_KEY);
    nqtest_finish(&rig);
    ck_assert_int_eq(put->outcome, NQ_DELIVERED);
}
END_TEST

/* ---- and goes on, or not ---- */

static void lose_and_challenge(void)
{
    rig.resume = true;
    nqtest_rig_attach(&rig);
    nqtest_rig_lose(&rig, 0, 0);
    challenge();
    ck_assert_uint_eq(nqi_load_u16(rig.a.wire + 2), NQI_AUTH_RESUME);
}

START_TEST(a_resumed_session_proves_both_keys)
{
    lose_and_challenge();
    ck_assert(nqi_auth_has_psk(rig.a.wire, psk, rig.greeting.attach.transcript));
    nqtest_flow(&rig);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_UP);
    ck_assert(rig.a.session.name.circle);
}
END_TEST

START_TEST(that_a_session_is_not_known_is_believed_when_it_is_proven)
{
    rig.resume = false;
    nqtest_rig_attach(&rig);
    rig.resume = true; /* a keeps it */
    nqtest_rig_lose(&rig, 0, 0);
    nqi_session_fini(&rig.b.session, NQ_REASON_LINK_LOST);
    nqi_session_init(&rig.b.session, &rig.b.conf, rig.b.session.events, &rig.b);
    nqtest_rig_attach(&rig); /* starts over */
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_UP);
    ck_assert_uint_eq(rig.a.sessions, 1);
}
END_TEST

START_TEST(who_has_not_the_key_cannot_say_that_a_session_is_not_known)
{
    lose_and_challenge();
    ck_assert_int_eq(welcome(NQI_WELCOME_UNKNOWN, &rig.a.session.name.id, other_psk), NQ_ERR_PROTO);
    ck_assert(!nq_uuid_is_nil(&rig.a.session.name.id));
    ck_assert(nqi_session_is_resumable(&rig.a.session));
}
END_TEST

START_TEST(without_a_key_no_session_is_not_known)
{
    static const uint8_t zeros[NQI_KEY];

    rig.a_psk = rig.psk = NULL;
    lose_and_challenge();
    ck_assert_int_eq(welcome(NQI_WELCOME_UNKNOWN, &rig.a.session.name.id, zeros), NQ_ERR_PROTO);
}
END_TEST

/* Anybody on the way can say so. */
START_TEST(a_refusal_ends_a_session_only_where_nothing_is_proven_anyway)
{
    bool keyed = _i;

    if (!keyed)
        rig.a_psk = rig.psk = NULL;
    lose_and_challenge();
    rig.a.wire_len = 0;
    nqtest_inject_record(&rig.b, NQI_REJECT, 0, NQ_REASON_NO_SESSION, 0, 0, "", 0);
    rig.a.session.bye_reason = NQ_REASON_NONE;
    if (keyed) {
        ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_ERR_CLOSED);
        ck_assert_int_eq(rig.a.session.bye_reason, NQ_REASON_REFUSED);
        ck_assert_uint_eq(rig.a.sessions, 0);
    } else {
        ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
        ck_assert_uint_eq(rig.a.sessions, 1);
    }
}
END_TEST

/* ---- guarded ---- */

static const struct {
    uint64_t a, b;
    bool guarded;
} links[] = {
    {0, 0, true},
    {NQI_FEATURE_SAFE, 0, true},
    {0, NQI_FEATURE_SAFE, true},
    {NQI_FEATURE_SAFE, NQI_FEATURE_SAFE, false},
};

START_TEST(a_link_is_guarded_unless_both_ends_know_that_it_is_safe)
{
    rig.a_features = links[_i].a;
    rig.b_features = links[_i].b;
    nqtest_rig_attach(&rig);
    ck_assert_int_eq(rig.a.session.guard.on, links[_i].guarded);
    ck_assert_int_eq(rig.b.session.guard.on, links[_i].guarded);
    nqtest_rig_put(&rig.a, 1000);
    nqtest_pull(&rig.a, true);
    ck_assert_uint_eq(rig.a.wire_len, NQI_HEAD + 1000 + (links[_i].guarded ? 20 : 0));
    nqtest_finish(&rig);
    nqtest_rig_lose(&rig, 0, 0);
    ck_assert(!rig.a.session.guard.on && !rig.b.session.guard.on);
}
END_TEST

START_TEST(a_session_that_was_opened_is_not_guarded)
{
    rig.a_psk = rig.psk = NULL;
    nqtest_rig_attach(&rig);
    ck_assert(!rig.a.session.guard.on && !rig.b.session.guard.on);
}
END_TEST

/* However the bytes are read, and with WELCOME and the first frames in one read. */
START_TEST(messages_of_all_sizes_pass_both_ways)
{
    static const size_t sizes[] = {0, 1, 64, 2000, 4096, 32740, 32760, 32768, 40000, 300000};

    rig.split = (enum nqtest_split)_i;
    for (size_t i = 0; i < 60; i++) {
        nqtest_rig_put(&rig.a, sizes[i % NQI_LEN(sizes)]);
        nqtest_rig_put(&rig.b, sizes[i * 7 % NQI_LEN(sizes)]);
    }
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.a.delivered, 60);
    ck_assert_uint_eq(rig.b.delivered, 60);
}
END_TEST

/* A payload of many records, and pings that pass between them. */
START_TEST(control_records_pass_between_the_records_of_a_large_message)
{
    rig.a.conf.record = 100000;
    nqtest_rig_attach(&rig);
    nqtest_rig_put(&rig.a, 1000000);
    for (unsigned i = 0; i < 20; i++) {
        rig.a.pull_cap = 1 + i % 3;
        nqtest_pull(&rig.a, true);
        rig.a.session.ping_due = true;
        ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    }
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 1);
}
END_TEST

/* What arrived of a buffer of many records is not sent again, what did not is. */
START_TEST(a_link_that_is_lost_in_the_midst_of_a_buffer_costs_nothing)
{
    enum { MESSAGES = 1500 };

    rig.resume = true;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < MESSAGES; i++)
        nqtest_rig_put(&rig.a, 40);
    nqtest_pull(&rig.a, true);
    ck_assert_uint_gt(rig.a.wire_len, 40000);
    nqtest_rig_lose(&rig, (size_t)_i * 5000, 0);
    ck_assert_uint_eq(rig.a.sessions, 0);
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, MESSAGES);
}
END_TEST

/* Each byte of what is on the way is changed once; the session goes on over the next link. */
START_TEST(whatever_is_changed_on_the_way_the_session_goes_on_and_nothing_of_it_is_used)
{
    rig.resume = true;
    nqtest_rig_attach(&rig);
    for (size_t at = 0; at < 20 + NQI_HEAD + 30; at++) {
        struct nqtest_rig_put *put = nqtest_rig_put(&rig.a, 30);
        uint64_t delivered = rig.b.delivered;

        nqtest_pull(&rig.a, true);
        ck_assert_uint_ge(rig.a.wire_len, 20 + NQI_HEAD + 30);
        rig.a.wire[at] ^= 0x10;
        if (nqtest_feed(&rig.a, SIZE_MAX) != NQ_OK) { /* else a longer frame is waited for */
            ck_assert_int_eq(rig.b.err, NQ_ERR_CLOSED);
            ck_assert_int_eq(rig.b.session.bye_reason, NQ_REASON_AUTH);
        }
        ck_assert_uint_eq(rig.b.delivered, delivered);
        nqtest_rig_lose(&rig, 0, 0);
        nqtest_rig_attach(&rig);
        nqtest_finish(&rig);
        ck_assert_int_eq(put->outcome, NQ_DELIVERED);
    }
    ck_assert_uint_eq(rig.a.sessions, 0);
}
END_TEST

START_TEST(records_without_a_frame_are_no_sign_of_life)
{
    int64_t heard;

    nqtest_rig_attach(&rig);
    heard = rig.a.session.last_rx;
    rig.now += NQI_NS_PER_S;
    nqtest_inject_record(&rig.b, NQI_REJECT, 0, NQ_REASON_NO_SESSION, 0, 0, "", 0);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_ERR_CLOSED);
    ck_assert_int_eq(rig.a.session.bye_reason, NQ_REASON_AUTH);
    ck_assert_int_eq(rig.a.session.last_rx, heard);
}
END_TEST

START_TEST(without_memory_for_frames_they_are_made_later)
{
    nqtest_rig_attach(&rig);
    nqtest_rig_put(&rig.a, 100000);
    for (unsigned n = 1; n < 12; n++) {
        nqi_pool_fail_after(n);
        nqtest_pull(&rig.a, true);
        nqi_pool_fail_after(0);
    }
    rig.a.session.starved = false;
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.b.delivered, 1);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_psk");
    TCase *tcase = tcase_create("session_psk");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, both_have_a_key_that_was_on_no_link);
    tcase_add_test(tcase, each_session_has_another_key);
    tcase_add_loop_test(tcase, a_server_refuses_who_has_another_key_or_none, 0, 2);
    tcase_add_test(tcase, a_server_without_keys_refuses_who_has_one);
    tcase_add_loop_test(tcase, a_refusal_is_not_said_twice, 0, 3);
    tcase_add_test(tcase, a_client_believes_no_server_that_has_not_the_key);
    tcase_add_test(tcase, a_session_whose_welcome_was_lost_is_found_again);
    tcase_add_test(tcase, a_resumed_session_proves_both_keys);
    tcase_add_test(tcase, that_a_session_is_not_known_is_believed_when_it_is_proven);
    tcase_add_test(tcase, who_has_not_the_key_cannot_say_that_a_session_is_not_known);
    tcase_add_test(tcase, without_a_key_no_session_is_not_known);
    tcase_add_loop_test(tcase, a_refusal_ends_a_session_only_where_nothing_is_proven_anyway, 0, 2);
    tcase_add_loop_test(tcase, a_link_is_guarded_unless_both_ends_know_that_it_is_safe, 0,
                        (int)NQI_LEN(links));
    tcase_add_test(tcase, a_session_that_was_opened_is_not_guarded);
    tcase_add_loop_test(tcase, messages_of_all_sizes_pass_both_ways, 0, NQTEST_SPLITS);
    tcase_add_test(tcase, control_records_pass_between_the_records_of_a_large_message);
    tcase_add_loop_test(tcase, a_link_that_is_lost_in_the_midst_of_a_buffer_costs_nothing, 0, 16);
    tcase_add_test(tcase,
                   whatever_is_changed_on_the_way_the_session_goes_on_and_nothing_of_it_is_used);
    tcase_add_test(tcase, records_without_a_frame_are_no_sign_of_life);
    tcase_add_test(tcase, without_memory_for_frames_they_are_made_later);
    suite_add_tcase(suite, tcase);
    return suite;
}
