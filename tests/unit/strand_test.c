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
    ck_assert(nqi_strand_inside(strand));
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

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("strand");
    TCase *tc = tcase_create("strand");

    tcase_set_timeout(tc, 10);
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
    return suite;
}
