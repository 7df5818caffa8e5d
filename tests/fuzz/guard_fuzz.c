/* Frames with tags, and somebody on the way.
 *
 *     operations: a byte, and what it needs (enum below)
 *
 * What goes up is what was sent, from its beginning and in order, whatever is done on the way: a
 * tag of 16 bytes is not guessed. */
#include "core/err.h"
#include "core/guard.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

#define WIRE_MOST (1u << 17)

enum {
    OP_FRAME,   /* u16 bytes of body, u8 bytes in front */
    OP_CARRY,   /* u16: so many bytes of the wire arrive */
    OP_CHANGE,  /* u16, u8: that byte of the wire is changed */
    OP_INVENT,  /* u16 length, bytes: they arrive */
    OP_SWALLOW, /* u16: so many bytes are lost */
    OP_AGAIN,   /* u16: so many bytes of what was carried last arrive again */
    OPS
};

struct guard_fuzz {
    struct nqi_guard out, in;
    struct nqi_buf input;
    uint8_t wire[WIRE_MOST]; /* [at, end) is on the way, what is before has arrived */
    size_t at, end;
    uint64_t sent, heard; /* bytes of payload */
    bool over;
};

static uint8_t guard_byte(uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) * 3);
}

static nq_err guard_hear(void *arg, const uint8_t *data, size_t len)
{
    struct guard_fuzz *fuzz = arg;

    MUST(!fuzz->over && len);
    for (size_t i = 0; i < len; i++)
        MUST(data[i] == guard_byte(fuzz->heard++));
    MUST(fuzz->heard <= fuzz->sent);
    return NQ_OK;
}

static void guard_arrive(struct guard_fuzz *fuzz, const uint8_t *data, size_t len)
{
    nq_err err;

    if (fuzz->over)
        return;
    err = nqi_guard_receive(&fuzz->in, data, len, guard_hear, fuzz);
    MUST(!err || (err == NQ_ERR_CLOSED && fuzz->in.broken));
    fuzz->over = err;
}

static struct nqi_txbuf *guard_body(uint64_t at, size_t len)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(2, (uint32_t)len);

    MUST(txbuf);
    for (size_t i = 0; i < len; i++)
        txbuf->room[i] = guard_byte(at + i);
    nqi_txbuf_add(txbuf, txbuf->room, len / 2);
    nqi_txbuf_add(txbuf, txbuf->room + len / 2, len - len / 2);
    return txbuf;
}

static void guard_frame(struct guard_fuzz *fuzz)
{
    uint32_t len = nqi_buf_u16(&fuzz->input) % NQI_GUARD_PAYLOAD, front_len;
    struct nqi_txbuf *front, *body, *frame;

    front_len = nqi_buf_u8(&fuzz->input);
    front_len = NQI_MIN(front_len, NQI_GUARD_PAYLOAD - len);
    if (!(len + front_len) || WIRE_MOST - fuzz->end < len + front_len + 64)
        return;
    front = guard_body(fuzz->sent, front_len);
    body = guard_body(fuzz->sent + front_len, len);
    frame = nqi_guard_frame(&fuzz->out, &front->buf, &body->buf, 0, len);
    MUST(frame);
    for (uint32_t i = 0; i < frame->buf.nseg; i++) {
        memcpy(fuzz->wire + fuzz->end, frame->seg[i].iov_base, frame->seg[i].iov_len);
        fuzz->end += frame->seg[i].iov_len;
    }
    fuzz->sent += front_len + len;
    nqi_txbuf_unref(frame);
    nqi_txbuf_unref(body);
    nqi_txbuf_unref(front);
}

static size_t guard_part(struct guard_fuzz *fuzz, size_t most)
{
    size_t part = nqi_buf_u16(&fuzz->input);

    return NQI_MIN(part, most);
}

static void guard_change(struct guard_fuzz *fuzz)
{
    size_t at = fuzz->at + nqi_buf_u16(&fuzz->input);
    uint8_t bits = nqi_buf_u8(&fuzz->input);

    if (at < fuzz->end)
        fuzz->wire[at] ^= bits;
}

static void guard_step(struct guard_fuzz *fuzz)
{
    uint8_t *exact;
    size_t len;

    switch (nqi_buf_u8(&fuzz->input) % OPS) {
    case OP_FRAME:
        guard_frame(fuzz);
        break;
    case OP_CARRY:
        len = guard_part(fuzz, fuzz->end - fuzz->at);
        guard_arrive(fuzz, fuzz->wire + fuzz->at, len);
        fuzz->at += len;
        break;
    case OP_CHANGE:
        guard_change(fuzz);
        break;
    case OP_INVENT:
        len = nqi_buf_u16(&fuzz->input);
        exact = fuzz_exact(&fuzz->input, &len);
        guard_arrive(fuzz, exact, len);
        free(exact);
        break;
    case OP_SWALLOW:
        fuzz->at += guard_part(fuzz, fuzz->end - fuzz->at);
        break;
    default:
        len = guard_part(fuzz, fuzz->at);
        guard_arrive(fuzz, fuzz->wire + fuzz->at - len, len);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t key[NQI_KEY] = {1}, transcript[NQI_KEY] = {2};
    static struct guard_fuzz fuzz;

    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.input = nqi_buf_over(data, len);
    nqi_guard_begin(&fuzz.out, key, transcript, false);
    nqi_guard_begin(&fuzz.in, key, transcript, true);
    while (nqi_buf_left(&fuzz.input))
        guard_step(&fuzz);
    nqi_guard_end(&fuzz.out);
    nqi_guard_end(&fuzz.in);
    return 0;
}

static void seed_op(unsigned op, unsigned number)
{
    fuzz_add_u8(op);
    fuzz_add_u16(number);
}

static void seed_frames(void)
{
    static const unsigned lens[] = {10, 0, 5000, NQI_GUARD_PAYLOAD - 1};

    for (size_t i = 0; i < NQI_LEN(lens); i++) {
        seed_op(OP_FRAME, lens[i]);
        fuzz_add_u8(i % 2 ? 7 : 0);
    }
}

void fuzz_seeds(void)
{
    for (unsigned op = OP_CHANGE; op < OPS; op++)
        for (unsigned part = 1; part < 5000; part *= 5) {
            seed_frames();
            seed_op(OP_CARRY, part);
            seed_op(op, part);
            if (op == OP_CHANGE)
                fuzz_add_u8(1);
            if (op == OP_INVENT)
                for (unsigned i = 0; i < part; i++)
                    fuzz_add_u8(i == 3);
            for (unsigned i = 0; i < 20; i++)
                seed_op(OP_CARRY, part * 7 + i);
            seed_op(OP_CARRY, UINT16_MAX);
            fuzz_seed();
        }
}
