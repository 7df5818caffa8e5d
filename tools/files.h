/* Files into messages, and messages into files.
 *
 * Storing: a name comes from a peer, so it is an enemy's until proven otherwise.  A file
 * is written only below the directory that was opened, whatever the name says and
 * whatever symbolic links stand there.
 *
 * All functions answer 0 or a negative errno, and print nothing. */
#ifndef NQ_TOOLS_FILES_H
#define NQ_TOOLS_FILES_H

#include "tools/tool.h"

/* The whole content of `path` ("-" = standard input) as one message.  A regular file is
 * mapped, not read, and unmapped when nobody needs the message any more; it must not shrink
 * meanwhile.  Anything else is read to its end.
 * @param ret  [out] owned by the caller
 * @return 0, -EISDIR, -EINTR (a signal came first), -ENOMEM, or what open, read or mmap says */
int nqi_files_read(const char *path, nq_msg **ret);

/* Open the directory `path`, made if it does not exist (its parent must).
 * @param ret  [out] descriptor, owned by the caller */
int nqi_files_open_dir(const char *path, int *ret);

/* Why a received name must not be used, as text for people; NULL = it may.  Refused are: empty
 * names, NUL bytes, absolute paths, "." and ".." and empty components, over-long ones. */
const char *nqi_files_name_fault(const char *name, size_t len);

enum nqi_store {
    NQI_STORE_REPLACE, /* an existing file of that name is replaced, as a whole */
    NQI_STORE_NEW,     /* an existing file is left alone: -EEXIST */
};

/* Write the payload of `msg` to `name` below `dir`; sub-folders are made.  The name must
 * have no fault.  Symbolic links on the way are not followed; one in the last place is
 * replaced.  The file appears whole or not at all.  The message keeps its payload.
 * @return 0; -ELOOP or -ENOTDIR (something on the way is not a real folder); -EISDIR;
 *         what the system says about writing */
int nqi_files_store(int dir, const char *name, size_t len, nq_msg *msg, enum nqi_store how);

/* Write the whole payload to `fd`; the message is left empty.  A signal does not stop it. */
int nqi_files_write(int fd, nq_msg *msg);

#endif
