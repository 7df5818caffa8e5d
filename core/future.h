/* The inside of nq_future: one part per peer, each settled once.
 *
 *     part     QUEUED  --nqi_part_begin()-->  BEGUN  --nqi_part_settle()-->  SETTLED
 *              QUEUED  --nq_future_cancel(), nqi_part_settle()-->            SETTLED
 *
 * The state, the outcome and the reason are one atomic word, so that cancelling and beginning
 * decide by one compare-and-swap who was first, on any thread, without the peer's strand. */
#ifndef NQ_CORE_FUTURE_H
#define NQ_CORE_FUTURE_H

#include "core/base.h"
#include "core/wait.h"
#include <netqueue/future.h>
#include <stdatomic.h>

/* What a part's peer is asked for, on any thread. */
struct nqi_part_target {
    void (*purge)(void *target); /* cancelled messages can leave the queue */
    void (*unref)(void *target);
};

struct nqi_part {
    nq_future *future;
    nq_uuid peer;
    void *target; /* one reference */
    _Atomic uint32_t word;
};

/* A future with `n` parts, none of them set up.
 * @param room   where its callers wait
 * @param calls  where its callback runs: the same room for all futures of a queue
 * @param ret    [out] two references: the user's, and the put's, which ends when all parts are
 *               settled
 * @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_future_new(struct nqi_room *room, struct nqi_room *calls,
                                    const struct nqi_part_target *ops, size_t n, nq_future **ret);

/* The i-th part, for `peer`.  Each must be set up before any is settled.
 * @param target  takes one reference */
struct nqi_part *nqi_future_part(nq_future *future, size_t i, const nq_uuid *peer, void *target);

/* The message leaves its queue.  False: it was cancelled.  True again when called again. */
bool nqi_part_begin(struct nqi_part *part);

/* Set the outcome, unless the part was cancelled: then its put only lets go of it, so this is
 * called once in any case.  Thread: any, also inside strands.
 * @return true when this settled the whole future: somebody should be notified */
bool nqi_part_settle(struct nqi_part *part, nq_outcome outcome, nq_reason reason);

bool nqi_part_cancelled(const struct nqi_part *part);

/* Free a future that was given to nobody: no part is settled. */
void nqi_future_abandon(nq_future *future);

#endif
