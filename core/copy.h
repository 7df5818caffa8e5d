/* The one routine for copies above 2 KiB.
 *
 * On some processors `rep movsb`, which memcpy() uses from 2 KiB to 1 MiB, is twenty
 * times slower when the destination begins a few bytes after the source modulo the
 * page size.  A plain vector loop has no such positions. */
#ifndef NQ_CORE_COPY_H
#define NQ_CORE_COPY_H

#include "core/base.h"
#include <string.h>

#define NQI_COPY_SMALL 2048

void nqi_copy_large(void *restrict dst, const void *restrict src, size_t len);

/* The same by the loop of processors without wide registers, so that tests on others see
 * it.  len >= 64. */
void nqi_copy_narrow(void *restrict dst, const void *restrict src, size_t len);

/* memcpy() in every respect but speed. */
static inline void nqi_copy(void *restrict dst, const void *restrict src, size_t len)
{
    if (len <= NQI_COPY_SMALL)
        memcpy(dst, src, len);
    else
        nqi_copy_large(dst, src, len);
}

#endif
