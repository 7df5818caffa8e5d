/* The arrays that come to a queue as a stream of the Arrow C interface: what a consumer asks for
 * next is what nq_get() returns next.
 *
 * Every batch is wrapped, so that the calls of its release are counted. */
#ifndef NQTEST_ARROW_FEED_H
#define NQTEST_ARROW_FEED_H

#include <netqueue/arrow.h>
#include <netqueue/netqueue.h>
#include <stdbool.h>

/* As the Arrow specification words it. */
#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};

#endif /* ARROW_C_STREAM_INTERFACE */

#define NQTEST_FEED_MAX 64u /* batches */

struct nqtest_feed_batch {
    struct ArrowArray array;
    _Atomic unsigned released;
};

/* `stream` is for the consumer, on any thread, one at a time.  Schemas that it hands out are copies
 * of one that the feed ends: DuckDB ends none. */
struct nqtest_feed {
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    nq_queue *queue; /* NULL = nothing follows the first batch */
    unsigned left;   /* batches to come of the queue */
    struct nqtest_feed_batch batches[NQTEST_FEED_MAX];
    unsigned count; /* of them came */
    bool first;     /* came with the schema and was not asked for */
    bool shared;    /* the consumer's wish: each must lie in memory that processes share */
    char error[256];
};

/* The next `count` batches, one at least, of one schema, that come to `queue`. */
void nqtest_feed(struct nqtest_feed *feed, nq_queue *queue, unsigned count);

/* One batch, which moves into the feed; `schema` stays the caller's. */
void nqtest_feed_of(struct nqtest_feed *feed, const struct ArrowSchema *schema,
                    struct ArrowArray *array);

/* The consumer let go of everything that came, once. */
void nqtest_feed_end(struct nqtest_feed *feed);

#endif
