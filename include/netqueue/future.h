/**
 * @file
 * nq_future: what became of a put, per peer and merged.
 *
 * Thread: any; several threads may use one future at once, except that
 *         nq_future_free() must be the last call.
 */
#ifndef NETQUEUE_FUTURE_H
#define NETQUEUE_FUTURE_H

#include <netqueue/err.h>
#include <netqueue/uuid.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NQ_FOREVER INT64_C(-1) /* a time-out that never ends */

typedef struct nq_future nq_future;

/** Outcome of a put.  Each peer's part settles exactly once. */
typedef enum nq_outcome {
    NQ_PENDING = 0,
    NQ_DELIVERED,     /* the peer's queue holds the message (or its get returned it) */
    NQ_HANDED,        /* "wire": "net-queue": a transport took it; no more will ever be known */
    NQ_CANCELLED,     /* nq_future_cancel() came in time: certainly not delivered */
    NQ_EXPIRED,       /* its time to live ended first: certainly not delivered */
    NQ_DROPPED,       /* the queue's policy dropped it: certainly not delivered */
    NQ_NOT_DELIVERED, /* certainly not delivered; the reason says why */
    NQ_UNKNOWN, /* sent, never acknowledged: delivered at most once (session.resend: or more) */
} nq_outcome;

/** Why: with outcomes, events and drop counters. */
typedef enum nq_reason {
    NQ_REASON_NONE = 0,
    NQ_REASON_QUEUE_FULL,  /* the peer's send queue was full */
    NQ_REASON_NO_PEER,     /* nobody is there to send to */
    NQ_REASON_PEER_CLOSED, /* the peer said good-bye */
    NQ_REASON_LINK_LOST,   /* the connection broke */
    NQ_REASON_TIMED_OUT,   /* no sign of life for too long */
    NQ_REASON_LOCAL_CLOSE, /* this queue was closed */
    NQ_REASON_PROTOCOL,    /* the peer broke the protocol */
    NQ_REASON_REFUSED,     /* the peer or the transport refused the connection */
    NQ_REASON_DUPLICATE,   /* the UUID is in use by a live session */
    NQ_REASON_VERSION,     /* no protocol version in common */
    NQ_REASON_LIMIT,       /* a limit of the configuration */
    NQ_REASON_NO_MEMORY,
    NQ_REASON_DISCONNECTED, /* nq_disconnect() */
    NQ_REASON_TRANSPORT,    /* only known: handed to the transport */
    NQ_REASON_NO_SESSION,   /* the other side does not have the session (any more) */
    NQ_REASON_EXPIRED,      /* the session waited too long for a link */
    NQ_REASON_IDENTITY,     /* the certificate is another one's */
    NQ_REASON_AUTH,         /* who it is, or what it said, was not proven */
    NQ_REASON_WIRE,         /* "wire": that protocol cannot carry it, or is not spoken there */
    NQ_REASONS              /* how many there are; not a reason */
} nq_reason;

/** Static English text; never NULL. */
NQ_API const char *nq_outcome_text(nq_outcome outcome);
NQ_API const char *nq_reason_text(nq_reason reason);

/** Wait until every peer's part is settled.
 *  @param timeout_ns  0 = look only, NQ_FOREVER, else nanoseconds
 *  @return NQ_OK (settled), NQ_AGAIN (not within the time-out), NQ_ERR_DEADLOCK, NQ_ERR_CLOSED
 *          (it is the parent's: this process is a fork of it)
 *  Blocks: up to `timeout_ns`; drives the queue meanwhile. */
NQ_API NQ_MUST_CHECK nq_err nq_future_wait(nq_future *future, int64_t timeout_ns);

/** NQ_OK when settled, else NQ_AGAIN.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_future_poll(const nq_future *future);

/** The merged outcome: NQ_PENDING until all parts are settled, then the worst of
 *  them in the order of enum nq_outcome.
 *  @param reason  [out] of that part; may be NULL.  Blocks: no. */
NQ_API nq_outcome nq_future_outcome(const nq_future *future, nq_reason *reason);

/** The parts: peers this put went to.  @return how many there are; at most `cap` are
 *  written to `peers`.  Blocks: no. */
NQ_API size_t nq_future_peers(const nq_future *future, nq_uuid *peers, size_t cap);

/** One part's outcome.  @return NQ_OK or NQ_ERR_NO_PEER.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_future_peer_outcome(const nq_future *future, const nq_uuid *peer,
                                                   nq_outcome *outcome, nq_reason *reason);

/** Called once with the settled future, which it may free.  Runs on a thread that
 *  drives the queue, never inside nq_put(), one callback of a queue at a time (or inside
 *  nq_future_then(), see there); it may call everything that does not block. */
typedef void (*nq_future_fn)(void *arg, nq_future *future);

/** Have `fn` called when the future settles; when it has already, `fn` runs before this
 *  call returns.
 *  @return NQ_OK, NQ_ERR_INVAL (it has a callback already).  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_future_then(nq_future *future, nq_future_fn fn, void *arg);

/** Take the message back from every peer it was not sent to yet.
 *  @return NQ_OK (all unsettled parts are cancelled), NQ_AGAIN (too late for at
 *          least one: its outcome will tell), NQ_ERR_CLOSED (it is the parent's: this process is
 *          a fork of it).  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_future_cancel(nq_future *future);

/** Forget the future; the message goes on.  Its callback, if it has not begun, will
 *  not run.  NULL is allowed.  Blocks: no. */
NQ_API void nq_future_free(nq_future *future);

#ifdef __cplusplus
}
#endif
#endif
