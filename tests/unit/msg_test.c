/* core/msg.c: payload, life and metadata of messages. */
#include "core/buf.h"
#include "core/msg.h"
#include "core/pool.h"
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static nq_msg *msg;
static int released;

static void setup(void)
{
    released = 0;
    ck_assert_int_eq(nq_msg_new("hello", 5, &msg), NQ_OK);
}

static void teardown(void)
{
    nqi_pool_fail_after(0);
    nq_msg_free(msg);
}

static void release(void *arg, void *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
    released++;
}

static void check_data(nq_msg *of, const void *want, size_t want_len)
{
    const void *data;
    size_t len;

    ck_assert_int_eq(nq_msg_data(of, &data, &len), NQ_OK);
    ck_assert_uint_eq(len, want_len);
    ck_assert_uint_eq(nq_msg_size(of), want_len);
    ck_assert_ptr_nonnull(data);
    ck_assert(want_len == 0 || memcmp(data, want, want_len) == 0);
}

/* ---- making ------------------------------------------------------------------------------- */

static const size_t lens[] = {0, 1, 64, 255, 256, 1023, 1024, 1025, 4096, 131072, 3 << 20};

START_TEST(message_holds_a_copy_of_any_length)
{
    size_t len = lens[_i];
    unsigned char *bytes = malloc(len + 1);
    nq_msg *other;

    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)(i * 5 + 1);
    ck_assert_int_eq(nq_msg_new(bytes, len, &other), NQ_OK);
    ck_assert_uint_eq(nq_stream_nchunks(nq_msg_stream(other)), len ? 1 : 0);
    check_data(other, bytes, len);
    nq_msg_free(other);
    free(bytes);
}
END_TEST

START_TEST(allocated_message_is_filled_in_place)
{
    size_t len = lens[_i];
    nq_msg *other;
    void *room;

    ck_assert_int_eq(nq_msg_alloc(len, &room, &other), NQ_OK);
    ck_assert_ptr_nonnull(room);
    ck_assert_uint_eq((uintptr_t)room % (len >= NQI_CHUNK_APART_MIN ? 4096 : 64), 0);
    memset(room, 7, len);
    if (len)
        ck_assert_ptr_eq(nqi_stream_view(nq_msg_stream(other), 0)->data, room);
    nq_msg_free(other);
}
END_TEST

START_TEST(new_message_is_plain)
{
    static const nq_uuid zero;
    size_t len = 1;

    ck_assert(nq_uuid_equal(nq_msg_sender(msg), &zero));
    ck_assert_uint_eq(nq_msg_correlation(msg), 0);
    ck_assert_int_eq(nq_msg_ttl(msg), 0);
    ck_assert(!nq_msg_control(msg));
    ck_assert_ptr_null(nqi_msg_meta_raw(msg, &len));
    ck_assert_uint_eq(len, 0);
    ck_assert(!msg->node.next && !msg->cookie && !msg->seq && !msg->deadline_ns);
    nq_msg_free(NULL);
}
END_TEST

START_TEST(wrapped_memory_is_released_at_the_end)
{
    char text[] = "text";
    nq_msg *other;

    ck_assert_int_eq(nq_msg_wrap(text, 4, release, NULL, &other), NQ_OK);
    check_data(other, "text", 4);
    ck_assert_ptr_eq(nqi_stream_view(nq_msg_stream(other), 0)->data, text);
    nq_msg_free(other);
    ck_assert_int_eq(released, 1);
    ck_assert_int_eq(nq_msg_wrap(text, 0, release, NULL, &other), NQ_OK);
    check_data(other, "", 0);
    nq_msg_free(other);
    ck_assert_int_eq(released, 2);
}
END_TEST

START_TEST(stream_becomes_a_message_and_is_left_empty)
{
    nq_stream *stream;
    nq_msg *other;

    ck_assert_int_eq(nq_stream_new(&stream), NQ_OK);
    for (int n = 0; n < 5; n++) {
        for (int i = 0; i < n; i++)
            ck_assert_int_eq(nq_stream_write(stream, "ab", 2), NQ_OK);
        ck_assert_int_eq(nq_msg_from_stream(stream, &other), NQ_OK);
        ck_assert(nq_stream_empty(stream));
        ck_assert_uint_eq(nq_stream_nchunks(nq_msg_stream(other)), (size_t)n);
        check_data(other, "abababab", (size_t)n * 2);
        nq_msg_free(other);
    }
    nq_stream_free(stream);
}
END_TEST

START_TEST(empty_message_takes_chunks_later)
{
    nq_msg *other;

    ck_assert_int_eq(nqi_msg_empty(&other), NQ_OK);
    check_data(other, "", 0);
    ck_assert_int_eq(nq_stream_write(nq_msg_stream(other), "one", 3), NQ_OK);
    check_data(other, "one", 3);
    nq_msg_free(other);
}
END_TEST

START_TEST(pieces_are_joined_once_and_kept)
{
    const void *first, *again;
    size_t len;

    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(nq_stream_write(nq_msg_stream(msg), " you", 4), NQ_OK);
    ck_assert_int_eq(nq_msg_data(msg, &first, &len), NQ_OK);
    ck_assert_uint_eq(nq_stream_nchunks(nq_msg_stream(msg)), 1);
    ck_assert_int_eq(nq_msg_data(msg, &again, &len), NQ_OK);
    ck_assert_ptr_eq(first, again);
    check_data(msg, "hello you you you you you", 25);
}
END_TEST

/* ---- life --------------------------------------------------------------------------------- */

START_TEST(view_outlives_its_message)
{
    nq_view view, second;

    ck_assert_int_eq(nq_stream_readchunk(nq_msg_stream(msg), &view), NQ_OK);
    second = nq_chunk_view(view.chunk, 1, 3);
    nq_msg_free(NQI_STEAL(msg));
    ck_assert_mem_eq(view.data, "hello", 5);
    nq_view_release(&view);
    ck_assert_mem_eq(second.data, "ell", 3);
    nq_view_release(&second);
}
END_TEST

START_TEST(message_outlives_its_payload)
{
    nq_stream_clear(nq_msg_stream(msg));
    check_data(msg, "", 0);
    nq_msg_set_correlation(msg, 4);
    ck_assert_uint_eq(nq_msg_correlation(msg), 4);
}
END_TEST

START_TEST(payload_moves_to_another_message)
{
    nq_msg *other;

    ck_assert_int_eq(nq_msg_new("say ", 4, &other), NQ_OK);
    ck_assert_int_eq(nq_stream_append(nq_msg_stream(other), nq_msg_stream(msg)), NQ_OK);
    nq_msg_free(NQI_STEAL(msg));
    check_data(other, "say hello", 9);
    nq_msg_free(other);
}
END_TEST

START_TEST(last_holder_ends_the_message)
{
    nq_msg *shared;

    ck_assert_int_eq(nq_msg_wrap(&released, 1, release, NULL, &shared), NQ_OK);
    ck_assert_ptr_eq(nqi_msg_ref(shared), shared);
    nqi_msg_ref(shared);
    nqi_msg_unref(shared);
    nq_msg_free(shared);
    ck_assert_int_eq(released, 0);
    nqi_msg_unref(shared);
    ck_assert_int_eq(released, 1);
}
END_TEST

static void *thread_unrefs(void *arg)
{
    nqi_msg_unref(arg);
    return NULL;
}

START_TEST(holders_on_several_threads_end_it_once)
{
    char text[] = "x";

    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        nq_msg *shared;

        ck_assert_int_eq(nq_msg_wrap(text, 1, release, NULL, &shared), NQ_OK);
        nqi_msg_ref(shared);
        ck_assert_int_eq(pthread_create(&thread, NULL, thread_unrefs, shared), 0);
        nqi_msg_unref(shared);
        pthread_join(thread, NULL);
        ck_assert_int_eq(released, i + 1);
    }
}
END_TEST

START_TEST(copy_shares_the_payload_and_has_all_the_rest)
{
    const void *value;
    nq_msg *copy;
    size_t len;

    msg->sender.bytes[3] = 9;
    msg->seq = 5;
    nq_msg_set_ttl(msg, 77);
    nq_msg_set_control(msg, true);
    nq_msg_set_correlation(msg, 99);
    ck_assert_int_eq(nq_msg_set_meta(msg, "key", "value", 5), NQ_OK);
    ck_assert_int_eq(nq_msg_copy(msg, &copy), NQ_OK);
    ck_assert_ptr_eq(nqi_stream_view(nq_msg_stream(copy), 0)->data,
                     nqi_stream_view(nq_msg_stream(msg), 0)->data);
    nq_msg_free(NQI_STEAL(msg));
    check_data(copy, "hello", 5);
    ck_assert_uint_eq(nq_msg_sender(copy)->bytes[3], 9);
    ck_assert_uint_eq(copy->seq, 0);
    ck_assert_int_eq(nq_msg_ttl(copy), 77);
    ck_assert(nq_msg_control(copy));
    ck_assert_uint_eq(nq_msg_correlation(copy), 99);
    ck_assert_int_eq(nq_msg_meta(copy, "key", &value, &len), NQ_OK);
    ck_assert_uint_eq(len, 5);
    nq_msg_free(copy);
}
END_TEST

START_TEST(negative_time_to_live_means_none)
{
    nq_msg_set_ttl(msg, -5);
    ck_assert_int_eq(nq_msg_ttl(msg), 0);
}
END_TEST

/* ---- metadata ------------------------------------------------------------------------------ */

static void check_meta(const nq_msg *of, const char *key, const char *want)
{
    const void *value;
    size_t len;

    if (!want) {
        ck_assert_int_eq(nq_msg_meta(of, key, &value, &len), NQ_AGAIN);
        return;
    }
    ck_assert_int_eq(nq_msg_meta(of, key, &value, &len), NQ_OK);
    ck_assert_uint_eq(len, strlen(want));
    ck_assert_mem_eq(value, want, len);
}

static void set_meta(nq_msg *to, const char *key, const char *value)
{
    ck_assert_int_eq(nq_msg_set_meta(to, key, value, strlen(value)), NQ_OK);
}

START_TEST(values_are_found_and_replaced)
{
    check_meta(msg, "a", NULL);
    set_meta(msg, "a", "one");
    set_meta(msg, "ab", "two");
    set_meta(msg, "b", "");
    check_meta(msg, "a", "one");
    check_meta(msg, "ab", "two");
    check_meta(msg, "b", "");
    check_meta(msg, "abc", NULL);
    check_meta(msg, "", NULL);
    check_meta(msg, NULL, NULL);
    set_meta(msg, "a", "a longer value than before");
    set_meta(msg, "ab", "");
    check_meta(msg, "a", "a longer value than before");
    check_meta(msg, "ab", "");
    check_meta(msg, "b", "");
}
END_TEST

START_TEST(value_may_be_copied_from_the_message_itself)
{
    const void *value;
    size_t len;

    set_meta(msg, "a", "one");
    ck_assert_int_eq(nq_msg_meta(msg, "a", &value, &len), NQ_OK);
    ck_assert_int_eq(nq_msg_set_meta(msg, "b", value, len), NQ_OK);
    check_meta(msg, "b", "one");
}
END_TEST

START_TEST(keys_have_1_to_255_bytes)
{
    char key[300];

    memset(key, 'k', sizeof(key));
    key[255] = '\0';
    set_meta(msg, key, "long");
    check_meta(msg, key, "long");
    key[255] = 'k';
    key[256] = '\0';
    ck_assert_int_eq(nq_msg_set_meta(msg, key, "", 0), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_msg_set_meta(msg, "", "", 0), NQ_ERR_INVAL);
    ck_assert_int_eq(nq_msg_set_meta(msg, NULL, "", 0), NQ_ERR_INVAL);
    check_meta(msg, key, NULL);
}
END_TEST

START_TEST(metadata_is_bounded_and_leaves_room_for_the_correlation)
{
    static char value[NQ_META_MAX];
    size_t most = NQ_META_MAX - NQI_META_CORRELATION_SIZE - NQI_META_HEAD - 2, len;
    nq_msg *other;
    const unsigned char *raw;

    ck_assert_int_eq(nq_msg_set_meta(msg, "k", value, SIZE_MAX), NQ_ERR_TOO_BIG);
    ck_assert_int_eq(nq_msg_set_meta(msg, "k", value, NQ_META_MAX), NQ_ERR_TOO_BIG);
    ck_assert_int_eq(nq_msg_set_meta(msg, "k", value, most + 1), NQ_ERR_TOO_BIG);
    ck_assert_int_eq(nq_msg_set_meta(msg, "k", value, most), NQ_OK);
    ck_assert_int_eq(nq_msg_set_meta(msg, "l", value, 0), NQ_ERR_TOO_BIG);
    ck_assert_int_eq(nq_msg_set_meta(msg, "k", value, most), NQ_OK);
    nq_msg_set_correlation(msg, UINT64_MAX);
    raw = nqi_msg_meta_raw(msg, &len);
    ck_assert_uint_eq(len, NQ_META_MAX);
    ck_assert_int_eq(nqi_msg_empty(&other), NQ_OK);
    ck_assert_int_eq(nqi_msg_set_meta_raw(other, raw, len), NQ_OK);
    ck_assert_uint_eq(nq_msg_correlation(other), UINT64_MAX);
    nq_msg_free(other);
}
END_TEST

START_TEST(encoding_is_what_the_wire_wants)
{
    static const unsigned char both[] = {1, 0, 8, 0, 0, 0, 0,   0,   0,
                                         1, 2, 2, 0, 4, 1, 'k', 'v', 'w'};
    const unsigned char *raw;
    size_t len;

    nq_msg_set_correlation(msg, 0x102);
    raw = nqi_msg_meta_raw(msg, &len);
    ck_assert_uint_eq(len, 11);
    ck_assert_mem_eq(raw, both, 11);
    set_meta(msg, "k", "vw");
    raw = nqi_msg_meta_raw(msg, &len);
    ck_assert_uint_eq(len, sizeof(both));
    ck_assert_mem_eq(raw, both, sizeof(both));
    nq_msg_set_correlation(msg, 0);
    raw = nqi_msg_meta_raw(msg, &len);
    ck_assert_uint_eq(len, sizeof(both) - 11);
    ck_assert_mem_eq(raw, both + 11, len);
    nq_msg_set_correlation(msg, 0x102);
    raw = nqi_msg_meta_raw(msg, &len);
    ck_assert_mem_eq(raw, both, sizeof(both));
}
END_TEST

START_TEST(unknown_entries_are_kept_and_passed_on)
{
    static const unsigned char blob[] = {0,   0, 0, 77, 0, 2, 'x', 'y', 2, 0, 3, 1, 'k',
                                         'v', 1, 0, 8,  0, 0, 0,   0,   0, 0, 0, 5};
    static const unsigned char sorted[] = {1, 0,  8, 0, 0,   0,   0, 0, 0, 0, 5,   0,  0,
                                           0, 77, 0, 2, 'x', 'y', 2, 0, 3, 1, 'k', 'v'};
    const unsigned char *raw;
    size_t len;

    ck_assert_int_eq(nqi_msg_set_meta_raw(msg, blob, sizeof(blob)), NQ_OK);
    ck_assert_uint_eq(nq_msg_correlation(msg), 5);
    check_meta(msg, "k", "v");
    raw = nqi_msg_meta_raw(msg, &len);
    ck_assert_uint_eq(len, sizeof(sorted));
    ck_assert_mem_eq(raw, sorted, len);
    set_meta(msg, "k", "w");
    check_meta(msg, "k", "w");
    raw = nqi_msg_meta_raw(msg, &len);
    ck_assert_uint_eq(len, sizeof(sorted));
    ck_assert_mem_eq(raw, sorted, len - 1);
}
END_TEST

START_TEST(raw_blob_replaces_all_of_the_former)
{
    static const unsigned char blob[] = {2, 0, 3, 1, 'z', '!'};

    nq_msg_set_correlation(msg, 7);
    set_meta(msg, "k", "v");
    ck_assert_int_eq(nqi_msg_set_meta_raw(msg, blob, sizeof(blob)), NQ_OK);
    ck_assert_uint_eq(nq_msg_correlation(msg), 0);
    check_meta(msg, "k", NULL);
    check_meta(msg, "z", "!");
    ck_assert_int_eq(nqi_msg_set_meta_raw(msg, NULL, 0), NQ_OK);
    check_meta(msg, "z", NULL);
}
END_TEST

static const struct {
    unsigned char blob[24];
    size_t len;
} wrong[] = {
    {{2}, 1},                                   /* cut in the head */
    {{2, 0}, 2},                                /* the same */
    {{2, 0, 3, 1, 'k'}, 5},                     /* cut in the body */
    {{2, 255, 255, 1, 'k'}, 5},                 /* a length beyond everything */
    {{2, 0, 0}, 3},                             /* no key length */
    {{2, 0, 1, 0}, 4},                          /* an empty key and no room for one */
    {{2, 0, 2, 0, 'v'}, 5},                     /* an empty key */
    {{2, 0, 2, 2, 'k'}, 5},                     /* a key longer than its entry */
    {{1, 0, 7, 0, 0, 0, 0, 0, 0, 1}, 10},       /* a short correlation */
    {{1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 12}, /* a long one */
    {{1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1}, 22}, /* two of them */
    {{9, 0, 0, 9, 0}, 5},                                                     /* good, then cut */
};

START_TEST(malformed_blobs_are_refused_and_change_nothing)
{
    unsigned char *blob = malloc(wrong[_i].len); /* a tool sees each byte too far */

    ck_assert_ptr_nonnull(blob);
    memcpy(blob, wrong[_i].blob, wrong[_i].len);
    nq_msg_set_correlation(msg, 7);
    set_meta(msg, "k", "v");
    ck_assert_int_eq(nqi_msg_set_meta_raw(msg, blob, wrong[_i].len), NQ_ERR_PROTO);
    ck_assert_uint_eq(nq_msg_correlation(msg), 7);
    check_meta(msg, "k", "v");
    free(blob);
}
END_TEST

START_TEST(blobs_that_leave_no_room_are_refused)
{
    static unsigned char blob[NQ_META_MAX + 1];
    size_t most = NQ_META_MAX - NQI_META_CORRELATION_SIZE;

    blob[0] = 50;
    for (size_t len = most - 1; len <= sizeof(blob); len++) {
        nqi_store_u16(blob + 1, (uint16_t)(len - NQI_META_HEAD));
        ck_assert_int_eq(nqi_msg_set_meta_raw(msg, blob, len), len <= most ? NQ_OK : NQ_ERR_PROTO);
    }
}
END_TEST

START_TEST(random_blobs_are_taken_or_refused_and_never_overrun)
{
    unsigned seed = (unsigned)_i + 1;
    unsigned char *blob = malloc(40);

    ck_assert_ptr_nonnull(blob);
    for (int i = 0; i < 2000; i++) {
        size_t len = (size_t)rand_r(&seed) % 41;
        size_t kept;

        for (size_t k = 0; k < len; k++)
            blob[k] = (unsigned char)(rand_r(&seed) % 4);
        if (nqi_msg_set_meta_raw(msg, blob, len) == NQ_OK)
            nqi_msg_meta_raw(msg, &kept);
    }
    free(blob);
}
END_TEST

/* ---- no memory ---------------------------------------------------------------------------- */

START_TEST(every_failing_allocation_is_told_and_leaks_nothing)
{
    static char big[5000];
    nq_msg *other = NULL;
    nq_stream *stream;
    void *room;

    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_msg_new("x", 1, &other), NQ_ERR_NOMEM);
    for (unsigned n = 1; n <= 2; n++) {
        nqi_pool_fail_after(n);
        ck_assert_int_eq(nq_msg_new(big, sizeof(big), &other), NQ_ERR_NOMEM);
        nqi_pool_fail_after(n);
        ck_assert_int_eq(nq_msg_wrap(big, 1, release, NULL, &other), NQ_ERR_NOMEM);
    }
    for (unsigned n = 1; n <= 3; n++) {
        nqi_pool_fail_after(n);
        ck_assert_int_eq(nq_msg_alloc(1 << 20, &room, &other), NQ_ERR_NOMEM);
    }
    ck_assert_int_eq(released, 0);
    ck_assert_int_eq(nq_stream_frombytes("abc", 3, &stream), NQ_OK);
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_msg_from_stream(stream, &other), NQ_ERR_NOMEM);
    ck_assert_uint_eq(nq_stream_nbytes(stream), 3);
    nq_stream_free(stream);
    ck_assert_ptr_null(other);
}
END_TEST

START_TEST(message_stays_as_it_was_when_memory_fails)
{
    static const unsigned char blob[] = {2, 0, 3, 1, 'z', '!'};
    const void *data;
    nq_msg *copy = NULL;
    size_t len;

    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(nq_stream_write(nq_msg_stream(msg), "abc", 3), NQ_OK);
    set_meta(msg, "k", "v");
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_msg_set_meta(msg, "k", "w", 1), NQ_ERR_NOMEM);
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nqi_msg_set_meta_raw(msg, blob, sizeof(blob)), NQ_ERR_NOMEM);
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_ERR_NOMEM);
    for (unsigned n = 1; n <= 3; n++) {
        nqi_pool_fail_after(n);
        ck_assert_int_eq(nq_msg_copy(msg, &copy), NQ_ERR_NOMEM);
    }
    nqi_pool_fail_after(0);
    ck_assert_ptr_null(copy);
    check_meta(msg, "k", "v");
    ck_assert_uint_eq(nq_stream_nchunks(nq_msg_stream(msg)), 4);
    check_data(msg, "helloabcabcabc", 14);
}
END_TEST

START_TEST(small_message_is_one_block_of_four_lines)
{
    ck_assert_uint_le(sizeof(struct nq_msg) + 64, 256);
}
END_TEST

static void add_making(Suite *suite)
{
    TCase *tc = tcase_create("making");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, message_holds_a_copy_of_any_length, 0, NQI_LEN(lens));
    tcase_add_loop_test(tc, allocated_message_is_filled_in_place, 0, NQI_LEN(lens));
    tcase_add_test(tc, new_message_is_plain);
    tcase_add_test(tc, wrapped_memory_is_released_at_the_end);
    tcase_add_test(tc, stream_becomes_a_message_and_is_left_empty);
    tcase_add_test(tc, empty_message_takes_chunks_later);
    tcase_add_test(tc, pieces_are_joined_once_and_kept);
    tcase_add_test(tc, every_failing_allocation_is_told_and_leaks_nothing);
    tcase_add_test(tc, small_message_is_one_block_of_four_lines);
    suite_add_tcase(suite, tc);
}

static void add_life(Suite *suite)
{
    TCase *tc = tcase_create("life");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, view_outlives_its_message);
    tcase_add_test(tc, message_outlives_its_payload);
    tcase_add_test(tc, payload_moves_to_another_message);
    tcase_add_test(tc, last_holder_ends_the_message);
    tcase_add_test(tc, holders_on_several_threads_end_it_once);
    tcase_add_test(tc, copy_shares_the_payload_and_has_all_the_rest);
    tcase_add_test(tc, negative_time_to_live_means_none);
    tcase_add_test(tc, message_stays_as_it_was_when_memory_fails);
    suite_add_tcase(suite, tc);
}

static void add_metadata(Suite *suite)
{
    TCase *tc = tcase_create("metadata");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, values_are_found_and_replaced);
    tcase_add_test(tc, value_may_be_copied_from_the_message_itself);
    tcase_add_test(tc, keys_have_1_to_255_bytes);
    tcase_add_test(tc, metadata_is_bounded_and_leaves_room_for_the_correlation);
    tcase_add_test(tc, encoding_is_what_the_wire_wants);
    tcase_add_test(tc, unknown_entries_are_kept_and_passed_on);
    tcase_add_test(tc, raw_blob_replaces_all_of_the_former);
    tcase_add_loop_test(tc, malformed_blobs_are_refused_and_change_nothing, 0, NQI_LEN(wrong));
    tcase_add_test(tc, blobs_that_leave_no_room_are_refused);
    tcase_add_loop_test(tc, random_blobs_are_taken_or_refused_and_never_overrun, 0, 4);
    suite_add_tcase(suite, tc);
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("msg");

    add_making(suite);
    add_life(suite);
    add_metadata(suite);
    return suite;
}
