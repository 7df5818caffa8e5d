/* What reader and writer of pickles have in common: opcodes, and the globals that are known.
 *
 *     pickle_read.c   the machine: bytes -> stack and memo -> value
 *     pickle_stack.c  its stack and memo
 *     pickle_build.c  what a global makes of its arguments: nothing is called, each is a case here
 *     pickle_write.c  value -> bytes, through pickle_out.c
 *     pickle_names.c  the two tables
 *
 * Pure.  Thread: any. */
#ifndef NQ_CORE_PICKLE_H
#define NQ_CORE_PICKLE_H

#include "core/base.h"
#include "core/buf.h"
#include "core/datum.h"
#include <netqueue/pickle.h>

#define NQI_PICKLE_HIGHEST 5

/* Those that are read or written; the rest has only a name. */
enum nqi_opcode {
    NQI_OP_MARK = '(',
    NQI_OP_STOP = '.',
    NQI_OP_POP = '0',
    NQI_OP_POP_MARK = '1',
    NQI_OP_BINFLOAT = 'G',
    NQI_OP_BININT = 'J',
    NQI_OP_BININT1 = 'K',
    NQI_OP_BININT2 = 'M',
    NQI_OP_NONE = 'N',
    NQI_OP_BINPERSID = 'Q',
    NQI_OP_REDUCE = 'R',
    NQI_OP_BINUNICODE = 'X',
    NQI_OP_APPEND = 'a',
    NQI_OP_BUILD = 'b',
    NQI_OP_GLOBAL = 'c',
    NQI_OP_APPENDS = 'e',
    NQI_OP_BINGET = 'h',
    NQI_OP_LONG_BINGET = 'j',
    NQI_OP_BINPUT = 'q',
    NQI_OP_LONG_BINPUT = 'r',
    NQI_OP_SETITEM = 's',
    NQI_OP_TUPLE = 't',
    NQI_OP_SETITEMS = 'u',
    NQI_OP_EMPTY_DICT = '}',
    NQI_OP_EMPTY_LIST = ']',
    NQI_OP_EMPTY_TUPLE = ')',
    /* protocol 2 */
    NQI_OP_PROTO = 0x80,
    NQI_OP_NEWOBJ = 0x81,
    NQI_OP_TUPLE1 = 0x85,
    NQI_OP_TUPLE2 = 0x86,
    NQI_OP_TUPLE3 = 0x87,
    NQI_OP_NEWTRUE = 0x88,
    NQI_OP_NEWFALSE = 0x89,
    NQI_OP_LONG1 = 0x8a,
    NQI_OP_LONG4 = 0x8b,
    /* protocol 3 */
    NQI_OP_BINBYTES = 'B',
    NQI_OP_SHORT_BINBYTES = 'C',
    /* protocol 4 */
    NQI_OP_SHORT_BINUNICODE = 0x8c,
    NQI_OP_BINUNICODE8 = 0x8d,
    NQI_OP_BINBYTES8 = 0x8e,
    NQI_OP_EMPTY_SET = 0x8f,
    NQI_OP_ADDITEMS = 0x90,
    NQI_OP_FROZENSET = 0x91,
    NQI_OP_STACK_GLOBAL = 0x93,
    NQI_OP_MEMOIZE = 0x94,
    NQI_OP_FRAME = 0x95,
    /* protocol 5 */
    NQI_OP_BYTEARRAY8 = 0x96,
    NQI_OP_NEXT_BUFFER = 0x97
};

/* Python's name of any opcode; NULL: it is none. */
const char *nqi_opcode_name(unsigned opcode);

enum nqi_global {
    NQI_GLOBAL_ENCODE, /* _codecs.encode: bytes in protocol 2 */
    NQI_GLOBAL_BYTES,
    NQI_GLOBAL_BYTEARRAY,
    NQI_GLOBAL_SET,
    NQI_GLOBAL_FROZENSET,
    NQI_GLOBAL_DATETIME,
    NQI_GLOBAL_DATE,
    NQI_GLOBAL_TIME,
    NQI_GLOBAL_TIMEDELTA,
    NQI_GLOBAL_TIMEZONE,
    NQI_GLOBAL_UUID,
    NQI_GLOBAL_NDARRAY,
    NQI_GLOBAL_DTYPE,
    NQI_GLOBAL_RECONSTRUCT,
    NQI_GLOBAL_SCALAR,
    NQI_GLOBAL_FROMBUFFER,
    NQI_GLOBALS
};
#define NQI_GLOBAL_BUILT_IN NQI_GLOBAL_FROZENSET /* up to here no list of names narrows them */

/* The global of that name, in the form of any version; -1 = none.  Texts without NUL. */
int nqi_global_find(const char *module, size_t module_len, const char *name, size_t name_len);

/* Is it in `allow` (ends with NULL), or is that NULL? */
bool nqi_global_allowed(int global, const char *module, size_t module_len, const char *name,
                        size_t name_len, const char *const *allow);

/* As it is written: what every version reads, Python 3's before protocol 3 too. */
const char *nqi_global_module(enum nqi_global global, unsigned protocol);
const char *nqi_global_name(enum nqi_global global);

/* ---- reading ---- */

struct nqi_pickle_read {
    struct nqi_buf in;
    const uint8_t *start; /* of the pickle */
    const uint8_t *op;    /* the opcode that is looked at */
    const struct nq_pickle_options *options;
    uint64_t memory, used; /* most and so far, of the value; what is dropped counts on */
    uint32_t memo_most, int_bytes, depth;

    nq_datum **stack; /* pooled; NULL = a mark */
    size_t height, stack_cap;
    nq_datum **memo; /* pooled; NULL = nothing there */
    size_t memo_count, memo_cap;
};

/* `bytes` more for the value.  NQ_OK, NQ_ERR_TOO_BIG */
NQ_MUST_CHECK nq_err nqi_pickle_charge(struct nqi_pickle_read *read, uint64_t bytes);

/* nqi_datum_add() that is charged and as deep as allowed. */
NQ_MUST_CHECK nq_err nqi_pickle_add(struct nqi_pickle_read *read, nq_datum *container,
                                    nq_datum *key, nq_datum *item);

/* @param datum  one reference [take], also on failure; NULL = a mark */
NQ_MUST_CHECK nq_err nqi_pickle_push(struct nqi_pickle_read *read, nq_datum *datum);
/* A new value [take], charged, unless `err` says that there is none: then that is returned.
 * @param datum  looked at later than `err`, which may come from the call that sets it */
NQ_MUST_CHECK nq_err nqi_pickle_made(struct nqi_pickle_read *read, nq_err err, nq_datum **datum);
/* The value that is `down` from the top, or NULL: a mark or the ground is nearer. */
nq_datum *nqi_pickle_peek(const struct nqi_pickle_read *read, size_t down);
nq_err nqi_pickle_empty(void); /* the failure that says so */
/* Drop values, marks too, until `height` are left. */
void nqi_pickle_drop(struct nqi_pickle_read *read, size_t height);
/* Where the values behind the last mark begin.  NQ_OK, NQ_ERR_PROTO */
NQ_MUST_CHECK nq_err nqi_pickle_mark(const struct nqi_pickle_read *read, size_t *ret);
/* The value on top becomes the i-th of the memo. */
NQ_MUST_CHECK nq_err nqi_pickle_memo(struct nqi_pickle_read *read, uint64_t i);
void nqi_pickle_fini(struct nqi_pickle_read *read); /* stack and memo */

/* The class or function of that name, as a GLOBAL.
 * @param ret  [out] one reference
 * @return NQ_OK, NQ_ERR_UNSUPPORTED (it is not known, or not in `allow`), NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_pickle_global(const char *const *allow, const char *module,
                                       size_t module_len, const char *name, size_t name_len,
                                       nq_datum **ret);

/* What `callable` makes of `args`, a tuple, and what `state` makes of the unfinished `object`.
 * @param ret  [out] one reference */
NQ_MUST_CHECK nq_err nqi_pickle_reduce(struct nqi_pickle_read *read, const nq_datum *callable,
                                       const nq_datum *args, nq_datum **ret);
NQ_MUST_CHECK nq_err nqi_pickle_new(const nq_datum *callable, const nq_datum *args, nq_datum **ret);
NQ_MUST_CHECK nq_err nqi_pickle_build(nq_datum *object, const nq_datum *state);

#endif
