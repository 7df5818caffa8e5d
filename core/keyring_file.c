/* A file of keys: who may read it, and its text, which is wiped when it has been read.
 *
 * Owner and mode are those of the file that is open, so nobody can put another in its place between
 * the look and the reading. */
#include "core/keyring.h"

#include "core/err.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct keyring_file {
    char *text;
    size_t len, cap;
};

static void keyring_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static void keyring_wipe(struct keyring_file *file)
{
    if (file->text)
        explicit_bzero(file->text, file->cap);
    free(file->text);
}

static nq_err keyring_check_mode(const char *path, const struct stat *info)
{
    unsigned mode = (unsigned)info->st_mode & 07777u;

    if (!S_ISREG(info->st_mode))
        return nqi_fail(NQ_ERR_CONFIG, "%s is not a regular file", path);
    if (info->st_uid != geteuid() && info->st_uid != 0)
        return nqi_fail(NQ_ERR_CONFIG,
                        "%s holds keys and belongs to user %u: it must belong to root or to user "
                        "%u, who runs this: `chown %u %s`",
                        path, (unsigned)info->st_uid, (unsigned)geteuid(), (unsigned)geteuid(),
                        path);
    if (mode & (S_IRWXG | S_IRWXO))
        return nqi_fail(NQ_ERR_CONFIG,
                        "%s holds keys and is open to others (mode %04o): `chmod 600 %s`", path,
                        mode, path);
    if ((size_t)info->st_size > NQI_KEYRING_CAP)
        return nqi_fail(NQ_ERR_CONFIG, "%s: longer than %zu bytes", path, NQI_KEYRING_CAP);
    return NQ_OK;
}

/* All that is there now, at most file->cap. */
static nq_err keyring_read(const char *path, int fd, struct keyring_file *file)
{
    while (file->len < file->cap) {
        ssize_t n = read(fd, file->text + file->len, file->cap - file->len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return nqi_fail_errno("%s: cannot read", path);
        if (!n)
            break;
        file->len += (size_t)n;
    }
    return NQ_OK;
}

nq_err nqi_keyring_load(const char *path, struct nqi_keyring **ret)
{
    NQI_CLEANUP(keyring_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    NQI_CLEANUP(keyring_wipe) struct keyring_file file = {0};
    struct stat info;
    nq_err err;

    if (fd < 0 || fstat(fd, &info))
        return nqi_fail_errno("%s: cannot open", path);
    err = keyring_check_mode(path, &info);
    if (err)
        return err;
    file.cap = (size_t)info.st_size + 1;
    file.text = malloc(file.cap);
    if (!file.text)
        return nqi_fail(NQ_ERR_NOMEM, "%s: no memory to read it", path);
    err = keyring_read(path, fd, &file);
    return err ? err : nqi_keyring_parse(path, file.text, file.len, ret);
}
