/**
 * @file
 * Results of netqueue calls, and the macros every public header needs.
 */
#ifndef NETQUEUE_ERR_H
#define NETQUEUE_ERR_H

#ifdef __cplusplus
extern "C" {
#endif

#define NQ_API __attribute__((visibility("default")))
#define NQ_MUST_CHECK __attribute__((warn_unused_result))

/** Result of every netqueue call that can fail.
 *
 *   < 0  failure: hand it up unchanged, never branch on which one it is
 *   = 0  success
 *   > 0  outcome: an expected answer of this one call; the caller handles it
 *        on the spot and never hands it up
 */
typedef enum nq_err {
    NQ_ERR_DEADLOCK = -12,   /* this blocking call would wait for itself (inside a callback) */
    NQ_ERR_NO_PEER = -11,    /* a peer was named that this queue does not know */
    NQ_ERR_TOO_BIG = -10,    /* larger than a limit of the configuration allows */
    NQ_ERR_UNSUPPORTED = -9, /* this build, mode or transport cannot do that */
    NQ_ERR_CONFIG = -8,      /* the configuration is wrong; nq_error() names the key */
    NQ_ERR_PLUGIN = -7,      /* no such plugin, or it breaks the ABI contract */
    NQ_ERR_PROTO = -6,       /* the peer broke the wire protocol */
    NQ_ERR_LINK = -5,        /* the transport lost the peer or cannot reach it */
    NQ_ERR_CLOSED = -4,      /* used after close */
    NQ_ERR_SYS = -3,         /* the operating system refused; nq_error() tells why */
    NQ_ERR_NOMEM = -2,
    NQ_ERR_INVAL = -1, /* an argument breaks its documented rule */
    NQ_OK = 0,
    NQ_AGAIN = 1, /* not now: full, empty or not settled for the whole time-out */
    NQ_END = 2,   /* closed in good order and nothing is left */
} nq_err;

/** Static English text for any value, known or not; never NULL.
 *  Thread: any.  Blocks: no. */
NQ_API const char *nq_strerror(nq_err err);

/** What went wrong in the last failed netqueue call of this thread: one or more
 *  lines that say what, where (file and key path, address, plugin file) and what to
 *  do.  "" when none failed yet.  The text is valid until the next netqueue call
 *  of this thread.
 *  Thread: any.  Blocks: no. */
NQ_API const char *nq_error(void);

#ifdef __cplusplus
}
#endif
#endif
