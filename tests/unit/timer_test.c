/* core/timer.c: the heap gives deadlines in order, whatever was moved or taken out before. */
#include "core/timer.h"
#include <check.h>
#include <sys/resource.h>

/* Sanitizers end the program when memory is refused. */
#if defined(__SANITIZE_THREAD__) || NQI_ASAN
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED __has_feature(thread_sanitizer)
#else
#define SANITIZED 0
#endif

static struct nqi_timers timers;

static void setup(void)
{
    nqi_timers_init(&timers);
}

static void teardown(void)
{
    nqi_timers_fini(&timers);
}

static void reserve(uint32_t count)
{
    ck_assert_int_eq(nqi_timers_reserve(&timers, count), NQ_OK);
}

START_TEST(an_empty_heap_never_expires)
{
    ck_assert_int_eq(nqi_timers_next(&timers), NQI_NEVER);
    ck_assert_ptr_null(nqi_timers_expire(&timers, NQI_NEVER));
}
END_TEST

START_TEST(a_timer_expires_at_its_time_and_once)
{
    struct nqi_timer timer = {0};

    reserve(1);
    nqi_timers_set(&timers, &timer, 10);
    ck_assert_int_eq(nqi_timers_next(&timers), 10);
    ck_assert_ptr_null(nqi_timers_expire(&timers, 9));
    ck_assert_ptr_eq(nqi_timers_expire(&timers, 10), &timer);
    ck_assert_ptr_null(nqi_timers_expire(&timers, 10));
    ck_assert_uint_eq(timer.pos, 0);
}
END_TEST

START_TEST(removing_twice_does_no_harm)
{
    struct nqi_timer timer = {0};

    reserve(1);
    nqi_timers_remove(&timers, &timer);
    nqi_timers_set(&timers, &timer, 10);
    nqi_timers_remove(&timers, &timer);
    nqi_timers_remove(&timers, &timer);
    ck_assert_uint_eq(timers.count, 0);
}
END_TEST

START_TEST(deadlines_at_the_ends_of_time_keep_their_place)
{
    static const int64_t at[] = {NQI_NEVER, 0, INT64_MIN, NQI_NEVER - 1, -1, 1};
    static const int64_t sorted[] = {INT64_MIN, -1, 0, 1, NQI_NEVER - 1, NQI_NEVER};
    struct nqi_timer timer[NQI_LEN(at)] = {0};

    reserve(NQI_LEN(at));
    for (size_t i = 0; i < NQI_LEN(at); i++)
        nqi_timers_set(&timers, &timer[i], at[i]);
    for (size_t i = 0; i < NQI_LEN(at); i++)
        ck_assert_int_eq(nqi_timers_expire(&timers, NQI_NEVER)->at, sorted[i]);
}
END_TEST

static uint32_t random_next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void check_heap(void)
{
    for (uint32_t i = 0; i < timers.count; i++) {
        ck_assert_uint_eq(timers.heap[i]->pos, i + 1);
        if (i)
            ck_assert_int_le(timers.heap[(i - 1) / 2]->at, timers.heap[i]->at);
    }
}

/* Against a plain search, over sets, moves and removals. */
START_TEST(the_first_is_the_earliest_after_any_change)
{
    static struct nqi_timer timer[300];
    uint32_t seed = 1;

    reserve(NQI_LEN(timer));
    for (int step = 0; step < 20000; step++) {
        struct nqi_timer *one = &timer[random_next(&seed) % NQI_LEN(timer)];
        int64_t earliest = NQI_NEVER;

        if (random_next(&seed) % 4)
            nqi_timers_set(&timers, one, random_next(&seed) % 1000);
        else
            nqi_timers_remove(&timers, one);
        for (size_t i = 0; i < NQI_LEN(timer); i++)
            if (timer[i].pos)
                earliest = NQI_MIN(earliest, timer[i].at);
        ck_assert_int_eq(nqi_timers_next(&timers), earliest);
        if (step % 100 == 0)
            check_heap();
    }
}
END_TEST

START_TEST(room_grows_and_keeps_what_is_there)
{
    static struct nqi_timer timer[100];
    int64_t last = 0;

    for (uint32_t i = 0; i < NQI_LEN(timer); i++) {
        reserve(i + 1);
        ck_assert_uint_ge(timers.cap, i + 1);
        nqi_timers_set(&timers, &timer[i], (int64_t)(i * 37 % 100));
    }
    reserve(1); /* never shrinks */
    for (size_t i = 0; i < NQI_LEN(timer); i++) {
        struct nqi_timer *first = nqi_timers_expire(&timers, 100);

        ck_assert_int_ge(first->at, last);
        last = first->at;
    }
}
END_TEST

START_TEST(more_room_than_there_is_memory_is_refused)
{
    struct rlimit limit = {.rlim_cur = 1 << 30, .rlim_max = 1 << 30};
    struct nqi_timer timer = {0};

    reserve(1);
    nqi_timers_set(&timers, &timer, 1);
    if (!SANITIZED && !setrlimit(RLIMIT_AS, &limit))
        ck_assert_int_eq(nqi_timers_reserve(&timers, UINT32_MAX), NQ_ERR_NOMEM);
    ck_assert_int_eq(nqi_timers_next(&timers), 1);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("timer");
    TCase *tc = tcase_create("timer");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, an_empty_heap_never_expires);
    tcase_add_test(tc, a_timer_expires_at_its_time_and_once);
    tcase_add_test(tc, removing_twice_does_no_harm);
    tcase_add_test(tc, deadlines_at_the_ends_of_time_keep_their_place);
    tcase_add_test(tc, the_first_is_the_earliest_after_any_change);
    tcase_add_test(tc, room_grows_and_keeps_what_is_there);
    tcase_add_test(tc, more_room_than_there_is_memory_is_refused);
    suite_add_tcase(suite, tc);
    return suite;
}
