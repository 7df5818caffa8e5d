/* Packets that may be lost, doubled and reordered -> the bytes that were sent, whole and in order:
 * what a link that declares LOSSY has below its session.  Pure.
 *
 *     buffers -> current --cut--> NEW --pull, taken--> SENT --acknowledged--> ACKED -> gone
 *                                                       |  ^                    ^
 *                        3 later ones arrived, time-out v  | pull, taken        |
 *                                                      LOST --------------------+
 *
 *     packets -> the next one: its bytes go up, then those held behind it
 *             -> a later one: held until the gap is closed
 *             -> an old one, one that is held, nonsense: dropped
 *
 * A packet: number (8 bytes, from 1; 0 = it only acknowledges), acknowledgement (8: all packets up
 * to it are here), count of ranges (1), zero (3), the ranges of what is here beyond a gap (first as
 * distance to the acknowledgement, count: 2 bytes each), then bytes of the stream.
 *
 * Invariants (arq_check):
 *     acked <= sent <= last <= acked + window; in_flight = packets SENT; lost = packets LOST
 *     a number is delivered once: received only grows, and by one
 *
 * How much is on the way follows what is lost, as TCP does it (RFC 5681, 6298): half of it after a
 * loss, least after a time-out.  A peer that never answers is the session's to notice.
 *
 * Memory: until nqi_arq_widen() four packets each way, later NQI_ARQ_WINDOW and NQI_ARQ_BYTES. */
#ifndef NQ_CORE_ARQ_H
#define NQ_CORE_ARQ_H

#include "core/base.h"
#include "core/txbuf.h"

#define NQI_ARQ_HEAD 20 /* bytes before the ranges */
#define NQI_ARQ_RANGES 8
#define NQI_ARQ_HEAD_MAX (NQI_ARQ_HEAD + 4 * NQI_ARQ_RANGES)
#define NQI_ARQ_NARROW 4u
#define NQI_ARQ_WINDOW 256u               /* packets that may be on their way, or held */
#define NQI_ARQ_BYTES (UINT64_C(8) << 20) /* and bytes of them */
#define NQI_ARQ_RTO (200 * NQI_NS_PER_MS) /* least time until a packet counts as lost */
#define NQI_ARQ_RTO_MAX (60 * NQI_NS_PER_S)

enum nqi_arq_state { NQI_ARQ_NEW, NQI_ARQ_SENT, NQI_ARQ_LOST, NQI_ARQ_ACKED };

/* A packet that is not known to have arrived: a piece of a buffer. */
struct nqi_arq_out {
    struct nqt_buf *buf; /* one reference */
    uint64_t offset;
    uint32_t len;
    uint8_t state;  /* enum nqi_arq_state */
    uint8_t later;  /* packets sent after it that arrived */
    bool again;     /* it was sent more than once: it tells nothing of the time it took */
    uint64_t stamp; /* order of the last transmissions */
    int64_t sent_at;
};

struct nqi_arq {
    uint32_t window, max_payload; /* packets each way; bytes in one */

    /* sending; the packet `number` is in out[number % window] */
    struct nqi_arq_out narrow_out[NQI_ARQ_NARROW], *out;
    uint64_t acked, sent, last; /* all up to it arrived; highest that was sent, that was cut */
    uint64_t pulled;            /* between pull and taken; 0 = an acknowledgement only */
    struct nqt_buf *current;    /* one reference; being cut from `offset` on */
    uint64_t offset;
    uint64_t bytes; /* of packets not acknowledged */
    uint32_t in_flight, lost;
    uint64_t stamp;
    uint32_t congestion, threshold, grown; /* packets that may be in flight (cwnd, ssthresh) */
    uint64_t recover;                      /* losses up to here belong to the last reduction */
    int64_t srtt, rttvar, rto;             /* ns; srtt 0 = unknown */
    int64_t lost_at, retry_at;             /* NQI_NEVER */

    /* receiving; what is held of `number` is in in[number % window] */
    struct nqt_buf *narrow_in[NQI_ARQ_NARROW], **in;
    uint64_t received, highest; /* all up to it went up; highest that is here */
    uint64_t held;              /* bytes of buffers */
    uint32_t unanswered;        /* packets that came since the last acknowledgement */
    bool answer;                /* acknowledge now */
    int64_t answer_at;          /* or then; NQI_NEVER */

    struct {
        uint64_t resent, duplicates, dropped;
    } stats;
};

/* @param max_packet  bytes that the transport carries in one message; 0 = no limit
 * @return NQ_OK, NQ_ERR_LINK: too few to carry anything */
NQ_MUST_CHECK nq_err nqi_arq_init(struct nqi_arq *arq, uint64_t max_packet);
void nqi_arq_fini(struct nqi_arq *arq);

/* Whole windows from now on, if there is memory for them. */
void nqi_arq_widen(struct nqi_arq *arq);

/* Take over `bufs` with one reference each, in order.  @return how many: the rest when there is
 * room (nqi_arq_has_room) */
uint32_t nqi_arq_send(struct nqi_arq *arq, struct nqt_buf *const *bufs, uint32_t n);

static inline bool nqi_arq_has_room(const struct nqi_arq *arq)
{
    return !arq->current;
}

/* Everything that was sent has arrived. */
static inline bool nqi_arq_flushed(const struct nqi_arq *arq)
{
    return !arq->current && arq->acked == arq->last;
}

/* The next packet to hand to the transport, with one reference; NULL = none now. */
struct nqt_buf *nqi_arq_pull(struct nqi_arq *arq, int64_t now);
void nqi_arq_taken(struct nqi_arq *arq, int64_t now); /* the transport took it */

/* A packet came.  @param deliver  gets the next bytes of the stream, in order; negative: stop,
 * which this returns.  May call nqi_arq_send(), _pull() and _taken() */
typedef nq_err (*nqi_arq_deliver_fn)(void *arg, const uint8_t *data, size_t len);
NQ_MUST_CHECK nq_err nqi_arq_receive(struct nqi_arq *arq, struct nqt_buf *buf, int64_t now,
                                     nqi_arq_deliver_fn deliver, void *arg);

/* When nqi_arq_tick() has something to do; NQI_NEVER. */
int64_t nqi_arq_deadline(const struct nqi_arq *arq);
void nqi_arq_tick(struct nqi_arq *arq, int64_t now);

#endif
