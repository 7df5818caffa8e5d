/* Descriptors as plugins have them; nothing in them is ever called. */
#include "tests/support/modules.h"
#include "core/err.h"
#include <stdio.h>
#include <string.h>

#define MODULES_MIB (1 << 20)
#define MODULES_HOUR INT64_C(3600000000000)

static const char *const modules_families[] = {"any", "ipv4", "ipv6", NULL};

static const struct nqt_opt modules_tcp_opts[] = {
    {.name = "host", .def = "127.0.0.1", .type = NQT_OPT_STR, .help = "Name or address"},
    {.name = "port", .def = "51966", .type = NQT_OPT_INT, .max = 65535, .help = "Port"},
    {.name = "congestion", .type = NQT_OPT_STR, .help = "Congestion control"},
    {.name = "reuse_port", .def = "false", .type = NQT_OPT_BOOL, .help = "Share the port"},
    {.name = "keepalive", .def = "0", .type = NQT_OPT_DURATION, .unit = "ns", .help = "Probes"},
    {.name = "user_timeout", .def = "30s", .type = NQT_OPT_DURATION, .unit = "ns"},
    {.name = "send_buffer", .def = "0", .type = NQT_OPT_SIZE, .max = 64 * MODULES_MIB},
    {.name = "receive_buffer", .def = "0", .type = NQT_OPT_SIZE, .max = 64 * MODULES_MIB},
    {.name = "connect_timeout",
     .def = "10s",
     .type = NQT_OPT_DURATION,
     .min = 1000000,
     .max = MODULES_HOUR},
    {.name = "family", .def = "any", .type = NQT_OPT_ENUM, .choices = modules_families},
};

const struct nqt_module nqtest_module_tcp = {
    .magic = NQT_MAGIC,
    .abi_major = 1,
    .size = sizeof(struct nqt_module),
    .threading = NQT_THREADING_LOOP,
    .nopt = sizeof(modules_tcp_opts) / sizeof(modules_tcp_opts[0]),
    .opt_size = sizeof(struct nqt_opt),
    .caps = NQT_CAP_STREAM | NQT_CAP_LISTEN | NQT_CAP_CONNECT,
    .name = "tcp",
    .summary = "An address and numbers",
    .opt = modules_tcp_opts,
};

const struct nqt_module nqtest_module_loop = {
    .magic = NQT_MAGIC,
    .abi_major = 1,
    .size = sizeof(struct nqt_module),
    .threading = NQT_THREADING_LOOP,
    .caps = NQT_CAP_MESSAGE | NQT_CAP_LISTEN | NQT_CAP_CONNECT | NQT_CAP_LOCAL_ONLY,
    .name = "loop",
};

static const struct nqt_opt modules_odd_opts[] = {
    {.name = "name", .type = NQT_OPT_STR, .flags = NQT_OPT_REQUIRED},
    {.name = "count", .type = NQT_OPT_INT, .min = -1, .max = 9},
    {.name = "file", .def = "odd.sock", .type = NQT_OPT_PATH},
    {.name = "words", .def = "a,b", .type = NQT_OPT_LIST},
    {.name = "pin", .type = NQT_OPT_INT, .min = 1000, .max = 9999, .flags = NQT_OPT_SECRET},
    {.name = "host", .def = "0.0.0.0", .type = NQT_OPT_STR},
    {.name = "tls.ca", .type = NQT_OPT_PATH, .help = "Who signed it"},
    {.name = "tls.depth", .type = NQT_OPT_INT, .min = 1, .max = 9, .help = "How long a chain"},
};

const struct nqt_module nqtest_module_odd = {
    .magic = NQT_MAGIC,
    .abi_major = 1,
    .size = sizeof(struct nqt_module),
    .threading = NQT_THREADING_OWN,
    .nopt = sizeof(modules_odd_opts) / sizeof(modules_odd_opts[0]),
    .opt_size = sizeof(struct nqt_opt),
    .caps = NQT_CAP_STREAM | NQT_CAP_CONNECT | NQT_CAP_LOCAL_ONLY,
    .name = "odd",
    .opt = modules_odd_opts,
};

static const struct nqt_opt modules_upon_opts[] = {
    {.name = "below", .type = NQT_OPT_TRANSPORT, .flags = NQT_OPT_REQUIRED},
    {.name = "count", .def = "3", .type = NQT_OPT_INT, .max = 9},
};

const struct nqt_module nqtest_module_upon = {
    .magic = NQT_MAGIC,
    .abi_major = 1,
    .size = sizeof(struct nqt_module),
    .threading = NQT_THREADING_LOOP,
    .nopt = sizeof(modules_upon_opts) / sizeof(modules_upon_opts[0]),
    .opt_size = sizeof(struct nqt_opt),
    .caps = NQT_CAP_STREAM | NQT_CAP_LISTEN | NQT_CAP_CONNECT,
    .name = "upon",
    .opt = modules_upon_opts,
};

size_t nqtest_module_npaths;
char nqtest_module_path[256];

nq_err nqtest_module(const char *name, const char *const *paths, size_t npaths,
                     const struct nqt_module **ret)
{
    static const struct nqt_module *const all[] = {
        &nqtest_module_tcp,
        &nqtest_module_loop,
        &nqtest_module_odd,
        &nqtest_module_upon,
    };

    nqtest_module_npaths = npaths;
    snprintf(nqtest_module_path, sizeof(nqtest_module_path), "%s", npaths ? paths[0] : "");
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(all[i]->name, name) == 0) {
            *ret = all[i];
            return NQ_OK;
        }
    return nqi_fail(NQ_ERR_PLUGIN, "no transport \"%s\" here", name);
}
