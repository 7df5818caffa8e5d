/* core/stream.c, core/chunk.c: a pipe of counted chunks that loses, copies and leaks none. */
#include "core/pool.h"
#include "core/stream.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static nq_stream *stream;
static int released; /* how often release() ran */

static void setup(void)
{
    released = 0;
    ck_assert_int_eq(nq_stream_new(&stream), NQ_OK);
}

static void teardown(void)
{
    nqi_pool_fail_after(0);
    nq_stream_free(stream);
}

static void release(void *arg, void *data, size_t len)
{
    (void)data;
    (void)len;
    released++;
    if (arg)
        *(size_t *)arg = len;
}

static const char letters[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";

/* A view on `len` letters from `off` on; released counts when it ends. */
static nq_view text_view(size_t off, size_t len)
{
    nq_chunk *chunk;

    ck_assert_int_eq(nq_chunk_wrap((char *)(uintptr_t)letters + off, len, release, NULL, &chunk),
                     NQ_OK);
    return (nq_view){chunk->data, len, chunk};
}

static void write_text(nq_stream *to, size_t off, size_t len)
{
    nq_view view = text_view(off, len);

    ck_assert_int_eq(nq_stream_writechunk(to, &view), NQ_OK);
    ck_assert_ptr_null(view.chunk);
}

static void check_text(const nq_stream *of, const char *want)
{
    char text[256];
    size_t len = nq_stream_tobytes(of, text, sizeof(text) - 1);

    text[len] = '\0';
    ck_assert_str_eq(text, want);
    ck_assert_uint_eq(nq_stream_nbytes(of), strlen(want));
    ck_assert_int_eq(nq_stream_empty(of), !*want);
}

/* ---- chunks ------------------------------------------------------------------------------- */

static const size_t chunk_lens[] = {0, 1, 63, 64, 65, 4096, 131071, 131072, 131073, 5 << 20};

START_TEST(chunk_is_writable_and_aligned)
{
    size_t len = chunk_lens[_i];
    nq_chunk *chunk;

    ck_assert_int_eq(nq_chunk_new(len, &chunk), NQ_OK);
    ck_assert_uint_eq(nq_chunk_size(chunk), len);
    ck_assert_uint_eq((uintptr_t)nq_chunk_data(chunk) % (len >= NQI_CHUNK_APART_MIN ? 4096 : 64),
                      0);
    memset(nq_chunk_data(chunk), 1, len);
    ck_assert_ptr_eq(nq_chunk_ref(chunk), chunk);
    nq_chunk_unref(chunk);
    nq_chunk_unref(chunk);
    nq_chunk_unref(NULL);
}
END_TEST

START_TEST(wrapped_memory_is_released_once_with_its_length)
{
    char data[10] = "";
    nq_chunk *chunk;
    nq_view view;
    size_t len = 0;

    ck_assert_int_eq(nq_chunk_wrap(data, 10, release, &len, &chunk), NQ_OK);
    ck_assert_ptr_eq(nq_chunk_data(chunk), data);
    view = nq_chunk_view(chunk, 3, 4);
    ck_assert_ptr_eq(view.data, data + 3);
    nq_chunk_unref(chunk);
    ck_assert_int_eq(released, 0);
    nq_view_release(&view);
    ck_assert_int_eq(released, 1);
    ck_assert_uint_eq(len, 10);
    ck_assert_ptr_null(view.data);
    nq_view_release(&view);
    ck_assert_int_eq(released, 1);
}
END_TEST

START_TEST(static_memory_needs_no_release)
{
    nq_chunk *chunk;

    ck_assert_int_eq(nq_chunk_wrap((char *)(uintptr_t)letters, 3, NULL, NULL, &chunk), NQ_OK);
    nq_chunk_unref(chunk);
}
END_TEST

START_TEST(chunks_fail_without_memory_and_release_nothing)
{
    nq_chunk *chunk = NULL;

    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_chunk_new(100, &chunk), NQ_ERR_NOMEM);
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_chunk_new(1 << 20, &chunk), NQ_ERR_NOMEM);
    nqi_pool_fail_after(2);
    ck_assert_int_eq(nq_chunk_new(1 << 20, &chunk), NQ_ERR_NOMEM);
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_chunk_wrap(&chunk, 1, release, NULL, &chunk), NQ_ERR_NOMEM);
    ck_assert_int_eq(released, 0);
    ck_assert_ptr_null(chunk);
    ck_assert_str_ne(nq_error(), "");
    if (!NQI_ASAN)
        ck_assert_int_eq(nq_chunk_new(SIZE_MAX, &chunk), NQ_ERR_NOMEM);
}
END_TEST

/* ---- both ends ---------------------------------------------------------------------------- */

START_TEST(new_stream_is_empty)
{
    nq_view view;
    size_t n = 7;
    char byte;

    ck_assert(nq_stream_empty(stream));
    ck_assert_uint_eq(nq_stream_nchunks(stream), 0);
    ck_assert_uint_eq(nq_stream_nbytes(stream), 0);
    ck_assert_int_eq(nq_stream_readchunk(stream, &view), NQ_AGAIN);
    ck_assert_int_eq(nq_stream_unwritechunk(stream, &view), NQ_AGAIN);
    ck_assert_int_eq(nq_stream_peekchunk(stream, &view), NQ_AGAIN);
    ck_assert_int_eq(nq_stream_readchunks(stream, &view, 1, &n), NQ_AGAIN);
    ck_assert_uint_eq(n, 7);
    ck_assert_uint_eq(nq_stream_read(stream, &byte, 1), 0);
    nq_stream_clear(stream);
    nq_stream_free(NULL);
}
END_TEST

START_TEST(chunks_leave_in_the_order_they_came)
{
    nq_view view;

    for (size_t i = 0; i < 26; i++)
        write_text(stream, i, 1);
    ck_assert_uint_eq(nq_stream_nchunks(stream), 26);
    for (size_t i = 0; i < 26; i++) {
        ck_assert_int_eq(nq_stream_peekchunk(stream, &view), NQ_OK);
        ck_assert_int_eq(view.data[0], letters[i]);
        ck_assert_int_eq(nq_stream_readchunk(stream, &view), NQ_OK);
        ck_assert_int_eq(view.data[0], letters[i]);
        ck_assert_uint_eq(nq_stream_nbytes(stream), 25 - i);
        nq_view_release(&view);
        ck_assert_int_eq(released, (int)i + 1);
    }
    ck_assert(nq_stream_empty(stream));
}
END_TEST

START_TEST(unread_and_unwrite_undo)
{
    nq_view view;

    write_text(stream, 0, 3);
    write_text(stream, 3, 3);
    write_text(stream, 6, 3);
    ck_assert_int_eq(nq_stream_readchunk(stream, &view), NQ_OK);
    check_text(stream, "defghi");
    ck_assert_int_eq(nq_stream_unreadchunk(stream, &view), NQ_OK);
    ck_assert_ptr_null(view.chunk);
    check_text(stream, "abcdefghi");
    ck_assert_int_eq(nq_stream_unwritechunk(stream, &view), NQ_OK);
    ck_assert_mem_eq(view.data, "ghi", 3);
    check_text(stream, "abcdef");
    ck_assert_int_eq(nq_stream_writechunk(stream, &view), NQ_OK);
    check_text(stream, "abcdefghi");
    ck_assert_int_eq(released, 0);
}
END_TEST

START_TEST(front_grows_as_the_back_does)
{
    for (size_t i = 26; i-- > 0;) {
        nq_view view = text_view(i, 1);

        ck_assert_int_eq(nq_stream_unreadchunk(stream, &view), NQ_OK);
    }
    check_text(stream, "abcdefghijklmnopqrstuvwxyz");
}
END_TEST

START_TEST(empty_views_are_dropped_and_released)
{
    nq_view views[3] = {text_view(0, 0), text_view(0, 2), {0}};
    nq_view view = text_view(0, 0);

    ck_assert_int_eq(nq_stream_writechunks(stream, views, 3), NQ_OK);
    ck_assert_int_eq(released, 1);
    ck_assert_int_eq(nq_stream_unreadchunk(stream, &view), NQ_OK);
    ck_assert_int_eq(released, 2);
    ck_assert_ptr_null(view.chunk);
    ck_assert_uint_eq(nq_stream_nchunks(stream), 1);
    check_text(stream, "ab");
}
END_TEST

START_TEST(many_are_read_and_written_at_once)
{
    nq_view views[6];
    size_t n;

    for (size_t i = 0; i < 6; i++)
        views[i] = text_view(i, 1);
    ck_assert_int_eq(nq_stream_writechunks(stream, views, 6), NQ_OK);
    for (size_t i = 0; i < 6; i++)
        ck_assert_ptr_null(views[i].chunk);
    ck_assert_int_eq(nq_stream_readchunks(stream, views, 4, &n), NQ_OK);
    ck_assert_uint_eq(n, 4);
    check_text(stream, "ef");
    for (size_t i = 0; i < 4; i++)
        nq_view_release(&views[i]);
    ck_assert_int_eq(nq_stream_readchunks(stream, views, 4, &n), NQ_OK);
    ck_assert_uint_eq(n, 2);
    ck_assert(nq_stream_empty(stream));
    nq_view_release(&views[0]);
    nq_view_release(&views[1]);
    ck_assert_int_eq(released, 6);
}
END_TEST

/* The ring against the simplest model of it: a string of letters. */
START_TEST(random_steps_agree_with_a_plain_array)
{
    static char model[4096];
    size_t begin = 2048, end = 2048, wrong = 0;
    unsigned seed = (unsigned)_i + 1;

    for (int step = 0; step < 3000; step++) {
        size_t letter = (size_t)rand_r(&seed) % 26;
        bool grow = rand_r(&seed) % 100 < (step < 1500 ? 60 : 40);
        bool front = rand_r(&seed) % 2;
        nq_view view;

        if (grow) {
            view = text_view(letter, 1);
            wrong += front ? nq_stream_unreadchunk(stream, &view) != NQ_OK
                           : nq_stream_writechunk(stream, &view) != NQ_OK;
            model[front ? --begin : end++] = letters[letter];
        } else if (begin == end) {
            wrong += nq_stream_readchunk(stream, &view) != NQ_AGAIN;
        } else {
            wrong += front ? nq_stream_readchunk(stream, &view) != NQ_OK
                           : nq_stream_unwritechunk(stream, &view) != NQ_OK;
            wrong += (char)view.data[0] != model[front ? begin++ : --end];
            nq_view_release(&view);
        }
        wrong += nq_stream_nchunks(stream) != end - begin;
    }
    ck_assert_uint_eq(wrong, 0);
}
END_TEST

/* ---- bytes -------------------------------------------------------------------------------- */

START_TEST(read_takes_parts_of_chunks)
{
    char text[8] = "";

    write_text(stream, 0, 5);
    write_text(stream, 5, 2);
    write_text(stream, 7, 5);
    ck_assert_uint_eq(nq_stream_read(stream, text, 2), 2);
    ck_assert_mem_eq(text, "ab", 2);
    check_text(stream, "cdefghijkl");
    ck_assert_uint_eq(nq_stream_nchunks(stream), 3);
    ck_assert_uint_eq(nq_stream_read(stream, text, 6), 6);
    ck_assert_mem_eq(text, "cdefgh", 6);
    ck_assert_int_eq(released, 2);
    ck_assert_uint_eq(nq_stream_read(stream, text, 8), 4);
    ck_assert_mem_eq(text, "ijkl", 4);
    ck_assert_int_eq(released, 3);
    ck_assert_uint_eq(nq_stream_read(stream, text, 8), 0);
}
END_TEST

START_TEST(update_joins_its_buffers_in_one_chunk)
{
    const struct nq_bytes bufs[] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};
    const struct nq_bytes huge[] = {{"a", SIZE_MAX}, {"b", 2}};

    ck_assert_int_eq(nq_stream_update(stream, bufs, 3), NQ_OK);
    ck_assert_uint_eq(nq_stream_nchunks(stream), 1);
    ck_assert_int_eq(nq_stream_update(stream, bufs + 1, 1), NQ_OK);
    ck_assert_int_eq(nq_stream_update(stream, NULL, 0), NQ_OK);
    ck_assert_int_eq(nq_stream_write(stream, NULL, 0), NQ_OK);
    ck_assert_uint_eq(nq_stream_nchunks(stream), 1);
    ck_assert_int_eq(nq_stream_update(stream, huge, 2), NQ_ERR_NOMEM);
    check_text(stream, "abcde");
}
END_TEST

START_TEST(frombytes_and_tobytes_agree)
{
    unsigned char in[5000], out[5000] = {0};
    nq_stream *copy;

    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (unsigned char)(i * 3);
    ck_assert_int_eq(nq_stream_frombytes(in, sizeof(in), &copy), NQ_OK);
    ck_assert_uint_eq(nq_stream_tobytes(copy, out, sizeof(out)), sizeof(out));
    ck_assert_mem_eq(in, out, sizeof(in));
    ck_assert_uint_eq(nq_stream_tobytes(copy, out, 10), 10);
    ck_assert_uint_eq(nq_stream_nbytes(copy), sizeof(in));
    nq_stream_free(copy);
    ck_assert_int_eq(nq_stream_frombytes(NULL, 0, &copy), NQ_OK);
    ck_assert(nq_stream_empty(copy));
    nq_stream_free(copy);
}
END_TEST

/* ---- sharing and moving ------------------------------------------------------------------- */

START_TEST(shallow_copy_shares_chunks_and_lives_alone)
{
    nq_stream *copy;
    nq_view a, b;

    for (size_t i = 0; i < 5; i++)
        write_text(stream, i * 2, 2);
    ck_assert_int_eq(nq_stream_copy(stream, &copy), NQ_OK);
    ck_assert_int_eq(nq_stream_peekchunk(stream, &a), NQ_OK);
    ck_assert_int_eq(nq_stream_peekchunk(copy, &b), NQ_OK);
    ck_assert_ptr_eq(a.data, b.data);
    nq_stream_clear(stream);
    ck_assert_int_eq(released, 0);
    check_text(copy, "abcdefghij");
    nq_stream_free(copy);
    ck_assert_int_eq(released, 5);
}
END_TEST

/* How many chunks each side has before the move. */
static const struct {
    size_t to, from;
} moves[] = {{0, 0}, {0, 1}, {0, 2}, {0, 9}, {1, 0}, {1, 1}, {2, 2}, {3, 9}, {9, 1}, {70, 70}};

START_TEST(append_moves_everything)
{
    nq_stream *from;
    size_t to_n = moves[_i].to, from_n = moves[_i].from;

    ck_assert_int_eq(nq_stream_new(&from), NQ_OK);
    for (size_t i = 0; i < to_n; i++)
        write_text(stream, i % 26, 1);
    for (size_t i = 0; i < from_n; i++)
        write_text(from, (to_n + i) % 26, 1);
    ck_assert_int_eq(nq_stream_append(stream, from), NQ_OK);
    ck_assert(nq_stream_empty(from));
    ck_assert_uint_eq(nq_stream_nbytes(from), 0);
    ck_assert_uint_eq(nq_stream_nchunks(stream), to_n + from_n);
    ck_assert_uint_eq(nq_stream_nbytes(stream), to_n + from_n);
    for (size_t i = 0; i < to_n + from_n; i++)
        ck_assert_int_eq(nqi_stream_view(stream, i)->data[0], letters[i % 26]);
    write_text(from, 0, 1); /* still usable */
    check_text(from, "a");
    nq_stream_free(from);
    ck_assert_int_eq(released, 1);
}
END_TEST

START_TEST(append_to_itself_changes_nothing)
{
    write_text(stream, 0, 3);
    ck_assert_int_eq(nq_stream_append(stream, stream), NQ_OK);
    check_text(stream, "abc");
}
END_TEST

/* Every range of a stream of several chunks. */
START_TEST(share_takes_any_range)
{
    char want[32];

    for (size_t i = 0; i < 4; i++)
        write_text(stream, i * 3, 3);
    for (size_t off = 0; off <= 13; off++)
        for (size_t len = 0; len <= 14; len++) {
            size_t from = NQI_MIN(off, 12), n = NQI_MIN(len, 12 - from);
            struct nq_stream part;

            nqi_stream_init(&part);
            ck_assert_int_eq(nqi_stream_share(&part, stream, off, len), NQ_OK);
            memcpy(want, letters + from, n);
            want[n] = '\0';
            check_text(&part, want);
            nqi_stream_fini(&part);
        }
    ck_assert_int_eq(released, 0);
    check_text(stream, "abcdefghijkl");
}
END_TEST

START_TEST(share_with_a_length_beyond_everything_takes_the_rest)
{
    struct nq_stream part;

    write_text(stream, 0, 3);
    write_text(stream, 3, 3);
    nqi_stream_init(&part);
    ck_assert_int_eq(nqi_stream_share(&part, stream, 1, UINT64_MAX), NQ_OK);
    check_text(&part, "bcdef");
    ck_assert_int_eq(nqi_stream_share(&part, stream, UINT64_MAX, UINT64_MAX), NQ_OK);
    check_text(&part, "bcdef");
    nqi_stream_fini(&part);
}
END_TEST

START_TEST(drop_forgets_the_front)
{
    write_text(stream, 0, 3);
    write_text(stream, 3, 3);
    nqi_stream_drop(stream, 0);
    nqi_stream_drop(stream, 2);
    check_text(stream, "cdef");
    nqi_stream_drop(stream, 1);
    check_text(stream, "def");
    ck_assert_int_eq(released, 1);
    nqi_stream_drop(stream, UINT64_MAX);
    check_text(stream, "");
    ck_assert_int_eq(released, 2);
}
END_TEST

/* ---- no memory ---------------------------------------------------------------------------- */

START_TEST(failure_to_grow_changes_nothing)
{
    nq_view views[2] = {text_view(2, 1), text_view(3, 1)};
    nq_stream *copy = NULL, *from;

    write_text(stream, 0, 1);
    write_text(stream, 1, 1);
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_stream_writechunks(stream, views, 2), NQ_ERR_NOMEM);
    ck_assert_ptr_nonnull(views[0].chunk);
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_stream_unreadchunk(stream, views), NQ_ERR_NOMEM);
    ck_assert_ptr_nonnull(views[0].chunk);
    for (unsigned n = 1; n <= 2; n++) {
        nqi_pool_fail_after(n);
        ck_assert_int_eq(nq_stream_write(stream, "xyz", 3), NQ_ERR_NOMEM);
    }
    nqi_pool_fail_after(0);
    ck_assert_int_eq(nq_stream_new(&from), NQ_OK);
    write_text(from, 4, 1);
    nqi_pool_fail_after(1);
    /* The failed write left its room behind, so only a long one has to grow. */
    ck_assert_int_eq(nqi_stream_reserve(stream, 1000), NQ_ERR_NOMEM);
    check_text(stream, "ab");
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_stream_copy(stream, &copy), NQ_ERR_NOMEM);
    ck_assert_ptr_null(copy);
    nqi_pool_fail_after(0);
    ck_assert_int_eq(nq_stream_writechunks(stream, views, 2), NQ_OK);
    nqi_pool_fail_after(2);
    ck_assert_int_eq(nq_stream_copy(stream, &copy), NQ_ERR_NOMEM);
    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_stream_append(stream, from), NQ_ERR_NOMEM);
    check_text(stream, "abcd");
    check_text(from, "e");
    nq_stream_free(from);
}
END_TEST

START_TEST(making_one_fails_without_memory)
{
    nq_stream *other = NULL;

    nqi_pool_fail_after(1);
    ck_assert_int_eq(nq_stream_new(&other), NQ_ERR_NOMEM);
    for (unsigned n = 1; n <= 2; n++) {
        nqi_pool_fail_after(n);
        ck_assert_int_eq(nq_stream_frombytes("abc", 3, &other), NQ_ERR_NOMEM);
    }
    ck_assert_ptr_null(other);
    ck_assert_int_eq(nqi_stream_reserve(stream, SIZE_MAX), NQ_ERR_NOMEM);
    ck_assert_int_eq(nqi_stream_reserve(stream, UINT32_MAX), NQ_ERR_NOMEM);
}
END_TEST

START_TEST(drained_stream_gives_its_array_back)
{
    nq_view view;

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 500; i++)
            write_text(stream, i % 26, 1);
        while (nq_stream_readchunk(stream, &view) == NQ_OK)
            nq_view_release(&view);
        ck_assert_uint_eq(stream->cap, NQI_STREAM_LOCAL);
    }
    ck_assert_int_eq(released, 1000);
}
END_TEST

static void add_ends(Suite *suite)
{
    TCase *tc = tcase_create("ends");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, new_stream_is_empty);
    tcase_add_test(tc, chunks_leave_in_the_order_they_came);
    tcase_add_test(tc, unread_and_unwrite_undo);
    tcase_add_test(tc, front_grows_as_the_back_does);
    tcase_add_test(tc, empty_views_are_dropped_and_released);
    tcase_add_test(tc, many_are_read_and_written_at_once);
    tcase_add_loop_test(tc, random_steps_agree_with_a_plain_array, 0, 8);
    tcase_add_test(tc, read_takes_parts_of_chunks);
    tcase_add_test(tc, update_joins_its_buffers_in_one_chunk);
    tcase_add_test(tc, frombytes_and_tobytes_agree);
    tcase_add_test(tc, drained_stream_gives_its_array_back);
    suite_add_tcase(suite, tc);
}

START_TEST(truncate_forgets_the_end)
{
    for (size_t i = 0; i < 9; i++) /* the ring's head is not at its beginning */
        write_text(stream, i, 1);
    nqi_stream_drop(stream, 5);
    for (size_t i = 9; i < 14; i++)
        write_text(stream, i, 2);
    released = 0;
    nqi_stream_truncate(stream, 100);
    nqi_stream_truncate(stream, 9);
    ck_assert_int_eq(released, 0);
    nqi_stream_truncate(stream, 5);
    ck_assert_int_eq(released, 4);
    check_text(stream, "fghijk");
    write_text(stream, 0, 3);
    check_text(stream, "fghijkabc");
    nqi_stream_truncate(stream, 0);
    check_text(stream, "");
    ck_assert_int_eq(released, 10);
}
END_TEST

static void add_sharing(Suite *suite)
{
    TCase *tc = tcase_create("sharing");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, shallow_copy_shares_chunks_and_lives_alone);
    tcase_add_loop_test(tc, append_moves_everything, 0, NQI_LEN(moves));
    tcase_add_test(tc, append_to_itself_changes_nothing);
    tcase_add_test(tc, share_takes_any_range);
    tcase_add_test(tc, share_with_a_length_beyond_everything_takes_the_rest);
    tcase_add_test(tc, drop_forgets_the_front);
    tcase_add_test(tc, truncate_forgets_the_end);
    tcase_add_test(tc, failure_to_grow_changes_nothing);
    tcase_add_test(tc, making_one_fails_without_memory);
    suite_add_tcase(suite, tc);
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("stream");
    TCase *tc = tcase_create("chunk");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, chunk_is_writable_and_aligned, 0, NQI_LEN(chunk_lens));
    tcase_add_test(tc, wrapped_memory_is_released_once_with_its_length);
    tcase_add_test(tc, static_memory_needs_no_release);
    tcase_add_test(tc, chunks_fail_without_memory_and_release_nothing);
    suite_add_tcase(suite, tc);
    add_ends(suite);
    add_sharing(suite);
    return suite;
}
