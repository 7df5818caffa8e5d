/* Memory that two processes share and one can write; see shm_memory.c. */
#ifndef SHM_MEMORY_H
#define SHM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shm_memory {
    void *at; /* NULL = none */
    size_t len;
    uint32_t process; /* that mapped it */
};

/* Which process this is; a forked child is another one, and has none of its parent's memory. */
uint32_t shm_memory_process(void);

/* Memory of at least `len` bytes, all zero, that this process alone can write, and its descriptor
 * to pass on.  @return 0 or an errno; nothing is left then */
int shm_memory_make(size_t len, struct shm_memory *ret, int *fd);

/* Map what a peer passed, for reading, and close `fd` in any case.
 * @param len  what it must have, before rounding to pages
 * @return 0, EPERM: it may change under us, or has another size; or another errno */
int shm_memory_adopt(int fd, size_t len, struct shm_memory *ret);
/* Map all its pages now, for memory that is used at once and where every fault counts.  What fails
 * is mapped later. */
void shm_memory_touch(const struct shm_memory *memory, bool write);
/* `at` NULL is allowed.  In a forked child nothing is there to be unmapped. */
void shm_memory_free(struct shm_memory *memory);

#endif
