/* plugins/tcp: the contract suite. */
#include "tests/plugins/contract.h"

extern const struct nqt_module tcp_LTX_nqt0_module;

static const struct nqtest_opt server[] = {{"host", "127.0.0.1"}, {"port", "0"}, {NULL, NULL}};
static const struct nqtest_opt client[] = {{"host", "127.0.0.1"}, {NULL, NULL}};
static const struct nqtest_opt tiny_server[] = {
    {"host", "127.0.0.1"}, {"port", "0"}, {"receive_buffer", "2048"}, {NULL, NULL}};
static const struct nqtest_opt tiny_client[] = {
    {"host", "127.0.0.1"}, {"send_buffer", "4096"}, {NULL, NULL}};

static const struct nqtest_transport tcp = {
    .module = &tcp_LTX_nqt0_module,
    .server = server,
    .client = client,
    .tiny_server = tiny_server,
    .tiny_client = tiny_client,
    .port = "port",
};

Suite *nqtest_suite(void);

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tcp");

    nqtest_contract(suite, &tcp);
    return suite;
}
