/* Packets of a link that loses them, and packets that nobody sent.
 *
 *     byte 0     bit 0: whole windows
 *     then       operations: a byte, and what it needs (enum below)
 *
 * Two ends: A is ours, B its true peer.  As long as nothing is invented, B hears what A sent, in
 * order.  Invented packets may make the bytes of a link wrong, and nothing else: no byte is read
 * that is not there, and the windows hold. */
#include "core/arq_inside.h"
#include "core/buf.h"
#include "core/txbuf.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

#define WAY_MOST 64u /* packets on their way */
#define PACKET_MOST 600u

enum {
    OP_SEND,   /* u16 bytes, in three segments */
    OP_PULL,   /* u8 packets leave A, as many leave B */
    OP_ARRIVE, /* u8: that packet on its way arrives */
    OP_LOSE,   /* u8: it does not */
    OP_DOUBLE, /* u8: it arrives, and stays on its way */
    OP_INVENT, /* u8 length, bytes: a packet for A */
    OP_ANSWER, /* u8 ranges, bytes: a well-formed answer for A, with numbers near its own */
    OP_TIME,   /* u16 ms */
    OP_REFUSE, /* what goes up next is refused */
    OPS
};

struct arq_end {
    struct nqi_arq arq;
    uint64_t put, got; /* bytes of the pattern */
};

struct arq_fuzz {
    struct nqi_buf in;
    struct arq_end end[2];
    int64_t now;
    struct {
        struct nqt_buf *buf;
        unsigned to;
    } way[WAY_MOST];
    unsigned nway, hears; /* hears: who is called back */
    bool honest, refuse, over;
};

static uint8_t arq_byte(uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) * 13);
}

static nq_err arq_hear(void *arg, const uint8_t *data, size_t len)
{
    struct arq_fuzz *fuzz = arg;
    struct arq_end *end = &fuzz->end[fuzz->hears];

    fuzz_touch(data, len);
    for (size_t i = 0; fuzz->honest && i < len; i++)
        MUST(data[i] == arq_byte(end->got + i));
    end->got += len;
    MUST(!fuzz->honest || end->got <= fuzz->end[!fuzz->hears].put);
    fuzz->over = fuzz->refuse;
    return fuzz->refuse ? NQ_ERR_CLOSED : NQ_OK;
}

static void arq_receive(struct arq_fuzz *fuzz, unsigned to, struct nqt_buf *buf)
{
    nq_err err;

    fuzz->hears = to;
    err = nqi_arq_receive(&fuzz->end[to].arq, buf, fuzz->now, arq_hear, fuzz);
    MUST(!err || (err == NQ_ERR_CLOSED && fuzz->over));
}

static void arq_check(const struct nqi_arq *arq)
{
    MUST(arq->acked <= arq->sent && arq->sent <= arq->last);
    MUST(arq->last <= arq->acked + arq->window);
    MUST(arq->in_flight + arq->lost <= arq->window);
    MUST(arq->received <= arq->highest && arq->highest <= arq->received + arq->window);
}

static void arq_send(struct arq_fuzz *fuzz)
{
    uint32_t len = nqi_buf_u16(&fuzz->in) % 8000u + 3, third = len / 3;
    struct arq_end *end = &fuzz->end[0];
    struct nqi_txbuf *txbuf;
    struct nqt_buf *buf;

    if (!nqi_arq_has_room(&end->arq))
        return;
    txbuf = nqi_txbuf_new(3, len);
    MUST(txbuf);
    for (uint32_t i = 0; i < len; i++)
        txbuf->room[i] = arq_byte(end->put + i);
    nqi_txbuf_add(txbuf, txbuf->room, third);
    nqi_txbuf_add(txbuf, txbuf->room + third, third);
    nqi_txbuf_add(txbuf, txbuf->room + 2 * third, len - 2 * third);
    buf = &txbuf->buf;
    MUST(nqi_arq_send(&end->arq, &buf, 1) == 1);
    end->put += len;
}

static void arq_pull(struct arq_fuzz *fuzz, unsigned from, unsigned n)
{
    struct nqi_arq *arq = &fuzz->end[from].arq;
    struct nqt_buf *buf;

    while (n-- && fuzz->nway < WAY_MOST && (buf = nqi_arq_pull(arq, fuzz->now))) {
        MUST(buf->len <= PACKET_MOST);
        nqi_arq_taken(arq, fuzz->now);
        fuzz->way[fuzz->nway].buf = buf;
        fuzz->way[fuzz->nway++].to = !from;
    }
}

static void arq_travel(struct arq_fuzz *fuzz, bool arrives, bool stays)
{
    unsigned i = nqi_buf_u8(&fuzz->in);
    struct nqt_buf *buf;
    unsigned to;

    if (!fuzz->nway)
        return;
    i %= fuzz->nway;
    buf = fuzz->way[i].buf;
    to = fuzz->way[i].to;
    if (arrives)
        arq_receive(fuzz, to, buf);
    if (stays)
        return;
    fuzz->way[i] = fuzz->way[--fuzz->nway];
    buf->ops->unref(buf);
}

/* A packet for A in one segment, or two. */
static void arq_invent(struct arq_fuzz *fuzz, const uint8_t *bytes, size_t len)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(2, (uint32_t)len);

    MUST(txbuf);
    if (len)
        memcpy(txbuf->room, bytes, len);
    nqi_txbuf_add(txbuf, txbuf->room, len % 32);
    nqi_txbuf_add(txbuf, txbuf->room + len % 32, len - len % 32);
    fuzz->honest = false;
    arq_receive(fuzz, 0, &txbuf->buf);
    nqi_txbuf_unref(txbuf);
}

static void arq_invent_any(struct arq_fuzz *fuzz)
{
    size_t len = nqi_buf_u8(&fuzz->in);
    uint8_t *exact = fuzz_exact(&fuzz->in, &len);

    arq_invent(fuzz, exact, len);
    free(exact);
}

static void arq_invent_answer(struct arq_fuzz *fuzz)
{
    const struct nqi_arq *arq = &fuzz->end[0].arq;
    uint8_t raw[NQI_ARQ_HEAD_MAX + 1] = {0}, ranges = nqi_buf_u8(&fuzz->in);
    uint8_t number = nqi_buf_u8(&fuzz->in);
    size_t size = NQI_ARQ_HEAD + 4u * (ranges % NQI_ARQ_RANGES);

    nqi_store_u64(raw, number ? arq->received + number : 0);
    nqi_store_u64(raw + 8, arq->acked + nqi_buf_u8(&fuzz->in));
    raw[16] = ranges % NQI_ARQ_RANGES;
    for (size_t at = NQI_ARQ_HEAD; at < size; at += 4) {
        nqi_store_u16(raw + at, nqi_buf_u8(&fuzz->in));
        nqi_store_u16(raw + at + 2, nqi_buf_u8(&fuzz->in));
    }
    arq_invent(fuzz, raw, size + (number != 0));
}

static void arq_step(struct arq_fuzz *fuzz)
{
    uint8_t op = nqi_buf_u8(&fuzz->in) % OPS, n;

    switch (op) {
    case OP_SEND:
        arq_send(fuzz);
        break;
    case OP_PULL:
        n = nqi_buf_u8(&fuzz->in);
        arq_pull(fuzz, 0, n);
        arq_pull(fuzz, 1, n);
        break;
    case OP_ARRIVE:
    case OP_LOSE:
    case OP_DOUBLE:
        arq_travel(fuzz, op != OP_LOSE, op == OP_DOUBLE);
        break;
    case OP_INVENT:
        arq_invent_any(fuzz);
        break;
    case OP_ANSWER:
        arq_invent_answer(fuzz);
        break;
    case OP_TIME:
        fuzz->now += nqi_buf_u16(&fuzz->in) * NQI_NS_PER_MS;
        for (unsigned i = 0; i < 2; i++)
            if (nqi_arq_deadline(&fuzz->end[i].arq) <= fuzz->now)
                nqi_arq_tick(&fuzz->end[i].arq, fuzz->now);
        break;
    default:
        fuzz->refuse = true;
        break;
    }
    arq_check(&fuzz->end[0].arq);
    arq_check(&fuzz->end[1].arq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct arq_fuzz fuzz;
    uint8_t how;

    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.in = nqi_buf_over(data, len);
    fuzz.now = NQI_NS_PER_S;
    fuzz.honest = true;
    how = nqi_buf_u8(&fuzz.in);
    for (unsigned i = 0; i < 2; i++) {
        MUST(!nqi_arq_init(&fuzz.end[i].arq, PACKET_MOST));
        if (how & 1)
            nqi_arq_widen(&fuzz.end[i].arq);
    }
    while (nqi_buf_left(&fuzz.in) && !fuzz.over)
        arq_step(&fuzz);
    while (fuzz.nway--)
        fuzz.way[fuzz.nway].buf->ops->unref(fuzz.way[fuzz.nway].buf);
    for (unsigned i = 0; i < 2; i++)
        nqi_arq_fini(&fuzz.end[i].arq);
    return 0;
}

static void seed_ops(const uint8_t *ops, size_t len, unsigned times)
{
    while (times--)
        fuzz_add(ops, len);
}

void fuzz_seeds(void)
{
    static const uint8_t send[] = {OP_SEND, 8, 0, OP_PULL, 20};
    static const uint8_t carry[] = {OP_ARRIVE, 0, OP_ARRIVE, 9, OP_LOSE, 3, OP_DOUBLE, 1};
    static const uint8_t wait[] = {OP_TIME, 1, 0, OP_PULL, 9, OP_ARRIVE, 0};
    static const uint8_t lie[] = {OP_ANSWER, 3, 0,         2,  1, 2, 4, 1, 9, 200, OP_ANSWER, 0,
                                  2,         1, OP_INVENT, 24, 0, 0, 0, 0, 0, 0,   0,         1};

    for (unsigned how = 0; how < 2; how++)
        for (unsigned kind = 0; kind < 4; kind++) {
            fuzz_add_u8(how);
            seed_ops(send, sizeof(send), 3);
            seed_ops(carry, sizeof(carry), 4);
            seed_ops(wait, sizeof(wait), kind * 3);
            if (kind % 2)
                fuzz_add(lie, sizeof(lie));
            seed_ops(carry, sizeof(carry), 4);
            fuzz_add_u8(OP_REFUSE);
            seed_ops(wait, sizeof(wait), 2);
            fuzz_seed();
        }
}
