/* See shm_lease.h. */
#include "shm_lease.h"

#include "shm_peer.h"

/* ---- tokens ------------------------------------------------------------------------------ */

static uint32_t token_lap(uint64_t position, uint32_t n)
{
    return (uint32_t)(position / n + 1);
}

void shm_token_tx_init(struct shm_token_tx *tx, const struct shm_outbox *ours)
{
    *tx = (struct shm_token_tx){.tokens = ours->tokens, .n = ours->sizes.ntoken};
}

void shm_token_rx_init(struct shm_token_rx *rx, const struct shm_outbox *peer)
{
    *rx = (struct shm_token_rx){.tokens = peer->tokens, .n = peer->sizes.ntoken};
}

void shm_token_put(struct shm_token_tx *tx, struct shm_lease_id id)
{
    struct shm_token *token = &tx->tokens[tx->sent & (tx->n - 1)];

    token->words = (struct shm_token_words){.lease = id.index, .nonce = id.nonce};
    atomic_store_explicit(&token->commit, token_lap(tx->sent, tx->n), memory_order_release);
    tx->sent++;
}

int shm_token_take(struct shm_token_rx *rx, struct shm_lease_id *ret)
{
    const struct shm_token *token = &rx->tokens[rx->taken & (rx->n - 1)];
    struct shm_token_words words;

    if (shm_peer_u32(&token->commit) != token_lap(rx->taken, rx->n))
        return 0;
    shm_peer_copy(&words, &token->words, sizeof(words));
    if (words.zero)
        return -1;
    *ret = (struct shm_lease_id){.index = words.lease, .nonce = words.nonce};
    rx->taken++;
    return 1;
}

/* ---- the table --------------------------------------------------------------------------- */

void shm_leases_init(struct shm_leases *leases, struct shm_lease *at, uint32_t n)
{
    *leases = (struct shm_leases){.at = at, .n = n};
    for (uint32_t i = 0; i < n; i++)
        at[i] = (struct shm_lease){.block = i + 1};
}

bool shm_lease_grant(struct shm_leases *leases, uint32_t block, struct shm_lease_id *ret)
{
    uint32_t index = leases->free;
    struct shm_lease *lease = &leases->at[index];

    if (index == leases->n)
        return false;
    leases->free = lease->block;
    leases->used++;
    if (!++leases->nonce)
        leases->nonce = 1;
    *lease = (struct shm_lease){.nonce = leases->nonce, .block = block};
    *ret = (struct shm_lease_id){.index = index, .nonce = lease->nonce};
    return true;
}

/* A live place becomes free. */
static uint32_t lease_free(struct shm_leases *leases, uint32_t index)
{
    uint32_t block = leases->at[index].block;

    leases->at[index] = (struct shm_lease){.block = leases->free};
    leases->free = index;
    leases->used--;
    return block;
}

bool shm_lease_end(struct shm_leases *leases, struct shm_lease_id id, uint32_t *block)
{
    if (id.index >= leases->n || !id.nonce || leases->at[id.index].nonce != id.nonce)
        return false;
    *block = lease_free(leases, id.index);
    return true;
}

bool shm_lease_drop(struct shm_leases *leases, uint32_t *block)
{
    uint32_t index;

    if (!leases->used)
        return false;
    do {
        index = leases->drop;
        leases->drop = (index + 1) % leases->n;
    } while (!leases->at[index].nonce);
    *block = lease_free(leases, index);
    return true;
}
