/* core/tomb.c: sessions that ended are remembered for a while, and not more than so many. */
#include "core/tomb.h"

#include "tests/support/suite.h"
#include <check.h>
#include <string.h>

static struct nqi_tombs tombs;
static const uint8_t key[NQI_KEY] = {1, 2, 3};

static nq_uuid id_of(uint32_t number)
{
    nq_uuid id = {{0}};

    memcpy(id.bytes, &number, sizeof(number));
    memcpy(id.bytes + 8, &number, sizeof(number));
    return id;
}

static void setup(void)
{
    nqi_tombs_init(&tombs);
}

static void teardown(void)
{
    nqi_tombs_fini(&tombs);
    ck_assert_uint_eq(tombs.count, 0);
}

static void add(uint32_t number, int64_t now)
{
    nq_uuid id = id_of(number);

    nqi_tombs_add(&tombs, &id, key, number, now);
}

static const struct nqi_tomb *find(uint32_t number, int64_t now)
{
    nq_uuid id = id_of(number);

    return nqi_tombs_find(&tombs, &id, now);
}

START_TEST(nothing_is_found_among_none)
{
    ck_assert_ptr_null(find(1, 0));
}
END_TEST

START_TEST(what_was_added_is_found_with_its_key)
{
    const struct nqi_tomb *tomb;

    add(1, 0);
    add(1u << 16, 0); /* the same first bytes: one bucket */
    ck_assert_ptr_null(find(2, 0));
    tomb = find(1, 0);
    ck_assert_ptr_nonnull(tomb);
    ck_assert_uint_eq(tomb->received, 1);
    ck_assert_mem_eq(tomb->key, key, NQI_KEY);
    tomb = find(1u << 16, 0);
    ck_assert_ptr_nonnull(tomb);
    ck_assert_uint_eq(tomb->received, 1u << 16);
}
END_TEST

START_TEST(it_is_forgotten_when_its_time_is_over)
{
    add(1, 0);
    add(2, 10);
    ck_assert_ptr_nonnull(find(1, NQI_TOMB_NS - 1));
    ck_assert_ptr_null(find(1, NQI_TOMB_NS));
    ck_assert_ptr_nonnull(find(2, NQI_TOMB_NS));
    add(3, NQI_TOMB_NS + 10);
    ck_assert_uint_eq(tombs.count, 1);
}
END_TEST

START_TEST(the_oldest_makes_room)
{
    for (uint32_t i = 0; i <= NQI_TOMBS; i++)
        add(i, 0);
    ck_assert_uint_eq(tombs.count, NQI_TOMBS);
    ck_assert_ptr_null(find(0, 0));
    ck_assert_ptr_nonnull(find(1, 0));
    ck_assert_ptr_nonnull(find(NQI_TOMBS, 0));
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tomb");
    TCase *tcase = nqtest_case(suite, "tombs", setup, teardown);

    tcase_add_test(tcase, nothing_is_found_among_none);
    tcase_add_test(tcase, what_was_added_is_found_with_its_key);
    tcase_add_test(tcase, it_is_forgotten_when_its_time_is_over);
    tcase_add_test(tcase, the_oldest_makes_room);
    return suite;
}
