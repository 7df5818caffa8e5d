/* A link whose transport may lose, double or reorder messages, made whole: core/arq.h between the
 * link and the transport, with a clock.
 *
 *     link --send--> arq --pull--> transport      transport --message--> arq --receive--> link
 *
 * The transport's own "no" is kept here: while it takes nothing, nothing is pulled.
 *
 * Thread: everything inside the link's strand.  Blocks: no. */
#ifndef NQ_CORE_LOSSY_H
#define NQ_CORE_LOSSY_H

#include "core/arq.h"
#include "core/transport.h"

struct nqi_lossy;

struct nqi_lossy_events {
    nq_err (*receive)(void *arg, const uint8_t *data, size_t len); /* negative: the link ended */
    void (*writable)(void *arg);
    void (*drained)(void *arg); /* after nqi_lossy_drain(): the other side has everything */
};

/* For a link that is up.  @param ret [out] owned, ends with nqi_lossy_free()
 * @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_LINK: the transport's messages are too short */
NQ_MUST_CHECK nq_err nqi_lossy_new(nqt_link *tlink, const struct nqi_lossy_events *events,
                                   void *arg, struct nqi_lossy **ret);
void nqi_lossy_free(struct nqi_lossy *lossy); /* NULL is allowed */

/* The other end is no stranger any more: memory may be spent on it. */
void nqi_lossy_trust(struct nqi_lossy *lossy);

/* As nqi_tlink_send(). */
void nqi_lossy_send(struct nqi_lossy *lossy, struct nqt_buf *const *bufs, uint32_t n,
                    uint32_t *taken);

/* As the transport's events. */
NQ_MUST_CHECK nq_err nqi_lossy_message(struct nqi_lossy *lossy, struct nqt_buf *buf);
void nqi_lossy_writable(struct nqi_lossy *lossy);

/* `drained` follows, possibly inside this call, once everything sent has arrived. */
void nqi_lossy_drain(struct nqi_lossy *lossy);

/* The link is about to be closed: acknowledge what came, so that the other side need not wait.  No
 * event follows.  Before nqi_lossy_free(), while the transport's link is there. */
void nqi_lossy_part(struct nqi_lossy *lossy);

#endif
