/* netqueue conform: whether a transport keeps the rules of <netqueue/transport.h>.
 *
 *     FILE.so -> descriptor -> tries, each in its process -> TAP
 *
 * The host that the tries run it in, and the tries, are in tools/conform/.  The file is named on
 * the command line and trusted; this process itself never loads it. */
#include "tools/conform/place.h"
#include "tools/conform/try.h"
#include "tools/opts.h"
#include "tools/say.h"
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct conform {
    const char *config, *inner;
    struct nqi_texts only;
    int64_t timeout_ns;
    bool rules;
    char folder[64]; /* "" = not made */
    struct nqtest_place place;
};

static void conform_fini(struct conform *conform)
{
    nqi_texts_fini(&conform->only);
    nqtest_place_fini(&conform->place);
    if (*conform->folder)
        (void)rmdir(conform->folder);
}

static void print_rules(void)
{
    for (enum nqtest_rule rule = NQTEST_RULE_LOAD; rule < NQTEST_RULE_COUNT; rule++)
        printf("%-16s %s\n", nqtest_rules[rule].name, nqtest_rules[rule].sentence);
}

/* The rules that were asked for, as bits. */
static bool find_rules(const struct nqi_texts *names, uint64_t *ret)
{
    for (size_t i = 0; i < names->n; i++) {
        int rule = 1;

        while (rule < NQTEST_RULE_COUNT && strcmp(nqtest_rules[rule].name, names->items[i]) != 0)
            rule++;
        if (rule == NQTEST_RULE_COUNT) {
            (void)nqi_opts_bad("there is no rule \"%s\"; --rules lists them", names->items[i]);
            return false;
        }
        *ret |= UINT64_C(1) << rule;
    }
    return true;
}

/* Short, because names of sockets are. */
static bool make_folder(struct conform *conform)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(conform->folder, sizeof(conform->folder), "%.40s/nq-XXXXXX",
             tmp && *tmp && strlen(tmp) <= 40 ? tmp : "/tmp");
    if (mkdtemp(conform->folder))
        return true;
    nqi_say_errno(conform->folder, errno);
    *conform->folder = '\0';
    return false;
}

/* ---- what the file is ------------------------------------------------------------------- */

/* What the process that looks at it ends with, besides the exit codes of the command. */
#define HAS_PORT 64

static bool has_option(const struct nqt_module *module, const char *name)
{
    if (module->opt_size != sizeof(*module->opt))
        return false; /* a rule is broken, which is told later */
    for (uint32_t i = 0; i < module->nopt; i++)
        if (module->opt[i].name && strcmp(module->opt[i].name, name) == 0)
            return true;
    return false;
}

static bool has_options(const struct nqt_module *module, const struct nqt_module *below,
                        const struct nqtest_side *side)
{
    for (size_t i = 0; i < side->n; i++)
        if (!has_option(module, side->opts[i].name) &&
            (!below || !has_option(below, side->opts[i].name))) {
            nqi_say("%s has no option \"%s\"", module->name, side->opts[i].name);
            return false;
        }
    return true;
}

static const struct nqt_module *load_or_exit(const char *file)
{
    char why[512];
    const struct nqt_module *module = nqtest_load(file, why, sizeof(why));

    if (module)
        return module;
    nqi_say("%s: %s", file, why);
    _exit(NQI_EXIT_CONFIG);
}

/* In a process of its own: can it be loaded, and does it know the options?
 * @param inner  NULL = it stands on no other, whose options are its own, too */
static _Noreturn void look_here(const struct nqtest_place *place, const char *file,
                                const char *inner)
{
    const struct nqt_module *module = load_or_exit(file);
    const struct nqt_module *below = inner ? load_or_exit(inner) : NULL;

    if (!has_options(module, below, &place->tiny_server) ||
        !has_options(module, below, &place->tiny_client))
        _exit(NQI_EXIT_CONFIG);
    _exit(has_option(module, "port") || (below && has_option(below, "port")) ? HAS_PORT
                                                                             : NQI_EXIT_OK);
}

/* @return NQI_EXIT_OK, HAS_PORT, or why not, which was said */
static int look_at(const struct nqtest_place *place, const char *file, const char *inner)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        look_here(place, file, inner);
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        nqi_say_errno("a process for the transport", errno);
        return NQI_EXIT_CONFIG;
    }
    if (WIFSIGNALED(status)) {
        nqi_say("%s: %s while it was loaded", file, strsignal(WTERMSIG(status)));
        return NQI_EXIT_CONFIG;
    }
    return WEXITSTATUS(status);
}

/* ---- the command ------------------------------------------------------------------------ */

static int conform_file(struct conform *conform, const char *file)
{
    struct nqtest_conform job = {.patience_ms = conform->timeout_ns / NQI_NS_PER_MS};
    struct nqtest_place *place = &conform->place;
    char path[PATH_MAX], inner[PATH_MAX];
    int code;

    if (!find_rules(&conform->only, &job.only))
        return NQI_EXIT_USAGE;
    if (!realpath(file, path)) {
        nqi_say_errno(file, errno);
        return NQI_EXIT_CONFIG;
    }
    if (conform->inner && !realpath(conform->inner, inner)) {
        nqi_say_errno(conform->inner, errno);
        return NQI_EXIT_CONFIG;
    }
    if (!make_folder(conform) ||
        (conform->config && !nqtest_place_read(conform->config, conform->folder, place)))
        return NQI_EXIT_CONFIG;
    code = look_at(place, path, conform->inner ? inner : NULL);
    if (code != NQI_EXIT_OK && code != HAS_PORT)
        return code;
    job.file = path;
    job.inner = conform->inner ? inner : NULL;
    job.folder = conform->folder;
    job.transport = (struct nqtest_transport){
        .server = place->server.opts,
        .client = place->client.opts,
        .tiny_server = (place->is_tiny ? &place->tiny_server : &place->server)->opts,
        .tiny_client = (place->is_tiny ? &place->tiny_client : &place->client)->opts,
        .port = place->port        ? place->port
                : code == HAS_PORT ? "port"
                                   : NULL,
    };
    return nqtest_conform(&job) ? NQI_EXIT_FAILED : NQI_EXIT_OK;
}

int nqi_cmd_conform(int argc, char **argv)
{
    static const struct nqi_usage usage = {
        "conform [OPTION]... FILE.so",
        "Tries whether a transport keeps the rules of <netqueue/transport.h>, and prints one line\n"
        "of TAP for each rule.  The file is loaded, and so must be trusted.",
        "JSON is an object, or a file with one: {\"both\": {...}, \"server\": {...},\n"
        "\"client\": {...}, \"tiny\": {...}, \"port\": NAME}, each with options of the transport.\n"
        "netqueue-conform(1) tells more.",
    };
    NQI_CLEANUP(conform_fini) struct conform conform = {.timeout_ns = 20 * NQI_NS_PER_S};
    const struct nqi_opt opts[] = {
        {"config", "JSON", "options of the transport", &conform.config, NQI_OPT_TEXT, 'c'},
        {"inner", "FILE.so", "the transport that this one stands on", &conform.inner, NQI_OPT_TEXT,
         0},
        {"rule", "NAME", "only this rule; may be repeated", &conform.only, NQI_OPT_TEXTS, 'r'},
        {"timeout", "DUR", "how long to wait for an event (default 20s)", &conform.timeout_ns,
         NQI_OPT_DURATION, 't'},
        {"rules", NULL, "list the rules and end", &conform.rules, NQI_OPT_FLAG, 0},
    };
    int code = nqi_opts_parse(&usage, opts, NQI_LEN(opts), argc, argv);

    if (code >= 0)
        return code;
    if (conform.rules) {
        print_rules();
        return NQI_EXIT_OK;
    }
    if (argc - optind != 1)
        return nqi_opts_bad("one FILE.so is needed");
    if (conform.timeout_ns < NQI_NS_PER_MS || conform.timeout_ns > 3600 * NQI_NS_PER_S)
        return nqi_opts_bad("--timeout must be from 1ms to 1h");
    return conform_file(&conform, argv[optind]);
}
