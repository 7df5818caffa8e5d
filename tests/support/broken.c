/* For the host of tools/conform/ in unit tests: a broken rule of a transport fails the test. */
#include "tools/conform/rule.h"
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void nqtest_broken(enum nqtest_rule rule, const char *file, int line, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ck_abort_msg("%s:%d: %s%s%s", file, line, nqtest_rules[rule].name, rule ? ": " : "", text);
    abort(); /* not reached: Check's function is not declared so */
}
