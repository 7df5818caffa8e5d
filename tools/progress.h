/* A progress bar on standard error, on a terminal only. */
#ifndef NQ_TOOLS_PROGRESS_H
#define NQ_TOOLS_PROGRESS_H

#include "tools/tool.h"

/* The caller's memory; one at a time is drawn. */
struct nqi_progress {
    bool on;
    int64_t began_ns, drawn_ns;
};

/* Begin.  Nothing is ever drawn when `quiet`, or when standard error is no terminal. */
void nqi_progress_init(struct nqi_progress *progress, bool quiet);

/* Draw `done` of `total` (0 = not known) bytes and the number of messages, at most ten
 * times a second. */
void nqi_progress_show(struct nqi_progress *progress, uint64_t done, uint64_t total,
                       uint64_t messages);

/* Draw `text` instead, while there is nothing to count. */
void nqi_progress_note(struct nqi_progress *progress, const char *text);

/* Wipe the bar, if there is one, so that a line of text can be printed. */
void nqi_progress_wipe(void);

/* Write bytes as "12.3 MiB"; returns `out`. */
char *nqi_format_bytes(double bytes, char out[24]);

#endif
