/* What every file of the core may use: macros, no code of its own. */
#ifndef NQ_CORE_BASE_H
#define NQ_CORE_BASE_H

#include <assert.h>
#include <netqueue/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NQI_LEN(array) (sizeof(array) / sizeof((array)[0]))
#define NQI_MIN(a, b) ((a) < (b) ? (a) : (b))
#define NQI_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Run `fn(&var)` when the variable leaves its scope, however it leaves. */
#define NQI_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Give the value away: evaluates to `p` and leaves NULL behind, so that the clean-up
 * at the end of the scope finds nothing to do. */
#define NQI_STEAL(p)            \
    __extension__({             \
        __typeof__(p) s_ = (p); \
        (p) = NULL;             \
        s_;                     \
    })

/* The struct of type `type` whose `member` is `ptr`. */
#define NQI_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Two writers on one line cost more than the line: give each writer its own. */
#define NQI_CACHE_LINE 64
#define NQI_ALIGNED_LINE __attribute__((aligned(NQI_CACHE_LINE)))

#define NQI_LIKELY(x) __builtin_expect(!!(x), 1)
#define NQI_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Seldom called from where many calls pass: what it needs of the stack, and its checks, stay its
 * own.
 */
#define NQI_APART __attribute__((noinline))
#define NQI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define NQI_NS_PER_US INT64_C(1000)
#define NQI_NS_PER_MS INT64_C(1000000)
#define NQI_NS_PER_S INT64_C(1000000000)

/* "Never", as a deadline in ns on CLOCK_MONOTONIC. */
#define NQI_NEVER INT64_MAX

#if defined(__SANITIZE_ADDRESS__)
#define NQI_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NQI_ASAN 1
#endif
#endif
#ifndef NQI_ASAN
#define NQI_ASAN 0
#endif

/* A variable of each thread that is reached without a call.  Together they are a few pointers:
 * a program that loads the library late has little room left for such variables. */
#define NQI_THREAD_LOCAL __attribute__((tls_model("initial-exec"))) _Thread_local

/* Tell the processor that this is a spin loop. */
static inline void nqi_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
