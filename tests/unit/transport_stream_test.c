/* include/netqueue/transport_stream.h: over a socket pair, and a host that remembers what it was
 * asked for. */
#include "tests/support/suite.h"
#include <check.h>
#include <fcntl.h>
#include <netqueue/transport_stream.h>
#include <stdbool.h>
#include <stdlib.h>

static struct {
    int fail; /* what fd_add(), fd_mod() and rx_space() answer */
    uint32_t events;
    int watches, calls, unrefs;
    char in[64];
    size_t space, got;
    int commit;  /* what rx_commit() answers */
    bool closes; /* the core closes the link inside of it */
} seen;

static struct nqt_stream stream;
static int other, core_of_test, link_of_test, serial_of_test, watch_of_test;

static int host_fd_add(nqt_serial *serial, int fd, uint32_t events,
                       void (*fn)(void *arg, uint32_t events), void *arg, nqt_watch **out)
{
    ck_assert_ptr_eq(serial, (nqt_serial *)&serial_of_test);
    ck_assert_int_eq(fd, stream.fd);
    ck_assert(fn && arg == &stream);
    if (seen.fail)
        return seen.fail;
    seen.watches++;
    seen.events = events;
    *out = (nqt_watch *)&watch_of_test;
    return NQT_OK;
}

static int host_fd_mod(nqt_watch *watch, uint32_t events)
{
    ck_assert_ptr_eq(watch, (nqt_watch *)&watch_of_test);
    if (!seen.fail)
        seen.events = events;
    return seen.fail;
}

static void host_fd_del(nqt_watch *watch)
{
    ck_assert_ptr_eq(watch, (nqt_watch *)&watch_of_test);
    seen.watches--;
}

static void host_count(nqt_core *core, uint32_t what, int64_t n)
{
    ck_assert_ptr_eq(core, (nqt_core *)&core_of_test);
    ck_assert(what == NQT_COUNT_SEND_CALLS || what == NQT_COUNT_RECV_CALLS);
    seen.calls += (int)n;
}

static int host_rx_space(nqt_link *link, size_t want, struct iovec *iov, uint32_t *niov)
{
    ck_assert_ptr_eq(link, (nqt_link *)&link_of_test);
    ck_assert_uint_eq(want, 0);
    iov[0] = (struct iovec){seen.in, seen.space};
    *niov = 1;
    return seen.fail;
}

static int host_rx_commit(nqt_link *link, size_t n)
{
    ck_assert_ptr_eq(link, (nqt_link *)&link_of_test);
    seen.got = n;
    if (seen.closes)
        nqt_stream_stop(&stream);
    return seen.commit;
}

static const struct nqt_host host = {.size = sizeof(host),
                                     .count = host_count,
                                     .fd_add = host_fd_add,
                                     .fd_mod = host_fd_mod,
                                     .fd_del = host_fd_del,
                                     .rx_space = host_rx_space,
                                     .rx_commit = host_rx_commit};

static void buf_unref(struct nqt_buf *buf)
{
    (void)buf;
    seen.unrefs++;
}

static const struct nqt_buf_ops buf_ops = {.size = sizeof(buf_ops), .unref = buf_unref};

static struct nqt_buf buffer(const struct iovec *seg, uint32_t nseg)
{
    struct nqt_buf buf = {.size = sizeof(buf), .nseg = nseg, .seg = seg, .ops = &buf_ops};

    for (uint32_t i = 0; i < nseg; i++)
        buf.len += seg[i].iov_len;
    return buf;
}

static void on_event(void *arg, uint32_t events)
{
    (void)arg;
    (void)events;
}

static void setup(void)
{
    int fds[2];

    memset(&seen, 0, sizeof(seen));
    seen.space = sizeof(seen.in);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    stream = (struct nqt_stream){.host = &host,
                                 .core = (nqt_core *)&core_of_test,
                                 .cookie = (nqt_link *)&link_of_test,
                                 .fd = fds[0]};
    other = fds[1];
    ck_assert_int_eq(nqt_stream_start(&stream, (nqt_serial *)&serial_of_test, on_event, &stream),
                     NQT_OK);
    ck_assert_uint_eq(seen.events, POLLIN);
}

static void teardown(void)
{
    nqt_stream_stop(&stream);
    nqt_stream_stop(&stream);
    ck_assert_int_eq(seen.watches, 0);
    close(other);
}

static uint32_t send_all(struct nqt_buf **bufs, uint32_t n)
{
    uint32_t taken;
    struct nqt_stream_news news = nqt_stream_send(&stream, bufs, n, &taken);

    ck_assert_int_eq(news.code, NQT_OK);
    return taken;
}

START_TEST(segments_leave_in_order_and_empty_ones_are_nothing)
{
    const struct iovec segs[] = {{"", 0}, {"ab", 2}, {"", 0}, {"c", 1}};
    struct nqt_buf first = buffer(segs, 4), none = buffer(segs, 1), last = buffer(segs + 3, 1);
    struct nqt_buf *bufs[] = {&first, &none, &last};
    char text[8];

    ck_assert_uint_eq(send_all(bufs, 3), 3);
    ck_assert_int_eq(seen.unrefs, 3);
    ck_assert_int_eq(seen.calls, 2);
    ck_assert_int_eq(read(other, text, sizeof(text)), 4);
    ck_assert(!memcmp(text, "abcc", 4));
}
END_TEST

/* What is sent is the numbers of the bytes, which are looked at on the other side. */
START_TEST(a_full_socket_keeps_the_rest_until_there_is_room)
{
    enum { SIZE = 4 << 20 };
    unsigned char *data = malloc(SIZE), *came = malloc(SIZE);
    struct iovec seg = {data, SIZE};
    struct nqt_buf buf = buffer(&seg, 1);
    struct nqt_buf *bufs[] = {&buf, &buf};
    struct nqt_stream_news news = {0};
    size_t have = 0;

    for (size_t i = 0; i < SIZE; i++)
        data[i] = (unsigned char)(i * 7 + i / 251);
    ck_assert_uint_eq(send_all(bufs, 2), 1);
    ck_assert_uint_eq(seen.events, POLLIN | POLLOUT);
    ck_assert_uint_eq(send_all(bufs, 1), 0);
    ck_assert_int_eq(seen.unrefs, 0);
    while (!news.writable) {
        ssize_t n = read(other, came + have, SIZE - have);

        have += n > 0 ? (size_t)n : 0;
        news = nqt_stream_event(&stream, POLLOUT);
        ck_assert_int_eq(news.code, NQT_OK);
    }
    ck_assert_int_eq(seen.unrefs, 1);
    ck_assert_uint_eq(seen.events, POLLIN);
    while (have < SIZE) {
        ssize_t n = read(other, came + have, SIZE - have);

        ck_assert_int_gt(n, 0);
        have += (size_t)n;
    }
    ck_assert(!memcmp(data, came, SIZE));
    free(data);
    free(came);
}
END_TEST

START_TEST(nobody_is_told_writable_who_was_not_refused)
{
    struct nqt_stream_news news = nqt_stream_event(&stream, POLLOUT);

    ck_assert_int_eq(news.writable, 0);
    ck_assert_int_eq(news.code, NQT_OK);
}
END_TEST

START_TEST(a_peer_that_has_gone_is_lost_with_its_errno)
{
    const struct iovec seg = {"x", 1};
    struct nqt_buf buf = buffer(&seg, 1), *bufs[] = {&buf};
    struct nqt_stream_news news;
    uint32_t taken;

    close(other);
    other = -1;
    news = nqt_stream_send(&stream, bufs, 1, &taken);
    ck_assert_int_eq(news.code, NQT_E_LOST);
    ck_assert_int_eq(news.native, EPIPE);
    ck_assert_uint_eq(taken, 1); /* the stream's, and given up with it */
    nqt_stream_stop(&stream);
    ck_assert_int_eq(seen.unrefs, 1);
}
END_TEST

START_TEST(what_came_is_committed_and_the_end_is_eof)
{
    struct nqt_stream_news news;

    ck_assert_int_eq(write(other, "hello", 5), 5);
    seen.space = 3;
    news = nqt_stream_event(&stream, POLLIN);
    ck_assert_int_eq(news.code, NQT_OK);
    ck_assert_uint_eq(seen.got, 3);
    news = nqt_stream_event(&stream, POLLIN);
    ck_assert_uint_eq(seen.got, 2);
    news = nqt_stream_event(&stream, POLLIN); /* nothing there: no harm */
    ck_assert_int_eq(news.code, NQT_OK);
    ck_assert_uint_eq(seen.got, 0);
    shutdown(other, SHUT_WR);
    news = nqt_stream_event(&stream, POLLIN | POLLHUP);
    ck_assert_int_eq(news.code, NQT_E_EOF);
    ck_assert_int_eq(news.native, 0);
}
END_TEST

START_TEST(a_core_that_closes_inside_or_refuses_is_no_news)
{
    struct nqt_stream_news news;

    seen.closes = _i;
    seen.commit = _i ? NQT_OK : NQT_E_CLOSED;
    ck_assert_int_eq(write(other, "x", 1), 1);
    news = nqt_stream_event(&stream, POLLIN);
    ck_assert_int_eq(news.code, NQT_OK);
    ck_assert_uint_eq(seen.got, 1);
}
END_TEST

START_TEST(a_host_that_has_nothing_ends_the_link)
{
    struct nqt_stream_news news;

    seen.fail = NQT_E_NOMEM;
    news = nqt_stream_event(&stream, POLLIN);
    ck_assert_int_eq(news.code, NQT_E_NOMEM);
    nqt_stream_stop(&stream);
    ck_assert_int_eq(nqt_stream_start(&stream, (nqt_serial *)&serial_of_test, on_event, &stream),
                     NQT_E_NOMEM);
    ck_assert_ptr_null(stream.watch);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("transport_stream");
    TCase *tcase = tcase_create("transport_stream");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, segments_leave_in_order_and_empty_ones_are_nothing);
    tcase_add_test(tcase, a_full_socket_keeps_the_rest_until_there_is_room);
    tcase_add_test(tcase, nobody_is_told_writable_who_was_not_refused);
    tcase_add_test(tcase, a_peer_that_has_gone_is_lost_with_its_errno);
    tcase_add_test(tcase, what_came_is_committed_and_the_end_is_eof);
    tcase_add_loop_test(tcase, a_core_that_closes_inside_or_refuses_is_no_news, 0, 2);
    tcase_add_test(tcase, a_host_that_has_nothing_ends_the_link);
    suite_add_tcase(suite, tcase);
    return suite;
}
