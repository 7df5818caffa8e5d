/* include/netqueue/transport_accept.h: over a host that remembers what it was asked for. */
#include "tests/support/suite.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <netqueue/transport_accept.h>
#include <stdbool.h>

#define SECOND INT64_C(1000000000)

static struct {
    char log[NQT_LOG_MAX];
    unsigned lines;
    int64_t now, at_ns;
    void (*fn)(void *);
    void *arg;
    bool no_timer;
    int timers; /* that live */
    int watched;
} seen;

static int core_of_test, serial_of_test, watch_of_test;

static void host_log(nqt_core *core, uint32_t level, const char *text)
{
    ck_assert_ptr_eq(core, (nqt_core *)&core_of_test);
    ck_assert_uint_eq(level, NQT_LOG_WARN);
    snprintf(seen.log, sizeof(seen.log), "%s", text);
    seen.lines++;
}

static int64_t host_now(nqt_core *core)
{
    (void)core;
    return seen.now;
}

static int host_timer_add(nqt_serial *serial, void (*fn)(void *), void *arg, nqt_watch **out)
{
    ck_assert_ptr_eq(serial, (nqt_serial *)&serial_of_test);
    if (seen.no_timer)
        return NQT_E_NOMEM;
    seen.fn = fn;
    seen.arg = arg;
    seen.timers++;
    *out = (nqt_watch *)&watch_of_test;
    return NQT_OK;
}

static void host_timer_set(nqt_watch *watch, int64_t at_ns)
{
    ck_assert_ptr_eq(watch, (nqt_watch *)&watch_of_test);
    seen.at_ns = at_ns;
}

static void host_timer_del(nqt_watch *watch)
{
    ck_assert_ptr_eq(watch, (nqt_watch *)&watch_of_test);
    seen.timers--;
    seen.at_ns = -1;
}

static const struct nqt_host host = {
    .size = sizeof(host),
    .log = host_log,
    .now_ns = host_now,
    .timer_add = host_timer_add,
    .timer_set = host_timer_set,
    .timer_del = host_timer_del,
};

static struct nqt_door door;
static int listener;

static void watch(void *arg, int on)
{
    ck_assert_ptr_eq(arg, &listener);
    seen.watched = on;
}

static int open_door(void)
{
    return nqt_door_open(&door, &host, (nqt_core *)&core_of_test, (nqt_serial *)&serial_of_test,
                         watch, &listener);
}

static void setup(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    memset(&seen, 0, sizeof(seen));
    seen.now = SECOND;
    seen.at_ns = -1;
    seen.watched = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(listener, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(listener, 10), 0);
    ck_assert_int_eq(open_door(), NQT_OK);
}

static void teardown(void)
{
    nqt_door_close(&door);
    nqt_door_close(&door);
    ck_assert_int_eq(seen.timers, 0);
    close(listener);
}

static int knock(void)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, len), 0);
    return fd;
}

static void check_resting(int64_t until)
{
    ck_assert(door.resting);
    ck_assert_int_eq(seen.watched, 0);
    ck_assert_int_eq(seen.at_ns, until);
}

static void pass(int64_t ns)
{
    seen.now += ns;
    if (seen.at_ns >= 0 && seen.at_ns <= seen.now) {
        seen.at_ns = -1;
        seen.fn(seen.arg);
    }
}

static const struct {
    int error;
    const char *advice;
} shortages[] = {{EMFILE, "ulimit -n"}, {ENFILE, "fs.file-max"}};

START_TEST(who_waits_for_longest_is_closed_and_then_the_door_rests)
{
    int first = knock(), second = knock();
    char byte;

    ck_assert_int_ge(door.spare, 0);
    ck_assert(!nqt_door_failed(&door, listener, shortages[_i].error));
    ck_assert_int_eq(recv(first, &byte, 1, 0), 0);
    ck_assert_int_eq(recv(second, &byte, 1, MSG_DONTWAIT), -1);
    ck_assert_int_ge(door.spare, 0); /* there is another one */
    check_resting(SECOND + NQT_DOOR_REST_NS);
    ck_assert_msg(strstr(seen.log, shortages[_i].advice), "%s", seen.log);
    pass(NQT_DOOR_REST_NS - 1);
    ck_assert_int_eq(seen.watched, 0);
    pass(1);
    ck_assert_int_eq(seen.watched, 1);
    ck_assert(!door.resting);
    close(first), close(second);
}
END_TEST

/* Others were faster than it could take a new one in reserve. */
START_TEST(without_a_spare_it_only_rests_and_gets_one_later)
{
    int fd = knock();
    char byte;

    close(door.spare);
    door.spare = -1;
    ck_assert(!nqt_door_failed(&door, listener, EMFILE));
    ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
    check_resting(SECOND + NQT_DOOR_REST_NS);
    pass(NQT_DOOR_REST_NS);
    ck_assert_int_ge(door.spare, 0);
    ck_assert(!nqt_door_failed(&door, listener, EMFILE));
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
    close(fd);
}
END_TEST

START_TEST(nobody_need_wait_when_descriptors_run_out)
{
    ck_assert(!nqt_door_failed(&door, listener, EMFILE));
    ck_assert_int_ge(door.spare, 0);
    check_resting(SECOND + NQT_DOOR_REST_NS);
}
END_TEST

START_TEST(a_lack_that_lasts_is_told_of_now_and_then)
{
    for (unsigned i = 0; i < 100; i++) {
        ck_assert(!nqt_door_failed(&door, listener, EMFILE));
        pass(NQT_DOOR_REST_NS);
    }
    ck_assert_uint_eq(seen.lines, 1);
    pass(NQT_DOOR_SAY_NS);
    ck_assert(!nqt_door_failed(&door, listener, EMFILE));
    ck_assert_uint_eq(seen.lines, 2);
}
END_TEST

START_TEST(a_lack_of_memory_makes_it_rest)
{
    static const int errors[] = {ENOMEM, ENOBUFS};

    ck_assert(!nqt_door_failed(&door, listener, errors[_i]));
    check_resting(SECOND + NQT_DOOR_REST_NS);
    ck_assert_ptr_nonnull(strstr(seen.log, "no memory"));
}
END_TEST

START_TEST(an_empty_backlog_and_lost_connections_are_no_reason_to_rest)
{
    ck_assert(!nqt_door_failed(&door, listener, EAGAIN));
    ck_assert(nqt_door_failed(&door, listener, ECONNABORTED));
    ck_assert(nqt_door_failed(&door, listener, EINTR));
    ck_assert(!door.resting);
    ck_assert_uint_eq(seen.lines, 0);
}
END_TEST

START_TEST(without_a_timer_there_is_no_door)
{
    nqt_door_close(&door);
    seen.no_timer = true;
    ck_assert_int_eq(open_door(), NQT_E_NOMEM);
    ck_assert_int_eq(door.spare, -1);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("transport_accept");
    TCase *tcase = nqtest_case(suite, "door", setup, teardown);

    tcase_add_loop_test(tcase, who_waits_for_longest_is_closed_and_then_the_door_rests, 0, 2);
    tcase_add_test(tcase, without_a_spare_it_only_rests_and_gets_one_later);
    tcase_add_test(tcase, nobody_need_wait_when_descriptors_run_out);
    tcase_add_test(tcase, a_lack_that_lasts_is_told_of_now_and_then);
    tcase_add_loop_test(tcase, a_lack_of_memory_makes_it_rest, 0, 2);
    tcase_add_test(tcase, an_empty_backlog_and_lost_connections_are_no_reason_to_rest);
    tcase_add_test(tcase, without_a_timer_there_is_no_door);
    suite_add_tcase(suite, tcase);
    return suite;
}
