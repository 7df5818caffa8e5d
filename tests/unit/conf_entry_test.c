/* core/conf_entry.c: a transport that stands on another one; the rest is in conf_test.c. */
#include "core/conf.h"
#include "core/options.h"
#include "tests/support/alloc.h"
#include "tests/support/modules.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct nqi_conf *conf;
static unsigned problems;
static char path[64], text[256]; /* of the last problem */

static void setup(void)
{
    conf = NULL;
    problems = 0;
}

static void teardown(void)
{
    nqi_conf_free(conf);
}

static void take(void *arg, const char *at, const char *what)
{
    (void)arg;
    problems++;
    snprintf(path, sizeof(path), "%s", at);
    snprintf(text, sizeof(text), "%s", what);
}

/* Where the compiler cannot read JSON, people must: ' stands for " in these tests. */
static nq_err load(const char *purpose, const char *entries)
{
    char json[512];

    snprintf(json, sizeof(json), "{'purpose': '%s', 'transports': [%s]}", purpose, entries);
    for (char *at = json; (at = strchr(at, '\''));)
        *at = '"';
    return nqi_conf_load(NULL, json, strlen(json), nqtest_module, take, NULL, &conf);
}

START_TEST(keys_go_to_the_transport_that_has_them)
{
    const struct nqi_options *options;
    const char *name = NULL;
    int64_t num = 0;

    ck_assert_int_eq(load("client", "{'transport': 'upon', 'below': 'odd', 'name': 'n',"
                                    " 'host': '::1', 'count': 7}"),
                     NQ_OK);
    options = conf->transports[0].options;
    ck_assert_ptr_eq(nqi_options_module(options), &nqtest_module_upon);
    ck_assert_int_eq(nqi_options_str(options, "below", &name), NQT_OK);
    ck_assert_str_eq(name, "odd");
    ck_assert_int_eq(nqi_options_int(options, "count", &num), NQT_OK);
    ck_assert_int_eq(num, 7); /* the upper one's, where both have the name */
    ck_assert_int_eq(nqi_options_str(options, "name", &name), NQT_E_CONFIG);
    options = nqi_options_inner(options);
    ck_assert_ptr_eq(nqi_options_module(options), &nqtest_module_odd);
    ck_assert_int_eq(nqi_options_str(options, "name", &name), NQT_OK);
    ck_assert_str_eq(name, "n");
    ck_assert_int_eq(nqi_options_int(options, "count", &num), NQT_E_CONFIG);
    ck_assert_int_eq(nqi_options_str(options, "file", &name), NQT_OK); /* a default */
}
END_TEST

START_TEST(options_of_a_group_stand_in_an_object)
{
    static const char *const entries[] = {
        "{'transport': 'odd', 'name': 'n', 'tls': {'ca': '/ca.pem', 'depth': 3}}",
        "{'transport': 'odd', 'name': 'n', 'tls.ca': '/ca.pem', 'tls.depth': 3}",
        "{'transport': 'upon', 'below': 'odd', 'name': 'n', 'tls': {'ca': '/ca.pem', 'depth': 3}}",
    };
    const struct nqi_options *options;
    const char *name = NULL;
    int64_t num = 0;

    ck_assert_int_eq(load("client", entries[_i]), NQ_OK);
    options = conf->transports[0].options;
    if (nqi_options_inner(options))
        options = nqi_options_inner(options);
    ck_assert_int_eq(nqi_options_str(options, "tls.ca", &name), NQT_OK);
    ck_assert_str_eq(name, "/ca.pem");
    ck_assert_int_eq(nqi_options_int(options, "tls.depth", &num), NQT_OK);
    ck_assert_int_eq(num, 3);
}
END_TEST

static const struct {
    const char *purpose, *entry, *path, *part;
} wrong[] = {
    {"client", "{'transport': 'odd', 'name': 'n', 'tls': 1}", "/transports/0/tls", "an object"},
    {"client", "{'transport': 'odd', 'name': 'n', 'tls': {'cb': 1}}", "/transports/0/tls/cb",
     "unknown key"},
    {"client", "{'transport': 'odd', 'name': 'n', 'tls': {'depth': 10}}", "/transports/0/tls/depth",
     "9"},
    {"client", "{'transport': 'upon'}", "/transports/0/below", "is missing"},
    {"client", "{'transport': 'upon', 'below': 7}", "/transports/0/below", "text in quotes"},
    {"client", "{'transport': 'upon', 'below': 'none'}", "/transports/0/below", "no transport"},
    {"client", "{'transport': 'upon', 'below': 'upon'}", "/transports/0/below", "another one"},
    {"client", "{'transport': 'upon', 'below': 'odd'}", "/transports/0/name", "\"odd\" needs it"},
    {"client", "{'transport': 'upon', 'below': 'tcp', 'prot': 1}", "/transports/0/prot",
     "nearest is \"port\""},
    {"client", "{'transport': 'upon', 'below': 'tcp', 'port': 70000}", "/transports/0/port",
     "65535"},
    {"client", "{'transport': 'upon', 'below': 'tcp', 'host': '192.0.2.1'}", "/transports/0/host",
     "insecure"},
    {"server", "{'transport': 'upon', 'below': 'odd', 'name': 'n'}", "/transports/0/transport",
     "\"odd\" cannot listen"},
    {"client", "{'transport': 'upon', 'below': 'tcp'}, {'transport': 'upon', 'below': 'tcp'}",
     "/transports/1", "same transport"},
};

START_TEST(every_rule_holds_for_both)
{
    ck_assert_int_lt(load(wrong[_i].purpose, wrong[_i].entry), 0);
    ck_assert_msg(problems == 1, "%u: %s: %s", problems, path, text);
    ck_assert_str_eq(path, wrong[_i].path);
    ck_assert_msg(strstr(text, wrong[_i].part) != NULL, "%s", text);
}
END_TEST

START_TEST(the_same_upper_one_on_different_places_is_no_double)
{
    ck_assert_int_eq(load("client", "{'transport': 'upon', 'below': 'tcp', 'port': 1},"
                                    " {'transport': 'upon', 'below': 'tcp', 'port': 2},"
                                    " {'transport': 'upon', 'below': 'loop'}"),
                     NQ_OK);
    ck_assert_uint_eq(conf->ntransports, 3);
}
END_TEST

START_TEST(lack_of_memory_is_told_and_leaks_nothing)
{
    nq_err err = NQ_ERR_NOMEM;

    for (unsigned n = 1; err; n++) {
        nqtest_alloc_fail_at(n);
        err = load("client", "{'transport': 'upon', 'below': 'odd', 'name': 'n'}");
        if (!nqtest_alloc_disarm())
            ck_assert_int_eq(err, NQ_OK);
        else if (err)
            ck_assert_ptr_null(conf);
    }
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("conf_entry");
    TCase *tc = tcase_create("a transport on another");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, keys_go_to_the_transport_that_has_them);
    tcase_add_loop_test(tc, options_of_a_group_stand_in_an_object, 0, 3);
    tcase_add_loop_test(tc, every_rule_holds_for_both, 0, (int)NQI_LEN(wrong));
    tcase_add_test(tc, the_same_upper_one_on_different_places_is_no_double);
    tcase_add_test(tc, lack_of_memory_is_told_and_leaks_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}
