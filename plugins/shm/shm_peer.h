/* The only way to read memory that a peer can write.
 *
 * The peer may change a word between two looks at it, so each is read once, into a local, and what
 * was read is checked and used.  No other file may follow a pointer into a peer's outbox or
 * segment.  A build with SHM_MUTATING calls shm_peer_mutate() after every read, so that a test can
 * change what was just read: code that looks twice then fails always, not once in a while.
 *
 * Thread: any.  A torn copy is possible and harmless: the bytes are the peer's in any case. */
#ifndef SHM_PEER_H
#define SHM_PEER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef SHM_MUTATING
extern void (*shm_peer_mutate)(const void *at, size_t len); /* NULL = leave it */
#define SHM_PEER_WAS_READ(at, len)        \
    do {                                  \
        if (shm_peer_mutate)              \
            shm_peer_mutate((at), (len)); \
    } while (0)
#else
/* The compiler may not read it again either. */
#define SHM_PEER_WAS_READ(at, len) atomic_signal_fence(memory_order_seq_cst)
#endif

static inline uint32_t shm_peer_u32(const _Atomic uint32_t *at)
{
    uint32_t value = atomic_load_explicit(at, memory_order_acquire);

    SHM_PEER_WAS_READ((const void *)at, sizeof(value));
    return value;
}

static inline uint64_t shm_peer_u64(const _Atomic uint64_t *at)
{
    uint64_t value = atomic_load_explicit(at, memory_order_acquire);

    SHM_PEER_WAS_READ((const void *)at, sizeof(value));
    return value;
}

static inline void shm_peer_copy(void *restrict dst, const void *restrict src, size_t len)
{
    memcpy(dst, src, len);
    SHM_PEER_WAS_READ(src, len);
}

#endif
