/* What went wrong with a path, in words of whoever configured it: what, where, and what to do.
 *
 * Looks at the path once more, after the failure: what is said may be out of date, what was decided
 * is not changed by it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAY_MAX 160

int shm_say_long(const char *path, struct nqt_error *err)
{
    return nqt_fail(err, NQT_E_CONFIG,
                    "path: has %zu bytes, and that of a socket at most %u: choose another folder, "
                    "as one below /run",
                    strlen(path), SHM_PATH_MAX - 1);
}

/* ---- connecting -------------------------------------------------------------------------- */

const char *shm_say_connect(int error)
{
    switch (error) {
    case ENOENT:
        return "there is no socket; is the server running?";
    case ECONNREFUSED:
        return "nobody listens there any more; is the server running?";
    case EACCES:
        return "this user may not write to it, or not enter its folder; the server's option "
               "\"mode\" says who may";
    case EPROTOTYPE:
        return "the socket of another program is there";
    case EPERM:
        return "the server's memory is not sealed as it must be";
    case EPROTO:
        return "what is there does not greet as a server of this version";
    case ETIMEDOUT:
        return "no answer within connect_timeout";
    default:
        return strerror(error);
    }
}

/* ---- listening --------------------------------------------------------------------------- */

/* Something has the name already: what? */
static void say_in_use(const char *path, char out[SAY_MAX])
{
    char who[SHM_NAME_MAX];
    struct stat st;
    int fd;

    if (lstat(path, &st) || !S_ISSOCK(st.st_mode)) {
        snprintf(out, SAY_MAX, "a file that is no socket is there: name another path");
        return;
    }
    fd = shm_socket_connect(path);
    if (fd >= 0) {
        shm_socket_peer(fd, who);
        close(fd);
        snprintf(out, SAY_MAX, "in use: %s listens there", who);
    } else if (fd == -EACCES) {
        snprintf(out, SAY_MAX,
                 "in use: the socket of user %lu is there, which user %lu may not use",
                 (unsigned long)st.st_uid, (unsigned long)geteuid());
    } else {
        snprintf(out, SAY_MAX, "in use; is another server running?");
    }
}

static void say_listen(const char *path, int error, char out[SAY_MAX])
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        snprintf(out, SAY_MAX, "the folder does not exist: create it, or name another path");
        break;
    case EACCES:
        snprintf(out, SAY_MAX, "user %lu may not read, write and enter the folder",
                 (unsigned long)geteuid());
        break;
    case EADDRINUSE:
        say_in_use(path, out);
        break;
    case EPERM:
        snprintf(out, SAY_MAX, "a dead server's socket is there, which user %lu may not remove",
                 (unsigned long)geteuid());
        break;
    case EWOULDBLOCK:
        snprintf(out, SAY_MAX, "another program keeps the folder locked");
        break;
    default:
        snprintf(out, SAY_MAX, "%s", strerror(error));
    }
}

int shm_say_listen(const char *path, int error, struct nqt_error *err)
{
    char text[SAY_MAX];

    say_listen(path, error, text);
    return nqt_fail_native(err, NQT_E_SYS, "errno", error, "listen on %s: %s", path, text);
}

bool shm_say_open_folder(const char *path)
{
    char folder[SHM_PATH_MAX];
    struct stat st;

    nqt_unix_folder(path, folder);
    return !stat(folder, &st) && st.st_mode & S_IWOTH && !(st.st_mode & S_ISVTX);
}
