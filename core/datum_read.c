/* nq_datum: looking into one. */
#include "core/datum.h"
#include "core/err.h"
#include <string.h>

static nq_err read_not(const nq_datum *datum, const char *wanted)
{
    return nqi_fail(NQ_ERR_INVAL, "%s is no %s", nq_datum_kind_text((nq_datum_kind)datum->kind),
                    wanted);
}

nq_datum_kind nq_datum_kind_of(const nq_datum *datum)
{
    return (nq_datum_kind)datum->kind;
}

nq_err nq_datum_get_bool(const nq_datum *datum, bool *ret)
{
    if (datum->kind != NQ_DATUM_BOOL)
        return read_not(datum, "bool");
    *ret = datum->truth;
    return NQ_OK;
}

nq_err nq_datum_get_int(const nq_datum *datum, int64_t *ret)
{
    if (datum->kind != NQ_DATUM_INT)
        return read_not(datum, "int");
    if (datum->big)
        return NQ_AGAIN;
    *ret = datum->num;
    return NQ_OK;
}

/* The bytes of an int that int64_t holds. */
static size_t read_small(int64_t number, uint8_t bytes[8])
{
    size_t len = 0;

    do {
        bytes[len++] = (uint8_t)number;
        number >>= 8;
    } while (number != (bytes[len - 1] & 0x80 ? -1 : 0));
    return len == 1 && !bytes[0] ? 0 : len;
}

nq_err nq_datum_get_bigint(const nq_datum *datum, void *buf, size_t cap, size_t *len)
{
    const uint8_t *bytes = datum->bytes;
    size_t need = datum->len;
    uint8_t small[8];

    if (datum->kind != NQ_DATUM_INT)
        return read_not(datum, "int");
    if (!datum->big) {
        need = read_small(datum->num, small);
        bytes = small;
    }
    *len = need;
    if (need > cap)
        return NQ_AGAIN;
    if (need)
        memcpy(buf, bytes, need);
    return NQ_OK;
}

nq_err nq_datum_get_float(const nq_datum *datum, double *ret)
{
    if (datum->kind != NQ_DATUM_FLOAT)
        return read_not(datum, "float");
    *ret = datum->real;
    return NQ_OK;
}

nq_err nq_datum_get_bytes(const nq_datum *datum, const char **data, size_t *len)
{
    if (datum->kind != NQ_DATUM_STR && !nqi_datum_is_bytes(datum))
        return read_not(datum, "str, bytes or bytearray");
    *data = (const char *)datum->bytes;
    *len = datum->len;
    return NQ_OK;
}

nq_err nq_datum_get_uuid(const nq_datum *datum, nq_uuid *ret)
{
    if (datum->kind != NQ_DATUM_UUID)
        return read_not(datum, "UUID");
    *ret = datum->uuid;
    return NQ_OK;
}

nq_err nq_datum_get_time(const nq_datum *datum, struct nq_time *ret)
{
    if (datum->kind != NQ_DATUM_DATETIME && datum->kind != NQ_DATUM_DATE &&
        datum->kind != NQ_DATUM_TIME)
        return read_not(datum, "datetime, date or time");
    *ret = datum->time;
    return NQ_OK;
}

nq_err nq_datum_get_timezone(const nq_datum *datum, int64_t *offset_us, const char **name)
{
    if (datum->kind != NQ_DATUM_TIMEZONE)
        return read_not(datum, "timezone");
    *offset_us = datum->zone.offset_us;
    *name = datum->big ? datum->zone.name : NULL;
    return NQ_OK;
}

nq_err nq_datum_get_timedelta(const nq_datum *datum, struct nq_timedelta *ret)
{
    if (datum->kind != NQ_DATUM_TIMEDELTA)
        return read_not(datum, "timedelta");
    *ret = datum->delta;
    return NQ_OK;
}

nq_err nq_datum_get_array(const nq_datum *datum, struct nq_array *ret)
{
    const struct nqi_datum_array *array = &datum->array;

    if (datum->kind != NQ_DATUM_ARRAY && datum->kind != NQ_DATUM_SCALAR)
        return read_not(datum, "numpy array or scalar");
    *ret = (struct nq_array){.dtype = array->dtype,
                             .ndim = array->ndim,
                             .shape = array->shape,
                             .fortran = array->fortran,
                             .data = array->data->bytes,
                             .len = array->data->len};
    return NQ_OK;
}

/* ---- equal ------------------------------------------------------------------------------- */

static bool read_equal_bytes(const nq_datum *a, const nq_datum *b)
{
    return a->len == b->len && !memcmp(a->bytes, b->bytes, a->len);
}

/* Bit by bit. */
static bool read_equal_reals(double a, double b)
{
    uint64_t bits_a, bits_b;

    memcpy(&bits_a, &a, sizeof(a));
    memcpy(&bits_b, &b, sizeof(b));
    return bits_a == bits_b;
}

static bool read_equal_zone(const nq_datum *a, const nq_datum *b)
{
    return a->zone.offset_us == b->zone.offset_us && a->big == b->big && a->len == b->len &&
           !memcmp(a->zone.name, b->zone.name, a->len);
}

static bool read_equal_time(const struct nq_time *a, const struct nq_time *b)
{
    return a->year == b->year && a->month == b->month && a->day == b->day && a->hour == b->hour &&
           a->minute == b->minute && a->second == b->second && a->fold == b->fold &&
           a->microsecond == b->microsecond && !a->time_zone == !b->time_zone &&
           (!a->time_zone || read_equal_zone(a->time_zone, b->time_zone));
}

static bool read_equal_array(const struct nqi_datum_array *a, const struct nqi_datum_array *b)
{
    return !strcmp(a->dtype, b->dtype) && a->ndim == b->ndim && a->fortran == b->fortran &&
           (!a->ndim || !memcmp(a->shape, b->shape, a->ndim * sizeof(uint64_t))) &&
           read_equal_bytes(a->data, b->data);
}

/* Neither unfolds beyond NQ_DATUM_UNFOLD. */
static bool read_equal_items(const nq_datum *a, const nq_datum *b)
{
    if (a->items.count != b->items.count)
        return false;
    for (size_t i = 0; i < a->items.count; i++)
        if (!nq_datum_equal(a->items.at[i], b->items.at[i]))
            return false;
    return true;
}

bool nq_datum_equal(const nq_datum *a, const nq_datum *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case NQ_DATUM_INT:
        return a->big == b->big && (a->big ? read_equal_bytes(a, b) : a->num == b->num);
    case NQ_DATUM_FLOAT:
        return read_equal_reals(a->real, b->real);
    case NQ_DATUM_STR:
    case NQ_DATUM_BYTES:
    case NQ_DATUM_BYTEARRAY:
        return read_equal_bytes(a, b);
    case NQ_DATUM_DATETIME:
    case NQ_DATUM_DATE:
    case NQ_DATUM_TIME:
        return read_equal_time(&a->time, &b->time);
    case NQ_DATUM_TIMEDELTA:
        return !memcmp(&a->delta, &b->delta, sizeof(a->delta));
    case NQ_DATUM_TIMEZONE:
        return read_equal_zone(a, b);
    case NQ_DATUM_UUID:
        return nq_uuid_equal(&a->uuid, &b->uuid);
    case NQ_DATUM_ARRAY:
    case NQ_DATUM_SCALAR:
        return read_equal_array(&a->array, &b->array);
    case NQ_DATUM_NONE:
    case NQ_DATUM_BOOL:
        return false; /* there is one of each, and it is not this one */
    default:
        return a->weight <= NQ_DATUM_UNFOLD && b->weight <= NQ_DATUM_UNFOLD &&
               read_equal_items(a, b);
    }
}
