/* core/datum_json.c: what JSON carries comes back, and what it cannot is named with its place. */
#include "core/datum.h"
#include "core/jsontext.h"
#include "core/pool.h"
#include "tests/support/alloc.h"
#include "tests/support/suite.h"
#include <math.h>
#include <string.h>

/* The value that `err` says was made. */
static nq_datum *must(nq_err err, nq_datum **datum)
{
    ck_assert_msg(!err, "%s", nq_error());
    return *datum;
}

static json_t *parse(const char *text)
{
    json_t *json = NULL;

    ck_assert_msg(!nqi_json_parse("test", text, strlen(text), 100, JSON_DECODE_ANY | JSON_ALLOW_NUL,
                                  NQ_ERR_PROTO, &json),
                  "%s", nq_error());
    return json;
}

static nq_datum *datum_of(const char *text)
{
    json_t *json = parse(text);
    nq_datum *datum = NULL;

    must(nq_datum_from_json(json, &datum), &datum);
    json_decref(json);
    return datum;
}

static const char everything[] = "{\"a\": [1, -2.5, true, false, null, \"t\\u00e9xt\\u0000\"],"
                                 " \"\": {}, \"b\": [[], {\"c\": 9223372036854775807}]}";

START_TEST(what_json_has_comes_back)
{
    nq_datum *datum = datum_of(everything);
    json_t *json = parse(everything), *again = NULL;

    ck_assert_int_eq(nq_datum_to_json(datum, &again), NQ_OK);
    ck_assert(json_equal(json, again));
    json_decref(json);
    json_decref(again);
    nq_datum_unref(datum);
}
END_TEST

static void becomes(nq_datum *datum, const char *text)
{
    json_t *json = NULL;

    ck_assert_msg(!nq_datum_to_json(datum, &json), "%s", nq_error());
    ck_assert_str_eq(json_string_value(json), text);
    json_decref(json);
    nq_datum_unref(datum);
}

START_TEST(uuids_and_times_become_texts)
{
    static const nq_uuid uuid = {{0x6f, 0x1c, 0x2f, 0x3e, 0x7c, 0x1b, 0x4b, 0x1e, 0x9d, 0x55, 0x0b,
                                  0x1f, 0x6a, 0x1d, 0x2c, 0x3e}};
    struct nq_time time = {.year = 5, .month = 2, .day = 3, .hour = 4, .minute = 5, .second = 6};
    nq_datum *datum = NULL, *zone = NULL;

    must(nq_datum_uuid(&uuid, &datum), &datum);
    becomes(datum, "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e");
    must(nq_datum_time(NQ_DATUM_DATE, &time, &datum), &datum);
    becomes(datum, "0005-02-03");
    must(nq_datum_time(NQ_DATUM_DATETIME, &time, &datum), &datum);
    becomes(datum, "0005-02-03T04:05:06");
    time.microsecond = 7;
    must(nq_datum_timezone(0, NULL, &zone), &zone);
    time.time_zone = zone;
    must(nq_datum_time(NQ_DATUM_TIME, &time, &datum), &datum);
    becomes(datum, "04:05:06.000007+00:00");
    nq_datum_unref(zone);
    must(nq_datum_timezone(-(INT64_C(5) * 3600 + 30 * 60 + 1) * 1000000 - 2, NULL, &zone), &zone);
    time.time_zone = zone;
    must(nq_datum_time(NQ_DATUM_DATETIME, &time, &datum), &datum);
    becomes(datum, "0005-02-03T04:05:06.000007-05:30:01.000002");
    nq_datum_unref(zone);
}
END_TEST

/* Put `datum` where the place of it is "/k/1". */
static void cannot(nq_datum *datum, const char *what)
{
    nq_datum *dict = NULL, *list = NULL, *key = NULL;
    json_t *json = NULL;

    must(nq_datum_container(NQ_DATUM_DICT, &dict), &dict);
    must(nq_datum_container(NQ_DATUM_TUPLE, &list), &list);
    must(nq_datum_str("k", 1, &key), &key);
    ck_assert_int_eq(nq_datum_append(list, nq_datum_none()), NQ_OK);
    ck_assert_int_eq(nq_datum_append(list, datum), NQ_OK);
    ck_assert_int_eq(nq_datum_insert(dict, key, list), NQ_OK);
    ck_assert_int_eq(nq_datum_to_json(dict, &json), NQ_ERR_UNSUPPORTED);
    ck_assert_msg(strstr(nq_error(), what) && strstr(nq_error(), "\"/k/1"), "%s", nq_error());
    nq_datum_unref(dict);
}

START_TEST(what_json_cannot_carry_is_named_with_its_place)
{
    nq_datum *datum = NULL, *key = NULL;

    must(nq_datum_bytes("a", 1, &datum), &datum);
    cannot(datum, "bytes");
    must(nq_datum_bytearray("a", 1, &datum), &datum);
    cannot(datum, "bytearray");
    must(nq_datum_bigint("123456789", 9, &datum), &datum);
    cannot(datum, "more than 64 bits");
    must(nq_datum_float(NAN, &datum), &datum);
    cannot(datum, "not finite");
    must(nq_datum_float(-INFINITY, &datum), &datum);
    cannot(datum, "not finite");
    must(nq_datum_str("\xed\xa0\x80", 3, &datum), &datum);
    cannot(datum, "surrogate");
    must(nq_datum_timedelta(&(struct nq_timedelta){1, 2, 3}, &datum), &datum);
    cannot(datum, "timedelta");
    must(nq_datum_timezone(0, NULL, &datum), &datum);
    cannot(datum, "timezone");
    must(nq_datum_scalar("|u1", "a", 1, &datum), &datum);
    cannot(datum, "numpy scalar");
    must(nq_datum_container(NQ_DATUM_DICT, &datum), &datum);
    must(nq_datum_int(3, &key), &key);
    ck_assert_int_eq(nq_datum_insert(datum, key, nq_datum_none()), NQ_OK);
    cannot(datum, "only str");
}
END_TEST

START_TEST(depth_and_unfolding_are_bounded)
{
    char text[2 * (NQ_DATUM_DEPTH + 1) + 1] = "";
    nq_datum *top = NULL, *next = NULL;
    json_t *json = NULL;

    for (size_t i = 0; i < NQ_DATUM_DEPTH + 1; i++) {
        text[i] = '[';
        text[2 * (NQ_DATUM_DEPTH + 1) - 1 - i] = ']';
    }
    json = parse(text);
    ck_assert_int_eq(nq_datum_from_json(json, &top), NQ_ERR_TOO_BIG);
    json_decref(json);
    text[2 * NQ_DATUM_DEPTH + 1] = 0;
    nq_datum_unref(datum_of(text + 1));

    must(nq_datum_str("x", 1, &top), &top);
    for (unsigned i = 0; i < 50; i++) {
        must(nq_datum_container(NQ_DATUM_LIST, &next), &next);
        ck_assert_int_eq(nq_datum_append(next, nq_datum_ref(top)), NQ_OK);
        ck_assert_int_eq(nq_datum_append(next, top), NQ_OK);
        top = next;
    }
    ck_assert_int_eq(nq_datum_to_json(top, &json), NQ_ERR_TOO_BIG);
    nq_datum_unref(top);
}
END_TEST

START_TEST(without_memory_nothing_is_lost)
{
    nq_datum *datum = datum_of(everything), *again = NULL;
    json_t *json = parse(everything), *made = NULL;
    unsigned n = 1;

    for (;; n++) {
        nq_err err;

        nqtest_alloc_fail_at(n);
        err = nq_datum_to_json(datum, &made);
        if (!nqtest_alloc_disarm())
            break;
        if (!err) /* jansson did without */
            json_decref(made);
        else
            ck_assert_int_eq(err, NQ_ERR_NOMEM);
    }
    json_decref(made);
    for (n = 1;; n++) {
        nqi_pool_fail_after(n);
        if (!nq_datum_from_json(json, &again))
            break;
    }
    nqi_pool_fail_after(0);
    ck_assert(nq_datum_equal(datum, again));
    nq_datum_unref(again);
    nq_datum_unref(datum);
    json_decref(json);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("datum_json");
    TCase *tc = tcase_create("datum_json");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, what_json_has_comes_back);
    tcase_add_test(tc, uuids_and_times_become_texts);
    tcase_add_test(tc, what_json_cannot_carry_is_named_with_its_place);
    tcase_add_test(tc, depth_and_unfolding_are_bounded);
    tcase_add_test(tc, without_memory_nothing_is_lost);
    suite_add_tcase(suite, tc);
    return suite;
}
