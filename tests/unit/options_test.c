/* core/options.c: tables of modules, the values of one entry, and what a plugin is told. */
#include "core/options.h"
#include "tests/support/alloc.h"
#include "tests/support/modules.h"
#include <check.h>
#include <string.h>

static char why[NQI_WHY];
static struct nqi_options *options;

static void setup(void)
{
    ck_assert_int_eq(nqi_options_new(&nqtest_module_odd, &options), NQ_OK);
}

static void teardown(void)
{
    nqi_options_free(options);
}

static nq_err set(const char *name, const char *text)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    nq_err err;

    ck_assert_ptr_nonnull(json);
    err = nqi_options_set(options, nqi_options_find(&nqtest_module_odd, name), json, "/etc", why);
    json_decref(json);
    return err;
}

/* ---- tables -------------------------------------------------------------------------------- */

static const char *const no_choices[] = {NULL};

static const struct {
    struct nqt_opt opt;
    const char *part;
} bad_rows[] = {
    {{.name = NULL, .type = NQT_OPT_INT}, "option 0 has no name"},
    {{.name = "", .type = NQT_OPT_INT}, "malformed"},
    {{.name = "Port", .type = NQT_OPT_INT}, "malformed"},
    {{.name = "a/b", .type = NQT_OPT_INT}, "malformed"},
    {{.name = "a.", .type = NQT_OPT_INT}, "malformed"},
    {{.name = ".a", .type = NQT_OPT_INT}, "malformed"},
    {{.name = "a.b.c", .type = NQT_OPT_INT}, "malformed"},
    {{.name = "a.B", .type = NQT_OPT_INT}, "malformed"},
    {{.name = "a23456789012345678901234567890123", .type = NQT_OPT_INT}, "malformed"},
    {{.name = "transport", .type = NQT_OPT_STR}, "needs itself"},
    {{.name = "a", .type = 0}, "type that this core does not know"},
    {{.name = "a", .type = 10}, "type that this core does not know"},
    {{.name = "a", .type = NQT_OPT_ENUM}, "without choices"},
    {{.name = "a", .type = NQT_OPT_ENUM, .choices = no_choices}, "without choices"},
    {{.name = "a", .type = NQT_OPT_INT, .min = 5, .max = 4}, "ends before it begins"},
    {{.name = "a", .type = NQT_OPT_INT, .min = 5, .max = 9, .def = "4"}, "default of option \"a\""},
    {{.name = "a", .type = NQT_OPT_BOOL, .def = "yes"}, "default of option \"a\""},
};

START_TEST(a_table_with_a_bad_row_is_refused)
{
    const struct nqt_module module = {
        .nopt = 1, .opt_size = sizeof(struct nqt_opt), .opt = &bad_rows[_i].opt};

    ck_assert_int_eq(nqi_options_check_table(&module, why), NQ_ERR_PLUGIN);
    ck_assert_msg(strstr(why, bad_rows[_i].part), "%s", why);
}
END_TEST

START_TEST(an_option_that_is_there_twice_is_refused)
{
    static const struct nqt_opt rows[] = {
        {.name = "a", .type = NQT_OPT_INT}, {.name = "b", .type = NQT_OPT_INT}, {.name = "a"}};
    const struct nqt_module module = {
        .nopt = NQI_LEN(rows), .opt_size = sizeof(rows[0]), .opt = rows};

    ck_assert_int_eq(nqi_options_check_table(&module, why), NQ_ERR_PLUGIN);
    ck_assert_ptr_nonnull(strstr(why, "twice"));
}
END_TEST

START_TEST(malformed_shapes_of_tables_are_refused)
{
    static const struct nqt_opt row = {.name = "a", .type = NQT_OPT_INT};
    const struct nqt_module bad[] = {
        {.nopt = 1, .opt_size = sizeof(row), .opt = NULL},
        {.nopt = NQI_OPTIONS_CAP + 1, .opt_size = sizeof(row), .opt = &row},
        {.nopt = 1, .opt_size = sizeof(row) - 8, .opt = &row},
        {.nopt = 1, .opt_size = sizeof(row) + 1, .opt = &row},
        {.nopt = 1, .opt_size = 8192, .opt = &row},
    };
    const struct nqt_module none = {.nopt = 0};

    for (size_t i = 0; i < NQI_LEN(bad); i++)
        ck_assert_int_eq(nqi_options_check_table(&bad[i], why), NQ_ERR_PLUGIN);
    ck_assert_int_eq(nqi_options_check_table(&none, why), NQ_OK);
}
END_TEST

START_TEST(tables_of_the_test_modules_are_fine)
{
    ck_assert_int_eq(nqi_options_check_table(&nqtest_module_tcp, why), NQ_OK);
    ck_assert_int_eq(nqi_options_check_table(&nqtest_module_loop, why), NQ_OK);
    ck_assert_int_eq(nqi_options_check_table(&nqtest_module_odd, why), NQ_OK);
}
END_TEST

START_TEST(records_of_a_newer_header_are_stepped_over)
{
    struct newer {
        struct nqt_opt opt;
        uint64_t more[2];
    };
    static const struct newer rows[] = {
        {{.name = "a", .type = NQT_OPT_INT, .def = "1"}, {7, 7}},
        {{.name = "b", .type = NQT_OPT_INT, .def = "2"}, {7, 7}},
    };
    const struct nqt_module module = {
        .nopt = 2, .opt_size = sizeof(struct newer), .opt = &rows[0].opt};
    struct nqi_options *newer;
    int64_t num = 0;

    ck_assert_int_eq(nqi_options_check_table(&module, why), NQ_OK);
    ck_assert_int_eq(nqi_options_new(&module, &newer), NQ_OK);
    ck_assert_int_eq(nqi_options_fill(newer, "/", why), NQ_OK);
    ck_assert_int_eq(nqi_options_int(newer, "b", &num), NQT_OK);
    ck_assert_int_eq(num, 2);
    nqi_options_free(newer);
}
END_TEST

/* ---- values -------------------------------------------------------------------------------- */

START_TEST(a_plugin_reads_what_the_file_says)
{
    const char *text = NULL;
    int64_t num = 0;

    ck_assert_int_eq(set("name", "\"x\""), NQ_OK);
    ck_assert_int_eq(set("count", "\"unlimited\""), NQ_OK);
    ck_assert_int_eq(set("file", "\"a\""), NQ_OK);
    ck_assert_int_eq(set("words", "[\"p\", \"q\", \"r\"]"), NQ_OK);
    ck_assert_int_eq(nqi_options_str(options, "name", &text), NQT_OK);
    ck_assert_str_eq(text, "x");
    ck_assert_int_eq(nqi_options_int(options, "count", &num), NQT_OK);
    ck_assert_int_eq(num, -1);
    ck_assert_int_eq(nqi_options_str(options, "file", &text), NQT_OK);
    ck_assert_str_eq(text, "/etc/a");
    ck_assert_int_eq(nqi_options_list(options, "words", 2, &text), NQT_OK);
    ck_assert_str_eq(text, "r");
}
END_TEST

START_TEST(a_plugin_learns_whether_what_passes_is_proven)
{
    int64_t proven = -1;

    ck_assert_int_eq(nqi_options_int(options, NQT_FACT_PROVEN, &proven), 0);
    ck_assert_int_eq(proven, 0);
    nqi_options_set_proven(options, true);
    ck_assert_int_eq(nqi_options_int(options, NQT_FACT_PROVEN, &proven), 0);
    ck_assert_int_eq(proven, 1);
}
END_TEST

START_TEST(what_is_not_set_has_its_default_or_none)
{
    const char *text = "untouched";
    int64_t num = 4711;

    ck_assert_int_eq(set("name", "\"x\""), NQ_OK);
    ck_assert_int_eq(nqi_options_fill(options, "/etc", why), NQ_OK);
    ck_assert_int_eq(nqi_options_str(options, "name", &text), NQT_OK);
    ck_assert_str_eq(text, "x");
    ck_assert_int_eq(nqi_options_str(options, "file", &text), NQT_OK);
    ck_assert_str_eq(text, "/etc/odd.sock");
    ck_assert_int_eq(nqi_options_list(options, "words", 1, &text), NQT_OK);
    ck_assert_str_eq(text, "b");
    ck_assert_int_eq(nqi_options_int(options, "count", &num), NQT_E_CONFIG);
    ck_assert_int_eq(num, 4711);
    ck_assert(!nqi_options_is_set(options, nqi_options_find(&nqtest_module_odd, "count")));
}
END_TEST

START_TEST(wrong_names_types_and_places_are_refused_untouched)
{
    const char *text = "untouched";
    int64_t num = 4711;

    ck_assert_int_eq(set("name", "\"x\""), NQ_OK);
    ck_assert_int_eq(nqi_options_fill(options, "/", why), NQ_OK);
    ck_assert_int_eq(nqi_options_int(options, "name", &num), NQT_E_CONFIG);
    ck_assert_int_eq(nqi_options_int(options, "absent", &num), NQT_E_CONFIG);
    ck_assert_int_eq(nqi_options_str(options, "words", &text), NQT_E_CONFIG);
    ck_assert_int_eq(nqi_options_str(options, "absent", &text), NQT_E_CONFIG);
    ck_assert_int_eq(nqi_options_list(options, "name", 0, &text), NQT_E_CONFIG);
    ck_assert_int_eq(nqi_options_list(options, "words", 2, &text), NQT_E_CONFIG);
    ck_assert_int_eq(nqi_options_list(options, "words", UINT32_MAX, &text), NQT_E_CONFIG);
    ck_assert_int_eq(num, 4711);
    ck_assert_str_eq(text, "untouched");
}
END_TEST

START_TEST(a_refused_value_keeps_the_former_one)
{
    int64_t num = 0;

    ck_assert_int_eq(set("count", "5"), NQ_OK);
    ck_assert_int_eq(set("count", "10"), NQ_ERR_CONFIG);
    ck_assert_int_eq(nqi_options_int(options, "count", &num), NQT_OK);
    ck_assert_int_eq(num, 5);
}
END_TEST

START_TEST(setting_twice_releases_the_first_value)
{
    const char *text = NULL;

    ck_assert_int_eq(set("words", "[\"a\"]"), NQ_OK);
    ck_assert_int_eq(set("words", "[\"b\"]"), NQ_OK);
    ck_assert_int_eq(nqi_options_list(options, "words", 0, &text), NQT_OK);
    ck_assert_str_eq(text, "b");
}
END_TEST

START_TEST(options_are_equal_when_module_and_values_are)
{
    struct nqi_options *other, *foreign;

    ck_assert_int_eq(nqi_options_new(&nqtest_module_odd, &other), NQ_OK);
    ck_assert_int_eq(nqi_options_new(&nqtest_module_loop, &foreign), NQ_OK);
    ck_assert(nqi_options_equal(options, other));
    ck_assert(!nqi_options_equal(options, foreign));
    ck_assert_int_eq(set("count", "5"), NQ_OK);
    ck_assert(!nqi_options_equal(options, other));
    nqi_options_free(foreign);
    nqi_options_free(other);
}
END_TEST

START_TEST(lack_of_memory_for_defaults_is_told_and_leaks_nothing)
{
    nq_err err = NQ_ERR_NOMEM;

    for (unsigned n = 1; err == NQ_ERR_NOMEM; n++) {
        nqtest_alloc_fail_at(n);
        err = nqi_options_fill(options, "/", why);
        ck_assert_int_eq(err, nqtest_alloc_disarm() ? NQ_ERR_NOMEM : NQ_OK);
    }
    nqtest_alloc_fail_at(1);
    ck_assert_int_eq(nqi_options_new(&nqtest_module_odd, &options), NQ_ERR_NOMEM);
    ck_assert(nqtest_alloc_disarm());
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("options");
    TCase *tables = tcase_create("tables");
    TCase *values = tcase_create("values");

    tcase_add_loop_test(tables, a_table_with_a_bad_row_is_refused, 0, (int)NQI_LEN(bad_rows));
    tcase_add_test(tables, an_option_that_is_there_twice_is_refused);
    tcase_add_test(tables, malformed_shapes_of_tables_are_refused);
    tcase_add_test(tables, tables_of_the_test_modules_are_fine);
    tcase_add_test(tables, records_of_a_newer_header_are_stepped_over);
    suite_add_tcase(suite, tables);

    tcase_add_checked_fixture(values, setup, teardown);
    tcase_add_test(values, a_plugin_reads_what_the_file_says);
    tcase_add_test(values, a_plugin_learns_whether_what_passes_is_proven);
    tcase_add_test(values, what_is_not_set_has_its_default_or_none);
    tcase_add_test(values, wrong_names_types_and_places_are_refused_untouched);
    tcase_add_test(values, a_refused_value_keeps_the_former_one);
    tcase_add_test(values, setting_twice_releases_the_first_value);
    tcase_add_test(values, options_are_equal_when_module_and_values_are);
    tcase_add_test(values, lack_of_memory_for_defaults_is_told_and_leaks_nothing);
    suite_add_tcase(suite, values);
    return suite;
}
