/* For clang-tidy alone, in front of each file it reads: functions that hand back the error they
 * are given look as if they could return success when their bodies are elsewhere, and then every
 * path after a failure is reported. */
#include "core/err.h"

#define nqi_fail(err, ...) ((void)(nqi_fail)((err), __VA_ARGS__), (err))
#define nqi_fail_in(err, ...) ((void)(nqi_fail_in)((err), __VA_ARGS__), (err))
#define nqi_fail_errno(...) ((void)(nqi_fail_errno)(__VA_ARGS__), NQ_ERR_SYS)
