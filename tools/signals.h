/* Ctrl-C: the first ends the command in good order, the second at once. */
#ifndef NQ_TOOLS_SIGNALS_H
#define NQ_TOOLS_SIGNALS_H

#include <stdbool.h>

/* Have SIGINT, SIGTERM and SIGHUP noted, and a write into a closed pipe fail instead of
 * ending the process.  Blocking system calls return EINTR after the first signal. */
void nqi_signals_install(void);

/* True once one of them came. */
bool nqi_interrupted(void);

#endif
