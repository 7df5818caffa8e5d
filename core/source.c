/* A fixed table of buckets: how many sources can be in it is known, and the seed keeps the chains
 * short.
 *
 * Failures are one number, the time at which all of them will be forgiven: each adds a part of the
 * window to it, and a source is barred while there is no room for another part. */
#include "core/source.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE_BUCKETS 1024u

struct nqi_source_entry {
    struct nqi_list idle;
    struct nqi_source_entry *next; /* in its bucket */
    struct nqi_source source;
    uint32_t strangers;
    int64_t forgiven; /* when all failures will be */
};

/* ---- addresses -------------------------------------------------------------------------- */

/* The part of `address` before its port, without brackets and scope.  False: it is no address. */
static bool source_host(const char *address, char host[INET6_ADDRSTRLEN])
{
    bool six = address[0] == '[';
    const char *from = address + six, *end = strpbrk(from, six ? "%]" : ":");
    const char *port = strrchr(address, ':');

    if (!end || !port || !port[1] || strspn(port + 1, "0123456789") != strlen(port + 1) ||
        (six ? port[-1] != ']' : port != end) || end - from >= INET6_ADDRSTRLEN)
        return false;
    memcpy(host, from, (size_t)(end - from));
    host[end - from] = '\0';
    return true;
}

static uint64_t source_bits(const uint8_t *bytes, size_t len)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < len; i++)
        bits = bits << 8 | bytes[i];
    return bits;
}

struct nqi_source nqi_source_read(const char *address)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char host[INET6_ADDRSTRLEN];
    uint8_t bytes[16];

    if (!source_host(address, host))
        return (struct nqi_source){0};
    if (inet_pton(AF_INET, host, bytes) == 1)
        return (struct nqi_source){.family = 4, .prefix = source_bits(bytes, 4)};
    if (inet_pton(AF_INET6, host, bytes) != 1)
        return (struct nqi_source){0};
    if (memcmp(bytes, mapped, sizeof(mapped)) == 0)
        return (struct nqi_source){.family = 4, .prefix = source_bits(bytes + 12, 4)};
    return (struct nqi_source){.family = 6, .prefix = source_bits(bytes, 8)};
}

void nqi_source_write(const struct nqi_source *source, char ret[NQI_SOURCE_TEXT])
{
    bool six = source->family == 6;
    uint64_t bits = six ? source->prefix : source->prefix << 32;
    uint8_t bytes[16] = {0};
    char text[INET6_ADDRSTRLEN] = "?";

    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(bits >> (56 - 8 * i));
    inet_ntop(six ? AF_INET6 : AF_INET, bytes, text, sizeof(text));
    snprintf(ret, NQI_SOURCE_TEXT, "%s%s", source->family ? text : "nowhere", six ? "/64" : "");
}

bool nqi_source_equal(const struct nqi_source *a, const struct nqi_source *b)
{
    return a->family == b->family && a->prefix == b->prefix;
}

/* ---- the table -------------------------------------------------------------------------- */

void nqi_sources_init(struct nqi_sources *sources, uint64_t seed, uint32_t failures)
{
    *sources = (struct nqi_sources){.seed = seed, .failures = failures};
    nqi_list_init(&sources->idle);
}

void nqi_sources_fini(struct nqi_sources *sources)
{
    for (size_t i = 0; sources->buckets && i < SOURCE_BUCKETS; i++)
        for (struct nqi_source_entry *entry = sources->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            free(entry);
        }
    free(sources->buckets);
    nqi_sources_init(sources, 0, 0);
}

static struct nqi_source_entry **source_bucket(const struct nqi_sources *sources,
                                               const struct nqi_source *source)
{
    uint64_t hash = (source->prefix ^ sources->seed) * UINT64_C(0x9e3779b97f4a7c15);

    hash = ((hash ^ hash >> 32) + source->family) * (sources->seed | 1);
    return &sources->buckets[(hash ^ hash >> 29) % SOURCE_BUCKETS];
}

static struct nqi_source_entry *source_find(const struct nqi_sources *sources,
                                            const struct nqi_source *source)
{
    struct nqi_source_entry *entry;

    if (!source->family || !sources->buckets)
        return NULL;
    entry = *source_bucket(sources, source);
    while (entry && !nqi_source_equal(&entry->source, source))
        entry = entry->next;
    return entry;
}

static struct nqi_source_entry *source_add(struct nqi_sources *sources,
                                           const struct nqi_source *source)
{
    struct nqi_source_entry *entry;

    if (!sources->buckets)
        sources->buckets = calloc(SOURCE_BUCKETS, sizeof(struct nqi_source_entry *));
    entry = sources->buckets && source->family ? calloc(1, sizeof(*entry)) : NULL;
    if (!entry)
        return NULL;
    nqi_list_init(&entry->idle);
    entry->source = *source;
    entry->next = *source_bucket(sources, source);
    *source_bucket(sources, source) = entry;
    return entry;
}

static void source_unlist(struct nqi_sources *sources, struct nqi_source_entry *entry)
{
    if (nqi_list_empty(&entry->idle))
        return;
    nqi_list_remove(&entry->idle);
    sources->nidle--;
}

static void source_forget(struct nqi_sources *sources, struct nqi_source_entry *entry)
{
    struct nqi_source_entry **at = source_bucket(sources, &entry->source);

    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    source_unlist(sources, entry);
    free(entry);
}

/* Without strangers it is worth keeping for its failures only, behind those that failed before. */
static void source_settle(struct nqi_sources *sources, struct nqi_source_entry *entry, int64_t now)
{
    source_unlist(sources, entry);
    if (entry->strangers)
        return;
    if (entry->forgiven <= now) {
        source_forget(sources, entry);
        return;
    }
    nqi_list_add_tail(&sources->idle, &entry->idle);
    if (++sources->nidle > NQI_SOURCES)
        source_forget(sources,
                      NQI_CONTAINER(nqi_list_first(&sources->idle), struct nqi_source_entry, idle));
}

/* ---- strangers -------------------------------------------------------------------------- */

void nqi_sources_come(struct nqi_sources *sources, const struct nqi_source *source)
{
    struct nqi_source_entry *entry = source_find(sources, source);

    if (!entry)
        entry = source_add(sources, source);
    if (!entry)
        return;
    entry->strangers++;
    source_unlist(sources, entry);
}

void nqi_sources_leave(struct nqi_sources *sources, const struct nqi_source *source, int64_t now)
{
    struct nqi_source_entry *entry = source_find(sources, source);

    if (!entry || !entry->strangers) /* it came when there was no memory to count it */
        return;
    entry->strangers--;
    source_settle(sources, entry, now);
}

uint32_t nqi_sources_strangers(const struct nqi_sources *sources, const struct nqi_source *source)
{
    const struct nqi_source_entry *entry = source_find(sources, source);

    return entry ? entry->strangers : 0;
}

/* ---- failures --------------------------------------------------------------------------- */

/* What one failure takes.  It is longer than what the division leaves, however many are allowed. */
static int64_t source_part(const struct nqi_sources *sources)
{
    return NQI_SOURCE_WINDOW_NS / sources->failures;
}

/* One more does not fit into the window. */
static bool entry_is_barred(const struct nqi_sources *sources, const struct nqi_source_entry *entry,
                            int64_t now)
{
    return entry->forgiven - now > NQI_SOURCE_WINDOW_NS - source_part(sources);
}

bool nqi_sources_fail(struct nqi_sources *sources, const struct nqi_source *source, int64_t now)
{
    struct nqi_source_entry *entry = source_find(sources, source);
    bool before, barred;

    if (sources->failures == UINT32_MAX)
        return false;
    if (!entry)
        entry = source_add(sources, source);
    if (!entry)
        return false;
    before = entry_is_barred(sources, entry, now);
    /* Who is barred fails no more: what was on its way lengthens nothing. */
    if (!before)
        entry->forgiven = NQI_MAX(entry->forgiven, now) + source_part(sources);
    barred = entry_is_barred(sources, entry, now);
    source_settle(sources, entry, now);
    return barred && !before;
}

bool nqi_sources_is_barred(const struct nqi_sources *sources, const struct nqi_source *source,
                           int64_t now)
{
    const struct nqi_source_entry *entry = source_find(sources, source);

    return entry && entry_is_barred(sources, entry, now);
}
