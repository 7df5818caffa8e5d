/* unixsock: a transport over unix-domain stream sockets that lives outside of the netqueue tree.
 *
 * It sees <netqueue/transport_stream.h>, <netqueue/transport_unix.h> and libc, nothing else.  Only
 * the slots that every transport must have are here: no hold, no shutdown, no polling; the core
 * works without.
 *
 * Threads: none of its own.  A link is touched in its serial, an endpoint in its own; `refs` is
 * what they share. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <netqueue/transport_stream.h>
#include <netqueue/transport_unix.h>
#include <stdatomic.h>
#include <stdbool.h>

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
    char path[NQT_UNIX_PATH];
    struct nqt_unix_id id;
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
    struct nqt_stream stream;
    bool inside, finish_late; /* a callback of ours is on the stack; and close() had no post */
    uint64_t epoch;
    char peer[NQT_UNIX_PATH]; /* both ends have the same */
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

static const char *link_cause(int code)
{
    if (code == NQT_E_REFUSED)
        return "nobody listens; is the server running?";
    return code == NQT_E_EOF ? "closed by the other side" : "no memory";
}

static void link_down(struct nqtp_link *link, int code, int native)
{
    struct nqt_error err = {.size = sizeof(err)};

    unix_fail(&err, code, native, "unixsock", link->peer, link_cause(code));
    nqt_stream_stop(&link->stream);
    link->state = UNIX_DOWN;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &err);
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

static void link_event(void *arg, uint32_t events)
{
    struct nqtp_link *link = arg;
    struct nqt_stream_news news;

    link->inside = true;
    news = nqt_stream_event(&link->stream, events);
    if (news.code)
        link_down(link, news.code, news.native);
    else if (news.writable && link->state == UNIX_UP)
        (void)NQT_EMIT_LINK(link, NQT_EV_WRITABLE);
    link->inside = false;
    if (link->finish_late)
        link_finish(link);
}

static void link_up(struct nqtp_link *link)
{
    int rc;

    link->state = UNIX_UP;
    link->epoch = atomic_fetch_add(&link->ep->mod->epochs, 1) + 1;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_UP);
    rc = nqt_stream_start(&link->stream, link->serial, link_event, link);
    if (rc)
        link_down(link, rc, 0);
}

static struct nqtp_link *link_new(struct nqtp_ep *ep, int fd)
{
    struct nqtp_link *link = nqt_alloc(ep->mod->host, ep->mod->core, sizeof(*link));

    if (!link)
        return NULL;
    atomic_fetch_add(&ep->refs, 1);
    *link = (struct nqtp_link){.ep = ep, .serial = ep->serial};
    link->stream = (struct nqt_stream){.host = ep->mod->host, .core = ep->mod->core, .fd = fd};
    memcpy(link->peer, ep->path, sizeof(link->peer));
    return link;
}

static void unix_close(struct nqtp_link *link)
{
    if (link->state == UNIX_CLOSED)
        return;
    nqt_stream_stop(&link->stream);
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
    link->cookie = link->stream.cookie = cookie;
    link->serial = serial;
    link_up(link);
    return NQT_OK;
}

static int unix_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial,
                        struct nqtp_link **out, struct nqt_error *err)
{
    struct nqtp_link *link = ep->fd < 0 ? link_new(ep, -1) : NULL;
    int fd;

    if (!link)
        return unix_fail(err, ep->fd < 0 ? NQT_E_NOMEM : NQT_E_INVAL, 0, "connect to", ep->path,
                         ep->fd < 0 ? "no memory" : "the endpoint listens");
    link->cookie = link->stream.cookie = cookie;
    link->serial = serial;
    *out = link;
    fd = nqt_unix_connect(ep->path, SOCK_STREAM);
    if (fd >= 0) {
        link->stream.fd = fd;
        link_up(link);
    } else if (fd == -ECONNREFUSED || fd == -ENOENT) {
        link_down(link, NQT_E_REFUSED, 0);
    } else {
        link_down(link, NQT_E_UNREACHABLE, -fd);
    }
    return NQT_OK;
}

static int unix_info(struct nqtp_link *link, struct nqt_info *out)
{
    return nqt_info_answer(out, UNIX_CAPS & ~(NQT_CAP_LISTEN | NQT_CAP_CONNECT), 0, link->peer,
                           link->peer);
}

static int unix_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n,
                     uint32_t flags, uint32_t *taken)
{
    struct nqt_stream_news news;

    (void)flags;
    *taken = 0;
    if (link->state != UNIX_UP)
        return NQT_E_LOST;
    news = nqt_stream_send(&link->stream, bufs, n, taken);
    if (news.code)
        link_down(link, news.code, news.native);
    return NQT_OK;
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

static int ep_listen(struct nqtp_ep *ep, struct nqt_error *err)
{
    int lock = nqt_unix_lock(ep->path), rc;

    ep->fd = lock < 0 ? lock : nqt_unix_listen(ep->path, SOCK_STREAM, 0600, 128, &ep->id);
    if (lock >= 0)
        close(lock);
    if (ep->fd < 0)
        return unix_fail(err, NQT_E_SYS, -ep->fd, "listen on", ep->path, NULL);
    rc = ep->mod->host->fd_add(ep->serial, ep->fd, POLLIN, ep_event, ep, &ep->watch);
    if (!rc)
        return NQT_OK;
    nqt_unix_remove(ep->path, &ep->id);
    close(ep->fd);
    return unix_fail(err, rc, 0, "listen on", ep->path, "the socket cannot be watched");
}

static int unix_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                        int listening, struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = nqt_alloc(mod->host, mod->core, sizeof(*ep));
    int rc;

    if (!ep)
        return unix_fail(err, NQT_E_NOMEM, 0, "unixsock", "", "no memory");
    *ep = (struct nqtp_ep){.mod = mod, .cookie = cookie, .serial = serial, .fd = -1};
    atomic_init(&ep->refs, 1);
    rc = nqt_cfg_text(mod->host, cfg, "path", true, ep->path, sizeof(ep->path), err);
    if (!rc && listening)
        rc = ep_listen(ep, err);
    if (rc) {
        nqt_free(mod->host, mod->core, ep);
        return rc;
    }
    (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP, .peer_name = ep->path);
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
        nqt_unix_remove(ep->path, &ep->id);
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
