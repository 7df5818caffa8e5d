/* A stranger's pickle.
 *
 *     u8 flags: 1 = a list of names, 2 = small bounds, 4 = persistent ids; then the pickle
 *
 * What is read keeps the rules of values, is walked as JSON, and comes back the same through each
 * protocol that we write. */
#include "core/jsontext.h"
#include "core/pickle.h"
#include "core/stream.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/pickles.h"
#include <string.h>

/* The rules of <netqueue/datum.h>, of all that is in it.  @return its height */
static unsigned look(const nq_datum *datum)
{
    unsigned height = 0, inside;

    MUST(datum->kind < NQ_DATUM_KINDS && !datum->raw);
    if (datum->kind == NQ_DATUM_STR)
        MUST(nqi_datum_is_text(datum->bytes, datum->len));
    if (datum->kind >= NQ_DATUM_STR && datum->kind <= NQ_DATUM_BYTEARRAY)
        fuzz_touch(datum->bytes, datum->len + 1);
    for (size_t i = 0; i < nq_datum_count(datum); i++) {
        const nq_datum *item = nq_datum_item(datum, i), *value = nq_datum_value(datum, i);

        inside = look(item);
        height = NQI_MAX(height, inside);
        inside = value ? look(value) : 0;
        height = NQI_MAX(height, inside);
        MUST(!value || !item->unhashable);
    }
    MUST(height + 1 == datum->height && datum->height <= NQ_DATUM_DEPTH);
    return height + 1;
}

static nq_err load_id(void *arg, const nq_datum *id, nq_datum **ret)
{
    (void)arg;
    (void)look(id);
    *ret = nq_datum_ref(id);
    return NQ_OK;
}

static void again(const nq_datum *datum, unsigned protocol)
{
    const struct nq_pickle_options options = {.protocol = protocol, .memory = UINT64_C(1) << 30};
    struct nq_stream stream;
    nq_datum *back = NULL;
    uint8_t *bytes;
    size_t len;

    nqi_stream_init(&stream);
    MUST(!nq_pickle_dump(datum, &options, &stream));
    len = (size_t)stream.nbytes;
    bytes = malloc(len);
    MUST(bytes && nq_stream_read(&stream, bytes, len) == len);
    MUST(!nq_pickle_load(bytes, len, &options, &back));
    MUST(protocol < 4 || nq_datum_equal(datum, back)); /* before, a fold is lost */
    nq_datum_unref(back);
    free(bytes);
    nqi_stream_fini(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const allow[] = {"datetime", "uuid.UUID", NULL};
    unsigned flags = len ? data[0] : 0;
    struct nq_pickle_options options = {.allow = flags & 1 ? allow : NULL,
                                        .memory = flags & 2 ? 4096 : 0,
                                        .depth = flags & 2 ? 4 : 0,
                                        .memo = flags & 2 ? 8 : 0,
                                        .load_id = flags & 4 ? load_id : NULL};
    struct nqi_buf in = nqi_buf_over(data + (len > 0), len - (len > 0));
    size_t size = nqi_buf_left(&in);
    uint8_t *exact = fuzz_exact(&in, &size);
    nq_datum *datum = NULL;
    json_t *json;
    nq_err err = nq_pickle_load(exact, size, &options, &datum);

    free(exact);
    if (err) {
        MUST(err == NQ_ERR_PROTO || err == NQ_ERR_UNSUPPORTED || err == NQ_ERR_TOO_BIG);
        MUST(!datum);
        return 0;
    }
    if (datum->weight < (UINT64_C(1) << 20)) {
        (void)look(datum);
        if (!nq_datum_to_json(datum, &json))
            json_decref(json);
        for (unsigned protocol = 2; protocol <= 5; protocol++)
            again(datum, protocol);
    }
    nq_datum_unref(datum);
    return 0;
}

void fuzz_seeds(void)
{
    for (size_t i = 0; i < NQTEST_PICKLES; i++)
        for (size_t p = 0; p < 4; p++) {
            fuzz_add_u8(0);
            fuzz_add(nqtest_pickles[i][p].bytes, nqtest_pickles[i][p].len);
            fuzz_seed();
        }
    fuzz_add_u8(4);
    fuzz_add("\x80\x04\x8c\x02idQ.", 8);
    fuzz_seed();
}
