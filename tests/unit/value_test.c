/* core/value.c: numbers with units, words that stand for numbers, choices, paths, lists. */
#include "core/value.h"
#include "tests/support/alloc.h"
#include <check.h>
#include <string.h>

static const char *const colours[] = {"red", "green", "blue", NULL};

static const struct nqt_opt opt_bool = {.name = "b", .type = NQT_OPT_BOOL};
static const struct nqt_opt opt_int = {.name = "i", .type = NQT_OPT_INT, .min = 1, .max = 64};
static const struct nqt_opt opt_any = {.name = "a", .type = NQT_OPT_INT};
static const struct nqt_opt opt_count = {
    .name = "n", .type = NQT_OPT_INT, .min = 1, .max = INT64_MAX, .flags = NQI_OPT_UNLIMITED};
static const struct nqt_opt opt_size = {
    .name = "s", .type = NQT_OPT_SIZE, .min = 4096, .max = 1 << 24};
static const struct nqt_opt opt_open = {.name = "o", .type = NQT_OPT_SIZE, .min = -1};
static const struct nqt_opt opt_time = {.name = "t",
                                        .type = NQT_OPT_DURATION,
                                        .min = NQI_NS_PER_MS,
                                        .max = 3600 * NQI_NS_PER_S,
                                        .flags = NQI_OPT_OFF};
static const struct nqt_opt opt_plain_time = {.name = "p", .type = NQT_OPT_DURATION};
static const struct nqt_opt opt_spin = {
    .name = "spin", .type = NQT_OPT_DURATION, .flags = NQI_OPT_AUTO | NQI_OPT_OFF};
static const struct nqt_opt opt_enum = {.name = "e", .type = NQT_OPT_ENUM, .choices = colours};
static const struct nqt_opt opt_str = {.name = "x", .type = NQT_OPT_STR};
static const struct nqt_opt opt_path = {.name = "f", .type = NQT_OPT_PATH};
static const struct nqt_opt opt_list = {.name = "l", .type = NQT_OPT_LIST};
static const struct nqt_opt opt_dirs = {
    .name = "d", .type = NQT_OPT_LIST, .flags = NQI_OPT_ABSOLUTE};
static const struct nqt_opt opt_secret = {
    .name = "pw", .type = NQT_OPT_INT, .min = 1, .max = 9, .flags = NQT_OPT_SECRET};

/* Read `text`, one JSON value, from the folder /etc/nq. */
static nq_err read_value(const struct nqt_opt *opt, const char *text, struct nqi_value *value,
                         char why[NQI_WHY])
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    nq_err err;

    ck_assert_ptr_nonnull(json);
    why[0] = '\0';
    err = nqi_value_read(opt, json, "/etc/nq", value, why);
    json_decref(json);
    return err;
}

static const struct {
    const struct nqt_opt *opt;
    const char *text;
    int64_t num;
} fine[] = {
    {&opt_bool, "true", 1},
    {&opt_bool, "false", 0},
    {&opt_int, "1", 1},
    {&opt_int, "64", 64},
    {&opt_any, "-9223372036854775808", INT64_MIN},
    {&opt_any, "0", 0},
    {&opt_count, "-1", -1},
    {&opt_count, "\"unlimited\"", -1},
    {&opt_count, "9223372036854775807", INT64_MAX},
    {&opt_size, "4096", 4096},
    {&opt_size, "\"4096\"", 4096},
    {&opt_size, "\"4096B\"", 4096},
    {&opt_size, "\"4KiB\"", 4096},
    {&opt_size, "\"16 MiB\"", 1 << 24},
    {&opt_open, "\"5GiB\"", INT64_C(5) << 30},
    {&opt_open, "\"8388607TiB\"", INT64_C(8388607) << 40},
    {&opt_open, "0", 0},
    {&opt_open, "-1", -1},
    {&opt_open, "\"unlimited\"", -1},
    {&opt_time, "\"30s\"", 30 * NQI_NS_PER_S},
    {&opt_time, "\"1000000ns\"", NQI_NS_PER_MS},
    {&opt_time, "\"1000us\"", NQI_NS_PER_MS},
    {&opt_time, "\"1 ms\"", NQI_NS_PER_MS},
    {&opt_time, "\"60min\"", 3600 * NQI_NS_PER_S},
    {&opt_time, "\"1h\"", 3600 * NQI_NS_PER_S},
    {&opt_time, "\"off\"", 0},
    {&opt_time, "0", 0},
    {&opt_plain_time, "0", 0},
    {&opt_plain_time, "\"0\"", 0},
    {&opt_plain_time, "\"2562047h\"", INT64_C(2562047) * 3600 * NQI_NS_PER_S},
    {&opt_spin, "\"auto\"", -1},
    {&opt_spin, "\"off\"", 0},
    {&opt_spin, "\"50us\"", 50 * NQI_NS_PER_US},
    {&opt_enum, "\"red\"", 0},
    {&opt_enum, "\"blue\"", 2},
};

START_TEST(numbers_units_and_words_are_read)
{
    struct nqi_value value = {0};
    char why[NQI_WHY];

    ck_assert_int_eq(read_value(fine[_i].opt, fine[_i].text, &value, why), NQ_OK);
    ck_assert(value.set);
    ck_assert_int_eq(value.num, fine[_i].num);
    nqi_value_fini(&value);
    ck_assert(!value.set);
}
END_TEST

static const struct {
    const struct nqt_opt *opt;
    const char *text, *part; /* part of the reason */
} wrong[] = {
    {&opt_bool, "1", "must be true or false, not 1"},
    {&opt_bool, "\"true\"", "true or false, not \"true\""},
    {&opt_bool, "null", "not null"},
    {&opt_int, "0", "must be 1 to 64, not 0"},
    {&opt_int, "65", "must be 1 to 64, not 65"},
    {&opt_int, "1.5", "whole number: 1 to 64, not 1.5"},
    {&opt_int, "\"5\"", "whole number"},
    {&opt_int, "-1", "must be 1 to 64"},
    {&opt_int, "\"unlimited\"", "whole number"},
    {&opt_count, "0", "\"unlimited\" or 1 or more, not 0"},
    {&opt_count, "-2", "\"unlimited\" or 1 or more"},
    {&opt_size, "\"4KB\"", "like \"64KiB\""},
    {&opt_size, "\"4kib\"", "like \"64KiB\""},
    {&opt_size, "\"1.5MiB\"", "like \"64KiB\""},
    {&opt_size, "\"-4KiB\"", "like \"64KiB\""},
    {&opt_size, "\" 4KiB\"", "like \"64KiB\""},
    {&opt_size, "\"4KiB \"", "like \"64KiB\""},
    {&opt_size, "\"KiB\"", "like \"64KiB\""},
    {&opt_size, "\"\"", "like \"64KiB\""},
    {&opt_size, "4095", "must be 4KiB to 16MiB, not 4095"},
    {&opt_size, "\"17MiB\"", "must be 4KiB to 16MiB"},
    {&opt_size, "[]", "not an array"},
    {&opt_open, "\"8388608TiB\"", "\"unlimited\" or 0 or more"},
    {&opt_open, "\"9223372036854775808\"", "\"unlimited\" or 0 or more"},
    {&opt_open, "\"99999999999999999999999GiB\"", "\"unlimited\" or 0 or more"},
    {&opt_open, "-2", "\"unlimited\" or 0 or more"},
    {&opt_time, "30", "a time with its unit"},
    {&opt_time, "\"30\"", "a time with its unit"},
    {&opt_time, "\"30 seconds\"", "a time with its unit"},
    {&opt_time, "\"2h\"", "must be \"off\" or 1ms to 1h, not \"2h\""},
    {&opt_time, "\"1us\"", "must be \"off\" or 1ms to 1h"},
    {&opt_time, "\"auto\"", "a time with its unit"},
    {&opt_plain_time, "\"2562048h\"", "must be 0 or more"},
    {&opt_plain_time, "-1", "a time with its unit"},
    {&opt_spin, "-1", "a time with its unit"},
    {&opt_enum, "\"gren\"",
     "one of \"red\", \"green\", \"blue\", not \"gren\"; the nearest is \"green\""},
    {&opt_enum, "3", "one of \"red\", \"green\", \"blue\", not 3"},
    {&opt_str, "{}", "text in quotes, not an object"},
    {&opt_path, "\"\"", "must be a path"},
    {&opt_path, "7", "must be a path, not 7"},
    {&opt_list, "\"a\"", "an array of at most 64 texts"},
    {&opt_list, "[\"a\", 5]", "entry 1 must be text in quotes, not 5"},
    {&opt_dirs, "[\"/a\", \"b\"]", "entry 1 must be an absolute path, not \"b\""},
};

START_TEST(what_is_wrong_is_refused_with_the_reason_and_changes_nothing)
{
    struct nqi_value value = {.num = 4711};
    char why[NQI_WHY];

    ck_assert_int_eq(read_value(wrong[_i].opt, wrong[_i].text, &value, why), NQ_ERR_CONFIG);
    ck_assert_msg(strstr(why, wrong[_i].part), "%s: %s", wrong[_i].text, why);
    ck_assert_int_eq(value.num, 4711);
    ck_assert(!value.set);
}
END_TEST

START_TEST(a_list_longer_than_the_limit_is_refused)
{
    json_t *json = json_array();
    struct nqi_value value = {0};
    char why[NQI_WHY];

    for (int i = 0; i < NQI_LIST_CAP; i++)
        json_array_append_new(json, json_string("x"));
    ck_assert_int_eq(nqi_value_read(&opt_list, json, "/", &value, why), NQ_OK);
    ck_assert_uint_eq(value.count, NQI_LIST_CAP);
    nqi_value_fini(&value);
    json_array_append_new(json, json_string("x"));
    ck_assert_int_eq(nqi_value_read(&opt_list, json, "/", &value, why), NQ_ERR_CONFIG);
    json_decref(json);
}
END_TEST

START_TEST(a_secret_is_not_repeated_in_the_reason)
{
    struct nqi_value value = {0};
    char why[NQI_WHY];

    ck_assert_int_eq(read_value(&opt_secret, "\"hunter2\"", &value, why), NQ_ERR_CONFIG);
    ck_assert_ptr_null(strstr(why, "hunter2"));
    ck_assert_int_eq(read_value(&opt_secret, "4711", &value, why), NQ_ERR_CONFIG);
    ck_assert_ptr_null(strstr(why, "4711"));
}
END_TEST

static const struct {
    const char *text, *folder, *path;
} paths[] = {
    {"\"a.pem\"", "/etc/nq", "/etc/nq/a.pem"},
    {"\"../a.pem\"", "/etc/nq", "/etc/nq/../a.pem"},
    {"\"a.pem\"", "/", "/a.pem"},
    {"\"/x/a.pem\"", "/etc/nq", "/x/a.pem"},
};

START_TEST(relative_paths_count_from_the_folder)
{
    json_t *json = json_loads(paths[_i].text, JSON_DECODE_ANY, NULL);
    struct nqi_value value = {0};
    char why[NQI_WHY];

    ck_assert_int_eq(nqi_value_read(&opt_path, json, paths[_i].folder, &value, why), NQ_OK);
    ck_assert_str_eq(value.str, paths[_i].path);
    nqi_value_fini(&value);
    json_decref(json);
}
END_TEST

static const struct {
    uint32_t type;
    const char *def;
    int64_t num;
    const char *str;
} defaults[] = {
    {NQT_OPT_BOOL, "true", 1, NULL},     {NQT_OPT_BOOL, "false", 0, NULL},
    {NQT_OPT_INT, "-5", -5, NULL},       {NQT_OPT_SIZE, "64KiB", 65536, NULL},
    {NQT_OPT_SIZE, "0", 0, NULL},        {NQT_OPT_DURATION, "2s", 2 * NQI_NS_PER_S, NULL},
    {NQT_OPT_ENUM, "green", 1, "green"}, {NQT_OPT_STR, "", 0, ""},
    {NQT_OPT_PATH, "s", 0, "/etc/nq/s"},
};

START_TEST(defaults_are_texts_that_are_read_like_values)
{
    const struct nqt_opt opt = {
        .name = "d", .type = defaults[_i].type, .def = defaults[_i].def, .choices = colours};
    struct nqi_value value = {0};
    char why[NQI_WHY];

    ck_assert_int_eq(nqi_value_default(&opt, "/etc/nq", &value, why), NQ_OK);
    ck_assert(value.set);
    ck_assert_int_eq(value.num, defaults[_i].num);
    if (defaults[_i].str)
        ck_assert_str_eq(value.str, defaults[_i].str);
    nqi_value_fini(&value);
}
END_TEST

START_TEST(a_default_that_is_no_text_is_not_taken_for_a_lack_of_memory)
{
    static const uint32_t types[] = {NQT_OPT_STR, NQT_OPT_LIST, NQT_OPT_DURATION};
    const struct nqt_opt opt = {.name = "d", .type = types[_i], .def = "a,\xff"};
    struct nqi_value value;
    char why[NQI_WHY];

    ck_assert_int_eq(nqi_value_default(&opt, "/", &value, why), NQ_ERR_CONFIG);
    ck_assert_str_eq(why, "must be UTF-8");
}
END_TEST

START_TEST(a_default_list_is_separated_by_commas)
{
    struct nqt_opt opt = opt_list;
    struct nqi_value value = {0};
    char why[NQI_WHY];

    opt.def = "one,two";
    ck_assert_int_eq(nqi_value_default(&opt, "/", &value, why), NQ_OK);
    ck_assert_uint_eq(value.count, 2);
    ck_assert_str_eq(value.list[0], "one");
    ck_assert_str_eq(value.list[1], "two");
    nqi_value_fini(&value);
    opt.def = "";
    ck_assert_int_eq(nqi_value_default(&opt, "/", &value, why), NQ_OK);
    ck_assert_uint_eq(value.count, 0);
    nqi_value_fini(&value);
}
END_TEST

START_TEST(without_a_default_the_value_is_not_set)
{
    struct nqi_value value = {.set = true};
    char why[NQI_WHY];

    ck_assert_int_eq(nqi_value_default(&opt_int, "/", &value, why), NQ_OK);
    ck_assert(!value.set);
}
END_TEST

START_TEST(a_malformed_default_is_refused)
{
    struct nqt_opt opt = opt_int;
    struct nqi_value value = {0};
    char why[NQI_WHY];

    opt.def = "100";
    ck_assert_int_eq(nqi_value_default(&opt, "/", &value, why), NQ_ERR_CONFIG);
    opt.def = "seven";
    ck_assert_int_eq(nqi_value_default(&opt, "/", &value, why), NQ_ERR_CONFIG);
    opt.def = "";
    ck_assert_int_eq(nqi_value_default(&opt, "/", &value, why), NQ_ERR_CONFIG);
}
END_TEST

static const struct {
    const struct nqt_opt *opt;
    int64_t num;
    const char *text;
} texts[] = {
    {&opt_size, 4096, "4KiB"},
    {&opt_size, 4097, "4097B"},
    {&opt_size, INT64_C(3) << 40, "3TiB"},
    {&opt_size, 0, "0"},
    {&opt_time, 90 * NQI_NS_PER_S, "90s"},
    {&opt_time, 7200 * NQI_NS_PER_S, "2h"},
    {&opt_time, 1, "1ns"},
    {&opt_int, 1024, "1024"},
};

START_TEST(numbers_are_printed_with_the_largest_unit_that_divides_them)
{
    char text[NQI_VALUE_TEXT];

    ck_assert_str_eq(nqi_value_number_text(texts[_i].opt, texts[_i].num, text), texts[_i].text);
}
END_TEST

START_TEST(what_is_shown_of_a_value_is_short_and_printable)
{
    json_t *json = json_string("tab\t escape\x1b umlaut \xc3\xbc and a lot more of it");
    char text[24];

    nqi_value_show(json, text, sizeof(text));
    ck_assert_uint_eq(strlen(text), sizeof(text) - 1);
    ck_assert_str_eq(text + strlen(text) - 3, "...");
    for (const char *at = text; *at; at++)
        ck_assert(*at >= ' ' && *at <= '~');
    json_decref(json);
}
END_TEST

START_TEST(equal_values_are_equal_in_every_part)
{
    struct nqi_value a = {0}, b = {0};
    char why[NQI_WHY];

    ck_assert_int_eq(read_value(&opt_list, "[\"x\", \"y\"]", &a, why), NQ_OK);
    ck_assert_int_eq(read_value(&opt_list, "[\"x\", \"z\"]", &b, why), NQ_OK);
    ck_assert(nqi_value_equal(&a, &a));
    ck_assert(!nqi_value_equal(&a, &b));
    nqi_value_fini(&b);
    ck_assert(!nqi_value_equal(&a, &b));
    nqi_value_fini(&a);
    ck_assert(nqi_value_equal(&a, &b));
    ck_assert_int_eq(read_value(&opt_str, "\"x\"", &a, why), NQ_OK);
    ck_assert_int_eq(read_value(&opt_str, "\"y\"", &b, why), NQ_OK);
    ck_assert(!nqi_value_equal(&a, &b));
    nqi_value_fini(&a);
    nqi_value_fini(&b);
}
END_TEST

START_TEST(lack_of_memory_is_told_and_leaks_nothing)
{
    static const struct nqt_opt *const opts[] = {&opt_str, &opt_path, &opt_list, &opt_enum};
    static const char *const values[] = {"\"x\"", "\"x\"", "[\"a\", \"b\"]", "\"red\""};
    json_t *json = json_loads(values[_i], JSON_DECODE_ANY, NULL);
    struct nqi_value value = {.num = 4711};
    nq_err err = NQ_ERR_NOMEM;
    char why[NQI_WHY];

    for (unsigned n = 1; err == NQ_ERR_NOMEM; n++) {
        nqtest_alloc_fail_at(n);
        err = nqi_value_read(opts[_i], json, "/", &value, why);
        ck_assert_int_eq(err, nqtest_alloc_disarm() ? NQ_ERR_NOMEM : NQ_OK);
        ck_assert(err == NQ_OK || value.num == 4711);
    }
    nqi_value_fini(&value);
    json_decref(json);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("value");
    TCase *tc = tcase_create("value");

    tcase_add_loop_test(tc, numbers_units_and_words_are_read, 0, (int)NQI_LEN(fine));
    tcase_add_loop_test(tc, what_is_wrong_is_refused_with_the_reason_and_changes_nothing, 0,
                        (int)NQI_LEN(wrong));
    tcase_add_test(tc, a_list_longer_than_the_limit_is_refused);
    tcase_add_test(tc, a_secret_is_not_repeated_in_the_reason);
    tcase_add_loop_test(tc, relative_paths_count_from_the_folder, 0, (int)NQI_LEN(paths));
    tcase_add_loop_test(tc, defaults_are_texts_that_are_read_like_values, 0,
                        (int)NQI_LEN(defaults));
    tcase_add_loop_test(tc, a_default_that_is_no_text_is_not_taken_for_a_lack_of_memory, 0, 3);
    tcase_add_test(tc, a_default_list_is_separated_by_commas);
    tcase_add_test(tc, without_a_default_the_value_is_not_set);
    tcase_add_test(tc, a_malformed_default_is_refused);
    tcase_add_loop_test(tc, numbers_are_printed_with_the_largest_unit_that_divides_them, 0,
                        (int)NQI_LEN(texts));
    tcase_add_test(tc, what_is_shown_of_a_value_is_short_and_printable);
    tcase_add_test(tc, equal_values_are_equal_in_every_part);
    tcase_add_loop_test(tc, lack_of_memory_is_told_and_leaks_nothing, 0, 4);
    suite_add_tcase(suite, tc);
    return suite;
}
