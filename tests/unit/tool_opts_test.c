/* tools/opts.c and tools/json.c: what the command line may say, and what --json writes. */
#include "tools/json.h"
#include "tools/opts.h"
#include <check.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- numbers ------------------------------------------------------------------------------ */

static const struct {
    const char *text;
    int64_t ns;
} durations[] = {
    {"0", 0},
    {"1", 1000000000},
    {"1s", 1000000000},
    {"1.5s", 1500000000},
    {"250ms", 250000000},
    {"50us", 50000},
    {"7ns", 7},
    {"2min", INT64_C(120000000000)},
    {"1h", INT64_C(3600000000000)},
    {"forever", NQ_FOREVER},
};

START_TEST(a_duration_is_read_with_each_unit)
{
    int64_t ns = -7;

    ck_assert(nqi_parse_duration(durations[_i].text, &ns));
    ck_assert_int_eq(ns, durations[_i].ns);
}
END_TEST

static const char *const bad_durations[] = {
    "", "s", "-1s", "1 s", "1S", "1sec", "0x10", "nan", "inf", "1e30h", "1s ", " 1s", "+1s", "ever",
};

START_TEST(what_is_no_duration_is_refused_and_changes_nothing)
{
    int64_t ns = -7;

    ck_assert(!nqi_parse_duration(bad_durations[_i], &ns));
    ck_assert_int_eq(ns, -7);
}
END_TEST

static const struct {
    const char *text;
    uint64_t bytes;
} sizes[] = {
    {"0", 0},
    {"64", 64},
    {"64B", 64},
    {"4KiB", 4096},
    {"1.5MiB", 3 << 19},
    {"2GiB", UINT64_C(1) << 31},
    {"1TiB", UINT64_C(1) << 40},
    {"18446744073709551615", UINT64_MAX},
};

START_TEST(a_size_is_read_with_each_unit)
{
    uint64_t bytes = 7;

    ck_assert(nqi_parse_size(sizes[_i].text, &bytes));
    ck_assert_uint_eq(bytes, sizes[_i].bytes);
}
END_TEST

static const char *const bad_sizes[] = {
    "", "KiB", "-1", "1KB", "1 KiB", "1kib", "0x10", "18446744073709551616", "99999999TiB", "1e3 ",
};

START_TEST(what_is_no_size_is_refused_and_changes_nothing)
{
    uint64_t bytes = 7;

    ck_assert(!nqi_parse_size(bad_sizes[_i], &bytes));
    ck_assert_uint_eq(bytes, 7);
}
END_TEST

START_TEST(a_count_is_digits_and_nothing_else)
{
    uint64_t n = 7;

    ck_assert(nqi_parse_count("18446744073709551615", &n));
    ck_assert_uint_eq(n, UINT64_MAX);
    n = 7;
    ck_assert(!nqi_parse_count("18446744073709551616", &n));
    ck_assert(!nqi_parse_count("", &n));
    ck_assert(!nqi_parse_count("-1", &n));
    ck_assert(!nqi_parse_count("1k", &n));
    ck_assert_uint_eq(n, 7);
}
END_TEST

/* ---- options -------------------------------------------------------------------------------- */

struct given {
    const char *config;
    struct nqi_texts to;
    uint64_t count, size;
    int64_t timeout;
    bool lines;
};

static int parse(struct given *given, int argc, const char **argv)
{
    static const struct nqi_usage usage = {"test [OPTION]...", "A test.", NULL};
    const struct nqi_opt opts[] = {
        {"config", "FILE", "a file", &given->config, NQI_OPT_TEXT, 'c'},
        {"to", "UUID", "a peer", &given->to, NQI_OPT_TEXTS, 't'},
        {"count", "N", "a number", &given->count, NQI_OPT_COUNT, 'n'},
        {"size", "BYTES", "bytes", &given->size, NQI_OPT_SIZE, 0},
        {"timeout", "DUR", "a time", &given->timeout, NQI_OPT_DURATION, 0},
        {"lines", NULL, "lines", &given->lines, NQI_OPT_FLAG, 'l'},
    };

    return nqi_opts_parse(&usage, opts, NQI_LEN(opts), argc, (char **)(uintptr_t)argv);
}

#define PARSE(given, ...)                                            \
    parse((given), NQI_LEN(((const char *[]){"test", __VA_ARGS__})), \
          (const char *[]){"test", __VA_ARGS__, NULL})

START_TEST(every_kind_of_option_reaches_its_place)
{
    struct given given = {0};

    ck_assert_int_eq(PARSE(&given, "-c", "a.json", "--to", "x", "--to=y", "-n5", "--size", "1KiB",
                           "--timeout=2s", "-l"),
                     -1);
    ck_assert_str_eq(given.config, "a.json");
    ck_assert_uint_eq(given.to.n, 2);
    ck_assert_str_eq(given.to.items[0], "x");
    ck_assert_str_eq(given.to.items[1], "y");
    ck_assert_uint_eq(given.count, 5);
    ck_assert_uint_eq(given.size, 1024);
    ck_assert_int_eq(given.timeout, 2 * NQI_NS_PER_S);
    ck_assert(given.lines);
    nqi_texts_fini(&given.to);
    ck_assert_uint_eq(given.to.n, 0);
}
END_TEST

START_TEST(operands_are_left_also_between_options)
{
    const char *argv[] = {"test", "one", "-l", "two", "--", "-n", NULL};
    struct given given = {0};

    ck_assert_int_eq(parse(&given, 6, argv), -1);
    ck_assert(given.lines);
    ck_assert_int_eq(6 - optind, 3);
    ck_assert_str_eq(argv[optind], "one");
    ck_assert_str_eq(argv[optind + 2], "-n");
}
END_TEST

START_TEST(a_dash_is_an_operand)
{
    const char *argv[] = {"test", "-", NULL};
    struct given given = {0};

    ck_assert_int_eq(parse(&given, 2, argv), -1);
    ck_assert_str_eq(argv[optind], "-");
}
END_TEST

START_TEST(mistakes_are_wrong_usage)
{
    struct given given = {0};

    ck_assert_int_eq(PARSE(&given, "--no-such"), NQI_EXIT_USAGE);
    ck_assert_int_eq(PARSE(&given, "-x"), NQI_EXIT_USAGE);
    ck_assert_int_eq(PARSE(&given, "-c"), NQI_EXIT_USAGE);
    ck_assert_int_eq(PARSE(&given, "--config"), NQI_EXIT_USAGE);
    ck_assert_int_eq(PARSE(&given, "--lines=3"), NQI_EXIT_USAGE);
    ck_assert_int_eq(PARSE(&given, "-n", "many"), NQI_EXIT_USAGE);
    ck_assert_int_eq(PARSE(&given, "--size", "1KB"), NQI_EXIT_USAGE);
    ck_assert_int_eq(PARSE(&given, "--timeout", "soon"), NQI_EXIT_USAGE);
}
END_TEST

/* The help must not get between the lines of TAP. */
START_TEST(help_ends_with_success)
{
    struct given given = {0};
    int out = dup(STDOUT_FILENO);
    int null = open("/dev/null", O_WRONLY);
    int code[3];

    fflush(stdout);
    dup2(null, STDOUT_FILENO);
    code[0] = PARSE(&given, "--help");
    code[1] = PARSE(&given, "-h");
    code[2] = PARSE(&given, "-l", "--help", "--no-such");
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    close(null);
    for (size_t i = 0; i < NQI_LEN(code); i++)
        ck_assert_int_eq(code[i], NQI_EXIT_OK);
}
END_TEST

/* ---- json ------------------------------------------------------------------------------------ */

static const struct {
    const char *text, *json;
} texts[] = {
    {"", "\"\""},
    {"plain", "\"plain\""},
    {"a\"b\\c", "\"a\\\"b\\\\c\""},
    {"line\n\t\x1b[0m\x7f", "\"line\\n\\u0009\\u001b[0m\\u007f\""},
    {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
    {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
    {"\xff"
     "a",
     "\"\\ufffda\""},
    {"\xc3", "\"\\ufffd\""},
    {"\xc0\xaf", "\"\\ufffd\\ufffd\""},
    {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
    {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
};

START_TEST(any_text_becomes_valid_json)
{
    char *json = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&json, &len);

    nqi_json_text(out, texts[_i].text);
    fclose(out);
    ck_assert_str_eq(json, texts[_i].json);
    free(json);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tool_opts");
    TCase *tc = tcase_create("opts");

    tcase_add_loop_test(tc, a_duration_is_read_with_each_unit, 0, NQI_LEN(durations));
    tcase_add_loop_test(tc, what_is_no_duration_is_refused_and_changes_nothing, 0,
                        NQI_LEN(bad_durations));
    tcase_add_loop_test(tc, a_size_is_read_with_each_unit, 0, NQI_LEN(sizes));
    tcase_add_loop_test(tc, what_is_no_size_is_refused_and_changes_nothing, 0, NQI_LEN(bad_sizes));
    tcase_add_test(tc, a_count_is_digits_and_nothing_else);
    tcase_add_test(tc, every_kind_of_option_reaches_its_place);
    tcase_add_test(tc, operands_are_left_also_between_options);
    tcase_add_test(tc, a_dash_is_an_operand);
    tcase_add_test(tc, mistakes_are_wrong_usage);
    tcase_add_test(tc, help_ends_with_success);
    tcase_add_loop_test(tc, any_text_becomes_valid_json, 0, NQI_LEN(texts));
    suite_add_tcase(suite, tc);
    return suite;
}
