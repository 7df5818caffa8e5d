/* The public side of conf and plugin: checking files, describing transports and keys. */
#include "core/conf.h"
#include "core/conf_doc.h"
#include "core/err.h"
#include "core/options.h"
#include "core/plugin.h"
#include "core/transport.h"
#include <netqueue/check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* What the modules themselves find wrong: between options, and in the files that these name. */
static nq_err check_transports(const struct nqi_conf *conf, nq_problem_fn fn, void *arg)
{
    nq_err found = NQ_OK;

    for (size_t i = 0; i < conf->ntransports; i++) {
        const struct nqi_conf_transport *entry = &conf->transports[i];
        nq_err err = entry->module ? nqi_transport_check(entry->module, entry->options) : NQ_OK;
        char at[48] = ""; /* of the short form, too */

        if (err == NQ_ERR_NOMEM)
            return err;
        if (!err)
            continue;
        found = NQ_ERR_CONFIG;
        if (!conf->brief)
            snprintf(at, sizeof(at), "/transports/%zu", i);
        if (fn)
            fn(arg, at, nq_error());
    }
    return found;
}

nq_err nq_check(const char *path, nq_problem_fn fn, void *arg)
{
    struct nqi_conf *conf;
    nq_err err;

    if (!path)
        return nqi_fail(NQ_ERR_INVAL, "no path of a file to check");
    err = nqi_conf_load(path, NULL, 0, nqi_plugin_load, fn, arg, &conf);
    if (err == NQ_ERR_PLUGIN) /* reported like any other problem */
        return NQ_ERR_CONFIG;
    if (err)
        return err;
    err = check_transports(conf, fn, arg);
    nqi_conf_free(conf);
    return err;
}

/* ---- transports ------------------------------------------------------------------------- */

static const struct {
    uint64_t cap;
    const char *name;
} check_caps[] = {
    {NQT_CAP_STREAM, "stream"},
    {NQT_CAP_MESSAGE, "message"},
    {NQT_CAP_LISTEN, "listen"},
    {NQT_CAP_CONNECT, "connect"},
    {NQT_CAP_BROKERED, "brokered"},
    {NQT_CAP_PEER_PRESENCE, "peer-presence"},
    {NQT_CAP_PEER_IDENTITY, "peer-identity"},
    {NQT_CAP_CONFIDENTIAL, "confidential"},
    {NQT_CAP_GATHER, "gather"},
    {NQT_CAP_LOAN_TX, "loan-tx"},
    {NQT_CAP_RX_HOLD, "rx-hold"},
    {NQT_CAP_DRAIN, "drain"},
    {NQT_CAP_LOCAL_ONLY, "local-only"},
    {NQT_CAP_LOSSY, "lossy"},
    {NQT_CAP_PLAIN, "plain"},
};

/* A description, made once for each module and kept: its text is promised to be static. */
struct check_info {
    struct check_info *next;
    const struct nqt_module *module;
    struct nq_transport_info info;
    const char *caps[NQI_LEN(check_caps) + 1];
    struct nq_option_info options[];
};

static pthread_mutex_t check_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct check_info *check_list; /* under check_mutex */

static const char *check_text(const char *text)
{
    return text ? text : "";
}

static void check_fill_option(struct nq_option_info *info, const struct nqt_opt *opt)
{
    info->name = opt->name;
    info->type = nqi_value_type(opt);
    info->def = check_text(opt->def);
    info->unit = check_text(opt->unit);
    info->help = check_text(opt->help);
    info->choices = opt->type == NQT_OPT_ENUM ? opt->choices : NULL;
    info->min = opt->min;
    info->max = opt->max;
    info->required = opt->flags & NQT_OPT_REQUIRED;
}

static void check_fill(struct check_info *info, const struct nqt_module *module)
{
    size_t ncaps = 0;

    for (size_t i = 0; i < NQI_LEN(check_caps); i++)
        if (module->caps & check_caps[i].cap)
            info->caps[ncaps++] = check_caps[i].name;
    for (size_t i = 0; i < module->nopt; i++)
        check_fill_option(&info->options[i], nqi_options_at(module, i));
    info->module = module;
    info->info = (struct nq_transport_info){
        .name = module->name,
        .version = check_text(module->version),
        .summary = check_text(module->summary),
        .file = nqi_plugin_file(module),
        .threading = module->threading == NQT_THREADING_LOOP ? "loop" : "own",
        .abi_major = module->abi_major,
        .abi_minor = module->needs_minor,
        .caps = info->caps,
        .options = info->options,
        .noptions = module->nopt,
    };
}

/* Under check_mutex. */
static const struct check_info *check_find(const struct nqt_module *module)
{
    struct check_info *info = check_list;

    while (info && info->module != module)
        info = info->next;
    if (info)
        return info;
    info = calloc(1, sizeof(*info) + module->nopt * sizeof(info->options[0]));
    if (!info)
        return NULL;
    check_fill(info, module);
    info->next = check_list;
    check_list = info;
    return info;
}

nq_err nq_transport_info(const char *name, const struct nq_transport_info **ret)
{
    const struct nqt_module *module;
    const struct check_info *info;
    nq_err err;

    if (!name || !ret)
        return nqi_fail(NQ_ERR_INVAL, "no name of a transport, or nowhere to put the answer");
    err = nqi_plugin_load(name, NULL, 0, &module);
    if (err)
        return err;
    pthread_mutex_lock(&check_mutex);
    info = check_find(module);
    pthread_mutex_unlock(&check_mutex);
    if (!info)
        return nqi_fail(NQ_ERR_NOMEM, "no memory to describe the transport \"%s\"", name);
    *ret = &info->info;
    return NQ_OK;
}

nq_err nq_transports(nq_problem_fn fn, void *arg)
{
    if (!fn)
        return nqi_fail(NQ_ERR_INVAL, "no function to give the names to");
    return nqi_plugin_list(fn, arg);
}

/* ---- keys: the core's, and those of the transports that are found ----------------------- */

#define CHECK_MODULES 64 /* so many transports are documented at once */

struct check_modules {
    const struct nqt_module *modules[CHECK_MODULES];
    size_t count;
};

/* One that cannot be loaded has no options to document; nq_transport_info() says why. */
static void check_add_module(void *arg, const char *dir, const char *name)
{
    struct check_modules *found = arg;

    (void)dir;
    if (found->count < CHECK_MODULES &&
        nqi_plugin_load(name, NULL, 0, &found->modules[found->count]) == NQ_OK)
        found->count++;
}

nq_err nq_conf_schema(char **ret)
{
    struct check_modules found = {.count = 0};
    nq_err err = nqi_plugin_list(check_add_module, &found);

    return err ? err : nqi_conf_schema(found.modules, found.count, ret);
}

nq_err nq_conf_reference(char **ret)
{
    struct check_modules found = {.count = 0};
    nq_err err = nqi_plugin_list(check_add_module, &found);

    return err ? err : nqi_conf_reference(found.modules, found.count, ret);
}
