/* Directories are searched by exact name; nothing is opened to see what it is.  What is found is
 * judged by its resolved path, so that a link in a safe directory cannot lead out of it. */
#include "core/plugin_file.h"
#include "core/err.h"
#include "core/log.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef NETQUEUE_PLUGIN_DIR /* the build says $(libdir)/netqueue/transport-MAJOR */
#define NETQUEUE_PLUGIN_DIR "/usr/lib/netqueue/transport-1"
#endif

static bool file_is_privileged(void)
{
    return getauxval(AT_SECURE);
}

/* An environment variable, or NULL when whoever set it may be less trusted than this process. */
static const char *file_env(const char *name)
{
    return file_is_privileged() ? NULL : getenv(name);
}

static nq_err file_fail_errno(const char *file)
{
    (void)nqi_fail_errno("cannot look at the transport %s", file);
    return NQ_ERR_PLUGIN;
}

bool nqi_plugin_name_fine(const char *name)
{
    size_t len = strnlen(name, NQI_PLUGIN_NAME);

    return *name >= 'a' && *name <= 'z' && len < NQI_PLUGIN_NAME &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

/* ---- search ----------------------------------------------------------------------------- */

char *nqi_plugin_dirs(const char *const *paths, size_t npaths)
{
    const char *env = file_env("NETQUEUE_PLUGIN_PATH");
    char *dirs = NULL;
    size_t len = 0;
    FILE *text = open_memstream(&dirs, &len);

    if (!text)
        return NULL;
    for (size_t i = 0; i < npaths && !file_is_privileged(); i++)
        fprintf(text, "%s:", paths[i]);
    if (env && *env)
        fprintf(text, "%s:", env);
    fputs(NETQUEUE_PLUGIN_DIR, text);
    if (fclose(text)) {
        free(dirs);
        return NULL;
    }
    return dirs;
}

/* The next absolute directory of the list at `*at`, or false at its end. */
static bool file_next_dir(const char **at, char dir[PATH_MAX])
{
    size_t len;

    while (**at) {
        len = strcspn(*at, ":");
        snprintf(dir, PATH_MAX, "%.*s", (int)len, *at);
        *at += len + ((*at)[len] == ':');
        if (*dir == '/' && len < PATH_MAX)
            return true;
    }
    return false;
}

nq_err nqi_plugin_find(const char *name, const char *dirs, char **ret)
{
    char dir[PATH_MAX], file[PATH_MAX + NQI_PLUGIN_NAME + 8];
    char *real;

    while (file_next_dir(&dirs, dir)) {
        snprintf(file, sizeof(file), "%s/%s.so", dir, name);
        real = realpath(file, NULL);
        if (real) {
            *ret = real;
            return NQ_OK;
        }
        if (errno == ENOMEM)
            return NQ_ERR_NOMEM;
        if (errno != ENOENT && errno != ENOTDIR)
            return file_fail_errno(file);
    }
    return NQ_AGAIN;
}

/* ---- trust ------------------------------------------------------------------------------ */

/* What speaks against one component of the path, or NULL. */
static const char *file_wrong(const struct stat *info)
{
    if (info->st_uid != 0 && info->st_uid != geteuid())
        return "belongs to another user";
    if (info->st_mode & S_IWOTH)
        return "is writable by everybody";
    if (info->st_mode & S_IWGRP && info->st_gid != 0 && file_is_privileged())
        return "is writable by a group";
    return NULL;
}

static nq_err file_check_component(const char *file, const char *component)
{
    const char *wrong;
    struct stat info;

    if (stat(component, &info))
        return file_fail_errno(component);
    wrong = file_wrong(&info);
    if (!wrong && info.st_mode & S_IWGRP && info.st_gid != 0)
        nqi_log(NQ_LOG_INFO, "%s, where %s lies, is writable by group %u", component, file,
                (unsigned)info.st_gid);
    if (!wrong)
        return NQ_OK;
    return nqi_fail(NQ_ERR_PLUGIN,
                    "the transport %s is not safe to load: %s %s (owner %u, mode %04o); it and "
                    "the directories above it must belong to root or user %u and be writable by "
                    "nobody else",
                    file, component, wrong, (unsigned)info.st_uid, (unsigned)info.st_mode & 07777u,
                    (unsigned)geteuid());
}

/* The component above: "/a/b" -> "/a" -> "/" -> "". */
static void file_cut(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash == path && path[1])
        slash++;
    *slash = '\0';
}

nq_err nqi_plugin_check_file(const char *path)
{
    const char *unsafe = file_env("NETQUEUE_PLUGIN_UNSAFE");
    char component[PATH_MAX];
    struct stat info;
    nq_err err;

    if (stat(path, &info))
        return file_fail_errno(path);
    if (!S_ISREG(info.st_mode))
        return nqi_fail(NQ_ERR_PLUGIN, "the transport %s is not a regular file", path);
    if (unsafe && strcmp(unsafe, "1") == 0) {
        nqi_log(NQ_LOG_DEBUG, "owner and mode of %s are not checked: NETQUEUE_PLUGIN_UNSAFE", path);
        return NQ_OK;
    }
    snprintf(component, sizeof(component), "%s", path);
    for (; *component; file_cut(component)) {
        err = file_check_component(path, component);
        if (err)
            return err;
    }
    return NQ_OK;
}

/* ---- listing ---------------------------------------------------------------------------- */

struct file_names {
    char (*names)[NQI_PLUGIN_NAME];
    size_t count, cap;
};

static void file_names_fini(struct file_names *list)
{
    free(list->names);
}

static bool file_names_has(const struct file_names *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->names[i], name) == 0)
            return true;
    return false;
}

static nq_err file_names_add(struct file_names *list, const char *name)
{
    size_t cap = list->cap ? 2 * list->cap : 16;
    void *names;

    if (list->count == list->cap) {
        names = realloc(list->names, cap * sizeof(list->names[0]));
        if (!names)
            return NQ_ERR_NOMEM;
        list->names = names;
        list->cap = cap;
    }
    snprintf(list->names[list->count++], NQI_PLUGIN_NAME, "%s", name);
    return NQ_OK;
}

/* NAME.so -> NAME; false when the file cannot be a transport. */
static bool file_stem(const char *file, char stem[NQI_PLUGIN_NAME])
{
    const char *dot = strrchr(file, '.');

    if (!dot || strcmp(dot, ".so") != 0 || dot - file >= NQI_PLUGIN_NAME)
        return false;
    snprintf(stem, NQI_PLUGIN_NAME, "%.*s", (int)(dot - file), file);
    return nqi_plugin_name_fine(stem);
}

static int file_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Append what is new in `dir`, in order. */
static nq_err file_list_dir(DIR *dir, struct file_names *list)
{
    size_t before = list->count;
    char stem[NQI_PLUGIN_NAME];
    struct dirent *entry;
    nq_err err;

    while ((entry = readdir(dir))) {
        if (!file_stem(entry->d_name, stem) || file_names_has(list, stem))
            continue;
        err = file_names_add(list, stem);
        if (err)
            return err;
    }
    if (list->count > before)
        qsort(list->names[before], list->count - before, sizeof(list->names[0]), file_compare);
    return NQ_OK;
}

nq_err nqi_plugin_list_dirs(const char *dirs, nq_problem_fn fn, void *arg)
{
    NQI_CLEANUP(file_names_fini) struct file_names list = {0};
    char dir[PATH_MAX];
    size_t before;
    nq_err err;
    DIR *open;

    while (file_next_dir(&dirs, dir)) {
        open = opendir(dir);
        if (!open)
            continue;
        before = list.count;
        err = file_list_dir(open, &list);
        closedir(open);
        if (err)
            return err;
        for (size_t i = before; i < list.count; i++)
            fn(arg, dir, list.names[i]);
    }
    return NQ_OK;
}
