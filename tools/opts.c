/* Options of a command, from one table that also prints --help.
 *
 * getopt_long does the walking; the table says what each option is, so that a command
 * states its options once. */
#include "tools/opts.h"
#include "tools/say.h"
#include <ctype.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTS_MAX 32   /* options of one command */
#define OPTS_LONG 256 /* getopt_long answers this and more for options without a letter */

/* ---- numbers ------------------------------------------------------------------------- */

struct opts_unit {
    const char *name;
    double factor;
};

/* A non-negative decimal number and one of `units`; "" must be among them to make the
 * unit optional. */
static bool opts_number(const char *text, const struct opts_unit *units, size_t n, double *ret)
{
    char *end;
    double value;

    if (!isdigit((unsigned char)text[0]))
        return false;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) /* strtod would read it */
        return false;
    value = strtod(text, &end);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(end, units[i].name) == 0) {
            *ret = value * units[i].factor;
            return true;
        }
    }
    return false;
}

bool nqi_parse_duration(const char *text, int64_t *ret)
{
    static const struct opts_unit units[] = {{"ns", 1},  {"us", 1e3},   {"ms", 1e6},  {"", 1e9},
                                             {"s", 1e9}, {"min", 60e9}, {"h", 3600e9}};
    double value;

    if (strcmp(text, "forever") == 0) {
        *ret = NQ_FOREVER;
        return true;
    }
    if (!opts_number(text, units, NQI_LEN(units), &value) || value >= 9.2e18)
        return false;
    *ret = (int64_t)(value + 0.5);
    return true;
}

bool nqi_parse_count(const char *text, uint64_t *ret)
{
    uint64_t value = 0;

    if (!*text)
        return false;
    for (; *text; text++) {
        if (!isdigit((unsigned char)*text))
            return false;
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return false;
    }
    *ret = value;
    return true;
}

bool nqi_parse_size(const char *text, uint64_t *ret)
{
    static const struct opts_unit units[] = {
        {"", 1},
        {"B", 1},
        {"KiB", 1024},
        {"MiB", 1024. * 1024},
        {"GiB", 1024. * 1024 * 1024},
        {"TiB", 1024. * 1024 * 1024 * 1024},
    };
    double value;

    if (nqi_parse_count(text, ret)) /* exact beyond 2^53 */
        return true;
    if (!opts_number(text, units, NQI_LEN(units), &value) || value >= 1.8e19)
        return false;
    *ret = (uint64_t)(value + 0.5);
    return true;
}

/* ---- one option ------------------------------------------------------------------------ */

void nqi_texts_fini(struct nqi_texts *texts)
{
    free(texts->items);
    texts->items = NULL;
    texts->n = 0;
}

static bool opts_add_text(struct nqi_texts *texts, const char *text)
{
    const char **grown = realloc(texts->items, (texts->n + 1) * sizeof(*grown));

    if (!grown)
        return false;
    grown[texts->n++] = text;
    texts->items = grown;
    return true;
}

static bool opts_set(const struct nqi_opt *opt, const char *text)
{
    switch (opt->type) {
    case NQI_OPT_FLAG:
        *(bool *)opt->ret = true;
        return true;
    case NQI_OPT_TEXT:
        *(const char **)opt->ret = text;
        return true;
    case NQI_OPT_TEXTS:
        return opts_add_text(opt->ret, text);
    case NQI_OPT_COUNT:
        return nqi_parse_count(text, opt->ret);
    case NQI_OPT_SIZE:
        return nqi_parse_size(text, opt->ret);
    case NQI_OPT_DURATION:
        return nqi_parse_duration(text, opt->ret);
    }
    return false;
}

static const char *opts_example(enum nqi_opt_type type)
{
    switch (type) {
    case NQI_OPT_COUNT:
        return "a number like 100";
    case NQI_OPT_SIZE:
        return "a size like 65536 or 64KiB";
    case NQI_OPT_DURATION:
        return "a time like 500ms, 30s, 5min or forever";
    default:
        return "another value";
    }
}

/* ---- help ---------------------------------------------------------------------------------- */

static void opts_help_line(const char *left, const char *help)
{
    printf("  %-26s", left);
    if (strlen(left) > 25)
        printf("\n  %-26s", "");
    for (; *help; help++) {
        putchar(*help);
        if (*help == '\n')
            printf("  %-26s", "");
    }
    putchar('\n');
}

static void opts_help(const struct nqi_usage *usage, const struct nqi_opt *opts, size_t nopts)
{
    char left[64];

    printf("Usage: netqueue %s\n\n%s\n\nOptions:\n", usage->synopsis, usage->summary);
    for (size_t i = 0; i < nopts; i++) {
        char letter[8] = "    ";

        if (opts[i].letter)
            snprintf(letter, sizeof(letter), "-%c, ", opts[i].letter);
        snprintf(left, sizeof(left), "%s--%s%s%s", letter, opts[i].name, opts[i].arg ? "=" : "",
                 opts[i].arg ? opts[i].arg : "");
        opts_help_line(left, opts[i].help);
    }
    opts_help_line("-h, --help", "print this and end");
    if (usage->more)
        printf("\n%s\n", usage->more);
    printf("\nExit code: 0 success; 1 something was not delivered, or problems were found;\n"
           "2 wrong usage; 3 configuration or transport; 4 no connection or time-out;\n"
           "130 interrupted.\n");
}

int nqi_opts_bad(const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    nqi_say("%s; --help shows the usage", text);
    return NQI_EXIT_USAGE;
}

/* ---- the walk ------------------------------------------------------------------------------ */

/* The forms getopt_long wants; `letters` has room for two characters an option and five. */
static void opts_forms(const struct nqi_opt *opts, size_t nopts, struct option *longs,
                       char *letters)
{
    *letters++ = ':'; /* tell a missing argument from an unknown option */
    for (size_t i = 0; i < nopts; i++) {
        longs[i].name = opts[i].name;
        longs[i].has_arg = opts[i].arg ? required_argument : no_argument;
        longs[i].val = OPTS_LONG + (int)i;
        if (!opts[i].letter)
            continue;
        *letters++ = opts[i].letter;
        if (opts[i].arg)
            *letters++ = ':';
    }
    longs[nopts].name = "help";
    longs[nopts].val = 'h';
    *letters++ = 'h';
    *letters = 0;
}

static const struct nqi_opt *opts_find(const struct nqi_opt *opts, size_t nopts, int found)
{
    if (found >= OPTS_LONG)
        return &opts[found - OPTS_LONG];
    for (size_t i = 0; i < nopts; i++)
        if (opts[i].letter == found)
            return &opts[i];
    return NULL;
}

/* getopt_long has stopped at something that is no option of ours. */
static int opts_refuse(int found, char **argv)
{
    char letter[3] = {'-', (char)optopt, 0};
    bool is_letter = optopt > 0 && optopt < OPTS_LONG;
    const char *word = is_letter ? letter : argv[optind - 1];

    if (found == ':')
        return nqi_opts_bad("option %s needs a value", word);
    return nqi_opts_bad("there is no option %s", word);
}

int nqi_opts_parse(const struct nqi_usage *usage, const struct nqi_opt *opts, size_t nopts,
                   int argc, char **argv)
{
    struct option longs[OPTS_MAX + 2];
    char letters[2 * OPTS_MAX + 5];
    int found;

    if (nopts > OPTS_MAX)
        abort();
    memset(longs, 0, sizeof(longs));
    opts_forms(opts, nopts, longs, letters);
    opterr = 0;
    optind = 0; /* begin anew: main has looked at the arguments already */
    while ((found = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const struct nqi_opt *opt;

        if (found == 'h') {
            opts_help(usage, opts, nopts);
            return NQI_EXIT_OK;
        }
        opt = found == '?' || found == ':' ? NULL : opts_find(opts, nopts, found);
        if (!opt)
            return opts_refuse(found, argv);
        if (!opts_set(opt, optarg))
            return nqi_opts_bad("--%s: \"%s\" is not %s", opt->name, optarg,
                                opts_example(opt->type));
    }
    return -1;
}
