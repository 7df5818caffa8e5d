/* Which process this is, without asking the system: a forked child is another one.
 *
 * The child has copies of the parent's queues, without their threads, with locks as they stood, and
 * with sockets that are the parent's too.  So whatever was opened remembers its process, and in any
 * other one it is left alone: nothing is sent, nothing waits, nothing is released. */
#ifndef NQ_CORE_PROCESS_H
#define NQ_CORE_PROCESS_H

#include "core/base.h"
#include <stdatomic.h>
#include <stdint.h>

/* How many forks lie between the process that loaded the library and this one; written while a
 * child has one thread. */
extern _Atomic uint32_t nqi_process_forks;

/* Count from here on; before anything is opened. */
void nqi_process_watch(void);

static inline uint32_t nqi_process(void)
{
    return atomic_load_explicit(&nqi_process_forks, memory_order_relaxed);
}

#endif
