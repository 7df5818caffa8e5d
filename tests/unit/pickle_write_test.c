/* core/pickle_write.c, _out.c: what is written is read again as it was. */
#include "core/pickle.h"
#include "core/pool.h"
#include "core/stream.h"
#include "tests/support/pickles.h"
#include "tests/support/suite.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The pickle of `datum`, owned. */
static char *dump(const nq_datum *datum, const struct nq_pickle_options *options, size_t *len)
{
    nq_stream *stream = NULL;
    char *bytes;

    ck_assert_int_eq(nq_stream_new(&stream), NQ_OK);
    ck_assert_msg(!nq_pickle_dump(datum, options, stream), "%s", nq_error());
    *len = (size_t)nq_stream_nbytes(stream);
    bytes = malloc(*len);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(nq_stream_read(stream, bytes, *len), *len);
    nq_stream_free(stream);
    return bytes;
}

static nq_datum *load(const char *bytes, size_t len, const struct nq_pickle_options *options)
{
    nq_datum *datum = NULL;

    ck_assert_msg(!nq_pickle_load(bytes, len, options, &datum), "%s", nq_error());
    return datum;
}

static nq_datum *again(const nq_datum *datum, const struct nq_pickle_options *options)
{
    size_t len;
    char *bytes = dump(datum, options, &len);
    nq_datum *back = load(bytes, len, options);

    free(bytes);
    return back;
}

/* Python's values of one kind and one protocol, through each of ours. */
START_TEST(every_protocol_brings_it_back)
{
    const struct nqtest_pickle *pickle = &nqtest_pickles[_i / 4][_i % 4];
    nq_datum *datum = load(pickle->bytes, pickle->len, NULL), *back;

    for (unsigned protocol = 2; protocol <= 5; protocol++) {
        const struct nq_pickle_options options = {.protocol = protocol};

        back = again(datum, &options);
        /* a fold does not travel before protocol 4 */
        if (_i / 4 != 3 || protocol >= 4)
            ck_assert_msg(nq_datum_equal(datum, back), "protocol %u", protocol);
        nq_datum_unref(back);
    }
    back = again(datum, NULL);
    ck_assert(nq_datum_equal(datum, back));
    nq_datum_unref(back);
    nq_datum_unref(datum);
}
END_TEST

START_TEST(other_protocols_are_refused)
{
    struct nq_stream stream;

    nqi_stream_init(&stream);
    for (unsigned protocol = 1; protocol < 8; protocol += 5)
        ck_assert_int_eq(nq_pickle_dump(nq_datum_none(),
                                        &(struct nq_pickle_options){.protocol = protocol}, &stream),
                         NQ_ERR_INVAL);
    ck_assert(nq_stream_empty(&stream));
}
END_TEST

START_TEST(lengths_at_each_border_come_back)
{
    static const size_t lens[] = {0, 1, 255, 256, 4095, 32767, 32768, 65535, 65536, 1000000};
    char *text = malloc(1000000);

    ck_assert_ptr_nonnull(text);
    memset(text, 'x', 1000000);
    for (size_t i = 0; i < NQI_LEN(lens); i++)
        for (unsigned protocol = 2; protocol <= 5; protocol++)
            for (unsigned kind = 0; kind < 4; kind++) {
                const struct nq_pickle_options options = {.protocol = protocol,
                                                          .int_bytes = 2000000};
                nq_datum *datum = NULL, *back;
                nq_err err = kind == 0   ? nq_datum_str(text, lens[i], &datum)
                             : kind == 1 ? nq_datum_bytes(text, lens[i], &datum)
                             : kind == 2 ? nq_datum_bytearray(text, lens[i], &datum)
                                         : nq_datum_bigint(text, lens[i], &datum);

                ck_assert_int_eq(err, NQ_OK);
                back = again(datum, &options);
                ck_assert_msg(nq_datum_equal(datum, back), "%zu bytes, protocol %u", lens[i],
                              protocol);
                nq_datum_unref(back);
                nq_datum_unref(datum);
            }
    free(text);
}
END_TEST

/* The stream outlives the value that it was made of. */
START_TEST(long_bytes_are_not_copied_and_kept)
{
    static char text[100000];
    nq_datum *datum = NULL, *back;
    nq_stream *stream = NULL;
    char *bytes;
    size_t len;

    ck_assert_int_eq(nq_datum_bytes(text, sizeof(text), &datum), NQ_OK);
    ck_assert_int_eq(nq_stream_new(&stream), NQ_OK);
    ck_assert_int_eq(nq_pickle_dump(datum, NULL, stream), NQ_OK);
    ck_assert_uint_eq(nq_stream_nchunks(stream), 3);
    ck_assert_ptr_eq(nqi_stream_view(stream, 1)->data, datum->bytes);
    nq_datum_unref(datum);
    len = (size_t)nq_stream_nbytes(stream);
    bytes = malloc(len);
    ck_assert_ptr_nonnull(bytes);
    nq_stream_read(stream, bytes, len);
    nq_stream_free(stream);
    back = load(bytes, len, NULL);
    ck_assert_uint_eq(back->len, sizeof(text));
    nq_datum_unref(back);
    free(bytes);
}
END_TEST

/* Of 500 texts, each twice, in lists that are twice in a list. */
START_TEST(what_stands_in_two_places_is_written_once)
{
    for (unsigned protocol = 2; protocol <= 5; protocol++) {
        const struct nq_pickle_options options = {.protocol = protocol};
        nq_datum *top = NULL, *list = NULL, *item = NULL, *back;
        char text[32], *bytes;
        size_t len;

        ck_assert_int_eq(nq_datum_container(NQ_DATUM_LIST, &top), NQ_OK);
        for (unsigned i = 0; i < 500; i++) {
            ck_assert_int_eq(nq_datum_container(NQ_DATUM_TUPLE, &list), NQ_OK);
            snprintf(text, sizeof(text), "some text of number %u", i);
            ck_assert_int_eq(nq_datum_str(text, strlen(text), &item), NQ_OK);
            ck_assert_int_eq(nq_datum_append(list, nq_datum_ref(item)), NQ_OK);
            ck_assert_int_eq(nq_datum_append(list, item), NQ_OK);
            ck_assert_int_eq(nq_datum_append(top, nq_datum_ref(list)), NQ_OK);
            ck_assert_int_eq(nq_datum_append(top, list), NQ_OK);
        }
        bytes = dump(top, &options, &len);
        ck_assert_uint_lt(len, 500 * 60);
        back = load(bytes, len, NULL);
        free(bytes);
        ck_assert(nq_datum_equal(top, back));
        for (size_t i = 0; i < 1000; i += 2) {
            const nq_datum *one = nq_datum_item(back, i);

            ck_assert_ptr_eq(one, nq_datum_item(back, i + 1));
            ck_assert_ptr_eq(nq_datum_item(one, 0), nq_datum_item(one, 1));
        }
        nq_datum_unref(back);
        nq_datum_unref(top);
    }
}
END_TEST

START_TEST(what_unfolds_beyond_memory_is_written_as_it_is)
{
    nq_datum *top = NULL, *next = NULL, *back;
    size_t len;
    char *bytes;

    ck_assert_int_eq(nq_datum_container(NQ_DATUM_LIST, &top), NQ_OK);
    for (unsigned i = 0; i < NQ_DATUM_DEPTH - 1; i++) {
        ck_assert_int_eq(nq_datum_container(NQ_DATUM_LIST, &next), NQ_OK);
        ck_assert_int_eq(nq_datum_append(next, nq_datum_ref(top)), NQ_OK);
        ck_assert_int_eq(nq_datum_append(next, top), NQ_OK);
        top = next;
    }
    bytes = dump(top, NULL, &len);
    ck_assert_uint_lt(len, 1000);
    back = load(bytes, len, NULL);
    nq_datum_unref(back);
    free(bytes);
    nq_datum_unref(top);
}
END_TEST

/* An array over memory that is a bytearray elsewhere, which numpy would not take. */
START_TEST(the_data_of_an_array_are_bytes)
{
    static const uint64_t shape[] = {4};
    nq_datum *list = NULL, *data = NULL, *array = NULL, *back;
    const struct nq_pickle_options options = {.protocol = 5};

    ck_assert_int_eq(nq_datum_bytearray("abcd", 4, &data), NQ_OK);
    ck_assert_int_eq(nqi_datum_new(NQI_DATUM_BLANK, 0, &array), NQ_OK);
    ck_assert_int_eq(
        nqi_datum_set_array(array, NQ_DATUM_ARRAY, "|u1", shape, 1, false, nq_datum_ref(data)),
        NQ_OK);
    ck_assert_int_eq(nq_datum_container(NQ_DATUM_LIST, &list), NQ_OK);
    ck_assert_int_eq(nq_datum_append(list, data), NQ_OK);
    ck_assert_int_eq(nq_datum_append(list, array), NQ_OK);
    back = again(list, &options);
    ck_assert(nq_datum_equal(list, back));
    ck_assert_int_eq(nq_datum_item(back, 1)->array.data->kind, NQ_DATUM_BYTES);
    nq_datum_unref(back);
    nq_datum_unref(list);
}
END_TEST

/* ---- persistent ids ---- */

static nq_err name_uuids(void *arg, const nq_datum *datum, nq_datum **id)
{
    (void)arg;
    if (nq_datum_kind_of(datum) == NQ_DATUM_DATE)
        return NQ_ERR_NO_PEER;
    if (nq_datum_kind_of(datum) != NQ_DATUM_UUID)
        return NQ_AGAIN;
    return nq_datum_str("the one", 7, id);
}

static nq_err find_uuid(void *arg, const nq_datum *id, nq_datum **ret)
{
    (void)id;
    return nq_datum_uuid(arg, ret);
}

START_TEST(a_persistent_id_is_written_in_place_of_the_value)
{
    static nq_uuid uuid = {{1, 2, 3}};
    const struct nq_pickle_options options = {
        .dump_id = name_uuids, .load_id = find_uuid, .arg = &uuid};
    const struct nq_time day = {.year = 1, .month = 1, .day = 1};
    nq_datum *list = NULL, *item = NULL, *back;
    struct nq_stream stream;
    char *bytes;
    size_t len;

    ck_assert_int_eq(nq_datum_container(NQ_DATUM_LIST, &list), NQ_OK);
    ck_assert_int_eq(nq_datum_uuid(&uuid, &item), NQ_OK);
    ck_assert_int_eq(nq_datum_append(list, item), NQ_OK);
    bytes = dump(list, &options, &len);
    ck_assert_ptr_nonnull(memmem(bytes, len, "the oneQ", 8));
    back = load(bytes, len, &options);
    ck_assert(nq_datum_equal(list, back));
    free(bytes);
    nq_datum_unref(back);
    ck_assert_int_eq(nq_datum_time(NQ_DATUM_DATE, &day, &item), NQ_OK);
    ck_assert_int_eq(nq_datum_append(list, item), NQ_OK);
    nqi_stream_init(&stream);
    ck_assert_int_eq(nq_pickle_dump(list, &options, &stream), NQ_ERR_NO_PEER);
    ck_assert(nq_stream_empty(&stream));
    nq_datum_unref(list);
}
END_TEST

/* A tuple of one text twice, which ends as soon as it is written; and UUIDs in it, not asked for.
 */
static nq_err name_by_tuples(void *arg, const nq_datum *datum, nq_datum **id)
{
    nq_datum *tuple = NULL, *text = NULL;
    char name[32];

    if (nq_datum_kind_of(datum) != NQ_DATUM_UUID)
        return NQ_AGAIN;
    snprintf(name, sizeof(name), "number %u", ++*(unsigned *)arg);
    ck_assert_int_eq(nq_datum_str(name, strlen(name), &text), NQ_OK);
    ck_assert_int_eq(nq_datum_container(NQ_DATUM_TUPLE, &tuple), NQ_OK);
    ck_assert_int_eq(nq_datum_append(tuple, nq_datum_ref(text)), NQ_OK);
    ck_assert_int_eq(nq_datum_append(tuple, text), NQ_OK);
    ck_assert_int_eq(nq_datum_append(tuple, nq_datum_ref(datum)), NQ_OK);
    *id = tuple;
    return NQ_OK;
}

static nq_err keep_id(void *arg, const nq_datum *id, nq_datum **ret)
{
    (void)arg;
    *ret = nq_datum_ref(id);
    return NQ_OK;
}

START_TEST(an_id_is_forgotten_when_it_is_written)
{
    unsigned count = 0;
    const struct nq_pickle_options options = {
        .dump_id = name_by_tuples, .load_id = keep_id, .arg = &count};
    nq_datum *list = NULL, *item = NULL, *back;
    const char *text;
    char wanted[32];
    size_t len;

    ck_assert_int_eq(nq_datum_container(NQ_DATUM_LIST, &list), NQ_OK);
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_int_eq(nq_datum_uuid(&(nq_uuid){{7}}, &item), NQ_OK);
        ck_assert_int_eq(nq_datum_append(list, item), NQ_OK);
    }
    back = again(list, &options);
    ck_assert_uint_eq(count, 20);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(wanted, sizeof(wanted), "number %u", i + 1);
        for (unsigned k = 0; k < 2; k++) {
            ck_assert_int_eq(
                nq_datum_get_bytes(nq_datum_item(nq_datum_item(back, i), k), &text, &len), NQ_OK);
            ck_assert_str_eq(text, wanted);
        }
    }
    nq_datum_unref(back);
    nq_datum_unref(list);
}
END_TEST

START_TEST(without_memory_the_stream_is_as_it_was)
{
    const struct nqtest_pickle *pickle = &nqtest_pickles[_i][3];
    nq_datum *datum = load(pickle->bytes, pickle->len, NULL);
    struct nq_stream stream;

    nqi_stream_init(&stream);
    for (unsigned n = 1;; n++) {
        nq_err err;

        nqi_pool_fail_after(n);
        err = nq_pickle_dump(datum, NULL, &stream);
        if (!err)
            break;
        ck_assert_int_eq(err, NQ_ERR_NOMEM);
        ck_assert(nq_stream_empty(&stream));
    }
    nqi_pool_fail_after(0);
    nqi_stream_fini(&stream);
    nq_datum_unref(datum);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("pickle_write");
    TCase *tc = tcase_create("pickle_write");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, every_protocol_brings_it_back, 0, 4 * NQTEST_PICKLES);
    tcase_add_test(tc, other_protocols_are_refused);
    tcase_add_test(tc, lengths_at_each_border_come_back);
    tcase_add_test(tc, long_bytes_are_not_copied_and_kept);
    tcase_add_test(tc, what_stands_in_two_places_is_written_once);
    tcase_add_test(tc, what_unfolds_beyond_memory_is_written_as_it_is);
    tcase_add_test(tc, the_data_of_an_array_are_bytes);
    tcase_add_test(tc, a_persistent_id_is_written_in_place_of_the_value);
    tcase_add_test(tc, an_id_is_forgotten_when_it_is_written);
    tcase_add_loop_test(tc, without_memory_the_stream_is_as_it_was, 0, NQTEST_PICKLES);
    suite_add_tcase(suite, tc);
    return suite;
}
