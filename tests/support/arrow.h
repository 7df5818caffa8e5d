/* A producer and a consumer of the Arrow C Data Interface, for tests.
 *
 * The producer makes arrays of random rows for any schema, sliced and not, in memory that is
 * exactly as long as the interface promises, and counts what is not released.  The consumer
 * compares row by row, by the rules of Arrow and with nothing of the code under test. */
#ifndef NQTEST_ARROW_H
#define NQTEST_ARROW_H

#include <netqueue/arrow.h>
#include <stdbool.h>

/* Nodes of schemas and arrays that were made here and not released. */
unsigned nqtest_arrow_alive(void);

/* A schema of `format`; the children, as many as `n`, and a dictionary move into it.  It is named
 * by its format, nullable, and its end is schema->release() and free(). */
struct ArrowSchema *nqtest_schema(const char *format, unsigned n, ...);
struct ArrowSchema *nqtest_schema_dictionary(const char *format, struct ArrowSchema *dictionary);
void nqtest_schema_free(struct ArrowSchema *schema);

enum nqtest_rows {
    NQTEST_ROWS_PLAIN,  /* no offsets, no bitmaps */
    NQTEST_ROWS_NULLS,  /* bitmaps, and nulls in them */
    NQTEST_ROWS_SLICED, /* both, and each node is a slice of something longer */
    NQTEST_ROWS_KINDS
};

/* `length` random rows, which depend on `seed`; ends with its release. */
void nqtest_array(const struct ArrowSchema *schema, int64_t length, enum nqtest_rows rows,
                  uint64_t seed, struct ArrowArray *ret);

/* `got` has the rows of `want`, offset 0, as many nulls as it says, and buffers on 64 bytes. */
void nqtest_same_rows(const struct ArrowSchema *schema, const struct ArrowArray *want,
                      const struct ArrowArray *got);
void nqtest_same_schema(const struct ArrowSchema *want, const struct ArrowSchema *got);

/* The schemas of all types that travel: number `i` of nqtest_schemas(), made anew. */
unsigned nqtest_schemas(void);
struct ArrowSchema *nqtest_schema_of(unsigned i);

#endif
