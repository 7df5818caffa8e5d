/* core/schemas.c: what was told once is told by its slot, and a stranger's slots are looked at. */
#include "core/pool.h"
#include "core/schemas.h"
#include "tests/support/suite.h"
#include <stdio.h>

static struct nqi_schemas told, heard;
static uint8_t entry[NQI_SCHEMA_ENTRY + NQI_SCHEMA_MAX];

static void setup(void)
{
    nqi_schemas_clear(&told);
    nqi_schemas_clear(&heard);
}

static void teardown(void)
{
    setup();
}

static nq_chunk *schema_of(unsigned number, size_t len)
{
    nq_chunk *chunk;

    ck_assert_int_eq(nq_chunk_new(len, &chunk), NQ_OK);
    memset(nq_chunk_data(chunk), (int)number, len);
    return chunk;
}

/* Tell it, hear it.  @return bytes that it took */
static size_t pass(unsigned number, size_t len)
{
    nq_chunk *schema = schema_of(number, len), *got = NULL;
    size_t size = nqi_schemas_write(&told, schema, entry);
    struct nqi_buf buf = nqi_buf_over(entry, size);

    ck_assert_int_eq(nqi_schemas_read(&heard, &buf, &got), NQ_OK);
    ck_assert(nqi_buf_done(&buf));
    ck_assert_uint_eq(nq_chunk_size(got), len);
    ck_assert_mem_eq(nq_chunk_data(got), nq_chunk_data(schema), len);
    nq_chunk_unref(got);
    nq_chunk_unref(schema);
    return size;
}

START_TEST(equal_bytes_are_told_once)
{
    ck_assert_uint_eq(pass(1, 100), NQI_SCHEMA_ENTRY + 100);
    ck_assert_uint_eq(pass(1, 100), NQI_SCHEMA_ENTRY);
    ck_assert_uint_eq(pass(1, 101), NQI_SCHEMA_ENTRY + 101);
    ck_assert_uint_eq(pass(2, 100), NQI_SCHEMA_ENTRY + 100);
    ck_assert_uint_eq(pass(1, 100), NQI_SCHEMA_ENTRY);
    ck_assert_uint_eq(pass(3, NQI_SCHEMA_MAX), NQI_SCHEMA_ENTRY + NQI_SCHEMA_MAX);
    ck_assert_uint_eq(pass(3, NQI_SCHEMA_MAX), NQI_SCHEMA_ENTRY);
}
END_TEST

START_TEST(what_was_not_used_for_longest_makes_room)
{
    for (unsigned i = 0; i < NQI_SCHEMA_SLOTS; i++)
        pass(i, 10);
    ck_assert_uint_eq(pass(0, 10), NQI_SCHEMA_ENTRY); /* so 1 is the oldest */
    ck_assert_uint_eq(pass(100, 10), NQI_SCHEMA_ENTRY + 10);
    ck_assert_uint_eq(pass(0, 10), NQI_SCHEMA_ENTRY);
    ck_assert_uint_eq(pass(1, 10), NQI_SCHEMA_ENTRY + 10);
    ck_assert_uint_eq(pass(100, 10), NQI_SCHEMA_ENTRY);
}
END_TEST

START_TEST(an_entry_that_comes_twice_changes_nothing)
{
    nq_chunk *schema = schema_of(1, 10), *got;
    size_t size = nqi_schemas_write(&told, schema, entry);

    for (int i = 0; i < 2; i++) {
        struct nqi_buf buf = nqi_buf_over(entry, size);

        ck_assert_int_eq(nqi_schemas_read(&heard, &buf, &got), NQ_OK);
        nq_chunk_unref(got);
    }
    ck_assert_uint_eq(pass(1, 10), NQI_SCHEMA_ENTRY);
    nq_chunk_unref(schema);
}
END_TEST

START_TEST(other_metadata_is_left_alone)
{
    static const uint8_t other[] = {NQI_META_USER, 0, 3, 1, 'k', 'v'};
    struct nqi_buf buf = nqi_buf_over(other, sizeof(other));
    nq_chunk *got = schema_of(1, 1);

    nq_chunk_unref(got);
    ck_assert_int_eq(nqi_schemas_read(&heard, &buf, &got), NQ_OK);
    ck_assert_ptr_null(got);
    ck_assert_uint_eq(nqi_buf_left(&buf), sizeof(other));
    buf = nqi_buf_over(NULL, 0);
    ck_assert_int_eq(nqi_schemas_read(&heard, &buf, &got), NQ_OK);
    ck_assert_ptr_null(got);
}
END_TEST

static const struct {
    uint8_t bytes[8];
    size_t len;
} wrong[] = {{{NQI_META_SCHEMA}, 1},
             {{NQI_META_SCHEMA, 0}, 2},
             {{NQI_META_SCHEMA, 0, 0}, 3},
             {{NQI_META_SCHEMA, 0, 1}, 3},
             {{NQI_META_SCHEMA, 0, 1, 0}, 4}, /* never told */
             {{NQI_META_SCHEMA, 0, 1, NQI_SCHEMA_SLOTS}, 4},
             {{NQI_META_SCHEMA, 0, 2, NQI_SCHEMA_SLOTS, 'x'}, 5},
             {{NQI_META_SCHEMA, 0, 9, 0, 'x'}, 5}};

START_TEST(malformed_entries_are_refused)
{
    struct nqi_buf buf = nqi_buf_over(wrong[_i].bytes, wrong[_i].len);
    nq_chunk *got = NULL;

    ck_assert_int_eq(nqi_schemas_read(&heard, &buf, &got), NQ_ERR_PROTO);
    ck_assert_ptr_null(got);
}
END_TEST

START_TEST(a_schema_beyond_the_limit_is_refused)
{
    static uint8_t large[NQI_SCHEMA_ENTRY + NQI_SCHEMA_MAX + 1];
    struct nqi_buf buf = nqi_buf_over(large, sizeof(large));
    nq_chunk *got = NULL;

    large[0] = NQI_META_SCHEMA;
    nqi_store_u16(large + 1, (uint16_t)(1 + NQI_SCHEMA_MAX + 1));
    ck_assert_int_eq(nqi_schemas_read(&heard, &buf, &got), NQ_ERR_PROTO);
    ck_assert_ptr_null(got);
}
END_TEST

START_TEST(without_memory_the_table_stays)
{
    nq_chunk *schema = schema_of(2, 10), *got = NULL;
    struct nqi_buf buf;

    pass(1, 10);
    buf = nqi_buf_over(entry, nqi_schemas_write(&told, schema, entry));
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nqi_schemas_read(&heard, &buf, &got), NQ_ERR_NOMEM);
    nqi_pool_fail_after(0);
    ck_assert_ptr_null(got);
    buf = nqi_buf_over(entry, NQI_SCHEMA_ENTRY + 10);
    ck_assert_int_eq(nqi_schemas_read(&heard, &buf, &got), NQ_OK);
    nq_chunk_unref(got);
    ck_assert_uint_eq(pass(1, 10), NQI_SCHEMA_ENTRY);
    nq_chunk_unref(schema);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("schemas");
    TCase *tc = nqtest_case(suite, "schemas", setup, teardown);

    tcase_add_test(tc, equal_bytes_are_told_once);
    tcase_add_test(tc, what_was_not_used_for_longest_makes_room);
    tcase_add_test(tc, an_entry_that_comes_twice_changes_nothing);
    tcase_add_test(tc, other_metadata_is_left_alone);
    tcase_add_loop_test(tc, malformed_entries_are_refused, 0, (int)NQI_LEN(wrong));
    tcase_add_test(tc, a_schema_beyond_the_limit_is_refused);
    tcase_add_test(tc, without_memory_the_table_stays);
    return suite;
}
