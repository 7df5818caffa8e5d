/* The inside of nq_datum, for those who read it out of bytes and write it to them.
 *
 * Three bounds are kept where a value grows, so that nobody who walks it needs one: `kept` (what is
 * inside of another is changed no more: there are no cycles), `height` (no recursion over a value
 * is deeper than NQ_DATUM_DEPTH) and `weight` (what is in several places counts in each of them: a
 * walk that goes there again asks for it first).
 *
 * Pure: memory comes from the pool.  Thread: as <netqueue/datum.h>. */
#ifndef NQ_CORE_DATUM_H
#define NQ_CORE_DATUM_H

#include "core/base.h"
#include <netqueue/datum.h>
#include <stdatomic.h>

/* Kinds that only a reader has, while a value is on its way. */
enum {
    NQI_DATUM_GLOBAL = NQ_DATUM_KINDS, /* `num`: which */
    NQI_DATUM_BLANK_UUID,              /* becomes one */
    NQI_DATUM_BLANK,                   /* becomes an array; this and the next have its size */
    NQI_DATUM_DTYPE                    /* as an array's */
};

#define NQI_DATUM_DTYPE_CAP 22 /* a dtype's text with its NUL */
#define NQI_DATUM_INSIDE 40    /* bytes of an array in a block; of everything else 8 less */

struct nqi_datum_array {
    nq_datum *data;  /* NQ_DATUM_BYTES or NQ_DATUM_BYTEARRAY; one reference */
    uint64_t *shape; /* pooled; NULL without dimensions */
    char dtype[NQI_DATUM_DTYPE_CAP];
    uint8_t ndim;
    bool fortran;
};

struct nqi_datum_items {
    nq_datum **at; /* pooled; a dict's are key, value, key, value */
    size_t count, cap;
};

struct nqi_datum_zone {
    int64_t offset_us;
    char name[]; /* `len` bytes and a NUL */
};

struct nq_datum {
    _Atomic uint32_t refs; /* atomic: the last one ends what the others used */
    uint8_t kind;          /* nq_datum_kind, or one of the above */
    uint8_t height;        /* 1 = nothing inside */
    _Atomic bool kept;     /* it is inside of another; atomic: two threads may find it so */
    bool immortal;         /* not counted */
    bool unhashable;       /* for Python, so no key and in no set */
    bool raw;              /* it has something inside that no value is */
    bool big;              /* an int: `bytes`, `len` of them */
    uint64_t weight;       /* bytes, about, if all in it were written as often as it stands there */
    size_t len;            /* of what has bytes in here */
    union {
        bool truth;
        int64_t num;
        double real;
        nq_uuid uuid;
        struct nqi_datum_items items;
        struct nq_time time;
        struct nq_timedelta delta;
        struct nqi_datum_zone zone;
        struct nqi_datum_array array;
        unsigned char inside[NQI_DATUM_INSIDE];
        unsigned char bytes[0]; /* `len` and a NUL, as many as there are */
    };
};

/* Cleanup function. */
static inline void nqi_datum_unrefp(nq_datum **datum)
{
    nq_datum_unref(*datum);
}

static inline bool nqi_datum_is_bytes(const nq_datum *datum)
{
    return datum->kind == NQ_DATUM_BYTES || datum->kind == NQ_DATUM_BYTEARRAY;
}

/* A datum of any kind with `len` bytes inside, zeroed but for these; `weight` and `height` are of
 * one without items.  @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_datum_new(unsigned kind, size_t len, nq_datum **ret);

/* Room for at least `n` items more. */
NQ_MUST_CHECK nq_err nqi_datum_reserve(nq_datum *container, size_t n);

/* As nq_datum_append() and, with a key, nq_datum_insert(); a tuple takes raw items too.
 * @param key  NULL = none */
NQ_MUST_CHECK nq_err nqi_datum_add(nq_datum *container, nq_datum *key, nq_datum *item);

/* What one more node costs, in bytes. */
size_t nqi_datum_cost(const nq_datum *datum);

/* datum_make.c: Python's texts: UTF-8 in which surrogates may stand alone. */
bool nqi_datum_is_text(const void *text, size_t len);
/* ... and whether they do not. */
bool nqi_datum_is_utf8(const nq_datum *str);

/* Make `datum`, a BLANK or new, an array: all rules are checked.
 * @param data  one reference [take] on NQ_OK
 * @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_INVAL */
NQ_MUST_CHECK nq_err nqi_datum_set_array(nq_datum *datum, unsigned kind, const char *dtype,
                                         const uint64_t *shape, size_t ndim, bool fortran,
                                         nq_datum *data);

/* Bytes of one item of a dtype; 0 = it is none that is known. */
size_t nqi_datum_dtype_size(const char *dtype);

#endif
