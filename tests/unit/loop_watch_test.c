/* core/loop_watch.c: each event and deadline reaches its strand once, and none comes after the end
 * of its watch.  The loop is turned by hand: no token, no room. */
#include "tests/support/alloc.h"
#include "tests/support/loop_rig.h"
#include <check.h>
#include <netqueue/transport.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A descriptor with a watch that counts its callbacks. */
struct bell {
    struct nqi_watch *watch;
    int fd, calls;
    uint32_t events;      /* of the last callback */
    struct bell *deletes; /* the callback deletes this one's watch */
};

static void bell_on_fd(void *arg, uint32_t events)
{
    struct bell *bell = arg;

    bell->calls++;
    bell->events = events;
    if (!bell->deletes)
        return;
    nqi_watch_del(bell->deletes->watch);
    bell->deletes->watch = NULL;
}

static void bell_open(struct bell *bell, uint32_t events)
{
    *bell = (struct bell){.fd = eventfd(0, EFD_NONBLOCK)};
    ck_assert_int_ge(bell->fd, 0);
    ck_assert_int_eq(nqi_fd_add(&nqtest_serial, bell->fd, events, bell_on_fd, bell, &bell->watch),
                     NQ_OK);
}

static void bell_ring(struct bell *bell)
{
    uint64_t one = 1;

    ck_assert_int_eq(write(bell->fd, &one, sizeof(one)), sizeof(one));
}

/* It rings while the strand is taken: what is found lies with the strand, until that is left. */
static void bell_ring_in_strand(struct bell *bell)
{
    bell_open(bell, POLLIN);
    bell_ring(bell);
    ck_assert(nqi_strand_try(nqtest_serial.strand));
    nqi_loop_turn(nqtest_loop);
}

static void bell_close(struct bell *bell)
{
    nqi_watch_del(bell->watch);
    close(bell->fd);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

START_TEST(a_ready_descriptor_is_reported_until_it_is_not)
{
    struct bell bell;
    uint64_t count;

    bell_open(&bell, POLLIN);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 0);
    bell_ring(&bell);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 1);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 1);
    ck_assert_int_eq(bell.calls, 2);
    ck_assert_uint_eq(bell.events, POLLIN);
    ck_assert_int_eq(read(bell.fd, &count, sizeof(count)), sizeof(count));
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 0);
    bell_close(&bell);
}
END_TEST

START_TEST(what_need_not_be_read_is_reported_each_time_that_something_came)
{
    struct bell bell;

    bell_open(&bell, POLLIN | NQT_POLL_EDGE);
    for (int i = 1; i <= 3; i++) {
        bell_ring(&bell);
        ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 1);
        ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 0);
        ck_assert_int_eq(bell.calls, i);
        ck_assert_uint_eq(bell.events, POLLIN);
    }
    bell_close(&bell);
}
END_TEST

START_TEST(a_hang_up_is_reported_unasked)
{
    struct bell bell = {0};
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(nqi_fd_add(&nqtest_serial, ends[0], 0, bell_on_fd, &bell, &bell.watch), NQ_OK);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 0);
    close(ends[1]);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 1);
    ck_assert_uint_eq(bell.events, POLLHUP);
    nqi_watch_del(bell.watch);
    close(ends[0]);
}
END_TEST

START_TEST(a_watch_may_delete_itself_in_its_callback)
{
    struct bell bell;

    bell_open(&bell, POLLIN);
    bell.deletes = &bell;
    bell_ring(&bell);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 1);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 0);
    ck_assert_int_eq(bell.calls, 1);
    close(bell.fd);
}
END_TEST

START_TEST(a_watch_deleted_by_another_of_the_same_turn_is_not_called)
{
    struct bell bells[2];

    for (int i = 0; i < 2; i++) {
        bell_open(&bells[i], POLLIN);
        bell_ring(&bells[i]);
    }
    bells[0].deletes = &bells[1];
    bells[1].deletes = &bells[0];
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(bells[0].calls + bells[1].calls, 1);
    for (int i = 0; i < 2; i++)
        bell_close(&bells[i]);
}
END_TEST

/* What the turn finds while the strand is taken is left there; the owner deletes the watch. */
START_TEST(a_watch_deleted_while_its_work_lies_with_the_strand_is_not_called)
{
    struct bell bell;

    bell_ring_in_strand(&bell);
    nqi_loop_turn(nqtest_loop); /* the event is there still, and queued once */
    nqi_watch_del(bell.watch);
    nqi_strand_leave(nqtest_serial.strand);
    ck_assert_int_eq(bell.calls, 0);
    close(bell.fd);
}
END_TEST

START_TEST(a_slot_used_again_does_not_get_the_events_of_the_last_one)
{
    struct bell old, young;
    int events;

    bell_open(&old, POLLIN);
    bell_ring(&old);
    events = nqi_loop_sleep(nqtest_loop, 0);
    ck_assert_int_eq(events, 1);
    bell_close(&old);
    bell_open(&young, POLLIN);
    nqi_loop_handle(nqtest_loop, events);
    ck_assert_int_eq(old.calls + young.calls, 0);
    bell_close(&young);
}
END_TEST

START_TEST(an_event_that_is_no_longer_asked_for_is_not_reported)
{
    struct bell bell;

    bell_ring_in_strand(&bell);
    ck_assert_int_eq(nqi_fd_mod(bell.watch, 0), NQ_OK);
    nqi_strand_leave(nqtest_serial.strand);
    ck_assert_int_eq(bell.calls, 0);
    ck_assert_int_eq(nqi_fd_mod(bell.watch, POLLIN), NQ_OK);
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(bell.calls, 1);
    bell_close(&bell);
}
END_TEST

START_TEST(more_watches_than_a_batch_all_get_their_turn)
{
    struct bell bells[200];

    for (size_t i = 0; i < NQI_LEN(bells); i++) {
        bell_open(&bells[i], POLLIN);
        bell_ring(&bells[i]);
        bells[i].deletes = &bells[i];
    }
    while (nqi_loop_turn(nqtest_loop))
        ;
    for (size_t i = 0; i < NQI_LEN(bells); i++) {
        ck_assert_int_eq(bells[i].calls, 1);
        close(bells[i].fd);
    }
}
END_TEST

START_TEST(a_descriptor_added_twice_is_refused_and_stays_watched)
{
    struct nqi_watch *second = NULL;
    struct bell bell;

    bell_open(&bell, POLLIN);
    ck_assert_int_eq(nqi_fd_add(&nqtest_serial, bell.fd, POLLIN, bell_on_fd, &bell, &second),
                     NQ_ERR_SYS);
    ck_assert_ptr_null(second);
    bell_ring(&bell);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 1);
    ck_assert_int_eq(bell.calls, 1);
    bell_close(&bell);
}
END_TEST

START_TEST(a_closed_descriptor_is_refused)
{
    struct nqi_watch *watch = NULL;

    ck_assert_int_eq(nqi_fd_add(&nqtest_serial, 9999, POLLIN, bell_on_fd, NULL, &watch),
                     NQ_ERR_SYS);
    ck_assert_ptr_null(watch);
}
END_TEST

/* Who drives would turn in circles as long as a putter sends, say. */
START_TEST(an_event_that_waits_for_its_strand_ends_one_sleep_only)
{
    struct bell bell;
    uint64_t count;

    bell_ring_in_strand(&bell);
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, NQI_NS_PER_MS), 0);
    nqi_strand_leave(nqtest_serial.strand);
    ck_assert_int_eq(bell.calls, 1);
    nqi_loop_turn(nqtest_loop); /* reports go on */
    ck_assert_int_eq(bell.calls, 2);
    ck_assert_int_eq(read(bell.fd, &count, sizeof(count)), sizeof(count));
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 0);
    bell_ring(&bell);
    nqi_loop_turn(nqtest_loop);
    ck_assert_int_eq(bell.calls, 3);
    bell_close(&bell);
}
END_TEST

/* ---- deadlines --------------------------------------------------------------------------------
 */

static void count(void *arg)
{
    ++*(int *)arg;
}

static struct nqi_watch *timer_new(void (*fn)(void *), void *arg)
{
    struct nqi_watch *timer = NULL;

    ck_assert_int_eq(nqi_timer_add(&nqtest_serial, fn, arg, &timer), NQ_OK);
    return timer;
}

/* It fires while the strand is taken: its callback lies there, until the strand is left. */
static void timer_fire_in_strand(struct nqi_watch *timer)
{
    nqi_timer_set(timer, 0);
    ck_assert(nqi_strand_try(nqtest_serial.strand));
    nqi_loop_turn(nqtest_loop);
}

START_TEST(a_deadline_wakes_the_sleeper_and_fires_once)
{
    int64_t at = nqi_now() + 2 * NQI_NS_PER_MS;
    int calls = 0;
    struct nqi_watch *timer = timer_new(count, &calls);

    nqi_timer_set(timer, at);
    ck_assert(nqi_loop_turn(nqtest_loop) == 0 || nqi_now() >= at);
    nqtest_loop_until(&calls, 1);
    ck_assert_int_ge(nqi_now(), at);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 0);
    ck_assert(!nqtest_readable(nqi_loop_fd(nqtest_loop)));
    nqi_watch_del(timer);
}
END_TEST

START_TEST(deadlines_that_are_past_fire_at_once)
{
    static const int64_t past[] = {1, 0, -1, -5 * NQI_NS_PER_S, INT64_MIN};

    for (size_t i = 0; i < NQI_LEN(past); i++) {
        int calls = 0;
        struct nqi_watch *timer = timer_new(count, &calls);

        nqi_timer_set(timer, past[i]);
        ck_assert(nqtest_readable(nqi_loop_fd(nqtest_loop)));
        nqtest_loop_until(&calls, 1);
        nqi_watch_del(timer);
    }
}
END_TEST

START_TEST(deadlines_move_both_ways_and_stop)
{
    int calls[4] = {0};
    struct nqi_watch *timers[4];
    int64_t now = nqi_now();

    for (int i = 0; i < 4; i++)
        timers[i] = timer_new(count, &calls[i]);
    nqi_timer_set(timers[0], now + 3600 * NQI_NS_PER_S);
    nqi_timer_set(timers[1], now);
    nqi_timer_set(timers[2], now);
    nqi_timer_set(timers[3], now + NQI_NS_PER_MS);
    nqi_timer_set(timers[0], now);                       /* earlier */
    nqi_timer_set(timers[1], now + 3600 * NQI_NS_PER_S); /* later */
    nqi_timer_set(timers[2], NQI_NEVER);
    nqtest_loop_until(&calls[3], 1);
    ck_assert_int_eq(calls[0], 1);
    ck_assert_int_eq(calls[1], 0);
    ck_assert_int_eq(calls[2], 0);
    for (int i = 0; i < 4; i++)
        nqi_watch_del(timers[i]);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 0);
}
END_TEST

START_TEST(a_deadline_that_fired_but_moved_before_its_callback_does_not_count)
{
    int calls = 0;
    struct nqi_watch *timer = timer_new(count, &calls);

    timer_fire_in_strand(timer);
    nqi_timer_set(timer, NQI_NEVER);
    nqi_strand_leave(nqtest_serial.strand);
    ck_assert_int_eq(calls, 0);
    nqi_watch_del(timer);
}
END_TEST

START_TEST(a_timer_deleted_while_its_work_lies_with_the_strand_is_not_called)
{
    int calls = 0;
    struct nqi_watch *timer = timer_new(count, &calls);

    timer_fire_in_strand(timer);
    nqi_watch_del(timer);
    nqi_strand_leave(nqtest_serial.strand);
    ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(a_thousand_deadlines_all_fire_once)
{
    static struct nqi_watch *timers[1000];
    int64_t now = nqi_now();
    int calls = 0;

    for (size_t i = 0; i < NQI_LEN(timers); i++) {
        timers[i] = timer_new(count, &calls);
        nqi_timer_set(timers[i], now + (int64_t)(i * 7919 % 1000) * NQI_NS_PER_US);
    }
    nqtest_loop_until(&calls, NQI_LEN(timers));
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 0);
    ck_assert_int_eq(calls, NQI_LEN(timers));
    for (size_t i = 0; i < NQI_LEN(timers); i++)
        nqi_watch_del(timers[i]);
}
END_TEST

struct mover {
    struct nqi_watch *timer;
    int64_t at;
};

static void *mover_main(void *arg)
{
    struct mover *mover = arg;

    while (!nqi_strand_try(nqtest_serial.strand))
        ;
    nqi_timer_set(mover->timer, mover->at);
    if (nqi_strand_leave(nqtest_serial.strand)) /* it fired meanwhile, and its callback ran here */
        nqi_loop_wake(nqtest_loop);
    return NULL;
}

START_TEST(an_earlier_deadline_set_by_another_thread_wakes_the_sleeper)
{
    int calls = 0;
    struct mover mover = {.timer = timer_new(count, &calls)};
    pthread_t thread;

    nqi_timer_set(mover.timer, nqi_now() + 3600 * NQI_NS_PER_S);
    mover.at = nqi_now() + NQI_NS_PER_MS;
    ck_assert_int_eq(pthread_create(&thread, NULL, mover_main, &mover), 0);
    nqtest_loop_until(&calls, 1);
    pthread_join(thread, NULL);
    nqi_watch_del(mover.timer);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

/* The n-th allocation fails: the call says so, and what was there works on. */
START_TEST(without_memory_watches_timers_and_posts_are_refused)
{
    struct nqi_watch *watch = NULL;
    struct bell bell;
    int calls = 0;

    bell_open(&bell, POLLIN);
    nqtest_alloc_fail_at(1);
    ck_assert_int_eq(nqi_fd_add(&nqtest_serial, 0, POLLIN, bell_on_fd, &bell, &watch),
                     NQ_ERR_NOMEM);
    ck_assert(nqtest_alloc_disarm());
    for (unsigned n = 1; n <= 2; n++) {
        nqtest_alloc_fail_at(n);
        ck_assert_int_eq(nqi_timer_add(&nqtest_serial, count, &calls, &watch), NQ_ERR_NOMEM);
        ck_assert(nqtest_alloc_disarm());
    }
    nqtest_alloc_fail_at(1);
    ck_assert_int_eq(nqi_post(&nqtest_serial, count, &calls), NQ_ERR_NOMEM);
    ck_assert(nqtest_alloc_disarm());
    ck_assert_ptr_null(watch);
    bell_ring(&bell);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 1);
    ck_assert_int_eq(bell.calls, 1);
    ck_assert_int_eq(calls, 0);
    bell_close(&bell);
}
END_TEST

/* The table of watches grows at 17; a refused one leaves it whole. */
START_TEST(a_table_that_cannot_grow_keeps_its_watches)
{
    struct nqi_watch *watch = NULL;
    struct bell bells[17];
    int fd = dup(0);

    for (size_t i = 0; i < 16; i++)
        bell_open(&bells[i], POLLIN);
    nqtest_alloc_fail_at(2);
    ck_assert_int_eq(nqi_fd_add(&nqtest_serial, fd, POLLIN, bell_on_fd, NULL, &watch),
                     NQ_ERR_NOMEM);
    ck_assert(nqtest_alloc_disarm());
    bell_open(&bells[16], POLLIN);
    for (size_t i = 0; i < NQI_LEN(bells); i++)
        bell_ring(&bells[i]);
    ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), NQI_LEN(bells));
    for (size_t i = 0; i < NQI_LEN(bells); i++)
        bell_close(&bells[i]);
    close(fd);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("loop_watch");
    TCase *tc = tcase_create("loop_watch");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, nqtest_loop_setup, nqtest_loop_teardown);
    tcase_add_test(tc, a_ready_descriptor_is_reported_until_it_is_not);
    tcase_add_test(tc, what_need_not_be_read_is_reported_each_time_that_something_came);
    tcase_add_test(tc, a_hang_up_is_reported_unasked);
    tcase_add_test(tc, a_watch_may_delete_itself_in_its_callback);
    tcase_add_test(tc, a_watch_deleted_by_another_of_the_same_turn_is_not_called);
    tcase_add_test(tc, a_watch_deleted_while_its_work_lies_with_the_strand_is_not_called);
    tcase_add_test(tc, a_slot_used_again_does_not_get_the_events_of_the_last_one);
    tcase_add_test(tc, an_event_that_is_no_longer_asked_for_is_not_reported);
    tcase_add_test(tc, more_watches_than_a_batch_all_get_their_turn);
    tcase_add_test(tc, a_descriptor_added_twice_is_refused_and_stays_watched);
    tcase_add_test(tc, a_closed_descriptor_is_refused);
    tcase_add_test(tc, an_event_that_waits_for_its_strand_ends_one_sleep_only);
    tcase_add_test(tc, without_memory_watches_timers_and_posts_are_refused);
    tcase_add_test(tc, a_table_that_cannot_grow_keeps_its_watches);
    tcase_add_test(tc, a_deadline_wakes_the_sleeper_and_fires_once);
    tcase_add_test(tc, deadlines_that_are_past_fire_at_once);
    tcase_add_test(tc, deadlines_move_both_ways_and_stop);
    tcase_add_test(tc, a_deadline_that_fired_but_moved_before_its_callback_does_not_count);
    tcase_add_test(tc, a_timer_deleted_while_its_work_lies_with_the_strand_is_not_called);
    tcase_add_test(tc, a_thousand_deadlines_all_fire_once);
    tcase_add_test(tc, an_earlier_deadline_set_by_another_thread_wakes_the_sleeper);
    suite_add_tcase(suite, tc);
    return suite;
}
