/**
 * @file
 * How a thread inside a library begins: the signals of the program are for the program's threads.
 * Those that a thread raises itself by a fault stay unblocked, because the system would end the
 * process at once, and neither the program's handler nor a debugger or sanitizer would hear of it.
 *
 * Nothing here is part of the ABI.
 */
#ifndef NETQUEUE_TRANSPORT_THREAD_H
#define NETQUEUE_TRANSPORT_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** pthread_create() of such a thread, and of what it starts itself.  Thread: any.  Blocks: no.
 *  @param attr  NULL = the usual
 *  @return 0, or an error number of pthread_create() */
static inline int nqt_thread_start(pthread_t *thread, const pthread_attr_t *attr,
                                   void *(*run)(void *arg), void *arg)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t most, before;
    int rc;

    sigfillset(&most);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&most, faults[i]);
    pthread_sigmask(SIG_SETMASK, &most, &before);
    rc = pthread_create(thread, attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

#ifdef __cplusplus
}
#endif
#endif
