/* What a pickle is written to: chunks, and the memo of what was written.
 *
 * The first failure is kept and makes all that follows do nothing, so that who writes asks once, at
 * the end.
 *
 * Pure.  Thread: one at a time. */
#ifndef NQ_CORE_PICKLE_OUT_H
#define NQ_CORE_PICKLE_OUT_H

#include "core/pickle.h"
#include "core/stream.h"

/* Where a value stands in the memo: open addressing. */
struct nqi_out_place {
    const nq_datum *datum; /* NULL = free */
    uint32_t i;
};

struct nqi_out {
    const struct nq_pickle_options *options;
    unsigned protocol;
    bool in_id; /* what is written is a persistent id, which ends soon: it is not remembered */
    nq_err err; /* the first failure: nothing is written any more */
    struct nq_stream done;
    nq_chunk *chunk; /* that is being filled; NULL = none */
    size_t used;     /* of it */
    size_t hint;     /* bytes that may come */

    struct nqi_out_place *places; /* pooled */
    size_t nplaces, nused;        /* a power of two, at most half of it used */
    uint32_t memo;                /* entries of the reader's */
    int64_t globals[NQI_GLOBALS]; /* where they stand in it; -1 = not yet */
};

/* @param hint  bytes that may come */
void nqi_out_init(struct nqi_out *out, const struct nq_pickle_options *options, unsigned protocol,
                  uint64_t hint);
void nqi_out_fini(struct nqi_out *out);

/* Append all of it to `stream`, or say what failed; `stream` is then as it was. */
NQ_MUST_CHECK nq_err nqi_out_end(struct nqi_out *out, nq_stream *stream);

/* The first is kept. */
void nqi_out_fail(struct nqi_out *out, nq_err err);

/* `len` bytes to fill in; NULL: it has failed. */
uint8_t *nqi_out_room(struct nqi_out *out, size_t len);
void nqi_out_raw(struct nqi_out *out, const void *data, size_t len);
void nqi_out_op(struct nqi_out *out, unsigned op);
/* An opcode and a little-endian number of `size` bytes. */
void nqi_out_number(struct nqi_out *out, unsigned op, uint64_t number, size_t size);
/* The forms of a length: in 1 byte, if `op1` is not 0; in 4; in 8, if `op8` is not 0. */
void nqi_out_length(struct nqi_out *out, size_t len, unsigned op1, unsigned op4, unsigned op8);
/* The bytes in `datum`, long ones where they lie. */
void nqi_out_bytes_of(struct nqi_out *out, const nq_datum *datum);

void nqi_out_text_length(struct nqi_out *out, size_t len);
void nqi_out_text(struct nqi_out *out, const char *text, size_t len);
void nqi_out_literal(struct nqi_out *out, const char *text);
void nqi_out_int(struct nqi_out *out, int64_t number);
void nqi_out_global(struct nqi_out *out, enum nqi_global global);

/* It is written: it may be meant again.  And whether it was: then that is written. */
void nqi_out_remember(struct nqi_out *out, const nq_datum *datum);
bool nqi_out_again(struct nqi_out *out, const nq_datum *datum);

#endif
