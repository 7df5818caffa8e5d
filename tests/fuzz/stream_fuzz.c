/* The calls of <netqueue/stream.h> in an order that the input says, beside a plain array of bytes
 * that they must agree with.
 *
 *     operations: a byte, and what it needs (enum below); two streams, bit 7 of the byte says which
 *
 * Whatever is called, no byte is lost, doubled or moved, and every chunk is released once. */
#include "core/pool.h"
#include "tests/fuzz/fuzz.h"
#include <netqueue/stream.h>
#include <string.h>

#define STREAM_MOST 4096 /* bytes in the array beside it; full: nothing more is written */

enum {
    OP_WRITE,     /* u8 bytes */
    OP_UPDATE,    /* u8, u8: two pieces */
    OP_WRAP,      /* u8: a chunk of memory that is ours, as a view of its middle */
    OP_WRITEMANY, /* u8 views of one chunk, some of them empty */
    OP_READ,      /* u16 bytes */
    OP_READCHUNK,
    OP_READMANY, /* u8 views at most, which are put back in front, or released */
    OP_UNREAD,   /* the chunk that was read last, back */
    OP_UNWRITE,
    OP_PEEK,
    OP_APPEND, /* the other stream to this one */
    OP_COPY,   /* the other stream becomes a shallow copy */
    OP_TOBYTES,
    OP_CLEAR,
    OP_REFUSE, /* u8: the n-th allocation fails */
    OPS
};

struct stream_twin {
    nq_stream *stream;
    uint8_t bytes[STREAM_MOST]; /* what it must hold */
    size_t len;
};

struct stream_fuzz {
    struct stream_twin twin[2];
    struct nqi_buf in;
    unsigned wrapped, released;
    uint8_t next; /* what the next byte that is written will be */
    nq_view kept; /* what was read last */
};

static void stream_release(void *arg, void *data, size_t len)
{
    struct stream_fuzz *fuzz = arg;

    (void)len;
    fuzz->released++;
    free(data);
}

/* ---- the array beside it ---- */

static bool twin_has_room(const struct stream_twin *twin, size_t len)
{
    return STREAM_MOST - twin->len >= len;
}

static void twin_push(struct stream_twin *twin, const uint8_t *bytes, size_t len)
{
    memcpy(twin->bytes + twin->len, bytes, len);
    twin->len += len;
}

static void twin_drop(struct stream_twin *twin, size_t len)
{
    MUST(len <= twin->len);
    memmove(twin->bytes, twin->bytes + len, twin->len - len);
    twin->len -= len;
}

static void twin_check(const struct stream_twin *twin)
{
    uint8_t bytes[STREAM_MOST];

    MUST(nq_stream_nbytes(twin->stream) == twin->len);
    MUST(nq_stream_empty(twin->stream) == !twin->len);
    MUST(!nq_stream_nchunks(twin->stream) == !twin->len);
    MUST(nq_stream_tobytes(twin->stream, bytes, sizeof(bytes)) == twin->len);
    MUST(!memcmp(bytes, twin->bytes, twin->len));
}

/* ---- operations ---- */

static void fuzz_fresh(struct stream_fuzz *fuzz, uint8_t *at, size_t len)
{
    while (len--)
        *at++ = fuzz->next++;
}

static void fuzz_write(struct stream_fuzz *fuzz, struct stream_twin *twin, bool two)
{
    size_t first = nqi_buf_u8(&fuzz->in), second = two ? nqi_buf_u8(&fuzz->in) : 0;
    uint8_t bytes[2 * UINT8_MAX];
    const struct nq_bytes parts[] = {{bytes, first}, {second ? bytes + first : NULL, second}};

    if (!twin_has_room(twin, first + second))
        return;
    fuzz_fresh(fuzz, bytes, first + second);
    if (!nq_stream_update(twin->stream, parts, two ? 2 : 1))
        twin_push(twin, bytes, first + second);
}

/* Chunk of our memory; NULL = none. */
static nq_chunk *fuzz_chunk(struct stream_fuzz *fuzz, size_t len)
{
    uint8_t *bytes = malloc(len ? len : 1);
    nq_chunk *chunk;

    MUST(bytes);
    fuzz_fresh(fuzz, bytes, len);
    if (nq_chunk_wrap(bytes, len, stream_release, fuzz, &chunk)) {
        free(bytes);
        return NULL;
    }
    fuzz->wrapped++;
    return chunk;
}

/* Views of one chunk, each of `step` bytes but every third, which is empty. */
static void fuzz_views(struct stream_fuzz *fuzz, struct stream_twin *twin, size_t n, size_t step)
{
    nq_chunk *chunk = twin_has_room(twin, n * step) ? fuzz_chunk(fuzz, n * step) : NULL;
    nq_view views[UINT8_MAX];
    nq_err err;

    if (!chunk)
        return;
    for (size_t i = 0; i < n; i++)
        views[i] = nq_chunk_view(chunk, i * step, i % 3 == 2 ? 0 : step);
    err = nq_stream_writechunks(twin->stream, views, n);
    for (size_t i = 0; i < n; i++) {
        if (!err && i % 3 != 2)
            twin_push(twin, (uint8_t *)nq_chunk_data(chunk) + i * step, step);
        MUST(err || !views[i].chunk);
        nq_view_release(&views[i]);
    }
    nq_chunk_unref(chunk);
}

static void fuzz_read(struct stream_fuzz *fuzz, struct stream_twin *twin)
{
    size_t len = nqi_buf_u16(&fuzz->in) % STREAM_MOST, n;
    uint8_t bytes[STREAM_MOST];

    n = nq_stream_read(twin->stream, bytes, len);
    MUST(n == NQI_MIN(len, twin->len));
    MUST(!memcmp(bytes, twin->bytes, n));
    twin_drop(twin, n);
}

static void fuzz_readchunk(struct stream_fuzz *fuzz, struct stream_twin *twin)
{
    nq_view peeked = {0};
    nq_err err = nq_stream_peekchunk(twin->stream, &peeked);

    nq_view_release(&fuzz->kept);
    MUST(nq_stream_readchunk(twin->stream, &fuzz->kept) == err);
    MUST((err == NQ_AGAIN) == !twin->len);
    if (err)
        return;
    MUST(peeked.data == fuzz->kept.data && peeked.len == fuzz->kept.len);
    MUST(!memcmp(peeked.data, twin->bytes, peeked.len));
    twin_drop(twin, peeked.len);
}

static void fuzz_unread(struct stream_fuzz *fuzz, struct stream_twin *twin)
{
    nq_view view = fuzz->kept;

    if (!twin_has_room(twin, view.len) || nq_stream_unreadchunk(twin->stream, &fuzz->kept))
        return;
    MUST(!fuzz->kept.chunk && !fuzz->kept.len);
    memmove(twin->bytes + view.len, twin->bytes, twin->len);
    if (view.len)
        memcpy(twin->bytes, view.data, view.len);
    twin->len += view.len;
}

static void fuzz_readmany(struct stream_fuzz *fuzz, struct stream_twin *twin)
{
    nq_view views[UINT8_MAX];
    size_t cap = nqi_buf_u8(&fuzz->in), n = 0;

    if (nq_stream_readchunks(twin->stream, views, cap, &n))
        return;
    MUST(n <= cap);
    for (size_t i = 0; i < n; i++) {
        MUST(!memcmp(views[i].data, twin->bytes, views[i].len));
        twin_drop(twin, views[i].len);
        nq_view_release(&views[i]);
    }
}

static void fuzz_unwrite(struct stream_twin *twin)
{
    nq_view view;

    if (nq_stream_unwritechunk(twin->stream, &view))
        return;
    MUST(view.len <= twin->len);
    MUST(!memcmp(view.data, twin->bytes + twin->len - view.len, view.len));
    twin->len -= view.len;
    nq_view_release(&view);
}

static void fuzz_append(struct stream_twin *twin, struct stream_twin *from)
{
    if (!twin_has_room(twin, from->len) || nq_stream_append(twin->stream, from->stream))
        return;
    twin_push(twin, from->bytes, from->len);
    from->len = 0;
}

static void fuzz_copy(const struct stream_twin *twin, struct stream_twin *other)
{
    nq_stream *copy;

    if (nq_stream_copy(twin->stream, &copy))
        return;
    nq_stream_free(other->stream);
    other->stream = copy;
    memcpy(other->bytes, twin->bytes, twin->len);
    other->len = twin->len;
}

static void fuzz_step(struct stream_fuzz *fuzz)
{
    uint8_t byte = nqi_buf_u8(&fuzz->in), op = (byte & 0x7f) % OPS;
    struct stream_twin *twin = &fuzz->twin[byte >> 7], *other = &fuzz->twin[!(byte >> 7)];

    switch (op) {
    case OP_WRITE:
    case OP_UPDATE:
        fuzz_write(fuzz, twin, op == OP_UPDATE);
        break;
    case OP_WRAP:
        fuzz_views(fuzz, twin, 1, nqi_buf_u8(&fuzz->in));
        break;
    case OP_WRITEMANY:
        fuzz_views(fuzz, twin, nqi_buf_u8(&fuzz->in), 3);
        break;
    case OP_READ:
        fuzz_read(fuzz, twin);
        break;
    case OP_READCHUNK:
    case OP_PEEK:
        fuzz_readchunk(fuzz, twin);
        break;
    case OP_READMANY:
        fuzz_readmany(fuzz, twin);
        break;
    case OP_UNREAD:
        fuzz_unread(fuzz, twin);
        break;
    case OP_UNWRITE:
        fuzz_unwrite(twin);
        break;
    case OP_APPEND:
        fuzz_append(twin, other);
        break;
    case OP_COPY:
        fuzz_copy(twin, other);
        break;
    case OP_CLEAR:
        nq_stream_clear(twin->stream);
        twin->len = 0;
        break;
    case OP_REFUSE:
        nqi_pool_fail_after(nqi_buf_u8(&fuzz->in) % 8);
        break;
    default:
        break;
    }
    twin_check(&fuzz->twin[0]);
    twin_check(&fuzz->twin[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct stream_fuzz fuzz;

    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.in = nqi_buf_over(data, len);
    for (int i = 0; i < 2; i++)
        MUST(!nq_stream_new(&fuzz.twin[i].stream));
    while (nqi_buf_left(&fuzz.in))
        fuzz_step(&fuzz);
    nqi_pool_fail_after(0);
    nq_view_release(&fuzz.kept);
    for (int i = 0; i < 2; i++)
        nq_stream_free(fuzz.twin[i].stream);
    MUST(fuzz.released == fuzz.wrapped);
    return 0;
}

void fuzz_seeds(void)
{
    static const uint8_t fill[] = {OP_WRITE, 100,          OP_UPDATE, 7,       0, OP_WRAP,
                                   50,       OP_WRITEMANY, 20,        OP_READ, 0, 30};
    static const uint8_t rest[] = {
        OP_READCHUNK, OP_UNREAD,  OP_UNWRITE, OP_COPY,  OP_READMANY, 4,
        OP_APPEND,    OP_REFUSE,  2,          OP_WRITE, 9,           OP_PEEK,
        OP_CLEAR,     OP_TOBYTES, OP_WRITE,   1};

    for (unsigned other = 0; other < 2; other++)
        for (size_t n = 1; n <= sizeof(rest); n++) {
            fuzz_add(fill, sizeof(fill));
            fuzz_add(rest, n);
            for (size_t i = 0; other && i < n; i++)
                fuzz_add_u8(rest[i] | 0x80u);
            fuzz_seed();
        }
}
