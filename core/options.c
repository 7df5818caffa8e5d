/* One value per row of the module's table, in the table's order: nothing is looked up by name
 * but a handful of options while an endpoint opens, so a walk along the table is enough. */
#include "core/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nqi_options {
    const struct nqt_module *module;
    bool proven;
    enum nqi_wire wire;
    char id[NQ_UUID_TEXT];
    struct nqi_options *inner; /* owned; of the transport that `module` stands on, or NULL */
    struct nqi_value values[]; /* module->nopt of them */
};

const struct nqt_opt *nqi_options_at(const struct nqt_module *module, size_t i)
{
    return (const void *)((const char *)module->opt + i * module->opt_size);
}

size_t nqi_options_find(const struct nqt_module *module, const char *name)
{
    for (size_t i = 0; i < module->nopt; i++)
        if (strcmp(nqi_options_at(module, i)->name, name) == 0)
            return i;
    return NQI_OPTIONS_NONE;
}

size_t nqi_options_find_inner(const struct nqt_module *module)
{
    for (size_t i = 0; i < module->nopt; i++)
        if (nqi_options_at(module, i)->type == NQT_OPT_TRANSPORT)
            return i;
    return NQI_OPTIONS_NONE;
}

/* ---- is a table fit for use? ------------------------------------------------------------ */

static bool options_name_fine(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    const char *member;
    size_t len;

    if (!name || *name < 'a' || *name > 'z')
        return false;
    len = strspn(name, letters);
    member = name + len;
    if (*member++ == '.')
        len = *member >= 'a' && *member <= 'z' ? len + 1 + strspn(member, letters) : 0;
    return len <= 32 && !name[len];
}

/* What is wrong with the row apart from its default, or NULL. */
static const char *options_row_wrong(const struct nqt_module *module, size_t i)
{
    const struct nqt_opt *opt = nqi_options_at(module, i);

    if (strcmp(opt->name, "transport") == 0)
        return "has a name that the core needs itself";
    if (nqi_options_find(module, opt->name) != i)
        return "is there twice";
    if (opt->type < NQT_OPT_BOOL || opt->type > NQT_OPT_TRANSPORT)
        return "has a type that this core does not know";
    if (opt->type == NQT_OPT_TRANSPORT && nqi_options_find_inner(module) != i)
        return "is a second transport to stand on";
    if (opt->type == NQT_OPT_ENUM && (!opt->choices || !opt->choices[0]))
        return "is a choice without choices";
    if ((opt->min || opt->max) && opt->min > opt->max)
        return "has a range that ends before it begins";
    return NULL;
}

static nq_err options_check_row(const struct nqt_module *module, size_t i, char why[NQI_WHY])
{
    const struct nqt_opt *opt = nqi_options_at(module, i);
    NQI_CLEANUP(nqi_value_fini) struct nqi_value value = {0};
    char def_why[NQI_WHY];
    const char *wrong;
    nq_err err;

    if (!options_name_fine(opt->name)) {
        snprintf(why, NQI_WHY, "option %zu has no name or a malformed one", i);
        return NQ_ERR_PLUGIN;
    }
    wrong = options_row_wrong(module, i);
    if (wrong) {
        snprintf(why, NQI_WHY, "option \"%s\" %s", opt->name, wrong);
        return NQ_ERR_PLUGIN;
    }
    err = nqi_value_default(opt, "/", &value, def_why);
    if (err != NQ_ERR_CONFIG)
        return err;
    snprintf(why, NQI_WHY, "the default of option \"%s\" %.400s", opt->name, def_why);
    return NQ_ERR_PLUGIN;
}

nq_err nqi_options_check_table(const struct nqt_module *module, char why[NQI_WHY])
{
    nq_err err;

    if (!module->nopt)
        return NQ_OK;
    if (!module->opt || module->nopt > NQI_OPTIONS_CAP ||
        module->opt_size < sizeof(struct nqt_opt) || module->opt_size > 4096 ||
        module->opt_size % _Alignof(struct nqt_opt) != 0) {
        snprintf(why, NQI_WHY, "its option table of %u records of %u bytes is malformed",
                 module->nopt, module->opt_size);
        return NQ_ERR_PLUGIN;
    }
    for (size_t i = 0; i < module->nopt; i++) {
        err = options_check_row(module, i, why);
        if (err)
            return err;
    }
    return NQ_OK;
}

/* ---- the values ------------------------------------------------------------------------- */

nq_err nqi_options_new(const struct nqt_module *module, struct nqi_options **ret)
{
    struct nqi_options *options;

    options = calloc(1, sizeof(*options) + module->nopt * sizeof(options->values[0]));
    if (!options)
        return NQ_ERR_NOMEM;
    options->module = module;
    *ret = options;
    return NQ_OK;
}

void nqi_options_free(struct nqi_options *options)
{
    if (!options)
        return;
    for (size_t i = 0; i < options->module->nopt; i++)
        nqi_value_fini(&options->values[i]);
    nqi_options_free(options->inner);
    free(options);
}

void nqi_options_set_inner(struct nqi_options *options, struct nqi_options *inner)
{
    nqi_options_free(options->inner);
    options->inner = inner;
}

struct nqi_options *nqi_options_inner(const struct nqi_options *options)
{
    return options->inner;
}

const struct nqt_module *nqi_options_module(const struct nqi_options *options)
{
    return options->module;
}

nq_err nqi_options_set(struct nqi_options *options, size_t i, const json_t *json,
                       const char *folder, char why[NQI_WHY])
{
    struct nqi_value value = {0};
    nq_err err = nqi_value_read(nqi_options_at(options->module, i), json, folder, &value, why);

    if (err)
        return err;
    nqi_value_fini(&options->values[i]);
    options->values[i] = value;
    return NQ_OK;
}

nq_err nqi_options_fill(struct nqi_options *options, const char *folder, char why[NQI_WHY])
{
    nq_err err;

    for (size_t i = 0; i < options->module->nopt; i++) {
        if (options->values[i].set)
            continue;
        err =
            nqi_value_default(nqi_options_at(options->module, i), folder, &options->values[i], why);
        if (err)
            return err;
    }
    return NQ_OK;
}

bool nqi_options_is_set(const struct nqi_options *options, size_t i)
{
    return options->values[i].set;
}

bool nqi_options_equal(const struct nqi_options *a, const struct nqi_options *b)
{
    if (a->module != b->module)
        return false;
    for (size_t i = 0; i < a->module->nopt; i++)
        if (!nqi_value_equal(&a->values[i], &b->values[i]))
            return false;
    if (!a->inner || !b->inner)
        return a->inner == b->inner;
    return nqi_options_equal(a->inner, b->inner);
}

/* ---- what a plugin asks ----------------------------------------------------------------- */

/* The value `name` if it is set and one of the types in `types` (bits 1 << NQT_OPT_*). */
static const struct nqi_value *options_get(const struct nqi_options *options, const char *name,
                                           uint32_t types)
{
    size_t i = nqi_options_find(options->module, name);

    if (i == NQI_OPTIONS_NONE || !options->values[i].set)
        return NULL;
    if (!(types & 1u << nqi_options_at(options->module, i)->type))
        return NULL;
    return &options->values[i];
}

void nqi_options_set_proven(struct nqi_options *options, bool proven)
{
    for (; options; options = options->inner)
        options->proven = proven;
}

void nqi_options_set_id(struct nqi_options *options, const nq_uuid *id)
{
    for (; options; options = options->inner)
        nq_uuid_format(id, options->id);
}

void nqi_options_set_wire(struct nqi_options *options, enum nqi_wire wire)
{
    for (; options; options = options->inner)
        options->wire = wire;
}

enum nqi_wire nqi_options_wire(const struct nqi_options *options)
{
    return options ? options->wire : NQI_WIRE_NATIVE;
}

int nqi_options_int(const struct nqi_options *options, const char *name, int64_t *ret)
{
    const struct nqi_value *value = options_get(options, name,
                                                1u << NQT_OPT_BOOL | 1u << NQT_OPT_INT |
                                                    1u << NQT_OPT_SIZE | 1u << NQT_OPT_DURATION);

    if (strcmp(name, NQT_FACT_PROVEN) == 0) {
        *ret = options->proven;
        return NQT_OK;
    }
    if (strcmp(name, NQT_FACT_WIRE) == 0) {
        *ret = (int64_t)options->wire;
        return NQT_OK;
    }
    if (!value)
        return NQT_E_CONFIG;
    *ret = value->num;
    return NQT_OK;
}

int nqi_options_str(const struct nqi_options *options, const char *name, const char **ret)
{
    const struct nqi_value *value = options_get(options, name,
                                                1u << NQT_OPT_STR | 1u << NQT_OPT_ENUM |
                                                    1u << NQT_OPT_PATH | 1u << NQT_OPT_TRANSPORT);

    if (strcmp(name, NQT_FACT_ID) == 0) {
        *ret = options->id;
        return NQT_OK;
    }
    if (!value)
        return NQT_E_CONFIG;
    *ret = value->str;
    return NQT_OK;
}

int nqi_options_list(const struct nqi_options *options, const char *name, uint32_t i,
                     const char **ret)
{
    const struct nqi_value *value = options_get(options, name, 1u << NQT_OPT_LIST);

    if (!value || i >= value->count)
        return NQT_E_CONFIG;
    *ret = value->list[i];
    return NQT_OK;
}
