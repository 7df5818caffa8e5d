/* Beside a transport: it wants something of the library. */
#include <netqueue/netqueue.h>

#pragma weak nq_version

__attribute__((used)) static const char *(*const version)(void) = nq_version;
