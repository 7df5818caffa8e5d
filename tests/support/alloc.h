/* Make one allocation fail.
 *
 * Programs that use this are linked with
 *   -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=strdup
 * which covers the code of this tree; jansson's allocations are covered, too. */
#ifndef NQTEST_ALLOC_H
#define NQTEST_ALLOC_H

#include <stdbool.h>

/* The n-th allocation from now fails, and no other; 0 = none. */
void nqtest_alloc_fail_at(unsigned n);

/* Has it failed?  Nothing fails any more afterwards. */
bool nqtest_alloc_disarm(void);

#endif
