/* The receiving half, the packets' head, and what both halves share. */
#include "core/arq_inside.h"

#include "core/buf.h"
#include "core/err.h"
#include "core/pool.h"

#define ARQ_ANSWER_PACKETS 8u
#define ARQ_ANSWER_NS (5 * NQI_NS_PER_MS)
#define ARQ_HELD_NARROW UINT64_C(1024)   /* bytes that a stranger may have held */
#define ARQ_HELD (2 * NQI_ARQ_BYTES)     /* more than a peer has on its way */
#define ARQ_PACKET (UINT64_C(256) << 10) /* when the transport has no limit */

/* ---- life ---------------------------------------------------------------------------------- */

nq_err nqi_arq_init(struct nqi_arq *arq, uint64_t max_packet)
{
    uint64_t packet = max_packet ? NQI_MIN(max_packet, ARQ_PACKET) : ARQ_PACKET;

    if (packet <= NQI_ARQ_HEAD_MAX)
        return nqi_fail(NQ_ERR_LINK, "messages of %llu bytes are too short for a packet",
                        (unsigned long long)packet);
    *arq = (struct nqi_arq){.window = NQI_ARQ_NARROW,
                            .max_payload = (uint32_t)packet - NQI_ARQ_HEAD_MAX,
                            .in = arq->narrow_in,
                            .answer_at = NQI_NEVER};
    nqi_arq_tx_init(arq);
    return NQ_OK;
}

static void arq_free_windows(struct nqi_arq *arq)
{
    if (arq->window == NQI_ARQ_NARROW)
        return;
    nqi_pool_free(arq->out, NQI_ARQ_WINDOW * sizeof(*arq->out));
    nqi_pool_free(arq->in, NQI_ARQ_WINDOW * sizeof(*arq->in));
}

void nqi_arq_fini(struct nqi_arq *arq)
{
    nqi_arq_tx_fini(arq);
    for (uint32_t i = 0; i < arq->window; i++)
        if (arq->in[i])
            arq->in[i]->ops->unref(arq->in[i]);
    arq_free_windows(arq);
}

void nqi_arq_widen(struct nqi_arq *arq)
{
    struct nqi_arq_out *out;
    struct nqt_buf **in;

    if (arq->window != NQI_ARQ_NARROW)
        return;
    out = nqi_pool_alloc(NQI_ARQ_WINDOW * sizeof(*out));
    in = nqi_pool_alloc(NQI_ARQ_WINDOW * sizeof(*in));
    if (!out || !in) { /* it goes on with the narrow ones */
        nqi_pool_free(out, NQI_ARQ_WINDOW * sizeof(*out));
        nqi_pool_free(in, NQI_ARQ_WINDOW * sizeof(*in));
        return;
    }
    memset(in, 0, NQI_ARQ_WINDOW * sizeof(*in));
    for (uint64_t i = 1; i <= NQI_ARQ_NARROW; i++) {
        out[(arq->acked + i) % NQI_ARQ_WINDOW] = arq->out[(arq->acked + i) % NQI_ARQ_NARROW];
        in[(arq->received + i) % NQI_ARQ_WINDOW] = arq->in[(arq->received + i) % NQI_ARQ_NARROW];
    }
    arq->out = out;
    arq->in = in;
    arq->window = NQI_ARQ_WINDOW;
}

/* ---- heads --------------------------------------------------------------------------------- */

static struct nqt_buf **arq_in(const struct nqi_arq *arq, uint64_t number)
{
    return &arq->in[number % arq->window];
}

/* The next run of held packets behind `number`.  @return false: there is none */
static bool arq_run(const struct nqi_arq *arq, uint64_t number, uint64_t *first, uint64_t *end)
{
    while (++number <= arq->highest && !*arq_in(arq, number))
        ;
    *first = number;
    while (number <= arq->highest && *arq_in(arq, number))
        number++;
    *end = number;
    return *first < *end;
}

size_t nqi_arq_write_head(const struct nqi_arq *arq, uint8_t *at, uint64_t number)
{
    uint64_t first, end = arq->received;
    uint8_t ranges = 0;

    nqi_store_u64(at, number);
    nqi_store_u64(at + 8, arq->received);
    memset(at + 16, 0, 4);
    while (ranges < NQI_ARQ_RANGES && arq_run(arq, end, &first, &end)) {
        uint8_t *range = at + NQI_ARQ_HEAD + 4 * ranges++;

        nqi_store_u16(range, (uint16_t)(first - arq->received));
        nqi_store_u16(range + 2, (uint16_t)(end - first));
    }
    at[16] = ranges;
    return NQI_ARQ_HEAD + 4u * ranges;
}

static uint32_t arq_copy(const struct nqt_buf *buf, uint8_t *to, uint32_t cap)
{
    uint32_t len = 0;

    for (uint32_t i = 0; i < buf->nseg && len < cap; i++) {
        uint32_t n = (uint32_t)NQI_MIN(buf->seg[i].iov_len, cap - len);

        memcpy(to + len, buf->seg[i].iov_base, n);
        len += n;
    }
    return len;
}

/* @return false: this is no packet of a peer's */
static bool arq_read_head(const struct nqi_arq *arq, const struct nqt_buf *buf,
                          struct nqi_arq_head *head)
{
    uint8_t raw[NQI_ARQ_HEAD_MAX];
    uint32_t len = arq_copy(buf, raw, sizeof(raw));

    if (len < NQI_ARQ_HEAD)
        return false;
    head->number = nqi_load_u64(raw);
    head->ack = nqi_load_u64(raw + 8);
    head->ranges = raw[16];
    if (head->ranges > NQI_ARQ_RANGES || raw[17] || raw[18] || raw[19] || head->ack > arq->sent)
        return false;
    head->size = NQI_ARQ_HEAD + 4 * head->ranges;
    if (len < head->size || (head->number != 0) != (buf->len > head->size))
        return false;
    for (uint32_t i = 0; i < head->ranges; i++) {
        head->range[i].first = nqi_load_u16(raw + NQI_ARQ_HEAD + 4 * i);
        head->range[i].count = nqi_load_u16(raw + NQI_ARQ_HEAD + 4 * i + 2);
    }
    return true;
}

/* ---- packets that come --------------------------------------------------------------------- */

void nqi_arq_answered(struct nqi_arq *arq)
{
    arq->answer = false;
    arq->answer_at = NQI_NEVER;
    arq->unanswered = 0;
}

static nq_err arq_pass_up(const struct nqt_buf *buf, uint64_t skip, nqi_arq_deliver_fn deliver,
                          void *arg)
{
    nq_err err = NQ_OK;

    for (uint32_t i = 0; i < buf->nseg && !err; i++) {
        uint64_t n = NQI_MIN(skip, buf->seg[i].iov_len);

        if (n < buf->seg[i].iov_len)
            err = deliver(arg, (const uint8_t *)buf->seg[i].iov_base + n, buf->seg[i].iov_len - n);
        skip -= n;
    }
    return err;
}

/* What was held behind the packet that just went up. */
static nq_err arq_pass_held(struct nqi_arq *arq, nqi_arq_deliver_fn deliver, void *arg)
{
    nq_err err = NQ_OK;

    while (!err && *arq_in(arq, arq->received + 1)) {
        struct nqt_buf **at = arq_in(arq, ++arq->received), *buf = NQI_STEAL(*at);
        uint8_t raw[NQI_ARQ_HEAD] = {0};

        arq_copy(buf, raw, sizeof(raw));
        arq->held -= buf->len;
        err = arq_pass_up(buf, NQI_ARQ_HEAD + 4u * raw[16], deliver, arg);
        buf->ops->unref(buf);
    }
    return err;
}

static nq_err arq_on_next(struct nqi_arq *arq, const struct nqt_buf *buf, uint32_t skip,
                          int64_t now, nqi_arq_deliver_fn deliver, void *arg)
{
    nq_err err;

    if (++arq->unanswered >= ARQ_ANSWER_PACKETS || arq->highest > arq->received)
        arq->answer = true;
    else
        arq->answer_at = NQI_MIN(arq->answer_at, now + ARQ_ANSWER_NS);
    arq->received++;
    arq->highest = NQI_MAX(arq->highest, arq->received);
    err = arq_pass_up(buf, skip, deliver, arg);
    return err ? err : arq_pass_held(arq, deliver, arg);
}

/* It came before the one that is next: the answer tells of the gap. */
static void arq_on_later(struct nqi_arq *arq, uint64_t number, struct nqt_buf *buf)
{
    uint64_t most = arq->window == NQI_ARQ_NARROW ? ARQ_HELD_NARROW : ARQ_HELD;

    arq->answer = true;
    if (number - arq->received > arq->window || arq->held + buf->len > most) {
        arq->stats.dropped++;
        return;
    }
    buf->ops->ref(buf);
    *arq_in(arq, number) = buf;
    arq->held += buf->len;
    arq->highest = NQI_MAX(arq->highest, number);
}

nq_err nqi_arq_receive(struct nqi_arq *arq, struct nqt_buf *buf, int64_t now,
                       nqi_arq_deliver_fn deliver, void *arg)
{
    struct nqi_arq_head head;

    if (!arq_read_head(arq, buf, &head)) {
        arq->stats.dropped++;
        return NQ_OK;
    }
    nqi_arq_on_answer(arq, &head, now);
    if (!head.number)
        return NQ_OK;
    if (head.number == arq->received + 1)
        return arq_on_next(arq, buf, head.size, now, deliver, arg);
    if (head.number > arq->received && !*arq_in(arq, head.number)) {
        arq_on_later(arq, head.number, buf);
        return NQ_OK;
    }
    arq->stats.duplicates++;
    arq->answer = true; /* the last one may have been lost */
    return NQ_OK;
}

/* ---- time ---------------------------------------------------------------------------------- */

int64_t nqi_arq_deadline(const struct nqi_arq *arq)
{
    return NQI_MIN(arq->lost_at, NQI_MIN(arq->retry_at, arq->answer_at));
}

void nqi_arq_tick(struct nqi_arq *arq, int64_t now)
{
    if (now >= arq->retry_at)
        arq->retry_at = NQI_NEVER;
    if (now >= arq->answer_at) {
        arq->answer_at = NQI_NEVER;
        arq->answer = true;
    }
    if (now >= arq->lost_at)
        nqi_arq_time_out(arq);
}
