/* Copies above 2 KiB by a plain vector loop; see copy.h for why.
 *
 * 64 bytes a step, destination aligned, source wherever it is.  The widest registers
 * that the processor has are looked up once.  Where there is no such trap, memcpy(). */
#include "core/copy.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <stdatomic.h>

/* From here on the copy is larger than the caches near the processor: memcpy() is past
 * its trap and writes around the cache. */
#define COPY_HUGE ((size_t)2 << 20)

typedef void copy_fn(unsigned char *dst, const unsigned char *src, size_t len);

/* Bytes until `dst` is aligned to `to`; they are copied by one unaligned vector. */
static size_t copy_skew(const unsigned char *dst, size_t to)
{
    return to - ((uintptr_t)dst & (to - 1));
}

static void copy_sse2(unsigned char *dst, const unsigned char *src, size_t len)
{
    const unsigned char *end = src + len;
    unsigned char *dst_end = dst + len;
    size_t skew = copy_skew(dst, 64);

    /* First and last 64 bytes overlap the loop instead of having loops of their own. */
    for (size_t i = 0; i < 64; i += 16)
        _mm_storeu_si128((__m128i *)(dst + i), _mm_loadu_si128((const __m128i *)(src + i)));
    for (dst += skew, src += skew; dst_end - dst > 64; dst += 64, src += 64) {
        __m128i a = _mm_loadu_si128((const __m128i *)src);
        __m128i b = _mm_loadu_si128((const __m128i *)(src + 16));
        __m128i c = _mm_loadu_si128((const __m128i *)(src + 32));
        __m128i d = _mm_loadu_si128((const __m128i *)(src + 48));

        _mm_store_si128((__m128i *)dst, a);
        _mm_store_si128((__m128i *)(dst + 16), b);
        _mm_store_si128((__m128i *)(dst + 32), c);
        _mm_store_si128((__m128i *)(dst + 48), d);
    }
    for (size_t i = 0; i < 64; i += 16)
        _mm_storeu_si128((__m128i *)(dst_end - 64 + i),
                         _mm_loadu_si128((const __m128i *)(end - 64 + i)));
}

__attribute__((target("avx2"))) static void copy_avx2(unsigned char *dst, const unsigned char *src,
                                                      size_t len)
{
    const unsigned char *end = src + len;
    unsigned char *dst_end = dst + len;
    size_t skew = copy_skew(dst, 64);

    for (size_t i = 0; i < 64; i += 32)
        _mm256_storeu_si256((__m256i *)(dst + i), _mm256_loadu_si256((const __m256i *)(src + i)));
    for (dst += skew, src += skew; dst_end - dst > 64; dst += 64, src += 64) {
        __m256i a = _mm256_loadu_si256((const __m256i *)src);
        __m256i b = _mm256_loadu_si256((const __m256i *)(src + 32));

        _mm256_store_si256((__m256i *)dst, a);
        _mm256_store_si256((__m256i *)(dst + 32), b);
    }
    for (size_t i = 0; i < 64; i += 32)
        _mm256_storeu_si256((__m256i *)(dst_end - 64 + i),
                            _mm256_loadu_si256((const __m256i *)(end - 64 + i)));
}

static void copy_first(unsigned char *dst, const unsigned char *src, size_t len);

/* atomic: threads that race for the first copy all store the same answer */
static copy_fn *_Atomic copy_best = copy_first;

static void copy_first(unsigned char *dst, const unsigned char *src, size_t len)
{
    copy_fn *best = __builtin_cpu_supports("avx2") ? copy_avx2 : copy_sse2;

    atomic_store_explicit(&copy_best, best, memory_order_relaxed);
    best(dst, src, len);
}

void nqi_copy_large(void *restrict dst, const void *restrict src, size_t len)
{
    if (len < 128 || len >= COPY_HUGE)
        memcpy(dst, src, len);
    else
        atomic_load_explicit(&copy_best, memory_order_relaxed)(dst, src, len);
}

void nqi_copy_narrow(void *restrict dst, const void *restrict src, size_t len)
{
    copy_sse2(dst, src, len);
}

#else

void nqi_copy_narrow(void *restrict dst, const void *restrict src, size_t len)
{
    memcpy(dst, src, len);
}

void nqi_copy_large(void *restrict dst, const void *restrict src, size_t len)
{
    memcpy(dst, src, len);
}

#endif
