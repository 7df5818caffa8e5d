/* A file of pre-shared keys.
 *
 * What is refused says where, and its text has no key in it; of what is taken each id that is
 * listed has keys, and nobody else but with a key for all. */
#include "core/err.h"
#include "core/keyring.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

/* A piece of the file as long as a key stands in no error. */
static void keyring_quotes_nothing(const uint8_t *text, size_t len)
{
    const char *error = nq_error();

    for (size_t i = 0; i + NQI_KEY_LEAST <= len; i++) {
        char piece[NQI_KEY_LEAST + 1] = {0};

        memcpy(piece, text + i, NQI_KEY_LEAST);
        MUST(strlen(piece) < NQI_KEY_LEAST || !strstr(error, piece));
    }
}

static void keyring_look_up(const struct nqi_keyring *ring, const uint8_t *text, size_t len)
{
    nq_uuid id = {{0}};

    memcpy(id.bytes, text, NQI_MIN(len, sizeof(id.bytes)));
    MUST(nqi_keyring_find(ring, &id));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct nqi_buf in = nqi_buf_over(data, len);
    uint8_t *text = fuzz_exact(&in, &len);
    struct nqi_keyring *ring = NULL;
    nq_err err = nqi_keyring_parse("the file", (char *)text, len, &ring);

    if (err) {
        MUST(err == NQ_ERR_CONFIG && !ring);
        MUST(!strncmp(nq_error(), "the file", 8));
        keyring_quotes_nothing(text, len);
    } else {
        keyring_look_up(ring, text, len);
    }
    nqi_keyring_free(ring);
    free(text);
    return 0;
}

#define KEY1 "'0123456789abcdef0123456789abcdef'"
#define KEY2 "'hZ2d+fJ/a0Qw9sKxYb3LmA=='"

static const char *const keyring_texts[] = {
    "{'key': " KEY1 "}",
    "{ 'keys': { '6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e': " KEY1 ",\n"
    "'0d9f2c61-52a4-4f0e-8a3b-7f5f0c1f9e24': [" KEY2 ", " KEY1 "] },\n 'key': " KEY2 " }",
    "{'keys': {'6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e': " KEY1
    ", '6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e': " KEY1 "}}",
    "{'keys': {}, 'key': 'secret'}",
    "{'key': [" KEY1 ", " KEY1 ", " KEY2 "]}",
    "{'key': '00000000000000000000000000000000'} x",
};

void fuzz_seeds(void)
{
    for (size_t i = 0; i < NQI_LEN(keyring_texts); i++) {
        for (const char *at = keyring_texts[i]; *at; at++)
            fuzz_add_u8(*at == '\'' ? '"' : (unsigned char)*at);
        fuzz_seed();
    }
}
