/* From a file to its module.  As the core does it, but without its list of folders: whoever names a
 * file here trusts it. */
#include "tools/conform/try.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define SYMBOL_OF "%.*s_LTX_nqt%u_module"
#define MAJORS 16u

/* The name of a file without its folder and suffix. */
static int stem_of(const char *file, const char **ret)
{
    const char *slash = strrchr(file, '/'), *dot;

    *ret = slash ? slash + 1 : file;
    dot = strchr(*ret, '.');
    return dot ? (int)(dot - *ret) : (int)strlen(*ret);
}

void nqtest_name_of(const char *file, char *ret, size_t cap)
{
    const char *name;
    int len = stem_of(file, &name);

    snprintf(ret, cap, "%.*s", len, name);
}

static const struct nqt_module *find(void *handle, const char *name, int len, unsigned major)
{
    char symbol[256];

    snprintf(symbol, sizeof(symbol), SYMBOL_OF, len, name, major);
    return dlsym(handle, symbol);
}

static void say_missing(void *handle, const char *name, int len, char *why, size_t cap)
{
    for (unsigned major = 0; major < MAJORS; major++) {
        if (major == NQT_ABI_MAJOR || !find(handle, name, len, major))
            continue;
        snprintf(why, cap, "it is for transport ABI %u; this command knows %u", major,
                 (unsigned)NQT_ABI_MAJOR);
        return;
    }
    snprintf(why, cap, "it is no transport: it has no symbol " SYMBOL_OF, len, name,
             (unsigned)NQT_ABI_MAJOR);
}

const struct nqt_module *nqtest_load(const char *file, char *why, size_t cap)
{
    const struct nqt_module *module;
    const char *name, *error;
    int len = stem_of(file, &name);
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (!handle) {
        error = dlerror();
        /* The loader begins with the file, which the caller says as well. */
        if (!strncmp(error, file, strlen(file)) && error[strlen(file)] == ':')
            error += strlen(file) + 2;
        snprintf(why, cap, "%s", error);
        return NULL;
    }
    module = find(handle, name, len, NQT_ABI_MAJOR);
    if (!module)
        say_missing(handle, name, len, why, cap);
    return module;
}
