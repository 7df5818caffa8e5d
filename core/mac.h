/* HMAC-SHA-256, which proves greetings and makes keys of keys: every use of it begins with a label
 * of its own, so that what is made for one purpose is of no use for another.  Pure. */
#ifndef NQ_CORE_MAC_H
#define NQ_CORE_MAC_H

#include "core/base.h"

#define NQI_MAC 32 /* bytes of what comes out */

/* A part of what goes in. */
struct nqi_mac_part {
    const void *at; /* may be NULL if there are no bytes */
    size_t len;     /* bytes */
};

/* Over the label, without its NUL, and the parts behind it, as if they were one piece: lengths are
 * not part of it, so parts of one label have fixed lengths, or only the last one varies.
 * @param key  `key_len` bytes, any number  @param part  `n` parts; NULL = none
 * @param ret [out] NQI_MAC bytes.  Thread: any.  Blocks: no. */
void nqi_mac(const uint8_t *key, size_t key_len, const char *label, const struct nqi_mac_part *part,
             size_t n, uint8_t *ret);

#endif
