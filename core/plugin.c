/* Loading of transports.
 *
 * libltdl answers every failure with "file not found", so the file is first opened with dlopen(),
 * which tells the true reason; libltdl then finds it mapped already.  It is given absolute paths
 * only, because it reads search paths from the environment even when privileged.  Its state is
 * global and without a lock: all calls are made under one mutex.  Nothing is ever unloaded:
 * threads of a library below may still run in it. */
#include "core/plugin.h"
#include "core/err.h"
#include "core/log.h"
#include "core/near.h"
#include "core/options.h"
#include "core/plugin_file.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ltdl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN_MAJORS 16 /* so many other majors are looked for in a file without ours */
#define PLUGIN_SYMBOL 64 /* room for the name of a symbol */

struct plugin {
    struct plugin *next;
    const struct nqt_module *module;
    lt_dlhandle handle; /* kept: never closed */
    char file[];        /* resolved path */
};

static pthread_mutex_t plugin_mutex = PTHREAD_MUTEX_INITIALIZER;
/* under plugin_mutex; entries live for ever */
static struct plugin *plugin_list;
static bool plugin_started;

static void plugin_freep(char **text)
{
    free(*text);
}

static void plugin_unlockp(pthread_mutex_t **mutex)
{
    pthread_mutex_unlock(*mutex);
}

/* ---- the descriptor: data, looked at before anything in the file is called -------------- */

#define PLUGIN_HAS(ops, slot) NQT_HAS(struct nqt_ops, ops, slot)

/* The slot that is missing, given what the module says it can do; NULL = none. */
static const char *plugin_missing_slot(const struct nqt_module *module)
{
    const struct nqt_ops *ops = module->ops;
    uint64_t caps = module->caps;

    if (!PLUGIN_HAS(ops, mod_open) || !PLUGIN_HAS(ops, mod_close))
        return "mod_open or mod_close";
    if (!PLUGIN_HAS(ops, ep_open) || !PLUGIN_HAS(ops, ep_close))
        return "ep_open or ep_close";
    if (!PLUGIN_HAS(ops, send) || !PLUGIN_HAS(ops, close) || !PLUGIN_HAS(ops, info))
        return "send, close or info";
    if (caps & NQT_CAP_CONNECT && !PLUGIN_HAS(ops, connect))
        return "connect, which CONNECT needs";
    if (caps & NQT_CAP_LISTEN && !PLUGIN_HAS(ops, attach))
        return "attach, which LISTEN needs";
    if (caps & NQT_CAP_LOAN_TX && !PLUGIN_HAS(ops, loan))
        return "loan, which LOAN_TX needs";
    if (caps & NQT_CAP_RX_HOLD && !PLUGIN_HAS(ops, rx_hold))
        return "rx_hold, which RX_HOLD needs";
    if (caps & NQT_CAP_DRAIN && !PLUGIN_HAS(ops, shutdown))
        return "shutdown, which DRAIN needs";
    if (!PLUGIN_HAS(ops, poll) != !PLUGIN_HAS(ops, poll_wake))
        return "one of poll and poll_wake";
    if (!PLUGIN_HAS(ops, rx_poll) != !PLUGIN_HAS(ops, rx_arm))
        return "one of rx_poll and rx_arm";
    return NULL;
}

/* What contradicts the header in `module`, as a text in `why`; its head has been checked. */
static nq_err plugin_check_body(const struct nqt_module *module, char why[NQI_WHY])
{
    const char *slot = module->ops ? plugin_missing_slot(module) : "ops";

    if (slot) {
        snprintf(why, NQI_WHY, "a required slot is missing: %s", slot);
        return NQ_ERR_PLUGIN;
    }
    if (!(module->caps & (NQT_CAP_STREAM | NQT_CAP_MESSAGE))) {
        snprintf(why, NQI_WHY, "it is neither STREAM nor MESSAGE");
        return NQ_ERR_PLUGIN;
    }
    if (!(module->caps & (NQT_CAP_LISTEN | NQT_CAP_CONNECT))) {
        snprintf(why, NQI_WHY, "it can neither LISTEN nor CONNECT");
        return NQ_ERR_PLUGIN;
    }
    if (module->threading != NQT_THREADING_LOOP && module->threading != NQT_THREADING_OWN) {
        snprintf(why, NQI_WHY, "its threading is neither LOOP nor OWN");
        return NQ_ERR_PLUGIN;
    }
    return nqi_options_check_table(module, why);
}

/* Is this a descriptor, and one for this core? */
static nq_err plugin_check_head(const struct nqt_module *module, const char *name, const char *file)
{
    char seen[128];

    if (module->magic != NQT_MAGIC || module->size < sizeof(*module))
        return nqi_fail(NQ_ERR_PLUGIN,
                        "%s is not a netqueue transport: its descriptor has magic %#x, size %u",
                        file, module->magic, module->size);
    if (module->abi_major != NQT_ABI_MAJOR)
        return nqi_fail(NQ_ERR_PLUGIN,
                        "the transport %s has ABI major %u, this netqueue speaks %u: install a "
                        "matching netqueue-transport-%s",
                        file, module->abi_major, NQT_ABI_MAJOR, name);
    if (module->needs_minor > NQT_ABI_MINOR)
        return nqi_fail(NQ_ERR_PLUGIN,
                        "the transport %s needs a newer netqueue: ABI %u.%u, this one has %u.%u",
                        file, module->abi_major, module->needs_minor, NQT_ABI_MAJOR, NQT_ABI_MINOR);
    if (!module->name || strcmp(module->name, name) != 0)
        return nqi_fail(NQ_ERR_PLUGIN, "the file %s calls itself \"%s\" inside: was it renamed?",
                        file, nqi_log_escape(module->name ? module->name : "", seen, sizeof(seen)));
    return NQ_OK;
}

static nq_err plugin_check(const struct nqt_module *module, const char *name, const char *file)
{
    nq_err err = plugin_check_head(module, name, file);
    char why[NQI_WHY], seen[NQI_WHY];

    if (err)
        return err;
    err = plugin_check_body(module, why);
    if (err == NQ_ERR_PLUGIN)
        return nqi_fail(err, "the transport %s breaks the rules of its interface: %s", file,
                        nqi_log_escape(why, seen, sizeof(seen)));
    return err;
}

/* ---- opening ---------------------------------------------------------------------------- */

/* dlerror() begins with the file that it is about, in every language. */
static nq_err plugin_fail_open(const char *name, const char *file, const char *text)
{
    size_t len = strlen(file);
    const char *colon = strchr(text, ':');

    if (strncmp(text, file, len) == 0 && text[len] == ':')
        return nqi_fail(NQ_ERR_PLUGIN, "the transport %s cannot be loaded%s", file, text + len);
    if (colon && !memchr(text, ' ', (size_t)(colon - text)))
        return nqi_fail(NQ_ERR_PLUGIN,
                        "the transport %s needs a library that cannot be loaded, %.*s%s; install "
                        "what netqueue-transport-%s depends on",
                        file, (int)(colon - text), text, colon, name);
    return nqi_fail(NQ_ERR_PLUGIN, "the transport %s cannot be loaded: %s", file, text);
}

static nq_err plugin_fail_errno(const char *file)
{
    (void)nqi_fail_errno("cannot open the transport %s", file);
    return NQ_ERR_PLUGIN;
}

static nq_err plugin_check_elf(const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    char magic[4] = {0};
    ssize_t n;

    if (fd < 0)
        return plugin_fail_errno(file);
    n = read(fd, magic, sizeof(magic));
    close(fd);
    if (n == sizeof(magic) && memcmp(magic, "\177ELF", sizeof(magic)) == 0)
        return NQ_OK;
    return nqi_fail(NQ_ERR_PLUGIN, "%s is not a transport, and no ELF file at all", file);
}

/* "NAME_LTX_nqtMAJOR_module", as the macro NQT_MODULE() spells it; returns `out`. */
static char *plugin_symbol(const char *name, unsigned major, char out[PLUGIN_SYMBOL])
{
    snprintf(out, PLUGIN_SYMBOL, "%s_LTX_nqt%u_module", name, major);
    for (char *at = out; (at = strchr(at, '-'));)
        *at = '_';
    return out;
}

/* The file has no symbol of ours: of another major, or no transport? */
static nq_err plugin_fail_symbol(void *probe, const char *name, const char *file)
{
    char symbol[PLUGIN_SYMBOL];

    for (unsigned major = 0; major < PLUGIN_MAJORS; major++) {
        if (major != NQT_ABI_MAJOR && dlsym(probe, plugin_symbol(name, major, symbol)))
            return nqi_fail(NQ_ERR_PLUGIN,
                            "the transport %s has ABI major %u, this netqueue speaks %u: install "
                            "a matching netqueue-transport-%s",
                            file, major, NQT_ABI_MAJOR, name);
    }
    return nqi_fail(NQ_ERR_PLUGIN,
                    "%s is not a netqueue transport: it has no symbol %s (was the file renamed?)",
                    file, plugin_symbol(name, NQT_ABI_MAJOR, symbol));
}

static void plugin_advisep(lt_dladvise *advise)
{
    if (*advise)
        lt_dladvise_destroy(advise);
}

/* Through libltdl, which finds the file mapped; under plugin_mutex. */
static nq_err plugin_open_ltdl(const char *file, lt_dlhandle *ret)
{
    NQI_CLEANUP(plugin_advisep) lt_dladvise advise = NULL;

    if (!plugin_started && lt_dlinit())
        return NQ_ERR_NOMEM;
    plugin_started = true;
    if (lt_dladvise_init(&advise) || lt_dladvise_local(&advise) || lt_dladvise_resident(&advise))
        return NQ_ERR_NOMEM;
    *ret = lt_dlopenadvise(file, advise);
    if (!*ret) /* dlopen() took it a moment ago */
        return nqi_fail(NQ_ERR_PLUGIN, "libltdl cannot load %s", file);
    return NQ_OK;
}

static void plugin_closep(void **probe)
{
    if (*probe)
        dlclose(*probe);
}

static nq_err plugin_open(const char *name, const char *file, struct plugin *plugin)
{
    NQI_CLEANUP(plugin_closep) void *probe = NULL;
    char symbol[PLUGIN_SYMBOL];
    const char *text;
    nq_err err;

    err = plugin_check_elf(file);
    if (err)
        return err;
    dlerror();
    probe = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!probe) {
        text = dlerror();
        return plugin_fail_open(name, file, text ? text : "unknown reason");
    }
    err = plugin_open_ltdl(file, &plugin->handle);
    if (err)
        return err;
    /* libltdl puts the file's stem before the name; a link may have led to another stem. */
    plugin->module = lt_dlsym(plugin->handle, "nqt1_module");
    if (!plugin->module)
        plugin->module = lt_dlsym(plugin->handle, plugin_symbol(name, NQT_ABI_MAJOR, symbol));
    if (!plugin->module)
        return plugin_fail_symbol(probe, name, file);
    return plugin_check(plugin->module, name, file);
}

/* ---- the registry ----------------------------------------------------------------------- */

static const struct plugin *plugin_loaded(const char *file)
{
    for (const struct plugin *plugin = plugin_list; plugin; plugin = plugin->next)
        if (strcmp(plugin->file, file) == 0)
            return plugin;
    return NULL;
}

static void plugin_entryp(struct plugin **plugin)
{
    free(*plugin);
}

static nq_err plugin_add(const char *name, const char *file, const struct nqt_module **ret)
{
    NQI_CLEANUP(plugin_entryp) struct plugin *plugin = NULL;
    size_t len = strlen(file) + 1;
    nq_err err;

    plugin = calloc(1, sizeof(*plugin) + len);
    if (!plugin)
        return NQ_ERR_NOMEM;
    memcpy(plugin->file, file, len);
    err = plugin_open(name, file, plugin);
    if (err)
        return err;
    nqi_log(NQ_LOG_DEBUG, "transport %s from %s", name, file);
    *ret = plugin->module;
    plugin->next = plugin_list;
    plugin_list = NQI_STEAL(plugin);
    return NQ_OK;
}

struct plugin_nearest {
    struct nqi_near near;
    char name[NQI_PLUGIN_NAME];
};

static void plugin_try_near(void *arg, const char *dir, const char *name)
{
    struct plugin_nearest *nearest = arg;

    (void)dir;
    nqi_near_try(&nearest->near, name);
    if (nearest->near.best != name)
        return;
    snprintf(nearest->name, sizeof(nearest->name), "%s", name); /* lives as long as this call */
    nearest->near.best = nearest->name;
}

/* Who mistyped one that is there is not sent to look for a package of that name. */
static nq_err plugin_fail_missing(const char *name, const char *dirs)
{
    struct plugin_nearest nearest = {.near = {.text = name}};
    nq_err err = nqi_plugin_list_dirs(dirs, plugin_try_near, &nearest);

    if (err)
        return err;
    if (nearest.near.best && nearest.near.distance == 1)
        return nqi_fail(NQ_ERR_PLUGIN,
                        "there is no transport \"%s\"; the nearest is \"%s\" (there is no %s.so in "
                        "%s)",
                        name, nearest.name, name, dirs);
    return nqi_fail(NQ_ERR_PLUGIN,
                    "the transport \"%s\" is not installed: install the package "
                    "netqueue-transport-%s (there is no %s.so in %s)",
                    name, name, name, dirs);
}

static nq_err plugin_load(const char *name, const char *dirs, const struct nqt_module **ret)
{
    NQI_CLEANUP(plugin_freep) char *file = NULL;
    NQI_CLEANUP(plugin_unlockp) pthread_mutex_t *held = &plugin_mutex;
    const struct plugin *plugin;
    nq_err err;

    pthread_mutex_lock(held);
    err = nqi_plugin_find(name, dirs, &file);
    if (err == NQ_AGAIN)
        return plugin_fail_missing(name, dirs);
    if (!err)
        err = nqi_plugin_check_file(file);
    if (err)
        return err;
    plugin = plugin_loaded(file);
    if (!plugin)
        return plugin_add(name, file, ret);
    /* A link may give a file a second name, which is not the one inside. */
    err = plugin_check_head(plugin->module, name, file);
    if (err)
        return err;
    *ret = plugin->module;
    return NQ_OK;
}

nq_err nqi_plugin_load(const char *name, const char *const *paths, size_t npaths,
                       const struct nqt_module **ret)
{
    NQI_CLEANUP(plugin_freep) char *dirs = NULL;
    char seen[128];
    nq_err err;

    if (!nqi_plugin_name_fine(name))
        return nqi_fail(NQ_ERR_PLUGIN,
                        "\"%s\" is no name of a transport: 1 to 32 of a-z, 0-9, _ and -, beginning "
                        "with a letter",
                        nqi_log_escape(name, seen, sizeof(seen)));
    dirs = nqi_plugin_dirs(paths, npaths);
    err = dirs ? plugin_load(name, dirs, ret) : NQ_ERR_NOMEM;
    if (err == NQ_ERR_NOMEM)
        return nqi_fail(err, "no memory to load the transport \"%s\"", name);
    return err;
}

const char *nqi_plugin_file(const struct nqt_module *module)
{
    NQI_CLEANUP(plugin_unlockp) pthread_mutex_t *held = &plugin_mutex;

    pthread_mutex_lock(held);
    for (const struct plugin *plugin = plugin_list; plugin; plugin = plugin->next)
        if (plugin->module == module)
            return plugin->file;
    return "";
}

nq_err nqi_plugin_list(nq_problem_fn fn, void *arg)
{
    NQI_CLEANUP(plugin_freep) char *dirs = nqi_plugin_dirs(NULL, 0);

    if (!dirs)
        return nqi_fail(NQ_ERR_NOMEM, "no memory to list transports");
    return nqi_plugin_list_dirs(dirs, fn, arg);
}
