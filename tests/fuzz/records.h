/* Records for seeds: one of each kind, and greetings. */
#ifndef NQTEST_FUZZ_RECORDS_H
#define NQTEST_FUZZ_RECORDS_H

#include "core/attach.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

struct fuzz_record {
    uint8_t type, flags;
    uint16_t aux;
    uint32_t length;
    uint64_t total;
};

static const struct fuzz_record fuzz_records[] = {
    {NQI_REJECT, 0, 3, 10, 0},
    {NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_END, 0, 0, 0},
    {NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_END, 0, 100, 0},
    {NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_END | NQI_DATA_ACKNOW, 0, 3000, 0},
    {NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_BIG, 0, 100, 9000},
    {NQI_DATA, 0, 0, 4096, 0},
    {NQI_DATA, 0, 0, 4704, 0},
    {NQI_DATA, NQI_DATA_END, 0, 100, 0},
    {NQI_ACK, 0, 0, 24, 0},
    {NQI_PING, 0, 0, 8, 0},
    {NQI_PONG, 0, 0, 8, 0},
    {NQI_BYE, 0, 0, 8, 0},
    {NQI_BYE_ACK, 0, 0, 0, 0},
    {NQI_AUTH, 0, 1, 128, 0},
    {NQI_AUTH, 0, 2, 128, 0},
    {NQI_WELCOME, 0, 0, 160, 0},
    {NQI_WELCOME, 0, 1, 160, 0},
    {NQI_GOAWAY, 0, 0, 0, 0},
};

/* Append one: a head, and zeros. */
static inline void fuzz_add_record(const struct fuzz_record *record)
{
    uint8_t head[NQI_HEAD_BIG];

    fuzz_add(head, nqi_head_write(head, record->type, record->flags, record->aux, record->length,
                                  record->total));
    for (uint32_t i = 0; i < record->length; i++)
        fuzz_add_u8(0);
}

/* Append a HELLO or CHALLENGE. */
static inline void fuzz_add_hello(enum nqi_record_type type)
{
    struct nqi_hello hello = {
        .version_min = 1, .version_max = 1, .max_message = 1 << 20, .keepalive_ns = NQI_NS_PER_S};
    uint8_t raw[NQI_HELLO_RECORD];

    memset(hello.id.bytes, 5, sizeof(hello.id.bytes));
    memset(hello.incarnation.bytes, 6, sizeof(hello.incarnation.bytes));
    nqi_hello_write(raw, type, &hello);
    fuzz_add(raw, sizeof(raw));
}

#endif
