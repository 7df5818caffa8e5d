/* What all files of the command `netqueue` share.
 *
 * The command is a user of the library like any other: it includes the public headers
 * and its own, nothing of core/. */
#ifndef NQ_TOOLS_TOOL_H
#define NQ_TOOLS_TOOL_H

#include <netqueue/netqueue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* What the command ends with; the man pages and --help say the same. */
enum nqi_exit {
    NQI_EXIT_OK = 0,
    NQI_EXIT_FAILED = 1,       /* something was not delivered, not stored, or is a problem */
    NQI_EXIT_USAGE = 2,        /* the command line is wrong */
    NQI_EXIT_CONFIG = 3,       /* the configuration is wrong or a transport cannot be used */
    NQI_EXIT_LINK = 4,         /* no connection, or the time-out passed */
    NQI_EXIT_INTERRUPTED = 130 /* Ctrl-C */
};

#define NQI_LEN(array) (sizeof(array) / sizeof((array)[0]))
#define NQI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define NQI_CLEANUP(fn) __attribute__((cleanup(fn)))
#define NQI_STEAL(p)            \
    __extension__({             \
        __typeof__(p) s_ = (p); \
        (p) = NULL;             \
        s_;                     \
    })

#define NQI_NS_PER_MS INT64_C(1000000)
#define NQI_NS_PER_S INT64_C(1000000000)

/* How long one blocking call of the library may take before the command looks whether
 * it was interrupted. */
#define NQI_SLICE_NS (100 * NQI_NS_PER_MS)

/* How long an interrupted command still sends what is queued. */
#define NQI_FLUSH_NS (2 * NQI_NS_PER_S)

/* Monotonic time in ns. */
static inline int64_t nqi_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * NQI_NS_PER_S + ts.tv_nsec;
}

/* The commands: argv[0] is the command's word.  Each returns an enum nqi_exit. */
int nqi_cmd_put(int argc, char **argv);
int nqi_cmd_get(int argc, char **argv);
int nqi_cmd_transports(int argc, char **argv);
int nqi_cmd_check(int argc, char **argv);
int nqi_cmd_stats(int argc, char **argv);
int nqi_cmd_bench(int argc, char **argv);
int nqi_cmd_conform(int argc, char **argv);
int nqi_cmd_new_transport(int argc, char **argv);

/* ---- clean-up functions for single-owner locals ------------------------------------- */

static inline void nqi_queue_freep(nq_queue **queue)
{
    nq_free(*queue);
}

static inline void nqi_msg_freep(nq_msg **msg)
{
    nq_msg_free(*msg);
}

static inline void nqi_stream_freep(nq_stream **stream)
{
    nq_stream_free(*stream);
}

#endif
