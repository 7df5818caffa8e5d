/* plugins/fault around plugins/shm: with every fault off, the contract suite. */
#include "tests/plugins/shm_rig.h"

extern const struct nqt_module fault_LTX_nqt0_module;

static const struct nqtest_transport wrapped = {
    .module = &fault_LTX_nqt0_module,
    .server = nqtest_shm_usual,
    .client = nqtest_shm_usual,
    .tiny_server = nqtest_shm_tiny,
    .tiny_client = nqtest_shm_tiny,
};

static void setup(void)
{
    nqtest_inner = &shm_LTX_nqt0_module;
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("fault on shm");

    nqtest_shm_folder();
    nqtest_contract(suite, &wrapped, setup);
    return suite;
}
