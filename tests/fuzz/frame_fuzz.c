/* Heads and greetings from a stranger: read without a byte too many, and what is accepted is what
 * would be written. */
#include "core/attach.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/records.h"
#include <string.h>

static void *copy_of(const uint8_t *data, size_t len)
{
    void *copy = malloc(len);

    MUST(copy);
    memcpy(copy, data, len);
    return copy;
}

static void fuzz_head(const uint8_t *data, size_t len)
{
    size_t size = nqi_head_size(data[0], data[1]);
    uint8_t *exact, again[NQI_HEAD_BIG];
    struct nqi_head head;

    if (len < size)
        return;
    exact = copy_of(data, size);
    if (!nqi_head_read(exact, &head)) {
        MUST(nqi_head_write(again, head.type, head.flags, head.aux, head.length, head.total) ==
             size);
        MUST(!memcmp(again, data, size));
        MUST(head.type < NQI_RECORD_TYPES);
        MUST(head.type == NQI_DATA || head.length <= NQI_CONTROL_MAX);
        MUST(head.type != NQI_DATA || head.length - head.aux <= head.total);
    }
    free(exact);
}

static void fuzz_hello(const uint8_t *data)
{
    uint8_t *exact = copy_of(data, NQI_HELLO_SIZE);
    uint8_t raw[NQI_HEAD + NQI_HELLO_SIZE], again[NQI_HEAD + NQI_HELLO_SIZE];
    struct nqi_hello hello;

    if (!nqi_hello_read(exact, &hello)) {
        nqi_hello_write(raw, NQI_HELLO, &hello);
        MUST(!nqi_hello_read(raw + NQI_HEAD, &hello));
        nqi_hello_write(again, NQI_HELLO, &hello);
        MUST(!memcmp(raw, again, sizeof(raw)));
    }
    free(exact);
}

static void fuzz_auth(const uint8_t *data)
{
    uint8_t *exact = copy_of(data, NQI_AUTH_RECORD);
    struct nqi_auth auth;

    if (!nqi_auth_read(exact, &auth))
        MUST(auth.method >= NQI_AUTH_OPEN && auth.method <= NQI_AUTH_PSK);
    free(exact);
}

static void fuzz_welcome(const uint8_t *data)
{
    uint8_t *exact = copy_of(data, NQI_WELCOME_RECORD);
    struct nqi_welcome welcome;

    if (!nqi_welcome_read(exact, &welcome))
        MUST(welcome.expiry_ns >= 0);
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len >= NQI_HEAD)
        fuzz_head(data, len);
    if (len >= NQI_HEAD + NQI_HELLO_SIZE)
        fuzz_hello(data + NQI_HEAD);
    if (len >= NQI_AUTH_RECORD)
        fuzz_auth(data);
    if (len >= NQI_WELCOME_RECORD)
        fuzz_welcome(data);
    return 0;
}

void fuzz_seeds(void)
{
    for (size_t i = 0; i < NQI_LEN(fuzz_records); i++) {
        fuzz_add_record(&fuzz_records[i]);
        fuzz_seed();
    }
    fuzz_add_hello(NQI_HELLO);
    fuzz_seed();
}
