/* The machine's stack and memo, and what they may cost. */
#include "core/err.h"
#include "core/pickle.h"
#include "core/pool.h"
#include <string.h>

#define STACK_MIN 32

/* ---- bounds ------------------------------------------------------------------------------ */

nq_err nqi_pickle_charge(struct nqi_pickle_read *read, uint64_t bytes)
{
    if (bytes > read->memory - read->used)
        return nqi_fail(NQ_ERR_TOO_BIG, "the value takes more than %llu bytes",
                        (unsigned long long)read->memory);
    read->used += bytes;
    return NQ_OK;
}

nq_err nqi_pickle_add(struct nqi_pickle_read *read, nq_datum *container, nq_datum *key,
                      nq_datum *item)
{
    size_t n = key ? 2 : 1;
    nq_err err;

    if (item->height >= read->depth || (key && key->height >= read->depth))
        return nqi_fail(NQ_ERR_TOO_BIG, "deeper than %u containers", read->depth);
    /* a list that doubles has room for twice its items, and rounded up once more */
    err = nqi_pickle_charge(read, n * 3 * sizeof(nq_datum *));
    return err ? err : nqi_datum_add(container, key, item);
}

/* ---- stack ------------------------------------------------------------------------------- */

static nq_err stack_grow(nq_datum ***array, size_t *cap, size_t need, size_t used)
{
    size_t size = nqi_pool_size(NQI_MAX(NQI_MAX(2 * *cap, need), STACK_MIN) * sizeof(nq_datum *));
    nq_datum **more = nqi_pool_alloc(size);

    if (!more)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a stack of %zu", need);
    if (used)
        memcpy(more, *array, used * sizeof(nq_datum *));
    nqi_pool_free(*array, *cap * sizeof(nq_datum *));
    *array = more;
    *cap = size / sizeof(nq_datum *);
    return NQ_OK;
}

/* @param datum  one reference [take], also on failure; NULL = a mark */
nq_err nqi_pickle_push(struct nqi_pickle_read *read, nq_datum *datum)
{
    nq_err err = NQ_OK;

    if (read->height == read->stack_cap)
        err = stack_grow(&read->stack, &read->stack_cap, read->height + 1, read->height);
    if (err) {
        nq_datum_unref(datum);
        return err;
    }
    read->stack[read->height++] = datum;
    return NQ_OK;
}

/* A new value, unless `err` says that there is none. */
nq_err nqi_pickle_made(struct nqi_pickle_read *read, nq_err err, nq_datum **datum)
{
    if (err)
        return err;
    err = nqi_pickle_charge(read, nqi_datum_cost(*datum));
    if (err) {
        nq_datum_unref(*datum);
        return err;
    }
    return nqi_pickle_push(read, *datum);
}

/* The value that is `down` from the top, or NULL: a mark or the ground is nearer. */
nq_datum *nqi_pickle_peek(const struct nqi_pickle_read *read, size_t down)
{
    for (size_t i = 0; i <= down; i++)
        if (i >= read->height || !read->stack[read->height - 1 - i])
            return NULL;
    return read->stack[read->height - 1 - down];
}

nq_err nqi_pickle_empty(void)
{
    return nqi_fail(NQ_ERR_PROTO, "not enough values before it");
}

/* Drop values, marks too, until `height` are left. */
void nqi_pickle_drop(struct nqi_pickle_read *read, size_t height)
{
    while (read->height > height)
        nq_datum_unref(read->stack[--read->height]);
}

/* Where the values behind the last mark begin. */
nq_err nqi_pickle_mark(const struct nqi_pickle_read *read, size_t *ret)
{
    size_t at = read->height;

    while (at && read->stack[at - 1])
        at--;
    if (!at)
        return nqi_fail(NQ_ERR_PROTO, "no MARK before it");
    *ret = at;
    return NQ_OK;
}

/* ---- memo -------------------------------------------------------------------------------- */

nq_err nqi_pickle_memo(struct nqi_pickle_read *read, uint64_t i)
{
    nq_datum *datum = nqi_pickle_peek(read, 0);
    nq_err err;

    if (!datum)
        return nqi_pickle_empty();
    if (i >= read->memo_most)
        return nqi_fail(NQ_ERR_TOO_BIG, "memo entry %llu, and there are %u at most",
                        (unsigned long long)i, read->memo_most);
    if (i >= read->memo_cap) {
        err = stack_grow(&read->memo, &read->memo_cap, (size_t)i + 1, read->memo_count);
        if (err)
            return err;
    }
    while (read->memo_count <= i)
        read->memo[read->memo_count++] = NULL;
    nq_datum_unref(read->memo[i]);
    read->memo[i] = nq_datum_ref(datum);
    return NQ_OK;
}

void nqi_pickle_fini(struct nqi_pickle_read *read)
{
    nqi_pickle_drop(read, 0);
    for (size_t i = 0; i < read->memo_count; i++)
        nq_datum_unref(read->memo[i]);
    nqi_pool_free(read->stack, read->stack_cap * sizeof(nq_datum *));
    nqi_pool_free(read->memo, read->memo_cap * sizeof(nq_datum *));
}
