/* The bytes of a pickle and its memo.
 *
 * What stands in several places is known by its count, so only that goes into the memo, and the
 * pickle is as long as the value is, however often something stands in it.  Long bytes are not
 * copied: their chunk holds the value.  There are no frames, which are for readers of files. */
#include "core/pickle_out.h"
#include "core/err.h"
#include "core/pool.h"
#include <string.h>

#define OUT_CHUNK ((size_t)64 << 10) /* of what is gathered */
#define OUT_LENT ((size_t)32 << 10)  /* bytes from here on are not copied */
#define OUT_SMALL 64

/* ---- begin and end ----------------------------------------------------------------------- */

void nqi_out_init(struct nqi_out *out, const struct nq_pickle_options *options, unsigned protocol,
                  uint64_t hint)
{
    *out = (struct nqi_out){.options = options,
                            .protocol = protocol,
                            .hint = NQI_MAX((size_t)NQI_MIN(hint, OUT_CHUNK), OUT_SMALL)};
    nqi_stream_init(&out->done);
    for (size_t i = 0; i < NQI_LEN(out->globals); i++)
        out->globals[i] = -1;
}

void nqi_out_fini(struct nqi_out *out)
{
    nq_chunk_unref(out->chunk);
    nqi_stream_fini(&out->done);
    nqi_pool_free(out->places, out->nplaces * sizeof(*out->places));
}

void nqi_out_fail(struct nqi_out *out, nq_err err)
{
    if (!out->err)
        out->err = err;
}

/* ---- bytes ------------------------------------------------------------------------------- */

static void out_seal(struct nqi_out *out)
{
    nq_view view = {0};

    if (!out->err && out->chunk && out->used) {
        view = nq_chunk_view(out->chunk, 0, out->used);
        out->err = nq_stream_writechunk(&out->done, &view);
        nq_view_release(&view);
    }
    nq_chunk_unref(out->chunk);
    out->chunk = NULL;
    out->used = 0;
}

nq_err nqi_out_end(struct nqi_out *out, nq_stream *stream)
{
    out_seal(out);
    return out->err ? out->err : nq_stream_append(stream, &out->done);
}

uint8_t *nqi_out_room(struct nqi_out *out, size_t len)
{
    uint8_t *at;

    if (out->chunk && len > nq_chunk_size(out->chunk) - out->used)
        out_seal(out);
    if (!out->err && !out->chunk) {
        size_t size = NQI_MAX(len, NQI_MIN(out->hint, OUT_CHUNK));

        out->hint = OUT_CHUNK; /* it was not enough */
        out->err = nq_chunk_new(size, &out->chunk);
    }
    if (out->err)
        return NULL;
    at = (uint8_t *)nq_chunk_data(out->chunk) + out->used;
    out->used += len;
    return at;
}

void nqi_out_raw(struct nqi_out *out, const void *data, size_t len)
{
    uint8_t *at = len ? nqi_out_room(out, len) : NULL;

    if (at)
        memcpy(at, data, len);
}

void nqi_out_op(struct nqi_out *out, unsigned op)
{
    uint8_t *at = nqi_out_room(out, 1);

    if (at)
        *at = (uint8_t)op;
}

/* An opcode and a little-endian number of `size` bytes. */
void nqi_out_number(struct nqi_out *out, unsigned op, uint64_t number, size_t size)
{
    uint8_t *at = nqi_out_room(out, 1 + size);

    if (!at)
        return;
    *at++ = (uint8_t)op;
    for (; size--; number >>= 8)
        *at++ = (uint8_t)number;
}

static void out_release(void *arg, void *data, size_t len)
{
    (void)data;
    (void)len;
    nq_datum_unref(arg);
}

/* The bytes in `datum`, long ones where they lie. */
void nqi_out_bytes_of(struct nqi_out *out, const nq_datum *datum)
{
    nq_chunk *chunk;
    nq_view view;

    if (datum->len < OUT_LENT) {
        nqi_out_raw(out, datum->bytes, datum->len);
        return;
    }
    out_seal(out);
    if (out->err)
        return;
    /* nobody writes to a chunk with two holders, and the value is the other one */
    out->err = nq_chunk_wrap((void *)(uintptr_t)datum->bytes, datum->len, out_release,
                             (void *)(uintptr_t)datum, &chunk);
    if (out->err)
        return;
    nq_datum_ref(datum);
    view = nq_chunk_view(chunk, 0, datum->len);
    nq_chunk_unref(chunk);
    out->err = nq_stream_writechunk(&out->done, &view);
    nq_view_release(&view);
}

/* The forms of a length: in 1 byte, if `op1`; in 4; in 8, if `op8`. */
void nqi_out_length(struct nqi_out *out, size_t len, unsigned op1, unsigned op4, unsigned op8)
{
    if (op1 && len <= UINT8_MAX)
        nqi_out_number(out, op1, len, 1);
    else if (len <= UINT32_MAX)
        nqi_out_number(out, op4, len, 4);
    else if (op8)
        nqi_out_number(out, op8, len, 8);
    else
        nqi_out_fail(out, nqi_fail(NQ_ERR_UNSUPPORTED, "protocol %u cannot hold %zu bytes in one",
                                   out->protocol, len));
}

/* ---- the memo ---------------------------------------------------------------------------- */

static void out_put(struct nqi_out *out)
{
    uint32_t i = out->memo++;

    if (out->protocol >= 4)
        nqi_out_op(out, NQI_OP_MEMOIZE);
    else if (i <= UINT8_MAX)
        nqi_out_number(out, NQI_OP_BINPUT, i, 1);
    else
        nqi_out_number(out, NQI_OP_LONG_BINPUT, i, 4);
}

static void out_get(struct nqi_out *out, uint32_t i)
{
    if (i <= UINT8_MAX)
        nqi_out_number(out, NQI_OP_BINGET, i, 1);
    else
        nqi_out_number(out, NQI_OP_LONG_BINGET, i, 4);
}

/* Its place, or the free one where it would be.  There are free ones. */
static struct nqi_out_place *out_place(const struct nqi_out *out, const nq_datum *datum)
{
    size_t at = (size_t)(((uintptr_t)datum >> 6) * UINT64_C(0x9e3779b97f4a7c15) >> 20);

    for (;; at++) {
        struct nqi_out_place *place = &out->places[at & (out->nplaces - 1)];

        if (!place->datum || place->datum == datum)
            return place;
    }
}

static void out_grow(struct nqi_out *out)
{
    size_t old = out->nplaces, more = old ? 2 * old : 64;
    struct nqi_out_place *places = out->places;
    struct nqi_out_place *fresh = nqi_pool_alloc(more * sizeof(*fresh));

    if (!fresh) {
        nqi_out_fail(out, nqi_fail(NQ_ERR_NOMEM, "no memory for a pickle's memo"));
        return;
    }
    memset(fresh, 0, more * sizeof(*fresh));
    out->places = fresh;
    out->nplaces = more;
    for (size_t i = 0; i < old; i++)
        if (places[i].datum)
            *out_place(out, places[i].datum) = places[i];
    nqi_pool_free(places, old * sizeof(*places));
}

static bool out_is_shared(const nq_datum *datum)
{
    /* a new number is as short as the memo's */
    return !datum->immortal && datum->kind != NQ_DATUM_FLOAT &&
           atomic_load_explicit(&datum->refs, memory_order_relaxed) > 1;
}

/* It is written: it may be meant again. */
void nqi_out_remember(struct nqi_out *out, const nq_datum *datum)
{
    struct nqi_out_place *place;

    if (out->in_id || !out_is_shared(datum))
        return;
    if (2 * (out->nused + 1) > out->nplaces)
        out_grow(out);
    if (out->err)
        return;
    place = out_place(out, datum);
    *place = (struct nqi_out_place){datum, out->memo};
    out->nused++;
    out_put(out);
}

bool nqi_out_again(struct nqi_out *out, const nq_datum *datum)
{
    const struct nqi_out_place *place;

    if (out->in_id || !out->nplaces || !out_is_shared(datum))
        return false;
    place = out_place(out, datum);
    if (!place->datum)
        return false;
    out_get(out, place->i);
    return true;
}

/* ---- what many values are made of
 * ------------------------------------------------------------------- */

void nqi_out_text_length(struct nqi_out *out, size_t len)
{
    nqi_out_length(out, len, out->protocol >= 4 ? NQI_OP_SHORT_BINUNICODE : 0, NQI_OP_BINUNICODE,
                   out->protocol >= 4 ? NQI_OP_BINUNICODE8 : 0);
}

void nqi_out_text(struct nqi_out *out, const char *text, size_t len)
{
    nqi_out_text_length(out, len);
    nqi_out_raw(out, text, len);
}

void nqi_out_literal(struct nqi_out *out, const char *text)
{
    nqi_out_text(out, text, strlen(text));
}

void nqi_out_global(struct nqi_out *out, enum nqi_global global)
{
    const char *module = nqi_global_module(global, out->protocol);
    const char *name = nqi_global_name(global);

    if (out->globals[global] >= 0) {
        out_get(out, (uint32_t)out->globals[global]);
        return;
    }
    if (out->protocol >= 4) {
        nqi_out_literal(out, module);
        nqi_out_literal(out, name);
        nqi_out_op(out, NQI_OP_STACK_GLOBAL);
    } else {
        nqi_out_op(out, NQI_OP_GLOBAL);
        nqi_out_raw(out, module, strlen(module));
        nqi_out_raw(out, "\n", 1);
        nqi_out_raw(out, name, strlen(name));
        nqi_out_raw(out, "\n", 1);
    }
    out->globals[global] = out->memo;
    out_put(out);
}

void nqi_out_int(struct nqi_out *out, int64_t number)
{
    nq_datum datum = {.kind = NQ_DATUM_INT, .num = number};
    uint8_t bytes[sizeof(number)];
    size_t len;

    if (number >= 0 && number <= UINT8_MAX)
        nqi_out_number(out, NQI_OP_BININT1, (uint64_t)number, 1);
    else if (number >= 0 && number <= UINT16_MAX)
        nqi_out_number(out, NQI_OP_BININT2, (uint64_t)number, 2);
    else if (number >= INT32_MIN && number <= INT32_MAX)
        nqi_out_number(out, NQI_OP_BININT, (uint64_t)number, 4);
    else if (!nq_datum_get_bigint(&datum, bytes, sizeof(bytes), &len)) {
        nqi_out_number(out, NQI_OP_LONG1, len, 1);
        nqi_out_raw(out, bytes, len);
    }
}
