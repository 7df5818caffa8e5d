/* core/keyring.c and core/keyring_file.c: what is a file of keys, who may read it, and whose key is
 * whose. */
#include "core/err.h"
#include "core/keyring.h"
#include "tests/support/alloc.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ONE "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e"
#define TWO "0d9f2c61-52a4-4f0e-8a3b-7f5f0c1f9e24"
#define HEX "00112233445566778899aabbccddeeff"
#define HEX2 "0123456789abcdeffedcba9876543210"
#define BASE64 "ABEiM0RVZneImaq7zN3u/w==" /* the same bytes as HEX */

static struct nqi_keyring *ring;

static void teardown(void)
{
    nqi_keyring_free(ring);
    ring = NULL;
}

static nq_err parse(const char *text)
{
    char json[4096];
    size_t len = strlen(text);

    ck_assert_uint_lt(len, sizeof(json));
    memcpy(json, text, len + 1);
    for (char *at = json; *at; at++)
        if (*at == '\'')
            *at = '"';
    return nqi_keyring_parse("keys.json", json, len, &ring);
}

static const struct nqi_keys *find(const char *id)
{
    nq_uuid uuid;

    ck_assert_int_eq(nq_uuid_parse(id, &uuid), NQ_OK);
    return nqi_keyring_find(ring, &uuid);
}

/* ---- the text ---- */

START_TEST(each_id_has_its_key_and_all_others_share_one)
{
    const struct nqi_keys *one, *two, *other;

    ck_assert_int_eq(parse("{'keys': {'" ONE "': '" HEX "', '" TWO "': ['" HEX2 "', '" BASE64
                           "']}, 'key': '" HEX2 "'}"),
                     NQ_OK);
    one = find(ONE);
    two = find(TWO);
    other = find("11111111-1111-4111-8111-111111111111");
    ck_assert(one->known && two->known && other->known);
    ck_assert_mem_eq(two->key[1], one->key[0], NQI_KEY); /* hexadecimal and base64 of one key */
    ck_assert_mem_eq(two->key[0], other->key[0], NQI_KEY);
    ck_assert_mem_ne(one->key[0], two->key[0], NQI_KEY);
    ck_assert_mem_ne(one->key[1], one->key[0], NQI_KEY);
}
END_TEST

START_TEST(an_id_without_a_key_has_stand_ins_that_nobody_knows)
{
    static const uint8_t zeros[NQI_KEY];
    const struct nqi_keys *none;

    ck_assert_int_eq(parse("{'keys': {'" ONE "': '" HEX "'}}"), NQ_OK);
    none = find(TWO);
    ck_assert(!none->known);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_mem_ne(none->key[i], zeros, NQI_KEY);
    ck_assert_mem_ne(none->key[0], none->key[1], NQI_KEY);
    ck_assert_mem_ne(find(ONE)->key[1], zeros, NQI_KEY);
}
END_TEST

START_TEST(of_many_ids_each_is_found)
{
    char text[70 * 300] = "{\"keys\": {", id[NQ_UUID_TEXT];
    size_t len = strlen(text);

    for (unsigned i = 0; i < 200; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len,
                                "%s\"%08x-0000-4000-8000-000000000000\": \"%s%02x\"", i ? ", " : "",
                                i * 2654435761u, HEX, i);
    snprintf(text + len, sizeof(text) - len, "}}");
    ck_assert_int_eq(nqi_keyring_parse("many", text, strlen(text), &ring), NQ_OK);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(id, sizeof(id), "%08x-0000-4000-8000-000000000000", i * 2654435761u);
        ck_assert(find(id)->known);
        ck_assert_str_eq(nq_uuid_format(&find(id)->id, id), id);
    }
    ck_assert(!find(ONE)->known);
}
END_TEST

static const struct {
    const char *text, *why;
} wrong[] = {
    {"", "expected an object"},
    {"[]", "expected an object"},
    {"{}", "there is no key"},
    {"{'keys': {}}", "there is no key"},
    {"{'key': 5}", "expected text"},
    {"{'key'}", "expected a :"},
    {"{'key': '" HEX "'", "expected , or }"},
    {"{'key': '" HEX "'} x", "behind the end"},
    {"{'key': '" HEX "', 'key': '" HEX "'}", "at most once"},
    {"{'psk': '" HEX "'}", "expected \"key\" or \"keys\""},
    {"{'keys': {'me': '" HEX "'}}", "no UUID"},
    {"{'keys': {'" ONE "': '" HEX "', '" ONE "': '" HEX2 "'}}", "stands twice"},
    {"{'key': []}", "expected text"},
    {"{'key': ['" HEX "', '" HEX "', '" HEX "']}", "at most two"},
    {"{'key': '" HEX, "does not end"},
    {"{'key': '0\\u0030'}", "has a \\ in it"},
    {"\n\n{'key': 'a sentence is no key at all'}", "keys.json:3: a key is 16 to 128 random bytes"},
    {"{'key': 'correcthorsebatterystaple'}", "a key is"},
    {"{'key': 'CORRECTHORSEBATTERYSTAPLE123'}", "a key is"},
    {"{'key': '00112233445566778899aabbccddee'}", "a key is"},   /* 15 bytes */
    {"{'key': '00112233445566778899aabbccddeef'}", "a key is"},  /* half a byte */
    {"{'key': 'ABEiM0RVZneImaq7zN3u'}", "a key is"},             /* 15 bytes */
    {"{'key': 'ABEiM0RVZneImaq7zN3u/w'}", "a key is"},           /* its padding is missing */
    {"{'key': '77777777777777777777777777777777'}", "a key is"}, /* one byte, again and again */
    {"{'key': ''}", "a key is"},
};

START_TEST(what_is_wrong_is_told_with_its_line_and_without_the_key)
{
    ck_assert_int_eq(parse(wrong[_i].text), NQ_ERR_CONFIG);
    ck_assert_msg(strstr(nq_error(), wrong[_i].why), "%s: %s", wrong[_i].text, nq_error());
    ck_assert_ptr_null(strstr(nq_error(), "0011"));
    ck_assert_ptr_null(strstr(nq_error(), "horse"));
    ck_assert_ptr_null(ring);
}
END_TEST

START_TEST(a_text_cut_anywhere_is_wrong_and_nothing_else)
{
    static const char whole[] =
        "{\"keys\": {\"" ONE "\": [\"" HEX "\", \"" HEX2 "\"]}, \"key\": \"" BASE64 "\"}";

    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        char *part = malloc(len + 1); /* a tool sees a byte too many */

        memcpy(part, whole, len);
        ck_assert_int_eq(nqi_keyring_parse("part", part, len, &ring), NQ_ERR_CONFIG);
        free(part);
    }
    ck_assert_int_eq(nqi_keyring_parse("whole", whole, sizeof(whole) - 1, &ring), NQ_OK);
}
END_TEST

START_TEST(the_longest_key_fits_and_one_byte_more_does_not)
{
    char text[600];

    for (unsigned extra = 0; extra < 2; extra++) {
        size_t len = (size_t)snprintf(text, sizeof(text), "{'key': '");

        for (unsigned i = 0; i < NQI_KEY_MOST + extra; i++)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%02x", i & 0xff);
        snprintf(text + len, sizeof(text) - len, "'}");
        ck_assert_int_eq(parse(text), extra ? NQ_ERR_CONFIG : NQ_OK);
        teardown();
    }
}
END_TEST

START_TEST(without_memory_nothing_is_left)
{
    static const char text[] = "{\"keys\": {\"" ONE "\": \"" HEX "\"}}";
    nq_err err = NQ_ERR_NOMEM;

    for (unsigned n = 1; err; n++) {
        ck_assert_uint_lt(n, 20);
        nqtest_alloc_fail_at(n);
        err = nqi_keyring_parse("text", text, sizeof(text) - 1, &ring);
        ck_assert_int_eq(err, nqtest_alloc_disarm() ? NQ_ERR_NOMEM : NQ_OK);
    }
}
END_TEST

/* hmac.new(bytes.fromhex(HEX), b'nq1 key', hashlib.sha256).digest(), in Python */
START_TEST(a_key_is_condensed_as_the_protocol_says)
{
    static const uint8_t want[] = {0x65, 0x33, 0x46, 0x45, 0xa8, 0x7c, 0x6c, 0x26, 0x8a, 0xb3, 0x11,
                                   0x91, 0x44, 0x00, 0xce, 0xdc, 0xb4, 0x52, 0x37, 0xfe, 0xed, 0x25,
                                   0x17, 0xa5, 0x0b, 0x6b, 0x7d, 0x3e, 0xd3, 0xab, 0x74, 0x3f};

    ck_assert_int_eq(parse("{'key': '" HEX "'}"), NQ_OK);
    ck_assert_mem_eq(find(ONE)->key[0], want, NQI_KEY);
}
END_TEST

/* ---- the file ---- */

static char path[64];

static void write_file(const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
}

static void setup_file(void)
{
    int fd;

    snprintf(path, sizeof(path), "/tmp/nqtest-keys-XXXXXX");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    write_file("{\"key\": \"" HEX "\"}", 0600);
}

static void teardown_file(void)
{
    unlink(path);
    teardown();
}

START_TEST(a_file_that_only_its_owner_reads_is_read)
{
    static const mode_t fine[] = {0600, 0400, 0700};

    for (size_t i = 0; i < NQI_LEN(fine); i++) {
        ck_assert_int_eq(chmod(path, fine[i]), 0);
        ck_assert_int_eq(nqi_keyring_load(path, &ring), NQ_OK);
        ck_assert(find(ONE)->known);
        teardown();
    }
}
END_TEST

START_TEST(a_file_that_others_may_open_is_refused_with_the_way_out)
{
    static const mode_t open[] = {0640, 0620, 0610, 0604, 0602, 0601, 0644, 0777};
    char want[256];

    ck_assert_int_eq(chmod(path, open[_i]), 0);
    ck_assert_int_eq(nqi_keyring_load(path, &ring), NQ_ERR_CONFIG);
    snprintf(want, sizeof(want), "%s holds keys and is open to others (mode %04o): `chmod 600 %s`",
             path, (unsigned)open[_i], path);
    ck_assert_str_eq(nq_error(), want);
    ck_assert_ptr_null(ring);
}
END_TEST

START_TEST(a_file_of_somebody_else_is_refused)
{
    if (geteuid() || chown(path, 12345, (gid_t)-1))
        return; /* only root can give files away */
    ck_assert_int_eq(nqi_keyring_load(path, &ring), NQ_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(nq_error(), "belongs to user 12345"));
    ck_assert_ptr_nonnull(strstr(nq_error(), "`chown 0 "));
}
END_TEST

START_TEST(what_is_no_file_of_keys_is_told)
{
    ck_assert_int_eq(nqi_keyring_load("/nonexistent/keys.json", &ring), NQ_ERR_SYS);
    ck_assert_ptr_nonnull(strstr(nq_error(), "/nonexistent/keys.json: cannot open"));
    ck_assert_int_eq(nqi_keyring_load("/", &ring), NQ_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(nq_error(), "not a regular file"));
    write_file("{\"key\": \"short\"}", 0600);
    ck_assert_int_eq(nqi_keyring_load(path, &ring), NQ_ERR_CONFIG);
    ck_assert_ptr_nonnull(strstr(nq_error(), path));
    ck_assert_ptr_null(strstr(nq_error(), "short"));
    write_file("", 0600);
    ck_assert_int_eq(nqi_keyring_load(path, &ring), NQ_ERR_CONFIG);
    ck_assert_ptr_null(ring);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("keyring");
    TCase *text = tcase_create("text"), *file = tcase_create("file");

    tcase_add_checked_fixture(text, NULL, teardown);
    tcase_add_test(text, each_id_has_its_key_and_all_others_share_one);
    tcase_add_test(text, an_id_without_a_key_has_stand_ins_that_nobody_knows);
    tcase_add_test(text, of_many_ids_each_is_found);
    tcase_add_loop_test(text, what_is_wrong_is_told_with_its_line_and_without_the_key, 0,
                        (int)NQI_LEN(wrong));
    tcase_add_test(text, a_text_cut_anywhere_is_wrong_and_nothing_else);
    tcase_add_test(text, the_longest_key_fits_and_one_byte_more_does_not);
    tcase_add_test(text, without_memory_nothing_is_left);
    tcase_add_test(text, a_key_is_condensed_as_the_protocol_says);
    suite_add_tcase(suite, text);
    tcase_add_checked_fixture(file, setup_file, teardown_file);
    tcase_add_test(file, a_file_that_only_its_owner_reads_is_read);
    tcase_add_loop_test(file, a_file_that_others_may_open_is_refused_with_the_way_out, 0, 8);
    tcase_add_test(file, a_file_of_somebody_else_is_refused);
    tcase_add_test(file, what_is_no_file_of_keys_is_told);
    suite_add_tcase(suite, file);
    return suite;
}
