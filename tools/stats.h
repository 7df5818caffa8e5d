/* netqueue stats: ask a running queue, and show what it tells.
 *
 *     unix socket --nqi_stats_ask()--> document --+--> nqi_stats_table()    for people
 *                                                 +--> nqi_stats_metrics()  OpenMetrics
 *                                                 +--> as it came           JSON
 *
 * The document comes from another process, perhaps of another version and another user: every
 * member may be missing or of another type, and what is not known is left alone. */
#ifndef NQ_TOOLS_STATS_H
#define NQ_TOOLS_STATS_H

#include "tools/tool.h"
#include <jansson.h>
#include <stdio.h>

enum nqi_stats_kind { NQI_STATS_COUNTER, NQI_STATS_GAUGE };

/* A number that is told, and its metric.  Rows of one family stand together and have its kind, unit
 * and help in the first of them. */
struct nqi_stats_row {
    const char *name;   /* in the document */
    const char *family; /* "netqueue_" and the unit are around it */
    const char *label;  /* "outcome", with `value`; NULL = none.  Without a value the number is an
                         * object, and its members are the values */
    const char *value;
    enum nqi_stats_kind kind;
    const char *unit, *help; /* unit NULL = none */
};

/* Of the queue (members of "stats"), and of each of its peers. */
extern const struct nqi_stats_row nqi_stats_rows[], nqi_stats_peer_rows[];
extern const size_t nqi_stats_nrows, nqi_stats_npeer_rows;

/* The document that is told at `path`, a new reference.  What is wrong has been said.
 * @return an enum nqi_exit.  Blocks: up to `timeout_ns` */
int nqi_stats_ask(const char *path, int64_t timeout_ns, json_t **ret);

/* Write it.  `peers`: each of them, too. */
void nqi_stats_table(FILE *out, const json_t *document, bool peers);
void nqi_stats_metrics(FILE *out, const json_t *document, bool peers);

#endif
