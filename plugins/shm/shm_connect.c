/* The connecting side: the socket, our memory, the server's.
 *
 * connect() to a unix socket does not take time: it is done, refused, or the server's backlog is
 * full, and then it is tried again until connect_timeout. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

static void connect_failed(struct nqtp_link *link, int code, int error)
{
    bool nobody = error == ENOENT || error == ECONNREFUSED || error == EPROTOTYPE;

    shm_link_down(link, nobody ? NQT_E_REFUSED : code, error, "connect to %s: %s",
                  link->ep->opts.path, shm_say_connect(error));
}

/* @return 0 or an errno */
static int connect_say_hello(struct nqtp_link *link)
{
    int memfd, rc = shm_link_make(link, &memfd);

    if (rc)
        return rc;
    rc = shm_socket_say_hello(link->fd, &link->ours.sizes, memfd);
    close(memfd);
    return rc;
}

static void connect_try(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;
    int fd = shm_socket_connect(link->ep->opts.path), rc;

    if (fd == -EAGAIN) {
        int64_t next = mod->host->now_ns(mod->core) + SHM_RETRY_NS;

        mod->host->timer_set(link->timer, next < link->deadline_ns ? next : link->deadline_ns);
        return;
    }
    if (fd < 0) {
        connect_failed(link, NQT_E_SYS, -fd);
        return;
    }
    link->fd = fd;
    mod->host->timer_set(link->timer, link->deadline_ns);
    rc = connect_say_hello(link);
    if (rc)
        connect_failed(link, NQT_E_SYS, rc);
    else
        shm_link_watch(link);
}

static void connect_timeout(void *arg)
{
    struct nqtp_link *link = arg;
    const struct nqtp_mod *mod = link->ep->mod;

    if (link->fd < 0 && mod->host->now_ns(mod->core) < link->deadline_ns)
        connect_try(link);
    else
        connect_failed(link, NQT_E_UNREACHABLE, ETIMEDOUT);
}

void shm_connect_event(struct nqtp_link *link)
{
    struct shm_sizes sizes;
    int memfd, rc = shm_socket_hear_hello(link->fd, &sizes, &memfd);

    if (rc == EAGAIN)
        return;
    if (rc == ECONNRESET) {
        shm_link_down(link, NQT_E_REFUSED, 0,
                      "connect to %s: the server ended the greeting; its log says why",
                      link->ep->opts.path);
        return;
    }
    if (!rc)
        rc = shm_link_adopt(link, &sizes, memfd);
    if (rc)
        connect_failed(link, rc == EPERM || rc == EPROTO ? NQT_E_PROTOCOL : NQT_E_SYS, rc);
    else
        shm_link_up(link);
}

int shm_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial, struct nqtp_link **out,
                struct nqt_error *err)
{
    const struct nqtp_mod *mod = ep->mod;
    struct nqtp_link *link;
    int rc;

    if (ep->listen)
        return nqt_fail(err, NQT_E_INVAL, "a listening endpoint does not connect");
    link = shm_link_new(ep, SHM_CONNECTING);
    if (!link)
        return nqt_fail(err, NQT_E_NOMEM, "connect to %s: no memory", ep->opts.path);
    link->serial = serial;
    rc = nqt_timer_start(mod->host, mod->core, serial, connect_timeout, link,
                         ep->opts.connect_timeout_ns, &link->timer);
    if (rc) {
        shm_link_undo(link);
        return nqt_fail(err, rc, "connect to %s: no timer", ep->opts.path);
    }
    link->cookie = cookie;
    link->deadline_ns = mod->host->now_ns(mod->core) + ep->opts.connect_timeout_ns;
    snprintf(link->peer, sizeof(link->peer), "%s", ep->opts.path);
    snprintf(link->local, sizeof(link->local), "process %ld", (long)getpid());
    *out = link;
    connect_try(link);
    return NQT_OK;
}
