/* nq_datum to jansson's values and back.
 *
 * Both ways recurse, no deeper than NQ_DATUM_DEPTH; a value in several places is written in each of
 * them, so its weight is asked for first. */
#include "core/datum.h"
#include "core/err.h"
#include "core/jsontext.h"
#include "core/log.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define JSON_AT 200 /* bytes of a place in an error */

/* Where in the value we are: a chain on the stack. */
struct json_at {
    const struct json_at *up; /* NULL = this is the top */
    const nq_datum *in;       /* container */
    size_t i;
};

/* ---- errors ------------------------------------------------------------------------------ */

/* The place as a JSON pointer.  @return bytes written */
static size_t json_place(const struct json_at *at, char *text, size_t cap)
{
    char name[JSON_AT] = "";
    const nq_datum *key;
    size_t len;
    int n;

    if (!at)
        return 0;
    len = json_place(at->up, text, cap);
    key = at->in->kind == NQ_DATUM_DICT ? nq_datum_item(at->in, at->i) : NULL;
    if (key && key->kind == NQ_DATUM_STR)
        nqi_log_escape((const char *)key->bytes, name, sizeof(name));
    else
        snprintf(name, sizeof(name), "%zu", at->i);
    n = snprintf(text + len, cap - len, "/%s", name);
    return n < 0 ? len : NQI_MIN(len + (size_t)n, cap - 1);
}

static nq_err json_cannot(const struct json_at *at, const nq_datum *datum, const char *why)
{
    char place[JSON_AT] = "";

    json_place(at, place, sizeof(place));
    return nqi_fail(NQ_ERR_UNSUPPORTED, "JSON cannot carry %s at \"%s\"%s",
                    nq_datum_kind_text((nq_datum_kind)datum->kind), place, why);
}

static nq_err json_nomem(void)
{
    return nqi_fail(NQ_ERR_NOMEM, "no memory for a JSON value");
}

/* ---- what becomes a text ----------------------------------------------------------------- */

static int json_offset(int64_t offset_us, char *text, size_t cap)
{
    uint64_t all = (uint64_t)(offset_us < 0 ? -offset_us : offset_us);
    unsigned minutes = (unsigned)(all / 60000000), seconds = (unsigned)(all / 1000000 % 60);
    unsigned micro = (unsigned)(all % 1000000);
    int len =
        snprintf(text, cap, "%c%02u:%02u", offset_us < 0 ? '-' : '+', minutes / 60, minutes % 60);

    if (seconds || micro)
        len += snprintf(text + len, cap - (size_t)len, ":%02u", seconds);
    if (micro)
        len += snprintf(text + len, cap - (size_t)len, ".%06u", micro);
    return len;
}

/* As Python's isoformat(). */
static void json_iso(const nq_datum *datum, char text[64])
{
    const struct nq_time *time = &datum->time;
    bool day = datum->kind != NQ_DATUM_TIME, clock = datum->kind != NQ_DATUM_DATE;
    int len = 0;

    text[0] = 0;
    if (day)
        len += snprintf(text, 64, "%04u-%02u-%02u", time->year, time->month, time->day);
    if (clock)
        len += snprintf(text + len, 64 - (size_t)len, "%s%02u:%02u:%02u", day ? "T" : "",
                        time->hour, time->minute, time->second);
    if (clock && time->microsecond)
        len += snprintf(text + len, 64 - (size_t)len, ".%06u", time->microsecond);
    if (clock && time->time_zone)
        json_offset(time->time_zone->zone.offset_us, text + len, 64 - (size_t)len);
}

/* ---- to JSON ----------------------------------------------------------------------------- */

static nq_err json_put(const struct json_at *at, const nq_datum *datum, json_t **ret);

static nq_err json_put_items(const struct json_at *up, const nq_datum *list, json_t **ret)
{
    NQI_CLEANUP(nqi_json_freep) json_t *json = json_array();
    struct json_at at = {up, list, 0};
    json_t *item;
    nq_err err;

    for (; json && at.i < nq_datum_count(list); at.i++) {
        err = json_put(&at, nq_datum_item(list, at.i), &item);
        if (err)
            return err;
        if (json_array_append_new(json, item))
            return json_nomem();
    }
    *ret = NQI_STEAL(json);
    return *ret ? NQ_OK : json_nomem();
}

static nq_err json_put_pairs(const struct json_at *up, const nq_datum *dict, json_t **ret)
{
    NQI_CLEANUP(nqi_json_freep) json_t *json = json_object();
    struct json_at at = {up, dict, 0};
    const nq_datum *key;
    json_t *value;
    nq_err err;

    for (; json && at.i < nq_datum_count(dict); at.i++) {
        key = nq_datum_item(dict, at.i);
        if (key->kind != NQ_DATUM_STR)
            return json_cannot(&at, key, " as a key: only str");
        if (!nqi_datum_is_utf8(key))
            return json_cannot(&at, key, " as a key: a surrogate stands alone");
        err = json_put(&at, nq_datum_value(dict, at.i), &value);
        if (err)
            return err;
        if (json_object_setn_new_nocheck(json, (const char *)key->bytes, key->len, value))
            return json_nomem();
    }
    *ret = NQI_STEAL(json);
    return *ret ? NQ_OK : json_nomem();
}

/* What is one value of JSON; NULL: no memory. */
static json_t *json_of(const nq_datum *datum)
{
    char text[64];

    switch (datum->kind) {
    case NQ_DATUM_NONE:
        return json_null();
    case NQ_DATUM_BOOL:
        return json_boolean(datum->truth);
    case NQ_DATUM_INT:
        return json_integer(datum->num);
    case NQ_DATUM_FLOAT:
        return json_real(datum->real);
    case NQ_DATUM_STR:
        return json_stringn_nocheck((const char *)datum->bytes, datum->len);
    case NQ_DATUM_UUID:
        return json_string(nq_uuid_format(&datum->uuid, text));
    default:
        json_iso(datum, text);
        return json_string(text);
    }
}

static nq_err json_put(const struct json_at *at, const nq_datum *datum, json_t **ret)
{
    switch (datum->kind) {
    case NQ_DATUM_LIST:
    case NQ_DATUM_TUPLE:
    case NQ_DATUM_SET:
    case NQ_DATUM_FROZENSET:
        return json_put_items(at, datum, ret);
    case NQ_DATUM_DICT:
        return json_put_pairs(at, datum, ret);
    case NQ_DATUM_BYTES:
    case NQ_DATUM_BYTEARRAY:
    case NQ_DATUM_TIMEDELTA:
    case NQ_DATUM_TIMEZONE:
    case NQ_DATUM_ARRAY:
    case NQ_DATUM_SCALAR:
        return json_cannot(at, datum, "");
    default:
        break;
    }
    if (datum->kind == NQ_DATUM_INT && datum->big)
        return json_cannot(at, datum, ": it has more than 64 bits");
    if (datum->kind == NQ_DATUM_FLOAT && !isfinite(datum->real))
        return json_cannot(at, datum, ": it is not finite");
    if (datum->kind == NQ_DATUM_STR && !nqi_datum_is_utf8(datum))
        return json_cannot(at, datum, ": a surrogate stands alone");
    *ret = json_of(datum);
    return *ret ? NQ_OK : json_nomem();
}

nq_err nq_datum_to_json(const nq_datum *datum, json_t **ret)
{
    json_t *json;
    nq_err err;

    if (datum->weight > NQ_DATUM_UNFOLD)
        return nqi_fail(NQ_ERR_TOO_BIG, "a value that takes more than %" PRIu64 " bytes as JSON",
                        NQ_DATUM_UNFOLD);
    err = json_put(NULL, datum, &json);
    if (!err)
        *ret = json;
    return err;
}

/* ---- from JSON --------------------------------------------------------------------------- */

static nq_err json_get(const json_t *json, unsigned depth, nq_datum **ret);

static nq_err json_get_items(const json_t *json, unsigned depth, nq_datum **ret)
{
    NQI_CLEANUP(nqi_datum_unrefp) nq_datum *list = NULL;
    nq_err err = nq_datum_container(NQ_DATUM_LIST, &list);

    for (size_t i = 0; !err && i < json_array_size(json); i++) {
        NQI_CLEANUP(nqi_datum_unrefp) nq_datum *item = NULL;

        err = json_get(json_array_get(json, i), depth, &item);
        if (!err)
            err = nq_datum_append(list, item);
        if (!err)
            item = NULL;
    }
    if (!err)
        *ret = NQI_STEAL(list);
    return err;
}

static nq_err json_get_pair(void *at, unsigned depth, nq_datum *dict)
{
    NQI_CLEANUP(nqi_datum_unrefp) nq_datum *key = NULL;
    NQI_CLEANUP(nqi_datum_unrefp) nq_datum *value = NULL;
    nq_err err = nq_datum_str(json_object_iter_key(at), json_object_iter_key_len(at), &key);

    if (!err)
        err = json_get(json_object_iter_value(at), depth, &value);
    if (!err)
        err = nq_datum_insert(dict, key, value);
    if (!err)
        key = value = NULL;
    return err;
}

static nq_err json_get_pairs(const json_t *json, unsigned depth, nq_datum **ret)
{
    NQI_CLEANUP(nqi_datum_unrefp) nq_datum *dict = NULL;
    json_t *object = (json_t *)(uintptr_t)json; /* jansson's way through it wants it so */
    nq_err err = nq_datum_container(NQ_DATUM_DICT, &dict);

    for (void *at = json_object_iter(object); !err && at; at = json_object_iter_next(object, at))
        err = json_get_pair(at, depth, dict);
    if (!err)
        *ret = NQI_STEAL(dict);
    return err;
}

static nq_err json_get(const json_t *json, unsigned depth, nq_datum **ret)
{
    if (depth >= NQ_DATUM_DEPTH)
        return nqi_fail(NQ_ERR_TOO_BIG, "JSON deeper than %d", NQ_DATUM_DEPTH);
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return json_get_pairs(json, depth + 1, ret);
    case JSON_ARRAY:
        return json_get_items(json, depth + 1, ret);
    case JSON_STRING:
        return nq_datum_str(json_string_value(json), json_string_length(json), ret);
    case JSON_INTEGER:
        return nq_datum_int(json_integer_value(json), ret);
    case JSON_REAL:
        return nq_datum_float(json_real_value(json), ret);
    case JSON_NULL:
        *ret = nq_datum_none();
        return NQ_OK;
    default:
        *ret = nq_datum_bool(json_is_true(json));
        return NQ_OK;
    }
}

nq_err nq_datum_from_json(const json_t *json, nq_datum **ret)
{
    return json_get(json, 0, ret);
}
