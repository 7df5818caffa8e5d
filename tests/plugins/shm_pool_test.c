/* plugins/shm/shm_pool.c: blocks never overlap, sizes waste little, empty segments begin anew. */
#include "plugins/shm/shm_pool.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT (2u << 20)
#define BLOCKS 600u

static struct shm_pool pool;
static long fail_at; /* the n-th allocation from now fails; 0 = none */

static void *memory(void *arg, void *old, size_t size)
{
    (void)arg;
    if (size && fail_at && !--fail_at)
        return NULL;
    if (size)
        return realloc(old, size);
    free(old);
    return NULL;
}

static void setup(void)
{
    fail_at = 0;
    shm_pool_init(&pool, memory, NULL);
}

static void teardown(void)
{
    shm_pool_fini(&pool);
}

START_TEST(a_class_is_the_smallest_that_is_enough)
{
    for (uint64_t len = 1; len < 1 << 26; len += 1 + len / 7) {
        uint32_t class = shm_pool_class(len);
        uint64_t size = shm_pool_class_size(class);

        ck_assert_uint_ge(size, len);
        ck_assert(!class || shm_pool_class_size(class - 1) < len);
        ck_assert(len < SHM_POOL_MIN || (size - len) * 5 <= size);
        ck_assert_uint_eq(size % 64, 0);
        ck_assert_uint_eq(shm_pool_class(size), class);
        ck_assert_uint_eq(shm_pool_class(size + 1), class + 1);
    }
    ck_assert_uint_eq(shm_pool_class(0), 0);
    ck_assert_uint_eq(shm_pool_class(UINT64_MAX), SHM_POOL_NONE);
}
END_TEST

START_TEST(there_is_nothing_without_a_segment_or_beyond_its_size)
{
    struct shm_pool_ref ref = {7, 7};

    ck_assert(!shm_pool_alloc(&pool, 1, &ref));
    ck_assert_uint_eq(shm_pool_add(&pool, SEGMENT), 0);
    ck_assert(!shm_pool_alloc(&pool, SEGMENT + 1, &ref));
    ck_assert(!shm_pool_alloc(&pool, UINT64_MAX, &ref));
    ck_assert_uint_eq(ref.segment, 7);
    ck_assert(shm_pool_alloc(&pool, SEGMENT, &ref));
    ck_assert(!shm_pool_alloc(&pool, 1, &ref));
}
END_TEST

struct held {
    struct shm_pool_ref ref;
    uint64_t offset, size;
};

static bool overlap(const struct held *a, const struct held *b)
{
    return a->ref.segment == b->ref.segment && a->offset < b->offset + b->size &&
           b->offset < a->offset + a->size;
}

static void check_block(const struct held *held, uint32_t n, const struct held *one, uint64_t len)
{
    ck_assert_uint_ge(one->size, len);
    ck_assert_uint_le(one->offset + one->size, pool.segment[one->ref.segment].size);
    ck_assert_uint_eq(one->offset % (one->size < 65536 ? 64 : 4096), 0);
    for (uint32_t i = 0; i < n; i++)
        ck_assert(!overlap(&held[i], one));
}

START_TEST(blocks_that_are_held_never_overlap)
{
    static struct held held[BLOCKS];
    unsigned seed = (unsigned)_i + 1;
    uint32_t n = 0, refused = 0;

    shm_pool_add(&pool, SEGMENT);
    shm_pool_add(&pool, SEGMENT / 2 + 4096);
    for (int step = 0; step < 6000; step++) {
        uint64_t len = 1 + (uint64_t)rand_r(&seed) % (rand_r(&seed) % 8 ? 9000 : 200000);

        if (n < BLOCKS && rand_r(&seed) % 5 >= 2 && shm_pool_alloc(&pool, len, &held[n].ref)) {
            held[n].offset = shm_pool_offset(&pool, held[n].ref);
            held[n].size = shm_pool_size(&pool, held[n].ref);
            check_block(held, n, &held[n], len);
            n++;
        } else if (n) {
            uint32_t i = (uint32_t)rand_r(&seed) % n;

            shm_pool_drop(&pool, held[i].ref);
            held[i] = held[--n];
            refused++;
        }
    }
    ck_assert_uint_gt(refused, 100);
    while (n)
        shm_pool_drop(&pool, held[--n].ref);
    ck_assert_uint_eq(pool.segment[0].live + pool.segment[1].live, 0);
}
END_TEST

START_TEST(the_block_freed_last_comes_first)
{
    struct shm_pool_ref a, b, keep, again;

    shm_pool_add(&pool, SEGMENT);
    ck_assert(shm_pool_alloc(&pool, 5000, &keep) && shm_pool_alloc(&pool, 5000, &a) &&
              shm_pool_alloc(&pool, 5000, &b));
    ck_assert(!shm_pool_drop(&pool, a));
    ck_assert(!shm_pool_drop(&pool, b));
    ck_assert(shm_pool_alloc(&pool, 5100, &again));
    ck_assert_uint_eq(again.index, b.index);
}
END_TEST

START_TEST(a_block_is_free_when_its_last_holder_has_gone)
{
    struct shm_pool_ref a, b;

    shm_pool_add(&pool, SEGMENT);
    ck_assert(shm_pool_alloc(&pool, 5000, &a));
    shm_pool_hold(&pool, a);
    ck_assert(!shm_pool_drop(&pool, a));
    ck_assert(shm_pool_alloc(&pool, 5000, &b));
    ck_assert_uint_ne(shm_pool_offset(&pool, a), shm_pool_offset(&pool, b));
    ck_assert(!shm_pool_drop(&pool, a));
    ck_assert(shm_pool_drop(&pool, b));
}
END_TEST

START_TEST(a_held_block_is_found_by_any_part_of_it)
{
    struct shm_pool_ref refs[40], found;

    shm_pool_add(&pool, SEGMENT);
    ck_assert(!shm_pool_find(&pool, 0, 0, 1, &found));
    for (unsigned i = 0; i < 40; i++)
        ck_assert(shm_pool_alloc(&pool, 4096 + 1000 * i, &refs[i]));
    for (unsigned i = 0; i < 40; i++) {
        uint64_t at = shm_pool_offset(&pool, refs[i]), size = shm_pool_size(&pool, refs[i]);

        ck_assert(shm_pool_find(&pool, 0, at, size, &found));
        ck_assert_uint_eq(found.index, refs[i].index);
        ck_assert(shm_pool_find(&pool, 0, at + size - 1, 1, &found));
        ck_assert_uint_eq(found.index, refs[i].index);
        ck_assert(!shm_pool_find(&pool, 0, at, size + 1, &found));
        ck_assert(!shm_pool_find(&pool, 0, at + 1, UINT64_MAX, &found));
    }
    shm_pool_drop(&pool, refs[7]);
    ck_assert(!shm_pool_find(&pool, 0, shm_pool_offset(&pool, refs[7]), 1, &found));
    ck_assert(!shm_pool_find(&pool, 0, SEGMENT - 1, 1, &found));
}
END_TEST

START_TEST(an_empty_segment_can_be_cut_anew)
{
    struct shm_pool_ref small[64], large;

    shm_pool_add(&pool, 64 * 4096);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 64; i++)
            ck_assert(shm_pool_alloc(&pool, 4096, &small[i]));
        ck_assert(!shm_pool_alloc(&pool, 4096, &large));
        for (unsigned i = 0; i < 64; i++)
            ck_assert_int_eq(shm_pool_drop(&pool, small[i]), i == 63);
        ck_assert(shm_pool_alloc(&pool, 64 * 4096, &large));
        ck_assert(shm_pool_drop(&pool, large));
    }
}
END_TEST

START_TEST(a_retiring_segment_gives_nothing_and_goes_when_it_is_empty)
{
    struct shm_pool_ref old, now;

    shm_pool_add(&pool, SEGMENT);
    ck_assert(shm_pool_alloc(&pool, 5000, &old));
    ck_assert(!shm_pool_retire(&pool, 0));
    ck_assert(!shm_pool_alloc(&pool, 5000, &now));
    ck_assert_uint_eq(shm_pool_add(&pool, SEGMENT), 1);
    ck_assert(shm_pool_alloc(&pool, 5000, &now));
    ck_assert_uint_eq(now.segment, 1);
    ck_assert(shm_pool_drop(&pool, old));
    shm_pool_remove(&pool, 0);
    ck_assert_uint_eq(shm_pool_add(&pool, SEGMENT), 0);
    ck_assert(shm_pool_retire(&pool, 0));
}
END_TEST

START_TEST(there_are_so_many_segments_and_no_more)
{
    for (uint32_t i = 0; i < SHM_POOL_SEGMENTS; i++)
        ck_assert_uint_eq(shm_pool_add(&pool, SEGMENT), i);
    ck_assert_uint_eq(shm_pool_add(&pool, SEGMENT), SHM_POOL_NONE);
}
END_TEST

START_TEST(without_memory_for_its_tables_it_refuses)
{
    struct shm_pool_ref ref;
    unsigned n = 0;

    fail_at = 1;
    ck_assert_uint_eq(shm_pool_add(&pool, SEGMENT), SHM_POOL_NONE);
    ck_assert_uint_eq(shm_pool_add(&pool, SEGMENT), 0);
    fail_at = 1;
    while (shm_pool_alloc(&pool, 1, &ref))
        n++;
    ck_assert_uint_eq(n, 64); /* then the table would have grown */
    ck_assert(shm_pool_alloc(&pool, 1, &ref));
    ck_assert_uint_eq(shm_pool_offset(&pool, ref), 64 * SHM_POOL_MIN);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm pool");
    TCase *tc = tcase_create("pool");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_class_is_the_smallest_that_is_enough);
    tcase_add_test(tc, there_is_nothing_without_a_segment_or_beyond_its_size);
    tcase_add_loop_test(tc, blocks_that_are_held_never_overlap, 0, 4);
    tcase_add_test(tc, the_block_freed_last_comes_first);
    tcase_add_test(tc, a_block_is_free_when_its_last_holder_has_gone);
    tcase_add_test(tc, a_held_block_is_found_by_any_part_of_it);
    tcase_add_test(tc, an_empty_segment_can_be_cut_anew);
    tcase_add_test(tc, a_retiring_segment_gives_nothing_and_goes_when_it_is_empty);
    tcase_add_test(tc, there_are_so_many_segments_and_no_more);
    tcase_add_test(tc, without_memory_for_its_tables_it_refuses);
    suite_add_tcase(suite, tc);
    return suite;
}
