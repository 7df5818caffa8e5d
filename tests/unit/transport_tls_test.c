/* include/netqueue/transport_tls.h: texts of files, and that nothing of them stays in memory.
 *
 * What the header takes and gives back passes through here: zeroed, and looked at. */
#include "tests/support/suite.h"
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    char *at;
    size_t len;
} taken[4];
static unsigned given_back;

static void *take(size_t len)
{
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        if (!taken[i].at) {
            taken[i].at = calloc(1, len);
            taken[i].len = len;
            return taken[i].at;
        }
    return NULL;
}

static void give_back(void *mem)
{
    for (size_t i = 0; mem && i < sizeof(taken) / sizeof(taken[0]); i++)
        if (taken[i].at == mem) {
            for (size_t k = 0; k < taken[i].len; k++)
                ck_assert_msg(!taken[i].at[k], "byte %zu was not wiped", k);
            taken[i].at = NULL;
            given_back++;
        }
    free(mem);
}

#define malloc(len) take(len)
#define free(mem) give_back(mem)
#include <netqueue/transport_tls.h>
#undef malloc
#undef free

#define KEY "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
#define CERT "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n"

static char path[] = "/tmp/netqueue-transport-tls-XXXXXX";
static char *text;
static struct nqt_error err;

static void setup(void)
{
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    close(fd);
    err = (struct nqt_error){.size = sizeof(err)};
}

static void teardown(void)
{
    (void)unlink(path);
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        ck_assert_ptr_null(taken[i].at);
}

/* The file has these bytes, and spaces behind them up to `len`. */
static void write_file(const void *bytes, size_t some, size_t len)
{
    FILE *file = fopen(path, "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, some, file), some);
    for (; some < len; some++)
        ck_assert_int_eq(putc(' ', file), ' ');
    ck_assert_int_eq(fclose(file), 0);
}

static int load(void)
{
    return nqt_tls_load("tls.key", path, "PRIVATE KEY", &text, &err);
}

START_TEST(a_text_is_whole_and_wiped_when_it_is_let_go)
{
    write_file(KEY, strlen(KEY), _i ? NQT_TLS_FILE_MAX - 1 : 0); /* the largest there is */
    ck_assert_int_eq(load(), NQT_OK);
    ck_assert_uint_eq(strlen(text), _i ? NQT_TLS_FILE_MAX - 1 : strlen(KEY));
    ck_assert_mem_eq(text, KEY, strlen(KEY));
    nqt_tls_wipe(&text);
    ck_assert_ptr_null(text);
    ck_assert_uint_eq(given_back, 1);
    nqt_tls_wipe(&text);
}
END_TEST

/* A key in another form than PEM is a secret, too; it has zeros. */
static const unsigned char der[] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03};

static const struct {
    const void *bytes;
    size_t some, len;
    const char *says;
} unfit[] = {
    {KEY, sizeof(KEY) - 1, NQT_TLS_FILE_MAX, "is too long"},
    {KEY, sizeof(KEY) - 1, NQT_TLS_FILE_MAX + 1, "is too long"},
    {CERT, sizeof(CERT) - 1, 0, "no \"PRIVATE KEY\" in PEM form"},
    {der, sizeof(der), 0, "no \"PRIVATE KEY\" in PEM form"},
    {KEY "\0" KEY, 2 * sizeof(KEY) - 1, 0, "no \"PRIVATE KEY\" in PEM form"},
    {"", 0, 0, "no \"PRIVATE KEY\" in PEM form"},
};

START_TEST(what_does_not_fit_is_wiped_as_well)
{
    write_file(unfit[_i].bytes, unfit[_i].some, unfit[_i].len);
    ck_assert_int_eq(load(), NQT_E_CONFIG);
    ck_assert_ptr_null(text);
    ck_assert_uint_eq(given_back, 1);
    ck_assert_msg(strstr(err.text, unfit[_i].says), "%s", err.text);
    ck_assert_ptr_null(strstr(err.text, "c2VjcmV0"));
}
END_TEST

START_TEST(where_one_file_does_not_fit_none_is_kept)
{
    struct nqt_tls_files files;
    struct nqt_tls_texts texts;

    write_file(CERT, strlen(CERT), 0);
    memset(&files, 0, sizeof(files));
    snprintf(files.ca, sizeof(files.ca), "%s", path);
    snprintf(files.cert, sizeof(files.cert), "%s", path);
    snprintf(files.key, sizeof(files.key), "%s", _i ? path : "/nowhere");
    ck_assert_int_eq(nqt_tls_load_all(&files, &texts, &err), NQT_E_CONFIG);
    ck_assert_uint_eq(given_back, _i ? 3 : 2);
    ck_assert(!texts.ca && !texts.cert && !texts.key);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("transport_tls");
    TCase *tcase = nqtest_case(suite, "files", setup, teardown);

    tcase_add_loop_test(tcase, a_text_is_whole_and_wiped_when_it_is_let_go, 0, 2);
    tcase_add_loop_test(tcase, what_does_not_fit_is_wiped_as_well, 0,
                        sizeof(unfit) / sizeof(unfit[0]));
    tcase_add_loop_test(tcase, where_one_file_does_not_fit_none_is_kept, 0, 2);
    return suite;
}
