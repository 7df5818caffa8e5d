/* Bounded cursors over memory: read and write big-endian integers and spans.
 *
 * The first step out of bounds makes the cursor bad and it stays so: every further read
 * gives 0 or NULL, every further write does nothing.  A decoder reads all it wants and asks once,
 * at the end, whether that was true.  Sizes are compared with what is left, so no length, however
 * large, overflows.
 *
 * Pure.  Thread: one at a time. */
#ifndef NQ_CORE_BUF_H
#define NQ_CORE_BUF_H

#include "core/base.h"
#include <string.h>

/* ---- integers at unaligned places ------------------------------------------------------- */

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NQI_SWAP16(x) __builtin_bswap16(x)
#define NQI_SWAP32(x) __builtin_bswap32(x)
#define NQI_SWAP64(x) __builtin_bswap64(x)
#else
#define NQI_SWAP16(x) (x)
#define NQI_SWAP32(x) (x)
#define NQI_SWAP64(x) (x)
#endif

static inline uint16_t nqi_load_u16(const void *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof(value));
    return NQI_SWAP16(value);
}

static inline uint32_t nqi_load_u32(const void *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return NQI_SWAP32(value);
}

static inline uint64_t nqi_load_u64(const void *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof(value));
    return NQI_SWAP64(value);
}

static inline void nqi_store_u16(void *at, uint16_t value)
{
    value = NQI_SWAP16(value);
    memcpy(at, &value, sizeof(value));
}

static inline void nqi_store_u32(void *at, uint32_t value)
{
    value = NQI_SWAP32(value);
    memcpy(at, &value, sizeof(value));
}

static inline void nqi_store_u64(void *at, uint64_t value)
{
    value = NQI_SWAP64(value);
    memcpy(at, &value, sizeof(value));
}

/* ---- reading ---------------------------------------------------------------------------- */

struct nqi_buf {
    const uint8_t *at, *end;
    bool bad;
};

/* A reader of `len` bytes, which it borrows.  data NULL with len 0 is allowed. */
static inline struct nqi_buf nqi_buf_over(const void *data, size_t len)
{
    const uint8_t *at = data ? data : (const uint8_t *)"";

    return (struct nqi_buf){at, at + len, false};
}

/* Bytes not read yet; 0 once bad. */
static inline size_t nqi_buf_left(const struct nqi_buf *buf)
{
    return (size_t)(buf->end - buf->at);
}

/* Step over `len` bytes.  Their start, or NULL: fewer are left, and the reader is bad. */
static inline const uint8_t *nqi_buf_span(struct nqi_buf *buf, uint64_t len)
{
    const uint8_t *at = buf->at;

    if (NQI_UNLIKELY(buf->bad || len > nqi_buf_left(buf))) {
        buf->bad = true;
        buf->at = buf->end; /* nothing is left, so no loop over the rest goes on */
        return NULL;
    }
    buf->at = at + len;
    return at;
}

static inline uint8_t nqi_buf_u8(struct nqi_buf *buf)
{
    const uint8_t *at = nqi_buf_span(buf, 1);

    return at ? *at : 0;
}

static inline uint16_t nqi_buf_u16(struct nqi_buf *buf)
{
    const uint8_t *at = nqi_buf_span(buf, 2);

    return at ? nqi_load_u16(at) : 0;
}

static inline uint32_t nqi_buf_u32(struct nqi_buf *buf)
{
    const uint8_t *at = nqi_buf_span(buf, 4);

    return at ? nqi_load_u32(at) : 0;
}

static inline uint64_t nqi_buf_u64(struct nqi_buf *buf)
{
    const uint8_t *at = nqi_buf_span(buf, 8);

    return at ? nqi_load_u64(at) : 0;
}

/* A reader of the next `len` bytes, which `buf` steps over; bad when they are not there. */
static inline struct nqi_buf nqi_buf_sub(struct nqi_buf *buf, uint64_t len)
{
    const uint8_t *at = nqi_buf_span(buf, len);

    if (!at)
        return (struct nqi_buf){buf->end, buf->end, true};
    return (struct nqi_buf){at, at + len, false};
}

/* Copy the next `len` bytes out.  False: they are not there, `out` is as it was. */
bool nqi_buf_copy(struct nqi_buf *buf, void *out, size_t len);

/* Read to the last byte, and nothing was missing. */
static inline bool nqi_buf_done(const struct nqi_buf *buf)
{
    return !buf->bad && buf->at == buf->end;
}

/* ---- writing ---------------------------------------------------------------------------- */

struct nqi_wbuf {
    uint8_t *start, *at, *end;
    bool bad;
};

/* A writer into `cap` bytes, which it borrows. */
static inline struct nqi_wbuf nqi_wbuf_over(void *data, size_t cap)
{
    uint8_t *at = data;

    return (struct nqi_wbuf){at, at, cap ? at + cap : at, false};
}

/* Bytes written. */
static inline size_t nqi_wbuf_len(const struct nqi_wbuf *buf)
{
    return (size_t)(buf->at - buf->start);
}

/* Room for bytes more. */
static inline size_t nqi_wbuf_left(const struct nqi_wbuf *buf)
{
    return (size_t)(buf->end - buf->at);
}

/* Set `len` bytes aside for the caller to fill.  NULL: there is no room, and the writer is
 * bad; what was written before stays. */
static inline uint8_t *nqi_wbuf_span(struct nqi_wbuf *buf, uint64_t len)
{
    uint8_t *at = buf->at;

    if (NQI_UNLIKELY(buf->bad || len > nqi_wbuf_left(buf))) {
        buf->bad = true;
        return NULL;
    }
    buf->at = at + len;
    return at;
}

static inline void nqi_wbuf_u8(struct nqi_wbuf *buf, uint8_t value)
{
    uint8_t *at = nqi_wbuf_span(buf, 1);

    if (at)
        *at = value;
}

static inline void nqi_wbuf_u16(struct nqi_wbuf *buf, uint16_t value)
{
    uint8_t *at = nqi_wbuf_span(buf, 2);

    if (at)
        nqi_store_u16(at, value);
}

static inline void nqi_wbuf_u32(struct nqi_wbuf *buf, uint32_t value)
{
    uint8_t *at = nqi_wbuf_span(buf, 4);

    if (at)
        nqi_store_u32(at, value);
}

static inline void nqi_wbuf_u64(struct nqi_wbuf *buf, uint64_t value)
{
    uint8_t *at = nqi_wbuf_span(buf, 8);

    if (at)
        nqi_store_u64(at, value);
}

/* Write a copy of `len` bytes; data NULL with len 0 is allowed. */
void nqi_wbuf_bytes(struct nqi_wbuf *buf, const void *data, size_t len);

#endif
