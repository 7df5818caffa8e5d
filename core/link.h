/* One path to one peer: up, down, and on a server the greeting before a peer is known.
 *
 *     state     meaning                              leaves by
 *     OPENING   the transport connects               up -> UP (client), HELLO (server)
 *     HELLO     a client's HELLO is awaited          HELLO -> AUTH; ini of the older wire -> UP
 *     AUTH      CHALLENGE is sent, AUTH is awaited   AUTH -> UP, or MOVING: the session is in
 *                                                    another strand
 *     MOVING    this strand is about to be left      joined to that strand -> UP
 *     UP        bytes pass to and from the owner     nqi_link_drain(), _reject() -> DRAINING
 *     DRAINING  what was sent gets out; what comes   the other side's end, time -> DOWN
 *               is dropped, and the owner is told
 *               of the end only
 *     DOWN      reported once; nothing passes        the transport's closed -> freed
 *
 *     and from each: down, time, an error, nqi_link_close() -> DOWN
 *
 * Until the greeting is over a stranger costs a link and less than 1 KiB (3 KiB where the transport
 * is LOSSY), and what the transport keeps of it, for at most NQI_GREETING_NS.
 *
 * Thread: everything inside the link's strand. */
#ifndef NQ_CORE_LINK_H
#define NQ_CORE_LINK_H

#include "core/attach.h"
#include "core/base.h"
#include "core/guard.h"
#include "core/source.h"
#include "core/transport.h"
#include <netqueue/future.h>

#define NQI_GREETING_NS (10 * NQI_NS_PER_S) /* from accept to AUTH, from connect to WELCOME */
#define NQI_GREETING_BYTES 2048u            /* that the transport may keep until then */
#define NQI_DRAIN_NS (2 * NQI_NS_PER_S)     /* for what was sent to get out */

struct nqi_link;

/* Calls up.  `arg` is the owner's, which may change at `auth` (nqi_link_bind). */
struct nqi_link_events {
    /* Server: the link exists; `hello`, `down` or `closed` follows. */
    void (*opened)(void *arg, struct nqi_link *link);
    /* Client: the medium accepts data. */
    void (*up)(void *arg, struct nqi_link *link);
    /* Server: a well-formed HELLO came.  @return NQ_REASON_NONE: it is challenged; else why it is
     * refused */
    nq_reason (*hello)(void *arg, struct nqi_link *link, const struct nqi_hello *hello);
    /* Server: AUTH came; `attach` lives until the answer: nqi_link_bind(), nqi_link_hand_over() or
     * nqi_link_reject(). */
    void (*auth)(void *arg, struct nqi_link *link, const struct nqi_attach *attach);
    /* Server: the name that a client of the older wire says first.  nqi_link_bind() or
     * nqi_link_close() must follow in it. */
    void (*older)(void *arg, struct nqi_link *link, const nq_uuid *id);
    /* UP: bytes; as nqi_session_receive(), _space(), _commit().  Negative: the owner has ended the
     * link or will: stop reading. */
    nq_err (*receive)(void *arg, const uint8_t *data, size_t len);
    size_t (*space)(void *arg, unsigned char **ret);
    nq_err (*commit)(void *arg, size_t len);
    /* The same bytes by reference: one segment, borrowed, a reference keeps them.  NULL = copy. */
    nq_err (*give)(void *arg, struct nqt_buf *buf);
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
 * @param self  what CHALLENGE says of this side; borrowed for the link's life
 * @return NQ_OK (hello or closed follows), NQ_ERR_NOMEM (the connection is closed) */
NQ_MUST_CHECK nq_err nqi_link_accept(nqt_ep *ep, struct nqtp_link *plink, const char *address,
                                     struct nqi_loop *loop, const struct nqi_hello *self,
                                     const struct nqi_link_events *events, void *arg);

/* The link becomes part of `strand`; then `fn` is called inside that one, to bind or reject.  With
 * a `link` of NULL, in any strand: it was lost before.  Only in `auth`.
 * @param attach  lives until `fn` returns */
typedef void (*nqi_link_moved_fn)(void *arg, struct nqi_link *link,
                                  const struct nqi_attach *attach);
void nqi_link_hand_over(struct nqi_link *link, struct nqi_strand *strand, nqi_link_moved_fn fn,
                        void *arg);

/* From now on events go to `events` and `arg`. */
void nqi_link_bind(struct nqi_link *link, const struct nqi_link_events *events, void *arg);

/* The greeting or the wait for WELCOME is over: stop its clock. */
void nqi_link_settled(struct nqi_link *link);

/* Answer HELLO or AUTH with a refusal, or end a session that is UP with one, and drain.
 * @param guard  of the session; NULL = it has none */
void nqi_link_reject(struct nqi_link *link, nq_reason reason, struct nqi_guard *guard);

/* Answer AUTH of a session that is over, and drain.  @param key  NQI_KEY bytes
 * @param received  its DATA records that were final */
void nqi_link_tell_end(struct nqi_link *link, const struct nqi_attach *attach, const uint8_t *key,
                       uint64_t received);

/* The same of a session that nothing is known of.  @param psk  the key that AUTH proved */
void nqi_link_tell_unknown(struct nqi_link *link, const struct nqi_attach *attach,
                           const uint8_t *psk);

/* As nqi_tlink_send(). */
NQ_MUST_CHECK nq_err nqi_link_send(struct nqi_link *link, struct nqt_buf *const *bufs, uint32_t n,
                                   uint32_t *taken);

/* Its transport has what the next one needs.  False: do not try. */
bool nqi_link_copies(const struct nqi_link *link);

/* As nqi_tlink_send_bytes(). */
bool nqi_link_send_bytes(struct nqi_link *link, const void *data, size_t len);

/* As nqi_tlink_loan(). */
NQ_MUST_CHECK nq_err nqi_link_loan(struct nqi_link *link, size_t len, struct nqt_buf **ret);

/* A place in a list of the owner's. */
struct nqi_list *nqi_link_list(struct nqi_link *link);
struct nqi_link *nqi_link_of_list(struct nqi_list *list);
struct nqi_serial *nqi_link_serial(struct nqi_link *link);

void nqi_link_close(struct nqi_link *link); /* now */

/* Close once what was sent is out and the other side has closed, after NQI_DRAIN_NS at the latest.
 * `closed` is the only event that follows. */
void nqi_link_drain(struct nqi_link *link);

/* Read nothing more until it is false.  False: it cannot be stopped. */
bool nqi_link_can_hold(const struct nqi_link *link);
void nqi_link_hold(struct nqi_link *link, bool hold);

/* Its owner speaks the older wire on it: nothing else may be said. */
bool nqi_link_is_older(const struct nqi_link *link);

/* Who the transport has proven that the other end is.  False: nobody is proven. */
bool nqi_link_identity(const struct nqi_link *link, nq_uuid *ret);

/* False: the medium's name for the other end, which proves nothing, is another. */
bool nqi_link_may_be_named(const struct nqi_link *link, const nq_uuid *id);

/* False: the transport has proven that the other end is somebody else. */
bool nqi_link_may_be(const struct nqi_link *link, const nq_uuid *id);

/* True: the transport has proven that the other end is this one, by a certificate. */
bool nqi_link_is(const struct nqi_link *link, const nq_uuid *id);

nqt_ep *nqi_link_ep(const struct nqi_link *link);
const char *nqi_link_transport(const struct nqi_link *link);
const char *nqi_link_address(const struct nqi_link *link); /* lives as long as the link */
const struct nqi_source *nqi_link_source(const struct nqi_link *link); /* a server's link's */
struct nqi_strand *nqi_link_strand(struct nqi_link *link);
uint64_t nqi_link_features(const struct nqi_link *link); /* NQI_FEATURE_ bits; of one that is up */
struct nqi_loop *nqi_link_loop(struct nqi_link *link);

/* What a failed endpoint or link says: reason for events and outcomes. */
nq_reason nqi_link_reason(const struct nqt_error *err);

#endif
