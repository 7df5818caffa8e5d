/* plugins/fault around plugins/tcp: with every fault off, the contract suite. */
#include "tests/plugins/contract.h"

extern const struct nqt_module fault_LTX_nqt0_module, tcp_LTX_nqt0_module;

static const struct nqtest_opt server[] = {{"host", "127.0.0.1"}, {"port", "0"}, {NULL, NULL}};
static const struct nqtest_opt client[] = {{"host", "127.0.0.1"}, {NULL, NULL}};
static const struct nqtest_opt tiny_server[] = {
    {"host", "127.0.0.1"}, {"port", "0"}, {"receive_buffer", "2048"}, {NULL, NULL}};
static const struct nqtest_opt tiny_client[] = {
    {"host", "127.0.0.1"}, {"send_buffer", "4096"}, {NULL, NULL}};

static const struct nqtest_transport wrapped = {
    .module = &fault_LTX_nqt0_module,
    .server = server,
    .client = client,
    .tiny_server = tiny_server,
    .tiny_client = tiny_client,
    .port = "port",
};

static void setup(void)
{
    nqtest_inner = &tcp_LTX_nqt0_module;
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("fault on tcp");

    nqtest_contract(suite, &wrapped, setup);
    return suite;
}
