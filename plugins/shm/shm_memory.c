/* Memory that two processes share and one can write.
 *
 *     make    create, size, write every page, map for writing, seal, pass on
 *     adopt   seals, size, pages: in this order, so that what was checked cannot change behind it;
 *             blocks may be counted that lie behind the end, so it is asked for holes as well
 *
 * The seals: it neither shrinks nor grows, so no access is beyond its end (SIGBUS); nobody maps it
 * for writing any more, and nobody punches holes; and no seal is added.  All pages are there from
 * the beginning: writing cannot fail for want of them, and reading allocates none.  They are mapped
 * one by one as they are used: of a large segment that is dear, and most of it may never be. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm_memory.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3 */
#endif

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

#define MEMORY_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define MEMORY_BLOCK 512u /* of st_blocks */

/* ---- forks -------------------------------------------------------------------------------- */

static pthread_once_t memory_once = PTHREAD_ONCE_INIT;
static _Atomic uint32_t memory_forks;

static void memory_forked(void)
{
    atomic_fetch_add_explicit(&memory_forks, 1, memory_order_relaxed);
}

static void memory_watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, memory_forked);
}

uint32_t shm_memory_process(void)
{
    return atomic_load_explicit(&memory_forks, memory_order_relaxed);
}

/* ---- making ------------------------------------------------------------------------------- */

static size_t memory_round(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (len + page - 1) & ~(page - 1);
}

static int memory_create(void)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("netqueue", flags | MFD_NOEXEC_SEAL);

    return fd < 0 && errno == EINVAL ? memfd_create("netqueue", flags) : fd;
}

/* Written, since a page that is only allocated counts as a hole for who adopts it. */
static int memory_allocate(int fd, size_t len)
{
    static uint8_t zeros[64u << 10];
    size_t at = 0;

    if (ftruncate(fd, (off_t)len))
        return errno;
    while (at < len) {
        ssize_t n =
            pwrite(fd, zeros, len - at < sizeof(zeros) ? len - at : sizeof(zeros), (off_t)at);

        if (n < 0 && errno != EINTR)
            return errno;
        if (!n)
            return ENOSPC;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* A limit on the size of files is an error here, and not the signal that ends the process. */
static int memory_allocate_quietly(int fd, size_t len)
{
    static const struct timespec now = {0, 0};
    sigset_t set, old;
    int rc;

    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    rc = memory_allocate(fd, len);
    if (rc == EFBIG && !sigismember(&old, SIGXFSZ))
        (void)sigtimedwait(&set, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

/* A forked child shall not keep it, nor see half of a link. */
static int memory_map(int fd, size_t len, int protection, struct shm_memory *ret)
{
    void *at = mmap(NULL, len, protection, MAP_SHARED, fd, 0);

    if (at == MAP_FAILED)
        return errno;
    if (madvise(at, len, MADV_DONTFORK)) {
        int rc = errno;

        munmap(at, len);
        return rc;
    }
    (void)pthread_once(&memory_once, memory_watch_forks);
    *ret = (struct shm_memory){.at = at, .len = len, .process = shm_memory_process()};
    return 0;
}

int shm_memory_make(size_t len, struct shm_memory *ret, int *fd)
{
    struct shm_memory memory = {0};
    int made = memory_create(), rc;

    if (made < 0)
        return errno;
    len = memory_round(len);
    rc = memory_allocate_quietly(made, len);
    if (!rc)
        rc = memory_map(made, len, PROT_READ | PROT_WRITE, &memory);
    if (!rc && fcntl(made, F_ADD_SEALS, MEMORY_SEALS))
        rc = errno;
    if (rc) {
        shm_memory_free(&memory);
        close(made);
        return rc;
    }
    *ret = memory;
    *fd = made;
    return 0;
}

/* F_GET_SEALS fails for whatever is not memory, without asking a file system that may be the
 * peer's own. */
static int memory_check(int fd, size_t len)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    if (seals < 0 || (seals & MEMORY_SEALS) != MEMORY_SEALS)
        return EPERM;
    if (fstat(fd, &st))
        return errno;
    if (st.st_size < 0 || (size_t)st.st_size != len)
        return EPERM;
    if ((uint64_t)st.st_blocks * MEMORY_BLOCK < len) /* sooner than a walk over its pages */
        return EPERM;
    return len && lseek(fd, 0, SEEK_HOLE) != (off_t)len ? EPERM : 0;
}

int shm_memory_adopt(int fd, size_t len, struct shm_memory *ret)
{
    int rc;

    len = memory_round(len);
    rc = memory_check(fd, len);
    if (!rc)
        rc = memory_map(fd, len, PROT_READ, ret);
    close(fd);
    return rc;
}

void shm_memory_touch(const struct shm_memory *memory, bool write)
{
    (void)madvise(memory->at, memory->len, write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

void shm_memory_free(struct shm_memory *memory)
{
    if (memory->at && memory->process == shm_memory_process())
        munmap(memory->at, memory->len);
    *memory = (struct shm_memory){0};
}
