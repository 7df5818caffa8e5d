/* core/arrow_read.c, core/arrow_check.c: payloads that are cut, bent and made up.  What is accepted
 * is walked as a consumer walks it. */
#include "core/arrow_check.h"
#include "core/arrow_layout.h"
#include "core/arrow_read.h"
#include "core/arrow_write.h"
#include "tests/support/arrow.h"
#include "tests/support/suite.h"
#include <netqueue/err.h>
#include <stdlib.h>
#include <string.h>

/* An array as it travels. */
struct parcel {
    struct ArrowSchema *schema;
    nq_chunk *bytes;
    uint8_t *payload;
    size_t size;
};

#define ROWS_WALKED 100000

static struct parcel parcel;
static nq_stream *nothing;

static void setup(void)
{
    ck_assert_int_eq(nq_stream_new(&nothing), NQ_OK);
}

static void teardown(void)
{
    nq_stream_free(nothing);
    ck_assert_uint_eq(nqtest_arrow_alive(), 0);
}

/* A copy that ends where memory ends. */
static uint8_t *exact(const void *data, size_t len)
{
    uint8_t *copy = NULL;

    ck_assert_int_eq(posix_memalign((void **)&copy, 64, len ? len : 1), 0);
    memcpy(copy, data, len);
    return copy;
}

static void pack(struct ArrowSchema *schema, int64_t length, enum nqtest_rows rows, uint64_t seed)
{
    struct nqi_arrow_fields *fields;
    struct ArrowArray array;
    uint64_t size;

    parcel.schema = schema;
    nqtest_array(schema, length, rows, seed, &array);
    ck_assert_int_eq(nqi_arrow_schema_write(schema, &parcel.bytes), NQ_OK);
    ck_assert_int_eq(
        nqi_arrow_schema_read(parcel.bytes->data, parcel.bytes->len, NQ_ERR_INVAL, &fields), NQ_OK);
    ck_assert_int_eq(nqi_arrow_measure(fields, &array, NULL, &size), NQ_OK);
    parcel.size = (size_t)size;
    ck_assert_int_eq(posix_memalign((void **)&parcel.payload, 64, parcel.size), 0);
    ck_assert_int_eq(nqi_arrow_write(fields, &array, NULL, parcel.payload, size), NQ_OK);
    nqi_arrow_fields_free(fields);
    array.release(&array);
}

static void unpack(void)
{
    nqtest_schema_free(parcel.schema);
    nq_chunk_unref(parcel.bytes);
    free(parcel.payload);
}

/* Read, walk, release.  Nothing is looked at beyond the bytes given. */
static nq_err try_bytes(const uint8_t *schema, size_t schema_len, const uint8_t *payload,
                        size_t len)
{
    struct nqi_arrow_fields *fields;
    struct ArrowSchema tree;
    struct ArrowArray array;
    nq_err err = nqi_arrow_schema_read(schema, schema_len, NQ_ERR_PROTO, &fields);

    if (err)
        return err;
    err = nqi_arrow_read(fields, payload, len, nothing, &array);
    if (!err) {
        ck_assert_int_eq(nqi_arrow_schema_export(fields, nothing, &tree), NQ_OK);
        if (array.length < ROWS_WALKED) /* rows that take no bytes may be many */
            nqtest_same_rows(&tree, &array, &array);
        tree.release(&tree);
        array.release(&array);
    }
    nqi_arrow_fields_free(fields);
    return err;
}

static nq_err try_payload(const void *payload, size_t len)
{
    uint8_t *copy = exact(payload, len);
    nq_err err = try_bytes(parcel.bytes->data, parcel.bytes->len, copy, len);

    free(copy);
    return err;
}

START_TEST(a_payload_that_is_cut_anywhere_is_refused)
{
    pack(nqtest_schema_of((unsigned)_i), 20, NQTEST_ROWS_SLICED, 5);
    ck_assert_int_eq(try_payload(parcel.payload, parcel.size), NQ_OK);
    for (size_t len = 0; len < parcel.size; len++)
        ck_assert_int_eq(try_payload(parcel.payload, len), NQ_ERR_PROTO);
    unpack();
}
END_TEST

START_TEST(bytes_behind_the_last_buffer_are_refused)
{
    uint8_t *more;

    pack(nqtest_schema_of((unsigned)_i), 20, NQTEST_ROWS_SLICED, 5);
    more = calloc(1, parcel.size + 64);
    memcpy(more, parcel.payload, parcel.size);
    ck_assert_int_eq(try_payload(more, parcel.size + 64), NQ_ERR_PROTO);
    free(more);
    unpack();
}
END_TEST

START_TEST(a_schema_that_is_cut_anywhere_is_refused)
{
    pack(nqtest_schema_of((unsigned)_i), 1, NQTEST_ROWS_PLAIN, 5);
    for (size_t len = 0; len < parcel.bytes->len; len++) {
        uint8_t *copy = exact(parcel.bytes->data, len);

        ck_assert_int_lt(try_bytes(copy, len, parcel.payload, parcel.size), 0);
        free(copy);
    }
    unpack();
}
END_TEST

/* ---- at random ---- */

static uint64_t noise;

static uint64_t below(uint64_t n)
{
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    return noise % n;
}

static void bend(uint8_t *data, size_t len)
{
    static const uint8_t likely[] = {0, 1, 2, 3, 0x7f, 0x80, 0xff};
    size_t at = below(len);

    data[at] = below(2) ? (uint8_t)below(256) : likely[below(sizeof(likely))];
}

#define MUTATIONS 2000

/* 2,000 of each of the types: far more than 100,000 in all. */
START_TEST(whatever_is_bent_is_refused_or_can_be_walked)
{
    unsigned good = 0, bad = 0;

    noise = (uint64_t)_i + 1;
    pack(nqtest_schema_of((unsigned)_i), 5 + (int64_t)below(30), NQTEST_ROWS_SLICED, 9);
    for (unsigned i = 0; i < MUTATIONS; i++) {
        uint8_t *payload = exact(parcel.payload, parcel.size);
        uint8_t *schema = exact(parcel.bytes->data, parcel.bytes->len);

        for (uint64_t n = 1 + below(3); n; n--)
            if (below(3))
                bend(payload, below(2) ? NQI_MIN(parcel.size, (size_t)128) : parcel.size);
            else
                bend(schema, parcel.bytes->len);
        if (try_bytes(schema, parcel.bytes->len, payload, parcel.size))
            bad++;
        else
            good++;
        free(payload);
        free(schema);
    }
    ck_assert_uint_gt(bad, 0);
    ck_assert_uint_gt(good, 0);
    unpack();
}
END_TEST

/* ---- made up ---- */

static struct ArrowSchema *of(const char *format)
{
    return nqtest_schema(format, 0);
}

static void store_entry(unsigned field, uint64_t length, bool validity)
{
    nqi_store_u64(parcel.payload + NQI_ARROW_HEAD + field * NQI_ARROW_ENTRY,
                  length << 1 | validity);
}

static void must_refuse(const char *why)
{
    ck_assert_int_eq(try_payload(parcel.payload, parcel.size), NQ_ERR_PROTO);
    ck_assert_msg(strstr(nq_error(), why) != NULL, "\"%s\", and not \"%s\"", nq_error(), why);
    unpack();
}

START_TEST(lengths_that_contradict_each_other_are_refused)
{
    pack(nqtest_schema("+s", 1, of("l")), 4, NQTEST_ROWS_PLAIN, 1);
    store_entry(1, 3, false);
    must_refuse("field 1: another length");
    pack(nqtest_schema("+l", 1, of("l")), 4, NQTEST_ROWS_PLAIN, 1);
    store_entry(1, 0, false);
    must_refuse("field 1: another length");
    pack(of("l"), 4, NQTEST_ROWS_PLAIN, 1);
    store_entry(0, UINT64_MAX >> 1, false);
    must_refuse("field 0: cut short");
    pack(of("b"), 4, NQTEST_ROWS_PLAIN, 1);
    store_entry(0, UINT64_MAX >> 1, true);
    must_refuse("field 0: cut short");
    pack(of("n"), 4, NQTEST_ROWS_PLAIN, 1);
    store_entry(0, UINT64_C(1) << 31, false);
    must_refuse("field 0: more rows");
    pack(nqtest_schema("+s", 0), 4, NQTEST_ROWS_PLAIN, 1);
    store_entry(0, UINT64_C(1) << 31, false);
    must_refuse("field 0: more rows");
    pack(of("n"), 4, NQTEST_ROWS_PLAIN, 1);
    store_entry(0, 4, true);
    must_refuse("field 0: nulls with a bitmap");
}
END_TEST

/* Where the first buffer of field `n`'s kind lies: behind head and entries. */
static uint8_t *first_buffer(unsigned fields)
{
    return parcel.payload + nqi_arrow_align(NQI_ARROW_HEAD + fields * NQI_ARROW_ENTRY);
}

START_TEST(offsets_that_lead_outside_are_refused)
{
    int32_t *offsets;
    int64_t *large;

    pack(of("z"), 4, NQTEST_ROWS_PLAIN, 1);
    offsets = (int32_t *)(void *)first_buffer(1);
    offsets[0] = 1;
    must_refuse("do not begin with 0");
    pack(of("z"), 4, NQTEST_ROWS_PLAIN, 1);
    offsets = (int32_t *)(void *)first_buffer(1);
    offsets[2] = -1;
    must_refuse("or fall");
    pack(of("z"), 4, NQTEST_ROWS_PLAIN, 1);
    offsets = (int32_t *)(void *)first_buffer(1);
    offsets[4] = 1000;
    must_refuse("offsets beyond");
    pack(of("Z"), 4, NQTEST_ROWS_PLAIN, 1);
    large = (int64_t *)(void *)first_buffer(1);
    large[4] = INT64_MAX;
    must_refuse("offsets beyond");
    pack(nqtest_schema("+L", 1, of("c")), 4, NQTEST_ROWS_PLAIN, 1);
    large = (int64_t *)(void *)first_buffer(2);
    large[4] = INT64_MAX;
    must_refuse("another length");
}
END_TEST

START_TEST(indices_outside_of_the_dictionary_are_refused)
{
    static const char *const formats[] = {"c", "C", "s", "S", "i", "I", "l", "L"};
    uint8_t *index;

    pack(nqtest_schema_dictionary(formats[_i], of("u")), 4, NQTEST_ROWS_PLAIN, 1);
    index = first_buffer(2);
    memset(index + 3 * (_i / 2 ? (1 << _i / 2) : 1), 0xff, 1u << _i / 2);
    must_refuse("not in the dictionary");
}
END_TEST

/* Of a null nothing is promised. */
START_TEST(the_index_and_the_text_of_a_null_do_not_matter)
{
    uint8_t *bits;

    pack(nqtest_schema_dictionary("c", of("u")), 4, NQTEST_ROWS_PLAIN, 1);
    first_buffer(2)[2] = 0xff;
    ck_assert_int_eq(try_payload(parcel.payload, parcel.size), NQ_ERR_PROTO);
    unpack();
    for (uint64_t seed = 1;; seed++) { /* until there is a bitmap */
        pack(nqtest_schema_dictionary("c", of("u")), 4, NQTEST_ROWS_NULLS, seed);
        if (parcel.payload[NQI_ARROW_HEAD + 7] & 1)
            break;
        unpack();
    }
    bits = first_buffer(2);
    bits[0] = 0xb; /* row 2 is null */
    bits[64 + 2] = 0xff;
    ck_assert_int_eq(try_payload(parcel.payload, parcel.size), NQ_OK);
    unpack();
}
END_TEST

static const struct {
    const char *text;
    bool good;
} texts[] = {{"abcdefghijklmnop", true},
             {"\xc3\xa4", true},
             {"\xe2\x82\xac", true},
             {"\xf0\x9f\x90\x8e", true},
             {"\xf4\x8f\xbf\xbf", true},
             {"\xed\x9f\xbf", true},
             {"\x80", false},
             {"\xc3", false},
             {"\xc3(", false},
             {"\xc0\xaf", false},
             {"\xe0\x80\xaf", false},
             {"\xf0\x80\x80\xaf", false},
             {"\xed\xa0\x80", false},
             {"\xf4\x90\x80\x80", false},
             {"\xf8\x88\x80\x80\x80", false},
             {"\xff", false},
             {"\xe2\x82", false},
             {"abcdefgh\xf0\x9f\x90", false}};

START_TEST(strings_are_utf8_or_refused)
{
    int32_t len = (int32_t)strlen(texts[_i].text), *offsets;
    uint8_t *bytes;

    pack(of("u"), 1, NQTEST_ROWS_PLAIN, 1);
    free(parcel.payload);
    ck_assert_int_eq(posix_memalign((void **)&parcel.payload, 64, 192), 0);
    memset(parcel.payload, 0, 192);
    parcel.size = 192;
    nqi_store_u32(parcel.payload, NQI_ARROW_MAGIC);
    nqi_store_u32(parcel.payload + 4, 1);
    store_entry(0, 1, false);
    offsets = (int32_t *)(void *)first_buffer(1);
    offsets[1] = len;
    bytes = first_buffer(1) + 64;
    memcpy(bytes, texts[_i].text, (size_t)len);
    ck_assert_int_eq(try_payload(parcel.payload, parcel.size),
                     texts[_i].good ? NQ_OK : NQ_ERR_PROTO);
    unpack();
}
END_TEST

/* Both halves of a character: the bytes are UTF-8, the rows are not. */
START_TEST(a_character_lies_in_one_row)
{
    int32_t *offsets;

    pack(of("u"), 2, NQTEST_ROWS_PLAIN, 1);
    free(parcel.payload);
    parcel.size = 192;
    ck_assert_int_eq(posix_memalign((void **)&parcel.payload, 64, parcel.size), 0);
    memset(parcel.payload, 0, parcel.size);
    nqi_store_u32(parcel.payload, NQI_ARROW_MAGIC);
    nqi_store_u32(parcel.payload + 4, 1);
    store_entry(0, 2, false);
    offsets = (int32_t *)(void *)first_buffer(1);
    memcpy(first_buffer(1) + 64, "a\xc3\xa4", 3);
    offsets[1] = 1;
    offsets[2] = 3;
    ck_assert_int_eq(try_payload(parcel.payload, parcel.size), NQ_OK);
    offsets[1] = 2;
    must_refuse("not UTF-8");
}
END_TEST

/* What a sender may have made of offsets after they were checked: {0, 3, 5, 8}, and 8 bytes. */
static const int64_t changed[][4] = {
    {0, INT32_MAX, 5, 8}, {0, -1, 5, 8},        {0, INT32_MIN, 5, 8},
    {0, 3, 2, 8},         {0, 3, 5, INT32_MAX}, {INT32_MIN, 3, INT32_MAX, 8},
};

/* Even _i: offsets of 4 bytes, odd: of 8. */
START_TEST(offsets_that_change_after_the_check_lead_nowhere)
{
    const int64_t *now = changed[_i / 2];
    uint8_t *text = exact("\xe2\x82\xac\xc3\xa4\xe2\x82\xac", 8);
    int32_t narrow[4];

    for (unsigned i = 0; i < 4; i++)
        narrow[i] = (int32_t)now[i];
    if (_i % 2)
        ck_assert(!nqi_arrow_rows_are_utf8(now, 8, text, 8, NULL, 3));
    else
        ck_assert(!nqi_arrow_rows_are_utf8(narrow, 4, text, 8, NULL, 3));
    free(text);
}
END_TEST

START_TEST(a_head_of_another_schema_is_refused)
{
    pack(of("l"), 4, NQTEST_ROWS_PLAIN, 1);
    nqi_store_u32(parcel.payload + 4, 2);
    must_refuse("does not fit the schema");
    pack(of("l"), 4, NQTEST_ROWS_PLAIN, 1);
    nqi_store_u64(parcel.payload + 8, UINT64_MAX);
    must_refuse("cut short");
    pack(of("l"), 4, NQTEST_ROWS_PLAIN, 1);
    nqi_store_u64(parcel.payload + 8, 4096);
    must_refuse("cut short");
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("arrow_read");
    TCase *tc = nqtest_case(suite, "strangers", setup, teardown);
    int schemas = (int)nqtest_schemas();

    tcase_add_loop_test(tc, a_payload_that_is_cut_anywhere_is_refused, 0, schemas);
    tcase_add_loop_test(tc, bytes_behind_the_last_buffer_are_refused, 0, schemas);
    tcase_add_loop_test(tc, a_schema_that_is_cut_anywhere_is_refused, 0, schemas);
    tcase_add_loop_test(tc, whatever_is_bent_is_refused_or_can_be_walked, 0, schemas);
    tcase_add_test(tc, lengths_that_contradict_each_other_are_refused);
    tcase_add_test(tc, offsets_that_lead_outside_are_refused);
    tcase_add_loop_test(tc, indices_outside_of_the_dictionary_are_refused, 0, 8);
    tcase_add_test(tc, the_index_and_the_text_of_a_null_do_not_matter);
    tcase_add_loop_test(tc, strings_are_utf8_or_refused, 0, (int)NQI_LEN(texts));
    tcase_add_test(tc, a_character_lies_in_one_row);
    tcase_add_loop_test(tc, offsets_that_change_after_the_check_lead_nowhere, 0,
                        2 * (int)NQI_LEN(changed));
    tcase_add_test(tc, a_head_of_another_schema_is_refused);
    return suite;
}
