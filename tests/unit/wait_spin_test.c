/* core/wait_spin.c, and drivers beside hot links: spinning stops when it does not pay, misses
 * nothing and starves nobody. */
#include "core/wait.h"
#include "core/wait_room.h"
#include "tests/support/room.h"
#include <check.h>
#include <netqueue/future.h>
#include <sched.h>

START_TEST(data_that_comes_while_a_link_is_armed_is_received)
{
    static const enum nqi_room_mode modes[] = {NQI_ROOM_AUTO, NQI_ROOM_THREAD, NQI_ROOM_MANUAL};

    for (size_t i = 0; i < NQI_LEN(modes); i++) {
        struct nqtest_ring ring;

        nqtest_room_open(modes[i], 0);
        nqtest_ring_open(&ring, &nqtest.items, nqtest_ring_poll, nqtest_ring_arm_late);
        nqi_room_kick(nqtest.room);
        ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER),
                         NQ_OK);
        nqtest_ring_close(&ring);
        nqtest_room_close();
    }
}
END_TEST

/* Whoever goes inside to cool a link also runs what others left there, and that may be what the
 * driver, or another waiter, waits for. */
static int ring_arm_gives(void *arg, int on)
{
    struct nqtest_ring *ring = arg;

    if (on)
        nqtest_give(ring->gives);
    return 0;
}

START_TEST(what_is_delivered_while_a_driver_cools_links_ends_its_wait)
{
    struct nqtest_ring ring;

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_ring_open(&ring, &nqtest.items, nqtest_ring_poll, ring_arm_gives);
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER), NQ_OK);
    nqtest_ring_close(&ring);
    nqtest_room_close();
}
END_TEST

START_TEST(what_is_delivered_while_a_driver_cools_links_ends_the_waits_of_others)
{
    struct nqtest_getter follower;
    struct nqtest_ring ring;
    atomic_int mine = 0;

    nqtest_room_open(NQI_ROOM_AUTO, 0);
    nqtest_ring_open(&ring, &nqtest.items, nqtest_ring_poll, ring_arm_gives);
    NQTEST_UNTIL(nqi_token_try(nqtest.room));
    nqtest_getter_start(&follower, nqtest_claim, &nqtest.items, NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->nwaiters) == 1);
    nqi_token_leave(nqtest.room); /* somebody waits, so the links are cooled */
    ck_assert_int_eq(nqtest_getter_join(&follower), NQ_OK);
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &mine, 0), NQ_AGAIN);
    nqtest_ring_close(&ring);
    nqtest_room_close();
}
END_TEST

static void work_gives(struct nqi_work *work)
{
    (void)work;
    nqtest_give(&nqtest.items);
}

/* What a putter left with the strand is run by whoever leaves it next. */
static int ring_poll_pushes(void *arg)
{
    static struct nqi_work left = {.run = work_gives};
    struct nqtest_ring *ring = arg;

    ring->hot.poll = nqtest_ring_poll;
    nqi_strand_run(nqtest.serial.strand, &left);
    return 0;
}

START_TEST(what_a_look_at_a_hot_link_runs_for_others_wakes_who_waits_for_it)
{
    struct nqtest_getter follower;
    struct nqtest_ring ring;
    atomic_int other = 0;

    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    nqtest_ring_open(&ring, &other, ring_poll_pushes, nqtest_ring_arm);
    ck_assert(nqi_token_try(nqtest.room));
    nqtest_getter_start(&follower, nqtest_claim, &nqtest.items, NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->nwaiters) == 1);
    nqi_room_turn(nqtest.room, true);
    ck_assert_int_eq(nqtest_getter_join(&follower), NQ_OK);
    nqi_token_leave(nqtest.room);
    nqtest_ring_close(&ring);
    nqtest_room_close();
}
END_TEST

START_TEST(a_hot_link_that_always_has_data_does_not_starve_a_descriptor)
{
    struct nqtest_ring ring;
    struct nqtest_bell bell;
    atomic_int other = 0;

    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    nqtest_bell_open(&bell, &nqtest.items);
    nqtest_ring_open(&ring, &other, nqtest_ring_poll, nqtest_ring_arm);
    ring.endless = true;
    nqtest_bell_ring(&bell);
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER), NQ_OK);
    nqtest_ring_close(&ring);
    nqtest_bell_close(&bell);
    nqtest_room_close();
}
END_TEST

START_TEST(a_time_out_is_kept_while_others_have_traffic_without_end)
{
    struct nqtest_ring ring;
    atomic_int other = 0;

    nqtest_room_open(NQI_ROOM_MANUAL, 0);
    nqtest_ring_open(&ring, &other, nqtest_ring_poll, nqtest_ring_arm);
    ring.endless = true;
    ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, 2 * NQI_NS_PER_MS),
                     NQ_AGAIN);
    nqtest_ring_close(&ring);
    nqtest_room_close();
}
END_TEST

START_TEST(a_spinning_driver_looks_at_its_own_condition)
{
    struct nqtest_getter getter;

    nqtest_room_open(NQI_ROOM_MANUAL, 3600 * NQI_NS_PER_S);
    nqtest_getter_start(&getter, nqtest_claim, &nqtest.items, NQ_FOREVER);
    NQTEST_UNTIL(atomic_load(&nqtest.room->token) != TOKEN_FREE);
    nqtest_give_and_tell(&nqtest.items);
    ck_assert_int_eq(nqtest_getter_join(&getter), NQ_OK);
    nqtest_room_close();
}
END_TEST

START_TEST(spinning_stops_while_it_does_not_pay)
{
    struct nqi_room_counts counts;
    struct nqi_watch *timer;

    nqtest_room_open(NQI_ROOM_MANUAL, NQI_SPIN_AUTO);
    nqtest_go_inside();
    ck_assert_int_eq(nqi_timer_add(&nqtest.serial, nqtest_give, &nqtest.items, &timer), NQ_OK);
    nqi_strand_leave(nqtest.serial.strand);
    for (int i = 0; i < 40; i++) {
        nqtest_go_inside();
        nqi_timer_set(timer, nqi_now() + NQI_NS_PER_MS);
        nqi_strand_leave(nqtest.serial.strand);
        ck_assert_int_eq(nqi_room_wait(nqtest.room, nqtest_claim, &nqtest.items, NQ_FOREVER),
                         NQ_OK);
    }
    nqi_room_count(nqtest.room, &counts);
    ck_assert_uint_lt(counts.spins_lost, 10);
    nqtest_go_inside();
    nqi_watch_del(timer);
    nqi_strand_leave(nqtest.serial.strand);
    nqtest_room_close();
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("wait_spin");
    TCase *tc = tcase_create("wait_spin");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, data_that_comes_while_a_link_is_armed_is_received);
    tcase_add_test(tc, what_is_delivered_while_a_driver_cools_links_ends_its_wait);
    tcase_add_test(tc, what_is_delivered_while_a_driver_cools_links_ends_the_waits_of_others);
    tcase_add_test(tc, what_a_look_at_a_hot_link_runs_for_others_wakes_who_waits_for_it);
    tcase_add_test(tc, a_hot_link_that_always_has_data_does_not_starve_a_descriptor);
    tcase_add_test(tc, a_time_out_is_kept_while_others_have_traffic_without_end);
    tcase_add_test(tc, a_spinning_driver_looks_at_its_own_condition);
    tcase_add_test(tc, spinning_stops_while_it_does_not_pay);
    suite_add_tcase(suite, tc);
    return suite;
}
