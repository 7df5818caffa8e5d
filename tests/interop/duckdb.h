/* DuckDB's C library as a consumer and a producer of Arrow arrays.
 *
 * It is no package of the system, so it is looked for when a test runs: the file that
 * NETQUEUE_DUCKDB_LIBRARY names, else libduckdb.so where libraries are.  What is needed of it is
 * declared here; its own headers are not needed. */
#ifndef NQTEST_DUCKDB_H
#define NQTEST_DUCKDB_H

#include "tests/interop/arrow_feed.h"

/* NULL, or why there is none. */
const char *nqtest_duckdb_load(void);

/* One database in memory, with one connection. */
void nqtest_duckdb_open(void);
void nqtest_duckdb_close(void);

/* The first value of the answer, as text.  Owned by the caller, ends with free(); NULL = it is
 * null, or there is none.  `failed` is what DuckDB says when the query fails; NULL = it must not.
 */
char *nqtest_duckdb_ask(const char *sql, char **failed);
void nqtest_duckdb_run(const char *sql);
void nqtest_duckdb_says(const char *sql, const char *want);

/* `name` is from now on what is left of `stream`, which stays the caller's; DuckDB ends
 * batches, and no schema. */
void nqtest_duckdb_view(const char *name, struct ArrowArrayStream *stream);

/* The answer as record batches: each is handed to `each`, which ends it.  @return how many */
unsigned nqtest_duckdb_batches(const char *sql,
                               void (*each)(void *arg, const struct ArrowSchema *schema,
                                            struct ArrowArray *batch),
                               void *arg);

/* A chunk of DuckDB's around `batch`, which moves into it.  Ends with nqtest_duckdb_chunk_free().
 */
void *nqtest_duckdb_chunk(struct ArrowSchema *schema, struct ArrowArray *batch);
void *nqtest_duckdb_chunk_values(void *chunk, unsigned column);
void nqtest_duckdb_chunk_free(void *chunk);

#endif
