/**
 * @file
 * Names of peers: RFC 4122 UUIDs as 16 bytes in network order.
 *
 * A UUID is a name, never a credential.
 */
#ifndef NETQUEUE_UUID_H
#define NETQUEUE_UUID_H

#include <netqueue/err.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nq_uuid {
    uint8_t bytes[16];
} nq_uuid;

#define NQ_UUID_TEXT 37 /* 36 characters and the NUL */

/** Read the 36-character form, either case.
 *  @param ret  [out] set only on NQ_OK
 *  @return NQ_OK or NQ_ERR_INVAL.  Thread: any.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_uuid_parse(const char *text, nq_uuid *ret);

/** Write the 36-character lower-case form and a NUL into `text`; returns `text`.
 *  Thread: any.  Blocks: no. */
NQ_API char *nq_uuid_format(const nq_uuid *uuid, char text[NQ_UUID_TEXT]);

/** A new random (version 4) UUID.
 *  @return NQ_OK or NQ_ERR_SYS (no entropy).  Thread: any.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_uuid_random(nq_uuid *ret);

static inline bool nq_uuid_equal(const nq_uuid *a, const nq_uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/** All 16 bytes are 0: the name of nobody, where a field may say that there is none. */
static inline bool nq_uuid_is_nil(const nq_uuid *uuid)
{
    static const nq_uuid nil = {{0}};

    return nq_uuid_equal(uuid, &nil);
}

#ifdef __cplusplus
}
#endif
#endif
