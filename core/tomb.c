/* A fixed table of buckets: session ids are random numbers of ours, so no stranger can make a chain
 * long, and the greatest number of tombs is known. */
#include "core/tomb.h"

#include "core/buf.h"
#include <stdlib.h>
#include <string.h>

#define TOMB_BUCKETS 4096u

void nqi_tombs_init(struct nqi_tombs *tombs)
{
    *tombs = (struct nqi_tombs){0};
    nqi_list_init(&tombs->by_age);
}

static struct nqi_tomb **tomb_bucket(const struct nqi_tombs *tombs, const nq_uuid *id)
{
    return &tombs->buckets[nqi_load_u16(id->bytes) % TOMB_BUCKETS];
}

static struct nqi_tomb *tomb_oldest(const struct nqi_tombs *tombs)
{
    struct nqi_list *first = nqi_list_first(&tombs->by_age);

    return first ? NQI_CONTAINER(first, struct nqi_tomb, by_age) : NULL;
}

static void tomb_forget(struct nqi_tombs *tombs, struct nqi_tomb *tomb)
{
    struct nqi_tomb **at = tomb_bucket(tombs, &tomb->id);

    while (*at != tomb)
        at = &(*at)->next;
    *at = tomb->next;
    nqi_list_remove(&tomb->by_age);
    tombs->count--;
    explicit_bzero(tomb, sizeof(*tomb));
    free(tomb);
}

/* All have the same time to live: the oldest go first. */
static void tombs_expire(struct nqi_tombs *tombs, int64_t now)
{
    struct nqi_tomb *oldest;

    while ((oldest = tomb_oldest(tombs)) && oldest->until <= now)
        tomb_forget(tombs, oldest);
}

void nqi_tombs_fini(struct nqi_tombs *tombs)
{
    tombs_expire(tombs, NQI_NEVER);
    free(tombs->buckets);
    tombs->buckets = NULL;
}

void nqi_tombs_add(struct nqi_tombs *tombs, const nq_uuid *id, const uint8_t *key,
                   uint64_t received, int64_t now)
{
    struct nqi_tomb *tomb = calloc(1, sizeof(*tomb)), **bucket;

    tombs_expire(tombs, now);
    if (tombs->count >= NQI_TOMBS)
        tomb_forget(tombs, tomb_oldest(tombs));
    if (!tombs->buckets)
        tombs->buckets = calloc(TOMB_BUCKETS, sizeof(struct nqi_tomb *));
    if (!tomb || !tombs->buckets) {
        free(tomb);
        return;
    }
    bucket = tomb_bucket(tombs, id);
    tomb->id = *id;
    memcpy(tomb->key, key, NQI_KEY);
    tomb->received = received;
    tomb->until = now + NQI_TOMB_NS;
    tomb->next = *bucket;
    *bucket = tomb;
    nqi_list_add_tail(&tombs->by_age, &tomb->by_age);
    tombs->count++;
}

const struct nqi_tomb *nqi_tombs_find(struct nqi_tombs *tombs, const nq_uuid *id, int64_t now)
{
    struct nqi_tomb *tomb;

    tombs_expire(tombs, now);
    tomb = tombs->buckets ? *tomb_bucket(tombs, id) : NULL;
    while (tomb && !nq_uuid_equal(&tomb->id, id))
        tomb = tomb->next;
    return tomb;
}
