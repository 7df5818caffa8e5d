/* core/serializer.c: objects of each kind through a message, and through queues. */
#include "core/jsontext.h"
#include "core/msg.h"
#include "core/pool.h"
#include "tests/support/arrow.h"
#include "tests/support/queue.h"
#include "tests/support/suite.h"
#include <netqueue/datum.h>
#include <netqueue/pickle.h>
#include <netqueue/serializer.h>
#include <string.h>

static nq_msg *dump(const char *name, void *object)
{
    nq_msg *msg = NULL;

    ck_assert_msg(!nq_msg_dump(nq_serializer_find(name), object, &msg), "%s", nq_error());
    return msg;
}

static void *load(const char *name, nq_msg *msg)
{
    void *object = NULL;

    ck_assert_msg(!nq_msg_load(nq_serializer_find(name), msg, &object), "%s", nq_error());
    return object;
}

static void says(nq_msg *msg, const char *text)
{
    const void *data;
    size_t len;

    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    ck_assert_uint_eq(len, strlen(text));
    ck_assert_mem_eq(data, text, len);
}

static nq_chunk *chunk_of(const char *text)
{
    nq_chunk *chunk = NULL;

    ck_assert_int_eq(nq_chunk_new(strlen(text), &chunk), NQ_OK);
    memcpy(nq_chunk_data(chunk), text, strlen(text));
    return chunk;
}

/* A message in two pieces. */
static nq_msg *pieces(const char *a, const char *b)
{
    nq_msg *msg = nqtest_msg(a);

    ck_assert_int_eq(nq_stream_write(nq_msg_stream(msg), b, strlen(b)), NQ_OK);
    return msg;
}

START_TEST(names_are_known_or_not)
{
    static const char *const names[] = {"bytes", "stream", "json", "pickle", "arrow"};

    for (size_t i = 0; i < NQI_LEN(names); i++)
        ck_assert_str_eq(nq_serializer_find(names[i])->name, names[i]);
    ck_assert_ptr_null(nq_serializer_find("yaml"));
}
END_TEST

START_TEST(bytes_are_shared_where_they_are_in_one_piece)
{
    nq_chunk *chunk = chunk_of("hello"), *back;
    nq_msg *msg = dump("bytes", chunk);
    nq_view head;

    says(msg, "hello");
    back = load("bytes", msg);
    ck_assert_ptr_eq(back, chunk);
    nq_chunk_unref(back);
    nq_msg_free(msg);

    /* a part of a chunk: the same memory */
    ck_assert_int_eq(nq_msg_new(NULL, 0, &msg), NQ_OK);
    head = nq_chunk_view(chunk, 1, 3);
    ck_assert_int_eq(nq_stream_writechunk(nq_msg_stream(msg), &head), NQ_OK);
    back = load("bytes", msg);
    ck_assert_ptr_eq(nq_chunk_data(back), (char *)nq_chunk_data(chunk) + 1);
    ck_assert_uint_eq(nq_chunk_size(back), 3);
    nq_msg_free(msg);
    nq_chunk_unref(chunk);
    ck_assert_mem_eq(nq_chunk_data(back), "ell", 3); /* it outlives both */
    nq_chunk_unref(back);

    msg = pieces("abc", "defg");
    back = load("bytes", msg);
    ck_assert_uint_eq(nq_chunk_size(back), 7);
    ck_assert_mem_eq(nq_chunk_data(back), "abcdefg", 7);
    says(msg, "abcdefg"); /* as it was */
    nq_chunk_unref(back);
    nq_msg_free(msg);

    msg = nqtest_msg("");
    back = load("bytes", msg);
    ck_assert_uint_eq(nq_chunk_size(back), 0);
    nq_chunk_unref(back);
    nq_msg_free(msg);
}
END_TEST

START_TEST(streams_keep_their_pieces)
{
    nq_msg *msg = pieces("abc", "defg"), *again;
    nq_stream *stream = load("stream", msg);
    char text[7];

    ck_assert_uint_eq(nq_stream_nchunks(stream), 2);
    again = dump("stream", stream);
    ck_assert_uint_eq(nq_stream_nbytes(stream), 7); /* still there */
    ck_assert_uint_eq(nq_stream_tobytes(nq_msg_stream(again), text, 7), 7);
    ck_assert_mem_eq(text, "abcdefg", 7);
    nq_stream_free(stream);
    nq_msg_free(again);
    nq_msg_free(msg);
}
END_TEST

START_TEST(json_says_line_and_column)
{
    static const struct {
        const char *text, *why;
    } bad[] = {{"", "JSON:1:1: "},
               {"{\"a\": 1,\n \"b\": }", "JSON:2:"},
               {"{\"a\": 1, \"a\": 2}", "duplicate"},
               {"1 2", "JSON:1:"},
               {"[99999999999999999999]", "JSON:1:"},
               {"\"\xff\"", "JSON:1:"}};
    char deep[200];
    json_t *json = json_pack("{s:[i,n,s]}", "a", 1, "b");
    nq_msg *msg = dump("json", json);
    void *object = NULL;
    json_t *back;

    says(msg, "{\"a\":[1,null,\"b\"]}");
    back = load("json", msg);
    ck_assert(json_equal(json, back));
    json_decref(back);
    json_decref(json);
    nq_msg_free(msg);
    for (size_t i = 0; i < NQI_LEN(bad); i++) {
        msg = nqtest_msg(bad[i].text);
        ck_assert_int_eq(nq_msg_load(nq_serializer_find("json"), msg, &object), NQ_ERR_PROTO);
        ck_assert_msg(strstr(nq_error(), bad[i].why), "%s", nq_error());
        says(msg, bad[i].text);
        nq_msg_free(msg);
    }
    memset(deep, '[', 65);
    deep[65] = 0;
    msg = nqtest_msg(deep);
    ck_assert_int_eq(nq_msg_load(nq_serializer_find("json"), msg, &object), NQ_ERR_PROTO);
    ck_assert_ptr_nonnull(strstr(nq_error(), "JSON:1:65: more than 64"));
    nq_msg_free(msg);
    json = json_pack("[]"); /* one that contains itself */
    json_array_append_new(json, json_pack("[O]", json));
    ck_assert_int_eq(nq_msg_dump(nq_serializer_find("json"), json, &msg), NQ_ERR_INVAL);
    json_array_clear(json_array_get(json, 0));
    json_decref(json);
}
END_TEST

START_TEST(pickle_takes_options_as_its_argument)
{
    static const char *const none[] = {NULL};
    const struct nq_pickle_options options = {.protocol = 2, .allow = none};
    struct nq_serializer mine = *nq_serializer_find("pickle");
    nq_datum *datum = NULL, *back;
    nq_uuid uuid = {{7}};
    void *object = NULL;
    const void *data;
    size_t len;
    nq_msg *msg;

    mine.arg = (void *)(uintptr_t)&options;
    ck_assert_int_eq(nq_datum_uuid(&uuid, &datum), NQ_OK);
    ck_assert_int_eq(nq_msg_dump(&mine, datum, &msg), NQ_OK);
    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    ck_assert_mem_eq(data, "\x80\x02", 2);
    back = load("pickle", msg);
    ck_assert(nq_datum_equal(datum, back));
    nq_datum_unref(back);
    ck_assert_int_eq(nq_msg_load(&mine, msg, &object), NQ_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(nq_error(), "pickle, byte 2 (GLOBAL): the global \"uuid.UUID\""));
    nq_msg_free(msg);
    nq_datum_unref(datum);
}
END_TEST

START_TEST(arrow_goes_with_its_schema)
{
    struct ArrowSchema *schema = nqtest_schema_of(1);
    struct nq_arrow arrow = {.schema = *schema}, *back;
    void *object = NULL;
    nq_msg *msg, *other = nqtest_msg("no array");

    nqtest_array(schema, 9, NQTEST_ROWS_NULLS, 1, &arrow.array);
    msg = dump("arrow", &arrow);
    ck_assert_ptr_null(arrow.array.release); /* released */
    back = load("arrow", msg);
    nq_msg_free(msg);
    nqtest_same_schema(schema, &back->schema);
    ck_assert_int_eq(back->array.length, 9);
    nq_arrow_free(back);
    nq_arrow_free(NULL);
    ck_assert_int_eq(nq_msg_load(nq_serializer_find("arrow"), other, &object), NQ_ERR_PROTO);
    ck_assert_int_eq(nq_serializer_find("arrow")->dump(NULL, &arrow, nq_msg_stream(other)),
                     NQ_ERR_UNSUPPORTED);
    nq_msg_free(other);
    nqtest_schema_free(schema);
}
END_TEST

/* ---- one's own ---- */

static nq_err letter_dump(void *arg, void *object, nq_stream *stream)
{
    if (object == arg)
        return NQ_ERR_INVAL;
    return nq_stream_write(stream, object, 1);
}

static nq_err letter_load(void *arg, nq_stream *stream, void **object)
{
    if (nq_stream_read(stream, arg, 1) != 1) /* reads it empty, or not */
        return NQ_ERR_PROTO;
    *object = arg;
    return NQ_OK;
}

START_TEST(two_functions_are_a_serializer)
{
    char letter = 'a', other = 'z';
    const struct nq_serializer mine = {"letter", letter_dump, letter_load, &letter};
    void *object = NULL;
    nq_msg *msg = NULL;

    ck_assert_int_eq(nq_msg_dump(&mine, &letter, &msg), NQ_ERR_INVAL);
    ck_assert_ptr_null(msg);
    ck_assert_int_eq(nq_msg_dump(&mine, &other, &msg), NQ_OK);
    for (unsigned i = 0; i < 2; i++) { /* the message is as it was */
        ck_assert_int_eq(nq_msg_load(&mine, msg, &object), NQ_OK);
        ck_assert(object == &letter && letter == 'z');
        letter = 'a';
    }
    nq_msg_free(msg);
    msg = nqtest_msg("");
    ck_assert_int_eq(nq_msg_load(&mine, msg, &object), NQ_ERR_PROTO);
    nq_msg_free(msg);
}
END_TEST

/* ---- queues ---- */

static void *get_object(nq_queue *queue, nq_uuid *sender)
{
    void *object = NULL;

    ck_assert_msg(!nq_get_object(queue, NULL, 0, NQTEST_WAIT, &object, sender), "%s", nq_error());
    return object;
}

START_TEST(the_configuration_names_the_serializer)
{
    nq_queue *server = nqtest_server(_i, ", 'serializer': 'pickle'");
    nq_queue *client = nqtest_join(server, ", 'serializer': 'json'");
    nq_datum *datum = NULL, *back;
    json_t *json = json_pack("[i]", 5);
    void *object = NULL;
    nq_uuid sender;

    ck_assert_str_eq(nq_serializer_of(server)->name, "pickle");
    ck_assert_str_eq(nq_serializer_of(client)->name, "json");
    ck_assert_int_eq(nq_put_object(client, json, NULL, 0, NULL), NQ_OK);
    ck_assert_int_eq(nq_get_object(server, NULL, 0, NQTEST_WAIT, &object, &sender),
                     NQ_ERR_UNSUPPORTED); /* no pickle */
    ck_assert(nq_uuid_equal(&sender, nq_id(client)));
    ck_assert_ptr_null(object);

    nq_serializer_set(client, nq_serializer_find("pickle"));
    ck_assert_str_eq(nq_serializer_of(client)->name, "pickle");
    ck_assert_int_eq(nq_datum_from_json(json, &datum), NQ_OK);
    ck_assert_int_eq(nq_put_object(client, datum, NULL, 0, NULL), NQ_OK);
    back = get_object(server, NULL);
    ck_assert(nq_datum_equal(datum, back));
    nq_datum_unref(back);
    nq_datum_unref(datum);
    nq_serializer_set(client, NULL);
    ck_assert_str_eq(nq_serializer_of(client)->name, "json");
    nq_serializer_set(server, nq_serializer_find("json"));
    ck_assert_int_eq(nq_put_object(server, json, nq_id(client), 1, NULL), NQ_OK);
    object = get_object(client, NULL);
    ck_assert(json_equal(json, object));
    json_decref(object);
    json_decref(json);
    ck_assert_int_eq(nq_get_object(client, NULL, 0, 0, &object, NULL), NQ_AGAIN);
    nqtest_part(server, client);
    nqtest_end(server);
}
END_TEST

START_TEST(arrow_travels_between_queues)
{
    nq_queue *server = nqtest_server(_i, ", 'serializer': 'arrow'");
    nq_queue *client = nqtest_join(server, ", 'serializer': 'arrow'");
    struct ArrowSchema *schema = nqtest_schema_of(2);
    struct nq_arrow arrow = {.schema = *schema}, *back;

    for (unsigned i = 0; i < 2; i++) {
        nqtest_array(schema, 100, NQTEST_ROWS_NULLS, i, &arrow.array);
        ck_assert_msg(!nq_put_object(client, &arrow, NULL, 0, NULL), "%s", nq_error());
        back = get_object(server, NULL);
        nqtest_same_schema(schema, &back->schema);
        nq_arrow_free(back);
    }
    nqtest_schema_free(schema);
    nqtest_part(server, client);
    nqtest_end(server);
}
END_TEST

START_TEST(without_memory_nothing_is_lost)
{
    static const char *const names[] = {"bytes", "stream", "json", "pickle"};
    static const char text[] = "\x80\x04]q\x01.";

    for (size_t i = 0; i < NQI_LEN(names); i++) {
        nq_msg *msg = i == 2 ? pieces("[1,", "2]") : nqtest_msg(text), *again = NULL;
        void *object = NULL;

        for (unsigned n = 1; n < 100; n++) {
            nqi_pool_fail_after(n);
            if (!nq_msg_load(nq_serializer_find(names[i]), msg, &object))
                break;
        }
        nqi_pool_fail_after(0);
        for (unsigned n = 1; n < 100; n++) {
            nqi_pool_fail_after(n);
            if (!nq_msg_dump(nq_serializer_find(names[i]), object, &again))
                break;
        }
        nqi_pool_fail_after(0);
        ck_assert_ptr_nonnull(again);
        nq_msg_free(again);
        nq_msg_free(msg);
        if (i == 0)
            nq_chunk_unref(object);
        else if (i == 1)
            nq_stream_free(object);
        else if (i == 2)
            json_decref(object);
        else
            nq_datum_unref(object);
    }
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("serializer");
    TCase *tc = tcase_create("serializer"), *queues = tcase_create("queues");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, names_are_known_or_not);
    tcase_add_test(tc, bytes_are_shared_where_they_are_in_one_piece);
    tcase_add_test(tc, streams_keep_their_pieces);
    tcase_add_test(tc, json_says_line_and_column);
    tcase_add_test(tc, pickle_takes_options_as_its_argument);
    tcase_add_test(tc, arrow_goes_with_its_schema);
    tcase_add_test(tc, two_functions_are_a_serializer);
    tcase_add_test(tc, without_memory_nothing_is_lost);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(queues, 60);
    nqtest_each(queues, the_configuration_names_the_serializer);
    nqtest_each(queues, arrow_travels_between_queues);
    suite_add_tcase(suite, queues);
    return suite;
}
