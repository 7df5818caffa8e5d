/**
 * @file
 * For transports whose link is one stream socket, or whatever else is read and written like one:
 * the way of the bytes from send() to the socket, and from the socket to the core.
 *
 * A buffer that the socket takes a part of is kept, and the link is full until its rest has gone.
 * The transport has its own link around this, and its states; it makes the socket, and says why the
 * link ends.
 *
 *     ready --the socket is full--> blocked --nqt_stream_event(), POLLOUT--> ready
 *
 * As transport_kit.h: no part of the ABI, all `static inline`.  Simple rather than fast: a system
 * call for each buffer.
 *
 * Thread: in the serial of the link.  Nothing blocks, as long as the socket does not.
 */
#ifndef NETQUEUE_TRANSPORT_STREAM_H
#define NETQUEUE_TRANSPORT_STREAM_H

#include <errno.h>
#include <netqueue/transport_kit.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Segments that the core is asked for at once, to read into, and that are written at once. */
#define NQT_STREAM_SPACE 8
#define NQT_STREAM_GATHER 256

/** The socket of a link.  The first four are the transport's to set, the rest is zeroed. */
struct nqt_stream {
    const struct nqt_host *host;
    nqt_core *core;
    nqt_link *cookie;
    int fd; /* the stream's, until nqt_stream_stop(); -1 = none */
    nqt_watch *watch;
    struct nqt_buf *rest; /* taken and partly written */
    uint64_t written;     /* bytes of it */
    int blocked;          /* not 0: there is a rest */
    int owes;             /* not 0: send() took less than it got, so WRITABLE is due */
};

/** What a call found.  Negative: the link is down. */
struct nqt_stream_news {
    int code;     /* NQT_E_EOF, _LOST, _NOMEM; NQT_OK */
    int native;   /* the errno behind it; 0 = none */
    int writable; /* not 0: emit WRITABLE */
};

/** From now on fn(arg) is called when something is to be done: it calls nqt_stream_event().
 *  `fd` is connected and does not block.  @return 0 or NQT_E_* */
static inline int nqt_stream_start(struct nqt_stream *stream, nqt_serial *serial,
                                   void (*fn)(void *arg, uint32_t events), void *arg)
{
    int rc = stream->host->fd_add(serial, stream->fd, POLLIN, fn, arg, &stream->watch);

    if (rc)
        stream->watch = NULL;
    return rc;
}

/** No callback comes any more, the socket is closed, the rest given up.  May be repeated. */
static inline void nqt_stream_stop(struct nqt_stream *stream)
{
    if (stream->watch)
        stream->host->fd_del(stream->watch);
    stream->watch = NULL;
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
    if (stream->rest)
        stream->rest->ops->unref(stream->rest);
    stream->rest = NULL;
}

/** One system call for what is left of the rest.  @return bytes written; 0 also when there is no
 *  room now, which is no news */
static inline uint64_t nqt_stream_write(struct nqt_stream *stream, struct nqt_stream_news *news)
{
    const struct nqt_buf *rest = stream->rest;
    uint64_t skip = stream->written;
    struct iovec iov[NQT_STREAM_GATHER];
    struct msghdr msg;
    ssize_t n = 0;

    memset(&msg, 0, sizeof(msg));
    msg.msg_iov = iov;
    for (uint32_t i = 0; i < rest->nseg && msg.msg_iovlen < NQT_STREAM_GATHER; i++) {
        const struct iovec *seg = &rest->seg[i];

        if (skip < seg->iov_len) {
            iov[msg.msg_iovlen].iov_base = (char *)seg->iov_base + skip;
            iov[msg.msg_iovlen++].iov_len = seg->iov_len - skip;
        }
        skip -= skip < seg->iov_len ? skip : seg->iov_len;
    }
    if (msg.msg_iovlen) {
        n = sendmsg(stream->fd, &msg, MSG_NOSIGNAL);
        stream->host->count(stream->core, NQT_COUNT_SEND_CALLS, 1);
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        news->code = NQT_E_LOST;
        news->native = errno;
    }
    return n > 0 ? (uint64_t)n : 0;
}

/** Go on with the rest.  @return not 0: it has gone, and the socket takes more */
static inline int nqt_stream_flush(struct nqt_stream *stream, struct nqt_stream_news *news)
{
    while (stream->rest) {
        uint64_t n = nqt_stream_write(stream, news);

        stream->written += n;
        if (!news->code && stream->written == stream->rest->len) {
            stream->rest->ops->unref(stream->rest);
            stream->rest = NULL;
        } else if (!n) {
            return 0;
        }
    }
    return 1;
}

/** The slot send() of a link that is up.  What is wrong is in the news; the core learns it by
 *  LINK_DOWN.
 *
 * @param taken  [out] buffers that are the stream's now */
static inline struct nqt_stream_news
nqt_stream_send(struct nqt_stream *stream, struct nqt_buf *const *bufs, uint32_t n, uint32_t *taken)
{
    struct nqt_stream_news news = {NQT_OK, 0, 0};
    uint32_t done = 0;

    while (done < n && !stream->blocked) {
        stream->rest = bufs[done++];
        stream->written = 0;
        stream->blocked = !nqt_stream_flush(stream, &news);
    }
    *taken = done;
    stream->owes |= done < n;
    if (stream->blocked && !news.code && stream->watch)
        news.code = stream->host->fd_mod(stream->watch, POLLIN | POLLOUT);
    return news;
}

/** Read once, into the core's own memory.  The core may close the link meanwhile. */
static inline void nqt_stream_read(struct nqt_stream *stream, struct nqt_stream_news *news)
{
    struct iovec iov[NQT_STREAM_SPACE];
    uint32_t niov = NQT_STREAM_SPACE;
    ssize_t n;
    int error;

    if (stream->host->rx_space(stream->cookie, 0, iov, &niov)) {
        news->code = NQT_E_NOMEM;
        return;
    }
    n = readv(stream->fd, iov, (int)niov);
    error = errno;
    stream->host->count(stream->core, NQT_COUNT_RECV_CALLS, 1);
    if (stream->host->rx_commit(stream->cookie, n > 0 ? (size_t)n : 0) < 0 || stream->fd < 0)
        return;
    if (!n)
        news->code = NQT_E_EOF;
    if (n >= 0 || error == EAGAIN || error == EINTR)
        return;
    news->code = NQT_E_LOST;
    news->native = error;
}

/** The callback of nqt_stream_start(). */
static inline struct nqt_stream_news nqt_stream_event(struct nqt_stream *stream, uint32_t events)
{
    struct nqt_stream_news news = {NQT_OK, 0, 0};

    if ((events & POLLOUT) && stream->blocked && nqt_stream_flush(stream, &news)) {
        stream->blocked = 0;
        news.writable = stream->owes;
        stream->owes = 0;
        news.code = stream->host->fd_mod(stream->watch, POLLIN);
    }
    if (!news.code && (events & (POLLIN | POLLHUP | POLLERR)))
        nqt_stream_read(stream, &news);
    return news;
}

#ifdef __cplusplus
}
#endif
#endif
