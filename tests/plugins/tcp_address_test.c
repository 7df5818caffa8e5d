/* plugins/tcp: families, names, addresses that do not answer, listening, no descriptors left. */
#include "tests/plugins/tcp_raw.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

static const struct nqtest_opt server[] = {{"host", "127.0.0.1"}, {"port", "0"}, {NULL, NULL}};
static const struct nqtest_opt client[] = {{"host", "127.0.0.1"}, {NULL, NULL}};

/* ---- addresses ---------------------------------------------------------------------------- */

START_TEST(ipv6_works)
{
    static const struct nqtest_opt v6[] = {{"host", "::1"}, {"port", "0"}, {NULL, NULL}};
    struct nqtest_rig rig;

    if (!nqtest_has_ipv6())
        return;
    rig = nqtest_rig_up(v6, v6);
    ck_assert_ptr_eq(strstr(rig.server->name, "[::1]:"), rig.server->name);
    nqtest_push(rig.c, 1000, 100, 1, 2);
    nqtest_until_received(rig.s, 1000);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_star_listens_on_every_address_at_one_port)
{
    static const struct nqtest_opt any[] = {{"host", "*"}, {"port", "0"}, {NULL, NULL}};
    static const struct nqtest_opt v6[] = {{"host", "::1"}, {NULL, NULL}};
    struct nqtest_rig rig = nqtest_rig_up(any, client);
    struct nqtest_ep *other;
    struct nqtest_link *link;

    ck_assert_ptr_nonnull(strstr(rig.server->name, "0.0.0.0:"));
    if (nqtest_has_ipv6()) {
        ck_assert_int_eq(
            nqtest_ep_open(rig.client_host, false, nqtest_with_port(v6, rig.server), &other, NULL),
            0);
        link = nqtest_connect(other, NULL);
        NQTEST_UNTIL(nqtest_is_up, link);
    }
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(localhost_is_both_loopback_addresses_without_a_resolver)
{
    static const struct nqtest_opt local[] = {{"host", "LocalHost"}, {"port", "0"}, {NULL, NULL}};
    static const struct nqtest_opt star[] = {{"host", "*"}, {NULL, NULL}};
    struct nqtest_rig rig = nqtest_rig_up(local, _i ? star : local);
    struct nqtest_ep *second;
    struct nqt_error err = {.size = sizeof(err)};

    ck_assert_ptr_eq(strstr(rig.server->name, "127.0.0.1:"), rig.server->name);
    ck_assert_int_lt(
        nqtest_ep_open(rig.client_host, true, nqtest_with_port(local, rig.server), &second, &err),
        0);
    ck_assert_msg(strstr(err.text, "in use"), "%s", err.text);
    nqtest_rig_free(&rig);
}
END_TEST

/* An endpoint of the client's host for a name, at the server's port. */
static struct nqtest_ep *named(struct nqtest_rig *rig, const char *name, const char *addresses)
{
    struct nqtest_opt opts[] = {{"host", name}, {NULL, NULL}};
    struct nqtest_ep *ep;

    rig->client_host->names[0] = (struct nqtest_opt){name, addresses};
    ck_assert_int_eq(
        nqtest_ep_open(rig->client_host, false, nqtest_with_port(opts, rig->server), &ep, NULL), 0);
    return ep;
}

START_TEST(the_addresses_of_a_name_are_tried_in_turn)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct nqtest_link *link =
        nqtest_connect(named(&rig, "many.test", "127.0.0.7,127.0.0.8,127.0.0.1"), NULL);

    NQTEST_UNTIL(nqtest_is_up, link);
    ck_assert_ptr_eq(strstr(link->peer, "127.0.0.1:"), link->peer);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(when_no_address_of_a_name_works_the_text_says_so)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct nqtest_link *link =
        nqtest_connect(named(&rig, "none.test", "127.0.0.7,127.0.0.8"), NULL);

    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_REFUSED);
    ck_assert_ptr_nonnull(strstr(link->err.text, "the last of 2 addresses of none.test"));
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(an_unknown_name_is_unreachable)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct nqtest_link *link = nqtest_connect(named(&rig, "unknown.test", ""), NULL);

    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(link->err.text, "unknown.test"));
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_family_leaves_the_other_addresses_out)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct nqtest_opt opts[] = {{"host", "six.test"}, {"family", "ipv4"}, {NULL, NULL}};
    struct nqtest_ep *ep;
    struct nqtest_link *link;

    rig.client_host->names[0] = (struct nqtest_opt){"six.test", "::1"};
    ck_assert_int_eq(
        nqtest_ep_open(rig.client_host, false, nqtest_with_port(opts, rig.server), &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_UNREACHABLE);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_while_resolving_does_not_wait_for_the_answer)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct nqtest_ep *ep = named(&rig, "slow.test", "127.0.0.1");
    struct nqtest_link *link;

    rig.client_host->resolve_held = true;
    link = nqtest_connect(ep, NULL);
    nqtest_turn(0);
    nqtest_close(link);
    NQTEST_UNTIL(nqtest_is_closed, link);
    nqtest_ep_close(ep);
    nqtest_settle(3);
    ck_assert_uint_eq(ep->closed, 0); /* the answer will find its memory */
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_resolver_without_an_answer_is_a_time_out)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct nqtest_ep *ep = named(&rig, "slow.test", "127.0.0.1");
    struct nqtest_link *link;

    rig.client_host->resolve_held = true;
    link = nqtest_connect(ep, NULL);
    nqtest_advance(rig.client_host, 11 * SECOND);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(link->err.text, "slow.test"));
    if (_i)
        nqtest_close(link);
    rig.client_host->resolve_held = false;
    nqtest_settle(3); /* the late answer changes nothing */
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(an_address_that_swallows_packets_is_given_up)
{
    int holes[8], fds = nqtest_fds();
    char port[8];
    struct nqtest_opt opts[] = {{"host", "127.0.0.2"}, {"port", port}, {NULL, NULL}};
    struct nqtest_host *host;
    struct nqtest_ep *ep;
    struct nqtest_link *link;

    snprintf(port, sizeof(port), "%u", nqtest_black_hole("127.0.0.2", holes));
    host = nqtest_host_new(&tcp_LTX_nqt1_module, 0);
    ck_assert_int_eq(nqtest_ep_open(host, false, opts, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    nqtest_settle(5);
    ck_assert_uint_eq(link->ups + link->downs, 0);
    nqtest_advance(host, 11 * SECOND);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_UNREACHABLE);
    ck_assert_int_eq(link->err.native, ETIMEDOUT);
    nqtest_host_free(host);
    for (int i = 0; i < 8; i++)
        close(holes[i]);
    ck_assert_int_eq(nqtest_fds(), fds);
}
END_TEST

START_TEST(an_address_that_swallows_packets_does_not_hide_a_good_one)
{
    int holes[8], fds = nqtest_fds();
    char port[8];
    struct nqtest_opt opts[] = {{"host", "127.0.0.1"}, {"port", port}, {NULL, NULL}};
    struct nqtest_opt both[] = {{"host", "both.test"}, {"port", port}, {NULL, NULL}};
    struct nqtest_host *host = nqtest_host_new(&tcp_LTX_nqt1_module, 0);
    struct nqtest_ep *good, *ep;
    struct nqtest_link *link;

    snprintf(port, sizeof(port), "%u", nqtest_black_hole("127.0.0.2", holes));
    ck_assert_int_eq(nqtest_ep_open(host, true, opts, &good, NULL), 0);
    host->names[0] = (struct nqtest_opt){"both.test", "127.0.0.2,127.0.0.1"};
    ck_assert_int_eq(nqtest_ep_open(host, false, both, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    nqtest_settle(3);
    ck_assert_uint_eq(link->ups + link->downs, 0);
    nqtest_advance(host, 6 * SECOND); /* half of the 10 s is the first one's */
    nqtest_settle(20);
    ck_assert_uint_eq(link->ups, 1);
    nqtest_host_free(host);
    for (int i = 0; i < 8; i++)
        close(holes[i]);
    ck_assert_int_eq(nqtest_fds(), fds);
}
END_TEST

START_TEST(close_while_connecting)
{
    int holes[8], fds = nqtest_fds();
    char port[8];
    struct nqtest_opt opts[] = {{"host", "127.0.0.2"}, {"port", port}, {NULL, NULL}};
    struct nqtest_host *host = nqtest_host_new(&tcp_LTX_nqt1_module, 0);
    struct nqtest_ep *ep;
    struct nqtest_link *link;

    snprintf(port, sizeof(port), "%u", nqtest_black_hole("127.0.0.2", holes));
    ck_assert_int_eq(nqtest_ep_open(host, false, opts, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    nqtest_settle(2);
    if (_i)
        ck_assert_int_eq(nqtest_shutdown(link), NQT_OK);
    ck_assert_uint_eq(link->downs, (unsigned)_i);
    nqtest_close(link);
    NQTEST_UNTIL(nqtest_is_closed, link);
    nqtest_host_free(host);
    for (int i = 0; i < 8; i++)
        close(holes[i]);
    ck_assert_int_eq(nqtest_fds(), fds);
}
END_TEST

/* With nobody on an even port of the range that the system gives to callers, one of some thousand
 * calls gets that very port, and would be connected to itself. */
START_TEST(a_client_never_meets_itself)
{
    struct nqtest_host *host = nqtest_host_new(&tcp_LTX_nqt1_module, 0);
    struct sockaddr_in in = nqtest_address("127.0.0.1", 0);
    char port[8];
    struct nqtest_opt opts[] = {{"host", "127.0.0.1"}, {"port", port}, {NULL, NULL}};
    struct nqtest_ep *ep;

    for (uint16_t n = 40000; !ntohs(in.sin_port); n += 2) {
        int fd = nqtest_socket(0);

        in.sin_port = htons(n);
        if (bind(fd, (struct sockaddr *)&in, sizeof(in)))
            in.sin_port = 0; /* somebody's */
        close(fd);
    }
    snprintf(port, sizeof(port), "%u", ntohs(in.sin_port));
    ck_assert_int_eq(nqtest_ep_open(host, false, opts, &ep, NULL), 0);
    for (int i = 0; i < 15000; i++) {
        struct nqtest_link *link = nqtest_connect(ep, NULL);

        NQTEST_UNTIL(nqtest_is_down, link);
        ck_assert_uint_eq(link->ups, 0);
        ck_assert_int_eq(link->err.code, NQT_E_REFUSED);
        nqtest_close(link);
    }
    nqtest_host_free(host);
}
END_TEST

/* ---- listening ---------------------------------------------------------------------------- */

START_TEST(a_server_of_a_name_is_up_when_it_is_resolved)
{
    static const struct nqtest_opt opts[] = {{"host", "here.test"}, {"port", "0"}, {NULL, NULL}};
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct nqtest_ep *ep;

    rig.client_host->names[0] = (struct nqtest_opt){"here.test", "127.0.0.1,127.0.0.2"};
    rig.client_host->resolve_held = true;
    ck_assert_int_eq(nqtest_ep_open(rig.client_host, true, opts, &ep, NULL), 0);
    nqtest_settle(2);
    ck_assert_uint_eq(ep->ups, 0);
    rig.client_host->resolve_held = false;
    NQTEST_UNTIL(nqtest_is_ep_up, ep);
    close(nqtest_raw_connect("127.0.0.1", nqtest_port(ep)));
    close(nqtest_raw_connect("127.0.0.2", nqtest_port(ep)));
    nqtest_settle(2);
    ck_assert_uint_eq(ep->naccepted, 2);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_server_of_a_name_that_cannot_listen_is_down_and_says_why)
{
    static const char *const addresses[] = {"", "127.0.0.1"};
    static const char *const cause[] = {"here.test", "in use"};
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct nqtest_opt opts[] = {{"host", "here.test"}, {NULL, NULL}};
    struct nqtest_ep *ep;

    rig.client_host->names[0] = (struct nqtest_opt){"here.test", addresses[_i]};
    ck_assert_int_eq(
        nqtest_ep_open(rig.client_host, true, nqtest_with_port(opts, rig.server), &ep, NULL), 0);
    NQTEST_UNTIL(nqtest_is_ep_down, ep);
    ck_assert_msg(strstr(ep->err.text, cause[_i]), "%s", ep->err.text);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_server_that_closes_while_resolving_waits_for_the_answer)
{
    static const struct nqtest_opt opts[] = {{"host", "here.test"}, {NULL, NULL}};
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct nqtest_ep *ep;

    rig.client_host->resolve_held = true;
    ck_assert_int_eq(nqtest_ep_open(rig.client_host, true, opts, &ep, NULL), 0);
    nqtest_ep_close(ep);
    nqtest_settle(2);
    ck_assert_uint_eq(ep->closed, 0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(servers_may_share_a_port_when_both_say_so)
{
    static const struct nqtest_opt opts[] = {
        {"host", "127.0.0.1"}, {"port", "0"}, {"reuse_port", "true"}, {NULL, NULL}};
    struct nqtest_rig rig = nqtest_rig_endpoints(opts, client);
    struct nqtest_ep *second;

    ck_assert_int_eq(
        nqtest_ep_open(rig.client_host, true, nqtest_with_port(opts, rig.server), &second, NULL),
        0);
    ck_assert_str_eq(second->name, rig.server->name);
    nqtest_rig_free(&rig);
}
END_TEST

static bool has_warned(const void *host)
{
    return strstr(((const struct nqtest_host *)host)->log, "too many open files");
}

static bool is_accepted_twice(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->naccepted == 2;
}

START_TEST(out_of_descriptors_turns_a_client_away_and_recovers)
{
    struct nqtest_rig rig = nqtest_rig_up(server, client);
    struct rlimit limit, low;
    struct sockaddr_in in = nqtest_address("127.0.0.1", nqtest_port(rig.server));
    int fd = nqtest_socket(0), plug[64], nplug = 0;
    char byte;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){64, limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (nplug < 64 && (plug[nplug] = dup(fd)) >= 0)
        ck_assert_int_eq(fcntl(plug[nplug++], F_SETFD, FD_CLOEXEC), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    NQTEST_UNTIL(has_warned, rig.server_host);
    while (nplug)
        close(plug[--nplug]);
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0); /* closed, not left waiting */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    close(fd);
    ck_assert_uint_eq(rig.server->naccepted, 1);

    fd = nqtest_raw_connect("127.0.0.1", nqtest_port(rig.server));
    nqtest_turn(0);
    ck_assert_uint_eq(rig.server->naccepted, 1); /* it rests */
    nqtest_advance(rig.server_host, SECOND / 10);
    NQTEST_UNTIL(is_accepted_twice, rig.server);
    nqtest_push(rig.c, 100, 10, 1, 1); /* other links did not notice */
    nqtest_until_received(rig.s, 100);
    close(fd);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- the suite ---------------------------------------------------------------------------- */

static TCase *address_tests(void)
{
    TCase *tc = tcase_create("addresses");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, ipv6_works);
    tcase_add_test(tc, a_star_listens_on_every_address_at_one_port);
    tcase_add_loop_test(tc, localhost_is_both_loopback_addresses_without_a_resolver, 0, 2);
    tcase_add_test(tc, the_addresses_of_a_name_are_tried_in_turn);
    tcase_add_test(tc, when_no_address_of_a_name_works_the_text_says_so);
    tcase_add_test(tc, an_unknown_name_is_unreachable);
    tcase_add_test(tc, a_family_leaves_the_other_addresses_out);
    tcase_add_test(tc, close_while_resolving_does_not_wait_for_the_answer);
    tcase_add_loop_test(tc, a_resolver_without_an_answer_is_a_time_out, 0, 2);
    tcase_add_test(tc, an_address_that_swallows_packets_is_given_up);
    tcase_add_test(tc, an_address_that_swallows_packets_does_not_hide_a_good_one);
    tcase_add_loop_test(tc, close_while_connecting, 0, 2);
    tcase_add_test(tc, a_client_never_meets_itself);
    tcase_add_test(tc, a_server_of_a_name_is_up_when_it_is_resolved);
    tcase_add_loop_test(tc, a_server_of_a_name_that_cannot_listen_is_down_and_says_why, 0, 2);
    tcase_add_test(tc, a_server_that_closes_while_resolving_waits_for_the_answer);
    tcase_add_test(tc, servers_may_share_a_port_when_both_say_so);
    tcase_add_test(tc, out_of_descriptors_turns_a_client_away_and_recovers);
    return tc;
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tcp addresses");

    nqtest_tested = &nqtest_tcp;
    suite_add_tcase(suite, address_tests());
    return suite;
}
