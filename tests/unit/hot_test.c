/* core/hot.c: links are asked while they are hot, report to epoll while they are cold, and may end
 * at any time. */
#include "core/hot.h"
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static struct nqi_hot_set set;

struct link {
    struct nqi_hot hot;
    int data, polls; /* inside the strand */
    bool armed, again;
};

static int link_poll(void *arg)
{
    struct link *link = arg;

    ck_assert(nqi_strand_inside(link->hot.strand));
    link->polls++;
    if (!link->data)
        return 0;
    link->data--;
    return 1;
}

static int link_arm(void *arg, int on)
{
    struct link *link = arg;

    ck_assert(nqi_strand_inside(link->hot.strand));
    if (on && link->again)
        return 1;
    link->armed = on;
    return 0;
}

static void link_init(struct link *link)
{
    *link = (struct link){.armed = true};
    link->hot = (struct nqi_hot){.poll = link_poll, .arm = link_arm, .arg = link};
    link->hot.strand = nqi_strand_new();
    ck_assert_ptr_nonnull(link->hot.strand);
}

static void link_touch(struct link *link)
{
    while (!nqi_strand_try(link->hot.strand))
        sched_yield();
    nqi_hot_touch(&set, &link->hot);
    nqi_strand_leave(link->hot.strand);
}

static void link_end(struct link *link)
{
    while (!nqi_strand_try(link->hot.strand))
        sched_yield();
    nqi_hot_del(&set, &link->hot);
    nqi_strand_leave(link->hot.strand);
    nqi_strand_unref(link->hot.strand);
}

static void setup(void)
{
    nqi_hot_init(&set);
    nqi_hot_open(&set, true);
}

static void teardown(void)
{
    nqi_hot_fini(&set);
}

START_TEST(a_link_gets_hot_only_while_a_driver_spins)
{
    struct link link;

    link_init(&link);
    nqi_hot_open(&set, false);
    link_touch(&link);
    ck_assert(!nqi_hot_any(&set));
    ck_assert(link.armed);
    nqi_hot_open(&set, true);
    link_touch(&link);
    link_touch(&link);
    ck_assert(nqi_hot_any(&set));
    ck_assert(!link.armed);
    link_end(&link);
    ck_assert(!nqi_hot_any(&set));
}
END_TEST

START_TEST(a_link_without_a_look_never_gets_hot)
{
    struct link link;

    link_init(&link);
    link.hot.poll = NULL;
    link_touch(&link);
    ck_assert(!nqi_hot_any(&set));
    link_end(&link);
}
END_TEST

START_TEST(every_hot_link_is_asked_once_a_look)
{
    struct link links[3];

    for (size_t i = 0; i < NQI_LEN(links); i++) {
        link_init(&links[i]);
        link_touch(&links[i]);
    }
    links[1].data = 1;
    ck_assert_uint_eq(nqi_hot_poll(&set), 1);
    ck_assert_uint_eq(nqi_hot_poll(&set), 0);
    for (size_t i = 0; i < NQI_LEN(links); i++) {
        ck_assert_int_eq(links[i].polls, 2);
        link_end(&links[i]);
    }
}
END_TEST

START_TEST(when_the_slots_are_full_a_link_stays_cold_until_one_is_free)
{
    struct link links[NQI_HOT_SLOTS + 1];

    for (size_t i = 0; i < NQI_LEN(links); i++) {
        link_init(&links[i]);
        link_touch(&links[i]);
        ck_assert(links[i].armed == (i == NQI_HOT_SLOTS));
    }
    link_end(&links[3]);
    link_touch(&links[NQI_HOT_SLOTS]);
    ck_assert(!links[NQI_HOT_SLOTS].armed);
    for (size_t i = 0; i < NQI_LEN(links); i++)
        if (i != 3)
            link_end(&links[i]);
}
END_TEST

START_TEST(cooling_arms_every_link)
{
    struct link links[2];

    for (size_t i = 0; i < NQI_LEN(links); i++) {
        link_init(&links[i]);
        link_touch(&links[i]);
    }
    ck_assert_int_eq(nqi_hot_cool(&set), NQI_HEAT_NONE);
    ck_assert(!nqi_hot_any(&set));
    for (size_t i = 0; i < NQI_LEN(links); i++) {
        ck_assert(links[i].armed);
        ck_assert_uint_eq(nqi_hot_poll(&set), 0);
        ck_assert_int_eq(links[i].polls, 0);
        link_end(&links[i]);
    }
}
END_TEST

START_TEST(a_link_with_data_stays_hot_when_it_is_to_be_cooled)
{
    struct link link;

    link_init(&link);
    link_touch(&link);
    link.again = true;
    link.data = 1;
    ck_assert_int_eq(nqi_hot_cool(&set), NQI_HEAT_DATA);
    ck_assert_uint_eq(nqi_hot_poll(&set), 1);
    link.again = false;
    ck_assert_int_eq(nqi_hot_cool(&set), NQI_HEAT_NONE);
    link_end(&link);
}
END_TEST

START_TEST(a_link_whose_strand_is_taken_is_neither_asked_nor_cooled)
{
    struct link link;

    link_init(&link);
    link_touch(&link);
    ck_assert(nqi_strand_try(link.hot.strand));
    ck_assert_uint_eq(nqi_hot_poll(&set), 0);
    ck_assert_int_eq(nqi_hot_cool(&set), NQI_HEAT_TAKEN);
    nqi_strand_leave(link.hot.strand);
    ck_assert_int_eq(link.polls, 0);
    ck_assert_int_eq(nqi_hot_cool(&set), NQI_HEAT_NONE);
    link_end(&link);
}
END_TEST

START_TEST(the_only_hot_link_is_asked_some_times_in_a_row)
{
    struct link link;

    set.looks = 8;
    link_init(&link);
    link_touch(&link);
    ck_assert_uint_eq(nqi_hot_poll(&set), 0);
    ck_assert_int_eq(link.polls, 8);
    link.polls = 0;
    link.data = 1;
    ck_assert_uint_eq(nqi_hot_poll(&set), 1);
    ck_assert_int_eq(link.polls, 1);
    link_end(&link);
}
END_TEST

static void work_nothing(struct nqi_work *work)
{
    (void)work;
}

static int link_poll_pushes(void *arg)
{
    static struct nqi_work left = {.run = work_nothing};
    struct link *link = arg;

    if (!link->polls++)
        nqi_strand_run(link->hot.strand, &left);
    return 0;
}

START_TEST(who_leaves_work_in_the_strand_of_a_hot_link_waits_for_one_look)
{
    struct link link;

    link_init(&link);
    set.looks = 8;
    link.hot.poll = link_poll_pushes;
    link_touch(&link);
    ck_assert_uint_eq(nqi_hot_poll(&set), 1);
    ck_assert_int_eq(link.polls, 1);
    link_end(&link);
}
END_TEST

static int link_poll_goes(void *arg)
{
    struct link *link = arg;

    link->polls++;
    nqi_hot_del(&set, &link->hot);
    return 0;
}

START_TEST(a_link_that_ends_in_a_look_in_vain_is_asked_no_more)
{
    struct link link;

    link_init(&link);
    set.looks = 8;
    link.hot.poll = link_poll_goes;
    link_touch(&link);
    ck_assert_uint_eq(nqi_hot_poll(&set), 0);
    ck_assert_int_eq(link.polls, 1);
    link_end(&link);
}
END_TEST

static struct link *ends_itself;

static int link_poll_ends(void *arg)
{
    struct link *link = arg;

    ends_itself = link;
    nqi_hot_del(&set, &link->hot);
    return 1;
}

START_TEST(a_link_may_end_while_it_is_asked)
{
    struct link link;

    link_init(&link);
    link.hot.poll = link_poll_ends;
    link_touch(&link);
    ck_assert_uint_eq(nqi_hot_poll(&set), 1);
    ck_assert_ptr_eq(ends_itself, &link);
    ck_assert(!nqi_hot_any(&set));
    link_end(&link);
}
END_TEST

static atomic_bool over;

/* One of them drives; cooling is for anybody. */
static void *looker_main(void *arg)
{
    const bool *drives = arg;

    while (!atomic_load(&over)) {
        if (*drives)
            nqi_hot_poll(&set);
        nqi_hot_cool(&set);
        sched_yield();
    }
    return NULL;
}

/* A look that began at one link must not end at the next one in the same slot, nor at its memory.
 */
START_TEST(links_come_and_go_while_others_look)
{
    bool drives[2] = {true, false};
    pthread_t lookers[2];

    for (size_t i = 0; i < NQI_LEN(lookers); i++)
        ck_assert_int_eq(pthread_create(&lookers[i], NULL, looker_main, &drives[i]), 0);
    for (int n = 0; n < 5000; n++) {
        struct link links[2];

        for (size_t i = 0; i < NQI_LEN(links); i++) {
            link_init(&links[i]);
            link_touch(&links[i]);
        }
        for (size_t i = 0; i < NQI_LEN(links); i++)
            link_end(&links[i]);
    }
    atomic_store(&over, true);
    for (size_t i = 0; i < NQI_LEN(lookers); i++)
        pthread_join(lookers[i], NULL);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("hot");
    TCase *tc = tcase_create("hot");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_link_gets_hot_only_while_a_driver_spins);
    tcase_add_test(tc, a_link_without_a_look_never_gets_hot);
    tcase_add_test(tc, every_hot_link_is_asked_once_a_look);
    tcase_add_test(tc, the_only_hot_link_is_asked_some_times_in_a_row);
    tcase_add_test(tc, who_leaves_work_in_the_strand_of_a_hot_link_waits_for_one_look);
    tcase_add_test(tc, a_link_that_ends_in_a_look_in_vain_is_asked_no_more);
    tcase_add_test(tc, when_the_slots_are_full_a_link_stays_cold_until_one_is_free);
    tcase_add_test(tc, cooling_arms_every_link);
    tcase_add_test(tc, a_link_with_data_stays_hot_when_it_is_to_be_cooled);
    tcase_add_test(tc, a_link_whose_strand_is_taken_is_neither_asked_nor_cooled);
    tcase_add_test(tc, a_link_may_end_while_it_is_asked);
    tcase_add_test(tc, links_come_and_go_while_others_look);
    suite_add_tcase(suite, tc);
    return suite;
}
