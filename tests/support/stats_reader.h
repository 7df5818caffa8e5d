/* For tests of "stats": {"socket": ...}: a folder for sockets, and who reads there. */
#ifndef NQTEST_STATS_READER_H
#define NQTEST_STATS_READER_H

#include "tests/support/queue.h"
#include <jansson.h>

/* The fixture: a new folder, which goes with what is in it; a path in it. */
void nqtest_stats_setup(void);
void nqtest_stats_teardown(void);
const char *nqtest_stats_path(void);
const char *nqtest_stats_folder(void);

/* ", 'stats': {'socket': ...}" for that path. */
const char *nqtest_stats_key(void);

/* @return a descriptor that blocks, or -1 with errno */
int nqtest_stats_connect(void);

/* All that comes until the end, driving `queue` unless it is NULL; a text of malloc(). */
char *nqtest_stats_rest(int fd, nq_queue *queue);

/* The document, and close; driving `queue` as above. */
json_t *nqtest_stats_read(int fd, nq_queue *queue);

/* Connect and read. */
json_t *nqtest_stats_ask(nq_queue *queue);

#endif
