/* core/arrow_schema.c, core/arrow_type.c: schemas of callers and of strangers. */
#include "core/arrow_schema.h"
#include "core/pool.h"
#include "tests/support/arrow.h"
#include "tests/support/suite.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void setup(void)
{
}

static void teardown(void)
{
    ck_assert_uint_eq(nqtest_arrow_alive(), 0);
}

/* Write, then read; says what a caller would hear. */
static nq_err check(const struct ArrowSchema *schema)
{
    struct nqi_arrow_fields *fields;
    nq_chunk *bytes;
    nq_err err = nqi_arrow_schema_write(schema, &bytes);

    if (err)
        return err;
    err = nqi_arrow_schema_read(nq_chunk_data(bytes), nq_chunk_size(bytes), NQ_ERR_INVAL, &fields);
    if (!err)
        nqi_arrow_fields_free(fields);
    nq_chunk_unref(bytes);
    return err;
}

static nq_err check_and_free(struct ArrowSchema *schema)
{
    nq_err err = check(schema);

    nqtest_schema_free(schema);
    return err;
}

/* ---- formats ---- */

static const struct {
    const char *format;
    nq_err err;
} formats[] = {{"vu", NQ_ERR_UNSUPPORTED},
               {"vz", NQ_ERR_UNSUPPORTED},
               {"+vl", NQ_ERR_UNSUPPORTED},
               {"+vL", NQ_ERR_UNSUPPORTED},
               {"+ud:0,1", NQ_ERR_UNSUPPORTED},
               {"+us:", NQ_ERR_UNSUPPORTED},
               {"+r", NQ_ERR_UNSUPPORTED},
               {"", NQ_ERR_INVAL},
               {"x", NQ_ERR_INVAL},
               {"ii", NQ_ERR_INVAL},
               {"+", NQ_ERR_INVAL},
               {"w:", NQ_ERR_INVAL},
               {"w:-1", NQ_ERR_INVAL},
               {"w:4x", NQ_ERR_INVAL},
               {"w:2147483648", NQ_ERR_INVAL},
               {"w:2147483647", NQ_OK},
               {"w:99999999999999999999999", NQ_ERR_INVAL},
               {"d:", NQ_ERR_INVAL},
               {"d:10", NQ_ERR_INVAL},
               {"d:10,", NQ_ERR_INVAL},
               {"d:10,2,", NQ_ERR_INVAL},
               {"d:10,2,100", NQ_ERR_INVAL},
               {"d:10,2,128,1", NQ_ERR_INVAL},
               {"d:10,-2", NQ_OK},
               {"d:10,2,32", NQ_OK},
               {"ts", NQ_ERR_INVAL},
               {"tsx:", NQ_ERR_INVAL},
               {"tss", NQ_ERR_INVAL},
               {"tss:Any/Zone:at all", NQ_OK},
               {"tdX", NQ_ERR_INVAL}};

START_TEST(formats_are_known_refused_or_wrong)
{
    ck_assert_int_eq(check_and_free(nqtest_schema(formats[_i].format, 0)), formats[_i].err);
}
END_TEST

START_TEST(a_format_in_error_text_is_short)
{
    char format[1000];

    memset(format, 'x', sizeof(format));
    format[999] = '\0';
    ck_assert_int_eq(check_and_free(nqtest_schema(format, 0)), NQ_ERR_INVAL);
    ck_assert_uint_lt(strlen(nq_error()), 100);
}
END_TEST

/* ---- trees ---- */

static struct ArrowSchema *leaf(const char *format)
{
    return nqtest_schema(format, 0);
}

START_TEST(children_and_dictionaries_fit_their_types)
{
    ck_assert_int_eq(check_and_free(nqtest_schema("i", 1, leaf("i"))), NQ_ERR_INVAL);
    ck_assert_int_eq(check_and_free(nqtest_schema("+l", 0)), NQ_ERR_INVAL);
    ck_assert_int_eq(check_and_free(nqtest_schema("+l", 2, leaf("i"), leaf("i"))), NQ_ERR_INVAL);
    ck_assert_int_eq(check_and_free(nqtest_schema("+w:2", 0)), NQ_ERR_INVAL);
    ck_assert_int_eq(check_and_free(nqtest_schema("+m", 1, leaf("i"))), NQ_ERR_INVAL);
    ck_assert_int_eq(check_and_free(nqtest_schema("+m", 1, nqtest_schema("+s", 1, leaf("i")))),
                     NQ_ERR_INVAL);
    ck_assert_int_eq(check_and_free(nqtest_schema_dictionary("f", leaf("u"))), NQ_ERR_INVAL);
    ck_assert_int_eq(check_and_free(nqtest_schema_dictionary("u", leaf("u"))), NQ_ERR_INVAL);
}
END_TEST

static struct ArrowSchema *nested(unsigned depth)
{
    struct ArrowSchema *schema = leaf("i");

    while (--depth)
        schema = nqtest_schema("+l", 1, schema);
    return schema;
}

START_TEST(fields_nest_to_a_depth_of_64)
{
    ck_assert_int_eq(check_and_free(nested(NQI_ARROW_DEPTH)), NQ_OK);
    ck_assert_int_eq(check_and_free(nested(NQI_ARROW_DEPTH + 1)), NQ_ERR_INVAL);
}
END_TEST

/* One list in another, without end, as a caller's tree cannot be, but a stranger's bytes can. */
START_TEST(a_stranger_does_not_nest_deeper_either)
{
    static const uint8_t field[] = {0, 0, 0, 0, 0, 1, 0, 0, 0, 2, '+', 'l', 0, 0, 0, 0, 0, 0};
    struct nqi_arrow_fields *fields;
    uint8_t *bytes = malloc(1000 * sizeof(field));

    for (unsigned i = 0; i < 1000; i++)
        memcpy(bytes + i * sizeof(field), field, sizeof(field));
    ck_assert_int_eq(nqi_arrow_schema_read(bytes, 1000 * sizeof(field), NQ_ERR_PROTO, &fields),
                     NQ_ERR_PROTO);
    ck_assert_ptr_nonnull(strstr(nq_error(), "too deep"));
    free(bytes);
}
END_TEST

START_TEST(a_tree_that_leads_into_itself_ends)
{
    struct ArrowSchema *schema = nqtest_schema("+s", 2, leaf("i"), leaf("i"));
    struct ArrowSchema *children[2] = {schema->children[0], schema->children[1]};

    schema->children[0] = schema->children[1] = schema;
    ck_assert_int_lt(check(schema), 0);
    schema->children[0] = children[0];
    schema->children[1] = children[1];
    nqtest_schema_free(schema);
}
END_TEST

START_TEST(a_schema_that_lacks_what_it_must_have_is_refused)
{
    struct ArrowSchema *schema = nqtest_schema("+s", 1, leaf("i")), kept = *schema;

    ck_assert_int_eq(check(NULL), NQ_ERR_INVAL);
    schema->release = NULL;
    ck_assert_int_eq(check(schema), NQ_ERR_INVAL);
    *schema = kept;
    schema->format = NULL;
    ck_assert_int_eq(check(schema), NQ_ERR_INVAL);
    *schema = kept;
    schema->n_children = -1;
    ck_assert_int_eq(check(schema), NQ_ERR_INVAL);
    *schema = kept;
    schema->children = NULL;
    ck_assert_int_eq(check(schema), NQ_ERR_INVAL);
    *schema = kept;
    schema->name = NULL; /* this may be */
    ck_assert_int_eq(check(schema), NQ_OK);
    *schema = kept;
    nqtest_schema_free(schema);
}
END_TEST

START_TEST(malformed_metadata_is_refused)
{
    static const int32_t wrong[][3] = {{-1, 0, 0}, {1, -1, 0}, {1, 0, -5}};
    struct ArrowSchema *schema = leaf("i");

    schema->metadata = (const char *)wrong[_i];
    ck_assert_int_eq(check(schema), NQ_ERR_INVAL);
    nqtest_schema_free(schema);
}
END_TEST

START_TEST(a_schema_beyond_the_limit_is_too_big)
{
    struct ArrowSchema *schema = leaf("i");
    char *name = malloc(NQI_ARROW_SCHEMA_MAX + 1);

    memset(name, 'n', NQI_ARROW_SCHEMA_MAX);
    name[NQI_ARROW_SCHEMA_MAX] = '\0';
    schema->name = name;
    ck_assert_int_eq(check(schema), NQ_ERR_TOO_BIG);
    name[NQI_ARROW_SCHEMA_MAX - 17] = '\0'; /* and 17 bytes for the rest */
    ck_assert_int_eq(check(schema), NQ_OK);
    nqtest_schema_free(schema);
    free(name);
}
END_TEST

START_TEST(thousands_of_columns_are_read)
{
    struct ArrowSchema *schema = nqtest_schema("+s", 0);

    free(schema->children);
    schema->n_children = 20000;
    schema->children = malloc(20000 * sizeof(*schema->children));
    for (unsigned i = 0; i < 20000; i++)
        schema->children[i] = leaf("u");
    ck_assert_int_eq(check_and_free(schema), NQ_OK);
}
END_TEST

START_TEST(whatever_allocation_fails_it_says_so)
{
    struct ArrowSchema *schema = nqtest_schema_of(nqtest_schemas() - 1);
    nq_err err = NQ_ERR_NOMEM;
    unsigned n;

    for (n = 1; err; n++) {
        nqi_pool_fail_after(n);
        err = check(schema);
        nqi_pool_fail_after(0);
        ck_assert(!err || err == NQ_ERR_NOMEM);
    }
    ck_assert_uint_ge(n, 3);
    nqtest_schema_free(schema);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("arrow_schema");
    TCase *tc = nqtest_case(suite, "schemas", setup, teardown);

    tcase_add_loop_test(tc, formats_are_known_refused_or_wrong, 0, (int)NQI_LEN(formats));
    tcase_add_test(tc, a_format_in_error_text_is_short);
    tcase_add_test(tc, children_and_dictionaries_fit_their_types);
    tcase_add_test(tc, fields_nest_to_a_depth_of_64);
    tcase_add_test(tc, a_stranger_does_not_nest_deeper_either);
    tcase_add_test(tc, a_tree_that_leads_into_itself_ends);
    tcase_add_test(tc, a_schema_that_lacks_what_it_must_have_is_refused);
    tcase_add_loop_test(tc, malformed_metadata_is_refused, 0, 3);
    tcase_add_test(tc, a_schema_beyond_the_limit_is_too_big);
    tcase_add_test(tc, thousands_of_columns_are_read);
    tcase_add_test(tc, whatever_allocation_fails_it_says_so);
    return suite;
}
