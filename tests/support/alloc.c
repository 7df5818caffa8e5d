/* The linker sends our calls of malloc() and its kin here; what they allocate is the real ones',
 * so that free() and the sanitizers see nothing of it. */
#include "tests/support/alloc.h"
#include <jansson.h>
#include <stdlib.h>

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_realloc(void *old, size_t len);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_realloc(void *old, size_t len);
char *__wrap_strdup(const char *text);

static unsigned alloc_left; /* allocations until the one that fails; 0 = none does */
static bool alloc_failed;

static bool alloc_fails(void)
{
    if (!alloc_left || --alloc_left)
        return false;
    alloc_failed = true;
    return true;
}

void *__wrap_malloc(size_t len)
{
    return alloc_fails() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
    return alloc_fails() ? NULL : __real_calloc(n, len);
}

void *__wrap_realloc(void *old, size_t len)
{
    return alloc_fails() ? NULL : __real_realloc(old, len);
}

char *__wrap_strdup(const char *text)
{
    return alloc_fails() ? NULL : __real_strdup(text);
}

void nqtest_alloc_fail_at(unsigned n)
{
    json_set_alloc_funcs(__wrap_malloc, free);
    alloc_left = n;
    alloc_failed = false;
}

bool nqtest_alloc_disarm(void)
{
    alloc_left = 0;
    return alloc_failed;
}
