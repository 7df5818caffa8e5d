/* core/conf_doc.c and core/conf_schema.c: schema and reference say what the table says, and the
 * committed ones too. */
#include "core/conf_doc.h"
#include "core/conf_table.h"
#include "tests/support/alloc.h"
#include "tests/support/modules.h"
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct nqt_module *const modules[] = {&nqtest_module_tcp, &nqtest_module_odd};

/* Compare config/NAME with `text`. */
static void expect_committed(const char *name, const char *text)
{
    const char *top = getenv("top_srcdir");
    char path[512], *committed = calloc(1, 1 << 20);
    size_t len;
    FILE *file;

    snprintf(path, sizeof(path), "%s/config/%s", top ? top : ".", name);
    file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s is missing", path);
    len = fread(committed, 1, (1 << 20) - 1, file);
    fclose(file);
    ck_assert_uint_gt(len, 0);
    ck_assert_msg(strcmp(committed, text) == 0, "%s is out of date: run tools/genconf", path);
    free(committed);
}

START_TEST(the_committed_schema_is_the_tables)
{
    char *text = NULL;

    ck_assert_int_eq(nqi_conf_schema(NULL, 0, &text), NQ_OK);
    expect_committed("netqueue.schema.json", text);
    free(text);
}
END_TEST

START_TEST(the_committed_page_is_the_tables)
{
    char *text = NULL;

    ck_assert_int_eq(nqi_conf_reference(NULL, 0, &text), NQ_OK);
    expect_committed("README.md", text);
    free(text);
}
END_TEST

/* What the schema says of the member `name` of `object`. */
static json_t *property(json_t *object, const char *name)
{
    json_t *found = json_object_get(json_object_get(object, "properties"), name);

    ck_assert_msg(found != NULL, "%s", name);
    return found;
}

START_TEST(every_key_is_in_the_schema_with_its_help)
{
    json_t *root, *entry, *found;
    const char *place;
    char object[32];
    char *text = NULL;

    ck_assert_int_eq(nqi_conf_schema(modules, 2, &text), NQ_OK);
    root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(root);
    entry = json_object_get(json_object_get(root, "definitions"), "transport");
    for (size_t i = 0; i < nqi_nkeys; i++) {
        place = nqi_keys[i].opt.name;
        if (nqi_key_is_in(&nqi_keys[i], "")) {
            found = property(root, place + 1);
        } else if (nqi_key_is_in(&nqi_keys[i], NQI_CONF_ENTRY)) {
            found = property(entry, nqi_key_name(&nqi_keys[i]));
        } else {
            snprintf(object, sizeof(object), "%.*s", (int)strcspn(place + 1, "/"), place + 1);
            found = property(property(root, object), nqi_key_name(&nqi_keys[i]));
        }
        ck_assert_ptr_nonnull(json_object_get(found, "description"));
        ck_assert_int_eq(json_object_get(found, "not") != NULL, nqi_keys[i].later);
    }
    json_decref(root);
    free(text);
}
END_TEST

START_TEST(options_of_transports_are_in_the_schema)
{
    json_t *root, *odd;
    char *text = NULL;

    ck_assert_int_eq(nqi_conf_schema(modules, 2, &text), NQ_OK);
    root = json_loads(text, 0, NULL);
    odd = json_object_get(json_object_get(root, "definitions"), "transport-odd");
    ck_assert_uint_eq(json_object_size(json_object_get(odd, "properties")),
                      nqtest_module_odd.nopt + 1); /* the group */
    ck_assert_uint_eq(json_object_size(json_object_get(property(odd, "tls"), "properties")), 2);
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(odd, "required"), 0)),
                     "name");
    ck_assert_str_eq(json_string_value(json_object_get(property(odd, "file"), "default")),
                     "odd.sock");
    ck_assert_uint_eq(json_array_size(json_object_get(root, "allOf")), 2);
    json_decref(root);
    free(text);
}
END_TEST

START_TEST(every_key_and_option_is_on_the_page)
{
    char *text = NULL, row[96];

    ck_assert_int_eq(nqi_conf_reference(modules, 2, &text), NQ_OK);
    for (size_t i = 0; i < nqi_nkeys; i++) {
        snprintf(row, sizeof(row), "`%s`", nqi_key_name(&nqi_keys[i]));
        ck_assert_msg(strstr(text, row) != NULL, "%s", row);
    }
    ck_assert_ptr_nonnull(strstr(text, "| `port` | integer: 0 to 65535 | `51966` | Port |"));
    ck_assert_ptr_nonnull(strstr(text, "| `name` | string | required |"));
    ck_assert_ptr_nonnull(strstr(text, "| `tls` | object |  | **Not in this version.**"));
    free(text);
}
END_TEST

START_TEST(lack_of_memory_makes_no_schema_that_lies)
{
    char *text = NULL;
    nq_err err = NQ_ERR_NOMEM;

    for (unsigned n = 1; err; n++) {
        nqtest_alloc_fail_at(n);
        err = nqi_conf_schema(modules, 2, &text);
        ck_assert_int_eq(err, nqtest_alloc_disarm() ? NQ_ERR_NOMEM : NQ_OK);
        ck_assert(err == NQ_OK || text == NULL);
    }
    free(text);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("conf_doc");
    TCase *tc = tcase_create("conf_doc");

    tcase_set_timeout(tc, 60); /* every allocation of a large tree fails once */
    tcase_add_test(tc, the_committed_schema_is_the_tables);
    tcase_add_test(tc, the_committed_page_is_the_tables);
    tcase_add_test(tc, every_key_is_in_the_schema_with_its_help);
    tcase_add_test(tc, options_of_transports_are_in_the_schema);
    tcase_add_test(tc, every_key_and_option_is_on_the_page);
    tcase_add_test(tc, lack_of_memory_makes_no_schema_that_lies);
    suite_add_tcase(suite, tc);
    return suite;
}
