/* core/loop.c: posts run in order, wake-ups end one sleep.  The loop is turned by hand: no token,
 * no room. */
#include "tests/support/loop_rig.h"
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- posts --------------------------------------------------------------------------------------
 */

enum { POSTERS = 4, POSTS = 5000 };

struct poster {
    pthread_t thread;
    int sent, ran;
};

struct letter {
    struct poster *from;
    int number;
};

static int letters_ran;

static void letter_run(void *arg)
{
    struct letter *letter = arg;

    ck_assert(nqi_strand_inside(nqtest_serial.strand));
    ck_assert_int_eq(letter->number, letter->from->ran);
    letter->from->ran++;
    letters_ran++;
    free(letter);
}

static void *poster_main(void *arg)
{
    struct poster *poster = arg;

    for (int i = 0; i < POSTS; i++) {
        struct letter *letter = malloc(sizeof(*letter));

        *letter = (struct letter){poster, i};
        if (nqi_post(&nqtest_serial, letter_run, letter))
            abort();
    }
    return NULL;
}

static void wake(void *arg)
{
    nqi_loop_wake(arg);
}

START_TEST(posts_from_four_threads_run_in_each_ones_order)
{
    struct poster posters[POSTERS] = {0};

    nqi_loop_on_kick(nqtest_loop, wake, nqtest_loop);
    for (int i = 0; i < POSTERS; i++)
        ck_assert_int_eq(pthread_create(&posters[i].thread, NULL, poster_main, &posters[i]), 0);
    nqtest_loop_until(&letters_ran, POSTERS * POSTS);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        ck_assert_int_eq(posters[i].ran, POSTS);
    }
}
END_TEST

static void post_again(void *arg)
{
    int *left = arg;

    if (--*left)
        ck_assert_int_eq(nqi_post(&nqtest_serial, post_again, left), NQ_OK);
}

START_TEST(posts_that_are_left_run_before_the_loop_ends)
{
    int left = 10;

    ck_assert_int_eq(nqi_post(&nqtest_serial, post_again, &left), NQ_OK);
    nqi_loop_free(nqtest_loop);
    ck_assert_int_eq(left, 0);
    ck_assert_int_eq(nqi_loop_new(&nqtest_loop), NQ_OK);
}
END_TEST

static struct nqi_post own;

static void own_again(void *arg)
{
    int *left = arg;

    if (--*left)
        nqi_post_in(&nqtest_serial, &own, own_again, left);
}

START_TEST(a_post_in_ones_own_memory_may_go_again_once_it_runs)
{
    int left = 10;

    nqi_post_in(&nqtest_serial, &own, own_again, &left);
    ck_assert_int_eq(left, 10);
    while (left)
        ck_assert_uint_eq(nqi_loop_turn(nqtest_loop), 1);
    ck_assert(!nqi_loop_pending(nqtest_loop));
}
END_TEST

#define LONG (20 * NQI_NS_PER_MS)

/* ---- waking -------------------------------------------------------------------------------------
 */

START_TEST(a_wake_up_ends_one_sleep)
{
    nqi_loop_wake(nqtest_loop);
    nqi_loop_wake(nqtest_loop);
    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, NQI_NEVER), 1);
    ck_assert_uint_eq(nqi_loop_handle(nqtest_loop, 1), 0);
    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, 0), 0);
}
END_TEST

START_TEST(a_sleep_ends_in_time)
{
    int64_t before = nqi_now();

    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, NQI_NS_PER_MS), 0);
    ck_assert_int_ge(nqi_now() - before, NQI_NS_PER_MS);
}
END_TEST

/* It ends with the loop's clock, in time, and leaves nothing behind. */
START_TEST(a_long_sleep_ends_in_time)
{
    int64_t before = nqi_now();

    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, LONG), 1);
    ck_assert_int_ge(nqi_now() - before, LONG);
    ck_assert_uint_eq(nqi_loop_handle(nqtest_loop, 1), 0);
    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, 0), 0);
}
END_TEST

/* So that sleeps one after the other, each with its time-out, set the clock once. */
START_TEST(a_sleep_that_ended_early_leaves_its_time_to_the_next_one)
{
    int64_t before = nqi_now();

    nqi_loop_wake(nqtest_loop);
    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, LONG), 1);
    ck_assert_uint_eq(nqi_loop_handle(nqtest_loop, 1), 0);
    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, 1000 * LONG), 1);
    ck_assert_int_ge(nqi_now() - before, LONG);
    ck_assert_uint_eq(nqi_loop_handle(nqtest_loop, 1), 0);
    before = nqi_now();
    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, LONG), 1); /* set anew */
    ck_assert_int_ge(nqi_now() - before, LONG);
    nqi_loop_handle(nqtest_loop, 1);
}
END_TEST

/* For the user's own event loop; who sleeps in this one must not be kept awake by it. */
START_TEST(a_held_descriptor_is_readable_and_ends_no_sleep)
{
    int fd = nqi_loop_fd(nqtest_loop);

    ck_assert(!nqtest_readable(fd));
    nqi_loop_hold_readable(nqtest_loop, true);
    nqi_loop_hold_readable(nqtest_loop, true);
    ck_assert(nqtest_readable(fd));
    ck_assert_int_eq(nqi_loop_sleep(nqtest_loop, NQI_NS_PER_MS), 0);
    ck_assert(nqtest_readable(fd));
    nqi_loop_hold_readable(nqtest_loop, false);
    ck_assert(!nqtest_readable(fd));
    nqi_loop_hold_readable(nqtest_loop, false);
    nqi_loop_wake(nqtest_loop);
    ck_assert(nqtest_readable(fd));
    nqi_loop_turn(nqtest_loop);
    ck_assert(!nqtest_readable(fd));
}
END_TEST

/* Fail the n-th descriptor: what was opened before is closed again. */
START_TEST(without_descriptors_there_is_no_loop_and_no_leak)
{
    struct nqi_loop *other = NULL;
    struct rlimit old, tight;
    int next = dup(0), made = -1;

    close(next);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (int n = 0; made < 0; n++) {
        tight = (struct rlimit){.rlim_cur = (rlim_t)(next + n), .rlim_max = old.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
        if (nqi_loop_new(&other) == NQ_OK)
            made = n;
        else
            ck_assert_ptr_null(other);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    ck_assert_int_ge(made, 4);
    nqi_loop_free(other);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("loop");
    TCase *tc = tcase_create("loop");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, nqtest_loop_setup, nqtest_loop_teardown);
    tcase_add_test(tc, posts_from_four_threads_run_in_each_ones_order);
    tcase_add_test(tc, a_post_in_ones_own_memory_may_go_again_once_it_runs);
    tcase_add_test(tc, posts_that_are_left_run_before_the_loop_ends);
    tcase_add_test(tc, a_wake_up_ends_one_sleep);
    tcase_add_test(tc, a_sleep_ends_in_time);
    tcase_add_test(tc, a_long_sleep_ends_in_time);
    tcase_add_test(tc, a_sleep_that_ended_early_leaves_its_time_to_the_next_one);
    tcase_add_test(tc, a_held_descriptor_is_readable_and_ends_no_sleep);
    tcase_add_test(tc, without_descriptors_there_is_no_loop_and_no_leak);
    suite_add_tcase(suite, tc);
    return suite;
}
