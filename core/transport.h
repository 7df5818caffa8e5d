/* The only caller of plugin slots, and what plugins see of the core.
 *
 *     nqt_core   one queue's use of one module
 *     nqt_ep     an endpoint, with a serial of its own
 *     nqt_link   a link, in the serial it was given
 *
 * Events from the plugin come up through the tables below, each inside the serial of its object and
 * after the slot that emitted it returned.  What breaks the contract of <netqueue/transport.h> is
 * logged and ends the link.
 *
 * Thread: "in serial" = inside the object's strand. */
#ifndef NQ_CORE_TRANSPORT_H
#define NQ_CORE_TRANSPORT_H

#include "core/base.h"
#include "core/conf.h"
#include "core/list.h"
#include "core/loop.h"
#include <netqueue/queue.h>
#include <netqueue/transport.h>

struct nqi_ep_events {
    void (*up)(void *arg, const char *address);
    void (*down)(void *arg, const struct nqt_error *err);
    void (*closed)(void *arg); /* last; the endpoint is gone */
    /* A link to be: nqi_tlink_accept() or nqi_tlink_refuse() must follow. */
    void (*accepted)(void *arg, struct nqtp_link *plink, const char *peer_name);
};

struct nqi_tlink_events {
    void (*up)(void *arg);
    void (*writable)(void *arg);
    /* Bytes of a MESSAGE transport: one buffer, borrowed; a reference keeps it.  Negative: end the
     * link. */
    nq_err (*message)(void *arg, struct nqt_buf *buf);
    /* STREAM: where to read, at most 8 segments.  NQ_ERR_CLOSED: nowhere any more; NQ_ERR_NOMEM. */
    nq_err (*space)(void *arg, struct iovec *iov, uint32_t *niov);
    nq_err (*commit)(void *arg, size_t len);
    /* STREAM: the next bytes, of one segment; borrowed, a reference keeps them. */
    nq_err (*give)(void *arg, struct nqt_buf *buf);
    nq_err (*receive)(void *arg, const uint8_t *data, size_t len); /* and they are the caller's */
    void (*down)(void *arg, const struct nqt_error *err);          /* once */
    void (*closed)(void *arg);                                     /* last; the link is gone */
};

/* ---- one queue's use of a module -------------------------------------------------------- */

/* Open `module` with `options` (borrowed), which it checks.
 * @param ret [out] owned, ends with nqi_transport_close()
 * @return NQ_OK, NQ_ERR_CONFIG, NQ_ERR_PLUGIN, NQ_ERR_NOMEM, or what else the module meets.
 * Thread: any. */
NQ_MUST_CHECK nq_err nqi_transport_open(const struct nqt_module *module,
                                        struct nqi_options *options, nqt_core **ret);

/* Ask `module` what is wrong with `options` (borrowed), and with the files that they name.
 * @return as nqi_transport_open(), which asks the same.  Blocks: while reading files. */
NQ_MUST_CHECK nq_err nqi_transport_check(const struct nqt_module *module,
                                         struct nqi_options *options);

/* All its endpoints are closed.  NULL is allowed.  Thread: any. */
void nqi_transport_close(nqt_core *core);
const char *nqi_transport_name(const nqt_core *core);
uint64_t nqi_transport_count(const nqt_core *core, uint32_t id); /* NQT_COUNT_* */

/* ---- endpoints -------------------------------------------------------------------------- */

/* A new endpoint with a strand of its own on `loop`.  @param ret [out] lives until events->closed
 * @return NQ_OK, NQ_ERR_SYS, NQ_ERR_CONFIG, NQ_ERR_NOMEM, NQ_ERR_LINK; nothing is left then.
 * Thread: any, outside of strands. */
NQ_MUST_CHECK nq_err nqi_ep_open(nqt_core *core, struct nqi_loop *loop, bool listen,
                                 const struct nqi_ep_events *events, void *arg, nqt_ep **ret);

/* Have it closed; its links are closed already.  Thread: any. */
void nqi_ep_close(nqt_ep *ep);
nqt_core *nqi_ep_core(const nqt_ep *ep);
enum nqi_wire nqi_ep_wire(const nqt_ep *ep); /* that its links are for */
void *nqi_ep_owner(const nqt_ep *ep);        /* `arg` of its events */
/* A client's: it is not to connect before, by what its transport said of the last failure; as
 * nqi_now(), 0 = now.  In the strand of its links. */
int64_t nqi_ep_rests_until(const nqt_ep *ep);
/* Fill all of it.  Thread: any. */
void nqi_ep_show_health(nqt_ep *ep, struct nq_health_info *ret);

/* ---- links: in the serial of `strand` from here on -------------------------------------- */

/* Begin to connect.  @param ret [out] lives until events->closed
 * @return NQ_OK (up or down follows), NQ_ERR_LINK, NQ_ERR_NOMEM (nothing is left) */
NQ_MUST_CHECK nq_err nqi_tlink_connect(nqt_ep *ep, struct nqi_strand *strand, struct nqi_loop *loop,
                                       const struct nqi_tlink_events *events, void *arg,
                                       nqt_link **ret);

/* Adopt what `accepted` brought; may be another loop's than the endpoint's. */
NQ_MUST_CHECK nq_err nqi_tlink_accept(nqt_ep *ep, struct nqtp_link *plink,
                                      struct nqi_strand *strand, struct nqi_loop *loop,
                                      const struct nqi_tlink_events *events, void *arg,
                                      nqt_link **ret);

/* Close what `accepted` brought.  In the endpoint's serial. */
void nqi_tlink_refuse(nqt_ep *ep, struct nqtp_link *plink);

/* Hand buffers over; each carries one reference for the transport.  Those not taken lose it here.
 * @param taken [out] always set.  @return NQ_OK, NQ_ERR_LINK: the link goes down */
NQ_MUST_CHECK nq_err nqi_tlink_send(nqt_link *link, struct nqt_buf *const *bufs, uint32_t n,
                                    uint32_t *taken);

/* Its module has the slot send_bytes(). */
bool nqi_tlink_copies(const nqt_link *link);

/* A few bytes, copied at once by a transport that does so.  False: nothing happened, send them as a
 * buffer.  In serial. */
bool nqi_tlink_send_bytes(nqt_link *link, const void *data, size_t len);

/* Memory of the transport's, for what will be sent over this link: one segment of `len` bytes,
 * 64-byte aligned.  @param ret [out] the caller owns one reference
 * @return NQ_OK, NQ_AGAIN (all of it is lent), NQ_ERR_UNSUPPORTED */
NQ_MUST_CHECK nq_err nqi_tlink_loan(nqt_link *link, size_t len, struct nqt_buf **ret);

void nqi_tlink_hold(nqt_link *link, bool hold);
/* Have the transport keep at most about `len` bytes that it cannot hand up yet; 0 = as it likes. */
void nqi_tlink_limit(nqt_link *link, size_t len);
/* Send what was taken, then down.  False: it cannot do that; close it. */
NQ_MUST_CHECK bool nqi_tlink_shutdown(nqt_link *link);
void nqi_tlink_close(nqt_link *link);             /* closed follows; twice is allowed */
const char *nqi_tlink_peer(const nqt_link *link); /* the other end's address; "" unknown */
uint64_t nqi_tlink_caps(const nqt_link *link);    /* NQT_CAP_*; 0 unless up */
/* The transport has proven who the other end is.  @param ret [out] untouched when it has not */
bool nqi_tlink_identity(const nqt_link *link, nq_uuid *ret);
/* The medium has a name for the other end, as that of a topic, which proves nothing. */
bool nqi_tlink_named(const nqt_link *link, nq_uuid *ret);
uint64_t nqi_tlink_max_message(const nqt_link *link); /* bytes in one buffer; 0 = no limit */
struct nqi_serial *nqi_tlink_serial(nqt_link *link);

/* It received something: while a driver spins it becomes hot. */
void nqi_tlink_touch(nqt_link *link);

#endif
