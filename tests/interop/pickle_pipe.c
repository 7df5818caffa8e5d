/* The C end of pickle_test.sh: takes requests on standard input, answers on standard output.
 *
 *     u32 length, then: 'E', protocol, pickle            read it, write it again
 *                       'M', protocol, u64 seed          write a random value
 *                       'C', protocol, u64 seed, pickle  is it the value of that seed?
 *     u32 length, then: 0, pickle or nothing; or 1, a text why not */
#include "core/buf.h"
#include "core/datum.h"
#include <netqueue/pickle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIPE_MOST ((size_t)256 << 20)

/* ---- random values ----------------------------------------------------------------------- */

static uint64_t pipe_state;

static uint64_t pipe_random(void)
{
    pipe_state ^= pipe_state << 13;
    pipe_state ^= pipe_state >> 7;
    pipe_state ^= pipe_state << 17;
    return pipe_state;
}

static size_t pipe_below(size_t n)
{
    return (size_t)(pipe_random() >> 16) % n;
}

static nq_datum *pipe_must(nq_err err, nq_datum **datum)
{
    if (err) {
        fprintf(stderr, "pickle_pipe: %s\n", nq_error());
        exit(1);
    }
    return *datum;
}

static size_t pipe_bytes(uint8_t *bytes, size_t most)
{
    size_t len = pipe_below(10) ? pipe_below(20) : pipe_below(most);

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)pipe_random();
    return len;
}

static nq_datum *pipe_text(void)
{
    static const char *const pieces[] = {
        "a", "key ", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\x8d", "\xed\xa0\x80", "\n", "%s"};
    nq_datum *datum = NULL;
    size_t n = pipe_below(8) ? pipe_below(6) : pipe_below(400), len = 0;
    char text[4 * 400 + 1];

    while (n--) {
        const char *piece = pieces[pipe_below(NQI_LEN(pieces))];

        memcpy(text + len, piece, strlen(piece));
        len += strlen(piece);
    }
    return pipe_must(nq_datum_str(text, len, &datum), &datum);
}

static nq_datum *pipe_zone(void)
{
    static const char *const names[] = {NULL, "", "CET", "\xc3\xa9"};
    int64_t minute = (int64_t)60 * 1000000, offset = ((int64_t)pipe_below(2879) - 1439) * minute;
    nq_datum *datum = NULL;

    if (!pipe_below(3))
        offset = 0;
    if (!pipe_below(4))
        offset += 1;
    return pipe_must(nq_datum_timezone(offset, names[pipe_below(NQI_LEN(names))], &datum), &datum);
}

static nq_datum *pipe_time(nq_datum_kind kind)
{
    nq_datum *datum = NULL, *zone = pipe_below(2) ? pipe_zone() : NULL;
    struct nq_time time = {.year = (uint16_t)(1 + pipe_below(9999)),
                           .month = (uint8_t)(1 + pipe_below(12)),
                           .day = (uint8_t)(1 + pipe_below(28)),
                           .hour = (uint8_t)pipe_below(24),
                           .minute = (uint8_t)pipe_below(60),
                           .second = (uint8_t)pipe_below(60),
                           .microsecond = (uint32_t)pipe_below(1000000),
                           .time_zone = zone};

    pipe_must(nq_datum_time(kind, &time, &datum), &datum);
    nq_datum_unref(zone);
    return datum;
}

static nq_datum *pipe_array(void)
{
    static const char *const dtypes[] = {"<f8",  "<f4", "|u1", "|b1",     "<i8",
                                         "<c16", "|S3", "<U2", "<M8[ns]", "<m8[25us]"};
    const char *dtype = dtypes[pipe_below(NQI_LEN(dtypes))];
    uint64_t shape[4];
    struct nq_array array = {.dtype = dtype, .ndim = (unsigned)pipe_below(4), .shape = shape};
    nq_datum *datum = NULL;
    static uint8_t bytes[16 * 64];

    array.len = nqi_datum_dtype_size(dtype);
    for (unsigned i = 0; i < array.ndim; i++)
        array.len *= shape[i] = 1 + pipe_below(4);
    /* letters in a text, 0 or 1 in a bool: what numpy does not normalise */
    memset(bytes, dtype[1] == 'U' ? 0 : 1, array.len);
    if (dtype[1] == 'u' || dtype[1] == 'f')
        for (size_t i = 0; i < array.len; i++)
            bytes[i] = (uint8_t)(1 + pipe_below(60));
    array.data = bytes;
    array.fortran = array.ndim > 1 && pipe_below(2);
    for (unsigned i = 0; i < array.ndim; i++) /* with one row it has both orders, and C is told */
        array.fortran = array.fortran && shape[i] > 1;
    return pipe_must(nq_datum_array(&array, &datum), &datum);
}

static nq_datum *pipe_int(void)
{
    uint8_t bytes[600];
    nq_datum *datum = NULL;

    if (pipe_below(2))
        return pipe_must(nq_datum_int((int64_t)(pipe_random() >> pipe_below(64)), &datum), &datum);
    return pipe_must(nq_datum_bigint(bytes, pipe_bytes(bytes, sizeof(bytes)), &datum), &datum);
}

static nq_datum *pipe_leaf(bool hashed)
{
    static uint8_t bytes[100000];
    nq_datum *datum = NULL;
    nq_uuid uuid;

    switch (pipe_below(hashed ? 14 : 16)) {
    case 0:
        return nq_datum_none();
    case 1:
        return nq_datum_bool(pipe_below(2));
    case 2:
    case 3:
        return pipe_int();
    case 4:
        return pipe_must(nq_datum_float((double)(int64_t)pipe_random() / 1e9, &datum), &datum);
    case 5:
    case 6:
        return pipe_text();
    case 7:
        return pipe_must(nq_datum_bytes(bytes, pipe_bytes(bytes, sizeof(bytes)), &datum), &datum);
    case 8:
        for (size_t i = 0; i < sizeof(uuid.bytes); i++)
            uuid.bytes[i] = (uint8_t)pipe_random();
        return pipe_must(nq_datum_uuid(&uuid, &datum), &datum);
    case 9:
        return pipe_time(NQ_DATUM_DATETIME);
    case 10:
        return pipe_time(NQ_DATUM_DATE);
    case 11:
        return pipe_time(NQ_DATUM_TIME);
    case 12:
        return pipe_must(nq_datum_timedelta(&(struct nq_timedelta){(int32_t)pipe_below(1000) - 500,
                                                                   (uint32_t)pipe_below(86400),
                                                                   (uint32_t)pipe_below(1000000)},
                                            &datum),
                         &datum);
    case 13:
        return pipe_zone();
    case 14:
        return pipe_must(nq_datum_bytearray(bytes, pipe_bytes(bytes, sizeof(bytes)), &datum),
                         &datum);
    default:
        return getenv("NQ_PICKLE_NUMPY") ? pipe_array() : pipe_text();
    }
}

/* Sets have one item at most: Python gives them an order of its own. */
static nq_datum *pipe_value(unsigned depth, bool hashed)
{
    nq_datum_kind kind = (nq_datum_kind)(NQ_DATUM_LIST + pipe_below(5));
    nq_datum *datum = NULL, *item = NULL;
    size_t n = pipe_below(6);

    if (!depth || !pipe_below(3))
        return pipe_leaf(hashed);
    if (hashed)
        kind = pipe_below(2) ? NQ_DATUM_TUPLE : NQ_DATUM_FROZENSET;
    pipe_must(nq_datum_container(kind, &datum), &datum);
    if (kind == NQ_DATUM_SET || kind == NQ_DATUM_FROZENSET)
        n = NQI_MIN(n, 1);
    for (size_t i = 0; i < n; i++) {
        if (kind == NQ_DATUM_DICT) { /* keys that differ */
            nq_datum *key = NULL;

            pipe_must(nq_datum_int((int64_t)(i * 300), &key), &key);
            item = pipe_value(depth - 1, false);
            pipe_must(nq_datum_insert(datum, key, item), &datum);
            continue;
        }
        if (item && kind != NQ_DATUM_SET && !pipe_below(4))
            item = nq_datum_ref(item); /* once more */
        else
            item =
                pipe_value(depth - 1, kind != NQ_DATUM_LIST && (hashed || kind != NQ_DATUM_TUPLE));
        pipe_must(nq_datum_append(datum, item), &datum);
    }
    return datum;
}

static nq_datum *pipe_of(uint64_t seed)
{
    pipe_state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (unsigned i = 0; i < 8; i++)
        (void)pipe_random();
    return pipe_value(1 + (unsigned)pipe_below(5), false);
}

/* ---- requests ---------------------------------------------------------------------------- */

static void pipe_answer(uint8_t first, const void *data, size_t len)
{
    uint8_t head[5];

    nqi_store_u32(head, (uint32_t)(len + 1));
    head[4] = first;
    fwrite(head, 1, sizeof(head), stdout);
    if (len)
        fwrite(data, 1, len, stdout);
    fflush(stdout);
}

static void pipe_dump(const nq_datum *datum, unsigned protocol)
{
    const struct nq_pickle_options options = {.protocol = protocol};
    nq_stream *stream = NULL;
    size_t len;
    void *bytes;

    if (nq_stream_new(&stream) || nq_pickle_dump(datum, &options, stream)) {
        pipe_answer(1, nq_error(), strlen(nq_error()));
        nq_stream_free(stream);
        return;
    }
    len = (size_t)nq_stream_nbytes(stream);
    bytes = malloc(len);
    if (!bytes)
        exit(1);
    nq_stream_read(stream, bytes, len);
    pipe_answer(0, bytes, len);
    free(bytes);
    nq_stream_free(stream);
}

static void pipe_request(const uint8_t *data, size_t len)
{
    struct nqi_buf in = nqi_buf_over(data, len);
    uint8_t what = nqi_buf_u8(&in), protocol = nqi_buf_u8(&in);
    nq_datum *datum = NULL, *wanted = NULL;

    if (what != 'E')
        wanted = pipe_of(nqi_buf_u64(&in));
    if (what == 'M')
        pipe_dump(wanted, protocol);
    else if (nq_pickle_load(in.at, nqi_buf_left(&in), NULL, &datum))
        pipe_answer(1, nq_error(), strlen(nq_error()));
    else if (what == 'E')
        pipe_dump(datum, protocol);
    else if (nq_datum_equal(datum, wanted))
        pipe_answer(0, NULL, 0);
    else
        pipe_answer(1, "it differs", 10);
    nq_datum_unref(datum);
    nq_datum_unref(wanted);
}

int main(void)
{
    uint8_t head[4], *data;
    size_t len;

    while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
        len = nqi_load_u32(head);
        data = len <= PIPE_MOST ? malloc(len + 1) : NULL;
        if (!data || fread(data, 1, len, stdin) != len)
            return 1;
        pipe_request(data, len);
        free(data);
    }
    return 0;
}
