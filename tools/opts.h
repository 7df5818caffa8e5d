/* Options of a command, from one table that also prints --help. */
#ifndef NQ_TOOLS_OPTS_H
#define NQ_TOOLS_OPTS_H

#include "tools/tool.h"

enum nqi_opt_type {
    NQI_OPT_FLAG,     /* bool */
    NQI_OPT_TEXT,     /* const char *, borrowed from argv */
    NQI_OPT_TEXTS,    /* struct nqi_texts: may be given several times */
    NQI_OPT_COUNT,    /* uint64_t */
    NQI_OPT_SIZE,     /* uint64_t bytes: suffixes KiB MiB GiB TiB */
    NQI_OPT_DURATION, /* int64_t ns: suffixes ns us ms s min h, or "forever" */
};

struct nqi_texts {
    const char **items; /* owned array of borrowed texts */
    size_t n;
};

struct nqi_opt {
    const char *name, *arg, *help; /* "timeout", "DUR", what it does; arg NULL for flags */
    void *ret;                     /* where the value goes: left alone when not given */
    enum nqi_opt_type type;
    char letter; /* 0 = long form only */
};

struct nqi_usage {
    const char *synopsis; /* "put -c FILE [OPTION]... [FILE...|-]" */
    const char *summary;  /* a sentence or two */
    const char *more;     /* text after the options; NULL = none */
};

/* Read the options of argv[1..]; operands are argv[optind..] afterwards.  -h and --help are
 * understood for every command.
 * @return -1 = go on; else the exit code to end with (help was printed, or what is wrong) */
int nqi_opts_parse(const struct nqi_usage *usage, const struct nqi_opt *opts, size_t nopts,
                   int argc, char **argv);

/* Say what is wrong with the command line and where help is; returns NQI_EXIT_USAGE. */
int nqi_opts_bad(const char *format, ...) NQI_PRINTF(1, 2);

/* For NQI_CLEANUP. */
void nqi_texts_fini(struct nqi_texts *texts);

/* Each reads the whole `text`; @return false (and *ret untouched) when it is not one. */
bool nqi_parse_duration(const char *text, int64_t *ret);
bool nqi_parse_size(const char *text, uint64_t *ret);
bool nqi_parse_count(const char *text, uint64_t *ret);

#endif
