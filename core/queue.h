/* The inside of nq_queue, shared by queue.c (open, close), queue_peers.c (the table of peers),
 * queue_strangers.c (who may try), queue_greeting.c (who comes in), queue_put.c, queue_get.c and
 * queue_info.c.
 *
 *     nq_put --> peer --> ... --> peer's inbox --> ready list of peers --> nq_get
 *
 * What comes to the thread that waits for it, while nothing else is unread, goes past inbox and
 * lock.
 *
 * Lock: `lock` guards the table of peers, their inboxes and the list of links in greeting.  It may
 * be taken inside a strand and inside a room's lock; the loop's lock may be taken inside it;
 * nothing is called up. */
#ifndef NQ_CORE_QUEUE_H
#define NQ_CORE_QUEUE_H

#include "core/base.h"
#include "core/conf.h"
#include "core/err.h"
#include "core/event.h"
#include "core/peer.h"
#include "core/process.h"
#include "core/source.h"
#include "core/tomb.h"
#include "core/wait.h"
#include <netqueue/queue.h>
#include <netqueue/serializer.h>
#include <pthread.h>

struct nqi_queue_ep {
    nq_queue *queue;
    const struct nqi_conf_transport *entry;
    nqt_core *core;
    nqt_ep *ep;
    uint8_t psk[NQI_KEY]; /* a client's; written in its peer's strand, before it says hello */
};

struct nq_queue {
    /* fixed by nq_open() */
    struct nqi_conf *conf;
    struct nqi_peer_conf peer_conf;
    struct nqi_hello hello; /* what a server says in each CHALLENGE */
    uint32_t nloops;
    struct nqi_loop **loops;
    struct nqi_room **rooms;
    struct nqi_queue_ep *eps;
    size_t neps;      /* as many as the configuration names; without core and ep: absent */
    nqt_ep **ep_list; /* of eps, for the dialer */
    size_t ndial;
    struct nqi_peer *server; /* a client's only peer; one reference */
    struct nqi_events events;
    uint64_t seed;                 /* of the hash */
    uint32_t process;              /* whose queue it is */
    struct nqi_queue_stats *stats; /* the closer's and then nq_free()'s to end; NULL = none */
    bool older;                    /* all its transports are for the older wire only */

    /* the user's to guard */
    struct nq_serializer serializer; /* without functions: the configuration's */

    /* atomic */
    _Atomic bool closing;
    _Atomic bool changed;             /* since nqi_queue_notify() last looked */
    _Atomic bool attend;              /* a batch began: somebody must flush it in time */
    _Atomic uint32_t puts;            /* to a peer that is behind */
    _Atomic(struct nqi_peer *) dirty; /* peers with unsent bytes; one reference each */
    /* A server's peer that was put to last: one reference, for who finds it next without the lock;
     * NULL while somebody has it, or none.  And a part of its id: a hint whether to look. */
    _Atomic(struct nqi_peer *) recent;
    _Atomic uint64_t recent_id;
    _Atomic uint32_t next_loop, last_loop;
    _Atomic uint64_t set_aside; /* bytes for large messages */
    _Atomic int64_t links, open_eps;
    _Atomic uint64_t connects, refusals;
    _Atomic uint64_t outcomes[NQ_UNKNOWN + 1], reasons[NQ_REASONS];

    /* under lock */
    pthread_mutex_t lock;
    struct nqi_peer **buckets;
    size_t nbuckets, npeers;
    struct nqi_list all;           /* inbox.all of every peer that is not ended */
    struct nqi_session_stats past; /* of those that are */
    struct nqi_list ready;         /* inbox.ready of peers with messages */
    _Atomic uint64_t unread;       /* read without it too: who finds nothing takes no lock */
    uint64_t unread_bytes;
    struct nqi_list greetings;  /* links, oldest first */
    struct nqi_list leaving;    /* of those: links that are told to close */
    uint32_t nstrangers;        /* in both */
    struct nqi_sources sources; /* where those come from, and whose attempts failed */
    struct nqi_tombs tombs;     /* a server's: sessions that ended lately */
    bool closer;                /* a thread is inside nq_close() */
    bool readable;              /* mode manual: the descriptor is held readable */
};

/* What a forked child may not use.  NQ_OK, NQ_ERR_CLOSED */
static inline nq_err nqi_queue_check_process(const nq_queue *queue)
{
    if (queue->process == nqi_process())
        return NQ_OK;
    return nqi_fail(NQ_ERR_CLOSED, "the queue was opened before the fork: it is the parent's");
}

/* queue.c */
struct nqi_room *nqi_queue_room(nq_queue *queue); /* where a caller waits */
void nqi_queue_notify(nq_queue *queue); /* outside of strands: wake who waits for a change */
void nqi_queue_flush(nq_queue *queue);  /* before a wait: what was gathered leaves */

/* queue_peers.c */
extern const struct nqi_peer_events nqi_queue_peer_events;
/* Some of them, for those who report beside the peers; `arg` is the queue. */
void nqi_queue_on_event(void *arg, const struct nq_event *event);
void nqi_queue_on_changed(void *arg);
void nqi_queue_on_links(void *arg, int delta);
/* A peer that lives, with a reference; NULL = there is none. */
struct nqi_peer *nqi_queue_find(nq_queue *queue, const nq_uuid *id);
/* The same with the reference of who put to it last; nqi_queue_put_back() must follow, which keeps
 * it for the next. */
struct nqi_peer *nqi_queue_find_recent(nq_queue *queue, const nq_uuid *id);
void nqi_queue_put_back(nq_queue *queue, struct nqi_peer *peer); /* NULL = keep nobody */
/* All of them, with references, in a new array.  @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_queue_list(nq_queue *queue, struct nqi_peer ***ret, size_t *count);
void nqi_queue_unlist(struct nqi_peer **peers, size_t count);
/* A client's peer, before it is dialed or known by id. */
void nqi_queue_add(nq_queue *queue, struct nqi_peer *peer);

/* A server's table, under lock: the peer of this id, without a reference, or NULL; room for one
 * more (NQ_OK, NQ_ERR_NOMEM); and a peer comes into that room, with a reference [take]. */
struct nqi_peer *nqi_queue_find_locked(const nq_queue *queue, const nq_uuid *id);
NQ_MUST_CHECK nq_err nqi_queue_grow_locked(nq_queue *queue);
void nqi_queue_admit_locked(nq_queue *queue, struct nqi_peer *peer, const nq_uuid *id);

/* queue_keys.c: which a link goes by; NULL = none.  @param circle [out] their number; 0 = none */
struct nqi_keystore *nqi_queue_keys(const struct nqi_link *link, uint32_t *circle);
/* As `rekey` of struct nqi_peer_events. */
bool nqi_queue_rekey(void *arg, const struct nqi_link *link, struct nqi_psk *ret);

/* queue_older.c: as `older` of struct nqi_link_events */
void nqi_queue_on_older(void *arg, struct nqi_link *link, const nq_uuid *id);

/* queue_greeting.c */
extern const struct nqi_ep_events nqi_queue_ep_events;

/* queue_strangers.c: links whose HELLO or AUTH is awaited */
/* Why what comes from there cannot even be greeted; NULL = it can. */
const char *nqi_queue_stranger_refusal(nq_queue *queue, const char *address);
/* In the link's strand.  False: too late, close it. */
NQ_MUST_CHECK bool nqi_queue_stranger_come(nq_queue *queue, struct nqi_link *link);
void nqi_queue_stranger_leave(nq_queue *queue, struct nqi_link *link); /* twice is allowed */
void nqi_queue_send_strangers_away(nq_queue *queue);
/* The event of a link that gets no further, and one more failure of its source.
 * @param id  that it claims; NULL = none */
void nqi_queue_refused(nq_queue *queue, struct nqi_link *link, const nq_uuid *id, nq_reason reason,
                       const char *text);

/* queue_info.c: why a client does without a transport; and the event of a link that came up is told
 * why it is not over the first transport of the list. */
void nqi_queue_tell_absent(nq_queue *queue, const struct nqi_conf_absent *absent);
void nqi_queue_explain(const nq_queue *queue, struct nq_event *event);

/* queue_info.c: mode manual's descriptor is readable while messages or events wait, and when
 * nothing will come any more; else nothing.  Under lock, or not. */
void nqi_queue_mark_locked(nq_queue *queue);
void nqi_queue_mark(nq_queue *queue);

/* queue_info.c: for nq_health(), of the transport at place `i` of the configuration; and for
 * nq_peers() */
void nqi_queue_show_health(const nq_queue *queue, size_t i, struct nq_health_info *ret);
void nqi_queue_show_peer(nq_queue *queue, struct nqi_peer *peer, struct nq_peer_info *ret);

/* queue_stats.c: the socket that the configuration names; without one nothing is done.
 * @return NQ_OK, NQ_ERR_SYS (somebody listens there, ...), NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_queue_stats_open(nq_queue *queue);
/* One at a time; may be repeated.  Thread: any, outside of strands and callbacks.  Blocks: until
 * who tells something right now has done. */
void nqi_queue_stats_close(nq_queue *queue);

/* queue_get.c */
/* Under lock: what the last session of this peer left unread comes before what this one brings.
 * @return who had it, with a reference that is free; NULL = nobody */
struct nqi_peer *nqi_queue_inherit(nq_queue *queue, struct nqi_peer *heir);
void nqi_queue_deliver(nq_queue *queue, struct nqi_peer *peer, struct nqi_fifo *messages,
                       uint64_t count, uint64_t bytes);
void nqi_queue_fini_peers(nq_queue *queue); /* their inboxes, and the table */

#endif
