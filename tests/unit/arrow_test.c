/* core/arrow.c, core/arrow_hold.c, core/arrow_export.c: arrays of every type, to a message and
 * back, over queues, and what keeps the memory. */
#include "core/msg.h"
#include "core/pool.h"
#include "tests/support/arrow.h"
#include "tests/support/queue.h"
#include "tests/support/suite.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t lengths[] = {0, 1, 7, 64, 300};

#define NLENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static void setup(void)
{
    ck_assert_uint_eq(nqtest_arrow_alive(), 0);
}

static void teardown(void)
{
    ck_assert_uint_eq(nqtest_arrow_alive(), 0);
}

static nq_msg *put(nq_queue *queue, const struct ArrowSchema *schema, struct ArrowArray *array)
{
    nq_msg *msg = NULL;

    ck_assert_msg(nq_msg_put_arrow(queue, NULL, 0, schema, array, &msg) == NQ_OK, "%s: %s",
                  schema->format, nq_error());
    ck_assert_ptr_null(array->release);
    return msg;
}

static void get(nq_msg *msg, struct ArrowSchema *schema, struct ArrowArray *array)
{
    ck_assert_msg(nq_msg_get_arrow(msg, schema, array) == NQ_OK, "%s", nq_error());
}

/* ---- without a queue ---- */

static void check_round(const struct ArrowSchema *schema, int64_t length, enum nqtest_rows rows,
                        uint64_t seed)
{
    struct ArrowArray sent, want, got;
    struct ArrowSchema got_schema;
    nq_msg *msg;

    nqtest_array(schema, length, rows, seed, &sent);
    nqtest_array(schema, length, rows, seed, &want);
    msg = put(NULL, schema, &sent);
    get(msg, &got_schema, &got);
    nq_msg_free(msg);
    nqtest_same_schema(schema, &got_schema);
    got_schema.release(&got_schema);
    nqtest_same_rows(schema, &want, &got);
    got.release(&got);
    want.release(&want);
}

START_TEST(every_type_comes_back_row_by_row)
{
    struct ArrowSchema *schema = nqtest_schema_of((unsigned)_i);

    for (size_t i = 0; i < NLENGTHS; i++)
        for (int rows = 0; rows < NQTEST_ROWS_KINDS; rows++)
            for (uint64_t seed = 1; seed < 6; seed++)
                check_round(schema, lengths[i], (enum nqtest_rows)rows, seed);
    nqtest_schema_free(schema);
}
END_TEST

/* The rows of a slice travel, not what it was cut from. */
START_TEST(a_slice_is_as_small_as_its_rows)
{
    struct ArrowSchema *schema = nqtest_schema("+s", 1, nqtest_schema("u", 0));
    struct ArrowArray array;
    nq_msg *msg;

    nqtest_array(schema, 10000, NQTEST_ROWS_PLAIN, 1, &array);
    array.offset = 5003;
    array.length = 10;
    msg = put(NULL, schema, &array);
    ck_assert_uint_lt(nq_msg_size(msg), 400);
    nq_msg_free(msg);
    nqtest_schema_free(schema);
}
END_TEST

START_TEST(metadata_and_a_schema_of_any_size_come_back)
{
    static const size_t sizes[] = {0, 100, 20000, 40000, 3000000};
    struct ArrowSchema *schema = nqtest_schema("l", 0), got_schema;
    struct ArrowArray array, got;
    int32_t len = (int32_t)sizes[_i], head[] = {1, 3};
    char *metadata = calloc(1, 15 + sizes[_i]);
    nq_msg *msg;

    memcpy(metadata, head, 8);
    memcpy(metadata + 8, "geo", 3);
    memcpy(metadata + 11, &len, 4);
    memset(metadata + 15, 'm', sizes[_i]);
    schema->metadata = metadata;
    nqtest_array(schema, 10, NQTEST_ROWS_PLAIN, 1, &array);
    msg = put(NULL, schema, &array);
    ck_assert_int_eq(nqi_msg_schema(msg) != NULL, sizes[_i] < 30000);
    get(msg, &got_schema, &got);
    nq_msg_free(msg);
    got.release(&got); /* the schema keeps what it needs */
    nqtest_same_schema(schema, &got_schema);
    got_schema.release(&got_schema);
    nqtest_schema_free(schema);
    free(metadata);
}
END_TEST

START_TEST(schema_or_array_may_be_left_out)
{
    struct ArrowSchema *schema = nqtest_schema_of(nqtest_schemas() - 1), got_schema;
    struct ArrowArray array, got;
    nq_msg *msg, *copy;

    nqtest_array(schema, 10, NQTEST_ROWS_SLICED, 3, &array);
    msg = put(NULL, schema, &array);
    ck_assert_int_eq(nq_msg_copy(msg, &copy), NQ_OK);
    nq_msg_free(msg);
    get(copy, NULL, NULL);
    get(copy, &got_schema, NULL);
    get(copy, NULL, &got);
    nq_msg_free(copy);
    nqtest_same_schema(schema, &got_schema);
    nqtest_same_rows(schema, &got, &got);
    got_schema.release(&got_schema);
    got.release(&got);
    nqtest_schema_free(schema);
}
END_TEST

START_TEST(what_is_no_array_says_so)
{
    nq_msg *msg = nqtest_msg("nq");
    struct ArrowArray array;

    ck_assert_int_eq(nq_msg_get_arrow(msg, NULL, &array), NQ_AGAIN);
    nq_msg_free(msg);
    msg = nqtest_msg("");
    ck_assert_int_eq(nq_msg_get_arrow(msg, NULL, &array), NQ_AGAIN);
    nq_msg_free(msg);
    msg = nqtest_msg("nqA1 and so on and so forth");
    ck_assert_int_eq(nq_msg_get_arrow(msg, NULL, &array), NQ_ERR_PROTO);
    nq_msg_free(msg);
}
END_TEST

/* A payload on an odd address, and one in pieces: joined, and right. */
START_TEST(a_payload_that_lies_badly_is_joined)
{
    struct ArrowSchema *schema = nqtest_schema_of(nqtest_schemas() - 1);
    struct ArrowArray array, want, got;
    nq_msg *msg, *odd;
    nq_chunk *chunk;
    nq_view view;
    const void *data;
    size_t len, cut;

    nqtest_array(schema, 100, NQTEST_ROWS_SLICED, 3, &array);
    nqtest_array(schema, 100, NQTEST_ROWS_SLICED, 3, &want);
    msg = put(NULL, schema, &array);
    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    ck_assert_int_eq(nq_chunk_new(len + 8, &chunk), NQ_OK);
    memcpy((char *)nq_chunk_data(chunk) + 8, data, len);
    cut = _i ? len / 2 : len;
    ck_assert_int_eq(nq_msg_copy(msg, &odd), NQ_OK);
    nq_stream_clear(nq_msg_stream(odd));
    view = nq_chunk_view(chunk, 8, cut);
    ck_assert_int_eq(nq_stream_writechunk(nq_msg_stream(odd), &view), NQ_OK);
    if (_i)
        ck_assert_int_eq(nq_stream_write(nq_msg_stream(odd), (const char *)data + cut, len - cut),
                         NQ_OK);
    nq_chunk_unref(chunk);
    nq_msg_free(msg);
    get(odd, NULL, &got);
    nq_msg_free(odd);
    nqtest_same_rows(schema, &want, &got);
    got.release(&got);
    want.release(&want);
    nqtest_schema_free(schema);
}
END_TEST

/* ---- memory ---- */

START_TEST(children_that_were_moved_out_live_alone)
{
    struct ArrowSchema *schema = nqtest_schema_of(nqtest_schemas() - 1), got_schema, one_schema;
    struct ArrowArray array, want, got, moved, one;
    nq_msg *msg;

    nqtest_array(schema, 100, NQTEST_ROWS_SLICED, 3, &array);
    nqtest_array(schema, 100, NQTEST_ROWS_SLICED, 3, &want);
    msg = put(NULL, schema, &array);
    get(msg, &got_schema, &got);
    nq_msg_free(msg);
    moved = got; /* the interface allows to move all of it ... */
    got.release = NULL;
    one = *moved.children[4]; /* ... and children out of it */
    moved.children[4]->release = NULL;
    one_schema = *got_schema.children[4];
    got_schema.children[4]->release = NULL;
    moved.release(&moved);
    got_schema.release(&got_schema);
    ck_assert_ptr_null(moved.release);
    ck_assert_ptr_null(got_schema.release);
    nqtest_same_schema(schema->children[4], &one_schema);
    nqtest_same_rows(schema->children[4], &one, &one);
    one.release(&one);
    one_schema.release(&one_schema);
    want.release(&want);
    nqtest_schema_free(schema);
}
END_TEST

START_TEST(whatever_allocation_fails_nothing_is_lost_or_released)
{
    struct ArrowSchema *schema = nqtest_schema_of(nqtest_schemas() - 1), got_schema;
    struct ArrowArray array, got = {0};
    nq_err err = NQ_ERR_NOMEM;
    nq_msg *msg = NULL;
    unsigned n;

    nqtest_array(schema, 100, NQTEST_ROWS_SLICED, 3, &array);
    for (n = 1; err; n++) {
        nqi_pool_fail_after(n);
        err = nq_msg_put_arrow(NULL, NULL, 0, schema, &array, &msg);
        nqi_pool_fail_after(0);
        if (err) {
            ck_assert_int_eq(err, NQ_ERR_NOMEM);
            ck_assert_ptr_nonnull(array.release);
            ck_assert_ptr_null(msg);
        }
    }
    ck_assert_uint_ge(n, 5);
    for (n = 1, err = NQ_ERR_NOMEM; err; n++) {
        nqi_pool_fail_after(n);
        err = nq_msg_get_arrow(msg, &got_schema, &got);
        nqi_pool_fail_after(0);
        if (err) {
            ck_assert_int_eq(err, NQ_ERR_NOMEM);
            ck_assert_ptr_null(got.release);
        }
    }
    ck_assert_uint_ge(n, 4);
    nq_msg_free(msg);
    nqtest_same_rows(schema, &got, &got);
    got_schema.release(&got_schema);
    got.release(&got);
    nqtest_schema_free(schema);
}
END_TEST

START_TEST(a_message_keeps_its_schema_when_metadata_changes)
{
    struct ArrowSchema *schema = nqtest_schema("l", 0);
    struct ArrowArray array, got;
    const void *value;
    nq_msg *msg;
    size_t len;

    nqtest_array(schema, 10, NQTEST_ROWS_PLAIN, 1, &array);
    msg = put(NULL, schema, &array);
    nq_msg_set_correlation(msg, 7);
    ck_assert_int_eq(nq_msg_set_meta(msg, "key", "value", 5), NQ_OK);
    ck_assert_int_eq(nq_msg_set_meta(msg, "key", "other", 5), NQ_OK);
    ck_assert_int_eq(nqi_msg_set_meta_raw(msg, NULL, 0), NQ_OK);
    ck_assert_int_eq(nq_msg_meta(msg, "key", &value, &len), NQ_AGAIN);
    get(msg, NULL, &got);
    got.release(&got);
    nq_msg_free(msg);
    nqtest_schema_free(schema);
}
END_TEST

/* ---- over queues ---- */

static void *release_thread(void *arg)
{
    struct ArrowArray *array = arg;

    array->release(array);
    return NULL;
}

static void check_sent(nq_queue *from, nq_queue *to, const struct ArrowSchema *schema,
                       int64_t length, uint64_t seed)
{
    struct ArrowArray array, want, got;
    struct ArrowSchema got_schema;
    nq_msg *msg;

    nqtest_array(schema, length, NQTEST_ROWS_SLICED, seed, &array);
    nqtest_array(schema, length, NQTEST_ROWS_SLICED, seed, &want);
    nqtest_put(from, put(from, schema, &array));
    msg = nqtest_get(to);
    get(msg, &got_schema, &got);
    nq_msg_free(msg);
    nqtest_same_schema(schema, &got_schema);
    nqtest_same_rows(schema, &want, &got);
    got_schema.release(&got_schema);
    got.release(&got);
    want.release(&want);
}

/* More kinds than a session has slots for, each several times. */
START_TEST(batches_of_every_type_go_both_ways)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");

    for (uint64_t round = 0; round < 2; round++)
        for (unsigned i = 0; i < nqtest_schemas(); i++) {
            struct ArrowSchema *schema = nqtest_schema_of(i);

            check_sent(client, server, schema, 200, i + 1);
            check_sent(client, server, schema, 1, i + round);
            check_sent(server, client, schema, 3, i);
            nqtest_schema_free(schema);
        }
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(arrays_outlive_their_queues_and_end_on_any_thread)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct ArrowSchema *schema = nqtest_schema_of(nqtest_schemas() - 1);
    struct ArrowArray array, want, got[3];
    pthread_t threads[3];

    nqtest_array(schema, 3000, NQTEST_ROWS_NULLS, 7, &want);
    for (int i = 0; i < 3; i++) {
        nq_msg *msg;

        nqtest_array(schema, 3000, NQTEST_ROWS_NULLS, 7, &array);
        nqtest_put(client, put(client, schema, &array));
        msg = nqtest_get(server);
        get(msg, NULL, &got[i]);
        nq_msg_free(msg);
    }
    nqtest_end(client);
    nqtest_end(server);
    for (int i = 0; i < 3; i++) {
        nqtest_same_rows(schema, &want, &got[i]);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, release_thread, &got[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    want.release(&want);
    nqtest_schema_free(schema);
}
END_TEST

/* Children of one array end on several threads at once. */
START_TEST(children_may_be_released_on_several_threads)
{
    struct ArrowSchema *schema = nqtest_schema_of(nqtest_schemas() - 1);
    struct ArrowArray array, got, children[5];
    pthread_t threads[5];
    nq_msg *msg;

    nqtest_array(schema, 3000, NQTEST_ROWS_NULLS, 7, &array);
    msg = put(NULL, schema, &array);
    get(msg, NULL, &got);
    nq_msg_free(msg);
    for (int i = 0; i < 5; i++) {
        children[i] = *got.children[i];
        got.children[i]->release = NULL;
    }
    got.release(&got);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, release_thread, &children[i]), 0);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    nqtest_schema_free(schema);
}
END_TEST

static bool is_shared(const void *at)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long start, end;
    char line[512];
    bool shared = false;

    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps))
        if (sscanf(line, "%lx-%lx", &start, &end) == 2 && (uintptr_t)at >= start &&
            (uintptr_t)at < end)
            shared = strstr(line, "memfd:") != NULL;
    fclose(maps);
    return shared;
}

/* The pool has room for a few arrays only, so each must come back. */
START_TEST(over_shm_arrays_lie_in_shared_memory_until_they_are_released)
{
    int shm = nqtest_transport_of("shm");
    struct ArrowSchema *schema = nqtest_schema("g", 0);
    nq_queue *server, *client;
    struct ArrowArray array, got;

    if (shm < 0) {
        nqtest_schema_free(schema);
        return;
    }
    server = nqtest_server(shm, "");
    client = nqtest_join(server, ", 'pool': '4MiB'");
    for (int i = 0; i < 40; i++) {
        nq_future *future;
        nq_msg *msg;

        nqtest_array(schema, 100000, NQTEST_ROWS_PLAIN, (uint64_t)i, &array);
        future = nqtest_put_future(client, put(client, schema, &array));
        msg = nqtest_get(server);
        get(msg, NULL, &got);
        nq_msg_free(msg);
        ck_assert_msg(is_shared(got.buffers[1]), "array %d lies elsewhere", i);
        got.release(&got);
        /* Until it is acknowledged the client keeps it as well, to send it again. */
        ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_DELIVERED);
    }
    nqtest_end(client);
    nqtest_end(server);
    nqtest_schema_free(schema);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("arrow");
    TCase *tc = nqtest_case(suite, "messages", setup, teardown);

    tcase_add_loop_test(tc, every_type_comes_back_row_by_row, 0, (int)nqtest_schemas());
    tcase_add_test(tc, a_slice_is_as_small_as_its_rows);
    tcase_add_loop_test(tc, metadata_and_a_schema_of_any_size_come_back, 0, 5);
    tcase_add_test(tc, schema_or_array_may_be_left_out);
    tcase_add_test(tc, what_is_no_array_says_so);
    tcase_add_loop_test(tc, a_payload_that_lies_badly_is_joined, 0, 2);
    tcase_add_test(tc, children_that_were_moved_out_live_alone);
    tcase_add_test(tc, whatever_allocation_fails_nothing_is_lost_or_released);
    tcase_add_test(tc, a_message_keeps_its_schema_when_metadata_changes);
    tcase_add_test(tc, children_may_be_released_on_several_threads);

    tc = nqtest_case(suite, "queues", setup, teardown);
    nqtest_each(tc, batches_of_every_type_go_both_ways);
    nqtest_each(tc, arrays_outlive_their_queues_and_end_on_any_thread);
    tcase_add_test(tc, over_shm_arrays_lie_in_shared_memory_until_they_are_released);
    return suite;
}
