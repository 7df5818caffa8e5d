/* The inside of nq_msg, for the session and the queue.
 *
 * One pool block holds the message, its stream, the header of one chunk and, up to
 * NQI_MSG_INSIDE bytes, the payload itself:
 *
 *     [ nq_msg: list link, stream, options, metadata | chunk header ][ payload ... ]
 *
 * so a 64-byte message is one block of 256 bytes.  The chunk's count stands for the
 * block: the message holds one reference on it and each view on the payload another, so
 * that a view may outlive its message.
 *
 * Thread: one at a time, apart from `refs`: once a message is shared nobody changes it. */
#ifndef NQ_CORE_MSG_H
#define NQ_CORE_MSG_H

#include "core/base.h"
#include "core/list.h"
#include "core/stream.h"
#include <netqueue/msg.h>

/* Up to this many bytes the payload lies in the message's own block. */
#define NQI_MSG_INSIDE 1024

/* The encoded metadata: entries of `u8 tag, u16 length, bytes`, numbers big-endian.  Unknown
 * tags are kept and passed on.  Wire format. */
enum {
    NQI_META_CORRELATION = 1, /* u64; at most once */
    NQI_META_USER = 2,        /* u8 length of key (1..255), key, value */
    NQI_META_SCHEMA = 3       /* core/schemas.h; first of all, and a session's: never in here */
};
#define NQI_META_HEAD 3                               /* tag and length */
#define NQI_META_CORRELATION_SIZE (NQI_META_HEAD + 8) /* that whole entry */

/* What few messages have; pooled. */
struct nqi_msg_extra {
    nq_chunk *schema;      /* one reference; NULL = none */
    unsigned char entry[]; /* NQI_META_CORRELATION_SIZE bytes of room, then the entries */
};

struct nq_msg {
    struct nqi_node node;  /* the queue's: link while queued */
    _Atomic uint32_t refs; /* atomic: the last unref sees what the other holders did */
    /* message's own */
    uint32_t meta_len; /* bytes of entries in `extra`, the correlation's not counted */
    struct nq_stream stream;
    nq_uuid sender;
    int64_t ttl_ns; /* 0 = for ever */
    /* scratch of session and queue; all zero in a new message */
    int64_t deadline_ns; /* CLOCK_MONOTONIC; 0 = none */
    void *cookie;
    uint64_t seq;
    /* message's own */
    struct nqi_msg_extra *extra;                          /* NULL = no entries, no schema */
    unsigned char correlation[NQI_META_CORRELATION_SIZE]; /* encoded; tag 0 = none */
    bool control;
    bool lent;             /* the payload lies in a transport's memory, which need not copy it */
    bool again;            /* received, and marked as redelivered */
    struct nq_chunk chunk; /* of this block */
};

/* A message with `len` bytes to fill in; in its own block when small.  sender, seq, ...
 * are zero.  @param data [out] writable until the message is shared
 * @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_msg_alloc(size_t len, unsigned char **data, nq_msg **ret);

/* A message without payload; append to its stream.  @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_msg_empty(nq_msg **ret);

/* Another holder; ends with nqi_msg_unref().  Thread: any. */
static inline nq_msg *nqi_msg_ref(nq_msg *msg)
{
    atomic_fetch_add_explicit(&msg->refs, 1, memory_order_relaxed);
    return msg;
}

/* What nq_msg_free() does: the last holder ends the message.  NULL is allowed.  Thread: any. */
void nqi_msg_unref(nq_msg *msg);

/* As nq_msg_data(), and the memory begins at a multiple of `align`, a power of two up to 64; one
 * copy more when it does not. */
NQ_MUST_CHECK nq_err nqi_msg_data_aligned(nq_msg *msg, size_t align, const void **data,
                                          size_t *len);

/* The encoded metadata as it travels; NULL and 0 when there is none.  Borrowed until the
 * metadata changes. */
const unsigned char *nqi_msg_meta_raw(const nq_msg *msg, size_t *len);

/* Bytes of that blob. */
static inline size_t nqi_msg_meta_len(const nq_msg *msg)
{
    return msg->meta_len + (msg->correlation[0] ? NQI_META_CORRELATION_SIZE : 0);
}

/* Replace the metadata by a copy of an encoded blob; len 0 = none.
 * @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_PROTO (malformed, or its entries beside the
 *         correlation exceed NQ_META_MAX - NQI_META_CORRELATION_SIZE; nothing changed) */
NQ_MUST_CHECK nq_err nqi_msg_set_meta_raw(nq_msg *msg, const void *data, size_t len);

/* What describes the payload beside it: bytes that many messages have in common, so that a session
 * tells its peer once.  NULL = none; borrowed while the message has it. */
static inline nq_chunk *nqi_msg_schema(const nq_msg *msg)
{
    return msg->extra ? msg->extra->schema : NULL;
}

/* @param schema  one reference [take], on NQ_OK.  @return NQ_OK, NQ_ERR_NOMEM (nothing changed) */
NQ_MUST_CHECK nq_err nqi_msg_set_schema(nq_msg *msg, nq_chunk *schema);

#endif
