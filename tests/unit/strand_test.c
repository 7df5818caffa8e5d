/* core/strand.c: one at a time, first in first out, nothing left behind, settled before each leave.
 */
#include "core/strand.h"
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

static struct nqi_strand *strand;
static int settled; /* inside the strand */

static void settle(void *arg)
{
    ck_assert_ptr_eq(arg, &settled);
    ck_assert(nqi_strand_inside(strand));
    settled++;
}

static void setup(void)
{
    strand = nqi_strand_new();
    ck_assert_ptr_nonnull(strand);
    nqi_strand_on_settle(strand, settle, &settled);
}

static void teardown(void)
{
    nqi_strand_unref(strand);
}

struct job {
    struct nqi_work work;
    int number;
};

static int ran[16], nran;

static void job_run(struct nqi_work *work)
{
    ck_assert(nqi_strand_inside(strand)); /* or the one that it has joined */
    ran[nran++] = NQI_CONTAINER(work, struct job, work)->number;
}

static struct job job_new(int number)
{
    return (struct job){.work = {.run = job_run}, .number = number};
}

START_TEST(who_is_inside_keeps_others_out)
{
    ck_assert(nqi_strand_try(strand));
    ck_assert(nqi_strand_inside(strand));
    ck_assert(!nqi_strand_try(strand));
    ck_assert_uint_eq(nqi_strand_leave(strand), 0);
    ck_assert(!nqi_strand_inside(strand));
    ck_assert_int_eq(settled, 1);
}
END_TEST

START_TEST(work_for_a_free_strand_runs_at_once)
{
    struct job job = job_new(7);

    nqi_strand_run(strand, &job.work);
    ck_assert_int_eq(nran, 1);
    ck_assert_int_eq(ran[0], 7);
    ck_assert_int_eq(settled, 1);
}
END_TEST

START_TEST(work_that_is_left_runs_in_order_and_is_settled_once)
{
    struct job jobs[5];

    ck_assert(nqi_strand_try(strand));
    for (int i = 0; i < 5; i++) {
        jobs[i] = job_new(i);
        if (i % 2)
            nqi_strand_run(strand, &jobs[i].work);
        else
            ck_assert(!nqi_strand_enter_or_push(strand, &jobs[i].work));
    }
    ck_assert_int_eq(nran, 0);
    ck_assert_uint_eq(nqi_strand_leave(strand), 5);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(ran[i], i);
    ck_assert_int_eq(settled, 1);
}
END_TEST

START_TEST(who_may_enter_does_not_leave_the_work)
{
    struct job job = job_new(1);

    ck_assert(nqi_strand_enter_or_push(strand, &job.work));
    ck_assert_uint_eq(nqi_strand_leave(strand), 0);
    ck_assert_int_eq(nran, 0);
}
END_TEST

static struct job next;

static void job_begets(struct nqi_work *work)
{
    job_run(work);
    nqi_strand_run(strand, &next.work);
    ck_assert_int_eq(nran, 1); /* not one inside the other */
}

START_TEST(work_begotten_inside_runs_before_the_strand_is_left)
{
    struct job first = job_new(1);

    next = job_new(2);
    first.work.run = job_begets;
    nqi_strand_run(strand, &first.work);
    ck_assert_int_eq(nran, 2);
    ck_assert_int_eq(ran[1], 2);
    ck_assert_int_eq(settled, 1);
}
END_TEST

static void settle_begets(void *arg)
{
    settle(arg);
    if (settled == 1)
        nqi_strand_run(strand, &next.work);
}

START_TEST(work_begotten_by_settling_is_settled_again)
{
    next = job_new(1);
    nqi_strand_on_settle(strand, settle_begets, &settled);
    ck_assert(nqi_strand_try(strand));
    ck_assert_uint_eq(nqi_strand_leave(strand), 1);
    ck_assert_int_eq(nran, 1);
    ck_assert_int_eq(settled, 2);
}
END_TEST

static void job_free(struct nqi_work *work)
{
    nran++;
    free(NQI_CONTAINER(work, struct job, work));
}

START_TEST(work_may_free_itself)
{
    ck_assert(nqi_strand_try(strand));
    for (int i = 0; i < 3; i++) {
        struct job *job = calloc(1, sizeof(*job));

        job->work.run = job_free;
        ck_assert(!nqi_strand_enter_or_push(strand, &job->work));
    }
    nqi_strand_leave(strand);
    ck_assert_int_eq(nran, 3);
}
END_TEST

START_TEST(a_strand_lives_as_long_as_its_last_reference)
{
    ck_assert_ptr_eq(nqi_strand_ref(strand), strand);
    nqi_strand_unref(strand);
    ck_assert(nqi_strand_try(strand));
    nqi_strand_leave(strand);
    nqi_strand_unref(NULL);
}
END_TEST

/* ---- one joins another ---- */

static struct nqi_strand *home;

static void setup_join(void)
{
    setup();
    home = nqi_strand_new();
    ck_assert_ptr_nonnull(home);
}

static void teardown_join(void)
{
    teardown();
    ck_assert_uint_eq(atomic_load(&home->refs), 1);
    nqi_strand_unref(home);
}

static void settle_joins(void *arg)
{
    settle(arg);
    nqi_strand_join(strand, home);
}

static void join(void)
{
    nqi_strand_on_settle(strand, settle_joins, &settled);
    ck_assert(nqi_strand_try(strand));
    nqi_strand_leave(strand);
    ck_assert_int_eq(settled, 1);
    ck_assert_ptr_eq(nqi_strand_now(strand), home);
}

static int home_settled;

static void settle_home(void *arg)
{
    (void)arg;
    ck_assert(nqi_strand_inside(home));
    home_settled++;
}

START_TEST(who_comes_to_a_joined_strand_comes_to_the_other)
{
    struct job job = job_new(7);

    nqi_strand_on_settle(home, settle_home, NULL);
    join();
    ck_assert(nqi_strand_try(strand));
    ck_assert(nqi_strand_inside(home) && nqi_strand_inside(strand));
    ck_assert(!nqi_strand_try(home));
    ck_assert(!nqi_strand_enter_or_push(strand, &job.work));
    ck_assert_uint_eq(nqi_strand_leave(strand), 1);
    ck_assert(!nqi_strand_inside(home) && !nqi_strand_inside(strand));
    ck_assert_int_eq(home_settled, 1);
    nqi_strand_run(strand, &job.work);
    ck_assert_int_eq(nran, 2);
    ck_assert(nqi_strand_enter_or_push(strand, &job.work));
    ck_assert(!nqi_strand_try(home));
    nqi_strand_leave(home); /* either name will do */
    ck_assert_int_eq(home_settled, 3);
    ck_assert_int_eq(settled, 1);
}
END_TEST

START_TEST(who_is_in_the_other_keeps_those_of_the_first_out)
{
    struct job job = job_new(7);

    join();
    ck_assert(nqi_strand_try(home));
    ck_assert(!nqi_strand_try(strand));
    nqi_strand_run(strand, &job.work);
    ck_assert_int_eq(nran, 0);
    ck_assert_uint_eq(nqi_strand_leave(home), 1);
    ck_assert_int_eq(nran, 1);
}
END_TEST

static struct job late[4];

static void settle_joins_and_is_late(void *arg)
{
    settle_joins(arg);
    for (int i = 0; i < 2; i++)
        nqi_strand_run(home, &late[i].work);
}

/* Left for it after the last look and before it was left, as another thread may. */
static void settle_is_late_and_joins(void *arg)
{
    for (int i = 2; i < 4; i++)
        ck_assert(!nqi_strand_enter_or_push(strand, &late[i].work));
    settle_joins_and_is_late(arg);
}

START_TEST(work_that_was_left_goes_on_in_the_other_in_order)
{
    bool busy = _i;

    for (int i = 0; i < 4; i++)
        late[i] = job_new(i);
    ck_assert(!busy || nqi_strand_try(home));
    nqi_strand_on_settle(strand, settle_is_late_and_joins, &settled);
    ck_assert(nqi_strand_try(strand));
    nqi_strand_leave(strand);
    if (busy) {
        ck_assert_int_eq(nran, 0);
        ck_assert_uint_eq(nqi_strand_leave(home), 4);
    }
    ck_assert_int_eq(nran, 4);
    ck_assert_int_eq(settled, 1);
    ck_assert_int_lt(ran[0], ran[1]); /* each before the other, by whom it came */
    ck_assert_int_eq(ran[0] + ran[1] + ran[2] + ran[3], 6);
}
END_TEST

START_TEST(the_other_lives_as_long_as_the_first)
{
    struct job job = job_new(7);

    join();
    ck_assert_uint_eq(atomic_load(&home->refs), 2);
    nqi_strand_unref(home);
    nqi_strand_run(strand, &job.work);
    ck_assert_int_eq(nran, 1);
    nqi_strand_ref(home);
}
END_TEST

/* ---- threads ----------------------------------------------------------------------------------
 */

enum { THREADS = 4, JOBS = 20000 };

struct worker {
    pthread_t thread;
    int done; /* inside the strand */
    struct job *jobs;
};

static struct worker workers[THREADS];
static int inside, total; /* inside the strand; TSan watches */
static atomic_int started;

static void worker_job_run(struct nqi_work *work)
{
    struct job *job = NQI_CONTAINER(work, struct job, work);
    struct worker *worker = &workers[job->number / JOBS];

    ck_assert_int_eq(inside++, 0);
    ck_assert_int_eq(job->number % JOBS, worker->done);
    worker->done++;
    total++;
    inside--;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    int first = (int)(worker - workers) * JOBS;

    atomic_fetch_add(&started, 1);
    while (atomic_load(&started) < THREADS)
        sched_yield();
    for (int i = 0; i < JOBS; i++) {
        worker->jobs[i] = (struct job){.work = {.run = worker_job_run}, .number = first + i};
        nqi_strand_run(strand, &worker->jobs[i].work);
    }
    return NULL;
}

START_TEST(each_threads_work_runs_in_its_order_whoever_runs_it)
{
    for (int i = 0; i < THREADS; i++) {
        workers[i].jobs = calloc(JOBS, sizeof(*workers[i].jobs));
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    ck_assert(nqi_strand_try(strand)); /* nobody is inside, so nothing is left */
    ck_assert_int_eq(total, THREADS * JOBS);
    nqi_strand_leave(strand);
    ck_assert_int_le(settled, THREADS * JOBS + 1);
    for (int i = 0; i < THREADS; i++)
        free(workers[i].jobs);
}
END_TEST

/* The same, and in the midst of it the strand joins another, in which work is done, too. */

enum { JOINS = 300, SOME = 40 };

static struct nqi_strand *from, *into; /* of this round */
static pthread_barrier_t barrier;
static atomic_bool joined;

static void settle_joins_once(void *arg)
{
    (void)arg;
    if (atomic_load(&started) > 2 && !atomic_exchange(&joined, true))
        nqi_strand_join(from, into);
}

static void joined_job_run(struct nqi_work *work)
{
    ck_assert(nqi_strand_inside(into) || nqi_strand_inside(from));
    atomic_fetch_add(&started, 1);
    if (NQI_CONTAINER(work, struct job, work)->number >= 0)
        NQI_CONTAINER(work, struct job, work)->number = -1;
    else
        ck_abort_msg("it ran twice");
}

/* What runs in `into` shares its numbers; before the join the two are not one. */
static void into_job_run(struct nqi_work *work)
{
    if (inside++)
        ck_abort_msg("two at a time");
    joined_job_run(work);
    total++;
    inside--;
}

static void from_job_run(struct nqi_work *work)
{
    if (atomic_load(&joined) && nqi_strand_now(from) == into)
        into_job_run(work);
    else
        joined_job_run(work);
}

static void *joiner_main(void *arg)
{
    struct worker *worker = arg;
    bool home_is = (worker - workers) % 2;

    for (int round = 0; round < JOINS; round++) {
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < SOME; i++) {
            worker->jobs[i] =
                (struct job){.work = {.run = home_is ? into_job_run : from_job_run}, .number = i};
            nqi_strand_run(home_is ? into : from, &worker->jobs[i].work);
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void joiner_check(void)
{
    ck_assert(nqi_strand_try(into));
    ck_assert(nqi_strand_inside(from));
    nqi_strand_leave(into);
    for (int i = 0; i < THREADS; i++)
        for (int k = 0; k < SOME; k++)
            if (workers[i].jobs[k].number != -1)
                ck_abort_msg("it did not run");
}

START_TEST(work_of_many_threads_runs_once_while_a_strand_joins_another)
{
    ck_assert_int_eq(pthread_barrier_init(&barrier, NULL, THREADS + 1), 0);
    for (int i = 0; i < THREADS; i++) {
        workers[i].jobs = calloc(SOME, sizeof(*workers[i].jobs));
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, joiner_main, &workers[i]), 0);
    }
    for (int round = 0; round < JOINS; round++) {
        from = nqi_strand_new();
        into = nqi_strand_new();
        atomic_store(&started, 0);
        atomic_store(&joined, false);
        nqi_strand_on_settle(from, settle_joins_once, NULL);
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        joiner_check();
        nqi_strand_unref(into);
        nqi_strand_unref(from);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        free(workers[i].jobs);
    }
    pthread_barrier_destroy(&barrier);
}
END_TEST

Suite *nqtest_suite(void)
{
    TCase *joins = tcase_create("join");
    Suite *suite = suite_create("strand");
    TCase *tc = tcase_create("strand");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, who_is_inside_keeps_others_out);
    tcase_add_test(tc, work_for_a_free_strand_runs_at_once);
    tcase_add_test(tc, work_that_is_left_runs_in_order_and_is_settled_once);
    tcase_add_test(tc, who_may_enter_does_not_leave_the_work);
    tcase_add_test(tc, work_begotten_inside_runs_before_the_strand_is_left);
    tcase_add_test(tc, work_begotten_by_settling_is_settled_again);
    tcase_add_test(tc, work_may_free_itself);
    tcase_add_test(tc, a_strand_lives_as_long_as_its_last_reference);
    tcase_add_test(tc, each_threads_work_runs_in_its_order_whoever_runs_it);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(joins, 30);
    tcase_add_checked_fixture(joins, setup_join, teardown_join);
    tcase_add_test(joins, who_comes_to_a_joined_strand_comes_to_the_other);
    tcase_add_test(joins, who_is_in_the_other_keeps_those_of_the_first_out);
    tcase_add_loop_test(joins, work_that_was_left_goes_on_in_the_other_in_order, 0, 2);
    tcase_add_test(joins, the_other_lives_as_long_as_the_first);
    tcase_add_test(joins, work_of_many_threads_runs_once_while_a_strand_joins_another);
    suite_add_tcase(suite, joins);
    return suite;
}
