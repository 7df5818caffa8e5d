/* The reference page comes from the same rows that the checker reads, so it cannot say anything
 * else. The schema, which does too, is in conf_schema.c. */
#include "core/conf_doc.h"

#include "core/conf_table.h"
#include "core/err.h"
#include "core/options.h"
#include <stdio.h>
#include <stdlib.h>

nq_err nqi_conf_doc_end(FILE *file, char **text, bool failed, char **ret)
{
    bool broken = ferror(file);

    if (fclose(file) || broken || failed) {
        free(*text);
        return nqi_fail(NQ_ERR_NOMEM, "no memory to describe the configuration");
    }
    *ret = *text;
    return NQ_OK;
}

/* A row of a Markdown table: key, type and range, default, help. */
static void doc_row(FILE *file, const char *name, const struct nqt_opt *opt, bool later)
{
    char range[NQI_VALUE_TEXT];

    fprintf(file, "| `%s` | %s", name, nqi_value_type(opt));
    if (*nqi_value_range_text(opt, range))
        fprintf(file, ": %s", range);
    for (size_t i = 0; opt->type == NQT_OPT_ENUM && opt->choices[i]; i++)
        fprintf(file, "%s `%s`", i ? "," : ":", opt->choices[i]);
    fprintf(file, " | %s%s%s | ", opt->def ? "`" : "",
            opt->def                        ? opt->def
            : opt->flags & NQT_OPT_REQUIRED ? "required"
                                            : "",
            opt->def ? "`" : "");
    if (later)
        fputs("**Not in this version.** ", file);
    fputs(opt->help ? opt->help : "", file);
    fputs(" |\n", file);
}

static void doc_table(FILE *file, const char *title, const char *intro, const char *place)
{
    fprintf(file, "\n## %s\n\n%s\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
            title, intro);
    for (size_t i = 0; i < nqi_nkeys; i++)
        if (nqi_key_is_in(&nqi_keys[i], place) && nqi_keys[i].opt.type != NQI_OPT_OBJECT)
            doc_row(file, nqi_key_name(&nqi_keys[i]), &nqi_keys[i].opt, nqi_keys[i].later);
        else if (nqi_key_is_in(&nqi_keys[i], place) && nqi_keys[i].later)
            doc_row(file, nqi_key_name(&nqi_keys[i]), &nqi_keys[i].opt, true);
}

static void doc_module_table(FILE *file, const struct nqt_module *module)
{
    fprintf(file, "\n### `%s`\n\n%s\n", module->name, module->summary ? module->summary : "");
    if (!module->nopt)
        return;
    fputs("\n| key | value | default | meaning |\n|---|---|---|---|\n", file);
    for (size_t i = 0; i < module->nopt; i++)
        doc_row(file, nqi_options_at(module, i)->name, nqi_options_at(module, i), false);
}

static const char doc_head[] =
    "# The configuration file\n"
    "\n"
    "This page and `netqueue.schema.json` are generated from the table of keys in\n"
    "`core/conf_table.c` by `tools/genconf`; a test compares them.\n"
    "\n"
    "A configuration is one JSON object in one file:\n"
    "\n"
    "```json\n"
    "{\n"
    "  \"purpose\": \"server\",\n"
    "  \"transports\": [\n"
    "    { \"transport\": \"tcp\", \"host\": \"127.0.0.1\", \"port\": 51966 }\n"
    "  ],\n"
    "  \"queue\": { \"bytes\": \"16MiB\", \"policy\": \"block\" }\n"
    "}\n"
    "```\n"
    "\n"
    "- `netqueue check -c FILE` prints every problem with its place in the file. Unknown keys,\n"
    "  keys that stand twice and values out of range are errors.\n"
    "- A *size* is a number of bytes, or text with a unit: `\"64KiB\"`, `\"16MiB\"`, `\"1GiB\"`,\n"
    "  `\"1TiB\"`.\n"
    "- A *duration* is text with a unit: `\"250us\"`, `\"500ms\"`, `\"30s\"`, `\"5min\"`, "
    "`\"24h\"`; only\n"
    "  0 goes without.\n"
    "- Where a table says so, `\"unlimited\"` or -1, `\"off\"` or 0, and `\"auto\"` are values, "
    "too.\n"
    "- Relative paths count from the folder of the file.\n"
    "- Without TLS and without a key a queue is open to whoever reaches its address. Addresses\n"
    "  other than loopback therefore need `\"security\": {\"insecure\": true}`.\n";

static const char doc_transports_intro[] =
    "Each entry is an object with the name of a transport and its options. An entry that\n"
    "repeats another one is an error. With a single transport, name and options may stand in\n"
    "the file's object itself: `{\"purpose\": \"client\", \"transport\": \"tcp\", \"port\": "
    "51966}`.";

static void doc_sections(FILE *file)
{
    const struct nqi_key *key;
    char title[64];

    doc_table(file, "The file", "Objects in it have sections of their own below.", "");
    doc_table(file, "`transports`", doc_transports_intro, NQI_CONF_ENTRY);
    for (size_t i = 0; i < nqi_nkeys; i++) {
        key = &nqi_keys[i];
        if (key->opt.type != NQI_OPT_OBJECT || !nqi_key_is_in(key, ""))
            continue;
        snprintf(title, sizeof(title), "`%.48s`", nqi_key_name(key));
        doc_table(file, title, key->opt.help, key->opt.name);
    }
    fputs("\n## Other names\n\nKeys that go by other names elsewhere:\n\n", file);
    fputs("| there | here |\n|---|---|\n", file);
    for (size_t i = 0; i < nqi_nkey_aliases; i++)
        fprintf(file, "| `%s` | %s |\n", nqi_key_aliases[i].name, nqi_key_aliases[i].here);
}

nq_err nqi_conf_reference(const struct nqt_module *const *modules, size_t n, char **ret)
{
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);

    if (!file)
        return nqi_fail(NQ_ERR_NOMEM, "no memory to describe the configuration");
    fputs(doc_head, file);
    doc_sections(file);
    if (n)
        fputs("\n## Options of transports\n", file);
    for (size_t i = 0; i < n; i++)
        doc_module_table(file, modules[i]);
    return nqi_conf_doc_end(file, &text, false, ret);
}
