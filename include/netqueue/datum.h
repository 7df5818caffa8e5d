/**
 * @file
 * nq_datum: a value as Python has them, for what pickle and JSON carry.
 *
 *     pickle --nq_pickle_load()--> nq_datum --nq_datum_to_json()--> json_t
 *     pickle <--nq_pickle_dump()-- nq_datum <--nq_datum_from_json()-- json_t
 *
 * A datum is counted: nq_datum_ref() and nq_datum_unref().  Lists, tuples, sets and dicts are
 * filled by their maker and hold one reference on each of their items.  What is inside of another
 * is fixed: it is changed no more, so a value never contains itself, however it was made.  Nothing
 * is deeper than NQ_DATUM_DEPTH, and so nothing here needs more stack than that.
 *
 * The same datum may stand in several places, and comes back from a pickle as it went in.
 *
 * Thread: one at a time while a datum is filled; afterwards any number may read it, and any may
 *         ref and unref.  Nothing here blocks.
 */
#ifndef NETQUEUE_DATUM_H
#define NETQUEUE_DATUM_H

#include <netqueue/err.h>
#include <netqueue/uuid.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct json_t; /* jansson's */

typedef struct nq_datum nq_datum;

#define NQ_DATUM_DEPTH 64 /* containers inside one another, and the value in the last one */
#define NQ_DATUM_DIMS 64  /* dimensions of an array */
/* Bytes that a value may take where what stands in it twice is written twice: JSON. */
#define NQ_DATUM_UNFOLD (UINT64_C(256) << 20)

typedef enum nq_datum_kind {
    NQ_DATUM_NONE,
    NQ_DATUM_BOOL,
    NQ_DATUM_INT, /* of any size */
    NQ_DATUM_FLOAT,
    NQ_DATUM_STR,
    NQ_DATUM_BYTES,
    NQ_DATUM_BYTEARRAY,
    NQ_DATUM_LIST,
    NQ_DATUM_TUPLE,
    NQ_DATUM_DICT,
    NQ_DATUM_SET,
    NQ_DATUM_FROZENSET,
    NQ_DATUM_DATETIME,
    NQ_DATUM_DATE,
    NQ_DATUM_TIME,
    NQ_DATUM_TIMEDELTA,
    NQ_DATUM_TIMEZONE,
    NQ_DATUM_UUID,
    NQ_DATUM_ARRAY,  /* numpy.ndarray */
    NQ_DATUM_SCALAR, /* a numpy scalar: numpy.float64(1.5) */
    NQ_DATUM_KINDS,
} nq_datum_kind;

/** Python's name of the type; static, never NULL. */
NQ_API const char *nq_datum_kind_text(nq_datum_kind kind);

/* ---- counting --------------------------------------------------------------------------- */

/** One reference more; returns `datum`.  Thread: any. */
NQ_API nq_datum *nq_datum_ref(const nq_datum *datum);

/** One reference less; the last one ends it.  NULL is allowed.  Thread: any. */
NQ_API void nq_datum_unref(nq_datum *datum);

/* ---- making ------------------------------------------------------------------------------
 * `ret` is [out] one reference, owned by the caller.  All return NQ_OK, NQ_ERR_NOMEM, or
 * NQ_ERR_INVAL where a rule is named. */

NQ_API nq_datum *nq_datum_none(void);       /* the one None; need not be unreferenced */
NQ_API nq_datum *nq_datum_bool(bool truth); /* likewise */
NQ_API NQ_MUST_CHECK nq_err nq_datum_int(int64_t number, nq_datum **ret);
/** @param bytes  two's complement, least significant byte first, `len` of them; 0 bytes are 0 */
NQ_API NQ_MUST_CHECK nq_err nq_datum_bigint(const void *bytes, size_t len, nq_datum **ret);
NQ_API NQ_MUST_CHECK nq_err nq_datum_float(double number, nq_datum **ret);
/** @param text  UTF-8, copied; NUL is a character as any.  Surrogates alone are allowed, in three
 *               bytes each, because Python's texts may have them.  NQ_ERR_INVAL: not such a text */
NQ_API NQ_MUST_CHECK nq_err nq_datum_str(const char *text, size_t len, nq_datum **ret);
NQ_API NQ_MUST_CHECK nq_err nq_datum_bytes(const void *bytes, size_t len, nq_datum **ret);
NQ_API NQ_MUST_CHECK nq_err nq_datum_bytearray(const void *bytes, size_t len, nq_datum **ret);
NQ_API NQ_MUST_CHECK nq_err nq_datum_uuid(const nq_uuid *uuid, nq_datum **ret);

/** An empty list, tuple, dict, set or frozenset.  NQ_ERR_INVAL: another kind */
NQ_API NQ_MUST_CHECK nq_err nq_datum_container(nq_datum_kind kind, nq_datum **ret);

/** Append to a list, tuple, set or frozenset.  Whether a set has the item already is not looked
 *  at.
 *  @param item  [take] on NQ_OK; it is fixed from now on
 *  @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_INVAL (no such container; it is inside of another one; it
 *          is the item; an item of a set that Python cannot hash), NQ_ERR_TOO_BIG (deeper than
 *          NQ_DATUM_DEPTH) */
NQ_API NQ_MUST_CHECK nq_err nq_datum_append(nq_datum *container, nq_datum *item);

/** Append a pair to a dict.  Of two equal keys the later one counts.
 *  @param key, value  [take] both on NQ_OK, else none; as for nq_datum_append() */
NQ_API NQ_MUST_CHECK nq_err nq_datum_insert(nq_datum *dict, nq_datum *key, nq_datum *value);

/** A point in time, or a part of one. */
struct nq_time {
    uint16_t year;             /* 1..9999; not of a time */
    uint8_t month, day;        /* from 1; not of a time */
    uint8_t hour, minute;      /* not of a date, nor what follows */
    uint8_t second;            /* 0..59 */
    uint8_t fold;              /* 1 = the second of two that read the same; protocols 4 and 5 */
    uint32_t microsecond;      /* 0..999999 */
    const nq_datum *time_zone; /* NQ_DATUM_TIMEZONE; NULL = naive */
};

/** A datetime, date or time; the fields that it does not have are not looked at.
 *  @param time  copied, with a reference on its zone.  NQ_ERR_INVAL: no such day or time */
NQ_API NQ_MUST_CHECK nq_err nq_datum_time(nq_datum_kind kind, const struct nq_time *time,
                                          nq_datum **ret);

/** timezone(offset) or timezone(offset, name).
 *  @param offset_us  east of Greenwich, microseconds, less than 24 hours; 0 without name is utc
 *  @param name       UTF-8, copied; NULL = none */
NQ_API NQ_MUST_CHECK nq_err nq_datum_timezone(int64_t offset_us, const char *name, nq_datum **ret);

/** As Python keeps a timedelta. */
struct nq_timedelta {
    int32_t days;          /* -999999999..999999999 */
    uint32_t seconds;      /* 0..86399 */
    uint32_t microseconds; /* 0..999999 */
};
NQ_API NQ_MUST_CHECK nq_err nq_datum_timedelta(const struct nq_timedelta *delta, nq_datum **ret);

/** A numpy array or scalar. */
struct nq_array {
    const char *dtype;     /* numpy's dtype.str: "<f8", "|u1", "<U5", "<M8[ns]": see
                            * docs/serializers.md */
    unsigned ndim;         /* 0..NQ_DATUM_DIMS; of a scalar 0 */
    const uint64_t *shape; /* `ndim` numbers */
    bool fortran;          /* the first index varies fastest */
    const void *data;
    size_t len; /* bytes: the shape's product times the dtype's size */
};
/** @param array  copied.  NQ_ERR_INVAL: the dtype is none of those, or `len` is not what follows
 *                from dtype and shape */
NQ_API NQ_MUST_CHECK nq_err nq_datum_array(const struct nq_array *array, nq_datum **ret);
NQ_API NQ_MUST_CHECK nq_err nq_datum_scalar(const char *dtype, const void *data, size_t len,
                                            nq_datum **ret);

/* ---- reading -----------------------------------------------------------------------------
 * What is handed out is borrowed from the datum.  The getters return NQ_OK, or NQ_ERR_INVAL when
 * the datum is of another kind. */

NQ_API nq_datum_kind nq_datum_kind_of(const nq_datum *datum);
NQ_API NQ_MUST_CHECK nq_err nq_datum_get_bool(const nq_datum *datum, bool *ret);
/** @return also NQ_AGAIN: an int that int64_t cannot hold; nq_datum_get_bigint() has it */
NQ_API NQ_MUST_CHECK nq_err nq_datum_get_int(const nq_datum *datum, int64_t *ret);
/** Any int as nq_datum_bigint() takes it, in as few bytes as there are; of 0 none.
 *  @param buf  `cap` bytes of the caller's
 *  @param len  [out] bytes written, or with NQ_AGAIN: bytes needed, more than `cap` */
NQ_API NQ_MUST_CHECK nq_err nq_datum_get_bigint(const nq_datum *datum, void *buf, size_t cap,
                                                size_t *len);
NQ_API NQ_MUST_CHECK nq_err nq_datum_get_float(const nq_datum *datum, double *ret);
/** Of str, bytes and bytearray.  @param data [out] a NUL follows behind the `len` bytes */
NQ_API NQ_MUST_CHECK nq_err nq_datum_get_bytes(const nq_datum *datum, const char **data,
                                               size_t *len);
NQ_API NQ_MUST_CHECK nq_err nq_datum_get_uuid(const nq_datum *datum, nq_uuid *ret);
NQ_API NQ_MUST_CHECK nq_err nq_datum_get_time(const nq_datum *datum, struct nq_time *ret);
/** @param name  [out] NULL = none */
NQ_API NQ_MUST_CHECK nq_err nq_datum_get_timezone(const nq_datum *datum, int64_t *offset_us,
                                                  const char **name);
NQ_API NQ_MUST_CHECK nq_err nq_datum_get_timedelta(const nq_datum *datum, struct nq_timedelta *ret);
NQ_API NQ_MUST_CHECK nq_err nq_datum_get_array(const nq_datum *datum, struct nq_array *ret);

/** Items of a list, tuple or set, pairs of a dict; 0 of everything else. */
NQ_API size_t nq_datum_count(const nq_datum *datum);
/** The i-th item, or the key of the i-th pair.  NULL: there are not so many. */
NQ_API const nq_datum *nq_datum_item(const nq_datum *datum, size_t i);
/** The value of the i-th pair of a dict.  NULL: there are not so many. */
NQ_API const nq_datum *nq_datum_value(const nq_datum *dict, size_t i);
/** The value of the str `key` in a dict; NULL = there is none.  Looks at all of them. */
NQ_API const nq_datum *nq_datum_find(const nq_datum *dict, const char *key);

/** The same kind, the same value, and the same order of items and pairs, in sets and dicts too.
 *  A NaN is itself, also in another place; 1, 1.0 and True are three.  Containers that unfold
 *  beyond NQ_DATUM_UNFOLD are equal to themselves only. */
NQ_API bool nq_datum_equal(const nq_datum *a, const nq_datum *b);

/* ---- JSON -------------------------------------------------------------------------------- */

/** A value as JSON.  Tuples, sets and frozensets become arrays; UUIDs, datetimes, dates and times
 *  texts, in the forms of RFC 4122 and ISO 8601.
 *  @param ret  [out] a new reference
 *  @return NQ_OK; NQ_ERR_NOMEM; NQ_ERR_UNSUPPORTED (JSON cannot carry it; nq_error() has the
 *          place, as a JSON pointer, and the kind: bytes, bytearrays, arrays, numpy scalars,
 *          timedeltas and timezones, ints that int64_t does not hold, floats that are not finite,
 *          texts with surrogates, keys that are no str); NQ_ERR_TOO_BIG (NQ_DATUM_UNFOLD) */
NQ_API NQ_MUST_CHECK nq_err nq_datum_to_json(const nq_datum *datum, struct json_t **ret);

/** JSON as a value: object dict, array list, text str, integer int, real float.
 *  @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_TOO_BIG (deeper than NQ_DATUM_DEPTH) */
NQ_API NQ_MUST_CHECK nq_err nq_datum_from_json(const struct json_t *json, nq_datum **ret);

#ifdef __cplusplus
}
#endif
#endif
