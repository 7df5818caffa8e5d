/* Buffers for a link that cannot take them as they are: of more segments than info() allows,
 * without NQT_CAP_GATHER of more than one, or of more bytes.  They go in pieces, one after the
 * other, that point into the buffer; what the link does not take waits, one piece of one buffer,
 * for WRITABLE. Where the link may lose messages a buffer is one, and is copied into a single
 * segment: its length is core/arq.c's matter.
 *
 * The other side sees no difference: what it reads is a stream of bytes anyway. */
#include "core/transport_inside.h"

#include "core/txbuf.h"
#include <string.h>

void nqi_cut_init(nqt_link *link, const struct nqt_info *info)
{
    struct nqi_cut *cut = &link->cut;
    bool lossy = info->caps & NQT_CAP_LOSSY;

    cut->whole = lossy;
    cut->per_send = info->max_seg ? info->max_seg : UINT32_MAX;
    cut->per_buf = info->caps & NQT_CAP_GATHER ? cut->per_send : 1;
    cut->bytes = info->max_message && !lossy ? info->max_message : UINT64_MAX;
    link->cuts = cut->per_buf != UINT32_MAX || cut->bytes != UINT64_MAX || info->max_seg;
    if (link->cuts)
        link->send_bytes = NULL; /* it would overtake what waits */
}

void nqi_cut_fini(nqt_link *link)
{
    if (link->cut.rest)
        link->cut.rest->ops->unref(NQI_STEAL(link->cut.rest));
}

/* Bytes of the next piece. */
static uint64_t cut_measure(const struct nqi_cut *cut)
{
    const struct nqt_buf *buf = cut->rest;
    uint64_t offset = cut->offset, len = 0;
    uint32_t nseg = 0;

    for (uint32_t i = 0; i < buf->nseg && nseg < cut->per_buf && len < cut->bytes; i++) {
        uint64_t size = buf->seg[i].iov_len;

        if (offset >= size) {
            offset -= size;
            continue;
        }
        len += size - offset;
        offset = 0;
        nseg++;
    }
    return NQI_MIN(len, cut->bytes);
}

/* @return one reference; NULL = no memory */
static struct nqt_buf *cut_slice(const struct nqi_cut *cut)
{
    uint64_t len = cut_measure(cut);
    struct nqi_txbuf *txbuf = nqi_txbuf_new(nqi_txbuf_slice(cut->rest, cut->offset, len, NULL), 0);

    if (!txbuf)
        return NULL;
    nqi_txbuf_slice(cut->rest, cut->offset, len, txbuf);
    cut->rest->ops->ref(cut->rest);
    txbuf->inner = cut->rest;
    return &txbuf->buf;
}

/* All of it in one segment.  @return one reference; NULL = no memory */
static struct nqt_buf *cut_copy(const struct nqi_cut *cut)
{
    const struct nqt_buf *buf = cut->rest;
    struct nqi_txbuf *txbuf = nqi_txbuf_new(1, (uint32_t)buf->len);
    size_t filled = 0;

    if (!txbuf)
        return NULL;
    for (uint32_t i = 0; i < buf->nseg; i++) {
        memcpy(txbuf->room + filled, buf->seg[i].iov_base, buf->seg[i].iov_len);
        filled += buf->seg[i].iov_len;
    }
    nqi_txbuf_add(txbuf, txbuf->room, filled);
    return &txbuf->buf;
}

/* On with the buffer that is in pieces, until it is sent or the link is full. */
static nq_err cut_go_on(nqt_link *link)
{
    struct nqi_cut *cut = &link->cut;

    while (cut->rest) {
        struct nqt_buf *piece = cut->whole ? cut_copy(cut) : cut_slice(cut);
        uint64_t len = piece ? piece->len : 0;
        uint32_t taken;
        nq_err err;

        if (!piece) {
            nqi_tlink_end(link, NQT_E_NOMEM, "no memory for a part of a buffer");
            return NQ_ERR_LINK;
        }
        err = nqi_tlink_hand_over(link, &piece, 1, &taken);
        if (!taken)
            piece->ops->unref(piece);
        if (err || !taken)
            return err;
        cut->offset += len;
        if (cut->offset >= cut->rest->len)
            nqi_cut_fini(link);
    }
    return NQ_OK;
}

/* How many of them, from the first on, may go in one send() as they are. */
static uint32_t cut_run(const struct nqi_cut *cut, struct nqt_buf *const *bufs, uint32_t n)
{
    uint64_t nseg = 0;
    uint32_t run = 0;

    for (; run < n && bufs[run]->nseg <= cut->per_buf && bufs[run]->len <= cut->bytes; run++) {
        nseg += bufs[run]->nseg;
        if (nseg > cut->per_send)
            break;
    }
    return run;
}

nq_err nqi_cut_send(nqt_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t *taken)
{
    struct nqi_cut *cut = &link->cut;
    nq_err err = NQ_OK;

    while (!err && !cut->rest && *taken < n) {
        uint32_t run = cut_run(cut, bufs + *taken, n - *taken), took = 0;

        if (!run) {
            cut->offset = 0;
            cut->rest = bufs[(*taken)++];
            err = cut_go_on(link);
            continue;
        }
        err = nqi_tlink_hand_over(link, bufs + *taken, run, &took);
        *taken += took;
        if (took < run)
            break;
    }
    return err;
}

bool nqi_cut_writable(nqt_link *link)
{
    if (cut_go_on(link) || link->cut.rest)
        return false;
    if (link->cut.shut)
        (void)link->ep->core->module->ops->shutdown(
            link->plug); /* if not, whoever waits has a clock */
    link->cut.shut = false;
    return true;
}
