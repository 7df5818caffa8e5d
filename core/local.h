/* A unix socket in the file system that only this user and root reach: where a process tells of
 * itself.
 *
 *     folder   ours or root's; no other user may move or replace what is ours in it
 *     file     mode 0600 from its first moment on, whatever the umask is
 *     path     of a process that died: taken over; of one that lives: refused
 *     client   SO_PEERCRED says our user or root, or it is not talked to */
#ifndef NQ_CORE_LOCAL_H
#define NQ_CORE_LOCAL_H

#include "core/base.h"
#include <netqueue/transport_unix.h>

#define NQI_LOCAL_PATH 107 /* most bytes of a path */

/* Listen at `path`, absolute or from the working directory.
 * @param backlog  connections that may wait for nqi_local_accept()
 * @param id       [out] for nqt_unix_remove()
 * @param ret      [out] a descriptor, owned by the caller; does not block, closed by exec
 * @return NQ_OK, NQ_ERR_SYS: nq_error() says what stands in the way.
 * Thread: any.  Blocks: no. */
NQ_MUST_CHECK nq_err nqi_local_listen(const char *path, int backlog, struct nqt_unix_id *id,
                                      int *ret);

/* The next that waits.  Of another user but root it is closed and the one behind it taken.
 * @return a descriptor as above, owned by the caller; -1 = none waits, or the system has no more */
int nqi_local_accept(int fd);

#endif
