/* Turns: sleep and wake, and send.  Receiving is in shm_rx.c, lending in shm_loan.c.
 *
 *     asleep   our wait word says so, the socket's watch will call     io_sleep()
 *     awake    somebody looks: a turn is running, or the core polls    io_awake()
 *
 * A turn: receive, go on sending, tell the peer how far we are, and sleep, which fails when there
 * is something after all.  What a turn does not finish comes with the next one (link->again). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define IO_TURN_BYTES (1u << 20) /* received in one callback; others want their turn */

/* ---- sleeping and waking ----------------------------------------------------------------- */

void shm_io_broken(struct nqtp_link *link)
{
    shm_link_down(link, NQT_E_PROTOCOL, 0, "%s: what it wrote makes no sense", link->peer);
}

static uint64_t io_word(const struct nqtp_link *link, uint64_t bits)
{
    return link->sleeps << SHM_EPOCH_SHIFT | bits | (link->blocked ? SHM_WANTS_ROOM : 0) |
           (link->bell_watch ? SHM_HEARS_BELL : 0);
}

void shm_io_wake(struct nqtp_link *link, bool room)
{
    const struct nqtp_mod *mod = link->ep->mod;
    uint64_t word;

    atomic_thread_fence(memory_order_seq_cst);
    word = shm_peer_u64(link->theirs.wait);
    if (!(word & SHM_ASLEEP) || (room && !(word & SHM_WANTS_ROOM)) ||
        word >> SHM_EPOCH_SHIFT == link->rung)
        return;
    link->rung = word >> SHM_EPOCH_SHIFT;
    mod->host->count(mod->core, NQT_COUNT_SEND_CALLS, 1);
    shm_bell_ring(link, word & SHM_HEARS_BELL);
}

static void io_awake(struct nqtp_link *link)
{
    atomic_store_explicit(link->ours.wait, io_word(link, 0), memory_order_relaxed);
}

/* The peer said that it sends nothing more, and all it sent is handed up. */
static bool io_at_end(struct nqtp_link *link)
{
    return !link->has_piece && shm_peer_u64(link->theirs.end) == link->rx.taken + 1;
}

/* There is something to do.  What makes no sense is found by doing it. */
static bool io_is_due(struct nqtp_link *link)
{
    struct shm_piece piece;

    if (link->blocked && shm_tx_room(&link->tx, link->want))
        return true;
    if (!shm_link_receives(link))
        return false;
    return link->has_piece || shm_rx_next(&link->rx, &piece) || io_at_end(link);
}

/* False: there is something to do, and we are awake. */
static bool io_sleep(struct nqtp_link *link)
{
    link->sleeps++;
    atomic_store_explicit(link->ours.wait, io_word(link, SHM_ASLEEP), memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (!io_is_due(link))
        return true;
    io_awake(link);
    return false;
}

void shm_io_end(struct nqtp_link *link)
{
    atomic_store_explicit(link->ours.end, link->tx.sent + 1, memory_order_release);
    shm_io_wake(link, false);
}

/* ---- sending ----------------------------------------------------------------------------- */

/* The first piece that may lie in a block of ours, when the bytes before it fit into its cell.
 * @param head [out] how many those are  @return its index, nseg = none */
static uint32_t io_find_block(const struct shm_source *rest, uint64_t *head)
{
    size_t off = rest->off;

    *head = 0;
    for (uint32_t i = 0; i < rest->nseg && *head <= SHM_BLOCK_HEAD; i++) {
        if (!off && rest->seg[i].iov_len >= SHM_LEND_MIN)
            return i;
        *head += rest->seg[i].iov_len - off;
        off = 0;
    }
    return rest->nseg;
}

/* The piece that begins here, or behind a few bytes, lies in a block of ours: send its place, no
 * copy.  @return bytes, 0 = no room, -1 = copy what is here */
static int64_t io_lend(struct nqtp_link *link)
{
    struct shm_source *rest = &link->rest, head = *rest;
    uint32_t i = io_find_block(rest, &head.left);
    struct shm_block block;
    uint64_t bytes;

    if (i == rest->nseg ||
        !shm_blocks_lend(link->blocks, rest->seg[i].iov_base, rest->seg[i].iov_len, &block))
        return -1;
    bytes = head.left + block.len;
    if (!shm_tx_put_block(&link->tx, &head, &block)) {
        const struct shm_lease_id id = {.index = block.lease, .nonce = block.nonce};

        (void)shm_blocks_end(link->blocks, id);
        return 0;
    }
    link->lent++;
    rest->seg += i + 1;
    rest->nseg -= i + 1;
    rest->off = 0;
    rest->left -= bytes;
    return (int64_t)bytes;
}

/* Bytes before the next piece that lies in a block of ours. */
static uint64_t io_run(const struct nqtp_link *link)
{
    const struct shm_source *rest = &link->rest;
    uint64_t run = rest->seg->iov_len - rest->off;

    for (uint32_t i = 1; i < rest->nseg; i++) {
        if (rest->seg[i].iov_len >= SHM_LEND_MIN &&
            shm_blocks_owns(link->blocks, rest->seg[i].iov_base))
            return run;
        run += rest->seg[i].iov_len;
    }
    return rest->left;
}

/* Send one piece of the started buffer.  @return as shm_tx_put() */
static int64_t io_put(struct nqtp_link *link)
{
    struct shm_source part;
    int64_t n;

    if (!link->blocks)
        return shm_tx_put(&link->tx, &link->rest);
    while (!link->rest.seg->iov_len) { /* the next one may be ours */
        link->rest.seg++;
        link->rest.nseg--;
    }
    n = io_lend(link);
    if (n >= 0)
        return n;
    part = link->rest;
    part.left = io_run(link);
    n = shm_tx_put(&link->tx, &part);
    if (n <= 0)
        return n;
    part.left = link->rest.left - (uint64_t)n;
    link->rest = part;
    return n;
}

/* Send what is left of the started buffer.  False: no room for all of it, or the link is down. */
static bool io_flush(struct nqtp_link *link)
{
    int64_t rc = 1;

    while (link->left && link->rest.left && rc > 0)
        rc = io_put(link);
    if (rc < 0) {
        shm_io_broken(link);
        return false;
    }
    if (link->left && link->rest.left) {
        link->want = link->rest.left;
        return false;
    }
    if (link->left)
        link->left->ops->unref(link->left);
    link->left = NULL;
    return true;
}

/* Begin with a buffer.  A small one goes whole or not at all.  @return 1 = it is taken, 0, negative
 */
static int io_begin(struct nqtp_link *link, struct nqt_buf *buf)
{
    int rc = shm_tx_room(&link->tx, buf->len);

    if (rc <= 0) {
        link->want = buf->len;
        return rc;
    }
    link->left = buf;
    link->rest = (struct shm_source){.seg = buf->seg, .nseg = buf->nseg, .left = buf->len};
    return 1;
}

/* As many as there is room for.  @return how many are taken; less than n: blocked, or down */
static uint32_t io_send_some(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n)
{
    uint32_t done = 0;

    while (done < n) {
        int rc = io_begin(link, bufs[done]);

        if (rc < 0)
            shm_io_broken(link);
        if (rc <= 0)
            return done;
        done++;
        if (!io_flush(link))
            return done;
    }
    return done;
}

/* Have the peer wake us for room.  What it gave before it could see that is looked for here. */
static void io_want_room(struct nqtp_link *link)
{
    uint64_t word = atomic_load_explicit(link->ours.wait, memory_order_relaxed);

    link->blocked = true;
    atomic_store_explicit(link->ours.wait, word | SHM_WANTS_ROOM, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (link->polled || !shm_tx_room(&link->tx, link->want))
        return;
    link->again = true;
    shm_link_watch(link);
}

int shm_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
             uint32_t *taken)
{
    uint64_t before = link->tx.sent;
    uint32_t done = 0;

    (void)flags;
    *taken = 0;
    if (link->state != SHM_UP)
        return link->state == SHM_DOWN ? NQT_E_LOST : NQT_E_CLOSED;
    if (!link->blocked)
        done = io_send_some(link, bufs, n);
    *taken = done;
    if (link->state != SHM_UP)
        return NQT_OK; /* LINK_DOWN is on its way */
    if (link->tx.sent != before)
        shm_io_wake(link, false);
    if (done == n && !link->left)
        return NQT_OK;
    link->writable_due |= done < n;
    if (!link->blocked)
        io_want_room(link);
    return NQT_OK;
}

int shm_send_bytes(struct nqtp_link *link, const void *data, size_t len)
{
    if (link->state != SHM_UP || link->blocked || !shm_tx_put_whole(&link->tx, data, len))
        return 0;
    shm_io_wake(link, false);
    return 1;
}

/* Blocked: is there room?  Then go on. */
static void io_pump(struct nqtp_link *link)
{
    uint64_t before = link->tx.sent;
    int rc = link->blocked ? shm_tx_room(&link->tx, link->want) : 0;
    bool due = link->writable_due;

    if (rc < 0)
        shm_io_broken(link);
    if (rc <= 0)
        return;
    link->blocked = !io_flush(link);
    if (!shm_link_open(link))
        return;
    if (link->tx.sent != before)
        shm_io_wake(link, false);
    if (link->blocked)
        return;
    link->writable_due = false;
    if (link->state == SHM_DRAINING)
        shm_link_drained(link);
    else if (due)
        (void)NQT_EMIT_LINK(link, NQT_EV_WRITABLE);
}

/* ---- turns ------------------------------------------------------------------------------- */

/* The peer was told how far we are: wake it when it waits for that. */
static void io_was_told(struct nqtp_link *link)
{
    if (link->rx.told == link->told)
        return;
    link->told = link->rx.told;
    shm_io_wake(link, true);
}

static void io_tell(struct nqtp_link *link)
{
    (void)shm_rx_tell(&link->rx);
    io_was_told(link);
}

/* Nothing is there, and perhaps nothing comes any more. */
static void io_look_for_end(struct nqtp_link *link)
{
    if (!shm_link_receives(link) || link->has_piece)
        return;
    if (io_at_end(link))
        shm_link_down(link, NQT_E_EOF, 0, "%s: closed by the other side", link->peer);
    else if (link->hung_up || link->dead)
        shm_link_down(link, NQT_E_LOST, ECONNRESET, "%s: the process is gone", link->peer);
}

/* Receive until there is nothing or `budget` is used up.  True: there may be more. */
static bool io_receive_all(struct nqtp_link *link, size_t *budget)
{
    enum shm_got got = SHM_GOT_SOME;
    size_t cost;

    while (got == SHM_GOT_SOME && *budget) {
        got = shm_rx_some(link, &cost);
        if (got == SHM_GOT_SOME)
            *budget -= cost < *budget ? cost : *budget;
    }
    return got == SHM_GOT_SOME;
}

static void io_turn(struct nqtp_link *link)
{
    size_t budget = IO_TURN_BYTES;

    do {
        link->again = io_receive_all(link, &budget);
        if (shm_link_open(link))
            io_tell(link);
        if (shm_link_open(link))
            shm_loan_take_back(link);
        if (shm_link_open(link))
            io_pump(link);
        if (shm_link_open(link) && !link->again)
            io_look_for_end(link);
    } while (shm_link_open(link) && !link->again && !link->polled && !io_sleep(link));
}

void shm_io_event(struct nqtp_link *link, uint32_t events)
{
    if (events & (POLLIN | POLLHUP | POLLERR))
        (void)shm_rx_hear(link);
    if (!shm_link_open(link))
        return;
    io_awake(link);
    io_turn(link);
    if (shm_link_open(link))
        shm_link_watch(link);
}

static bool io_may_receive(const struct nqtp_link *link)
{
    return shm_link_receives(link) && (link->has_piece || shm_rx_is_there(&link->rx));
}

/* A look that found nothing has time for the rest: what was taken is told, and what waited for room
 * goes on. */
static int io_look_in_vain(struct nqtp_link *link)
{
    bool open = true;

    shm_link_enter(link);
    io_tell(link);
    if (link->blocked && shm_link_open(link))
        io_pump(link);
    if (shm_link_open(link))
        io_look_for_end(link);
    open = shm_link_open(link);
    shm_link_leave(link); /* may free the link */
    return !open;
}

/* Who found something looks again soon.  So what was taken is told when a look finds nothing more,
 * or by the quarter of the ring (shm_rx_done()). */
int shm_rx_poll(struct nqtp_link *link)
{
    size_t cost;

    if (!shm_link_open(link))
        return 0;
    if (!io_may_receive(link)) /* one branch that goes the other way when something comes */
        return io_look_in_vain(link);
    shm_link_enter(link);
    (void)shm_rx_some(link, &cost);
    if (shm_link_open(link)) /* who was handed something may have closed it */
        io_was_told(link);
    if (link->blocked && shm_link_open(link))
        io_pump(link);
    shm_link_leave(link); /* may free the link */
    return 1;
}

int shm_rx_arm(struct nqtp_link *link, int on)
{
    if (!shm_link_open(link))
        return 0;
    if (on)
        io_tell(link);
    if (on && !io_sleep(link))
        return 1;
    link->polled = !on;
    if (!on)
        io_awake(link);
    return 0;
}
