/* DuckDB reads record batches that came over shm where the sender put them, in memory that both
 * sides share, and says in SQL what is in them.
 *
 *     producer --nq_msg_put_arrow()--> nq_put() ... feed: nq_get(), nq_msg_get_arrow() --> DuckDB
 *
 * Skipped where DuckDB's library is absent. */
#include "tests/interop/arrow_feed.h"
#include "tests/interop/duckdb.h"
#include "tests/plugins/shm_rig.h"
#include "tests/support/arrow.h"
#include "tests/support/queue.h"
#include "tests/support/suite.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 3000
#define LEASES 8u /* a lease that stays out is soon missed */
#define NARROW ", 'leases': 8"

static nq_queue *server, *client;

static void setup(void)
{
    nqtest_duckdb_open();
    server = nqtest_server(nqtest_transport_of("shm"), NARROW);
    client = nqtest_join(server, NARROW);
}

/* Some tests end the queues themselves. */
static void end_queues(void)
{
    if (!client)
        return;
    nqtest_end(client);
    nqtest_end(server);
    client = server = NULL;
}

static void teardown(void)
{
    end_queues();
    nqtest_duckdb_close();
    ck_assert_uint_eq(nqtest_arrow_alive(), 0);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}

/* ---- sending ---- */

static nq_msg *arrow_msg(const struct ArrowSchema *schema, struct ArrowArray *array)
{
    nq_msg *msg = NULL;

    ck_assert_msg(nq_msg_put_arrow(client, NULL, 0, schema, array, &msg) == NQ_OK, "%s",
                  nq_error());
    return msg;
}

/* In shared memory.  While a thread of the queue is inside of the link there is none to be had:
 * then the arrays of the message that was made are put once more. */
static nq_msg *shared_msg(const struct ArrowSchema *schema, struct ArrowArray *array)
{
    for (;;) {
        nq_msg *msg = arrow_msg(schema, array);
        const void *data;
        size_t len;

        ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
        if (nqtest_shm_holds(data, len))
            return msg;
        ck_assert_int_eq(nq_msg_get_arrow(msg, NULL, array), NQ_OK);
        nq_msg_free(msg);
    }
}

static void send_batch(void *arg, const struct ArrowSchema *schema, struct ArrowArray *array)
{
    (void)arg;
    nqtest_put(client, shared_msg(schema, array));
}

/* ---- what DuckDB makes itself ---- */

/* A column of each type; the value is of row `i`. */
static const struct {
    const char *name, *type, *value;
} columns[] = {
    {"b", "boolean", "i % 2 = 0"},
    {"i8", "tinyint", "i % 256 - 128"},
    {"i16", "smallint", "i * 3 - 9000"},
    {"i32", "integer", "i * 100003 - 7"},
    {"i64", "bigint", "i * 900719925474099"},
    {"i128", "hugeint", "i::hugeint * 170141183460469231731687"},
    {"u8", "utinyint", "i % 256"},
    {"u16", "usmallint", "i % 65536"},
    {"u32", "uinteger", "i * 429490"},
    {"u64", "ubigint", "i::ubigint * 1844674407370955"},
    {"f", "float", "i / 7"},
    {"g", "double", "i / 3.0 - 1e3"},
    {"d4", "decimal(4, 1)", "i / 10.0 % 999"},
    {"d9", "decimal(9, 2)", "i * 12.25"},
    {"d18", "decimal(18, 6)", "i * -1234.567891"},
    {"d38", "decimal(38, 4)", "i::decimal(38, 4) * 123456789012345678.9876"},
    {"day", "date", "date '1969-07-20' + i::integer"},
    {"t", "time", "time '00:00:00.000001' + to_seconds(i * 7)"},
    {"ts", "timestamp_s", "timestamp '1969-12-31 23:00:00' + to_seconds(i)"},
    {"tms", "timestamp_ms", "timestamp '2026-01-02' + to_milliseconds(i * 1.5)"},
    {"tus", "timestamp", "timestamp '1750-01-02' + to_microseconds(i * 999999937)"},
    {"tns", "timestamp_ns", "make_timestamp_ns(i * 1000000007)"},
    {"tz", "timestamptz", "to_timestamp(i * 86399.5)"},
    {"iv", "interval", "to_days(i::integer) + to_microseconds(i * -17)"},
    {"s", "varchar", "repeat('\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8e', i % 5) || i"},
    {"z", "blob", "encode(repeat('x', i % 4) || i)"},
    {"id", "uuid", "uuid '00000000-0000-4000-8000-000000000000'"},
    {"e", "enum('a', '\xc3\xa4', '')", "['a', '\xc3\xa4', ''][1 + i % 3]"},
    {"l", "bigint[]", "range(i % 6)"},
    {"ll", "varchar[][]", "[['x', null, i::varchar], []]"},
    {"a", "integer[3]", "[i, null, -i]"},
    {"st", "struct(x integer, y varchar[])", "{'x': i, 'y': ['y' || i]}"},
    {"m", "map(varchar, double)", "map([i::varchar, 'k'], [i / 2, null])"},
};

/* Row numbers, those columns with nulls, and nothing but nulls, in a table `sent`. */
static void make_every_type(void)
{
    char *sql = NULL;
    size_t len;
    FILE *file = open_memstream(&sql, &len);

    ck_assert_ptr_nonnull(file);
    fputs("create table sent as select i, null as n", file);
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        fprintf(file, ", (case when i %% 11 = 3 then null else %s end)::%s as %s", columns[i].value,
                columns[i].type, columns[i].name);
    fputs(" from range(10000) as r(i)", file);
    fclose(file);
    nqtest_duckdb_run(sql);
    free(sql);
}

/* How DuckDB exports them: as it does usually, or with large offsets and types of its own. */
static const char *const exports[] = {
    "set arrow_large_buffer_size = false; set arrow_lossless_conversion = false",
    "set arrow_large_buffer_size = true; set arrow_lossless_conversion = true",
};

/* What anybody can work out. */
static const char *const answers[][2] = {
    {"select count(*) from got", "10000"},
    {"select count(b) from got", "9091"},
    {"select sum(i) from got", "49995000"},
    {"select max(u8) - min(i8) from got", "383"},
    {"select sum(g * 3 + 3000)::bigint from got where i < 11", "52"},
    {"select d38 from got where i = 2", "246913578024691357.9752"},
    {"select day || ' ' || t from got where i = 0", "1969-07-20 00:00:00.000001"},
    {"select ts::varchar from got where i = 3601", "1970-01-01 00:00:01"},
    {"select string_agg(s, '|' order by i) from got where i < 4",
     "0|\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8e"
     "1|\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8e\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8e"
     "2"},
    {"select string_agg(e, '|' order by i) from got where i < 3", "a|\xc3\xa4|"},
    {"select list_sum(flatten(list(l order by i))) from got where i < 7", "17"},
    {"select st.y[1] || a[3] || m['5'] from got where i = 5", "y5-52.5"},
};

START_TEST(rows_of_every_type_come_back_to_duckdb_as_they_left)
{
    static struct nqtest_feed feed;
    unsigned count;

    nqtest_duckdb_run(exports[_i]);
    make_every_type();
    count = nqtest_duckdb_batches("from sent", send_batch, NULL);
    ck_assert_uint_ge(count, 5);
    nqtest_feed(&feed, server, count);
    nqtest_duckdb_view("feed", &feed.stream);
    feed.shared = true;
    nqtest_duckdb_run("create table got as from feed");
    ck_assert_uint_eq(feed.count, count);
    nqtest_feed_end(&feed);
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
        nqtest_duckdb_says(answers[i][0], answers[i][1]);
    nqtest_duckdb_says("select count(*) from (from sent except all from got)", "0");
    nqtest_duckdb_says("select count(*) from (from got except all from sent)", "0");
}
END_TEST

/* ---- what others make ---- */

#define WORD 8 /* bytes */

/* What DuckDB wants beyond the interface: nulls are counted, else it takes them for none, and
 * bitmaps can be read to the end of a word. */
static void make_readable(struct ArrowArray *array)
{
    size_t used = (size_t)(array->offset + array->length + 7) / 8;
    uint8_t *bits = array->n_buffers ? (void *)(uintptr_t)array->buffers[0] : NULL;

    if (bits) {
        bits = realloc(bits, used + WORD);
        ck_assert_ptr_nonnull(bits);
        memset(bits + used, 0, WORD);
        array->buffers[0] = bits;
        array->null_count = 0;
        for (int64_t i = array->offset; i < array->offset + array->length; i++)
            array->null_count += !(bits[i / 8] >> i % 8 & 1);
    }
    for (int64_t i = 0; i < array->n_children; i++)
        make_readable(array->children[i]);
    if (array->dictionary)
        make_readable(array->dictionary);
}

/* Random rows; `sliced`: of something longer, each column by itself, as DuckDB wants it. */
static void make_batch(const struct ArrowSchema *schema, enum nqtest_rows rows, bool sliced,
                       uint64_t seed, struct ArrowArray *ret)
{
    nqtest_array(schema, ROWS, rows, seed, ret);
    for (int64_t i = 0; sliced && i < ret->n_children; i++) {
        ret->children[i]->offset = 77;
        ret->children[i]->length = ROWS - 100;
    }
    ret->length -= sliced ? 100 : 0;
    make_readable(ret);
}

/* DuckDB reads the producer's batch and what became of it, and sees no difference.
 * @return whether it reads the producer's: it does not have all types, and noise is not a date */
static bool same_in_duckdb(const struct ArrowSchema *schema, bool nulls, bool sliced)
{
    enum nqtest_rows rows = nulls ? NQTEST_ROWS_NULLS : NQTEST_ROWS_PLAIN;
    static struct nqtest_feed sent, got;
    struct ArrowArray array;
    char *failed = NULL;

    make_batch(schema, rows, sliced, 5, &array);
    nqtest_feed_of(&sent, schema, &array);
    nqtest_duckdb_view("sent", &sent.stream);
    free(nqtest_duckdb_ask("create or replace table a as from sent", &failed));
    nqtest_feed_end(&sent);
    if (failed) {
        printf("# %s: %.100s\n", schema->children[0]->format, failed);
        free(failed);
        return false;
    }
    make_batch(schema, rows, sliced, 5, &array);
    nqtest_put(client, arrow_msg(schema, &array));
    nqtest_feed(&got, server, 1);
    nqtest_duckdb_view("got", &got.stream);
    nqtest_duckdb_run("create or replace table b as from got");
    nqtest_feed_end(&got);
    nqtest_duckdb_says("select count(*) from b", sliced ? "2900" : "3000");
    nqtest_duckdb_says("select count(*) from (from a except all from b)", "0");
    return true;
}

/* Types that DuckDB does not have, or only halfway: of dictionaries of lists it looks at the bit
 * behind the last one. */
static bool is_foreign(const struct ArrowSchema *schema)
{
    static const char *const foreign[] = {"e", "d:18,-3,64", "d:76,0,256", "+w:0"};

    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        if (strcmp(schema->format, foreign[i]) == 0)
            return true;
    if (schema->dictionary)
        return schema->dictionary->format[0] == '+';
    return strcmp(schema->format, "+s") == 0 && !schema->n_children;
}

START_TEST(duckdb_sees_no_difference_in_what_others_make)
{
    unsigned same = 0;

    for (unsigned i = 0; i < nqtest_schemas(); i++) {
        struct ArrowSchema *schema = nqtest_schema("+s", 1, nqtest_schema_of(i));

        for (unsigned j = 0; j < 3 && !is_foreign(schema->children[0]); j++)
            same += same_in_duckdb(schema, j > 0, j > 1);
        nqtest_schema_free(schema);
    }
    ck_assert_uint_ge(same, 100);
}
END_TEST

/* ---- what is lent comes back ---- */

/* A schema of several buffers, and the sum of column i, of int32, in a batch of it. */
static struct ArrowSchema *lent_schema(void)
{
    return nqtest_schema("+s", 3, nqtest_schema("i", 0), nqtest_schema("u", 0),
                         nqtest_schema_dictionary("c", nqtest_schema("u", 0)));
}

static int64_t sum_of(const struct ArrowArray *batch)
{
    const struct ArrowArray *column = batch->children[0];
    const int32_t *values = column->buffers[1];
    const uint8_t *bits = column->buffers[0];
    int64_t sum = 0;

    for (int64_t i = 0; i < column->length; i++)
        if (!bits || bits[i / 8] >> i % 8 & 1)
            sum += values[i];
    return sum;
}

/* As many batches as one side may keep leave.  @return what DuckDB must say of them */
static int64_t send_lent(const struct ArrowSchema *schema, uint64_t seed, unsigned count)
{
    int64_t sum = 0;

    for (unsigned i = 0; i < count; i++) {
        struct ArrowArray batch;

        nqtest_array(schema, ROWS, NQTEST_ROWS_NULLS, seed + i, &batch);
        sum += sum_of(&batch);
        send_batch(NULL, schema, &batch);
    }
    return sum;
}

/* _i + 1 threads; a lease that is not given back would soon be missing. */
START_TEST(duckdb_gives_back_each_batch_once_and_with_it_its_lease)
{
    struct ArrowSchema *schema = lent_schema();
    char text[64];

    snprintf(text, sizeof(text), "set threads = %d", _i + 1);
    nqtest_duckdb_run(text);
    for (unsigned round = 0; round < 30; round++) {
        int64_t sum = send_lent(schema, round * LEASES, LEASES);
        static struct nqtest_feed feed;

        nqtest_feed(&feed, server, LEASES);
        nqtest_duckdb_view("lent", &feed.stream);
        feed.shared = true;
        snprintf(text, sizeof(text), "%u %" PRId64, LEASES * ROWS, sum);
        nqtest_duckdb_says("select count(*) || ' ' || sum(i) from lent", text);
        ck_assert_uint_eq(feed.count, LEASES);
        nqtest_feed_end(&feed);
    }
    nqtest_schema_free(schema);
}
END_TEST

/* A chunk of DuckDB's is the received memory itself, and keeps it. */
START_TEST(duckdb_keeps_a_batch_longer_than_the_queues_live)
{
    struct ArrowSchema *schema = nqtest_schema("+s", 1, nqtest_schema("l", 0));
    struct ArrowArray array, want;
    static struct nqtest_feed feed;
    const int64_t *values;
    void *chunk;

    nqtest_array(schema, 2048, NQTEST_ROWS_PLAIN, 9, &array);
    nqtest_array(schema, 2048, NQTEST_ROWS_PLAIN, 9, &want);
    send_batch(NULL, schema, &array);
    nqtest_feed(&feed, server, 1);
    ck_assert_int_eq(feed.stream.get_next(&feed.stream, &array), 0);
    chunk = nqtest_duckdb_chunk(&feed.schema, &array);
    values = nqtest_duckdb_chunk_values(chunk, 0);
    ck_assert(nqtest_shm_holds(values, 2048 * 8));
    end_queues();
    ck_assert_uint_eq(feed.batches[0].released, 0);
    ck_assert_mem_eq(values, want.children[0]->buffers[1], 2048 * 8);
    nqtest_duckdb_chunk_free(chunk);
    nqtest_feed_end(&feed);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
    want.release(&want);
    nqtest_schema_free(schema);
}
END_TEST

START_TEST(a_message_without_an_array_ends_the_query_and_nothing_stays)
{
    struct ArrowSchema *schema = lent_schema();
    static struct nqtest_feed feed;
    char *failed = NULL;

    send_lent(schema, 1, 2);
    nqtest_put(client, nqtest_msg("nqA1 and no array"));
    nqtest_feed(&feed, server, 3);
    nqtest_duckdb_view("broken", &feed.stream);
    ck_assert_ptr_null(nqtest_duckdb_ask("select count(*) from broken", &failed));
    ck_assert_ptr_nonnull(strstr(failed, feed.error));
    ck_assert_uint_gt(strlen(feed.error), 0);
    free(failed);
    ck_assert_uint_eq(feed.count, 2);
    nqtest_feed_end(&feed);
    nqtest_schema_free(schema);
}
END_TEST

Suite *nqtest_suite(void)
{
    const char *absent = nqtest_duckdb_load();
    Suite *suite;
    TCase *tc;

    if (absent) {
        printf("1..0 # SKIP no DuckDB, whose file NETQUEUE_DUCKDB_LIBRARY would name: %s\n",
               absent);
        exit(0);
    }
    suite = suite_create("duckdb_arrow");
    (void)nqtest_transports(); /* what it makes is made once, not by each test */
    tc = nqtest_case(suite, "duckdb", setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, rows_of_every_type_come_back_to_duckdb_as_they_left, 0, 2);
    tcase_add_test(tc, duckdb_sees_no_difference_in_what_others_make);
    tcase_add_loop_test(tc, duckdb_gives_back_each_batch_once_and_with_it_its_lease, 0, 4);
    tcase_add_test(tc, duckdb_keeps_a_batch_longer_than_the_queues_live);
    tcase_add_test(tc, a_message_without_an_array_ends_the_query_and_nothing_stays);
    return suite;
}
