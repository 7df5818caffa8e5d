/* What a queue tells of itself, as one JSON document that is written in pieces.
 *
 *     head, "stats" -> each of "transports" -> each of "peers" -> end
 *
 * A piece is made when there is room for it, so a document of 16384 peers needs no more memory than
 * one of none but the list of them, and no turn of the loop is longer for it.  Counters are those
 * of the beginning, a peer's those of its own moment.  No key, no address of memory and nothing
 * that a message carries is in it.  docs/stats.md has the fields. */
#ifndef NQ_CORE_QUEUE_REPORT_H
#define NQ_CORE_QUEUE_REPORT_H

#include "core/buf.h"
#include "core/queue.h"

#define NQI_REPORT_FORMAT 1
#define NQI_REPORT_ROOM 8192 /* room for one piece, whatever it is */

struct nqi_report {
    nq_queue *queue;         /* borrowed */
    int64_t opened;          /* when it was */
    struct nqi_peer **peers; /* one reference on each */
    size_t npeers, next;     /* pieces: 0 = head, then transports, then peers, then the end */
};

/* @return NQ_OK, NQ_ERR_NOMEM.  Thread: any. */
NQ_MUST_CHECK nq_err nqi_report_open(struct nqi_report *report, nq_queue *queue, int64_t opened);

/* Add whole pieces until the next one may not fit: `out` has NQI_REPORT_ROOM bytes or more.
 * @return true: there is more.  Thread: one at a time. */
bool nqi_report_fill(struct nqi_report *report, struct nqi_wbuf *out);

/* All zero, or half told, is allowed. */
void nqi_report_fini(struct nqi_report *report);

/* The fields of struct nq_stats and what they are called; arrays have names for their places. */
struct nqi_report_field {
    const char *name;
    size_t offset;
    const char *(*place)(unsigned i); /* NULL = a number */
    unsigned places;
};
extern const struct nqi_report_field nqi_report_fields[];
extern const size_t nqi_report_nfields;

/* A reason in one word: "queue_full". */
const char *nqi_report_reason(unsigned reason);

#endif
