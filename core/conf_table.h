/* The one table of the core's keys. */
#ifndef NQ_CORE_CONF_TABLE_H
#define NQ_CORE_CONF_TABLE_H

#include "core/base.h"
#include <netqueue/transport.h>

/* Where the keys stand that the core knows inside one entry of "transports". */
#define NQI_CONF_ENTRY "/transports/*"

struct nqi_key {
    /* opt.name is the key's place as a JSON pointer: "/queue/policy".  Types and flags: those
     * of core/value.h, too. */
    struct nqt_opt opt;
    size_t offset; /* in struct nqi_conf */
    uint8_t width; /* bytes there: 1, 4, 8; 0 = checked, not kept */
    bool later;    /* of a later version: refused with these words */
};

extern const struct nqi_key nqi_keys[];
extern const size_t nqi_nkeys;

/* A key of other systems, or of a former draft, and what it is called here. */
struct nqi_key_alias {
    const char *name, *here;
};
extern const struct nqi_key_alias nqi_key_aliases[];
extern const size_t nqi_nkey_aliases;

/* The part of the key's place after the last slash. */
const char *nqi_key_name(const struct nqi_key *key);

/* Does the key stand directly in the object at `place` ("" = the whole file)? */
bool nqi_key_is_in(const struct nqi_key *key, const char *place);

/* The key `name` directly in the object at `place`, or NULL. */
const struct nqi_key *nqi_key_find(const char *place, const char *name);

#endif
