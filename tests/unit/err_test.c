/* core/err.c: a text for every code, and the last failure of each thread. */
#include "core/err.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

START_TEST(every_code_has_a_text_of_its_own)
{
    for (int i = NQ_ERR_DEADLOCK; i <= NQ_END; i++) {
        ck_assert_str_ne(nq_strerror((nq_err)i), "unknown result");
        for (int k = NQ_ERR_DEADLOCK; k < i; k++)
            ck_assert_str_ne(nq_strerror((nq_err)i), nq_strerror((nq_err)k));
    }
}
END_TEST

START_TEST(unknown_code_has_a_text)
{
    ck_assert_str_eq(nq_strerror((nq_err)-1000), "unknown result");
    ck_assert_str_eq(nq_strerror((nq_err)1000), "unknown result");
}
END_TEST

START_TEST(text_is_empty_before_the_first_failure)
{
    ck_assert_str_eq(nq_error(), "");
}
END_TEST

START_TEST(fail_returns_its_code_and_keeps_the_text_and_errno)
{
    errno = EBUSY;
    ck_assert_int_eq(nqi_fail(NQ_ERR_CONFIG, "key %s is %d", "a", 7), NQ_ERR_CONFIG);
    ck_assert_str_eq(nq_error(), "key a is 7");
    ck_assert_int_eq(errno, EBUSY);
}
END_TEST

START_TEST(context_is_put_in_front)
{
    nqi_fail(NQ_ERR_SYS, "no such file");
    ck_assert_int_eq(nqi_fail_in(NQ_ERR_CONFIG, "reading %s", "x.json"), NQ_ERR_CONFIG);
    ck_assert_str_eq(nq_error(), "reading x.json: no such file");
}
END_TEST

START_TEST(text_may_be_made_of_the_former_text)
{
    nqi_fail(NQ_ERR_SYS, "inner");
    nqi_fail(NQ_ERR_SYS, "%s, %s", nq_error(), nq_error());
    ck_assert_str_eq(nq_error(), "inner, inner");
    nqi_fail_in(NQ_ERR_SYS, "%s", nq_error());
    ck_assert_str_eq(nq_error(), "inner, inner: inner, inner");
}
END_TEST

START_TEST(system_error_names_its_cause)
{
    errno = ENOENT;
    ck_assert_int_eq(nqi_fail_errno("open %s", "x"), NQ_ERR_SYS);
    ck_assert_str_eq(nq_error(), "open x: No such file or directory");
    ck_assert_int_eq(errno, ENOENT);
    errno = 98765;
    nqi_fail_errno("open");
    ck_assert_ptr_nonnull(strstr(nq_error(), "98765"));
}
END_TEST

START_TEST(long_texts_are_cut)
{
    char text[3000];

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    nqi_fail(NQ_ERR_SYS, "%s", text);
    ck_assert_uint_eq(strlen(nq_error()), 1023);
    for (int i = 0; i < 10; i++)
        nqi_fail_in(NQ_ERR_SYS, "level %d", i);
    ck_assert_uint_eq(strlen(nq_error()), 1023);
    ck_assert_int_eq(strncmp(nq_error(), "level 9: level 8: ", 18), 0);
    errno = EIO;
    nqi_fail_errno("%s", text);
    ck_assert_uint_eq(strlen(nq_error()), 1023);
}
END_TEST

static void *other_thread(void *arg)
{
    (void)arg;
    ck_assert_str_eq(nq_error(), "");
    nqi_fail(NQ_ERR_SYS, "other");
    return NULL;
}

START_TEST(each_thread_has_its_own_text)
{
    pthread_t thread;

    nqi_fail(NQ_ERR_SYS, "mine");
    ck_assert_int_eq(pthread_create(&thread, NULL, other_thread, NULL), 0);
    pthread_join(thread, NULL);
    ck_assert_str_eq(nq_error(), "mine");
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("err");
    TCase *tc = tcase_create("err");

    tcase_add_test(tc, text_is_empty_before_the_first_failure);
    tcase_add_test(tc, every_code_has_a_text_of_its_own);
    tcase_add_test(tc, unknown_code_has_a_text);
    tcase_add_test(tc, fail_returns_its_code_and_keeps_the_text_and_errno);
    tcase_add_test(tc, context_is_put_in_front);
    tcase_add_test(tc, text_may_be_made_of_the_former_text);
    tcase_add_test(tc, system_error_names_its_cause);
    tcase_add_test(tc, long_texts_are_cut);
    tcase_add_test(tc, each_thread_has_its_own_text);
    suite_add_tcase(suite, tc);
    return suite;
}
