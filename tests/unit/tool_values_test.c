/* tools/values.c: JSON goes into messages and comes out as it went in, or it is said why not. */
#include "tests/support/alloc.h"
#include "tools/values.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static nq_msg *message(const void *data, size_t len)
{
    nq_msg *msg = NULL;

    ck_assert_int_eq(nq_msg_new(data, len, &msg), NQ_OK);
    return msg;
}

/* The payload as a text, valid until the next call. */
static const char *payload(nq_msg *msg)
{
    static char text[1024];
    const void *data = NULL;
    size_t len = 0;

    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    ck_assert_uint_lt(len, sizeof(text));
    if (len)
        memcpy(text, data, len);
    text[len] = '\0';
    return text;
}

static const char *const kinds[] = {"json", "pickle"};
static const char *const values[] = {
    "null",
    "true",
    "0",
    "-9223372036854775808",
    "1.5",
    "\"\"",
    "\"a\\u0000\\n\"",
    "\"\xc3\xa4\"",
    "[]",
    "{\"b\":[1,{\"a\":null}],\"a\":\"\"}",
    "[[[[1]]]]",
};

START_TEST(values_come_back_as_they_went)
{
    const char *kind = kinds[_i % 2], *text = values[_i / 2];
    nq_msg *plain = message(text, strlen(text)), *packed = NULL, *back = NULL;

    ck_assert_int_eq(nqi_value_pack(kind, plain, &packed), NQ_OK);
    ck_assert_int_eq(nqi_value_unpack(kind, packed, &back), NQ_OK);
    ck_assert_str_eq(payload(plain), text);
    ck_assert_str_eq(payload(back), text);
    ck_assert_int_eq(payload(packed)[0] == '\x80', _i % 2);
    nq_msg_free(plain);
    nq_msg_free(packed);
    nq_msg_free(back);
}
END_TEST

START_TEST(what_is_no_json_is_not_packed)
{
    static const char *const wrong[] = {"", "{", "{\"a\":1,\"a\":2}", "1 2", "\"\xff\"", "nul"};

    for (size_t i = 0; i < NQI_LEN(wrong); i++) {
        nq_msg *plain = message(wrong[i], strlen(wrong[i])), *packed = NULL;

        ck_assert_int_lt(nqi_value_pack(kinds[_i], plain, &packed), 0);
        ck_assert_ptr_null(packed);
        ck_assert_uint_gt(strlen(nq_error()), 0);
        nq_msg_free(plain);
    }
}
END_TEST

START_TEST(what_json_cannot_carry_is_named)
{
    static const char bytes[] = "\x80\x03"
                                "C\x01"
                                "a.";
    nq_msg *packed = message(bytes, sizeof(bytes) - 1), *back = NULL;

    ck_assert_int_eq(nqi_value_unpack("pickle", packed, &back), NQ_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(nq_error(), "bytes"));
    nq_msg_free(packed);
    packed = message("cos\nsystem\n.", 12);
    ck_assert_int_lt(nqi_value_unpack("pickle", packed, &back), 0);
    ck_assert_int_lt(nqi_value_unpack("json", packed, &back), 0);
    ck_assert_ptr_null(back);
    nq_msg_free(packed);
}
END_TEST

START_TEST(there_are_two_kinds)
{
    ck_assert(nqi_value_is_kind("json") && nqi_value_is_kind("pickle"));
    ck_assert(!nqi_value_is_kind("") && !nqi_value_is_kind("bytes") && !nqi_value_is_kind("jso"));
}
END_TEST

/* Check allocates, too: it is not asked while an allocation is to fail. */
START_TEST(lack_of_memory_leaks_nothing)
{
    const char *text = "{\"a\":[1,2.5,\"x\"]}";
    nq_msg *plain = message(text, strlen(text));
    nq_err err = NQ_ERR_NOMEM;
    unsigned failures = 0;

    for (unsigned n = 1; err; n++) {
        nq_msg *packed = NULL, *back = NULL;
        bool failed;

        nqtest_alloc_fail_at(n);
        err = nqi_value_pack(kinds[_i], plain, &packed);
        if (!err)
            err = nqi_value_unpack(kinds[_i], packed, &back);
        failed = nqtest_alloc_disarm();
        failures += failed;
        ck_assert(!err || failed); /* jansson reports some as other errors */
        ck_assert(!err == (back != NULL));
        nq_msg_free(packed);
        nq_msg_free(back);
    }
    ck_assert_uint_gt(failures, 5);
    nq_msg_free(plain);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tool_values");
    TCase *tc = tcase_create("tool_values");

    tcase_add_loop_test(tc, values_come_back_as_they_went, 0, 2 * NQI_LEN(values));
    tcase_add_loop_test(tc, what_is_no_json_is_not_packed, 0, 2);
    tcase_add_test(tc, what_json_cannot_carry_is_named);
    tcase_add_test(tc, there_are_two_kinds);
    tcase_add_loop_test(tc, lack_of_memory_leaks_nothing, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}
