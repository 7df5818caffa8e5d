/* unixsock: a transport over unix-domain stream sockets that lives outside of the netqueue tree.
 *
 * It sees <netqueue/transport_kit.h> and libc, nothing else.  Only the slots that every transport
 * must have are here: no hold, no shutdown, no polling; the core works without.
 *
 * Threads: none of its own.  A link is touched in its serial, an endpoint in its own; `refs` is
 * what they share. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <limits.h>
#include <netqueue/transport_kit.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_CAPS                                                                                 \
    (NQT_CAP_STREAM | NQT_CAP_LISTEN | NQT_CAP_CONNECT | NQT_CAP_PEER_PRESENCE | NQT_CAP_GATHER | \
     NQT_CAP_LOCAL_ONLY)

struct nqtp_mod {
    const struct nqt_host *host;
    nqt_core *core;
    _Atomic uint64_t epochs;
};

struct nqtp_ep {
    struct nqtp_mod *mod;
    nqt_ep *cookie;
    nqt_serial *serial;
    struct sockaddr_un addr;
    int fd; /* listening; -1 = none */
    nqt_watch *watch;
    bool closed;
    _Atomic uint32_t refs; /* one until ep_close, one a link; the last emits EP_CLOSED */
};

enum unix_state { UNIX_ACCEPTED, UNIX_UP, UNIX_DOWN, UNIX_CLOSED };

struct nqtp_link {
    struct nqtp_ep *ep;
    nqt_link *cookie;
    nqt_serial *serial;
    enum unix_state state;
    int fd;
    nqt_watch *watch;
    struct nqt_buf *left; /* taken and partly sent */
    uint64_t left_at;     /* bytes of it that are sent */
    bool blocked, writable_due;
    bool inside, finish_late; /* a callback of ours is on the stack; and close() had no post */
    uint64_t epoch;
    char peer[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* both ends have the same */
};

static int unix_fail(struct nqt_error *err, int code, int native, const char *what,
                     const char *path, const char *cause)
{
    return nqt_fail_native(err, code, "errno", native, "%s %.100s: %s", what, path,
                           native ? strerror(native) : cause);
}

static void unix_ep_unref(struct nqtp_ep *ep)
{
    struct nqtp_mod *mod = ep->mod;
    nqt_ep *cookie = ep->cookie;

    if (atomic_fetch_sub(&ep->refs, 1) != 1)
        return;
    nqt_free(mod->host, mod->core, ep); /* mod_close() may follow the event at once */
    nqt_emit_ep_closed(mod->host, mod->core, cookie);
}

/* ---- links ------------------------------------------------------------------------ */

static void link_event(void *arg, uint32_t events);

static void link_release(struct nqtp_link *link)
{
    if (link->watch)
        link->ep->mod->host->fd_del(link->watch);
    link->watch = NULL;
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    if (link->left)
        link->left->ops->unref(link->left);
    link->left = NULL;
}

static void link_down(struct nqtp_link *link, int code, int native, const char *cause)
{
    struct nqt_error err = {.size = sizeof(err)};

    if (link->state >= UNIX_DOWN)
        return;
    unix_fail(&err, code, native, "unixsock", link->peer, cause);
    link_release(link);
    link->state = UNIX_DOWN;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &err);
}

static void link_up(struct nqtp_link *link)
{
    const struct nqt_host *host = link->ep->mod->host;

    link->state = UNIX_UP;
    link->epoch = atomic_fetch_add(&link->ep->mod->epochs, 1) + 1;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_UP);
    if (host->fd_add(link->serial, link->fd, POLLIN, link_event, link, &link->watch)) {
        link->watch = NULL;
        link_down(link, NQT_E_NOMEM, 0, "the socket cannot be watched");
    }
}

static struct nqtp_link *link_new(struct nqtp_ep *ep, int fd)
{
    struct nqtp_link *link = nqt_alloc(ep->mod->host, ep->mod->core, sizeof(*link));

    if (!link)
        return NULL;
    atomic_fetch_add(&ep->refs, 1);
    *link = (struct nqtp_link){.ep = ep, .serial = ep->serial, .fd = fd};
    memcpy(link->peer, ep->addr.sun_path, sizeof(link->peer));
    return link;
}

static void link_finish(void *arg)
{
    struct nqtp_link *link = arg;
    struct nqtp_ep *ep = link->ep;

    if (link->cookie)
        (void)NQT_EMIT_LINK(link, NQT_EV_LINK_CLOSED);
    nqt_free(ep->mod->host, ep->mod->core, link);
    unix_ep_unref(ep);
}

static void unix_close(struct nqtp_link *link)
{
    if (link->state == UNIX_CLOSED)
        return;
    link_release(link);
    link->state = UNIX_CLOSED;
    /* A post, because rx_commit() may be on our stack. */
    if (!link->ep->mod->host->post(link->serial, link_finish, link))
        return;
    link->finish_late = link->inside;
    if (!link->inside)
        link_finish(link);
}

static int unix_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial)
{
    if (link->state != UNIX_ACCEPTED)
        return NQT_E_INVAL;
    link->cookie = cookie;
    link->serial = serial;
    link_up(link);
    return NQT_OK;
}

static int unix_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial,
                        struct nqtp_link **out, struct nqt_error *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = errno;
    struct nqtp_link *link;

    if (ep->fd >= 0 || fd < 0) {
        if (fd >= 0)
            close(fd);
        return unix_fail(err, fd < 0 ? NQT_E_SYS : NQT_E_INVAL, fd < 0 ? error : 0, "connect to",
                         ep->addr.sun_path, "the endpoint listens");
    }
    link = link_new(ep, fd);
    if (!link) {
        close(fd);
        return unix_fail(err, NQT_E_NOMEM, 0, "connect to", ep->addr.sun_path, "no memory");
    }
    link->cookie = cookie;
    link->serial = serial;
    *out = link;
    if (!connect(fd, (const struct sockaddr *)&ep->addr, sizeof(ep->addr)))
        link_up(link);
    else if (errno == ECONNREFUSED || errno == ENOENT)
        link_down(link, NQT_E_REFUSED, 0, "nobody listens; is the server running?");
    else
        link_down(link, NQT_E_UNREACHABLE, errno, "");
    return NQT_OK;
}

static int unix_info(struct nqtp_link *link, struct nqt_info *out)
{
    return nqt_info_answer(out, UNIX_CAPS & ~(NQT_CAP_LISTEN | NQT_CAP_CONNECT), 0, link->peer,
                           link->peer);
}

/* ---- sending ---------------------------------------------------------------------- */

static size_t gather(const struct nqt_buf *buf, uint64_t at, struct iovec *iov, size_t n)
{
    for (uint32_t i = 0; i < buf->nseg && n < IOV_MAX; i++) {
        size_t len = buf->seg[i].iov_len;

        if (at >= len) {
            at -= len;
            continue;
        }
        iov[n++] = (struct iovec){(char *)buf->seg[i].iov_base + at, len - at};
        at = 0;
    }
    return n;
}

/* One system call; 0 also when the socket is full. */
static uint64_t link_write(struct nqtp_link *link, struct iovec *iov, size_t n)
{
    const struct nqtp_mod *mod = link->ep->mod;
    const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};
    ssize_t sent = n ? sendmsg(link->fd, &msg, MSG_NOSIGNAL) : 0;

    mod->host->count(mod->core, NQT_COUNT_SEND_CALLS, 1);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        link_down(link, NQT_E_LOST, errno, "");
    return sent > 0 ? (uint64_t)sent : 0;
}

/* Go on with the started buffer.  True: it is gone, and the socket takes more. */
static bool link_flush(struct nqtp_link *link)
{
    struct iovec iov[IOV_MAX];

    while (link->left) {
        uint64_t sent = link_write(link, iov, gather(link->left, link->left_at, iov, 0));

        link->left_at += sent;
        if (link->left && link->left_at == link->left->len) {
            link->left->ops->unref(link->left);
            link->left = NULL;
        } else if (!sent) {
            return false;
        }
    }
    return link->state == UNIX_UP;
}

static int unix_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n,
                     uint32_t flags, uint32_t *taken)
{
    uint32_t done = 0;

    (void)flags;
    *taken = 0;
    if (link->state != UNIX_UP)
        return NQT_E_LOST;
    /* Buffer by buffer: simple, not fast. */
    while (done < n && !link->blocked) {
        link->left = bufs[done++];
        link->left_at = 0;
        link->blocked = !link_flush(link);
    }
    *taken = done;
    link->writable_due |= done < n;
    if (link->blocked && link->watch && link->ep->mod->host->fd_mod(link->watch, POLLIN | POLLOUT))
        link_down(link, NQT_E_NOMEM, 0, "the socket cannot be watched");
    return NQT_OK;
}

static void link_writable(struct nqtp_link *link)
{
    if (!link->blocked || !link_flush(link))
        return;
    link->blocked = false;
    (void)link->ep->mod->host->fd_mod(link->watch, POLLIN);
    if (link->writable_due)
        (void)NQT_EMIT_LINK(link, NQT_EV_WRITABLE);
    link->writable_due = false;
}

/* ---- receiving -------------------------------------------------------------------- */

static void link_readable(struct nqtp_link *link)
{
    const struct nqt_host *host = link->ep->mod->host;
    struct iovec iov[8];
    uint32_t niov = 8;
    ssize_t n;
    int error;

    if (host->rx_space(link->cookie, 0, iov, &niov)) {
        link_down(link, NQT_E_NOMEM, 0, "no room to receive");
        return;
    }
    n = readv(link->fd, iov, (int)niov);
    error = errno;
    host->count(link->ep->mod->core, NQT_COUNT_RECV_CALLS, 1);
    if (host->rx_commit(link->cookie, n > 0 ? (size_t)n : 0) < 0 || link->state != UNIX_UP)
        return;
    if (!n)
        link_down(link, NQT_E_EOF, 0, "closed by the other side");
    else if (n < 0 && error != EAGAIN && error != EINTR)
        link_down(link, NQT_E_LOST, error, "");
}

static void link_event(void *arg, uint32_t events)
{
    struct nqtp_link *link = arg;

    link->inside = true;
    if (events & POLLOUT)
        link_writable(link);
    if (link->state == UNIX_UP && (events & (POLLIN | POLLHUP | POLLERR)))
        link_readable(link);
    link->inside = false;
    if (link->finish_late)
        link_finish(link);
}

/* ---- endpoints -------------------------------------------------------------------- */

static void ep_event(void *arg, uint32_t events)
{
    struct nqtp_ep *ep = arg;
    int fd = accept4(ep->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct nqtp_link *link = fd < 0 ? NULL : link_new(ep, fd);

    (void)events;
    if (link)
        (void)NQT_EMIT_LINK(link, NQT_EV_ACCEPT);
    else if (fd >= 0)
        close(fd);
}

/* Bind; a file that a dead server left behind is no obstacle. */
static int ep_bind(const struct nqtp_ep *ep)
{
    const struct sockaddr *sa = (const struct sockaddr *)&ep->addr;
    int probe;

    if (!bind(ep->fd, sa, sizeof(ep->addr)))
        return 0;
    if (errno != EADDRINUSE)
        return errno;
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return errno;
    if (!connect(probe, sa, sizeof(ep->addr)) || errno != ECONNREFUSED) {
        close(probe);
        return EADDRINUSE;
    }
    close(probe);
    unlink(ep->addr.sun_path);
    return bind(ep->fd, sa, sizeof(ep->addr)) ? errno : 0;
}

static int ep_listen(struct nqtp_ep *ep, struct nqt_error *err)
{
    int error = 0;
    bool bound;

    ep->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    error = ep->fd < 0 ? errno : ep_bind(ep);
    bound = !error;
    if (!error && listen(ep->fd, 128))
        error = errno;
    if (!error && !ep->mod->host->fd_add(ep->serial, ep->fd, POLLIN, ep_event, ep, &ep->watch))
        return NQT_OK;
    if (bound)
        unlink(ep->addr.sun_path);
    if (ep->fd >= 0)
        close(ep->fd);
    return unix_fail(err, error ? NQT_E_SYS : NQT_E_NOMEM, error, "listen on", ep->addr.sun_path,
                     "the socket cannot be watched");
}

static int unix_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                        int listening, struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = nqt_alloc(mod->host, mod->core, sizeof(*ep));
    int rc;

    if (!ep)
        return unix_fail(err, NQT_E_NOMEM, 0, "unixsock", "", "no memory");
    *ep = (struct nqtp_ep){.mod = mod, .cookie = cookie, .serial = serial, .fd = -1};
    ep->addr.sun_family = AF_UNIX;
    atomic_init(&ep->refs, 1);
    rc = nqt_cfg_text(mod->host, cfg, "path", true, ep->addr.sun_path, sizeof(ep->addr.sun_path),
                      err);
    if (!rc && listening)
        rc = ep_listen(ep, err);
    if (rc) {
        nqt_free(mod->host, mod->core, ep);
        return rc;
    }
    (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP, .peer_name = ep->addr.sun_path);
    *out = ep;
    return NQT_OK;
}

static void unix_ep_close(struct nqtp_ep *ep)
{
    if (ep->closed)
        return;
    ep->closed = true;
    if (ep->fd >= 0) {
        ep->mod->host->fd_del(ep->watch);
        close(ep->fd);
        unlink(ep->addr.sun_path);
    }
    unix_ep_unref(ep);
}

/* ---- the module ------------------------------------------------------------------- */

static int unix_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                         struct nqt_error *err)
{
    struct nqtp_mod *mod = nqt_alloc(host, core, sizeof(*mod));

    if (!mod)
        return unix_fail(err, NQT_E_NOMEM, 0, "unixsock", "", "no memory");
    mod->host = host;
    mod->core = core;
    atomic_init(&mod->epochs, 0);
    *out = mod;
    return NQT_OK;
}

static void unix_mod_close(struct nqtp_mod *mod)
{
    nqt_free(mod->host, mod->core, mod);
}

static const struct nqt_opt unix_options[] = {
    {.name = "path",
     .type = NQT_OPT_PATH,
     .flags = NQT_OPT_REQUIRED,
     .help = "File of the server's socket; made by the server, removed at its end"},
};

static const struct nqt_ops unix_ops = {
    .size = sizeof(struct nqt_ops),
    .mod_open = unix_mod_open,
    .mod_close = unix_mod_close,
    .ep_open = unix_ep_open,
    .ep_close = unix_ep_close,
    .connect = unix_connect,
    .attach = unix_attach,
    .send = unix_send,
    .close = unix_close,
    .info = unix_info,
    .ext = nqt_no_ext,
};

NQT_MODULE(unixsock) = {
    .magic = NQT_MAGIC,
    .size = sizeof(struct nqt_module),
    .abi_major = 1,
    .needs_minor = 0,
    .threading = NQT_THREADING_LOOP,
    .nopt = 1,
    .opt_size = sizeof(struct nqt_opt),
    .caps = UNIX_CAPS,
    .name = "unixsock",
    .version = "1.0",
    .wire = "unixsock",
    .license = "MIT",
    .summary = "Unix-domain stream sockets; an example of a transport of one's own",
    .opt = unix_options,
    .ops = &unix_ops,
};
