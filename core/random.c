/* Not waiting for the first entropy of a machine that is still starting keeps the promise not to
 * block. */
#include "core/random.h"

#include "core/err.h"
#include <sys/random.h>

nq_err nqi_random(void *at, size_t len)
{
    assert(len <= 256);
    if (getrandom(at, len, GRND_NONBLOCK) != (ssize_t)len)
        return nqi_fail_errno("no random bytes");
    return NQ_OK;
}
