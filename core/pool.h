/* Memory that is used again: first touch of fresh pages costs as much as a copy.
 *
 * Blocks come in size classes (powers of two and the steps halfway, 64 B to 4 MiB;
 * larger ones go to the system each time), all 64-byte aligned.  Each thread keeps
 * a few blocks of each small class; the rest lies in process-wide lists, at most
 * nqi_pool_limit() bytes in all, and goes back to the system beyond that.  A block
 * may be freed on any thread.
 *
 * Under AddressSanitizer, or with NETQUEUE_POOL=off in the environment, every block is malloc'ed
 * and freed at once, so that the tools see each use after free.
 *
 * Thread: any.  Blocks: only on a short leaf lock. */
#ifndef NQ_CORE_POOL_H
#define NQ_CORE_POOL_H

#include "core/base.h"

/* `len` bytes or more, 64-byte aligned, not initialised; NULL = no memory. */
void *nqi_pool_alloc(size_t len);

/* How many bytes nqi_pool_alloc(len) really sets aside: use them all. */
size_t nqi_pool_size(size_t len);

/* Give a block back.  `len` is what it was allocated with.  NULL is allowed. */
void nqi_pool_free(void *block, size_t len);

/* Most bytes that the process-wide lists keep; default 64 MiB. */
void nqi_pool_set_limit(size_t bytes);

/* Bytes kept now in the process-wide lists. */
size_t nqi_pool_kept(void);

/* For tests: the n-th allocation from now fails (and no other); 0 = none. */
void nqi_pool_fail_after(unsigned n);

#endif
