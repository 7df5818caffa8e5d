/* nq_datum: blocks, counts, and containers that grow.
 *
 * The end of a value recurses: no deeper than `height`, which nothing passes. */
#include "core/datum.h"
#include "core/err.h"
#include "core/pool.h"
#include <string.h>

#define DATUM_WEIGHT 16 /* of a datum by itself */
#define DATUM_HEAVY (UINT64_C(1) << 62)

_Static_assert(offsetof(struct nq_datum, bytes) == 32, "most values are 64 bytes");

static const char *const datum_kinds[NQ_DATUM_KINDS] = {
    [NQ_DATUM_NONE] = "None",
    [NQ_DATUM_BOOL] = "bool",
    [NQ_DATUM_INT] = "int",
    [NQ_DATUM_FLOAT] = "float",
    [NQ_DATUM_STR] = "str",
    [NQ_DATUM_BYTES] = "bytes",
    [NQ_DATUM_BYTEARRAY] = "bytearray",
    [NQ_DATUM_LIST] = "list",
    [NQ_DATUM_TUPLE] = "tuple",
    [NQ_DATUM_DICT] = "dict",
    [NQ_DATUM_SET] = "set",
    [NQ_DATUM_FROZENSET] = "frozenset",
    [NQ_DATUM_DATETIME] = "datetime.datetime",
    [NQ_DATUM_DATE] = "datetime.date",
    [NQ_DATUM_TIME] = "datetime.time",
    [NQ_DATUM_TIMEDELTA] = "datetime.timedelta",
    [NQ_DATUM_TIMEZONE] = "datetime.timezone",
    [NQ_DATUM_UUID] = "uuid.UUID",
    [NQ_DATUM_ARRAY] = "numpy.ndarray",
    [NQ_DATUM_SCALAR] = "a numpy scalar",
};

const char *nq_datum_kind_text(nq_datum_kind kind)
{
    return (unsigned)kind < NQ_DATUM_KINDS ? datum_kinds[kind] : "something unfinished";
}

/* ---- the few that are not counted -------------------------------------------------------- */

#define DATUM_FIXED(k, member, value)                                        \
    {                                                                        \
        .refs = 1, .kind = (k), .height = 1, .kept = true, .immortal = true, \
        .weight = DATUM_WEIGHT, .member = (value)                            \
    }
#define DATUM_INT1(n) DATUM_FIXED(NQ_DATUM_INT, num, n)
#define DATUM_INT4(n) DATUM_INT1(n), DATUM_INT1(n + 1), DATUM_INT1(n + 2), DATUM_INT1(n + 3)
#define DATUM_INT16(n) DATUM_INT4(n), DATUM_INT4(n + 4), DATUM_INT4(n + 8), DATUM_INT4(n + 12)
#define DATUM_INT64(n) DATUM_INT16(n), DATUM_INT16(n + 16), DATUM_INT16(n + 32), DATUM_INT16(n + 48)

static nq_datum datum_none = DATUM_FIXED(NQ_DATUM_NONE, num, 0);
static nq_datum datum_truths[2] = {DATUM_FIXED(NQ_DATUM_BOOL, truth, false),
                                   DATUM_FIXED(NQ_DATUM_BOOL, truth, true)};
static nq_datum datum_ints[256] = {DATUM_INT64(0), DATUM_INT64(64), DATUM_INT64(128),
                                   DATUM_INT64(192)};

nq_datum *nq_datum_none(void)
{
    return &datum_none;
}

nq_datum *nq_datum_bool(bool truth)
{
    return &datum_truths[truth];
}

/* ---- blocks and counts ------------------------------------------------------------------- */

/* What is not an array fits into the pool's smallest block. */
static size_t datum_inside(unsigned kind)
{
    return kind == NQ_DATUM_ARRAY || kind == NQ_DATUM_SCALAR || kind >= NQI_DATUM_BLANK
               ? NQI_DATUM_INSIDE
               : NQI_DATUM_INSIDE - 8;
}

/* Of the whole block. */
static size_t datum_size(unsigned kind, size_t len)
{
    size_t before = kind == NQ_DATUM_TIMEZONE ? offsetof(struct nqi_datum_zone, name) : 0;

    /* one more for the NUL behind */
    return offsetof(struct nq_datum, bytes) + NQI_MAX(before + len + 1, datum_inside(kind));
}

nq_err nqi_datum_new(unsigned kind, size_t len, nq_datum **ret)
{
    size_t size = datum_size(kind, len);
    nq_datum *datum = len < SIZE_MAX / 2 ? nqi_pool_alloc(size) : NULL;

    if (!datum)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a value of %zu bytes", len);
    memset(datum, 0, offsetof(struct nq_datum, bytes) + datum_inside(kind));
    atomic_init(&datum->refs, 1);
    atomic_init(&datum->kept, false);
    datum->kind = (uint8_t)kind;
    datum->height = 1;
    datum->weight = DATUM_WEIGHT + len;
    datum->len = len;
    datum->unhashable = kind == NQ_DATUM_LIST || kind == NQ_DATUM_DICT || kind == NQ_DATUM_SET ||
                        kind == NQ_DATUM_BYTEARRAY || kind == NQ_DATUM_ARRAY;
    datum->raw = kind >= NQ_DATUM_KINDS;
    *ret = datum;
    return NQ_OK;
}

nq_err nq_datum_int(int64_t number, nq_datum **ret)
{
    nq_err err;

    if (number >= 0 && (size_t)number < NQI_LEN(datum_ints)) {
        *ret = &datum_ints[number];
        return NQ_OK;
    }
    err = nqi_datum_new(NQ_DATUM_INT, 0, ret);
    if (!err)
        (*ret)->num = number;
    return err;
}

size_t nqi_datum_cost(const nq_datum *datum)
{
    return datum->immortal ? 0 : nqi_pool_size(datum_size(datum->kind, datum->len));
}

nq_datum *nq_datum_ref(const nq_datum *datum)
{
    /* The count is no part of the value. */
    nq_datum *mine = (nq_datum *)(uintptr_t)datum;

    if (!mine->immortal)
        atomic_fetch_add_explicit(&mine->refs, 1, memory_order_relaxed);
    return mine;
}

static void datum_end_items(struct nqi_datum_items *items)
{
    for (size_t i = 0; i < items->count; i++)
        nq_datum_unref(items->at[i]);
    nqi_pool_free(items->at, items->cap * sizeof(nq_datum *));
}

static void datum_end(nq_datum *datum)
{
    switch (datum->kind) {
    case NQ_DATUM_LIST:
    case NQ_DATUM_TUPLE:
    case NQ_DATUM_DICT:
    case NQ_DATUM_SET:
    case NQ_DATUM_FROZENSET:
        datum_end_items(&datum->items);
        break;
    case NQ_DATUM_DATETIME:
    case NQ_DATUM_TIME:
        nq_datum_unref((nq_datum *)(uintptr_t)datum->time.time_zone);
        break;
    case NQ_DATUM_ARRAY:
    case NQ_DATUM_SCALAR:
        nq_datum_unref(datum->array.data);
        nqi_pool_free(datum->array.shape, datum->array.ndim * sizeof(uint64_t));
        break;
    default:
        break;
    }
    nqi_pool_free(datum, datum_size(datum->kind, datum->len));
}

void nq_datum_unref(nq_datum *datum)
{
    if (datum && !datum->immortal &&
        atomic_fetch_sub_explicit(&datum->refs, 1, memory_order_acq_rel) == 1)
        datum_end(datum);
}

/* ---- containers -------------------------------------------------------------------------- */

static bool datum_has_items(const nq_datum *datum)
{
    return datum->kind >= NQ_DATUM_LIST && datum->kind <= NQ_DATUM_FROZENSET;
}

nq_err nq_datum_container(nq_datum_kind kind, nq_datum **ret)
{
    if (kind < NQ_DATUM_LIST || kind > NQ_DATUM_FROZENSET)
        return nqi_fail(NQ_ERR_INVAL, "%s is no container", nq_datum_kind_text(kind));
    return nqi_datum_new(kind, 0, ret);
}

nq_err nqi_datum_reserve(nq_datum *container, size_t n)
{
    struct nqi_datum_items *items = &container->items;
    size_t size;
    nq_datum **at;

    if (n <= items->cap - items->count)
        return NQ_OK;
    if (n > SIZE_MAX / 4 / sizeof(nq_datum *) - items->count)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for so many items");
    size = nqi_pool_size(NQI_MAX(items->cap * 2, items->count + n) * sizeof(nq_datum *));
    at = nqi_pool_alloc(size);
    if (!at)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for %zu items", items->count + n);
    if (items->count)
        memcpy(at, items->at, items->count * sizeof(nq_datum *));
    nqi_pool_free(items->at, items->cap * sizeof(nq_datum *));
    items->at = at;
    items->cap = size / sizeof(nq_datum *);
    return NQ_OK;
}

static nq_err datum_may_add(const nq_datum *container, const nq_datum *item, bool hashed)
{
    const char *of = nq_datum_kind_text((nq_datum_kind)container->kind);

    if (container == item)
        return nqi_fail(NQ_ERR_INVAL, "a %s inside of itself", of);
    if (atomic_load_explicit(&container->kept, memory_order_relaxed))
        return nqi_fail(NQ_ERR_INVAL,
                        "a %s that is inside of another value is not changed: what "
                        "is inside of itself is no value",
                        of);
    if (item->height >= NQ_DATUM_DEPTH)
        return nqi_fail(NQ_ERR_TOO_BIG, "deeper than %d containers", NQ_DATUM_DEPTH);
    if (hashed && item->unhashable)
        return nqi_fail(NQ_ERR_INVAL, "%s in a %s: Python cannot hash it",
                        nq_datum_kind_text((nq_datum_kind)item->kind), of);
    if (item->raw && container->kind != NQ_DATUM_TUPLE)
        return nqi_fail(NQ_ERR_INVAL, "something in a %s that is no value", of);
    return NQ_OK;
}

static void datum_keep(nq_datum *container, nq_datum *item)
{
    if (!item->immortal)
        atomic_store_explicit(&item->kept, true, memory_order_relaxed);
    container->height = (uint8_t)NQI_MAX(container->height, item->height + 1);
    container->weight = NQI_MIN(container->weight + item->weight, DATUM_HEAVY);
    container->raw |= item->raw;
    container->unhashable |= item->unhashable;
    container->items.at[container->items.count++] = item;
}

nq_err nqi_datum_add(nq_datum *container, nq_datum *key, nq_datum *item)
{
    bool hashed = container->kind == NQ_DATUM_SET || container->kind == NQ_DATUM_FROZENSET;
    nq_err err = key ? datum_may_add(container, key, true) : NQ_OK;

    if (!err)
        err = datum_may_add(container, item, hashed);
    if (!err)
        err = nqi_datum_reserve(container, key ? 2 : 1);
    if (err)
        return err;
    if (key)
        datum_keep(container, key);
    datum_keep(container, item);
    return NQ_OK;
}

nq_err nq_datum_append(nq_datum *container, nq_datum *item)
{
    if (!datum_has_items(container) || container->kind == NQ_DATUM_DICT)
        return nqi_fail(NQ_ERR_INVAL, "nothing can be appended to %s",
                        nq_datum_kind_text((nq_datum_kind)container->kind));
    return nqi_datum_add(container, NULL, item);
}

nq_err nq_datum_insert(nq_datum *dict, nq_datum *key, nq_datum *value)
{
    if (dict->kind != NQ_DATUM_DICT)
        return nqi_fail(NQ_ERR_INVAL, "no pair can be inserted into %s",
                        nq_datum_kind_text((nq_datum_kind)dict->kind));
    return nqi_datum_add(dict, key, value);
}

size_t nq_datum_count(const nq_datum *datum)
{
    if (!datum_has_items(datum))
        return 0;
    return datum->kind == NQ_DATUM_DICT ? datum->items.count / 2 : datum->items.count;
}

const nq_datum *nq_datum_item(const nq_datum *datum, size_t i)
{
    if (i >= nq_datum_count(datum))
        return NULL;
    return datum->items.at[datum->kind == NQ_DATUM_DICT ? 2 * i : i];
}

const nq_datum *nq_datum_value(const nq_datum *dict, size_t i)
{
    if (dict->kind != NQ_DATUM_DICT || i >= nq_datum_count(dict))
        return NULL;
    return dict->items.at[2 * i + 1];
}

const nq_datum *nq_datum_find(const nq_datum *dict, const char *key)
{
    size_t len = strlen(key);

    for (size_t i = dict->kind == NQ_DATUM_DICT ? nq_datum_count(dict) : 0; i--;) {
        const nq_datum *each = nq_datum_item(dict, i);

        if (each->kind == NQ_DATUM_STR && each->len == len && !memcmp(each->bytes, key, len))
            return nq_datum_value(dict, i);
    }
    return NULL;
}
