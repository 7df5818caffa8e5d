/* plugins/tcp: system calls, ends of connections, options.  Addresses are in tcp_address_test.c. */
#include "tests/plugins/tcp_raw.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

static const struct nqtest_opt server[] = {{"host", "127.0.0.1"}, {"port", "0"}, {NULL, NULL}};
static const struct nqtest_opt client[] = {{"host", "127.0.0.1"}, {NULL, NULL}};

/* Number of connected sockets of this process, and what each says for an option. */
static unsigned each_socket(int level, int option, void (*check)(const void *value, void *arg),
                            void *arg)
{
    unsigned n = 0;

    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        char value[64] = "";

        if (getpeername(fd, (struct sockaddr *)&peer, &len) || peer.ss_family == AF_UNIX)
            continue;
        len = sizeof(value);
        ck_assert_int_eq(getsockopt(fd, level, option, value, &len), 0);
        check(value, arg);
        n++;
    }
    return n;
}

/* ---- system calls ------------------------------------------------------------------------- */

START_TEST(a_send_is_one_call_and_a_small_receive_is_one_call)
{
    struct nqtest_rig rig = nqtest_rig_up(server, client);
    long sends = rig.client_host->send_calls, receives = rig.server_host->recv_calls;
    struct nqt_buf *bufs[20];
    uint32_t taken;

    for (int round = 0; round < 10; round++) {
        for (uint64_t i = 0; i < LEN(bufs); i++)
            bufs[i] = nqtest_buf(rig.s->received + 100 * i, 100, 3);
        ck_assert_int_eq(nqtest_send(rig.c, bufs, LEN(bufs), &taken), NQT_OK);
        ck_assert_uint_eq(taken, LEN(bufs));
        nqtest_until_received(rig.s, 2000u * (unsigned)(round + 1));
    }
    ck_assert_int_eq(rig.client_host->send_calls - sends, 10);
    ck_assert_int_eq(rig.server_host->recv_calls - receives, 10);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(space_that_is_filled_is_read_again_in_the_same_turn)
{
    int fd;
    struct nqtest_rig rig = nqtest_raw_rig(&fd);
    char bytes[1000];

    rig.s->raw = true;
    rig.s->space = 100;
    memset(bytes, 'x', sizeof(bytes));
    ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    while (!rig.s->received)
        nqtest_turn(5);
    ck_assert_uint_eq(rig.s->received, sizeof(bytes));
    close(fd);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(one_turn_receives_about_a_megabyte_at_most)
{
    int fd;
    struct nqtest_rig rig = nqtest_raw_rig(&fd);
    static const char zeros[20000];
    uint64_t before, most = 0;

    rig.s->raw = true;
    rig.s->space = 10000;
    rig.s->refill = 4 << 20;
    rig.s->refill_fd = fd;
    ck_assert_int_eq(send(fd, zeros, sizeof(zeros), 0), sizeof(zeros));
    while (rig.s->received < 4 << 20) {
        before = rig.s->received;
        nqtest_turn(5);
        if (rig.s->received - before > most)
            most = rig.s->received - before;
    }
    ck_assert_uint_le(most, (1 << 20) + 10000);
    close(fd);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(who_asks_has_the_socket_out_of_epoll)
{
    struct nqtest_rig rig = nqtest_rig_up(server, client);
    unsigned before = nqtest_watched(rig.server_host);

    ck_assert_int_eq(nqtest_rx_arm(rig.s, 0), 0);
    ck_assert_uint_eq(nqtest_watched(rig.server_host), before - 1);
    nqtest_push(rig.c, 500, 500, 1, 1);
    while (rig.s->received < rig.c->tx.done)
        nqtest_rx_poll(rig.s);
    nqtest_push(rig.c, 500, 500, 1, 1);
    ck_assert_int_eq(nqtest_rx_arm(rig.s, 1), 0); /* what came meanwhile is not missed */
    ck_assert_uint_eq(nqtest_watched(rig.server_host), before);
    nqtest_until_received(rig.s, rig.c->tx.done);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(who_asks_learns_of_a_reset_also_while_receiving_is_held)
{
    int fd;
    struct nqtest_rig rig = nqtest_raw_rig(&fd);

    ck_assert_int_eq(nqtest_rx_arm(rig.s, 0), 0);
    if (_i)
        ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    nqtest_raw_reset(fd);
    while (!rig.s->downs) {
        nqtest_rx_poll(rig.s);
        if (_i)
            nqtest_turn(0);
    }
    ck_assert_int_eq(rig.s->err.native, ECONNRESET);
    nqtest_rig_free(&rig);
}
END_TEST

static void is_one(const void *value, void *arg)
{
    (void)arg;
    ck_assert_int_ne(*(const int *)value, 0);
}

static void is_number(const void *value, void *arg)
{
    ck_assert_int_eq(*(const int *)value, *(const int *)arg);
}

START_TEST(both_ends_have_the_options_of_the_configuration)
{
    static const struct nqtest_opt opts[] = {{"host", "127.0.0.1"},
                                             {"port", "0"},
                                             {"user_timeout", "1500ms"},
                                             {"keepalive", "7s"},
                                             {NULL, NULL}};
    struct nqtest_rig rig = nqtest_rig_up(opts, opts);
    int user = 1500, idle = 7;

    ck_assert_uint_eq(each_socket(IPPROTO_TCP, TCP_NODELAY, is_one, NULL), 2);
    ck_assert_uint_eq(each_socket(SOL_SOCKET, SO_KEEPALIVE, is_one, NULL), 2);
    each_socket(IPPROTO_TCP, TCP_USER_TIMEOUT, is_number, &user);
    each_socket(IPPROTO_TCP, TCP_KEEPIDLE, is_number, &idle);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- the end ------------------------------------------------------------------------------ */

START_TEST(a_reset_is_a_lost_link_with_its_errno)
{
    int fd;
    struct nqtest_rig rig = nqtest_raw_rig(&fd);

    nqtest_raw_reset(fd);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_LOST);
    ck_assert_int_eq(rig.s->err.native, ECONNRESET);
    ck_assert_str_eq(rig.s->err.domain, "errno");
    ck_assert_ptr_nonnull(strstr(rig.s->err.text, "127.0.0.1:"));
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_reset_is_noticed_while_receiving_is_held)
{
    int fd;
    struct nqtest_rig rig = nqtest_raw_rig(&fd);

    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    nqtest_raw_reset(fd);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_LOST);
    nqtest_rig_free(&rig);
}
END_TEST

/* The socket took the last byte that it had room for: it is full, and nothing is left. */
START_TEST(a_socket_that_is_full_to_the_byte_is_shut_down_once)
{
    int fd;
    struct nqtest_rig rig = nqtest_raw_rig(&fd);
    static char bytes[65536];
    uint32_t taken = 1;

    for (uint64_t at = 0; taken; at++) {
        struct nqt_buf *buf = nqtest_buf(at, 1, 1);

        ck_assert_int_eq(nqtest_send(rig.s, &buf, 1, &taken), NQT_OK);
    }
    ck_assert_int_eq(nqtest_shutdown(rig.s), NQT_OK);
    while (read(fd, bytes, sizeof(bytes)) > 0)
        nqtest_turn(0); /* it has room again */
    close(fd);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    nqtest_rig_free(&rig); /* no timer stays behind */
}
END_TEST

START_TEST(what_came_before_the_end_waits_while_receiving_is_held)
{
    int fd;
    unsigned turns = 0;
    struct nqtest_rig rig = nqtest_raw_rig(&fd);

    rig.s->raw = true;
    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    ck_assert_int_eq(nqtest_shutdown(rig.s), NQT_OK);
    ck_assert_int_eq(write(fd, "last words", 10), 10);
    close(fd);
    nqtest_settle(10);
    for (int i = 0; i < 20; i++)
        turns += nqtest_turn(0);
    ck_assert_uint_eq(turns, 0); /* the hang-up does not keep the loop busy */
    ck_assert_uint_eq(rig.s->downs, 0);
    ck_assert_int_eq(nqtest_hold(rig.s, 0), NQT_OK);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_EOF);
    ck_assert_int_eq(memcmp(rig.s->head, "last words", 10), 0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(what_the_peer_said_before_sending_broke_is_delivered)
{
    int fd;
    struct nqtest_rig rig = nqtest_raw_rig(&fd);
    struct nqt_buf *buf = nqtest_buf(0, 1000, 1);
    uint32_t taken;

    rig.s->raw = true;
    ck_assert_int_eq(nqtest_send(rig.s, &buf, 1, &taken), NQT_OK);
    ck_assert_int_eq(write(fd, "goodbye", 7), 7);
    close(fd); /* with our bytes unread: a reset follows */
    for (int i = 0; i < 3 && !rig.s->short_send; i++) {
        buf = nqtest_buf(0, 1000, 1);
        ck_assert_int_eq(nqtest_send(rig.s, &buf, 1, &taken), NQT_OK);
    }
    ck_assert(rig.s->short_send);
    ck_assert_uint_eq(rig.s->downs, 0);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_uint_eq(rig.s->received, 7);
    ck_assert_int_eq(rig.s->err.code, NQT_E_LOST);
    ck_assert(rig.s->err.native == EPIPE || rig.s->err.native == ECONNRESET);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_send_that_broke_while_receiving_is_held_ends_the_link)
{
    int fd;
    struct nqtest_rig rig = nqtest_raw_rig(&fd);
    struct nqt_buf *buf;
    uint32_t taken;

    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    nqtest_raw_reset(fd);
    buf = nqtest_buf(0, 1000, 1);
    ck_assert_int_eq(nqtest_send(rig.s, &buf, 1, &taken), NQT_OK);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_LOST);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- options ------------------------------------------------------------------------------ */

static const struct {
    bool listen;
    struct nqtest_opt opt[3];
    int code;
    const char *text;
} wrong[] = {
    {false, {{"port", "0"}}, NQT_E_CONFIG, "port"},
    {true, {{"congestion", "no_such_control"}}, NQT_E_CONFIG, "the system has: "},
    {true, {{"congestion", "a_name_that_is_much_too_long"}}, NQT_E_CONFIG, "congestion"},
    {true, {{"host", "127.0.0.1"}, {"family", "ipv6"}}, NQT_E_CONFIG, "family ipv6"},
    {false, {{"host", "::1"}, {"family", "ipv4"}}, NQT_E_CONFIG, "family ipv4"},
    {true, {{"host", ""}}, NQT_E_CONFIG, "host"},
    /* not of this machine */
    {true, {{"host", "198.51.100.1"}, {"port", "0"}}, NQT_E_UNREACHABLE, "198.51.100.1"},
};

START_TEST(a_wrong_option_is_an_error_that_names_it)
{
    int fds = nqtest_fds();

    nqtest_open_is_refused(&tcp_LTX_nqt1_module, wrong[_i].listen, wrong[_i].opt, wrong[_i].code,
                           wrong[_i].text);
    ck_assert_int_eq(nqtest_fds(), fds);
}
END_TEST

static void system_control(char name[64])
{
    int fd = nqtest_socket(0);
    socklen_t len = 63;

    memset(name, 0, 64);
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
    close(fd);
}

static bool can_use(const char *control)
{
    int fd = nqtest_socket(0);
    int rc = setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, control, (socklen_t)strlen(control));

    close(fd);
    return !rc;
}

static void is_text(const void *value, void *arg)
{
    ck_assert_str_eq(value, arg);
}

static const struct {
    const char *host, *option, *expected; /* NULL: the system's */
} controls[] = {
    {"127.0.0.1", "system", NULL},
    {"127.0.0.1", "reno", "reno"},
    {"127.0.0.1", "auto", "cubic"},
    {"*", "auto", "cubic"},
};

START_TEST(the_congestion_control_is_the_one_asked_for)
{
    struct nqtest_opt opts[] = {
        {"host", controls[_i].host}, {"port", "0"}, {"congestion", controls[_i].option}, {0}};
    struct nqtest_opt near[] = {
        {"host", "127.0.0.1"}, {"congestion", controls[_i].option}, {NULL, NULL}};
    struct nqtest_rig rig;
    char expected[64];

    system_control(expected);
    if (controls[_i].expected && !can_use(controls[_i].expected))
        return;
    /* "auto" leaves a system alone that does not pace. */
    if (controls[_i].expected &&
        (strcmp(controls[_i].option, "auto") != 0 || strncmp(expected, "bbr", 3) == 0))
        snprintf(expected, sizeof(expected), "%s", controls[_i].expected);
    rig = nqtest_rig_up(opts, near);
    ck_assert_uint_eq(each_socket(IPPROTO_TCP, TCP_CONGESTION, is_text, expected), 2);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- the suite ---------------------------------------------------------------------------- */

static TCase *socket_tests(void)
{
    TCase *tc = tcase_create("sockets");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_send_is_one_call_and_a_small_receive_is_one_call);
    tcase_add_test(tc, space_that_is_filled_is_read_again_in_the_same_turn);
    tcase_add_test(tc, one_turn_receives_about_a_megabyte_at_most);
    tcase_add_test(tc, who_asks_has_the_socket_out_of_epoll);
    tcase_add_loop_test(tc, who_asks_learns_of_a_reset_also_while_receiving_is_held, 0, 2);
    tcase_add_test(tc, both_ends_have_the_options_of_the_configuration);
    tcase_add_test(tc, a_reset_is_a_lost_link_with_its_errno);
    tcase_add_test(tc, a_reset_is_noticed_while_receiving_is_held);
    tcase_add_test(tc, a_socket_that_is_full_to_the_byte_is_shut_down_once);
    tcase_add_test(tc, what_came_before_the_end_waits_while_receiving_is_held);
    tcase_add_test(tc, what_the_peer_said_before_sending_broke_is_delivered);
    tcase_add_test(tc, a_send_that_broke_while_receiving_is_held_ends_the_link);
    tcase_add_loop_test(tc, a_wrong_option_is_an_error_that_names_it, 0, LEN(wrong));
    tcase_add_loop_test(tc, the_congestion_control_is_the_one_asked_for, 0, LEN(controls));
    return tc;
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tcp");

    nqtest_tested = &nqtest_tcp;
    suite_add_tcase(suite, socket_tests());
    return suite;
}
