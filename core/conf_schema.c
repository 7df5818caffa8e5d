/* The JSON Schema comes from the same rows that the checker reads, so it cannot say anything else.
 * A tree is built first and printed then, because the order of the table is not the order of the
 * schema. */
#include "core/conf_doc.h"

#include "core/conf_table.h"
#include "core/err.h"
#include "core/options.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* One lost member would make a schema that lies: any failure is kept to the end. */
struct doc {
    const struct nqt_module *const *modules;
    size_t nmodules;
    bool failed;
};

static void doc_set(struct doc *doc, json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value))
        doc->failed = true;
}

static void doc_append(struct doc *doc, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value))
        doc->failed = true;
}

static json_t *doc_strings(struct doc *doc, const char *const *texts)
{
    json_t *array = json_array();

    for (; *texts; texts++)
        doc_append(doc, array, json_string(*texts));
    return array;
}

static json_t *doc_whole_number(struct doc *doc, const struct nqt_opt *opt)
{
    json_t *schema = json_object();
    int64_t min, max;

    doc_set(doc, schema, "type", json_string("integer"));
    if (!nqi_value_range(opt, &min, &max))
        return schema;
    doc_set(doc, schema, "minimum", json_integer(min));
    if (max != INT64_MAX)
        doc_set(doc, schema, "maximum", json_integer(max));
    return schema;
}

static json_t *doc_pattern(struct doc *doc, const char *pattern)
{
    json_t *schema = json_object();

    doc_set(doc, schema, "type", json_string("string"));
    doc_set(doc, schema, "pattern", json_string(pattern));
    return schema;
}

static json_t *doc_words(struct doc *doc, uint32_t words)
{
    json_t *schema = json_object(), *list = json_array();

    if (words & NQI_OPT_UNLIMITED) {
        doc_append(doc, list, json_string("unlimited"));
        doc_append(doc, list, json_integer(-1));
    }
    if (words & NQI_OPT_AUTO)
        doc_append(doc, list, json_string("auto"));
    if (words & NQI_OPT_OFF) {
        doc_append(doc, list, json_string("off"));
        doc_append(doc, list, json_integer(0));
    }
    doc_set(doc, schema, "enum", list);
    return schema;
}

/* The ways to write a number, as members "anyOf" of `schema`. */
static void doc_number(struct doc *doc, json_t *schema, const struct nqt_opt *opt)
{
    uint32_t words = nqi_value_words(opt);
    json_t *ways = json_array();

    if (opt->type == NQT_OPT_DURATION)
        doc_append(doc, ways, doc_pattern(doc, "^(0|[0-9]+ ?(ns|us|ms|s|min|h))$"));
    else
        doc_append(doc, ways, doc_whole_number(doc, opt));
    if (opt->type == NQT_OPT_SIZE)
        doc_append(doc, ways, doc_pattern(doc, "^[0-9]+( ?([KMGT]i)?B)?$"));
    if (opt->type == NQT_OPT_DURATION && !words && !opt->min)
        words = NQI_OPT_OFF; /* for the plain 0 */
    if (words)
        doc_append(doc, ways, doc_words(doc, words));
    if (json_array_size(ways) > 1) {
        doc_set(doc, schema, "anyOf", ways);
        return;
    }
    if (json_object_update(schema, json_array_get(ways, 0)))
        doc->failed = true;
    json_decref(ways);
}

static void doc_list(struct doc *doc, json_t *schema, const struct nqt_opt *opt)
{
    json_t *items = json_object();

    doc_set(doc, items, "type", json_string("string"));
    if (opt->flags & NQI_OPT_ABSOLUTE)
        doc_set(doc, items, "pattern", json_string("^/"));
    doc_set(doc, schema, "type", json_string("array"));
    doc_set(doc, schema, "items", items);
    doc_set(doc, schema, "maxItems", json_integer(NQI_LIST_CAP));
}

static void doc_type(struct doc *doc, json_t *schema, const struct nqt_opt *opt)
{
    switch (opt->type) {
    case NQT_OPT_BOOL:
        doc_set(doc, schema, "type", json_string("boolean"));
        return;
    case NQT_OPT_INT:
    case NQT_OPT_SIZE:
    case NQT_OPT_DURATION:
        doc_number(doc, schema, opt);
        return;
    case NQT_OPT_ENUM:
        doc_set(doc, schema, "enum", doc_strings(doc, opt->choices));
        return;
    case NQT_OPT_LIST:
        doc_list(doc, schema, opt);
        return;
    case NQI_OPT_UUID:
        doc_set(doc, schema, "type", json_string("string"));
        doc_set(doc, schema, "pattern",
                json_string("^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"));
        return;
    case NQI_OPT_NAME:
    case NQT_OPT_TRANSPORT:
        doc_set(doc, schema, "type", json_string("string"));
        doc_set(doc, schema, "pattern", json_string("^[a-z][a-z0-9_-]{0,31}$"));
        return;
    default:
        doc_set(doc, schema, "type", json_string("string"));
    }
}

static json_t *doc_option(struct doc *doc, const struct nqt_opt *opt)
{
    json_t *schema = json_object();

    if (opt->help)
        doc_set(doc, schema, "description", json_string(opt->help));
    doc_type(doc, schema, opt);
    if (opt->def)
        doc_set(doc, schema, "default", nqi_value_default_json(opt));
    return schema;
}

static json_t *doc_object(struct doc *doc, const char *place);

static json_t *doc_entries(struct doc *doc, const struct nqt_opt *opt)
{
    json_t *schema = json_object(), *items = json_object();

    doc_set(doc, items, "$ref", json_string("#/definitions/transport"));
    doc_set(doc, schema, "description", json_string(opt->help));
    doc_set(doc, schema, "type", json_string("array"));
    doc_set(doc, schema, "items", items);
    doc_set(doc, schema, "minItems", json_integer(opt->min));
    doc_set(doc, schema, "maxItems", json_integer(opt->max));
    doc_set(doc, schema, "uniqueItems", json_true());
    return schema;
}

static json_t *doc_key(struct doc *doc, const struct nqi_key *key)
{
    json_t *schema;
    char text[320];

    if (key->later) {
        schema = json_object();
        snprintf(text, sizeof(text), "Not in this version. %.280s", key->opt.help);
        doc_set(doc, schema, "description", json_string(text));
        doc_set(doc, schema, "not", json_object());
        return schema;
    }
    if (key->opt.type == NQI_OPT_TRANSPORTS)
        return doc_entries(doc, &key->opt);
    if (key->opt.type != NQI_OPT_OBJECT)
        return doc_option(doc, &key->opt);
    schema = doc_object(doc, key->opt.name);
    doc_set(doc, schema, "description", json_string(key->opt.help));
    if (!key->later) /* else a transport may have options there */
        doc_set(doc, schema, "additionalProperties", json_false());
    return schema;
}

/* Type, properties and required members of the object at `place`. */
static json_t *doc_object(struct doc *doc, const char *place)
{
    json_t *schema = json_object(), *properties = json_object(), *required = json_array();

    for (size_t i = 0; i < nqi_nkeys; i++) {
        if (!nqi_key_is_in(&nqi_keys[i], place))
            continue;
        doc_set(doc, properties, nqi_key_name(&nqi_keys[i]), doc_key(doc, &nqi_keys[i]));
        if (nqi_keys[i].opt.flags & NQT_OPT_REQUIRED)
            doc_append(doc, required, json_string(nqi_key_name(&nqi_keys[i])));
    }
    doc_set(doc, schema, "type", json_string("object"));
    doc_set(doc, schema, "properties", properties);
    if (!required || json_array_size(required))
        doc_set(doc, schema, "required", required);
    else
        json_decref(required);
    return schema;
}

static void doc_key_names(struct doc *doc, json_t *names, const char *place)
{
    for (size_t i = 0; i < nqi_nkeys; i++)
        if (nqi_key_is_in(&nqi_keys[i], place))
            doc_append(doc, names, json_string(nqi_key_name(&nqi_keys[i])));
}

static json_t *doc_wrap(struct doc *doc, const char *name, json_t *value)
{
    json_t *object = json_object();

    doc_set(doc, object, name, value);
    return object;
}

static json_t *doc_requires(struct doc *doc, const char *name)
{
    return doc_wrap(doc, "required", json_pack("[s]", name));
}

/* "group.member" is a property of the property `group` as well. */
static void doc_member(struct doc *doc, json_t *properties, const struct nqt_opt *opt)
{
    const char *dot = strchr(opt->name, '.');
    char group[40];
    json_t *object;

    if (!dot)
        return;
    snprintf(group, sizeof(group), "%.*s", (int)(dot - opt->name), opt->name);
    object = json_object_get(properties, group);
    if (!object) {
        object = doc_wrap(doc, "properties", json_object());
        doc_set(doc, object, "type", json_string("object"));
        doc_set(doc, object, "additionalProperties", json_false());
        doc_set(doc, properties, group, object);
    }
    doc_set(doc, json_object_get(object, "properties"), dot + 1, doc_option(doc, opt));
}

static json_t *doc_module(struct doc *doc, const struct nqt_module *module)
{
    json_t *schema = json_object(), *properties = json_object(), *required = json_array();
    const struct nqt_opt *opt;

    for (size_t i = 0; i < module->nopt; i++) {
        opt = nqi_options_at(module, i);
        doc_set(doc, properties, opt->name, doc_option(doc, opt));
        doc_member(doc, properties, opt);
        if (opt->flags & NQT_OPT_REQUIRED)
            doc_append(doc, required, json_string(opt->name));
    }
    if (module->summary)
        doc_set(doc, schema, "description", json_string(module->summary));
    doc_set(doc, schema, "properties", properties);
    doc_set(doc, schema, "required", required);
    return schema;
}

/* What an object at `place` that names `module` must be: its options and the core's keys. */
static json_t *doc_chosen(struct doc *doc, const struct nqt_module *module, const char *place)
{
    json_t *names = json_array(), *chosen = json_object();
    const char *name, *dot;
    char ref[96];

    snprintf(ref, sizeof(ref), "#/definitions/transport-%.48s", module->name);
    for (size_t i = 0; i < module->nopt; i++) {
        name = nqi_options_at(module, i)->name;
        dot = strchr(name, '.');
        doc_append(doc, names, json_string(name));
        if (dot && strncmp(name, "tls.", 4) != 0) /* that group is a key of the core's */
            doc_append(doc, names, json_stringn(name, (size_t)(dot - name)));
    }
    doc_key_names(doc, names, NQI_CONF_ENTRY);
    if (!*place)
        doc_key_names(doc, names, place);
    /* Beside the options of one that stands on another are the other's. */
    if (nqi_options_find_inner(module) == NQI_OPTIONS_NONE)
        doc_set(doc, chosen, "propertyNames", doc_wrap(doc, "enum", names));
    else
        json_decref(names);
    doc_set(doc, chosen, "allOf", json_pack("[{s:s}]", "$ref", ref));
    return chosen;
}

/* For each module: if the object at `place` names it, then so. */
static json_t *doc_choose(struct doc *doc, const char *place)
{
    json_t *all = json_array(), *rule, *test;

    for (size_t i = 0; i < doc->nmodules; i++) {
        test = doc_requires(doc, "transport");
        doc_set(doc, test, "properties",
                json_pack("{s:{s:s}}", "transport", "const", doc->modules[i]->name));
        rule = doc_wrap(doc, "if", test);
        doc_set(doc, rule, "then", doc_chosen(doc, doc->modules[i], place));
        doc_append(doc, all, rule);
    }
    return all;
}

static json_t *doc_definitions(struct doc *doc)
{
    json_t *definitions = json_object(), *entry = doc_object(doc, NQI_CONF_ENTRY);
    char name[64];

    if (doc->nmodules)
        doc_set(doc, entry, "allOf", doc_choose(doc, NQI_CONF_ENTRY));
    doc_set(doc, definitions, "transport", entry);
    for (size_t i = 0; i < doc->nmodules; i++) {
        snprintf(name, sizeof(name), "transport-%.48s", doc->modules[i]->name);
        doc_set(doc, definitions, name, doc_module(doc, doc->modules[i]));
    }
    return definitions;
}

/* With "transport" the root is a transport's object, too; without it, only ours. */
static void doc_forms(struct doc *doc, json_t *root)
{
    json_t *brief = doc_wrap(doc, "not", doc_requires(doc, "transports"));
    json_t *full = doc_requires(doc, "transports");
    json_t *names = json_array();

    doc_key_names(doc, names, "");
    doc_set(doc, full, "propertyNames", doc_wrap(doc, "enum", names));
    doc_set(doc, brief, "$comment",
            json_string("the short form: options of the transport stand beside its name"));
    doc_set(doc, root, "if", doc_requires(doc, "transport"));
    doc_set(doc, root, "then", brief);
    doc_set(doc, root, "else", full);
    if (doc->nmodules)
        doc_set(doc, root, "allOf", doc_choose(doc, ""));
}

static json_t *doc_schema(struct doc *doc)
{
    json_t *root = json_object(), *body = doc_object(doc, "");

    doc_set(doc, root, "$schema", json_string("http://json-schema.org/draft-07/schema#"));
    doc_set(doc, root, "title", json_string("netqueue configuration"));
    if (json_object_update(root, body))
        doc->failed = true;
    json_decref(body);
    doc_forms(doc, root);
    doc_set(doc, root, "definitions", doc_definitions(doc));
    return root;
}

nq_err nqi_conf_schema(const struct nqt_module *const *modules, size_t n, char **ret)
{
    struct doc doc = {.modules = modules, .nmodules = n};
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);
    json_t *root;

    if (!file)
        return nqi_fail(NQ_ERR_NOMEM, "no memory to describe the configuration");
    root = doc_schema(&doc);
    if (!root || json_dumpf(root, file, JSON_INDENT(2)))
        doc.failed = true;
    json_decref(root);
    putc('\n', file);
    return nqi_conf_doc_end(file, &text, doc.failed, ret);
}
