/* nq_datum: the kinds without items, and their rules. */
#include "core/datum.h"
#include "core/err.h"
#include "core/pool.h"
#include "core/utf8.h"
#include <string.h>

#define MAKE_DAY_US (INT64_C(24) * 3600 * 1000000)

/* ---- numbers ----------------------------------------------------------------------------- */

/* Without the bytes that only repeat the sign. */
static size_t make_int_len(const uint8_t *bytes, size_t len)
{
    while (len > 1) {
        bool negative = bytes[len - 2] & 0x80;

        if (bytes[len - 1] != (negative ? 0xff : 0))
            return len;
        len--;
    }
    return len && bytes[0] ? len : 0;
}

nq_err nq_datum_bigint(const void *bytes, size_t len, nq_datum **ret)
{
    const uint8_t *at = bytes;
    uint64_t number;
    nq_err err;

    len = make_int_len(at, len);
    if (len > sizeof(number)) {
        err = nqi_datum_new(NQ_DATUM_INT, len, ret);
        if (err)
            return err;
        (*ret)->big = true;
        memcpy((*ret)->bytes, bytes, len);
        return NQ_OK;
    }
    number = len && at[len - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = len; i--;)
        number = number << 8 | at[i];
    return nq_datum_int((int64_t)number, ret);
}

nq_err nq_datum_float(double number, nq_datum **ret)
{
    nq_err err = nqi_datum_new(NQ_DATUM_FLOAT, 0, ret);

    if (!err)
        (*ret)->real = number;
    return err;
}

/* ---- bytes and texts --------------------------------------------------------------------- */

static nq_err make_bytes(unsigned kind, const void *bytes, size_t len, nq_datum **ret)
{
    nq_err err = nqi_datum_new(kind, len, ret);

    if (err)
        return err;
    if (len)
        memcpy((*ret)->bytes, bytes, len);
    (*ret)->bytes[len] = 0;
    return NQ_OK;
}

/* The next surrogate in three bytes, or `end`. */
static const uint8_t *make_surrogate(const uint8_t *at, const uint8_t *end)
{
    while (end - at >= 3) {
        at = memchr(at, 0xed, (size_t)(end - at));
        if (!at || end - at < 3)
            return end;
        if (at[1] >= 0xa0 && at[1] <= 0xbf && (at[2] & 0xc0) == 0x80)
            return at;
        at++;
    }
    return end;
}

bool nqi_datum_is_text(const void *text, size_t len)
{
    const uint8_t *at = text, *end = at + len, *surrogate;

    while (at < end) {
        surrogate = make_surrogate(at, end);
        if (!nqi_utf8_is(at, surrogate))
            return false;
        at = surrogate < end ? surrogate + 3 : end;
    }
    return true;
}

bool nqi_datum_is_utf8(const nq_datum *str)
{
    return nqi_utf8_is(str->bytes, str->bytes + str->len);
}

nq_err nq_datum_str(const char *text, size_t len, nq_datum **ret)
{
    if (len && !nqi_datum_is_text(text, len))
        return nqi_fail(NQ_ERR_INVAL, "a str that is not UTF-8");
    return make_bytes(NQ_DATUM_STR, text, len, ret);
}

nq_err nq_datum_bytes(const void *bytes, size_t len, nq_datum **ret)
{
    return make_bytes(NQ_DATUM_BYTES, bytes, len, ret);
}

nq_err nq_datum_bytearray(const void *bytes, size_t len, nq_datum **ret)
{
    return make_bytes(NQ_DATUM_BYTEARRAY, bytes, len, ret);
}

nq_err nq_datum_uuid(const nq_uuid *uuid, nq_datum **ret)
{
    nq_err err = nqi_datum_new(NQ_DATUM_UUID, 0, ret);

    if (!err)
        (*ret)->uuid = *uuid;
    return err;
}

/* ---- time -------------------------------------------------------------------------------- */

static unsigned make_days(unsigned year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap ? 1U : 0U);
}

static bool make_is_day(const struct nq_time *time)
{
    return time->year >= 1 && time->year <= 9999 && time->month >= 1 && time->month <= 12 &&
           time->day >= 1 && time->day <= make_days(time->year, time->month);
}

static bool make_is_clock(const struct nq_time *time)
{
    return time->hour < 24 && time->minute < 60 && time->second < 60 &&
           time->microsecond < 1000000 && time->fold <= 1 &&
           (!time->time_zone || time->time_zone->kind == NQ_DATUM_TIMEZONE);
}

nq_err nq_datum_time(nq_datum_kind kind, const struct nq_time *time, nq_datum **ret)
{
    bool clock = kind == NQ_DATUM_DATETIME || kind == NQ_DATUM_TIME;
    bool day = kind == NQ_DATUM_DATETIME || kind == NQ_DATUM_DATE;
    struct nq_time mine = *time;
    nq_err err;

    if ((!clock && !day) || (clock && !make_is_clock(time)) || (day && !make_is_day(time)))
        return nqi_fail(NQ_ERR_INVAL, "no such %s", nq_datum_kind_text(kind));
    if (!clock)
        mine = (struct nq_time){.year = time->year, .month = time->month, .day = time->day};
    if (!day) {
        mine.year = 0;
        mine.month = 0;
        mine.day = 0;
    }
    err = nqi_datum_new(kind, 0, ret);
    if (err)
        return err;
    if (mine.time_zone)
        nq_datum_ref(mine.time_zone);
    (*ret)->time = mine;
    return NQ_OK;
}

nq_err nq_datum_timezone(int64_t offset_us, const char *name, nq_datum **ret)
{
    size_t len = name ? strlen(name) : 0;
    nq_err err;

    if (offset_us <= -MAKE_DAY_US || offset_us >= MAKE_DAY_US)
        return nqi_fail(NQ_ERR_INVAL, "a timezone whose offset is a day or more");
    if (name && !nqi_datum_is_text(name, len))
        return nqi_fail(NQ_ERR_INVAL, "a timezone whose name is not UTF-8");
    err = nqi_datum_new(NQ_DATUM_TIMEZONE, len, ret);
    if (err)
        return err;
    (*ret)->zone.offset_us = offset_us;
    (*ret)->big = name != NULL;
    memcpy((*ret)->zone.name, name ? name : "", len + 1);
    return NQ_OK;
}

nq_err nq_datum_timedelta(const struct nq_timedelta *delta, nq_datum **ret)
{
    nq_err err;

    if (delta->days < -999999999 || delta->days > 999999999 || delta->seconds >= 86400 ||
        delta->microseconds >= 1000000)
        return nqi_fail(NQ_ERR_INVAL, "no such datetime.timedelta");
    err = nqi_datum_new(NQ_DATUM_TIMEDELTA, 0, ret);
    if (!err)
        (*ret)->delta = *delta;
    return err;
}

/* ---- numpy ------------------------------------------------------------------------------- */

/* "<M8[ns]", "<m8[25us]": the unit in brackets, or none. */
static bool make_is_unit(const char *at)
{
    static const char *const units[] = {"Y",  "M",  "W",  "D",  "h",  "m", "s",
                                        "ms", "us", "ns", "ps", "fs", "as"};
    size_t len = strlen(at), digits;

    if (!len)
        return true;
    if (*at != '[' || at[len - 1] != ']')
        return false;
    at++;
    digits = strspn(at, "0123456789");
    if (digits > 6 || (digits && *at == '0'))
        return false;
    at += digits;
    for (size_t i = 0; i < NQI_LEN(units); i++)
        if (strlen(units[i]) + 1 == strlen(at) && !strncmp(at, units[i], strlen(units[i])))
            return true;
    return false;
}

static bool make_has_size(const char *sizes, size_t size)
{
    return size && size <= 32 && strchr(sizes, (int)size);
}

size_t nqi_datum_dtype_size(const char *dtype)
{
    size_t digits, size = 0;
    char order = dtype[0], kind = order ? dtype[1] : 0;
    const char *at = dtype + 2;

    if (!kind || !strchr("<>|", order))
        return 0;
    digits = strspn(at, "0123456789");
    if (!digits || digits > 9 || *at == '0')
        return 0;
    for (size_t i = 0; i < digits; i++)
        size = size * 10 + (size_t)(at[i] - '0');
    at += digits;
    if (*at && kind != 'M' && kind != 'm')
        return 0;
    switch (kind) { /* what has one byte, or no numbers, has no order of bytes */
    case 'b':
        return size == 1 && order == '|' ? size : 0;
    case 'i':
    case 'u':
        return make_has_size("\1\2\4\10", size) && (size == 1) == (order == '|') ? size : 0;
    case 'f':
        return make_has_size("\2\4\10\14\20", size) && order != '|' ? size : 0;
    case 'c':
        return make_has_size("\10\20\30\40", size) && order != '|' ? size : 0;
    case 'M':
    case 'm':
        return size == 8 && order != '|' && make_is_unit(at) ? size : 0;
    case 'S':
    case 'V':
        return order == '|' ? size : 0;
    case 'U':
        return order != '|' ? 4 * size : 0;
    default:
        return 0;
    }
}

/* Of the whole array; false: it is not `len`. */
static bool make_array_fits(size_t size, const uint64_t *shape, size_t ndim, size_t len)
{
    uint64_t product = size;
    bool none = false;

    for (size_t i = 0; i < ndim; i++) {
        none |= !shape[i];
        if (shape[i] > INT64_MAX ||
            (shape[i] && __builtin_mul_overflow(product, shape[i], &product)))
            return false;
    }
    return len == (none ? 0 : product);
}

nq_err nqi_datum_set_array(nq_datum *datum, unsigned kind, const char *dtype, const uint64_t *shape,
                           size_t ndim, bool fortran, nq_datum *data)
{
    size_t size = nqi_datum_dtype_size(dtype), dtype_len = strlen(dtype);
    struct nqi_datum_array array = {.fortran = fortran, .ndim = (uint8_t)ndim};

    if (!size || dtype_len >= sizeof(array.dtype))
        return nqi_fail(NQ_ERR_INVAL, "a dtype that is not known");
    if (ndim > NQ_DATUM_DIMS)
        return nqi_fail(NQ_ERR_INVAL, "an array of %zu dimensions", ndim);
    if (!make_array_fits(size, shape, ndim, data->len))
        return nqi_fail(NQ_ERR_INVAL, "an array whose shape is not that of its %zu bytes",
                        data->len);
    if (ndim) {
        array.shape = nqi_pool_alloc(ndim * sizeof(uint64_t));
        if (!array.shape)
            return nqi_fail(NQ_ERR_NOMEM, "no memory for the shape of an array");
        memcpy(array.shape, shape, ndim * sizeof(uint64_t));
    }
    memcpy(array.dtype, dtype, dtype_len + 1);
    array.data = data;
    datum->kind = (uint8_t)kind;
    datum->raw = false;
    datum->unhashable = kind == NQ_DATUM_ARRAY;
    datum->weight += data->weight;
    datum->array = array;
    return NQ_OK;
}

nq_err nq_datum_array(const struct nq_array *array, nq_datum **ret)
{
    NQI_CLEANUP(nqi_datum_unrefp) nq_datum *data = NULL;
    NQI_CLEANUP(nqi_datum_unrefp) nq_datum *datum = NULL;
    nq_err err = nq_datum_bytes(array->data, array->len, &data);

    if (!err)
        err = nqi_datum_new(NQI_DATUM_BLANK, 0, &datum);
    if (!err)
        err = nqi_datum_set_array(datum, NQ_DATUM_ARRAY, array->dtype, array->shape, array->ndim,
                                  array->fortran, data);
    if (err)
        return err;
    data = NULL;
    *ret = NQI_STEAL(datum);
    return NQ_OK;
}

nq_err nq_datum_scalar(const char *dtype, const void *bytes, size_t len, nq_datum **ret)
{
    const struct nq_array array = {.dtype = dtype, .data = bytes, .len = len};
    nq_err err = nq_datum_array(&array, ret);

    if (!err) {
        (*ret)->kind = NQ_DATUM_SCALAR;
        (*ret)->unhashable = false;
    }
    return err;
}
