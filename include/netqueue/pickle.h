/**
 * @file
 * Python's pickle, as data: protocols 2 to 5, into and out of nq_datum.
 *
 * Nothing is executed and nothing imported.  A pickle that names anything but what is listed in
 * docs/serializers.md is refused with the name; so is every opcode that those values do not need.
 *
 * Thread: any.  Nothing here blocks.
 */
#ifndef NETQUEUE_PICKLE_H
#define NETQUEUE_PICKLE_H

#include <netqueue/datum.h>
#include <netqueue/err.h>
#include <netqueue/stream.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What a persistent id stands for.
 *  @param id   borrowed
 *  @param ret  [out] one reference, given away
 *  @return NQ_OK, or a failure, which ends the load */
typedef nq_err (*nq_pickle_load_id_fn)(void *arg, const nq_datum *id, nq_datum **ret);

/** The persistent id that `datum` is to be written as.  Not asked for what is in an id.
 *  @param id  [out] one reference, given away, on NQ_OK
 *  @return NQ_OK, NQ_AGAIN (it has none: it is written itself), or a failure, which ends the dump
 */
typedef nq_err (*nq_pickle_dump_id_fn)(void *arg, const nq_datum *datum, nq_datum **id);

/** All zero is the default; NULL in place of them too. */
struct nq_pickle_options {
    unsigned protocol; /* to write: 2 to 5; 0 = 5 */

    /* to read: bounds.  0 = what stands there */
    uint64_t memory;    /* bytes that the value may take; 64 MiB and 16 for each byte read */
    uint32_t memo;      /* entries; 1048576, and never more than bytes read */
    uint32_t int_bytes; /* of one int; 1024 */
    uint32_t depth;     /* of the value, at most NQ_DATUM_DEPTH; that */

    /* to read: allowed names, or NULL for all that are known: "datetime" is a whole module or
     * package, "uuid.UUID" one class.  bytes, bytearray, set and frozenset need no name. */
    const char *const *allow; /* ends with NULL; borrowed */

    nq_pickle_load_id_fn load_id; /* NULL: a persistent id is an error */
    nq_pickle_dump_id_fn dump_id; /* NULL: there are none */
    void *arg;                    /* of both */
};

/** Read a pickle.  All `len` bytes are one; Python's own pickles are never followed by anything.
 *  @param ret  [out] one reference, owned by the caller, ends with nq_datum_unref()
 *  @return NQ_OK; NQ_ERR_PROTO (malformed), NQ_ERR_UNSUPPORTED (a global, opcode or type that is
 *          not read; it is named), NQ_ERR_TOO_BIG (one of the bounds), NQ_ERR_NOMEM, or what
 *          load_id returned.  nq_error() tells the byte. */
NQ_API NQ_MUST_CHECK nq_err nq_pickle_load(const void *data, size_t len,
                                           const struct nq_pickle_options *options, nq_datum **ret);

/** Append the pickle of `datum` to `stream`.  What stands in several places is written once.
 *  @param stream  the caller's; unchanged on failure
 *  @return NQ_OK, NQ_ERR_NOMEM, NQ_ERR_INVAL (the protocol), or what dump_id returned */
NQ_API NQ_MUST_CHECK nq_err nq_pickle_dump(const nq_datum *datum,
                                           const struct nq_pickle_options *options,
                                           nq_stream *stream);

#ifdef __cplusplus
}
#endif
#endif
