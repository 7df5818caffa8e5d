/**
 * @file
 * Where the library's log lines go.
 */
#ifndef NETQUEUE_LOG_H
#define NETQUEUE_LOG_H

#include <netqueue/err.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nq_log_level {
    NQ_LOG_ERROR = 0, /* something failed and somebody should look */
    NQ_LOG_WARN = 1,  /* works, but not as the configuration wanted */
    NQ_LOG_INFO = 2,  /* peers and links come and go */
    NQ_LOG_DEBUG = 3, /* state changes */
} nq_log_level;

/** Receives one finished line, no newline at its end.  `line` is borrowed until the
 *  function returns.  Runs on any thread, several at once, and must not call the
 *  library. */
typedef void (*nq_log_fn)(void *arg, nq_log_level level, const char *line);

/** Send the log of the whole process to `fn`; NULL restores the default, which
 *  prints errors and warnings on stderr (level from the environment variable
 *  NETQUEUE_LOG: error, warn, info, debug, none).
 *
 *  @param level  the least important level that still reaches `fn`
 *  Thread: any.  Blocks: no.  A line being written meanwhile may still go to the
 *  former function. */
NQ_API void nq_log_set(nq_log_fn fn, void *arg, nq_log_level level);

#ifdef __cplusplus
}
#endif
#endif
