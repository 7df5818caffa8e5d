/* plugins/tcp with certificates: the contract suite over mutual TLS, and who is not let in, with
 * the reason on both sides. */
#include "tests/plugins/tcp_raw.h"
#include "tests/support/certs.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define AT(name) nqtest_certs[NQTEST_##name]

/* Options: who one is, whom one trusts, where. */
#define IS(name)                                     \
    {"tls.cert", nqtest_certs[NQTEST_##name]},       \
    {                                                \
        "tls.key", nqtest_certs[NQTEST_##name##_KEY] \
    }
#define TRUSTS(name)       \
    {                      \
        "tls.ca", AT(name) \
    }
#define HERE                \
    {                       \
        "host", "127.0.0.1" \
    }
#define ANY_PORT    \
    {               \
        "port", "0" \
    }
#define END        \
    {              \
        NULL, NULL \
    }

/* ---- the contract ----------------------------------------------------------------------- */

static const struct nqtest_opt server[] = {HERE, ANY_PORT, TRUSTS(CA), IS(SERVER), END};
static const struct nqtest_opt client[] = {HERE, TRUSTS(CA), IS(CLIENT), END};
static const struct nqtest_opt tiny_server[] = {
    HERE, ANY_PORT, TRUSTS(CA), IS(SERVER), {"receive_buffer", "2048"}, END};
static const struct nqtest_opt tiny_client[] = {
    HERE, TRUSTS(CA), IS(CLIENT), {"send_buffer", "4096"}, END};

static const struct nqtest_transport tcp_tls = {
    .module = &tcp_LTX_nqt0_module,
    .server = server,
    .client = client,
    .tiny_server = tiny_server,
    .tiny_client = tiny_client,
    .port = "port",
    .up_when_attached = true,
};

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tcp_tls");

    nqtest_certs_make();
    nqtest_contract(suite, &tcp_tls, NULL);
    return suite;
}
