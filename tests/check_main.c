/* The only main() of the unit tests: runs the suite of the one test file that it is linked with
 * and prints TAP, so that automake reports every single test.
 *
 * Check runs each test in a process of its own: a crash fails one test.  CK_FORK=no in the
 * environment turns that off, for gdb. */
#include <check.h>
#include <stdlib.h>

/* Each tests/unit/x_test.c defines this and nothing else that is global. */
Suite *nqtest_suite(void);

int main(void)
{
    SRunner *runner = srunner_create(nqtest_suite());
    int failed;

    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
