/* The text behind nq_error(): the last failure of each thread. */
#ifndef NQ_CORE_ERR_H
#define NQ_CORE_ERR_H

#include "core/base.h"

/* Remember why this thread's call fails, and return `err` itself, so that
 * `return nqi_fail(NQ_ERR_SYS, "cannot open %s: %s", ...)` reads in one line.  Called
 * where the failure arises, not where it is passed on. */
nq_err nqi_fail(nq_err err, const char *format, ...) NQI_PRINTF(2, 3);

/* Put "`prefix`: " (printf) before the text remembered last.  Returns `err`. */
nq_err nqi_fail_in(nq_err err, const char *format, ...) NQI_PRINTF(2, 3);

/* NQ_ERR_SYS with "<what>: <strerror(errno)>". */
nq_err nqi_fail_errno(const char *format, ...) NQI_PRINTF(1, 2);

/* NQ_ERR_TOO_BIG: "a `what` of `bytes` bytes exceeds" the `most` that limits.max_message allows. */
nq_err nqi_fail_too_big(const char *what, uint64_t bytes, uint64_t most);

/* The analyzer does not look into err.c: tell it that these never return NQ_OK. */
#ifdef __clang_analyzer__
#define nqi_fail(err, ...) (nqi_fail(err, __VA_ARGS__), (err))
#define nqi_fail_in(err, ...) (nqi_fail_in(err, __VA_ARGS__), (err))
#define nqi_fail_errno(...) (nqi_fail_errno(__VA_ARGS__), NQ_ERR_SYS)
#define nqi_fail_too_big(...) (nqi_fail_too_big(__VA_ARGS__), NQ_ERR_TOO_BIG)
#endif

#endif
