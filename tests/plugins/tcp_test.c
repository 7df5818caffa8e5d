/* plugins/tcp: the contract suite, and what only sockets can do. */
#include "tests/plugins/contract.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)
#define LEN(array) (sizeof(array) / sizeof((array)[0]))

extern const struct nqt_module tcp_LTX_nqt0_module;

static const struct nqtest_opt server[] = {{"host", "127.0.0.1"}, {"port", "0"}, {NULL, NULL}};
static const struct nqtest_opt client[] = {{"host", "127.0.0.1"}, {NULL, NULL}};
static const struct nqtest_opt tiny_server[] = {
    {"host", "127.0.0.1"}, {"port", "0"}, {"receive_buffer", "2048"}, {NULL, NULL}};
static const struct nqtest_opt tiny_client[] = {
    {"host", "127.0.0.1"}, {"send_buffer", "4096"}, {NULL, NULL}};

static const struct nqtest_transport tcp = {
    .module = &tcp_LTX_nqt0_module,
    .server = server,
    .client = client,
    .tiny_server = tiny_server,
    .tiny_client = tiny_client,
    .port = "port",
};

/* ---- sockets of our own ------------------------------------------------------------------- */

static uint16_t port_of(const struct nqtest_ep *ep)
{
    return (uint16_t)atoi(strrchr(ep->name, ':') + 1);
}

static struct sockaddr_in address(const char *host, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    ck_assert_int_eq(inet_pton(AF_INET, host, &in.sin_addr), 1);
    return in;
}

static int raw_socket(int more)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | more, 0);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static int raw_connect(const char *host, uint16_t port)
{
    struct sockaddr_in in = address(host, port);
    int fd = raw_socket(0);

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    return fd;
}

static void raw_reset(int fd)
{
    const struct linger hard = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
}

/* A listener that answers nobody any more: its backlog is full.  `fds` gets 8 descriptors. */
static uint16_t raw_black_hole(const char *host, int fds[8])
{
    struct sockaddr_in in = address(host, 0);
    socklen_t len = sizeof(in);

    fds[0] = raw_socket(0);
    ck_assert_int_eq(bind(fds[0], (struct sockaddr *)&in, sizeof(in)), 0);
    ck_assert_int_eq(listen(fds[0], 0), 0);
    getsockname(fds[0], (struct sockaddr *)&in, &len);
    for (int i = 1; i < 8; i++) {
        fds[i] = raw_socket(SOCK_NONBLOCK);
        (void)!connect(fds[i], (struct sockaddr *)&in, sizeof(in));
    }
    return ntohs(in.sin_port);
}

/* A server of ours and a raw socket as its peer. */
static struct nqtest_rig raw_rig(int *fd)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);

    *fd = raw_connect("127.0.0.1", port_of(rig.server));
    NQTEST_UNTIL(nqtest_has_accepted, rig.server);
    rig.s = rig.server->accepted[0];
    return rig;
}

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

static bool has_ipv6(void)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && !bind(fd, (struct sockaddr *)&in6, sizeof(in6));

    if (fd >= 0)
        close(fd);
    return has;
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
    struct nqtest_rig rig = raw_rig(&fd);
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

static void *write_much(void *arg)
{
    static const char zeros[1 << 20];

    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(send(*(int *)arg, zeros, sizeof(zeros), MSG_NOSIGNAL), sizeof(zeros));
    return NULL;
}

START_TEST(one_turn_receives_about_a_megabyte_at_most)
{
    int fd;
    struct nqtest_rig rig = raw_rig(&fd);
    uint64_t before, most = 0;
    pthread_t writer;

    rig.s->raw = true;
    rig.s->space = 1000;
    ck_assert_int_eq(pthread_create(&writer, NULL, write_much, &fd), 0);
    while (rig.s->received < 16 << 20) {
        before = rig.s->received;
        nqtest_turn(5);
        if (rig.s->received - before > most)
            most = rig.s->received - before;
    }
    pthread_join(writer, NULL);
    ck_assert_uint_le(most, (1 << 20) + 1000);
    close(fd);
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
    struct nqtest_rig rig = raw_rig(&fd);

    raw_reset(fd);
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
    struct nqtest_rig rig = raw_rig(&fd);

    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    raw_reset(fd);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_LOST);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(what_came_before_the_end_waits_while_receiving_is_held)
{
    int fd;
    unsigned turns = 0;
    struct nqtest_rig rig = raw_rig(&fd);

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
    struct nqtest_rig rig = raw_rig(&fd);
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
    struct nqtest_rig rig = raw_rig(&fd);
    struct nqt_buf *buf;
    uint32_t taken;

    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    raw_reset(fd);
    buf = nqtest_buf(0, 1000, 1);
    ck_assert_int_eq(nqtest_send(rig.s, &buf, 1, &taken), NQT_OK);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_LOST);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- addresses ---------------------------------------------------------------------------- */

START_TEST(ipv6_works)
{
    static const struct nqtest_opt v6[] = {{"host", "::1"}, {"port", "0"}, {NULL, NULL}};
    struct nqtest_rig rig;

    if (!has_ipv6())
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
    if (has_ipv6()) {
        ck_assert_int_eq(
            nqtest_ep_open(rig.client_host, false, nqtest_with_port(v6, rig.server), &other, NULL),
            0);
        link = nqtest_connect(other, NULL);
        NQTEST_UNTIL(nqtest_is_up, link);
    }
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

    snprintf(port, sizeof(port), "%u", raw_black_hole("127.0.0.2", holes));
    host = nqtest_host_new(&tcp_LTX_nqt0_module, 0);
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
    struct nqtest_host *host = nqtest_host_new(&tcp_LTX_nqt0_module, 0);
    struct nqtest_ep *good, *ep;
    struct nqtest_link *link;

    snprintf(port, sizeof(port), "%u", raw_black_hole("127.0.0.2", holes));
    ck_assert_int_eq(nqtest_ep_open(host, true, opts, &good, NULL), 0);
    host->names[0] = (struct nqtest_opt){"both.test", "127.0.0.2,127.0.0.1"};
    ck_assert_int_eq(nqtest_ep_open(host, false, both, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    nqtest_settle(3);
    ck_assert_uint_eq(link->ups + link->downs, 0);
    nqtest_advance(host, 6 * SECOND); /* half of the 10 s is the first one's */
    NQTEST_UNTIL(nqtest_is_up, link);
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
    struct nqtest_host *host = nqtest_host_new(&tcp_LTX_nqt0_module, 0);
    struct nqtest_ep *ep;
    struct nqtest_link *link;

    snprintf(port, sizeof(port), "%u", raw_black_hole("127.0.0.2", holes));
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
    close(raw_connect("127.0.0.1", port_of(ep)));
    close(raw_connect("127.0.0.2", port_of(ep)));
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
    struct sockaddr_in in = address("127.0.0.1", port_of(rig.server));
    int fd = raw_socket(0), plug[64], nplug = 0;
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

    fd = raw_connect("127.0.0.1", port_of(rig.server));
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

/* ---- options ------------------------------------------------------------------------------ */

static const struct {
    bool listen;
    struct nqtest_opt opt[3];
    const char *text;
} wrong[] = {
    {false, {{"port", "0"}}, "port"},
    {true, {{"congestion", "no_such_control"}}, "the system has: "},
    {true, {{"congestion", "a_name_that_is_much_too_long"}}, "congestion"},
    {true, {{"host", "127.0.0.1"}, {"family", "ipv6"}}, "family ipv6"},
    {false, {{"host", "::1"}, {"family", "ipv4"}}, "family ipv4"},
    {true, {{"host", ""}}, "host"},
    {true, {{"host", "198.51.100.1"}, {"port", "0"}}, "198.51.100.1"}, /* not of this machine */
};

START_TEST(a_wrong_option_is_an_error_that_names_it)
{
    int fds = nqtest_fds();
    struct nqtest_host *host = nqtest_host_new(&tcp_LTX_nqt0_module, 0);
    struct nqtest_ep *ep;
    struct nqt_error err = {.size = sizeof(err)};
    int rc = nqtest_ep_open(host, wrong[_i].listen, wrong[_i].opt, &ep, &err);

    ck_assert_int_lt(rc, 0);
    ck_assert_msg(strstr(err.text, wrong[_i].text), "%s", err.text);
    nqtest_host_free(host);
    ck_assert_int_eq(nqtest_fds(), fds);
}
END_TEST

static void system_control(char name[64])
{
    int fd = raw_socket(0);
    socklen_t len = 63;

    memset(name, 0, 64);
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
    close(fd);
}

static bool can_use(const char *control)
{
    int fd = raw_socket(0);
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
    tcase_add_test(tc, both_ends_have_the_options_of_the_configuration);
    tcase_add_test(tc, a_reset_is_a_lost_link_with_its_errno);
    tcase_add_test(tc, a_reset_is_noticed_while_receiving_is_held);
    tcase_add_test(tc, what_came_before_the_end_waits_while_receiving_is_held);
    tcase_add_test(tc, what_the_peer_said_before_sending_broke_is_delivered);
    tcase_add_test(tc, a_send_that_broke_while_receiving_is_held_ends_the_link);
    tcase_add_loop_test(tc, a_wrong_option_is_an_error_that_names_it, 0, LEN(wrong));
    tcase_add_loop_test(tc, the_congestion_control_is_the_one_asked_for, 0, LEN(controls));
    return tc;
}

static TCase *address_tests(void)
{
    TCase *tc = tcase_create("addresses");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, ipv6_works);
    tcase_add_test(tc, a_star_listens_on_every_address_at_one_port);
    tcase_add_test(tc, the_addresses_of_a_name_are_tried_in_turn);
    tcase_add_test(tc, when_no_address_of_a_name_works_the_text_says_so);
    tcase_add_test(tc, an_unknown_name_is_unreachable);
    tcase_add_test(tc, a_family_leaves_the_other_addresses_out);
    tcase_add_test(tc, close_while_resolving_does_not_wait_for_the_answer);
    tcase_add_loop_test(tc, a_resolver_without_an_answer_is_a_time_out, 0, 2);
    tcase_add_test(tc, an_address_that_swallows_packets_is_given_up);
    tcase_add_test(tc, an_address_that_swallows_packets_does_not_hide_a_good_one);
    tcase_add_loop_test(tc, close_while_connecting, 0, 2);
    tcase_add_test(tc, a_server_of_a_name_is_up_when_it_is_resolved);
    tcase_add_loop_test(tc, a_server_of_a_name_that_cannot_listen_is_down_and_says_why, 0, 2);
    tcase_add_test(tc, a_server_that_closes_while_resolving_waits_for_the_answer);
    tcase_add_test(tc, servers_may_share_a_port_when_both_say_so);
    tcase_add_test(tc, out_of_descriptors_turns_a_client_away_and_recovers);
    return tc;
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tcp");

    nqtest_contract(suite, &tcp, NULL);
    suite_add_tcase(suite, socket_tests());
    suite_add_tcase(suite, address_tests());
    return suite;
}
