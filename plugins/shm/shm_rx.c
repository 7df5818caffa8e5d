/* Receiving: pieces become bytes in the core's places, or views.
 *
 *     INLINE         gathered, and handed up for the core to copy
 *     RING           copied into what rx_space() gives, as many as there are
 *     BLOCK          from a peer of our user, and where the core takes it: handed
 *                    up where it lies, and given back by the last unref; else
 *                    copied like the others and given back here
 *
 * The view of a stranger's memory is not handed up: he could change it while it is looked at.  Nor
 * is one when messages stay in more than `keep` bytes already: who keeps messages pays for them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"
#include <errno.h>

/* What the core has one place for only are small messages.  It makes several times as much memory
 * of them, which is best used while it is in the cache: such bytes count so many times. */
#define RX_TURN_SMALL 16
#define RX_SEGS 8
#define RX_HEAR_MAX 1024u     /* datagrams in one look for a segment */
#define RX_GATHER 1024u       /* bytes out of cells at a time */
#define RX_VIEW_LEAST 4096u   /* a view counts as so many bytes at least: it takes its time, too */
#define RX_RETIRE (64u << 10) /* a segment that goes counts as so many: it was mapped before */

/* A look at the next piece: it is there; it was the end of a segment, which is no bytes. */
enum { RX_PIECE = 1, RX_RETIRED = 2 };

/* ---- segments ---------------------------------------------------------------------------- */

/* @return 0 or an errno */
static int rx_adopt(struct nqtp_link *link, const struct shm_said *said)
{
    struct shm_memory memory;
    int rc = shm_memory_adopt(said->fd, said->len, &memory);

    if (rc)
        return rc;
    if (!link->views)
        link->views = shm_views_new(&link->ours);
    if (!link->views)
        rc = ENOMEM;
    else if (memory.len != said->len || !shm_views_add(link->views, said->number, &memory))
        rc = EPROTO;
    if (rc)
        shm_memory_free(&memory);
    return rc;
}

bool shm_rx_hear(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;
    struct shm_said said;
    int rc = link->hung_up ? EAGAIN : shm_socket_hear(link->fd, &said);

    mod->host->count(mod->core, NQT_COUNT_RECV_CALLS, 1);
    if (!rc && said.kind == SHM_SAID_SEGMENT)
        rc = rx_adopt(link, &said);
    else if (!rc && said.kind == SHM_SAID_BELL)
        rc = shm_bell_hear(link, said.fd);
    if (!rc)
        return true;
    link->hung_up |= rc == ECONNRESET;
    if (rc == EPROTO || rc == EPERM)
        shm_io_broken(link);
    else if (rc != EAGAIN && rc != ECONNRESET)
        shm_link_down(link, NQT_E_SYS, rc, "%s: its memory: %s", link->peer, strerror(rc));
    return false;
}

static bool rx_knows(const struct nqtp_link *link, uint32_t segment)
{
    return link->views && shm_views_has(link->views, segment);
}

/* An honest peer passes a segment before it names it, so it is there at the latest: behind others
 * that are not named yet, and behind as many rings as the socket holds. */
static bool rx_learns(struct nqtp_link *link, uint32_t segment)
{
    for (unsigned heard = 0; !rx_knows(link, segment); heard++)
        if (heard == RX_HEAR_MAX || !shm_rx_hear(link))
            return false;
    return true;
}

/* ---- pieces ------------------------------------------------------------------------------ */

/* A BLOCK piece: it is ours until it is given back.  @return RX_PIECE, -1 */
static int rx_take_block(struct nqtp_link *link)
{
    struct shm_piece *piece = &link->piece;

    piece->peer = shm_views_take(link->views, &piece->block);
    piece->len = piece->head + (uint32_t)piece->block.len;
    return piece->peer ? RX_PIECE : -1;
}

/* @return RX_RETIRED */
static int rx_retire(struct nqtp_link *link)
{
    shm_views_retire(link->views, link->piece.block.segment);
    shm_rx_done(&link->rx, &link->piece);
    return RX_RETIRED;
}

/* A piece that names a segment.  @return RX_PIECE, RX_RETIRED, -1 */
static int rx_in_segment(struct nqtp_link *link)
{
    if (!rx_learns(link, link->piece.block.segment))
        return -1;
    return link->piece.kind == SHM_RETIRE ? rx_retire(link) : rx_take_block(link);
}

static bool rx_names_segment(const struct shm_piece *piece)
{
    return piece->kind == SHM_BLOCK || piece->kind == SHM_RETIRE;
}

/* The next piece, unless the last one is not handed up whole.  To learn of a segment may end the
 * link, so with `behind` bytes that are still to be handed up that is left to the next look.
 * @return RX_PIECE, RX_RETIRED, 0 = nothing now, -1 = it makes no sense, or the link is down */
static int rx_next(struct nqtp_link *link, bool behind)
{
    struct shm_piece *piece = &link->piece;
    int rc;

    if (link->has_piece)
        return RX_PIECE;
    rc = shm_rx_next(&link->rx, piece);
    if (rc > 0 && rx_names_segment(piece)) {
        if (behind && !rx_knows(link, piece->block.segment))
            return 0;
        rc = rx_in_segment(link);
    }
    link->has_piece = rc == RX_PIECE;
    link->piece_at = 0;
    return rc;
}

static void rx_done(struct nqtp_link *link)
{
    if (link->piece.kind == SHM_BLOCK)
        shm_views_return(link->views, &link->piece.block);
    shm_rx_done(&link->rx, &link->piece);
    link->has_piece = false;
}

/* Its head may have been handed up already. */
static bool rx_is_for_view(const struct nqtp_link *link)
{
    const struct nqt_host *host = link->ep->mod->host;

    return link->piece.kind == SHM_BLOCK && link->piece_at <= link->piece.head && link->trusted &&
           atomic_load_explicit(&link->views->kept, memory_order_relaxed) <= link->ep->opts.keep &&
           NQT_HAS(struct nqt_host, host, rx_give) && NQT_HAS(struct nqt_host, host, rx_bytes);
}

/* Copy what there is into the core's places.  @return bytes; *rc as rx_next(), of the last look */
static size_t rx_fill(struct nqtp_link *link, const struct iovec *iov, uint32_t niov, int *rc)
{
    size_t total = 0, at = 0;
    uint32_t i = 0;

    while (i < niov && (*rc = rx_next(link, total)) == RX_PIECE &&
           !(total && rx_is_for_view(link))) {
        size_t room = iov[i].iov_len - at, n = link->piece.len - link->piece_at;

        n = n < room ? n : room;
        shm_piece_copy(&link->piece, link->piece_at, (uint8_t *)iov[i].iov_base + at, n);
        link->piece_at += (uint32_t)n;
        at += n;
        total += n;
        if (at == iov[i].iov_len) {
            i++;
            at = 0;
        }
        if (link->piece_at == link->piece.len)
            rx_done(link);
    }
    return total;
}

/* ---- handing up -------------------------------------------------------------------------- */

static enum shm_got rx_answer(struct nqtp_link *link, int rc)
{
    if (rc >= 0 && shm_link_open(link))
        return SHM_GOT_SOME;
    link->rx_paused = true; /* the core is about to close */
    return SHM_GOT_STOP;
}

/* What comes before the block. */
static enum shm_got rx_give_head(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;
    const struct shm_piece *piece = &link->piece;
    uint32_t at = link->piece_at;

    if (at == piece->head)
        return SHM_GOT_SOME;
    link->piece_at = piece->head;
    return rx_answer(
        link, mod->host->rx_bytes(link->cookie, shm_piece_head(piece) + at, piece->head - at));
}

/* Without memory for a view the bytes are copied.  @return SHM_GOT_NOTHING: do that */
static enum shm_got rx_give(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;
    enum shm_got got = rx_give_head(link);
    struct nqt_buf *buf;

    if (got != SHM_GOT_SOME || !shm_link_receives(link))
        return got;
    buf = shm_views_buf(link->views, link->piece.peer, &link->piece.block);
    if (!buf)
        return SHM_GOT_NOTHING;
    shm_rx_done(&link->rx, &link->piece);
    link->has_piece = false;
    return rx_answer(link, mod->host->rx_give(link->cookie, buf));
}

/* The core wants nothing now: stop until rx_hold(0). */
static enum shm_got rx_refused(struct nqtp_link *link, int rc)
{
    if (rc == NQT_E_NOMEM)
        shm_link_down(link, rc, 0, "%s: no memory to receive", link->peer);
    link->rx_paused = true;
    return SHM_GOT_STOP;
}

/* Bytes of the cells that are there: several messages at once, and whole ones more often.  @return
 * SHM_GOT_NOTHING: what comes next is something else */
static enum shm_got rx_cells(struct nqtp_link *link, size_t *cost)
{
    const struct nqt_host *host = link->ep->mod->host;
    uint8_t bytes[RX_GATHER];
    size_t n;

    if (link->has_piece || !NQT_HAS(struct nqt_host, host, rx_bytes))
        return SHM_GOT_NOTHING;
    n = shm_rx_gather(&link->rx, bytes, sizeof(bytes));
    if (!n)
        return SHM_GOT_NOTHING;
    *cost = n * RX_TURN_SMALL;
    return rx_answer(link, host->rx_bytes(link->cookie, bytes, n));
}

static enum shm_got rx_copy(struct nqtp_link *link, size_t *cost)
{
    const struct nqtp_mod *mod = link->ep->mod;
    struct iovec iov[RX_SEGS];
    uint32_t niov = RX_SEGS;
    int rc = mod->host->rx_space(link->cookie, 0, iov, &niov);
    enum shm_got got;
    size_t n;

    if (rc)
        return rx_refused(link, rc);
    n = rx_fill(link, iov, niov, &rc);
    *cost = niov == 1 ? n * RX_TURN_SMALL : n;
    got = rx_answer(link, mod->host->rx_commit(link->cookie, n));
    if (rc >= 0 || got != SHM_GOT_SOME)
        return got;
    shm_io_broken(link); /* behind what came before */
    return SHM_GOT_STOP;
}

static enum shm_got rx_other(struct nqtp_link *link, size_t *cost)
{
    enum shm_got got = SHM_GOT_NOTHING;
    int rc = rx_next(link, false);

    if (rc < 0 && shm_link_open(link))
        shm_io_broken(link);
    if (rc <= 0)
        return rc < 0 ? SHM_GOT_STOP : SHM_GOT_NOTHING;
    *cost = RX_RETIRE;
    if (rc == RX_RETIRED)
        return SHM_GOT_SOME;
    *cost = link->piece.len < RX_VIEW_LEAST ? RX_VIEW_LEAST : link->piece.len;
    if (rx_is_for_view(link))
        got = rx_give(link);
    return got == SHM_GOT_NOTHING ? rx_copy(link, cost) : got;
}

enum shm_got shm_rx_some(struct nqtp_link *link, size_t *cost)
{
    enum shm_got got;

    if (!shm_link_receives(link))
        return SHM_GOT_NOTHING;
    got = rx_cells(link, cost);
    return got == SHM_GOT_NOTHING ? rx_other(link, cost) : got;
}
