/* A value as a pickle: for each kind what Python's own pickle writes, in the protocol asked for.
 *
 * It recurses, no deeper than NQ_DATUM_DEPTH. */
#include "core/err.h"
#include "core/pickle_out.h"
#include <string.h>

/* ---- what has no items ------------------------------------------------------------------- */

static void write_any(struct nqi_out *out, const nq_datum *datum);

static void write_float(struct nqi_out *out, double number)
{
    uint8_t raw[9] = {NQI_OP_BINFLOAT};
    uint64_t bits;

    memcpy(&bits, &number, sizeof(bits));
    nqi_store_u64(raw + 1, bits);
    nqi_out_raw(out, raw, sizeof(raw));
}

static void write_latin1(struct nqi_out *out, const uint8_t *bytes, size_t len)
{
    size_t high = 0;
    uint8_t *at;

    for (size_t i = 0; i < len; i++)
        high += bytes[i] >> 7;
    nqi_out_length(out, len + high, 0, NQI_OP_BINUNICODE, 0);
    at = len ? nqi_out_room(out, len + high) : NULL;
    for (size_t i = 0; at && i < len; i++) {
        if (bytes[i] & 0x80)
            *at++ = (uint8_t)(0xc0 | bytes[i] >> 6);
        *at++ = bytes[i] & 0x80 ? 0x80 | (bytes[i] & 0x3f) : bytes[i];
    }
}

/* What protocol 2 has no opcode for: a text and how it is meant. */
static void write_bytes2(struct nqi_out *out, const uint8_t *bytes, size_t len)
{
    if (!len) {
        nqi_out_global(out, NQI_GLOBAL_BYTES);
        nqi_out_op(out, NQI_OP_EMPTY_TUPLE);
    } else {
        nqi_out_global(out, NQI_GLOBAL_ENCODE);
        write_latin1(out, bytes, len);
        nqi_out_literal(out, "latin1");
        nqi_out_op(out, NQI_OP_TUPLE2);
    }
    nqi_out_op(out, NQI_OP_REDUCE);
}

static void write_bytes_length(struct nqi_out *out, size_t len)
{
    nqi_out_length(out, len, NQI_OP_SHORT_BINBYTES, NQI_OP_BINBYTES,
                   out->protocol >= 4 ? NQI_OP_BINBYTES8 : 0);
}

static void write_short_bytes(struct nqi_out *out, const void *bytes, size_t len)
{
    if (out->protocol < 3) {
        write_bytes2(out, bytes, len);
        return;
    }
    write_bytes_length(out, len);
    nqi_out_raw(out, bytes, len);
}

/* As bytes, whichever of the two it is. */
static void write_bytes(struct nqi_out *out, const nq_datum *datum)
{
    if (out->protocol < 3) {
        write_bytes2(out, datum->bytes, datum->len);
        return;
    }
    write_bytes_length(out, datum->len);
    nqi_out_bytes_of(out, datum);
}

static void write_bytearray(struct nqi_out *out, const nq_datum *datum)
{
    if (out->protocol >= 5) {
        nqi_out_number(out, NQI_OP_BYTEARRAY8, datum->len, 8);
        nqi_out_bytes_of(out, datum);
        return;
    }
    nqi_out_global(out, NQI_GLOBAL_BYTEARRAY);
    if (datum->len)
        write_bytes(out, datum);
    nqi_out_op(out, datum->len ? NQI_OP_TUPLE1 : NQI_OP_EMPTY_TUPLE);
    nqi_out_op(out, NQI_OP_REDUCE);
}

static void write_bigint(struct nqi_out *out, const nq_datum *datum)
{
    nqi_out_length(out, datum->len, NQI_OP_LONG1, NQI_OP_LONG4, 0);
    nqi_out_raw(out, datum->bytes, datum->len);
}

static void write_uuid(struct nqi_out *out, const nq_uuid *uuid)
{
    uint8_t bytes[17] = {0}; /* and a zero, or it would be negative */
    size_t len = sizeof(bytes);

    for (size_t i = 0; i < 16; i++)
        bytes[i] = uuid->bytes[15 - i];
    while (len && !bytes[len - 1] && (len < 2 || !(bytes[len - 2] & 0x80)))
        len--;
    nqi_out_global(out, NQI_GLOBAL_UUID);
    nqi_out_op(out, NQI_OP_EMPTY_TUPLE);
    nqi_out_op(out, NQI_OP_NEWOBJ);
    nqi_out_op(out, NQI_OP_EMPTY_DICT);
    nqi_out_literal(out, "int");
    nqi_out_number(out, NQI_OP_LONG1, len, 1);
    nqi_out_raw(out, bytes, len);
    nqi_out_op(out, NQI_OP_SETITEM);
    nqi_out_op(out, NQI_OP_BUILD);
}

/* ---- datetime ---------------------------------------------------------------------------- */

static void write_timedelta(struct nqi_out *out, const struct nq_timedelta *delta)
{
    nqi_out_global(out, NQI_GLOBAL_TIMEDELTA);
    nqi_out_int(out, delta->days);
    nqi_out_int(out, delta->seconds);
    nqi_out_int(out, delta->microseconds);
    nqi_out_op(out, NQI_OP_TUPLE3);
    nqi_out_op(out, NQI_OP_REDUCE);
}

static void write_timezone(struct nqi_out *out, const nq_datum *datum)
{
    int64_t day = INT64_C(86400) * 1000000, offset = datum->zone.offset_us;
    int64_t rest = offset < 0 ? offset + day : offset;
    struct nq_timedelta delta = {.days = offset < 0 ? -1 : 0,
                                 .seconds = (uint32_t)(rest / 1000000),
                                 .microseconds = (uint32_t)(rest % 1000000)};

    nqi_out_global(out, NQI_GLOBAL_TIMEZONE);
    write_timedelta(out, &delta);
    if (datum->big) /* it has a name */
        nqi_out_text(out, datum->zone.name, datum->len);
    nqi_out_op(out, datum->big ? NQI_OP_TUPLE2 : NQI_OP_TUPLE1);
    nqi_out_op(out, NQI_OP_REDUCE);
}

static void write_time(struct nqi_out *out, const nq_datum *datum)
{
    const struct nq_time *time = &datum->time;
    unsigned fold = out->protocol >= 4 && time->fold ? 0x80 : 0; /* not before */
    uint32_t micro = time->microsecond;
    bool day = datum->kind != NQ_DATUM_TIME, clock = datum->kind != NQ_DATUM_DATE;
    uint8_t raw[10] = {(uint8_t)(time->year >> 8),
                       (uint8_t)time->year,
                       (uint8_t)(time->month | fold),
                       time->day,
                       (uint8_t)(time->hour | (day ? 0 : fold)),
                       time->minute,
                       time->second,
                       (uint8_t)(micro >> 16),
                       (uint8_t)(micro >> 8),
                       (uint8_t)micro};

    nqi_out_global(out, (enum nqi_global)(NQI_GLOBAL_DATETIME + (datum->kind - NQ_DATUM_DATETIME)));
    write_short_bytes(out, raw + (day ? 0 : 4), clock ? (day ? 10 : 6) : 4);
    if (time->time_zone)
        write_any(out, time->time_zone);
    nqi_out_op(out, time->time_zone ? NQI_OP_TUPLE2 : NQI_OP_TUPLE1);
    nqi_out_op(out, NQI_OP_REDUCE);
}

/* ---- numpy ------------------------------------------------------------------------------- */

/* "[25us]": ({}, (b"us", 25, 1, 1)) */
static void write_unit(struct nqi_out *out, const char *unit)
{
    unsigned count = 0;

    unit += *unit == '[';
    while (*unit >= '0' && *unit <= '9')
        count = count * 10 + (unsigned)(*unit++ - '0');
    nqi_out_op(out, NQI_OP_EMPTY_DICT);
    nqi_out_op(out, NQI_OP_MARK);
    if (*unit)
        write_short_bytes(out, unit, strlen(unit) - 1);
    else
        write_short_bytes(out, "generic", 7);
    nqi_out_int(out, count ? count : 1);
    nqi_out_int(out, 1);
    nqi_out_int(out, 1);
    nqi_out_op(out, NQI_OP_TUPLE);
    nqi_out_op(out, NQI_OP_TUPLE2);
}

static void write_dtype(struct nqi_out *out, const char *dtype)
{
    size_t len = 2 + strspn(dtype + 2, "0123456789");
    bool timed = dtype[1] == 'M' || dtype[1] == 'm', text = dtype[1] == 'U';
    bool sized = text || dtype[1] == 'S' || dtype[1] == 'V';

    nqi_out_global(out, NQI_GLOBAL_DTYPE);
    nqi_out_text(out, dtype + 1, len - 1);
    nqi_out_op(out, NQI_OP_NEWFALSE);
    nqi_out_op(out, NQI_OP_NEWTRUE);
    nqi_out_op(out, NQI_OP_TUPLE3);
    nqi_out_op(out, NQI_OP_REDUCE);
    nqi_out_op(out, NQI_OP_MARK);
    nqi_out_int(out, timed ? 4 : 3); /* version */
    nqi_out_text(out, dtype, 1);
    for (unsigned i = 0; i < 3; i++) /* no other dtype inside, names, fields */
        nqi_out_op(out, NQI_OP_NONE);
    nqi_out_int(out, sized ? (int64_t)nqi_datum_dtype_size(dtype) : -1);
    nqi_out_int(out, sized ? (text ? 4 : 1) : -1); /* alignment */
    nqi_out_int(out, text ? 8 : 0);                /* numpy's flags */
    if (timed)
        write_unit(out, dtype + len);
    nqi_out_op(out, NQI_OP_TUPLE);
    nqi_out_op(out, NQI_OP_BUILD);
}

/* numpy takes bytes only, so a bytearray's place in the memo does not count. */
static void write_array_data(struct nqi_out *out, const nq_datum *data)
{
    if (data->kind == NQ_DATUM_BYTES)
        write_any(out, data);
    else
        write_bytes(out, data);
}

static void write_array(struct nqi_out *out, const struct nqi_datum_array *array)
{
    nqi_out_global(out, NQI_GLOBAL_RECONSTRUCT);
    nqi_out_global(out, NQI_GLOBAL_NDARRAY);
    nqi_out_int(out, 0);
    nqi_out_op(out, NQI_OP_TUPLE1);
    write_short_bytes(out, "b", 1);
    nqi_out_op(out, NQI_OP_TUPLE3);
    nqi_out_op(out, NQI_OP_REDUCE);
    nqi_out_op(out, NQI_OP_MARK);
    nqi_out_int(out, 1); /* version */
    nqi_out_op(out, NQI_OP_MARK);
    for (size_t i = 0; i < array->ndim; i++)
        nqi_out_int(out, (int64_t)array->shape[i]);
    nqi_out_op(out, NQI_OP_TUPLE);
    write_dtype(out, array->dtype);
    nqi_out_op(out, array->fortran ? NQI_OP_NEWTRUE : NQI_OP_NEWFALSE);
    write_array_data(out, array->data);
    nqi_out_op(out, NQI_OP_TUPLE);
    nqi_out_op(out, NQI_OP_BUILD);
}

static void write_scalar(struct nqi_out *out, const struct nqi_datum_array *array)
{
    nqi_out_global(out, NQI_GLOBAL_SCALAR);
    write_dtype(out, array->dtype);
    write_array_data(out, array->data);
    nqi_out_op(out, NQI_OP_TUPLE2);
    nqi_out_op(out, NQI_OP_REDUCE);
}

/* ---- containers -------------------------------------------------------------------------- */

static void write_items(struct nqi_out *out, const nq_datum *datum)
{
    for (size_t i = 0; i < datum->items.count; i++)
        write_any(out, datum->items.at[i]);
}

static void write_tuple(struct nqi_out *out, const nq_datum *tuple)
{
    size_t count = tuple->items.count;

    if (count > 3)
        nqi_out_op(out, NQI_OP_MARK);
    write_items(out, tuple);
    if (!count)
        nqi_out_op(out, NQI_OP_EMPTY_TUPLE);
    else
        nqi_out_op(out, count > 3 ? NQI_OP_TUPLE : NQI_OP_TUPLE1 + (unsigned)count - 1);
    nqi_out_remember(out, tuple);
}

/* What exists before its items: an empty one, and all of them at once.
 * @param begin, add  opcodes */
static void write_filled(struct nqi_out *out, const nq_datum *datum, unsigned begin, unsigned add)
{
    nqi_out_op(out, begin);
    nqi_out_remember(out, datum);
    if (!datum->items.count)
        return;
    nqi_out_op(out, NQI_OP_MARK);
    write_items(out, datum);
    nqi_out_op(out, add);
}

static void write_set(struct nqi_out *out, const nq_datum *set)
{
    bool frozen = set->kind == NQ_DATUM_FROZENSET;

    if (out->protocol < 4) {
        nqi_out_global(out, frozen ? NQI_GLOBAL_FROZENSET : NQI_GLOBAL_SET);
        nqi_out_op(out, NQI_OP_EMPTY_LIST);
        nqi_out_op(out, NQI_OP_MARK);
        write_items(out, set);
        nqi_out_op(out, NQI_OP_APPENDS);
        nqi_out_op(out, NQI_OP_TUPLE1);
        nqi_out_op(out, NQI_OP_REDUCE);
        nqi_out_remember(out, set);
    } else if (frozen) {
        nqi_out_op(out, NQI_OP_MARK);
        write_items(out, set);
        nqi_out_op(out, NQI_OP_FROZENSET);
        nqi_out_remember(out, set);
    } else {
        write_filled(out, set, NQI_OP_EMPTY_SET, NQI_OP_ADDITEMS);
    }
}

/* ---- any --------------------------------------------------------------------------------- */

static void write_leaf(struct nqi_out *out, const nq_datum *datum)
{
    switch (datum->kind) {
    case NQ_DATUM_STR:
        nqi_out_text_length(out, datum->len);
        nqi_out_bytes_of(out, datum);
        break;
    case NQ_DATUM_BYTES:
        write_bytes(out, datum);
        break;
    case NQ_DATUM_BYTEARRAY:
        write_bytearray(out, datum);
        break;
    case NQ_DATUM_DATETIME:
    case NQ_DATUM_DATE:
    case NQ_DATUM_TIME:
        write_time(out, datum);
        break;
    case NQ_DATUM_TIMEDELTA:
        write_timedelta(out, &datum->delta);
        break;
    case NQ_DATUM_TIMEZONE:
        write_timezone(out, datum);
        break;
    case NQ_DATUM_UUID:
        write_uuid(out, &datum->uuid);
        break;
    case NQ_DATUM_ARRAY:
        write_array(out, &datum->array);
        break;
    default:
        write_scalar(out, &datum->array);
        break;
    }
    nqi_out_remember(out, datum);
}

static void write_value(struct nqi_out *out, const nq_datum *datum)
{
    switch (datum->kind) {
    case NQ_DATUM_NONE:
        nqi_out_op(out, NQI_OP_NONE);
        break;
    case NQ_DATUM_BOOL:
        nqi_out_op(out, datum->truth ? NQI_OP_NEWTRUE : NQI_OP_NEWFALSE);
        break;
    case NQ_DATUM_FLOAT:
        write_float(out, datum->real);
        break;
    case NQ_DATUM_INT:
        if (datum->big)
            write_bigint(out, datum);
        else
            nqi_out_int(out, datum->num);
        break;
    case NQ_DATUM_LIST:
        write_filled(out, datum, NQI_OP_EMPTY_LIST, NQI_OP_APPENDS);
        break;
    case NQ_DATUM_DICT:
        write_filled(out, datum, NQI_OP_EMPTY_DICT, NQI_OP_SETITEMS);
        break;
    case NQ_DATUM_TUPLE:
        write_tuple(out, datum);
        break;
    case NQ_DATUM_SET:
    case NQ_DATUM_FROZENSET:
        write_set(out, datum);
        break;
    default:
        write_leaf(out, datum);
        break;
    }
}

/* True: it was written as a persistent id. */
static bool write_persistent(struct nqi_out *out, const nq_datum *datum)
{
    NQI_CLEANUP(nqi_datum_unrefp) nq_datum *id = NULL;
    nq_err err;

    if (out->in_id || !out->options->dump_id)
        return false;
    err = out->options->dump_id(out->options->arg, datum, &id);
    if (err == NQ_AGAIN)
        return false;
    if (err)
        nqi_out_fail(out, nqi_fail(err < 0 ? err : NQ_ERR_INVAL, "no persistent id for %s",
                                   nq_datum_kind_text((nq_datum_kind)datum->kind)));
    out->in_id = true;
    if (!err)
        write_value(out, id);
    out->in_id = false;
    nqi_out_op(out, NQI_OP_BINPERSID);
    return true;
}

/* No deeper than `height`, or twice that with a persistent id inside. */
static void write_any(struct nqi_out *out, const nq_datum *datum)
{
    if (!out->err && !write_persistent(out, datum) && !nqi_out_again(out, datum))
        write_value(out, datum);
}

static nq_err write_all(const nq_datum *datum, const struct nq_pickle_options *options,
                        unsigned protocol, nq_stream *stream)
{
    NQI_CLEANUP(nqi_out_fini) struct nqi_out out;

    nqi_out_init(&out, options, protocol, datum->weight);
    nqi_out_number(&out, NQI_OP_PROTO, protocol, 1);
    write_any(&out, datum);
    nqi_out_op(&out, NQI_OP_STOP);
    return nqi_out_end(&out, stream);
}

nq_err nq_pickle_dump(const nq_datum *datum, const struct nq_pickle_options *options,
                      nq_stream *stream)
{
    static const struct nq_pickle_options none;
    unsigned protocol = options && options->protocol ? options->protocol : NQI_PICKLE_HIGHEST;

    if (protocol < 2 || protocol > NQI_PICKLE_HIGHEST)
        return nqi_fail(NQ_ERR_INVAL, "pickle protocol %u: only 2 to %d are written", protocol,
                        NQI_PICKLE_HIGHEST);
    return write_all(datum, options ? options : &none, protocol, stream);
}
