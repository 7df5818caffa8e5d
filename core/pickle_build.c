/* What pickles make with globals: for each one a case, and no other code of anybody's.
 *
 * In Python these are calls with arguments; here they are shapes of arguments, and whatever does
 * not have the shape that Python or numpy writes is refused. */
#include "core/err.h"
#include "core/log.h"
#include "core/pickle.h"
#include <stdio.h>
#include <string.h>

#define BUILD_UUID 16
#define BUILD_NAME 160 /* of a global in an error */

static nq_err build_shape(const char *what)
{
    return nqi_fail(NQ_ERR_UNSUPPORTED, "%s in a form that is not read", what);
}

/* The i-th argument if it is of that kind, else NULL. */
static const nq_datum *build_arg(const nq_datum *args, size_t i, unsigned kind)
{
    const nq_datum *arg = nq_datum_item(args, i);

    return arg && arg->kind == kind ? arg : NULL;
}

static bool build_is(const nq_datum *text, const char *wanted)
{
    size_t len = strlen(wanted);

    return text && text->len == len && !memcmp(text->bytes, wanted, len);
}

static bool build_is_global(const nq_datum *datum, enum nqi_global global)
{
    return datum && datum->kind == NQI_DATUM_GLOBAL && datum->num == (int64_t)global;
}

/* ---- bytes ------------------------------------------------------------------------------- */

/* The characters of `str` as bytes, of those up to U+00FF.
 * @param kind  NQ_DATUM_BYTES or NQ_DATUM_BYTEARRAY */
static nq_err build_latin1(unsigned kind, const nq_datum *str, nq_datum **ret)
{
    const uint8_t *at = str->bytes, *end = at + str->len;
    NQI_CLEANUP(nqi_datum_unrefp) nq_datum *datum = NULL;
    nq_err err;
    size_t len = 0;

    for (const uint8_t *c = at; c < end; c++) {
        if (*c > 0xc3)
            return nqi_fail(NQ_ERR_PROTO, "a character above U+00FF where bytes are meant");
        len += (*c & 0xc0) != 0x80;
    }
    err = nqi_datum_new(kind, len, &datum);
    if (err)
        return err;
    for (size_t i = 0; i < len; i++, at++) {
        datum->bytes[i] = *at;
        if (*at >= 0x80) {
            datum->bytes[i] = (uint8_t)(*at << 6 | (at[1] & 0x3f));
            at++;
        }
    }
    datum->bytes[len] = 0;
    *ret = NQI_STEAL(datum);
    return NQ_OK;
}

static nq_err build_encode(const nq_datum *args, nq_datum **ret)
{
    const nq_datum *str = build_arg(args, 0, NQ_DATUM_STR);
    const nq_datum *codec = build_arg(args, 1, NQ_DATUM_STR);

    if (nq_datum_count(args) != 2 || !str ||
        !(build_is(codec, "latin1") || build_is(codec, "latin-1")))
        return build_shape("_codecs.encode");
    return build_latin1(NQ_DATUM_BYTES, str, ret);
}

static nq_err build_bytes(unsigned kind, const nq_datum *args, nq_datum **ret)
{
    const nq_datum *bytes = build_arg(args, 0, NQ_DATUM_BYTES);
    const nq_datum *str = build_arg(args, 0, NQ_DATUM_STR);
    const nq_datum *codec = build_arg(args, 1, NQ_DATUM_STR);

    if (nq_datum_count(args) == 2 && str &&
        (build_is(codec, "latin-1") || build_is(codec, "latin1")))
        return build_latin1(kind, str, ret);
    if (nq_datum_count(args) > 1 || (nq_datum_count(args) && !bytes))
        return build_shape(nq_datum_kind_text((nq_datum_kind)kind));
    return kind == NQ_DATUM_BYTES
               ? nq_datum_bytes(bytes ? bytes->bytes : NULL, bytes ? bytes->len : 0, ret)
               : nq_datum_bytearray(bytes ? bytes->bytes : NULL, bytes ? bytes->len : 0, ret);
}

/* ---- sets of protocols 2 and 3 ----------------------------------------------------------- */

static nq_err build_set(struct nqi_pickle_read *read, nq_datum_kind kind, const nq_datum *args,
                        nq_datum **ret)
{
    NQI_CLEANUP(nqi_datum_unrefp) nq_datum *set = NULL;
    const nq_datum *items = nq_datum_item(args, 0);
    nq_err err;

    if (nq_datum_count(args) > 1 || (items && items->kind != NQ_DATUM_LIST))
        return build_shape(nq_datum_kind_text(kind));
    err = nq_datum_container(kind, &set);
    for (size_t i = 0; !err && items && i < nq_datum_count(items); i++) {
        nq_datum *item = nq_datum_ref(nq_datum_item(items, i));

        err = nqi_pickle_add(read, set, NULL, item);
        if (err)
            nq_datum_unref(item);
    }
    if (!err)
        *ret = NQI_STEAL(set);
    return err;
}

/* ---- datetime ---------------------------------------------------------------------------- */

/* Python's bytes of a clock: hour, minute, second, and three of microseconds. */
static void build_clock(const uint8_t *at, struct nq_time *time)
{
    time->hour = at[0];
    time->minute = at[1];
    time->second = at[2];
    time->microsecond = (uint32_t)at[3] << 16 | (uint32_t)at[4] << 8 | at[5];
}

static nq_err build_time(nq_datum_kind kind, const nq_datum *args, nq_datum **ret)
{
    static const uint8_t sizes[] = {10, 4, 6};
    const nq_datum *bytes = build_arg(args, 0, NQ_DATUM_BYTES);
    struct nq_time time = {.time_zone = build_arg(args, 1, NQ_DATUM_TIMEZONE)};
    size_t count = nq_datum_count(args);
    uint8_t at[10], *first = kind == NQ_DATUM_TIME ? at : at + 2; /* whose high bit is the fold */

    if (!bytes || bytes->len != sizes[kind - NQ_DATUM_DATETIME])
        return build_shape(nq_datum_kind_text(kind));
    if (count > 2 || (count == 2 && (!time.time_zone || kind == NQ_DATUM_DATE)))
        return nqi_fail(NQ_ERR_UNSUPPORTED, "a time zone that is no datetime.timezone");
    memcpy(at, bytes->bytes, bytes->len);
    if (kind != NQ_DATUM_DATE) {
        time.fold = *first >> 7;
        *first &= 0x7f;
    }
    if (kind == NQ_DATUM_TIME) {
        build_clock(at, &time);
    } else {
        time.year = (uint16_t)(at[0] << 8 | at[1]);
        time.month = at[2];
        time.day = at[3];
    }
    if (kind == NQ_DATUM_DATETIME)
        build_clock(at + 4, &time);
    return nq_datum_time(kind, &time, ret);
}

static nq_err build_timedelta(const nq_datum *args, nq_datum **ret)
{
    struct nq_timedelta delta;
    int64_t part[3] = {0};

    for (size_t i = 0; i < NQI_LEN(part); i++) {
        const nq_datum *number = build_arg(args, i, NQ_DATUM_INT);

        if (!number || nq_datum_get_int(number, &part[i]))
            return build_shape("datetime.timedelta");
    }
    if (nq_datum_count(args) != NQI_LEN(part) || part[0] < INT32_MIN || part[0] > INT32_MAX ||
        part[1] < 0 || part[1] > UINT32_MAX || part[2] < 0 || part[2] > UINT32_MAX)
        return build_shape("datetime.timedelta");
    delta = (struct nq_timedelta){(int32_t)part[0], (uint32_t)part[1], (uint32_t)part[2]};
    return nq_datum_timedelta(&delta, ret);
}

static nq_err build_timezone(const nq_datum *args, nq_datum **ret)
{
    const nq_datum *delta = build_arg(args, 0, NQ_DATUM_TIMEDELTA);
    const nq_datum *name = build_arg(args, 1, NQ_DATUM_STR);
    size_t count = nq_datum_count(args);

    if (!delta || count > 2 || (count == 2 && !name) ||
        (name && strlen((const char *)name->bytes) != name->len) || delta->delta.days < -1 ||
        delta->delta.days > 0)
        return build_shape("datetime.timezone");
    return nq_datum_timezone(((int64_t)delta->delta.days * 86400 + delta->delta.seconds) * 1000000 +
                                 delta->delta.microseconds,
                             name ? (const char *)name->bytes : NULL, ret);
}

/* ---- UUID -------------------------------------------------------------------------------- */

static nq_err build_uuid(nq_datum *object, const nq_datum *state)
{
    const nq_datum *number = nq_datum_find(state, "int");
    uint8_t bytes[BUILD_UUID + 1]; /* a byte more when the highest bit is set: ints have a sign */
    size_t len;

    if (!number || number->kind != NQ_DATUM_INT ||
        nq_datum_get_bigint(number, bytes, sizeof(bytes), &len) || (len && bytes[len - 1] & 0x80) ||
        (len > BUILD_UUID && bytes[BUILD_UUID]))
        return build_shape("uuid.UUID");
    memset(&object->uuid, 0, sizeof(object->uuid));
    for (size_t i = 0; i < NQI_MIN(len, BUILD_UUID); i++)
        object->uuid.bytes[BUILD_UUID - 1 - i] = bytes[i];
    object->kind = NQ_DATUM_UUID;
    object->raw = false;
    return NQ_OK;
}

/* ---- numpy ------------------------------------------------------------------------------- */

/* dtype("f8", False, True): the order of its bytes comes with its state. */
static nq_err build_dtype(const nq_datum *args, nq_datum **ret)
{
    const nq_datum *text = build_arg(args, 0, NQ_DATUM_STR);
    nq_err err;

    if (!text || nq_datum_count(args) != 3)
        return build_shape("numpy.dtype");
    if (text->len && text->bytes[0] == 'O')
        return nqi_fail(NQ_ERR_UNSUPPORTED, "a numpy.dtype of Python objects");
    if (text->len + 2 > NQI_DATUM_DTYPE_CAP || strlen((const char *)text->bytes) != text->len)
        return build_shape("numpy.dtype");
    err = nqi_datum_new(NQI_DATUM_DTYPE, 0, ret);
    if (!err)
        memcpy((*ret)->array.dtype, text->bytes, text->len + 1);
    return err;
}

/* ({}, (b"ns", 1, 1, 1)) -> "[ns]"; nothing for numpy's "generic".  @return it fits */
static bool build_unit(const nq_datum *meta, char *at, size_t cap)
{
    const nq_datum *tuple = meta ? build_arg(meta, 1, NQ_DATUM_TUPLE) : NULL;
    const nq_datum *unit = tuple ? build_arg(tuple, 0, NQ_DATUM_BYTES) : NULL;
    const nq_datum *count = tuple ? build_arg(tuple, 1, NQ_DATUM_INT) : NULL;
    int64_t number;
    int len;

    if (!unit || !count || nq_datum_get_int(count, &number) || number < 1)
        return false;
    if (build_is(unit, "generic"))
        return true;
    len = number == 1 ? snprintf(at, cap, "[%s]", (const char *)unit->bytes)
                      : snprintf(at, cap, "[%lld%s]", (long long)number, (const char *)unit->bytes);
    return len > 0 && (size_t)len < cap;
}

static nq_err build_dtype_state(nq_datum *dtype, const nq_datum *state)
{
    char text[NQI_DATUM_DTYPE_CAP] = "", *base = dtype->array.dtype;
    const nq_datum *order = build_arg(state, 1, NQ_DATUM_STR);
    size_t len = strlen(base);

    if (base[0] == '<' || base[0] == '>' || base[0] == '|' || !order || order->len != 1 ||
        nq_datum_count(state) < 8)
        return build_shape("numpy.dtype");
    if (!build_arg(state, 2, NQ_DATUM_NONE) || !build_arg(state, 3, NQ_DATUM_NONE))
        return nqi_fail(NQ_ERR_UNSUPPORTED, "a numpy.dtype with fields");
    text[0] = (char)order->bytes[0];
    memcpy(text + 1, base, len + 1);
    if ((base[0] == 'M' || base[0] == 'm') &&
        !build_unit(build_arg(state, 8, NQ_DATUM_TUPLE), text + 1 + len, sizeof(text) - 1 - len))
        return build_shape("numpy.dtype of times");
    if (!nqi_datum_dtype_size(text))
        return nqi_fail(NQ_ERR_UNSUPPORTED, "a numpy.dtype that is not read");
    memcpy(base, text, sizeof(text));
    return NQ_OK;
}

/* @param data  borrowed */
static nq_err build_array(nq_datum *object, unsigned kind, const nq_datum *dtype,
                          const nq_datum *shape, bool fortran, const nq_datum *data)
{
    size_t ndim = shape ? nq_datum_count(shape) : 0;
    uint64_t dims[NQ_DATUM_DIMS];
    nq_datum *mine;
    nq_err err;

    if (ndim > NQ_DATUM_DIMS || !dtype || !data || !nqi_datum_is_bytes(data))
        return build_shape(nq_datum_kind_text((nq_datum_kind)kind));
    for (size_t i = 0; i < ndim; i++) {
        const nq_datum *dim = build_arg(shape, i, NQ_DATUM_INT);
        int64_t number;

        if (!dim || nq_datum_get_int(dim, &number) || number < 0)
            return build_shape("the shape of a numpy.ndarray");
        dims[i] = (uint64_t)number;
    }
    mine = nq_datum_ref(data);
    err = nqi_datum_set_array(object, kind, dtype->array.dtype, dims, ndim, fortran, mine);
    if (err)
        nq_datum_unref(mine);
    return err;
}

static nq_err build_new_array(unsigned kind, const nq_datum *dtype, const nq_datum *shape,
                              bool fortran, const nq_datum *data, nq_datum **ret)
{
    NQI_CLEANUP(nqi_datum_unrefp) nq_datum *object = NULL;
    nq_err err = nqi_datum_new(NQI_DATUM_BLANK, 0, &object);

    if (!err)
        err = build_array(object, kind, dtype, shape, fortran, data);
    if (!err)
        *ret = NQI_STEAL(object);
    return err;
}

static nq_err build_array_state(nq_datum *object, const nq_datum *state)
{
    const nq_datum *shape = build_arg(state, 1, NQ_DATUM_TUPLE);
    const nq_datum *fortran = build_arg(state, 3, NQ_DATUM_BOOL);
    const nq_datum *data = nq_datum_item(state, 4);

    if (nq_datum_count(state) != 5 || !shape || !fortran)
        return build_shape("numpy.ndarray");
    return build_array(object, NQ_DATUM_ARRAY, build_arg(state, 2, NQI_DATUM_DTYPE), shape,
                       fortran->truth, data);
}

static nq_err build_frombuffer(const nq_datum *args, nq_datum **ret)
{
    const nq_datum *shape = build_arg(args, 2, NQ_DATUM_TUPLE);
    const nq_datum *order = build_arg(args, 3, NQ_DATUM_STR);
    size_t count = nq_datum_count(args);

    if (count < 4 || count > 5 || (count == 5 && !build_arg(args, 4, NQ_DATUM_NONE)) || !shape ||
        !(build_is(order, "C") || build_is(order, "F")))
        return build_shape("numpy.ndarray");
    return build_new_array(NQ_DATUM_ARRAY, build_arg(args, 1, NQI_DATUM_DTYPE), shape,
                           build_is(order, "F"), nq_datum_item(args, 0), ret);
}

/* ---- names ----------------------------------------------------------------------------- */

/* "module.name" for people. */
static void build_full_name(const char *module, size_t module_len, const char *name,
                            size_t name_len, char shown[2 * BUILD_NAME])
{
    char text[BUILD_NAME];
    size_t most = sizeof(text) / 2 - 1, a = NQI_MIN(module_len, most), b = NQI_MIN(name_len, most);

    memcpy(text, module, a);
    text[a] = '.';
    memcpy(text + a + 1, name, b);
    text[a + 1 + b] = 0;
    nqi_log_escape(text, shown, 2 * BUILD_NAME);
}

nq_err nqi_pickle_global(const char *const *allow, const char *module, size_t module_len,
                         const char *name, size_t name_len, nq_datum **ret)
{
    int global = nqi_global_find(module, module_len, name, name_len);
    char shown[2 * BUILD_NAME];
    nq_err err;

    build_full_name(module, module_len, name, name_len, shown);
    if (!nqi_global_allowed(global, module, module_len, name, name_len, allow))
        return nqi_fail(NQ_ERR_UNSUPPORTED, "the global \"%s\" is not allowed", shown);
    if (global < 0)
        return nqi_fail(NQ_ERR_UNSUPPORTED, "the global \"%s\" is none that is read", shown);
    err = nqi_datum_new(NQI_DATUM_GLOBAL, 0, ret);
    if (!err)
        (*ret)->num = global;
    return err;
}

/* ---- which ------------------------------------------------------------------------------- */

nq_err nqi_pickle_reduce(struct nqi_pickle_read *read, const nq_datum *callable,
                         const nq_datum *args, nq_datum **ret)
{
    enum nqi_global global = (enum nqi_global)callable->num;

    switch (global) {
    case NQI_GLOBAL_ENCODE:
        return build_encode(args, ret);
    case NQI_GLOBAL_BYTES:
        return build_bytes(NQ_DATUM_BYTES, args, ret);
    case NQI_GLOBAL_BYTEARRAY:
        return build_bytes(NQ_DATUM_BYTEARRAY, args, ret);
    case NQI_GLOBAL_SET:
        return build_set(read, NQ_DATUM_SET, args, ret);
    case NQI_GLOBAL_FROZENSET:
        return build_set(read, NQ_DATUM_FROZENSET, args, ret);
    case NQI_GLOBAL_DATETIME:
        return build_time(NQ_DATUM_DATETIME, args, ret);
    case NQI_GLOBAL_DATE:
        return build_time(NQ_DATUM_DATE, args, ret);
    case NQI_GLOBAL_TIME:
        return build_time(NQ_DATUM_TIME, args, ret);
    case NQI_GLOBAL_TIMEDELTA:
        return build_timedelta(args, ret);
    case NQI_GLOBAL_TIMEZONE:
        return build_timezone(args, ret);
    case NQI_GLOBAL_DTYPE:
        return build_dtype(args, ret);
    case NQI_GLOBAL_RECONSTRUCT: /* of nothing; its state has everything */
        if (!build_is_global(nq_datum_item(args, 0), NQI_GLOBAL_NDARRAY))
            return build_shape("numpy.ndarray");
        return nqi_datum_new(NQI_DATUM_BLANK, 0, ret);
    case NQI_GLOBAL_SCALAR:
        if (nq_datum_count(args) != 2)
            return build_shape("a numpy scalar");
        return build_new_array(NQ_DATUM_SCALAR, build_arg(args, 0, NQI_DATUM_DTYPE), NULL, false,
                               nq_datum_item(args, 1), ret);
    case NQI_GLOBAL_FROMBUFFER:
        return build_frombuffer(args, ret);
    default:
        return build_shape(nqi_global_name(global));
    }
}

nq_err nqi_pickle_new(const nq_datum *callable, const nq_datum *args, nq_datum **ret)
{
    if (!build_is_global(callable, NQI_GLOBAL_UUID) || nq_datum_count(args))
        return build_shape(nqi_global_name((enum nqi_global)callable->num));
    return nqi_datum_new(NQI_DATUM_BLANK_UUID, 0, ret);
}

nq_err nqi_pickle_build(nq_datum *object, const nq_datum *state)
{
    if (object->kind == NQI_DATUM_BLANK_UUID)
        return build_uuid(object, state);
    if (object->kind == NQI_DATUM_BLANK)
        return build_array_state(object, state);
    if (object->kind == NQI_DATUM_DTYPE)
        return build_dtype_state(object, state);
    return nqi_fail(NQ_ERR_UNSUPPORTED, "a state for %s, which has none",
                    nq_datum_kind_text((nq_datum_kind)object->kind));
}
