/* See shm_pair.h. */
#include "tests/plugins/shm_pair.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define PAIR_SEGS 64

void (*shm_peer_mutate)(const void *at, size_t len);

static struct shm_outbox pair_outbox(const struct shm_sizes *sizes, void **mem)
{
    size_t size = (shm_outbox_size(sizes) + 4095) & ~(size_t)4095;

    *mem = aligned_alloc(4096, size);
    ck_assert_ptr_nonnull(*mem);
    memset(*mem, 0, size);
    return shm_outbox_at(*mem, sizes);
}

void nqtest_shm_pair_init(struct nqtest_shm_pair *pair, uint32_t ncell, uint32_t nbyte)
{
    const struct shm_sizes sizes = {.ncell = ncell, .ntoken = ncell, .nbyte = nbyte};

    ck_assert(shm_sizes_ok(&sizes));
    pair->ours = pair_outbox(&sizes, &pair->mem[0]);
    pair->theirs = pair_outbox(&sizes, &pair->mem[1]);
    pair->ends = calloc(ncell, sizeof(*pair->ends));
    shm_tx_init(&pair->tx, &pair->ours, &pair->theirs, pair->ends);
    shm_rx_init(&pair->rx, &pair->theirs, &pair->ours);
}

void nqtest_shm_pair_fini(struct nqtest_shm_pair *pair)
{
    shm_peer_mutate = NULL;
    free(pair->mem[0]);
    free(pair->mem[1]);
    free(pair->ends);
}

uint8_t nqtest_shm_byte(uint64_t at)
{
    return (uint8_t)(at * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

int64_t nqtest_shm_send(struct nqtest_shm_pair *pair, uint64_t at, size_t len, uint32_t nseg)
{
    struct iovec iov[PAIR_SEGS];
    struct shm_source source = {.seg = iov, .nseg = nseg, .left = len};
    uint8_t *bytes = malloc(len);
    int64_t rc = 1;

    ck_assert(nseg && nseg <= PAIR_SEGS);
    for (size_t i = 0; i < len; i++)
        bytes[i] = nqtest_shm_byte(at + i);
    for (uint32_t i = 0; i < nseg; i++)
        iov[i] = (struct iovec){bytes + len / nseg * i,
                                i + 1 < nseg ? len / nseg : len - len / nseg * (nseg - 1)};
    while (source.left && rc > 0)
        rc = shm_tx_put(&pair->tx, &source);
    free(bytes);
    return rc < 0 ? rc : (int64_t)(len - source.left);
}

int64_t nqtest_shm_recv(struct nqtest_shm_pair *pair, uint64_t at)
{
    struct shm_piece piece;
    uint64_t start = at;
    int rc;

    while ((rc = shm_rx_next(&pair->rx, &piece)) > 0) {
        uint8_t *bytes = malloc(piece.len);

        shm_piece_copy(&piece, 0, bytes, piece.len);
        for (uint32_t i = 0; i < piece.len; i++, at++)
            ck_assert_uint_eq(bytes[i], nqtest_shm_byte(at));
        free(bytes);
        shm_rx_done(&pair->rx, &piece);
    }
    return rc < 0 ? rc : (int64_t)(at - start);
}
