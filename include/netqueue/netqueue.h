/**
 * @file
 * Everything a program needs: a message queue over a network.
 */
#ifndef NETQUEUE_NETQUEUE_H
#define NETQUEUE_NETQUEUE_H

#include <netqueue/check.h>
#include <netqueue/err.h>
#include <netqueue/future.h>
#include <netqueue/log.h>
#include <netqueue/msg.h>
#include <netqueue/queue.h>
#include <netqueue/stream.h>
#include <netqueue/uuid.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NQ_VERSION_MAJOR 0
#define NQ_VERSION_MINOR 1
#define NQ_VERSION_PATCH 0

/** The version of the library that runs, as "0.1.0"; static.
 *  Thread: any.  Blocks: no. */
NQ_API const char *nq_version(void);

#ifdef __cplusplus
}
#endif
#endif
