/* The sending half: which packet goes next, what counts as lost. */
#include "core/arq_inside.h"

#include "core/buf.h"

#define ARQ_LATER 3u /* packets that must overtake one before it counts as lost */
#define ARQ_LEAST 4u /* packets that may always be on their way */
#define ARQ_FIRST 32u
#define ARQ_STARVED_NS (10 * NQI_NS_PER_MS)

static struct nqi_arq_out *arq_out(struct nqi_arq *arq, uint64_t number)
{
    return &arq->out[number % arq->window];
}

void nqi_arq_tx_init(struct nqi_arq *arq)
{
    arq->out = arq->narrow_out;
    arq->congestion = ARQ_FIRST;
    arq->threshold = NQI_ARQ_WINDOW;
    arq->rto = NQI_ARQ_RTO;
    arq->lost_at = arq->retry_at = NQI_NEVER;
}

void nqi_arq_tx_fini(struct nqi_arq *arq)
{
    for (uint64_t number = arq->acked + 1; number <= arq->last; number++) {
        struct nqi_arq_out *out = arq_out(arq, number);

        if (out->state != NQI_ARQ_ACKED)
            out->buf->ops->unref(out->buf);
    }
    if (arq->current)
        arq->current->ops->unref(arq->current);
}

/* ---- in ------------------------------------------------------------------------------------ */

/* Make packets of `current`, while there is room for them. */
static void arq_cut(struct nqi_arq *arq)
{
    while (arq->current && arq->last - arq->acked < arq->window && arq->bytes < NQI_ARQ_BYTES) {
        struct nqi_arq_out *out = arq_out(arq, ++arq->last);
        uint64_t left = arq->current->len - arq->offset;

        *out = (struct nqi_arq_out){.buf = arq->current,
                                    .offset = arq->offset,
                                    .len = (uint32_t)NQI_MIN(left, arq->max_payload)};
        arq->bytes += out->len;
        arq->offset += out->len;
        if (arq->offset == arq->current->len)
            arq->current = NULL; /* the packet has its reference now */
        else
            arq->current->ops->ref(arq->current);
    }
}

uint32_t nqi_arq_send(struct nqi_arq *arq, struct nqt_buf *const *bufs, uint32_t n)
{
    uint32_t taken = 0;

    while (taken < n && nqi_arq_has_room(arq)) {
        arq->current = bufs[taken++];
        arq->offset = 0;
        arq_cut(arq);
    }
    return taken;
}

/* ---- out ----------------------------------------------------------------------------------- */

/* The number of the packet that goes next; 0 = none of ours. */
static uint64_t arq_next(struct nqi_arq *arq)
{
    uint64_t number = arq->acked + 1;

    if (arq->in_flight >= arq->congestion)
        return 0;
    if (!arq->lost)
        return arq->sent < arq->last ? arq->sent + 1 : 0;
    while (arq_out(arq, number)->state != NQI_ARQ_LOST)
        number++;
    return number;
}

static struct nqi_txbuf *arq_packet(struct nqi_arq *arq, const struct nqi_arq_out *out)
{
    uint32_t segs = out ? nqi_txbuf_slice(out->buf, out->offset, out->len, NULL) : 0;
    struct nqi_txbuf *txbuf = nqi_txbuf_new(segs + 1, NQI_ARQ_HEAD_MAX);

    if (!txbuf)
        return NULL;
    nqi_txbuf_add(txbuf, txbuf->room, nqi_arq_write_head(arq, txbuf->room, arq->pulled));
    if (!out)
        return txbuf;
    nqi_txbuf_slice(out->buf, out->offset, out->len, txbuf);
    out->buf->ops->ref(out->buf);
    txbuf->inner = out->buf;
    return txbuf;
}

struct nqt_buf *nqi_arq_pull(struct nqi_arq *arq, int64_t now)
{
    struct nqi_txbuf *txbuf;

    arq->pulled = arq_next(arq);
    if (!arq->pulled && !arq->answer)
        return NULL;
    txbuf = arq_packet(arq, arq->pulled ? arq_out(arq, arq->pulled) : NULL);
    arq->retry_at = txbuf ? NQI_NEVER : now + ARQ_STARVED_NS;
    return txbuf ? &txbuf->buf : NULL;
}

void nqi_arq_taken(struct nqi_arq *arq, int64_t now)
{
    struct nqi_arq_out *out = arq_out(arq, arq->pulled);

    nqi_arq_answered(arq);
    if (!arq->pulled)
        return;
    if (out->state == NQI_ARQ_LOST) {
        arq->lost--;
        arq->stats.resent++;
        out->again = true;
    }
    out->state = NQI_ARQ_SENT;
    out->later = 0;
    out->stamp = ++arq->stamp;
    out->sent_at = now;
    arq->in_flight++;
    arq->sent = NQI_MAX(arq->sent, arq->pulled);
    if (arq->lost_at == NQI_NEVER)
        arq->lost_at = now + arq->rto;
}

/* ---- what arrived, what is lost ------------------------------------------------------------ */

static void arq_measure(struct nqi_arq *arq, int64_t rtt)
{
    int64_t off = rtt > arq->srtt ? rtt - arq->srtt : arq->srtt - rtt;

    if (arq->srtt) {
        arq->rttvar += (off - arq->rttvar) / 4;
        arq->srtt += (rtt - arq->srtt) / 8;
    } else {
        arq->srtt = NQI_MAX(rtt, 1);
        arq->rttvar = rtt / 2;
    }
}

static void arq_grow(struct nqi_arq *arq)
{
    if (arq->congestion >= NQI_ARQ_WINDOW)
        return;
    if (arq->congestion >= arq->threshold && ++arq->grown < arq->congestion)
        return;
    arq->grown = 0;
    arq->congestion++;
}

/* Losses of one round make it smaller once. */
static void arq_shrink(struct nqi_arq *arq, uint64_t number)
{
    if (number <= arq->recover)
        return;
    arq->threshold = NQI_MAX(arq->congestion / 2, ARQ_LEAST);
    arq->congestion = arq->threshold;
    arq->recover = arq->sent;
}

static void arq_lose(struct nqi_arq *arq, struct nqi_arq_out *out)
{
    out->state = NQI_ARQ_LOST;
    arq->in_flight--;
    arq->lost++;
}

/* Packets that went before the one with this stamp and did not arrive: overtaken once more. */
static void arq_overtake(struct nqi_arq *arq, uint64_t stamp)
{
    for (uint64_t number = arq->acked + 1; number <= arq->sent; number++) {
        struct nqi_arq_out *out = arq_out(arq, number);

        if (out->state != NQI_ARQ_SENT || out->stamp > stamp || ++out->later < ARQ_LATER)
            continue;
        arq_lose(arq, out);
        arq_shrink(arq, number);
    }
}

/* @return true: that is news */
static bool arq_arrived(struct nqi_arq *arq, uint64_t number, int64_t now)
{
    struct nqi_arq_out *out = arq_out(arq, number);

    if (out->state == NQI_ARQ_ACKED)
        return false;
    if (out->state == NQI_ARQ_SENT)
        arq->in_flight--;
    else
        arq->lost--;
    out->state = NQI_ARQ_ACKED;
    arq->bytes -= out->len;
    out->buf->ops->unref(NQI_STEAL(out->buf));
    if (!out->again)
        arq_measure(arq, now - out->sent_at);
    arq_grow(arq);
    arq_overtake(arq, out->stamp);
    return true;
}

void nqi_arq_on_answer(struct nqi_arq *arq, const struct nqi_arq_head *head, int64_t now)
{
    bool news = false;

    for (uint64_t number = arq->acked + 1; number <= head->ack; number++)
        news |= arq_arrived(arq, number, now);
    for (uint32_t i = 0; i < head->ranges; i++) {
        uint64_t first = head->ack + head->range[i].first;

        for (uint64_t number = first; number < first + head->range[i].count; number++)
            if (number > arq->acked && number <= arq->sent)
                news |= arq_arrived(arq, number, now);
    }
    while (arq->acked < arq->sent && arq_out(arq, arq->acked + 1)->state == NQI_ARQ_ACKED)
        arq->acked++;
    if (!news)
        return;
    arq->rto = NQI_MIN(NQI_MAX(arq->srtt + 4 * arq->rttvar, NQI_ARQ_RTO), NQI_ARQ_RTO_MAX);
    arq->lost_at = arq->in_flight ? now + arq->rto : NQI_NEVER;
    arq_cut(arq);
}

/* Nothing was heard of what is on its way: all of it counts as lost. */
void nqi_arq_time_out(struct nqi_arq *arq)
{
    for (uint64_t number = arq->acked + 1; number <= arq->sent; number++)
        if (arq_out(arq, number)->state == NQI_ARQ_SENT)
            arq_lose(arq, arq_out(arq, number));
    arq_shrink(arq, arq->sent + 1);
    arq->congestion = ARQ_LEAST;
    arq->rto = NQI_MIN(2 * arq->rto, NQI_ARQ_RTO_MAX);
    arq->lost_at = NQI_NEVER; /* until something is sent again */
}
