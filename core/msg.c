/* nq_msg: payload, sender, metadata; see msg.h for the shape of the block.
 *
 * Making and ending a small message is the dearest thing the core does per message, so
 * both are one pool call and no atomic operation but loads. */
#include "core/msg.h"
#include "core/buf.h"
#include "core/copy.h"
#include "core/err.h"
#include "core/pool.h"

/* The payload inside begins here, 64-byte aligned as the block is. */
#define MSG_HEAD ((sizeof(struct nq_msg) + NQI_CACHE_LINE - 1) & ~(size_t)(NQI_CACHE_LINE - 1))

/* Bytes of all entries but the correlation's: room for that one stays, because setting
 * it cannot fail. */
#define MSG_META_MOST (NQ_META_MAX - NQI_META_CORRELATION_SIZE)

static void msg_freep(nq_msg **msg)
{
    nqi_msg_unref(*msg);
}

/* ---- making and ending ------------------------------------------------------------------ */

/* A message with `len` bytes inside its block. */
static nq_msg *msg_new_inside(size_t len)
{
    nq_msg *msg = nqi_pool_alloc(MSG_HEAD + len);
    unsigned char *data;

    if (!msg)
        return NULL;
    data = (unsigned char *)msg + MSG_HEAD;
    msg->node.next = NULL;
    atomic_init(&msg->refs, 1);
    msg->meta_len = 0;
    msg->sender = (nq_uuid){{0}};
    msg->ttl_ns = 0;
    msg->deadline_ns = 0;
    msg->cookie = NULL;
    msg->seq = 0;
    msg->extra = NULL;
    msg->correlation[0] = 0;
    msg->control = msg->again = msg->lent = false;
    /* The message's reference, and the view's. */
    nqi_chunk_init_inside(&msg->chunk, offsetof(struct nq_msg, chunk), data, len, len ? 2 : 1);
    if (len)
        nqi_stream_init_one(&msg->stream, &msg->chunk, data, len);
    else
        nqi_stream_init(&msg->stream);
    return msg;
}

/* Bytes of the extra block with `len` bytes of entries. */
static size_t msg_extra_size(size_t len)
{
    return sizeof(struct nqi_msg_extra) + NQI_META_CORRELATION_SIZE + len;
}

static void msg_drop_extra(nq_msg *msg)
{
    nq_chunk_unref(msg->extra->schema);
    nqi_pool_free(msg->extra, msg_extra_size(msg->meta_len));
}

/* Is the payload what it was when the message was made, and nobody else's: one view and
 * the message itself hold the block? */
static bool msg_alone(const nq_msg *msg)
{
    return msg->stream.count == 1 && msg->stream.cap == NQI_STREAM_LOCAL &&
           nqi_stream_view(&msg->stream, 0)->chunk == &msg->chunk &&
           atomic_load_explicit(&msg->chunk.refs, memory_order_acquire) == 2;
}

static void msg_end(nq_msg *msg)
{
    if (msg->extra)
        msg_drop_extra(msg);
    if (NQI_LIKELY(msg_alone(msg))) {
        nqi_pool_free(msg, MSG_HEAD + msg->chunk.len);
        return;
    }
    nqi_stream_fini(&msg->stream);
    nqi_chunk_unref(&msg->chunk);
}

void nqi_msg_unref(nq_msg *msg)
{
    if (!msg)
        return;
    if (atomic_load_explicit(&msg->refs, memory_order_acquire) == 1 ||
        atomic_fetch_sub_explicit(&msg->refs, 1, memory_order_acq_rel) == 1)
        msg_end(msg);
}

nq_err nqi_msg_empty(nq_msg **ret)
{
    nq_msg *msg = msg_new_inside(0);

    if (!msg)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a message");
    *ret = msg;
    return NQ_OK;
}

/* A message with `len` bytes in a chunk of their own. */
static nq_err msg_alloc_apart(size_t len, unsigned char **data, nq_msg **ret)
{
    NQI_CLEANUP(msg_freep) nq_msg *msg = NULL;
    nq_chunk *chunk;
    nq_err err = nqi_msg_empty(&msg);

    if (!err)
        err = nq_chunk_new(len, &chunk);
    if (err)
        return err;
    nqi_stream_push(&msg->stream, chunk, chunk->data, len);
    *data = chunk->data;
    *ret = NQI_STEAL(msg);
    return NQ_OK;
}

nq_err nqi_msg_alloc(size_t len, unsigned char **data, nq_msg **ret)
{
    nq_msg *msg;

    if (len > NQI_MSG_INSIDE)
        return msg_alloc_apart(len, data, ret);
    msg = msg_new_inside(len);
    if (!msg)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a message of %zu bytes", len);
    *data = msg->chunk.data;
    *ret = msg;
    return NQ_OK;
}

nq_err nq_msg_new(const void *data, size_t len, nq_msg **ret)
{
    unsigned char *room;
    nq_err err = nqi_msg_alloc(len, &room, ret);

    if (err)
        return err;
    if (len)
        nqi_copy(room, data, len);
    return NQ_OK;
}

nq_err nq_msg_alloc(size_t len, void **data, nq_msg **ret)
{
    unsigned char *room;
    nq_err err = nqi_msg_alloc(len, &room, ret);

    if (err)
        return err;
    *data = room;
    return NQ_OK;
}

nq_err nq_msg_wrap(void *data, size_t len, nq_release_fn release, void *arg, nq_msg **ret)
{
    NQI_CLEANUP(msg_freep) nq_msg *msg = NULL;
    nq_chunk *chunk;
    nq_err err;

    err = nqi_msg_empty(&msg);
    if (err)
        return err;
    err = nq_chunk_wrap(data, len, release, arg, &chunk);
    if (err)
        return err;
    if (len)
        nqi_stream_push(&msg->stream, chunk, data, len);
    else
        nqi_chunk_unref(chunk); /* nothing to keep: released at once */
    *ret = NQI_STEAL(msg);
    return NQ_OK;
}

nq_err nq_msg_from_stream(nq_stream *stream, nq_msg **ret)
{
    nq_msg *msg = NULL;
    nq_err err = nqi_msg_empty(&msg);

    if (err)
        return err;
    nqi_stream_take(&msg->stream, stream);
    *ret = msg;
    return NQ_OK;
}

static nq_err msg_share_schema(nq_msg *msg, nq_chunk *schema)
{
    nq_err err = nqi_msg_set_schema(msg, nq_chunk_ref(schema));

    if (err)
        nqi_chunk_unref(schema);
    return err;
}

nq_err nq_msg_copy(const nq_msg *msg, nq_msg **ret)
{
    NQI_CLEANUP(msg_freep) nq_msg *copy = NULL;
    const unsigned char *meta;
    size_t len;
    nq_err err;

    err = nqi_msg_empty(&copy);
    if (err)
        return err;
    err = nqi_stream_share(&copy->stream, &msg->stream, 0, msg->stream.nbytes);
    if (err)
        return err;
    meta = nqi_msg_meta_raw(msg, &len);
    err = nqi_msg_set_meta_raw(copy, meta, len);
    if (!err && nqi_msg_schema(msg))
        err = msg_share_schema(copy, nqi_msg_schema(msg));
    if (err)
        return err;
    copy->sender = msg->sender;
    copy->ttl_ns = msg->ttl_ns;
    copy->control = msg->control;
    *ret = NQI_STEAL(copy);
    return NQ_OK;
}

void nq_msg_free(nq_msg *msg)
{
    nqi_msg_unref(msg);
}

/* ---- payload ---------------------------------------------------------------------------- */

uint64_t nq_msg_size(const nq_msg *msg)
{
    return msg->stream.nbytes;
}

nq_stream *nq_msg_stream(nq_msg *msg)
{
    return &msg->stream;
}

/* Put one chunk with the whole payload in the place of several. */
static nq_err msg_join(nq_msg *msg)
{
    uint64_t len = msg->stream.nbytes;
    nq_chunk *chunk;
    nq_err err;

    if (len > SIZE_MAX)
        return nqi_fail(NQ_ERR_NOMEM, "a payload larger than memory");
    err = nq_chunk_new((size_t)len, &chunk);
    if (err)
        return err;
    nq_stream_tobytes(&msg->stream, chunk->data, (size_t)len);
    nqi_stream_fini(&msg->stream);
    nqi_stream_push(&msg->stream, chunk, chunk->data, (size_t)len);
    return NQ_OK;
}

/* The chunks lie one behind the other already, as those of a message do that was sent in pieces and
 * is read where it lies. */
static bool msg_is_joined(const nq_msg *msg)
{
    for (size_t i = 1; i < nqi_stream_count(&msg->stream); i++) {
        const nq_view *before = nqi_stream_view(&msg->stream, i - 1);

        if (before->data + before->len != nqi_stream_view(&msg->stream, i)->data)
            return false;
    }
    return true;
}

/* Where the payload begins. */
static const void *msg_start(const nq_msg *msg)
{
    return msg->stream.count ? (const void *)nqi_stream_view(&msg->stream, 0)->data : "";
}

nq_err nqi_msg_data_aligned(nq_msg *msg, size_t align, const void **data, size_t *len)
{
    bool aligned = ((uintptr_t)msg_start(msg) & (align - 1)) == 0 || !msg->stream.count;
    nq_err err = aligned && msg_is_joined(msg) ? NQ_OK : msg_join(msg);

    if (err)
        return err;
    *data = msg_start(msg);
    *len = (size_t)msg->stream.nbytes;
    return NQ_OK;
}

nq_err nq_msg_data(nq_msg *msg, const void **data, size_t *len)
{
    return nqi_msg_data_aligned(msg, 1, data, len);
}

const nq_uuid *nq_msg_sender(const nq_msg *msg)
{
    return &msg->sender;
}

bool nq_msg_is_redelivered(const nq_msg *msg)
{
    return msg->again;
}

/* ---- metadata --------------------------------------------------------------------------- */

struct msg_entry {
    uint8_t tag;
    const uint8_t *start, *body; /* of the whole entry, of what follows its head */
    size_t size, len;            /* of the whole entry, of the body */
};

/* Step to the next entry.  False: there is none, or it is cut short and `buf` is bad. */
static bool msg_entry_next(struct nqi_buf *buf, struct msg_entry *entry)
{
    if (!nqi_buf_left(buf))
        return false;
    entry->start = buf->at;
    entry->tag = nqi_buf_u8(buf);
    entry->len = nqi_buf_u16(buf);
    entry->body = nqi_buf_span(buf, entry->len);
    entry->size = NQI_META_HEAD + entry->len;
    return !buf->bad;
}

/* A user entry: is its key `key`? */
static bool msg_entry_is(const struct msg_entry *entry, const char *key, size_t len)
{
    return entry->tag == NQI_META_USER && entry->body[0] == len &&
           memcmp(entry->body + 1, key, len) == 0;
}

static bool msg_entry_valid(const struct msg_entry *entry)
{
    if (entry->tag == NQI_META_CORRELATION)
        return entry->len == 8;
    if (entry->tag == NQI_META_USER)
        return entry->len >= 2 && entry->body[0] >= 1 && entry->body[0] < entry->len;
    return entry->tag != NQI_META_SCHEMA;
}

/* The entries but the correlation's. */
static struct nqi_buf msg_entries(const nq_msg *msg)
{
    if (!msg->extra)
        return nqi_buf_over(NULL, 0);
    return nqi_buf_over(msg->extra->entry + NQI_META_CORRELATION_SIZE, msg->meta_len);
}

void nq_msg_set_correlation(nq_msg *msg, uint64_t id)
{
    struct nqi_wbuf buf = nqi_wbuf_over(msg->correlation, sizeof(msg->correlation));

    nqi_wbuf_u8(&buf, id ? NQI_META_CORRELATION : 0);
    nqi_wbuf_u16(&buf, 8);
    nqi_wbuf_u64(&buf, id);
    if (msg->extra) /* a second copy in front of the entries makes one blob of them */
        memcpy(msg->extra->entry, msg->correlation, sizeof(msg->correlation));
}

uint64_t nq_msg_correlation(const nq_msg *msg)
{
    return msg->correlation[0] ? nqi_load_u64(msg->correlation + NQI_META_HEAD) : 0;
}

const unsigned char *nqi_msg_meta_raw(const nq_msg *msg, size_t *len)
{
    size_t skip = msg->correlation[0] ? 0 : NQI_META_CORRELATION_SIZE;
    const unsigned char *blob = msg->extra ? msg->extra->entry : msg->correlation;

    *len = NQI_META_CORRELATION_SIZE + msg->meta_len - skip;
    return *len ? blob + skip : NULL;
}

/* A block for `len` bytes of entries behind the correlation, or NULL. */
static struct nqi_msg_extra *msg_extra_new(const nq_msg *msg, size_t len)
{
    struct nqi_msg_extra *extra = nqi_pool_alloc(msg_extra_size(len));

    if (!extra)
        return NULL;
    extra->schema = NULL;
    memcpy(extra->entry, msg->correlation, sizeof(msg->correlation));
    return extra;
}

/* @param extra  NULL = no entries, and there is no schema to keep */
static void msg_extra_replace(nq_msg *msg, struct nqi_msg_extra *extra, size_t len)
{
    if (extra && msg->extra)
        extra->schema = NQI_STEAL(msg->extra->schema);
    if (msg->extra)
        msg_drop_extra(msg);
    msg->extra = extra;
    msg->meta_len = (uint32_t)len;
}

nq_err nqi_msg_set_schema(nq_msg *msg, nq_chunk *schema)
{
    struct nqi_msg_extra *extra = msg->extra ? NULL : msg_extra_new(msg, 0);

    if (!msg->extra && !extra)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a schema");
    if (!msg->extra)
        msg_extra_replace(msg, extra, 0);
    nq_chunk_unref(msg->extra->schema);
    msg->extra->schema = schema;
    return NQ_OK;
}

/* Check a blob.  @param others [out] bytes of its entries but the correlation's */
static bool msg_meta_check(const void *data, size_t len, size_t *others, uint64_t *correlation)
{
    struct nqi_buf buf = nqi_buf_over(data, len);
    struct msg_entry entry;
    bool seen = false;

    *others = 0;
    *correlation = 0;
    while (msg_entry_next(&buf, &entry)) {
        if (!msg_entry_valid(&entry) || (seen && entry.tag == NQI_META_CORRELATION))
            return false;
        if (entry.tag == NQI_META_CORRELATION) {
            seen = true;
            *correlation = nqi_load_u64(entry.body);
        } else {
            *others += entry.size;
        }
    }
    return !buf.bad && *others <= MSG_META_MOST;
}

nq_err nqi_msg_set_meta_raw(nq_msg *msg, const void *data, size_t len)
{
    struct nqi_buf buf = nqi_buf_over(data, len);
    struct msg_entry entry;
    struct nqi_msg_extra *extra = NULL;
    struct nqi_wbuf out;
    uint64_t correlation;
    size_t others;

    if (len > NQ_META_MAX || !msg_meta_check(data, len, &others, &correlation))
        return nqi_fail(NQ_ERR_PROTO, "malformed metadata of %zu bytes", len);
    if (others || nqi_msg_schema(msg)) {
        extra = msg_extra_new(msg, others);
        if (!extra)
            return nqi_fail(NQ_ERR_NOMEM, "no memory for %zu bytes of metadata", len);
        out = nqi_wbuf_over(extra->entry + NQI_META_CORRELATION_SIZE, others);
        while (msg_entry_next(&buf, &entry))
            if (entry.tag != NQI_META_CORRELATION)
                nqi_wbuf_bytes(&out, entry.start, entry.size);
    }
    msg_extra_replace(msg, extra, others);
    nq_msg_set_correlation(msg, correlation);
    return NQ_OK;
}

nq_err nq_msg_set_meta(nq_msg *msg, const char *key, const void *data, size_t len)
{
    size_t key_len = key ? strnlen(key, 256) : 0;
    struct nqi_buf buf = msg_entries(msg);
    struct msg_entry entry;
    struct nqi_msg_extra *extra;
    struct nqi_wbuf out;
    size_t total;

    if (!key_len || key_len > 255)
        return nqi_fail(NQ_ERR_INVAL, "a metadata key has 1 to 255 bytes");
    if (len > NQ_META_MAX)
        return nqi_fail(NQ_ERR_TOO_BIG, "metadata value of %zu bytes", len);
    total = NQI_META_HEAD + 1 + key_len + len;
    while (msg_entry_next(&buf, &entry))
        total += msg_entry_is(&entry, key, key_len) ? 0 : entry.size;
    if (total > MSG_META_MOST)
        return nqi_fail(NQ_ERR_TOO_BIG, "more than %d bytes of metadata", (int)MSG_META_MOST);

    extra = msg_extra_new(msg, total);
    if (!extra)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for %zu bytes of metadata", total);
    out = nqi_wbuf_over(extra->entry + NQI_META_CORRELATION_SIZE, total);
    buf = msg_entries(msg);
    while (msg_entry_next(&buf, &entry))
        if (!msg_entry_is(&entry, key, key_len))
            nqi_wbuf_bytes(&out, entry.start, entry.size);
    nqi_wbuf_u8(&out, NQI_META_USER);
    nqi_wbuf_u16(&out, (uint16_t)(1 + key_len + len));
    nqi_wbuf_u8(&out, (uint8_t)key_len);
    nqi_wbuf_bytes(&out, key, key_len);
    nqi_wbuf_bytes(&out, data, len);
    msg_extra_replace(msg, extra, total);
    return NQ_OK;
}

nq_err nq_msg_meta(const nq_msg *msg, const char *key, const void **data, size_t *len)
{
    struct nqi_buf buf = msg_entries(msg);
    size_t key_len = key ? strnlen(key, 256) : 0;
    struct msg_entry entry;

    while (key_len && msg_entry_next(&buf, &entry)) {
        if (!msg_entry_is(&entry, key, key_len))
            continue;
        *data = entry.body + 1 + key_len;
        *len = entry.len - 1 - key_len;
        return NQ_OK;
    }
    return NQ_AGAIN;
}

/* ---- options ---------------------------------------------------------------------------- */

void nq_msg_set_ttl(nq_msg *msg, int64_t ttl_ns)
{
    msg->ttl_ns = NQI_MAX(ttl_ns, 0);
}

int64_t nq_msg_ttl(const nq_msg *msg)
{
    return msg->ttl_ns;
}

void nq_msg_set_control(nq_msg *msg, bool control)
{
    msg->control = control;
}

bool nq_msg_control(const nq_msg *msg)
{
    return msg->control;
}
