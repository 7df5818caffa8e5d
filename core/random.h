/* Random bytes of the system: one way to ask for them, and one way to fail. */
#ifndef NQ_CORE_RANDOM_H
#define NQ_CORE_RANDOM_H

#include "core/base.h"

/* Fill `len` bytes, at most 256: so few come whole or not at all.
 * @return NQ_OK, NQ_ERR_SYS.  Thread: any.  Blocks: no. */
NQ_MUST_CHECK nq_err nqi_random(void *at, size_t len);

#endif
