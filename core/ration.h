/* How much is said of what strangers can cause without end: so many within a second, then the first
 * of a later one with how many were left out.
 *
 *     |1 2 .. n - - - -|(4 left out) 1 2 ..
 *     +---- a second --+
 *
 * No clock of its own: `now` in ns, monotonic.  Pure; not thread-safe: the owner has a lock. */
#ifndef NQ_CORE_RATION_H
#define NQ_CORE_RATION_H

#include "core/base.h"

#define NQI_RATION_NS NQI_NS_PER_S

/* Zeroed: nothing was said yet. */
struct nqi_ration {
    int64_t since_ns;  /* when the second began */
    uint32_t said;     /* in it */
    uint64_t left_out; /* since one was said */
};

/* May one more be said?
 *
 * @param each      how many in a second, at least 1
 * @param left_out  [out] so many were not, which is to be said before this one; written when it may
 */
bool nqi_ration_take(struct nqi_ration *ration, uint32_t each, int64_t now, uint64_t *left_out);

#endif
