/* core/conf_json.c: files and texts become trees, and malformed ones tell the place. */
#include "core/conf_json.h"
#include "tests/support/alloc.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static nq_err parse(const char *text, json_t **ret)
{
    return nqi_conf_json(NULL, text, strlen(text), ret);
}

static void write_file(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(an_object_is_read_from_text_and_from_a_file)
{
    char path[] = "/tmp/nqtest-conf-XXXXXX";
    json_t *root = NULL;
    int fd = mkstemp(path);

    ck_assert_int_eq(parse("{\"a\": 1}", &root), NQ_OK);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "a")), 1);
    json_decref(root);
    write_file(path, "{\"a\": 2}\n", 9);
    ck_assert_int_eq(nqi_conf_json(path, NULL, 0, &root), NQ_OK);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "a")), 2);
    json_decref(root);
    close(fd);
    unlink(path);
}
END_TEST

static const struct {
    const char *text, *part;
} malformed[] = {
    {"", "configuration text:1:1: "},
    {"{", "configuration text:1:1: "},
    {"{\n  \"a\": }", "configuration text:2:8: unexpected token"},
    {"{\n \"a\": 1,\n \"a\": 2\n}", "configuration text:3:4: duplicate object key"},
    {"{\"q\": {\"a\": 1, \"a\": 1}}", "duplicate object key"},
    {"{} x", "configuration text:1:4: end of file expected"},
    {"[]", "configuration text:1:1: a configuration is one object"},
    {"7", "configuration text:1:1: "},
    {"{\"a\": 99999999999999999999}", "too big integer"},
    {"{\"a\": 1e999}", "real number overflow"},
    {"{\"a\": \"\xff\"}", "unable to decode byte 0xff"},
    {"{\"a\": \"x\\u0000\"}", "\\u0000 is not allowed"},
    {"{\"a\": \"\x1b[2J\"}", "control character 0x1b"},
};

START_TEST(malformed_text_is_refused_with_line_and_column)
{
    json_t *root = NULL;

    ck_assert_int_eq(parse(malformed[_i].text, &root), NQ_ERR_CONFIG);
    ck_assert_msg(strstr(nq_error(), malformed[_i].part), "%s", nq_error());
    ck_assert_ptr_null(strchr(nq_error(), '\x1b'));
    ck_assert_ptr_null(root);
}
END_TEST

START_TEST(every_cut_of_a_text_is_refused)
{
    static const char text[] = "{\"a\": [1, {\"b\": \"c\\n\"}], \"d\": null}";
    json_t *root = NULL;

    for (size_t len = 0; len < sizeof(text) - 1; len++)
        ck_assert_int_eq(nqi_conf_json(NULL, text, len, &root), NQ_ERR_CONFIG);
    ck_assert_ptr_null(root);
}
END_TEST

START_TEST(depth_is_bounded_and_brackets_in_texts_do_not_count)
{
    char text[4096];
    json_t *root = NULL;

    snprintf(text, sizeof(text), "{\"a\":%.*s1%.*s}", NQI_CONF_JSON_DEPTH - 1,
             "[[[[[[[[[[[[[[[[[[[[", NQI_CONF_JSON_DEPTH - 1, "]]]]]]]]]]]]]]]]]]]]");
    ck_assert_int_eq(parse(text, &root), NQ_OK);
    json_decref(root);
    root = NULL;
    snprintf(text, sizeof(text), "{\"a\":\n%.*s1%.*s}", NQI_CONF_JSON_DEPTH, "[[[[[[[[[[[[[[[[[[[[",
             NQI_CONF_JSON_DEPTH, "]]]]]]]]]]]]]]]]]]]]");
    ck_assert_int_eq(parse(text, &root), NQ_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(nq_error(), "text:2:16: more than 16 objects"));
    memset(text, '[', sizeof(text));
    ck_assert_int_eq(nqi_conf_json(NULL, text, sizeof(text), &root), NQ_ERR_CONFIG);
    ck_assert_int_eq(parse("{\"a\": \"[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[[[\"}", &root), NQ_OK);
    json_decref(root);
}
END_TEST

START_TEST(a_text_that_is_too_long_is_refused)
{
    size_t len = NQI_CONF_JSON_CAP + 1;
    char *text = malloc(len), path[] = "/tmp/nqtest-conf-XXXXXX";
    json_t *root = NULL;
    int fd = mkstemp(path);

    memset(text, ' ', len);
    memcpy(text, "{}", 2);
    ck_assert_int_eq(nqi_conf_json(NULL, text, len - 1, &root), NQ_OK);
    json_decref(root);
    ck_assert_int_eq(nqi_conf_json(NULL, text, len, &root), NQ_ERR_CONFIG);
    write_file(path, text, len);
    ck_assert_int_eq(nqi_conf_json(path, NULL, 0, &root), NQ_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(nq_error(), "longer than"));
    free(text);
    close(fd);
    unlink(path);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_is_the_systems_refusal)
{
    json_t *root = NULL;

    ck_assert_int_eq(nqi_conf_json("/nonexistent/x.json", NULL, 0, &root), NQ_ERR_SYS);
    ck_assert_str_eq(nq_error(), "/nonexistent/x.json: cannot open: No such file or directory");
    ck_assert_int_eq(nqi_conf_json("/tmp", NULL, 0, &root), NQ_ERR_SYS);
    ck_assert_ptr_nonnull(strstr(nq_error(), "/tmp: cannot read: Is a directory"));
}
END_TEST

START_TEST(lack_of_memory_is_told_and_leaks_nothing)
{
    char path[] = "/tmp/nqtest-conf-XXXXXX";
    nq_err err = NQ_ERR_NOMEM;
    json_t *root = NULL;
    int fd = mkstemp(path);

    write_file(path, "{\"a\": [1, \"b\"]}", 15);
    nqtest_alloc_fail_at(1);
    ck_assert_int_eq(nqi_conf_json(path, NULL, 0, &root), NQ_ERR_NOMEM);
    nqtest_alloc_disarm();
    /* jansson reports some of its failed allocations as other errors. */
    for (unsigned n = 2; err; n++) {
        nqtest_alloc_fail_at(n);
        err = nqi_conf_json(path, NULL, 0, &root);
        ck_assert_int_eq(nqtest_alloc_disarm(), err != NQ_OK);
    }
    json_decref(root);
    close(fd);
    unlink(path);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("conf_json");
    TCase *tc = tcase_create("conf_json");

    tcase_add_test(tc, an_object_is_read_from_text_and_from_a_file);
    tcase_add_loop_test(tc, malformed_text_is_refused_with_line_and_column, 0,
                        (int)NQI_LEN(malformed));
    tcase_add_test(tc, every_cut_of_a_text_is_refused);
    tcase_add_test(tc, depth_is_bounded_and_brackets_in_texts_do_not_count);
    tcase_add_test(tc, a_text_that_is_too_long_is_refused);
    tcase_add_test(tc, a_file_that_cannot_be_read_is_the_systems_refusal);
    tcase_add_test(tc, lack_of_memory_is_told_and_leaks_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}
