/* core/loop_poll.c: one sleeps where the poller says, and everything that ends a sleep in epoll
 * ends that one.  The poller is a semaphore. */
#include "tests/support/loop_rig.h"
#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct {
    sem_t asleep; /* posted by who begins to poll */
    sem_t woken;
    int polls;
    int64_t timeout_ns; /* of the last poll */
    bool post;          /* the poll leaves one */
} bed;

static int posts_ran;

static void count_post(void *arg)
{
    (void)arg;
    posts_ran++;
}

static void bed_poll(void *arg, int64_t timeout_ns)
{
    ck_assert_ptr_eq(arg, &bed);
    bed.polls++;
    bed.timeout_ns = timeout_ns;
    if (bed.post)
        ck_assert_int_eq(nqi_post(&nqtest_serial, count_post, NULL), NQ_OK);
    sem_post(&bed.asleep);
    if (timeout_ns && !bed.post)
        sem_wait(&bed.woken);
}

static void bed_wake(void *arg)
{
    (void)arg;
    sem_post(&bed.woken);
}

static const struct nqi_poller bed_poller = {bed_poll, bed_wake, &bed};

static void kick(void *arg)
{
    nqi_loop_wake(arg);
}

static void setup(void)
{
    nqtest_loop_setup();
    sem_init(&bed.asleep, 0, 0);
    sem_init(&bed.woken, 0, 0);
    bed.polls = 0;
    bed.post = false;
    posts_ran = 0;
    nqi_loop_on_kick(nqtest_loop, kick, nqtest_loop);
    nqi_loop_set_poller(nqtest_loop, &bed_poller);
    nqi_loop_turn(nqtest_loop); /* that it is there is a reason to wake up */
    bed.polls = 0;
    sem_trywait(&bed.asleep);
}

static void teardown(void)
{
    ck_assert(nqi_loop_drop_poller(nqtest_loop, &bed));
    nqtest_loop_teardown();
}

/* ---- who polls -------------------------------------------------------------------------- */

START_TEST(a_turn_looks_into_the_poller_and_a_sleep_waits_there)
{
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(bed.polls, 1);
    ck_assert_int_eq(bed.timeout_ns, 0);
    bed.post = true;
    nqi_loop_handle(nqtest_loop, nqi_loop_sleep(nqtest_loop, NQI_NEVER));
    ck_assert_int_eq(bed.polls, 2);
    ck_assert(bed.timeout_ns == NQI_NEVER);
    ck_assert_int_eq(posts_ran, 1);
}
END_TEST

static void on_fd(void *arg, uint32_t events)
{
    (void)events;
    ++*(int *)arg;
}

START_TEST(with_a_descriptor_one_sleeps_in_epoll)
{
    int fd = eventfd(1, EFD_NONBLOCK), calls = 0;
    struct nqi_watch *watch;

    ck_assert_int_eq(nqi_fd_add(&nqtest_serial, fd, POLLIN, on_fd, &calls, &watch), NQ_OK);
    nqi_loop_handle(nqtest_loop, nqi_loop_sleep(nqtest_loop, NQI_NEVER));
    ck_assert_int_eq(calls, 1);
    ck_assert_int_eq(bed.polls, 0);
    nqi_watch_del(watch);
    close(fd);
    nqi_loop_turn(nqtest_loop); /* the watch woke whoever might have been there */
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(bed.polls, 2);
}
END_TEST

START_TEST(the_first_poller_stays_and_is_dropped_by_its_own_name)
{
    const struct nqi_poller other = {bed_poll, bed_wake, &posts_ran};

    nqi_loop_set_poller(nqtest_loop, &other);
    ck_assert(nqi_loop_drop_poller(nqtest_loop, &posts_ran));
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(bed.polls, 1);
}
END_TEST

START_TEST(a_loop_that_keeps_epoll_takes_no_poller)
{
    ck_assert(nqi_loop_drop_poller(nqtest_loop, &bed));
    nqi_loop_keep_epoll(nqtest_loop);
    nqi_loop_set_poller(nqtest_loop, &bed_poller);
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, NQI_NS_PER_MS), 0);
    ck_assert_int_eq(bed.polls, 0);
}
END_TEST

/* ---- what ends a poll ------------------------------------------------------------------- */

static void *sleeper_main(void *arg)
{
    (void)arg;
    nqi_loop_handle(nqtest_loop, nqi_loop_sleep(nqtest_loop, NQI_NEVER));
    return NULL;
}

static pthread_t sleeper_start(void)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, sleeper_main, NULL), 0);
    sem_wait(&bed.asleep);
    return thread;
}

START_TEST(a_post_ends_it)
{
    pthread_t thread = sleeper_start();

    ck_assert_int_eq(nqi_post(&nqtest_serial, count_post, NULL), NQ_OK);
    pthread_join(thread, NULL);
    ck_assert_int_eq(posts_ran, 1);
}
END_TEST

START_TEST(a_wake_up_before_it_is_not_lost)
{
    nqi_loop_wake(nqtest_loop);
    nqi_loop_handle(nqtest_loop, nqi_loop_sleep(nqtest_loop, NQI_NEVER));
    ck_assert_int_eq(bed.polls, 1);
    ck_assert_int_eq(bed.timeout_ns, 0);
}
END_TEST

/* The keeper watches epoll: what is left there wakes it for nothing. */
START_TEST(what_ended_it_is_not_left_in_epoll)
{
    struct pollfd epoll = {.fd = nqi_loop_epoll(nqtest_loop), .events = POLLIN};
    pthread_t thread = sleeper_start();

    ck_assert_int_eq(nqi_post(&nqtest_serial, count_post, NULL), NQ_OK);
    pthread_join(thread, NULL);
    ck_assert_int_eq(poll(&epoll, 1, 0), 0);
    nqi_loop_wake(nqtest_loop);
    ck_assert_int_eq(poll(&epoll, 1, 0), 1);
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(poll(&epoll, 1, 0), 0);
}
END_TEST

START_TEST(a_watch_ends_it)
{
    pthread_t thread = sleeper_start();
    int fd = eventfd(0, EFD_NONBLOCK), calls = 0;
    struct nqi_watch *watch;

    ck_assert_int_eq(nqi_fd_add(&nqtest_serial, fd, POLLIN, on_fd, &calls, &watch), NQ_OK);
    pthread_join(thread, NULL);
    nqi_watch_del(watch);
    close(fd);
}
END_TEST

static void on_time(void *arg)
{
    ++*(int *)arg;
}

START_TEST(it_lasts_to_the_next_timer_and_an_earlier_one_ends_it)
{
    int calls = 0;
    struct nqi_watch *timer;
    int64_t now = nqi_now();
    pthread_t thread;

    ck_assert_int_eq(nqi_timer_add(&nqtest_serial, on_time, &calls, &timer), NQ_OK);
    nqi_timer_set(timer, now + 3600 * NQI_NS_PER_S);
    thread = sleeper_start();
    ck_assert(bed.timeout_ns > 3500 * NQI_NS_PER_S && bed.timeout_ns < 3601 * NQI_NS_PER_S);
    nqi_timer_set(timer, now);
    pthread_join(thread, NULL);
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(calls, 1);
    nqi_watch_del(timer);
}
END_TEST

/* A timer that is moved away leaves the descriptor to fire; a look must not leave it so. */
START_TEST(a_clock_that_fired_early_is_set_anew)
{
    struct pollfd epoll = {.fd = nqi_loop_epoll(nqtest_loop), .events = POLLIN};
    struct nqi_watch *timer;
    int calls = 0;

    ck_assert_int_eq(nqi_timer_add(&nqtest_serial, on_time, &calls, &timer), NQ_OK);
    nqi_timer_set(timer, nqi_now() + NQI_NS_PER_MS);
    nqi_timer_set(timer, nqi_now() + 3600 * NQI_NS_PER_S);
    ck_assert_int_eq(poll(&epoll, 1, -1), 1);
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(poll(&epoll, 1, 0), 0);
    ck_assert_int_eq(calls, 0);
    nqi_watch_del(timer);
}
END_TEST

START_TEST(it_is_dropped_when_nobody_is_inside)
{
    pthread_t thread = sleeper_start();

    ck_assert(!nqi_loop_drop_poller(nqtest_loop, &bed));
    pthread_join(thread, NULL);
    ck_assert(nqi_loop_drop_poller(nqtest_loop, &bed));
    ck_assert(nqi_loop_drop_poller(nqtest_loop, &bed));
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(bed.polls, 1);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("loop_poll");
    TCase *tc = tcase_create("loop_poll");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_turn_looks_into_the_poller_and_a_sleep_waits_there);
    tcase_add_test(tc, with_a_descriptor_one_sleeps_in_epoll);
    tcase_add_test(tc, the_first_poller_stays_and_is_dropped_by_its_own_name);
    tcase_add_test(tc, a_loop_that_keeps_epoll_takes_no_poller);
    tcase_add_test(tc, a_post_ends_it);
    tcase_add_test(tc, a_wake_up_before_it_is_not_lost);
    tcase_add_test(tc, what_ended_it_is_not_left_in_epoll);
    tcase_add_test(tc, a_watch_ends_it);
    tcase_add_test(tc, it_lasts_to_the_next_timer_and_an_earlier_one_ends_it);
    tcase_add_test(tc, a_clock_that_fired_early_is_set_anew);
    tcase_add_test(tc, it_is_dropped_when_nobody_is_inside);
    suite_add_tcase(suite, tc);
    return suite;
}
