/* The room of an endpoint: who still has something of it in the library.
 *
 * `holds` are ours (links, posts), and EP_CLOSED waits for them in any case.  `busy` are the
 * library's (calls with the core's memory in them, the server), and it waits for them until the
 * endpoint is closed for NGRPC_ABANDON_NS: then a peer does not read, and the room lives on alone.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc.h"
#include <stdlib.h>

struct ngrpc_room *ngrpc_room_new(struct nqtp_ep *ep)
{
    struct ngrpc_room *room = calloc(1, sizeof(*room));

    if (!room)
        return NULL;
    room->drive = ep->mod->drive;
    room->mod = ep->mod;
    room->ep = ep;
    room->holds = 1;
    room->arrived_tail = &room->arrived;
    pthread_mutex_init(&room->mtx, NULL);
    ngrpc_drive_add_room(room);
    return room;
}

void ngrpc_room_hold(struct ngrpc_room *room)
{
    pthread_mutex_lock(&room->mtx);
    room->holds++;
    pthread_mutex_unlock(&room->mtx);
}

void ngrpc_room_enter(struct ngrpc_room *room)
{
    pthread_mutex_lock(&room->mtx);
    room->busy++;
    pthread_mutex_unlock(&room->mtx);
}

/* The event is the last act: mod_close() may follow at once. */
static void room_tell(struct nqtp_ep *ep)
{
    const struct nqt_host *host = ep->mod->host;
    nqt_core *core = ep->mod->core;
    nqt_ep *cookie = ep->cookie;

    ngrpc_drive_news(ep->mod->drive);
    ngrpc_tls_unref(ep->tls);
    nqt_free(host, core, ep);
    nqt_emit_ep_closed(host, core, cookie);
}

/* Locked on entry, not on return. */
static void room_settle(struct ngrpc_room *room)
{
    struct nqtp_ep *ep = NULL;
    bool gone;

    if (!room->holds && (!room->busy || room->overdue)) {
        ep = room->ep;
        room->ep = NULL;
    }
    gone = !room->holds && !room->busy;
    pthread_mutex_unlock(&room->mtx);
    if (gone) {
        ngrpc_drive_del_room(room);
        pthread_mutex_destroy(&room->mtx);
        free(room);
    }
    if (ep)
        room_tell(ep);
}

void ngrpc_room_drop(struct ngrpc_room *room)
{
    pthread_mutex_lock(&room->mtx);
    room->holds--;
    room_settle(room);
}

void ngrpc_room_leave(struct ngrpc_room *room)
{
    pthread_mutex_lock(&room->mtx);
    room->busy--;
    room_settle(room);
}

void ngrpc_room_forget(struct ngrpc_room *room)
{
    pthread_mutex_lock(&room->mtx);
    room->ep = NULL;
    room->closing = true;
    room->holds--;
    room_settle(room);
}

/* Under the drive's mutex. */
bool ngrpc_room_look(struct ngrpc_room *room, int64_t now, bool *pinned)
{
    bool again, gone;

    pthread_mutex_lock(&room->mtx);
    gone = !room->holds && !room->busy; /* it is being freed */
    if (room->owes_post && !gone)
        ngrpc_server_poke(room);
    if (room->deadline_ns && room->deadline_ns <= now && !room->overdue && !gone) {
        room->overdue = true;
        room->busy++;
        *pinned = true;
    }
    again = room->closing || room->owes_post;
    pthread_mutex_unlock(&room->mtx);
    return again;
}
