#include "tests/interop/arrow_feed.h"

#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include <errno.h>
#include <stdio.h>

/* ---- batches ---- */

static void batch_release(struct ArrowArray *array)
{
    struct nqtest_feed_batch *batch = array->private_data;

    if (batch->released++ == 0)
        batch->array.release(&batch->array);
    array->release = NULL;
}

static void batch_hand_out(struct nqtest_feed_batch *batch, struct ArrowArray *out)
{
    *out = batch->array;
    out->private_data = batch;
    out->release = batch_release;
}

static void check_shared(const struct ArrowArray *array)
{
    for (int64_t i = 0; i < array->n_buffers; i++)
        if (array->buffers[i])
            ck_assert(nqtest_shm_holds(array->buffers[i], 1));
    for (int64_t i = 0; i < array->n_children; i++)
        check_shared(array->children[i]);
    if (array->dictionary)
        check_shared(array->dictionary);
}

static nq_err feed_get(struct nqtest_feed *feed, struct ArrowSchema *schema)
{
    nq_msg *msg;
    nq_err err = nq_get(feed->queue, NULL, 0, NQTEST_WAIT, &msg);

    if (err)
        return err;
    feed->left--;
    err = nq_msg_get_arrow(msg, schema, &feed->batches[feed->count].array);
    nq_msg_free(msg);
    if (!err)
        feed->count++;
    return err;
}

/* ---- the stream ---- */

static int feed_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct nqtest_feed *feed = stream->private_data;

    *out = feed->schema;
    return 0;
}

static int feed_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct nqtest_feed *feed = stream->private_data;
    struct nqtest_feed_batch *batch;

    *out = (struct ArrowArray){0};
    if (!feed->first && !feed->left)
        return 0;
    if (!feed->first && feed_get(feed, NULL)) {
        snprintf(feed->error, sizeof(feed->error), "%s", nq_error());
        return EIO;
    }
    feed->first = false;
    batch = &feed->batches[feed->count - 1];
    if (feed->shared)
        check_shared(&batch->array);
    batch_hand_out(batch, out);
    return 0;
}

static const char *feed_error(struct ArrowArrayStream *stream)
{
    return ((struct nqtest_feed *)stream->private_data)->error;
}

static void feed_release(struct ArrowArrayStream *stream)
{
    stream->release = NULL;
}

static void feed_open(struct nqtest_feed *feed)
{
    feed->first = true;
    feed->stream = (struct ArrowArrayStream){
        feed_schema, feed_next, feed_error, feed_release, feed,
    };
}

void nqtest_feed(struct nqtest_feed *feed, nq_queue *queue, unsigned count)
{
    *feed = (struct nqtest_feed){.queue = queue, .left = count};
    ck_assert_uint_le(count, NQTEST_FEED_MAX);
    ck_assert_msg(feed_get(feed, &feed->schema) == NQ_OK, "%s", nq_error());
    feed_open(feed);
}

void nqtest_feed_of(struct nqtest_feed *feed, const struct ArrowSchema *schema,
                    struct ArrowArray *array)
{
    *feed = (struct nqtest_feed){.schema = *schema, .count = 1};
    feed->batches[0].array = *array;
    array->release = NULL;
    feed_open(feed);
}

void nqtest_feed_end(struct nqtest_feed *feed)
{
    for (unsigned i = 0; i < feed->count; i++)
        ck_assert_uint_eq(feed->batches[i].released, 1);
    if (feed->queue) /* else it is its producer's */
        feed->schema.release(&feed->schema);
}
