/* See quota.h. */
#include "core/quota.h"
#include "core/base.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUOTA_PATH 8192 /* of a group, and what stands around it */
#define QUOTA_GROUP "0::"

/* The beginning of a file, as text.  False: it is not there, or is empty. */
static bool quota_read(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, text, size - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

/* The line of version 2 among those of others.  @return its group; "" = the root, or it is unknown
 */
static char *quota_group(char *text)
{
    char *save = NULL, *line = strtok_r(text, "\n", &save);
    size_t skip = strlen(QUOTA_GROUP);

    while (line && strncmp(line, QUOTA_GROUP, skip) != 0)
        line = strtok_r(NULL, "\n", &save);
    if (!line || line[skip] != '/' || !line[skip + 1])
        return text + strlen(text);
    return line + skip;
}

static int quota_of(const char *root, const char *group)
{
    char path[2 * QUOTA_PATH], text[64];
    long quota, period;

    snprintf(path, sizeof(path), "%s/sys/fs/cgroup%s/cpu.max", root, group);
    if (!quota_read(path, text, sizeof(text)) || sscanf(text, "%ld %ld", &quota, &period) != 2 ||
        quota < 0 || period <= 0)
        return NQI_QUOTA_NONE; /* without a quota it says "max 100000" */
    return (int)NQI_MIN(quota / period, NQI_QUOTA_NONE);
}

int nqi_quota_cpus(const char *root)
{
    char path[QUOTA_PATH], text[QUOTA_PATH] = "", *group;
    int cpus;

    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    (void)quota_read(path, text, sizeof(text));
    group = quota_group(text);
    cpus = quota_of(root, group);
    while (*group) {
        *strrchr(group, '/') = '\0';
        cpus = NQI_MIN(cpus, quota_of(root, group));
    }
    return cpus;
}
