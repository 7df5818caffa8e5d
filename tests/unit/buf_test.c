/* core/buf: cursors never leave their bytes, and remember that they wanted to. */
#include "core/buf.h"
#include <check.h>
#include <stdlib.h>

static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

START_TEST(integers_are_big_endian_and_follow_each_other)
{
    struct nqi_buf buf = nqi_buf_over(bytes, sizeof(bytes));

    ck_assert_uint_eq(nqi_buf_u8(&buf), 0x01);
    ck_assert_uint_eq(nqi_buf_u16(&buf), 0x0203);
    ck_assert_uint_eq(nqi_buf_u32(&buf), 0x04050607);
    ck_assert_uint_eq(nqi_buf_left(&buf), 8);
    ck_assert(!nqi_buf_done(&buf));
    ck_assert_uint_eq(nqi_buf_u64(&buf), UINT64_C(0x08090a0b0c0d0e0f));
    ck_assert(nqi_buf_done(&buf));
}
END_TEST

START_TEST(every_truncation_makes_the_reader_bad_for_good)
{
    for (size_t len = 0; len < sizeof(bytes); len++) {
        uint8_t *copy = malloc(len ? len : 1); /* a tool sees each byte too far */
        struct nqi_buf buf;

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, bytes, len);
        buf = nqi_buf_over(copy, len);
        nqi_buf_u8(&buf);
        nqi_buf_u16(&buf);
        nqi_buf_u32(&buf);
        ck_assert_uint_eq(nqi_buf_u64(&buf), 0);
        ck_assert(buf.bad);
        ck_assert(!nqi_buf_done(&buf));
        ck_assert_uint_eq(nqi_buf_left(&buf), 0);
        ck_assert_uint_eq(nqi_buf_u8(&buf), 0);
        ck_assert_ptr_null(nqi_buf_span(&buf, 0));
        free(copy);
    }
}
END_TEST

static const uint64_t too_long[] = {16,         UINT32_MAX,      SIZE_MAX,
                                    UINT64_MAX, UINT64_MAX - 14, (uint64_t)1 << 63};

START_TEST(huge_lengths_do_not_overflow)
{
    struct nqi_buf buf = nqi_buf_over(bytes, sizeof(bytes));
    uint8_t room[15];
    struct nqi_wbuf out = nqi_wbuf_over(room, sizeof(room));

    ck_assert_ptr_null(nqi_buf_span(&buf, too_long[_i]));
    ck_assert(buf.bad);
    ck_assert_ptr_null(nqi_wbuf_span(&out, too_long[_i]));
    ck_assert(out.bad);
    ck_assert_uint_eq(nqi_wbuf_len(&out), 0);
}
END_TEST

START_TEST(spans_and_subreaders_lie_inside)
{
    struct nqi_buf buf = nqi_buf_over(bytes, sizeof(bytes)), sub;

    ck_assert_ptr_eq(nqi_buf_span(&buf, 3), bytes);
    sub = nqi_buf_sub(&buf, 2);
    ck_assert_uint_eq(nqi_buf_u16(&sub), 0x0405);
    ck_assert(nqi_buf_done(&sub));
    nqi_buf_u8(&sub);
    ck_assert(sub.bad);
    ck_assert(!buf.bad);
    ck_assert_ptr_eq(nqi_buf_span(&buf, 10), bytes + 5);
    ck_assert(nqi_buf_done(&buf));
    ck_assert_ptr_nonnull(nqi_buf_span(&buf, 0));
    sub = nqi_buf_sub(&buf, 1);
    ck_assert(sub.bad);
    ck_assert(buf.bad);
}
END_TEST

START_TEST(copy_out_is_whole_or_nothing)
{
    struct nqi_buf buf = nqi_buf_over(bytes, 4);
    uint8_t out[8] = {0};

    ck_assert(nqi_buf_copy(&buf, out, 3));
    ck_assert_mem_eq(out, bytes, 3);
    ck_assert(!nqi_buf_copy(&buf, out, 2));
    ck_assert_mem_eq(out, bytes, 3);
    ck_assert(buf.bad);
}
END_TEST

START_TEST(empty_reader_has_nothing)
{
    struct nqi_buf buf = nqi_buf_over(NULL, 0);

    ck_assert(nqi_buf_done(&buf));
    ck_assert(nqi_buf_copy(&buf, NULL, 0));
    nqi_buf_u8(&buf);
    ck_assert(buf.bad);
}
END_TEST

START_TEST(what_is_written_is_read)
{
    uint8_t room[64];
    struct nqi_wbuf out = nqi_wbuf_over(room, sizeof(room));
    struct nqi_buf in;

    nqi_wbuf_u8(&out, 0xfe);
    nqi_wbuf_u16(&out, 0xfedc);
    nqi_wbuf_u32(&out, 0xfedcba98);
    nqi_wbuf_u64(&out, UINT64_C(0xfedcba9876543210));
    nqi_wbuf_bytes(&out, "abc", 3);
    nqi_wbuf_bytes(&out, NULL, 0);
    ck_assert(!out.bad);
    ck_assert_uint_eq(nqi_wbuf_len(&out), 18);
    in = nqi_buf_over(room, nqi_wbuf_len(&out));
    ck_assert_uint_eq(nqi_buf_u8(&in), 0xfe);
    ck_assert_uint_eq(nqi_buf_u16(&in), 0xfedc);
    ck_assert_uint_eq(nqi_buf_u32(&in), 0xfedcba98);
    ck_assert_uint_eq(nqi_buf_u64(&in), UINT64_C(0xfedcba9876543210));
    ck_assert_mem_eq(nqi_buf_span(&in, 3), "abc", 3);
    ck_assert(nqi_buf_done(&in));
}
END_TEST

START_TEST(full_writer_keeps_what_it_has)
{
    for (size_t cap = 0; cap < 15; cap++) {
        uint8_t *room = malloc(cap ? cap : 1);
        struct nqi_wbuf out = nqi_wbuf_over(room, cap);
        size_t len;

        ck_assert_ptr_nonnull(room);
        nqi_wbuf_u8(&out, 1);
        nqi_wbuf_u16(&out, 2);
        nqi_wbuf_u32(&out, 3);
        nqi_wbuf_u64(&out, 4);
        ck_assert(out.bad);
        len = nqi_wbuf_len(&out);
        ck_assert_uint_le(len, cap);
        nqi_wbuf_bytes(&out, "", 1); /* would fit perhaps, but bad stays bad */
        ck_assert_uint_eq(nqi_wbuf_len(&out), len);
        free(room);
    }
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("buf");
    TCase *tc = tcase_create("buf");

    tcase_add_test(tc, integers_are_big_endian_and_follow_each_other);
    tcase_add_test(tc, every_truncation_makes_the_reader_bad_for_good);
    tcase_add_loop_test(tc, huge_lengths_do_not_overflow, 0, NQI_LEN(too_long));
    tcase_add_test(tc, spans_and_subreaders_lie_inside);
    tcase_add_test(tc, copy_out_is_whole_or_nothing);
    tcase_add_test(tc, empty_reader_has_nothing);
    tcase_add_test(tc, what_is_written_is_read);
    tcase_add_test(tc, full_writer_keeps_what_it_has);
    suite_add_tcase(suite, tc);
    return suite;
}
