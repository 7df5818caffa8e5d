/* core/datum*.c but for JSON: what is made is what is read, and what breaks a rule is not made. */
#include "core/datum.h"
#include "core/pool.h"
#include "tests/support/suite.h"
#include <math.h>
#include <string.h>

/* The value that `err` says was made. */
static nq_datum *must(nq_err err, nq_datum **datum)
{
    ck_assert_msg(!err, "%s", nq_error());
    return *datum;
}

static nq_datum *number(int64_t value)
{
    nq_datum *datum = NULL;

    return must(nq_datum_int(value, &datum), &datum);
}

static nq_datum *text(const char *value)
{
    nq_datum *datum = NULL;

    return must(nq_datum_str(value, strlen(value), &datum), &datum);
}

static nq_datum *container(nq_datum_kind kind)
{
    nq_datum *datum = NULL;

    return must(nq_datum_container(kind, &datum), &datum);
}

/* ---- numbers ---- */

START_TEST(an_int_of_any_size_comes_back_in_as_few_bytes_as_it_has)
{
    static const int64_t values[] = {0,         1,         127,    128,     255,       256,
                                     -1,        -128,      -129,   32767,   INT32_MAX, INT32_MIN,
                                     INT64_MAX, INT64_MIN, -32768, 1 << 23, -(1 << 23)};
    uint8_t bytes[16], again[16];
    size_t len;
    int64_t value;

    for (size_t i = 0; i < NQI_LEN(values); i++) {
        nq_datum *datum = number(values[i]), *same = NULL;

        ck_assert_int_eq(nq_datum_get_bigint(datum, bytes, sizeof(bytes), &len), NQ_OK);
        ck_assert(len <= 8 && (values[i] || len == 0));
        if (len > 1) /* the last byte is no mere repetition of the sign */
            ck_assert(bytes[len - 1] != (bytes[len - 2] & 0x80 ? 0xff : 0));
        must(nq_datum_bigint(bytes, len, &same), &same);
        ck_assert_int_eq(nq_datum_get_int(same, &value), NQ_OK);
        ck_assert_int_eq(value, values[i]);
        ck_assert(nq_datum_equal(datum, same));
        nq_datum_unref(same);
        nq_datum_unref(datum);
    }
    for (size_t n = 9; n < 15; n++)
        for (unsigned sign = 0; sign < 2; sign++) {
            nq_datum *datum = NULL;

            memset(bytes, sign ? 0x55 : 0xaa, n);
            memset(bytes + n, sign ? 0 : 0xff, sizeof(bytes) - n); /* more of the sign */
            must(nq_datum_bigint(bytes, sizeof(bytes), &datum), &datum);
            ck_assert_int_eq(nq_datum_get_int(datum, &value), NQ_AGAIN);
            ck_assert_int_eq(nq_datum_get_bigint(datum, again, n - 1, &len), NQ_AGAIN);
            ck_assert_uint_eq(len, n);
            ck_assert_int_eq(nq_datum_get_bigint(datum, again, n, &len), NQ_OK);
            ck_assert_mem_eq(again, bytes, n);
            nq_datum_unref(datum);
        }
}
END_TEST

START_TEST(a_getter_refuses_each_other_kind)
{
    nq_datum *datum = NULL;
    struct nq_timedelta delta;
    struct nq_array array;
    struct nq_time time;
    const char *data;
    nq_uuid uuid;
    int64_t i64;
    double real;
    size_t len;
    bool truth;

    must(nq_datum_float(1.5, &datum), &datum);
    ck_assert_int_eq(nq_datum_get_float(datum, &real), NQ_OK);
    ck_assert(real == 1.5);
    ck_assert_int_eq(nq_datum_get_float(nq_datum_none(), &real), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_get_bool(datum, &truth), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_get_bool(nq_datum_bool(true), &truth), NQ_OK);
    ck_assert(truth);
    ck_assert_int_eq(nq_datum_get_int(datum, &i64), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_get_bigint(datum, &i64, 8, &len), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_get_bytes(datum, &data, &len), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_get_uuid(datum, &uuid), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_get_time(datum, &time), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_get_timezone(datum, &i64, &data), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_get_timedelta(datum, &delta), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_get_array(datum, &array), NQ_ERR_INVAL);
    ck_assert_uint_eq(nq_datum_count(datum), 0);
    ck_assert_ptr_null(nq_datum_item(datum, 0));
    ck_assert_ptr_null(nq_datum_value(datum, 0));
    ck_assert_ptr_null(nq_datum_find(datum, "a"));
    ck_assert_int_eq(nq_datum_append(datum, number(1)), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_insert(datum, number(1), number(1)), NQ_ERR_INVAL);
    nq_datum_unref(datum);
    for (int kind = 0; kind < (int)NQ_DATUM_KINDS; kind++)
        ck_assert(strlen(nq_datum_kind_text((nq_datum_kind)kind)) > 2);
    ck_assert_int_eq(nq_datum_container(NQ_DATUM_INT, &datum), NQ_ERR_INVAL);
}
END_TEST

START_TEST(a_text_is_utf8_and_may_have_lone_surrogates)
{
    static const struct {
        const char *bytes;
        bool is_text, is_utf8;
    } cases[] = {{"", true, true},
                 {"a\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8d", true, true},
                 {"\xed\xa0\x80", true, false},
                 {"a\xed\xbf\xbf\xed\xa0\x80z", true, false},
                 {"\xed\x9f\xbf", true, true},
                 {"\xed\xa0", false, false},
                 {"\xed\xa0\x28", false, false},
                 {"\xc0\x80", false, false},
                 {"\xed\xa0\x80\xff", false, false},
                 {"\xe2\x82", false, false}};

    for (size_t i = 0; i < NQI_LEN(cases); i++) {
        nq_datum *datum = NULL;
        nq_err err = nq_datum_str(cases[i].bytes, strlen(cases[i].bytes), &datum);

        ck_assert_msg((err == NQ_OK) == cases[i].is_text, "text %zu", i);
        if (!err)
            ck_assert_msg(nqi_datum_is_utf8(datum) == cases[i].is_utf8, "text %zu", i);
        nq_datum_unref(datum);
    }
}
END_TEST

/* ---- containers ---- */

START_TEST(what_is_inside_of_another_is_fixed_so_there_are_no_cycles)
{
    nq_datum *outer = container(NQ_DATUM_LIST), *inner = container(NQ_DATUM_LIST);

    ck_assert_int_eq(nq_datum_append(outer, outer), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_append(outer, nq_datum_ref(inner)), NQ_OK);
    ck_assert_int_eq(nq_datum_append(inner, outer), NQ_ERR_INVAL);
    ck_assert_ptr_nonnull(strstr(nq_error(), "inside of itself"));
    ck_assert_int_eq(nq_datum_append(inner, nq_datum_none()), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_append(outer, inner), NQ_OK); /* the same once more */
    ck_assert_ptr_eq(nq_datum_item(outer, 0), nq_datum_item(outer, 1));
    ck_assert_ptr_null(nq_datum_item(outer, 2));
    nq_datum_unref(outer);
}
END_TEST

START_TEST(depth_is_bounded)
{
    nq_datum *top = number(1000), *next;

    for (unsigned i = 1; i < NQ_DATUM_DEPTH; i++) {
        next = container(i % 2 ? NQ_DATUM_LIST : NQ_DATUM_TUPLE);
        ck_assert_int_eq(nq_datum_append(next, top), NQ_OK);
        top = next;
    }
    next = container(NQ_DATUM_LIST);
    ck_assert_int_eq(nq_datum_append(next, top), NQ_ERR_TOO_BIG);
    nq_datum_unref(next);
    nq_datum_unref(top);
}
END_TEST

START_TEST(what_python_cannot_hash_is_no_key_and_in_no_set)
{
    static const nq_datum_kind bad[] = {NQ_DATUM_LIST, NQ_DATUM_DICT, NQ_DATUM_SET};
    nq_datum *dict = container(NQ_DATUM_DICT), *set = container(NQ_DATUM_SET);
    nq_datum *tuple = container(NQ_DATUM_TUPLE), *array = NULL;

    for (size_t i = 0; i < NQI_LEN(bad); i++) {
        nq_datum *item = container(bad[i]);

        ck_assert_int_eq(nq_datum_append(set, item), NQ_ERR_INVAL);
        ck_assert_int_eq(nq_datum_insert(dict, item, nq_datum_none()), NQ_ERR_INVAL);
        nq_datum_unref(item);
    }
    ck_assert_int_eq(nq_datum_append(tuple, container(NQ_DATUM_LIST)), NQ_OK);
    ck_assert_int_eq(nq_datum_append(set, tuple), NQ_ERR_INVAL);
    nq_datum_unref(tuple);
    must(nq_datum_scalar("<f8", "12345678", 8, &array), &array);
    ck_assert_int_eq(nq_datum_append(set, array), NQ_OK);
    ck_assert_int_eq(nq_datum_append(set, container(NQ_DATUM_FROZENSET)), NQ_OK);
    ck_assert_int_eq(nq_datum_append(set, container(NQ_DATUM_TUPLE)), NQ_OK);
    ck_assert_uint_eq(nq_datum_count(set), 3);
    ck_assert_int_eq(nq_datum_append(dict, nq_datum_none()), NQ_ERR_INVAL);
    nq_datum_unref(set);
    nq_datum_unref(dict);
}
END_TEST

START_TEST(a_dict_finds_the_last_of_equal_keys)
{
    nq_datum *dict = container(NQ_DATUM_DICT);
    int64_t value = 0;

    for (int64_t i = 0; i < 5000; i++)
        ck_assert_int_eq(nq_datum_insert(dict, text(i % 2 ? "odd" : "even"), number(i)), NQ_OK);
    ck_assert_uint_eq(nq_datum_count(dict), 5000);
    ck_assert_int_eq(nq_datum_get_int(nq_datum_find(dict, "odd"), &value), NQ_OK);
    ck_assert_int_eq(value, 4999);
    ck_assert_int_eq(nq_datum_get_int(nq_datum_value(dict, 7), &value), NQ_OK);
    ck_assert_int_eq(value, 7);
    ck_assert_ptr_null(nq_datum_find(dict, "od"));
    ck_assert_ptr_null(nq_datum_value(dict, 5000));
    nq_datum_unref(dict);
}
END_TEST

/* A list of twice a list of twice a list: quickly written, and beyond all memory when unfolded. */
static nq_datum *folded(unsigned levels)
{
    nq_datum *top = text("x"), *next;

    while (levels--) {
        next = container(NQ_DATUM_LIST);
        ck_assert_int_eq(nq_datum_append(next, nq_datum_ref(top)), NQ_OK);
        ck_assert_int_eq(nq_datum_append(next, top), NQ_OK);
        top = next;
    }
    return top;
}

START_TEST(what_unfolds_beyond_all_bounds_is_not_walked)
{
    nq_datum *a = folded(60), *b = folded(60), *c = folded(10), *d = folded(10);

    ck_assert(a->weight > NQ_DATUM_UNFOLD);
    ck_assert(nq_datum_equal(a, a));
    ck_assert(!nq_datum_equal(a, b)); /* at once */
    ck_assert(nq_datum_equal(c, d));
    nq_datum_unref(a);
    nq_datum_unref(b);
    nq_datum_unref(c);
    nq_datum_unref(d);
}
END_TEST

/* ---- time and numpy ---- */

START_TEST(a_time_that_does_not_exist_is_refused)
{
    static const struct nq_time good = {2024, 2, 29, 23, 59, 59, 1, 999999, NULL};
    static const struct nq_time bad[] = {
        {0, 1, 1, 0, 0, 0, 0, 0, NULL},          {10000, 1, 1, 0, 0, 0, 0, 0, NULL},
        {2023, 2, 29, 0, 0, 0, 0, 0, NULL},      {1900, 2, 29, 0, 0, 0, 0, 0, NULL},
        {2024, 0, 1, 0, 0, 0, 0, 0, NULL},       {2024, 13, 1, 0, 0, 0, 0, 0, NULL},
        {2024, 4, 31, 0, 0, 0, 0, 0, NULL},      {2024, 1, 0, 0, 0, 0, 0, 0, NULL},
        {2024, 1, 1, 24, 0, 0, 0, 0, NULL},      {2024, 1, 1, 0, 60, 0, 0, 0, NULL},
        {2024, 1, 1, 0, 0, 60, 0, 0, NULL},      {2024, 1, 1, 0, 0, 0, 2, 0, NULL},
        {2024, 1, 1, 0, 0, 0, 0, 1000000, NULL},
    };
    nq_datum *datum = NULL, *zone = NULL;
    struct nq_time time = good;
    const char *name;
    int64_t offset;

    for (size_t i = 0; i < NQI_LEN(bad); i++)
        ck_assert_int_eq(nq_datum_time(NQ_DATUM_DATETIME, &bad[i], &datum), NQ_ERR_INVAL);
    must(nq_datum_timezone(-3600000000, "a name that is longer than the block", &zone), &zone);
    time.time_zone = zone;
    must(nq_datum_time(NQ_DATUM_DATETIME, &time, &datum), &datum);
    nq_datum_unref(zone);
    ck_assert_int_eq(nq_datum_get_time(datum, &time), NQ_OK);
    ck_assert(time.year == 2024 && time.day == 29 && time.fold == 1 && time.microsecond == 999999);
    ck_assert_int_eq(nq_datum_get_timezone(time.time_zone, &offset, &name), NQ_OK);
    ck_assert_int_eq(offset, -3600000000);
    ck_assert_str_eq(name, "a name that is longer than the block");
    nq_datum_unref(datum);
    ck_assert_int_eq(nq_datum_time(NQ_DATUM_INT, &good, &datum), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_timezone(INT64_C(86400000000), NULL, &datum), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_timezone(0, "\xff", &datum), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_datum_timedelta(&(struct nq_timedelta){0, 86400, 0}, &datum), NQ_ERR_INVAL);
    time = good;
    time.time_zone = nq_datum_none();
    ck_assert_int_eq(nq_datum_time(NQ_DATUM_TIME, &time, &datum), NQ_ERR_INVAL);
}
END_TEST

START_TEST(dtypes_are_known_or_refused)
{
    static const struct {
        const char *dtype;
        size_t size;
    } cases[] = {{"<f8", 8},   {"|b1", 1},     {"|u1", 1},       {">i8", 8},
                 {"<c16", 16}, {"<f16", 16},   {"<U5", 20},      {"|S3", 3},
                 {"|V7", 7},   {"<M8[ns]", 8}, {"<m8[25us]", 8}, {">M8", 8},
                 {"<f3", 0},   {"<u1", 0},     {"|i4", 0},       {"|O8", 0},
                 {"O", 0},     {"", 0},        {"<", 0},         {"f8", 0},
                 {"<f8x", 0},  {"<M8[xs]", 0}, {"<M8[0ns]", 0},  {"<M8[", 0},
                 {"<f08", 0},  {"=f8", 0},     {"<U", 0},        {"|S9999999999", 0},
                 {"<f40", 0},  {"<M4[ns]", 0}};
    static const uint64_t huge[] = {UINT64_C(1) << 33, UINT64_C(1) << 33};
    static const uint64_t none[] = {0, 1000};
    struct nq_array array = {.dtype = "<f8", .ndim = 2, .shape = huge, .data = "", .len = 0};
    nq_datum *datum = NULL;

    for (size_t i = 0; i < NQI_LEN(cases); i++)
        ck_assert_msg(nqi_datum_dtype_size(cases[i].dtype) == cases[i].size, "%s", cases[i].dtype);
    ck_assert_int_eq(nq_datum_array(&array, &datum), NQ_ERR_INVAL); /* 2^66 items are 0, nearly */
    array.shape = none;
    must(nq_datum_array(&array, &datum), &datum);
    ck_assert_int_eq(nq_datum_get_array(datum, &array), NQ_OK);
    ck_assert(array.ndim == 2 && array.shape[1] == 1000 && array.len == 0);
    nq_datum_unref(datum);
    array = (struct nq_array){.dtype = "<f8", .data = "12345678", .len = 7};
    ck_assert_int_eq(nq_datum_array(&array, &datum), NQ_ERR_INVAL);
    array.dtype = "<O8";
    ck_assert_int_eq(nq_datum_array(&array, &datum), NQ_ERR_INVAL);
    array = (struct nq_array){.dtype = "|u1", .ndim = NQ_DATUM_DIMS + 1, .shape = huge};
    ck_assert_int_eq(nq_datum_array(&array, &datum), NQ_ERR_INVAL);
}
END_TEST

/* ---- memory ---- */

static nq_err make_one_of_each(nq_datum **ret)
{
    static const uint64_t shape[] = {2};
    const struct nq_array array = {
        .dtype = "|u1", .ndim = 1, .shape = shape, .data = "ab", .len = 2};
    nq_datum *list = NULL, *item = NULL;
    nq_err err = nq_datum_container(NQ_DATUM_LIST, &list);

    for (unsigned i = 0; !err && i < 40; i++) {
        err = i % 2 ? nq_datum_array(&array, &item) : nq_datum_timezone(60000000, "x", &item);
        if (!err)
            err = nq_datum_append(list, item);
        if (!err)
            item = NULL;
    }
    nq_datum_unref(item);
    if (err)
        nq_datum_unref(list);
    else
        *ret = list;
    return err;
}

START_TEST(without_memory_nothing_is_made_and_nothing_lost)
{
    nq_datum *datum = NULL;
    unsigned n = 1;

    for (;; n++) {
        nqi_pool_fail_after(n);
        if (!make_one_of_each(&datum))
            break;
        ck_assert(n < 1000);
    }
    nqi_pool_fail_after(0);
    ck_assert(n > 40);
    nq_datum_unref(datum);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("datum");
    TCase *tc = tcase_create("datum");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, an_int_of_any_size_comes_back_in_as_few_bytes_as_it_has);
    tcase_add_test(tc, a_getter_refuses_each_other_kind);
    tcase_add_test(tc, a_text_is_utf8_and_may_have_lone_surrogates);
    tcase_add_test(tc, what_is_inside_of_another_is_fixed_so_there_are_no_cycles);
    tcase_add_test(tc, depth_is_bounded);
    tcase_add_test(tc, what_python_cannot_hash_is_no_key_and_in_no_set);
    tcase_add_test(tc, a_dict_finds_the_last_of_equal_keys);
    tcase_add_test(tc, what_unfolds_beyond_all_bounds_is_not_walked);
    tcase_add_test(tc, a_time_that_does_not_exist_is_refused);
    tcase_add_test(tc, dtypes_are_known_or_refused);
    tcase_add_test(tc, without_memory_nothing_is_made_and_nothing_lost);
    suite_add_tcase(suite, tc);
    return suite;
}
