/* Two outboxes in plain memory and a stream from one to the other, for tests of shm's pure parts.
 *
 * The plugin's sources are built for these with SHM_MUTATING: shm_peer_mutate() sees every read of
 * a peer's memory. */
#ifndef NQTEST_SHM_PAIR_H
#define NQTEST_SHM_PAIR_H

#include "plugins/shm/shm_lease.h"
#include "plugins/shm/shm_ring.h"

struct nqtest_shm_pair {
    void *mem[2];
    struct shm_outbox ours, theirs; /* ours is the sender's */
    uint64_t *ends;
    struct shm_tx tx;
    struct shm_rx rx;
};

void nqtest_shm_pair_init(struct nqtest_shm_pair *pair, uint32_t ncell, uint32_t nbyte);
void nqtest_shm_pair_fini(struct nqtest_shm_pair *pair);

/* What the stream has at an offset. */
uint8_t nqtest_shm_byte(uint64_t at);

/* Send `len` bytes of the stream from offset `at` on, cut into `nseg` segments, as far as they go.
 * @return bytes that went, negative as shm_tx_put() */
int64_t nqtest_shm_send(struct nqtest_shm_pair *pair, uint64_t at, size_t len, uint32_t nseg);

/* Take all that is there, which must go on at `at`.  @return bytes, negative as shm_rx_next() */
int64_t nqtest_shm_recv(struct nqtest_shm_pair *pair, uint64_t at);

#endif
