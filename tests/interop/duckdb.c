/* Each call of the library is one line of DUCKDB_CALLS, which declares and finds it. */
#include "tests/interop/duckdb.h"

#include <check.h>
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct duckdb_result {
    uint64_t columns, rows, changed;
    void *column, *error, *inside;
};

/* Handles are pointers, an int is 0 when all is well, and errors of the newer calls are objects. */
#define DUCKDB_CALLS(X)                                                                       \
    X(int, open, (const char *path, void **database))                                         \
    X(void, close, (void **database))                                                         \
    X(int, connect, (void *database, void **connection))                                      \
    X(void, disconnect, (void **connection))                                                  \
    X(int, query, (void *connection, const char *sql, struct duckdb_result *ret))             \
    X(const char *, result_error, (struct duckdb_result * result))                            \
    X(void, destroy_result, (struct duckdb_result * result))                                  \
    X(char *, value_varchar, (struct duckdb_result * result, uint64_t column, uint64_t row))  \
    X(void, free, (void *memory))                                                             \
    X(int, arrow_scan, (void *connection, const char *name, struct ArrowArrayStream *stream)) \
    X(int, query_arrow, (void *connection, const char *sql, void **ret))                      \
    X(const char *, query_arrow_error, (void *result))                                        \
    X(int, query_arrow_schema, (void *result, struct ArrowSchema **out))                      \
    X(int, query_arrow_array, (void *result, struct ArrowArray **out))                        \
    X(void, destroy_arrow, (void **result))                                                   \
    X(void *, schema_from_arrow, (void *connection, struct ArrowSchema *schema, void **ret))  \
    X(void, destroy_arrow_converted_schema, (void **types))                                   \
    X(void *, data_chunk_from_arrow,                                                          \
      (void *connection, struct ArrowArray *array, void *types, void **ret))                  \
    X(void *, data_chunk_get_vector, (void *chunk, uint64_t column))                          \
    X(void *, vector_get_data, (void *vector))                                                \
    X(void, destroy_data_chunk, (void **chunk))

#define DECLARE(type, name, args) type(*name) args;
#define FIND(type, name, args) {"duckdb_" #name, offsetof(struct duckdb, name)},

struct duckdb {
    DUCKDB_CALLS(DECLARE)
};

static const struct {
    const char *name;
    size_t at;
} calls[] = {DUCKDB_CALLS(FIND)};

static struct duckdb duckdb;
static void *database, *connection;

const char *nqtest_duckdb_load(void)
{
    const char *path = getenv("NETQUEUE_DUCKDB_LIBRARY");
    void *library = dlopen(path && *path ? path : "libduckdb.so", RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return dlerror();
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        void *call = dlsym(library, calls[i].name);

        if (!call)
            return dlerror();
        memcpy((char *)&duckdb + calls[i].at, &call, sizeof(call));
    }
    return NULL;
}

void nqtest_duckdb_open(void)
{
    ck_assert_int_eq(duckdb.open(NULL, &database), 0);
    ck_assert_int_eq(duckdb.connect(database, &connection), 0);
}

void nqtest_duckdb_close(void)
{
    duckdb.disconnect(&connection);
    duckdb.close(&database);
}

/* ---- SQL ---- */

/* A copy that free() ends, as that of another library need not. */
static char *duckdb_own(char *text)
{
    char *copy = text ? strdup(text) : NULL;

    duckdb.free(text);
    return copy;
}

char *nqtest_duckdb_ask(const char *sql, char **failed)
{
    struct duckdb_result result;
    char *answer = NULL;

    if (duckdb.query(connection, sql, &result) == 0)
        answer = duckdb_own(duckdb.value_varchar(&result, 0, 0));
    else if (failed)
        *failed = strdup(duckdb.result_error(&result));
    else
        ck_abort_msg("%s: %s", sql, duckdb.result_error(&result));
    duckdb.destroy_result(&result);
    return answer;
}

void nqtest_duckdb_run(const char *sql)
{
    free(nqtest_duckdb_ask(sql, NULL));
}

void nqtest_duckdb_says(const char *sql, const char *want)
{
    char *got = nqtest_duckdb_ask(sql, NULL);

    ck_assert_msg(got && strcmp(got, want) == 0, "%s: \"%s\", not \"%s\"", sql, got ? got : "NULL",
                  want);
    free(got);
}

/* ---- Arrow ---- */

void nqtest_duckdb_view(const char *name, struct ArrowArrayStream *stream)
{
    ck_assert_int_eq(duckdb.arrow_scan(connection, name, stream), 0);
}

unsigned nqtest_duckdb_batches(const char *sql,
                               void (*each)(void *arg, const struct ArrowSchema *schema,
                                            struct ArrowArray *batch),
                               void *arg)
{
    struct ArrowSchema schema = {0}, *schema_at = &schema;
    struct ArrowArray batch = {0}, *batch_at = &batch;
    void *result = NULL;
    unsigned count = 0;

    ck_assert_msg(duckdb.query_arrow(connection, sql, &result) == 0, "%s: %s", sql,
                  duckdb.query_arrow_error(result));
    ck_assert_int_eq(duckdb.query_arrow_schema(result, &schema_at), 0);
    for (;; count++) {
        ck_assert_int_eq(duckdb.query_arrow_array(result, &batch_at), 0);
        if (!batch.release)
            break;
        each(arg, &schema, &batch);
        ck_assert_ptr_null(batch.release);
    }
    schema.release(&schema);
    duckdb.destroy_arrow(&result);
    return count;
}

void *nqtest_duckdb_chunk(struct ArrowSchema *schema, struct ArrowArray *batch)
{
    void *types = NULL, *chunk = NULL;

    ck_assert_ptr_null(duckdb.schema_from_arrow(connection, schema, &types));
    ck_assert_ptr_null(duckdb.data_chunk_from_arrow(connection, batch, types, &chunk));
    ck_assert_ptr_null(batch->release);
    duckdb.destroy_arrow_converted_schema(&types);
    return chunk;
}

void *nqtest_duckdb_chunk_values(void *chunk, unsigned column)
{
    return duckdb.vector_get_data(duckdb.data_chunk_get_vector(chunk, column));
}

void nqtest_duckdb_chunk_free(void *chunk)
{
    duckdb.destroy_data_chunk(&chunk);
}
