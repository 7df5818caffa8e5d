/* plugins/fault around plugins/loop: with every fault off, the contract suite. */
#include "tests/plugins/contract.h"

extern const struct nqt_module fault_LTX_nqt0_module, loop_LTX_nqt0_module;

static const struct nqtest_opt usual[] = {{NULL, NULL}};
static const struct nqtest_opt few[] = {{"slots", "1"}, {NULL, NULL}};

static const struct nqtest_transport wrapped = {
    .module = &fault_LTX_nqt0_module,
    .server = usual,
    .client = usual,
    .tiny_server = few,
    .tiny_client = few,
    .polls_nothing = true,
};

static void setup(void)
{
    nqtest_inner = &loop_LTX_nqt0_module;
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("fault on loop");

    nqtest_contract(suite, &wrapped, setup);
    return suite;
}
