/* Chunks: counted memory, the pool's or the caller's.
 *
 * A length given to the pool is found again from the header alone (data + len - start of the
 * block), so that a chunk needs no field for it. */
#include "core/chunk.h"
#include "core/err.h"
#include "core/pool.h"

struct chunk_wrap {
    struct nq_chunk chunk;
    nq_release_fn release; /* may be NULL */
    void *arg;
};

_Static_assert(sizeof(struct nq_chunk) <= NQI_CHUNK_HEAD, "a chunk's header fits its room");

static void chunk_init(struct nq_chunk *chunk, enum nqi_chunk_kind kind, void *data, size_t len)
{
    chunk->data = data;
    chunk->len = len;
    chunk->before = 0;
    chunk->kind = (uint8_t)kind;
    atomic_init(&chunk->refs, 1);
}

static nq_err chunk_new_apart(size_t len, nq_chunk **ret)
{
    nq_chunk *chunk = nqi_pool_alloc(sizeof(*chunk));
    void *data;

    if (!chunk)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a chunk of %zu bytes", len);
    data = nqi_pool_alloc(len);
    if (!data) {
        nqi_pool_free(chunk, sizeof(*chunk));
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a chunk of %zu bytes", len);
    }
    chunk_init(chunk, NQI_CHUNK_APART, data, len);
    *ret = chunk;
    return NQ_OK;
}

nq_err nq_chunk_new(size_t len, nq_chunk **ret)
{
    nq_chunk *chunk;

    if (len >= NQI_CHUNK_APART_MIN)
        return chunk_new_apart(len, ret);
    chunk = nqi_pool_alloc(NQI_CHUNK_HEAD + len);
    if (!chunk)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a chunk of %zu bytes", len);
    nqi_chunk_init_inside(chunk, 0, (unsigned char *)chunk + NQI_CHUNK_HEAD, len, 1);
    *ret = chunk;
    return NQ_OK;
}

nq_err nq_chunk_wrap(void *data, size_t len, nq_release_fn release, void *arg, nq_chunk **ret)
{
    struct chunk_wrap *wrap = nqi_pool_alloc(sizeof(*wrap));

    if (!wrap)
        return nqi_fail(NQ_ERR_NOMEM, "no memory to wrap %zu bytes", len);
    chunk_init(&wrap->chunk, NQI_CHUNK_WRAP, data, len);
    wrap->release = release;
    wrap->arg = arg;
    *ret = &wrap->chunk;
    return NQ_OK;
}

void nqi_chunk_end(struct nq_chunk *chunk)
{
    struct chunk_wrap *wrap;
    unsigned char *block;

    switch ((enum nqi_chunk_kind)chunk->kind) {
    case NQI_CHUNK_INSIDE:
        block = (unsigned char *)chunk - chunk->before;
        nqi_pool_free(block, (size_t)(chunk->data - block) + chunk->len);
        break;
    case NQI_CHUNK_APART:
        nqi_pool_free(chunk->data, chunk->len);
        nqi_pool_free(chunk, sizeof(*chunk));
        break;
    case NQI_CHUNK_WRAP:
        wrap = NQI_CONTAINER(chunk, struct chunk_wrap, chunk);
        if (wrap->release)
            wrap->release(wrap->arg, chunk->data, chunk->len);
        nqi_pool_free(wrap, sizeof(*wrap));
        break;
    }
}

nq_chunk *nq_chunk_ref(nq_chunk *chunk)
{
    nqi_chunk_ref(chunk);
    return chunk;
}

void nq_chunk_unref(nq_chunk *chunk)
{
    if (chunk)
        nqi_chunk_unref(chunk);
}

void *nq_chunk_data(const nq_chunk *chunk)
{
    return chunk->data;
}

size_t nq_chunk_size(const nq_chunk *chunk)
{
    return chunk->len;
}

nq_view nq_chunk_view(nq_chunk *chunk, size_t off, size_t len)
{
    assert(off <= chunk->len && len <= chunk->len - off);
    nqi_chunk_ref(chunk);
    return (nq_view){chunk->data + off, len, chunk};
}

void nq_view_release(nq_view *view)
{
    nq_chunk *chunk = view->chunk;

    *view = (nq_view){0};
    if (chunk)
        nqi_chunk_unref(chunk);
}
