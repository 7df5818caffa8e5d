/* core/wait_keeper.c: somebody drives when no caller does, and the library's thread strands nobody.
 */
#include "core/wait.h"
#include "core/wait_room.h"
#include "tests/support/room.h"
#include <check.h>
#include <netqueue/future.h>
#include <sched.h>

static void post_the_semaphore(void *arg)
{
    nqtest_post(nqtest_post_semaphore, arg);
}

START_TEST(a_post_made_in_the_keepers_last_turn_is_run)
{
    sem_t ran;

    sem_init(&ran, 0, 0);
    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_post(post_the_semaphore, &ran); /* the keeper runs it, past its look at the inbox */
    sem_wait(&ran);
    nqtest_room_close();
}
END_TEST

START_TEST(the_keeper_receives_what_comes_while_it_arms_a_link)
{
    struct nqtest_ring ring;

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_ring_open(&ring, &nqtest.items, nqtest_ring_poll, nqtest_ring_arm_late);
    nqi_room_kick(nqtest.room);
    NQTEST_UNTIL(atomic_load(&nqtest.items) == 1);
    nqtest_ring_close(&ring);
    nqtest_room_close();
}
END_TEST

START_TEST(an_end_that_comes_before_the_last_look_is_not_slept_through)
{
    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    ck_assert(nqi_token_try(nqtest.room)); /* as the library's thread would */
    atomic_store(&nqtest.room->stop, true);
    nqi_loop_wake(nqtest.loop);
    nqi_room_turn(nqtest.room, false); /* takes the wake-up away */
    nqi_room_sleep(nqtest.room, NULL, NQI_NEVER);
    nqi_token_leave(nqtest.room);
    nqtest_room_close();
}
END_TEST

START_TEST(rooms_end_whenever_they_are_told_to)
{
    static const enum nqi_room_mode modes[] = {NQI_ROOM_AUTO, NQI_ROOM_THREAD, NQI_ROOM_MANUAL};

    for (size_t i = 0; i < 600; i++) {
        nqtest_room_open(modes[i % NQI_LEN(modes)], 0);
        if (i / 3 % 2)
            nqtest_post(nqtest_give, &nqtest.items);
        nqtest_room_close();
    }
    ck_assert_int_eq(atomic_load(&nqtest.items), 300);
}
END_TEST

/* Two getters with a bell each, and a callback of the user's that takes long: it may itself wait
 * for a lock that the second getter holds. */
struct slow {
    struct nqtest_getter getters[2];
    struct nqtest_bell bells[2];
    atomic_int given[2];
    struct nqtest_callback callback;
};

static void slow_open(struct slow *slow, enum nqi_room_mode mode)
{
    nqtest_room_open(mode, 0);
    for (int i = 0; i < 2; i++) {
        atomic_init(&slow->given[i], 0);
        nqtest_bell_open(&slow->bells[i], &slow->given[i]);
    }
    nqtest_callback_init(&slow->callback, true);
}

/* Until somebody is inside the callback. */
static void slow_begin(struct slow *slow)
{
    nqi_room_defer(nqtest.room, &slow->callback.callback);
    sem_wait(&slow->callback.started);
}

static void slow_wait(struct slow *slow)
{
    for (unsigned i = 0; i < 2; i++) {
        nqtest_getter_start(&slow->getters[i], nqtest_claim, &slow->given[i], NQ_FOREVER);
        NQTEST_UNTIL(atomic_load(&nqtest.room->nwaiters) == i + 1);
    }
}

/* Each getter is given what comes for it, before the callback ends. */
static void slow_check(struct slow *slow)
{
    for (int i = 0; i < 2; i++) {
        nqtest_bell_ring(&slow->bells[i]);
        ck_assert_int_eq(nqtest_getter_join(&slow->getters[i]), NQ_OK);
    }
    sem_post(&slow->callback.go);
}

static void slow_close(struct slow *slow)
{
    for (int i = 0; i < 2; i++)
        nqtest_bell_close(&slow->bells[i]);
    nqtest_room_close();
}

START_TEST(a_slow_callback_on_the_keeper_leaves_no_getter_without_a_driver)
{
    struct slow slow;

    slow_open(&slow, NQI_ROOM_AUTO);
    slow_begin(&slow);
    slow_wait(&slow);
    slow_check(&slow);
    slow_close(&slow);
}
END_TEST

/* A caller who has his answer at once leaves it hot, for the next: here none comes. */
START_TEST(a_link_that_became_hot_beside_a_slow_callback_is_looked_at)
{
    struct nqtest_ring ring;
    struct slow slow;

    slow_open(&slow, NQI_ROOM_AUTO);
    slow_begin(&slow);
    ck_assert(nqi_token_try(nqtest.room));
    nqtest_ring_open(&ring, &nqtest.items, nqtest_ring_poll, nqtest_ring_arm);
    nqi_token_leave(nqtest.room);
    sem_post(&slow.callback.go);
    NQTEST_UNTIL(atomic_load(&nqtest.room->keeper) == KEEPER_ARMED);
    atomic_store(&ring.data, 1);
    NQTEST_UNTIL(atomic_load(&nqtest.items) == 1);
    nqtest_ring_close(&ring);
    slow_close(&slow);
}
END_TEST

START_TEST(a_slow_callback_on_the_library_thread_leaves_no_getter_without_a_driver)
{
    struct slow slow;

    slow_open(&slow, NQI_ROOM_THREAD);
    slow_wait(&slow);
    slow_begin(&slow);
    slow_check(&slow);
    nqtest_bell_ring(&slow.bells[0]); /* and the library's thread goes on */
    NQTEST_UNTIL(atomic_load(&slow.given[0]) == 1);
    slow_close(&slow);
}
END_TEST

START_TEST(a_caller_that_polls_sends_the_keeper_to_its_timer)
{
    nqtest_room_open(NQI_ROOM_AUTO, 0);
    ck_assert_uint_eq(atomic_load(&nqtest.room->keeper), KEEPER_ARMED);
    nqi_room_poll(nqtest.room);
    ck_assert_uint_ne(atomic_load(&nqtest.room->keeper), KEEPER_ARMED);
    NQTEST_UNTIL(atomic_load(&nqtest.room->keeper) == KEEPER_ARMED); /* and it comes back */
    nqtest_room_close();
}
END_TEST

/* The owner of the strand may have lost the processor, and the keeper must not take it too. */
START_TEST(the_keeper_waits_for_a_hot_link_whose_strand_is_taken)
{
    struct nqtest_ring ring;
    int64_t before;

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_ring_open(&ring, &nqtest.items, nqtest_ring_poll, nqtest_ring_arm);
    nqtest_go_inside();
    before = nqi_now();
    nqi_room_kick(nqtest.room);
    NQTEST_UNTIL(atomic_load(&nqtest.room->keeper_turns) >=
                 5); /* it looks again, but not at once */
    ck_assert_int_ge(nqi_now() - before, 10 * NQI_NS_PER_MS);
    nqi_strand_leave(nqtest.serial.strand);
    NQTEST_UNTIL(!nqi_hot_any(nqi_loop_hot(nqtest.loop)));
    nqtest_ring_close(&ring);
    nqtest_room_close();
}
END_TEST

START_TEST(the_keeper_drives_when_nobody_waits)
{
    struct nqi_room_counts counts;
    struct nqtest_bell bell;

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_bell_open(&bell, &nqtest.items);
    for (int i = 1; i <= 10; i++) {
        nqtest_bell_ring(&bell);
        NQTEST_UNTIL(atomic_load(&nqtest.items) == i);
    }
    nqi_room_count(nqtest.room, &counts);
    ck_assert_uint_ge(counts.keeper_turns, 10);
    ck_assert_uint_eq(counts.kicks, 0);
    nqtest_bell_close(&bell);
    nqtest_room_close();
}
END_TEST

START_TEST(the_keeper_gives_way_to_a_caller_and_comes_back)
{
    struct nqtest_getter getter;
    struct nqtest_bell bell;

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_bell_open(&bell, &nqtest.items);
    for (int i = 0; i < 3; i++) {
        nqtest_getter_start(&getter, nqtest_claim, &nqtest.items, NQ_FOREVER);
        NQTEST_UNTIL(atomic_load(&nqtest.room->keeper) ==
                     KEEPER_OFF); /* a caller sleeps in the loop */
        nqtest_bell_ring(&bell);
        ck_assert_int_eq(nqtest_getter_join(&getter), NQ_OK);
        NQTEST_UNTIL(atomic_load(&nqtest.room->keeper) == KEEPER_ARMED);
    }
    nqtest_bell_close(&bell);
    nqtest_room_close();
}
END_TEST

START_TEST(a_left_getter_is_promoted_by_the_keeper)
{
    struct nqtest_getter first, second;
    atomic_int given[2] = {0, 0};
    struct nqtest_bell bells[2];

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_bell_open(&bells[0], &given[0]);
    nqtest_bell_open(&bells[1], &given[1]);
    nqtest_getter_start(&first, nqtest_claim, &given[0], NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->nwaiters) == 1);
    nqtest_getter_start(&second, nqtest_claim, &given[1], NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->nwaiters) == 2);
    nqtest_bell_ring(&bells[0]);
    ck_assert_int_eq(nqtest_getter_join(&first), NQ_OK);
    nqtest_bell_ring(&bells[0]); /* for nobody: the keeper drives, and hands over */
    NQTEST_UNTIL(atomic_load(&nqtest.room->token) == TOKEN_SLEEP);
    ck_assert_uint_ne(atomic_load(&nqtest.room->keeper), KEEPER_ARMED);
    nqtest_bell_ring(&bells[1]);
    ck_assert_int_eq(nqtest_getter_join(&second), NQ_OK);
    nqtest_bell_close(&bells[0]);
    nqtest_bell_close(&bells[1]);
    nqtest_room_close();
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("wait_keeper");
    TCase *tc = tcase_create("wait_keeper");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_post_made_in_the_keepers_last_turn_is_run);
    tcase_add_test(tc, the_keeper_receives_what_comes_while_it_arms_a_link);
    tcase_add_test(tc, an_end_that_comes_before_the_last_look_is_not_slept_through);
    tcase_add_test(tc, rooms_end_whenever_they_are_told_to);
    tcase_add_test(tc, a_slow_callback_on_the_keeper_leaves_no_getter_without_a_driver);
    tcase_add_test(tc, a_link_that_became_hot_beside_a_slow_callback_is_looked_at);
    tcase_add_test(tc, a_slow_callback_on_the_library_thread_leaves_no_getter_without_a_driver);
    tcase_add_test(tc, a_caller_that_polls_sends_the_keeper_to_its_timer);
    tcase_add_test(tc, the_keeper_waits_for_a_hot_link_whose_strand_is_taken);
    tcase_add_test(tc, the_keeper_drives_when_nobody_waits);
    tcase_add_test(tc, the_keeper_gives_way_to_a_caller_and_comes_back);
    tcase_add_test(tc, a_left_getter_is_promoted_by_the_keeper);
    suite_add_tcase(suite, tc);
    return suite;
}
