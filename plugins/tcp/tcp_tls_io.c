/* Records between the library and the socket; see tcp_tls.h for the way of the bytes.
 *
 * Invariants: what tcp_tls_write() says is gone is encrypted, in order, and on its way: in the
 * socket or in `out`.  Nothing is encrypted while `out` holds a flight, so `out` is bounded by one
 * flight and what the library itself has to say. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp_tls.h"
#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#define IO_FLIGHT ((size_t)4 * TCP_TLS_RECORD) /* data that leaves in one system call */
#define IO_RECORD_MORE 64                      /* what a record needs beside its data, at most */
#define IO_OUT_MAX (2 * IO_FLIGHT)             /* an other side that makes us say more is hostile */
#define IO_REKEYS_MAX 32                       /* changes of keys ... */
#define IO_REKEY_BYTES (UINT64_C(1) << 20)     /* ... in so much data: nobody needs more */
#define IO_DIRECT ((size_t)4096)               /* a piece of this size is not copied to others */

/* ---- the BIO ---------------------------------------------------------------------------- */

/* Room for `len` more bytes behind out_len. */
static bool io_reserve(struct tcp_tls *tls, size_t len)
{
    const struct nqtp_mod *mod = tls->link->ep->mod;
    size_t need = tls->out_len + len, cap = need < 2 * tls->out_cap ? 2 * tls->out_cap : need;
    unsigned char *mem;

    if (need <= tls->out_cap)
        return true;
    mem = need > IO_OUT_MAX ? NULL : mod->host->mem(mod->core, tls->out, cap);
    if (!mem)
        return false;
    tls->out = mem;
    tls->out_cap = cap;
    return true;
}

static int io_bio_write(BIO *bio, const char *data, int len)
{
    struct tcp_tls *tls = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (len < 0 || !io_reserve(tls, (size_t)len))
        return -1;
    memcpy(tls->out + tls->out_len, data, (size_t)len);
    tls->out_len += (size_t)len;
    return len;
}

bool tcp_tls_is_first(const void *data, size_t len)
{
    const unsigned char *first = data;

    return len >= 2 && (first[0] == SSL3_RT_HANDSHAKE || first[0] == SSL3_RT_ALERT) &&
           first[1] == SSL3_VERSION_MAJOR;
}

static ssize_t io_recv(struct tcp_tls *tls, char *data, size_t len)
{
    const struct nqtp_mod *mod = tls->link->ep->mod;
    ssize_t n;

    do
        n = recv(tls->link->fd, data, len, 0);
    while (n < 0 && errno == EINTR);
    if (!tls->polled || n >= 0)
        mod->host->count(mod->core, NQT_COUNT_RECV_CALLS, 1);
    return n;
}

static int io_bio_read(BIO *bio, char *data, int len)
{
    struct tcp_tls *tls = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
    if (tls->drained) {
        BIO_set_retry_read(bio);
        return -1;
    }
    n = io_recv(tls, data, (size_t)len);
    tls->drained = n < len;
    if (n > 0 && !tls->greeted) {
        tls->greeted = true;
        tls->stranger = n > 1 && !tcp_tls_is_first(data, (size_t)n);
    }
    if (n > 0 && !tls->stranger)
        return (int)n;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_read(bio);
    else if (n < 0)
        tls->rx_errno = errno;
    else
        tls->eof = !n;
    return n ? -1 : 0;
}

static long io_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH; /* the only one that must not fail */
}

BIO_METHOD *tcp_tls_bio_new(void)
{
    BIO_METHOD *bio = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "netqueue");

    if (!bio)
        return NULL;
    BIO_meth_set_write(bio, io_bio_write);
    BIO_meth_set_read(bio, io_bio_read);
    BIO_meth_set_ctrl(bio, io_bio_ctrl);
    return bio;
}

/* ---- sending ---------------------------------------------------------------------------- */

static void io_out_free(struct tcp_tls *tls)
{
    const struct nqtp_mod *mod = tls->link->ep->mod;

    nqt_free(mod->host, mod->core, tls->out);
    tls->out = NULL;
    tls->out_at = tls->out_len = tls->out_cap = 0;
}

bool tcp_tls_flush(struct tcp_tls *tls)
{
    const struct nqtp_mod *mod = tls->link->ep->mod;
    ssize_t n;

    while (tls->out_at < tls->out_len) {
        mod->host->count(mod->core, NQT_COUNT_SEND_CALLS, 1);
        n = send(tls->link->fd, tls->out + tls->out_at, tls->out_len - tls->out_at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        tls->out_at += (size_t)n;
    }
    tls->out_at = tls->out_len = 0;
    return true;
}

/* A place in a list of segments. */
struct io_cursor {
    const struct iovec *iov;
    size_t n;   /* from there on */
    size_t off; /* in *iov */
};

/* The next data for the library: a long piece as it is, or short ones copied together into
 * `record`, of TCP_TLS_RECORD bytes.  @return bytes; 0 = none are left */
static size_t io_next(struct io_cursor *at, unsigned char *record, const unsigned char **ret)
{
    size_t have = 0, piece;

    for (; at->n; at->iov++, at->n--, at->off = 0) {
        const unsigned char *base = (const unsigned char *)at->iov->iov_base + at->off;

        piece = at->iov->iov_len - at->off;
        if (piece >= IO_DIRECT && have)
            break;
        if (piece >= IO_DIRECT) {
            piece = piece < IO_FLIGHT ? piece : IO_FLIGHT;
            at->off += piece;
            *ret = base;
            return piece;
        }
        if (have + piece > TCP_TLS_RECORD)
            break;
        memcpy(record + have, base, piece);
        have += piece;
    }
    *ret = record;
    return have;
}

/* Encrypt into `out`.  False: no memory, and errno says so. */
static bool io_encrypt(struct tcp_tls *tls, const unsigned char *data, size_t len)
{
    size_t done;

    ERR_clear_error();
    if (io_reserve(tls, len + (len / TCP_TLS_RECORD + 1) * IO_RECORD_MORE) &&
        SSL_write_ex(tls->ssl, data, len, &done) == 1)
        return true;
    ERR_clear_error();
    errno = ENOMEM;
    return false;
}

/* Bytes encrypted; sets errno when it stopped before the end. */
static size_t io_write_all(struct tcp_tls *tls, struct io_cursor *at)
{
    unsigned char record[TCP_TLS_RECORD];
    const unsigned char *data;
    size_t done = 0, n;

    while ((n = io_next(at, record, &data)) > 0) {
        if (tls->out_len && tls->out_len + n > IO_FLIGHT + IO_DIRECT && !tcp_tls_flush(tls))
            return done;
        if (!io_encrypt(tls, data, n))
            return done;
        done += n;
    }
    if (tcp_tls_flush(tls))
        errno = 0;
    return done;
}

ssize_t tcp_tls_write(struct nqtp_link *link, const struct iovec *iov, size_t n)
{
    struct tcp_tls *tls = link->tls;
    struct io_cursor at = {.iov = iov, .n = n};
    size_t done;

    if (tls->tx_errno) {
        errno = tls->tx_errno;
        return -1;
    }
    if (!tcp_tls_flush(tls))
        return -1;
    done = io_write_all(tls, &at);
    if (!tls->out_len)
        io_out_free(tls);
    if (done && errno && errno != EAGAIN && errno != EWOULDBLOCK)
        tls->tx_errno = errno; /* part of it may have arrived: say so first */
    return done || !errno ? (ssize_t)done : -1;
}

bool tcp_tls_is_full(const struct nqtp_link *link)
{
    return link->tls->out_len > 0;
}

/* ---- receiving -------------------------------------------------------------------------- */

/* Keys cost the one who changes them less than the one who has to follow. */
void tcp_tls_on_step(const SSL *ssl, int where, int ret)
{
    struct tcp_tls *tls = BIO_get_data(SSL_get_rbio(ssl));
    OSSL_HANDSHAKE_STATE state = SSL_get_state(ssl);

    (void)where;
    (void)ret;
    if (state == TLS_ST_SR_KEY_UPDATE || state == TLS_ST_CR_KEY_UPDATE)
        tls->rekeyed++;
}

/* After `n` bytes of data.  False: the other side does little but change keys. */
static bool io_is_worth_it(struct tcp_tls *tls, size_t n)
{
    tls->moved += n;
    if (tls->moved >= IO_REKEY_BYTES)
        tls->moved = tls->rekeyed = 0;
    return tls->rekeyed <= IO_REKEYS_MAX;
}

/* Fill one segment.  @return bytes; less than `len`: nothing more now, or it is over */
static size_t io_read_segment(struct tcp_tls *tls, unsigned char *base, size_t len)
{
    size_t have = 0, n;

    while (have < len && SSL_read_ex(tls->ssl, base + have, len - have, &n) == 1)
        have += n;
    return have;
}

ssize_t tcp_tls_read(struct nqtp_link *link, const struct iovec *iov, uint32_t n, bool polled)
{
    struct tcp_tls *tls = link->tls;
    size_t have = 0, got;
    uint32_t i = 0;
    int state;

    tls->more = false;
    if (tls->end.code)
        return 0;
    tls->polled = polled;
    tls->drained = false;
    ERR_clear_error();
    for (; i < n; i++) {
        got = io_read_segment(tls, iov[i].iov_base, iov[i].iov_len);
        have += got;
        if (got < iov[i].iov_len)
            break;
    }
    state = i < n ? SSL_get_error(tls->ssl, 0) : SSL_ERROR_NONE;
    if ((state != SSL_ERROR_NONE && state != SSL_ERROR_WANT_READ) || !io_is_worth_it(tls, have))
        tcp_tls_judge(tls, state);
    (void)tcp_tls_flush(tls); /* the library's answer to what came */
    tls->more = have && (tls->end.code || state == SSL_ERROR_NONE);
    if (have || tls->end.code)
        return (ssize_t)have;
    errno = EAGAIN;
    return -1;
}

bool tcp_tls_has_more(const struct nqtp_link *link)
{
    return link->tls->more;
}
