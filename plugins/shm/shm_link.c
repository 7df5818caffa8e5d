/* Life of a link: its memory, what it watches, and what brings it up, down and to its end.
 *
 * rx_commit() is the one call of the host that may come back here with close(), so nothing is
 * freed inside close(): a post does that, when no frame of ours is left on the stack. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

struct nqtp_link *shm_link_new(struct nqtp_ep *ep, enum shm_state state)
{
    struct nqtp_link *link = nqt_alloc(ep->mod->host, ep->mod->core, sizeof(*link));

    if (!link)
        return NULL;
    shm_ep_ref(ep);
    link->ep = ep;
    link->serial = ep->serial;
    link->state = state;
    link->fd = -1;
    link->process = -1;
    shm_bell_init(link);
    return link;
}

/* ---- the peer's process --------------------------------------------------------------------- */

static void link_unwatch_process(struct nqtp_link *link)
{
    if (link->process_watch)
        link->ep->mod->host->fd_del(link->process_watch);
    link->process_watch = NULL;
    if (link->process >= 0)
        close(link->process);
    link->process = -1;
}

/* What it committed is still there, and handed up first. */
static void link_process_gone(void *arg, uint32_t events)
{
    struct nqtp_link *link = arg;

    (void)events;
    shm_link_enter(link);
    link_unwatch_process(link);
    link->dead = true;
    if (shm_link_open(link))
        shm_io_event(link, 0);
    shm_link_leave(link);
}

/* Where this is not to be had, the socket must do. */
static void link_watch_process(struct nqtp_link *link)
{
    link->process = shm_socket_process(link->fd);
    if (link->process >= 0 &&
        link->ep->mod->host->fd_add(link->serial, link->process, POLLIN, link_process_gone, link,
                                    &link->process_watch)) {
        link->process_watch = NULL;
        link_unwatch_process(link);
    }
}

/* ---- memory ------------------------------------------------------------------------------ */

int shm_link_make(struct nqtp_link *link, int *memfd)
{
    const struct nqtp_mod *mod = link->ep->mod;
    const struct shm_sizes *sizes = &link->ep->opts.sizes;
    int rc;

    link->ends = nqt_alloc(mod->host, mod->core, sizes->ncell * sizeof(*link->ends));
    if (!link->ends)
        return ENOMEM;
    rc = shm_memory_make(shm_outbox_size(sizes), &link->our_memory, memfd);
    if (rc)
        return rc;
    shm_memory_touch(&link->our_memory, true);
    link->ours = shm_outbox_at(link->our_memory.at, sizes);
    shm_link_count(link);
    return 0;
}

void shm_link_count(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;
    size_t now = link->our_memory.len + shm_blocks_total(link->blocks);

    if (now != link->counted)
        mod->host->count(mod->core, NQT_COUNT_SHARED_BYTES, (int64_t)now - (int64_t)link->counted);
    link->counted = now;
}

int shm_link_adopt(struct nqtp_link *link, const struct shm_sizes *sizes, int memfd)
{
    int rc = shm_memory_adopt(memfd, shm_outbox_size(sizes), &link->their_memory);

    if (rc)
        return rc;
    shm_memory_touch(&link->their_memory, false);
    link->theirs = shm_outbox_at(link->their_memory.at, sizes);
    shm_tx_init(&link->tx, &link->ours, &link->theirs, link->ends);
    shm_rx_init(&link->rx, &link->ours, &link->theirs);
    shm_token_rx_init(&link->returned, &link->theirs);
    link->trusted = shm_socket_is_ours(link->fd);
    return 0;
}

void shm_link_release(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;

    shm_link_unwatch(link);
    link_unwatch_process(link);
    nqt_timer_stop(mod->host, &link->timer);
    nqt_timer_stop(mod->host, &link->sweep);
    if (shm_link_open(link))
        shm_io_end(link); /* before the socket: what hangs up is known to be whole */
    shm_bell_end(link);
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    if (link->left)
        link->left->ops->unref(link->left);
    link->left = NULL;
    if (link->has_piece && link->piece.kind == SHM_BLOCK)
        shm_views_return(link->views, &link->piece.block);
    link->has_piece = false;
    shm_blocks_close(link->blocks);
    link->blocks = NULL;
    shm_views_close(link->views); /* before our outbox goes, where views give back */
    link->views = NULL;
    shm_memory_free(&link->our_memory);
    shm_link_count(link);
    shm_memory_free(&link->their_memory);
    nqt_free(mod->host, mod->core, link->ends);
    link->ends = NULL;
}

/* ---- watching ---------------------------------------------------------------------------- */

static void link_event(void *arg, uint32_t events)
{
    struct nqtp_link *link = arg;

    shm_link_enter(link);
    if (link->state == SHM_CONNECTING)
        shm_connect_event(link);
    else if (shm_link_open(link))
        shm_io_event(link, events);
    shm_link_leave(link);
}

void shm_link_unwatch(struct nqtp_link *link)
{
    if (link->watch)
        link->ep->mod->host->fd_del(link->watch);
    link->watch = NULL;
}

/* The socket can always be written to, but when it is full of bytes that the peer did not take: so
 * to watch for that is to be called again at once.  A socket that has hung up would call for ever:
 * it is not watched while its last bytes may not be handed up. */
void shm_link_watch(struct nqtp_link *link)
{
    const struct nqt_host *host = link->ep->mod->host;
    uint32_t events = link->again ? POLLIN | POLLOUT : POLLIN;
    int rc = NQT_OK;

    if (link->hung_up && (link->held || link->rx_paused)) {
        shm_link_unwatch(link);
        return;
    }
    if (!link->watch)
        rc = host->fd_add(link->serial, link->fd, events, link_event, link, &link->watch);
    else if (events != link->watched)
        rc = host->fd_mod(link->watch, events);
    link->watched = events;
    if (rc)
        shm_link_down(link, NQT_E_NOMEM, 0, "%s: the socket cannot be watched", link->peer);
}

/* ---- up and down ------------------------------------------------------------------------- */

void shm_link_up(struct nqtp_link *link)
{
    nqt_timer_stop(link->ep->mod->host, &link->timer);
    link->epoch = atomic_fetch_add(&link->ep->mod->epochs, 1) + 1;
    link->state = SHM_UP;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_UP);
    link->again = true; /* look at what came meanwhile, behind that event */
    link_watch_process(link);
    shm_link_watch(link);
}

void shm_link_down(struct nqtp_link *link, int code, int native, const char *format, ...)
{
    struct nqt_error err = {.size = sizeof(err)};
    va_list args;

    if (link->state == SHM_DOWN || link->state == SHM_CLOSED)
        return;
    va_start(args, format);
    (void)nqt_vfail_native(&err, code, "errno", native, format, args);
    va_end(args);
    shm_link_release(link);
    link->state = SHM_DOWN;
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &err);
}

int shm_attach(struct nqtp_link *link, nqt_link *cookie, nqt_serial *serial)
{
    if (link->state != SHM_ACCEPTED)
        return NQT_E_INVAL;
    link->cookie = cookie;
    link->serial = serial;
    shm_link_up(link);
    return NQT_OK;
}

/* Not from inside the slot: what may be handed up now is looked at in a callback. */
int shm_rx_hold(struct nqtp_link *link, int hold)
{
    link->held = hold != 0;
    if (!link->held) {
        link->rx_paused = false;
        link->again = true;
    }
    if (shm_link_open(link))
        shm_link_watch(link);
    return NQT_OK;
}

/* ---- the end ----------------------------------------------------------------------------- */

static void link_drain_over(void *arg)
{
    struct nqtp_link *link = arg;

    shm_link_down(link, NQT_E_EOF, 0, "%s: ended by this side; the other side stayed", link->peer);
}

void shm_link_drained(struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;

    shm_io_end(link);
    if (nqt_timer_start(mod->host, mod->core, link->serial, link_drain_over, link, SHM_DRAIN_NS,
                        &link->timer))
        link_drain_over(link); /* no memory to wait for the other side */
}

int shm_shutdown(struct nqtp_link *link)
{
    if (link->state == SHM_CLOSED || link->state == SHM_ACCEPTED || link->state == SHM_GREETING)
        return NQT_E_INVAL;
    if (link->state == SHM_DOWN || link->state == SHM_DRAINING)
        return NQT_OK;
    if (link->state == SHM_CONNECTING) {
        shm_link_down(link, NQT_E_EOF, 0, "%s: ended before it was connected", link->peer);
        return NQT_OK;
    }
    link->state = SHM_DRAINING;
    if (!link->left) {
        link->blocked = link->writable_due = false; /* what was refused is the core's */
        shm_link_drained(link);
    }
    return NQT_OK;
}

void shm_link_undo(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;

    shm_link_release(link);
    nqt_free(ep->mod->host, ep->mod->core, link);
    shm_ep_unref(ep);
}

static void link_finish(void *arg)
{
    struct nqtp_link *link = arg;
    struct nqtp_ep *ep = link->ep;
    const struct nqtp_mod *mod = ep->mod;
    struct nqt_event event = NQT_LINK_EVENT(link, NQT_EV_LINK_CLOSED);

    event.peer_name = NULL;
    nqt_free(mod->host, mod->core, link);
    if (event.link) /* else it was never attached, and there is nobody to tell */
        (void)mod->host->emit(mod->core, &event, 1);
    shm_ep_unref(ep);
}

void shm_close(struct nqtp_link *link)
{
    if (link->state == SHM_CLOSED)
        return;
    shm_link_release(link);
    link->state = SHM_CLOSED;
    if (!link->ep->mod->host->post(link->serial, link_finish, link))
        return;
    /* No memory to post: when it is known that nobody is inside, that is as good. */
    if (link->inside)
        link->finish_late = true;
    else
        link_finish(link);
}

void shm_link_enter(struct nqtp_link *link)
{
    link->inside++;
}

void shm_link_leave(struct nqtp_link *link)
{
    if (!--link->inside && link->finish_late)
        link_finish(link);
}

int shm_info(struct nqtp_link *link, struct nqt_info *out)
{
    return nqt_info_answer(out, SHM_CAPS & ~(NQT_CAP_LISTEN | NQT_CAP_CONNECT), 0, link->local,
                           link->peer);
}
