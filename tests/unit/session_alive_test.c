/* core/session_alive.c: who asks for a sign of life, when, and how often.  Side a is a client, b
 * its server. */
#include "tests/support/session_rig.h"
#include "tests/support/suite.h"
#include <check.h>

#define T (15 * NQI_NS_PER_S) /* the keep-alive time */
#define GRAIN (T / 64)

static struct nqtest_rig rig;

static void setup(void)
{
    nqtest_rig_init(&rig);
}

static void teardown(void)
{
    nqtest_rig_end(&rig);
}

/* Up to the next thing that `side` has to do. */
static void pass_until_due(const struct nqtest_side *side)
{
    nqtest_pass(&rig, nqi_session_deadline(&side->session) - rig.now);
}

/* `side` alone asks. */
static void keep_quiet(struct nqtest_side *side)
{
    side->conf.keepalive_ns = 0;
}

/* What `side` hears now; all that it causes is over. */
static void hear(struct nqtest_side *side)
{
    nqtest_rig_put(side->other, 10);
    nqtest_flow(&rig);
    nqtest_pass(&rig, 10 * NQI_NS_PER_MS); /* the acknowledgement */
    nqtest_flow(&rig);
}

/* ---- who asks ---- */

START_TEST(a_silent_peer_is_asked_and_answers)
{
    keep_quiet(&rig.b);
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 10; i++) {
        nqtest_pass(&rig, T);
        nqtest_pull_all(&rig.a);
        ck_assert_uint_eq(nqtest_on_wire(&rig.a, NQI_PING), 1);
        ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
        nqtest_pull_all(&rig.b);
        ck_assert_uint_eq(nqtest_on_wire(&rig.b, NQI_PONG), 1);
        nqtest_flow(&rig);
    }
}
END_TEST

/* Both have the same patience, and each answer takes a while; still one PING and one PONG are all.
 */
START_TEST(a_server_asks_and_its_client_need_not)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 100; i++) {
        int64_t before = rig.now;

        while (!rig.b.session.ping_due)
            nqtest_pass(&rig, NQI_MIN(nqi_session_deadline(&rig.a.session),
                                      nqi_session_deadline(&rig.b.session)) -
                                  rig.now);
        if (i)
            ck_assert_int_ge(rig.now - before, T - 3 * GRAIN);
        nqtest_pass(&rig, GRAIN / 3);
        nqtest_pull_all(&rig.b);
        ck_assert_uint_eq(nqtest_on_wire(&rig.b, NQI_PING), 1);
        ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
        nqtest_pass(&rig, GRAIN / 3);
        nqtest_pull_all(&rig.a);
        ck_assert_uint_eq(nqtest_on_wire(&rig.a, NQI_PONG), 1);
        ck_assert_uint_eq(nqtest_on_wire(&rig.a, NQI_PING), 0);
        nqtest_flow(&rig);
    }
}
END_TEST

/* A server of an older library, or with another time, is less patient than its client, or more. */
START_TEST(a_client_asks_a_server_that_does_not)
{
    rig.b.conf.keepalive_ns = 2 * T;
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 10; i++) {
        nqtest_pass(&rig, T);
        nqtest_pull_all(&rig.a);
        nqtest_pull_all(&rig.b);
        ck_assert_uint_eq(nqtest_on_wire(&rig.a, NQI_PING), 1);
        ck_assert_uint_eq(nqtest_on_wire(&rig.b, NQI_PING), 0);
        nqtest_flow(&rig);
    }
}
END_TEST

START_TEST(without_keepalive_silence_is_fine)
{
    rig.a.conf.keepalive_ns = rig.b.conf.keepalive_ns = 0;
    nqtest_rig_attach(&rig);
    ck_assert_int_eq(nqi_session_deadline(&rig.a.session), NQI_NEVER);
    ck_assert_int_eq(nqi_session_deadline(&rig.b.session), NQI_NEVER);
    nqtest_pass(&rig, 1000000 * NQI_NS_PER_S);
    nqtest_flow(&rig);
}
END_TEST

/* ---- when ---- */

/* Whenever in a grain they were heard, one moment is for all of them. */
START_TEST(what_a_server_heard_within_a_grain_is_due_at_once)
{
    int64_t start = rig.now - rig.now % GRAIN;

    keep_quiet(&rig.a);
    rig.now = start + _i * (GRAIN - 1) / 15;
    nqtest_rig_attach(&rig);
    ck_assert_int_eq(nqi_session_deadline(&rig.b.session), start + T - 2 * GRAIN);
    pass_until_due(&rig.b);
    nqtest_pull_all(&rig.b);
    ck_assert_uint_eq(nqtest_on_wire(&rig.b, NQI_PING), 1);
    nqtest_pass(&rig, GRAIN / 2); /* the answer comes when others have theirs */
    nqtest_flow(&rig);
    ck_assert_int_eq(nqi_session_deadline(&rig.b.session), start + 2 * (T - 2 * GRAIN));
}
END_TEST

/* What comes is noted, and the timer stays as it is; it fires once, and is set for the rest. */
START_TEST(data_touches_no_timer)
{
    struct nqtest_side *side = _i ? &rig.a : &rig.b;
    int64_t due;

    keep_quiet(side->other);
    nqtest_rig_attach(&rig);
    hear(side);
    due = side->session.ping_at;
    while (rig.now + NQI_NS_PER_S < due) {
        nqtest_pass(&rig, NQI_NS_PER_S / 2);
        hear(side);
        ck_assert_int_eq(side->session.ping_at, due);
    }
    nqtest_pass(&rig, due - rig.now);
    ck_assert(!side->session.ping_due);
    ck_assert_int_ge(side->session.ping_at, side->session.last_rx + T - 3 * GRAIN);
    ck_assert_int_le(side->session.ping_at, side->session.last_rx + T);
}
END_TEST

START_TEST(data_counts_as_a_sign_of_life)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 20; i++) {
        nqtest_pass(&rig, 10 * NQI_NS_PER_S);
        nqtest_rig_put(&rig.b, 10);
        nqtest_pull_all(&rig.b);
        ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
        nqtest_pull_all(&rig.a);
        ck_assert_uint_eq(nqtest_on_wire(&rig.a, NQI_PING), 0);
        nqtest_flow(&rig);
    }
}
END_TEST

/* ---- the end ---- */

/* Whoever asks, and whatever part of a grain it was when the last sign of life came. */
START_TEST(a_peer_that_does_not_answer_is_given_up)
{
    struct nqtest_side *side = _i % 2 ? &rig.a : &rig.b;
    struct nqtest_rig_put *put;
    int64_t heard, asked = 0;

    side->conf.expiry_ns = 0;
    keep_quiet(side->other);
    rig.now += _i * (GRAIN / 7);
    nqtest_rig_attach(&rig);
    heard = rig.now;
    put = nqtest_rig_put(side, 10);
    for (unsigned i = 1; i <= 2; i++) {
        pass_until_due(side);
        nqtest_pull_all(side);
        ck_assert_int_eq(side->err, NQ_OK);
        ck_assert_uint_eq(nqtest_on_wire(side, NQI_PING), i);
        ck_assert(!asked || rig.now == asked + T); /* for the answer to the first */
        asked = rig.now;
    }
    pass_until_due(side);
    ck_assert_int_eq(side->err, NQ_ERR_LINK);
    ck_assert_int_eq(rig.now, asked + T);
    ck_assert_int_le(rig.now, heard + 3 * T);
    ck_assert_int_gt(rig.now, heard + 3 * T - 3 * GRAIN - 1);
    nqtest_rig_lose(&rig, 0, 0);
    ck_assert_int_eq(put->outcome, NQ_UNKNOWN);
}
END_TEST

/* The first PING of the next silence does not wait for as long as the second of the last one would
 * have. */
START_TEST(an_answer_at_the_last_moment_starts_again)
{
    struct nqtest_side *side = _i ? &rig.a : &rig.b;

    keep_quiet(side->other);
    nqtest_rig_attach(&rig);
    pass_until_due(side);
    nqtest_pull_all(side);
    pass_until_due(side);
    nqtest_pass(&rig, T - 1);
    nqtest_flow(&rig);
    ck_assert_uint_eq(side->session.pings, 0);
    ck_assert_int_le(nqi_session_deadline(&side->session), rig.now + T);
    ck_assert_int_gt(nqi_session_deadline(&side->session), rig.now + T - 3 * GRAIN - 1);
}
END_TEST

START_TEST(who_was_stopped_himself_gives_the_peer_time)
{
    nqtest_rig_attach(&rig);
    nqtest_pass(&rig, 3600 * NQI_NS_PER_S);
    ck_assert_int_eq(nqi_session_deadline(&rig.a.session), rig.now + T);
    ck_assert_int_eq(nqi_session_deadline(&rig.b.session), rig.now + T);
    nqtest_flow(&rig);
    ck_assert_uint_eq(rig.a.session.pings + rig.b.session.pings, 0);
    ck_assert_int_eq(rig.a.err, NQ_OK);
    ck_assert_int_eq(rig.b.err, NQ_OK);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_alive");
    TCase *who = nqtest_case(suite, "who asks", setup, teardown);
    TCase *when = nqtest_case(suite, "when", setup, teardown);
    TCase *end = nqtest_case(suite, "the end", setup, teardown);

    tcase_add_test(who, a_silent_peer_is_asked_and_answers);
    tcase_add_test(who, a_server_asks_and_its_client_need_not);
    tcase_add_test(who, a_client_asks_a_server_that_does_not);
    tcase_add_test(who, without_keepalive_silence_is_fine);
    tcase_add_loop_test(when, what_a_server_heard_within_a_grain_is_due_at_once, 0, 16);
    tcase_add_loop_test(when, data_touches_no_timer, 0, 2);
    tcase_add_test(when, data_counts_as_a_sign_of_life);
    tcase_add_loop_test(end, a_peer_that_does_not_answer_is_given_up, 0, 20);
    tcase_add_loop_test(end, an_answer_at_the_last_moment_starts_again, 0, 2);
    tcase_add_test(end, who_was_stopped_himself_gives_the_peer_time);
    return suite;
}
