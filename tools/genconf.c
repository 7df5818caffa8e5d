/* genconf schema|reference [TRANSPORT...]: prints config/netqueue.schema.json or config/README.md
 * from the key table; with names, also the options of those transports.  For the build of the
 * documentation only, never installed. */
#include "core/conf_doc.h"
#include "core/plugin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GENCONF_MODULES 64

static int genconf_fail(void)
{
    fprintf(stderr, "genconf: %s\n", nq_error());
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    const struct nqt_module *modules[GENCONF_MODULES];
    bool schema = argc > 1 && strcmp(argv[1], "schema") == 0;
    char *text;
    size_t n = 0;
    nq_err err;

    if (!schema && (argc < 2 || strcmp(argv[1], "reference") != 0)) {
        fputs("usage: genconf schema|reference [TRANSPORT...]\n", stderr);
        return EXIT_FAILURE;
    }
    for (int i = 2; i < argc && n < GENCONF_MODULES; i++)
        if (nqi_plugin_load(argv[i], NULL, 0, &modules[n++]))
            return genconf_fail();
    err = schema ? nqi_conf_schema(modules, n, &text) : nqi_conf_reference(modules, n, &text);
    if (err)
        return genconf_fail();
    fputs(text, stdout);
    free(text);
    return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
