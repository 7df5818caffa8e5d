/* core/random.c: every byte is random, and the system's refusal is told.  The linker leads the
 * library's getrandom() here. */
#include "core/random.h"

#include <check.h>
#include <errno.h>
#include <netqueue/uuid.h>
#include <string.h>
#include <sys/random.h>

ssize_t __real_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);

static int refusal; /* errno; 0 = none */

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
    ck_assert_uint_eq(flags, GRND_NONBLOCK);
    if (!refusal)
        return __real_getrandom(buf, len, flags);
    errno = refusal;
    return -1;
}

START_TEST(every_byte_is_filled_and_none_behind)
{
    uint8_t bytes[257] = {0}, seen[256] = {0};

    for (int i = 0; i < 20; i++) { /* a byte that stays 0 in all of them is not filled */
        ck_assert_int_eq(nqi_random(bytes, (size_t)_i), NQ_OK);
        for (int k = 0; k < _i; k++)
            seen[k] |= bytes[k];
    }
    for (int k = 0; k < _i; k++)
        ck_assert_uint_ne(seen[k], 0);
    for (int k = _i; k < 257; k++)
        ck_assert_uint_eq(bytes[k], 0);
}
END_TEST

START_TEST(two_are_different)
{
    uint8_t a[32], b[32];

    ck_assert_int_eq(nqi_random(a, sizeof(a)), NQ_OK);
    ck_assert_int_eq(nqi_random(b, sizeof(b)), NQ_OK);
    ck_assert_mem_ne(a, b, sizeof(a));
}
END_TEST

START_TEST(a_refusal_is_told_with_its_reason)
{
    uint8_t bytes[16];

    refusal = EAGAIN; /* a machine that starts, and has no entropy yet */
    ck_assert_int_eq(nqi_random(bytes, sizeof(bytes)), NQ_ERR_SYS);
    ck_assert_ptr_nonnull(strstr(nq_error(), strerror(EAGAIN)));
    refusal = 0;
}
END_TEST

START_TEST(a_uuid_that_cannot_be_random_is_none)
{
    nq_uuid uuid = {{1, 2, 3}}, same = uuid;

    refusal = ENOSYS;
    ck_assert_int_eq(nq_uuid_random(&uuid), NQ_ERR_SYS);
    ck_assert(nq_uuid_equal(&uuid, &same));
    refusal = 0;
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("random");
    TCase *tc = tcase_create("random");

    tcase_add_loop_test(tc, every_byte_is_filled_and_none_behind, 0, 257);
    tcase_add_test(tc, two_are_different);
    tcase_add_test(tc, a_refusal_is_told_with_its_reason);
    tcase_add_test(tc, a_uuid_that_cannot_be_random_is_none);
    suite_add_tcase(suite, tc);
    return suite;
}
