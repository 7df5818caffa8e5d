/* The messages of `netqueue bench`.
 *
 * Every message begins with its number; the rest is a fixed pattern that large messages
 * share, so that a gigabyte costs the sender no memory and the receiver can check any
 * place of it. */
#include "tools/bench.h"
#include <stdlib.h>
#include <string.h>

#define LOAD_BODY (UINT64_C(4) << 20) /* bytes of the pattern; then it repeats */
#define LOAD_SHARED 4096u             /* messages from this size on share it */
#define LOAD_NUMBER sizeof(uint64_t)
#define LOAD_SEED UINT64_C(0x6e65747175657565)
#define LOAD_VIEWS 64

/* Only the pages that the largest message needs are ever touched. */
static unsigned char load_body[LOAD_BODY] __attribute__((aligned(4096)));

/* The next of a fixed sequence of well-mixed numbers. */
static uint64_t load_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void load_fill(uint64_t len)
{
    uint64_t state = LOAD_SEED;

    for (uint64_t i = 0; i < len; i += sizeof(uint64_t)) {
        uint64_t word = load_random(&state);

        memcpy(load_body + i, &word, sizeof(word));
    }
}

/* For s = 8, 10, ... below M: 2^((M-s)/2) messages of 2^s bytes, and one of 2^M. */
static size_t load_count_mix(unsigned max_exponent)
{
    size_t n = 1;

    for (unsigned s = 8; s < max_exponent; s += 2)
        n += (size_t)1 << ((max_exponent - s) / 2);
    return n;
}

static nq_err load_mix(struct nqi_load *load, unsigned max_exponent)
{
    uint64_t state = LOAD_SEED;
    size_t n = 0;

    load->nexponents = load_count_mix(max_exponent);
    load->exponents = malloc(load->nexponents);
    if (!load->exponents)
        return NQ_ERR_NOMEM;
    for (unsigned s = 8; s < max_exponent; s += 2)
        for (size_t i = 0; i < (size_t)1 << ((max_exponent - s) / 2); i++)
            load->exponents[n++] = (uint8_t)s;
    load->exponents[n++] = (uint8_t)max_exponent;
    for (; n > 1; n--) {
        size_t other = load_random(&state) % n;
        uint8_t swapped = load->exponents[n - 1];

        load->exponents[n - 1] = load->exponents[other];
        load->exponents[other] = swapped;
    }
    return NQ_OK;
}

nq_err nqi_load_init(struct nqi_load *load, uint64_t size, unsigned max_exponent)
{
    uint64_t largest = max_exponent ? UINT64_C(1) << max_exponent : size;

    memset(load, 0, sizeof(*load));
    load->size = size;
    if (max_exponent && load_mix(load, max_exponent) != NQ_OK)
        return NQ_ERR_NOMEM;
    load_fill(largest < LOAD_BODY ? largest : LOAD_BODY);
    return nq_chunk_wrap(load_body, sizeof(load_body), NULL, NULL, &load->body);
}

void nqi_load_fini(struct nqi_load *load)
{
    nq_chunk_unref(load->body);
    free(load->exponents);
    memset(load, 0, sizeof(*load));
}

uint64_t nqi_load_bytes(const struct nqi_load *load)
{
    uint64_t bytes = 0;

    if (!load->exponents)
        return load->count * load->size;
    for (uint64_t i = load->warmup; i < nqi_load_total(load); i++)
        bytes += nqi_load_size(load, i);
    return bytes;
}

/* ---- making ----------------------------------------------------------------------------- */

static nq_err load_make_small(uint64_t size, uint64_t number, nq_msg **ret)
{
    void *data;
    nq_err err = nq_msg_alloc(size, &data, ret);

    if (err)
        return err;
    memcpy(data, load_body, size);
    memcpy(data, &number, size < LOAD_NUMBER ? size : LOAD_NUMBER);
    return NQ_OK;
}

nq_err nqi_load_make(const struct nqi_load *load, uint64_t number, nq_msg **ret)
{
    NQI_CLEANUP(nqi_msg_freep) nq_msg *msg = NULL;
    uint64_t size = nqi_load_size(load, number);
    uint64_t at = LOAD_NUMBER;
    nq_err err;

    if (size < LOAD_SHARED)
        return load_make_small(size, number, ret);
    err = nq_msg_new(&number, sizeof(number), &msg);
    /* The pattern goes on where it would stand in one piece of memory. */
    while (!err && at < size) {
        uint64_t from = at % LOAD_BODY;
        uint64_t len = size - at < LOAD_BODY - from ? size - at : LOAD_BODY - from;
        nq_view view = nq_chunk_view(load->body, from, len);

        err = nq_stream_writechunk(nq_msg_stream(msg), &view);
        nq_view_release(&view);
        at += len;
    }
    if (err)
        return err;
    *ret = NQI_STEAL(msg);
    return NQ_OK;
}

nq_err nqi_load_loan(const struct nqi_load *load, nq_queue *queue, const nq_uuid *peer,
                     uint64_t number, nq_msg **ret)
{
    uint64_t size = nqi_load_size(load, number);
    unsigned char *bytes;
    void *data;
    nq_err err = nq_loan(queue, peer, peer ? 1 : 0, size, &data, ret);

    if (err)
        return err;
    bytes = data;
    for (uint64_t at = size > LOAD_NUMBER ? size - LOAD_NUMBER : 0; at < size; at++)
        bytes[at] = load_body[at % LOAD_BODY];
    memcpy(bytes, &number, size < LOAD_NUMBER ? size : LOAD_NUMBER);
    return NQ_OK;
}

/* ---- checking ---------------------------------------------------------------------------- */

/* Do the `len` bytes at `data` belong to place `at` of message `number`? */
static bool load_same(uint64_t number, uint64_t at, const unsigned char *data, size_t len)
{
    const unsigned char *expected = (const unsigned char *)&number;

    for (size_t i = 0; i < len; i++, at++)
        if (data[i] != (at < LOAD_NUMBER ? expected[at] : load_body[at % LOAD_BODY]))
            return false;
    return true;
}

/* Both ends of a piece that stands at `at`. */
static bool load_ends(uint64_t number, uint64_t at, const unsigned char *data, size_t len)
{
    size_t n = len < LOAD_NUMBER ? len : LOAD_NUMBER;
    uint64_t last = (at + len - n) % LOAD_BODY;

    /* The common case by words, so that the check costs little beside what is measured. */
    if (!at && len >= 2 * LOAD_NUMBER && last + LOAD_NUMBER <= LOAD_BODY)
        return !memcmp(data, &number, LOAD_NUMBER) &&
               !memcmp(data + len - LOAD_NUMBER, load_body + last, LOAD_NUMBER);
    return load_same(number, at, data, n) && load_same(number, at + len - n, data + len - n, n);
}

/* Of a piece that stands at `at`, what was written. */
static bool load_piece(const struct nqi_load *load, uint64_t number, uint64_t at,
                       const unsigned char *data, size_t len)
{
    uint64_t size = nqi_load_size(load, number);
    size_t n = len < LOAD_NUMBER ? len : LOAD_NUMBER;

    if (!load->loan)
        return load_ends(number, at, data, len);
    return (at || load_same(number, 0, data, n)) &&
           (at + len < size || load_same(number, at + len - n, data + len - n, n));
}

/* All chunks of a message that will not be needed any more. */
static bool load_check_chunks(const struct nqi_load *load, uint64_t number, nq_stream *stream)
{
    nq_view views[LOAD_VIEWS];
    uint64_t at = 0;
    bool same = true;
    size_t n;

    while (nq_stream_readchunks(stream, views, LOAD_VIEWS, &n) == NQ_OK) {
        for (size_t i = 0; i < n; i++) {
            same = same && load_piece(load, number, at, views[i].data, views[i].len);
            at += views[i].len;
            nq_view_release(&views[i]);
        }
    }
    return same;
}

bool nqi_load_check(const struct nqi_load *load, uint64_t number, nq_msg *msg, bool keep)
{
    nq_stream *stream = nq_msg_stream(msg);
    nq_view view;

    if (nq_msg_size(msg) != nqi_load_size(load, number))
        return false;
    if (nq_stream_peekchunk(stream, &view) != NQ_OK)
        return nqi_load_size(load, number) == 0;
    if (keep || nq_stream_nchunks(stream) == 1)
        return load_piece(load, number, 0, view.data, view.len);
    return load_check_chunks(load, number, stream);
}
