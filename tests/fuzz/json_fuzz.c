/* A stranger's JSON message: what is read becomes a value, and is written and read again the same.
 */
#include "core/datum.h"
#include "core/jsontext.h"
#include "core/msg.h"
#include "tests/fuzz/fuzz.h"
#include <netqueue/serializer.h>
#include <string.h>

static json_t *load(nq_msg *msg)
{
    void *object = NULL;
    nq_err err = nq_msg_load(nq_serializer_find("json"), msg, &object);

    MUST(!err || err == NQ_ERR_PROTO);
    MUST(!err == !!object);
    return object;
}

static void through_a_value(const json_t *json)
{
    nq_datum *datum = NULL;
    json_t *back = NULL;
    nq_err err = nq_datum_from_json(json, &datum);

    MUST(!err || err == NQ_ERR_TOO_BIG);
    if (err)
        return;
    MUST(!nq_datum_to_json(datum, &back));
    MUST(json_equal(json, back));
    json_decref(back);
    nq_datum_unref(datum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct nqi_buf in = nqi_buf_over(data, len);
    uint8_t *exact = fuzz_exact(&in, &len);
    json_t *json, *back;
    nq_msg *msg;

    MUST(!nq_msg_wrap(exact, len, NULL, NULL, &msg));
    json = load(msg);
    nq_msg_free(msg);
    free(exact);
    if (!json)
        return 0;
    through_a_value(json);
    MUST(!nq_msg_dump(nq_serializer_find("json"), json, &msg));
    back = load(msg);
    MUST(back && json_equal(json, back));
    nq_msg_free(msg);
    json_decref(back);
    json_decref(json);
    return 0;
}

void fuzz_seeds(void)
{
    static const char *const texts[] = {
        "null",
        "[true, false, 1, -2, 3.25e-3, \"t\\u00e9xt\\ud83d\\udc0d\\u0000\"]",
        "{\"a\": {\"b\": [[], {}]}, \"\": 9223372036854775807}",
        "\"\xe2\x82\xac\"",
    };

    for (size_t i = 0; i < NQI_LEN(texts); i++) {
        fuzz_add_text(texts[i]);
        fuzz_seed();
    }
}
