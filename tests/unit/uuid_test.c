/* core/uuid.c: text to bytes and back, and random ones. */
#include "core/base.h"
#include <check.h>
#include <netqueue/uuid.h>
#include <string.h>

static const char text[] = "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e";
static const uint8_t bytes[16] = {0x6f, 0x1c, 0x2f, 0x3e, 0x7c, 0x1b, 0x4b, 0x1e,
                                  0x9d, 0x55, 0x0b, 0x1f, 0x6a, 0x1d, 0x2c, 0x3e};

START_TEST(text_becomes_bytes_in_network_order)
{
    nq_uuid uuid;

    ck_assert_int_eq(nq_uuid_parse(text, &uuid), NQ_OK);
    ck_assert_mem_eq(uuid.bytes, bytes, 16);
    ck_assert_int_eq(nq_uuid_parse("6F1C2F3E-7C1B-4B1E-9d55-0b1f6a1d2c3E", &uuid), NQ_OK);
    ck_assert_mem_eq(uuid.bytes, bytes, 16);
}
END_TEST

START_TEST(bytes_become_lower_case_text)
{
    nq_uuid uuid;
    char out[NQ_UUID_TEXT];

    memcpy(uuid.bytes, bytes, 16);
    ck_assert_ptr_eq(nq_uuid_format(&uuid, out), out);
    ck_assert_str_eq(out, text);
}
END_TEST

static const char *const wrong[] = {
    "",
    "6",
    "6f1c2f3e",
    "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3",
    "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e0",
    "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e ",
    " 6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e",
    "{6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e}",
    "6f1c2f3e7c1b4b1e9d550b1f6a1d2c3e",
    "6f1c2f3e07c1b04b1e09d5500b1f6a1d2c3e",
    "6f1c2f3-e7c1b-4b1e-9d55-0b1f6a1d2c3e",
    "6f1c2f3g-7c1b-4b1e-9d55-0b1f6a1d2c3e",
    "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3\xc3",
    "-f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e",
};

START_TEST(wrong_text_is_refused_and_the_output_stays)
{
    nq_uuid uuid, before;

    memset(&before, 0xa5, sizeof(before));
    uuid = before;
    ck_assert_int_eq(nq_uuid_parse(wrong[_i], &uuid), NQ_ERR_INVAL);
    ck_assert(nq_uuid_equal(&uuid, &before));
    ck_assert_str_ne(nq_error(), "");
}
END_TEST

START_TEST(every_truncation_is_refused)
{
    char part[sizeof(text)];
    nq_uuid uuid;

    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        memcpy(part, text, len);
        part[len] = '\0';
        ck_assert_int_eq(nq_uuid_parse(part, &uuid), NQ_ERR_INVAL);
    }
    ck_assert_int_eq(nq_uuid_parse(NULL, &uuid), NQ_ERR_INVAL);
}
END_TEST

START_TEST(random_ones_differ_and_say_version_four)
{
    nq_uuid a, b;
    char out[NQ_UUID_TEXT];

    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(nq_uuid_random(&a), NQ_OK);
        ck_assert_int_eq(nq_uuid_random(&b), NQ_OK);
        ck_assert(!nq_uuid_equal(&a, &b));
        nq_uuid_format(&a, out);
        ck_assert_int_eq(out[14], '4');
        ck_assert_ptr_nonnull(strchr("89ab", out[19]));
        ck_assert_int_eq(nq_uuid_parse(out, &b), NQ_OK);
        ck_assert(nq_uuid_equal(&a, &b));
    }
}
END_TEST

START_TEST(only_zeros_are_nil)
{
    nq_uuid uuid = {{0}};

    ck_assert(nq_uuid_is_nil(&uuid));
    uuid.bytes[_i] = 0x80;
    ck_assert(!nq_uuid_is_nil(&uuid));
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("uuid");
    TCase *tc = tcase_create("uuid");

    tcase_add_test(tc, text_becomes_bytes_in_network_order);
    tcase_add_test(tc, bytes_become_lower_case_text);
    tcase_add_loop_test(tc, wrong_text_is_refused_and_the_output_stays, 0, NQI_LEN(wrong));
    tcase_add_test(tc, every_truncation_is_refused);
    tcase_add_test(tc, random_ones_differ_and_say_version_four);
    tcase_add_loop_test(tc, only_zeros_are_nil, 0, 16);
    suite_add_tcase(suite, tc);
    return suite;
}
