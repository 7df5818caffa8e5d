/* Where the pool's blocks come from and go back to: malloc()'s memory for those below
 * NQI_POOL_MAPPED, whole pages for the others.  Thread: any. */
#ifndef NQ_CORE_POOL_SYSTEM_H
#define NQ_CORE_POOL_SYSTEM_H

#include "core/base.h"

#define NQI_POOL_PAGE 4096
#define NQI_POOL_MAPPED ((size_t)128 << 10) /* from here on whole pages, by mmap() */

/* `len` rounded up to whole pages; at most SIZE_MAX - NQI_POOL_PAGE. */
static inline size_t nqi_pool_pages(size_t len)
{
    return (len + NQI_POOL_PAGE - 1) & ~(size_t)(NQI_POOL_PAGE - 1);
}

/* @param size  a class of the pool, or whole pages
 * @return on a cache line, ends with nqi_pool_system_free(); NULL = no memory */
void *nqi_pool_system_alloc(size_t size);

/* @param size  what it was allocated with */
void nqi_pool_system_free(void *block, size_t size);

#endif
