/* core/dial.c: the list in order, then a pause that grows and is never the same. */
#include "core/dial.h"
#include "core/transport_inside.h"
#include "tests/support/fake_module.h"
#include <check.h>
#include <netqueue/log.h>
#include <stdio.h>
#include <string.h>

static struct nqi_dialer dialer;
static struct nqi_serial serial;
static struct nqi_link *link_;
static nqt_ep *eps[3];
static unsigned times, closed;
static bool try_again; /* when it is time */

static void on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void on_down(void *arg, struct nqi_link *link, nq_reason reason, const char *text)
{
    (void)arg;
    (void)link;
    (void)reason;
    (void)text;
}

static const struct nqi_link_events events = {.down = on_down, .closed = on_closed};

static nq_err attempt(void)
{
    nq_err err = nqi_dialer_try(&dialer, &link_);

    if (!err) { /* the test says how it went */
        nqi_link_close(link_);
    }
    return err;
}

static void on_time(void *arg)
{
    ck_assert_ptr_eq(arg, &times);
    times++;
    if (try_again)
        ck_assert_int_eq(nqi_dialer_try(&dialer, &link_), NQ_AGAIN);
}

static void enter(void)
{
    ck_assert(nqi_strand_try(serial.strand));
}

static void leave(void)
{
    nqi_strand_leave(serial.strand);
}

static void setup(void)
{
    nqtest_fake_open_client();
    times = closed = 0;
    try_again = false;
    serial.strand = nqi_strand_new();
    serial.loop = nqtest_fake_room.loop;
    for (size_t i = 0; i < 3; i++)
        eps[i] = nqtest_fake_room.ep;
    nqi_dialer_init(&dialer, eps, 3, &serial, &events, NULL);
    enter();
    nqi_dialer_on_time(&dialer, on_time, &times);
    leave();
}

static void teardown(void)
{
    enter();
    nqi_dialer_fini(&dialer);
    leave();
    nqtest_fake_pass(60 * NQI_NS_PER_S);
    nqi_strand_unref(serial.strand);
    nqtest_fake_close();
}

/* The link that was tried is down. */
static void link_lost(void)
{
    enter();
    nqi_dialer_failed(&dialer, "nobody is there");
    leave();
}

static void try_one(void)
{
    enter();
    ck_assert_int_eq(attempt(), NQ_OK);
    leave();
    nqtest_fake_turn();
}

/* How long until it is time again, looked at every ms; at most `most` ms. */
static unsigned wait_ms(unsigned most)
{
    unsigned had = times, ms = 0;

    nqtest_fake_turn();
    while (times == had) {
        ck_assert_uint_lt(ms, most);
        nqtest_fake_pass(NQI_NS_PER_MS);
        ms++;
    }
    return ms;
}

START_TEST(the_list_is_tried_without_pauses)
{
    for (unsigned i = 0; i < 2; i++) {
        try_one();
        link_lost();
        ck_assert_uint_eq(wait_ms(1), 0);
    }
    try_one();
    ck_assert_uint_eq(nqtest_fake.connects, 3);
    ck_assert_uint_eq(closed, 3);
}
END_TEST

START_TEST(after_the_list_pauses_grow_to_a_limit)
{
    unsigned sum = 0, span = 100;

    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 2; i++) {
            try_one();
            link_lost();
            wait_ms(1);
        }
        try_one();
        link_lost();
        sum += wait_ms(span + 1);
        span = NQI_MIN(span * 2, 30000);
    }
    ck_assert_uint_gt(sum, 20000); /* some 190 s are to be expected */
}
END_TEST

START_TEST(a_try_that_fails_at_once_is_followed_by_another)
{
    nqtest_fake.connect_rc = NQT_E_UNREACHABLE;
    nqtest_fake.text = "no route";
    try_again = true;
    enter();
    ck_assert_int_eq(nqi_dialer_try(&dialer, &link_), NQ_AGAIN);
    leave();
    ck_assert_ptr_nonnull(strstr(nq_error(), "no route"));
    nqtest_fake_turn();
    ck_assert_uint_ge(nqtest_fake.connects, 3); /* the list, and then a pause */
    ck_assert_uint_le(nqtest_fake.connects, 6); /* which may be short */
    for (unsigned i = 0; i < 100; i++) {
        nqtest_fake_pass(NQI_NS_PER_S);
    }
    ck_assert_uint_gt(times, 9);
    ck_assert_uint_lt(times, 200);
}
END_TEST

/* A link that worked for a while, and was lost. */
static unsigned work_and_lose(int64_t ns)
{
    try_one();
    nqtest_fake_pass(ns);
    enter();
    nqi_dialer_worked(&dialer, false);
    nqi_dialer_failed(&dialer, "nobody is there");
    leave();
    return wait_ms(30001);
}

START_TEST(after_a_link_that_worked_it_is_tried_at_once)
{
    for (unsigned i = 0; i < 5; i++)
        ck_assert_uint_eq(work_and_lose(10 * NQI_NS_PER_S), 0);
}
END_TEST

START_TEST(links_that_end_as_soon_as_they_work_are_tried_less_and_less)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < 30; i++)
        sum += work_and_lose(0);
    ck_assert_uint_gt(sum, 5000);
    work_and_lose(10 * NQI_NS_PER_S);
    ck_assert_uint_eq(work_and_lose(10 * NQI_NS_PER_S), 0);
}
END_TEST

/* @return the transport that is tried next */
static size_t carry_and_lose(int64_t ns)
{
    try_one();
    nqtest_fake_pass(ns);
    enter();
    nqi_dialer_worked(&dialer, true);
    nqi_dialer_failed(&dialer, "nobody is there");
    leave();
    ck_assert_uint_eq(wait_ms(1), 0);
    return dialer.at;
}

START_TEST(what_breaks_soon_is_passed_over_until_another_holds)
{
    for (size_t i = 0; i < 7; i++)
        ck_assert_uint_eq(carry_and_lose(NQI_NS_PER_MS), (i + 1) % 3);
    ck_assert_uint_eq(carry_and_lose(10 * NQI_NS_PER_S), 0);
    ck_assert_uint_eq(carry_and_lose(10 * NQI_NS_PER_S), 0);
}
END_TEST

START_TEST(what_breaks_soon_and_carried_nothing_is_followed_by_the_next_at_once)
{
    ck_assert_uint_eq(work_and_lose(0), 0);
    ck_assert_uint_eq(dialer.at, 1);
    ck_assert_uint_eq(work_and_lose(0), 0);
    ck_assert_uint_eq(dialer.at, 2);
    try_one();
    enter();
    nqi_dialer_worked(&dialer, false);
    dialer.random = 3; /* which makes no pause of 0 */
    nqi_dialer_failed(&dialer, "nobody is there");
    leave();
    ck_assert_uint_gt(wait_ms(101), 0);
    ck_assert_uint_eq(dialer.at, 0);
}
END_TEST

/* ---- endpoints that rest ---- */

/* Endpoints of which nothing but this is looked at.  @param ms  how long each rests yet */
static void rest(nqt_ep resting[3], const unsigned ms[3])
{
    for (size_t i = 0; i < 3; i++) {
        resting[i].rests_until = ms[i] ? nqi_now() + ms[i] * NQI_NS_PER_MS : 0;
        eps[i] = &resting[i];
    }
}

static const struct {
    unsigned ms[3];       /* that each rests */
    size_t at;            /* what failed is the one before */
    size_t next;          /* ... and what is tried then */
    unsigned least, span; /* ms: when */
} rests[] = {
    {{0, 10000, 0}, 1, 2, 0, 1},
    {{0, 10000, 0}, 2, 2, 0, 1},
    {{10000, 0, 0}, 3, 1, 0, 100},
    {{10000, 10000, 0}, 3, 2, 0, 100},
    {{0, 0, 10000}, 2, 0, 0, 100},
    {{10000, 5000, 7000}, 1, 1, 5000, 2501},
    {{10000, 5000, 4000}, 3, 2, 4000, 2001},
    {{60000, 60001, 60002}, 3, 0, 60000, 30001},
};

START_TEST(who_rests_is_passed_over_until_all_do)
{
    nqt_ep resting[3] = {0};
    unsigned ms;

    rest(resting, rests[_i].ms);
    dialer.at = rests[_i].at;
    link_lost();
    nqtest_fake_pass(rests[_i].least * NQI_NS_PER_MS - 1);
    ms = rests[_i].least + wait_ms(rests[_i].span);
    ck_assert_uint_ge(ms, rests[_i].least);
    ck_assert_uint_eq(dialer.at, rests[_i].next);
}
END_TEST

static const struct {
    int code;
    uint32_t retry_ms;
    unsigned least; /* s */
} words[] = {
    {NQT_E_AUTH, 0, 10},
    {NQT_E_CONFIG, 0, 10},
    {NQT_E_AUTH, 9999, 10},
    {NQT_E_AUTH, 20000, 20},
    {NQT_E_REFUSED, 20000, 20},
    {NQT_E_LOST, 5000, 5},
    {NQT_E_LOST, UINT32_MAX, 3600},
};

/* It failed at once, or the link that was begun went down. */
static void fail_once(int code, bool at_once)
{
    nqtest_fake.connect_rc = at_once ? code : 0;
    enter();
    ck_assert_int_eq(nqi_dialer_try(&dialer, &link_), at_once ? NQ_AGAIN : NQ_OK);
    leave();
    nqtest_fake_turn();
    if (at_once)
        return;
    nqtest_fake_emit_inside(&nqtest_fake.links[nqtest_fake.nlinks - 1], NQT_EV_LINK_DOWN, code, "");
    link_lost();
}

START_TEST(a_transport_says_how_long_it_is_left_in_peace)
{
    bool at_once = _i % 2;
    unsigned least = words[_i / 2].least * 1000;

    dialer.count = 1;
    nqtest_fake.retry_ms = words[_i / 2].retry_ms;
    fail_once(words[_i / 2].code, at_once);
    nqtest_fake_pass((least - 1) * NQI_NS_PER_MS);
    ck_assert_uint_eq(times, 0);
    nqtest_fake_pass((least / 2 + 1) * NQI_NS_PER_MS);
    ck_assert_uint_eq(times, 1);
    nqtest_fake.retry_ms = 0; /* another failure is another matter */
    fail_once(NQT_E_REFUSED, at_once);
    wait_ms(201);
}
END_TEST

/* ---- who waits in vain ---- */

static unsigned warnings;
static char warned[128];

static void hear(void *arg, nq_log_level level, const char *line)
{
    (void)arg;
    (void)level;
    warnings++;
    snprintf(warned, sizeof(warned), "%s", line);
}

START_TEST(a_client_without_a_server_says_so_once)
{
    warnings = 0;
    nq_log_set(hear, NULL, NQ_LOG_WARN);
    link_lost();
    nqtest_fake_pass(4 * NQI_NS_PER_S);
    link_lost();
    ck_assert_uint_eq(warnings, 0);
    nqtest_fake_pass(4 * NQI_NS_PER_S);
    link_lost();
    link_lost();
    ck_assert_uint_eq(warnings, 1);
    ck_assert_ptr_nonnull(strstr(warned, "not connected for 8 s, still trying: nobody is there"));
    carry_and_lose(60 * NQI_NS_PER_S); /* it was there: what counts begins anew */
    nqtest_fake_pass(4 * NQI_NS_PER_S);
    link_lost();
    ck_assert_uint_eq(warnings, 1);
    nqtest_fake_pass(4 * NQI_NS_PER_S);
    link_lost();
    ck_assert_uint_eq(warnings, 2);
    nq_log_set(NULL, NULL, NQ_LOG_WARN);
}
END_TEST

START_TEST(nothing_is_tried_after_the_stop)
{
    try_one();
    link_lost();
    enter();
    nqi_dialer_stop(&dialer);
    leave();
    link_lost();
    nqtest_fake_pass(60 * NQI_NS_PER_S);
    ck_assert_uint_eq(times, 0);
}
END_TEST

START_TEST(two_dialers_do_not_return_in_step)
{
    struct nqi_dialer other;

    nqi_dialer_init(&other, eps, 3, &serial, &events, NULL);
    ck_assert_uint_ne(other.random, dialer.random);
    ck_assert_uint_ne(other.random, 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("dial");
    TCase *tcase = tcase_create("dial");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, the_list_is_tried_without_pauses);
    tcase_add_test(tcase, after_the_list_pauses_grow_to_a_limit);
    tcase_add_test(tcase, a_try_that_fails_at_once_is_followed_by_another);
    tcase_add_test(tcase, after_a_link_that_worked_it_is_tried_at_once);
    tcase_add_test(tcase, links_that_end_as_soon_as_they_work_are_tried_less_and_less);
    tcase_add_test(tcase, what_breaks_soon_is_passed_over_until_another_holds);
    tcase_add_test(tcase, what_breaks_soon_and_carried_nothing_is_followed_by_the_next_at_once);
    tcase_add_loop_test(tcase, who_rests_is_passed_over_until_all_do, 0, NQI_LEN(rests));
    tcase_add_loop_test(tcase, a_transport_says_how_long_it_is_left_in_peace, 0,
                        2 * NQI_LEN(words));
    tcase_add_test(tcase, a_client_without_a_server_says_so_once);
    tcase_add_test(tcase, nothing_is_tried_after_the_stop);
    tcase_add_test(tcase, two_dialers_do_not_return_in_step);
    suite_add_tcase(suite, tcase);
    return suite;
}
