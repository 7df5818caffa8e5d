/* core/frame.c: what is written is read back, and nothing else is accepted. */
#include "core/frame.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

/* A head in exactly the memory that it has, so that a tool sees a byte too many. */
static nq_err read_head(uint8_t type, uint8_t flags, uint16_t aux, uint32_t length, uint64_t total,
                        struct nqi_head *ret)
{
    uint8_t raw[NQI_HEAD_BIG], *exact;
    size_t size = nqi_head_write(raw, type, flags, aux, length, total);
    nq_err err;

    ck_assert_uint_eq(size, nqi_head_size(type, flags));
    exact = malloc(size);
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, raw, size);
    err = nqi_head_read(exact, ret);
    free(exact);
    return err;
}

START_TEST(numbers_are_big_endian_at_their_places)
{
    static const uint8_t want[NQI_HEAD_BIG] = {5,    0x09, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc,
                                               0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08};
    uint8_t raw[NQI_HEAD_BIG];

    ck_assert_uint_eq(nqi_head_write(raw, NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_BIG, 0x1234,
                                     0x56789abc, UINT64_C(0x0102030405060708)),
                      NQI_HEAD_BIG);
    ck_assert_mem_eq(raw, want, sizeof(want));
}
END_TEST

START_TEST(only_data_has_the_larger_head)
{
    for (unsigned type = 0; type < 256; type++)
        ck_assert_uint_eq(nqi_head_size((uint8_t)type, NQI_DATA_BIG),
                          type == NQI_DATA ? NQI_HEAD_BIG : NQI_HEAD);
}
END_TEST

/* ---- control records ---- */

static const struct {
    uint8_t type;
    uint32_t least, most;
} bodies[] = {
    {NQI_HELLO, 256, 256}, {NQI_CHALLENGE, 256, 256}, {NQI_AUTH, 128, 128}, {NQI_WELCOME, 160, 160},
    {NQI_REJECT, 0, 256},  {NQI_ACK, 24, 24},         {NQI_PING, 8, 8},     {NQI_PONG, 8, 8},
    {NQI_BYE, 8, 8},       {NQI_BYE_ACK, 0, 0},       {NQI_GOAWAY, 0, 0},
};

START_TEST(control_bodies_have_one_length)
{
    struct nqi_head head;

    for (uint32_t length = 0; length <= 300; length++) {
        bool fits = length >= bodies[_i].least && length <= bodies[_i].most;

        ck_assert_int_eq(read_head(bodies[_i].type, 0, 7, length, 0, &head),
                         fits ? NQ_OK : NQ_ERR_PROTO);
        if (fits) {
            ck_assert_uint_eq(head.type, bodies[_i].type);
            ck_assert_uint_eq(head.aux, 7);
            ck_assert_uint_eq(head.length, length);
        }
    }
    ck_assert_int_eq(read_head(bodies[_i].type, 0, 0, UINT32_MAX, 0, &head), NQ_ERR_PROTO);
}
END_TEST

START_TEST(control_records_have_no_flags)
{
    struct nqi_head head;

    for (unsigned flags = 1; flags < 256; flags++)
        ck_assert_int_eq(read_head(bodies[_i].type, (uint8_t)flags, 0, bodies[_i].least, 0, &head),
                         NQ_ERR_PROTO);
}
END_TEST

START_TEST(unknown_types_are_refused)
{
    struct nqi_head head;

    for (unsigned type = NQI_RECORD_TYPES; type < 256; type++)
        ck_assert_int_eq(read_head((uint8_t)type, 0, 0, 8, 0, &head), NQ_ERR_PROTO);
}
END_TEST

START_TEST(every_control_body_fits_where_it_is_collected)
{
    for (size_t i = 0; i < NQI_LEN(bodies); i++)
        ck_assert_uint_le(bodies[i].most, NQI_CONTROL_MAX);
}
END_TEST

/* ---- data ---- */

/* What the rules of docs/protocol.md say, in other words than the code's. */
static bool data_is_legal(unsigned flags, uint16_t aux, uint32_t length, uint64_t total)
{
    bool begin = flags & NQI_DATA_BEGIN, end = flags & NQI_DATA_END, big = flags & NQI_DATA_BIG;

    if (flags > 31 || aux > length || (!begin && (aux || flags & NQI_DATA_AGAIN)))
        return false;
    if (big != (begin && !end))
        return false;
    return !big || (total < UINT64_C(1) << 56 && length - aux <= total);
}

START_TEST(every_combination_of_flags_and_lengths)
{
    static const uint32_t lengths[] = {0, 1, 2, 100, 65535, 65536, UINT32_MAX};
    static const uint16_t metas[] = {0, 1, 2, 101, 65535};
    static const uint64_t totals[] = {
        0, 1, 2, 99, 100, UINT32_MAX, NQI_LENGTH_MAX, NQI_LENGTH_MAX + 1, UINT64_MAX};
    struct nqi_head head;

    for (unsigned flags = 0; flags < 256; flags++)
        for (size_t i = 0; i < NQI_LEN(lengths); i++)
            for (size_t k = 0; k < NQI_LEN(metas); k++)
                for (size_t t = 0; t < NQI_LEN(totals); t++)
                    ck_assert_int_eq(
                        read_head(NQI_DATA, (uint8_t)flags, metas[k], lengths[i], totals[t], &head),
                        data_is_legal(flags, metas[k], lengths[i], totals[t]) ? NQ_OK
                                                                              : NQ_ERR_PROTO);
}
END_TEST

START_TEST(a_data_head_is_read_back)
{
    struct nqi_head head;

    ck_assert_int_eq(
        read_head(NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_BIG, 5, 1005, UINT64_C(1) << 40, &head),
        NQ_OK);
    ck_assert_uint_eq(head.flags, NQI_DATA_BEGIN | NQI_DATA_BIG);
    ck_assert_uint_eq(head.aux, 5);
    ck_assert_uint_eq(head.length, 1005);
    ck_assert_uint_eq(head.total, UINT64_C(1) << 40);
}
END_TEST

START_TEST(without_its_own_number_a_message_is_as_long_as_its_record)
{
    struct nqi_head head;

    ck_assert_int_eq(read_head(NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_END, 5, 1005, 77, &head), NQ_OK);
    ck_assert_uint_eq(head.total, 1000);
}
END_TEST

START_TEST(a_failed_reading_leaves_the_head_alone)
{
    struct nqi_head head = {.type = 99, .length = 98};

    ck_assert_int_eq(read_head(NQI_DATA, 0x80, 0, 5, 0, &head), NQ_ERR_PROTO);
    ck_assert_uint_eq(head.type, 99);
    ck_assert_uint_eq(head.length, 98);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("frame");
    TCase *heads = tcase_create("heads");

    tcase_set_timeout(heads, 30);
    tcase_add_test(heads, numbers_are_big_endian_at_their_places);
    tcase_add_test(heads, only_data_has_the_larger_head);
    tcase_add_loop_test(heads, control_bodies_have_one_length, 0, NQI_LEN(bodies));
    tcase_add_loop_test(heads, control_records_have_no_flags, 0, NQI_LEN(bodies));
    tcase_add_test(heads, unknown_types_are_refused);
    tcase_add_test(heads, every_control_body_fits_where_it_is_collected);
    tcase_add_test(heads, every_combination_of_flags_and_lengths);
    tcase_add_test(heads, a_data_head_is_read_back);
    tcase_add_test(heads, without_its_own_number_a_message_is_as_long_as_its_record);
    tcase_add_test(heads, a_failed_reading_leaves_the_head_alone);
    suite_add_tcase(suite, heads);
    return suite;
}
