/* core/wait_callback.c: one at a time, on whichever thread, and none is forgotten. */
#include "core/wait.h"
#include "core/wait_room.h"
#include "tests/support/room.h"
#include <check.h>
#include <netqueue/future.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

static void *poll_main(void *arg)
{
    (void)arg;
    nqi_room_poll(nqtest.room);
    return NULL;
}

START_TEST(a_slow_callback_with_another_behind_it_stops_no_driver)
{
    struct nqtest_callback slow, next;
    struct nqtest_bell bell;
    pthread_t caller;

    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    nqtest_bell_open(&bell, &nqtest.items);
    nqtest_callback_init(&slow, true);
    nqtest_callback_init(&next, false);
    nqi_room_defer(nqtest.room, &slow.callback);
    nqi_room_defer(nqtest.room, &next.callback);
    ck_assert_int_eq(pthread_create(&caller, NULL, poll_main, NULL), 0);
    sem_wait(&slow.started);
    nqtest_bell_ring(&bell);
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER), NQ_OK);
    ck_assert(!nqi_room_has_work(nqtest.room)); /* nothing that keeps a driver from sleeping */
    sem_post(&slow.go);
    sem_wait(&next.started);
    pthread_join(caller, NULL);
    nqtest_bell_close(&bell);
    nqtest_room_close();
}
END_TEST

static struct nqi_room *inner_room;

static void call_poll_inner(struct nqi_callback *callback)
{
    (void)callback;
    nqi_room_poll(inner_room);
}

static struct nqtest_callback inner_call;

static void defer_inner(void *arg)
{
    (void)arg;
    nqi_room_defer(inner_room, &inner_call.callback);
}

START_TEST(a_callback_that_arises_inside_the_callback_of_another_queue_is_run)
{
    struct nqi_callback outer_call = {.run = call_poll_inner};
    struct nqi_loop *inner_loop;
    struct nqi_serial inner_serial;

    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    ck_assert_int_eq(nqi_loop_new(&inner_loop), NQ_OK);
    ck_assert_int_eq(nqi_room_new(inner_loop, NQI_ROOM_AUTO, 0, &inner_room), NQ_OK);
    inner_serial = (struct nqi_serial){.strand = nqtest.serial.strand, .loop = inner_loop};
    nqtest_callback_init(&inner_call, false);
    NQTEST_UNTIL(
        nqi_token_try(inner_room)); /* no kick for the post: the callback's poll finds it */
    ck_assert_int_eq(nqi_post(&inner_serial, defer_inner, NULL), NQ_OK);
    atomic_store(&inner_room->token, TOKEN_FREE);
    nqi_room_defer(nqtest.room, &outer_call);
    nqi_room_poll(nqtest.room);
    sem_wait(&inner_call.started);
    nqi_room_free(inner_room);
    nqi_loop_free(inner_loop);
    nqtest_room_close();
}
END_TEST

static void call_again(struct nqi_callback *callback)
{
    nqi_room_defer(nqtest.room, callback);
}

START_TEST(callbacks_without_end_do_not_keep_a_caller)
{
    struct nqi_callback again = {.run = call_again};

    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    nqi_room_defer(nqtest.room, &again);
    nqi_room_poll(nqtest.room);
    ck_assert(nqtest_readable(nqi_loop_fd(nqtest.loop))); /* the rest is not forgotten */
    nqtest_give(&nqtest.items);
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER), NQ_OK);
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, 2 * NQI_NS_PER_MS),
                     NQ_AGAIN);
    nqtest_room_close();
}
END_TEST

static struct nqtest_callback helped_call;

static void defer_helped(void *arg)
{
    (void)arg;
    nqi_room_defer(nqtest.room, &helped_call.callback);
}

START_TEST(a_callback_that_arises_in_a_helpers_turn_is_run)
{
    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_callback_init(&helped_call, false);
    NQTEST_UNTIL(nqi_token_try(nqtest.room)); /* no kick for the post: the helper finds it */
    nqtest_post(defer_helped, NULL);
    atomic_store(&nqtest.room->token, TOKEN_FREE);
    nqi_room_help(nqtest.room);
    sem_wait(&helped_call.started);
    nqtest_room_close();
}
END_TEST

#define CALL_LOOKS 20000 /* long enough for another thread to come */

static atomic_int calls_inside, calls_most, calls_count;

static void call_counts(struct nqi_callback *callback)
{
    int inside = atomic_fetch_add(&calls_inside, 1) + 1;

    if (inside > atomic_load(&calls_most))
        atomic_store(&calls_most, inside);
    for (int i = 0; i < CALL_LOOKS; i++) /* no yields: each lasts as long as the others like */
        if (atomic_load(&calls_inside) > 1)
            break;
    atomic_fetch_sub(&calls_inside, 1);
    atomic_fetch_add(&calls_count, 1);
    free(callback);
}

static void *deferrer_main(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++) {
        struct nqi_callback *callback = calloc(1, sizeof(*callback));

        callback->run = call_counts;
        nqi_room_defer(nqtest.room, callback);
        nqi_room_poll(nqtest.room);
    }
    return NULL;
}

START_TEST(callbacks_run_one_at_a_time_on_whichever_thread)
{
    static const enum nqi_room_mode modes[] = {NQI_ROOM_AUTO, NQI_ROOM_THREAD, NQI_ROOM_MANUAL};

    for (size_t i = 0; i < NQI_LEN(modes); i++) {
        pthread_t threads[3];

        atomic_store(&calls_count, 0);
        nqtest_room_open(modes[i], 0);
        for (size_t n = 0; n < NQI_LEN(threads); n++)
            ck_assert_int_eq(pthread_create(&threads[n], NULL, deferrer_main, NULL), 0);
        for (size_t n = 0; n < NQI_LEN(threads); n++)
            pthread_join(threads[n], NULL);
        while (atomic_load(&calls_count) < 300)
            nqi_room_poll(nqtest.room);
        ck_assert_int_eq(atomic_load(&calls_most), 1);
        nqtest_room_close();
    }
}
END_TEST

static nq_err wait_errs[3];

static void call_waits(struct nqi_callback *callback)
{
    (void)callback;
    wait_errs[0] = nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER);
    wait_errs[1] = nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER);
    wait_errs[2] = nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, 0);
    nqtest_give(&nqtest.items);
}

START_TEST(a_callback_may_take_what_is_there_but_not_wait)
{
    struct nqi_callback callback = {.run = call_waits};

    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    nqtest_give(&nqtest.items);
    nqi_room_defer(nqtest.room, &callback);
    nqi_room_poll(nqtest.room);
    ck_assert_int_eq(wait_errs[0], NQ_OK);
    ck_assert_int_eq(wait_errs[1], NQ_ERR_DEADLOCK);
    ck_assert_int_eq(wait_errs[2], NQ_AGAIN);
    ck_assert(!nqi_room_in_callback());
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER), NQ_OK);
    nqtest_room_close();
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("wait_callback");
    TCase *tc = tcase_create("wait_callback");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_slow_callback_with_another_behind_it_stops_no_driver);
    tcase_add_test(tc, a_callback_that_arises_inside_the_callback_of_another_queue_is_run);
    tcase_add_test(tc, callbacks_without_end_do_not_keep_a_caller);
    tcase_add_test(tc, a_callback_that_arises_in_a_helpers_turn_is_run);
    tcase_add_test(tc, callbacks_run_one_at_a_time_on_whichever_thread);
    tcase_add_test(tc, a_callback_may_take_what_is_there_but_not_wait);
    suite_add_tcase(suite, tc);
    return suite;
}
