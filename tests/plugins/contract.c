/* See contract.h: coming up, closing at any time, what cannot work, and failures of the host. */
#include "tests/plugins/contract.h"
#include "tests/support/broker.h"
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

/* ---- up ------------------------------------------------------------------------------- */

START_TEST(the_descriptor_keeps_the_rules)
{
    const struct nqt_module *module = nqtest_tested->module;
    const struct nqt_ops *ops = module->ops;
    bool stream = module->caps & NQT_CAP_STREAM, message = module->caps & NQT_CAP_MESSAGE;

    ck_assert_uint_eq(module->magic, NQT_MAGIC);
    ck_assert_uint_eq(module->abi_major, NQT_ABI_MAJOR);
    ck_assert(stream || message);
    ck_assert(ops->mod_open && ops->mod_close && ops->ep_open && ops->ep_close && ops->connect);
    ck_assert(ops->attach && ops->send && ops->close && ops->info && ops->ext);
    ck_assert_int_eq(!!ops->rx_hold, !!(module->caps & NQT_CAP_RX_HOLD));
    ck_assert_int_eq(!!ops->shutdown, !!(module->caps & NQT_CAP_DRAIN));
    ck_assert_int_eq(!!ops->loan, !!(module->caps & NQT_CAP_LOAN_TX));
    ck_assert_int_eq(!ops->rx_poll, !ops->rx_arm);
    ck_assert_int_eq(!ops->poll, !ops->poll_wake);
    for (uint32_t i = 0; i < module->nopt; i++) {
        ck_assert_ptr_nonnull(module->opt[i].help);
        ck_assert_int_eq(module->opt[i].type == NQT_OPT_ENUM, !!module->opt[i].choices);
    }
}
END_TEST

START_TEST(a_link_comes_up_on_both_sides_and_knows_its_peer)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_info info = {.size = sizeof(info)};
    struct nqtest_link *ends[] = {rig.c, rig.s};

    for (size_t i = 0; i < LEN(ends); i++) {
        ck_assert_int_eq(nqtest_tested->module->ops->info(ends[i]->plugin, &info), NQT_OK);
        ck_assert_str_eq(info.peer, ends[i]->peer);
        ck_assert(*info.peer && *info.local);
        ck_assert_uint_eq(info.caps & ~nqtest_tested->module->caps, 0);
    }
    nqtest_rig_free(&rig);
}
END_TEST

struct count {
    const unsigned *is;
    unsigned want;
};

static bool is_reached(const void *count)
{
    const struct count *own = count;

    return *own->is >= own->want;
}

/* Until `*is` is `want`, and not beyond it.  A library's threads take their time. */
static void until_count(const unsigned *is, unsigned want)
{
    const struct count count = {is, want};

    NQTEST_UNTIL(is_reached, &count);
    ck_assert_uint_eq(*is, want);
}

START_TEST(many_links_of_one_endpoint_do_not_mix)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqtest_link *links[30];

    for (size_t i = 0; i < LEN(links); i++) {
        links[i] = nqtest_connect(rig.client, NULL);
        NQTEST_UNTIL(nqtest_is_up, links[i]);
        nqtest_push(links[i], 1000 * i, 777, 2, 3);
    }
    until_count(&rig.server->naccepted, LEN(links) + 1);
    for (size_t i = 0; i < LEN(links); i++)
        nqtest_until_received(rig.server->accepted[i + 1], 1000 * i);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- close at any time ------------------------------------------------------------------ */

START_TEST(close_right_after_connect)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tested->server, nqtest_tested->client);
    struct nqtest_link *link = nqtest_connect(rig.client, NULL);

    for (int i = 0; i < _i; i++)
        nqtest_turn(0);
    nqtest_close(link);
    nqtest_close(link);
    NQTEST_UNTIL(nqtest_is_closed, link);
    nqtest_settle(5);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_before_attach_ends_the_other_side)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tested->server, nqtest_tested->client);
    struct nqtest_link *link;

    rig.server->accept = NQTEST_REFUSE;
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_uint_eq(rig.server->naccepted, 0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(an_accepted_link_waits_unread_until_it_is_attached)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tested->server, nqtest_tested->client);
    struct nqtest_link *link, *other;

    rig.server->accept = NQTEST_KEEP;
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_has_waiting, rig.server);
    if (!nqtest_tested->up_when_attached) {
        NQTEST_UNTIL(nqtest_is_up, link);
        nqtest_push(link, 1000, 100, 1, 10);
    }
    nqtest_settle(10);
    other = nqtest_attach(rig.server);
    NQTEST_UNTIL(nqtest_is_up, other);
    NQTEST_UNTIL(nqtest_is_up, link);
    if (nqtest_tested->up_when_attached)
        nqtest_push(link, 1000, 100, 1, 10);
    nqtest_until_received(other, 1000);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(the_endpoint_ends_only_after_links_that_were_never_attached)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tested->server, nqtest_tested->client);

    rig.server->accept = NQTEST_KEEP;
    for (int i = 0; i < 3; i++) {
        struct nqtest_link *link = nqtest_connect(rig.client, NULL);

        if (!nqtest_tested->up_when_attached)
            NQTEST_UNTIL(nqtest_is_up, link);
    }
    until_count(&rig.server->nwaiting, 3);
    nqtest_ep_close(rig.server);
    nqtest_settle(5);
    ck_assert_uint_eq(rig.server->closed, 0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_inside_a_receive)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    rig.s->close_inside = true;
    rig.s->space = 100;
    if (_i)
        rig.s->stop_at = 1; /* and the commit says so, too */
    nqtest_push(rig.c, 1 << 20, 1000, 1, 64);
    NQTEST_UNTIL(nqtest_is_closed, rig.s);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_inside_a_poll)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    if (!nqtest_can_poll())
        goto out;
    rig.s->close_inside = true;
    nqtest_push(rig.c, 1000, 1000, 1, 1);
    while (!rig.s->close_called)
        nqtest_rx_poll(rig.s);
    NQTEST_UNTIL(nqtest_is_closed, rig.s);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_with_a_started_buffer_gives_it_back)
{
    struct nqtest_rig rig = nqtest_rig_tiny();

    if (nqtest_can(NQT_CAP_RX_HOLD))
        ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    nqtest_push(rig.c, 8 << 20, 1 << 20, 4, 8);
    nqtest_close(rig.c);
    NQTEST_UNTIL(nqtest_is_closed, rig.c);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_of_both_sides_at_once)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    nqtest_push(rig.c, 100000, 1000, 1, 10);
    nqtest_push(rig.s, 100000, 1000, 1, 10);
    nqtest_close(_i ? rig.s : rig.c);
    nqtest_close(_i ? rig.c : rig.s);
    NQTEST_UNTIL(nqtest_is_closed, rig.c);
    NQTEST_UNTIL(nqtest_is_closed, rig.s);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(slots_of_a_link_that_is_down_do_no_harm)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_buf *buf = nqtest_buf(0, 10, 1);
    struct nqt_info info = {.size = sizeof(info)};
    uint32_t taken;

    nqtest_close(rig.s);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    ck_assert_int_lt(nqtest_send(rig.c, &buf, 1, &taken), 0);
    if (nqtest_can(NQT_CAP_RX_HOLD)) {
        ck_assert_int_eq(nqtest_hold(rig.c, 1), NQT_OK);
        ck_assert_int_eq(nqtest_hold(rig.c, 0), NQT_OK);
    }
    if (nqtest_can(NQT_CAP_DRAIN))
        ck_assert_int_eq(nqtest_shutdown(rig.c), NQT_OK);
    ck_assert_int_eq(nqtest_tested->module->ops->info(rig.c->plugin, &info), NQT_OK);
    if (nqtest_tested->module->ops->rx_poll)
        ck_assert_int_eq(nqtest_rx_poll(rig.c), 0);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- what cannot work --------------------------------------------------------------------- */

START_TEST(nobody_listens_is_refused_with_the_address_in_the_text)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tested->server, nqtest_tested->client);
    struct nqtest_link *link;

    nqtest_ep_close(rig.server);
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_REFUSED);
    ck_assert_ptr_nonnull(strstr(link->err.text, "is the server running"));
    ck_assert_uint_eq(link->ups, 0);
    nqtest_close(link);
    NQTEST_UNTIL(nqtest_is_closed, link);
    nqtest_rig_free(&rig);
}
END_TEST

/* The second server's attempt at the place of the first: refused, at once or later. */
static struct nqtest_ep *open_second(const struct nqtest_rig *rig)
{
    struct nqt_error err = {.size = sizeof(err)};
    struct nqtest_ep *second = NULL;
    int rc = nqtest_ep_open(rig->client_host, true,
                            nqtest_with_port(nqtest_tested->server, rig->server), &second, &err);

    if (nqtest_tested->in_use_later) {
        ck_assert_int_eq(rc, 0);
        NQTEST_UNTIL(nqtest_is_ep_down, second);
        ck_assert_uint_eq(second->ups, 0);
        err = second->err;
    } else {
        ck_assert_int_lt(rc, 0);
        ck_assert_ptr_null(second);
    }
    ck_assert_msg(strstr(err.text, "in use"), "%s", err.text);
    return second;
}

START_TEST(two_servers_at_one_address_is_an_error_of_the_second)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqtest_ep *second = open_second(&rig);

    /* The first is none the worse, and its place is free when it has gone. */
    nqtest_push(rig.c, 10, 10, 1, 1);
    nqtest_until_received(rig.s, 10);
    nqtest_ep_close(rig.server);
    nqtest_close(rig.s);
    until_count(&rig.server->closed, 1);
    if (!second)
        ck_assert_int_eq(nqtest_ep_open(rig.client_host, true,
                                        nqtest_with_port(nqtest_tested->server, rig.server),
                                        &second, NULL),
                         0);
    NQTEST_UNTIL(nqtest_is_ep_up, second);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_listening_endpoint_does_not_connect)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_error err = {.size = sizeof(err)};

    ck_assert_ptr_null(nqtest_connect(rig.server, &err));
    ck_assert_int_lt(err.code, 0);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- no memory ------------------------------------------------------------------------------ */

/* A whole life in which one allocation (or post, timer, watch) fails.  It may end anywhere, but in
 * good order. */
static void life_with_failure(bool server, bool other, long nth)
{
    int fds = nqtest_fds();
    struct nqtest_host *hosts[2];
    struct nqtest_host *failing;
    struct nqtest_ep *eps[2] = {NULL, NULL};
    struct nqtest_link *link = NULL;

    for (int i = 0; i < 2; i++) {
        hosts[i] = nqtest_host_new(nqtest_tested->module, !other && server == !i ? nth : 0);
        if (!hosts[i])
            hosts[i] = nqtest_host_new(nqtest_tested->module, 0);
    }
    failing = hosts[server ? 0 : 1];
    if (other)
        failing->fail_other = nth;
    if (!nqtest_ep_open(hosts[0], true, nqtest_tested->server, &eps[0], NULL) && eps[0]->ups &&
        !nqtest_ep_open(hosts[1], false, nqtest_with_port(nqtest_tested->client, eps[0]), &eps[1],
                        NULL))
        link = nqtest_connect(eps[1], NULL);
    nqtest_settle(2);
    if (link && link->ups && !link->downs)
        nqtest_push(link, 100000, 10000, 3, 4);
    nqtest_settle(2);
    if (nqtest_can(NQT_CAP_DRAIN) && link && link->ups && !link->downs)
        (void)nqtest_shutdown(link);
    nqtest_settle(2);
    nqtest_host_close(hosts[1]);
    nqtest_host_close(hosts[0]);
    nqtest_host_free(hosts[1]);
    nqtest_host_free(hosts[0]);
    ck_assert_int_eq(nqtest_bufs, 0);
    nqtest_until_fds(fds);
}

START_TEST(the_nth_allocation_fails_on_the_server)
{
    life_with_failure(true, false, _i);
}
END_TEST

START_TEST(the_nth_allocation_fails_on_the_client)
{
    life_with_failure(false, false, _i);
}
END_TEST

START_TEST(the_nth_post_timer_or_watch_fails_on_the_server)
{
    life_with_failure(true, true, _i);
}
END_TEST

START_TEST(the_nth_post_timer_or_watch_fails_on_the_client)
{
    life_with_failure(false, true, _i);
}
END_TEST

/* ---- the suite ------------------------------------------------------------------------------ */

static void contract_life(TCase *tc)
{
    tcase_add_test(tc, the_descriptor_keeps_the_rules);
    tcase_add_test(tc, a_link_comes_up_on_both_sides_and_knows_its_peer);
    tcase_add_test(tc, many_links_of_one_endpoint_do_not_mix);
    tcase_add_loop_test(tc, close_right_after_connect, 0, 4);
    tcase_add_test(tc, close_before_attach_ends_the_other_side);
    tcase_add_test(tc, an_accepted_link_waits_unread_until_it_is_attached);
    tcase_add_test(tc, the_endpoint_ends_only_after_links_that_were_never_attached);
    tcase_add_loop_test(tc, close_inside_a_receive, 0, 2);
    tcase_add_test(tc, close_inside_a_poll);
    tcase_add_test(tc, close_with_a_started_buffer_gives_it_back);
    tcase_add_loop_test(tc, close_of_both_sides_at_once, 0, 2);
    tcase_add_test(tc, slots_of_a_link_that_is_down_do_no_harm);
    tcase_add_test(tc, nobody_listens_is_refused_with_the_address_in_the_text);
    tcase_add_test(tc, two_servers_at_one_address_is_an_error_of_the_second);
    tcase_add_test(tc, a_listening_endpoint_does_not_connect);
}

static void contract_failures(TCase *tc)
{
    tcase_add_loop_test(tc, the_nth_allocation_fails_on_the_server, 1, 9);
    tcase_add_loop_test(tc, the_nth_allocation_fails_on_the_client, 1, 9);
    tcase_add_loop_test(tc, the_nth_post_timer_or_watch_fails_on_the_server, 1, 9);
    tcase_add_loop_test(tc, the_nth_post_timer_or_watch_fails_on_the_client, 1, 9);
}

void nqtest_contract(Suite *suite, const struct nqtest_transport *transport, void (*setup)(void))
{
    TCase *life = tcase_create("contract, life"), *delivery = tcase_create("contract, delivery");
    TCase *failures = tcase_create("contract, failures");

    nqtest_tested = transport;
    tcase_add_checked_fixture(life, setup, nqtest_broker_threads_end);
    tcase_add_checked_fixture(delivery, setup, nqtest_broker_threads_end);
    tcase_add_checked_fixture(failures, setup, nqtest_broker_threads_end);
    tcase_set_timeout(delivery, 60);
    tcase_set_timeout(life, 30);
    tcase_set_timeout(failures, 30);
    contract_life(life);
    nqtest_contract_delivery(delivery);
    contract_failures(failures);
    suite_add_tcase(suite, life);
    suite_add_tcase(suite, delivery);
    suite_add_tcase(suite, failures);
}
