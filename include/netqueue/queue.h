/**
 * @file
 * nq_queue: put and get between one server and many clients.
 *
 *     nq_put() -> peer's send queue -> session -> transport ... -> nq_get()
 *
 * Thread: any number of threads may share one queue.  Nothing in this header may be
 *         called by a transport plugin.
 *
 * Waiting: a thread that blocks here drives the queue's loop itself when no other
 *         does; one library thread takes over when no caller has driven for a while
 *         (see "progress" in the configuration).
 *
 * Fork:   a queue is its process's.  In a forked child every call on it returns
 *         NQ_ERR_CLOSED and nq_free() does nothing, so the parent's sessions are not
 *         disturbed; messages of it may be freed there.  A child may open queues of its own.
 */
#ifndef NETQUEUE_QUEUE_H
#define NETQUEUE_QUEUE_H

#include <netqueue/err.h>
#include <netqueue/future.h>
#include <netqueue/msg.h>
#include <netqueue/uuid.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nq_queue nq_queue;

/* ---- open, close ------------------------------------------------------------------------ */

/** Open the queue that the JSON file `path` describes.  Connecting goes on in the
 *  background; messages put before that wait in the queue.  A client does without a
 *  transport that cannot be loaded while its list has another: NQ_EVENT_REFUSED says so.
 *
 *  @param ret  [out] owned by the caller, ends with nq_free()
 *  @return NQ_OK, NQ_ERR_CONFIG (the file, a key or a value), NQ_ERR_PLUGIN (a
 *          transport cannot be loaded), NQ_ERR_SYS (port in use, ...), NQ_ERR_NOMEM;
 *          nq_error() has the details.
 *  Thread: any.  Blocks: no (it reads the file). */
NQ_API NQ_MUST_CHECK nq_err nq_open(const char *path, nq_queue **ret);

/** The same from text in memory.  @param text `len` bytes of JSON, borrowed during the
 *  call; relative paths in it count from the working directory. */
NQ_API NQ_MUST_CHECK nq_err nq_open_json(const char *text, size_t len, nq_queue **ret);

/** What nq_close() left behind; counts of puts, each per peer, since nq_open(). */
struct nq_close_report {
    uint64_t delivered;     /* acknowledged */
    uint64_t not_delivered; /* certainly not delivered, for any reason */
    uint64_t unknown;       /* sent and not acknowledged */
    uint64_t unread;        /* received, and still to be had with nq_get() */
    uint64_t handed;        /* "wire": "net-queue": a transport took them, no more is known */
};

/** Refuse new puts, send what is queued, wait for its acknowledgement, say good-bye.
 *  Waiting getters are woken; nq_get() goes on until the queue is empty and then
 *  returns NQ_END.  Safe to repeat; a second caller waits for the first.
 *
 *  @param timeout_ns  0 = do not flush; NQ_FOREVER = as long as "session": {"linger": ...}
 *                     says (0 there: no limit); else nanoseconds
 *  @param report      [out] written on NQ_OK and NQ_AGAIN; may be NULL
 *  @return NQ_OK (everything settled), NQ_AGAIN (time was up: what was left is settled
 *          as not delivered or unknown).  Called inside a callback it starts the close
 *          and returns NQ_AGAIN at once.
 *  Thread: any.  Blocks: up to `timeout_ns`, and never longer. */
NQ_API NQ_MUST_CHECK nq_err nq_close(nq_queue *queue, int64_t timeout_ns,
                                     struct nq_close_report *report);

/** Close without waiting, if it was not closed, and release the queue.  No other call
 *  on it may be running or follow; futures and messages stay valid.  NULL is allowed.
 *  Thread: any except callbacks.  Blocks: until the library's threads have ended. */
NQ_API void nq_free(nq_queue *queue);

/* ---- messages --------------------------------------------------------------------------- */

/** Send `msg` to `peers`, or with `n` = 0 to the server (on a client) or to all clients
 *  that are there now (on a server).  Order holds per peer.
 *
 *  @param msg     [take] taken on NQ_OK only; its memory is released when no peer
 *                 needs it any more
 *  @param peers   `n` ids, copied; a client may name only its server
 *  @param future  [out] owned by the caller, ends with nq_future_free(); NULL when the
 *                 outcome does not matter
 *  @return NQ_OK; NQ_AGAIN (the one peer's queue is full and the policy is `fail`, or
 *          `block` inside a callback); NQ_ERR_NO_PEER; NQ_ERR_TOO_BIG; NQ_ERR_CLOSED;
 *          NQ_ERR_NOMEM; NQ_ERR_UNSUPPORTED (the wire cannot carry it: docs/interop.md).
 *          With several peers a full queue, or such a wire, settles that part as
 *          NQ_NOT_DELIVERED and the call succeeds.
 *  Thread: any.  Blocks: no; with policy `block` until there is room. */
NQ_API NQ_MUST_CHECK nq_err nq_put(nq_queue *queue, nq_msg *msg, const nq_uuid *peers, size_t n,
                                   nq_future **future);

/** Take the next message, from any peer or (`n` > 0) from one of `peers`.
 *
 *  @param timeout_ns  0 = do not wait, NQ_FOREVER, else nanoseconds
 *  @param ret         [out] owned by the caller, ends with nq_msg_free() or nq_put()
 *  @return NQ_OK, NQ_AGAIN (none within the time-out), NQ_END (closed and empty),
 *          NQ_ERR_DEADLOCK (would wait inside a callback)
 *  Thread: any.  Blocks: up to `timeout_ns`.  No signal ends it, but nq_close() on another
 *  thread does: docs/service.md. */
NQ_API NQ_MUST_CHECK nq_err nq_get(nq_queue *queue, const nq_uuid *peers, size_t n,
                                   int64_t timeout_ns, nq_msg **ret);

/** Take up to `cap` messages at once: waits for the first, never for more.
 *  @param msgs   [out] the first `*count` are owned by the caller
 *  @return as nq_get() */
NQ_API NQ_MUST_CHECK nq_err nq_get_many(nq_queue *queue, nq_msg **msgs, size_t cap,
                                        int64_t timeout_ns, size_t *count);

/** A message of `size` bytes to fill in place, in the transport's own memory where the
 *  transport to those peers can lend it, on the heap elsewhere: the same code runs over
 *  every transport.  Put to others, or when the link has changed, it is sent like any
 *  message.  docs/shared-memory.md has more.
 *  @param peers  `n` ids as for nq_put(), or n = 0; copied
 *  @param data   [out] the memory, 64-byte aligned; the message's; writable until the put
 *  @param msg    [out] owned by the caller, ends with nq_put() or nq_msg_free()
 *  @return NQ_OK, NQ_ERR_NO_PEER, NQ_ERR_TOO_BIG, NQ_ERR_CLOSED, NQ_ERR_NOMEM
 *  Thread: any.  Blocks: no; when the transport has lent all that it has, no longer than
 *  copying `size` bytes takes. */
NQ_API NQ_MUST_CHECK nq_err nq_loan(nq_queue *queue, const nq_uuid *peers, size_t n, size_t size,
                                    void **data, nq_msg **msg);

/* ---- peers and events ------------------------------------------------------------------- */

typedef enum nq_event_kind {
    NQ_EVENT_PEER_UP = 1,  /* a session began; `transport` says over what, and `text` why not over
                              the first of a client's list */
    NQ_EVENT_PEER_RESUMED, /* the session goes on over a new link; the same */
    NQ_EVENT_PEER_DOWN,    /* the link is lost, the session waits for another */
    NQ_EVENT_PEER_GONE,    /* the session ended; `reason` says why */
    NQ_EVENT_REFUSED,      /* a connection was refused, by us or by the other side */
    NQ_EVENT_DROPPED,      /* `count` messages to `peer` fell to the queue's policy */
    NQ_EVENT_HIGH_MARK,    /* the send queue to `peer` is more than three quarters full */
    NQ_EVENT_LOW_MARK,     /* ... and less than one quarter again */
} nq_event_kind;

struct nq_event {
    nq_event_kind kind;
    nq_reason reason;
    nq_uuid peer;       /* all zero when it is not known */
    uint64_t count;     /* messages, for NQ_EVENT_DROPPED */
    char transport[32]; /* "tcp"; "" when it does not apply */
    char text[192];     /* one line for people: addresses, system errors */
};

/** Text of an event's kind; static, never NULL. */
NQ_API const char *nq_event_text(nq_event_kind kind);

/** Take the oldest event.  At most 1024 are kept; after that the oldest go, counted in
 *  nq_stats.events_lost.
 *  @return NQ_OK, NQ_AGAIN, NQ_END (closed and none left).
 *  Thread: any.  Blocks: up to `timeout_ns`. */
NQ_API NQ_MUST_CHECK nq_err nq_event_get(nq_queue *queue, int64_t timeout_ns, struct nq_event *ret);

typedef void (*nq_event_fn)(void *arg, const struct nq_event *event);

/** Have events given to `fn` instead; NULL ends that.  Threads and rules as
 *  nq_future_then().  Thread: any.  Blocks: no. */
NQ_API void nq_event_callback(nq_queue *queue, nq_event_fn fn, void *arg);

struct nq_peer_info {
    nq_uuid id;
    bool up;                          /* a link carries the session now */
    char transport[32];               /* of that link; "" when down */
    char address[96];                 /* the other end, as the transport writes it */
    uint64_t queued;                  /* messages put and not yet sent */
    uint64_t queued_bytes;            /* their payload */
    uint64_t unacked;                 /* messages sent and not acknowledged */
    uint64_t unread;                  /* messages received and not taken by nq_get() */
    uint64_t messages_out, bytes_out; /* sent since the session began; payload bytes */
    uint64_t messages_in, bytes_in;   /* received since then */
    const char *wire; /* its protocol, as in the configuration; static, "" while not known */
};

/** List the peers.  @param count [out] how many there are; at most `cap` are written.
 *  @return NQ_OK.  Thread: any.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_peers(nq_queue *queue, struct nq_peer_info *peers, size_t cap,
                                     size_t *count);

/** End the session with `peer` now: what was not acknowledged settles as not delivered
 *  or unknown.  @return NQ_OK, NQ_ERR_NO_PEER.  Thread: any.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_disconnect(nq_queue *queue, const nq_uuid *peer);

/** This queue's own id. */
NQ_API const nq_uuid *nq_id(const nq_queue *queue);

/* ---- health ----------------------------------------------------------------------------- */

/** How the medium of a transport is: a socket, a channel, the session with a broker. */
typedef enum nq_health_state {
    NQ_HEALTH_IDLE,       /* nothing is asked of it */
    NQ_HEALTH_CONNECTING, /* it is on its way up */
    NQ_HEALTH_READY,      /* connected; a server's: listening */
    NQ_HEALTH_FAILING,    /* the last attempt failed or it broke; it is tried again */
    NQ_HEALTH_CLOSED,     /* it does not come back */
    NQ_HEALTHS,
} nq_health_state;

struct nq_health_info {
    char transport[32]; /* "tcp" */
    nq_health_state state;
    int64_t since_ns;            /* it has been so for this long */
    uint64_t connects, failures; /* times that it began to connect, and that it failed */
    char text[192];              /* one line for people: where to, or why not */
};

/** Text of a state; static, never NULL. */
NQ_API const char *nq_health_text(nq_health_state state);

/** How the queue's transports are, in the order of the configuration.  A client tries them one
 *  after the other, so one that was never needed stays idle, and one that is not installed is
 *  closed.
 *  @param count  [out] how many there are; at most `cap` are written
 *  @return NQ_OK.  Thread: any.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_health(nq_queue *queue, struct nq_health_info *infos, size_t cap,
                                      size_t *count);

/* ---- one's own event loop --------------------------------------------------------------- */

/** A descriptor that is readable while nq_poll(), nq_get() or nq_event_get() has
 *  something to do; for poll() or epoll, level-triggered.  Owned by the queue.
 *  @return the descriptor, or -1 unless "progress": {"mode": "manual"}. */
NQ_API int nq_fd(nq_queue *queue);

/** Do what is to be done now: receive, send, acknowledge, call back.
 *  @return NQ_OK, NQ_END (closed and empty), NQ_ERR_DEADLOCK (inside a callback).
 *  Thread: any.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_poll(nq_queue *queue);

/* ---- statistics ------------------------------------------------------------------------- */

/** Counters since nq_open(), of all peers together. */
struct nq_stats {
    uint64_t messages_out, bytes_out; /* handed to a transport; payload bytes */
    uint64_t messages_in, bytes_in;   /* complete messages received */
    uint64_t delivered;               /* puts that settled so, per peer */
    uint64_t not_delivered, unknown, cancelled, dropped, expired;
    uint64_t dropped_by[NQ_REASONS]; /* the five before, by reason */
    uint64_t queued, queued_bytes;   /* now waiting to be sent */
    uint64_t unacked;                /* now sent and not acknowledged */
    uint64_t unread, unread_bytes;   /* now waiting for nq_get() */
    uint64_t peers, links;           /* now */
    uint64_t connects, refusals;     /* sessions that began; links that were refused */
    uint64_t events_lost;
    /* how the queue waited: what these mean is in docs/waiting.md */
    uint64_t turns, sleeps, kicks, spins_paid, spins_lost, keeper_ticks, keeper_turns;
    uint64_t send_calls, recv_calls; /* system calls that transports counted */
    uint64_t pool_bytes;             /* memory the process-wide pool keeps for reuse */
    uint64_t health[NQ_HEALTHS];     /* transports that are so now; see nq_health() */
    uint64_t shared_bytes;           /* memory that transports share with peers now */
    uint64_t handed;                 /* puts that settled so: see NQ_HANDED */
};

/** Fill at most `size` bytes of `ret` (= sizeof(struct nq_stats) at compile time).
 *  @return NQ_OK.  Thread: any.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_stats_get(nq_queue *queue, struct nq_stats *ret, size_t size);

#define nq_stats(queue, ret) nq_stats_get((queue), (ret), sizeof(struct nq_stats))

#ifdef __cplusplus
}
#endif
#endif
