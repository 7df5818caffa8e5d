/**
 * @file
 * Arrow arrays and record batches in messages, through the Arrow C Data Interface.
 *
 *     nq_msg_put_arrow() --> nq_put() ... nq_get() --> nq_msg_get_arrow()
 *
 * No Arrow library is needed: the two structs are the interface.  What arrives points into the
 * memory of the message, over shm the memory that both processes share, and must not be written.
 * The schema travels once for each direction of a session.  docs/arrow.md has the types that
 * travel, the layout and what is checked.
 */
#ifndef NETQUEUE_ARROW_H
#define NETQUEUE_ARROW_H

#include <netqueue/err.h>
#include <netqueue/msg.h>
#include <netqueue/queue.h>
#include <netqueue/uuid.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As the Arrow specification words it, so that it may be declared by several headers. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

/** A message that carries `array`: its rows are copied once, into memory as nq_loan() gives it for
 *  those peers.  Put it with nq_put() to the same ones; its metadata and options are the caller's.
 *
 *  @param queue   whose peers it is for; NULL = the memory is from the heap
 *  @param peers   `n` ids as for nq_put(), or n = 0
 *  @param schema  the type of `array`; borrowed, stays the caller's
 *  @param array   [take] released before the call returns NQ_OK
 *  @param ret     [out] owned by the caller, ends with nq_put() or nq_msg_free()
 *  @return NQ_OK; NQ_ERR_INVAL (schema or array are NULL, break a rule of the interface or
 *          contradict each other; nq_error() tells the field and the rule); NQ_ERR_UNSUPPORTED (a
 * type that does not travel); as nq_loan() Thread: any.  Blocks: no, unless the array's release
 * does. */
NQ_API NQ_MUST_CHECK nq_err nq_msg_put_arrow(nq_queue *queue, const nq_uuid *peers, size_t n,
                                             const struct ArrowSchema *schema,
                                             struct ArrowArray *array, nq_msg **ret);

/** What nq_msg_put_arrow() put into a message.  All of it is checked, so whoever reads the arrays
 *  by the rules of Arrow stays inside of them, whatever the sender sent.  That holds for as long as
 *  the bytes stay the same: over shm a sender that runs as the same user can still write to them.
 *  What other users send is copied before it is checked.
 *
 *  Offsets are 0 and nulls are counted.  Schema and array, and children that were moved out of
 *  them, each keep the memory until they are released: once each, on any thread, before or after
 *  the message and the queue ended.  Their release functions do not block.
 *
 *  @param msg     unchanged, but for a payload in several pieces, or in one that is not 64-byte
 *                 aligned: it is copied into one that is, as nq_msg_data() joins pieces
 *  @param schema  [out] owned by the caller; NULL when it does not matter
 *  @param array   [out] owned by the caller; NULL when it does not matter
 *  @return NQ_OK; NQ_AGAIN (the message carries no array); NQ_ERR_PROTO (what it carries is
 *          malformed; nq_error() tells what); NQ_ERR_UNSUPPORTED; NQ_ERR_NOMEM
 *  Thread: as the message.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_msg_get_arrow(nq_msg *msg, struct ArrowSchema *schema,
                                             struct ArrowArray *array);

#ifdef __cplusplus
}
#endif
#endif
