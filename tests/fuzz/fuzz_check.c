/* The helpers of the tests assert with Check, which wants a test to be running.  Here none is:
 * these take the place of the two functions that its macros call. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void _mark_point(const char *file, int line)
{
    (void)file;
    (void)line;
}

void _ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
    va_list args;

    fprintf(stderr, "%s:%d: %s ", file, line, expr);
    va_start(args, msg);
    if (msg)
        vfprintf(stderr, msg, args);
    va_end(args);
    abort();
}
