/* One path to one peer: up, down, and on a server the greeting before a peer is known.
 *
 *     state     meaning                              leaves by
 *     OPENING   the transport connects               up -> UP (client), GREETING (server)
 *     GREETING  the client's HELLO is awaited        HELLO -> UP
 *     UP        bytes pass to and from the owner     nqi_link_drain(), _reject() -> DRAINING
 *     DRAINING  what was sent gets out; what comes   the other side's end, time -> DOWN
 *               is dropped, and the owner is told
 *               of the end only
 *     DOWN      reported once; nothing passes        the transport's closed -> freed
 *
 *     and from each: down, time, an error, nqi_link_close() -> DOWN
 *
 * Until the greeting is over a stranger costs a link and 264 bytes, for at most NQI_GREETING_NS.
 *
 * Thread: everything inside the link's strand. */
#ifndef NQ_CORE_LINK_H
#define NQ_CORE_LINK_H

#include "core/base.h"
#include "core/frame.h"
#include "core/transport.h"
#include <netqueue/future.h>

#define NQI_GREETING_NS (10 * NQI_NS_PER_S) /* from accept to HELLO, from connect to WELCOME */
#define NQI_DRAIN_NS (2 * NQI_NS_PER_S)     /* for what was sent to get out */

struct nqi_link;

/* Calls up.  `arg` is the owner's, which may change at `hello` (nqi_link_bind). */
struct nqi_link_events {
    /* Server: the link exists; `hello`, `down` or `closed` follows. */
    void (*opened)(void *arg, struct nqi_link *link);
    /* Client: the medium accepts data. */
    void (*up)(void *arg, struct nqi_link *link);
    /* Server: a well-formed HELLO came.  Answer with nqi_link_bind() or nqi_link_reject(). */
    void (*hello)(void *arg, struct nqi_link *link, const struct nqi_hello *hello);
    /* UP: bytes; as nqi_session_receive(), _space(), _commit().  Negative: the owner has ended the
     * link or will: stop reading. */
    nq_err (*receive)(void *arg, const uint8_t *data, size_t len);
    size_t (*space)(void *arg, unsigned char **ret);
    nq_err (*commit)(void *arg, size_t len);
    void (*writable)(void *arg);
    /* The link is of no more use; text for people.  Once, and not after nqi_link_close(). */
    void (*down)(void *arg, struct nqi_link *link, nq_reason reason, const char *text);
    /* The last event: the struct is gone. */
    void (*closed)(void *arg);
};

/* Client: begin to connect.  In `strand`.  @param ret [out] lives until events->closed
 * @return NQ_OK (up or down follows), NQ_ERR_LINK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_link_connect(nqt_ep *ep, struct nqi_strand *strand, struct nqi_loop *loop,
                                      const struct nqi_link_events *events, void *arg,
                                      struct nqi_link **ret);

/* Server: adopt a connection; the link makes a strand of its own.  In the endpoint's serial.
 * @return NQ_OK (hello or closed follows), NQ_ERR_NOMEM (the connection is closed) */
NQ_MUST_CHECK nq_err nqi_link_accept(nqt_ep *ep, struct nqtp_link *plink, const char *address,
                                     struct nqi_loop *loop, const struct nqi_link_events *events,
                                     void *arg);

/* From now on events go to `events` and `arg`. */
void nqi_link_bind(struct nqi_link *link, const struct nqi_link_events *events, void *arg);

/* The greeting or the wait for WELCOME is over: stop its clock. */
void nqi_link_settled(struct nqi_link *link);

/* Answer a HELLO with a refusal and drain. */
void nqi_link_reject(struct nqi_link *link, nq_reason reason);

/* As nqi_tlink_send(). */
NQ_MUST_CHECK nq_err nqi_link_send(struct nqi_link *link, struct nqt_buf *const *bufs, uint32_t n,
                                   uint32_t *taken);

/* A place in a list of the owner's. */
struct nqi_list *nqi_link_list(struct nqi_link *link);
struct nqi_link *nqi_link_of_list(struct nqi_list *list);
struct nqi_serial *nqi_link_serial(struct nqi_link *link);

void nqi_link_close(struct nqi_link *link); /* now */

/* Close once what was sent is out and the other side has closed, after NQI_DRAIN_NS at the latest.
 * `closed` is the only event that follows. */
void nqi_link_drain(struct nqi_link *link);

const char *nqi_link_transport(const struct nqi_link *link);
const char *nqi_link_address(const struct nqi_link *link); /* lives as long as the link */
struct nqi_strand *nqi_link_strand(struct nqi_link *link);
struct nqi_loop *nqi_link_loop(struct nqi_link *link);

/* What a failed endpoint or link says: reason for events and outcomes. */
nq_reason nqi_link_reason(const struct nqt_error *err);

#endif
