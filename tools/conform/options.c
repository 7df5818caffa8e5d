/* Options, as the plugin asks for them: of the module's table, each by its type.  Their values are
 * texts. */
#include "tools/conform/host_in.h"
#include <stdlib.h>
#include <string.h>

static const char *cfg_text(nqt_cfg *cfg, const char *name, uint32_t *type)
{
    const struct host_cfg *own = (const struct host_cfg *)cfg;
    const struct nqt_module *module = own->module;
    const char *text = NULL;
    bool known = true;

    if (strcmp(name, NQT_FACT_PROVEN) == 0)
        *type = NQT_OPT_BOOL;
    else if (strcmp(name, NQT_FACT_WIRE) == 0)
        *type = NQT_OPT_INT;
    else if (strcmp(name, NQT_FACT_ID) == 0)
        *type = NQT_OPT_STR;
    else
        known = false;
    for (uint32_t i = 0; i < module->nopt; i++) {
        if (strcmp(module->opt[i].name, name) != 0)
            continue;
        known = true;
        text = module->opt[i].def;
        *type = module->opt[i].type;
    }
    NQTEST_MUST(ASKED, known, "the plugin asked for %s, which its table does not have", name);
    for (const struct nqtest_opt *opt = own->opts; opt && opt->name; opt++)
        if (strcmp(opt->name, name) == 0)
            text = opt->value;
    return text;
}

static int host_cfg_int(nqt_cfg *cfg, const char *name, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t factor;
    } units[] = {{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"ns", 1},
                 {"us", 1000},     {"ms", 1000000},  {"s", 1000000000}};
    uint32_t type = 0;
    const char *text = cfg_text(cfg, name, &type);
    char *unit;

    if (!text)
        return NQT_E_CONFIG;
    NQTEST_MUST(ASKED,
                type == NQT_OPT_BOOL || type == NQT_OPT_INT || type == NQT_OPT_SIZE ||
                    type == NQT_OPT_DURATION,
                "cfg_int() asks for %s, which is no number", name);
    if (type == NQT_OPT_BOOL) {
        *out = strcmp(text, "true") == 0;
        return NQT_OK;
    }
    *out = strtoll(text, &unit, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(unit, units[i].unit) == 0)
            *out *= units[i].factor;
    return NQT_OK;
}

static int host_cfg_str(nqt_cfg *cfg, const char *name, const char **out)
{
    uint32_t type = 0;
    const char *text = cfg_text(cfg, name, &type);

    if (!text)
        return NQT_E_CONFIG;
    NQTEST_MUST(ASKED,
                type == NQT_OPT_STR || type == NQT_OPT_ENUM || type == NQT_OPT_PATH ||
                    type == NQT_OPT_TRANSPORT,
                "cfg_str() asks for %s, which is no text", name);
    *out = text;
    return NQT_OK;
}

static int host_cfg_list(nqt_cfg *cfg, const char *name, uint32_t i, const char **out)
{
    (void)cfg;
    (void)name;
    (void)i;
    (void)out;
    return NQT_E_CONFIG;
}

const struct nqt_module *nqtest_inner;

/* The same list of options, read by the other's table. */
static int host_cfg_inner(nqt_cfg *cfg, const char *name, const struct nqt_module **module,
                          nqt_cfg **out)
{
    static _Thread_local struct host_cfg inner;
    const struct host_cfg *own = (const struct host_cfg *)cfg;

    (void)name;
    if (!nqtest_inner)
        return NQT_E_CONFIG;
    inner = (struct host_cfg){own->host, own->opts, nqtest_inner};
    *module = nqtest_inner;
    *out = (nqt_cfg *)&inner;
    return NQT_OK;
}

void nqtest_serve_options(struct nqt_host *table)
{
    table->cfg_int = host_cfg_int;
    table->cfg_str = host_cfg_str;
    table->cfg_list = host_cfg_list;
    table->cfg_inner = host_cfg_inner;
}
