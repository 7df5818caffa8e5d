/* core/check.c: the public calls around configurations and transports. */
#include "core/base.h"
#include <check.h>
#include <limits.h>
#include <netqueue/check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char file[] = "/tmp/nqtest-conf-XXXXXX";
static size_t problems;
static char path[256], text[1024]; /* the last problem or name */

static void setup(void)
{
    const char *dir = getenv("NQTEST_PLUGINS"), *build = getenv("top_builddir");
    char stubs[PATH_MAX];

    if (dir)
        snprintf(stubs, sizeof(stubs), "%s", dir);
    else
        snprintf(stubs, sizeof(stubs), "%s/tests/support/plugins/.libs", build ? build : ".");
    setenv("NETQUEUE_PLUGIN_PATH", stubs, 1);
    setenv("NETQUEUE_PLUGIN_UNSAFE", "1", 1);
    problems = 0;
    close(mkstemp(file));
}

static void teardown(void)
{
    unlink(file);
}

static void take(void *arg, const char *where, const char *what)
{
    (void)arg;
    problems++;
    snprintf(path, sizeof(path), "%s", where);
    snprintf(text, sizeof(text), "%s", what);
}

static nq_err check_text(const char *json)
{
    FILE *out = fopen(file, "w");

    ck_assert_ptr_nonnull(out);
    fputs(json, out);
    ck_assert_int_eq(fclose(out), 0);
    return nq_check(file, take, NULL);
}

START_TEST(a_fine_file_has_no_problems)
{
    ck_assert_int_eq(
        check_text("{\"purpose\": \"client\", \"transport\": \"good\", \"file\": \"x\"}"), NQ_OK);
    ck_assert_uint_eq(problems, 0);
}
END_TEST

START_TEST(problems_of_options_and_transports_are_problems_of_the_configuration)
{
    ck_assert_int_eq(check_text("{\"purpose\": \"client\", \"transport\": \"good\"}"),
                     NQ_ERR_CONFIG);
    ck_assert_uint_eq(problems, 1);
    ck_assert_str_eq(path, "/file");
    ck_assert_int_eq(check_text("{\"purpose\": \"client\", \"transport\": \"pigeon\"}"),
                     NQ_ERR_CONFIG);
    ck_assert_uint_eq(problems, 2);
    ck_assert_str_eq(path, "/transport");
    ck_assert_ptr_nonnull(strstr(text, "netqueue-transport-pigeon"));
    ck_assert_int_eq(check_text("{\"purpose\": }"), NQ_ERR_CONFIG);
    ck_assert_uint_eq(problems, 3);
    ck_assert_str_eq(path, "");
}
END_TEST

#define TOO_MANY "\"transport\": \"good\", \"count\": 9, \"mode\": \"slow\", \"file\": "

/* Each of them, although the file itself is fine. */
START_TEST(what_the_modules_find_wrong_is_a_problem)
{
    ck_assert_int_eq(check_text("{\"purpose\": \"client\", " TOO_MANY "\"x\"}"), NQ_ERR_CONFIG);
    ck_assert_uint_eq(problems, 1);
    ck_assert_str_eq(path, "");
    ck_assert_ptr_nonnull(strstr(text, "transport good: count: 9 is too many"));
    ck_assert_int_eq(check_text("{\"purpose\": \"client\", \"transports\": [{" TOO_MANY
                                "\"x\"}, {\"transport\": \"good\", \"file\": \"y\"}, {" TOO_MANY
                                "\"z\"}]}"),
                     NQ_ERR_CONFIG);
    ck_assert_uint_eq(problems, 3);
    ck_assert_str_eq(path, "/transports/2");
}
END_TEST

START_TEST(a_missing_file_and_a_missing_path_are_told_apart)
{
    ck_assert_int_eq(nq_check("/nonexistent", take, NULL), NQ_ERR_SYS);
    ck_assert_int_eq(nq_check(NULL, take, NULL), NQ_ERR_INVAL);
    ck_assert_uint_eq(problems, 0);
}
END_TEST

START_TEST(a_transport_is_described_as_its_descriptor_says)
{
    const struct nq_transport_info *info = NULL, *again = NULL;

    ck_assert_int_eq(nq_transport_info("good", &info), NQ_OK);
    ck_assert_str_eq(info->name, "good");
    ck_assert_str_eq(info->version, "1.2.3");
    ck_assert_str_eq(info->summary, "A transport that does nothing");
    ck_assert_ptr_nonnull(strstr(info->file, "/good.so"));
    ck_assert_str_eq(info->threading, "loop");
    ck_assert_uint_eq(info->abi_major, 1);
    ck_assert_uint_eq(info->abi_minor, 0);
    ck_assert_str_eq(info->caps[0], "message");
    ck_assert_str_eq(info->caps[1], "listen");
    ck_assert_str_eq(info->caps[2], "connect");
    ck_assert_str_eq(info->caps[3], "local-only");
    ck_assert_ptr_null(info->caps[4]);
    ck_assert_uint_eq(info->noptions, 3);
    ck_assert_str_eq(info->options[0].name, "count");
    ck_assert_str_eq(info->options[0].type, "integer");
    ck_assert_str_eq(info->options[0].def, "7");
    ck_assert_str_eq(info->options[0].unit, "");
    ck_assert_int_eq(info->options[0].max, 9);
    ck_assert_str_eq(info->options[1].choices[1], "fast");
    ck_assert_str_eq(info->options[2].def, "");
    ck_assert(info->options[2].required);
    ck_assert_int_eq(nq_transport_info("good", &again), NQ_OK);
    ck_assert_ptr_eq(info, again);
}
END_TEST

START_TEST(what_cannot_be_loaded_is_not_described)
{
    const struct nq_transport_info *info = NULL;

    ck_assert_int_eq(nq_transport_info("bad_minor", &info), NQ_ERR_PLUGIN);
    ck_assert_ptr_nonnull(strstr(nq_error(), "newer"));
    ck_assert_int_eq(nq_transport_info(NULL, &info), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_transport_info("good", NULL), NQ_ERR_INVAL);
    ck_assert_ptr_null(info);
}
END_TEST

START_TEST(transports_are_listed_without_loading_them)
{
    ck_assert_int_eq(nq_transports(take, NULL), NQ_OK);
    ck_assert_uint_ge(problems, 16);
    ck_assert_int_eq(nq_transports(NULL, NULL), NQ_ERR_INVAL);
}
END_TEST

START_TEST(schema_and_reference_know_the_transports_that_are_found)
{
    char *schema = NULL, *reference = NULL;

    ck_assert_int_eq(nq_conf_schema(&schema), NQ_OK);
    ck_assert_ptr_nonnull(strstr(schema, "\"transport-good\""));
    ck_assert_ptr_nonnull(strstr(schema, "\"transport-twin\""));
    ck_assert_ptr_null(strstr(schema, "\"transport-bad_minor\""));
    ck_assert_int_eq(nq_conf_reference(&reference), NQ_OK);
    ck_assert_ptr_nonnull(strstr(reference, "### `good`"));
    ck_assert_ptr_nonnull(strstr(reference, "| `count` | integer: 1 to 9 | `7` | Number |"));
    free(schema);
    free(reference);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("check");
    TCase *tc = tcase_create("check");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_fine_file_has_no_problems);
    tcase_add_test(tc, problems_of_options_and_transports_are_problems_of_the_configuration);
    tcase_add_test(tc, what_the_modules_find_wrong_is_a_problem);
    tcase_add_test(tc, a_missing_file_and_a_missing_path_are_told_apart);
    tcase_add_test(tc, a_transport_is_described_as_its_descriptor_says);
    tcase_add_test(tc, what_cannot_be_loaded_is_not_described);
    tcase_add_test(tc, transports_are_listed_without_loading_them);
    tcase_add_test(tc, schema_and_reference_know_the_transports_that_are_found);
    suite_add_tcase(suite, tc);
    return suite;
}
