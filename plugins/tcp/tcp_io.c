/* Send and receive.
 *
 * The ways that matter: send() is one system call when the socket has room, and a readiness is
 * one receive when that did not fill the space, since the kernel then has nothing left; asking it
 * for the EAGAIN would double the calls of a small message. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

#define IO_TURN_BYTES (1u << 20) /* received in one callback; others want their turn */
/* What the core has one place for only are small messages.  It makes several times as much memory
 * of them, which is best used while it is in the cache: such bytes count so many times. */
#define IO_TURN_SMALL 16
#define IO_RX_SEGS 8

/* ---- sending ---------------------------------------------------------------------------- */

struct io_batch {
    struct iovec iov[IOV_MAX];
    size_t n;
    size_t len;
};

/* Add what comes from segment `seg`, byte `off`, on. */
static void io_gather(struct io_batch *batch, const struct nqt_buf *buf, uint32_t seg, size_t off)
{
    for (; seg < buf->nseg && batch->n < IOV_MAX; seg++, off = 0) {
        if (buf->seg[seg].iov_len == off)
            continue;
        batch->iov[batch->n].iov_base = (char *)buf->seg[seg].iov_base + off;
        batch->iov[batch->n].iov_len = buf->seg[seg].iov_len - off;
        batch->len += batch->iov[batch->n++].iov_len;
    }
}

static void io_broken(struct nqtp_link *link, int error)
{
    int code = tcp_code(error);

    if (code == NQT_E_UNREACHABLE)
        code = NQT_E_LOST;
    tcp_link_down(link, code, error, "%s: %s", link->peer, strerror(error));
}

/* The connection ended, but what the peer said before (why, perhaps) may still lie in the
 * socket: let the reader find the end.  Reports the first cause, which the socket forgets. */
static void io_send_failed(struct nqtp_link *link, int error)
{
    bool ended = error == EPIPE || error == ECONNRESET || error == ETIMEDOUT;

    link->blocked = true;
    link->tx_errno = error;
    if (!ended || link->held || link->rx_paused)
        io_broken(link, error);
    else
        tcp_link_watch(link);
}

/* One system call, as writev(). */
static ssize_t io_write_plain(struct nqtp_link *link, struct io_batch *batch)
{
    const struct nqtp_mod *mod = link->ep->mod;
    const struct msghdr msg = {.msg_iov = batch->iov, .msg_iovlen = batch->n};
    ssize_t n;

    do {
        mod->host->count(mod->core, NQT_COUNT_SEND_CALLS, 1);
        /* One piece is the common case, and its own call is the cheaper one. */
        n = batch->n == 1
                ? send(link->fd, batch->iov[0].iov_base, batch->iov[0].iov_len, MSG_NOSIGNAL)
                : sendmsg(link->fd, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* Bytes written; less than the batch: the socket is full or broken. */
static size_t io_write(struct nqtp_link *link, struct io_batch *batch)
{
    ssize_t n;

    if (!batch->n)
        return 0;
    n = link->tls ? tcp_tls_write(link, batch->iov, batch->n) : io_write_plain(link, batch);
    if (n >= 0)
        return (size_t)n;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        io_send_failed(link, errno);
    return 0;
}

/* `n` bytes of the started buffer are gone. */
static void io_left_advance(struct nqtp_link *link, size_t n)
{
    const struct nqt_buf *buf = link->left;

    while (link->left_seg < buf->nseg && n >= buf->seg[link->left_seg].iov_len - link->left_off) {
        n -= buf->seg[link->left_seg++].iov_len - link->left_off;
        link->left_off = 0;
    }
    link->left_off += n;
    if (link->left_seg < buf->nseg)
        return;
    link->left->ops->unref(link->left);
    link->left = NULL;
}

/* Records of TLS that wait go first.  True: there are none. */
static bool io_flush_records(struct nqtp_link *link)
{
    if (!tcp_tls_is_full(link))
        return true;
    if (!tcp_tls_write(link, NULL, 0))
        return true;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        io_send_failed(link, errno);
    return false;
}

/* Send the rest of the started buffer.  True: it is gone. */
static bool io_flush(struct nqtp_link *link)
{
    struct io_batch batch;
    size_t n;

    while (link->left) {
        batch.n = batch.len = 0;
        io_gather(&batch, link->left, link->left_seg, link->left_off);
        n = io_write(link, &batch);
        if (link->left && (n || !batch.len))
            io_left_advance(link, n);
        if (n < batch.len)
            return false;
    }
    return tcp_link_open(link) && (!link->tls || io_flush_records(link));
}

/* Settle a batch of which `n` bytes went: whole buffers are finished with, a started one is kept.
 * Returns how many of the buffers are taken. */
static uint32_t io_settle(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t nbuf,
                          size_t n)
{
    uint32_t taken = 0;

    for (; taken < nbuf && n >= bufs[taken]->len; taken++) {
        n -= (size_t)bufs[taken]->len;
        bufs[taken]->ops->unref(bufs[taken]);
    }
    if (!n)
        return taken;
    link->left = bufs[taken];
    link->left_seg = 0;
    link->left_off = 0;
    io_left_advance(link, n);
    return taken + 1;
}

/* As many buffers as one call can take.  Returns how many; sets `blocked` when the socket takes no
 * more. */
static uint32_t io_send_batch(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n)
{
    struct io_batch batch;
    uint32_t nbuf, taken;
    size_t sent;

    batch.n = batch.len = 0;
    for (nbuf = 0; nbuf < n && batch.n < IOV_MAX; nbuf++)
        io_gather(&batch, bufs[nbuf], 0, 0);
    sent = io_write(link, &batch);
    if (!tcp_link_open(link))
        return 0;
    if (sent < batch.len || (link->tls && tcp_tls_is_full(link)))
        link->blocked = true;
    if (!sent && batch.len)
        return 0;
    taken = io_settle(link, bufs, nbuf, sent);
    /* Left with a socket that has room: a buffer of more segments than one call may have. */
    if (!link->blocked && !io_flush(link))
        link->blocked = true;
    return taken;
}

/* NQT_SEND_MORE is not passed on as MSG_MORE: should nothing follow after all, the kernel would
 * sit on the bytes for 200 ms. */
int tcp_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t flags,
             uint32_t *taken)
{
    uint32_t done = 0;

    (void)flags;
    *taken = 0;
    if (link->state != TCP_UP)
        return link->state == TCP_DOWN ? NQT_E_LOST : NQT_E_CLOSED;
    while (done < n && !link->blocked)
        done += io_send_batch(link, bufs + done, n - done);
    *taken = done;
    if (done < n)
        link->writable_due = true;
    if (link->blocked)
        tcp_link_watch(link);
    return NQT_OK;
}

/* The socket has room again. */
static void io_writable(struct nqtp_link *link)
{
    bool due = link->writable_due;

    if (!io_flush(link))
        return;
    link->blocked = link->writable_due = false;
    tcp_link_watch(link);
    if (link->state == TCP_DRAINING)
        tcp_link_drained(link);
    else if (link->state == TCP_UP && due)
        (void)NQT_EMIT_LINK(link, NQT_EV_WRITABLE);
}

/* ---- receiving -------------------------------------------------------------------------- */

/* The socket said: `error`, or its end when 0. */
static void io_ended(struct nqtp_link *link, int error)
{
    if (link->tx_errno)
        error = link->tx_errno;
    if (error)
        io_broken(link, error);
    else
        tcp_link_down(link, NQT_E_EOF, 0, "%s: closed by the other side", link->peer);
}

/* Get space to read into; false: not now. */
static bool io_space(struct nqtp_link *link, struct iovec *iov, uint32_t *niov, size_t *len)
{
    const struct nqt_host *host = link->ep->mod->host;
    int rc;

    *niov = IO_RX_SEGS;
    *len = 0;
    rc = host->rx_space(link->cookie, 0, iov, niov);
    for (uint32_t i = 0; !rc && i < *niov; i++)
        *len += iov[i].iov_len;
    if (*len)
        return true;
    if (!rc)
        (void)host->rx_commit(link->cookie, 0);
    if (rc == NQT_E_NOMEM)
        tcp_link_down(link, rc, 0, "%s: no memory to receive", link->peer);
    link->rx_paused = true; /* or a level-triggered watch would fire for ever */
    tcp_link_watch(link);
    return false;
}

/* A side with TLS meets one without: what comes first tells, and the other side learns it, too. */
static bool io_meets_tls(struct nqtp_link *link, const struct iovec *iov, size_t n)
{
    link->fresh = false;
    if (!tcp_tls_is_first(iov->iov_base, n < iov->iov_len ? n : iov->iov_len))
        return false;
    (void)link->ep->mod->host->rx_commit(link->cookie, 0);
    if (!tcp_link_open(link))
        return true;
    if (link->ep->listen)
        tcp_tls_say_unexpected(link);
    tcp_link_down(link, NQT_E_PROTOCOL, 0,
                  "%s: the other side speaks TLS, and this configuration has no \"tls\"",
                  link->peer);
    return true;
}

/* As readv(). */
static ssize_t io_read(struct nqtp_link *link, const struct iovec *iov, uint32_t niov, size_t space,
                       bool polled)
{
    const struct nqtp_mod *mod = link->ep->mod;
    ssize_t n;

    do
        n = niov == 1 ? recv(link->fd, iov[0].iov_base, space, 0) : readv(link->fd, iov, (int)niov);
    while (n < 0 && errno == EINTR);
    if (!polled || n >= 0)
        mod->host->count(mod->core, NQT_COUNT_RECV_CALLS, 1);
    return n;
}

/* What came made the library answer, and the socket did not take it. */
static void io_await_answer(struct nqtp_link *link)
{
    if (!tcp_tls_is_full(link) || link->blocked)
        return;
    link->blocked = true;
    tcp_link_watch(link);
}

enum io_got {
    IO_NOTHING, /* the socket is empty, or must not be read now */
    IO_SOME,    /* it was emptied */
    IO_FULL,    /* there may be more */
    IO_STOP,    /* the link ended */
};

/* One receive.  `polled`: nobody said that there is something.
 * @param cost [out] how much of a turn it was, with IO_SOME and IO_FULL */
static enum io_got io_receive(struct nqtp_link *link, bool polled, size_t *cost)
{
    const struct nqtp_mod *mod = link->ep->mod;
    struct iovec iov[IO_RX_SEGS];
    uint32_t niov;
    size_t space;
    ssize_t n;
    int error;

    if (!io_space(link, iov, &niov, &space))
        return tcp_link_open(link) ? IO_NOTHING : IO_STOP;
    n = link->tls ? tcp_tls_read(link, iov, niov, polled) : io_read(link, iov, niov, space, polled);
    error = n < 0 ? errno : 0;
    if (link->fresh && n > 0 && io_meets_tls(link, iov, (size_t)n))
        return IO_STOP;
    if (mod->host->rx_commit(link->cookie, n > 0 ? (size_t)n : 0) < 0) {
        link->rx_paused = true; /* the core is about to close */
        tcp_link_watch(link);
        return IO_STOP;
    }
    if (link->tls)
        io_await_answer(link);
    if (!tcp_link_open(link))
        return IO_STOP;
    if ((error == EAGAIN || error == EWOULDBLOCK) && !link->tx_errno)
        return IO_NOTHING;
    if (!n && link->tls)
        tcp_tls_ended(link, link->tx_errno);
    else if (n <= 0)
        io_ended(link, error);
    if (n <= 0)
        return IO_STOP;
    *cost = niov == 1 ? (size_t)n * IO_TURN_SMALL : (size_t)n;
    return (size_t)n < space ? IO_SOME : IO_FULL;
}

static void io_readable(struct nqtp_link *link)
{
    size_t total = 0, cost;

    while (total < IO_TURN_BYTES && !link->held && !link->rx_paused) {
        if (io_receive(link, false, &cost) != IO_FULL)
            break;
        total += cost;
    }
    if (link->tls)
        tcp_tls_resume(link);
}

/* An error or a hang-up while the core wants nothing.  A reset ends the link at once; after an
 * end in good order the bytes that came before wait until they may be read. */
static void io_not_reading(struct nqtp_link *link, uint32_t events)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if ((events & POLLERR) || link->tx_errno) {
        getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        io_ended(link, error ? error : ECONNRESET);
        return;
    }
    if (!(events & POLLHUP))
        return;
    link->hung_up = true;
    tcp_link_watch(link);
}

void tcp_io_event(struct nqtp_link *link, uint32_t events)
{
    if ((events & POLLOUT) && link->blocked && !link->tx_errno)
        io_writable(link);
    if (!tcp_link_open(link))
        return;
    if (link->held || link->rx_paused)
        io_not_reading(link, events);
    else if (events & (POLLIN | POLLHUP | POLLERR))
        io_readable(link);
}

int tcp_rx_poll(struct nqtp_link *link)
{
    size_t cost;
    enum io_got result;

    if (!tcp_link_open(link) || link->held || link->rx_paused)
        return 0;
    tcp_link_enter(link);
    result = io_receive(link, true, &cost);
    tcp_link_leave(link); /* may free the link */
    return result != IO_NOTHING;
}

/* While the core asks, the socket leaves epoll: there an arrival costs the sender.
 * Readiness is level-triggered, so nothing that came meanwhile is missed. */
int tcp_rx_arm(struct nqtp_link *link, int on)
{
    link->asked_only = !on;
    tcp_link_watch(link);
    return on && link->tls && !link->held && !link->rx_paused && tcp_tls_has_more(link);
}
