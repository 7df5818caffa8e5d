/* A loop that is turned by hand. */
#include "tests/support/loop_rig.h"
#include <check.h>
#include <poll.h>

struct nqi_loop *nqtest_loop;
struct nqi_serial nqtest_serial;

void nqtest_loop_setup(void)
{
    ck_assert_int_eq(nqi_loop_new(&nqtest_loop), NQ_OK);
    nqtest_serial.strand = nqi_strand_new();
    ck_assert_ptr_nonnull(nqtest_serial.strand);
    nqtest_serial.loop = nqtest_loop;
}

void nqtest_loop_teardown(void)
{
    nqi_loop_free(nqtest_loop);
    nqi_strand_unref(nqtest_serial.strand);
}

bool nqtest_readable(int fd)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    return poll(&poller, 1, 0) == 1;
}

void nqtest_loop_until(const int *calls, int want)
{
    while (*calls < want)
        nqi_loop_handle(nqtest_loop, nqi_loop_sleep(nqtest_loop, NQI_NEVER));
}
