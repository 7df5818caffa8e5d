/* One sink for log lines; see <netqueue/log.h>. */
#ifndef NQ_CORE_LOG_H
#define NQ_CORE_LOG_H

#include "core/base.h"
#include <netqueue/log.h>

/* True when lines of `level` go anywhere: test it before costly formatting. */
bool nqi_log_on(nq_log_level level);

/* Format one line and hand it to the sink.  Peer-made text must be escaped by the
 * caller with nqi_log_escape().  Thread: any. */
void nqi_log(nq_log_level level, const char *format, ...) NQI_PRINTF(2, 3);

/* Copy `text` with control bytes and non-ASCII bytes as \xNN; always NUL-terminated; returns
 * `out`. */
char *nqi_log_escape(const char *text, char *out, size_t cap);

#endif
