/* Pre-shared keys: which key goes with which id.
 *
 *     file --owner, mode--> text --keyring.c--> ids with one or two keys each, and one for all
 * others
 *
 *     {
 *       "keys": {
 *         "6f1c2f3e-7c1b-4b1e-9d55-0b1f6a1d2c3e": "the new key",
 *         "0d9f2c61-52a4-4f0e-8a3b-7f5f0c1f9e24": ["the new key", "the one before"]
 *       },
 *       "key": "for every id that is not listed"
 *     }
 *
 * A key is written as hexadecimal digits or base64 of at least NQI_KEY_LEAST bytes.  Both sides
 * look for the key of the client's id, in files of the same form.
 *
 * A text of its own is parsed here, and not by the JSON library, because that would leave copies of
 * the keys in memory: here every place where one has been is wiped. */
#ifndef NQ_CORE_KEYRING_H
#define NQ_CORE_KEYRING_H

#include "core/attach.h"
#include "core/base.h"

#define NQI_KEY_LEAST 16 /* bytes of a key as it is written */
#define NQI_KEY_MOST 128
#define NQI_KEYRING_CAP ((size_t)16 << 20) /* bytes of a file of keys */

/* The keys of one id.  Where there is but one, the second is no key of anybody's. */
struct nqi_keys {
    nq_uuid id;
    bool known; /* false: these are stand-ins, random, for an id that has none */
    uint8_t key[2][NQI_KEY];
};

struct nqi_keyring;

/* Parse `len` bytes of `text`.  @param source  the name of the file, for errors
 * @param ret [out] owned, ends with nqi_keyring_free()
 * @return NQ_OK; NQ_ERR_CONFIG (nq_error() names source and line, and quotes no key), NQ_ERR_NOMEM,
 * NQ_ERR_SYS (no random numbers) */
NQ_MUST_CHECK nq_err nqi_keyring_parse(const char *source, const char *text, size_t len,
                                       struct nqi_keyring **ret);

/* The same of a file, which must be a regular one of this user or of root, closed to everybody
 * else.  @return also NQ_ERR_CONFIG (who may read it), NQ_ERR_SYS (it cannot be read) */
NQ_MUST_CHECK nq_err nqi_keyring_load(const char *path, struct nqi_keyring **ret);

/* Wipe and release; NULL is allowed. */
void nqi_keyring_free(struct nqi_keyring *ring);

/* The keys for `id`, never NULL, in about the same time whether it has some or not.  Thread: any.
 */
const struct nqi_keys *nqi_keyring_find(const struct nqi_keyring *ring, const nq_uuid *id);

#endif
