/* See process.h.  A child that was made by clone() itself, or by vfork() before it runs a program,
 * is not seen: neither may call the library. */
#include "core/process.h"

#include <pthread.h>

_Atomic uint32_t nqi_process_forks;

static pthread_once_t process_once = PTHREAD_ONCE_INIT;

static void process_forked(void)
{
    atomic_fetch_add_explicit(&nqi_process_forks, 1, memory_order_relaxed);
}

/* Without memory for that a child is not told from its parent. */
static void process_init(void)
{
    (void)pthread_atfork(NULL, NULL, process_forked);
}

void nqi_process_watch(void)
{
    pthread_once(&process_once, process_init);
}
