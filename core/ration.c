/* See ration.h.  A second begins with what is said first after the last one, so that there is no
 * clock to run while nothing happens. */
#include "core/ration.h"

bool nqi_ration_take(struct nqi_ration *ration, uint32_t each, int64_t now, uint64_t *left_out)
{
    if (!ration->said || now - ration->since_ns >= NQI_RATION_NS) {
        ration->since_ns = now;
        ration->said = 0;
    }
    if (ration->said >= each) {
        ration->left_out++;
        return false;
    }
    ration->said++;
    *left_out = ration->left_out;
    ration->left_out = 0;
    return true;
}
