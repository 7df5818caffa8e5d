/* core/arrow_write.c: arrays that break a rule of the C interface are refused, and stay their
 * producer's. */
#include "tests/support/arrow.h"
#include "tests/support/suite.h"
#include <stdlib.h>
#include <string.h>

static struct ArrowSchema *schema;
static struct ArrowArray array, kept;

static void setup(void)
{
}

static void teardown(void)
{
    ck_assert_uint_eq(nqtest_arrow_alive(), 0);
}

static void make(struct ArrowSchema *of)
{
    schema = of;
    nqtest_array(schema, 10, NQTEST_ROWS_PLAIN, 3, &array);
    kept = array;
}

/* And the array as it was. */
static void must_refuse(const char *why)
{
    nq_msg *msg = NULL;

    ck_assert_int_eq(nq_msg_put_arrow(NULL, NULL, 0, schema, &array, &msg), NQ_ERR_INVAL);
    ck_assert_msg(strstr(nq_error(), why) != NULL, "\"%s\", and not \"%s\"", nq_error(), why);
    ck_assert_ptr_null(msg);
    array = kept;
}

static void end(void)
{
    array.release(&array);
    nqtest_schema_free(schema);
}

static struct ArrowSchema *leaf(const char *format)
{
    return nqtest_schema(format, 0);
}

START_TEST(without_an_array_there_is_no_message)
{
    nq_msg *msg = NULL;

    make(leaf("l"));
    ck_assert_int_eq(nq_msg_put_arrow(NULL, NULL, 0, schema, NULL, &msg), NQ_ERR_INVAL);
    ck_assert_ptr_nonnull(strstr(nq_error(), "not there"));
    ck_assert_int_eq(nq_msg_put_arrow(NULL, NULL, 0, NULL, &array, &msg), NQ_ERR_INVAL);
    ck_assert_ptr_null(msg);
    end();
}
END_TEST

START_TEST(a_struct_that_breaks_the_rules_is_refused)
{
    make(nqtest_schema("+s", 1, leaf("l")));
    array.release = NULL;
    must_refuse("released");
    array.length = -1;
    must_refuse("negative");
    array.offset = -1;
    must_refuse("negative");
    array.offset = INT64_MAX;
    must_refuse("too large");
    array.n_children = 0;
    must_refuse("number of children");
    array.children = NULL;
    must_refuse("number of children");
    array.n_buffers = 0;
    must_refuse("buffers are missing");
    array.buffers = NULL;
    must_refuse("buffers are missing");
    array.null_count = 1;
    must_refuse("nulls without");
    array.length = 11;
    must_refuse("array of field 1: shorter");
    array.offset = 1;
    must_refuse("array of field 1: shorter");
    array.dictionary = array.children[0];
    must_refuse("dictionary");
    end();
}
END_TEST

START_TEST(a_missing_buffer_is_refused)
{
    static const char *const formats[] = {"l", "b", "u", "Z", "+l"};
    const void *buffers[3];

    make(_i < 4 ? leaf(formats[_i]) : nqtest_schema("+l", 1, leaf("i")));
    memcpy(buffers, array.buffers, sizeof(buffers));
    array.buffers[1] = NULL;
    must_refuse("a buffer is missing");
    array.buffers[1] = buffers[1];
    if (array.n_buffers == 3) {
        array.buffers[2] = NULL;
        must_refuse("a buffer is missing");
        array.buffers[2] = buffers[2];
    }
    end();
}
END_TEST

/* The structs fit each other; what is behind the pointers does not. */
START_TEST(what_the_other_side_would_refuse_does_not_travel)
{
    int32_t *offsets;

    make(leaf("u"));
    offsets = (int32_t *)(uintptr_t)array.buffers[1];
    offsets[3] = offsets[2] - 1;
    must_refuse("fall");
    offsets[3] = offsets[2];
    offsets[0] = -1;
    must_refuse("negative");
    offsets[0] = 0;
    *(uint8_t *)(uintptr_t)array.buffers[2] = 0xff;
    must_refuse("UTF-8");
    end();
    make(nqtest_schema_dictionary("c", leaf("l")));
    *(uint8_t *)(uintptr_t)array.buffers[1] = 0x80;
    must_refuse("not in the dictionary");
    end();
}
END_TEST

/* Old producers leave the offsets of an empty array out. */
START_TEST(an_empty_array_needs_no_buffers)
{
    const void *buffers[3] = {NULL, NULL, NULL};
    struct ArrowArray got;
    nq_msg *msg;

    make(leaf("U"));
    free((void *)(uintptr_t)array.buffers[1]);
    free((void *)(uintptr_t)array.buffers[2]);
    memcpy(array.buffers, buffers, sizeof(buffers));
    array.length = 0;
    ck_assert_int_eq(nq_msg_put_arrow(NULL, NULL, 0, schema, &array, &msg), NQ_OK);
    ck_assert_int_eq(nq_msg_get_arrow(msg, NULL, &got), NQ_OK);
    ck_assert_int_eq(*(const int64_t *)got.buffers[1], 0);
    ck_assert_ptr_nonnull(got.buffers[2]);
    got.release(&got);
    nq_msg_free(msg);
    nqtest_schema_free(schema);
}
END_TEST

/* What lies behind the rows is no business of the receiver's. */
START_TEST(bits_behind_the_last_row_do_not_travel)
{
    struct ArrowArray got;
    const uint8_t *bits;
    nq_msg *msg;

    make(leaf("b"));
    memset((void *)(uintptr_t)array.buffers[1], 0xff, 2);
    array.length = 4;
    array.offset = 3;
    ck_assert_int_eq(nq_msg_put_arrow(NULL, NULL, 0, schema, &array, &msg), NQ_OK);
    ck_assert_int_eq(nq_msg_get_arrow(msg, NULL, &got), NQ_OK);
    bits = got.buffers[1];
    ck_assert_uint_eq(bits[0], 0xf);
    for (int i = 1; i < 64; i++)
        ck_assert_uint_eq(bits[i], 0);
    got.release(&got);
    nq_msg_free(msg);
    nqtest_schema_free(schema);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("arrow_write");
    TCase *tc = nqtest_case(suite, "producers", setup, teardown);

    tcase_add_test(tc, without_an_array_there_is_no_message);
    tcase_add_test(tc, a_struct_that_breaks_the_rules_is_refused);
    tcase_add_loop_test(tc, a_missing_buffer_is_refused, 0, 5);
    tcase_add_test(tc, what_the_other_side_would_refuse_does_not_travel);
    tcase_add_test(tc, an_empty_array_needs_no_buffers);
    tcase_add_test(tc, bits_behind_the_last_row_do_not_travel);
    return suite;
}
