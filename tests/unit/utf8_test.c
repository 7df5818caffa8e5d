/* core/utf8.c: every character, and everything that looks like one. */
#include "core/utf8.h"
#include <check.h>
#include <string.h>

/* The definition, bit by bit.  @return bytes in `at` */
static size_t encode(uint32_t code, uint8_t at[4])
{
    if (code < 0x80) {
        at[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        at[0] = (uint8_t)(0xc0 | code >> 6);
        at[1] = (uint8_t)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        at[0] = (uint8_t)(0xe0 | code >> 12);
        at[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        at[2] = (uint8_t)(0x80 | (code & 0x3f));
        return 3;
    }
    at[0] = (uint8_t)(0xf0 | code >> 18);
    at[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
    at[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    at[3] = (uint8_t)(0x80 | (code & 0x3f));
    return 4;
}

START_TEST(each_character_is_taken_whole_and_no_surrogate)
{
    for (uint32_t code = 0; code < 0x200000; code++) {
        bool is_one = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        uint8_t at[4];
        size_t len = encode(code, at);

        if (nqi_utf8_is(at, at + len) != is_one ||
            (code >= 0x80 && (nqi_utf8_is(at, at + len - 1) || nqi_utf8_is(at + 1, at + len))))
            ck_abort_msg("U+%04X", code); /* an assertion each would take minutes */
    }
}
END_TEST

START_TEST(longer_forms_and_bytes_of_none_are_refused)
{
    static const char *const none[] = {
        "\xc0\x80", "\xc1\xbf",         "\xe0\x9f\xbf",   "\xf0\x8f\xbf\xbf",
        "\x80",     "\xc3\x28",         "\xe2\x28\xa1",   "\xf8\x88\x80\x80\x80",
        "\xff",     "\xe2\x82\xac\xc3", "12345678\xc3 9",
    };

    for (size_t i = 0; i < NQI_LEN(none); i++) {
        const uint8_t *at = (const uint8_t *)none[i];

        ck_assert_msg(!nqi_utf8_is(at, at + strlen(none[i])), "text %zu", i);
    }
}
END_TEST

/* Wherever it stands in what is looked at eight bytes at a time. */
START_TEST(the_first_byte_beyond_ascii_is_found)
{
    uint8_t text[40];

    for (size_t len = 0; len <= sizeof(text); len++)
        for (size_t at = 0; at <= len; at++) {
            memset(text, 'a', sizeof(text));
            if (at < len)
                text[at] = 0x80;
            ck_assert_ptr_eq(nqi_utf8_skip_ascii(text, text + len), text + at);
            ck_assert(nqi_utf8_is(text, text + len) == (at == len));
        }
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("utf8");
    TCase *tc = tcase_create("utf8");

    tcase_add_test(tc, each_character_is_taken_whole_and_no_surrogate);
    tcase_add_test(tc, longer_forms_and_bytes_of_none_are_refused);
    tcase_add_test(tc, the_first_byte_beyond_ascii_is_found);
    suite_add_tcase(suite, tc);
    return suite;
}
