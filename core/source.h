/* Where strangers come from: how many of them are there, and how many attempts of theirs failed.
 *
 *     "203.0.113.7:4711" --read--> source --come, leave--> strangers that are there
 *                                         --fail--------> failures, forgiven one by one
 *
 * A source is an IPv4 address or the first 64 bits of an IPv6 address, which is what one customer
 * has.  Transports without addresses have none: there nobody is counted.
 *
 * A source is kept while strangers of it are there, or failures that are not forgiven yet.  Of
 * those that have nothing but failures there are at most NQI_SOURCES: the one that failed least
 * lately is forgotten.  Without memory nobody is counted, and the limit of all strangers remains.
 *
 * No clock of its own: `now` in ns, monotonic.  Pure; not thread-safe: the owner has a lock. */
#ifndef NQ_CORE_SOURCE_H
#define NQ_CORE_SOURCE_H

#include "core/base.h"
#include "core/list.h"

#define NQI_SOURCES 1024u /* of about 64 bytes each, beside one for each stranger */
#define NQI_SOURCE_WINDOW_NS (60 * NQI_NS_PER_S)
#define NQI_SOURCE_TEXT 64

struct nqi_source {
    uint64_t prefix; /* IPv4: 32 bits */
    uint32_t family; /* 4, 6; 0 = none */
};

/* @param address  as transports name the other side: "127.0.0.1:4711", "[fe80::1%2]:4711"
 * @return the source, or none: the text is something else */
struct nqi_source nqi_source_read(const char *address);
void nqi_source_write(const struct nqi_source *source, char ret[NQI_SOURCE_TEXT]);
bool nqi_source_equal(const struct nqi_source *a, const struct nqi_source *b);

struct nqi_source_entry;

struct nqi_sources {
    uint64_t seed;     /* of the hash: strangers may choose their addresses */
    uint32_t failures; /* allowed within a window, up to 100,000; UINT32_MAX = any number */
    struct nqi_source_entry **buckets; /* NULL until the first one */
    struct nqi_list idle;              /* entries with failures alone, least lately failed first */
    uint32_t nidle;
};

/* @param seed  random  @param failures  that one source may have within NQI_SOURCE_WINDOW_NS */
void nqi_sources_init(struct nqi_sources *sources, uint64_t seed, uint32_t failures);
void nqi_sources_fini(struct nqi_sources *sources);

/* A stranger is there, until leave() with the same source. */
void nqi_sources_come(struct nqi_sources *sources, const struct nqi_source *source);
void nqi_sources_leave(struct nqi_sources *sources, const struct nqi_source *source, int64_t now);

/* How many are there; 0 of those that are not counted. */
uint32_t nqi_sources_strangers(const struct nqi_sources *sources, const struct nqi_source *source);

/* An attempt failed.  @return true: with this one the source is barred, and was not before */
bool nqi_sources_fail(struct nqi_sources *sources, const struct nqi_source *source, int64_t now);

/* So many attempts failed that the next one is refused unseen.  One is forgiven in each
 * `failures`-th part of the window, so that a source is barred for so long again after one more. */
bool nqi_sources_is_barred(const struct nqi_sources *sources, const struct nqi_source *source,
                           int64_t now);

#endif
