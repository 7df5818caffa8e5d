/* Options: the table and their check. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"
#include <stdlib.h>

const struct nqt_opt shm_opt_table[SHM_OPTIONS] = {
    {.name = "path",
     .type = NQT_OPT_PATH,
     .flags = NQT_OPT_REQUIRED,
     .help = "Socket of the server, at most 107 bytes; whoever may write to it may connect"},
    {.name = "mode",
     .def = "0600",
     .type = NQT_OPT_STR,
     .help = "Permissions of that socket, in octal, as a server creates it"},
    {.name = "cells",
     .def = "256",
     .type = NQT_OPT_INT,
     .min = SHM_CELLS_MIN,
     .max = SHM_CELLS_MAX,
     .help = "Pieces of 64 bytes that may wait for the peer; rounded up to a power of two"},
    {.name = "ring",
     .def = "64KiB",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .min = SHM_BYTES_MIN,
     .max = SHM_BYTES_MAX,
     .help = "Bytes of larger pieces that may wait for it; rounded up to a power of two"},
    {.name = "pool",
     .def = "64MiB",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .max = INT64_C(1) << 30,
     .help = "Memory of a link for messages that are filled in place; 0 = they are copied"},
    {.name = "keep",
     .def = "48MiB",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .max = INT64_C(1) << 30,
     .help = "Memory of the peer's in which received messages may stay; more of them are copied"},
    {.name = "reclaim",
     .def = "10s",
     .type = NQT_OPT_DURATION,
     .unit = "ns",
     .min = 1000000,
     .max = INT64_C(3600000000000),
     .help = "How long the peer may keep all that can be lent to it; then it is left that, once, "
             "and new memory is taken"},
    {.name = "leases",
     .def = "128",
     .type = NQT_OPT_INT,
     .min = SHM_TOKENS_MIN,
     .max = SHM_TOKENS_MAX,
     .help = "Pieces of the peer's memory that this side may keep at a time, and the peer of ours; "
             "rounded up to a power of two"},
    {.name = "connect_timeout",
     .def = "10s",
     .type = NQT_OPT_DURATION,
     .unit = "ns",
     .min = 1000000,
     .max = INT64_C(3600000000000),
     .help = "Time for connecting and for the server's memory to come; a server waits so long for "
             "a client's"},
    {.name = "backlog",
     .def = "1024",
     .type = NQT_OPT_INT,
     .min = 1,
     .max = 65535,
     .help = "Connections that may wait to be accepted"},
};

static uint32_t opts_power(int64_t value)
{
    uint32_t power = 1;

    while (power < value)
        power *= 2;
    return power;
}

static int opts_path(const struct nqt_host *host, nqt_cfg *cfg, char path[SHM_PATH_MAX],
                     struct nqt_error *err)
{
    const char *text = NULL;

    if (!host->cfg_str(cfg, "path", &text) && text && strlen(text) >= SHM_PATH_MAX)
        return shm_say_long(text, err);
    return nqt_cfg_text(host, cfg, "path", true, path, SHM_PATH_MAX, err);
}

static int opts_mode(const struct nqt_host *host, nqt_cfg *cfg, mode_t *mode, struct nqt_error *err)
{
    char text[8], *end;
    unsigned long value;
    int rc = nqt_cfg_text(host, cfg, "mode", true, text, sizeof(text), err);

    if (rc)
        return rc;
    value = strtoul(text, &end, 8);
    if (*end || value > 0777)
        return nqt_fail(err, NQT_E_CONFIG, "mode: \"%s\" is not from 0 to 0777, in octal", text);
    *mode = (mode_t)value;
    return NQT_OK;
}

int shm_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct shm_opts *out,
                  struct nqt_error *err)
{
    struct shm_opts opts = {.backlog = 0};
    int64_t cells = 0, bytes = 0, pool = 0, keep = 0, leases = 0, backlog = 0;
    const struct nqt_number numbers[] = {
        {"cells", &cells},
        {"ring", &bytes},
        {"pool", &pool},
        {"keep", &keep},
        {"reclaim", &opts.reclaim_ns},
        {"leases", &leases},
        {"connect_timeout", &opts.connect_timeout_ns},
        {"backlog", &backlog},
    };
    int rc = opts_path(host, cfg, opts.path, err);

    if (!rc)
        rc = opts_mode(host, cfg, &opts.mode, err);
    if (!rc)
        rc = nqt_cfg_numbers(host, cfg, numbers, sizeof(numbers) / sizeof(numbers[0]), err);
    if (rc)
        return rc;
    opts.backlog = (int)backlog;
    opts.pool = (size_t)pool;
    opts.keep = (size_t)keep;
    opts.sizes = (struct shm_sizes){
        .ncell = opts_power(cells), .ntoken = opts_power(leases), .nbyte = opts_power(bytes)};
    if (!shm_sizes_ok(&opts.sizes))
        return nqt_fail(err, NQT_E_CONFIG, "cells, ring, leases: out of range");
    *out = opts;
    return NQT_OK;
}
