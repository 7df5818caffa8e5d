/* Endpoints: listen, accept, and greet.
 *
 * A connection is announced to the core once both outboxes are there: whoever is connected can be
 * sent to.  Until then it is in the endpoint's list, and there are at most SHM_GREETINGS of them,
 * each for connect_timeout, or until there are too many. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTEN_ACCEPTS 16 /* in one callback; others want their turn */

void shm_ep_ref(struct nqtp_ep *ep)
{
    atomic_fetch_add_explicit(&ep->refs, 1, memory_order_relaxed);
}

void shm_ep_unref(struct nqtp_ep *ep)
{
    const struct nqtp_mod *mod = ep->mod;
    nqt_ep *cookie = ep->cookie;

    if (atomic_fetch_sub_explicit(&ep->refs, 1, memory_order_acq_rel) != 1)
        return;
    /* The memory first: mod_close() may follow the event at once. */
    nqt_free(mod->host, mod->core, ep);
    nqt_emit_ep_closed(mod->host, mod->core, cookie);
}

/* ---- greeting ---------------------------------------------------------------------------- */

static void greet_unlist(struct nqtp_link *link)
{
    if (!link->at)
        return;
    *link->at = link->next;
    if (link->next)
        link->next->at = link->at;
    link->at = NULL;
    link->ep->ngreeting--;
}

static void greet_list(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;

    link->next = ep->greetings;
    link->at = &ep->greetings;
    if (link->next)
        link->next->at = &link->next;
    ep->greetings = link;
    ep->ngreeting++;
}

static void greet_end(struct nqtp_link *link, const char *cause)
{
    const struct nqtp_mod *mod = link->ep->mod;

    if (cause)
        nqt_log(mod->host, mod->core, NQT_LOG_INFO, "%s was refused: %s", link->peer, cause);
    greet_unlist(link);
    shm_link_undo(link);
}

static void greet_timeout(void *arg)
{
    greet_end(arg, "no greeting within connect_timeout");
}

/* @return 0 or an errno */
static int greet_answer(struct nqtp_link *link, const struct shm_sizes *sizes, int theirs)
{
    int ours, rc = shm_link_make(link, &ours);

    if (rc) {
        close(theirs);
        return rc;
    }
    rc = shm_link_adopt(link, sizes, theirs);
    if (!rc)
        rc = shm_socket_say_hello(link->fd, &link->ours.sizes, ours);
    close(ours);
    return rc;
}

static void greet_event(void *arg, uint32_t events)
{
    struct nqtp_link *link = arg;
    struct shm_sizes sizes;
    int memfd, rc = shm_socket_hear_hello(link->fd, &sizes, &memfd);

    (void)events;
    if (rc == EAGAIN)
        return;
    if (!rc)
        rc = greet_answer(link, &sizes, memfd);
    if (rc) {
        greet_end(link, rc == ECONNRESET ? NULL
                        : rc == EPERM    ? "its memory is not sealed as it must be"
                                         : strerror(rc));
        return;
    }
    greet_unlist(link);
    shm_link_unwatch(link);
    nqt_timer_stop(link->ep->mod->host, &link->timer);
    link->state = SHM_ACCEPTED;
    if (NQT_EMIT_LINK(link, NQT_EV_ACCEPT))
        shm_link_undo(link);
}

/* Who says nothing keeps nobody out: the one that has said nothing for longest goes. */
static void greet_make_room(struct nqtp_ep *ep)
{
    struct nqtp_link *oldest = ep->greetings;

    if (ep->ngreeting < SHM_GREETINGS)
        return;
    while (oldest->next)
        oldest = oldest->next;
    greet_end(oldest, "it has said nothing, and others came");
}

static void greet_begin(struct nqtp_ep *ep, int fd)
{
    const struct nqtp_mod *mod = ep->mod;
    struct nqtp_link *link;

    greet_make_room(ep);
    link = shm_link_new(ep, SHM_GREETING);
    if (!link) {
        close(fd);
        return;
    }
    link->fd = fd;
    shm_socket_peer(fd, link->peer);
    snprintf(link->local, sizeof(link->local), "%s", ep->opts.path);
    greet_list(link);
    if (nqt_timer_start(mod->host, mod->core, ep->serial, greet_timeout, link,
                        ep->opts.connect_timeout_ns, &link->timer) ||
        mod->host->fd_add(ep->serial, fd, POLLIN, greet_event, link, &link->watch))
        greet_end(link, "no memory");
}

/* ---- accepting ---------------------------------------------------------------------------- */

static void listen_watch(void *arg, int on)
{
    struct nqtp_ep *ep = arg;

    (void)ep->mod->host->fd_mod(ep->watch, on ? POLLIN : 0);
}

static void listen_event(void *arg, uint32_t events)
{
    struct nqtp_ep *ep = arg;

    (void)events;
    for (int i = 0; i < LISTEN_ACCEPTS && !ep->door.resting; i++) {
        int fd = accept4(ep->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0)
            greet_begin(ep, fd);
        else if (!nqt_door_failed(&ep->door, ep->fd, errno))
            return;
    }
}

/* ---- slots ------------------------------------------------------------------------------- */

static int listen_start(struct nqtp_ep *ep, struct nqt_error *err)
{
    const struct nqtp_mod *mod = ep->mod;
    const char *path = ep->opts.path;
    int fd, rc = nqt_door_open(&ep->door, mod->host, mod->core, ep->serial, listen_watch, ep);

    if (rc)
        return nqt_fail(err, rc, "listen on %s: no timer", path);
    fd = shm_socket_listen(&ep->opts, &ep->id, err);
    if (fd < 0)
        return fd;
    ep->fd = fd;
    rc = mod->host->fd_add(ep->serial, fd, POLLIN, listen_event, ep, &ep->watch);
    if (rc) {
        ep->watch = NULL;
        return nqt_fail(err, rc, "listen on %s: the socket cannot be watched", path);
    }
    nqt_log(mod->host, mod->core, NQT_LOG_INFO, "listening on %s", path);
    if (shm_say_open_folder(path))
        nqt_log(mod->host, mod->core, NQT_LOG_WARN,
                "everybody may replace %s: take write permission for its folder from others, "
                "or set the sticky bit",
                path);
    (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP, .peer_name = path);
    return NQT_OK;
}

/* Give back all but the memory. */
static void listen_release(struct nqtp_ep *ep)
{
    const struct nqt_host *host = ep->mod->host;

    while (ep->greetings)
        greet_end(ep->greetings, NULL);
    if (ep->watch)
        host->fd_del(ep->watch);
    ep->watch = NULL;
    nqt_door_close(&ep->door);
    if (ep->fd < 0)
        return;
    nqt_unix_remove(ep->opts.path, &ep->id);
    close(ep->fd);
    ep->fd = -1;
}

int shm_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg, int listen,
                struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = nqt_alloc(mod->host, mod->core, sizeof(*ep));
    int rc;

    if (!ep)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for an endpoint");
    ep->mod = mod;
    ep->cookie = cookie;
    ep->serial = serial;
    ep->listen = listen != 0;
    ep->fd = -1;
    atomic_init(&ep->refs, 1);
    rc = shm_opts_read(mod->host, cfg, &ep->opts, err);
    if (!rc && listen)
        rc = listen_start(ep, err);
    if (rc) {
        listen_release(ep);
        nqt_free(mod->host, mod->core, ep);
        return rc;
    }
    if (!listen)
        (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP);
    *out = ep;
    return NQT_OK;
}

void shm_ep_close(struct nqtp_ep *ep)
{
    if (ep->closed)
        return;
    ep->closed = true;
    listen_release(ep);
    shm_ep_unref(ep);
}
