/* core/ration.c: a burst, silence, and how much was left out. */
#include "core/ration.h"
#include "tests/support/suite.h"
#include <check.h>

#define EACH 3u

static struct nqi_ration ration;
static int64_t now;

static void setup(void)
{
    ration = (struct nqi_ration){0};
    now = 5; /* clocks begin anywhere */
}

/* So many at once; how many of them may be said. */
static unsigned take(unsigned n, uint64_t *left_out)
{
    unsigned said = 0;

    while (n--)
        said += nqi_ration_take(&ration, EACH, now, left_out);
    return said;
}

START_TEST(a_burst_is_said_and_the_rest_of_the_second_is_not)
{
    uint64_t left_out = 77;

    ck_assert_uint_eq(take(EACH, &left_out), EACH);
    ck_assert_uint_eq(left_out, 0);
    ck_assert_uint_eq(take(1000, &left_out), 0);
    now += NQI_RATION_NS - 1;
    ck_assert_uint_eq(take(1000, &left_out), 0);
}
END_TEST

START_TEST(what_was_left_out_is_counted_and_said_once)
{
    uint64_t left_out = 77;

    take(EACH + 41, &left_out);
    now += NQI_RATION_NS;
    ck_assert_uint_eq(take(1, &left_out), 1);
    ck_assert_uint_eq(left_out, 41);
    ck_assert_uint_eq(take(1, &left_out), 1);
    ck_assert_uint_eq(left_out, 0);
}
END_TEST

START_TEST(a_flood_of_any_length_is_so_many_in_each_second)
{
    uint64_t left_out, all = 0;
    unsigned said = 0;

    for (int tenth = 0; tenth < 100; tenth++, now += NQI_RATION_NS / 10) /* 10 s */
        for (int i = 0; i < 50; i++)
            if (nqi_ration_take(&ration, EACH, now, &left_out)) {
                said++;
                all += left_out;
            }
    ck_assert_uint_eq(said, 10 * EACH);
    ck_assert_uint_eq(all + ration.left_out + said, 5000);
}
END_TEST

START_TEST(what_comes_slowly_is_all_said)
{
    uint64_t left_out = 77;

    for (int i = 0; i < 1000; i++, now += NQI_RATION_NS / EACH + 1) {
        ck_assert(nqi_ration_take(&ration, EACH, now, &left_out));
        ck_assert_uint_eq(left_out, 0);
    }
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("ration");
    TCase *tc = tcase_create("ration");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, a_burst_is_said_and_the_rest_of_the_second_is_not);
    tcase_add_test(tc, what_was_left_out_is_counted_and_said_once);
    tcase_add_test(tc, a_flood_of_any_length_is_so_many_in_each_second);
    tcase_add_test(tc, what_comes_slowly_is_all_said);
    suite_add_tcase(suite, tc);
    return suite;
}
