/* Options, as the plugin asks for them: of the module's table, each by its type.  Their values are
 * texts. */
#include "tools/conform/host_in.h"
#include <stdlib.h>
#include <string.h>

/* Facts of the queue, which stand in no table. */
static const struct nqt_opt facts[] = {
    {.name = NQT_FACT_PROVEN, .type = NQT_OPT_BOOL},
    {.name = NQT_FACT_WIRE, .type = NQT_OPT_INT},
    {.name = NQT_FACT_ID, .type = NQT_OPT_STR},
};

static const struct nqt_opt *cfg_find(const struct nqt_module *module, const char *name)
{
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
        if (strcmp(facts[i].name, name) == 0)
            return &facts[i];
    for (uint32_t i = 0; i < module->nopt; i++)
        if (strcmp(module->opt[i].name, name) == 0)
            return &module->opt[i];
    return NULL;
}

/* The option, which must be of one of the types, and its value; NULL = it is not set.
 * @param types  bits of 1 << NQT_OPT_* */
static const char *cfg_text(nqt_cfg *cfg, const char *name, uint32_t types, const char *as,
                            const struct nqt_opt **ret)
{
    const struct host_cfg *own = (const struct host_cfg *)cfg;
    const struct nqt_opt *opt = cfg_find(own->module, name);

    NQTEST_MUST(ASKED, opt, "the plugin asked for %s, which its table does not have", name);
    NQTEST_MUST(ASKED, types >> opt->type & 1, "%s, which is %s", name, as);
    *ret = opt;
    for (const struct nqtest_opt *set = own->opts; set && set->name; set++)
        if (strcmp(set->name, name) == 0)
            return set->value;
    return opt->def;
}

bool nqtest_read_number(const struct nqt_opt *opt, const char *text, int64_t *ret)
{
    static const struct {
        const char *unit;
        uint32_t type;
        int64_t factor;
    } units[] = {
        {"KiB", NQT_OPT_SIZE, 1 << 10},
        {"MiB", NQT_OPT_SIZE, 1 << 20},
        {"GiB", NQT_OPT_SIZE, 1 << 30},
        {"ns", NQT_OPT_DURATION, 1},
        {"us", NQT_OPT_DURATION, 1000},
        {"ms", NQT_OPT_DURATION, 1000000},
        {"s", NQT_OPT_DURATION, 1000000000},
        {"min", NQT_OPT_DURATION, 60 * INT64_C(1000000000)},
        {"h", NQT_OPT_DURATION, 3600 * INT64_C(1000000000)},
    };
    char *unit;

    if (opt->type == NQT_OPT_BOOL) {
        *ret = strcmp(text, "true") == 0;
        return *ret || strcmp(text, "false") == 0;
    }
    *ret = strtoll(text, &unit, 10);
    if (unit == text || !*unit)
        return unit != text;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (units[i].type == opt->type && strcmp(unit, units[i].unit) == 0) {
            *ret *= units[i].factor;
            return true;
        }
    return false;
}

/* A copy that lives as long as the call that got the cfg. */
static const char *cfg_keep(nqt_cfg *cfg, const char *text, size_t len)
{
    struct host_cfg *own = (struct host_cfg *)cfg;
    struct host_text *copy = malloc(sizeof(*copy) + len + 1);

    NQTEST_MUST(NONE, copy, "no memory");
    memcpy(copy->text, text, len);
    copy->text[len] = '\0';
    copy->next = *own->texts;
    *own->texts = copy;
    return copy->text;
}

void nqtest_cfg_fini(struct host_cfg *cfg)
{
    struct host_text *text, *next;

    for (text = *cfg->texts; text; text = next) {
        next = text->next;
        nqtest_retire(text, sizeof(*text) + strlen(text->text));
    }
}

static int host_cfg_int(nqt_cfg *cfg, const char *name, int64_t *out)
{
    const uint32_t types =
        1u << NQT_OPT_BOOL | 1u << NQT_OPT_INT | 1u << NQT_OPT_SIZE | 1u << NQT_OPT_DURATION;
    const struct nqt_opt *opt;
    const char *text = cfg_text(cfg, name, types, "no number", &opt);

    if (!text)
        return NQT_E_CONFIG;
    NQTEST_MUST(NONE, nqtest_read_number(opt, text, out), "%s: \"%s\" is no value of its type",
                name, text);
    return NQT_OK;
}

static int host_cfg_str(nqt_cfg *cfg, const char *name, const char **out)
{
    const uint32_t types =
        1u << NQT_OPT_STR | 1u << NQT_OPT_ENUM | 1u << NQT_OPT_PATH | 1u << NQT_OPT_TRANSPORT;
    const struct nqt_opt *opt;
    const char *text = cfg_text(cfg, name, types, "no text", &opt);

    if (!text)
        return NQT_E_CONFIG;
    *out = cfg_keep(cfg, text, strlen(text));
    return NQT_OK;
}

/* The items of a configuration stand on lines, those of a default behind commas. */
static int host_cfg_list(nqt_cfg *cfg, const char *name, uint32_t i, const char **out)
{
    const struct nqt_opt *opt;
    const char *text = cfg_text(cfg, name, 1u << NQT_OPT_LIST, "no list", &opt);
    const char *separator = text == opt->def ? "," : "\n";
    size_t len;

    for (; text && *text; text += len + (text[len] != '\0')) {
        len = strcspn(text, separator);
        if (i--)
            continue;
        *out = cfg_keep(cfg, text, len);
        return NQT_OK;
    }
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
    inner = *own;
    inner.module = nqtest_inner;
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
