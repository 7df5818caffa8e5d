/* core/txbuf.c: buffers for links end with their last reference, and what they hold with them. */
#include "core/pool.h"
#include "core/txbuf.h"
#include <check.h>
#include <string.h>

static int released;

static void release(void *arg, void *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
    released++;
}

START_TEST(a_new_buffer_is_empty_and_whole)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(3, 40);

    ck_assert_ptr_nonnull(txbuf);
    ck_assert_uint_eq(txbuf->buf.size, sizeof(struct nqt_buf));
    ck_assert_uint_eq(txbuf->buf.nseg, 0);
    ck_assert_uint_eq(txbuf->buf.len, 0);
    ck_assert_uint_eq(txbuf->last_seq, 0);
    ck_assert_ptr_eq(txbuf->buf.seg, txbuf->seg);
    ck_assert_uint_eq((uintptr_t)txbuf->seg % _Alignof(struct iovec), 0);
    memset(txbuf->room, 0xa5, 40);
    nqi_txbuf_unref(txbuf);
}
END_TEST

START_TEST(segments_add_up)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(64, 16);
    static char bytes[64];

    for (size_t i = 0; i < 64; i++)
        nqi_txbuf_add(txbuf, bytes, i);
    ck_assert_uint_eq(txbuf->buf.nseg, 64);
    ck_assert_uint_eq(txbuf->buf.len, 63 * 64 / 2);
    ck_assert_uint_eq(txbuf->seg[63].iov_len, 63);
    memset(txbuf->room, 0xa5, 16); /* the room is behind the last segment */
    ck_assert_uint_eq(txbuf->seg[63].iov_len, 63);
    nqi_txbuf_unref(txbuf);
}
END_TEST

START_TEST(the_transports_reference_keeps_message_and_block)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(1, 0);
    struct nqt_buf *buf = &txbuf->buf;
    static char payload[4096];
    nq_msg *msg;

    ck_assert_int_eq(nq_msg_wrap(payload, sizeof(payload), release, NULL, &msg), NQ_OK);
    txbuf->msg = nqi_msg_ref(msg);
    txbuf->block = nqi_block_new(100);
    memset(txbuf->block->data, 1, 100);
    nqi_msg_unref(msg);
    buf->ops->ref(buf);
    nqi_txbuf_unref(txbuf); /* the session's */
    ck_assert_int_eq(released, 0);
    memset(txbuf->block->data, 2, 100);
    buf->ops->unref(buf);
    ck_assert_int_eq(released, 1);
}
END_TEST

START_TEST(a_block_is_shared_by_many_buffers)
{
    struct nqi_block *block = nqi_block_new(1000);
    struct nqi_txbuf *txbufs[10];

    ck_assert_uint_eq(block->cap, 1000);
    ck_assert_uint_eq(block->fill, 0);
    ck_assert_uint_eq((uintptr_t)block->data % 64, 0);
    for (size_t i = 0; i < 10; i++) {
        txbufs[i] = nqi_txbuf_new(1, 0);
        block->refs++;
        txbufs[i]->block = block;
    }
    nqi_block_unref(block); /* who made it */
    for (size_t i = 0; i < 10; i++) {
        memset(block->data, (int)i, 1000);
        nqi_txbuf_unref(txbufs[i]);
    }
}
END_TEST

/* A buffer of one record of `len` bytes, behind those in the block. */
static struct nqi_txbuf *record_in(struct nqi_block *block, uint32_t len, uint64_t seq)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(1, 0);

    block->refs++;
    txbuf->block = block;
    nqi_txbuf_add(txbuf, block->data + block->fill, len);
    block->fill += len;
    txbuf->records = txbuf->begins = txbuf->ends = txbuf->untracked = 1;
    txbuf->payload = len - 8;
    txbuf->last_seq = seq;
    return txbuf;
}

START_TEST(records_that_follow_each_other_become_one_buffer)
{
    struct nqi_block *block = nqi_block_new(1000);
    struct nqi_txbuf *first = record_in(block, 48, 7), *second = record_in(block, 20, 8);

    ck_assert(nqi_txbuf_join(first, second));
    ck_assert_uint_eq(first->buf.nseg, 1);
    ck_assert_uint_eq(first->buf.len, 68);
    ck_assert_uint_eq(first->seg[0].iov_len, 68);
    ck_assert_uint_eq(first->records, 2);
    ck_assert_uint_eq(first->begins, 2);
    ck_assert_uint_eq(first->ends, 2);
    ck_assert_uint_eq(first->untracked, 2);
    ck_assert_uint_eq(first->payload, 52);
    ck_assert_uint_eq(first->last_seq, 8);
    ck_assert_uint_eq(second->buf.nseg + second->buf.len + second->records + second->begins +
                          second->ends + second->untracked + second->payload + second->last_seq,
                      0);
    ck_assert_ptr_eq(second->block, block);
    nqi_txbuf_unref(second);
    nqi_txbuf_unref(first);
    nqi_block_unref(block);
}
END_TEST

START_TEST(what_lies_elsewhere_or_is_read_is_not_joined)
{
    struct nqi_block *block = nqi_block_new(1000), *other = nqi_block_new(1000);
    struct nqi_txbuf *first = record_in(block, 48, 1), *second = record_in(block, 48, 2);
    struct nqi_txbuf *third = record_in(block, 48, 3), *apart = record_in(other, 48, 2);
    struct nqi_txbuf *large = nqi_txbuf_new(1, 8);

    nqi_txbuf_add(large, large->room, 8);
    ck_assert(!nqi_txbuf_join(first, third)); /* not behind it */
    ck_assert(!nqi_txbuf_join(first, apart));
    ck_assert(!nqi_txbuf_join(large, large));
    first->buf.ops->ref(&first->buf);
    ck_assert(!nqi_txbuf_join(first, second)); /* a transport may look at its length */
    first->buf.ops->unref(&first->buf);
    second->buf.ops->ref(&second->buf);
    ck_assert(!nqi_txbuf_join(first, second));
    second->buf.ops->unref(&second->buf);
    ck_assert(nqi_txbuf_join(first, second));
    nqi_txbuf_unref(first);
    nqi_txbuf_unref(second);
    nqi_txbuf_unref(third);
    nqi_txbuf_unref(apart);
    nqi_txbuf_unref(large);
    nqi_block_unref(block);
    nqi_block_unref(other);
}
END_TEST

START_TEST(no_memory_is_told)
{
    nqi_pool_fail_after(1);
    ck_assert_ptr_null(nqi_txbuf_new(1, 0));
    nqi_pool_fail_after(1);
    ck_assert_ptr_null(nqi_block_new(1));
    nqi_block_unref(NULL);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("txbuf");
    TCase *tcase = tcase_create("txbuf");

    tcase_add_test(tcase, a_new_buffer_is_empty_and_whole);
    tcase_add_test(tcase, segments_add_up);
    tcase_add_test(tcase, the_transports_reference_keeps_message_and_block);
    tcase_add_test(tcase, a_block_is_shared_by_many_buffers);
    tcase_add_test(tcase, records_that_follow_each_other_become_one_buffer);
    tcase_add_test(tcase, what_lies_elsewhere_or_is_read_is_not_joined);
    tcase_add_test(tcase, no_memory_is_told);
    suite_add_tcase(suite, tcase);
    return suite;
}
