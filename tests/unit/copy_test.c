/* core/copy.c: every length and position copies those bytes and no others. */
#include "core/copy.h"
#include <check.h>
#include <stdlib.h>

#define ROOM 16384
#define GUARD 64

static unsigned char src[ROOM + GUARD], dst[GUARD + ROOM + GUARD], want[GUARD + ROOM + GUARD];

static void setup(void)
{
    for (size_t i = 0; i < sizeof(src); i++)
        src[i] = (unsigned char)(i * 7 + i / 251);
}

static void check_copy(size_t to, size_t from, size_t len)
{
    memset(dst, 0xee, sizeof(dst));
    memset(want, 0xee, sizeof(want));
    memcpy(want + to, src + from, len);
    if (len >= 64) {
        nqi_copy_narrow(dst + to, src + from, len);
        ck_assert_msg(memcmp(dst, want, sizeof(dst)) == 0, "to %zu from %zu len %zu", to, from,
                      len);
        memset(dst, 0xee, sizeof(dst));
    }
    nqi_copy(dst + to, src + from, len);
    ck_assert_msg(memcmp(dst, want, sizeof(dst)) == 0, "to %zu from %zu len %zu", to, from, len);
}

START_TEST(lengths_around_every_step_copy_exactly)
{
    static const size_t bases[] = {0, 64, 128, 2048, 2112, 4096, 8192};

    for (size_t i = 0; i < NQI_LEN(bases); i++)
        for (size_t more = 0; more < 66; more++)
            check_copy(GUARD + more % 3, more % 5, bases[i] + more);
}
END_TEST

START_TEST(every_pair_of_positions_copies_exactly)
{
    for (size_t to = 0; to < GUARD; to++)
        for (size_t from = 0; from < GUARD; from += 3)
            check_copy(GUARD + to, from, 2049 + to % 7);
}
END_TEST

START_TEST(large_routine_takes_small_lengths_too)
{
    for (size_t len = 0; len < 300; len++) {
        memset(dst, 0xee, sizeof(dst));
        nqi_copy_large(dst + 1, src + 2, len);
        ck_assert_mem_eq(dst + 1, src + 2, len);
        ck_assert_uint_eq(dst[1 + len], 0xee);
        ck_assert_uint_eq(dst[0], 0xee);
    }
}
END_TEST

START_TEST(copies_beyond_the_caches_are_exact)
{
    size_t len = ((size_t)5 << 20) + 13;
    unsigned char *from = malloc(len), *to = malloc(len + 1);

    ck_assert(from && to);
    for (size_t i = 0; i < len; i++)
        from[i] = (unsigned char)(i ^ i >> 9);
    for (size_t part = len; part > 4096; part /= 2) {
        memset(to, 0, len);
        to[part] = 0xee;
        nqi_copy(to, from, part);
        ck_assert(memcmp(to, from, part) == 0);
        ck_assert_uint_eq(to[part], 0xee);
    }
    free(from);
    free(to);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("copy");
    TCase *tc = tcase_create("copy");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, lengths_around_every_step_copy_exactly);
    tcase_add_test(tc, every_pair_of_positions_copies_exactly);
    tcase_add_test(tc, large_routine_takes_small_lengths_too);
    tcase_add_test(tc, copies_beyond_the_caches_are_exact);
    suite_add_tcase(suite, tc);
    return suite;
}
