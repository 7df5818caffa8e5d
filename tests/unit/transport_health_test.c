/* core/transport_health.c: the core shows what it sees of an endpoint until its transport tells. */
#include "core/transport_inside.h"
#include "tests/support/suite.h"
#include "tests/support/transport_rig.h"
#include <check.h>
#include <string.h>

static struct nqtest_transport *const t = &nqtest_transport;
static struct nq_health_info now;

static void setup(void)
{
    nqtest_transport_setup_endpoint();
    t->strand = nqi_strand_new();
    ck_assert_ptr_nonnull(t->strand);
}

static void teardown(void)
{
    nqi_strand_unref(t->strand);
    nqtest_transport_teardown_endpoint();
}

/* The rig has closed one that went down. */
static void end_link(void)
{
    if (!t->on_link.closed)
        nqtest_transport_close();
}

static void check_state(nq_health_state state, const char *text)
{
    nqi_ep_show_health(t->ep, &now);
    ck_assert_str_eq(now.transport, "fake");
    ck_assert_int_eq(now.state, state);
    ck_assert_str_eq(now.text, text);
}

static void check_counts(uint64_t connects, uint64_t failures)
{
    ck_assert_uint_eq(now.connects, connects);
    ck_assert_uint_eq(now.failures, failures);
}

static void tell(uint32_t state, const char *text)
{
    const struct nqt_health health = {.size = sizeof(health), .state = state, .text = text};

    nqtest_fake.host->health(t->ep, &health);
}

/* ---- what the core sees ----------------------------------------------------------------- */

START_TEST(a_server_is_ready_while_its_endpoint_is_up)
{
    check_state(NQ_HEALTH_IDLE, "");
    nqtest_fake_emit_inside(NULL, NQT_EV_EP_UP, 0, "somewhere:1");
    nqtest_transport_turn();
    check_state(NQ_HEALTH_READY, "somewhere:1");
    nqtest_fake_emit_inside(NULL, NQT_EV_EP_DOWN, NQT_E_SYS, "the broker is gone");
    nqtest_transport_turn();
    check_state(NQ_HEALTH_FAILING, "the broker is gone");
    check_counts(0, 1);
}
END_TEST

START_TEST(links_of_a_server_come_and_go_without_a_word_of_its_health)
{
    nqtest_fake_emit_inside(NULL, NQT_EV_EP_UP, 0, "somewhere:1");
    ck_assert_int_eq(nqtest_transport_connect(), NQ_OK);
    nqtest_transport_up();
    check_state(NQ_HEALTH_READY, "somewhere:1");
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_LOST, "reset");
    nqtest_transport_turn();
    check_state(NQ_HEALTH_READY, "somewhere:1");
    end_link();
}
END_TEST

START_TEST(a_client_is_what_its_link_is)
{
    t->ep->listen = false;
    nqtest_fake_emit_inside(NULL, NQT_EV_EP_UP, 0, NULL);
    nqtest_transport_turn();
    check_state(NQ_HEALTH_IDLE, "");
    ck_assert_int_eq(nqtest_transport_connect(), NQ_OK);
    check_state(NQ_HEALTH_CONNECTING, "");
    nqtest_transport_up();
    nqi_ep_show_health(t->ep, &now);
    ck_assert_int_eq(now.state, NQ_HEALTH_READY);
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_LOST, "reset by peer");
    nqtest_transport_turn();
    check_state(NQ_HEALTH_FAILING, "reset by peer");
    check_counts(1, 1);
    end_link();
    check_state(NQ_HEALTH_FAILING, "reset by peer");
}
END_TEST

START_TEST(a_client_that_lets_go_is_idle)
{
    t->ep->listen = false;
    ck_assert_int_eq(nqtest_transport_connect(), NQ_OK);
    nqtest_transport_up();
    end_link();
    check_state(NQ_HEALTH_IDLE, "");
    check_counts(1, 0);
}
END_TEST

START_TEST(a_client_whose_server_ends_in_good_order_is_idle)
{
    t->ep->listen = false;
    ck_assert_int_eq(nqtest_transport_connect(), NQ_OK);
    nqtest_transport_up();
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_EOF, "closed by the other side");
    nqtest_transport_turn();
    check_state(NQ_HEALTH_IDLE, "closed by the other side");
    end_link();
    check_state(NQ_HEALTH_IDLE, "closed by the other side");
}
END_TEST

START_TEST(a_connect_that_fails_at_once_is_a_failure)
{
    t->ep->listen = false;
    nqtest_fake.connect_rc = NQT_E_NOMEM;
    nqtest_fake.text = "no memory for it";
    ck_assert_int_eq(nqtest_transport_connect(), NQ_ERR_NOMEM);
    check_state(NQ_HEALTH_FAILING, "no memory for it");
    check_counts(1, 1);
}
END_TEST

/* ---- what the transport tells ----------------------------------------------------------- */

START_TEST(what_the_transport_tells_is_all_that_counts)
{
    t->ep->listen = false;
    tell(NQT_HEALTH_READY, "the broker");
    ck_assert_int_eq(nqtest_transport_connect(), NQ_OK);
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_REFUSED, "no such server");
    nqtest_transport_turn();
    check_state(NQ_HEALTH_READY, "the broker");
    check_counts(0, 0);
    end_link();
}
END_TEST

START_TEST(each_way_into_a_state_is_counted_and_timed)
{
    static const nq_health_state ours[] = {NQ_HEALTH_IDLE, NQ_HEALTH_CONNECTING, NQ_HEALTH_READY,
                                           NQ_HEALTH_FAILING, NQ_HEALTH_CLOSED};

    tell(NQT_HEALTH_CLOSED, NULL);
    for (uint32_t i = 0; i < 5; i++) {
        t->ep->health.since = 0;
        tell(i, "first");
        check_state(ours[i], "first");
        ck_assert_int_lt(now.since_ns, nqi_now() / 2);
        t->ep->health.since = 0; /* what is said again is no change */
        tell(i, "again");
        check_state(ours[i], "again");
        ck_assert_int_gt(now.since_ns, nqi_now() / 2);
    }
    check_counts(1, 1);
    tell(NQT_HEALTH_CONNECTING, NULL);
    tell(NQT_HEALTH_FAILING, "no");
    check_state(NQ_HEALTH_FAILING, "no");
    check_counts(2, 2);
}
END_TEST

START_TEST(what_a_later_minor_tells_is_left_alone)
{
    struct nqt_health health = {.size = sizeof(health), .state = NQT_HEALTH_CLOSED + 1};

    tell(NQT_HEALTH_READY, "here");
    nqtest_fake.host->health(t->ep, &health);
    health.size = 4;
    health.state = NQT_HEALTH_IDLE;
    nqtest_fake.host->health(t->ep, &health);
    check_state(NQ_HEALTH_READY, "here");
}
END_TEST

START_TEST(a_long_text_is_cut)
{
    char text[1000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    tell(NQT_HEALTH_FAILING, text);
    nqi_ep_show_health(t->ep, &now);
    ck_assert_uint_eq(strlen(now.text), sizeof(now.text) - 1);
}
END_TEST

START_TEST(every_state_has_a_text)
{
    for (int i = 0; i < NQ_HEALTHS; i++)
        ck_assert_str_ne(nq_health_text((nq_health_state)i), "unknown");
    ck_assert_str_eq(nq_health_text(NQ_HEALTHS), "unknown");
    ck_assert_str_eq(nq_health_text((nq_health_state)-1), "unknown");
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("transport_health");
    TCase *tc = tcase_create("transport_health");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_server_is_ready_while_its_endpoint_is_up);
    tcase_add_test(tc, links_of_a_server_come_and_go_without_a_word_of_its_health);
    tcase_add_test(tc, a_client_is_what_its_link_is);
    tcase_add_test(tc, a_client_that_lets_go_is_idle);
    tcase_add_test(tc, a_client_whose_server_ends_in_good_order_is_idle);
    tcase_add_test(tc, a_connect_that_fails_at_once_is_a_failure);
    tcase_add_test(tc, what_the_transport_tells_is_all_that_counts);
    tcase_add_test(tc, each_way_into_a_state_is_counted_and_timed);
    tcase_add_test(tc, what_a_later_minor_tells_is_left_alone);
    tcase_add_test(tc, a_long_text_is_cut);
    tcase_add_test(tc, every_state_has_a_text);
    suite_add_tcase(suite, tc);
    return suite;
}
