/* netqueue check: every problem of a configuration file, with its place in the file. */
#include "tools/json.h"
#include "tools/opts.h"
#include "tools/say.h"
#include <getopt.h>

struct check {
    const char *file;
    bool json;
    unsigned long problems;
};

static void check_problem(void *arg, const char *path, const char *text)
{
    struct check *check = arg;

    check->problems++;
    if (!check->json) {
        printf("%s: %s%s%s\n", check->file, path, *path ? ": " : "", text);
        return;
    }
    printf("%s{\"path\": ", check->problems > 1 ? ", " : "");
    nqi_json_text(stdout, path);
    printf(", \"text\": ");
    nqi_json_text(stdout, text);
    putchar('}');
}

static int check_file(struct check *check)
{
    nq_err err;

    if (check->json) {
        printf("{\"file\": ");
        nqi_json_text(stdout, check->file);
        printf(", \"problems\": [");
    }
    err = nq_check(check->file, check_problem, check);
    if (err != NQ_OK && check->problems == 0) {
        const char *text = nq_error();

        check_problem(check, "", *text ? text : nq_strerror(err));
    }
    if (check->json)
        printf("]}\n");
    if (err == NQ_ERR_SYS || err == NQ_ERR_NOMEM)
        return NQI_EXIT_CONFIG;
    if (err != NQ_OK || check->problems)
        return NQI_EXIT_FAILED;
    if (!check->json)
        printf("%s: no problems\n", check->file);
    return NQI_EXIT_OK;
}

int nqi_cmd_check(int argc, char **argv)
{
    static const struct nqi_usage usage = {
        "check -c FILE [--json]",
        "Prints every problem of a configuration file with its place in the file. The\n"
        "transports that the file names are loaded; no connection is opened.",
        NULL,
    };
    struct check check = {0};
    const struct nqi_opt opts[] = {
        {"config", "FILE", "the configuration file", &check.file, NQI_OPT_TEXT, 'c'},
        {"json", NULL, "print one JSON object: file, problems (path, text)", &check.json,
         NQI_OPT_FLAG, 0},
    };
    int code = nqi_opts_parse(&usage, opts, NQI_LEN(opts), argc, argv);

    if (code >= 0)
        return code;
    if (!check.file && optind + 1 == argc) /* the only thing it can mean */
        check.file = argv[optind++];
    if (!check.file)
        return nqi_opts_bad("-c FILE is missing");
    if (optind < argc)
        return nqi_opts_bad("unexpected operand \"%s\"", argv[optind]);
    return check_file(&check);
}
