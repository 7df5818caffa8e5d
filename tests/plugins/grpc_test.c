/* plugins/grpc: the contract suite, and what is special of gRPC. */
#include "tests/plugins/contract.h"
#include <grpc/grpc.h>
#include <string.h>

extern const struct nqt_module grpc_LTX_nqt0_module;

static const struct nqtest_opt server[] = {{"host", "127.0.0.1"}, {"port", "0"}, {NULL, NULL}};
static const struct nqtest_opt client[] = {{"host", "127.0.0.1"}, {NULL, NULL}};
static const struct nqtest_opt tiny_server[] = {{"host", "127.0.0.1"},
                                                {"port", "0"},
                                                {"message", "4KiB"},
                                                {"send_queue", "4KiB"},
                                                {NULL, NULL}};
static const struct nqtest_opt tiny_client[] = {
    {"host", "127.0.0.1"}, {"message", "4KiB"}, {"send_queue", "4KiB"}, {NULL, NULL}};

static const struct nqtest_transport grpc = {
    .module = &grpc_LTX_nqt0_module,
    .server = server,
    .client = client,
    .tiny_server = tiny_server,
    .tiny_client = tiny_client,
    .port = "port",
};

/* Two descriptors of the library's stay open once it was in use. */
static void setup(void)
{
    grpc_init();
    grpc_shutdown();
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("grpc");

    nqtest_contract(suite, &grpc, setup);
    return suite;
}
