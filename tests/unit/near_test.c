/* core/near.c: which known word was meant. */
#include "core/near.h"
#include <check.h>
#include <string.h>

static const struct {
    const char *a, *b;
    size_t distance;
} pairs[] = {
    {"", "", 0},
    {"", "abc", 3},
    {"policy", "policy", 0},
    {"polcy", "policy", 1},
    {"polciy", "policy", 1},
    {"policyy", "policy", 1},
    {"pulicy", "policy", 1},
    {"abc", "xyz", 3},
    {"kitten", "sitting", 3},
};

START_TEST(distance_counts_typed_missing_wrong_and_swapped_bytes)
{
    ck_assert_uint_eq(nqi_near_distance(pairs[_i].a, pairs[_i].b), pairs[_i].distance);
    ck_assert_uint_eq(nqi_near_distance(pairs[_i].b, pairs[_i].a), pairs[_i].distance);
}
END_TEST

START_TEST(words_longer_than_the_rows_are_cut)
{
    char a[3 * NQI_NEAR_CAP], b[NQI_NEAR_CAP];

    memset(a, 'x', sizeof(a));
    a[sizeof(a) - 1] = '\0';
    memset(b, 'x', sizeof(b));
    b[sizeof(b) - 1] = '\0';
    ck_assert_uint_eq(nqi_near_distance(a, b), 1);
    ck_assert_uint_eq(nqi_near_distance(a, ""), NQI_NEAR_CAP);
}
END_TEST

START_TEST(the_first_of_equally_near_words_stays)
{
    static const char *const words[] = {"zzzzz", "bat", "cat", NULL};
    struct nqi_near near = {.text = "rat"};

    nqi_near_try_all(&near, words);
    ck_assert_str_eq(near.best, "bat");
    ck_assert_uint_eq(near.distance, 1);
    nqi_near_try(&near, "rat");
    ck_assert_str_eq(near.best, "rat");
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("near");
    TCase *tc = tcase_create("near");

    tcase_add_loop_test(tc, distance_counts_typed_missing_wrong_and_swapped_bytes, 0,
                        (int)NQI_LEN(pairs));
    tcase_add_test(tc, words_longer_than_the_rows_are_cut);
    tcase_add_test(tc, the_first_of_equally_near_words_stays);
    suite_add_tcase(suite, tc);
    return suite;
}
