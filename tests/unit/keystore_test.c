/* core/keystore.c: keys are read again when their file has changed, and never given up for a file
 * that cannot be used. */
#include "core/keystore.h"

#include "core/err.h"
#include "tests/support/suite.h"
#include <check.h>
#include <netqueue/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ONE "0123456789abcdef0123456789abcdef"
#define TWO \
    "fedcba9876543210fedcba9876543210fedcba98" /* longer: the size tells, if no clock does */

static char path[64];
static struct nqi_keystore *store;
static int64_t now;
static char said[512];
static unsigned lines;

static void hear(void *arg, nq_log_level level, const char *text)
{
    (void)arg;
    (void)level;
    snprintf(said, sizeof(said), "%s", text);
    lines++;
}

static void write_text(const char *text)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

static void write_key(const char *key)
{
    char text[128];

    snprintf(text, sizeof(text), "{\"key\": \"%s\"}", key);
    write_text(text);
}

/* The first key that holds for everybody, a look later. */
static struct nqi_keys look(void)
{
    const nq_uuid anybody = {{1}};
    struct nqi_keys keys;

    now += NQI_KEYSTORE_LOOK_NS;
    nqi_keystore_find(store, &anybody, now, &keys);
    return keys;
}

static bool is_same(const struct nqi_keys *a, const struct nqi_keys *b)
{
    return memcmp(a->key[0], b->key[0], NQI_KEY) == 0;
}

static void setup(void)
{
    int fd;

    snprintf(path, sizeof(path), "/tmp/nqtest-keystore-XXXXXX");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    now = lines = 0;
    nq_log_set(hear, NULL, NQ_LOG_INFO);
    write_key(ONE);
    ck_assert_int_eq(nqi_keystore_open(path, &store), NQ_OK);
}

static void teardown(void)
{
    nqi_keystore_close(store);
    nqi_keystore_close(NULL);
    nq_log_set(NULL, NULL, NQ_LOG_INFO);
    unlink(path);
}

START_TEST(a_file_that_does_not_change_is_read_once)
{
    const struct nqi_keys first = look(), second = look();

    ck_assert(first.known);
    ck_assert(is_same(&first, &second));
    ck_assert_uint_eq(lines, 0);
}
END_TEST

START_TEST(a_changed_file_is_read_again)
{
    const struct nqi_keys first = look();
    struct nqi_keys second, third;

    write_key(TWO);
    second = look();
    ck_assert(second.known);
    ck_assert(!is_same(&first, &second));
    ck_assert_msg(strstr(said, "new keys are in use"), "%s", said);
    third = look();
    ck_assert(is_same(&second, &third));
    ck_assert_uint_eq(lines, 1);
    write_key(ONE);
    third = look();
    ck_assert(is_same(&first, &third));
}
END_TEST

START_TEST(another_file_in_its_place_is_read)
{
    const struct nqi_keys first = look();
    struct nqi_keys second;
    char other[80];

    snprintf(other, sizeof(other), "%s.old", path);
    ck_assert_int_eq(rename(path, other), 0);
    write_key(TWO);
    ck_assert_int_eq(chmod(path, 0600), 0);
    second = look();
    ck_assert(!is_same(&first, &second));
    unlink(other);
}
END_TEST

START_TEST(the_file_is_looked_at_once_a_second)
{
    const nq_uuid anybody = {{1}};
    const struct nqi_keys first = look();
    struct nqi_keys keys;

    write_key(TWO);
    nqi_keystore_find(store, &anybody, now + NQI_KEYSTORE_LOOK_NS - 1, &keys);
    ck_assert(is_same(&first, &keys));
    nqi_keystore_find(store, &anybody, now + NQI_KEYSTORE_LOOK_NS, &keys);
    ck_assert(!is_same(&first, &keys));
}
END_TEST

static void no_file(void)
{
    ck_assert_int_eq(unlink(path), 0);
}

static void open_to_others(void)
{
    write_key(TWO);
    ck_assert_int_eq(chmod(path, 0644), 0);
}

static void no_json(void)
{
    write_text("{\"key\": \"" TWO "\"");
}

static void short_key(void)
{
    write_key("0123");
}

static void empty(void)
{
    write_text("");
}

static const struct {
    void (*spoil)(void);
    const char *why;
} misfits[] = {
    {no_file, "cannot open"}, {open_to_others, "chmod 600"},
    {no_json, ":1:"},         {short_key, "a key is 16 to 128 random bytes"},
    {empty, ":1:"},
};

START_TEST(a_file_that_does_not_fit_leaves_the_old_keys_in_force)
{
    const struct nqi_keys first = look();
    struct nqi_keys keys;

    misfits[_i].spoil();
    keys = look();
    ck_assert(keys.known);
    ck_assert(is_same(&first, &keys));
    ck_assert_msg(strstr(said, "the old ones hold on") && strstr(said, misfits[_i].why), "%s",
                  said);
    ck_assert_ptr_null(strstr(said, TWO));
    look();
    ck_assert_uint_eq(lines, 1); /* told once */
    unlink(path);
    write_key(TWO);
    ck_assert_int_eq(chmod(path, 0600), 0);
    keys = look();
    ck_assert(!is_same(&first, &keys));
}
END_TEST

START_TEST(a_file_that_does_not_fit_at_first_is_an_error)
{
    struct nqi_keystore *none = NULL;

    write_text("{");
    ck_assert_int_eq(nqi_keystore_open(path, &none), NQ_ERR_CONFIG);
    ck_assert_ptr_null(none);
}
END_TEST

START_TEST(keys_without_a_file_never_change)
{
    static const char text[] = "{\"key\": \"" ONE "\"}";
    struct nqi_keyring *ring;
    struct nqi_keys first, second;

    first = look();
    nqi_keystore_close(store);
    ck_assert_int_eq(nqi_keyring_parse("text", text, sizeof(text) - 1, &ring), NQ_OK);
    ck_assert_int_eq(nqi_keystore_new(ring, NULL, &store), NQ_OK);
    write_key(TWO);
    second = look();
    ck_assert(is_same(&first, &second));
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("keystore");
    TCase *tcase = nqtest_case(suite, "keys", setup, teardown);

    tcase_add_test(tcase, a_file_that_does_not_change_is_read_once);
    tcase_add_test(tcase, a_changed_file_is_read_again);
    tcase_add_test(tcase, another_file_in_its_place_is_read);
    tcase_add_test(tcase, the_file_is_looked_at_once_a_second);
    tcase_add_loop_test(tcase, a_file_that_does_not_fit_leaves_the_old_keys_in_force, 0, 5);
    tcase_add_test(tcase, a_file_that_does_not_fit_at_first_is_an_error);
    tcase_add_test(tcase, keys_without_a_file_never_change);
    return suite;
}
