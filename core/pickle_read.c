/* The pickle machine: a stack, a memo and a table of what each opcode does.
 *
 * It loops and never recurses.  No length is believed: what an opcode announces must be there in
 * the input before anything is set aside for it, one opcode makes one value at most, and what
 * values take is charged to a bound that is never given back. */
#include "core/err.h"
#include "core/pickle.h"
#include <string.h>

#define READ_MEMORY (UINT64_C(64) << 20)
#define READ_MEMORY_EACH 16 /* for each byte of input */
#define READ_MEMO (UINT32_C(1) << 20)
#define READ_INT_BYTES 1024

typedef nq_err (*read_fn)(struct nqi_pickle_read *read, unsigned op);

/* ---- numbers and texts ------------------------------------------------------------------- */

static nq_err read_short(void)
{
    return nqi_fail(NQ_ERR_PROTO, "the pickle is cut short");
}

/* A little-endian number of `size` bytes. */
static nq_err read_number(struct nqi_pickle_read *read, size_t size, uint64_t *ret)
{
    const uint8_t *at = nqi_buf_span(&read->in, size);
    uint64_t number = 0;

    if (!at)
        return read_short();
    while (size--)
        number = number << 8 | at[size];
    *ret = number;
    return NQ_OK;
}

/* A length of `size` bytes, and that many bytes. */
static nq_err read_counted(struct nqi_pickle_read *read, size_t size, const uint8_t **ret,
                           size_t *len)
{
    uint64_t count;
    nq_err err = read_number(read, size, &count);

    if (err)
        return err;
    *ret = nqi_buf_span(&read->in, count);
    if (!*ret)
        return nqi_fail(NQ_ERR_PROTO, "it announces %llu bytes, and they are not there",
                        (unsigned long long)count);
    *len = (size_t)count;
    return NQ_OK;
}

static size_t read_length_size(unsigned op)
{
    switch (op) {
    case NQI_OP_LONG1:
    case NQI_OP_SHORT_BINBYTES:
    case NQI_OP_SHORT_BINUNICODE:
        return 1;
    case NQI_OP_LONG4:
    case NQI_OP_BINBYTES:
    case NQI_OP_BINUNICODE:
        return 4;
    default:
        return 8;
    }
}

static nq_err read_bytes(struct nqi_pickle_read *read, unsigned op)
{
    nq_datum *datum = NULL;
    const uint8_t *at;
    size_t len = 0;
    nq_err err = read_counted(read, read_length_size(op), &at, &len);

    if (err)
        return err;
    switch (op) {
    case NQI_OP_LONG1:
    case NQI_OP_LONG4:
        if (len > read->int_bytes)
            return nqi_fail(NQ_ERR_TOO_BIG, "an int of %zu bytes: more than %u", len,
                            read->int_bytes);
        err = nq_datum_bigint(at, len, &datum);
        break;
    case NQI_OP_BINUNICODE:
    case NQI_OP_BINUNICODE8:
    case NQI_OP_SHORT_BINUNICODE:
        err = nq_datum_str((const char *)at, len, &datum);
        break;
    case NQI_OP_BYTEARRAY8:
        err = nq_datum_bytearray(at, len, &datum);
        break;
    default:
        err = nq_datum_bytes(at, len, &datum);
        break;
    }
    return nqi_pickle_made(read, err, &datum);
}

static nq_err read_int(struct nqi_pickle_read *read, unsigned op)
{
    size_t size = op == NQI_OP_BININT ? 4 : op == NQI_OP_BININT2 ? 2 : 1;
    nq_datum *datum = NULL;
    uint64_t number;
    nq_err err = read_number(read, size, &number);

    if (!err)
        err = nq_datum_int(size == 4 ? (int32_t)number : (int64_t)number, &datum);
    return nqi_pickle_made(read, err, &datum);
}

static nq_err read_float(struct nqi_pickle_read *read, unsigned op)
{
    nq_datum *datum = NULL;
    uint64_t bits = nqi_buf_u64(&read->in);
    double number;

    (void)op;
    if (read->in.bad)
        return read_short();
    memcpy(&number, &bits, sizeof(number));
    return nqi_pickle_made(read, nq_datum_float(number, &datum), &datum);
}

static nq_err read_constant(struct nqi_pickle_read *read, unsigned op)
{
    return nqi_pickle_push(read, op == NQI_OP_NONE ? nq_datum_none()
                                                   : nq_datum_bool(op == NQI_OP_NEWTRUE));
}

/* ---- containers -------------------------------------------------------------------------- */

static nq_err read_container(struct nqi_pickle_read *read, unsigned op)
{
    nq_datum *datum = NULL;
    nq_datum_kind kind = op == NQI_OP_EMPTY_LIST    ? NQ_DATUM_LIST
                         : op == NQI_OP_EMPTY_TUPLE ? NQ_DATUM_TUPLE
                         : op == NQI_OP_EMPTY_DICT  ? NQ_DATUM_DICT
                                                    : NQ_DATUM_SET;

    return nqi_pickle_made(read, nq_datum_container(kind, &datum), &datum);
}

/* Move the values from `from` on into `container`, which stands below them, or is new. */
static nq_err read_move(struct nqi_pickle_read *read, size_t from, nq_datum *container)
{
    bool pairs = container->kind == NQ_DATUM_DICT;
    size_t step = pairs ? 2 : 1, at = from;
    nq_err err = NQ_OK;

    if ((read->height - from) % step)
        return nqi_fail(NQ_ERR_PROTO, "a key without its value");
    for (; !err && at < read->height; at += step) {
        nq_datum **item = read->stack + at;

        err = nqi_pickle_add(read, container, pairs ? item[0] : NULL, item[pairs]);
        if (!err) /* the container has the references */
            item[0] = item[step - 1] = NULL;
    }
    nqi_pickle_drop(read, from);
    return err;
}

static nq_err read_add(struct nqi_pickle_read *read, unsigned op)
{
    nq_datum_kind kind = op == NQI_OP_SETITEM || op == NQI_OP_SETITEMS ? NQ_DATUM_DICT
                         : op == NQI_OP_ADDITEMS                       ? NQ_DATUM_SET
                                                                       : NQ_DATUM_LIST;
    bool marked = op == NQI_OP_APPENDS || op == NQI_OP_SETITEMS || op == NQI_OP_ADDITEMS;
    size_t from = 0, count = kind == NQ_DATUM_DICT ? 2 : 1;
    nq_err err = NQ_OK;

    if (marked)
        err = nqi_pickle_mark(read, &from);
    else if (!nqi_pickle_peek(read, count))
        err = nqi_pickle_empty();
    else
        from = read->height - count;
    if (err)
        return err;
    if (from < 1 + (size_t)marked || !read->stack[from - 1 - marked])
        return nqi_pickle_empty();
    if (read->stack[from - 1 - marked]->kind != kind)
        return nqi_fail(NQ_ERR_PROTO, "it needs a %s, and finds %s", nq_datum_kind_text(kind),
                        nq_datum_kind_text((nq_datum_kind)read->stack[from - 1 - marked]->kind));
    err = read_move(read, from, read->stack[from - 1 - marked]);
    nqi_pickle_drop(read, from - marked);
    return err;
}

static nq_err read_tuple(struct nqi_pickle_read *read, unsigned op)
{
    bool counted = op >= NQI_OP_TUPLE1 && op <= NQI_OP_TUPLE3;
    size_t count = counted ? op - NQI_OP_TUPLE1 + 1 : 0, from = 0;
    nq_datum_kind kind = op == NQI_OP_FROZENSET ? NQ_DATUM_FROZENSET : NQ_DATUM_TUPLE;
    nq_datum *datum = NULL;
    nq_err err = NQ_OK;

    if (!counted)
        err = nqi_pickle_mark(read, &from);
    else if (!nqi_pickle_peek(read, count - 1))
        err = nqi_pickle_empty();
    else
        from = read->height - count;
    if (!err)
        err = nq_datum_container(kind, &datum);
    if (err)
        return err;
    err = read_move(read, from, datum);
    nqi_pickle_drop(read, from - !counted);
    if (err) {
        nq_datum_unref(datum);
        return err;
    }
    return nqi_pickle_made(read, NQ_OK, &datum);
}

static nq_err read_push_mark(struct nqi_pickle_read *read, unsigned op)
{
    (void)op;
    return nqi_pickle_push(read, NULL);
}

static nq_err read_pop(struct nqi_pickle_read *read, unsigned op)
{
    size_t from = read->height;
    nq_err err = NQ_OK;

    if (op == NQI_OP_POP_MARK)
        err = nqi_pickle_mark(read, &from);
    else if (!from)
        err = nqi_pickle_empty();
    if (!err)
        nqi_pickle_drop(read, from - 1); /* POP takes a mark as well, as Python's does */
    return err;
}

/* ---- memo -------------------------------------------------------------------------------- */

static nq_err read_put(struct nqi_pickle_read *read, unsigned op)
{
    uint64_t i = read->memo_count;
    nq_err err = op == NQI_OP_MEMOIZE ? NQ_OK : read_number(read, op == NQI_OP_BINPUT ? 1 : 4, &i);

    return err ? err : nqi_pickle_memo(read, i);
}

static nq_err read_get(struct nqi_pickle_read *read, unsigned op)
{
    uint64_t i;
    nq_err err = read_number(read, op == NQI_OP_BINGET ? 1 : 4, &i);

    if (err)
        return err;
    if (i >= read->memo_count || !read->memo[i])
        return nqi_fail(NQ_ERR_PROTO, "memo entry %llu is empty", (unsigned long long)i);
    return nqi_pickle_push(read, nq_datum_ref(read->memo[i]));
}

/* ---- globals ----------------------------------------------------------------------------- */

/* A line without its end. */
static nq_err read_line(struct nqi_pickle_read *read, const char **ret, size_t *len)
{
    size_t left = nqi_buf_left(&read->in);
    const uint8_t *at = read->in.at, *end = left ? memchr(at, '\n', left) : NULL;

    if (!end)
        return read_short();
    *ret = (const char *)at;
    *len = (size_t)(end - at);
    (void)nqi_buf_span(&read->in, *len + 1);
    return NQ_OK;
}

static nq_err read_global(struct nqi_pickle_read *read, unsigned op)
{
    const char *module, *name;
    size_t module_len = 0, name_len = 0;
    nq_datum *datum = NULL;
    nq_err err = read_line(read, &module, &module_len);

    (void)op;
    if (!err)
        err = read_line(read, &name, &name_len);
    if (!err)
        err = nqi_pickle_global(read->options->allow, module, module_len, name, name_len, &datum);
    return nqi_pickle_made(read, err, &datum);
}

static nq_err read_stack_global(struct nqi_pickle_read *read, unsigned op)
{
    const nq_datum *module = nqi_pickle_peek(read, 1), *name = nqi_pickle_peek(read, 0);
    nq_datum *datum = NULL;
    nq_err err;

    (void)op;
    if (!module || module->kind != NQ_DATUM_STR || name->kind != NQ_DATUM_STR)
        return nqi_fail(NQ_ERR_PROTO, "it needs two str before it");
    err = nqi_pickle_global(read->options->allow, (const char *)module->bytes, module->len,
                            (const char *)name->bytes, name->len, &datum);
    if (!err)
        nqi_pickle_drop(read, read->height - 2);
    return nqi_pickle_made(read, err, &datum);
}

static nq_err read_reduce(struct nqi_pickle_read *read, unsigned op)
{
    const nq_datum *callable = nqi_pickle_peek(read, 1), *args = nqi_pickle_peek(read, 0);
    nq_datum *datum = NULL;
    nq_err err;

    if (!callable || callable->kind != NQI_DATUM_GLOBAL || args->kind != NQ_DATUM_TUPLE)
        return nqi_fail(NQ_ERR_PROTO, "it needs a global and a tuple before it");
    err = op == NQI_OP_REDUCE ? nqi_pickle_reduce(read, callable, args, &datum)
                              : nqi_pickle_new(callable, args, &datum);
    if (!err)
        nqi_pickle_drop(read, read->height - 2);
    return nqi_pickle_made(read, err, &datum);
}

static nq_err read_build(struct nqi_pickle_read *read, unsigned op)
{
    nq_datum *object = nqi_pickle_peek(read, 1);
    nq_err err;

    (void)op;
    if (!object)
        return nqi_pickle_empty();
    err = nqi_pickle_charge(read, NQ_DATUM_DIMS * sizeof(uint64_t));
    if (!err)
        err = nqi_pickle_build(object, nqi_pickle_peek(read, 0));
    if (!err)
        nqi_pickle_drop(read, read->height - 1);
    return err;
}

static nq_err read_persistent(struct nqi_pickle_read *read, unsigned op)
{
    nq_datum *id = nqi_pickle_peek(read, 0), *datum = NULL;
    nq_err err;

    (void)op;
    if (!id || id->raw)
        return nqi_pickle_empty();
    if (!read->options->load_id)
        return nqi_fail(NQ_ERR_UNSUPPORTED, "a persistent id, and nothing says what it stands for");
    err = read->options->load_id(read->options->arg, id, &datum);
    if (err)
        return nqi_fail(err < 0 ? err : NQ_ERR_INVAL, "a persistent id that is not known");
    nqi_pickle_drop(read, read->height - 1);
    return nqi_pickle_made(read, NQ_OK, &datum);
}

/* ---- the machine ------------------------------------------------------------------------- */

static nq_err read_frame(struct nqi_pickle_read *read, unsigned op)
{
    uint64_t len = 0;
    nq_err err = read_number(read, 8, &len);

    (void)op;
    if (!err && len > nqi_buf_left(&read->in))
        err = nqi_fail(NQ_ERR_PROTO, "it announces %llu bytes, and they are not there",
                       (unsigned long long)len);
    return err; /* a frame is a hint for who reads from a file */
}

static const read_fn read_ops[256] = {
    [NQI_OP_MARK] = read_push_mark,
    [NQI_OP_POP] = read_pop,
    [NQI_OP_POP_MARK] = read_pop,
    [NQI_OP_BINFLOAT] = read_float,
    [NQI_OP_BININT] = read_int,
    [NQI_OP_BININT1] = read_int,
    [NQI_OP_BININT2] = read_int,
    [NQI_OP_NONE] = read_constant,
    [NQI_OP_NEWTRUE] = read_constant,
    [NQI_OP_NEWFALSE] = read_constant,
    [NQI_OP_BINPERSID] = read_persistent,
    [NQI_OP_REDUCE] = read_reduce,
    [NQI_OP_NEWOBJ] = read_reduce,
    [NQI_OP_BUILD] = read_build,
    [NQI_OP_GLOBAL] = read_global,
    [NQI_OP_STACK_GLOBAL] = read_stack_global,
    [NQI_OP_APPEND] = read_add,
    [NQI_OP_APPENDS] = read_add,
    [NQI_OP_SETITEM] = read_add,
    [NQI_OP_SETITEMS] = read_add,
    [NQI_OP_ADDITEMS] = read_add,
    [NQI_OP_BINGET] = read_get,
    [NQI_OP_LONG_BINGET] = read_get,
    [NQI_OP_BINPUT] = read_put,
    [NQI_OP_LONG_BINPUT] = read_put,
    [NQI_OP_MEMOIZE] = read_put,
    [NQI_OP_TUPLE] = read_tuple,
    [NQI_OP_TUPLE1] = read_tuple,
    [NQI_OP_TUPLE2] = read_tuple,
    [NQI_OP_TUPLE3] = read_tuple,
    [NQI_OP_FROZENSET] = read_tuple,
    [NQI_OP_EMPTY_DICT] = read_container,
    [NQI_OP_EMPTY_LIST] = read_container,
    [NQI_OP_EMPTY_TUPLE] = read_container,
    [NQI_OP_EMPTY_SET] = read_container,
    [NQI_OP_LONG1] = read_bytes,
    [NQI_OP_LONG4] = read_bytes,
    [NQI_OP_BINBYTES] = read_bytes,
    [NQI_OP_SHORT_BINBYTES] = read_bytes,
    [NQI_OP_BINBYTES8] = read_bytes,
    [NQI_OP_BYTEARRAY8] = read_bytes,
    [NQI_OP_BINUNICODE] = read_bytes,
    [NQI_OP_SHORT_BINUNICODE] = read_bytes,
    [NQI_OP_BINUNICODE8] = read_bytes,
    [NQI_OP_FRAME] = read_frame,
};

static nq_err read_unknown(unsigned op)
{
    const char *name = nqi_opcode_name(op);

    if (op == NQI_OP_NEXT_BUFFER)
        return nqi_fail(NQ_ERR_UNSUPPORTED, "a buffer that is not in the pickle");
    if (name)
        return nqi_fail(NQ_ERR_UNSUPPORTED, "this opcode is not read");
    return nqi_fail(NQ_ERR_PROTO, "0x%02x is no opcode", op);
}

/* PROTO, which every protocol that is read begins with. */
static nq_err read_begin(struct nqi_pickle_read *read)
{
    const uint8_t *at = nqi_buf_span(&read->in, 2);

    if (!at)
        return read_short();
    if (at[0] != NQI_OP_PROTO)
        return nqi_fail(NQ_ERR_UNSUPPORTED, "this is no pickle, or one of protocol 0 or 1");
    if (at[1] < 2 || at[1] > NQI_PICKLE_HIGHEST)
        return nqi_fail(NQ_ERR_UNSUPPORTED, "protocol %u: only 2 to %d are read", at[1],
                        NQI_PICKLE_HIGHEST);
    return NQ_OK;
}

static nq_err read_end(struct nqi_pickle_read *read, nq_datum **ret)
{
    nq_datum *datum = nqi_pickle_peek(read, 0);

    if (!datum || read->height != 1)
        return nqi_fail(NQ_ERR_PROTO, "it leaves %zu values in place of one", read->height);
    if (datum->raw)
        return nqi_fail(NQ_ERR_UNSUPPORTED, "a class by itself, or an object without its state");
    if (nqi_buf_left(&read->in))
        return nqi_fail(NQ_ERR_PROTO, "%zu bytes behind the end", nqi_buf_left(&read->in));
    *ret = nq_datum_ref(datum);
    return NQ_OK;
}

static nq_err read_run(struct nqi_pickle_read *read, nq_datum **ret)
{
    nq_err err = read_begin(read);
    unsigned op;

    while (!err) {
        read->op = read->in.at;
        op = nqi_buf_u8(&read->in);
        if (read->in.bad)
            return read_short();
        if (op == NQI_OP_STOP)
            return read_end(read, ret);
        err = read_ops[op] ? read_ops[op](read, op) : read_unknown(op);
    }
    return err;
}

/* Where it was, and before what. */
static nq_err read_tell(const struct nqi_pickle_read *read, nq_err err)
{
    const char *name = read->op < read->in.end ? nqi_opcode_name(*read->op) : NULL;

    if (err == NQ_ERR_INVAL) /* a rule of values is broken, and the pickle is to blame */
        err = NQ_ERR_PROTO;
    return nqi_fail_in(err, "pickle, byte %zu%s%s%s", (size_t)(read->op - read->start),
                       name ? " (" : "", name ? name : "", name ? ")" : "");
}

nq_err nq_pickle_load(const void *data, size_t len, const struct nq_pickle_options *options,
                      nq_datum **ret)
{
    static const struct nq_pickle_options none;
    const struct nq_pickle_options *o = options ? options : &none;
    NQI_CLEANUP(nqi_pickle_fini)
    struct nqi_pickle_read read = {
        .in = nqi_buf_over(data, len),
        .options = o,
        .memory = o->memory ? o->memory : READ_MEMORY + (uint64_t)len * READ_MEMORY_EACH,
        .int_bytes = o->int_bytes ? o->int_bytes : READ_INT_BYTES,
        .depth = o->depth ? NQI_MIN(o->depth, NQ_DATUM_DEPTH) : NQ_DATUM_DEPTH,
    };
    nq_err err;

    read.memo_most = (uint32_t)NQI_MIN(o->memo ? o->memo : READ_MEMO, len);
    read.start = read.op = read.in.at;
    err = read_run(&read, ret);
    return err ? read_tell(&read, err) : NQ_OK;
}
