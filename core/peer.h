/* One peer: where session, link and clock meet.
 *
 *     put --(limits)--> session --> link        link --> session --> events->delivered
 *
 *     IDLE     no link; a client dials, a        link -> LINKED; abort -> ENDED;
 *              server waits to be resumed        expired: server -> ENDED
 *     LINKED   a link carries the session        link lost -> IDLE; session over: client -> IDLE,
 *                                                server -> ENDED; close done, abort -> ENDED
 *     ENDED    all is settled; final
 *
 * A server's peer is one session, begins LINKED and outlives its links; each link that resumes it
 * is joined to its strand.  A client has one peer, its server, from open to close, with one session
 * after the other.
 *
 * Sending: what is put leaves at once, unless the sends of single messages took more than half of
 * the time lately; then messages gather for FLUSH_NS or FLUSH_BYTES and leave together.  Whoever
 * leaves something behind says so (events->dirty), and a waiting caller or a timer flushes it.
 *
 * Thread: "in strand" or "any" as noted; a caller of "any" holds a reference. */
#ifndef NQ_CORE_PEER_H
#define NQ_CORE_PEER_H

#include "core/base.h"
#include "core/conf.h"
#include "core/dial.h"
#include "core/future.h"
#include "core/link.h"
#include "core/session.h"
#include <netqueue/queue.h>

enum nqi_peer_state { NQI_PEER_IDLE, NQI_PEER_LINKED, NQI_PEER_ENDED };

struct nqi_peer;

/* Calls up, in strand.  None of them blocks. */
struct nqi_peer_events {
    /* Messages arrived; the list moves up. */
    void (*delivered)(void *arg, struct nqi_peer *peer, struct nqi_fifo *msgs, uint64_t count,
                      uint64_t bytes);
    /* `count` puts settled.  Also: something changed that waiters may wait for. */
    void (*settled)(void *arg, uint64_t count, nq_outcome outcome, nq_reason reason);
    void (*changed)(void *arg);
    void (*event)(void *arg, const struct nq_event *event);
    /* Unsent bytes are left behind; once until nqi_peer_flush(). */
    void (*dirty)(void *arg, struct nqi_peer *peer);
    bool (*reserve)(void *arg, uint64_t bytes); /* as in nqi_session_events */
    void (*unreserve)(void *arg, uint64_t bytes);
    void (*links)(void *arg, int delta); /* links that exist: +1, -1 */
    void (*ended)(void *arg, struct nqi_peer *peer);
    /* A client's, before it says hello: the pre-shared key that this link goes by, which stays as
     * it is until the next call for a link of that transport.  @return true: it is another one than
     * the last time */
    bool (*rekey)(void *arg, const struct nqi_link *link, struct nqi_psk *ret);
};

/* What all peers of a queue share; fixed, outlives them. */
struct nqi_peer_conf {
    struct nqi_session_conf session;
    uint64_t queue_messages, queue_bytes;
    enum nqi_policy policy;
    struct nqi_room *room;
    const struct nqi_peer_events *events;
    void *arg;
};

/* What the queue keeps of a peer; under the queue's lock. */
struct nqi_peer_inbox {
    struct nqi_fifo messages;
    uint64_t unread, unread_bytes;
    struct nqi_list ready;              /* in the queue's list of peers with messages; else alone */
    struct nqi_list all;                /* in the queue's list of peers */
    struct nqi_peer *next;              /* in its hash chain */
    uint64_t told_messages, told_bytes; /* what nqi_peer_taken() was last called for */
    uint64_t hash;
    bool listed;
};

/* What nq_peers() shows; written before each leave of the strand, read by anyone. */
struct nqi_peer_shown {
    _Atomic uint64_t messages_out, bytes_out, messages_in, bytes_in, unacked;
    pthread_mutex_t lock; /* a leaf; for the rest */
    nq_uuid id;
    bool up;
    char transport[32], address[96];
    const char *wire;
};

struct nqi_flow {
    int64_t credit;   /* ns that sends of single messages may still take */
    int64_t at;       /* when credit was last reckoned */
    int64_t batch_at; /* when the first message of the batch was put */
    uint32_t looks;
    bool batching, timer_set;
    bool has_rest;    /* a turn sent as much as it may, and there is more */
    bool busy;        /* the last batch was full or old when it left: more is coming */
    bool heard;       /* something came since the last send */
    int64_t interval; /* of the flush timer */
    struct nqi_watch *timer;
};

/* As struct nqi_session: first what every message needs. */
struct nqi_peer {
    _Atomic uint32_t refs;
    bool older; /* each of its sessions is of the older wire; fixed */
    bool dials; /* a client's; fixed */
    const struct nqi_peer_conf *conf;
    struct nqi_serial serial;
    struct nqi_peer_inbox inbox; /* the queue's */

    /* any thread */
    _Atomic uint64_t queued, queued_bytes; /* put and not begun, reservations included */
    _Atomic uint64_t taken_messages, taken_bytes, taken_seq; /* by the user; written by the queue */
    _Atomic uint32_t todo;                                   /* bits for todo_work */
    _Atomic uint32_t dropped; /* messages since the last event about it */
    _Atomic bool loans_short; /* the last loan was waited for in vain */
    _Atomic bool ended;
    _Atomic bool dirty_listed; /* in the queue's list of peers to flush */
    struct nqi_peer *dirty_next;

    /* in strand */
    enum nqi_peer_state state;
    bool up;      /* LINKED and the session has been UP */
    bool copies;  /* while up: what is small may leave by nqi_link_send_bytes() */
    bool blocked; /* the link takes nothing until WRITABLE */
    bool held;    /* the link is not read: older wire */
    bool force;   /* flush in this settling */
    bool high;    /* the high mark was reported */
    bool closing;
    struct nqi_link *link;
    struct nqi_flow flow;
    struct nqi_watch *clock;
    int64_t clock_at;
    int64_t expires_at; /* the session, which waits for a link; NQI_NEVER */
    struct nqi_fifo in; /* delivered in this ownership */
    uint64_t in_count, in_bytes;
    uint64_t delivered_messages, delivered_bytes; /* ever */
    struct nqi_session session;

    struct nqi_peer_shown shown; /* any thread */

    /* what few messages need: fixed */
    struct nqi_session_name name; /* a server's: what a link that resumes it must prove */
    nq_uuid opening;              /* a server's: as its client asked for it */
    /* any thread */
    struct nqi_work todo_work;
    /* in strand */
    uint64_t came_up;                   /* peer_progress() when it came up */
    uint64_t base_messages, base_bytes; /* of those delivered, before this session */
    uint64_t final;                     /* ENDED: records of its session that were final here */
    struct nqi_dialer dialer;           /* a client's */
};

/* A server's peer over `link`, whose AUTH was accepted; in the link's strand, which becomes the
 * peer's.
 * @param psk  that AUTH proved
 * @param ret [out] one reference.  @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_SYS (no random numbers) */
NQ_MUST_CHECK nq_err nqi_peer_accept(const struct nqi_peer_conf *conf, struct nqi_link *link,
                                     const struct nqi_attach *attach, const struct nqi_psk *psk,
                                     struct nqi_peer **ret);

/* The same over a link of the older wire, on which the ini of `id` came. */
NQ_MUST_CHECK nq_err nqi_peer_accept_older(const struct nqi_peer_conf *conf, struct nqi_link *link,
                                           const nq_uuid *id, struct nqi_peer **ret);

/* Its session goes on over `link`, whose AUTH proved it or asks for it once more, or the link is
 * rejected.  In strand. */
void nqi_peer_attach(struct nqi_peer *peer, struct nqi_link *link, const struct nqi_attach *attach);

/* Its client proved to be who has the session, had `received` of its records, and wants another:
 * this one ends.  In strand. */
void nqi_peer_supersede(struct nqi_peer *peer, uint64_t received);

/* The first `messages` that the user will take are not of this session.  In strand, before it is
 * announced. */
void nqi_peer_skip(struct nqi_peer *peer, uint64_t messages, uint64_t bytes);

/* Begin to send and to report, once the queue knows the peer.  In strand. */
void nqi_peer_announce(struct nqi_peer *peer);

/* A client's peer, with a strand of its own, that will dial `eps` in order, from nqi_peer_start()
 * on. Thread: any.
 * @param ret [out] one reference.  @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_peer_dial(const struct nqi_peer_conf *conf, struct nqi_loop *loop,
                                   nqt_ep *const *eps, size_t count, struct nqi_peer **ret);

void nqi_peer_start(struct nqi_peer *peer);

/* Fill everything but `unread`.  Thread: any. */
void nqi_peer_describe(struct nqi_peer *peer, struct nq_peer_info *ret);

static inline struct nqi_peer *nqi_peer_ref(struct nqi_peer *peer)
{
    atomic_fetch_add_explicit(&peer->refs, 1, memory_order_relaxed);
    return peer;
}
void nqi_peer_unref(struct nqi_peer *peer);

/* Memory of the transport that carries the peer now.
 * @param ret [out] the caller owns one reference
 * @return NQ_OK, NQ_AGAIN (all of it is lent, or another thread stays inside), NQ_ERR_UNSUPPORTED
 * Thread: any.  Blocks: for some microseconds. */
NQ_MUST_CHECK nq_err nqi_peer_loan(struct nqi_peer *peer, size_t len, struct nqt_buf **ret);

/* Send `msg`.  @param msg [take] one reference, on NQ_OK  @param part NULL = nobody asks
 * @return NQ_OK (also when it settled at once), NQ_AGAIN (full), NQ_ERR_NOMEM.  Thread: any. */
NQ_MUST_CHECK nq_err nqi_peer_put(struct nqi_peer *peer, nq_msg *msg, struct nqi_part *part);

/* There is room for a message of `bytes`.  Thread: any. */
bool nqi_peer_has_room(const struct nqi_peer *peer, uint64_t bytes);

/* All on any thread, done in the strand, now or by its owner. */
void nqi_peer_flush(struct nqi_peer *peer);      /* what was gathered leaves */
void nqi_peer_taken(struct nqi_peer *peer);      /* the user took messages: return credit */
void nqi_peer_purge(struct nqi_peer *peer);      /* puts were cancelled */
void nqi_peer_close(struct nqi_peer *peer);      /* flush, say good-bye, end */
void nqi_peer_abort(struct nqi_peer *peer);      /* end now: this queue closes */
void nqi_peer_disconnect(struct nqi_peer *peer); /* end now, as nq_disconnect() */

/* The id of a server's peer: fixed. */
static inline const nq_uuid *nqi_peer_id(const struct nqi_peer *peer)
{
    assert(!peer->dials);
    return &peer->session.peer;
}

/* The id of any peer; nil while a client has not met its server.  Thread: any. */
nq_uuid nqi_peer_known_id(struct nqi_peer *peer);

extern const struct nqi_part_target nqi_peer_target; /* for futures */

#endif
