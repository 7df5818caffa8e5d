/* What `put` is to send: its operands, with directories opened up.
 *
 * Listed before anything is sent, so that the progress bar knows the whole and the order
 * is the same each time. */
#include "tools/inputs.h"
#include "tools/say.h"
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Takes `path` in any case. */
static bool inputs_add(struct nqi_inputs *inputs, char *path, size_t name_at, bool named,
                       const struct stat *info)
{
    struct nqi_input *item;

    if (inputs->n == inputs->cap) {
        size_t cap = inputs->cap ? 2 * inputs->cap : 16;
        struct nqi_input *grown = realloc(inputs->items, cap * sizeof(*grown));

        if (!grown) {
            free(path);
            return false;
        }
        inputs->items = grown;
        inputs->cap = cap;
    }
    item = &inputs->items[inputs->n++];
    item->path = path;
    item->name = named ? path + name_at : NULL;
    item->size = info && S_ISREG(info->st_mode) ? (uint64_t)info->st_size : 0;
    inputs->bytes += item->size;
    inputs->unknown |= !info || !S_ISREG(info->st_mode);
    return true;
}

static int inputs_order(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* One entry that fts found below a directory of `skip` bytes. */
static bool inputs_entry(struct nqi_inputs *inputs, const FTSENT *entry, size_t skip)
{
    char *path;

    switch (entry->fts_info) {
    case FTS_F:
        path = strdup(entry->fts_path);
        return path && inputs_add(inputs, path, skip, true, entry->fts_statp);
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        nqi_say_errno(entry->fts_path, entry->fts_errno);
        inputs->incomplete = true;
        return true;
    case FTS_SL:
    case FTS_SLNONE:
    case FTS_DEFAULT:
        nqi_say("%s: skipped, not a regular file", entry->fts_path);
        return true;
    default: /* directories, before and after */
        return true;
    }
}

static bool inputs_tree(struct nqi_inputs *inputs, char *dir)
{
    char *roots[2] = {dir, NULL};
    size_t skip = strlen(dir);
    bool ok = true;
    FTSENT *entry;
    FTS *fts;

    /* fts joins with one slash: also after a root that ends with some */
    while (skip > 1 && dir[skip - 1] == '/')
        dir[--skip] = 0;
    fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, inputs_order);
    if (!fts)
        return false;
    skip += dir[skip - 1] != '/';
    errno = 0;
    while (ok && (entry = fts_read(fts)))
        ok = inputs_entry(inputs, entry, skip);
    fts_close(fts);
    return ok;
}

static bool inputs_path(struct nqi_inputs *inputs, const char *text, bool recursive)
{
    char *path = strdup(text);
    const char *slash;
    struct stat info;
    bool ok;

    if (!path)
        return false;
    if (strcmp(text, "-") == 0)
        return inputs_add(inputs, path, 0, false, NULL);
    if (stat(text, &info) != 0) {
        nqi_say_errno(text, errno);
        inputs->incomplete = true;
        free(path);
        return true;
    }
    if (!S_ISDIR(info.st_mode)) {
        slash = strrchr(path, '/');
        return inputs_add(inputs, path, slash ? (size_t)(slash - path) + 1 : 0, true, &info);
    }
    if (!recursive) {
        nqi_say("%s: is a directory; --recursive sends what is in it", text);
        inputs->incomplete = true;
    }
    ok = recursive ? inputs_tree(inputs, path) : true;
    free(path);
    return ok;
}

bool nqi_inputs_list(char **paths, int n, bool recursive, struct nqi_inputs *ret)
{
    bool ok = true;

    memset(ret, 0, sizeof(*ret));
    if (n == 0)
        ok = inputs_path(ret, "-", false);
    for (int i = 0; ok && i < n; i++)
        ok = inputs_path(ret, paths[i], recursive);
    if (ret->unknown)
        ret->bytes = 0;
    return ok;
}

void nqi_inputs_fini(struct nqi_inputs *inputs)
{
    for (size_t i = 0; i < inputs->n; i++)
        free(inputs->items[i].path);
    free(inputs->items);
    memset(inputs, 0, sizeof(*inputs));
}
