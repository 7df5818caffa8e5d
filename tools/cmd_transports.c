/* netqueue transports: which there are, and what one of them can do. */
#include "tools/json.h"
#include "tools/opts.h"
#include "tools/say.h"
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

struct transports {
    bool json;
    char **names; /* owned */
    size_t n;
    bool no_memory;
};

static void transports_fini(struct transports *transports)
{
    for (size_t i = 0; i < transports->n; i++)
        free(transports->names[i]);
    free(transports->names);
}

/* One name found in one directory; the same in a later directory is hidden by the first. */
static void transports_found(void *arg, const char *path, const char *text)
{
    struct transports *transports = arg;
    char **grown;

    (void)path;
    for (size_t i = 0; i < transports->n; i++)
        if (strcmp(transports->names[i], text) == 0)
            return;
    grown = realloc(transports->names, (transports->n + 1) * sizeof(*grown));
    if (grown)
        transports->names = grown;
    if (!grown || !(grown[transports->n] = strdup(text))) {
        transports->no_memory = true;
        return;
    }
    transports->n++;
}

static int transports_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* ---- for people ----------------------------------------------------------------------- */

static void transports_row(const struct nq_transport_info *info)
{
    char abi[32];

    snprintf(abi, sizeof(abi), "%u.%u", info->abi_major, info->abi_minor);
    printf("%-10s %-10s %-5s %s\n", info->name, info->version, abi, info->summary);
}

static void transports_option(const struct nq_option_info *option)
{
    printf("  %s (%s", option->name, option->type);
    if (*option->unit)
        printf(", %s", option->unit);
    if (option->min || option->max)
        printf(", %lld to %lld", (long long)option->min, (long long)option->max);
    if (option->required)
        printf(", required");
    if (*option->def)
        printf(", default %s", option->def);
    printf(")\n      %s\n", option->help);
    for (size_t i = 0; option->choices && option->choices[i]; i++)
        printf("%s%s", i ? ", " : "      one of: ", option->choices[i]);
    if (option->choices && option->choices[0])
        putchar('\n');
}

static void transports_describe(const struct nq_transport_info *info)
{
    printf("%s %s: %s\n", info->name, info->version, info->summary);
    printf("file: %s\n", info->file);
    printf("abi: %u.%u, threading: %s\n", info->abi_major, info->abi_minor, info->threading);
    printf("capabilities:");
    for (size_t i = 0; info->caps[i]; i++)
        printf(" %s", info->caps[i]);
    printf("\noptions:%s\n", info->noptions ? "" : " none");
    for (size_t i = 0; i < info->noptions; i++)
        transports_option(&info->options[i]);
}

/* ---- for machines ------------------------------------------------------------------------ */

static void transports_json_field(const char *key, const char *text)
{
    printf("\"%s\": ", key);
    nqi_json_text(stdout, text);
    printf(", ");
}

static void transports_json_list(const char *key, const char *const *items)
{
    printf("\"%s\": [", key);
    for (size_t i = 0; items && items[i]; i++) {
        printf("%s", i ? ", " : "");
        nqi_json_text(stdout, items[i]);
    }
    putchar(']');
}

static void transports_json_option(const struct nq_option_info *option)
{
    putchar('{');
    transports_json_field("name", option->name);
    transports_json_field("type", option->type);
    transports_json_field("default", *option->def ? option->def : NULL);
    transports_json_field("unit", option->unit);
    transports_json_field("help", option->help);
    transports_json_list("choices", option->choices);
    if (option->min || option->max)
        printf(", \"min\": %lld, \"max\": %lld", (long long)option->min, (long long)option->max);
    printf(", \"required\": %s}", option->required ? "true" : "false");
}

static void transports_json(const struct nq_transport_info *info)
{
    putchar('{');
    transports_json_field("name", info->name);
    transports_json_field("version", info->version);
    transports_json_field("summary", info->summary);
    transports_json_field("file", info->file);
    transports_json_field("threading", info->threading);
    printf("\"abi\": \"%u.%u\", ", info->abi_major, info->abi_minor);
    transports_json_list("capabilities", info->caps);
    printf(", \"options\": [");
    for (size_t i = 0; i < info->noptions; i++) {
        printf("%s", i ? ", " : "");
        transports_json_option(&info->options[i]);
    }
    printf("]}");
}

/* ---- the command ---------------------------------------------------------------------------- */

static int transports_one(const struct transports *transports, const char *name)
{
    const struct nq_transport_info *info = NULL;
    nq_err err = nq_transport_info(name, &info);

    if (err != NQ_OK)
        return nqi_say_error(err);
    if (transports->json) {
        transports_json(info);
        putchar('\n');
    } else {
        transports_describe(info);
    }
    return NQI_EXIT_OK;
}

/* Print those that load, say why the others do not. */
static int transports_rows(const struct transports *transports)
{
    int code = NQI_EXIT_OK;
    bool first = true;

    if (!transports->json && transports->n)
        printf("%-10s %-10s %-5s %s\n", "NAME", "VERSION", "ABI", "WHAT IT IS");
    printf("%s", transports->json ? "[" : "");
    for (size_t i = 0; i < transports->n; i++) {
        const struct nq_transport_info *info = NULL;
        nq_err err = nq_transport_info(transports->names[i], &info);

        if (err != NQ_OK) {
            code = nqi_say_error(err);
            continue;
        }
        if (transports->json) {
            printf("%s", first ? "" : ", ");
            transports_json(info);
        } else {
            transports_row(info);
        }
        first = false;
    }
    printf("%s", transports->json ? "]\n" : "");
    return code;
}

static int transports_list(struct transports *transports)
{
    nq_err err = nq_transports(transports_found, transports);

    if (err != NQ_OK)
        return nqi_say_error(err);
    if (transports->no_memory)
        return nqi_say_error(NQ_ERR_NOMEM);
    if (transports->n)
        qsort(transports->names, transports->n, sizeof(*transports->names), transports_order);
    if (transports->n == 0 && !transports->json)
        nqi_say("no transport is installed");
    return transports_rows(transports);
}

int nqi_cmd_transports(int argc, char **argv)
{
    static const struct nqi_usage usage = {
        "transports [NAME] [--json]",
        "Lists the transports that are installed, or describes one of them: version, ABI,\n"
        "capabilities, and its options with their defaults.",
        NULL,
    };
    NQI_CLEANUP(transports_fini) struct transports transports = {0};
    const struct nqi_opt opts[] = {
        {"json", NULL, "print JSON", &transports.json, NQI_OPT_FLAG, 0},
    };
    int code = nqi_opts_parse(&usage, opts, NQI_LEN(opts), argc, argv);

    if (code >= 0)
        return code;
    if (argc - optind > 1)
        return nqi_opts_bad("one NAME at most");
    if (optind < argc)
        return transports_one(&transports, argv[optind]);
    return transports_list(&transports);
}
