/* core/source.c: where strangers come from, and who of them fails too often. */
#include "core/source.h"

#include "tests/support/suite.h"
#include <check.h>
#include <stdio.h>

#define FAILURES 10u
#define PART (NQI_SOURCE_WINDOW_NS / FAILURES)

static struct nqi_sources sources;
static const struct nqi_source nowhere;

static void setup(void)
{
    nqi_sources_init(&sources, 12345, FAILURES);
}

static void teardown(void)
{
    nqi_sources_fini(&sources);
}

static struct nqi_source source_of(unsigned number)
{
    char address[64];

    snprintf(address, sizeof(address), "127.%u.%u.%u:4711", number >> 16 & 255, number >> 8 & 255,
             number & 255);
    return nqi_source_read(address);
}

static bool misses(unsigned number, int64_t now)
{
    const struct nqi_source source = source_of(number);

    return nqi_sources_fail(&sources, &source, now);
}

static bool is_barred(unsigned number, int64_t now)
{
    const struct nqi_source source = source_of(number);

    return nqi_sources_is_barred(&sources, &source, now);
}

static void come(unsigned number)
{
    const struct nqi_source source = source_of(number);

    nqi_sources_come(&sources, &source);
}

static void leave(unsigned number, int64_t now)
{
    const struct nqi_source source = source_of(number);

    nqi_sources_leave(&sources, &source, now);
}

static uint32_t strangers(unsigned number)
{
    const struct nqi_source source = source_of(number);

    return nqi_sources_strangers(&sources, &source);
}

/* ---- addresses ---- */

static const struct {
    const char *address, *text; /* "nowhere": it is none */
} addresses[] = {
    {"127.0.0.1:4711", "127.0.0.1"},
    {"203.0.113.255:1", "203.0.113.255"},
    {"[::1]:4711", "::/64"},
    {"[2001:db8:1:2:3:4:5:6]:65535", "2001:db8:1:2::/64"},
    {"[fe80::1%2]:4711", "fe80::/64"},
    {"[fe80::1%eth0]:4711", "fe80::/64"},
    {"[::ffff:10.1.2.3]:7", "10.1.2.3"},
    {"", "nowhere"},
    {":", "nowhere"},
    {"[", "nowhere"},
    {"[]:1", "nowhere"},
    {"[::1]", "nowhere"},
    {"[::1]x:1", "nowhere"},
    {"[::1%]", "nowhere"},
    {"127.0.0.1", "nowhere"},
    {"127.0.0.1:", "nowhere"},
    {"127.0.0.1:80x", "nowhere"},
    {"127.0.0.1:80:80", "nowhere"},
    {"::1:80", "nowhere"},
    {"127.0.0.256:80", "nowhere"},
    {"peer:7", "nowhere"},
    {"shm:/run/socket", "nowhere"},
    {"broker.example:1883/0123456789abcdef-1", "nowhere"},
    {"1111111111111111111111111111111111111111111111111111111111111:1", "nowhere"},
};

START_TEST(an_address_has_one_source_whatever_its_port)
{
    const struct nqi_source source = nqi_source_read(addresses[_i].address);
    char text[NQI_SOURCE_TEXT];

    nqi_source_write(&source, text);
    ck_assert_str_eq(text, addresses[_i].text);
    ck_assert_int_eq(nqi_source_equal(&source, &nowhere), addresses[_i].text[0] == 'n');
}
END_TEST

START_TEST(one_network_of_ipv6_is_one_source_and_no_other)
{
    const struct nqi_source one = nqi_source_read("[2001:db8::1]:1"),
                            near = nqi_source_read("[2001:db8::ffff:ffff:ffff:ffff]:2"),
                            far = nqi_source_read("[2001:db8:0:1::1]:1"),
                            four = nqi_source_read("0.0.0.0:1"), zero = nqi_source_read("[::]:1");

    ck_assert(nqi_source_equal(&one, &near));
    ck_assert(!nqi_source_equal(&one, &far));
    ck_assert(!nqi_source_equal(&four, &zero));
}
END_TEST

/* ---- strangers ---- */

START_TEST(strangers_are_counted_for_each_source)
{
    come(1);
    come(1);
    come(2);
    ck_assert_uint_eq(strangers(1), 2);
    ck_assert_uint_eq(strangers(2), 1);
    ck_assert_uint_eq(strangers(3), 0);
    leave(1, 0);
    ck_assert_uint_eq(strangers(1), 1);
    leave(1, 0);
    leave(1, 0); /* one that came uncounted */
    ck_assert_uint_eq(strangers(1), 0);
    ck_assert_uint_eq(strangers(2), 1);
    ck_assert_uint_eq(sources.nidle, 0);
}
END_TEST

START_TEST(who_comes_from_nowhere_is_not_counted)
{
    for (unsigned i = 0; i < 5 * FAILURES; i++) {
        nqi_sources_come(&sources, &nowhere);
        ck_assert(!nqi_sources_fail(&sources, &nowhere, 0));
    }
    ck_assert_uint_eq(nqi_sources_strangers(&sources, &nowhere), 0);
    ck_assert(!nqi_sources_is_barred(&sources, &nowhere, 0));
    nqi_sources_leave(&sources, &nowhere, 0);
}
END_TEST

/* ---- failures ---- */

START_TEST(so_many_failures_bar_a_source_and_no_other)
{
    for (unsigned i = 0; i + 1 < FAILURES; i++)
        ck_assert(!misses(1, 100));
    ck_assert(!is_barred(1, 100));
    ck_assert(misses(1, 100));
    ck_assert(is_barred(1, 100));
    ck_assert(!is_barred(2, 100));
    ck_assert(!misses(1, 100)); /* told once */
    ck_assert(!misses(2, 100));
}
END_TEST

START_TEST(failures_are_forgiven_one_by_one)
{
    int64_t now = 1000;

    for (unsigned i = 0; i < FAILURES; i++)
        misses(1, now);
    ck_assert(is_barred(1, now + PART - 1));
    now += PART;
    ck_assert(!is_barred(1, now));
    ck_assert(misses(1, now)); /* and one more bars it again, for as long */
    ck_assert(is_barred(1, now));
    ck_assert(!is_barred(1, now + PART));
}
END_TEST

START_TEST(who_fails_more_slowly_is_never_barred)
{
    for (int64_t now = 1, i = 0; i < 1000; i++, now += PART)
        ck_assert(!misses(1, now));
}
END_TEST

/* What was on its way when the source was barred lengthens nothing. */
START_TEST(who_is_barred_fails_no_more)
{
    for (unsigned i = 0; i < 1000 * FAILURES; i++)
        misses(1, 1);
    ck_assert(is_barred(1, 1));
    ck_assert(!is_barred(1, 1 + PART));
}
END_TEST

START_TEST(any_number_may_be_allowed)
{
    nqi_sources_init(&sources, 1, UINT32_MAX);
    for (unsigned i = 0; i < 10000; i++)
        ck_assert(!misses(1, 1));
    ck_assert(!is_barred(1, 1));
    ck_assert_uint_eq(sources.nidle, 0);
}
END_TEST

/* Exactly so many fit, also where they do not divide the window. */
START_TEST(each_number_of_failures_may_be_the_limit)
{
    static const uint32_t limits[] = {1, 2, 3, 7, 600, 99999, 100000};
    uint32_t limit = limits[_i];

    nqi_sources_init(&sources, 1, limit);
    for (uint32_t i = 0; i + 1 < limit; i++)
        ck_assert(!misses(1, 1));
    ck_assert(misses(1, 1));
    ck_assert(is_barred(1, 1 + NQI_SOURCE_WINDOW_NS / limit / 2));
    ck_assert(!is_barred(1, 1 + NQI_SOURCE_WINDOW_NS / limit));
}
END_TEST

/* ---- how much is kept ---- */

START_TEST(of_failures_alone_only_so_many_sources_are_kept_the_latest)
{
    for (unsigned i = 0; i < FAILURES; i++)
        misses(0, 1);
    for (unsigned i = 1; i < NQI_SOURCES; i++)
        misses(i, 2);
    ck_assert(is_barred(0, 2));
    ck_assert_uint_eq(sources.nidle, NQI_SOURCES);
    misses(NQI_SOURCES, 2);
    ck_assert_uint_eq(sources.nidle, NQI_SOURCES);
    ck_assert(!is_barred(0, 2)); /* the oldest, forgotten */
    for (unsigned i = 0; i + 1 < FAILURES; i++)
        misses(1, 2); /* now the latest */
    for (unsigned i = 2; i <= NQI_SOURCES; i++)
        misses(NQI_SOURCES + i, 2);
    ck_assert(is_barred(1, 2));
    ck_assert_uint_eq(sources.nidle, NQI_SOURCES);
}
END_TEST

START_TEST(a_source_whose_strangers_are_there_is_not_forgotten)
{
    come(0);
    for (unsigned i = 0; i < FAILURES; i++)
        misses(0, 1);
    for (unsigned i = 1; i < 3 * NQI_SOURCES; i++)
        misses(i, 1);
    ck_assert(is_barred(0, 1));
    ck_assert_uint_eq(strangers(0), 1);
    leave(0, 1);
    ck_assert(is_barred(0, 1));
    ck_assert_uint_eq(sources.nidle, NQI_SOURCES);
}
END_TEST

START_TEST(what_is_forgiven_is_not_kept)
{
    misses(1, 1);
    ck_assert_uint_eq(sources.nidle, 1);
    come(1);
    ck_assert_uint_eq(sources.nidle, 0);
    leave(1, 1 + PART);
    ck_assert_uint_eq(sources.nidle, 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("source");
    TCase *address = nqtest_case(suite, "addresses", setup, teardown),
          *counts = nqtest_case(suite, "strangers", setup, teardown),
          *failures = nqtest_case(suite, "failures", setup, teardown),
          *room = nqtest_case(suite, "room", setup, teardown);

    tcase_add_loop_test(address, an_address_has_one_source_whatever_its_port, 0,
                        NQI_LEN(addresses));
    tcase_add_test(address, one_network_of_ipv6_is_one_source_and_no_other);
    tcase_add_test(counts, strangers_are_counted_for_each_source);
    tcase_add_test(counts, who_comes_from_nowhere_is_not_counted);
    tcase_add_test(failures, so_many_failures_bar_a_source_and_no_other);
    tcase_add_test(failures, failures_are_forgiven_one_by_one);
    tcase_add_test(failures, who_fails_more_slowly_is_never_barred);
    tcase_add_test(failures, who_is_barred_fails_no_more);
    tcase_add_test(failures, any_number_may_be_allowed);
    tcase_add_loop_test(failures, each_number_of_failures_may_be_the_limit, 0, 7);
    tcase_add_test(room, of_failures_alone_only_so_many_sources_are_kept_the_latest);
    tcase_add_test(room, a_source_whose_strangers_are_there_is_not_forgotten);
    tcase_add_test(room, what_is_forgiven_is_not_kept);
    return suite;
}
