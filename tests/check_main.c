/* The only main() of the unit tests: runs the suite that the file beside it defines and
 * prints TAP.
 *
 * Check runs each test in a process of its own; CK_FORK=no in the environment keeps them
 * in this one, for gdb and Valgrind. */
#include <check.h>
#include <stdlib.h>

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
