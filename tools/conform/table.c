/* The table that the plugin sees, of this ABI or of an older or newer one.  Behind what a core of
 * that age has lie traps. */
#include "tools/conform/host_in.h"
#include <string.h>

enum nqtest_table nqtest_table;

/* What a core of each minor knows. */
static const size_t table_sizes[] = {sizeof(struct nqt_host)};
#define MINORS (sizeof(table_sizes) / sizeof(table_sizes[0]))

static void not_there(void)
{
    nqtest_broken(NQTEST_RULE_OLDER, __FILE__, __LINE__,
                  "it calls what its host has not, whose table has a size");
}

static void not_known(void)
{
    nqtest_broken(NQTEST_RULE_NEWER, __FILE__, __LINE__, "it calls what it cannot know");
}

/* Fill [from, to) of the table, with which the host begins. */
static void lay_traps(struct nqtest_host *host, size_t from, size_t to, void (*trap)(void))
{
    for (size_t at = from; at < to; at += sizeof(trap))
        memcpy((char *)host + at, &trap, sizeof(trap));
}

void nqtest_make_table(struct nqtest_host *host)
{
    const size_t whole = sizeof(host->table) + sizeof(host->beyond);
    uint16_t minor = host->module->needs_minor;

    host->table = (struct nqt_host){
        .size = sizeof(host->table), .abi_major = NQT_ABI_MAJOR, .abi_minor = NQT_ABI_MINOR};
    nqtest_serve_in_general(&host->table);
    nqtest_serve_options(&host->table);
    nqtest_serve_names(&host->table);
    nqtest_serve_receiving(&host->table);
    if (nqtest_table == NQTEST_TABLE_OLDEST) {
        host->table.size = (uint32_t)table_sizes[minor < MINORS ? minor : MINORS - 1];
        host->table.abi_minor = minor;
    }
    if (nqtest_table == NQTEST_TABLE_LONGER) {
        host->table.size = (uint32_t)whole;
        host->table.abi_minor = NQT_ABI_MINOR + 1;
        lay_traps(host, sizeof(host->table), whole, not_known);
    } else {
        lay_traps(host, host->table.size, whole, not_there);
    }
}
