/* core/wait.c and core/wait_life.c: whoever waits is woken, in each mode.  A lost wake-up shows as
 * a test that does not end: Check's time limit fails it. */
#include "core/wait.h"
#include "core/wait_room.h"
#include "tests/support/room.h"
#include <check.h>
#include <netqueue/future.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- waiting ------------------------------------------------------------------------------ */

START_TEST(a_condition_that_holds_needs_no_wait)
{
    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_give(&nqtest.items);
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER), NQ_OK);
    ck_assert_int_eq(atomic_load(&nqtest.items), 0);
    nqtest_room_close();
}
END_TEST

START_TEST(a_time_out_ends_a_wait)
{
    static const enum nqi_room_mode modes[] = {NQI_ROOM_AUTO, NQI_ROOM_THREAD, NQI_ROOM_MANUAL};

    for (size_t i = 0; i < NQI_LEN(modes); i++) {
        int64_t before;

        nqtest_room_open(modes[i], 0);
        ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_never, NULL, 0), NQ_AGAIN);
        before = nqi_now();
        ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_never, NULL, 2 * NQI_NS_PER_MS),
                         NQ_AGAIN);
        ck_assert_int_ge(nqi_now() - before, 2 * NQI_NS_PER_MS);
        nqtest_room_close();
    }
}
END_TEST

START_TEST(the_caller_drives_until_its_condition_holds)
{
    static const enum nqi_room_mode modes[] = {NQI_ROOM_AUTO, NQI_ROOM_THREAD, NQI_ROOM_MANUAL};

    for (size_t i = 0; i < NQI_LEN(modes); i++) {
        struct nqtest_bell bell;

        nqtest_room_open(modes[i], 0);
        nqtest_bell_open(&bell, &nqtest.items);
        for (int n = 0; n < 100; n++) {
            nqtest_bell_ring(&bell);
            ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER),
                             NQ_OK);
        }
        nqtest_bell_close(&bell);
        nqtest_room_close();
    }
}
END_TEST

START_TEST(one_drives_and_the_others_get_theirs)
{
    struct nqtest_getter getters[4];
    struct nqtest_bell bell;

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_bell_open(&bell, &nqtest.items);
    for (size_t i = 0; i < NQI_LEN(getters); i++)
        nqtest_getter_start(&getters[i], nqtest_claim, &nqtest.items, NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->nwaiters) == NQI_LEN(getters));
    for (size_t i = 0; i < NQI_LEN(getters); i++)
        nqtest_bell_ring(&bell);
    for (size_t i = 0; i < NQI_LEN(getters); i++)
        ck_assert_int_eq(nqtest_getter_join(&getters[i]), NQ_OK);
    ck_assert_int_eq(atomic_load(&nqtest.items), 0);
    ck_assert_uint_eq(atomic_load(&nqtest.room->nwaiters), 0);
    nqtest_bell_close(&bell);
    nqtest_room_close();
}
END_TEST

/* The post saw a driver and kicked nobody; the driver leaves without another turn. */
START_TEST(a_post_to_a_leaving_driver_is_run)
{
    sem_t ran;

    sem_init(&ran, 0, 0);
    nqtest_room_open(NQI_ROOM_AUTO, 0);
    NQTEST_UNTIL(nqi_token_try(nqtest.room));
    nqtest_post(nqtest_post_semaphore, &ran);
    nqi_token_leave(nqtest.room);
    sem_wait(&ran);
    nqtest_room_close();
}
END_TEST

START_TEST(a_post_to_a_leaving_driver_makes_the_manual_descriptor_readable)
{
    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    nqi_room_poll(nqtest.room);
    ck_assert(!nqtest_readable(nqi_loop_fd(nqtest.loop)));
    ck_assert(nqi_token_try(nqtest.room));
    nqtest_post(nqtest_give, &nqtest.items);
    nqi_token_leave(nqtest.room);
    ck_assert(nqtest_readable(nqi_loop_fd(nqtest.loop)));
    nqi_room_poll(nqtest.room);
    ck_assert_int_eq(atomic_load(&nqtest.items), 1);
    ck_assert(!nqtest_readable(nqi_loop_fd(nqtest.loop)));
    nqtest_room_close();
}
END_TEST

static atomic_bool hold_lock; /* `stay` keeps the room's lock until the time has come */
static atomic_llong hold_until;

static bool stay(void *arg)
{
    (void)arg;
    if (atomic_load(&hold_lock))
        NQTEST_UNTIL(nqi_now() > atomic_load(&hold_until));
    return false;
}

/* The first follower is promoted in the moment in which its time is over. */
START_TEST(a_promotion_that_comes_too_late_is_handed_on)
{
    for (int i = 0; i < 5; i++) {
        struct nqtest_getter late, other;
        struct nqtest_bell bell;

        nqtest_room_open(NQI_ROOM_MANUAL, 0);
        nqtest_bell_open(&bell, &nqtest.items);
        ck_assert(nqi_token_try(nqtest.room));
        nqtest_getter_start(&late, stay, NULL, 20 * NQI_NS_PER_MS);
        atomic_store(&hold_until, nqi_now() + 30 * NQI_NS_PER_MS);
        NQTEST_UNTIL(atomic_load(&nqtest.room->nwaiters) == 1 ||
                     nqi_now() > atomic_load(&hold_until));
        nqtest_getter_start(&other, nqtest_claim, &nqtest.items, NQ_FOREVER);
        NQTEST_UNTIL(atomic_load(&nqtest.room->nwaiters) == 2 ||
                     nqi_now() > atomic_load(&hold_until));
        atomic_store(&hold_lock, true);
        nqi_room_notify(nqtest.room);
        atomic_store(&hold_lock, false);
        nqi_token_leave(nqtest.room);
        nqtest_bell_ring(&bell);
        ck_assert_int_eq(nqtest_getter_join(&late), NQ_AGAIN);
        ck_assert_int_eq(nqtest_getter_join(&other), NQ_OK);
        nqtest_bell_close(&bell);
        nqtest_room_close();
    }
}
END_TEST

static void *cancelled_main(void *arg)
{
    int64_t timeout_ns = *(int64_t *)arg;

    pthread_cancel(pthread_self()); /* acted upon at the first cancellation point */
    if (timeout_ns < 0)
        nqi_room_poll(nqtest.room);
    else
        (void)!nqi_room_wait(nqtest.room, nqtest_never, NULL, timeout_ns);
    nqi_room_kick(nqtest.room);
    pthread_testcancel();
    return NULL;
}

START_TEST(a_cancelled_thread_leaves_the_token)
{
    static const int64_t timeouts[] = {-1, 0, NQI_NS_PER_MS};

    for (size_t i = 0; i < NQI_LEN(timeouts); i++) {
        int64_t timeout_ns = timeouts[i];
        pthread_t thread;
        void *result;

        nqtest_room_open(NQI_ROOM_MANUAL, 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, cancelled_main, &timeout_ns), 0);
        ck_assert_int_eq(pthread_join(thread, &result), 0);
        ck_assert_ptr_eq(result, PTHREAD_CANCELED);
        ck_assert_uint_eq(atomic_load(&nqtest.room->token), TOKEN_FREE);
        ck_assert_uint_eq(atomic_load(&nqtest.room->nwaiters), 0);
        nqtest_room_close();
    }
}
END_TEST

static void *cancelled_kicker_main(void *arg)
{
    pthread_cancel(pthread_self());
    (void)!nqi_post(&nqtest.serial, nqtest_post_semaphore,
                    arg); /* ck_assert would be a cancellation point */
    pthread_testcancel();
    return NULL;
}

START_TEST(a_cancelled_thread_still_wakes_the_sleeper_it_promised_to)
{
    struct nqtest_getter getter;
    pthread_t kicker;
    sem_t ran;

    sem_init(&ran, 0, 0);
    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    nqtest_getter_start(&getter, nqtest_claim, &nqtest.items, NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->token) == TOKEN_SLEEP);
    ck_assert_int_eq(pthread_create(&kicker, NULL, cancelled_kicker_main, &ran), 0);
    pthread_join(kicker, NULL);
    sem_wait(&ran);
    nqtest_give_and_tell(&nqtest.items);
    ck_assert_int_eq(nqtest_getter_join(&getter), NQ_OK);
    nqtest_room_close();
}
END_TEST

START_TEST(a_cancelled_getter_takes_its_item_first)
{
    struct nqtest_getter getter;
    void *result;

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_getter_start(&getter, nqtest_claim, &nqtest.items, NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->token) == TOKEN_SLEEP);
    pthread_cancel(getter.thread);
    nqtest_give_and_tell(&nqtest.items);
    ck_assert_int_eq(pthread_join(getter.thread, &result), 0);
    ck_assert_int_eq(atomic_load(&nqtest.items), 0);
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, 0), NQ_AGAIN);
    nqtest_room_close();
}
END_TEST

static struct {
    _Atomic bool kicks, kicked;
} slow;

static void slow_kick(void *arg)
{
    (void)arg;
    atomic_store(&slow.kicks, true);
    for (int i = 0; i < 20000; i++)
        sched_yield();
    atomic_store(&slow.kicked, true);
}

static void *slow_main(void *arg)
{
    (void)!nqi_post(&nqtest.serial, nqtest_post_semaphore, arg);
    return NULL;
}

/* As when an endpoint says on a thread of its library's that it is closed. */
START_TEST(a_room_that_ends_waits_for_who_has_posted_what_let_it_end)
{
    pthread_t poster;
    sem_t ran;

    sem_init(&ran, 0, 0);
    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    nqi_loop_on_kick(nqtest.loop, slow_kick, NULL);
    ck_assert_int_eq(pthread_create(&poster, NULL, slow_main, &ran), 0);
    NQTEST_UNTIL(atomic_load(&slow.kicks));
    nqi_room_poll(nqtest.room);
    sem_wait(&ran);
    nqtest_room_close();
    ck_assert(atomic_load(&slow.kicked));
    pthread_join(poster, NULL);
}
END_TEST

START_TEST(joined_rooms_end_one_after_the_other)
{
    struct nqi_loop *other_loop;
    struct nqi_room *other;

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    ck_assert_int_eq(nqi_loop_new(&other_loop), NQ_OK);
    ck_assert_int_eq(nqi_room_new(other_loop, NQI_ROOM_AUTO, 0, &other), NQ_OK);
    nqi_room_join(nqtest.room, other);
    nqi_room_join(other, nqtest.room); /* twice does no harm */
    nqi_room_notify(nqtest.room);
    nqi_room_free(other);
    nqi_loop_free(other_loop);
    nqi_room_notify(nqtest.room);
    nqtest_room_close();
}
END_TEST

START_TEST(the_shortest_time_out_has_one_look)
{
    struct nqtest_bell bell;

    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    nqtest_bell_open(&bell, &nqtest.items);
    nqtest_bell_ring(&bell);
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, 1), NQ_OK);
    nqtest_bell_close(&bell);
    nqtest_room_close();
}
END_TEST

enum { IMPATIENT = 3, ROUNDS = 300 };

static atomic_int impatient_got, impatient_left;

static void *impatient_main(void *arg)
{
    uint32_t seed = (uint32_t)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        seed = seed * 1664525u + 1013904223u;
        if (nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, (seed >> 8) % 50000 + 1) ==
            NQ_OK)
            atomic_fetch_add(&impatient_got, 1);
    }
    atomic_fetch_sub(&impatient_left, 1);
    return NULL;
}

/* Who was given an item returns with it, even when his time is over in that moment. */
START_TEST(nothing_is_lost_between_a_claim_and_a_time_out)
{
    static const enum nqi_room_mode modes[] = {NQI_ROOM_AUTO, NQI_ROOM_THREAD, NQI_ROOM_MANUAL};

    for (size_t i = 0; i < NQI_LEN(modes); i++) {
        pthread_t threads[IMPATIENT];
        int given = 0;

        atomic_store(&nqtest.items, 0);
        atomic_store(&impatient_got, 0);
        atomic_store(&impatient_left, IMPATIENT);
        nqtest_room_open(modes[i], 0);
        for (uintptr_t n = 0; n < IMPATIENT; n++)
            ck_assert_int_eq(pthread_create(&threads[n], NULL, impatient_main, (void *)n), 0);
        while (atomic_load(&impatient_left)) {
            if (atomic_load(&nqtest.items) == 0 && given++ >= 0)
                nqtest_give_and_tell(&nqtest.items);
            sched_yield();
        }
        for (size_t n = 0; n < IMPATIENT; n++)
            pthread_join(threads[n], NULL);
        ck_assert_int_eq(atomic_load(&impatient_got) + atomic_load(&nqtest.items), given);
        ck_assert_uint_eq(atomic_load(&nqtest.room->nwaiters), 0);
        nqtest_room_close();
    }
}
END_TEST

static void on_signal(int sig)
{
    (void)sig;
}

START_TEST(signals_end_no_wait)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct nqtest_getter driver, follower;

    sigaction(SIGUSR1, &action, NULL);
    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_getter_start(&driver, nqtest_claim, &nqtest.items, NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->token) == TOKEN_SLEEP);
    nqtest_getter_start(&follower, nqtest_claim, &nqtest.items, NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->nwaiters) == 2);
    for (int i = 0; i < 20; i++) {
        pthread_kill(driver.thread, SIGUSR1);
        pthread_kill(follower.thread, SIGUSR1);
        sched_yield();
    }
    nqtest_give(&nqtest.items);
    nqtest_give_and_tell(&nqtest.items);
    ck_assert_int_eq(nqtest_getter_join(&driver), NQ_OK);
    ck_assert_int_eq(nqtest_getter_join(&follower), NQ_OK);
    nqtest_room_close();
}
END_TEST

START_TEST(a_waiter_is_told_of_what_a_joined_room_brought)
{
    struct nqi_loop *other_loop;
    struct nqi_room *other;
    struct nqi_serial other_serial;
    struct nqtest_getter getter;

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    ck_assert_int_eq(nqi_loop_new(&other_loop), NQ_OK);
    ck_assert_int_eq(nqi_room_new(other_loop, NQI_ROOM_AUTO, 0, &other), NQ_OK);
    nqi_room_join(nqtest.room, other);
    other_serial = (struct nqi_serial){.strand = nqtest.serial.strand, .loop = other_loop};
    nqtest_getter_start(&getter, nqtest_claim, &nqtest.items, NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->token) == TOKEN_SLEEP);
    ck_assert_int_eq(nqi_post(&other_serial, nqtest_give, &nqtest.items), NQ_OK);
    ck_assert_int_eq(nqtest_getter_join(&getter), NQ_OK);
    nqi_room_free(other);
    nqi_loop_free(other_loop);
    nqtest_room_close();
}
END_TEST

/* Fail the n-th descriptor: what was opened before is closed again. */
START_TEST(without_descriptors_there_is_no_room_and_no_leak)
{
    struct rlimit old, tight;
    int next, made = -1;

    ck_assert_int_eq(nqi_loop_new(&nqtest.loop), NQ_OK);
    next = dup(0);
    close(next);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (int n = 0; made < 0; n++) {
        tight = (struct rlimit){.rlim_cur = (rlim_t)(next + n), .rlim_max = old.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
        if (nqi_room_new(nqtest.loop, NQI_ROOM_AUTO, 0, &nqtest.room) == NQ_OK)
            made = n;
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert_int_ge(made, 2);
    nqi_room_free(nqtest.room);
    nqi_room_free(NULL);
    nqi_loop_free(nqtest.loop);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("wait");
    TCase *tc = tcase_create("wait");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_condition_that_holds_needs_no_wait);
    tcase_add_test(tc, a_time_out_ends_a_wait);
    tcase_add_test(tc, the_caller_drives_until_its_condition_holds);
    tcase_add_test(tc, one_drives_and_the_others_get_theirs);
    tcase_add_test(tc, a_post_to_a_leaving_driver_is_run);
    tcase_add_test(tc, a_post_to_a_leaving_driver_makes_the_manual_descriptor_readable);
    tcase_add_test(tc, a_promotion_that_comes_too_late_is_handed_on);
    tcase_add_test(tc, a_cancelled_thread_leaves_the_token);
    tcase_add_test(tc, a_cancelled_thread_still_wakes_the_sleeper_it_promised_to);
    tcase_add_test(tc, a_cancelled_getter_takes_its_item_first);
    tcase_add_test(tc, a_room_that_ends_waits_for_who_has_posted_what_let_it_end);
    tcase_add_test(tc, joined_rooms_end_one_after_the_other);
    tcase_add_test(tc, the_shortest_time_out_has_one_look);
    tcase_add_test(tc, nothing_is_lost_between_a_claim_and_a_time_out);
    tcase_add_test(tc, signals_end_no_wait);
    tcase_add_test(tc, a_waiter_is_told_of_what_a_joined_room_brought);
    tcase_add_test(tc, without_descriptors_there_is_no_room_and_no_leak);
    suite_add_tcase(suite, tc);
    return suite;
}
