/* A stream of bytes that nobody on the way can change unnoticed.  Pure.
 *
 *     buffers --nqi_guard_frame()--> frames --link--> frame, whole --tag right--> its bytes go up
 *                                                                  --tag wrong--> broken for good
 *
 * A frame: length of its bytes (4, big-endian), 1 to NQI_GUARD_PAYLOAD bytes, a tag (16).  The tag
 * is Poly1305-AES over the length and the bytes; its key is that of one link and one direction, its
 * nonce the number of the frame, from 0, which is not sent.  So a frame that was changed, left out,
 * said twice, moved or made up has a wrong tag, and no byte goes up before its tag was looked at.
 *
 * One tag is for all that leaves together, up to 32 KiB, and not for each small record: a record of
 * 64 bytes would take more time for its tag than for all the rest.  Why this tag: of those at hand
 * it has the least state (272 bytes; GMAC 4400), the least cost of small frames (50 ns), takes the
 * same time for all data and on every processor, and makes over 2 GB/s.  UMAC is three times as
 * fast with large messages, and has 2.7 KiB of state for each direction of each link.
 *
 * It hides nothing: whoever is on the way can read. */
#ifndef NQ_CORE_GUARD_H
#define NQ_CORE_GUARD_H

#include "core/attach.h"
#include "core/base.h"
#include "core/list.h"
#include "core/txbuf.h"
#include <nettle/poly1305.h>

#define NQI_GUARD_HEAD 4u
#define NQI_GUARD_PAYLOAD 32768u
#define NQI_GUARD_TAG 16u

struct nqi_guard {
    bool on;
    struct poly1305_aes_ctx out, in;
    /* receiving */
    bool broken; /* a tag was wrong */
    uint8_t head[NQI_GUARD_HEAD];
    uint8_t *frame; /* pooled: a frame that comes in parts, from its head on; NULL = none */
    uint32_t fill;  /* bytes of it that are there */
};

/* For one link, once the session's key and the transcript of its greeting are known to both.
 * @param guard  all zero  @param key, transcript  NQI_KEY bytes  @param server  which side this is
 */
void nqi_guard_begin(struct nqi_guard *guard, const uint8_t *key, const uint8_t *transcript,
                     bool server);

/* The link is over: wiped, released, all zero.  Also if it was never begun. */
void nqi_guard_end(struct nqi_guard *guard);

/* The next frame: all of `front`, which is copied, then `len` bytes of `body` from `offset` on,
 * which keeps a reference.  At least one byte and at most NQI_GUARD_PAYLOAD.
 * @param front, body  NULL = none  @return NULL = no memory, nothing changed */
struct nqi_txbuf *nqi_guard_frame(struct nqi_guard *guard, const struct nqt_buf *front,
                                  struct nqt_buf *body, uint64_t offset, uint32_t len);

/* Bytes came, any number.  @param deliver  gets those of frames whose tag is right, in order;
 * negative: stop, which this returns
 * @return NQ_OK; NQ_ERR_CLOSED (broken: no frame, or a wrong tag), NQ_ERR_NOMEM */
typedef nq_err (*nqi_guard_deliver_fn)(void *arg, const uint8_t *data, size_t len);
NQ_MUST_CHECK nq_err nqi_guard_receive(struct nqi_guard *guard, const uint8_t *data, size_t len,
                                       nqi_guard_deliver_fn deliver, void *arg);

#endif
