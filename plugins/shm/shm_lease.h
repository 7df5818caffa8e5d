/* Leases: which blocks of ours a peer may still look at, and how it gives them back.
 *
 *     owner      shm_lease_grant() --> (index, nonce) in a BLOCK cell --> peer
 *     peer       shm_token_put() --> release ring in its outbox
 *     owner      shm_token_take() --> shm_lease_end(), which looks them up
 *
 * The table is the owner's and private: what comes back is looked up in it, so a peer ends what was
 * lent to it and nothing else, each once.  A nonce tells a lease from an earlier one in the same
 * place.  It need not be secret: whoever guesses it harms himself.
 *
 * A free place has nonce 0.  The release ring has at least as many places as the table, and a place
 * in the table is free again only after its token was taken: so no token overwrites one that was
 * not read, and to put one never waits.
 *
 * Pure.  Thread: each struct on one at a time. */
#ifndef SHM_LEASE_H
#define SHM_LEASE_H

#include "shm_layout.h"

/* ---- tokens ---------------------------------------------------------------------------------- */

struct shm_lease_id {
    uint32_t index, nonce;
};

struct shm_token_tx {
    struct shm_token *tokens; /* ours */
    uint32_t n;               /* power of two */
    uint64_t sent;
};

struct shm_token_rx {
    const struct shm_token *tokens; /* the peer's */
    uint32_t n;
    uint64_t taken;
};

void shm_token_tx_init(struct shm_token_tx *tx, const struct shm_outbox *ours);
void shm_token_rx_init(struct shm_token_rx *rx, const struct shm_outbox *peer);
void shm_token_put(struct shm_token_tx *tx, struct shm_lease_id id);
/* @return 1 = *ret is set, 0 = none is there, -1 = it makes no sense */
int shm_token_take(struct shm_token_rx *rx, struct shm_lease_id *ret);

/* ---- the table ------------------------------------------------------------------------------- */

struct shm_lease {
    uint32_t nonce; /* 0 = free */
    uint32_t block; /* whose meaning is the caller's; free: the next free place */
};

struct shm_leases {
    struct shm_lease *at; /* n of them */
    uint32_t n, used;
    uint32_t free;  /* the first one; n = none */
    uint32_t nonce; /* the last one given out */
    uint32_t drop;  /* where shm_lease_drop() looks first: to drop all is one walk */
};

/* `at` has room for `n` places and lives as long as the table. */
void shm_leases_init(struct shm_leases *leases, struct shm_lease *at, uint32_t n);

/* False: as many are out as may be. */
bool shm_lease_grant(struct shm_leases *leases, uint32_t block, struct shm_lease_id *ret);

/* What a peer says.  False: there is no such lease. */
bool shm_lease_end(struct shm_leases *leases, struct shm_lease_id id, uint32_t *block);

/* The peer is gone: end any one of its leases.  False: none is left. */
bool shm_lease_drop(struct shm_leases *leases, uint32_t *block);

#endif
