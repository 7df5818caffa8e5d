/* Suites of several cases, each with a fixture of its own. */
#ifndef NQTEST_SUITE_H
#define NQTEST_SUITE_H

#include <check.h>

/* A case in `suite` whose tests run between `setup` and `teardown`, for at most 30 s each. */
static inline TCase *nqtest_case(Suite *suite, const char *name, SFun setup, SFun teardown)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 30);
    suite_add_tcase(suite, tcase);
    return tcase;
}

#endif
