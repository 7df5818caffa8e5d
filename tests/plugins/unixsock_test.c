/* tests/outside/unixsock.c keeps the contract, too; it has only the slots that must be. */
#include "tests/plugins/contract.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern const struct nqt_module unixsock_LTX_nqt0_module;

static char path[64];
static const struct nqtest_opt place[] = {{"path", path}, {NULL, NULL}};

static const struct nqtest_transport unixsock = {
    .module = &unixsock_LTX_nqt0_module,
    .server = place,
    .client = place,
    .tiny_server = place,
    .tiny_client = place,
};

/* Each test runs in a process of its own, so with a socket of its own. */
static void setup(void)
{
    const char *folder = getenv("TMPDIR");

    snprintf(path, sizeof(path), "%.40s/nq-%ld", folder ? folder : "/tmp", (long)getpid());
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("unixsock");

    nqtest_contract(suite, &unixsock, setup);
    return suite;
}
