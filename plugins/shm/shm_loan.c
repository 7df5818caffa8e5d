/* Lending: memory for messages that the peer reads where they lie, and what it gives back.  The
 * blocks are shm_blocks.c's; when there is no room, shm_retire.c says what to do. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"
#include <unistd.h>

/* Without leases the peer's release ring is not looked at. */
void shm_loan_take_back(struct nqtp_link *link)
{
    struct shm_lease_id id;
    int rc = 0;

    while (link->lent && (rc = shm_token_take(&link->returned, &id)) > 0) {
        if (!shm_blocks_end(link->blocks, id)) {
            rc = -1;
            break;
        }
        link->lent--;
    }
    if (rc < 0)
        shm_io_broken(link);
}

/* One segment more, which the peer learns of first.  @return 0 or NQT_E_* */
static int loan_grow(struct nqtp_link *link, size_t len)
{
    struct shm_memory memory;
    int memfd, rc;
    size_t size;

    if (shm_tx_look(&link->tx))
        shm_blocks_taken(link->blocks, link->tx.taken);
    size = shm_blocks_grow(link->blocks, len);
    if (!size || shm_memory_make(size, &memory, &memfd))
        return NQT_E_NOMEM;
    rc = shm_socket_say_segment(link->fd, shm_blocks_next(link->blocks), memory.len, memfd);
    close(memfd);
    if (!rc && shm_blocks_add(link->blocks, &memory)) {
        shm_retire_watch(link);
        shm_link_count(link);
        return NQT_OK;
    }
    shm_memory_free(&memory);
    return NQT_E_NOMEM;
}

void shm_loan_sweep(struct nqtp_link *link)
{
    uint64_t before = link->tx.sent;

    shm_loan_take_back(link);
    if (!shm_link_open(link))
        return;
    shm_retire_idle(link);
    if (link->tx.sent != before)
        shm_io_wake(link, false);
}

/* There is no room: leave to the peer what it keeps, and use what that gave. */
static struct nqt_buf *loan_pressed(struct nqtp_link *link, size_t len)
{
    uint64_t before = link->tx.sent;
    bool room = shm_retire_kept(link, len);

    if (shm_link_open(link) && link->tx.sent != before)
        shm_io_wake(link, false);
    if (!room || loan_grow(link, len))
        return NULL;
    return shm_blocks_loan(link->blocks, len);
}

int shm_loan(struct nqtp_link *link, size_t len, struct nqt_buf **out)
{
    uint32_t leases = link->ours.sizes.ntoken;
    struct nqt_buf *buf;
    int rc;

    if (link->state != SHM_UP)
        return link->state == SHM_DOWN ? NQT_E_LOST : NQT_E_CLOSED;
    if (!link->ep->opts.pool || len < SHM_LEND_MIN)
        return NQT_E_UNSUPPORTED; /* it is as quick to copy */
    if (leases > link->theirs.sizes.ntoken)
        leases = link->theirs.sizes.ntoken;
    if (!link->blocks)
        link->blocks = shm_blocks_new(leases, link->ep->opts.pool);
    if (!link->blocks)
        return NQT_E_NOMEM;
    shm_loan_take_back(link);
    if (link->state != SHM_UP)
        return NQT_E_LOST;
    buf = shm_blocks_loan(link->blocks, len);
    rc = buf ? NQT_OK : loan_grow(link, len);
    if (!rc && !buf)
        buf = shm_blocks_loan(link->blocks, len);
    if (!buf && shm_blocks_fits(link->blocks, len))
        buf = loan_pressed(link, len);
    if (!buf)
        return link->state == SHM_UP ? NQT_E_NOMEM : NQT_E_LOST;
    shm_retire_eased(link, len);
    *out = buf;
    return NQT_OK;
}
