/* core/mac.c: what comes out is HMAC-SHA-256, however what goes in is cut. */
#include "core/mac.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIVE(text) text text text text text
#define TWENTY(text) FIVE(text) FIVE(text) FIVE(text) FIVE(text)
#define FIFTY(text) TWENTY(text) TWENTY(text) FIVE(text) FIVE(text)

/* The test cases of RFC 4231; of the fifth it has 16 bytes only. */
static const struct {
    const char *key, *data, *mac;
} vectors[] = {
    {TWENTY("\x0b"), "Hi There",
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {"Jefe", "what do ya want for nothing?",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {TWENTY("\xaa"), FIFTY("\xdd"),
     "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
    {"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17"
     "\x18\x19",
     FIFTY("\xcd"), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
    {TWENTY("\x0c"), "Test With Truncation", "a3b6167473100ee06e0c796c2955552b"},
    {FIFTY("\xaa") FIFTY("\xaa") TWENTY("\xaa") FIVE("\xaa") FIVE("\xaa") "\xaa",
     "Test Using Larger Than Block-Size Key - Hash Key First",
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    {FIFTY("\xaa") FIFTY("\xaa") TWENTY("\xaa") FIVE("\xaa") FIVE("\xaa") "\xaa",
     "This is a test using a larger than block-size key and a larger than block-size data. The key "
     "needs to be hashed before being used by the HMAC algorithm.",
     "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
};

static const uint8_t *bytes(const char *text)
{
    return (const uint8_t *)text;
}

/* Of the data's `cut` first bytes as a label, and of the rest in two parts. */
static void check_vector(const char *key, const char *data, size_t cut, const char *want)
{
    const size_t rest = strlen(data) - cut, half = rest / 2;
    const struct nqi_mac_part parts[] = {{data + cut, half}, {data + cut + half, rest - half}};
    uint8_t mac[NQI_MAC];
    char label[160], digits[2 * NQI_MAC + 1];

    memcpy(label, data, cut);
    label[cut] = '\0';
    nqi_mac(bytes(key), strlen(key), label, parts, NQI_LEN(parts), mac);
    for (size_t i = 0; i < NQI_MAC; i++)
        snprintf(digits + 2 * i, 3, "%02x", mac[i]);
    if (strncmp(digits, want, strlen(want)))
        ck_abort_msg("cut at %zu: %s", cut, digits);
}

START_TEST(what_is_published_comes_out_however_it_is_cut)
{
    for (size_t cut = 0; cut <= strlen(vectors[_i].data); cut++)
        check_vector(vectors[_i].key, vectors[_i].data, cut, vectors[_i].mac);
}
END_TEST

START_TEST(parts_without_bytes_and_no_parts_are_the_same)
{
    const struct nqi_mac_part none[] = {{NULL, 0}, {"", 0}};
    uint8_t one[NQI_MAC], other[NQI_MAC];

    nqi_mac(bytes("key"), 3, "label", NULL, 0, one);
    nqi_mac(bytes("key"), 3, "label", none, NQI_LEN(none), other);
    ck_assert_mem_eq(one, other, NQI_MAC);
    nqi_mac(bytes("key"), 3, "labels", NULL, 0, other);
    ck_assert_mem_ne(one, other, NQI_MAC);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("mac");
    TCase *tcase = tcase_create("mac");

    tcase_add_loop_test(tcase, what_is_published_comes_out_however_it_is_cut, 0, NQI_LEN(vectors));
    tcase_add_test(tcase, parts_without_bytes_and_no_parts_are_the_same);
    suite_add_tcase(suite, tcase);
    return suite;
}
