/* Large blocks are mapped by themselves, so that freeing one gives its pages back. */
#include "core/pool_system.h"

#include <stdlib.h>
#include <sys/mman.h>

#define SYSTEM_HUGE ((size_t)2 << 20)

static void *system_map_pages(size_t size)
{
    void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return block == MAP_FAILED ? NULL : block;
}

/* On a boundary of huge pages: a fault for each small page of a fresh block can cost ten
 * times what filling it costs. */
static void *system_map_huge(size_t size)
{
    unsigned char *map;
    size_t skew;

    if (size > SIZE_MAX - SYSTEM_HUGE)
        return NULL;
    map = system_map_pages(size + SYSTEM_HUGE);
    if (!map)
        return NULL;
    skew = -(uintptr_t)map & (SYSTEM_HUGE - 1);
    if (skew)
        munmap(map, skew);
    if (skew < SYSTEM_HUGE)
        munmap(map + skew + size, SYSTEM_HUGE - skew);
#ifdef MADV_HUGEPAGE
    (void)madvise(map + skew, size, MADV_HUGEPAGE); /* a refusal does not matter */
#endif
    return map + skew;
}

static void *system_map(size_t size)
{
    return size >= SYSTEM_HUGE ? system_map_huge(size) : system_map_pages(size);
}

void *nqi_pool_system_alloc(size_t size)
{
    return size >= NQI_POOL_MAPPED ? system_map(size) : aligned_alloc(NQI_CACHE_LINE, size);
}

void nqi_pool_system_free(void *block, size_t size)
{
    if (size >= NQI_POOL_MAPPED)
        munmap(block, size);
    else
        free(block);
}
